/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/pg.c -- a connection's commands: send, flush, collect the results, reply.
 *
 * Callbacks are always the last thing a function does, because they may free the Pg, close it or
 * start the next command.  Memory survives until the end of the turn (loop_defer_free).
 */
#include "common/pg_internal.h"

#include <bsd/string.h>
#include <poll.h>
#include <uv.h>

#include "common/mem.h"
#include "common/parse.h"

/* A request that comes before the server has begun with the command does nothing there. */
#define CANCEL_TRIES    10
#define CANCEL_AGAIN_MS 50

struct PgCancel {
    uv_work_t work;
    PGcancel *request;
    Pg *pg;            /* NULL once the connection is closed */
    PGconn *abandoned; /* the closed connection, to watch and to end; the thread pool's */
};

static const uint16_t pg_edges[PG_STATE_COUNT] = {
    [PG_CLOSED] = DS_BIT(PG_RESOLVING) | DS_BIT(PG_FAILING) | DS_BIT(PG_CLOSED),
    [PG_FAILING] = DS_BIT(PG_CLOSED),
    [PG_RESOLVING] = DS_BIT(PG_CONNECTING) | DS_BIT(PG_FAILING) | DS_BIT(PG_CLOSED),
    [PG_CONNECTING] = DS_BIT(PG_IDLE) | DS_BIT(PG_FAILING) | DS_BIT(PG_CLOSED),
    [PG_IDLE] = DS_BIT(PG_RUNNING) | DS_BIT(PG_CLOSED),
    [PG_RUNNING] = DS_BIT(PG_COPYING) | DS_BIT(PG_HELD) | DS_BIT(PG_IDLE) | DS_BIT(PG_FAILING) |
                   DS_BIT(PG_CLOSED),
    [PG_COPYING] = DS_BIT(PG_RUNNING) | DS_BIT(PG_CLOSED),
    [PG_HELD] = DS_BIT(PG_IDLE) | DS_BIT(PG_CLOSED),
};

void
pg_enter(Pg *pg, PgState state)
{
    DS_ASSERT(pg_edges[pg->state] & DS_BIT(state));
    pg->state = state;
}

/* To PG_CLOSED: all that belongs to the connection goes. */
static void
pg_drop(Pg *pg)
{
    if (pg->cancel != NULL) {
        pg->cancel->pg = NULL;
        pg->cancel = NULL;
    }
    pg_lookup_detach(pg);
    timer_stop(pg->connect_timer);
    fd_free(pg->watch);
    pg->watch = NULL;
    PQfinish(pg->conn); /* NULL when it was abandoned */
    pg->conn = NULL;
    pg_plan_done(&pg->plan);
    PQclear(pg->command.result);
    pg->command = (PgCommand){0};
    pg->last_words = (Error){0};
    pg_enter(pg, PG_CLOSED);
}

/* ---- replies ---- */

static const char *
result_field(const PGresult *result, int field)
{
    const char *text = result == NULL ? NULL : PQresultErrorField(result, field);

    return text == NULL ? "" : text;
}

