/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/pg_internal.h -- what pg.c (commands), pg_connect.c (connecting) and their tests share.
 */
#pragma once

#include <libpq-fe.h>

#include "common/pg.h"

#define PG_CONNECT_MS_DEFAULT 10000
#define PG_HOSTS_MAX          16    /* hosts in a connection string */
#define PG_TARGETS_MAX        64    /* addresses of all of them; further ones are not tried */
#define PG_TARGETS_TEXT_MAX   65536 /* bytes of the lists handed to libpq */
#define PG_COPY_SLICE_BYTES   65536 /* handed to libpq before it must have flushed */
#define PG_LOST_RESULTS_MAX   16    /* results libpq still holds when the connection broke */

typedef enum PgState {
    PG_CLOSED,
    PG_FAILING, /* a reply that says why is on its way; then closed */
    PG_RESOLVING,
    PG_CONNECTING,
    PG_IDLE,
    PG_RUNNING, /* a command was sent, results are awaited */
    PG_COPYING, /* COPY data is being sent */
    PG_HELD,    /* finished, but a cancel request is under way: it must not hit the next command */
    PG_STATE_COUNT
} PgState;

/* A host of the string and one of its addresses; addr is "" for a Unix socket. */
typedef struct PgTarget {
    char *host;
    char *addr;
    char *port;
} PgTarget;

typedef struct PgLookup PgLookup; /* a name being resolved in the thread pool */
typedef struct PgCancel PgCancel; /* a cancel request in the thread pool */

typedef struct PgPlan {
    PQconninfoOption *options; /* what the string says */
    char *hosts[PG_HOSTS_MAX];
    char *ports[PG_HOSTS_MAX];
    size_t host_count; /* 0: libpq needs no help with names */
    size_t host_next;
    PgTarget targets[PG_TARGETS_MAX];
    size_t target_count;
    Error lookup_error; /* of the last host that has no address */
} PgPlan;

typedef struct PgCommand {
    PgReplyFn fn;
    void *arg;
    PGresult *result; /* the last, or the first that failed */
    bool failed;
    bool is_copy;
    bool copy_began;
    Str copy_rest; /* of the piece that is being sent; borrowed from the caller, as all of them */
    const Str *copy_pieces; /* behind it */
    size_t copy_count;
} PgCommand;

struct Pg {
    Loop *loop;
    PgConfig config;
    PgState state;
    PGconn *conn;
    LoopFd *watch;
    LoopTimer *connect_timer;
    PgPlan plan;
    size_t rotation; /* which target is tried first: moves on after a connect timeout */
    PgLookup *lookup;
    PgCancel *cancel;
    PgCommand command;
    PgReplyFn connect_fn; /* while a new session gets its limits */
    void *connect_arg;
    PgErrorClass failing_class;
    Error failing;    /* what a PG_FAILING reply will say */
    Error last_words; /* FATAL that the server sent while idle */
};

void pg_enter(Pg *pg, PgState state);
void pg_close(Pg *pg); /* to PG_CLOSED from anywhere, without a callback */
void pg_on_fd(void *arg, unsigned events);
/* To PG_CLOSED; the running command's callback says why.  The last thing its caller does. */
void pg_fail(Pg *pg, PgErrorClass class, const Error *err);
/* The same, at the end of the turn. */
void pg_fail_later(Pg *pg, PgErrorClass class, const Error *err);

void pg_plan_done(PgPlan *plan);
void pg_lookup_detach(Pg *pg);
/* Fills err from libpq's account of a failed connection; finds the SQLSTATE if the server said one.
 */
PgErrorClass pg_connect_error(const char *message, bool needs_password, Error *err);

/* The reaction that a class stands for. */
ErrorCode pg_error_code(PgErrorClass class, const char *sqlstate);
/* One line: newlines become "; ", the LOCATION lines of verbose messages go. */
void pg_flatten(const char *message, char *out, size_t out_size);
