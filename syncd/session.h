/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/session.h -- one stream on its way into Postgres: a state machine over a source and a lane.
 *
 * Load the checkpoint (which fences whoever held it), probe the stream, read and hand over; after
 * an error back off and probe again.  A connection that the server ends in order is opened again
 * from memory; Postgres is read only after an error of its side.  A session works under one lease
 * of its stream's partition; it is ended with it, and another one begins under the next.
 */
#pragma once

#include "syncd/budget.h"
#include "syncd/control_link.h"
#include "syncd/servers.h"
#include "syncd/session_state.h"
#include "syncd/source.h"
#include "syncd/stats.h"
#include "syncd/stream_plan.h"
#include "syncd/syncd_config.h"
#include "syncd/writer.h"

typedef struct Session Session;

/* What all sessions share; borrowed. */
typedef struct SessionShared {
    Loop *loop;
    Budget *budget;
    const SyncdConfig *config;
    const Stats *stats;
    ControlLink *link;             /* for small questions to Postgres */
    size_t *looking;               /* how many closed sessions look at their server */
    void (*on_refused)(void *arg); /* the server refused our credentials: read them again */
    void *arg;
    /* Of one session, with the owner that it was made with. */
    void (*on_ended)(void *owner);  /* it reached SESSION_ENDED and may be freed */
    void (*on_fenced)(void *owner); /* a later epoch holds the stream, and nobody has ended this */
} SessionShared;

typedef struct SessionConfig {
    const StreamKey *key; /* these two are borrowed and outlive the session */
    const StreamPlan *plan;
    int64_t lease_epoch; /* of the stream's work partition */
    unsigned partition;  /* its number */
    void *owner;
} SessionConfig;

Session *session_new(const SessionShared *shared, const SessionConfig *config, Writer *writer);
/* Accepts NULL.  In SESSION_ENDED, also from on_ended; in any other state after its writer is gone.
 */
void session_free(Session *session);
void session_start(Session *session);
/* Both stop reading and lead to SESSION_ENDED: session_end writes what is gathered before, and
 * session_revoke writes nothing more, only what is in flight may still succeed. */
void session_end(Session *session);
void session_revoke(Session *session);
/* The stream came into being again: one that is closed and loaded is looked at anew.  Who still
 * reads sees it by itself. */
void session_made_anew(Session *session);

/* The server may take our credentials now: if it waits because they were refused, it is tried soon.
 */
void session_try_again(Session *session);

/* For /status and /readyz. */
typedef struct SessionView {
    const char *name;
    Str source; /* name of the server */
    Str route;
    unsigned partition; /* of the work; the supervisor knows it */
    SessionState state;
    const char *state_word;       /* "running", "waiting", ... */
    const char *reason;           /* "" or why it is not running */
    const Checkpoint *checkpoint; /* zeroed before the first load */
    uint64_t rows;                /* committed by this process */
    uint64_t letters;
    size_t queue_bytes;
    bool up_to_date;
    bool loaded;               /* its position; nobody is asked before */
    bool reached;              /* the server answered lately */
    int64_t committed_wall_ms; /* of the last commit, 0 before */
    int64_t snapshot_wall_ms;  /* since when one is known to be open, 0: none is */
    const char *held;          /* "" or why after_sync waits */
} SessionView;

void session_resume(void *session); /* Budget.on_resume */

SessionView session_view(const Session *session);
