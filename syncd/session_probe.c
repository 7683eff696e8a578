/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server says a stream is: whether it is the one that we know, and where a new one is
 * begun.
 */
#include "syncd/session_internal.h"

#include "common/clock.h"

static const LogScope scope = {.name = "syncd.session"};

void
session_probe(Session *session)
{
    session_enter(session, SESSION_PROBE);
    session->anew = false;
    session->token_version = session->plan->route->server->token_version;
    source_probe(session->source);
}

bool
session_probe_has_life(const SessionProbe *probe)
{
    return offset_names_life(str_c(probe->next_offset));
}

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
    session_start_timer(session, SESSION_AWAIT_MS_MAX);
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
        !(session_probe_has_life(probe) && offset_names_life(str_c(ours)))) {
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
