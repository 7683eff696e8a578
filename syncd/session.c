/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/session.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"
#include "syncd/error_class.h"

#define PROBE_MS_MAX           15000
#define PROTOCOL_ERRORS_MAX    10 /* in a row, without the position moving */
#define CYCLE_MS_MIN           1000 /* a read that ends sooner and brings nothing counts as a failure */
#define HEALTHY_MS             10000 /* a read that lasted this long ends a row of failures */
#define AWAIT_MS_MAX           5000  /* between two looks for a stream that does not exist yet */
#define LETTERS_LOG_MS         10000 /* between two lines about dead letters of a stream */
#define BACKOFF_SHOWN          3     /* failures in a row before ds_sync.stream says "backoff" */
#define REASON_BYTES_MAX       511
#define CONTENT_TYPE_BYTES_MAX 127

static const LogScope scope = {.name = "syncd.session"};

/* What happened since the last step. */
#define EVENT_BIT_LOADED  DS_BIT(0)
#define EVENT_BIT_PROBED  DS_BIT(1)
#define EVENT_BIT_END     DS_BIT(2) /* of the source's read; session->end */
#define EVENT_BIT_WRITTEN DS_BIT(3) /* a commit */
#define EVENT_BIT_TROUBLE DS_BIT(4) /* with the lane; session->trouble */
#define EVENT_BIT_DOWN    DS_BIT(5) /* Postgres is out of reach */
#define EVENT_BIT_TIMER   DS_BIT(6)
#define EVENT_BIT_STOP    DS_BIT(7)
#define EVENT_BIT_REVOKE  DS_BIT(8)

typedef struct SessionProbe {
    char next_offset[OFFSET_BYTES_MAX + 1];
    bool closed;
} SessionProbe;

struct Session {
    const SessionShared *shared;
    Writer *writer;
    Lane lane;
    Source *source;
    BudgetUser budget;
    LoopTimer *timer;
    Backoff backoff;
    SessionState state;
    unsigned events;
    bool scheduled;
    void *owner;
    Str name;

    /* What the events are about, only while they wait. */
    SourceEnd *end;
    SessionProbe *probe;
    LaneTrouble trouble;
    Error *trouble_err;

    bool load_after;       /* BACKOFF: load the checkpoint instead of probing */
    bool generation_after; /* DRAIN: then begin a new generation */
    bool was_gone;         /* 404 after success, waiting for it to be made anew */
    bool ending;
    bool revoked; /* ending, and nothing more is written */
    bool freed;   /* while a step was scheduled */
    bool reached;
    unsigned protocol_errors;
    Str told_state; /* in ds_sync.stream, as far as we asked */
    char *reason;   /* NULL: "" */
    char *content_type;
    uint64_t rows;
    uint64_t letters;
    uint64_t letters_logged;
    int64_t letters_log_ms; /* not again before */
    int64_t committed_wall_ms;
    StreamStats stats;
};

/* --- what every line says --- */

#define SESSION_FIELDS(session)                                                                    \
    LOG_FIELDS(log_str("stream", (session)->lane.name), log_str("route", (session)->lane.route),   \
               log_str("offset", str_c((session)->lane.checkpoint.position.offset)),               \
               log_i64("skip", (session)->lane.checkpoint.position.skip),                          \
               log_i64("epoch", (session)->lane.checkpoint.epoch))

static void session_step(void *arg);

static void
session_raise(Session *session, unsigned event)
{
    session->events |= event;
    if (!session->scheduled) {
        session->scheduled = true;
        loop_defer(session->shared->loop, session_step, session);
    }
}

static void
session_enter(Session *session, SessionState state)
{
    DS_ASSERT(session_edge_is_legal(session->state, state));
    log_debug(&scope, SESSION_FIELDS(session), "%s -> %s", session_state_name(session->state),
              session_state_name(state));
    session->state = state;
}

/* For people: what is too long is cut.  A peer may have put any bytes into what we show; Postgres
 * takes UTF-8 only. */
