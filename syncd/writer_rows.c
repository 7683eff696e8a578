/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of a transaction by COPY, and the search for those that Postgres refuses: first by the
 * line that COPY names, after a few of them by savepoints.
 */
#include "syncd/writer_internal.h"

#include "common/fault.h"
#include "sql/queries.h"

/* Bad rows were found more often than COPY's line numbers are worth trying. */
bool
writer_searches(const Writer *writer)
{
    return writer->line_tries >= WRITER_LINE_TRIES_MAX;
}

/* All at once for a search, which goes back and forth in them. */
static void
encode_slice(Writer *writer)
{
    size_t rows_max = writer_searches(writer) ? SIZE_MAX : WRITER_SLICE_ROWS;

    writer->slice_failed =
        !transaction_next_slice(&writer->transaction, rows_max, &writer->slice_err);
}

static void
push_range(Writer *writer, size_t first, size_t end)
{
    DS_ASSERT(writer->range_count < WRITER_RANGES_MAX);
    if (first < end) {
        writer->ranges[writer->range_count++] = (RowRange){first, end};
    }
}

void
writer_begin_rows(Writer *writer)
{
    Transaction *transaction = &writer->transaction;

    writer->range_count = 0;
    writer->savepoint = false;
    writer->savepoint_clean = false;
    transaction_first_slice(transaction);
    encode_slice(writer);
    if (writer_searches(writer)) {
        push_range(writer, transaction->slice_first, transaction->slice_end);
    }
}

static void
send_copy(Writer *writer)
{
    const Transaction *transaction = &writer->transaction;
    const char *sql = transaction->kind == UNIT_BYTES ? sql_copy_chunks : sql_copy_events;

    writer_enter(writer, WRITER_ROWS);
    writer_command_started(writer);
    pg_copy_in(writer->pg, sql,
               transaction_copy_text(transaction, writer->range.first, writer->range.end),
               writer_on_reply, writer);
    if (!writer_searches(writer)) {
        encode_slice(writer); /* while Postgres takes this one */
    }
    writer_drop_if(writer, FAULT("writer.copy_sent"));
}

/* The next range of rows; false behind the last one. */
static bool
next_range(Writer *writer)
{
    const Transaction *transaction = &writer->transaction;

    if (MUTANT("offset_without_rows")) {
        return false;
    }
    if (!writer_searches(writer)) {
        writer->range = (RowRange){transaction->slice_first, transaction->slice_end};
        return writer->range.first < writer->range.end;
    }
    if (writer->range_count == 0) {
        return false;
    }
    writer->range = writer->ranges[--writer->range_count];
    return true;
}

void
writer_send_rows(Writer *writer)
{
    if (writer->slice_failed) {
        writer_blame(writer, NULL, LANE_REFUSED, &writer->slice_err);
    } else if (!next_range(writer)) {
        writer_send_letters(writer);
    } else if (MUTANT("offset_before_rows")) {
        writer_send(writer, WRITER_SAVEPOINT, "COMMIT; BEGIN");
    } else if (!writer_searches(writer) || writer->savepoint_clean) {
        send_copy(writer);
    } else if (writer->savepoint) {
        writer_send(writer, WRITER_SAVEPOINT, "RELEASE SAVEPOINT rows; SAVEPOINT rows");
    } else {
        /* A deferred constraint is to speak up here, where its row can be found. */
        writer_send(writer, WRITER_SAVEPOINT, "SET CONSTRAINTS ALL IMMEDIATE; SAVEPOINT rows");
    }
}

/* 23505 on a primary key of ours: somebody wrote these rows, and it may have been us. */
bool
writer_is_own_key(const PgReply *reply)
{
    return strcmp(reply->err.sqlstate, "23505") == 0 &&
           str_ends(str_c(reply->constraint), STR("_pkey"));
}

/* Marks a row as refused.  False: the stream has too many of them, and is given up. */
static bool
mark_row(Writer *writer, size_t index, const Error *why)
{
    TransactionRow *row = &writer->transaction.rows[index];
    Error err;

    if (lane_mark_fault(row->part->lane, row->unit, row->item, row->seq, why)) {
        row->part->letters++;
        writer->transaction.letters++;
        return true;
    }
    (void)error_set(&err, ERR_LIMIT,
                    "more than %d dead letters within %d messages; Postgres refuses the row of seq "
                    "%lld: %s",
                    POISON_LETTERS_MAX, POISON_WINDOW_MESSAGES, (long long)row->seq, why->text);
    (void)memcpy(err.sqlstate, why->sqlstate, sizeof(err.sqlstate));
    writer_blame(writer, row->part->lane, LANE_REFUSED, &err);
    return false;
}

/* Postgres refused a row of the range: finds it, or halves the range. */
static void
search_rows(Writer *writer, const PgReply *reply, bool line_known, size_t bad)
{
    RowRange range = writer->range;
    size_t middle = range.first + (range.end - range.first) / 2;

    if (writer->range_count + 2 > WRITER_RANGES_MAX) {
        writer_blame(writer, NULL, LANE_REFUSED, &reply->err);
        return;
    }
    if (line_known || range.end - range.first == 1) {
        bad = line_known ? bad : range.first;
        if (!mark_row(writer, bad, &reply->err)) {
            return;
        }
        push_range(writer, bad + 1, range.end);
        push_range(writer, range.first, bad);
    } else {
        push_range(writer, middle, range.end);
        push_range(writer, range.first, middle);
    }
    writer_send(writer, WRITER_UNDO, "ROLLBACK TO SAVEPOINT rows");
}

static void
rows_refused(Writer *writer, const PgReply *reply)
{
    uint64_t line = 0;
    bool line_known = poison_copy_line(str_c(reply->context), &line) &&
                      line <= writer->range.end - writer->range.first;
    size_t bad = writer->range.first + (size_t)(line_known ? line - 1 : 0);

    if (writer_is_own_key(reply)) {
        writer->clashed = true;
        writer_give_up(writer, WRITER_AFTER_SETTLE);
    } else if (writer_searches(writer)) {
        search_rows(writer, reply, line_known, bad);
    } else {
        writer->force_long = true;
        writer->line_tries = line_known ? writer->line_tries + 1 : WRITER_LINE_TRIES_MAX;
        if (!line_known || mark_row(writer, bad, &reply->err)) {
            writer_give_up(writer, WRITER_AFTER_RETRY);
        }
    }
}

static void
copied(Writer *writer, const PgReply *reply)
{
    size_t count = writer->range.end - writer->range.first;
    Error err;

    if (!reply->ok && reply->error_class == PG_ERROR_ROW) {
        rows_refused(writer, reply);
    } else if (!reply->ok) {
        writer_write_failed(writer, reply);
    } else if (reply->rows_affected != count) {
        (void)error_set(&err, ERR_CONFIG,
                        "COPY wrote %llu of %zu rows: a trigger or a rule drops some",
                        (unsigned long long)reply->rows_affected, count);
        writer_blame(writer, NULL, LANE_REFUSED, &err);
    } else {
        writer->rows_sent += count;
        writer->savepoint_clean = false;
        writer_send_rows(writer);
    }
}

void
writer_rows_reply(Writer *writer, const PgReply *reply)
{
    if (writer->state == WRITER_ROWS) {
        copied(writer, reply);
    } else if (!reply->ok) {
        writer_write_failed(writer, reply);
    } else if (writer->state == WRITER_SAVEPOINT) {
        writer->savepoint = true;
        send_copy(writer);
    } else {
        writer->savepoint_clean = true;
        writer_send_rows(writer);
    }
}