/* The server ends the session after a FATAL error, whatever its SQLSTATE. */
static bool
result_is_fatal(const PGresult *result)
{
    const char *severity = result_field(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    return str_eq(str_c(severity), STR("FATAL")) || str_eq(str_c(severity), STR("PANIC"));
}

static PgErrorClass
result_error(const PGresult *result, bool connection_lost, Error *err)
{
    const char *sqlstate = result_field(result, PG_DIAG_SQLSTATE);
    const char *message = result_field(result, PG_DIAG_MESSAGE_PRIMARY);
    PgErrorClass class = pg_sqlstate_class(sqlstate);
    char text[sizeof(err->text)];

    if (connection_lost || result_is_fatal(result)) {
        class = PG_ERROR_CONNECTION;
    }
    pg_flatten(message[0] != '\0' ? message : PQresultErrorMessage(result), text, sizeof(text));
    (void)error_set(err, pg_error_code(class, sqlstate), "%s",
                    text[0] != '\0' ? text : "the connection to Postgres was lost");
    (void)strlcpy(err->sqlstate, sqlstate, sizeof(err->sqlstate));
    return class;
}

static void
reply_fill(PgReply *reply, PGresult *result)
{
    *reply = (PgReply){
        .ok = true,
        .context = result_field(result, PG_DIAG_CONTEXT),
        .constraint = result_field(result, PG_DIAG_CONSTRAINT_NAME),
        .table = result_field(result, PG_DIAG_TABLE_NAME),
        .column = result_field(result, PG_DIAG_COLUMN_NAME),
        .tag = "",
        .result = result,
    };
    if (result != NULL) {
        reply->tag = PQcmdStatus(result);
        reply->rows = PQntuples(result);
        if (!parse_u64(str_c(PQcmdTuples(result)), UINT64_MAX, &reply->rows_affected)) {
            reply->rows_affected = 0; /* a command that counts no rows */
        }
    }
}

void
pg_fail(Pg *pg, PgErrorClass class, const Error *err)
{
    PgCommand command = pg->command;
    PgReply reply;

    reply_fill(&reply, NULL);
    reply.ok = false;
    reply.error_class = class;
    reply.err = *err;
    pg->command.result = NULL;
    pg_close(pg);
    command.fn(command.arg, &reply);
    PQclear(command.result);
}

static void
on_fail_later(void *arg)
{
    Pg *pg = arg;

    if (pg->state == PG_FAILING) {
        Error err = pg->failing;

        pg_fail(pg, pg->failing_class, &err);
    }
}

void
pg_fail_later(Pg *pg, PgErrorClass class, const Error *err)
{
    pg->failing_class = class;
    pg->failing = *err;
    pg_enter(pg, PG_FAILING);
    loop_defer(pg->loop, on_fail_later, pg);
}

/* ---- the end of a command ---- */

static void
pg_complete(Pg *pg, bool lost)
{
    PgCommand command = pg->command;
    PgReply reply;

    reply_fill(&reply, command.result);
    if (command.failed || lost) {
        reply.ok = false;
        reply.error_class = result_error(command.result, lost, &reply.err);
    } else if (command.is_copy && !command.copy_began) {
        reply.ok = false;
        reply.error_class = PG_ERROR_UNKNOWN;
        (void)error_set(&reply.err, ERR_PROTOCOL, "the statement is no COPY FROM STDIN");
    }
    pg->command = (PgCommand){0};
    if (reply.error_class == PG_ERROR_CONNECTION) {
        pg_drop(pg);
    } else {
        pg_enter(pg, PG_IDLE);
        fd_watch(pg->watch, LOOP_READABLE);
    }
    command.fn(command.arg, &reply);
    PQclear(command.result);
}

static void
pg_finish(Pg *pg)
{
    if (pg->cancel != NULL && PQstatus(pg->conn) == CONNECTION_OK) {
        pg_enter(pg, PG_HELD);
        fd_watch(pg->watch, 0);
        return;
    }
    pg_complete(pg, PQstatus(pg->conn) != CONNECTION_OK);
}

/* Keeps the last result, but the first error. */
static void
command_take_result(PgCommand *command, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    if (command->failed) {
        PQclear(result);
        return;
    }
    command->failed = status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE;
    PQclear(command->result);
    command->result = result;
}

/* The socket is gone; libpq may still hold what the server said before that. */
static void
pg_lost(Pg *pg)
{
    PGresult *result;
    int count = 0;

    /* Only then PQgetResult cannot block. */
    while (PQstatus(pg->conn) == CONNECTION_BAD && count++ < PG_LOST_RESULTS_MAX &&
           (result = PQgetResult(pg->conn)) != NULL) {
        command_take_result(&pg->command, result);
    }
    pg_complete(pg, true);
}

/* ---- sending ---- */

typedef enum PgSent { PG_SENT_ALL, PG_SENT_PART, PG_SENT_BROKEN } PgSent;

static PgSent
pg_flush(Pg *pg)
{
    int left = PQflush(pg->conn);

    if (left < 0) {
        return PG_SENT_BROKEN;
    }
    fd_watch(pg->watch, left == 0 ? LOOP_READABLE : LOOP_READABLE | LOOP_WRITABLE);
    return left == 0 ? PG_SENT_ALL : PG_SENT_PART;
}

/* What stands before the end of the data, of one piece; nothing at the end. */
static Str
copy_peek(PgCommand *command, size_t bytes_max)
{
    while (command->copy_rest.len == 0 && command->copy_count > 0) {
        command->copy_rest = *command->copy_pieces++;
        command->copy_count--;
    }
    return str_head(command->copy_rest, bytes_max);
}

/* Hands libpq a slice at a time, so that its buffer never holds much more than one; several pieces
 * may share one, for libpq sends what is worth a system call.  An error that the server reports
 * meanwhile is read after the end: until then it discards what comes. */
static PgSent
pg_copy_step(Pg *pg)
{
    PgCommand *command = &pg->command;
    size_t room = 0; /* in the slice; what libpq holds at first is not known */

    for (;;) {
        if (room == 0) {
            PgSent sent = pg_flush(pg);

            if (sent != PG_SENT_ALL) {
                return sent;
            }
            room = PG_COPY_SLICE_BYTES;
        }
        Str slice = copy_peek(command, room);
        int taken = slice.len > 0 ? PQputCopyData(pg->conn, slice.ptr, (int)slice.len)
                                  : PQputCopyEnd(pg->conn, NULL);
        if (taken < 0) {
            return PG_SENT_BROKEN;
        }
        if (taken == 0) {
            fd_watch(pg->watch, LOOP_READABLE | LOOP_WRITABLE);
            return PG_SENT_PART;
        }
        command->copy_rest = str_skip(command->copy_rest, slice.len);
        room -= slice.len;
        if (slice.len == 0) {
            pg_enter(pg, PG_RUNNING);
            return pg_flush(pg);
        }
    }
}

/* ---- receiving ---- */

typedef enum PgRead { PG_READ_MORE, PG_READ_DONE, PG_READ_COPY, PG_READ_BROKEN } PgRead;

/* COPY where nobody asked for it: there is no data to send and no one to read it. */
static PgRead
pg_refuse_copy(Pg *pg, PGresult *result)
{
    bool is_in = PQresultStatus(result) == PGRES_COPY_IN;

    PQclear(result);
    if (is_in && PQputCopyEnd(pg->conn, "COPY needs pg_copy_in") == 1) {
        return PG_READ_MORE;
    }
    return PG_READ_BROKEN;
}

static PgRead
pg_read_results(Pg *pg)
{
    while (!PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);

        if (result == NULL) {
            return PG_READ_DONE;
        }
        switch (PQresultStatus(result)) {
        case PGRES_COPY_IN:
            if (pg->command.is_copy && !pg->command.copy_began) {
                PQclear(result);
                pg->command.copy_began = true;
                return PG_READ_COPY;
            }
            /* fall through */
        case PGRES_COPY_OUT:
        case PGRES_COPY_BOTH: {
            PgRead read = pg_refuse_copy(pg, result);

            if (read != PG_READ_MORE) {
                return read;
            }
            break;
        }
        default:
            command_take_result(&pg->command, result);
            break;
        }
    }
    return PG_READ_MORE;
}