static void
replace_text(char **text, Str by, size_t bytes_max)
{
    char *copy = str_dup(str_head(by, bytes_max));

    if (!str_is_utf8(str_c(copy))) {
        for (char *c = copy; *c != '\0'; c++) {
            *c = (*c & 0x80) != 0 ? '?' : *c;
        }
    }
    free(*text);
    *text = copy;
}

static const char *
text_or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

/* What ds_sync.stream says; only when it changes. */
static void
session_tell(Session *session, Str state, const char *reason)
{
    if (str_eq(session->told_state, state) && strcmp(text_or_empty(session->reason), reason) == 0) {
        return;
    }
    session->told_state = state;
    replace_text(&session->reason, str_c(reason), REASON_BYTES_MAX);
    writer_set_state(session->writer, &session->lane, state, str_c(session->reason),
                     str_c(text_or_empty(session->content_type)));
}

static void
session_account(Session *session)
{
    budget_set(session->shared->budget, &session->budget, session->lane.units_bytes);
    metric_set(session->shared->stats->queue_bytes, (int64_t)session->shared->budget->used);
}

static void
session_on_timer(void *arg)
{
    session_raise(arg, EVENT_BIT_TIMER);
}

/* Only those that wait have a timer. */
static void
session_start_timer(Session *session, int64_t delay_ms)
{
    if (session->timer == NULL) {
        session->timer = timer_new(session->shared->loop, session_on_timer, session);
    }
    timer_start(session->timer, delay_ms);
}

static void
session_stop_timer(Session *session)
{
    timer_free(session->timer);
    session->timer = NULL;
}

static void
session_stop_reading(Session *session)
{
    source_close(session->source);
    budget_forget(session->shared->budget, &session->budget);
    session_stop_timer(session);
    session->events &= ~(EVENT_BIT_PROBED | EVENT_BIT_END | EVENT_BIT_TIMER);
}

/* --- callbacks: they only record what happened --- */

static void
source_on_probe(void *arg, const SourceProbe *probe)
{
    Session *session = arg;

    session->reached = true;
    if (session->probe == NULL) {
        session->probe = mem_zalloc(sizeof(*session->probe));
    }
    memcpy(session->probe->next_offset, probe->next_offset.ptr, probe->next_offset.len);
    session->probe->next_offset[probe->next_offset.len] = '\0';
    session->probe->closed = probe->closed;
    replace_text(&session->content_type, probe->content_type, CONTENT_TYPE_BYTES_MAX);
    session_raise(session, EVENT_BIT_PROBED);
}

static void
source_on_unit(void *arg, Unit *unit)
{
    Session *session = arg;

    session->protocol_errors = 0;
    writer_push(session->writer, &session->lane, unit);
    session_account(session);
    if (budget_must_pause(session->shared->budget, &session->budget)) {
        source_pause(session->source);
    }
}

static void
source_on_end(void *arg, const SourceEnd *end)
{
    Session *session = arg;

    if (session->end == NULL) {
        session->end = mem_alloc(sizeof(*session->end));
    }
    *session->end = *end;
    session_raise(session, EVENT_BIT_END);
}

static void
lane_on_loaded(void *arg)
{
    Session *session = arg;

    session_account(session);
    session_raise(session, EVENT_BIT_LOADED);
}

/* A stream that is poisoned steadily says so now and then, not with every commit. */
static void
session_log_letters(Session *session)
{
    int64_t now_ms = clock_mono_ms();

    if (session->letters == session->letters_logged ||
        (session->letters_logged > 0 && now_ms < session->letters_log_ms)) {
        return;
    }
    log_warn(&scope, EVENT_STREAM_DEAD_LETTERS, SESSION_FIELDS(session),
             "could not be loaded, and became dead letters: %llu; see dsctl dlq ls",
             (unsigned long long)(session->letters - session->letters_logged));
    session->letters_logged = session->letters;
    session->letters_log_ms = now_ms + LETTERS_LOG_MS;
}

