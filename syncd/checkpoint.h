/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/checkpoint.h -- a stream's row of ds_sync.stream_offset, as far as we know it.
 *
 * Loading it is the fence: it takes the epoch of the work partition's lease, and who held the
 * stream before can commit no more. Every transaction that writes rows of the stream first moves
 * this row, guarded by what is written here.
 */
#pragma once

#include "common/pg.h"
#include "syncd/position.h"

typedef struct Checkpoint {
    int64_t stream_id;
    int64_t epoch;
    int64_t generation;
    Position position;
    int64_t next_seq;
    bool closed;
} Checkpoint;

/* Columns, in this order, of load_checkpoint.sql, new_generation.sql and read_positions.sql:
 * stream_id, epoch, generation, ds_offset, skip, next_seq, closed.  ERR_PROTOCOL: the row is not
 * what we may have written. */
DS_MUST_CHECK bool checkpoint_read(const PgReply *reply, int row, Checkpoint *out, Error *err);

typedef enum CheckpointVerdict {
    CHECKPOINT_OLD,    /* nothing was committed: try again */
    CHECKPOINT_NEW,    /* the transaction was committed */
    CHECKPOINT_FENCED, /* a later epoch */
    CHECKPOINT_MOVED,  /* somewhere else; or an earlier epoch, since Postgres lost the newest */
} CheckpointVerdict;

/* What Postgres holds against what it held before a transaction and would hold after it. */
CheckpointVerdict checkpoint_judge(const Checkpoint *found, const Checkpoint *before,
                                   const Checkpoint *after);