static void pg_step_copying(Pg *pg);

static void
pg_step_running(Pg *pg)
{
    PgSent sent = pg_flush(pg);

    if (sent == PG_SENT_BROKEN) {
        pg_lost(pg);
        return;
    }
    switch (pg_read_results(pg)) {
    case PG_READ_DONE:
        pg_finish(pg);
        return;
    case PG_READ_COPY:
        pg_enter(pg, PG_COPYING);
        pg_step_copying(pg);
        return;
    case PG_READ_BROKEN: {
        Error err;

        (void)error_set(&err, ERR_PROTOCOL, "the statement began a COPY that nobody serves");
        pg_fail(pg, PG_ERROR_CONNECTION, &err);
        return;
    }
    case PG_READ_MORE:
        /* A refused COPY left something to send. */
        if (pg_flush(pg) == PG_SENT_BROKEN) {
            pg_lost(pg);
        }
        return;
    }
}

static void
pg_step_copying(Pg *pg)
{
    if (pg_copy_step(pg) == PG_SENT_BROKEN) {
        pg_lost(pg);
    } else if (pg->state == PG_RUNNING) {
        /* The server's answer may have been read while sending: no event would tell of it. */
        pg_step_running(pg);
    }
}

static void
pg_step_idle(Pg *pg, bool intact)
{
    PGnotify *notify;

    /* Parses what came: notices reach on_notice, notifications are not ours to use. */
    (void)PQisBusy(pg->conn);
    while ((notify = PQnotifies(pg->conn)) != NULL) {
        PQfreemem(notify);
    }
    if (intact && PQstatus(pg->conn) == CONNECTION_OK) {
        return;
    }
    Error err = pg->last_words;
    PgLostFn on_lost = pg->config.on_lost;
    void *arg = pg->config.arg;

    if (err.code == ERR_NONE) {
        char text[sizeof(err.text)];

        pg_flatten(PQerrorMessage(pg->conn), text, sizeof(text));
        (void)error_set(&err, ERR_RETRY, "%s", text);
    }
    pg_close(pg);
    if (on_lost != NULL) {
        on_lost(arg, &err);
    }
}

