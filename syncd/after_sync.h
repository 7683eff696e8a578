/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/after_sync.h -- what a route does to a stream that it has loaded: trims it, or deletes it
 * once it is closed.
 *
 * Only after the route's grace, and only as far as every route is that takes the stream: their
 * positions are read from Postgres each time, paused and failed routes included.  A route that is
 * removed, or no longer takes the stream, is not waited for, wherever it was.  The server is
 * told which life of the stream is meant, so one that was made anew is never touched.  What fails
 * is tried again after the next grace.
 */
#pragma once

#include "syncd/checkpoint.h"
#include "syncd/control_link.h"
#include "syncd/stream_plan.h"
#include "syncd/syncd_config.h"

typedef struct AfterSync AfterSync;

/* NULL when the route keeps what is loaded.  Config, key and plan are borrowed and outlive it. */
AfterSync *after_sync_new(Loop *loop, ControlLink *link, const SyncdConfig *config,
                          const StreamKey *key, const StreamPlan *plan);
void after_sync_free(AfterSync *after); /* accepts NULL */

/* What is committed of the stream; as often as it changes.  Accepts NULL. */
void after_sync_committed(AfterSync *after, const Checkpoint *checkpoint);

/* "route: why" while another route has been in the way for more than one grace; else "".  Accepts
 * NULL.  Borrowed until the loop turns. */
const char *after_sync_held(const AfterSync *after);

/* Where a route is with the stream. */
typedef struct RouteProgress {
    Str name;
    Str spec;   /* "" for the built-in one */
    bool takes; /* of the built-in one: the stream is its own */
    bool known; /* it has had the stream; else the two below say nothing */
    Str offset;
    bool closed;
} RouteProgress;

/* What is in the way of letting go. */
typedef struct AfterSyncObstacle {
    Str route;       /* empty: none, but the stream itself; borrowed from its progress */
    const char *why; /* static text */
} AfterSyncObstacle;

/* Whether all that is behind `offset` (all of the stream, if it is to be closed) is done with by
 * all of the routes that take it; else *out says what is in the way.  Pure. */
bool after_sync_may(const RouteProgress *progress, size_t count, const StreamKey *key, Str offset,
                    bool closed, AfterSyncObstacle *out);
