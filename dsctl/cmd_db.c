/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl db: the schema in Postgres; prune stands in cmd_db_prune.c. */
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/output.h"
#include "dsctl/rows.h"

#include "sql/migrations.h"
#include "sql/queries.h"

static int64_t arg_lock_ms = MIGRATE_LOCK_MS_DEFAULT;

static const Option migrate_options[] = {
    OPT_DURATION(0, "lock-timeout", &arg_lock_ms, "DURATION",
                 "give up after waiting this long for a lock (10s)"),
    OPT_END(),
};

static const OutputColumn columns[] = {
    {"version", "VERSION", COLUMN_NUMBER, NULL},
    {"name", "NAME", COLUMN_TEXT, NULL},
    {"state", "STATE", COLUMN_TEXT, NULL},
    {"applied_at", "APPLIED", COLUMN_TEXT, NULL},
    {"applied_by", "BY", COLUMN_TEXT, NULL},
    {"min_compatible", NULL, COLUMN_NUMBER, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static const Field fields[] = {
    {"version", FIELD_INTEGER}, {"min_compatible", FIELD_INTEGER}, {"name", FIELD_TEXT},
    {"applied_by", FIELD_TEXT}, {"applied_at", FIELD_TEXT},
};

/* "001_schema" is called "schema" in the database. */
static const char *
migration_name(int version)
{
    const char *name = sql_migrations_files[version - 1].name;
    const char *behind_number = strchr(name, '_');

    return behind_number != NULL ? behind_number + 1 : name;
}

/* ---- migrate ---- */

static void
add_done(void *arg, int version, const char *name)
{
    json_t *row = json_object();

    (void)name; /* with its number */
    json_object_set_new(row, "version", json_integer(version));
    json_object_set_new(row, "name", json_string(migration_name(version)));
    json_object_set_new(row, "state", json_string("applied"));
    json_array_append_new(arg, row);
}

static bool
run_migrate(Call *call, const CliCall *cli, Error *err)
{
    SchemaReport report = {.ok = false};
    json_t *rows = json_array();

    (void)cli;
    bool ok = call_migrate(call, arg_lock_ms, add_done, rows, &report, err);
    /* What was committed before a failure stays, and is said. */
    if (ok) {
        ok = output_rows("migrations", columns, rows, err);
    } else if (json_array_size(rows) > 0) {
        Error print = {0};
        if (!output_rows("migrations", columns, rows, &print)) {
            call_note("%s", print.text);
        }
    }
    if (ok && report.applied == 0) {
        call_note("nothing to do: the schema is version %d", report.version);
    }
    json_decref(rows);
    return ok;
}

static int
cmd_migrate(const CliCall *cli)
{
    return call_main(run_migrate, cli);
}

/* ---- status ---- */

static void
add_pending(json_t *rows, int version)
{
    for (size_t i = 0; i < sql_migrations_count; i++) {
        if ((int)i + 1 <= version) {
            continue;
        }
        json_t *row = json_object();
        json_object_set_new(row, "version", json_integer((json_int_t)i + 1));
        json_object_set_new(row, "name", json_string(migration_name((int)i + 1)));
        json_object_set_new(row, "state", json_string("pending"));
        json_array_append_new(rows, row);
    }
}

static bool
add_applied(Call *call, json_t *rows, Error *err)
{
    CallRows found = {0};
    bool ok = call_pg(call, sql_db_status, NULL, 0, &found, err);

    for (int i = 0; ok && i < found.rows; i++) {
        json_t *row = NULL;
        ok = rows_object(&found, i, fields, DS_COUNT(fields), &row, err);
        if (ok) {
            json_object_set_new(row, "state", json_string("applied"));
            json_array_append_new(rows, row);
        }
    }
    call_rows_done(&found);
    return ok;
}

/* Prints also when the schema does not fit; the status and stderr say so. */
static bool
run_status(Call *call, const CliCall *cli, Error *err)
{
    SchemaReport report = {.ok = false};
    json_t *rows = json_array();
    Error print = {0};

    (void)cli;
    bool fits = call_schema_check(call, &report, err);
    bool ok =
        fits || (err->code == ERR_CONFIG && err->sqlstate[0] == '\0' && report.program_version > 0);
    if (ok) {
        ok = report.version == 0 || add_applied(call, rows, &print);
        add_pending(rows, report.version);
        ok = ok && output_rows("migrations", columns, rows, &print);
        if (!ok) {
            *err = print;
        }
    }
    json_decref(rows);
    return ok && fits;
}

static int
cmd_status(const CliCall *cli)
{
    return call_main(run_status, cli);
}

const Command db_commands[] = {
    {.name = "migrate",
     .options = migrate_options,
     .run = cmd_migrate,
     .help = "bring the schema ds_sync up to date; nothing to do is a success",
     .details =
         "Each migration is one transaction under a lock: two at once do it once, and a failure\n"
         "leaves nothing.  Needs a direct connection (not PgBouncer in statement mode), and the\n"
         "first time the right to create roles and a schema."},
    {.name = "status",
     .run = cmd_status,
     .help = "show which migrations are applied; status 5 unless the schema fits this program"},
    {.name = "prune",
     .options = db_prune_options,
     .run = cmd_db_prune,
     .help = "delete old rows in small batches; positions stay",
     .details = db_prune_details},
    {.name = NULL},
};
