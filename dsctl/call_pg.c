/* SPDX-License-Identifier: Apache-2.0 */
/* Statements: the connection is made at first use, and given up when nobody waits any more. */
#include "dsctl/call_internal.h"

#include "common/mem.h"
#include "dsctl/options.h"

typedef struct Statement {
    Call *call;
    bool ok;
    Error err;
    CallRows rows;
    SchemaReport report;
    MigrateAppliedFn on_applied;
    void *applied_arg;
} Statement;

void
call_rows_done(CallRows *rows)
{
    for (int i = 0; i < rows->rows * rows->columns; i++) {
        free(rows->cells[i]);
    }
    free(rows->cells);
    *rows = (CallRows){0};
}

const char *
call_rows_get(const CallRows *rows, int row, int column)
{
    DS_ASSERT(row >= 0 && row < rows->rows && column >= 0 && column < rows->columns);
    return rows->cells[row * rows->columns + column];
}

static void
rows_copy(CallRows *rows, const PgReply *reply, int columns)
{
    rows->rows = reply->rows;
    rows->columns = columns;
    rows->cells = mem_array((size_t)reply->rows * (size_t)columns + 1, sizeof(*rows->cells));
    for (int row = 0; row < reply->rows; row++) {
        for (int column = 0; column < columns; column++) {
            if (!pg_is_null(reply, row, column)) {
                rows->cells[row * columns + column] = str_dup(pg_get(reply, row, column));
            }
        }
    }
}

static void
on_pg_reply(void *arg, const PgReply *reply)
{
    Statement *statement = arg;

    statement->ok = reply->ok;
    statement->err = reply->err;
    if (reply->ok) {
        rows_copy(&statement->rows, reply, pg_columns(reply));
    }
    call_finish_wait(statement->call);
}

static void
on_schema_report(void *arg, const SchemaReport *report)
{
    Statement *statement = arg;

    statement->ok = report->ok;
    statement->err = report->err;
    statement->report = *report;
    call_finish_wait(statement->call);
}

/* What to do about it, where that is not the statement's own affair. */
static bool
explain(Error *err)
{
    if (call_is_no_schema(err)) {
        return error_wrap(err, "run `dsctl db migrate` first");
    }
    if (str_eq(str_c(err->sqlstate), STR("42501"))) {
        Error said = *err;

        (void)snprintf(err->text, sizeof(err->text),
                       "%.300s; to look, dsctl needs SELECT in the schema ds_sync, and to change "
                       "something a member of ds_sync_owner",
                       said.text);
    }
    return false;
}

/* After the time limit or a signal nobody waits any more: the connection is given up with what runs
 * on it, and the statement may go out of scope. */
static bool
statement_wait(Statement *statement, int64_t limit_ms, Error *err)
{
    Call *call = statement->call;
    bool ok = call_wait(call, limit_ms, err);

    call->postgres_failed = true;
    if (!ok || call->expired) {
        pg_free(call->pg);
        call->pg = NULL;
        return ok && error_set(err, ERR_RETRY, "Postgres gave no answer within %lld ms",
                               (long long)limit_ms);
    }
    if (!statement->ok) {
        *err = statement->err;
        return explain(err);
    }
    call->postgres_failed = false;
    return true;
}

static bool
call_pg_connect(Call *call, Error *err)
{
    Statement statement = {.call = call};

    if (call->pg != NULL && pg_connected(call->pg)) {
        return true;
    }
    if (!secret_is_set(&call->pg_url) && !options_postgres(&call->pg_url, err)) {
        return false;
    }
    PgConfig config = {
        .url = &call->pg_url,
        .application_name = "dsctl",
        .connect_ms_max = DS_MIN((int64_t)CALL_CONNECT_MS_MAX, options_timeout_ms()),
    };
    if (call->pg == NULL) {
        call->pg = pg_new(call->loop, &config);
    }
    call_begin_wait(call);
    pg_connect(call->pg, on_pg_reply, &statement);
    bool ok = statement_wait(&statement, options_timeout_ms(), err);
    call_rows_done(&statement.rows);
    return ok;
}

bool
call_pg(Call *call, const char *sql, const PgParam *params, size_t count, CallRows *out, Error *err)
{
    Statement statement = {.call = call};

    if (!call_pg_connect(call, err)) {
        return false;
    }
    call_begin_wait(call);
    pg_query(call->pg, sql, params, count, on_pg_reply, &statement);
    if (!statement_wait(&statement, options_timeout_ms(), err)) {
        call_rows_done(&statement.rows);
        return false;
    }
    *out = statement.rows;
    return true;
}

bool
call_pg_run(Call *call, const char *sql, const PgParam *params, size_t count, Error *err)
{
    CallRows rows = {0};
    bool ok = call_pg(call, sql, params, count, &rows, err);

    call_rows_done(&rows);
    return ok;
}

void
call_pg_forgive(Call *call)
{
    call->postgres_failed = false;
}

void
call_pg_rollback(Call *call)
{
    bool failed = call->postgres_failed;
    CallRows rows = {0};
    Error err;

    if (call->pg == NULL || !pg_connected(call->pg)) {
        return; /* it ended with its connection */
    }
    if (!call_pg(call, "ROLLBACK", NULL, 0, &rows, &err)) {
        call_note("%s", err.text);
    }
    call_rows_done(&rows);
    call->postgres_failed = failed;
}

static bool
take_report(const Statement *statement, SchemaReport *out, Error *err)
{
    Call *call = statement->call;
    const Error *failed = &statement->err;

    *out = statement->report;
    if (statement->ok) {
        return true;
    }
    *err = *failed;
    call->postgres_failed = true;
    if (failed->code == ERR_CONFIG && failed->sqlstate[0] == '\0') {
        call->failed_exit = DSCTL_CONFLICT; /* the schema and this program do not fit */
    }
    return false;
}

static void
on_migration(void *arg, int version, const char *name)
{
    Statement *statement = arg;

    statement->on_applied(statement->applied_arg, version, name);
}

bool
call_migrate(Call *call, int64_t lock_ms_max, MigrateAppliedFn on_applied, void *arg,
             SchemaReport *out, Error *err)
{
    MigrateOptions options = {.lock_ms_max = lock_ms_max, .on_applied = on_migration};
    Statement statement = {.call = call, .on_applied = on_applied, .applied_arg = arg};

    if (!call_pg_connect(call, err)) {
        return false;
    }
    call_begin_wait(call);
    Migrate *migrate = migrate_start(call->pg, &options, on_schema_report, &statement);
    /* No time limit: cutting a long migration off half-way only makes it start again. */
    bool ok = call_wait(call, 0, err);
    if (!ok) {
        migrate_cancel(migrate);
        return false;
    }
    return take_report(&statement, out, err);
}

bool
call_schema_check(Call *call, SchemaReport *out, Error *err)
{
    Statement statement = {.call = call};

    if (!call_pg_connect(call, err)) {
        return false;
    }
    call_begin_wait(call);
    Migrate *migrate = schema_check_start(call->pg, on_schema_report, &statement);
    bool ok = call_wait(call, options_timeout_ms(), err);
    if (!ok || call->expired) {
        migrate_cancel(migrate);
        return ok && error_set(err, ERR_RETRY, "Postgres gave no answer");
    }
    return take_report(&statement, out, err);
}
