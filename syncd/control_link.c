/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/control_link.h"

#include <sys/queue.h>

#include "common/backoff.h"
#include "common/log.h"
#include "common/mem.h"
#include "syncd/error_class.h"

#define CONNECT_MS_MAX 10000

static const LogScope scope = {.name = "syncd.control"};

typedef struct ControlQuery {
    STAILQ_ENTRY(ControlQuery) link;
    const char *sql;
    char **params;
    size_t count;
    PgReplyFn fn; /* NULL: forgotten */
    void *arg;
} ControlQuery;

typedef STAILQ_HEAD(ControlQueue, ControlQuery) ControlQueue;

struct ControlLink {
    Loop *loop;
    ControlLinkConfig config;
    Pg *pg;
    LoopTimer *retry;    /* runs while no connection is tried for */
    LoopTimer *deadline; /* of the running statement */
    LoopTimer *step;     /* fires in the next turn: something is in line */
    Backoff backoff;
    ControlQueue waiting;
    size_t waiting_count;
    ControlQueue refused; /* the line was full */
    ControlQuery *running;
    bool connecting;
    bool up;
};

static void
query_free(ControlQuery *query)
{
    for (size_t i = 0; i < query->count; i++) {
        free(query->params[i]);
    }
    free(query->params);
    free(query);
}

static void
query_answer(ControlQuery *query, const PgReply *reply)
{
    PgReplyFn fn = query->fn;
    void *arg = query->arg;

    query_free(query);
    if (fn != NULL) {
        fn(arg, reply);
    }
}

/* All that are in line now; what is asked from inside an answer waits for the next try. */
static void
queue_fail(ControlQueue *queue, const PgReply *reply)
{
    ControlQueue failed = STAILQ_HEAD_INITIALIZER(failed);
    ControlQuery *query;

    STAILQ_CONCAT(&failed, queue);
    while ((query = STAILQ_FIRST(&failed)) != NULL) {
        STAILQ_REMOVE_HEAD(&failed, link);
        query_answer(query, reply);
    }
}

/* The connection is lost, or there was none to be had. */
static void
link_down(ControlLink *link, const PgReply *reply)
{
    PgReply failed = {.error_class = PG_ERROR_CONNECTION, .err = reply->err};
    ControlQuery *running = link->running;
    int64_t delay_ms = backoff_next_ms(&link->backoff, 0);

    failed.context = failed.constraint = failed.table = failed.column = failed.tag = "";
    if (link->up || link->backoff.attempt == 1) {
        log_warn(&scope, EVENT_POSTGRES_DOWN,
                 LOG_FIELDS(log_str("sqlstate", str_c(reply->err.sqlstate)),
                            log_i64("retry_ms", delay_ms)),
                 "Postgres: %s; the control connection is made again", reply->err.text);
    }
    pg_disconnect(link->pg);
    timer_stop(link->deadline);
    timer_start(link->retry, delay_ms);
    link->connecting = false;
    link->up = false;
    link->running = NULL;
    link->waiting_count = 0;
    if (running != NULL) {
        query_answer(running, &failed);
    }
    queue_fail(&link->waiting, &failed);
}

static void link_step(void *arg);

static void
link_replied(void *arg, const PgReply *reply)
{
    ControlLink *link = arg;
    ControlQuery *query = link->running;

    timer_stop(link->deadline);
    if (!reply->ok && reply->error_class == PG_ERROR_CONNECTION) {
        link_down(link, reply);
        return;
    }
    link->running = NULL;
    link->up = true;
    backoff_reset(&link->backoff);
    timer_start(link->step, 0);
    query_answer(query, reply);
}

static void
link_connected(void *arg, const PgReply *reply)
{
    ControlLink *link = arg;

    if (!reply->ok) {
        if (link->config.on_refused != NULL &&
            error_class_of_postgres(reply->error_class, reply->err.sqlstate) ==
                ERROR_CLASS_POSTGRES_REFUSED) {
            link->config.on_refused(link->config.arg);
        }
        link_down(link, reply);
        return;
    }
    link->connecting = false;
    timer_start(link->step, 0);
}

static void
link_start_query(ControlLink *link)
{
    ControlQuery *query = STAILQ_FIRST(&link->waiting);
    PgParam params[PG_PARAMS_MAX] = {{.value = NULL}};

    STAILQ_REMOVE_HEAD(&link->waiting, link);
    link->waiting_count--;
    link->running = query;
    for (size_t i = 0; i < query->count; i++) {
        params[i].value = query->params[i];
    }
    timer_start(link->deadline, link->config.command_ms_max);
    pg_query(link->pg, query->sql, params, query->count, link_replied, link);
}

