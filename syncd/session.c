/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/session_internal.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"
#include "syncd/error_class.h"

#define PROBE_MS_MAX        15000
#define STALLED_REST        4 /* how often as long as its transaction took a stream waits */
#define STALLED_REST_MS_MAX 600000
#define REASON_BYTES_MAX    511

static const LogScope scope = {.name = "syncd.session"};

static void session_step(void *arg);

void
session_raise(Session *session, unsigned event)
{
    session->events |= event;
    if (!session->scheduled) {
        session->scheduled = true;
        loop_defer(session->shared->loop, session_step, session);
    }
}

void
session_enter(Session *session, SessionState state)
{
    DS_ASSERT(session_edge_is_legal(session->state, state));
    log_debug(&scope, SESSION_FIELDS(session), "%s -> %s", session_state_name(session->state),
              session_state_name(state));
    bool looks = state == SESSION_CLOSED && session->plan->route->server->admin_url == NULL;
    *session->shared->looking += looks;
    *session->shared->looking -= session->looking;
    session->looking = looks;
    session->refused = false;
    if (state != SESSION_PROBE && state != SESSION_STREAM && state != SESSION_BACKOFF) {
        outage_leave(session_outage(session), &session->outage, clock_mono_ms());
    }
    session->state = state;
}

/* For people: what is too long is cut.  A peer may have put any bytes into what we show; Postgres
 * takes UTF-8 only. */
void
session_replace_text(char **text, Str by, size_t bytes_max)
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
void
session_tell(Session *session, Str state, const char *reason)
{
    if (session->stalled && str_eq(state, STR("running"))) {
        return; /* it reads, but nothing of it gets through */
    }
    if (str_eq(session->told_state, state) && session->told_gone == session->lane.gone &&
        strcmp(text_or_empty(session->reason), reason) == 0) {
        return;
    }
    session->told_state = state;
    session->told_gone = session->lane.gone;
    session_replace_text(&session->reason, str_c(reason), REASON_BYTES_MAX);
    writer_set_state(session->writer, &session->lane, state, str_c(session->reason),
                     str_c(text_or_empty(session->content_type)));
}

void
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
void
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

void
session_stop_reading(Session *session)
{
    source_close(session->source);
    budget_forget(session->shared->budget, &session->budget);
    budget_go_on(session->shared->budget);
    session_stop_timer(session);
    session->events &= ~(EVENT_BIT_PROBED | EVENT_BIT_END | EVENT_BIT_TIMER);
}

/* --- decisions --- */

void
session_load(Session *session)
{
    session_stop_reading(session);
    session_enter(session, SESSION_LOAD);
    writer_load(session->writer, &session->lane);
}

static void
session_enter_failed(Session *session, const Error *err, Error *out_shown)
{
    *out_shown = *err;
    if (err->sqlstate[0] != '\0') {
        (void)error_wrap(out_shown, "%s", err->sqlstate);
    }
    session_stop_reading(session);
    session_enter(session, SESSION_FAILED);
    session_tell(session, STR("failed"), out_shown->text);
}

void
session_fail(Session *session, const Error *err)
{
    Error shown;

    session_enter_failed(session, err, &shown);
    log_error(
        &scope, EVENT_STREAM_FAILED, SESSION_FIELDS(session),
        "failed: %s; nothing more of this stream is loaded until it is mended, and then dsctl "
        "sync retry%s",
        shown.text,
        err->code == ERR_INPUT ? "; dsctl sync skip --past-poison goes on without it" : "");
}

static void
session_log_failure(Session *session, EventId event, const Error *err, int64_t delay_ms)
{
    static const char text[] = "%s; tries again in %lld ms from the same place";
    const LogField *fields = SESSION_FIELDS(session, log_str("server", session->lane.source));

    if (outage_failed(session_outage(session), &session->outage, event, err, clock_mono_ms())) {
        log_warn(&scope, event, fields, text, err->text, (long long)delay_ms);
    } else {
        log_debug(&scope, fields, text, err->text, (long long)delay_ms);
    }
}

void
session_back_off(Session *session, EventId event, const Error *err, int64_t floor_ms)
{
    int64_t delay_ms = backoff_next_ms(&session->backoff, floor_ms);

    session_enter(session, SESSION_BACKOFF);
    if (event != EVENT_NONE) {
        metric_add(session->shared->stats->source_errors, 1);
        session_log_failure(session, event, err, delay_ms);
        if (session->backoff.attempt >= SESSION_BACKOFF_SHOWN) {
            session_tell(session, STR("backoff"), err->text);
        }
    }
    session_start_timer(session, delay_ms);
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
    after_sync_committed(session->after, &session->lane.checkpoint);
    log_info(&scope, SESSION_FIELDS(session), "position loaded");
    session_probe(session);
}

