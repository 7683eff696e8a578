/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/session.h"

#include <criterion/criterion.h>

static bool
reaches(SessionState from, SessionState to)
{
    bool seen[SESSION_STATE_COUNT] = {[0] = false};
    bool grows = true;

    seen[from] = true;
    while (grows) {
        grows = false;
        for (int a = 0; a < SESSION_STATE_COUNT; a++) {
            for (int b = 0; b < SESSION_STATE_COUNT; b++) {
                if (seen[a] && !seen[b] &&
                    session_edge_is_legal((SessionState)a, (SessionState)b)) {
                    seen[b] = grows = true;
                }
            }
        }
    }
    return seen[to];
}

Test(session, every_state_is_reached_and_every_one_can_end)
{
    for (int state = 0; state < SESSION_STATE_COUNT; state++) {
        cr_expect(reaches(SESSION_LOAD, (SessionState)state), "state %d is never reached", state);
        cr_expect(reaches((SessionState)state, SESSION_ENDED), "state %d never ends", state);
    }
}

Test(session, nothing_is_read_before_the_position_is_loaded)
{
    for (int state = 0; state < SESSION_STATE_COUNT; state++) {
        if (session_edge_is_legal((SessionState)state, SESSION_STREAM)) {
            cr_expect_eq(state, SESSION_PROBE);
        }
    }
    cr_expect(session_edge_is_legal(SESSION_LOAD, SESSION_PROBE));
}

Test(session, whoever_is_fenced_or_failed_never_writes_again)
{
    static const SessionState over[] = {SESSION_FENCED, SESSION_FAILED};

    for (size_t i = 0; i < DS_COUNT(over); i++) {
        for (int to = 0; to < SESSION_STATE_COUNT; to++) {
            cr_expect(!session_edge_is_legal(over[i], (SessionState)to) || to == SESSION_ENDED,
                      "%d -> %d", (int)over[i], to);
        }
    }
}

Test(session, a_closed_stream_is_only_left_by_loading_its_position_anew)
{
    for (int to = 0; to < SESSION_STATE_COUNT; to++) {
        cr_expect_eq(session_edge_is_legal(SESSION_CLOSED, (SessionState)to),
                     to == SESSION_ENDED || to == SESSION_LOAD, "closed -> %d", to);
    }
}

Test(session, who_waits_for_a_stream_writes_what_is_gathered_before_it_ends)
{
    cr_expect(session_edge_is_legal(SESSION_WAITING, SESSION_DRAIN));
    cr_expect_not(session_edge_is_legal(SESSION_WAITING, SESSION_ENDED));
}

Test(session, the_diagram_names_every_edge)
{
    Buf out;
    Error err;
    size_t lines = 0;
    size_t edges = 0;

    buf_init(&out, 65536);
    cr_assert(session_print_states(&out, &err));
    for (size_t i = 0; i < out.len; i++) {
        lines += out.data[i] == '\n';
    }
    for (int from = 0; from < SESSION_STATE_COUNT; from++) {
        for (int to = 0; to < SESSION_STATE_COUNT; to++) {
            edges += session_edge_is_legal((SessionState)from, (SessionState)to);
        }
    }
    cr_expect_eq(lines, edges);
    cr_expect_null(memmem(out.data, out.len, "(null)", 6));
    buf_done(&out);
}
