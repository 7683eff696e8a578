/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transaction (design 6): one statement for a few rows, or BEGIN, guard, COPY, COMMIT.  What is
 * not known to be committed is never forgotten, and what is not known to be lost is never sent
 * again.
 */
#include "syncd/writer_internal.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "sql/queries.h"
#include "syncd/mutant.h"

static const LogScope scope = {.name = "syncd.writer"};

#define ELECTRIC_BATCH 100 /* Electric 1.4.2 loses a transaction of a multiple of this (#3726) */

/* --- composing --- */

static PartLimits
writer_limits(const Writer *writer)
{
    PartLimits limits = {.rows_max = (size_t)writer->config.rows_max,
                         .bytes_max = (size_t)writer->config.bytes_max};

    /* A full batch is the usual one under load: spare it the pad row. */
    if (writer->config.electric_pads && limits.rows_max % ELECTRIC_BATCH == 0) {
        limits.rows_max--;
    }
    return limits;
}

bool
writer_compose(Writer *writer)
{
    Transaction *transaction = &writer->transaction;
    PartLimits limits = writer_limits(writer);
    Lane *lane = TAILQ_FIRST(&writer->ready);

    transaction_reset(transaction);
    while (lane != NULL && (writer->solo == 0 || transaction->part_count == 0)) {
        Lane *next = TAILQ_NEXT(lane, ready_link);
        bool too_poisonous;

        if (lane_is_empty(lane)) {
            TAILQ_REMOVE(&writer->ready, lane, ready_link); /* its session dropped the queue */
            lane->is_ready = false;
        } else if (transaction_add(transaction, lane, &limits, &too_poisonous)) {
            TAILQ_REMOVE(&writer->ready, lane, ready_link);
            lane->is_ready = false;
            lane->in_flight = true;
        } else if (too_poisonous) {
            Error err;

            (void)error_set(
                &err, ERR_LIMIT,
                "more than %d dead letters within %d messages: nothing past seq %lld is "
                "loaded",
                POISON_LETTERS_MAX, POISON_WINDOW_MESSAGES,
                (long long)lane->checkpoint.next_seq - 1);
            writer_trouble(writer, lane, LANE_REFUSED, &err);
        }
        lane = next;
    }
    if (writer->solo > 0) {
        writer->solo--;
    }
    transaction_sort(transaction);
    return transaction->part_count > 0;
}

/* --- giving lanes back --- */

static void
part_release(Writer *writer, const Part *part)
{
    part->lane->in_flight = false;
    writer_lane_filled(writer, part->lane);
}

/* Nothing of it was committed: it is composed again. */
static void
transaction_release(Writer *writer)
{
    for (size_t i = 0; i < writer->transaction.part_count; i++) {
        part_release(writer, &writer->transaction.parts[i]);
    }
    writer->transaction.part_count = 0;
}

static void
part_acknowledge(Writer *writer, const Part *part)
{
    const Stats *stats = writer->config.stats;
    Lane *lane = part->lane;

    metric_add(stats->rows, part->items - part->letters);
    metric_add(stats->letters, part->letters);
    metric_add(stats->bytes, part->bytes);
    part_committed(part);
    part_release(writer, part);
    lane->callbacks->on_committed(lane->arg, part->items - part->letters, part->letters);
}

