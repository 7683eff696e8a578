/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl lease: which instance of syncd holds which work partitions. */
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/output.h"
#include "dsctl/rows.h"

#include "sql/queries.h"

static bool arg_partitions;
static bool arg_all;

static const Option ls_options[] = {
    OPT_FLAG(0, "partitions", &arg_partitions, "a line per work partition, with its epoch"),
    OPT_END(),
};

static const Option release_options[] = {
    OPT_FLAG(0, "all", &arg_all, "every instance"),
    OPT_END(),
};

static const char ls_details[] =
    "SEEN is the age of the last sign of life, LEASE what is left of the first lease to end; one "
    "that is over,\n"
    "or soon will be, is of an instance that died.  A line without an instance counts free "
    "partitions.\n"
    "STREAMS are those that an instance loaded last.";

static const char release_details[] =
    "Others need not wait for the leases of an instance that is known to be dead.  One that lives "
    "stops writing,\n"
    "joins again and takes its share: nothing is lost or doubled, since epochs shut out who was "
    "replaced.";

static const Field instance_fields[] = {
    {"instance", FIELD_TEXT},         {"host", FIELD_TEXT},           {"pid", FIELD_INTEGER},
    {"version", FIELD_TEXT},          {"partitions", FIELD_INTEGER},  {"streams", FIELD_INTEGER},
    {"lease_left_ms", FIELD_INTEGER}, {"seen_age_ms", FIELD_INTEGER}, {"started_at", FIELD_TEXT},
};

static const OutputColumn instance_columns[] = {
    {"instance", "INSTANCE", COLUMN_TEXT, NULL},
    {"host", "HOST", COLUMN_TEXT, NULL},
    {"pid", "PID", COLUMN_NUMBER, NULL},
    {"version", "VERSION", COLUMN_TEXT, NULL},
    {"partitions", "PARTITIONS", COLUMN_NUMBER, NULL},
    {"streams", "STREAMS", COLUMN_NUMBER, NULL},
    {"lease_left_ms", "LEASE", COLUMN_AGE, NULL},
    {"seen_age_ms", "SEEN", COLUMN_AGE, NULL},
    {"started_at", NULL, COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static const Field partition_fields[] = {
    {"partition", FIELD_INTEGER},
    {"instance", FIELD_TEXT},
    {"epoch", FIELD_INTEGER},
    {"lease_left_ms", FIELD_INTEGER},
};

static const OutputColumn partition_columns[] = {
    {"partition", "PARTITION", COLUMN_NUMBER, NULL},
    {"instance", "INSTANCE", COLUMN_TEXT, NULL},
    {"epoch", "EPOCH", COLUMN_NUMBER, NULL},
    {"lease_left_ms", "LEASE", COLUMN_AGE, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

typedef struct Listing {
    const char *sql;
    const char *kind;
    const Field *fields;
    size_t field_count;
    const OutputColumn *columns;
} Listing;

static bool
run_ls(Call *call, const CliCall *cli, Error *err)
{
    static const Listing listings[] = {
        {sql_lease_ls, "instances", instance_fields, DS_COUNT(instance_fields), instance_columns},
        {sql_lease_ls_partitions, "partitions", partition_fields, DS_COUNT(partition_fields),
         partition_columns},
    };
    const Listing *listing = &listings[arg_partitions];
    json_t *out = json_array();
    CallRows rows = {0};

    (void)cli;
    bool ok = call_pg(call, listing->sql, NULL, 0, &rows, err);
    for (int i = 0; ok && i < rows.rows; i++) {
        json_t *row = NULL;

        ok = rows_object(&rows, i, listing->fields, listing->field_count, &row, err);
        if (ok) {
            json_array_append_new(out, row);
        }
    }
    ok = ok && output_rows(listing->kind, listing->columns, out, err);
    json_decref(out);
    call_rows_done(&rows);
    return ok;
}

static int
cmd_ls(const CliCall *cli)
{
    return call_main(run_ls, cli);
}

/* name NULL: all of them. */
static bool
release(Call *call, const char *name, Error *err)
{
    PgParam param = {.value = name};
    CallRows rows = {0};
    bool ok = call_pg(call, sql_lease_free, &param, 1, &rows, err);

    for (int i = 0; ok && i < rows.rows; i++) {
        call_note("%s: %s partitions are free", call_rows_get(&rows, i, 0),
                  call_rows_get(&rows, i, 1));
    }
    if (ok && name != NULL && rows.rows == 0) {
        ok = error_set(err, ERR_NOT_FOUND, "there is no instance %s", name);
    }
    call_rows_done(&rows);
    return ok;
}

static bool
run_release(Call *call, const CliCall *cli, Error *err)
{
    if (arg_all != (cli->count == 0)) {
        return error_set(err, ERR_CONFIG, "name instances, or say --all");
    }
    if (arg_all) {
        return release(call, NULL, err);
    }
    for (size_t i = 0; i < cli->count; i++) {
        if (!release(call, cli->args[i], err)) {
            return false;
        }
    }
    return true;
}

static int
cmd_release(const CliCall *cli)
{
    return call_main(run_release, cli);
}

const Command lease_commands[] = {
    {.name = "ls",
     .options = ls_options,
     .run = cmd_ls,
     .help = "show the instances of syncd, and what each holds",
     .details = ls_details},
    {.name = "release",
     .args = "[INSTANCE...]",
     .args_max = 64,
     .options = release_options,
     .run = cmd_release,
     .help = "forget instances and free what they hold",
     .details = release_details},
    {.name = "repartition",
     .args = "COUNT",
     .args_min = 1,
     .args_max = 1,
     .options = lease_repartition_options,
     .run = cmd_lease_repartition,
     .help = "change the number of work partitions, while no instance runs",
     .details = lease_repartition_details},
    {.name = NULL},
};