static void
lane_on_committed(void *arg, size_t rows, size_t letters)
{
    Session *session = arg;

    backoff_reset(&session->backoff);
    session->rows += rows;
    session->letters += letters;
    metric_add(session->stats.route_rows, rows);
    metric_add(session->stats.route_letters, letters);
    metric_add(session->stats.partition_rows, rows);
    session->committed_wall_ms = clock_wall_ms();
    session_log_letters(session);
    session_account(session);
    if (session->state != SESSION_STREAM) {
        session_raise(session, EVENT_BIT_WRITTEN);
    }
}

static void
lane_on_trouble(void *arg, LaneTrouble trouble, const Error *err)
{
    Session *session = arg;

    session->trouble = trouble;
    if (session->trouble_err == NULL) {
        session->trouble_err = mem_alloc(sizeof(*session->trouble_err));
    }
    *session->trouble_err = *err;
    session_raise(session, EVENT_BIT_TROUBLE);
}

static void
lane_on_down(void *arg)
{
    session_raise(arg, EVENT_BIT_DOWN);
}

static void
lane_on_released(void *arg)
{
    session_raise(arg, EVENT_BIT_WRITTEN);
}

/* --- decisions --- */

static void
session_load(Session *session)
{
    session_stop_reading(session);
    session_enter(session, SESSION_LOAD);
    writer_load(session->writer, &session->lane);
}

static void
session_probe(Session *session)
{
    session_enter(session, SESSION_PROBE);
    source_probe(session->source);
}

static void
session_open(Session *session)
{
    metric_add(session->shared->stats->source_opens, 1);
    source_open(session->source);
    if (budget_must_pause(session->shared->budget, &session->budget)) {
        source_pause(session->source);
    }
}

static void
session_fail(Session *session, const Error *err)
{
    Error shown = *err;

    if (err->sqlstate[0] != '\0') {
        (void)error_wrap(&shown, "%s", err->sqlstate);
    }
    session_stop_reading(session);
    session_enter(session, SESSION_FAILED);
    session_tell(session, STR("failed"), shown.text);
    log_error(&scope, EVENT_STREAM_FAILED, SESSION_FIELDS(session),
              "failed: %s; nothing more of this stream is loaded until it is mended and syncd "
              "restarted",
              shown.text);
}

/* The stream is gone or another one.  What was read before is still written. */
static void
session_gone(Session *session, const Error *err)
{
    bool anew = session->shared->config->on_recreate == RECREATE_NEW_GENERATION;

    session_stop_reading(session);
    if (!anew) {
        session_enter(session, SESSION_STOPPED);
        session_tell(session, STR("stopped"), err->text);
        log_error(&scope, EVENT_STREAM_STOPPED, SESSION_FIELDS(session),
                  "stopped: %s; rows that are loaded stay, nothing is skipped; with "
                  "SYNCD_ON_RECREATE=new_generation it would be read from its start",
                  err->text);
        return;
    }
    log_warn(&scope, EVENT_STREAM_GENERATION, SESSION_FIELDS(session),
             "made anew: %s; it is read from its start as generation %lld", err->text,
             (long long)session->lane.checkpoint.generation + 1);
    metric_add(session->shared->stats->generations, 1);
    session->was_gone = false;
    session->generation_after = true;
    session_enter(session, SESSION_DRAIN);
    session_raise(session, EVENT_BIT_WRITTEN);
}

static bool
session_is_untouched(const Session *session)
{
    return position_at_start(&session->lane.checkpoint.position) &&
           position_at_start(source_position(session->source)) && lane_is_empty(&session->lane);
}

static void
session_await(Session *session)
{
    int64_t delay_ms = DS_MIN(backoff_next_ms(&session->backoff, 0), (int64_t)AWAIT_MS_MAX);
    const char *why = session->was_gone ? "the stream is gone (404); waiting for it to be made anew"
                                        : "the stream does not exist yet; waiting for it";

    if (!str_eq(session->told_state, STR("waiting"))) {
        log_info(&scope, SESSION_FIELDS(session), "%s", why);
    }
    session_enter(session, SESSION_WAITING);
    session_tell(session, STR("waiting"), why);
    session_start_timer(session, delay_ms);
}

