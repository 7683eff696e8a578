/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl route: the routes that are declared; apply stands in cmd_route_apply.c. */
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/options.h"
#include "dsctl/output.h"
#include "dsctl/rows.h"

#include "common/route_spec.h"
#include "sql/queries.h"

static bool arg_removed;
static bool arg_forget;
static bool arg_execute;

static const Field fields[] = {
    {"name", FIELD_TEXT},
    {"spec", FIELD_SKIP},
    {"version", FIELD_INTEGER},
    {"paused", FIELD_BOOL},
    {"removed", FIELD_BOOL},
    {"streams", FIELD_INTEGER},
    {"stopped", FIELD_INTEGER},
    {"updated_at", FIELD_TEXT},
    {"seen_state", FIELD_TEXT},
    {"reason", FIELD_TEXT},
    {"seen_version", FIELD_INTEGER},
    {"instance", FIELD_TEXT},
    {"seen_at", FIELD_TEXT},
    {"instances", FIELD_INTEGER},
    {"agreeing", FIELD_INTEGER},
};
#define SPEC_FIELD   1
#define OTHERS_BYTES 80

/* ---- ls and show ---- */

static const Option ls_options[] = {
    OPT_FLAG(0, "removed", &arg_removed, "also those that were removed and not forgotten"),
    OPT_END(),
};

static const char ls_details[] =
    "STATE is running or failed (with the REASON) as an INSTANCE of syncd said of this version, "
    "the "
    "worst where they\n"
    "differ; stopped (likewise), on all of them, when its table takes hardly anything, until route "
    "resume or another\n"
    "version; on while no instance has taken it up, or none lives; paused, or removed.  STOPPED "
    "counts streams that\n"
    "are stopped or failed.  JSON output also says when the instance said it (seen_at) and of "
    "which version\n"
    "(seen_version), how many said something of that version (instances), and how many of them "
    "the same (agreeing).";

