/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream that is closed and loaded: looked at now and then, where its server does not tell that
 * it makes it anew.
 */
#include "syncd/session_internal.h"

#include "syncd/closed_look.h"

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

void
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

bool
session_is_still_closed(const Session *session, const SessionProbe *probe)
{
    const char *ours = source_position(session->source)->offset;

    return probe->closed && (!session->lane.gone || session_probe_has_life(probe)) &&
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
