/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/session_internal.h -- what session.c (life, callbacks, the lane's side), session_probe.c,
 * session_read.c, session_park.c and session_closed.c (the source's side) share.
 */
#pragma once

#include "common/backoff.h"
#include "common/log.h"
#include "syncd/after_sync.h"
#include "syncd/parking.h"
#include "syncd/session.h"

/* What happened since the last step. */
#define EVENT_BIT_LOADED  DS_BIT(0)
#define EVENT_BIT_PROBED  DS_BIT(1)
#define EVENT_BIT_END     DS_BIT(2) /* of the source's read; session->end */
#define EVENT_BIT_WRITTEN DS_BIT(3) /* a commit */
#define EVENT_BIT_TROUBLE DS_BIT(4) /* with the lane; session->trouble */
#define EVENT_BIT_DOWN    DS_BIT(5) /* Postgres is out of reach */
#define EVENT_BIT_TIMER   DS_BIT(6)
#define EVENT_BIT_STOP    DS_BIT(7)
#define EVENT_BIT_REVOKE  DS_BIT(8)
#define EVENT_BIT_ANEW    DS_BIT(9)  /* the stream may be another one */
#define EVENT_BIT_AGAIN   DS_BIT(10) /* our credentials may be others */

typedef struct SessionProbe {
    char next_offset[OFFSET_BYTES_MAX + 1];
    bool closed;
    int64_t ttl_s;
} SessionProbe;

struct Session {
    const SessionShared *shared;
    Writer *writer;
    Lane lane;
    Source *source;
    BudgetUser budget;
    OutageUser outage; /* of its server */
    LoopTimer *timer;
    Backoff backoff;
    Backoff renewals;   /* of generations: one stream may be another one again and again */
    int64_t renewed_ms; /* when the last one began; 0: none has */
    int64_t renew_ms;   /* no other begins before */
    SessionState state;
    unsigned events;
    bool scheduled;
    void *owner;
    Str name;
    const StreamPlan *plan;
    AfterSync *after; /* NULL: what is loaded is kept */
    Parking parking;

    /* What the events are about, only while they wait. */
    SourceEnd *end;
    SessionProbe *probe;
    LaneTrouble trouble;
    Error *trouble_err;

    bool stalled;           /* nothing was committed since its transaction took too long */
    bool refused;           /* BACKOFF: since our credentials were */
    unsigned token_version; /* that it last asked with */
    bool load_after;        /* BACKOFF: load the checkpoint instead of probing */
    bool generation_after;  /* DRAIN: then begin a new generation */
    bool told_gone;         /* likewise */
    bool looking;           /* CLOSED: the server is asked now and then; counted in the shared */
    bool anew;              /* told so since it was last probed */
    bool ending;
    bool revoked; /* ending, and nothing more is written */
    bool freed;   /* while a step was scheduled */
    bool reached;
    unsigned protocol_errors;
    Str told_state; /* in ds_sync.stream, as far as we asked */
    char *reason;   /* NULL: "" */
    char *content_type;
    uint64_t rows;
    uint64_t letters;
    uint64_t letters_logged;
    int64_t letters_log_ms; /* not again before */
    int64_t committed_wall_ms;
    int64_t snapshot_wall_ms; /* since when one is known to be open; 0: none is */
    StreamStats stats;
};

/* What every line says, and what it says besides. */
#define SESSION_FIELDS(session, ...)                                                               \
    LOG_FIELDS(log_str("stream", (session)->lane.name), log_str("route", (session)->lane.route),   \
               log_str("offset", str_c((session)->lane.checkpoint.position.offset)),               \
               log_i64("skip", (session)->lane.checkpoint.position.skip),                          \
               log_i64("epoch", (session)->lane.checkpoint.epoch) __VA_OPT__(, ) __VA_ARGS__)

/* session.c */
void session_raise(Session *session, unsigned event); /* to be acted on in the next step */
void session_enter(Session *session, SessionState state);
/* What ds_sync.stream says; only when it changes.  state: static text. */
void session_tell(Session *session, Str state, const char *reason);
void session_start_timer(Session *session, int64_t delay_ms);
void session_stop_reading(Session *session);
void session_load(Session *session); /* the checkpoint, anew */
void session_fail(Session *session, const Error *err);
void session_back_off(Session *session, EventId event, const Error *err, int64_t floor_ms);
void session_account(Session *session); /* for what of it waits in memory */
/* For people: what is too long is cut, and what is not UTF-8 is replaced; *text is freed. */
void session_replace_text(char **text, Str by, size_t bytes_max);

static inline Outage *
session_outage(const Session *session)
{
    return session->plan->route->server->outage;
}

/* session_news.c */
extern const SourceCallbacks session_source_callbacks;
extern const LaneCallbacks session_lane_callbacks;
void session_forget_news(Session *session); /* it was acted on; an idle session holds nothing */

/* session_probe.c */
void session_probe(Session *session);  /* asks the server what the stream is */
void session_probed(Session *session); /* it said so: session->probe */
/* The server's offsets say which life of a stream they are of, as ours do. */
bool session_probe_has_life(const SessionProbe *probe);

/* session_read.c */
#define SESSION_AWAIT_MS_MAX  5000 /* between two looks for a stream that does not exist yet */
#define SESSION_BACKOFF_SHOWN 3    /* failures in a row before ds_sync.stream says "backoff" */

void session_open(Session *session);
void session_read_ended(Session *session); /* a read or a probe did: session->end */
/* The stream is gone or another one.  What was read before is still written. */
void session_gone(Session *session, const Error *err);
bool session_is_untouched(const Session *session); /* nothing of it is loaded, or read */

/* session_park.c */
void session_start_parking_timer(Session *session); /* reading */
void session_quiet(Session *session);               /* and the timer fired */
void session_park(Session *session);

/* session_closed.c */
void session_close(Session *session); /* to SESSION_CLOSED, where it is looked at from then on */
void session_start_looks(Session *session); /* in SESSION_CLOSED only; else nothing */
void session_look(Session *session);        /* closed, and the timer fired */
/* Closed where we have loaded it to, and as far as can be known the same. */
bool session_is_still_closed(const Session *session, const SessionProbe *probe);
/* It is not there any more; should it come again, this is remembered. */
void session_closed_is_gone(Session *session);
void session_looked(Session *session);         /* the server said how it is */
void session_looked_in_vain(Session *session); /* it did not: session->end */