/* All parts but the first `missed` are in Postgres. */
static void
transaction_acknowledge(Writer *writer, size_t missed)
{
    Transaction *transaction = &writer->transaction;
    const Stats *stats = writer->config.stats;
    size_t count = transaction->part_count;

    transaction->part_count = missed;
    writer->force_long = false;
    writer->line_tries = 0;
    metric_add(stats->transactions, 1);
    metric_observe(stats->transaction_rows, (double)transaction->items);
    metric_observe(stats->transaction_seconds, (double)(clock_mono_ns() - writer->begun_ns) / 1e9);
    for (size_t i = missed; i < count; i++) {
        part_acknowledge(writer, &transaction->parts[i]);
    }
    if (FAULT("writer.acked")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
}

static void
writer_idle(Writer *writer)
{
    writer_enter(writer, WRITER_IDLE);
    writer_schedule(writer);
}

/* --- sending --- */

/* A fault point where the connection may be dropped with its command under way. */
static void
drop_if(Writer *writer, bool fault)
{
    if (fault) {
        PgReply reply = {.error_class = PG_ERROR_CONNECTION};

        timer_stop(writer->deadline);
        (void)error_set(&reply.err, ERR_RETRY, "dropped by a fault point");
        writer_lost(writer, &reply);
    }
}

static void
send_exec(Writer *writer, WriterState state, const char *sql)
{
    writer_enter(writer, state);
    writer_command_started(writer);
    pg_exec(writer->pg, sql, writer_on_reply, writer);
}

static void
send_arrays(Writer *writer, WriterState state, const char *sql)
{
    PgParam params[TRANSACTION_ARRAYS_MAX];

    transaction_params(&writer->transaction, params);
    writer_enter(writer, state);
    writer_command_started(writer);
    pg_query(writer->pg, sql, params, writer->transaction.array_count, writer_on_reply, writer);
}

/* After trouble: what the next try needs, once there is no open transaction any more. */
static void
writer_after(Writer *writer)
{
    Lane *lane = writer->blame_lane;

    switch (writer->after) {
    case WRITER_AFTER_SETTLE:
        writer_settle(writer);
        return;
    case WRITER_AFTER_WAIT:
        transaction_release(writer);
        writer_wait(writer, &writer->waits_for);
        return;
    case WRITER_AFTER_BLAME:
        transaction_release(writer);
        writer_trouble(writer, lane, writer->blame, &writer->blame_err);
        break;
    case WRITER_AFTER_RETRY:
        transaction_release(writer);
        break;
    }
    writer_idle(writer);
}

static void
writer_give_up(Writer *writer, WriterAfter after)
{
    writer->after = after;
    if (writer->state == WRITER_SMALL) {
        writer_after(writer); /* one statement is its own transaction */
    } else {
        send_exec(writer, WRITER_ROLLBACK, "ROLLBACK");
    }
}

/* One lane is at fault; among several, each is tried alone first. */
static void
writer_blame(Writer *writer, Lane *lane, LaneTrouble trouble, const Error *err)
{
    if (lane == NULL && writer->transaction.part_count > 1) {
        writer->solo = writer->transaction.part_count;
        writer_give_up(writer, WRITER_AFTER_RETRY);
        return;
    }
    writer->blame_lane = lane != NULL ? lane : writer->transaction.parts[0].lane;
    writer->blame = trouble;
    writer->blame_err = *err;
    writer_give_up(writer, WRITER_AFTER_BLAME);
}

void
writer_settle(Writer *writer)
{
    Error err;

    bool encoded = transaction_encode_ids(&writer->transaction, &err);

    DS_ASSERT(encoded); /* a few hundred numbers */
    send_arrays(writer, WRITER_SETTLE, sql_read_positions);
}

static bool
writer_breaks_atomicity(void)
{
    return MUTANT("offset_before_rows") || MUTANT("offset_without_rows");
}

void
writer_begin(Writer *writer)
{
    Transaction *transaction = &writer->transaction;
    Error err;

    writer->begun_ns = clock_mono_ns();
    writer->rows_sent = 0;
    if (writer->force_long || !transaction_is_small(transaction) || writer_breaks_atomicity()) {
        send_exec(writer, WRITER_BEGIN, sql_begin_write);
        return;
    }
    if (!transaction_encode_small(transaction, &err)) {
        writer->force_long = true;
        send_exec(writer, WRITER_BEGIN, sql_begin_write);
        return;
    }
    const char *sql = transaction->kind == UNIT_BYTES ? sql_small_chunks : sql_small_events;
    send_arrays(writer, WRITER_SMALL, mutant_statement(sql, &writer->scratch));
    drop_if(writer, FAULT("writer.small_sent"));
}

static void
send_commit(Writer *writer)
{
    send_exec(writer, WRITER_COMMIT, "COMMIT");
    drop_if(writer, FAULT("writer.commit_sent"));
}

static void
send_pad_or_commit(Writer *writer)
{
    if (FAULT("writer.rows_done")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    if (writer->config.electric_pads && writer->rows_sent > 0 &&
        writer->rows_sent % ELECTRIC_BATCH == 0) {
        send_exec(writer, WRITER_PAD, sql_electric_pad);
    } else {
        send_commit(writer);
    }
}

static void
send_letters(Writer *writer)
{
    Error err;

    if (writer->transaction.letters == 0) {
        send_pad_or_commit(writer);
    } else if (!transaction_encode_letters(&writer->transaction, &err)) {
        writer_blame(writer, NULL, LANE_REFUSED, &err);
    } else {
        send_arrays(writer, WRITER_LETTERS, sql_dead_letters);
    }
}

/* Bad rows were found more often than COPY's line numbers are worth trying. */
static bool
writer_searches(const Writer *writer)
{
    return writer->line_tries >= WRITER_LINE_TRIES_MAX;
}

static void
send_copy(Writer *writer)
{
    const Transaction *transaction = &writer->transaction;
    const char *sql = transaction->kind == UNIT_BYTES ? sql_copy_chunks : sql_copy_events;

    writer_enter(writer, WRITER_ROWS);
    writer_command_started(writer);
    pg_copy_in(writer->pg, sql,
               transaction_copy_slice(transaction, writer->range.first, writer->range.end),
               writer_on_reply, writer);
    drop_if(writer, FAULT("writer.copy_sent"));
}

/* The next range of rows, or what follows the last one. */
static void
send_rows(Writer *writer)
{
    if (writer->range_count == 0) {
        send_letters(writer);
        return;
    }
    writer->range = writer->ranges[--writer->range_count];
    if (MUTANT("offset_before_rows")) {
        send_exec(writer, WRITER_SAVEPOINT, "COMMIT; BEGIN");
    } else if (!writer_searches(writer) || writer->savepoint_clean) {
        send_copy(writer);
    } else if (writer->savepoint) {
        send_exec(writer, WRITER_SAVEPOINT, "RELEASE SAVEPOINT rows; SAVEPOINT rows");
    } else {
        /* A deferred constraint is to speak up here, where its row can be found. */
        send_exec(writer, WRITER_SAVEPOINT, "SET CONSTRAINTS ALL IMMEDIATE; SAVEPOINT rows");
    }
}

static void
push_range(Writer *writer, size_t first, size_t end)
{
    DS_ASSERT(writer->range_count < WRITER_RANGES_MAX);
    if (first < end) {
        writer->ranges[writer->range_count++] = (RowRange){first, end};
    }
}

/* --- what failed --- */

/* 23505 on a primary key of ours: somebody wrote these rows, and it may have been us. */
static bool
is_own_key(const PgReply *reply)
{
    return strcmp(reply->err.sqlstate, "23505") == 0 &&
           str_ends(str_c(reply->constraint), STR("_pkey"));
}

static void
write_failed(Writer *writer, const PgReply *reply)
{
    Lane *only = writer->transaction.parts[0].lane;

    switch (reply->error_class) {
    case PG_ERROR_CONNECTION:
        writer_lost(writer, reply);
        break;
    case PG_ERROR_NONE:
    case PG_ERROR_TRANSIENT:
        writer->waits_for = (PgReply){.error_class = reply->error_class, .err = reply->err};
        writer_give_up(writer, WRITER_AFTER_WAIT);
        break;
    case PG_ERROR_UNKNOWN:
        if (writer->transaction.part_count == 1 && ++only->failures < WRITER_FAILURES_MAX) {
            writer_blame(writer, only, LANE_DELAYED, &reply->err);
            break;
        }
        /* fallthrough */
    case PG_ERROR_ROW: /* not of a row that was being sent: nothing that a dead letter could mend */
    case PG_ERROR_SCHEMA:
    case PG_ERROR_PERMANENT:
        writer_blame(writer, NULL, LANE_REFUSED, &reply->err);
        break;
    }
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
    send_exec(writer, WRITER_UNDO, "ROLLBACK TO SAVEPOINT rows");
}

static void
rows_refused(Writer *writer, const PgReply *reply)
{
    uint64_t line = 0;
    bool line_known = poison_copy_line(str_c(reply->context), &line) &&
                      line <= writer->range.end - writer->range.first;
    size_t bad = writer->range.first + (size_t)(line_known ? line - 1 : 0);

    if (is_own_key(reply)) {
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

/* --- answers --- */

static bool
reply_has_stream(const PgReply *reply, int64_t stream_id, int *out_row)
{
    char id[24];

    (void)snprintf(id, sizeof(id), "%lld", (long long)stream_id);
    for (int row = 0; row < reply->rows; row++) {
        if (str_eq(pg_get(reply, row, 0), str_c(id))) {
            *out_row = row;
            return true;
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

    part_release(writer, part);
    if (!clashed) {
        return;
    }
    lane->clashes++;
    if (lane->clashes < WRITER_CLASHES_MAX) {
        writer->solo = DS_MAX(writer->solo, (size_t)TRANSACTION_PARTS_MAX);
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

    if (!reply_has_stream(reply, lane->checkpoint.stream_id, &row)) {
        part_release(writer, part);
        (void)error_set(&err, ERR_GONE, "its row of ds_sync.stream_offset is gone");
        writer_trouble(writer, lane, LANE_REFUSED, &err);
        return;
    }
    if (!checkpoint_read(reply, row, &found, &err)) {
        part_release(writer, part);
        writer_trouble(writer, lane, LANE_REFUSED, &err);
        return;
    }
    switch (checkpoint_judge(&found, &lane->checkpoint, &after)) {
    case CHECKPOINT_NEW:
        part_acknowledge(writer, part);
        break;
    case CHECKPOINT_OLD:
        settle_old(writer, part, clashed);
        break;
    case CHECKPOINT_FENCED:
        part_release(writer, part);
        (void)error_set(&err, ERR_CONFLICT, "fenced: epoch %lld has taken over from epoch %lld",
                        (long long)found.epoch, (long long)lane->checkpoint.epoch);
        writer_trouble(writer, lane, LANE_FENCED, &err);
        break;
    case CHECKPOINT_MOVED:
        part_release(writer, part);
        (void)error_set(&err, ERR_CONFLICT,
                        "the offset was moved to %s, skip %lld, next_seq %lld by somebody else",
                        found.position.offset, (long long)found.position.skip,
                        (long long)found.next_seq);
        writer_trouble(writer, lane, LANE_MOVED, &err);
        break;
    }
}

static void
settle_reply(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    size_t count = transaction->part_count;
    bool clashed = writer->clashed;

    if (!reply->ok) {
        if (reply->error_class == PG_ERROR_CONNECTION) {
            writer_lost(writer, reply);
        } else {
            writer_wait(writer, reply);
        }
        return;
    }
    writer_succeeded(writer);
    writer->clashed = false;
    transaction->part_count = 0;
    for (size_t i = 0; i < count; i++) {
        settle_part(writer, reply, &transaction->parts[i], clashed);
    }
    writer_idle(writer);
}

/* Streams whose guard was hit are committed; the others have to be looked at. */
static void
small_reply(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    size_t missed = 0;
    int row;

    if (!reply->ok) {
        if (is_own_key(reply)) {
            writer->clashed = true;
            writer_give_up(writer, WRITER_AFTER_SETTLE);
        } else if (reply->error_class == PG_ERROR_ROW) {
            writer->force_long = true;
            writer_give_up(writer, WRITER_AFTER_RETRY);
        } else {
            write_failed(writer, reply);
        }
        return;
    }
    if (FAULT("writer.small_done")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    for (size_t i = 0; i < transaction->part_count; i++) {
        if (!reply_has_stream(reply, transaction->parts[i].lane->checkpoint.stream_id, &row)) {
            Part part = transaction->parts[i];

            transaction->parts[i] = transaction->parts[missed];
            transaction->parts[missed++] = part;
        }
    }
    writer_succeeded(writer);
    transaction_acknowledge(writer, missed);
    if (missed > 0) {
        writer_settle(writer);
    } else {
        writer_idle(writer);
    }
}

static void
begin_reply(Writer *writer, const PgReply *reply)
{
    Error err;

    if (!reply->ok) {
        write_failed(writer, reply);
        return;
    }
    if (FAULT("writer.begin_done")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    if (!transaction_encode_guard(&writer->transaction, &err)) {
        writer_blame(writer, NULL, LANE_REFUSED, &err);
        return;
    }
    send_arrays(writer, WRITER_GUARD, mutant_statement(sql_guard, &writer->scratch));
}

/* Not one row is sent before every guard is seen to be hit. */
static void
guard_reply(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    Error err;

    if (!reply->ok) {
        write_failed(writer, reply);
        return;
    }
    if ((size_t)reply->rows != transaction->part_count) {
        writer_give_up(writer, WRITER_AFTER_SETTLE);
        return;
    }
    if (FAULT("writer.guard_done")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    if (!transaction_encode_copy(transaction, &err)) {
        writer_blame(writer, NULL, LANE_REFUSED, &err);
        return;
    }
    writer->range_count = 0;
    writer->savepoint = false;
    writer->savepoint_clean = false;
    push_range(writer, 0, MUTANT("offset_without_rows") ? 0 : transaction->row_count);
    send_rows(writer);
}

static void
rows_reply(Writer *writer, const PgReply *reply)
{
    size_t count = writer->range.end - writer->range.first;
    Error err;

    if (!reply->ok && reply->error_class == PG_ERROR_ROW) {
        rows_refused(writer, reply);
    } else if (!reply->ok) {
        write_failed(writer, reply);
    } else if (reply->rows_affected != count) {
        (void)error_set(&err, ERR_CONFIG,
                        "COPY wrote %llu of %zu rows: a trigger or a rule drops some",
                        (unsigned long long)reply->rows_affected, count);
        writer_blame(writer, NULL, LANE_REFUSED, &err);
    } else {
        writer->rows_sent += count;
        writer->savepoint_clean = false;
        send_rows(writer);
    }
}

static void
letters_reply(Writer *writer, const PgReply *reply)
{
    Error err;

    if (!reply->ok) {
        write_failed(writer, reply);
    } else if (reply->rows_affected != writer->transaction.letters) {
        (void)error_set(&err, ERR_CONFIG, "a trigger or a rule drops dead letters");
        writer_blame(writer, NULL, LANE_REFUSED, &err);
    } else {
        send_pad_or_commit(writer);
    }
}

/* An error of COMMIT says that nothing was committed; a success says so only by its tag, since
 * COMMIT of an aborted transaction succeeds with the tag ROLLBACK.  The positions are read again
 * either way. */
static void
commit_reply(Writer *writer, const PgReply *reply)
{
    bool committed = reply->ok && strcmp(reply->tag, "COMMIT") == 0;

    if (committed || MUTANT("tag_unchecked")) {
        if (FAULT("writer.commit_done")) {
            log_debug(&scope, LOG_FIELDS(), "fault point passed");
        }
        writer_succeeded(writer);
        transaction_acknowledge(writer, 0);
        writer_idle(writer);
    } else if (reply->ok) {
        PgReply refused = {.error_class = PG_ERROR_UNKNOWN};

        (void)error_set(&refused.err, ERR_RETRY,
                        "COMMIT answered %s: the transaction was aborted before", reply->tag);
        writer_wait(writer, &refused);
    } else if (reply->error_class == PG_ERROR_CONNECTION) {
        writer_lost(writer, reply);
    } else if (reply->error_class == PG_ERROR_ROW && !writer_searches(writer)) {
        writer->force_long = true;
        writer->line_tries = WRITER_LINE_TRIES_MAX;
        writer_give_up(writer, WRITER_AFTER_RETRY);
    } else if (reply->error_class == PG_ERROR_TRANSIENT) {
        writer_wait(writer, reply);
    } else {
        write_failed(writer, reply);
    }
}

static void
rollback_reply(Writer *writer, const PgReply *reply)
{
    if (!reply->ok) {
        writer_lost(writer, reply);
    } else {
        writer_after(writer);
    }
}

void
writer_write_reply(Writer *writer, const PgReply *reply)
{
    switch (writer->state) {
    case WRITER_SETTLE:
        settle_reply(writer, reply);
        break;
    case WRITER_SMALL:
        small_reply(writer, reply);
        break;
    case WRITER_BEGIN:
        begin_reply(writer, reply);
        break;
    case WRITER_GUARD:
        guard_reply(writer, reply);
        break;
    case WRITER_SAVEPOINT:
    case WRITER_UNDO:
        if (!reply->ok) {
            write_failed(writer, reply);
        } else if (writer->state == WRITER_SAVEPOINT) {
            writer->savepoint = true;
            send_copy(writer);
        } else {
            writer->savepoint_clean = true;
            send_rows(writer);
        }
        break;
    case WRITER_ROWS:
        rows_reply(writer, reply);
        break;
    case WRITER_LETTERS:
        letters_reply(writer, reply);
        break;
    case WRITER_PAD:
        if (reply->ok) {
            send_commit(writer);
        } else {
            write_failed(writer, reply);
        }
        break;
    case WRITER_COMMIT:
        commit_reply(writer, reply);
        break;
    case WRITER_ROLLBACK:
        rollback_reply(writer, reply);
        break;
    case WRITER_OFF:
    case WRITER_CONNECT:
    case WRITER_WAIT:
    case WRITER_IDLE:
    case WRITER_JOB:
    case WRITER_STATE_COUNT:
        DS_ASSERT(!"an answer in a state that asks nothing");
        break;
    }
}