static void
session_missing(Session *session)
{
    if (session->lane.checkpoint.closed) {
        session_stop_reading(session);
        session_enter(session, SESSION_CLOSED);
    } else if (session_is_untouched(session)) {
        session_await(session);
    } else if (session->shared->config->on_recreate == RECREATE_NEW_GENERATION) {
        session->was_gone = true;
        session_await(session);
    } else {
        Error err;

        (void)error_set(&err, ERR_GONE,
                        "the server answers 404: the stream was deleted or has expired");
        session_gone(session, &err);
    }
}

static void
session_back_off(Session *session, EventId event, const Error *err, int64_t floor_ms)
{
    int64_t delay_ms = backoff_next_ms(&session->backoff, floor_ms);

    session_enter(session, SESSION_BACKOFF);
    if (event != EVENT_NONE) {
        metric_add(session->shared->stats->source_errors, 1);
        log_warn(&scope, event, SESSION_FIELDS(session),
                 "%s; tries again in %lld ms from the same place", err->text, (long long)delay_ms);
        if (session->backoff.attempt >= BACKOFF_SHOWN) {
            session_tell(session, STR("backoff"), err->text);
        }
    }
    session_start_timer(session, delay_ms);
}

static void
session_protocol_error(Session *session, const SourceEnd *end)
{
    Error err = end->err;

    session->reached = true;
    if (++session->protocol_errors < PROTOCOL_ERRORS_MAX) {
        session_back_off(session, error_class_info(ERROR_CLASS_SOURCE_PROTOCOL)->event, &err, 0);
        return;
    }
    (void)error_wrap(&err, "%d answers in a row do not follow the protocol, the last one",
                     PROTOCOL_ERRORS_MAX);
    session_fail(session, &err);
}

/* A read, or a probe, is over. */
static void
session_read_ended(Session *session)
{
    const SourceEnd *end = session->end;
    const SyncdTimeouts *timeouts = &session->shared->config->timeouts;

    session->reached = end->kind != SOURCE_END_RETRY && end->kind != SOURCE_END_AUTH;
    if (end->open_ms >= HEALTHY_MS) {
        backoff_reset(&session->backoff);
    }
    switch (end->kind) {
    case SOURCE_END_CYCLE:
        if (end->moved || end->waits_next || end->open_ms >= CYCLE_MS_MIN) {
            session->protocol_errors = 0;
            session_open(session);
        } else {
            session_back_off(session, EVENT_NONE, &end->err, 0);
        }
        break;
    case SOURCE_END_CLOSED:
        session_enter(session, SESSION_DRAIN);
        session_raise(session, EVENT_BIT_WRITTEN);
        break;
    case SOURCE_END_MISSING:
        session_missing(session);
        break;
    case SOURCE_END_GONE:
        if (session_is_untouched(session) &&
            session->shared->config->on_recreate == RECREATE_NEW_GENERATION) {
            session_await(session);
        } else {
            Error err;

            (void)error_set(&err, ERR_GONE,
                            "the server answers 410: it no longer has what follows this offset");
            session_gone(session, &err);
        }
        break;
    case SOURCE_END_WENT_BACK:
        session_gone(session, &end->err);
        break;
    case SOURCE_END_RETRY:
        session_back_off(session, error_class_info(ERROR_CLASS_SOURCE_RETRY)->event, &end->err,
                         end->retry_after_ms);
        break;
    case SOURCE_END_AUTH:
        session->shared->on_refused(session->shared->arg);
        session_back_off(session, error_class_info(ERROR_CLASS_SOURCE_REFUSED)->event, &end->err,
                         DS_MAX(end->retry_after_ms, timeouts->backoff_max_ms));
        break;
    case SOURCE_END_PROTOCOL:
        session_protocol_error(session, end);
        break;
    case SOURCE_END_FATAL:
        session_fail(session, &end->err);
        break;
    }
}

