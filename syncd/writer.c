/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/writer.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "sql/queries.h"
#include "syncd/error_class.h"
#include "syncd/writer_internal.h"

static const LogScope scope = {.name = "syncd.writer"};

static const char *const state_names[WRITER_STATE_COUNT] = {
    [WRITER_OFF] = "off",       [WRITER_CONNECT] = "connect", [WRITER_WAIT] = "wait",
    [WRITER_SETTLE] = "settle", [WRITER_VERIFY] = "verify",   [WRITER_IDLE] = "idle",
    [WRITER_JOB] = "job",       [WRITER_SMALL] = "small",     [WRITER_BEGIN] = "begin",
    [WRITER_GUARD] = "guard",   [WRITER_ROWS] = "rows",       [WRITER_SIEVE_FILL] = "sieve_fill",
    [WRITER_SIEVE] = "sieve",   [WRITER_CHANGES] = "changes", [WRITER_LETTERS] = "letters",
    [WRITER_PAD] = "pad",       [WRITER_COMMIT] = "commit",   [WRITER_ROLLBACK] = "rollback",
};

/* Inside a transaction every state may lose its connection (wait) or fail (rollback). */
#define BROKEN (DS_BIT(WRITER_WAIT) | DS_BIT(WRITER_ROLLBACK))

/* Every legal edge and no other.  "syncd --print-states" prints it. */
static const uint32_t writer_edges[WRITER_STATE_COUNT] = {
    [WRITER_OFF] = DS_BIT(WRITER_CONNECT),
    [WRITER_CONNECT] = DS_BIT(WRITER_IDLE) | DS_BIT(WRITER_SETTLE) | DS_BIT(WRITER_WAIT),
    [WRITER_WAIT] = DS_BIT(WRITER_CONNECT) | DS_BIT(WRITER_IDLE) | DS_BIT(WRITER_SETTLE),
    [WRITER_SETTLE] = DS_BIT(WRITER_IDLE) | DS_BIT(WRITER_WAIT),
    [WRITER_IDLE] = DS_BIT(WRITER_JOB) | DS_BIT(WRITER_VERIFY) | DS_BIT(WRITER_SMALL) |
                    DS_BIT(WRITER_BEGIN) | DS_BIT(WRITER_WAIT),
    [WRITER_JOB] = DS_BIT(WRITER_IDLE) | DS_BIT(WRITER_WAIT),
    [WRITER_VERIFY] = DS_BIT(WRITER_IDLE) | DS_BIT(WRITER_WAIT),
    [WRITER_SMALL] = DS_BIT(WRITER_IDLE) | DS_BIT(WRITER_SETTLE) | BROKEN,
    [WRITER_BEGIN] = DS_BIT(WRITER_GUARD) | BROKEN,
    [WRITER_GUARD] = DS_BIT(WRITER_CHANGES) | DS_BIT(WRITER_ROWS) | DS_BIT(WRITER_SIEVE_FILL) |
                     DS_BIT(WRITER_LETTERS) | DS_BIT(WRITER_COMMIT) | BROKEN,
    [WRITER_ROWS] = DS_BIT(WRITER_ROWS) | DS_BIT(WRITER_LETTERS) | DS_BIT(WRITER_PAD) |
                    DS_BIT(WRITER_COMMIT) | BROKEN,
    [WRITER_SIEVE_FILL] = DS_BIT(WRITER_SIEVE) | BROKEN,
    [WRITER_SIEVE] = DS_BIT(WRITER_SIEVE_FILL) | DS_BIT(WRITER_CHANGES) | DS_BIT(WRITER_LETTERS) |
                     DS_BIT(WRITER_PAD) | DS_BIT(WRITER_COMMIT) | BROKEN,
    [WRITER_CHANGES] = DS_BIT(WRITER_CHANGES) | DS_BIT(WRITER_SIEVE_FILL) | DS_BIT(WRITER_LETTERS) |
                       DS_BIT(WRITER_PAD) | DS_BIT(WRITER_COMMIT) | BROKEN,
    [WRITER_LETTERS] = DS_BIT(WRITER_PAD) | DS_BIT(WRITER_COMMIT) | BROKEN,
    [WRITER_PAD] = DS_BIT(WRITER_COMMIT) | BROKEN,
    [WRITER_COMMIT] = DS_BIT(WRITER_IDLE) | DS_BIT(WRITER_SETTLE) | BROKEN,
    [WRITER_ROLLBACK] = DS_BIT(WRITER_IDLE) | DS_BIT(WRITER_SETTLE) | DS_BIT(WRITER_WAIT),
};

