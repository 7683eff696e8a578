/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/route_catalog.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/parse.h"
#include "sql/queries.h"
#include "syncd/peer_clock.h"

#define POLL_MS         1000
#define RECHECK_MS      10000
#define ARRAY_BYTES_MAX (1u << 20)
#define REASON_BYTES    512

static const LogScope scope = {.name = "syncd.routes"};

/* A row of ds_sync.route, and what was made of it. */
typedef struct CatalogRow {
    char *name;
    int64_t version;
    int64_t applied_ms;
    bool paused;
    bool stopped;   /* by an instance: until somebody acts */
    bool stop_told; /* Postgres knows */
    RouteSpec spec; /* until it became the route's */
    Route *route;   /* NULL: paused, stopped or failed */
    char reason[REASON_BYTES];
} CatalogRow;

struct RouteCatalog {
    RouteCatalogConfig config;
    RoutesFn fn;
    void *arg;
    Loop *loop;
    LoopTimer *timer;
    int64_t version;  /* of ds_sync.control when the rows were read; -1: never */
    int64_t asked;    /* the one being read */
    int64_t asked_ms; /* when the rows were asked for, wall */
    int64_t recheck_ms;
    CatalogRow
        built_in; /* its route is the configuration's while it runs; no name: there is none */
    int64_t built_in_ms;   /* held: tried again then */
    bool built_in_stopped; /* as just read */
    char built_in_why[REASON_BYTES];
    bool told;       /* the routes, at least once */
    bool unreported; /* what runs is not in ds_sync.route_state yet */
    CatalogRow *rows;
    size_t row_count;
    CatalogRow *coming;
    size_t coming_count;
    size_t at; /* in coming: whose table is looked up */
};

static void catalog_next_table(RouteCatalog *catalog);

static void
rows_free(CatalogRow *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(rows[i].name);
        route_spec_done(&rows[i].spec);
        route_unref(rows[i].route);
    }
    free(rows);
}

static void
catalog_drop_coming(RouteCatalog *catalog)
{
    rows_free(catalog->coming, catalog->coming_count);
    catalog->coming = NULL;
    catalog->coming_count = 0;
}

/* Later, from the beginning. */
static void
catalog_wait(RouteCatalog *catalog)
{
    catalog_drop_coming(catalog);
    timer_start(catalog->timer, POLL_MS);
}

static void
catalog_ask(RouteCatalog *catalog, const char *sql, const char *const *params, size_t count,
            PgReplyFn fn)
{
    control_link_query(catalog->config.link, sql, params, count, fn, catalog);
}

/* --- handing over --- */

static void
catalog_tell(RouteCatalog *catalog)
{
    Route **routes = mem_array(catalog->row_count + 1, sizeof(Route *));
    size_t count = 0;

    if (catalog->built_in.route != NULL) {
        routes[count++] = catalog->built_in.route;
    }
    for (size_t i = 0; i < catalog->row_count; i++) {
        if (catalog->rows[i].route != NULL) {
            routes[count++] = catalog->rows[i].route;
        }
    }
    catalog->told = true;
    catalog->fn(catalog->arg, routes, count);
    free(routes);
}