static bool
session_is_over(const Session *session)
{
    return session->state == SESSION_CLOSED || session->state == SESSION_FAILED ||
           session->state == SESSION_FENCED || session->state == SESSION_ENDED;
}

/* The catalogue of routes says it once for all streams, and ends this session soon. */
static void
session_hold(Session *session, const Error *err)
{
    Error shown;

    session_enter_failed(session, err, &shown);
    log_info(&scope, SESSION_FIELDS(session), "its route is held: %s", shown.text);
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
    /* Of a closed one, Postgres may have lost the end: then it is not loaded any more. */
    if (session_is_over(session) &&
        !(session->state == SESSION_CLOSED && session->trouble == LANE_MOVED)) {
        session_start_looks(session);
        return;
    }
    switch (session->trouble) {
    case LANE_FENCED:
        session_enter(session, SESSION_FENCED);
        session_replace_text(&session->reason, str_c(err->text), REASON_BYTES_MAX);
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
    case LANE_HELD:
        session_hold(session, err);
        break;
    case LANE_DELAYED:
        session->load_after = true;
        log_warn(&scope, EVENT_STREAM_TROUBLE, SESSION_FIELDS(session),
                 "Postgres: %s: %s; tries again", err->sqlstate, err->text);
        session_back_off(session, EVENT_NONE, err, 0);
        break;
    case LANE_STALLED:
        session->load_after = true;
        log_warn(&scope, EVENT_STREAM_STALLED, SESSION_FIELDS(session),
                 "Postgres: %s: %s; tries again", err->sqlstate, err->text);
        session_tell(session, STR("backoff"), err->text);
        session->stalled = session->stalled || session->state != SESSION_LOAD;
        session_back_off(
            session, EVENT_NONE, err,
            DS_MIN(session->lane.stalled_ms * STALLED_REST, (int64_t)STALLED_REST_MS_MAX));
        break;
    }
}

/* What is still to be stored of it is not known again later: that it was gone, that it was not
 * there yet, why it failed. */
static bool
session_has_to_tell(const Session *session)
{
    const Lane *lane = &session->lane;
    bool saw_start = lane->from_start && !session->plan->from_start &&
                     position_at_start(&lane->checkpoint.position);

    return lane_has_to_tell(lane) && !session->revoked &&
           (lane->gone || saw_start ||
            (session->state == SESSION_FAILED && writer_is_up(session->writer)));
}

static void
session_reach_end(Session *session)
{
    session_enter(session, SESSION_ENDED);
    session->shared->on_ended(session->owner);
}

/* Reading is over: once all is written, what it was over for. */
static void
session_drained(Session *session)
{
    if (session->lane.in_flight || (!session->revoked && !lane_is_empty(&session->lane))) {
        return;
    }
    if (session->ending) {
        if (!session_has_to_tell(session)) {
            session_reach_end(session);
        }
    } else if (session->generation_after) {
        session->generation_after = false;
        session_enter(session, SESSION_LOAD);
        writer_new_generation(session->writer, &session->lane);
    } else {
        session_close(session);
        session_tell(session, STR("closed"), "");
        log_info(&scope, SESSION_FIELDS(session), "the stream is closed, and all of it is loaded");
    }
}

/* Comes here again when something was written. */
static void
session_stop(Session *session)
{
    if (session->state == SESSION_ENDED) {
        return;
    }
    session_stop_reading(session);
    if (session->state == SESSION_STREAM || session->state == SESSION_STOPPED ||
        session->state == SESSION_PROBE || session->state == SESSION_BACKOFF ||
        session->state == SESSION_PARKED || session->state == SESSION_WAITING) {
        session_enter(session, SESSION_DRAIN);
    }
    if (session->state == SESSION_DRAIN) {
        session_drained(session);
    } else if (session_has_to_tell(session)) {
        return;
    } else if (session->lane.in_flight) {
        writer_leave(session->writer, &session->lane);
    } else {
        session_reach_end(session);
    }
}

