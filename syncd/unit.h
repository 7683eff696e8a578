/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/unit.h -- what was read between two offsets, cut into what becomes rows.
 *
 * A unit is one data event of SSE with its control event (protocol 5.8), or a piece of a reply to
 * GET. Its items are messages of a JSON stream or chunks of another one.  Until unit_end it grows;
 * then it is only read, but for the poison mark of an item and the COPY lines that are made ahead.
 * A unit owns its bytes.  Pure.
 */
#pragma once

#include <sys/queue.h>

#include "common/buf.h"
#include "syncd/copy_line.h"
#include "syncd/position.h"
#include "syncd/sink.h"

#define UNIT_CHUNK_BYTES_MAX (1u << 20) /* a row of a byte stream */
#define UNIT_LINES_BYTES_MAX (4u << 20) /* COPY lines that are made ahead */

typedef struct UnitSpan {
    uint32_t at; /* into data */
    uint32_t len;
} UnitSpan;

typedef struct UnitItem {
    uint32_t at; /* into data */
    uint32_t len;
    uint32_t line_at;     /* into lines */
    uint8_t poison;       /* PoisonReason */
    uint8_t traits;       /* JsonTrait bits, of a message */
    bool pairs : 1;       /* no part ends between it and the next one */
    bool has_columns : 1; /* it was scanned whole */
    bool staged : 1;      /* of state, as last folded: it waits for its set's end to be a row */
    bool is_mark : 1;     /* likewise: it begins or ends a set, and is no row at all */
    UnitSpan columns[SINK_EVENT_COLUMNS]; /* len is 0 for NULL */
} UnitItem;

typedef struct Unit {
    STAILQ_ENTRY(Unit) link;
    UnitKind kind;
    Position start; /* of the first item: what was dropped before it is counted in skip */
    Position end;   /* behind the last item */
    bool closed;    /* the stream ends here */
    Buf data;
    UnitItem *items;
    size_t count;
    size_t room;
    unsigned traits; /* of all its messages */
    bool is_text;    /* chunks are cut between characters where there are any */
    Buf lines;       /* of the rows, as COPY reads them; empty unless prepared */
    int64_t lines_generation;
    int64_t lines_seq; /* of the first item */
} Unit;

typedef struct UnitLimits {
    size_t bytes_max;         /* of a unit; at most UINT32_MAX */
    size_t message_bytes_max; /* a longer message is poison */
} UnitLimits;

/* start_skip: what is done behind that offset before anything of this unit is looked at. */
Unit *unit_new(UnitKind kind, Str start_offset, int64_t start_skip, const UnitLimits *limits);
void unit_free(Unit *unit); /* accepts NULL */

/* The messages of one data event: an array, or one value.  The first *drop of them are passed over
 * and taken off *drop.  ERR_PROTOCOL: not JSON; ERR_LIMIT: too large.  Failed: the unit is of no
 * use. */
DS_MUST_CHECK bool unit_add_json(Unit *unit, Str event, const UnitLimits *limits, int64_t *drop,
                                 Error *err);
/* As above, counting bytes; fails for ERR_LIMIT only. */
DS_MUST_CHECK bool unit_add_bytes(Unit *unit, Str bytes, int64_t *drop, Error *err);

void unit_end(Unit *unit, Str end_offset, int64_t end_skip, bool closed);

/* The start, to resume from within the unit.  "-1" is the start of whatever stream has the name
 * then: it is said by the offset that this stream begins at, where offsets name lives of streams,
 * so that what is done of this one never counts as done of a later one. */
void unit_resume_start(const Unit *unit, Position *out);

/* Takes the bytes of a character that has only begun off the end, and copies them out: 3 at most.
 * Not once unit_end was called. */
size_t unit_take_tail(Unit *unit, char out[3]);

/* Marks what the sink cannot hold. */
void unit_judge(Unit *unit, const Sink *sink);

/* Of a stream of state: a reset pairs with a snapshot-start that follows it. */
void unit_pair(Unit *unit);

/* Makes the COPY lines of messages while they wait to be written, for the place of the first one.
 * Units of chunks, and those whose lines would take too much memory, stay as they are; so does a
 * message that turns out to be at fault. */
void unit_prepare(Unit *unit, const Sink *sink, const RowPlace *first);
/* False unless the line was made ahead, for this very place.  No line is made of dead letters. */
bool unit_prepared_line(const Unit *unit, size_t item, const RowPlace *place, Str *out);

Str unit_item_text(const Unit *unit, size_t item);
SinkItem unit_item_view(const Unit *unit, size_t item);
/* How far an item moves seq and skip: 1, or its bytes. */
int64_t unit_item_step(const Unit *unit, size_t item);
int64_t unit_steps(const Unit *unit); /* of all its items */
size_t unit_memory(const Unit *unit); /* bytes it holds */
