/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/route_plan.h"

#include "common/backoff.h"
#include "common/mem.h"
#include "dsctl/route_layout.h"

#include "sql/queries.h"

#define ARRAY_BYTES_MAX (4u << 20)
#define NUMBER_BYTES    24
#define PAUSE_MS_BASE   200
#define PAUSE_MS_MAX    3000

/* The parameters of route_check.sql, and behind them those of route_steps.sql. */
typedef enum PlanParam {
    PARAM_SCHEMA,
    PARAM_TABLE,
    PARAM_KIND,
    PARAM_PAYLOAD,
    PARAM_PAYLOAD_TYPE,
    PARAM_COLUMNS,
    PARAM_TYPES,
    PARAM_REQUIRED,
    PARAM_LAYOUT,
    PARAM_HASH,
    PARAM_PUBLISH,
    PARAM_PREFIXES,
    PARAM_ENDS,
    PARAM_COUNT
} PlanParam;

typedef struct PlanParams {
    PgParam params[PARAM_COUNT];
    Buf columns, types, required, prefixes, ends;
    char hash[NUMBER_BYTES];
} PlanParams;

/* ---- parameters ---- */

static bool
fill_columns(PlanParams *params, const RouteSpec *spec, Error *err)
{
    bool ok = buf_append_char(&params->columns, '{', err) &&
              buf_append_char(&params->types, '{', err) &&
              buf_append_char(&params->required, '{', err);

    for (size_t i = 0; ok && i < spec->column_count; i++) {
        const RouteColumn *column = &spec->columns[i];
        ok =
            pg_array_append(&params->columns, str_c(column->name), i == 0, err) &&
            pg_array_append(&params->types, str_c(column->type), i == 0, err) &&
            pg_array_append(&params->required, column->required ? STR("t") : STR("f"), i == 0, err);
    }
    return ok && buf_append_char(&params->columns, '}', err) &&
           buf_append_char(&params->types, '}', err) &&
           buf_append_char(&params->required, '}', err);
}

static bool
fill_list(PlanParams *params, const RouteSpec *spec, Error *err)
{
    bool ok =
        buf_append_char(&params->prefixes, '{', err) && buf_append_char(&params->ends, '{', err);
    Buf end;

    buf_init(&end, ROUTE_PREFIX_BYTES_MAX + 4);
    for (size_t i = 0; ok && i < spec->list_count; i++) {
        Str prefix = str_c(spec->list_prefixes[i]);
        buf_reset(&end);
        ok = (route_prefix_end(prefix, &end, err) ||
              error_wrap(err, "\"%.100s\"", spec->list_prefixes[i])) &&
             pg_array_append(&params->prefixes, prefix, i == 0, err) &&
             pg_array_append(&params->ends, buf_str(&end), i == 0, err);
    }
    buf_done(&end);
    return ok && buf_append_char(&params->prefixes, '}', err) &&
           buf_append_char(&params->ends, '}', err);
}

static void
params_init(PlanParams *params)
{
    buf_init(&params->columns, ARRAY_BYTES_MAX);
    buf_init(&params->types, ARRAY_BYTES_MAX);
    buf_init(&params->required, ARRAY_BYTES_MAX);
    buf_init(&params->prefixes, ARRAY_BYTES_MAX);
    buf_init(&params->ends, ARRAY_BYTES_MAX);
}

static void
params_done(PlanParams *params)
{
    buf_done(&params->columns);
    buf_done(&params->types);
    buf_done(&params->required);
    buf_done(&params->prefixes);
    buf_done(&params->ends);
}

static bool
params_fill(PlanParams *params, const RouteSpec *spec, Error *err)
{
    static const char *const layouts[] = {
        [ROUTE_LAYOUT_NONE] = "none", [ROUTE_LAYOUT_HASH] = "hash", [ROUTE_LAYOUT_LIST] = "list"};

    if (!fill_columns(params, spec, err) || !fill_list(params, spec, err)) {
        return false;
    }
    (void)snprintf(params->hash, sizeof(params->hash), "%u", spec->hash_count);
    params->params[PARAM_SCHEMA].value = spec->schema;
    params->params[PARAM_TABLE].value = spec->table;
    params->params[PARAM_KIND].value = route_kind_name(spec->kind);
    params->params[PARAM_PAYLOAD].value = spec->payload_column;
    params->params[PARAM_PAYLOAD_TYPE].value = route_payload_name(spec->payload);
    params->params[PARAM_COLUMNS].value = buf_cstr(&params->columns);
    params->params[PARAM_TYPES].value = buf_cstr(&params->types);
    params->params[PARAM_REQUIRED].value = buf_cstr(&params->required);
    params->params[PARAM_LAYOUT].value = layouts[spec->layout];
    params->params[PARAM_HASH].value = params->hash;
    params->params[PARAM_PUBLISH].value = spec->publish ? "t" : "f";
    params->params[PARAM_PREFIXES].value = buf_cstr(&params->prefixes);
    params->params[PARAM_ENDS].value = buf_cstr(&params->ends);
    return true;
}

/* ---- making ---- */

static bool
ask(Call *call, const char *sql, PlanParam count, const RouteSpec *spec, CallRows *out, Error *err)
{
    PlanParams params = {0};

    params_init(&params);
    bool ok = params_fill(&params, spec, err) && call_pg(call, sql, params.params, count, out, err);
    params_done(&params);
    return ok || error_wrap(err, "route \"%s\"", spec->name);
}