/* It is the stream that we know. */
static void
session_read(Session *session)
{
    const Sink *sink = session->lane.sink;
    Error err;

    source_set_content_type(session->source, str_c(session->content_type));
    if (sink_of_kind(session->lane.sink, source_unit_kind(session->source)) == NULL) {
        (void)error_set(&err, ERR_CONFIG, "%s; its content type is %s", sink_refusal(sink),
                        session->content_type);
        session_fail(session, &err);
        return;
    }
    session->was_gone = false;
    session_enter(session, SESSION_STREAM);
    session_tell(session, STR("running"), "");
    log_info(&scope, SESSION_FIELDS(session), "reading");
    session_open(session);
}

/* The server says what the stream is and where it ends: is it still the one that we know? */
static void
session_probed(Session *session)
{
    const Checkpoint *checkpoint = &session->lane.checkpoint;
    const SessionProbe *probe = session->probe;
    const char *ours = source_position(session->source)->offset;
    Offset own;
    bool has_eras = offset_parse(str_c(probe->next_offset), &own);
    Error err;

    if (checkpoint->closed && probe->closed &&
        (probe->next_offset[0] == '\0' || strcmp(probe->next_offset, ours) == 0)) {
        session_enter(session, SESSION_CLOSED);
        session_tell(session, STR("closed"), "");
        return;
    }
    if (checkpoint->closed) {
        (void)error_set(&err, ERR_GONE, "the stream was closed at %s, and now it %s", ours,
                        probe->closed ? "ends elsewhere" : "is open");
        session_gone(session, &err);
    } else if (probe->next_offset[0] != '\0' &&
               offset_went_back(str_c(ours), str_c(probe->next_offset))) {
        (void)error_set(
            &err, ERR_GONE,
            "the stream ends at %s, before the offset %s that is loaded: it lost its end or "
            "is another one",
            probe->next_offset, ours);
        session_gone(session, &err);
    } else if (session->was_gone && !has_eras) {
        (void)error_set(&err, ERR_GONE, "the stream was gone (404) and is there again");
        session_gone(session, &err);
    } else {
        session_read(session);
    }
}

static void
session_loaded(Session *session)
{
    Position position = session->lane.checkpoint.position;

    if (session->state != SESSION_LOAD) {
        return;
    }
    if (MUTANT("skip_ignored")) {
        position.skip = 0;
    }
    source_seek(session->source, &position);
    log_info(&scope, SESSION_FIELDS(session), "position loaded");
    session_probe(session);
}

static bool
session_is_over(const Session *session)
{
    return session->state == SESSION_CLOSED || session->state == SESSION_FAILED ||
           session->state == SESSION_FENCED || session->state == SESSION_ENDED;
}

static void
session_in_trouble(Session *session)
{
    const Error *err = session->trouble_err;

    session_stop_reading(session);
    session->events &= ~EVENT_BIT_LOADED;
    session->generation_after = false;
    lane_clear(&session->lane);
    session_account(session);
    if (session_is_over(session)) {
        return;
    }
    switch (session->trouble) {
    case LANE_FENCED:
        session_enter(session, SESSION_FENCED);
        replace_text(&session->reason, str_c(err->text), REASON_BYTES_MAX);
        log_warn(&scope, EVENT_STREAM_FENCED, SESSION_FIELDS(session),
                 "%s; this instance writes nothing of the stream until it holds its partition "
                 "again",
                 err->text);
        if (!session->ending) {
            session->shared->on_fenced(session->owner);
        }
        break;
    case LANE_MOVED:
        log_warn(&scope, EVENT_STREAM_MOVED, SESSION_FIELDS(session), "%s; loading it again",
                 err->text);
        session_load(session);
        break;
    case LANE_REFUSED:
        session_fail(session, err);
        break;
    case LANE_DELAYED:
        session->load_after = true;
        log_warn(&scope, EVENT_STREAM_TROUBLE, SESSION_FIELDS(session),
                 "Postgres: %s: %s; tries again", err->sqlstate, err->text);
        session_back_off(session, EVENT_NONE, err, 0);
        break;
    }
}

