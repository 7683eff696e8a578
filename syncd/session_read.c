/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a read ends, and what that leads to: reading on, waiting, backing off, stopping.
 */
#include "syncd/session_internal.h"

#include "common/clock.h"
#include "syncd/error_class.h"

#define PROTOCOL_ERRORS_MAX 10   /* in a row, without the position moving */
#define CYCLE_MS_MIN        1000 /* a read that ends sooner and brings nothing counts as a failure */
#define HEALTHY_MS          10000 /* a read that lasted this long ends a row of failures */
#define RENEWED_MS_MIN      60000 /* a generation that lasted this long ends a row of them */

static const LogScope scope = {.name = "syncd.session"};

void
session_open(Session *session)
{
    metric_add(session->shared->stats->source_opens, 1);
    session->token_version = session->plan->route->server->token_version;
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

/* A server that says so again and again is not believed each time: every generation loads all of
 * the stream once more. */
static bool
session_must_rest(Session *session, const Error *err)
{
    int64_t now_ms = clock_mono_ms();
    Error why = *err;

    if (now_ms < session->renew_ms) {
        (void)error_wrap(&why, "made anew again and again, the last time since");
        session_back_off(session, EVENT_SOURCE_RETRY, &why, session->renew_ms - now_ms);
        if (session->renewals.attempt >= SESSION_BACKOFF_SHOWN) {
            session_tell(session, STR("backoff"), why.text);
        }
        return true;
    }
    if (now_ms >= session->renewed_ms + RENEWED_MS_MIN) {
        backoff_reset(&session->renewals);
    }
    session->renewed_ms = now_ms;
    session->renew_ms = now_ms + backoff_next_ms(&session->renewals, 0);
    return false;
}

void
session_gone(Session *session, const Error *err)
{
    bool anew = session_reads_anew(session);

    session_stop_reading(session);
    if (!anew) {
        session->lane.gone = true;
        session_enter(session, SESSION_STOPPED);
        session_tell(session, STR("stopped"), err->text);
        log_error(&scope, EVENT_STREAM_STOPPED, SESSION_FIELDS(session),
                  "stopped: %s; rows that are loaded stay, nothing is skipped; dsctl sync reset "
                  "reads it from its start, as on_recreate (SYNCD_ON_RECREATE) new_generation "
                  "would",
                  err->text);
        return;
    }
    if (session_must_rest(session, err)) {
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

bool
session_is_untouched(const Session *session)
{
    return position_at_start(&session->lane.checkpoint.position) &&
           position_at_start(source_position(session->source)) && lane_is_empty(&session->lane);
}

static void
session_await(Session *session)
{
    int64_t delay_ms = DS_MIN(backoff_next_ms(&session->backoff, 0), (int64_t)SESSION_AWAIT_MS_MAX);
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

/* It is not there, so all of it is still to come.  Where the server's list says when streams were
 * made, that counts: a 404 may be of a proxy, or of a server that is not ready. */
static void
session_saw_nothing(Session *session)
{
    session->lane.from_start =
        session->lane.from_start || session->plan->route->server->admin_url == NULL;
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
        session_saw_nothing(session);
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

/* It is not asked often with what it refused, but soon where there is another token by now. */
static void
session_refused(Session *session, const SourceEnd *end)
{
    const SyncdTimeouts *timeouts = &session->shared->config->timeouts;

    session->shared->on_refused(session->shared->arg);
    bool renewed = session->token_version != session->plan->route->server->token_version;
    session_back_off(session, error_class_info(ERROR_CLASS_SOURCE_REFUSED)->event, &end->err,
                     renewed ? end->retry_after_ms
                             : DS_MAX(end->retry_after_ms, timeouts->backoff_max_ms));
    session->refused = true;
}

/* A read, or a probe, is over. */
void
session_read_ended(Session *session)
{
    const SourceEnd *end = session->end;

    /* A read that was there for long is asked for again before the server is called silent. */
    session->reached =
        end->kind == SOURCE_END_RETRY ? end->open_ms >= HEALTHY_MS : end->kind != SOURCE_END_AUTH;
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
            session_saw_nothing(session);
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
        session_refused(session, end);
        break;
    case SOURCE_END_PROTOCOL:
        session_protocol_error(session, end);
        break;
    case SOURCE_END_FATAL:
        session_fail(session, &end->err);
        break;
    }
}
