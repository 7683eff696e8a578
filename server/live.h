/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/live.h -- readers that wait: long-poll and SSE (protocol 5.7, 5.8).
 *
 * A reader belongs to the network loop of its connection.  What it gets is read from the store like
 * any other range; a change of the stream only wakes it (wake.h).  An SSE reader takes the next
 * event when its connection has taken the last ones, so a slow one holds a bounded amount; when the
 * stream meanwhile grows by more than DS_LIMITS__MAX_SUBSCRIBER_BACKLOG_BYTES, it is cut and
 * resumes by offset.
 */
#pragma once

#include "server/app.h"

#define SSE_EVENT_BYTES_MAX ((size_t)256 * 1024) /* of payload; a single message may be larger */
#define SSE_BACKLOG_PAUSE   SSE_EVENT_BYTES_MAX  /* bytes unsent: wait for the connection */
#define SSE_KEEP_ALIVE_MS   15000
#define SSE_LIFETIME_SPREAD 15 /* percent, both ways */

/* Both take the reference to the stream.  read says from where; known_tags is If-None-Match. */
void live_long_poll(App *app, HttpExchange *exchange, Stream *stream, StoreRead *read,
                    Str known_tags, uint64_t cursor);
/* resumed: by Last-Event-ID, which caches do not know of. */
void live_sse(App *app, HttpExchange *exchange, Stream *stream, StoreRead *read, uint64_t cursor,
              bool resumed);