/* Reading is over: once all is written, what it was over for. */
static void
session_drained(Session *session)
{
    if (session->lane.in_flight || (!session->revoked && !lane_is_empty(&session->lane))) {
        return;
    }
    if (session->ending) {
        session_enter(session, SESSION_ENDED);
        session->shared->on_ended(session->owner);
    } else if (session->generation_after) {
        session->generation_after = false;
        session_enter(session, SESSION_LOAD);
        writer_new_generation(session->writer, &session->lane);
    } else {
        session_enter(session, SESSION_CLOSED);
        session_tell(session, STR("closed"), "");
        log_info(&scope, SESSION_FIELDS(session), "the stream is closed, and all of it is loaded");
    }
}

static void
session_stop(Session *session)
{
    if (session->state == SESSION_ENDED) {
        return;
    }
    session_stop_reading(session);
    if (session->state == SESSION_STREAM || session->state == SESSION_STOPPED ||
        session->state == SESSION_PROBE || session->state == SESSION_BACKOFF) {
        session_enter(session, SESSION_DRAIN);
    }
    if (session->state == SESSION_DRAIN) {
        session_drained(session);
    } else if (session->lane.in_flight) {
        writer_leave(session->writer, &session->lane); /* and again when it is back */
    } else {
        session_enter(session, SESSION_ENDED);
        session->shared->on_ended(session->owner);
    }
}

static void
session_timer_fired(Session *session)
{
    session_stop_timer(session);
    if (session->state == SESSION_BACKOFF && session->load_after) {
        session->load_after = false;
        session_load(session);
    } else if (session->state == SESSION_BACKOFF || session->state == SESSION_WAITING) {
        session_probe(session);
    }
}

#define EVENTS_OF_END (EVENT_BIT_STOP | EVENT_BIT_REVOKE)

/* Postgres is out of reach for long: keep no connection, and begin from what it says then.  False
 * when that changes nothing here. */
static bool
session_postgres_down(Session *session)
{
    if (session_is_over(session) || session->state == SESSION_LOAD || session->ending ||
        session->state == SESSION_STOPPED) {
        return false;
    }
    log_info(&scope, SESSION_FIELDS(session), "reading stops until Postgres is back");
    session->generation_after = false;
    session->load_after = false;
    session_load(session);
    return true;
}

/* What the events told is acted on; an idle session holds nothing of it. */
static void
session_forget_news(Session *session)
{
    free(session->end);
    free(session->probe);
    free(session->trouble_err);
    session->end = NULL;
    session->probe = NULL;
    session->trouble_err = NULL;
}

static void
session_act(Session *session, unsigned events)
{
    if (events & EVENT_BIT_TROUBLE) {
        session_in_trouble(session);
        events &= EVENTS_OF_END;
    }
    if ((events & EVENT_BIT_DOWN) && session_postgres_down(session)) {
        events &= EVENTS_OF_END;
    }
    if ((events & EVENT_BIT_REVOKE) && !session->revoked) {
        session->revoked = true;
        writer_leave(session->writer, &session->lane);
    }
    if ((events & EVENTS_OF_END) || session->ending) {
        session->ending = true;
        session_stop(session);
        return;
    }
    if (events & EVENT_BIT_LOADED) {
        session_loaded(session);
    }
    if ((events & EVENT_BIT_PROBED) && session->state == SESSION_PROBE) {
        session_probed(session);
    } else if ((events & EVENT_BIT_END) &&
               (session->state == SESSION_PROBE || session->state == SESSION_STREAM)) {
        session_read_ended(session);
    }
    if (events & EVENT_BIT_TIMER) {
        session_timer_fired(session);
    }
    if ((events & EVENT_BIT_WRITTEN) && session->state == SESSION_DRAIN) {
        session_drained(session);
    }
}

