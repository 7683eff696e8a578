/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/live_loop.h -- what the handlers keep per network loop: who waits on it, shared SSE
 * frames, and on the first loop the timer that removes expired streams.
 */
#pragma once

#include <bsd/sys/queue.h>

#include "server/cold_read.h"
#include "server/sse_frame.h"

typedef struct OpHome OpHome;

/* A request that waits.  Embedded in what waits; in the list until live_leave. */
typedef struct LiveEntry {
    LIST_ENTRY(LiveEntry) entry;
    /* The server stops: answer now, and leave. */
    void (*on_drain)(struct LiveEntry *entry);
    /* NULL, or called every now and then; may leave.  Thousands that wait share one timer: one of
     * their own would take more memory than all else about an idle reader. */
    void (*on_tick)(struct LiveEntry *entry, int64_t now_ms);
} LiveEntry;

#define LIVE_TICK_MS_MAX        1000
#define LIVE_TICK_MS_MIN        10
#define LIVE_TICKS_PER_LIFETIME 8 /* of an SSE reply, at least */

/* All on the loop's thread. */
void live_join(NetLoop *net, LiveEntry *entry);
void live_leave(LiveEntry *entry);
bool live_is_draining(NetLoop *net); /* nobody should wait any more */
SseFrameCache *live_frames(NetLoop *net);
OpHome *live_op_home(NetLoop *net);
ColdReads *live_cold_reads(NetLoop *net);

/* HttpHandlers' loop_start, loop_drain and loop_stop. */
void live_loop_start(NetLoop *net);
void live_drain(NetLoop *net);
void live_loop_stop(NetLoop *net);
