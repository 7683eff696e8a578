/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/parking.h -- what a stream's TTL asks of its reader.
 *
 * Every read starts the stream's time to live anew (protocol 5.1), so a reader that waits at its
 * end would keep it for ever.  A route that respects the TTL lets go of a stream that is quiet for
 * a quarter of it, and looks with HEAD, which renews nothing, whether something new has come.  One
 * that holds it reads anew in time.  Times are milliseconds of the monotonic clock.  Pure.
 */
#pragma once

#include "common/base.h"

typedef struct Parking {
    int64_t ttl_ms;   /* 0: the stream has none */
    int64_t since_ms; /* nothing came since then, and nothing was asked */
    bool hold;
    bool parked;
} Parking;

void parking_set_ttl(Parking *parking, int64_t ttl_s, bool hold); /* 0: none */
void parking_touch(Parking *parking, int64_t now_ms); /* something came, or a read began */

/* When to look again; INT64_MAX: no TTL. */
int64_t parking_due_ms(const Parking *parking, int64_t now_ms);

/* Between two looks at a parked stream; spread, so that streams do not ask in step. */
int64_t parking_look_ms(const Parking *parking, uint32_t (*random)(uint32_t upper_bound));