static const CatalogRow *
row_find(const CatalogRow *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static const char *
row_state(const CatalogRow *row)
{
    return row->route != NULL ? "running"
           : row->paused      ? "paused"
           : row->stopped     ? "stopped"
                              : "failed";
}

static bool
row_is_same(const CatalogRow *row, const CatalogRow *other)
{
    return other != NULL && row->route == other->route && row->version == other->version &&
           row->paused == other->paused && row->stopped == other->stopped &&
           strcmp(row->reason, other->reason) == 0;
}

static void
catalog_log(const CatalogRow *row)
{
    if (row->route == NULL && row->stopped && !row->paused) {
        log_error(&scope, EVENT_ROUTE_STOPPED,
                  LOG_FIELDS(log_str("route", str_c(row->name)), log_i64("version", row->version)),
                  "%s", row->reason);
    } else if (row->route == NULL && !row->paused) {
        log_error(&scope, EVENT_ROUTE_FAILED,
                  LOG_FIELDS(log_str("route", str_c(row->name)), log_i64("version", row->version)),
                  "%s; other routes go on, and this one is tried again", row->reason);
    } else {
        log_info(&scope,
                 LOG_FIELDS(log_str("route", str_c(row->name)), log_i64("version", row->version)),
                 "%s", row_state(row));
    }
}

static void
catalog_on_reported(void *arg, const PgReply *reply)
{
    RouteCatalog *catalog = arg;

    if (!reply->ok) {
        catalog->version = -1; /* read and report it all again */
        catalog->unreported = true;
        log_debug(&scope, LOG_FIELDS(), "the states of routes could not be stored: %s",
                  reply->err.text);
    }
    catalog_wait(catalog);
}

static bool
report_append(const CatalogRow *row, bool is_first, Buf arrays[4], Error *err)
{
    char version[24];

    (void)snprintf(version, sizeof(version), "%" PRId64, row->version);
    return pg_array_append(&arrays[0], str_c(row->name), is_first, err) &&
           pg_array_append(&arrays[1], str_c(version), is_first, err) &&
           pg_array_append(&arrays[2], str_c(row_state(row)), is_first, err) &&
           pg_array_append(&arrays[3], str_c(row->reason), is_first, err);
}

static void
catalog_report(RouteCatalog *catalog)
{
    const char *params[5] = {catalog->config.instance};
    Buf arrays[4];
    Error err;
    bool is_first = true;
    bool ok = true;

    for (size_t i = 0; i < DS_COUNT(arrays); i++) {
        buf_init(&arrays[i], ARRAY_BYTES_MAX);
        ok = ok && buf_append_char(&arrays[i], '{', &err);
    }
    for (size_t i = 0; ok && i < catalog->row_count; i++) {
        const CatalogRow *row = &catalog->rows[i];

        /* Said once, when it was stopped: somebody may have ended that meanwhile. */
        if (row->paused || !row->stopped) {
            ok = report_append(row, is_first, arrays, &err);
            is_first = false;
        }
    }
    for (size_t i = 0; i < DS_COUNT(arrays); i++) {
        ok = ok && buf_append_char(&arrays[i], '}', &err);
    }
    DS_ASSERT(ok); /* ROUTES_MAX of them, each bounded */
    for (size_t i = 0; i < DS_COUNT(arrays); i++) {
        params[i + 1] = buf_cstr(&arrays[i]);
    }
    catalog_ask(catalog, sql_route_report, params, DS_COUNT(params), catalog_on_reported);
    for (size_t i = 0; i < DS_COUNT(arrays); i++) {
        buf_done(&arrays[i]);
    }
}

/* --- routes that writers hold --- */

/* For people: may be cut. */
static void
reason_set(char reason[REASON_BYTES], Str text)
{
    size_t length = DS_MIN(text.len, (size_t)REASON_BYTES - 1);

    memcpy(reason, text.ptr, length);
    reason[length] = '\0';
    while (!str_is_utf8(str_c(reason))) {
        reason[--length] = '\0'; /* cut inside a character */
    }
}

static void
row_fail(CatalogRow *row, const Error *err)
{
    reason_set(row->reason, str_c(err->text));
}

/* It is not written any more; now it ends.  False: it is not held. */
static bool
row_take_hold(CatalogRow *row)
{
    Error why;

    if (row->route == NULL || row->route->hold.kind == ROUTE_HOLD_NONE) {
        return false;
    }
    why = row->route->hold.why;
    if (why.sqlstate[0] != '\0') {
        (void)error_wrap(&why, "%s", why.sqlstate);
    }
    row_fail(row, &why);
    row->stopped = row->route->hold.kind == ROUTE_HOLD_STOP;
    row->stop_told = false;
    route_unref(row->route);
    row->route = NULL;
    catalog_log(row);
    return true;
}

/* Whether some row was held. */
static bool
catalog_take_holds(RouteCatalog *catalog)
{
    bool taken = false;

    for (size_t i = 0; i < catalog->row_count; i++) {
        taken = row_take_hold(&catalog->rows[i]) || taken;
    }
    if (taken) {
        catalog->recheck_ms = loop_now_ms(catalog->loop) + RECHECK_MS;
        catalog->unreported = true;
    }
    if (row_take_hold(&catalog->built_in)) {
        catalog->built_in_ms = loop_now_ms(catalog->loop) + RECHECK_MS;
        taken = true;
    }
    return taken;
}

static CatalogRow *
catalog_untold_stop(RouteCatalog *catalog)
{
    if (catalog->built_in.stopped && !catalog->built_in.stop_told) {
        return &catalog->built_in;
    }
    for (size_t i = 0; i < catalog->row_count; i++) {
        if (catalog->rows[i].stopped && !catalog->rows[i].stop_told) {
            return &catalog->rows[i];
        }
    }
    return NULL;
}

static void
catalog_on_stop_told(void *arg, const PgReply *reply)
{
    RouteCatalog *catalog = arg;

    if (reply->ok) {
        catalog_untold_stop(catalog)->stop_told = true; /* the one that was asked for */
    }
    catalog_wait(catalog);
}

/* False: Postgres knows of all. */
static bool
catalog_tell_stop(RouteCatalog *catalog)
{
    const CatalogRow *row = catalog_untold_stop(catalog);
    char version[24];

    if (row == NULL) {
        return false;
    }
    (void)snprintf(version, sizeof(version), "%" PRId64, row->version);
    const char *params[] = {row->name, version, row->reason, catalog->config.instance};
    catalog_ask(catalog, sql_route_stop, params, DS_COUNT(params), catalog_on_stop_told);
    return true;
}

static void
built_in_run(RouteCatalog *catalog)
{
    CatalogRow *row = &catalog->built_in;

    row->route = route_ref(catalog->config.built_in);
    route_hold_release(&row->route->hold);
    row->stopped = false;
    row->reason[0] = '\0';
}

/* What Postgres says of it is coming with the rows, as the one without a spec.  Whether that
 * changes anything. */
static bool
catalog_take_built_in(RouteCatalog *catalog)
{
    CatalogRow *row = &catalog->built_in;
    bool ran = row->route != NULL;

    if (row->name == NULL) {
        return false;
    }
    if (catalog->built_in_stopped) {
        bool news = !row->stopped;

        memcpy(row->reason, catalog->built_in_why, sizeof(row->reason));
        row->stopped = true;
        row->stop_told = true;
        route_unref(row->route);
        row->route = NULL;
        if (news) {
            catalog_log(row);
        }
    } else if (!ran && (!row->stopped || row->stop_told)) {
        built_in_run(catalog);
    }
    return ran != (row->route != NULL);
}

/* All that is to be known of the rows is known. */
static void
catalog_complete(RouteCatalog *catalog)
{
    bool changed = catalog->coming_count != catalog->row_count;
    bool failed = false;

    changed = catalog_take_built_in(catalog) || changed || !catalog->told;
    for (size_t i = 0; i < catalog->coming_count; i++) {
        const CatalogRow *row = &catalog->coming[i];

        if (!row_is_same(row, row_find(catalog->rows, catalog->row_count, row->name))) {
            changed = true;
            catalog_log(row);
        }
        failed = failed || strcmp(row_state(row), "failed") == 0;
    }
    rows_free(catalog->rows, catalog->row_count);
    catalog->rows = catalog->coming;
    catalog->row_count = catalog->coming_count;
    catalog->coming = NULL;
    catalog->coming_count = 0;
    catalog->version = catalog->asked;
    catalog->recheck_ms = failed ? loop_now_ms(catalog->loop) + RECHECK_MS : 0;
    if (changed) {
        catalog_tell(catalog);
    }
    if (changed || catalog->unreported) {
        catalog->unreported = false;
        catalog_report(catalog);
    } else {
        catalog_wait(catalog);
    }
}

/* --- one row --- */

static void
row_take_table(RouteCatalog *catalog, CatalogRow *row, const PgReply *reply)
{
    size_t count = (size_t)reply->rows;
    SinkTableColumn *columns = mem_array(DS_MAX(count, (size_t)1), sizeof(*columns));
    SinkTable table = {.columns = columns, .count = count};
    Sink *sink;
    Error err;

    for (size_t i = 0; i < count; i++) {
        columns[i] = (SinkTableColumn){
            /* libpq ends them with a NUL byte */
            .name = pg_get(reply, (int)i, 0).ptr,
            .type = pg_get(reply, (int)i, 1).ptr,
            .not_null = str_eq(pg_get(reply, (int)i, 2), STR("t")),
            .has_default = str_eq(pg_get(reply, (int)i, 3), STR("t")),
            .generated = str_eq(pg_get(reply, (int)i, 4), STR("t")),
        };
    }
    if (sink_new(&row->spec, &table, &sink, &err)) {
        const Server *server = servers_find(catalog->config.servers, str_c(row->spec.server));

        row->route = route_new(&row->spec, sink, server, row->version);
        row->route->applied_ms = row->applied_ms;
    } else {
        row_fail(row, &err);
    }
    free(columns);
}

static void
catalog_on_table(void *arg, const PgReply *reply)
{
    RouteCatalog *catalog = arg;

    if (!reply->ok) {
        catalog_wait(catalog);
        return;
    }
    row_take_table(catalog, &catalog->coming[catalog->at], reply);
    catalog->at++;
    catalog_next_table(catalog);
}

static bool
server_suits(const Servers *servers, const RouteSpec *spec, Error *err)
{
    const Server *server = servers_find(servers, str_c(spec->server));

    if (server == NULL) {
        return error_set(err, ERR_CONFIG,
                         "the server \"%s\" is none of this instance's: see SYNCD_SERVERS",
                         spec->server);
    }
    /* Deleting needs none, but relies on eras and If-Match, which other servers may not have. */
    if (spec->after_sync != ROUTE_AFTER_KEEP && server->admin_url == NULL) {
        return error_set(err, ERR_CONFIG,
                         "to trim or delete streams the admin listener of server \"%s\" is "
                         "needed, which shows that it is a ds-server: see SYNCD_ADMIN_URLS",
                         spec->server);
    }
    return true;
}

/* Its spec stays if its table has to be looked up; else all is known of it. */
static void
row_begin(RouteCatalog *catalog, CatalogRow *row, Str spec)
{
    const CatalogRow *known = row_find(catalog->rows, catalog->row_count, row->name);
    Error err;

    if (row->paused || row->stopped) {
        return;
    }
    if (known != NULL && known->version == row->version && known->stopped && !known->stop_told) {
        row->stopped = true;
        memcpy(row->reason, known->reason, sizeof(row->reason));
        return;
    }
    if (known != NULL && known->route != NULL && known->version == row->version) {
        row->route = route_ref(known->route);
        return;
    }
    if (!route_spec_parse(&row->spec, spec, &err)) {
        row->spec = (RouteSpec){0};
        row_fail(row, &err);
        return;
    }
    if (!server_suits(catalog->config.servers, &row->spec, &err)) {
        row_fail(row, &err);
        route_spec_done(&row->spec);
    }
}

/* --- reading --- */

static void
catalog_next_table(RouteCatalog *catalog)
{
    while (catalog->at < catalog->coming_count) {
        const RouteSpec *spec = &catalog->coming[catalog->at].spec;

        if (spec->table != NULL) {
            const char *params[] = {spec->schema, spec->table};

            catalog_ask(catalog, sql_table_columns, params, DS_COUNT(params), catalog_on_table);
            return;
        }
        catalog->at++;
    }
    catalog_complete(catalog);
}

static int64_t
applied_ms(const RouteCatalog *catalog, const PgReply *reply, int row)
{
    PeerClock clock = {.asked_ms = catalog->asked_ms, .answered_ms = clock_wall_ms()};
    int64_t time_ms;

    if (!parse_i64(pg_get(reply, row, 5), &time_ms) ||
        !parse_i64(pg_get(reply, row, 6), &clock.peer_ms)) {
        return 0; /* they are bigints: cannot be */
    }
    return peer_clock_ours(&clock, time_ms);
}

/* An instance stopped it, perhaps this one. */
static void
row_take_stop(CatalogRow *row, const PgReply *reply, int number)
{
    if (!pg_is_null(reply, number, 4)) {
        reason_set(row->reason, pg_get(reply, number, 4));
        row->stopped = true;
        row->stop_told = true;
    }
}

static void
catalog_on_routes(void *arg, const PgReply *reply)
{
    RouteCatalog *catalog = arg;
    size_t count = reply->ok ? (size_t)reply->rows : 0;

    if (!reply->ok) {
        catalog_wait(catalog);
        return;
    }
    if (count > ROUTES_MAX) {
        log_error(&scope, EVENT_ROUTE_FAILED, LOG_FIELDS(),
                  "ds_sync.route holds %zu routes; only the first %d, by name, run", count,
                  ROUTES_MAX);
        count = ROUTES_MAX;
    }
    catalog->coming = mem_array(DS_MAX(count, (size_t)1), sizeof(CatalogRow));
    catalog->coming_count = 0;
    catalog->built_in_stopped = false;
    for (size_t i = 0; i < count; i++) {
        CatalogRow *row = &catalog->coming[catalog->coming_count];

        if (str_eq(pg_get(reply, (int)i, 0), STR(ROUTE_DEFAULT_NAME))) {
            catalog->built_in_stopped = true;
            reason_set(catalog->built_in_why, pg_get(reply, (int)i, 4));
            continue;
        }
        catalog->coming_count++;
        row->name = str_dup(pg_get(reply, (int)i, 0));
        if (!parse_i64(pg_get(reply, (int)i, 1), &row->version)) {
            row->version = 0; /* it is a bigint: cannot be */
        }
        row->applied_ms = applied_ms(catalog, reply, (int)i);
        row->paused = str_eq(pg_get(reply, (int)i, 2), STR("t"));
        row_take_stop(row, reply, (int)i);
        row_begin(catalog, row, pg_get(reply, (int)i, 3));
    }
    catalog->at = 0;
    catalog_next_table(catalog);
}

static void
catalog_on_version(void *arg, const PgReply *reply)
{
    RouteCatalog *catalog = arg;
    int64_t now_ms = loop_now_ms(catalog->loop);
    bool recheck = catalog->recheck_ms > 0 && now_ms >= catalog->recheck_ms;

    if (!reply->ok || reply->rows != 1 || !parse_i64(pg_get(reply, 0, 0), &catalog->asked)) {
        if (!reply->ok) {
            log_debug(&scope, LOG_FIELDS(), "routes cannot be read: %s", reply->err.text);
        }
        catalog_wait(catalog);
        return;
    }
    if (catalog->config.on_version != NULL) {
        catalog->config.on_version(catalog->arg, catalog->asked);
    }
    if (catalog->asked == catalog->version && !recheck) {
        catalog_wait(catalog);
    } else {
        /* The rows may be newer than the version; then they are read once more. */
        catalog->asked_ms = clock_wall_ms();
        catalog_ask(catalog, sql_routes_read, NULL, 0, catalog_on_routes);
    }
}

static void
catalog_on_timer(void *arg)
{
    RouteCatalog *catalog = arg;
    bool changed = catalog_take_holds(catalog);

    if (catalog->built_in.name != NULL && catalog->built_in.route == NULL && catalog->told &&
        !catalog->built_in.stopped && loop_now_ms(catalog->loop) >= catalog->built_in_ms) {
        built_in_run(catalog);
        changed = true;
    }
    if (changed) {
        catalog_tell(catalog);
    }
    if (catalog_tell_stop(catalog)) {
        return;
    }
    if (catalog->unreported && catalog->told) {
        catalog->unreported = false;
        catalog_report(catalog);
        return;
    }
    catalog_ask(catalog, sql_control_version, NULL, 0, catalog_on_version);
}

/* --- life --- */

RouteCatalog *
route_catalog_new(Loop *loop, const RouteCatalogConfig *config, RoutesFn fn, void *arg)
{
    RouteCatalog *catalog = mem_zalloc(sizeof(*catalog));

    catalog->loop = loop;
    catalog->config = *config;
    if (config->built_in != NULL) {
        (void)route_ref(config->built_in);
        catalog->built_in.name = mem_strdup(ROUTE_DEFAULT_NAME);
    }
    catalog->fn = fn;
    catalog->arg = arg;
    catalog->version = -1;
    catalog->timer = timer_new(loop, catalog_on_timer, catalog);
    return catalog;
}

void
route_catalog_free(RouteCatalog *catalog)
{
    if (catalog == NULL) {
        return;
    }
    control_link_forget(catalog->config.link, catalog);
    catalog_drop_coming(catalog);
    rows_free(catalog->rows, catalog->row_count);
    free(catalog->built_in.name);
    route_unref(catalog->built_in.route);
    route_unref(catalog->config.built_in);
    timer_free(catalog->timer);
    free(catalog);
}

void
route_catalog_start(RouteCatalog *catalog)
{
    catalog_on_timer(catalog);
}

size_t
route_catalog_count(const RouteCatalog *catalog)
{
    return catalog->told ? catalog->row_count + (catalog->built_in.name != NULL) : 0;
}

RouteView
route_catalog_view(const RouteCatalog *catalog, size_t number)
{
    const CatalogRow *row =
        number < catalog->row_count ? &catalog->rows[number] : &catalog->built_in;

    return (RouteView){.name = row->name,
                       .state = row_state(row),
                       .reason = row->reason,
                       .is_down = row->route == NULL && !row->paused};
}
