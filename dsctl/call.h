/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/call.h -- requests and statements that return when they are answered.
 *
 * common/ is asynchronous; a command reads better from top to bottom.  Each call here runs the loop
 * until the reply, the time limit (--timeout) or SIGINT.  The HTTP client and the connection to
 * Postgres are made at first use.
 */
#pragma once

#include "common/arena.h"
#include "common/cli.h"
#include "common/http_client.h"
#include "common/pg.h"
#include "dsctl/exit_codes.h"
#include "sql/migrate.h"

#define CALL_BODY_BYTES_MAX (256u << 20) /* a reply held in memory */

typedef struct Call Call;

/* Runs one command: makes the Call, prints the error if there is one, returns the exit status. */
typedef bool (*CallRun)(Call *call, const CliCall *cli, Error *err);
int call_main(CallRun run, const CliCall *cli);

/* The status when the command itself succeeds, for "done, but". */
void call_set_exit(Call *call, ExitCode code);
/* For commands that may wait long between two lines: when stdout is a pipe and its reader goes
 * away, what is waited for fails with ERR_CANCELED. */
void call_watch_reader(Call *call);
/* To stderr, behind "dsctl: ". */
void call_note(const char *fmt, ...) DS_PRINTF(1, 2);

/* ---- HTTP ---- */

typedef struct CallReply {
    int status;
    HttpHead head; /* its views live in the arena */
    Arena arena;
    Buf body;
    int64_t retry_after_ms;
    bool timed_out;
} CallReply;

void call_reply_init(CallReply *reply);
void call_reply_done(CallReply *reply);
/* The header's value, or "" when absent. */
Str call_reply_header(const CallReply *reply, const char *name);

/* One exchange; a status of 300 and above is an error that says what the server said.  With on_body
 * the body of a good reply goes there and not into the reply, on_head comes before, and only
 * idle_ms_max of the request limits the time. */
DS_MUST_CHECK bool call_http(Call *call, const HttpRequest *request, CallReply *reply, Error *err);

typedef struct CallStream {
    void (*on_head)(void *arg, const CallReply *reply);
    void (*on_body)(void *arg, Str bytes);
    void *arg;
} CallStream;

DS_MUST_CHECK bool call_http_stream(Call *call, const HttpRequest *request,
                                    const CallStream *stream, CallReply *reply, Error *err);
/* Ends the exchange under way as if it were complete; from inside on_body or a timer. */
void call_stop(Call *call);

Loop *call_loop(Call *call);
/* ERR_CANCELED when interrupted meanwhile. */
DS_MUST_CHECK bool call_sleep(Call *call, int64_t ms, Error *err);

/* ---- Postgres ---- */

typedef struct CallRows {
    int rows, columns;
    char **cells; /* rows * columns texts; NULL is SQL NULL */
} CallRows;

void call_rows_done(CallRows *rows);
/* NULL when the cell is SQL NULL; borrowed until call_rows_done. */
const char *call_rows_get(const CallRows *rows, int row, int column);

DS_MUST_CHECK bool call_pg(Call *call, const char *sql, const PgParam *params, size_t count,
                           CallRows *out, Error *err);
/* For statements whose answer says nothing. */
DS_MUST_CHECK bool call_pg_run(Call *call, const char *sql, const PgParam *params, size_t count,
                               Error *err);
/* What failed there was told, and does not decide the status. */
void call_pg_forgive(Call *call);
/* Ends a transaction whose statement failed; that error stays the one that decides the status. */
void call_pg_rollback(Call *call);
/* The report is complete also when this fails because of what it says; on_applied hears of each
 * migration that this call did, which another process may have begun or ended. */
DS_MUST_CHECK bool call_migrate(Call *call, int64_t lock_ms_max, MigrateAppliedFn on_applied,
                                void *arg, SchemaReport *out, Error *err);
DS_MUST_CHECK bool call_schema_check(Call *call, SchemaReport *out, Error *err);