static const OutputColumn ls_columns[] = {
    {"name", "ROUTE", COLUMN_TEXT, NULL},
    {"state", "STATE", COLUMN_TEXT, NULL},
    {"as", "AS", COLUMN_TEXT, NULL},
    {"table", "TABLE", COLUMN_TEXT, NULL},
    {"server", "SERVER", COLUMN_TEXT, NULL},
    {"streams", "STREAMS", COLUMN_NUMBER, NULL},
    {"stopped", "STOPPED", COLUMN_NUMBER, NULL},
    {"version", "VERSION", COLUMN_NUMBER, NULL},
    {"updated_at", "CHANGED", COLUMN_TEXT, NULL},
    {"reason", "REASON", COLUMN_TEXT, NULL},
    {"seen_state", NULL, COLUMN_TEXT, NULL},
    {"seen_version", NULL, COLUMN_NUMBER, NULL},
    {"instance", "INSTANCE", COLUMN_TEXT, NULL},
    {"seen_at", NULL, COLUMN_TEXT, NULL},
    {"instances", NULL, COLUMN_NUMBER, NULL},
    {"agreeing", NULL, COLUMN_NUMBER, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

/* What an instance said of another version is of the past. */
static const char *
route_state(const json_t *row)
{
    const char *seen = json_string_value(json_object_get(row, "seen_state"));

    if (json_is_true(json_object_get(row, "removed"))) {
        return "removed";
    }
    if (json_is_true(json_object_get(row, "paused"))) {
        return "paused";
    }
    bool of_this =
        seen != NULL && strcmp(seen, "paused") != 0 &&
        json_equal(json_object_get(row, "seen_version"), json_object_get(row, "version"));
    return of_this ? seen : "on";
}

/* A row of route_list.sql, with its spec as an object. */
static bool
route_object(const CallRows *rows, int i, json_t **out, Error *err)
{
    json_t *row = NULL;

    if (!rows_object(rows, i, fields, DS_COUNT(fields), &row, err)) {
        return false;
    }
    json_t *spec = json_loads(call_rows_get(rows, i, SPEC_FIELD), 0, NULL);
    if (!json_is_object(spec)) {
        json_decref(spec);
        json_decref(row);
        return error_set(err, ERR_PROTOCOL, "the spec of a route is no JSON object");
    }
    json_object_set_new(row, "state", json_string(route_state(row)));
    json_object_del(row, "paused");
    json_object_del(row, "removed");
    json_object_set(row, "as", json_object_get(spec, "as"));
    json_object_set(row, "table", json_object_get(spec, "table"));
    json_object_set(row, "server", json_object_get(spec, "server"));
    json_object_set_new(row, "spec", spec);
    *out = row;
    return true;
}

static bool
run_ls(Call *call, const CliCall *cli, Error *err)
{
    PgParam all = {.value = NULL};
    CallRows rows = {0};
    json_t *out = json_array();
    bool ok = call_pg(call, sql_route_list, &all, 1, &rows, err);

    (void)cli;
    for (int i = 0; ok && i < rows.rows; i++) {
        json_t *row = NULL;
        ok = route_object(&rows, i, &row, err);
        if (ok && (arg_removed ||
                   strcmp(json_string_value(json_object_get(row, "state")), "removed") != 0)) {
            json_array_append(out, row);
        }
        json_decref(row);
    }
    ok = ok && output_rows("routes", ls_columns, out, err);
    if (ok && json_array_size(out) == 0) {
        call_note("no routes; syncd syncs what SYNCD_STREAMS names");
    }
    json_decref(out);
    call_rows_done(&rows);
    return ok;
}

static int
cmd_ls(const CliCall *cli)
{
    return call_main(run_ls, cli);
}

static bool
is_built_in(const char *name)
{
    return strcmp(name, ROUTE_DEFAULT_NAME) == 0;
}

static void
note_state(const json_t *row)
{
    const char *reason = json_string_value(json_object_get(row, "reason"));
    const char *instance = json_string_value(json_object_get(row, "instance"));
    json_int_t instances = json_integer_value(json_object_get(row, "instances"));
    json_int_t agreeing = json_integer_value(json_object_get(row, "agreeing"));
    char others[OTHERS_BYTES] = "";

    if (agreeing < instances) { /* of a route that is stopped there are no such numbers */
        (void)snprintf(others, sizeof(others), " (%lld of %lld instances)", (long long)agreeing,
                       (long long)instances);
    }
    call_note("%s: version %lld, %s%s%s%s%s%s", json_string_value(json_object_get(row, "name")),
              (long long)json_integer_value(json_object_get(row, "version")),
              json_string_value(json_object_get(row, "state")), instance == NULL ? "" : ", says ",
              instance == NULL ? "" : instance, others, reason == NULL ? "" : ": ",
              reason == NULL ? "" : reason);
}

/* As it may stand in a file for apply, with its members in order; of the built-in route there is
 * none. */
static bool
print_spec(const json_t *row, Str stored, Error *err)
{
    RouteSpec spec = {0};
    bool ok = false;
    Buf text;

    if (is_built_in(json_string_value(json_object_get(row, "name")))) {
        call_note("it is built in: SYNCD_STREAMS names its streams");
        return true;
    }
    buf_init(&text, ROUTE_SPEC_BYTES_MAX);
    if (route_spec_parse(&spec, stored, err) && route_spec_print(&spec, &text, err)) {
        json_t *document = json_pack("{s:[o]}", "routes", json_loadb(text.data, text.len, 0, NULL));
        char *shown = json_dumps(document, JSON_INDENT(2));
        ok = output_bytes(str_c(shown), err) && output_bytes(STR("\n"), err);
        free(shown);
        json_decref(document);
    }
    route_spec_done(&spec);
    buf_done(&text);
    return ok;
}

static bool
run_show(Call *call, const CliCall *cli, Error *err)
{
    PgParam name = {.value = cli->args[0]};
    CallRows rows = {0};
    json_t *row = NULL;
    bool ok = call_pg(call, sql_route_list, &name, 1, &rows, err);

    if (ok && rows.rows == 0) {
        ok = error_set(err, ERR_NOT_FOUND, "there is no route %s", cli->args[0]);
    }
    if (ok && route_object(&rows, 0, &row, err)) {
        note_state(row);
        ok = options_output() == OUTPUT_TABLE
                 ? print_spec(row, str_c(call_rows_get(&rows, 0, SPEC_FIELD)), err)
                 : output_record(ls_columns, row, err);
    } else {
        ok = false;
    }
    json_decref(row);
    call_rows_done(&rows);
    return ok;
}

static int
cmd_show(const CliCall *cli)
{
    return call_main(run_show, cli);
}

/* ---- pause and resume ---- */

static const char resume_details[] =
    "Also one that is stopped, which then goes on behind its dead letters (default for what "
    "SYNCD_STREAMS names),\n"
    "and one that failed, which is looked at again at once instead of within 10 s.  Mend the table "
    "or the route\n"
    "before; the reason is in route ls.";

static bool
no_route(const char *name, Error *err)
{
    return error_set(err, ERR_NOT_FOUND,
                     is_built_in(name)
                         ? "%s is built in, its streams are what SYNCD_STREAMS names: "
                           "it can neither be paused nor removed"
                         : "there is no route %s",
                     name);
}

static void
note_unchanged(const char *name, bool paused, bool failed)
{
    if (failed) {
        call_note("%s failed; it is looked at again", name);
    } else {
        call_note("%s %s", name, paused ? "is paused already" : "is neither paused nor stopped");
    }
}

static bool
set_paused(Call *call, const CliCall *cli, bool paused, Error *err)
{
    for (size_t i = 0; i < cli->count; i++) {
        PgParam params[] = {{.value = cli->args[i]}, {.value = paused ? "t" : "f"}};
        CallRows rows = {0};

        if (!call_pg(call, sql_route_pause, params, DS_COUNT(params), &rows, err)) {
            return false;
        }
        bool found = rows.rows == 1;
        bool changed = found && (strcmp(call_rows_get(&rows, 0, 0), "t") == 0) != paused;
        bool failed = found && !paused && strcmp(call_rows_get(&rows, 0, 1), "t") == 0;
        call_rows_done(&rows);
        if (!found && (paused || !is_built_in(cli->args[i]))) {
            return no_route(cli->args[i], err);
        }
        if (!changed) {
            note_unchanged(cli->args[i], paused, failed);
        }
    }
    return true;
}

static bool
run_pause(Call *call, const CliCall *cli, Error *err)
{
    return set_paused(call, cli, true, err);
}

static bool
run_resume(Call *call, const CliCall *cli, Error *err)
{
    return set_paused(call, cli, false, err);
}

static int
cmd_pause(const CliCall *cli)
{
    return call_main(run_pause, cli);
}

static int
cmd_resume(const CliCall *cli)
{
    return call_main(run_resume, cli);
}

/* ---- rm ---- */

static const Option rm_options[] = {
    OPT_FLAG(0, "forget", &arg_forget,
             "drop the positions and dead letters of a route that was removed"),
    OPT_FLAG(0, "execute", &arg_execute,
             "with --forget: do it, instead of saying what it would do"),
    OPT_END(),
};

static const char rm_details[] =
    "Syncing ends within seconds; the table, the positions of its streams and their dead letters "
    "stay, and the\n"
    "route continues where it stopped when it is applied again.  --forget drops positions and dead "
    "letters of\n"
    "a route that was removed, without --execute it only counts them.  The rows of its table stay: "
    "a "
    "route that\n"
    "reads the same streams again writes them again, so drop or empty the table first.";

static bool
remove_route(Call *call, const char *name, Error *err)
{
    PgParam param = {.value = name};
    CallRows rows = {0};

    if (!call_pg(call, sql_route_remove, &param, 1, &rows, err)) {
        return false;
    }
    bool found = rows.rows == 1;
    if (found) {
        call_note("%s is removed; its table and %s positions stay (--forget drops positions)", name,
                  call_rows_get(&rows, 0, 0));
    }
    call_rows_done(&rows);
    return found || no_route(name, err);
}

static bool
forget_route(Call *call, const char *name, Error *err)
{
    PgParam param = {.value = name};
    CallRows rows = {0};
    char remnants[128];
    bool ok = call_pg(call, sql_route_remnants, &param, 1, &rows, err);

    if (ok && rows.rows == 0) {
        ok = error_set(err, ERR_NOT_FOUND, "%s was not removed: dsctl route rm %s comes first",
                       name, name);
    } else if (ok) {
        (void)snprintf(remnants, sizeof(remnants), "%s positions and %s dead letters",
                       call_rows_get(&rows, 0, 1), call_rows_get(&rows, 0, 2)); /* two numbers */
    }
    call_rows_done(&rows);
    if (ok && arg_execute) {
        ok = call_pg(call, sql_route_forget, &param, 1, &rows, err);
        call_rows_done(&rows);
    }
    if (ok) {
        call_note("%s: %s %s", name, remnants,
                  arg_execute ? "are dropped" : "to drop; --execute does it");
    }
    return ok;
}

static bool
run_rm(Call *call, const CliCall *cli, Error *err)
{
    if (arg_execute && !arg_forget) {
        return error_set(err, ERR_CONFIG, "--execute is for --forget; rm alone loses nothing");
    }
    for (size_t i = 0; i < cli->count; i++) {
        if (!(arg_forget ? forget_route : remove_route)(call, cli->args[i], err)) {
            return false;
        }
    }
    return true;
}

static int
cmd_rm(const CliCall *cli)
{
    return call_main(run_rm, cli);
}

const Command route_commands[] = {
    {.name = "apply",
     .options = route_apply_options,
     .run = cmd_route_apply,
     .help = "check the routes of a file, make their tables and store them",
     .details = route_apply_details},
    {.name = "ls",
     .options = ls_options,
     .run = cmd_ls,
     .help = "list routes, and what became of them",
     .details = ls_details},
    {.name = "show",
     .args = "ROUTE",
     .args_min = 1,
     .args_max = 1,
     .run = cmd_show,
     .help = "print a route as a file for apply, every default spelled out"},
    {.name = "pause",
     .args = "ROUTE...",
     .args_min = 1,
     .args_max = 64,
     .run = cmd_pause,
     .help = "stop syncing a route for now; its positions stay"},
    {.name = "resume",
     .args = "ROUTE...",
     .args_min = 1,
     .args_max = 64,
     .run = cmd_resume,
     .help = "go on with a route that is paused, stopped or failed",
     .details = resume_details},
    {.name = "rm",
     .args = "ROUTE...",
     .args_min = 1,
     .args_max = 64,
     .options = rm_options,
     .run = cmd_rm,
     .help = "end a route; table and positions stay",
     .details = rm_details},
    {.name = NULL},
};
