/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of a transaction by COPY, and what happens to those that Postgres refuses: the first
 * ones are found by the line that COPY names, and after a few of them Postgres tries each row of
 * a slice alone (the sieve), so that any number of bad rows costs the same few statements.
 */
#include "syncd/writer_internal.h"

#include <bsd/string.h>

#include "common/fault.h"
#include "common/log.h"
#include "common/parse.h"

static const LogScope scope = {.name = "syncd.writer"};

/* Bad rows were found more often than COPY's line numbers are worth trying. */
bool
writer_sieves(const Writer *writer)
{
    return writer->line_tries >= WRITER_LINE_TRIES_MAX;
}

/* A few at first, so that Postgres need not wait; then the rest, since each COPY costs a round
 * trip. */
static void
encode_slice(Writer *writer)
{
    size_t rows_max = writer->transaction.slice_end == 0 ? WRITER_SLICE_ROWS : SIZE_MAX;

    writer->slice_failed =
        !transaction_next_slice(&writer->transaction, rows_max, &writer->slice_err);
}

void
writer_begin_rows(Writer *writer)
{
    transaction_first_slice(&writer->transaction);
    writer->slice_failed = false;
    if (!writer_sieves(writer)) {
        encode_slice(writer);
    }
}

static void
send_copy(Writer *writer)
{
    const Transaction *transaction = &writer->transaction;
    const CopyText *copy = transaction_copy_text(transaction);

    writer->range_first = transaction->slice_first;
    writer->range_end = transaction->slice_end;
    writer_enter(writer, WRITER_ROWS);
    writer_command_started(writer);
    pg_copy_in(writer->pg, transaction->sink->copy_sql, copy->texts, copy->count, writer_on_reply,
               writer);
    encode_slice(writer); /* while Postgres takes this one */
    writer_drop_if(writer, FAULT("writer.copy_sent"));
}

static void
send_sieve(Writer *writer)
{
    Transaction *transaction = &writer->transaction;
    Error err;

    if (!transaction_next_sieve(transaction, WRITER_SLICE_ROWS, &err)) {
        writer_blame(writer, NULL, LANE_REFUSED, &err);
    } else if (transaction->slice_first == transaction->slice_end) {
        writer_send_letters(writer);
    } else {
        writer_send_arrays(writer, WRITER_SIEVE_FILL, transaction->sink->sieve_fill_sql);
    }
}

void
writer_send_rows(Writer *writer)
{
    const Transaction *transaction = &writer->transaction;

    if (writer->slice_failed) {
        writer_blame(writer, NULL, LANE_REFUSED, &writer->slice_err);
    } else if (MUTANT("offset_without_rows")) {
        writer_send_letters(writer);
    } else if (writer_sieves(writer)) {
        send_sieve(writer);
    } else if (transaction->slice_first == transaction->slice_end) {
        writer_send_letters(writer);
    } else {
        send_copy(writer);
    }
}

static void
rows_dropped(Writer *writer, uint64_t written, size_t count)
{
    Error err;

    (void)error_set(&err, ERR_CONFIG,
                    "%llu of %zu rows were written: a trigger or a rule drops some",
                    (unsigned long long)written, count);
    writer_blame(writer, NULL, LANE_REFUSED, &err);
}

/* A unique key may be the sink's own, and a value may be of no type that the column has any more;
 * only the sieve can tell. */
static void
rows_refused(Writer *writer, const PgReply *reply)
{
    uint64_t line = 0;
    bool line_known = strcmp(reply->err.sqlstate, "23505") != 0 &&
                      !str_starts(str_c(reply->err.sqlstate), STR("22")) &&
                      poison_copy_line(str_c(reply->context), &line) &&
                      line <= writer->range_end - writer->range_first;

    if (writer_table_is_at_fault(writer, reply)) {
        return;
    }
    writer->force_long = true;
    writer->line_tries = line_known ? writer->line_tries + 1 : WRITER_LINE_TRIES_MAX;
    if (line_known) {
        transaction_mark(&writer->transaction, writer->range_first + (size_t)line - 1, &reply->err);
    }
    writer_give_up(writer, WRITER_AFTER_RETRY);
}

static void
copied(Writer *writer, const PgReply *reply)
{
    size_t count = writer->range_end - writer->range_first;

    if (!reply->ok && reply->error_class == PG_ERROR_ROW) {
        rows_refused(writer, reply);
    } else if (!reply->ok) {
        writer_write_failed(writer, reply);
    } else if (reply->rows_affected != count) {
        rows_dropped(writer, reply->rows_affected, count);
    } else {
        writer->rows_sent += count;
        writer_send_rows(writer);
    }
}

/* One row of the sieve's answer: how many were written, and a bad row (or NULL) with its cause. */
static bool
read_fault(const PgReply *reply, int row, size_t row_count, uint64_t *out_written,
           uint64_t *out_number, Error *out_why)
{
    *out_number = 0;
    if (!parse_u64(pg_get(reply, row, 0), row_count, out_written)) {
        return false;
    }
    if (pg_is_null(reply, row, 1)) {
        return true;
    }
    (void)error_set(out_why, ERR_INPUT, "%.*s", STR_ARG(str_head(pg_get(reply, row, 3), 512)));
    (void)strlcpy(out_why->sqlstate, pg_get(reply, row, 2).ptr, sizeof(out_why->sqlstate));
    return parse_u64(pg_get(reply, row, 1), row_count, out_number) && *out_number > 0;
}

/* The rows that were bad are marked; all others are written. */
static void
sieved(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    size_t count = transaction->slice_end - transaction->slice_first;
    uint64_t written = 0;
    size_t faults = 0;

    for (int row = 0; row < reply->rows; row++) {
        uint64_t number;
        Error why;

        if (!read_fault(reply, row, count, &written, &number, &why)) {
            (void)error_set(&why, ERR_PROTOCOL, "the answer about single rows is not what it was");
            writer_blame(writer, NULL, LANE_REFUSED, &why);
            return;
        }
        if (number > 0) {
            transaction_mark(transaction, transaction->slice_first + (size_t)number - 1, &why);
            faults++;
        }
    }
    if (written + faults != count) {
        rows_dropped(writer, written, count - faults);
        return;
    }
    if (FAULT("writer.sieved")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    writer->rows_sent += (size_t)written;
    if (faults > 0 && !transaction_allows_letters(transaction)) {
        writer_give_up(writer, WRITER_AFTER_RETRY);
    } else {
        writer_send_rows(writer);
    }
}

static void
sieve_reply(Writer *writer, const PgReply *reply)
{
    if (reply->ok) {
        sieved(writer, reply);
    } else if (strcmp(reply->err.sqlstate, "23505") == 0) {
        writer->clashed = true; /* the sink's own key: the sieve catches any other */
        writer_give_up(writer, WRITER_AFTER_SETTLE);
    } else {
        writer_write_failed(writer, reply);
    }
}

void
writer_rows_reply(Writer *writer, const PgReply *reply)
{
    if (writer->state == WRITER_ROWS) {
        copied(writer, reply);
    } else if (writer->state == WRITER_SIEVE) {
        sieve_reply(writer, reply);
    } else if (!reply->ok) {
        writer_write_failed(writer, reply);
    } else {
        writer_send(writer, WRITER_SIEVE, writer->transaction.sink->sieve_sql);
    }
}
