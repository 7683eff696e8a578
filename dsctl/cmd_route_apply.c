/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl route apply: routes from a file, checked against what is there and stored. */
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/input.h"
#include "dsctl/output.h"
#include "dsctl/route_diff.h"
#include "dsctl/route_plan.h"

#include "common/mem.h"
#include "common/parse.h"
#include "sql/queries.h"

#define STORE_BYTES_MAX (512u << 20)

static const char *arg_file;
static bool arg_dry_run;
static int64_t arg_lock_ms = ROUTE_LOCK_MS_DEFAULT;

const Option route_apply_options[] = {
    OPT_STRING('f', "file", &arg_file, "FILE", "the routes, - is stdin"),
    OPT_FLAG(0, "dry-run", &arg_dry_run, "check everything and print what would change"),
    OPT_DURATION(0, "lock-timeout", &arg_lock_ms, "DURATION",
                 "wait so long for a lock on a table before trying again (2s)"),
    OPT_END(),
};

const char route_apply_details[] =
    "The file is {\"routes\": [...]}, see docs/routes.md.  Routes that it does not name stay as "
    "they "
    "are.  Nothing\n"
    "is changed unless everything fits: the routes with each other, and each with its table.  A "
    "table that is\n"
    "not there is made; to an existing one only partitions of a list are added, and what does not "
    "suit is\n"
    "listed with the statement that mends it (status 5).  Mistakes of the file (status 2) are told "
    "together with\n"
    "that, all routes and columns at one go; of more than 20 problems the others are counted.  "
    "Running instances\n"
    "notice within seconds.";

static const OutputColumn change_columns[] = {
    {"route", "ROUTE", COLUMN_TEXT, NULL}, {"change", "CHANGE", COLUMN_TEXT, NULL},
    {"what", "WHAT", COLUMN_TEXT, NULL},   {"from", "FROM", COLUMN_TEXT, NULL},
    {"to", "TO", COLUMN_TEXT, NULL},       {NULL, NULL, COLUMN_TEXT, NULL},
};

/* Columns of route_list.sql. */
enum { STORED_NAME, STORED_SPEC, STORED_VERSION, STORED_PAUSED, STORED_REMOVED, STORED_STREAMS };

typedef struct Apply {
    Call *call;
    RouteFile file;
    RouteSpec *wanted; /* those of the file, borrowed */
    size_t wanted_count;
    CallRows stored;
    RouteSpec *known; /* the stored ones, row by row */
    RoutePlan *plans; /* of the wanted ones */
    json_t *rows;
    int64_t version; /* of ds_sync.control when we looked */
    size_t problems; /* the first ROUTE_PROBLEMS_MAX are told */
    ErrorCode code;  /* of the first one */
} Apply;

/* ---- problems ---- */

/* Whether this one is told, or only counted. */
static bool
count_problem(Apply *apply, ErrorCode code)
{
    if (apply->problems == 0) {
        apply->code = code;
    }
    return apply->problems++ < ROUTE_PROBLEMS_MAX;
}

static void
problem(Apply *apply, const RouteSpec *spec, const char *what, const char *mend)
{
    if (count_problem(apply, ERR_CONFLICT)) {
        call_note("route \"%s\", table %s.%s: %s", spec->name, spec->schema, spec->table, what);
        call_note("    mend: %s", mend);
    }
}

/* What is wrong with the routes themselves says where that is and what is legal. */
static void
problems_of_routes(Apply *apply, const RouteProblems *problems, const char *where)
{
    for (size_t i = 0; i < problems->count; i++) {
        size_t kept = DS_MIN(i, (size_t)ROUTE_PROBLEMS_MAX - 1);
        if (count_problem(apply, problems->kept[kept].code)) {
            call_note("%.200s: %s", where, problems->kept[kept].text);
        }
    }
}

