/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/sse_frame.h -- committed bytes as the events of an SSE reply (protocol 5.8).
 *
 * A data event depends on nothing but the range, so readers at the same place share it: each
 * network loop keeps the last few it made.  The control event behind it is the reader's own.
 */
#pragma once

#include "server/range.h"
#include "server/stream.h"

#define SSE_FRAMES_CACHED          8
#define SSE_FRAME_CACHED_BYTES_MAX ((size_t)64 * 1024) /* larger ones are not kept */

typedef struct SseFrame {
    HttpHold hold; /* first member */
    Str bytes;     /* "event: data\n...\n\n" */
} SseFrame;

/* JSON: one array.  Text: as it is, each line break a new data line.  Bytes: base64.
 * The range is not empty.  With one reference. */
SseFrame *sse_frame_new(StreamKind kind, const Range *range);

typedef struct SseFrameCache {
    struct {
        uint64_t serial; /* Stream.serial */
        uint64_t from;
        uint64_t to;
        SseFrame *frame; /* NULL: free */
    } slots[SSE_FRAMES_CACHED];
    unsigned next;
} SseFrameCache;

/* The frame of that range, made if need be.  With a reference for the caller. */
SseFrame *sse_frame_get(SseFrameCache *cache, const Stream *stream, const Range *range);
void sse_frame_cache_done(SseFrameCache *cache);

typedef struct SseControl {
    Offset next;
    uint64_t cursor; /* left out when closed */
    bool up_to_date;
    bool closed;
} SseControl;

#define SSE_CONTROL_BYTES_MAX 256

/* id, event and data line; returns the length. */
size_t sse_control_format(const SseControl *control, char out[SSE_CONTROL_BYTES_MAX]);
