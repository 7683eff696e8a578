/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl lease repartition: another number of work partitions. */
#include "common/parse.h"
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/output.h"
#include "sql/queries.h"

#define PARTITIONS_MAX  4096 /* as the table checks */
#define NAMES_BYTES_MAX 300
#define LOCK_TEXT       "10000"

static bool arg_execute;

const Option lease_repartition_options[] = {
    OPT_FLAG(0, "execute", &arg_execute, "do it, instead of saying whether it could be done"),
    OPT_END(),
};

const char lease_repartition_details[] =
    "For more instances than there are partitions, of which some would be idle.  All instances "
    "must "
    "be stopped: one\n"
    "that lives, or ended less than 5 minutes ago without saying so, is named (status 5; dsctl "
    "lease release\n"
    "forgets one that is known to be dead).  Epochs rise, so one that only slept is shut out when "
    "it wakes up, and\n"
    "ends with 7.  Positions stay.";

static const OutputColumn columns[] = {
    {"before", "before", COLUMN_NUMBER, NULL},
    {"after", "after", COLUMN_NUMBER, NULL},
    {"result", "result", COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static bool
check_nobody_lives(Call *call, Error *err)
{
    char names[NAMES_BYTES_MAX] = "";
    CallRows rows = {0};
    size_t length = 0;
    bool ok = call_pg(call, sql_lease_living, NULL, 0, &rows, err);

    for (int i = 0; ok && i < rows.rows && length < sizeof(names); i++) {
        int wrote = snprintf(names + length, sizeof(names) - length, "%s%s", i == 0 ? "" : ", ",
                             call_rows_get(&rows, i, 0)); /* cut: it is for people */
        length += (size_t)DS_MAX(wrote, 0);
    }
    if (ok && rows.rows > 0) {
        ok = error_set(err, ERR_CONFLICT,
                       "instances live: %s; stop them first, and dsctl lease release those that "
                       "are known to be dead",
                       names);
    }
    call_rows_done(&rows);
    return ok;
}

static bool
run_statement(Call *call, const char *sql, const char *value, CallRows *rows, Error *err)
{
    PgParam param = {.value = value};

    call_rows_done(rows);
    return call_pg(call, sql, &param, value == NULL ? 0 : 1, rows, err);
}

static bool
repartition(Call *call, const char *count, Error *err)
{
    CallRows rows = {0};
    bool ok = run_statement(call, "BEGIN", NULL, &rows, err);

    if (ok) {
        ok = run_statement(call, sql_route_lock, LOCK_TEXT, &rows, err) &&
             run_statement(call, sql_lease_partition_lock, NULL, &rows, err) &&
             check_nobody_lives(call, err) &&
             run_statement(call, sql_lease_repartition, count, &rows, err);
        if (ok) {
            ok = run_statement(call, "COMMIT", NULL, &rows, err);
        } else {
            call_pg_rollback(call);
        }
    }
    call_rows_done(&rows);
    return ok;
}

static bool
run_repartition(Call *call, const CliCall *cli, Error *err)
{
    CallRows rows = {0};
    uint64_t count = 0;
    int64_t before = 0;

    if (!parse_u64(str_c(cli->args[0]), PARTITIONS_MAX, &count) || count == 0) {
        return error_set(err, ERR_CONFIG, "the number of partitions must be 1 to %d, not \"%s\"",
                         PARTITIONS_MAX, cli->args[0]);
    }
    bool ok = call_pg(call, sql_lease_partitioning, NULL, 0, &rows, err);
    if (ok && (rows.rows != 1 || !parse_i64(str_c(call_rows_get(&rows, 0, 0)), &before))) {
        ok = error_set(err, ERR_PROTOCOL, "ds_sync.work_partitioning has no row");
    }
    call_rows_done(&rows);
    ok = ok && (arg_execute ? repartition(call, cli->args[0], err) : check_nobody_lives(call, err));
    if (ok) {
        json_t *record =
            json_pack("{s:I, s:I, s:s}", "before", (json_int_t)before, "after", (json_int_t)count,
                      "result", arg_execute ? "changed" : "would be changed");

        ok = output_record(columns, record, err);
        json_decref(record);
    }
    if (ok && !arg_execute) {
        call_note("nothing was changed; --execute does it");
    }
    return ok;
}

int
cmd_lease_repartition(const CliCall *cli)
{
    return call_main(run_repartition, cli);
}
