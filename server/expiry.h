/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/expiry.h -- removes expired streams from time to time.
 *
 * That an expired stream is not served is decided at each request (registry.h); this only frees its
 * memory, a bounded number per tick.  Two brakes keep a wrong clock from deleting everything before
 * anybody looks: a jump of the wall clock, and an unusual share of streams due at once, each pause
 * the removal once for a while.  One thread.
 */
#pragma once

#include "server/store.h"

#define EXPIRY_TICK_MS       500
#define EXPIRY_SCAN_MAX      20000 /* streams looked at per tick */
#define EXPIRY_REMOVE_MAX    2000  /* streams removed per tick */
#define EXPIRY_JUMP_MS       300000
#define EXPIRY_JUMP_PAUSE_MS 300000
#define EXPIRY_BULK_PERCENT  25
#define EXPIRY_BULK_MIN      1000 /* fewer due at once are never unusual */
#define EXPIRY_BULK_PAUSE_MS 60000

typedef struct Expiry Expiry;

Expiry *expiry_new(Store *store, Metrics *metrics);
void expiry_free(Expiry *expiry);
void expiry_tick(Expiry *expiry);
