/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quiet streams with a time to live: parked, or held by reading them anew.
 */
#include "syncd/session_internal.h"

#include "common/clock.h"

#define PARK_MS_MIN 100 /* between two looks whether a stream is quiet */

void
session_start_parking_timer(Session *session)
{
    int64_t due_ms = parking_due_ms(&session->parking, clock_mono_ms());

    if (due_ms != INT64_MAX) {
        session_start_timer(session, DS_MAX(due_ms, (int64_t)PARK_MS_MIN));
    }
}

void
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
