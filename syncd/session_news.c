/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What source and writer report: it is only noted, and acted on in the session's next step.
 */
#include "syncd/session_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define LETTERS_LOG_MS         10000 /* between two lines about dead letters of a stream */
#define CONTENT_TYPE_BYTES_MAX 127

static const LogScope scope = {.name = "syncd.session"};

static void
source_on_probe(void *arg, const SourceProbe *probe)
{
    Session *session = arg;

    session->reached = true;
    outage_answered(session_outage(session));
    if (session->probe == NULL) {
        session->probe = mem_zalloc(sizeof(*session->probe));
    }
    memcpy(session->probe->next_offset, probe->next_offset.ptr, probe->next_offset.len);
    session->probe->next_offset[probe->next_offset.len] = '\0';
    session->probe->closed = probe->closed;
    session->probe->ttl_s = probe->ttl_s;
    session_replace_text(&session->content_type, probe->content_type, CONTENT_TYPE_BYTES_MAX);
    session_raise(session, EVENT_BIT_PROBED);
}

static void
source_on_unit(void *arg, Unit *unit)
{
    Session *session = arg;

    session->protocol_errors = 0;
    if (session->parking.ttl_ms > 0) {
        parking_touch(&session->parking, clock_mono_ms());
    }
    writer_push(session->writer, &session->lane, unit);
    session_account(session);
}

static void
source_on_read(void *arg)
{
    Session *session = arg;

    if (session->outage.fails) {
        outage_answered(session_outage(session));
        outage_leave(session_outage(session), &session->outage, clock_mono_ms());
    }
    if (budget_must_pause(session->shared->budget, &session->budget,
                          source_is_behind(session->source))) {
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
    if (end->kind == SOURCE_END_MISSING || end->kind == SOURCE_END_GONE) {
        outage_answered(session_outage(session));
    }
    session_raise(session, EVENT_BIT_END);
    budget_forget(session->shared->budget, &session->budget);
    budget_go_on(session->shared->budget);
}

/* Postgres does not say since when: it counts from when we learn of it. */
static void
session_note_snapshot(Session *session)
{
    if (!session->lane.snapshot_open) {
        session->snapshot_wall_ms = 0;
    } else if (session->snapshot_wall_ms == 0) {
        session->snapshot_wall_ms = clock_wall_ms();
    }
}

static void
lane_on_loaded(void *arg)
{
    Session *session = arg;

    session_note_snapshot(session);
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
    session_note_snapshot(session);
    if (session->stalled) {
        session->stalled = false;
        if (session->state == SESSION_STREAM) {
            session_tell(session, STR("running"), "");
        }
    }
    after_sync_committed(session->after, &session->lane.checkpoint);
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

const SourceCallbacks session_source_callbacks = {.on_probe = source_on_probe,
                                                  .on_unit = source_on_unit,
                                                  .on_read = source_on_read,
                                                  .on_end = source_on_end};

const LaneCallbacks session_lane_callbacks = {.on_loaded = lane_on_loaded,
                                              .on_committed = lane_on_committed,
                                              .on_trouble = lane_on_trouble,
                                              .on_down = lane_on_down,
                                              .on_released = lane_on_released};

void
session_forget_news(Session *session)
{
    free(session->end);
    free(session->probe);
    free(session->trouble_err);
    session->end = NULL;
    session->probe = NULL;
    session->trouble_err = NULL;
}
