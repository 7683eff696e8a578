/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/supervisor.h"

#include "common/log.h"
#include "common/mem.h"

static const LogScope scope = {.name = "syncd"};

struct Supervisor {
    Loop *loop;
    SyncdConfig *config;
    Servers *servers;
    Budget budget;
    SessionShared shared;
    char *application_name;
    Writer **writers;
    size_t writer_count;
    Session **sessions;
    size_t session_count;
    size_t ended;
    bool started;
    LoopTimer *stop_timer;
    LoopFn on_stopped;
    void *on_stopped_arg;
};

/* The stream server refuses our token. */
static void
supervisor_on_refused(void *arg)
{
    Supervisor *supervisor = arg;

    servers_reload_tokens(supervisor->servers);
}

static void
supervisor_on_login_refused(void *arg)
{
    Supervisor *supervisor = arg;
    Error err;

    if (!syncd_config_read_postgres_url(supervisor->config, &err)) {
        log_warn(&scope, EVENT_SECRET_UNREADABLE, LOG_FIELDS(), "%s", err.text);
    }
}

void
supervisor_reload_secrets(Supervisor *supervisor)
{
    supervisor_on_refused(supervisor);
    supervisor_on_login_refused(supervisor);
}

static void
supervisor_stopped(Supervisor *supervisor)
{
    LoopFn fn = supervisor->on_stopped;

    timer_stop(supervisor->stop_timer);
    supervisor->on_stopped = NULL;
    if (fn != NULL) {
        fn(supervisor->on_stopped_arg);
    }
}

static void
supervisor_on_ended(void *arg)
{
    Supervisor *supervisor = arg;

    supervisor->ended++;
    if (supervisor->ended == supervisor->session_count) {
        supervisor_stopped(supervisor);
    }
}

static void
supervisor_out_of_time(void *arg)
{
    Supervisor *supervisor = arg;

    log_warn(
        &scope, EVENT_SYNCD_STOP_TIMEOUT,
        LOG_FIELDS(log_u64("streams", supervisor->session_count - supervisor->ended)),
        "what is gathered could not be committed in time; it is read again after the next start");
    supervisor_stopped(supervisor);
}

static void
supervisor_make_writers(Supervisor *supervisor, const Stats *stats)
{
    const SyncdConfig *config = supervisor->config;

    supervisor->writer_count =
        DS_MIN((size_t)config->writers, DS_MAX(config->stream_count, (size_t)1));
    supervisor->writers = mem_array(supervisor->writer_count, sizeof(Writer *));
    for (size_t i = 0; i < supervisor->writer_count; i++) {
        supervisor->writers[i] =
            writer_new(supervisor->loop, &(WriterConfig){
                                             .number = (unsigned)i,
                                             .postgres_url = &config->postgres_url,
                                             .on_refused = supervisor_on_login_refused,
                                             .arg = supervisor,
                                             .application_name = supervisor->application_name,
                                             .rows_max = config->limits.batch_rows,
                                             .bytes_max = config->limits.batch_bytes,
                                             .electric_pads = config->electric_pads,
                                             .backoff_base_ms = config->timeouts.backoff_base_ms,
                                             .backoff_max_ms = config->timeouts.backoff_max_ms,
                                             .patience_ms = config->timeouts.patience_ms,
                                             .stats = stats,
                                         });
    }
}

Supervisor *
supervisor_new(Loop *loop, SyncdConfig *config, const Stats *stats)
{
    Supervisor *supervisor = mem_zalloc(sizeof(*supervisor));
    char name[64]; /* Postgres cuts at 63 */

    supervisor->loop = loop;
    supervisor->config = config;
    supervisor->servers = servers_new(loop, &(ServersConfig){
                                                .list = &config->servers,
                                                .ca_file = config->ca_file,
                                                .cert_file = config->cert_file,
                                                .key_file = config->key_file,
                                            });
    budget_init(&supervisor->budget, (size_t)config->limits.queue_bytes,
                (size_t)config->limits.stream_queue_bytes, session_resume);
    (void)snprintf(name, sizeof(name), "syncd/%s", config->instance);
    supervisor->application_name = mem_strdup(name);
    supervisor->stop_timer = timer_new(loop, supervisor_out_of_time, supervisor);
    supervisor->shared = (SessionShared){
        .loop = loop,
        .server = servers_at(supervisor->servers, 0),
        .budget = &supervisor->budget,
        .config = config,
        .stats = stats,
        .on_refused = supervisor_on_refused,
        .on_ended = supervisor_on_ended,
        .arg = supervisor,
    };
    supervisor_make_writers(supervisor, stats);
    supervisor->session_count = config->stream_count;
    supervisor->sessions = mem_array(DS_MAX(config->stream_count, (size_t)1), sizeof(Session *));
    for (size_t i = 0; i < config->stream_count; i++) {
        supervisor->sessions[i] = session_new(&supervisor->shared, config->streams[i],
                                              supervisor->writers[i % supervisor->writer_count]);
    }
    return supervisor;
}

