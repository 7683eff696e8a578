/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/session_state.h"

#include "common/base.h"

static const struct {
    const char *name; /* in the log and in the diagram */
    const char *word; /* in /status */
} state_table[SESSION_STATE_COUNT] = {
    [SESSION_LOAD] = {"load", "loading"},       [SESSION_PROBE] = {"probe", "opening"},
    [SESSION_STREAM] = {"stream", "running"},   [SESSION_BACKOFF] = {"backoff", "backoff"},
    [SESSION_PARKED] = {"parked", "parked"},    [SESSION_WAITING] = {"waiting", "waiting"},
    [SESSION_DRAIN] = {"drain", "running"},     [SESSION_CLOSED] = {"closed", "closed"},
    [SESSION_STOPPED] = {"stopped", "stopped"}, [SESSION_FAILED] = {"failed", "failed"},
    [SESSION_FENCED] = {"fenced", "fenced"},    [SESSION_ENDED] = {"ended", "ended"},
};

/* Trouble with the lane, from any state in which something may still be on its way to Postgres. */
#define TROUBLE                                                                                    \
    (DS_BIT(SESSION_LOAD) | DS_BIT(SESSION_BACKOFF) | DS_BIT(SESSION_FAILED) |                     \
     DS_BIT(SESSION_FENCED))

/* Every legal edge and no other.  "syncd --print-states" prints it, a unit test walks it. */
static const uint32_t session_edges[SESSION_STATE_COUNT] = {
    [SESSION_LOAD] = TROUBLE | DS_BIT(SESSION_PROBE) | DS_BIT(SESSION_ENDED),
    [SESSION_PROBE] = TROUBLE | DS_BIT(SESSION_STREAM) | DS_BIT(SESSION_WAITING) |
                      DS_BIT(SESSION_STOPPED) | DS_BIT(SESSION_CLOSED) | DS_BIT(SESSION_DRAIN) |
                      DS_BIT(SESSION_PARKED),
    [SESSION_STREAM] = TROUBLE | DS_BIT(SESSION_PARKED) | DS_BIT(SESSION_WAITING) |
                       DS_BIT(SESSION_STOPPED) | DS_BIT(SESSION_DRAIN),
    [SESSION_BACKOFF] = TROUBLE | DS_BIT(SESSION_PROBE) | DS_BIT(SESSION_DRAIN),
    [SESSION_PARKED] = TROUBLE | DS_BIT(SESSION_PROBE) | DS_BIT(SESSION_DRAIN),
    [SESSION_WAITING] = TROUBLE | DS_BIT(SESSION_PROBE) | DS_BIT(SESSION_DRAIN),
    [SESSION_DRAIN] = TROUBLE | DS_BIT(SESSION_CLOSED) | DS_BIT(SESSION_ENDED),
    [SESSION_CLOSED] = DS_BIT(SESSION_LOAD) | DS_BIT(SESSION_ENDED),
    [SESSION_STOPPED] = TROUBLE | DS_BIT(SESSION_DRAIN),
    [SESSION_FAILED] = DS_BIT(SESSION_ENDED),
    [SESSION_FENCED] = DS_BIT(SESSION_ENDED),
};

bool
session_edge_is_legal(SessionState from, SessionState to)
{
    return (session_edges[from] & DS_BIT(to)) != 0;
}

bool
session_print_states(Buf *out, Error *err)
{
    for (size_t from = 0; from < SESSION_STATE_COUNT; from++) {
        for (size_t to = 0; to < SESSION_STATE_COUNT; to++) {
            if (session_edge_is_legal((SessionState)from, (SessionState)to) &&
                !buf_printf(out, err, "    %s --> %s\n", state_table[from].name,
                            state_table[to].name)) {
                return false;
            }
        }
    }
    return true;
}

const char *
session_state_name(SessionState state)
{
    return state_table[state].name;
}

const char *
session_state_word(SessionState state)
{
    return state_table[state].word;
}

bool
session_asks_server(SessionState state)
{
    return state == SESSION_PROBE || state == SESSION_STREAM || state == SESSION_BACKOFF ||
           state == SESSION_DRAIN;
}

bool
session_is_dead(SessionState state)
{
    return state == SESSION_STOPPED || state == SESSION_FAILED || state == SESSION_FENCED;
}
