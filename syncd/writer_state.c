/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The changes of a table of state, behind the guard: how the sets stand, what appends need, then
 * the folded changes, each kind by one statement.  Where Postgres refuses one of them, or an append
 * does not fit, each is tried alone by one statement (the sieve), so that any number of bad ones
 * costs the same few; what that cannot find is found by transactions that grow shorter.  What
 * concerns whole sets goes in pages, each a statement, so that no statement takes longer than
 * another however large the sets are.
 */
#include "syncd/writer_internal.h"

#include <bsd/string.h>

#include "common/fault.h"
#include "common/log.h"
#include "common/parse.h"
#include "sql/queries.h"
#include "syncd/mutant.h"

static const LogScope scope = {.name = "syncd.writer"};

/* The part that the step is about, from the page's on; false behind the last one. */
static bool
find_page(Writer *writer)
{
    const StateStream *streams = writer->fold.streams;
    StatePage *page = &writer->state_page;

    for (; page->part < writer->fold.stream_count; page->part++) {
        const StateStream *stream = &streams[page->part];
        bool wanted = writer->state_step == STATE_STEP_DROP    ? stream->drop_staged
                      : writer->state_step == STATE_STEP_CLEAR ? stream->drop_visible
                                                               : stream->swap;

        if (wanted) {
            return true;
        }
    }
    *page = (StatePage){.type = page->type, .key = page->key};
    return false;
}

static bool
sifts(const Writer *writer)
{
    return writer->state_step == STATE_STEP_MOVE &&
           writer->transaction.parts[writer->state_page.part].lane->sift;
}

static bool
encode_page(Writer *writer, bool *out_needed, Error *err)
{
    *out_needed = find_page(writer) &&
                  !(writer->state_step == STATE_STEP_REMOVE && MUTANT("state_keeps_absent"));
    return !*out_needed || transaction_encode_state_page(&writer->transaction, &writer->state_page,
                                                         sifts(writer), err);
}

/* Changes, all at once or as the sieve takes them. */
static bool
encode_rows(Writer *writer, bool staged, const char **out_sql, bool *out_needed, Error *err)
{
    Transaction *transaction = &writer->transaction;
    const StateFold *fold = &writer->fold;
    char *const *sql = transaction->sink->state_sql;
    size_t at = 0;

    if (fold->apart && state_fold_next(fold, staged, &at) != NULL) {
        *out_sql = sql[SINK_STATE_FILL];
    } else if (!staged && transaction_only_sets(fold)) {
        *out_sql = mutant_state_put(sql[SINK_STATE_PUT], &writer->scratch);
        bool encoded = transaction_encode_state_put(transaction, fold, &writer->state_put, err);
        *out_needed = writer->state_put > 0;
        return encoded;
    } else {
        *out_sql = staged ? sql[SINK_STATE_STAGE]
                          : mutant_state_statement(sql[SINK_STATE_APPLY], &writer->scratch);
    }
    return transaction_encode_state_rows(transaction, fold, staged, out_needed, err);
}

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
    case STATE_STEP_DROP:
        *out_sql = sql_state_drop;
        return encode_page(writer, out_needed, err);
    case STATE_STEP_STAGE:
        return encode_rows(writer, true, out_sql, out_needed, err);
    case STATE_STEP_REMOVE:
        *out_sql = sql[SINK_STATE_REMOVE];
        return encode_page(writer, out_needed, err);
    case STATE_STEP_MOVE:
        if (!encode_page(writer, out_needed, err)) {
            return false;
        }
        *out_sql = sql[*out_needed && sifts(writer) ? SINK_STATE_SIFT : SINK_STATE_MOVE];
        return true;
    case STATE_STEP_CLEAR:
        *out_sql = sql[SINK_STATE_CLEAR];
        return encode_page(writer, out_needed, err);
    case STATE_STEP_APPLY:
        return encode_rows(writer, false, out_sql, out_needed, err);
    case STATE_STEP_MARK:
        *out_sql = sql_state_mark;
        return transaction_encode_state_mark(transaction, writer->state_sets, &writer->fold,
                                             out_needed, err);
    case STATE_STEP_COUNT:
        break;
    }
    DS_UNREACHABLE("a step behind the last one");
}