static void
session_step(void *arg)
{
    Session *session = arg;
    unsigned events = session->events;

    session->scheduled = false;
    if (session->freed) {
        loop_defer_free(session->shared->loop, session);
        return;
    }
    session->events = 0;
    session_act(session, events);
    if (session->events == 0) {
        session_forget_news(session);
    }
}

/* --- life --- */

Session *
session_new(const SessionShared *shared, const SessionConfig *own, Writer *writer)
{
    static const LaneCallbacks lane_callbacks = {.on_loaded = lane_on_loaded,
                                                 .on_committed = lane_on_committed,
                                                 .on_trouble = lane_on_trouble,
                                                 .on_down = lane_on_down,
                                                 .on_released = lane_on_released};
    static const SourceCallbacks source_callbacks = {
        .on_probe = source_on_probe, .on_unit = source_on_unit, .on_end = source_on_end};
    const SyncdConfig *config = shared->config;
    Session *session = mem_zalloc(sizeof(*session));

    session->shared = shared;
    session->writer = writer;
    session->owner = own->owner;
    session->name = own->key->name;
    session->told_state = STR_EMPTY;
    session->budget.arg = session;
    lane_init(&session->lane, own->key->source, session->name, str_c(config->instance),
              sink_default_events(), &lane_callbacks, session);
    session->lane.route = own->key->route;
    session->lane.lease_epoch = own->lease_epoch;
    session->stats = stats_of_stream(shared->stats, own->key->route, own->partition);
    session->source = source_new(
        &(SourceConfig){
            .url = own->plan->url,
            .client = own->plan->route->server->client,
            .idle_ms_max = config->timeouts.idle_ms,
            .request_ms_max = DS_MIN(config->timeouts.idle_ms, (int64_t)PROBE_MS_MAX),
            .limits = {.bytes_max = (size_t)config->limits.event_bytes,
                       .message_bytes_max = (size_t)config->limits.message_bytes},
        },
        &source_callbacks, session);
    backoff_init(&session->backoff, config->timeouts.backoff_base_ms,
                 config->timeouts.backoff_max_ms);
    writer_attach(writer, &session->lane);
    return session;
}

void
session_free(Session *session)
{
    if (session == NULL) {
        return;
    }
    budget_forget(session->shared->budget, &session->budget);
    source_free(session->source);
    timer_free(session->timer);
    if (session->state == SESSION_ENDED) {
        writer_detach(session->writer, &session->lane);
    }
    session->lane.in_flight = false; /* else the writer is gone */
    lane_clear(&session->lane);
    session_account(session);
    lane_done(&session->lane);
    session_forget_news(session);
    free(session->reason);
    free(session->content_type);
    session->reason = NULL;
    session->content_type = NULL;
    session->freed = true;
    if (!session->scheduled) {
        loop_defer_free(session->shared->loop, session);
    }
}

void
session_start(Session *session)
{
    writer_load(session->writer, &session->lane);
}

void
session_end(Session *session)
{
    session_raise(session, EVENT_BIT_STOP);
}

void
session_revoke(Session *session)
{
    session_raise(session, EVENT_BIT_REVOKE);
}

void
session_resume(void *arg)
{
    Session *session = arg;

    source_resume(session->source);
}

SessionView
session_view(const Session *session)
{
    return (SessionView){
        .name = session->name.ptr,
        .source = session->lane.source,
        .route = session->lane.route,
        .state = session->state,
        .state_word = session_state_word(session->state),
        .reason = text_or_empty(session->reason),
        .checkpoint = &session->lane.checkpoint,
        .rows = session->rows,
        .letters = session->letters,
        .queue_bytes = session->lane.units_bytes,
        .up_to_date = source_is_up_to_date(session->source) && lane_is_empty(&session->lane),
        .reached = session->reached,
        .committed_wall_ms = session->committed_wall_ms,
    };
}
