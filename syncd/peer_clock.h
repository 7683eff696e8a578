/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/peer_clock.h -- a time by somebody else's clock, as a time by ours.
 *
 * An answer that came between two of our times says what the peer's clock was meanwhile, not when
 * exactly.  So a time by that clock is between two of ours, which are as far apart as the answer
 * took; whoever compares takes the one that does no harm.  Milliseconds since 1970.  Pure.
 */
#pragma once

#include "common/base.h"

#define PEER_CLOCK_GRAIN_MS 2 /* the times are whole milliseconds, cut off or rounded */

typedef struct PeerClock {
    int64_t asked_ms;    /* by ours */
    int64_t answered_ms; /* likewise */
    int64_t peer_ms;     /* in between, by the peer's */
} PeerClock;

/* As if its clock had been read when we asked. */
static inline int64_t
peer_clock_earliest_ms(const PeerClock *clock, int64_t time_ms)
{
    return time_ms + (clock->asked_ms - clock->peer_ms) - PEER_CLOCK_GRAIN_MS;
}

/* As if it had been read when the answer came. */
static inline int64_t
peer_clock_latest_ms(const PeerClock *clock, int64_t time_ms)
{
    return time_ms + (clock->answered_ms - clock->peer_ms) + PEER_CLOCK_GRAIN_MS;
}
