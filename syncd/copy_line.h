/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/copy_line.h -- the line of a row in the text that COPY reads (sink->copy_sql).
 *
 * Pure.  Whatever fails, out may end in a piece of the line.  ERR_LIMIT: out, or scratch, cannot
 * take it.  ERR_INPUT with an SQLSTATE: no column can hold a value, the row is at fault.
 */
#pragma once

#include "common/buf.h"
#include "syncd/sink.h"

/* Where a row belongs: its first columns. */
typedef struct RowPlace {
    Str stream_name; /* with the sink's prefix */
    int64_t generation;
    int64_t seq;
    Str offset;
} RowPlace;

/* The columns around seq as COPY reads them, for all rows that share them. */
typedef struct CopyPlace {
    Buf text;
    size_t head_len;
} CopyPlace;

#define COPY_PLACE_BYTES_MAX                                                                       \
    4096 /* name and offset are bounded, and no byte becomes more than two */

DS_MUST_CHECK bool copy_place_init(CopyPlace *copy_place, const RowPlace *place, Error *err);
void copy_place_done(CopyPlace *copy_place);

/* The item is a message that passed sink_judge, or a chunk.  scratch is overwritten. */
DS_MUST_CHECK bool copy_line_at(Buf *out, const Sink *sink, const CopyPlace *copy_place,
                                int64_t seq, const SinkItem *item, Buf *scratch, Error *err);
/* As above, for one row. */
DS_MUST_CHECK bool copy_line(Buf *out, const Sink *sink, const RowPlace *place,
                             const SinkItem *item, Buf *scratch, Error *err);
