/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the routes that are declared: parsed, their servers found, their tables looked up. */
#include "syncd/route_catalog_internal.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/parse.h"
#include "sql/queries.h"
#include "syncd/peer_clock.h"

static const LogScope scope = {.name = "syncd.routes"};

static void catalog_next_table(RouteCatalog *catalog);

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
        row->route->hold.begun = row->resumed || str_eq(pg_get(reply, 0, 5), STR("t"));
        row->route->hold.table_seen = row->doubted;
    } else {
        catalog_row_fail(row, &err);
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
    const CatalogRow *known = catalog_row_find(catalog->rows, catalog->row_count, row->name);
    Error err;

    if (row->paused || row->stopped) {
        return;
    }
    if (known != NULL && known->version == row->version) {
        row->resumed = known->stopped || known->resumed;
        row->doubted = known->doubted;
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
        catalog_row_fail(row, &err);
        return;
    }
    if (!server_suits(catalog->config.servers, &row->spec, &err)) {
        catalog_row_fail(row, &err);
        route_spec_done(&row->spec);
    }
}

/* --- all of them --- */

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
    /* Later than it was would leave out what came after it. */
    return peer_clock_earliest_ms(&clock, time_ms);
}

/* It always is among the rows. */
static void
built_in_read(RouteCatalog *catalog, const PgReply *reply, int number)
{
    catalog->built_in_stopped = !pg_is_null(reply, number, 4);
    catalog->built_in_written = str_eq(pg_get(reply, number, 7), STR("t"));
    if (catalog->built_in_stopped) {
        catalog_reason_set(catalog->built_in_why, pg_get(reply, number, 4));
    }
}

/* An instance stopped it, perhaps this one. */
static void
row_take_stop(CatalogRow *row, const PgReply *reply, int number)
{
    if (!pg_is_null(reply, number, 4)) {
        catalog_reason_set(row->reason, pg_get(reply, number, 4));
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
    if (count > ROUTES_MAX + 1) {
        log_error(&scope, EVENT_ROUTE_FAILED, LOG_FIELDS(),
                  "ds_sync.route holds %zu routes; only the first %d, by name, run", count - 1,
                  ROUTES_MAX);
    }
    catalog->coming = mem_array(DS_MAX(count, (size_t)1), sizeof(CatalogRow));
    catalog->coming_count = 0;
    for (size_t i = 0; i < count; i++) {
        CatalogRow *row = &catalog->coming[catalog->coming_count];

        if (str_eq(pg_get(reply, (int)i, 0), STR(ROUTE_DEFAULT_NAME))) {
            built_in_read(catalog, reply, (int)i);
            continue;
        }
        if (catalog->coming_count == ROUTES_MAX) {
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

void
catalog_read(RouteCatalog *catalog)
{
    catalog->asked_ms = clock_wall_ms();
    catalog_ask(catalog, sql_routes_read, NULL, 0, catalog_on_routes);
}
