/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/wake.h -- tell the readers that wait for a change, each on its own network loop.
 *
 * A source (a stream, the journal of changes) has one group per loop on which somebody ever waited.
 * Waking posts at most one call per group: until that call runs, further changes join it.  The call
 * visits waiters of the group, who then read what there is, and posts itself for those behind, so
 * that thousands of readers do not keep the loop from what else there is to do; whoever is visited
 * later finds what came meanwhile, too.
 *
 * Threads: a source is guarded by its owner's lock; a waiter and a group's list belong to the
 * loop's thread.  Who joins looks for news under the same lock, before or after: then nothing is
 * missed.
 */
#pragma once

#include <bsd/sys/queue.h>

#include "server/http.h"

#define WAKE_VISITS_AT_ONCE 128

typedef struct WakeGroup WakeGroup;

typedef struct WakeSource {
    WakeGroup *groups;
} WakeSource;

typedef struct Waiter {
    TAILQ_ENTRY(Waiter) entry;
    WakeGroup *group; /* NULL: not waiting */
    /* May leave, and free what it is embedded in; may join again. */
    void (*on_wake)(struct Waiter *waiter);
} Waiter;

/* Owner's lock held, or nobody else left.  Nobody waits any more; a call already posted is
 * harmless. */
void wake_source_done(WakeSource *source);
/* On the loop's thread, owner's lock held. */
void wake_join(WakeSource *source, NetLoop *loop, Waiter *waiter);
/* On the loop's thread, no lock needed; the source must still exist.  Not waiting is no error. */
void wake_leave(Waiter *waiter);
/* Owner's lock held, any thread. */
void wake_all(WakeSource *source);
