/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the answers of a stream's server lead to: reading, waiting, parking, stopping.
 */
#include "syncd/session_internal.h"

#include "common/clock.h"
#include "common/mem.h"
#include "syncd/closed_look.h"
#include "syncd/error_class.h"

#define PROTOCOL_ERRORS_MAX 10   /* in a row, without the position moving */
#define CYCLE_MS_MIN        1000 /* a read that ends sooner and brings nothing counts as a failure */
#define HEALTHY_MS          10000 /* a read that lasted this long ends a row of failures */
#define AWAIT_MS_MAX        5000  /* between two looks for a stream that does not exist yet */
#define PARK_MS_MIN         100   /* between two looks whether a stream is quiet */

static const LogScope scope = {.name = "syncd.session"};

void
session_probe(Session *session)
{
    session_enter(session, SESSION_PROBE);
    session->anew = false;
    source_probe(session->source);
}

static void
session_open(Session *session)
{
    metric_add(session->shared->stats->source_opens, 1);
    if (session->parking.hold) {
        parking_touch(&session->parking, clock_mono_ms());
    }
    budget_forget(session->shared->budget, &session->budget);
    source_open(session->source);
}

/* What its route says about a stream that is another one than before. */
static bool
session_reads_anew(const Session *session)
{
    return session->plan->route->spec.on_recreate == ROUTE_RECREATE_NEW_GENERATION;
}

/* The stream is gone or another one.  What was read before is still written. */
static void
session_gone(Session *session, const Error *err)
{
    bool anew = session_reads_anew(session);

    session_stop_reading(session);
    session->lane.gone = !anew;
    if (!anew) {
        session_enter(session, SESSION_STOPPED);
        session_tell(session, STR("stopped"), err->text);
        log_error(&scope, EVENT_STREAM_STOPPED, SESSION_FIELDS(session),
                  "stopped: %s; rows that are loaded stay, nothing is skipped; dsctl sync reset "
                  "reads it from its start, as on_recreate (SYNCD_ON_RECREATE) new_generation "
                  "would",
                  err->text);
        return;
    }
    log_warn(&scope, EVENT_STREAM_GENERATION, SESSION_FIELDS(session),
             "made anew: %s; it is read from its start as generation %lld", err->text,
             (long long)session->lane.checkpoint.generation + 1);
    metric_add(session->shared->stats->generations, 1);
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
    const char *why = session->lane.gone
                          ? "the stream is gone (404); waiting for it to be made anew"
                          : "the stream does not exist yet; waiting for it";

    if (!str_eq(session->told_state, STR("waiting"))) {
        log_info(&scope, SESSION_FIELDS(session), "%s", why);
    }
    session_enter(session, SESSION_WAITING);
    session_tell(session, STR("waiting"), why);
    session_start_timer(session, delay_ms);
}

/* --- closed streams --- */

void
session_start_looks(Session *session)
{
    if (session->looking) {
        session_start_timer(session, closed_look_ms(*session->shared->looking, arc4random_uniform));
    }
}

void
session_close(Session *session)
{
    session_enter(session, SESSION_CLOSED);
    session_start_looks(session);
}

/* It is not there any more; should it come again, this is remembered. */
static void
session_closed_is_gone(Session *session)
{
    session->lane.gone = true;
    session_tell(session, STR("closed"), "the server no longer has it (404)");
}

void
session_look(Session *session)
{
    source_probe(session->source);
}

/* The server's offsets say which life of a stream they are of, as ours do. */
static bool
probe_has_life(const SessionProbe *probe)
{
    return offset_names_life(str_c(probe->next_offset));
}

/* Closed where we have loaded it to, and as far as can be known the same. */
static bool
session_is_still_closed(const Session *session, const SessionProbe *probe)
{
    const char *ours = source_position(session->source)->offset;

    return probe->closed && (!session->lane.gone || probe_has_life(probe)) &&
           (probe->next_offset[0] == '\0' || strcmp(probe->next_offset, ours) == 0);
}

void
session_looked(Session *session)
{
    if (session_is_still_closed(session, session->probe)) {
        session->lane.gone = false;
        session_tell(session, STR("closed"), "");
        session_start_looks(session);
    } else {
        session_load(session); /* and from there as after a start */
    }
}

void
session_looked_in_vain(Session *session)
{
    if (session->end->kind == SOURCE_END_MISSING || session->end->kind == SOURCE_END_GONE) {
        session_closed_is_gone(session);
    } else if (session->end->kind == SOURCE_END_AUTH) {
        session->shared->on_refused(session->shared->arg);
    }
    session_start_looks(session);
}

/* All of it was loaded when it was parked, and its time was over: as was meant. */
static void
session_expired(Session *session)
{
    static const char why[] = "the stream's time to live was over; all of it is loaded";

    session_stop_reading(session);
    session_enter(session, SESSION_STOPPED);
    session_tell(session, STR("stopped"), why);
    log_info(&scope, SESSION_FIELDS(session), "%s", why);
}