static void
link_step(void *arg)
{
    static const PgReply full = {
        .error_class = PG_ERROR_TRANSIENT,
        .err = {.code = ERR_LIMIT, .text = "too many statements wait for the control connection"},
        .context = "",
        .constraint = "",
        .table = "",
        .column = "",
        .tag = "",
    };
    ControlLink *link = arg;

    queue_fail(&link->refused, &full);
    if (link->running != NULL || link->connecting || STAILQ_EMPTY(&link->waiting) ||
        timer_active(link->retry)) {
        return;
    }
    if (pg_connected(link->pg)) {
        link_start_query(link);
    } else {
        link->connecting = true;
        pg_connect(link->pg, link_connected, link);
    }
}

static void
link_deadline(void *arg)
{
    PgReply reply = {.error_class = PG_ERROR_CONNECTION};
    ControlLink *link = arg;

    (void)error_set(&reply.err, ERR_RETRY, "no answer within %lld ms",
                    (long long)link->config.command_ms_max);
    link_down(link, &reply);
}

static void
link_lost(void *arg, const Error *err)
{
    PgReply reply = {.error_class = PG_ERROR_CONNECTION, .err = *err};

    link_down(arg, &reply);
}

ControlLink *
control_link_new(Loop *loop, const ControlLinkConfig *config)
{
    ControlLink *link = mem_zalloc(sizeof(*link));

    link->loop = loop;
    link->config = *config;
    link->pg = pg_new(loop, &(PgConfig){
                                .url = config->postgres_url,
                                .application_name = config->application_name,
                                .connect_ms_max = CONNECT_MS_MAX,
                                .statement_ms_max = config->command_ms_max / 4 * 3,
                                .on_lost = link_lost,
                                .arg = link,
                            });
    link->retry = timer_new(loop, link_step, link);
    link->deadline = timer_new(loop, link_deadline, link);
    link->step = timer_new(loop, link_step, link);
    backoff_init(&link->backoff, config->backoff_base_ms, config->backoff_max_ms);
    STAILQ_INIT(&link->waiting);
    STAILQ_INIT(&link->refused);
    return link;
}

static void
queue_free(ControlQueue *queue)
{
    ControlQuery *query;

    while ((query = STAILQ_FIRST(queue)) != NULL) {
        STAILQ_REMOVE_HEAD(queue, link);
        query_free(query);
    }
}

void
control_link_free(ControlLink *link)
{
    if (link == NULL) {
        return;
    }
    pg_free(link->pg);
    timer_free(link->retry);
    timer_free(link->deadline);
    timer_free(link->step);
    queue_free(&link->waiting);
    queue_free(&link->refused);
    if (link->running != NULL) {
        query_free(link->running);
    }
    loop_defer_free(link->loop, link);
}

void
control_link_query(ControlLink *link, const char *sql, const char *const *params, size_t count,
                   PgReplyFn fn, void *arg)
{
    ControlQuery *query = mem_zalloc(sizeof(*query));

    DS_ASSERT(count <= PG_PARAMS_MAX);
    query->sql = sql;
    query->params = mem_array(DS_MAX(count, (size_t)1), sizeof(char *));
    query->count = count;
    query->fn = fn;
    query->arg = arg;
    for (size_t i = 0; i < count; i++) {
        query->params[i] = params[i] == NULL ? NULL : mem_strdup(params[i]);
    }
    if (link->waiting_count == CONTROL_LINK_WAITING_MAX) {
        STAILQ_INSERT_TAIL(&link->refused, query, link);
    } else {
        STAILQ_INSERT_TAIL(&link->waiting, query, link);
        link->waiting_count++;
    }
    timer_start(link->step, 0);
}

static void
queue_forget(ControlQueue *queue, const void *arg)
{
    ControlQuery *query;

    STAILQ_FOREACH (query, queue, link) {
        if (query->arg == arg) {
            query->fn = NULL;
        }
    }
}

void
control_link_forget(ControlLink *link, const void *arg)
{
    queue_forget(&link->waiting, arg);
    queue_forget(&link->refused, arg);
    if (link->running != NULL && link->running->arg == arg) {
        link->running->fn = NULL;
    }
}

bool
control_link_is_busy(const ControlLink *link)
{
    return link->waiting_count >= CONTROL_LINK_WAITING_MAX / 2;
}

bool
control_link_is_up(const ControlLink *link)
{
    return link->up;
}
