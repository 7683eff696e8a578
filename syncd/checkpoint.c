/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/checkpoint.h"

#include "common/ds_proto.h"
#include "common/parse.h"

static bool
column_i64(const PgReply *reply, int row, int column, int64_t *out, Error *err)
{
    Str text = pg_get(reply, row, column);

    if (pg_is_null(reply, row, column) || !parse_i64(text, out) || *out < 0) {
        return error_set(err, ERR_PROTOCOL,
                         "stream_offset holds \"%.*s\" in column %d of the reply",
                         STR_ARG(str_head(text, 64)), column);
    }
    return true;
}

bool
checkpoint_read(const PgReply *reply, int row, Checkpoint *out, Error *err)
{
    Checkpoint found = {0};
    int64_t skip;

    if (!column_i64(reply, row, 0, &found.stream_id, err) ||
        !column_i64(reply, row, 1, &found.epoch, err) ||
        !column_i64(reply, row, 2, &found.generation, err) ||
        !column_i64(reply, row, 4, &skip, err) ||
        !column_i64(reply, row, 5, &found.next_seq, err)) {
        return false;
    }
    Str offset = pg_get(reply, row, 3);
    if (!offset_is_valid(offset) && !str_eq(offset, STR(DS_OFFSET_START))) {
        return error_set(err, ERR_PROTOCOL, "stream_offset holds \"%.*s\", which is no offset",
                         STR_ARG(str_head(offset, 64)));
    }
    position_set(&found.position, offset, skip);
    found.closed = str_eq(pg_get(reply, row, 6), STR("t"));
    *out = found;
    return true;
}

static bool
checkpoint_equal(const Checkpoint *a, const Checkpoint *b)
{
    return a->generation == b->generation && position_equal(&a->position, &b->position) &&
           a->next_seq == b->next_seq && a->closed == b->closed;
}

CheckpointVerdict
checkpoint_judge(const Checkpoint *found, const Checkpoint *before, const Checkpoint *after)
{
    if (found->epoch != before->epoch) {
        return found->epoch > before->epoch ? CHECKPOINT_FENCED : CHECKPOINT_MOVED;
    }
    if (checkpoint_equal(found, after)) {
        return CHECKPOINT_NEW;
    }
    return checkpoint_equal(found, before) ? CHECKPOINT_OLD : CHECKPOINT_MOVED;
}
