/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/state_fold.h -- many changes of streams of state become one write per (type, key).
 *
 * Two sets of rows belong to a stream: the visible one, which is the target table, and the staged
 * one, which exists while a snapshot is open.
 *   change          goes to the staged set while there is one, else to the visible one
 *   reset           empties the visible set and drops the staged one; but a reset that is followed
 *                   at once by snapshot-start does nothing, so that nobody sees an empty table
 *                   where a full one is on its way
 *   snapshot-start  begins an empty staged set, in place of one that is there
 *   snapshot-end    the staged set becomes the visible one; without one nothing happens
 * What can be settled in memory never touches Postgres.  The outcome is to be carried out in this
 * order: what appends need is looked at, drop_staged, staged entries, swap, drop_visible, visible
 * entries.
 *
 * Views of messages are kept: they must live until the next state_fold_reset.  Pure.
 */
#pragma once

#include "common/arena.h"
#include "syncd/state_change.h"

#define STATE_SEQ_NONE (-1)

/* What is to become of one row. */
typedef struct StateEntry {
    Str type; /* decoded */
    Str key;
    Str message;  /* the last that sets the value, else the first that appends to it */
    Str offset;   /* of the newest message */
    StateOp op;   /* STATE_SET, _DELETE, _APPEND_STRING, _APPEND_ARRAY: an append goes to what is
                     there; where there is no row it sets */
    int64_t seq;  /* of the newest message */
    StateOp base; /* what is there already, if anything, must take this append... */
    int64_t base_seq; /* ... of this message, else that one is at fault; or STATE_SEQ_NONE */
    bool base_staged; /* in the staged set of Postgres, else in the visible one */
    uint32_t stream;
    uint32_t round; /* the set that it belongs to */
    uint32_t first_piece;
    uint32_t last_piece;
    uint32_t next; /* of those with the same hash, 0: none */
} StateEntry;

/* What is to become of the sets of one stream. */
typedef struct StateStream {
    bool drop_staged;
    bool swap; /* the staged set becomes the visible one */
    bool drop_visible;
    int64_t cleared_seq;  /* newest message that emptied the visible set, or STATE_SEQ_NONE */
    int64_t snapshot_seq; /* of the snapshot-start that is open behind it, or STATE_SEQ_NONE */
    int64_t opened_seq;   /* of the first of the snapshot-starts since the visible set changed, or
                             STATE_SEQ_NONE: what lies between it and snapshot_seq was given up */
    int64_t reset_seq;    /* a reset of which is not known yet what follows, or STATE_SEQ_NONE */
    bool staged_in_table; /* the open snapshot began in an earlier transaction */
    uint32_t visible_round;
    uint32_t staged_round;
} StateStream;

typedef struct StatePiece {
    Str text;      /* the value, or what is between its quotes or brackets */
    uint32_t next; /* 0: none */
} StatePiece;

typedef struct StateFold {
    StateStream *streams;
    size_t stream_count;
    size_t stream_room;
    StateEntry *entries; /* [0] is not used */
    size_t entry_count;
    size_t entry_room;
    StatePiece *pieces; /* [0] is not used */
    size_t piece_count;
    size_t piece_room;
    uint32_t *buckets;
    size_t bucket_count; /* a power of two */
    uint32_t rounds;
    bool apart; /* each change is an entry of its own, in their order; what an append goes to is not
                   looked at; set by the caller behind the reset */
    Str offset; /* of the messages that are added next; set by the caller */
    Arena names; /* types and keys that had escapes */
} StateFold;

void state_fold_init(StateFold *fold);
void state_fold_done(StateFold *fold);
void state_fold_reset(StateFold *fold); /* forgets everything, keeps memory */

/* Begins the next stream.  snapshot_seq: of the snapshot that is open in Postgres, opened_seq: of
 * the first that has been open since, or STATE_SEQ_NONE.  first_of_generation: the rows in Postgres
 * are of a stream that is no more; they and its snapshot go. */
void state_fold_stream(StateFold *fold, int64_t snapshot_seq, int64_t opened_seq,
                       bool first_of_generation, int64_t first_seq);
/* False: this change cannot be in one transaction with what was added before; the fold is of no use
 * any more.  *out_back says how many messages before it belong to it (0, or 1: a reset). */
DS_MUST_CHECK bool state_fold_add(StateFold *fold, const StateChange *change, Str message,
                                  int64_t seq, size_t *out_back);
/* Behind the last message of the stream, and in the place of one that is left out. */
void state_fold_end(StateFold *fold);

/* Walks the entries that append to what Postgres has, whatever became of them later: base_seq is
 * theirs.  To be asked before anything is carried out.  *at is 0 at first; NULL behind the last. */
const StateEntry *state_fold_next_base(const StateFold *fold, size_t *at);
/* Walks the entries that count: *at is 0 at first.  NULL behind the last one. */
const StateEntry *state_fold_next(const StateFold *fold, bool staged, size_t *at);
/* One message is all that made its value; not of a deletion. */
bool state_fold_is_of_one(const StateFold *fold, const StateEntry *entry);
/* JSON text of what is set or appended; not of a deletion. */
DS_MUST_CHECK bool state_fold_value(const StateFold *fold, const StateEntry *entry, Buf *out,
                                    Error *err);
