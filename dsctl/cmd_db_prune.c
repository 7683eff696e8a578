/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl db prune: delete the old rows of tables that syncd fills. */
#include "dsctl/before.h"
#include "dsctl/commands.h"
#include "dsctl/output.h"

#include "common/parse.h"
#include "sql/queries.h"

#define BATCH_PAGES 32 /* a transaction: 256 KiB, some thousand small rows at most */
#define TID_BYTES   32

static const char *arg_before;
static const char *arg_table;
static bool arg_execute;

const Option db_prune_options[] = {
    OPT_STRING(0, "before", &arg_before, "TIME", BEFORE_HELP),
    OPT_STRING(0, "table", &arg_table, "TABLE", "only this table, as schema.table (all)"),
    OPT_FLAG(0, "execute", &arg_execute, "delete, instead of counting what would be deleted"),
    OPT_END(),
};

const char db_prune_details[] =
    "Of ds_sync.session_events, ds_sync.stream_chunks and the tables of routes, by received_at; "
    "state tables\n"
    "have no old rows.  A transaction deletes from 256 KiB of a partition at most, so neither "
    "syncd "
    "nor "
    "Electric\n"
    "is held up, and what was deleted before an interruption stays deleted.  Positions stay: a "
    "stream's numbers\n"
    "go on, and nothing is loaded again.";

static const OutputColumn prune_columns[] = {
    {"table", "TABLE", COLUMN_TEXT, NULL},   {"rows", "ROWS", COLUMN_NUMBER, NULL},
    {"result", "RESULT", COLUMN_TEXT, NULL}, {"before", "BEFORE", COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

/* Columns of prune_tables.sql. */
enum { LEAF_TABLE, LEAF_PAGES, LEAF_COUNT_SQL, LEAF_DELETE_SQL };

typedef struct Prune {
    Call *call;
    CallRows before; /* one cell: the time, as Postgres writes it */
    CallRows leaves;
    CallRows note; /* of the table under way: its id in ds_sync.audit */
    json_t *rows;
} Prune;

static const char *
before_text(const Prune *prune)
{
    return call_rows_get(&prune->before, 0, 0);
}

static bool
find_leaves(Prune *prune, Error *err)
{
    PgParam table = {.value = arg_table};

    if (!call_pg(prune->call, sql_prune_tables, &table, 1, &prune->leaves, err)) {
        return false;
    }
    return arg_table == NULL || prune->leaves.rows > 0 ||
           error_set(err, ERR_NOT_FOUND,
                     "%s is no table of events or chunks with a column received_at that a route "
                     "fills; give it as schema.table",
                     arg_table);
}

/* The number in the only row, added. */
static bool
add_number(Prune *prune, const char *sql, const PgParam *params, size_t count, int64_t *total,
           Error *err)
{
    CallRows rows = {0};
    int64_t number = 0;
    bool ok = call_pg(prune->call, sql, params, count, &rows, err);

    if (ok && (rows.rows != 1 || !parse_i64(str_c(call_rows_get(&rows, 0, 0)), &number))) {
        ok = error_set(err, ERR_PROTOCOL, "Postgres answered no number");
    }
    *total += number;
    call_rows_done(&rows);
    return ok;
}

static bool
prune_leaf(Prune *prune, int leaf, int64_t *total, Error *err)
{
    const char *sql = call_rows_get(&prune->leaves, leaf, LEAF_DELETE_SQL);
    char from[TID_BYTES];
    char to[TID_BYTES];
    int64_t pages = 0;
    PgParam params[] = {{.value = from},
                        {.value = to},
                        {.value = before_text(prune)},
                        {.value = call_rows_get(&prune->note, 0, 0)}};

    if (!parse_i64(str_c(call_rows_get(&prune->leaves, leaf, LEAF_PAGES)), &pages)) {
        return error_set(err, ERR_PROTOCOL, "Postgres answered no number of pages");
    }
    for (int64_t page = 0; page < pages; page += BATCH_PAGES) {
        (void)snprintf(from, sizeof(from), "(%lld,0)", (long long)page);
        (void)snprintf(to, sizeof(to), "(%lld,0)", (long long)page + BATCH_PAGES);
        if (!add_number(prune, sql, params, DS_COUNT(params), total, err)) {
            return error_wrap(err, "after %lld rows", (long long)*total);
        }
    }
    return true;
}

static bool
count_leaf(Prune *prune, int leaf, int64_t *total, Error *err)
{
    PgParam before = {.value = before_text(prune)};

    return add_number(prune, call_rows_get(&prune->leaves, leaf, LEAF_COUNT_SQL), &before, 1, total,
                      err);
}

/* The leaves from row `first` on that are of one table; *out_next is the row behind them. */
static bool
prune_table(Prune *prune, int first, int *out_next, Error *err)
{
    const char *table = call_rows_get(&prune->leaves, first, LEAF_TABLE);
    PgParam note[] = {{.value = table}, {.value = before_text(prune)}};
    int64_t total = 0;
    int leaf = first;

    call_rows_done(&prune->note);
    if (arg_execute &&
        !call_pg(prune->call, sql_prune_note, note, DS_COUNT(note), &prune->note, err)) {
        return false;
    }
    while (leaf < prune->leaves.rows &&
           strcmp(call_rows_get(&prune->leaves, leaf, LEAF_TABLE), table) == 0) {
        if (!(arg_execute ? prune_leaf : count_leaf)(prune, leaf, &total, err)) {
            return error_wrap(err, "%s", table);
        }
        leaf++;
    }
    json_array_append_new(prune->rows, json_pack("{s:s, s:I, s:s, s:s}", "table", table, "rows",
                                                 (json_int_t)total, "result",
                                                 arg_execute ? "deleted" : "would be deleted",
                                                 "before", before_text(prune)));
    *out_next = leaf;
    return true;
}

static bool
run_prune(Call *call, const CliCall *cli, Error *err)
{
    Prune prune = {.call = call, .rows = json_array()};
    int next = 0;

    (void)cli;
    bool ok = before_find(call, arg_before, &prune.before, err) && find_leaves(&prune, err);
    while (ok && next < prune.leaves.rows) {
        ok = prune_table(&prune, next, &next, err);
    }
    ok = ok && output_rows("tables", prune_columns, prune.rows, err);
    if (ok && !arg_execute) {
        call_note("nothing was deleted; --execute does it");
    }
    call_rows_done(&prune.before);
    call_rows_done(&prune.leaves);
    call_rows_done(&prune.note);
    json_decref(prune.rows);
    return ok;
}

int
cmd_db_prune(const CliCall *cli)
{
    return call_main(run_prune, cli);
}