static bool
step_is_paged(StateStep step)
{
    return step == STATE_STEP_DROP || step == STATE_STEP_REMOVE || step == STATE_STEP_MOVE ||
           step == STATE_STEP_CLEAR;
}

bool
writer_starts_page(const Writer *writer)
{
    return step_is_paged(writer->state_step) && !writer->state_page.begun;
}

/* Sends the step, or the first one behind it for which there is something to do. */
static void
send_step(Writer *writer)
{
    for (; writer->state_step < STATE_STEP_COUNT; writer->state_step++) {
        const char *sql;
        bool needed;
        Error err;

        writer->state_put = 0;
        if (!encode_step(writer, &sql, &needed, &err)) {
            writer_blame(writer, NULL, LANE_REFUSED, &err);
            return;
        }
        if (needed) {
            bool fills = sql == writer->transaction.sink->state_sql[SINK_STATE_FILL];

            writer_send_arrays(writer, fills ? WRITER_SIEVE_FILL : WRITER_CHANGES, sql);
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
    writer->state_page.part = 0;
    writer->state_page.begun = false;
    state_fold_reset(&writer->fold);
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
            !read_number(reply, row, 2, &sets->snapshot_seq) ||
            !read_number(reply, row, 3, &sets->opened_seq)) {
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

/* Appends that do not fit are found by the sieve, which knows what those before them leave.  Among
 * several streams they are marked, and the rest is folded without them. */
static void
checked(Writer *writer, const PgReply *reply)
{
    if (reply->rows > 0 && writer->transaction.part_count == 1 &&
        transaction_sieve(&writer->transaction)) {
        writer_give_up(writer, WRITER_AFTER_RETRY);
        return;
    }
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

/* The page goes on behind the last row that was looked at, or with the next stream. */
static bool
turn_page(Writer *writer, const PgReply *reply)
{
    StatePage *page = &writer->state_page;
    Part *part = &writer->transaction.parts[page->part];
    bool was_sift = sifts(writer);
    int64_t looked;
    int64_t letters = 0;
    Error err;

    if (!read_number(reply, 0, 2, &looked) || (was_sift && !read_number(reply, 0, 5, &letters))) {
        answer_is_wrong(writer);
        return false;
    }
    if (writer->state_step == STATE_STEP_MOVE &&
        !part_add_sifted(part, (size_t)letters, (size_t)(looked - letters)) && letters > 0) {
        writer_refuse_set(writer);
        return false;
    }
    if (looked < STATE_PAGE_ROWS) {
        page->part++;
        page->begun = false;
        return true;
    }
    buf_reset(&page->type);
    buf_reset(&page->key);
    if (!buf_append(&page->type, pg_get(reply, 0, 3), &err) ||
        !buf_append(&page->key, pg_get(reply, 0, 4), &err)) {
        writer_blame(writer, NULL, LANE_REFUSED, &err);
        return false;
    }
    page->begun = true;
    return true;
}

/* Rows that were left alone since they are newer, and rows that were changed. */
static bool
read_changed(const Writer *writer, const PgReply *reply, int64_t *out_left_alone, int64_t *out_rows)
{
    if (writer->state_put > 0) {
        *out_rows = (int64_t)reply->rows_affected;
        *out_left_alone = (int64_t)writer->state_put - *out_rows;
        return strncmp(reply->tag, "INSERT ", 7) == 0;
    }
    return reply->rows == 1 && read_number(reply, 0, 0, out_left_alone) &&
           read_number(reply, 0, 1, out_rows);
}

static void
changed(Writer *writer, const PgReply *reply)
{
    int64_t left_alone;
    int64_t rows;

    if (!read_changed(writer, reply, &left_alone, &rows)) {
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
    if (!step_is_paged(writer->state_step)) {
        writer->state_step++;
    } else if (!turn_page(writer, reply)) {
        return;
    }
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

/* One row of the sieve's answer: rows left alone, rows changed, and a bad one (or NULL) with its
 * cause. */
static bool
read_fault(const PgReply *reply, int row, int64_t *out_left_alone, int64_t *out_changed,
           int64_t *out_number, Error *out_why)
{
    *out_number = 0;
    if (!read_number(reply, row, 0, out_left_alone) || !read_number(reply, row, 1, out_changed)) {
        return false;
    }
    if (pg_is_null(reply, row, 2)) {
        return true;
    }
    (void)error_set(out_why, ERR_INPUT, "%.*s", STR_ARG(str_head(pg_get(reply, row, 4), 512)));
    (void)strlcpy(out_why->sqlstate, pg_get(reply, row, 3).ptr, sizeof(out_why->sqlstate));
    return read_number(reply, row, 2, out_number) && *out_number > 0;
}

static bool
mark_refused(Transaction *transaction, const StateFold *fold, uint64_t number, const Error *why)
{
    return MUTANT("state_sieve_keeps_quiet") ||
           transaction_mark_entry(transaction, fold, number, why);
}

/* The changes that were bad are marked; all others are carried out. */
static void
sieved(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    int64_t left_alone = 0;
    int64_t rows = 0;
    size_t faults = 0;

    for (int row = 0; row < reply->rows; row++) {
        int64_t number;
        Error why = {0};

        if (!read_fault(reply, row, &left_alone, &rows, &number, &why) ||
            (number > 0 && !mark_refused(transaction, &writer->fold, (uint64_t)number, &why))) {
            answer_is_wrong(writer);
            return;
        }
        faults += number > 0;
    }
    if (left_alone != 0) {
        writer->clashed = true;
        writer_give_up(writer, WRITER_AFTER_SETTLE);
        return;
    }
    if (FAULT("writer.state_sieved")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    writer->rows_sent += (size_t)rows;
    if (faults > 0 && !transaction_allows_letters(transaction)) {
        writer_give_up(writer, WRITER_AFTER_RETRY);
        return;
    }
    writer->state_step++;
    send_step(writer);
}

/* The rows of a snapshot that it refuses at the end came with earlier transactions. */
static bool
may_sift(const Writer *writer)
{
    const Lane *lane = writer->transaction.parts[0].lane;

    return writer->fold.stream_count == 1 && writer->fold.streams[0].swap && !lane->sift &&
           writer->transaction.sink->on_error == ROUTE_ERROR_DEAD_LETTER;
}

void
writer_changes_refused(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    bool at_end = writer->state == WRITER_CHANGES && writer->state_step == STATE_STEP_MOVE;

    if (writer_table_is_at_fault(writer, reply)) {
        return;
    }
    if (transaction->part_count > 1) {
        writer_try_each_alone(writer);
        writer_give_up(writer, WRITER_AFTER_RETRY);
    } else if (!(at_end && may_sift(writer)) &&
               (transaction_sieve(transaction) || transaction_narrow(transaction, &reply->err))) {
        writer_give_up(writer, WRITER_AFTER_RETRY);
    } else if (may_sift(writer)) {
        lane_sift(transaction->parts[0].lane, &reply->err);
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
    if (writer->state == WRITER_SIEVE_FILL) {
        writer_send(writer, WRITER_SIEVE,
                    mutant_state_sieve(writer->transaction.sink->state_sql[SINK_STATE_SIEVE],
                                       &writer->scratch));
        return;
    }
    if (writer->state == WRITER_SIEVE) {
        sieved(writer, reply);
        return;
    }
    switch (writer->state_step) {
    case STATE_STEP_OPEN:
        opened(writer, reply);
        break;
    case STATE_STEP_CHECK:
        checked(writer, reply);
        break;
    case STATE_STEP_DROP:
    case STATE_STEP_STAGE:
    case STATE_STEP_REMOVE:
    case STATE_STEP_MOVE:
    case STATE_STEP_CLEAR:
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