bool
writer_print_states(Buf *out, Error *err)
{
    for (size_t from = 0; from < WRITER_STATE_COUNT; from++) {
        for (size_t to = 0; to < WRITER_STATE_COUNT; to++) {
            if ((writer_edges[from] & DS_BIT(to)) != 0 &&
                !buf_printf(out, err, "    %s --> %s\n", state_names[from], state_names[to])) {
                return false;
            }
        }
    }
    return true;
}

void
writer_enter(Writer *writer, WriterState state)
{
    DS_ASSERT((writer_edges[writer->state] & DS_BIT(state)) != 0);
    writer->state = state;
}

void
writer_wait(Writer *writer, const PgReply *reply)
{
    const ErrorClassInfo *info =
        error_class_info(error_class_of_postgres(reply->error_class, reply->err.sqlstate));
    int64_t delay_ms = backoff_next_ms(&writer->backoff, 0);

    metric_add(writer->config.stats->postgres_errors, 1);
    log_write(info->action == ERROR_ACTION_FAIL ? LOG_ERROR : LOG_WARN, &scope, info->event,
              LOG_FIELDS(log_i64("writer", writer->config.number),
                         log_str("sqlstate", str_c(reply->err.sqlstate)),
                         log_i64("retry_ms", delay_ms)),
              "Postgres: %s; syncd %s", reply->err.text, info->next);
    writer->up = false;
    if (!timer_active(writer->patience) && !writer->down) {
        timer_start(writer->patience, writer->config.patience_ms);
    }
    /* A read-only server may be the old half of a failover: look for another one. */
    if (info->action == ERROR_ACTION_RECONNECT) {
        pg_disconnect(writer->pg);
    }
    writer_enter(writer, WRITER_WAIT);
    timer_start(writer->retry, delay_ms);
}

void
writer_lost(Writer *writer, const PgReply *reply)
{
    pg_disconnect(writer->pg);
    writer_wait(writer, reply);
}

void
writer_succeeded(Writer *writer)
{
    backoff_reset(&writer->backoff);
    timer_stop(writer->patience);
    writer->up = true;
    writer->down = false;
}

static int64_t
command_ms_max(const Writer *writer)
{
    return DS_MAX((int64_t)WRITER_COMMAND_MS_MIN, writer->config.statement_ms * 2);
}

void
writer_command_started(Writer *writer)
{
    timer_start(writer->deadline, command_ms_max(writer));
}

static void
writer_out_of_patience(void *arg)
{
    Writer *writer = arg;
    Lane *lane;

    writer->down = true;
    TAILQ_FOREACH (lane, &writer->lanes, all_link) {
        lane->callbacks->on_down(lane->arg);
    }
}

static void
writer_reply_lost(Writer *writer, const char *what)
{
    PgReply reply = {.error_class = PG_ERROR_CONNECTION};

    (void)error_set(&reply.err, ERR_RETRY, "%s", what);
    if (writer->state == WRITER_JOB) {
        writer_job_lost(writer);
    }
    writer_lost(writer, &reply);
}

/* Postgres itself ends what takes too long, sooner than this.  So no stream is at fault, and none
 * has to rest; but the limit of a small statement may be the session's, which a pooler lends. */
static void
writer_deadline(void *arg)
{
    Writer *writer = arg;
    char what[64];

    (void)snprintf(what, sizeof(what), "no answer within %lld s",
                   (long long)(command_ms_max(writer) / 1000));
    writer->force_long = writer->force_long || writer->state == WRITER_SMALL;
    writer_reply_lost(writer, what);
}

static void
writer_on_lost(void *arg, const Error *err)
{
    Writer *writer = arg;

    /* Who waits will see for himself that there is no connection. */
    if (writer->state != WRITER_WAIT) {
        writer_reply_lost(writer, err->text);
    }
}

static void
writer_connect(Writer *writer)
{
    writer_enter(writer, WRITER_CONNECT);
    pg_connect(writer->pg, writer_on_reply, writer);
}

