/* SPDX-License-Identifier: Apache-2.0 */
/* A row of the catalog: a route as it is declared, and what became of it here. */
#include "syncd/route_catalog_internal.h"

#include <stdlib.h>

#include "common/log.h"

#define LOG_MS_MIN 60000   /* a route that is refused still is said again after so long, */
#define LOG_MS_MAX 3600000 /* then twice as long, up to this */

static const LogScope scope = {.name = "syncd.routes"};

void
catalog_rows_free(CatalogRow *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(rows[i].name);
        route_spec_done(&rows[i].spec);
        route_unref(rows[i].route);
    }
    free(rows);
}

const CatalogRow *
catalog_row_find(const CatalogRow *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

const char *
catalog_row_state(const CatalogRow *row)
{
    return row->route != NULL ? "running"
           : row->paused      ? "paused"
           : row->stopped     ? "stopped"
                              : "failed";
}

bool
catalog_row_is_same(const CatalogRow *row, const CatalogRow *other)
{
    return other != NULL && row->route == other->route && row->version == other->version &&
           row->paused == other->paused && row->stopped == other->stopped &&
           strcmp(row->reason, other->reason) == 0;
}

void
catalog_row_log(const CatalogRow *row)
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
                 "%s", catalog_row_state(row));
    }
}

void
catalog_reason_set(char reason[REASON_BYTES], Str text)
{
    size_t length = DS_MIN(text.len, (size_t)REASON_BYTES - 1);

    memcpy(reason, text.ptr, length);
    reason[length] = '\0';
    while (!str_is_utf8(str_c(reason))) {
        reason[--length] = '\0'; /* cut inside a character */
    }
}

void
catalog_row_fail(CatalogRow *row, const Error *err)
{
    catalog_reason_set(row->reason, str_c(err->text));
}

/* A table that refuses it is tried again every few seconds, for hours perhaps. */
static void
log_down(CatalogRow *row, int64_t now_ms)
{
    CatalogLog *log = &row->log;

    log->up_ms = 0;
    if (log->is_down && now_ms < log->next_ms) {
        return;
    }
    log->wait_ms = log->is_down ? DS_MIN(log->wait_ms * 2, (int64_t)LOG_MS_MAX) : LOG_MS_MIN;
    log->next_ms = now_ms + log->wait_ms;
    log->is_down = true;
    catalog_row_log(row);
}

void
catalog_row_log_up(CatalogRow *row, int64_t now_ms)
{
    if (row->log.is_down) {
        row->log.up_ms = now_ms;
    } else {
        catalog_row_log(row);
    }
}

bool
catalog_row_is_well(CatalogRow *row, int64_t now_ms)
{
    if (!row->log.is_down || row->route == NULL || row->route->hold.kind != ROUTE_HOLD_NONE ||
        now_ms < row->log.up_ms + RECHECK_MS) {
        return false;
    }
    row->log = (CatalogLog){0};
    catalog_row_log(row);
    return true;
}

bool
catalog_row_take_hold(CatalogRow *row, int64_t now_ms)
{
    Error why;

    if (row->route == NULL || row->route->hold.kind == ROUTE_HOLD_NONE) {
        return false;
    }
    why = row->route->hold.why;
    if (why.sqlstate[0] != '\0') {
        (void)error_wrap(&why, "%s", why.sqlstate);
    }
    catalog_row_fail(row, &why);
    row->stopped = row->route->hold.kind == ROUTE_HOLD_STOP;
    row->stop_told = false;
    row->doubted = strcmp(row->route->hold.why.sqlstate, "23502") == 0;
    route_unref(row->route);
    row->route = NULL;
    if (row->stopped) {
        row->log = (CatalogLog){0};
        catalog_row_log(row);
    } else {
        log_down(row, now_ms);
    }
    return true;
}
