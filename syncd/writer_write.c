/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transaction: one statement for a few rows, or BEGIN, guard, COPY, COMMIT.  What is not known
 * to be committed is never forgotten, and what is not known to be lost is never sent again.
 */
#include "syncd/writer_internal.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "sql/queries.h"
#include "syncd/error_class.h"
#include "syncd/mutant.h"

static const LogScope scope = {.name = "syncd.writer"};

#define STALLED_PART   4   /* of what took too long, the next try takes one so-manieth */
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

/* Whose trouble must not become that of others, or may be theirs. */
static bool
lane_goes_alone(const Lane *lane)
{
    return lane->alone || lane->sift || lane->sieve > 0;
}

bool
writer_compose(Writer *writer)
{
    Transaction *transaction = &writer->transaction;
    PartLimits limits = writer_limits(writer);
    Lane *lane = TAILQ_FIRST(&writer->ready);

    transaction_reset(transaction);
    while (lane != NULL) {
        Lane *next = TAILQ_NEXT(lane, ready_link);
        bool blocked;

        if (lane_is_empty(lane)) {
            TAILQ_REMOVE(&writer->ready, lane, ready_link); /* its session dropped the queue */
            lane->is_ready = false;
        } else if (lane_is_held(lane)) {
            writer_trouble(writer, lane, LANE_HELD, &lane->hold->why);
        } else if (lane_goes_alone(lane) && transaction->part_count > 0) {
            /* its turn is the next one that it is the first of */
        } else if (transaction_add(transaction, lane, &limits, &blocked)) {
            TAILQ_REMOVE(&writer->ready, lane, ready_link);
            lane->is_ready = false;
            lane->in_flight = true;
            if (lane_goes_alone(lane)) {
                break;
            }
        } else if (blocked) {
            Error cause;
            Error err;

            lane_first_cause(lane, &cause);
            lane_blocked(lane, &err);
            lane_block(lane, &cause);
            if (lane_is_held(lane)) {
                writer_trouble(writer, lane, LANE_HELD, &lane->hold->why);
            } else {
                writer_trouble(writer, lane, LANE_REFUSED, &err);
            }
        }
        lane = next;
    }
    transaction_sort(transaction);
    return transaction->part_count > 0;
}

/* --- giving lanes back --- */

/* All parts are of one sink, so of one route. */
void
writer_count_settled(Writer *writer)
{
    if (writer->admitted > 0) {
        route_hold_settled(writer->transaction.parts[0].lane->hold, writer->admitted);
        writer->admitted = 0;
    }
}

void
writer_release(Writer *writer, const Part *part)
{
    Lane *lane = part->lane;

    lane->in_flight = false;
    writer_lane_filled(writer, lane);
    if (lane->leaving) {
        lane->callbacks->on_released(lane->arg);
    }
}

/* Nothing of it was committed: it is composed again. */
static void
transaction_release(Writer *writer)
{
    writer_count_settled(writer);
    for (size_t i = 0; i < writer->transaction.part_count; i++) {
        writer_release(writer, &writer->transaction.parts[i]);
    }
    writer->transaction.part_count = 0;
}

void
writer_acknowledge_part(Writer *writer, const Part *part)
{
    const Stats *stats = writer->config.stats;
    Lane *lane = part->lane;
    size_t letters = part->letters + part->sifted;

    metric_add(stats->rows, part->items - part->letters);
    metric_add(stats->letters, letters);
    metric_add(stats->bytes, part->bytes);
    if (lane->hold != NULL) {
        route_hold_count(lane->hold, part_weight(part), part->rows + part->moved);
    }
    part_committed(part);
    writer_release(writer, part);
    lane->callbacks->on_committed(lane->arg, part->items - part->letters, letters);
}

