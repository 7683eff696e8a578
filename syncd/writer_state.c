/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The changes of a table of state, behind the guard: how the sets stand, what appends need, then
 * the folded changes, each kind by one statement.  A change that Postgres refuses is found by
 * transactions that grow shorter.
 */
#include "syncd/writer_internal.h"

#include "common/fault.h"
#include "common/log.h"
#include "common/parse.h"
#include "sql/queries.h"

static const LogScope scope = {.name = "syncd.writer"};

static bool
encode_step(Writer *writer, const char **out_sql, bool *out_needed, Error *err)
{
    Transaction *transaction = &writer->transaction;
    char *const *sql = transaction->sink->state_sql;

    *out_needed = true;
    switch (writer->state_step) {
    case STATE_STEP_OPEN:
        *out_sql = sql_state_open;
        return transaction_encode_state_open(transaction, err);
    case STATE_STEP_CHECK:
        *out_sql = sql[SINK_STATE_CHECK];
        return transaction_encode_state_check(transaction, &writer->fold, out_needed, err);
    case STATE_STEP_STAGE:
        *out_sql = sql[SINK_STATE_STAGE];
        return transaction_encode_state_rows(transaction, &writer->fold, true, out_needed, err);
    case STATE_STEP_SWAP:
        *out_sql = sql[SINK_STATE_SWAP];
        return transaction_encode_state_swap(transaction, &writer->fold, out_needed, err);
    case STATE_STEP_APPLY:
        *out_sql = sql[SINK_STATE_APPLY];
        return transaction_encode_state_rows(transaction, &writer->fold, false, out_needed, err);
    case STATE_STEP_MARK:
        *out_sql = sql_state_mark;
        return transaction_encode_state_mark(transaction, writer->state_sets, &writer->fold,
                                             out_needed, err);
    case STATE_STEP_COUNT:
        break;
    }
    DS_UNREACHABLE("a step behind the last one");
}

/* Sends the step, or the first one behind it for which there is something to do. */
static void
send_step(Writer *writer)
{
    for (; writer->state_step < STATE_STEP_COUNT; writer->state_step++) {
        const char *sql;
        bool needed;
        Error err;

        if (!encode_step(writer, &sql, &needed, &err)) {
            writer_blame(writer, NULL, LANE_REFUSED, &err);
            return;
        }
        if (needed) {
            writer_send_arrays(writer, WRITER_CHANGES, sql);
            return;
        }
    }
    writer_send_letters(writer);
}

void
writer_send_changes(Writer *writer)
{
    if (MUTANT("offset_without_rows")) {
        writer_send_letters(writer);
        return;
    }
    writer->state_step = STATE_STEP_OPEN;
    send_step(writer);
}

/* --- answers --- */

static void
answer_is_wrong(Writer *writer)
{
    Error err;

    (void)error_set(&err, ERR_PROTOCOL, "the answer about a table of state is not what it was");
    writer_blame(writer, NULL, LANE_REFUSED, &err);
}

static bool
read_number(const PgReply *reply, int row, int column, int64_t *out)
{
    return !pg_is_null(reply, row, column) && parse_i64(pg_get(reply, row, column), out);
}

static void
opened(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;

    for (size_t i = 0; i < transaction->part_count; i++) {
        StateSets *sets = &writer->state_sets[i];
        int row;

        if (!writer_reply_has(reply, transaction->parts[i].lane->checkpoint.stream_id, &row) ||
            !read_number(reply, row, 1, &sets->generation) ||
            !read_number(reply, row, 2, &sets->snapshot_seq)) {
            answer_is_wrong(writer);
            return;
        }
    }
    if (!transaction_fold(transaction, writer->state_sets, &writer->fold)) {
        writer_give_up(writer, WRITER_AFTER_RETRY);
        return;
    }
    writer->state_step++;
    send_step(writer);
}

/* Appends that do not fit are marked, and the rest is folded without them. */
static void
checked(Writer *writer, const PgReply *reply)
{
    for (int row = 0; row < reply->rows; row++) {
        int64_t stream_id;
        int64_t seq;

        if (!read_number(reply, row, 0, &stream_id) || !read_number(reply, row, 1, &seq) ||
            !transaction_mark_append(&writer->transaction, stream_id, seq, pg_get(reply, row, 2),
                                     pg_get(reply, row, 3))) {
            answer_is_wrong(writer);
            return;
        }
    }
    if (reply->rows > 0) {
        writer_give_up(writer, WRITER_AFTER_RETRY);
        return;
    }
    writer->state_step++;
    send_step(writer);
}

/* The answer: rows that were left alone since they are newer, and rows that were changed. */
static void
changed(Writer *writer, const PgReply *reply)
{
    int64_t left_alone;
    int64_t rows;

    if (reply->rows != 1 || !read_number(reply, 0, 0, &left_alone) ||
        !read_number(reply, 0, 1, &rows)) {
        answer_is_wrong(writer);
        return;
    }
    if (left_alone != 0) {
        writer->clashed = true;
        writer_give_up(writer, WRITER_AFTER_SETTLE);
        return;
    }
    if (FAULT("writer.state_changed")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    writer->rows_sent += (size_t)rows;
    writer->state_step++;
    send_step(writer);
}

static void
marked(Writer *writer, const PgReply *reply)
{
    int64_t missing;

    if (reply->rows != 1 || !read_number(reply, 0, 0, &missing) || missing != 0) {
        answer_is_wrong(writer);
        return;
    }
    writer->state_step++;
    send_step(writer);
}

void
writer_changes_refused(Writer *writer, const PgReply *reply)
{
    if (writer->transaction.part_count > 1) {
        writer->solo = writer->transaction.part_count;
        writer_give_up(writer, WRITER_AFTER_RETRY);
    } else if (transaction_narrow(&writer->transaction, &reply->err)) {
        writer_give_up(writer, WRITER_AFTER_RETRY);
    } else {
        writer_blame(writer, NULL, LANE_REFUSED, &reply->err);
    }
}

void
writer_changes_reply(Writer *writer, const PgReply *reply)
{
    if (!reply->ok && reply->error_class == PG_ERROR_ROW) {
        writer_changes_refused(writer, reply);
        return;
    }
    if (!reply->ok) {
        writer_write_failed(writer, reply);
        return;
    }
    switch (writer->state_step) {
    case STATE_STEP_OPEN:
        opened(writer, reply);
        break;
    case STATE_STEP_CHECK:
        checked(writer, reply);
        break;
    case STATE_STEP_STAGE:
    case STATE_STEP_SWAP:
    case STATE_STEP_APPLY:
        changed(writer, reply);
        break;
    case STATE_STEP_MARK:
        marked(writer, reply);
        break;
    case STATE_STEP_COUNT:
        DS_UNREACHABLE("a step behind the last one");
        break;
    }
}