static bool
refuse(const Apply *apply, Error *err)
{
    if (apply->problems > ROUTE_PROBLEMS_MAX) {
        call_note("and %zu more", apply->problems - ROUTE_PROBLEMS_MAX);
    }
    return error_set(err, apply->code, "%zu problem%s; nothing was changed", apply->problems,
                     apply->problems == 1 ? "" : "s");
}

/* ---- what is there ---- */

static bool
read_wanted(Apply *apply, Error *err)
{
    FILE *file = NULL;
    bool ok = false;
    Buf text;

    buf_init(&text, ROUTE_FILE_BYTES_MAX);
    if (arg_file == NULL) {
        error_set(err, ERR_CONFIG, "which routes? -f FILE, or -f - for stdin");
        goto done;
    }
    file = input_open(arg_file, err);
    if (file == NULL || !input_read(file, &text, err)) {
        goto done;
    }
    route_file_read(&apply->file, buf_str(&text));
    apply->wanted = apply->file.specs;
    apply->wanted_count = apply->file.count;
    problems_of_routes(apply, &apply->file.problems, arg_file);
    ok = true;

done:
    input_close(file);
    buf_done(&text);
    return ok;
}

static bool
read_version(Apply *apply, Error *err)
{
    CallRows rows = {0};
    bool ok = call_pg(apply->call, sql_route_version, NULL, 0, &rows, err);

    if (ok && (rows.rows != 1 || !parse_i64(str_c(call_rows_get(&rows, 0, 0)), &apply->version))) {
        ok = error_set(err, ERR_PROTOCOL, "ds_sync.control has no version");
    }
    call_rows_done(&rows);
    return ok;
}

static bool
read_stored(Apply *apply, Error *err)
{
    PgParam all = {.value = NULL};

    if (!read_version(apply, err) ||
        !call_pg(apply->call, sql_route_list, &all, 1, &apply->stored, err)) {
        return false;
    }
    apply->known = mem_array((size_t)apply->stored.rows + 1, sizeof(*apply->known));
    for (int i = 0; i < apply->stored.rows; i++) {
        if (!route_spec_parse(&apply->known[i],
                              str_c(call_rows_get(&apply->stored, i, STORED_SPEC)), err)) {
            err->code = ERR_CONFLICT;
            return error_wrap(err, "what is stored is not for this dsctl, use a newer one");
        }
    }
    return true;
}

/* The row of a stored route, or -1. */
static int
find_stored(const Apply *apply, const char *name)
{
    for (int i = 0; i < apply->stored.rows; i++) {
        if (strcmp(call_rows_get(&apply->stored, i, STORED_NAME), name) == 0) {
            return i;
        }
    }
    return -1;
}

