/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/route_catalog_internal.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/parse.h"
#include "sql/queries.h"

#define POLL_MS 1000

static const LogScope scope = {.name = "syncd.routes"};

static void
catalog_drop_coming(RouteCatalog *catalog)
{
    catalog_rows_free(catalog->coming, catalog->coming_count);
    catalog->coming = NULL;
    catalog->coming_count = 0;
}

void
catalog_wait(RouteCatalog *catalog)
{
    catalog_drop_coming(catalog);
    timer_start(catalog->timer, POLL_MS);
}

void
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

/* --- routes that writers hold --- */

/* Whether some row was held. */
static bool
catalog_take_holds(RouteCatalog *catalog)
{
    int64_t now_ms = loop_now_ms(catalog->loop);
    bool taken = false;

    for (size_t i = 0; i < catalog->row_count; i++) {
        taken = catalog_row_take_hold(&catalog->rows[i], now_ms) || taken;
        (void)catalog_row_is_well(&catalog->rows[i], now_ms);
    }
    if (taken) {
        catalog->recheck_ms = now_ms + RECHECK_MS;
        catalog->unreported = true;
    }
    if (catalog_row_take_hold(&catalog->built_in, now_ms)) {
        catalog->built_in_ms = now_ms + RECHECK_MS;
        catalog->built_in_untold = !catalog->built_in.stopped;
        taken = true;
    } else if (catalog_row_is_well(&catalog->built_in, now_ms)) {
        catalog->built_in_untold = true;
    }
    return taken;
}

/* --- the built-in route --- */

static void
built_in_run(RouteCatalog *catalog)
{
    CatalogRow *row = &catalog->built_in;

    row->route = route_ref(catalog->config.built_in);
    route_hold_release(&row->route->hold);
    row->route->hold.begun = row->route->hold.begun || row->stopped || catalog->built_in_written;
    row->route->hold.table_seen = row->doubted;
    row->stopped = false;
    row->reason[0] = '\0';
    row->log.up_ms = loop_now_ms(catalog->loop);
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
            catalog_row_log(row);
        }
    } else if (!ran && (!row->stopped || row->stop_told)) {
        built_in_run(catalog);
    }
    return ran != (row->route != NULL);
}

/* --- reading --- */

void
catalog_complete(RouteCatalog *catalog)
{
    bool changed = catalog->coming_count != catalog->row_count;
    bool failed = false;

    changed = catalog_take_built_in(catalog) || changed || !catalog->told;
    for (size_t i = 0; i < catalog->coming_count; i++) {
        CatalogRow *row = &catalog->coming[i];
        const CatalogRow *known = catalog_row_find(catalog->rows, catalog->row_count, row->name);

        row->log = known != NULL ? known->log : (CatalogLog){0};
        if (!catalog_row_is_same(row, known)) {
            changed = true;
            if (row->route != NULL) {
                catalog_row_log_up(row, loop_now_ms(catalog->loop));
            } else {
                catalog_row_log(row);
            }
        }
        failed = failed || strcmp(catalog_row_state(row), "failed") == 0;
    }
    catalog_rows_free(catalog->rows, catalog->row_count);
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
    if (catalog->reported > 0 && str_eq(pg_get(reply, 0, 1), STR("t"))) {
        catalog->unreported = true;
    }
    if (catalog->config.on_version != NULL) {
        catalog->config.on_version(catalog->arg, catalog->asked);
    }
    if (catalog->asked == catalog->version && !recheck) {
        catalog_wait(catalog);
    } else {
        /* The rows may be newer than the version; then they are read once more. */
        catalog_read(catalog);
    }
}

/* False: there is nothing that Postgres does not know. */
static bool
catalog_tell_news(RouteCatalog *catalog)
{
    if (catalog_tell_stop(catalog)) {
        return true;
    }
    if (catalog->built_in_untold) {
        catalog_tell_built_in(catalog);
        return true;
    }
    if (catalog->unreported && catalog->told) {
        catalog->unreported = false;
        catalog_report(catalog);
        return true;
    }
    return false;
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
    if (!catalog->refused && catalog_tell_news(catalog)) {
        return;
    }
    catalog->refused = false;
    const char *params[] = {catalog->config.instance};
    catalog_ask(catalog, sql_control_version, params, DS_COUNT(params), catalog_on_version);
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
    catalog_rows_free(catalog->rows, catalog->row_count);
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
                       .state = catalog_row_state(row),
                       .reason = row->reason,
                       .is_down = row->route == NULL && !row->paused,
                       .is_paused = row->paused};
}
