/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/session.h -- one stream on its way into Postgres: a state machine over a source and a lane.
 *
 * Load the checkpoint (which fences whoever held it), probe the stream, read and hand over; after
 * an error back off and probe again.  A connection that the server ends in order is opened again
 * from memory; Postgres is read only after an error of its side.  Sessions live as long as the
 * program.
 */
#pragma once

#include "syncd/budget.h"
#include "syncd/servers.h"
#include "syncd/session_state.h"
#include "syncd/source.h"
#include "syncd/stats.h"
#include "syncd/syncd_config.h"
#include "syncd/writer.h"

typedef struct Session Session;

/* What all sessions share; borrowed. */
typedef struct SessionShared {
    Loop *loop;
    const Server *server;
    Budget *budget;
    const SyncdConfig *config;
    const Stats *stats;
    void (*on_refused)(void *arg); /* the server refused our credentials: read them again */
    void (*on_ended)(void *arg);   /* a session reached SESSION_ENDED */
    void *arg;
} SessionShared;

Session *session_new(const SessionShared *shared, const char *name, Writer *writer);
void session_free(Session *session); /* accepts NULL; after the loop has stopped */
void session_start(Session *session);
void session_end(Session *session); /* stops reading, writes what is gathered, then SESSION_ENDED */

/* For /status and /readyz. */
typedef struct SessionView {
    const char *name;
    SessionState state;
    const char *state_word;       /* "running", "waiting", ... */
    const char *reason;           /* "" or why it is not running */
    const Checkpoint *checkpoint; /* zeroed before the first load */
    uint64_t rows;                /* committed by this process */
    uint64_t letters;
    size_t queue_bytes;
    bool up_to_date;
    bool reached;              /* the server answered lately */
    int64_t committed_wall_ms; /* of the last commit, 0 before */
} SessionView;

void session_resume(void *session); /* Budget.on_resume */

SessionView session_view(const Session *session);
