/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of a transaction whose outcome is unknown, or whose guard missed: Postgres is asked,
 * and each stream gets its own answer.
 */
#include "syncd/writer_internal.h"

#include "common/parse.h"
#include "sql/queries.h"
#include "syncd/error_class.h"

void
writer_settle(Writer *writer)
{
    PgParam params[TRANSACTION_ARRAYS_MAX + 1];
    Error err;

    bool encoded = transaction_encode_ids(&writer->transaction, &err);

    DS_ASSERT(encoded && writer->transaction.array_count == 1); /* a few hundred numbers */
    transaction_params(&writer->transaction, params);
    params[1] = (PgParam){.value = writer->lock_limit};
    writer_enter(writer, WRITER_SETTLE);
    writer_command_started(writer);
    pg_query(writer->pg, sql_read_positions, params, 2, writer_on_reply, writer);
}

bool
writer_reply_has(const PgReply *reply, int64_t stream_id, int *out_row)
{
    int first = 0;
    int end = reply->rows;

    while (first < end) {
        int middle = first + (end - first) / 2;
        int64_t id = 0;

        if (!parse_i64(pg_get(reply, middle, 0), &id) || id == stream_id) {
            *out_row = middle;
            return id == stream_id;
        }
        if (id < stream_id) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return false;
}

/* Own epoch, nothing moved: it is tried again, unless its rows are there already time after time.
 */
static void
settle_old(Writer *writer, const Part *part, bool clashed)
{
    Lane *lane = part->lane;
    Error err;

    writer_release(writer, part);
    if (!clashed) {
        return;
    }
    lane->clashes++;
    if (lane->clashes < WRITER_CLASHES_MAX) {
        lane->alone = true;
        return;
    }
    (void)error_set(
        &err, ERR_CONFLICT,
        "rows from seq %lld on are in the table already, though the offset stands before "
        "them: somebody else wrote or restored them",
        (long long)lane->checkpoint.next_seq);
    writer_trouble(writer, lane, LANE_REFUSED, &err);
}

static void
settle_part(Writer *writer, const PgReply *reply, const Part *part, bool clashed)
{
    Lane *lane = part->lane;
    Checkpoint after = part_after(part);
    Checkpoint found;
    Error err;
    int row;

    if (!writer_reply_has(reply, lane->checkpoint.stream_id, &row)) {
        writer_release(writer, part);
        (void)error_set(&err, ERR_GONE, "its row of ds_sync.stream_offset is gone");
        writer_trouble(writer, lane, LANE_REFUSED, &err);
        return;
    }
    if (!checkpoint_read(reply, row, &found, &err)) {
        writer_release(writer, part);
        writer_trouble(writer, lane, LANE_REFUSED, &err);
        return;
    }
    switch (checkpoint_judge(&found, &lane->checkpoint, &after)) {
    case CHECKPOINT_NEW:
        writer_acknowledge_part(writer, part);
        break;
    case CHECKPOINT_OLD:
        settle_old(writer, part, clashed);
        break;
    case CHECKPOINT_FENCED:
        writer_release(writer, part);
        (void)error_set(&err, ERR_CONFLICT, "fenced: epoch %lld has taken over from epoch %lld",
                        (long long)found.epoch, (long long)lane->checkpoint.epoch);
        writer_trouble(writer, lane, LANE_FENCED, &err);
        break;
    case CHECKPOINT_MOVED:
        writer_release(writer, part);
        (void)error_set(&err, ERR_CONFLICT,
                        "the offset was moved to %s, skip %lld, next_seq %lld by somebody else",
                        found.position.offset, (long long)found.position.skip,
                        (long long)found.next_seq);
        writer_trouble(writer, lane, LANE_MOVED, &err);
        break;
    }
}

/* Somebody holds a row for long.  Each stream loads its position then, which waits for that row in
 * its turn and lets the other streams go on; whatever becomes of the transaction meanwhile, the
 * guard of the next one sees it. */
static void
settle_stalled(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    size_t count = transaction->part_count;
    Error err;

    (void)error_set(&err, ERR_RETRY, "whether its last transaction is committed is not known: %s",
                    reply->err.text);
    writer_succeeded(writer);
    writer_count_settled(writer);
    writer->clashed = false;
    transaction->part_count = 0;
    for (size_t i = 0; i < count; i++) {
        writer_release(writer, &transaction->parts[i]);
        writer_trouble(writer, transaction->parts[i].lane, LANE_MOVED, &err);
    }
    writer_idle(writer);
}

void
writer_settle_reply(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    size_t count = transaction->part_count;
    bool clashed = writer->clashed;

    if (!reply->ok) {
        if (reply->error_class == PG_ERROR_CONNECTION) {
            writer_lost(writer, reply);
        } else if (error_class_of_postgres(reply->error_class, reply->err.sqlstate) ==
                   ERROR_CLASS_POSTGRES_STALLED) {
            settle_stalled(writer, reply);
        } else {
            writer_wait(writer, reply);
        }
        return;
    }
    writer_succeeded(writer);
    writer_count_settled(writer);
    writer->clashed = false;
    transaction->part_count = 0;
    for (size_t i = 0; i < count; i++) {
        settle_part(writer, reply, &transaction->parts[i], clashed);
    }
    writer_idle(writer);
}
