/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/backoff.h -- how long to wait before trying again: exponential with full jitter.
 *
 * delay = max(floor, random(0, min(max, base * 2^attempt))): full jitter spreads a crowd that
 * failed at the same moment better than any fixed share.  Pure: randomness is an argument of the
 * object.
 */
#pragma once

#include "common/base.h"

typedef struct Backoff {
    int64_t base_ms;
    int64_t max_ms;
    unsigned attempt;                         /* failures since the last reset */
    uint32_t (*random)(uint32_t upper_bound); /* 0..upper_bound-1; arc4random_uniform by default */
} Backoff;

void backoff_init(Backoff *backoff, int64_t base_ms, int64_t max_ms);
void backoff_reset(Backoff *backoff);
/* Counts one failure and says how long to wait; floor_ms is what Retry-After asked for, or 0. */
int64_t backoff_next_ms(Backoff *backoff, int64_t floor_ms);