static void
writer_connected(Writer *writer, const PgReply *reply)
{
    if (!reply->ok) {
        if (error_class_of_postgres(reply->error_class, reply->err.sqlstate) ==
            ERROR_CLASS_POSTGRES_REFUSED) {
            writer->config.on_refused(writer->config.arg);
        }
        writer_lost(writer, reply);
        return;
    }
    writer->unverified = true;
    metric_add(writer->config.stats->postgres_connects, 1);
    log_info(&scope,
             LOG_FIELDS(log_i64("writer", writer->config.number),
                        log_i64("backend", pg_backend_pid(writer->pg)),
                        log_i64("server_version", pg_server_version(writer->pg))),
             "connected to Postgres");
    if (writer->transaction.part_count > 0) {
        writer_settle(writer);
        return;
    }
    /* With nothing to write, being connected is all that can be known. */
    if (TAILQ_EMPTY(&writer->jobs) && TAILQ_EMPTY(&writer->ready)) {
        writer_succeeded(writer);
    }
    writer_enter(writer, WRITER_IDLE);
    writer_schedule(writer);
}

static void
writer_retry(void *arg)
{
    Writer *writer = arg;

    if (!pg_connected(writer->pg)) {
        writer_connect(writer);
    } else if (writer->transaction.part_count > 0) {
        writer_settle(writer);
    } else {
        writer_enter(writer, WRITER_IDLE);
        writer_schedule(writer);
    }
}

/* --- lanes --- */

void
writer_trouble(Writer *writer, Lane *lane, LaneTrouble trouble, const Error *err)
{
    lane->loaded = false;
    if (trouble == LANE_FENCED && lane->wants != 0) {
        lane->wants = 0; /* a load would take the stream back */
        TAILQ_REMOVE(&writer->jobs, lane, job_link);
    }
    if (lane->is_ready) {
        lane->is_ready = false;
        TAILQ_REMOVE(&writer->ready, lane, ready_link);
    }
    lane->callbacks->on_trouble(lane->arg, trouble, err);
}

void
writer_attach(Writer *writer, Lane *lane)
{
    TAILQ_INSERT_TAIL(&writer->lanes, lane, all_link);
}

static void
lane_unready(Writer *writer, Lane *lane)
{
    if (lane->is_ready) {
        lane->is_ready = false;
        TAILQ_REMOVE(&writer->ready, lane, ready_link);
    }
    if (lane->wants != 0) {
        lane->wants = 0;
        TAILQ_REMOVE(&writer->jobs, lane, job_link);
    }
}

void
writer_leave(Writer *writer, Lane *lane)
{
    lane->leaving = true;
    lane_unready(writer, lane);
    if (!lane->in_flight) {
        lane->callbacks->on_released(lane->arg);
    }
}

void
writer_detach(Writer *writer, Lane *lane)
{
    DS_ASSERT(!lane->in_flight);
    lane_unready(writer, lane);
    if (writer->job_lane == lane) {
        writer->job_lane = NULL; /* nobody wants the answer any more */
    }
    TAILQ_REMOVE(&writer->lanes, lane, all_link);
}

void
writer_lane_filled(Writer *writer, Lane *lane)
{
    if (!lane->leaving && !lane->is_ready && !lane->in_flight && lane->loaded &&
        !lane_is_empty(lane)) {
        lane->is_ready = true;
        TAILQ_INSERT_TAIL(&writer->ready, lane, ready_link);
        writer_schedule(writer);
    }
}

/* What cannot be sent at once is prepared while Postgres is at work, so that Postgres does not wait
 * for it later. */
void
writer_push(Writer *writer, Lane *lane, Unit *unit)
{
    lane_push(lane, unit, writer->state != WRITER_IDLE && lane->loaded);
    writer_lane_filled(writer, lane);
}

static void
writer_pick(void *arg)
{
    Writer *writer = arg;
    Lane *lane;

    writer->pick_scheduled = false;
    if (writer->state != WRITER_IDLE) {
        return;
    }
    if (writer->unverified && writer_verify(writer)) {
        return;
    }
    if (clock_mono_ns() < writer->rows_first_ns && writer_compose(writer)) {
        writer_begin(writer);
    } else if ((lane = writer_job_next(writer)) != NULL) {
        writer_job_start(writer, lane);
    } else if (writer_compose(writer)) {
        writer_begin(writer);
    }
}

