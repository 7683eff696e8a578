/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/range.h -- a run of committed bytes of a stream, held wherever they lie.
 *
 * The parts are what the HTTP engine sends without copying.  A range must not be copied or moved
 * (it may point into itself); one thread at a time.
 */
#pragma once

#include "server/http.h"

#define RANGE_PARTS_INLINE 4

typedef struct Range {
    uint64_t from; /* positions */
    uint64_t to;
    size_t bytes;
    bool takes_files; /* from whoever reads: parts may lie in files */
    HttpPiece *parts;
    size_t count;
    size_t cap;
    HttpPiece parts_inline[RANGE_PARTS_INLINE];
} Range;

void range_init(Range *range, uint64_t from); /* empty */
/* Adds bytes with a reference of the range's own to what holds them. */
void range_add(Range *range, Str bytes, HttpHold *hold);
/* The same for bytes in a file; only when the range takes files. */
void range_add_file(Range *range, HttpFile *file, uint64_t offset, size_t len);
void range_done(Range *range);
