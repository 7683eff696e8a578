/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/pg.h -- Postgres by libpq, asynchronously on the loop.
 *
 * One Pg is one connection and runs one command at a time: start one, wait for its callback, start
 * the next (also from inside the callback).  Nothing blocks: names are resolved in the thread pool
 * and passed as hostaddr, cancel requests run there too.  Commands are sent outside pipeline mode,
 * so COPY is always safe; statements are unnamed, so PgBouncer in transaction mode works.
 */
#pragma once

#include "common/buf.h"
#include "common/error.h"
#include "common/loop.h"
#include "common/secret.h"
#include "common/str.h"

typedef struct Pg Pg;
typedef struct pg_result PGresult;

#define PG_PARAMS_MAX 64

/* What a failed command asks for; from SQLSTATE, in one table (pg_sqlstate.c). */
typedef enum PgErrorClass {
    PG_ERROR_NONE,
    /* Lost or refused, 08*, 40003, 57P01-05, 25P03, any FATAL: what was committed is unknown.  The
     * Pg is disconnected when a reply says this; pg_connect may be called, also in the callback. */
    PG_ERROR_CONNECTION,
    PG_ERROR_TRANSIENT, /* 40* 53* 55006 55P03 57014 25006 26* 34* 58030: retry */
    PG_ERROR_ROW,       /* 22* 23* 54* P0*, and what is no class of Postgres: the row is at fault */
    PG_ERROR_SCHEMA,    /* 42*, 3F*, 0A*: the operator must act */
    PG_ERROR_PERMANENT, /* 28*, 3D*, XX001, a bad connection string: the operator must act */
    PG_ERROR_UNKNOWN,   /* retry a bounded number of times */
} PgErrorClass;

PgErrorClass pg_sqlstate_class(const char *sqlstate);
/* The rules behind it, for docs: the longest prefix that fits decides, and what none fits is
 * PG_ERROR_ROW.  False past the last one. */
bool pg_sqlstate_rule(size_t index, const char **out_prefix, PgErrorClass *out_class);
/* A regular expression of the SQLSTATEs that are no row's fault, for functions in Postgres; nothing
 * in it needs a quote. */
DS_MUST_CHECK bool pg_no_row_fault_pattern(Buf *out, Error *err);

typedef struct PgReply {
    bool ok;
    PgErrorClass error_class;
    Error err;              /* when !ok; err.sqlstate set; text has the server's message */
    const char *context;    /* CONTEXT of the error ("COPY t, line 3, ..."), or "" */
    const char *constraint; /* constraint name of the error, or "" */
    const char *table;      /* table name of the error, or "" */
    const char *column;     /* column name of the error, or "" */
    const char *tag;        /* command tag of the last statement: "COMMIT", "COPY 3" */
    uint64_t rows_affected; /* of the last statement */
    const PGresult *result; /* rows of the last statement; borrowed until the callback returns */
    int rows;               /* in result */
} PgReply;

typedef void (*PgReplyFn)(void *arg, const PgReply *reply);
/* The connection broke while no command ran; pg_connect may be called again. */
typedef void (*PgLostFn)(void *arg, const Error *err);

typedef struct PgConfig {
    const Secret *url;            /* a libpq connection string or URI; borrowed */
    const char *application_name; /* used unless the string names one */
    int64_t connect_ms_max;
    /* The server ends what takes longer; 0: it has a limit of its own, or none.  Set for sessions
     * that are ours alone: behind a pooler such as PgBouncer they belong to others as well, and
     * whoever waits has to bound it. */
    int64_t statement_ms_max;
    PgLostFn on_lost;
    void *arg;
} PgConfig;

Pg *pg_new(Loop *loop, const PgConfig *config);
/* Closes; a running command is cancelled in the background and its callback does not come.  Accepts
 * NULL; legal inside a callback. */
void pg_free(Pg *pg);

/* The reply has no rows.  ok: connected, read-write not yet checked, encoding is UTF8. */
void pg_connect(Pg *pg, PgReplyFn fn, void *arg);
void pg_disconnect(Pg *pg); /* a running command's callback does not come */
bool pg_connected(const Pg *pg);
bool pg_busy(const Pg *pg); /* a command runs */
/* ' ' unknown, 'I' idle, 'T' in a transaction, 'E' in a failed one. */
char pg_transaction_state(const Pg *pg);
int pg_server_version(const Pg *pg); /* 150020, 0 while not connected */
int pg_backend_pid(const Pg *pg);

/* Simple protocol: several statements, no parameters, literals only from constants. */
void pg_exec(Pg *pg, const char *sql, PgReplyFn fn, void *arg);

typedef struct PgParam {
    const char *value; /* NULL is SQL NULL; text form must be terminated */
    size_t len;        /* binary form only */
    bool binary;
    unsigned oid; /* 0: the server infers */
} PgParam;

/* Extended protocol, one statement; parameters are sent before this returns, rows come as text. */
void pg_query(Pg *pg, const char *sql, const PgParam *params, size_t count, PgReplyFn fn,
              void *arg);

/* COPY ... FROM STDIN of the pieces in a row, which need not end where lines do; they are borrowed
 * until the callback, as are their bytes. */
void pg_copy_in(Pg *pg, const char *sql, const Str *pieces, size_t count, PgReplyFn fn, void *arg);

/* Ask the server to cancel the running command (thread pool); its callback still comes, and not
 * before the request is through, so that it never hits the next command. */
void pg_cancel(Pg *pg);

/* COPY text format: append the value with \b \f \n \r \t \v and backslash escaped. */
DS_MUST_CHECK bool pg_copy_escape(Buf *out, Str text, Error *err);
/* One element of an array literal, quoted: "...". */
DS_MUST_CHECK bool pg_array_append(Buf *out, Str text, bool is_first, Error *err);

int pg_columns(const PgReply *reply); /* in result; 0 without one */
/* Text of a row's column; "" when NULL.  Borrowed as long as the result. */
Str pg_get(const PgReply *reply, int row, int column);
bool pg_is_null(const PgReply *reply, int row, int column);
