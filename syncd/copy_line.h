/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/copy_line.h -- the line of a row in the text that COPY reads (copy_events.sql and
 * copy_chunks.sql).
 *
 * Pure.  ERR_LIMIT when out, or scratch, cannot take it; out may then end in a piece of the line.
 */
#pragma once

#include "common/buf.h"

/* Where a row belongs: its first columns. */
typedef struct RowPlace {
    Str stream_name;
    int64_t generation;
    int64_t seq;
    Str offset;
} RowPlace;

/* The message is valid JSON that jsonb takes.  scratch is overwritten. */
DS_MUST_CHECK bool copy_line_event(Buf *out, const RowPlace *place, Str message, Buf *scratch,
                                   Error *err);
DS_MUST_CHECK bool copy_line_chunk(Buf *out, const RowPlace *place, Str bytes, Error *err);
