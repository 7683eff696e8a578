/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/read_reply.h -- the replies to reads that are not SSE (protocol 5.6, 5.7, 10).
 *
 * Each ends the exchange.
 */
#pragma once

#include "server/app.h"

/* A range, 200; 304 when known_tags (If-None-Match) has its tag.  Ends read->range.  cursor: NULL
 * on catch-up. */
void read_reply_range(const App *app, HttpExchange *exchange, const Stream *stream, StoreRead *read,
                      Str known_tags, const uint64_t *cursor);

/* offset=now without waiting: nothing, and where the tail is. */
void read_reply_now(HttpExchange *exchange, Stream *stream);

/* A long-poll that ends with nothing: 204. */
void read_reply_nothing(HttpExchange *exchange, const Stream *stream, uint64_t tail, bool closed,
                        uint64_t cursor);

/* verdict is not READ_OK: 404, 410, or 500. */
void read_reply_refused(HttpExchange *exchange, ReadVerdict verdict);
