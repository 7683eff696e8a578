/* SPDX-License-Identifier: Apache-2.0 */
/* Telling Postgres what became of routes here, and which are to be stopped everywhere. */
#include "syncd/route_catalog_internal.h"

#include <inttypes.h>

#include "common/log.h"
#include "sql/queries.h"

#define ARRAY_BYTES_MAX (1u << 20)

static const LogScope scope = {.name = "syncd.routes"};

/* --- what runs --- */

static void
catalog_on_reported(void *arg, const PgReply *reply)
{
    RouteCatalog *catalog = arg;

    catalog->refused = !reply->ok;
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
           pg_array_append(&arrays[2], str_c(catalog_row_state(row)), is_first, err) &&
           pg_array_append(&arrays[3], str_c(row->reason), is_first, err);
}

void
catalog_report(RouteCatalog *catalog)
{
    const char *params[5] = {catalog->config.instance};
    Buf arrays[4];
    Error err;
    bool ok = true;

    catalog->reported = 0;
    for (size_t i = 0; i < DS_COUNT(arrays); i++) {
        buf_init(&arrays[i], ARRAY_BYTES_MAX);
        ok = ok && buf_append_char(&arrays[i], '{', &err);
    }
    for (size_t i = 0; ok && i < catalog->row_count; i++) {
        const CatalogRow *row = &catalog->rows[i];

        /* Said once, when it was stopped: somebody may have ended that meanwhile. */
        if (row->paused || !row->stopped) {
            ok = report_append(row, catalog->reported == 0, arrays, &err);
            catalog->reported++;
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

/* --- the built-in route --- */

static void
catalog_on_built_in_told(void *arg, const PgReply *reply)
{
    RouteCatalog *catalog = arg;

    catalog->refused = !reply->ok;
    catalog->built_in_untold = catalog->built_in_untold || !reply->ok;
    catalog_wait(catalog);
}

/* It is none of ds_sync.route, so what became of it stands where stops do. */
void
catalog_tell_built_in(RouteCatalog *catalog)
{
    const CatalogRow *row = &catalog->built_in;
    const char *params[] = {catalog->config.instance, row->log.is_down ? "failed" : "running",
                            row->log.is_down ? row->reason : ""};

    catalog->built_in_untold = false;
    catalog_ask(catalog, sql_route_report_built_in, params, DS_COUNT(params),
                catalog_on_built_in_told);
}

/* --- what is stopped --- */

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

    catalog->refused = !reply->ok;
    if (reply->ok) {
        catalog_untold_stop(catalog)->stop_told = true; /* the one that was asked for */
    }
    catalog_wait(catalog);
}

bool
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