static void
session_timer_fired(Session *session)
{
    session_stop_timer(session);
    if (session->state == SESSION_BACKOFF && session->load_after) {
        session->load_after = false;
        session_load(session);
    } else if (session->state == SESSION_BACKOFF || session->state == SESSION_WAITING ||
               session->state == SESSION_PARKED) {
        session_probe(session);
    } else if (session->state == SESSION_STREAM) {
        session_quiet(session);
    } else if (session->state == SESSION_CLOSED) {
        session_look(session);
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

static void
session_act_on_source(Session *session, unsigned events)
{
    bool closed = session->state == SESSION_CLOSED;

    if ((events & EVENT_BIT_PROBED) && session->state == SESSION_PROBE) {
        session_probed(session);
    } else if ((events & EVENT_BIT_PROBED) && closed) {
        session_looked(session);
    } else if ((events & EVENT_BIT_END) && closed) {
        session_looked_in_vain(session);
    } else if ((events & EVENT_BIT_END) &&
               (session->state == SESSION_PROBE || session->state == SESSION_STREAM)) {
        session_read_ended(session);
    }
}

static void
session_act(Session *session, unsigned events)
{
    session->anew = session->anew || (events & EVENT_BIT_ANEW) != 0;
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
    session_act_on_source(session, events);
    if (events & EVENT_BIT_TIMER) {
        session_timer_fired(session);
    }
    if ((events & EVENT_BIT_AGAIN) && session->refused) {
        session->refused = false; /* and the next token counts again */
        backoff_reset(&session->backoff);
        session_start_timer(session, backoff_next_ms(&session->backoff, 0));
    }
    if ((events & EVENT_BIT_WRITTEN) && session->state == SESSION_DRAIN) {
        session_drained(session);
    }
    if (session->anew && session->state == SESSION_CLOSED) {
        session_load(session);
    } else if (session->anew && session->state == SESSION_WAITING) {
        session_stop_timer(session);
        session_probe(session);
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
    const SyncdConfig *config = shared->config;
    Session *session = mem_zalloc(sizeof(*session));

    session->shared = shared;
    session->writer = writer;
    session->owner = own->owner;
    session->name = own->key->name;
    session->told_state = STR_EMPTY;
    session->budget.arg = session;
    session->outage.name = own->key->name;
    lane_init(&session->lane, own->key->source, session->name, str_c(config->instance),
              own->plan->route->sink, &session_lane_callbacks, session);
    session->plan = own->plan;
    session->after = after_sync_new(shared->loop, shared->link, config, own->key, own->plan);
    session->lane.from_start = own->plan->from_start;
    session->lane.route = own->key->route;
    lane_join(&session->lane, &own->plan->route->hold);
    session->lane.lease_epoch = own->lease_epoch;
    session->stats = stats_of_stream(shared->stats, own->key->route, own->partition);
    session->source = source_new(
        &(SourceConfig){
            .url = own->plan->url,
            .client = own->plan->route->server->client,
            .gate = own->plan->route->server->gate,
            .idle_ms_max = config->timeouts.idle_ms,
            .request_ms_max = DS_MIN(config->timeouts.idle_ms, (int64_t)PROBE_MS_MAX),
            .limits = {.bytes_max = (size_t)config->limits.event_bytes,
                       .message_bytes_max = (size_t)config->limits.message_bytes},
        },
        &session_source_callbacks, session);
    backoff_init(&session->backoff, config->timeouts.backoff_base_ms,
                 config->timeouts.backoff_max_ms);
    backoff_init(&session->renewals, config->timeouts.backoff_base_ms,
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
    outage_leave(session_outage(session), &session->outage, clock_mono_ms());
    source_free(session->source);
    after_sync_free(session->after);
    timer_free(session->timer);
    if (session->state == SESSION_ENDED) {
        writer_detach(session->writer, &session->lane);
    }
    *session->shared->looking -= session->looking;
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
session_made_anew(Session *session)
{
    session_raise(session, EVENT_BIT_ANEW);
}

void
session_try_again(Session *session)
{
    if (session->refused) {
        session_raise(session, EVENT_BIT_AGAIN);
    }
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
        .up_to_date = (source_is_up_to_date(session->source) || session->state == SESSION_PARKED ||
                       session->state == SESSION_CLOSED) &&
                      lane_is_empty(&session->lane),
        .loaded = session->lane.loaded,
        .reached = session->reached,
        .committed_wall_ms = session->committed_wall_ms,
        .snapshot_wall_ms = session->snapshot_wall_ms,
        .held = after_sync_held(session->after),
    };
}