void
pg_on_fd(void *arg, unsigned events)
{
    Pg *pg = arg;
    bool intact = true;

    if (events & LOOP_READABLE) {
        intact = PQconsumeInput(pg->conn) == 1;
    }
    switch (pg->state) {
    case PG_IDLE:
        pg_step_idle(pg, intact);
        break;

    case PG_RUNNING:
        if (intact) {
            pg_step_running(pg);
        } else {
            pg_lost(pg);
        }
        break;

    case PG_COPYING:
        if (intact) {
            pg_step_copying(pg);
        } else {
            pg_lost(pg);
        }
        break;

    case PG_CLOSED:
    case PG_FAILING:
    case PG_RESOLVING:
    case PG_CONNECTING:
    case PG_HELD:
    case PG_STATE_COUNT:
        DS_UNREACHABLE("no watch, or one of pg_connect.c");
    }
}

/* ---- cancelling ---- */

static bool
abandoned_has_ended(PGconn *conn)
{
    struct pollfd readable = {.fd = PQsocket(conn), .events = POLLIN};

    return poll(&readable, 1, CANCEL_AGAIN_MS) > 0 && (!PQconsumeInput(conn) || !PQisBusy(conn));
}

static void
cancel_work(uv_work_t *work)
{
    PgCancel *cancel = (PgCancel *)work;
    char reason[256];

    /* Best effort: if it fails, the command ends by itself or by its time limit. */
    (void)PQcancel(cancel->request, reason, sizeof(reason));
    for (int i = 1;
         cancel->abandoned != NULL && i < CANCEL_TRIES && !abandoned_has_ended(cancel->abandoned);
         i++) {
        (void)PQcancel(cancel->request, reason, sizeof(reason));
    }
}

static void
cancel_done(uv_work_t *work, int status DS_UNUSED)
{
    PgCancel *cancel = (PgCancel *)work;
    Pg *pg = cancel->pg;

    PQfreeCancel(cancel->request);
    PQfinish(cancel->abandoned);
    free(cancel);
    if (pg != NULL) {
        pg->cancel = NULL;
        if (pg->state == PG_HELD) {
            pg_complete(pg, PQstatus(pg->conn) != CONNECTION_OK);
        }
    }
}

/* NULL: the connection broke, and its event is on the way. */
static PgCancel *
cancel_new(const Pg *pg)
{
    PGcancel *request = PQgetCancel(pg->conn);
    PgCancel *cancel = NULL;

    if (request != NULL) {
        cancel = mem_zalloc(sizeof(*cancel));
        cancel->request = request;
    }
    return cancel;
}

static void
cancel_start(PgCancel *cancel, Pg *pg)
{
    DS_ASSERT(uv_queue_work(loop_uv(pg->loop), &cancel->work, cancel_work, cancel_done) == 0);
}

void
pg_cancel(Pg *pg)
{
    if ((pg->state != PG_RUNNING && pg->state != PG_COPYING) || pg->cancel != NULL) {
        return;
    }
    PgCancel *cancel = cancel_new(pg);

    if (cancel != NULL) {
        cancel->pg = pg;
        pg->cancel = cancel;
        cancel_start(cancel, pg);
    }
}

static void
ignore_notice(void *arg DS_UNUSED, const PGresult *result DS_UNUSED)
{
}

/* A command that nobody waits for any more must not go on in the server. */
static void
abandon_command(Pg *pg)
{
    PgCancel *cancel = cancel_new(pg);

    if (cancel != NULL) {
        (void)PQsetNoticeReceiver(pg->conn, ignore_notice, NULL);
        cancel->abandoned = pg->conn;
        pg->conn = NULL;
        cancel_start(cancel, pg);
    }
}

/* ---- lifetime ---- */

static void
on_connect_timeout(void *arg)
{
    Pg *pg = arg;
    Error err;
    char text[sizeof(err.text)] = "";

    if (pg->conn != NULL) {
        pg_flatten(PQerrorMessage(pg->conn), text, sizeof(text));
    }
    (void)error_set(&err, ERR_RETRY, "no connection to Postgres within %lld ms%s%s",
                    (long long)pg->config.connect_ms_max, text[0] == '\0' ? "" : ": ", text);
    /* A host that answers nothing must not keep us from those behind it in the list. */
    pg->rotation++;
    pg_fail(pg, PG_ERROR_CONNECTION, &err);
}