/* Whether the file has another route of that name, be it with mistakes. */
static bool
is_wanted(const Apply *apply, const char *name)
{
    for (size_t i = 0; i < apply->file.name_count; i++) {
        if (apply->file.names[i] != NULL && strcmp(apply->file.names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- checks ---- */

/* With the routes that stay; a removed one counts as long as positions and rows of it are left. */
static void
check_together(Apply *apply)
{
    size_t room = apply->wanted_count + (size_t)apply->stored.rows;
    const RouteSpec **all = mem_array(room + 1, sizeof(*all));
    RouteProblems problems = {0};
    size_t count = 0;

    for (size_t i = 0; i < apply->wanted_count; i++) {
        all[count++] = &apply->wanted[i];
    }
    for (int i = 0; i < apply->stored.rows; i++) {
        bool removed = strcmp(call_rows_get(&apply->stored, i, STORED_REMOVED), "t") == 0;
        bool empty = strcmp(call_rows_get(&apply->stored, i, STORED_STREAMS), "0") == 0;

        if (!is_wanted(apply, apply->known[i].name) && !(removed && empty)) {
            all[count++] = &apply->known[i];
        }
    }
    if (count > ROUTES_MAX && count_problem(apply, ERR_LIMIT)) {
        call_note("there can be at most %d routes", ROUTES_MAX);
    }
    route_specs_check(all, count, apply->wanted_count, &problems);
    problems_of_routes(apply, &problems, "together with what is stored (dsctl route ls --removed)");
    free(all);
}

static bool
same_table(const RouteSpec *a, const RouteSpec *b)
{
    return strcmp(a->schema, b->schema) == 0 && strcmp(a->table, b->table) == 0;
}

/* What positions and rows were made with stays as long as there are any. */
static void
check_lasting(Apply *apply, const RouteSpec *spec, int stored)
{
    const RouteSpec *known = &apply->known[stored];
    const char *streams = call_rows_get(&apply->stored, stored, STORED_STREAMS);
    const struct {
        const char *member;
        bool same;
    } members[] = {
        {"table", same_table(known, spec)},
        {"server", strcmp(known->server, spec->server) == 0},
        {"name_prefix", strcmp(known->name_prefix, spec->name_prefix) == 0},
        {"as", known->kind == spec->kind},
    };
    char what[512];

    if (strcmp(streams, "0") == 0) {
        return;
    }
    for (size_t i = 0; i < DS_COUNT(members); i++) {
        if (!members[i].same) {
            (void)snprintf(what, sizeof(what),
                           "\"%s\" cannot change while positions of %s streams belong to "
                           "%.63s.%.63s",
                           members[i].member, streams, known->schema, known->table);
            problem(apply, spec, what,
                    "declare another route under another name; dsctl route rm NAME ends this one, "
                    "and with --forget drops its positions");
        }
    }
    if (known->start != spec->start) {
        call_note("route \"%s\": \"start\" is for streams that come; %s have a position already",
                  spec->name, streams);
    }
}

/* The streams of SYNCD_STREAMS go into tables of ds_sync, without being declared. */
static bool
check_default(Apply *apply, const RouteSpec *spec, Error *err)
{
    PgParam server = {.value = spec->server};
    CallRows rows = {0};
    char what[512];

    if (strcmp(spec->schema, "ds_sync") != 0 || spec->name_prefix[0] != '\0') {
        return true;
    }
    if (!call_pg(apply->call, sql_route_default_streams, &server, 1, &rows, err)) {
        return false;
    }
    for (int i = 0; i < rows.rows; i++) {
        if (route_spec_matches(spec, str_c(call_rows_get(&rows, i, 0)))) {
            (void)snprintf(what, sizeof(what), "SYNCD_STREAMS has brought \"%.300s\" there already",
                           call_rows_get(&rows, i, 0));
            problem(apply, spec, what, "choose another \"table\", or \"streams\" without it");
            break;
        }
    }
    call_rows_done(&rows);
    return true;
}

/* Instances have their servers from their settings.  One that nobody has is a slip, or comes with
 * the next restart; while only some have it, the others refuse the route. */
static bool
check_server(Apply *apply, const RouteSpec *spec, Error *err)
{
    PgParam server = {.value = spec->server};
    CallRows rows = {0};
    char what[512];

    if (!call_pg(apply->call, sql_route_servers, &server, 1, &rows, err)) {
        return false;
    }
    bool known = rows.rows == 0 || strcmp(call_rows_get(&rows, 0, 1), "t") == 0;
    for (int i = 0; known && i < rows.rows; i++) {
        if (strcmp(call_rows_get(&rows, i, 1), "t") != 0) {
            call_note("route \"%s\": the instance %s has no server \"%s\", and loads nothing of it "
                      "until it is restarted with one",
                      spec->name, call_rows_get(&rows, i, 0), spec->server);
        }
    }
    if (!known) {
        (void)snprintf(what, sizeof(what),
                       "no instance of syncd has a server \"%.63s\"; there is %.300s", spec->server,
                       call_rows_get(&rows, 0, 2));
        problem(apply, spec, what,
                "correct \"server\", or restart syncd with it in SYNCD_SERVERS first");
    }
    call_rows_done(&rows);
    return true;
}

static RouteColumn *
find_column(RouteColumn *columns, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(columns[i].name, name) == 0) {
            return &columns[i];
        }
    }
    return NULL;
}

/* The first route of the file into a table sees to it for all of them: the table has the columns of
 * each, and NOT NULL are those that each requires. */
static bool
plan_table(Apply *apply, size_t at, Error *err)
{
    RouteSpec table = apply->wanted[at]; /* borrows all but the columns */

    for (size_t i = 0; i < at; i++) {
        if (same_table(&apply->wanted[i], &table)) {
            return true;
        }
    }
    table.column_count = 0;
    table.columns = mem_array(apply->wanted_count * ROUTE_COLUMNS_MAX, sizeof(*table.columns));
    for (size_t i = at; i < apply->wanted_count; i++) {
        const RouteSpec *spec = &apply->wanted[i];
        for (size_t j = 0; same_table(spec, &table) && j < spec->column_count; j++) {
            if (find_column(table.columns, table.column_count, spec->columns[j].name) == NULL) {
                table.columns[table.column_count++] = spec->columns[j];
            }
        }
    }
    for (size_t i = 0; i < table.column_count; i++) {
        RouteColumn *column = &table.columns[i];
        for (size_t j = at; j < apply->wanted_count; j++) {
            const RouteSpec *spec = &apply->wanted[j];
            const RouteColumn *own = find_column(spec->columns, spec->column_count, column->name);
            column->required =
                column->required && (!same_table(spec, &table) || (own != NULL && own->required));
        }
    }
    bool ok = route_plan_steps(apply->call, &table, &apply->plans[at], err);
    free(table.columns);
    return ok;
}

static bool
check_route(Apply *apply, size_t at, Error *err)
{
    const RouteSpec *spec = &apply->wanted[at];
    RoutePlan *plan = &apply->plans[at];
    int stored = find_stored(apply, spec->name);

    if (stored >= 0) {
        check_lasting(apply, spec, stored);
    }
    if (!check_server(apply, spec, err) || !check_default(apply, spec, err) ||
        !route_plan_check(apply->call, spec, plan, err)) {
        return false;
    }
    for (int i = 0; i < plan->problems.rows; i++) {
        problem(apply, spec, call_rows_get(&plan->problems, i, 0),
                call_rows_get(&plan->problems, i, 1));
    }
    /* With problems nothing is done, and the statements might not even have a schema. */
    return apply->problems > 0 || plan_table(apply, at, err);
}

/* ---- showing ---- */

static json_t *
spec_object(const RouteSpec *spec, Error *err)
{
    json_t *object = NULL;
    Buf text;

    buf_init(&text, ROUTE_SPEC_BYTES_MAX);
    if (route_spec_print(spec, &text, err)) {
        object = json_loadb(text.data, text.len, 0, NULL);
        DS_ASSERT(object != NULL);
    }
    buf_done(&text);
    return object;
}

static bool
add_rows(Apply *apply, size_t at, Error *err)
{
    const RouteSpec *spec = &apply->wanted[at];
    const CallRows *steps = &apply->plans[at].steps;
    int stored = find_stored(apply, spec->name);
    bool removed =
        stored >= 0 && strcmp(call_rows_get(&apply->stored, stored, STORED_REMOVED), "t") == 0;
    json_t *after = spec_object(spec, err);
    json_t *before = NULL;

    if (after == NULL) {
        return false;
    }
    if (stored >= 0 && !removed) {
        before = spec_object(&apply->known[stored], err);
    }
    route_diff(spec->name, before, after, apply->rows);
    for (int i = 0; i < steps->rows; i++) {
        json_array_append_new(
            apply->rows, json_pack("{s:s, s:s, s:o, s:n, s:s}", "route", spec->name, "change",
                                   "sql", "what", json_sprintf("%s.%s", spec->schema, spec->table),
                                   "from", "to", call_rows_get(steps, i, 1)));
    }
    json_decref(before);
    json_decref(after);
    return true;
}

/* ---- doing ---- */

static bool
specs_arrays(const Apply *apply, Buf *names, Buf *specs, Error *err)
{
    bool ok = buf_append_char(names, '{', err) && buf_append_char(specs, '{', err);
    Buf spec;

    buf_init(&spec, ROUTE_SPEC_BYTES_MAX);
    for (size_t i = 0; ok && i < apply->wanted_count; i++) {
        buf_reset(&spec);
        ok = pg_array_append(names, str_c(apply->wanted[i].name), i == 0, err) &&
             route_spec_print(&apply->wanted[i], &spec, err) &&
             pg_array_append(specs, buf_str(&spec), i == 0, err);
    }
    buf_done(&spec);
    return ok && buf_append_char(names, '}', err) && buf_append_char(specs, '}', err);
}

static bool
store(Apply *apply, Error *err)
{
    char version[24];
    CallRows rows = {0};
    bool ok = false;
    Buf names;
    Buf specs;

    (void)snprintf(version, sizeof(version), "%lld", (long long)apply->version);
    buf_init(&names, STORE_BYTES_MAX);
    buf_init(&specs, STORE_BYTES_MAX);
    if (specs_arrays(apply, &names, &specs, err)) {
        PgParam params[] = {
            {.value = buf_cstr(&names)}, {.value = buf_cstr(&specs)}, {.value = version}};
        ok = call_pg(apply->call, sql_route_store, params, DS_COUNT(params), &rows, err);
    }
    if (ok && rows.rows == 0) {
        ok = error_set(err, ERR_CONFLICT,
                       "somebody else changed routes meanwhile; nothing was stored, run it again");
    }
    call_rows_done(&rows);
    buf_done(&names);
    buf_done(&specs);
    return ok;
}

/* A table without a route does no harm, and a second try finds it; so tables come first. */
static bool
carry_out(Apply *apply, Error *err)
{
    for (size_t i = 0; i < apply->wanted_count; i++) {
        if (!route_plan_run(apply->call, &apply->plans[i], arg_lock_ms, err)) {
            return error_wrap(err, "route \"%s\"", apply->wanted[i].name);
        }
    }
    return store(apply, err);
}

/* Against what Postgres has: routes, servers, tables. */
static bool
check_all(Apply *apply, Error *err)
{
    if (!read_stored(apply, err)) {
        return false;
    }
    check_together(apply);
    apply->plans = mem_array(apply->wanted_count + 1, sizeof(*apply->plans));
    for (size_t i = 0; i < apply->wanted_count; i++) {
        if (!check_route(apply, i, err) || !add_rows(apply, i, err)) {
            return false;
        }
    }
    return true;
}

static bool
apply_all(Apply *apply, Error *err)
{
    if (!read_wanted(apply, err)) {
        return false;
    }
    bool file_is_good = apply->problems == 0;
    if (!check_all(apply, err)) {
        if (file_is_good || err->code == ERR_CANCELED) {
            return false;
        }
        call_note("the tables were not all looked at: %s", err->text);
        call_pg_forgive(apply->call);
    }
    if (apply->problems == 0 && !arg_dry_run && !carry_out(apply, err)) {
        return false;
    }
    /* A part of the file would be no whole list of changes. */
    if ((apply->problems == 0 || (arg_dry_run && file_is_good)) &&
        !output_rows("changes", change_columns, apply->rows, err)) {
        return false;
    }
    return apply->problems == 0 || refuse(apply, err);
}

static bool
run_apply(Call *call, const CliCall *cli, Error *err)
{
    Apply apply = {.call = call, .rows = json_array()};

    (void)cli;
    bool ok = apply_all(&apply, err);
    for (size_t i = 0; apply.plans != NULL && i < apply.wanted_count; i++) {
        route_plan_done(&apply.plans[i]);
    }
    free(apply.plans);
    for (int i = 0; apply.known != NULL && i < apply.stored.rows; i++) {
        route_spec_done(&apply.known[i]);
    }
    free(apply.known);
    call_rows_done(&apply.stored);
    route_file_done(&apply.file);
    json_decref(apply.rows);
    return ok;
}

int
cmd_route_apply(const CliCall *cli)
{
    return call_main(run_apply, cli);
}