static void
session_missing(Session *session)
{
    if (session->lane.checkpoint.closed) {
        session_stop_reading(session);
        session_close(session);
        session_closed_is_gone(session);
    } else if (session_is_untouched(session)) {
        session->lane.from_start = true;
        session_await(session);
    } else if (session_reads_anew(session)) {
        session->lane.gone = true;
        session_await(session);
    } else if (session->parking.parked) {
        session_expired(session);
    } else {
        Error err;

        (void)error_set(&err, ERR_GONE,
                        "the server answers 404: the stream was deleted or has expired");
        session_gone(session, &err);
    }
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
void
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
        if (session_is_untouched(session) && session_reads_anew(session)) {
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

/* --- quiet streams with a time to live --- */

static void
session_start_parking_timer(Session *session)
{
    int64_t due_ms = parking_due_ms(&session->parking, clock_mono_ms());

    if (due_ms != INT64_MAX) {
        session_start_timer(session, DS_MAX(due_ms, (int64_t)PARK_MS_MIN));
    }
}

static void
session_park(Session *session)
{
    session_stop_reading(session);
    session->parking.parked = true;
    session_enter(session, SESSION_PARKED);
    session_tell(session, STR("running"), "parked: quiet, and looked at without renewing its TTL");
    session_start_timer(session, parking_look_ms(&session->parking, arc4random_uniform));
}

/* Reading, and nothing may have come for long. */
void
session_quiet(Session *session)
{
    bool due = parking_due_ms(&session->parking, clock_mono_ms()) == 0;

    if (due && session->parking.hold) {
        source_close(session->source);
        session_open(session); /* which renews it */
        session_start_parking_timer(session);
    } else if (due && source_is_up_to_date(session->source) && lane_is_empty(&session->lane) &&
               !session->lane.in_flight) {
        session_park(session);
    } else {
        session_start_parking_timer(session);
    }
}

/* --- where a stream is begun --- */

static bool
session_is_new(const Session *session)
{
    const Checkpoint *checkpoint = &session->lane.checkpoint;

    return session_is_untouched(session) && checkpoint->generation == 1 &&
           checkpoint->next_seq == 0;
}

/* Whether the server's list of streams, which says when they were made, has to tell first what is
 * before the route began. */
static bool
session_awaits_list(const Session *session)
{
    const StreamPlan *plan = session->plan;

    return plan->route->spec.start == ROUTE_START_NOW && !session->lane.from_start && !plan->told &&
           plan->route->server->admin_url != NULL && session_is_new(session);
}

static void
session_await_list(Session *session)
{
    session_enter(session, SESSION_WAITING);
    session_tell(session, STR("waiting"),
                 "the server's list of streams has to say whether it is older than its route");
    session_start_timer(session, AWAIT_MS_MAX);
}

/* Where its route begins, for a stream that nothing was loaded of.  The place is committed like any
 * other, so that it is decided once.  One that came into being meanwhile is read from its start. */
static void
session_choose_start(Session *session, const SessionProbe *probe)
{
    const RouteSpec *spec = &session->plan->route->spec;
    Str offset =
        spec->start == ROUTE_START_OFFSET ? str_c(spec->start_offset) : str_c(probe->next_offset);

    if (spec->start != ROUTE_START_EARLIEST && session_is_new(session) &&
        !(spec->start == ROUTE_START_NOW && session->lane.from_start) && offset_is_valid(offset)) {
        source_skip_to(session->source, offset);
    }
}

/* It is the stream that we know. */
static void
session_read(Session *session, const SessionProbe *probe)
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
    session->lane.from_start = session->lane.from_start || session->plan->from_start;
    if (session_awaits_list(session)) {
        session_await_list(session);
        return;
    }
    session->lane.gone = false;
    session->parking.parked = false;
    parking_touch(&session->parking, clock_mono_ms());
    session_choose_start(session, probe);
    session_enter(session, SESSION_STREAM);
    session_tell(session, STR("running"), "");
    log_info(&scope, SESSION_FIELDS(session), "reading");
    session_open(session);
    session_start_parking_timer(session);
}

/* The server says what the stream is and where it ends: is it still the one that we know? */
void
session_probed(Session *session)
{
    const Checkpoint *checkpoint = &session->lane.checkpoint;
    const SessionProbe *probe = session->probe;
    const char *ours = source_position(session->source)->offset;
    Error err;

    parking_set_ttl(&session->parking, probe->ttl_s,
                    session->plan->route->spec.ttl == ROUTE_TTL_HOLD);
    if (session->parking.parked && !probe->closed && strcmp(probe->next_offset, ours) == 0) {
        session_park(session);
        return;
    }
    if (checkpoint->closed && session_is_still_closed(session, probe)) {
        session->lane.gone = false;
        session_close(session);
        session_tell(session, STR("closed"), "");
        return;
    }
    if (session->lane.gone && !session_is_untouched(session) &&
        !(probe_has_life(probe) && offset_names_life(str_c(ours)))) {
        (void)error_set(&err, ERR_GONE,
                        "the stream was gone, or another one, and is there again; the server's "
                        "offsets do not say whether it is the one that was loaded");
        session_gone(session, &err);
    } else if (checkpoint->closed) {
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
    } else {
        session_read(session, probe);
    }
}
