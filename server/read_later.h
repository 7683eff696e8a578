/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/read_later.h -- answers a catch-up read or a long-poll whose bytes are not in memory.
 */
#pragma once

#include "server/app.h"

/* store_read said READ_COLD to this read.  Answers when the bytes are there; the exchange is taken
 * over from whoever waited with it.  known_tags is If-None-Match; cursor: NULL on catch-up. */
void read_later(App *app, HttpExchange *exchange, Stream *stream, const StoreRead *read,
                Str known_tags, const uint64_t *cursor);
