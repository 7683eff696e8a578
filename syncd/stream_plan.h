/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/stream_plan.h -- which stream on which route, and how it is to be loaded.
 *
 * What the directory finds and the supervisor runs.  A key says which row of ds_sync.stream it is;
 * a plan may change while the key stays.  Pure.
 */
#pragma once

#include "syncd/route.h"

typedef struct StreamKey {
    Str source; /* name of the server */
    Str name;   /* of the stream */
    Str route;
} StreamKey;

typedef struct StreamPlan {
    const char *url; /* of the stream, without a query */
    Route *route;    /* where to and how; a copy holds a reference of its own */
    /* What may become known later; no difference between plans. */
    bool told;       /* the server's list has it, so what follows is all that it says */
    bool from_start; /* it came into being under the route: `start: now` leaves out nothing of it */
} StreamPlan;

/* Copies own their texts, which end in a NUL byte. */
StreamKey stream_key_copy(const StreamKey *key);
void stream_key_done(StreamKey *key);
int stream_key_compare(const StreamKey *a, const StreamKey *b);

StreamPlan stream_plan_copy(const StreamPlan *plan);
void stream_plan_done(StreamPlan *plan);
bool stream_plan_equal(const StreamPlan *a, const StreamPlan *b);

/* fnv1a-64 of source, a NUL byte and the name, modulo count (ds_sync.work_partitioning): all routes
 * of a stream are in one partition. */
unsigned stream_partition(const StreamKey *key, unsigned count);