Pg *
pg_new(Loop *loop, const PgConfig *config)
{
    Pg *pg = mem_zalloc(sizeof(*pg));

    pg->loop = loop;
    pg->config = *config;
    if (pg->config.connect_ms_max <= 0) {
        pg->config.connect_ms_max = PG_CONNECT_MS_DEFAULT;
    }
    pg->connect_timer = timer_new(loop, on_connect_timeout, pg);
    return pg;
}

void
pg_close(Pg *pg)
{
    if ((pg->state == PG_RUNNING || pg->state == PG_COPYING) &&
        PQstatus(pg->conn) == CONNECTION_OK) {
        abandon_command(pg);
    }
    pg_drop(pg);
}

void
pg_disconnect(Pg *pg)
{
    pg_close(pg);
}

void
pg_free(Pg *pg)
{
    if (pg == NULL) {
        return;
    }
    pg_close(pg);
    timer_free(pg->connect_timer);
    pg->connect_timer = NULL;
    loop_defer_free(pg->loop, pg);
}

/* ---- state ---- */

bool
pg_connected(const Pg *pg)
{
    return pg->state == PG_IDLE || pg->state == PG_RUNNING || pg->state == PG_COPYING ||
           pg->state == PG_HELD;
}

bool
pg_busy(const Pg *pg)
{
    return pg->state != PG_CLOSED && pg->state != PG_IDLE;
}

char
pg_transaction_state(const Pg *pg)
{
    switch (pg->conn == NULL ? PQTRANS_UNKNOWN : PQtransactionStatus(pg->conn)) {
    case PQTRANS_IDLE:
        return 'I';
    case PQTRANS_INTRANS:
        return 'T';
    case PQTRANS_INERROR:
        return 'E';
    case PQTRANS_ACTIVE:
    case PQTRANS_UNKNOWN:
        break;
    }
    return ' ';
}

int
pg_server_version(const Pg *pg)
{
    return pg_connected(pg) ? PQserverVersion(pg->conn) : 0;
}

int
pg_backend_pid(const Pg *pg)
{
    return pg_connected(pg) ? PQbackendPID(pg->conn) : 0;
}

/* ---- commands ---- */

/* False: not connected, and the reply that says so is on its way. */
static bool
command_begin(Pg *pg, PgReplyFn fn, void *arg)
{
    Error err;

    DS_ASSERT(!pg_busy(pg));
    pg->command = (PgCommand){.fn = fn, .arg = arg};
    if (pg->state == PG_IDLE) {
        pg_enter(pg, PG_RUNNING);
        return true;
    }
    (void)error_set(&err, ERR_RETRY, "not connected to Postgres");
    pg_fail_later(pg, PG_ERROR_CONNECTION, &err);
    return false;
}

static void
command_sent(Pg *pg, int sent)
{
    Error err;
    char text[sizeof(err.text)];

    if (sent == 1 && pg_flush(pg) != PG_SENT_BROKEN) {
        return;
    }
    pg_flatten(PQerrorMessage(pg->conn), text, sizeof(text));
    (void)error_set(&err, ERR_RETRY, "%s", text);
    fd_watch(pg->watch, 0);
    pg_fail_later(pg, PG_ERROR_CONNECTION, &err);
}

void
pg_exec(Pg *pg, const char *sql, PgReplyFn fn, void *arg)
{
    if (command_begin(pg, fn, arg)) {
        command_sent(pg, PQsendQuery(pg->conn, sql));
    }
}

void
pg_query(Pg *pg, const char *sql, const PgParam *params, size_t count, PgReplyFn fn, void *arg)
{
    Oid types[PG_PARAMS_MAX];
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX];
    int formats[PG_PARAMS_MAX];

    DS_ASSERT(count <= PG_PARAMS_MAX);
    for (size_t i = 0; i < count; i++) {
        DS_ASSERT(params[i].len <= INT32_MAX);
        types[i] = params[i].oid;
        values[i] = params[i].value;
        lengths[i] = (int)params[i].len;
        formats[i] = params[i].binary ? 1 : 0;
    }
    if (command_begin(pg, fn, arg)) {
        command_sent(
            pg, PQsendQueryParams(pg->conn, sql, (int)count, types, values, lengths, formats, 0));
    }
}

void
pg_copy_in(Pg *pg, const char *sql, const Str *pieces, size_t count, PgReplyFn fn, void *arg)
{
    if (command_begin(pg, fn, arg)) {
        pg->command.is_copy = true;
        pg->command.copy_pieces = pieces;
        pg->command.copy_count = count;
        command_sent(pg, PQsendQuery(pg->conn, sql));
    }
}