/* At the end of the turn, so that what comes in one read goes in one transaction. */
void
writer_schedule(Writer *writer)
{
    if (writer->state == WRITER_IDLE && !writer->pick_scheduled) {
        writer->pick_scheduled = true;
        loop_defer(writer->loop, writer_pick, writer);
    }
}

static void
writer_rested(void *arg)
{
    writer_schedule(arg);
}

void
writer_on_reply(void *arg, const PgReply *reply)
{
    Writer *writer = arg;

    timer_stop(writer->deadline);
    switch (writer->state) {
    case WRITER_CONNECT:
        writer_connected(writer, reply);
        break;
    case WRITER_JOB:
        writer_job_reply(writer, reply);
        break;
    case WRITER_VERIFY:
        writer_verify_reply(writer, reply);
        break;
    case WRITER_SETTLE:
    case WRITER_SMALL:
    case WRITER_BEGIN:
    case WRITER_GUARD:
    case WRITER_ROWS:
    case WRITER_SIEVE_FILL:
    case WRITER_SIEVE:
    case WRITER_CHANGES:
    case WRITER_LETTERS:
    case WRITER_PAD:
    case WRITER_COMMIT:
    case WRITER_ROLLBACK:
        writer_write_reply(writer, reply);
        break;
    case WRITER_OFF:
    case WRITER_WAIT:
    case WRITER_IDLE:
    case WRITER_STATE_COUNT:
        DS_UNREACHABLE("a reply without a command");
        break;
    }
}

Writer *
writer_new(Loop *loop, const WriterConfig *config)
{
    Writer *writer = mem_zalloc(sizeof(*writer));

    writer->loop = loop;
    writer->config = *config;
    writer->pg = pg_new(loop, &(PgConfig){
                                  .url = config->postgres_url,
                                  .application_name = config->application_name,
                                  .connect_ms_max = 10000,
                                  .statement_ms_max = config->statement_ms,
                                  .on_lost = writer_on_lost,
                                  .arg = writer,
                              });
    writer->retry = timer_new(loop, writer_retry, writer);
    writer->deadline = timer_new(loop, writer_deadline, writer);
    writer->rest = timer_new(loop, writer_rested, writer);
    writer->patience = timer_new(loop, writer_out_of_patience, writer);
    backoff_init(&writer->backoff, config->backoff_base_ms, config->backoff_max_ms);
    TAILQ_INIT(&writer->lanes);
    TAILQ_INIT(&writer->ready);
    TAILQ_INIT(&writer->jobs);
    /* Who sleeps inside a transaction loses it before its lease, and with it the locks. */
    int length = snprintf(writer->begin_sql, sizeof(writer->begin_sql),
                          "%s; SET LOCAL statement_timeout = '%lldms'; "
                          "SET LOCAL idle_in_transaction_session_timeout = '%lldms'",
                          sql_begin_write, (long long)config->statement_ms,
                          (long long)DS_MIN(config->lease_ms / 3, (int64_t)WRITER_IDLE_MS_MAX));
    DS_ASSERT(length < (int)sizeof(writer->begin_sql));
    (void)snprintf(writer->lock_limit, sizeof(writer->lock_limit), "%lldms",
                   (long long)config->statement_ms);
    transaction_init(&writer->transaction);
    state_fold_init(&writer->fold);
    buf_init(&writer->scratch, 1u << 20);
    buf_init(&writer->state_page.type, STATE_PAGE_TEXT_BYTES_MAX);
    buf_init(&writer->state_page.key, STATE_PAGE_TEXT_BYTES_MAX);
    return writer;
}

void
writer_free(Writer *writer)
{
    if (writer == NULL) {
        return;
    }
    pg_free(writer->pg);
    timer_free(writer->retry);
    timer_free(writer->deadline);
    timer_free(writer->patience);
    timer_free(writer->rest);
    transaction_done(&writer->transaction);
    state_fold_done(&writer->fold);
    buf_done(&writer->scratch);
    buf_done(&writer->state_page.type);
    buf_done(&writer->state_page.key);
    writer->state = WRITER_OFF; /* a pick may be scheduled */
    loop_defer_free(writer->loop, writer);
}

void
writer_start(Writer *writer)
{
    writer_connect(writer);
}

bool
writer_is_up(const Writer *writer)
{
    return writer->up;
}
