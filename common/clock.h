/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/clock.h -- the time, replaceable in tests.
 *
 * Monotonic for waiting and measuring, boot time (counts suspend) for TTLs, wall for what people
 * and other machines read.  Thread safe; clock_set_source is for tests, before threads start.
 */
#pragma once

#include "common/base.h"

typedef struct ClockSource {
    int64_t (*mono_ns)(void);
    int64_t (*boot_ns)(void);
    int64_t (*wall_ns)(void); /* since 1970-01-01T00:00:00Z */
} ClockSource;

int64_t clock_mono_ns(void);
int64_t clock_mono_ms(void);
int64_t clock_boot_ms(void);
int64_t clock_wall_ms(void);
int64_t clock_wall_us(void);

void clock_set_source(const ClockSource *source); /* NULL: the system's clocks again */

#define CLOCK_RFC3339_SIZE 32
/* "2026-01-02T03:04:05.678Z"; out holds CLOCK_RFC3339_SIZE bytes.  Times outside the years 0000 to
 * 9999 become the nearest one inside. */
void clock_format_rfc3339(int64_t wall_ms, char *out);