void
supervisor_free(Supervisor *supervisor)
{
    if (supervisor == NULL) {
        return;
    }
    for (size_t i = 0; i < supervisor->writer_count; i++) {
        writer_free(supervisor->writers[i]);
    }
    for (size_t i = 0; i < supervisor->session_count; i++) {
        session_free(supervisor->sessions[i]);
    }
    timer_free(supervisor->stop_timer);
    servers_free(supervisor->servers);
    free(supervisor->application_name);
    free(supervisor->writers);
    free(supervisor->sessions);
    free(supervisor);
}

void
supervisor_start(Supervisor *supervisor)
{
    supervisor->started = true;
    for (size_t i = 0; i < supervisor->session_count; i++) {
        session_start(supervisor->sessions[i]);
    }
    for (size_t i = 0; i < supervisor->writer_count; i++) {
        writer_start(supervisor->writers[i]);
    }
}

void
supervisor_stop(Supervisor *supervisor, LoopFn fn, void *arg)
{
    supervisor->on_stopped = fn;
    supervisor->on_stopped_arg = arg;
    if (!supervisor->started || supervisor->session_count == 0) {
        supervisor_stopped(supervisor);
        return;
    }
    timer_start(supervisor->stop_timer, supervisor->config->timeouts.stop_ms);
    for (size_t i = 0; i < supervisor->session_count; i++) {
        session_end(supervisor->sessions[i]);
    }
}

size_t
supervisor_count(const Supervisor *supervisor)
{
    return supervisor->session_count;
}

SessionView
supervisor_view(const Supervisor *supervisor, size_t index)
{
    DS_ASSERT(index < supervisor->session_count);
    return session_view(supervisor->sessions[index]);
}

static bool
session_is_dead(SessionState state)
{
    return state == SESSION_STOPPED || state == SESSION_FAILED || state == SESSION_FENCED;
}

/* Of the streams that are not closed: none is, nor ever will be, loaded before somebody acts. */
static bool
supervisor_all_dead(const Supervisor *supervisor)
{
    size_t dead = 0;
    size_t over = 0;

    for (size_t i = 0; i < supervisor->session_count; i++) {
        SessionState state = session_view(supervisor->sessions[i]).state;

        dead += session_is_dead(state);
        over += session_is_dead(state) || state == SESSION_CLOSED;
    }
    return dead > 0 && over == supervisor->session_count;
}

bool
supervisor_is_ready(const Supervisor *supervisor, const char **out_why)
{
    bool reached = supervisor->session_count == 0;

    *out_why = "starting";
    if (!supervisor->started) {
        return false;
    }
    for (size_t i = 0; i < supervisor->writer_count; i++) {
        *out_why = "Postgres does not answer";
        if (!writer_is_up(supervisor->writers[i]) && supervisor->session_count > 0) {
            return false;
        }
    }
    for (size_t i = 0; i < supervisor->session_count; i++) {
        SessionView view = session_view(supervisor->sessions[i]);

        *out_why = "positions are being loaded";
        if (view.state == SESSION_LOAD) {
            return false;
        }
        reached = reached || view.reached;
    }
    if (supervisor_all_dead(supervisor)) {
        *out_why = "every stream that is not closed is stopped, failed or fenced";
        return false;
    }
    *out_why = reached ? "ok" : "the stream server does not answer, or refuses us";
    return reached;
}
