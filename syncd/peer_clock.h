/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/peer_clock.h -- a time by somebody else's clock, as a time by ours.
 *
 * An answer that came between two of our times says what the peer's clock was meanwhile.  Clocks
 * that may be the same are taken for the same, so that times compare exactly where clocks are kept;
 * others are moved by as little as the answer allows, which is wrong by the time that it took at
 * most.  Milliseconds since 1970.  Pure.
 */
#pragma once

#include "common/base.h"

typedef struct PeerClock {
    int64_t asked_ms;    /* by ours */
    int64_t answered_ms; /* likewise */
    int64_t peer_ms;     /* in between, by the peer's */
} PeerClock;

static inline int64_t
peer_clock_ours(const PeerClock *clock, int64_t time_ms)
{
    if (clock->peer_ms < clock->asked_ms) {
        return time_ms + (clock->asked_ms - clock->peer_ms);
    }
    if (clock->peer_ms > clock->answered_ms) {
        return time_ms - (clock->peer_ms - clock->answered_ms);
    }
    return time_ms;
}