/* The same text as one quoted name, of which there is no type. */
static char *
quote_type(const char *type)
{
    size_t len = strlen(type);
    char *quoted = mem_alloc(2 * len + 3);
    char *at = quoted;

    *at++ = '"';
    for (size_t i = 0; i < len; i++) {
        if (type[i] == '"') {
            *at++ = '"';
        }
        *at++ = type[i];
    }
    *at++ = '"';
    *at = '\0';
    return quoted;
}

/* Postgres refuses the whole statement for a type that it cannot read, like "numeric(": each is
 * asked for alone, and those become names of types that there are not. */
static void
quote_unreadable(Call *call, RouteColumn *columns, size_t count)
{
    Error err;

    for (size_t i = 0; i < count; i++) {
        PgParam type = {.value = columns[i].type};
        bool readable =
            call_pg_run(call, sql_route_type, &type, 1, &err) || err.sqlstate[0] == '\0';
        columns[i].type = readable ? mem_strdup(columns[i].type) : quote_type(columns[i].type);
    }
}

static bool
check_readable(Call *call, const RouteSpec *spec, RoutePlan *plan, Error *err)
{
    RouteSpec readable = *spec; /* borrows all but the types */

    readable.columns = mem_array(spec->column_count + 1, sizeof(*readable.columns));
    for (size_t i = 0; i < spec->column_count; i++) {
        readable.columns[i] = spec->columns[i];
    }
    quote_unreadable(call, readable.columns, readable.column_count);
    bool ok = ask(call, sql_route_check, PARAM_PREFIXES, &readable, &plan->problems, err);
    for (size_t i = 0; i < spec->column_count; i++) {
        free(readable.columns[i].type);
    }
    free(readable.columns);
    return ok;
}

bool
route_plan_check(Call *call, const RouteSpec *spec, RoutePlan *plan, Error *err)
{
    return ask(call, sql_route_check, PARAM_PREFIXES, spec, &plan->problems, err) ||
           (err->sqlstate[0] != '\0' && check_readable(call, spec, plan, err));
}

bool
route_plan_steps(Call *call, const RouteSpec *spec, RoutePlan *plan, Error *err)
{
    return ask(call, sql_route_steps, PARAM_COUNT, spec, &plan->steps, err);
}

void
route_plan_done(RoutePlan *plan)
{
    call_rows_done(&plan->problems);
    call_rows_done(&plan->steps);
}

/* ---- running ---- */

static bool
run_statement(Call *call, const char *sql, const PgParam *params, size_t count, Error *err)
{
    CallRows rows = {0};
    bool ok = call_pg(call, sql, params, count, &rows, err);

    call_rows_done(&rows);
    return ok;
}

static bool
same_batch(const RoutePlan *plan, int a, int b)
{
    return b < plan->steps.rows &&
           strcmp(call_rows_get(&plan->steps, a, 0), call_rows_get(&plan->steps, b, 0)) == 0;
}

/* The steps of one transaction, from the row `first` on. */
static bool
run_batch(Call *call, const RoutePlan *plan, int first, int64_t lock_ms, Error *err)
{
    char milliseconds[NUMBER_BYTES];
    PgParam lock = {.value = milliseconds};

    (void)snprintf(milliseconds, sizeof(milliseconds), "%lld", (long long)lock_ms);
    if (!run_statement(call, "BEGIN", NULL, 0, err)) {
        return false;
    }
    bool ok = run_statement(call, sql_route_lock, &lock, 1, err);
    for (int i = first; ok && same_batch(plan, first, i); i++) {
        ok = run_statement(call, call_rows_get(&plan->steps, i, 1), NULL, 0, err) ||
             error_wrap(err, "%.200s", call_rows_get(&plan->steps, i, 1));
    }
    if (ok) {
        return run_statement(call, "COMMIT", NULL, 0, err);
    }
    call_pg_rollback(call);
    return false;
}

/* 55P03 no lock in time, 40P01 deadlock. */
static bool
is_busy(const Error *err)
{
    return strcmp(err->sqlstate, "55P03") == 0 || strcmp(err->sqlstate, "40P01") == 0;
}

static bool
run_patiently(Call *call, const RoutePlan *plan, int first, int64_t lock_ms, Error *err)
{
    Backoff backoff;

    backoff_init(&backoff, PAUSE_MS_BASE, PAUSE_MS_MAX);
    for (int tries = 1;; tries++) {
        if (run_batch(call, plan, first, lock_ms, err)) {
            return true;
        }
        if (!is_busy(err)) {
            return false;
        }
        if (tries == ROUTE_LOCK_TRIES) {
            return error_wrap(err, "after %d tries (see pg_stat_activity for who holds the lock)",
                              tries);
        }
        call_note("waiting for a lock, try %d of %d", tries, ROUTE_LOCK_TRIES);
        if (!call_sleep(call, backoff_next_ms(&backoff, 0), err)) {
            return false;
        }
    }
}

bool
route_plan_run(Call *call, const RoutePlan *plan, int64_t lock_ms, Error *err)
{
    for (int first = 0; first < plan->steps.rows; first++) {
        if (first > 0 && same_batch(plan, first - 1, first)) {
            continue;
        }
        if (!run_patiently(call, plan, first, lock_ms, err)) {
            return false;
        }
    }
    return true;
}
