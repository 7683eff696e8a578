/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/cursor.h -- the Stream-Cursor of a live reply (Durable Streams protocol, section 10.1).
 *
 * A cursor is the number of the current 20 second interval.  It stands in the URL of the next live
 * request, so that a cache in between can answer many readers with one reply and yet never the same
 * reader twice with the same one: a client that shows a cursor of now or later gets a later one.
 * Pure.
 */
#pragma once

#include "common/str.h"

#define CURSOR_JITTER_S_MAX 3600 /* protocol 10.1: how far a client is pushed ahead, at most */

/* The number of the interval that wall_ms lies in; 0 before the epoch of cursors. */
uint64_t cursor_now(int64_t wall_ms);

/* The cursor to answer with.  shown: what the client sent, empty or unparsable counts as none.
 * random: any 32 random bits, for the jitter. */
uint64_t cursor_next(Str shown, int64_t wall_ms, uint32_t random);