/* All parts but the first `missed` are in Postgres. */
static void
transaction_acknowledge(Writer *writer, size_t missed)
{
    Transaction *transaction = &writer->transaction;
    const Stats *stats = writer->config.stats;
    size_t count = transaction->part_count;

    writer_count_settled(writer);
    if (missed == 0) {
        writer_note_letters(writer);
    }
    transaction->part_count = missed;
    writer->force_long = false;
    writer->line_tries = 0;
    metric_add(stats->transactions, 1);
    metric_observe(stats->transaction_rows, (double)transaction->items);
    metric_observe(stats->transaction_seconds, (double)(clock_mono_ns() - writer->begun_ns) / 1e9);
    for (size_t i = missed; i < count; i++) {
        writer_acknowledge_part(writer, &transaction->parts[i]);
    }
    if (FAULT("writer.acked")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
}

void
writer_idle(Writer *writer)
{
    writer_enter(writer, WRITER_IDLE);
    writer_schedule(writer);
}

/* --- sending --- */

/* A fault point where the connection may be dropped with its command under way. */
void
writer_drop_if(Writer *writer, bool fault)
{
    if (fault) {
        PgReply reply = {.error_class = PG_ERROR_CONNECTION};

        timer_stop(writer->deadline);
        (void)error_set(&reply.err, ERR_RETRY, "dropped by a fault point");
        writer_lost(writer, &reply);
    }
}

/* A fault point where we wait as if for long already. */
void
writer_silence_if(Writer *writer, bool fault)
{
    if (fault) {
        timer_start(writer->deadline, 1);
    }
}

void
writer_send(Writer *writer, WriterState state, const char *sql)
{
    writer_enter(writer, state);
    writer_command_started(writer);
    pg_exec(writer->pg, sql, writer_on_reply, writer);
}

void
writer_send_arrays(Writer *writer, WriterState state, const char *sql)
{
    PgParam params[TRANSACTION_ARRAYS_MAX];

    transaction_params(&writer->transaction, params);
    if (state == WRITER_CHANGES && writer_starts_page(writer)) {
        params[2].value = NULL; /* behind no row */
        params[3].value = NULL;
    }
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

void
writer_give_up(Writer *writer, WriterAfter after)
{
    writer->after = after;
    if (writer->state == WRITER_SMALL) {
        writer_after(writer); /* one statement is its own transaction */
    } else {
        writer_send(writer, WRITER_ROLLBACK, "ROLLBACK");
    }
}

/* To see whose fault it is.  Each lane remembers it: whoever waits meanwhile goes before them. */
void
writer_try_each_alone(Writer *writer)
{
    for (size_t i = 0; i < writer->transaction.part_count; i++) {
        writer->transaction.parts[i].lane->alone = true;
    }
}

/* One lane is at fault; among several, each is tried alone first. */
void
writer_blame(Writer *writer, Lane *lane, LaneTrouble trouble, const Error *err)
{
    if (lane == NULL && writer->transaction.part_count > 1) {
        writer_try_each_alone(writer);
        writer_give_up(writer, WRITER_AFTER_RETRY);
        return;
    }
    writer->blame_lane = lane != NULL ? lane : writer->transaction.parts[0].lane;
    writer->blame = trouble;
    writer->blame_err = *err;
    writer_give_up(writer, WRITER_AFTER_BLAME);
}

void
writer_begin(Writer *writer)
{
    Transaction *transaction = &writer->transaction;
    bool is_state = transaction->sink->kind == ROUTE_STATE;
    Error err;

    if (FAULT("writer.composed")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    writer->begun_ns = clock_mono_ns();
    writer->rows_sent = 0;
    if (is_state || writer->force_long || !transaction_is_small(transaction) ||
        !transaction_encode_small(transaction, &err)) {
        writer_send(writer, WRITER_BEGIN,
                    MUTANT("offset_before_rows") ? "SELECT 1" : writer->begin_sql);
        if (!is_state) {
            writer_begin_rows(writer);
        }
        return;
    }
    writer_send_arrays(writer, WRITER_SMALL,
                       mutant_statement(transaction_small_sql(transaction), &writer->scratch));
    writer_silence_if(writer, FAULT("writer.small_silent"));
    writer_drop_if(writer, FAULT("writer.small_sent"));
}

static void
send_commit(Writer *writer)
{
    writer_send(writer, WRITER_COMMIT, "COMMIT");
    writer_drop_if(writer, FAULT("writer.commit_sent"));
}

void
writer_send_end(Writer *writer)
{
    if (FAULT("writer.rows_done")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    if (writer->config.electric_pads && writer->rows_sent > 0 &&
        writer->rows_sent % ELECTRIC_BATCH == 0) {
        writer_send(writer, WRITER_PAD, sql_electric_pad);
    } else {
        send_commit(writer);
    }
}

/* --- what failed --- */

/* Smaller transactions, of this lane alone.  False: it cannot be smaller. */
static bool
narrow_stalled(Writer *writer, const Part *part)
{
    Lane *lane = part->lane;

    if (!lane->stalled) {
        log_warn(
            &scope, EVENT_STREAM_STALLED,
            LOG_FIELDS(log_str("stream", lane->name), log_str("route", lane->route),
                       log_str("offset", str_c(lane->checkpoint.position.offset)),
                       log_i64("skip", lane->checkpoint.position.skip),
                       log_i64("epoch", lane->checkpoint.epoch), log_u64("messages", part->items)),
            "a transaction takes longer than SYNCD_STATEMENT_TIMEOUT (%lld ms), alone and with "
            "so many messages; smaller ones are tried",
            (long long)writer->config.statement_ms);
    }
    lane->alone = true;
    lane->stalled = true;
    lane->stalled_ms = (clock_mono_ns() - writer->begun_ns) / 1000000;
    if (part->items <= 1 || lane->narrow == 1) {
        return false;
    }
    lane->narrow = part->items / STALLED_PART;
    lane->narrow += lane->narrow == 0;
    return true;
}

/* What takes too long together is tried alone, and what takes too long alone in smaller parts. */
bool
writer_split_stalled(Writer *writer)
{
    Transaction *transaction = &writer->transaction;

    if (transaction->part_count == 0) {
        return true;
    }
    if (writer->state == WRITER_SMALL) {
        writer->force_long = true; /* there our own timeout counts, and nobody else's */
    }
    if (transaction->part_count > 1) {
        writer_try_each_alone(writer);
        return true;
    }
    return narrow_stalled(writer, &transaction->parts[0]);
}

static void
write_stalled(Writer *writer, const PgReply *reply)
{
    bool was_small = writer->state == WRITER_SMALL;
    Error err;

    if (writer_split_stalled(writer) || was_small) {
        writer_give_up(writer, WRITER_AFTER_RETRY);
        return;
    }
    (void)error_set(&err, ERR_RETRY,
                    "%s, though one message is alone in its transaction: end what locks or slows "
                    "down the table, or raise SYNCD_STATEMENT_TIMEOUT (%lld ms)",
                    reply->err.text, (long long)writer->config.statement_ms);
    memcpy(err.sqlstate, reply->err.sqlstate, sizeof(err.sqlstate));
    writer_blame(writer, writer->transaction.parts[0].lane, LANE_STALLED, &err);
}

void
writer_write_failed(Writer *writer, const PgReply *reply)
{
    Lane *only = writer->transaction.parts[0].lane;

    ErrorClass class = error_class_of_postgres(reply->error_class, reply->err.sqlstate);

    switch (error_class_info(class)->action) {
    case ERROR_ACTION_RECONNECT:
        if (class == ERROR_CLASS_POSTGRES_DOWN) {
            writer_lost(writer, reply);
            break;
        }
        /* The transaction is ended in order first. */
        /* fallthrough */
    case ERROR_ACTION_NONE:
    case ERROR_ACTION_RETRY:
        writer->waits_for = (PgReply){.error_class = reply->error_class, .err = reply->err};
        writer_give_up(writer, WRITER_AFTER_WAIT);
        break;
    case ERROR_ACTION_RETRY_ALONE:
        write_stalled(writer, reply);
        break;
    case ERROR_ACTION_RETRY_SOME:
        if (writer->transaction.part_count == 1 && ++only->failures < WRITER_FAILURES_MAX) {
            writer_blame(writer, only, LANE_DELAYED, &reply->err);
            break;
        }
        /* fallthrough */
    case ERROR_ACTION_DEAD_LETTER: /* no row was being sent: a dead letter would mend nothing */
    case ERROR_ACTION_FAIL:
        if (class == ERROR_CLASS_POSTGRES_SCHEMA && only->hold != NULL) {
            writer_hold_route(writer, ROUTE_HOLD_RETRY, &reply->err);
            break;
        }
        /* fallthrough */
    case ERROR_ACTION_RECREATED:
    case ERROR_ACTION_COUNT:
        writer_blame(writer, NULL, LANE_REFUSED, &reply->err);
        break;
    }
}

/* --- answers --- */

/* Streams whose guard was hit are committed; the others have to be looked at. */
static void
small_reply(Writer *writer, const PgReply *reply)
{
    Transaction *transaction = &writer->transaction;
    size_t missed = 0;
    int row;

    if (!reply->ok) {
        if (reply->error_class != PG_ERROR_ROW) {
            writer_write_failed(writer, reply);
        } else if (!writer_table_is_at_fault(writer, reply)) {
            writer->force_long = true;
            writer_give_up(writer, WRITER_AFTER_RETRY);
        }
        return;
    }
    if (FAULT("writer.small_done")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    for (size_t i = 0; i < transaction->part_count; i++) {
        if (!writer_reply_has(reply, transaction->parts[i].lane->checkpoint.stream_id, &row)) {
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
        writer_write_failed(writer, reply);
        return;
    }
    if (FAULT("writer.begin_done")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    if (!transaction_encode_guard(&writer->transaction, &err)) {
        writer_blame(writer, NULL, LANE_REFUSED, &err);
        return;
    }
    writer_send_arrays(writer, WRITER_GUARD, mutant_statement(sql_guard, &writer->scratch));
}

/* Not one row is sent before every guard is seen to be hit. */
static void
guard_reply(Writer *writer, const PgReply *reply)
{
    if (!reply->ok) {
        writer_write_failed(writer, reply);
        return;
    }
    if ((size_t)reply->rows != writer->transaction.part_count) {
        writer_give_up(writer, WRITER_AFTER_SETTLE);
        return;
    }
    if (FAULT("writer.guard_done")) {
        log_debug(&scope, LOG_FIELDS(), "fault point passed");
    }
    if (writer->transaction.sink->kind == ROUTE_STATE) {
        writer_send_changes(writer);
    } else {
        writer_send_rows(writer);
    }
}

static void
letters_reply(Writer *writer, const PgReply *reply)
{
    Error err;

    if (!reply->ok) {
        writer_write_failed(writer, reply);
    } else if (reply->rows_affected != writer->transaction.letters) {
        (void)error_set(&err, ERR_CONFIG, "a trigger or a rule drops dead letters");
        writer_blame(writer, NULL, LANE_REFUSED, &err);
    } else {
        writer_send_end(writer);
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
    } else if (reply->error_class == PG_ERROR_ROW &&
               writer->transaction.sink->kind == ROUTE_STATE) {
        writer_changes_refused(writer, reply);
    } else if (reply->error_class == PG_ERROR_ROW && !writer_sieves(writer)) {
        writer->force_long = true;
        writer->line_tries = WRITER_LINE_TRIES_MAX;
        writer_give_up(writer, WRITER_AFTER_RETRY);
    } else if (reply->error_class == PG_ERROR_TRANSIENT &&
               error_class_of_postgres(reply->error_class, reply->err.sqlstate) !=
                   ERROR_CLASS_POSTGRES_STALLED) {
        writer_wait(writer, reply);
    } else {
        writer_write_failed(writer, reply);
    }
}

static void
pad_reply(Writer *writer, const PgReply *reply)
{
    Error err;

    if (!reply->ok) {
        writer_write_failed(writer, reply);
    } else if (reply->rows_affected != 1) {
        (void)error_set(&err, ERR_CONFIG,
                        "the row of ds_sync.electric_pad is gone, and Electric would lose this "
                        "transaction: INSERT INTO ds_sync.electric_pad DEFAULT VALUES");
        writer_blame(writer, NULL, LANE_REFUSED, &err);
    } else {
        send_commit(writer);
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

static void
sink_reply(Writer *writer, const PgReply *reply)
{
    if (writer->transaction.sink->kind == ROUTE_STATE) {
        writer_changes_reply(writer, reply);
    } else {
        writer_rows_reply(writer, reply);
    }
}

void
writer_write_reply(Writer *writer, const PgReply *reply)
{
    switch (writer->state) {
    case WRITER_SETTLE:
        writer_settle_reply(writer, reply);
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
    case WRITER_ROWS:
    case WRITER_SIEVE_FILL:
    case WRITER_SIEVE:
        sink_reply(writer, reply);
        break;
    case WRITER_CHANGES:
        writer_changes_reply(writer, reply);
        break;
    case WRITER_LETTERS:
        letters_reply(writer, reply);
        break;
    case WRITER_PAD:
        pad_reply(writer, reply);
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
    case WRITER_VERIFY:
    case WRITER_STATE_COUNT:
        DS_UNREACHABLE("an answer in a state that asks nothing");
        break;
    }
}
