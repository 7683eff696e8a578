/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/session_state.h -- the states of a session, what they are called, and the edges between
 * them.
 *
 * "syncd --print-states" prints the edges, docs/ARCHITECTURE.md draws them, and no session takes
 * any other.
 */
#pragma once

#include "common/buf.h"

typedef enum SessionState {
    SESSION_LOAD,    /* waits for the checkpoint */
    SESSION_PROBE,   /* asks the server what the stream is, and where it ends */
    SESSION_STREAM,  /* reads; what is read is written meanwhile */
    SESSION_BACKOFF, /* after an error that time may mend */
    SESSION_PARKED,  /* quiet, and let go of so that its TTL can end; looked at by HEAD */
    SESSION_WAITING, /* the stream does not exist yet */
    SESSION_DRAIN,   /* reading is over; what is gathered is still being written */
    SESSION_CLOSED,  /* the stream is closed, and all of it is loaded */
    SESSION_STOPPED, /* the stream is gone or another one: the operator decides */
    SESSION_FAILED,  /* somebody must mend something */
    SESSION_FENCED,  /* another instance has taken over */
    SESSION_ENDED,   /* the program is stopping */
    SESSION_STATE_COUNT
} SessionState;

const char *session_state_name(SessionState state); /* in the log and in the diagram */
const char *session_state_word(SessionState state); /* in /status: "running", "waiting", ... */
bool session_is_dead(SessionState state);           /* nothing is loaded before somebody acts */
/* It asks the stream server, or is about to: so it knows whether that answers. */
bool session_asks_server(SessionState state);

bool session_edge_is_legal(SessionState from, SessionState to);
DS_MUST_CHECK bool session_print_states(Buf *out, Error *err); /* the edges in Mermaid */
