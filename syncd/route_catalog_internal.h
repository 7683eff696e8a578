/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/route_catalog_internal.h -- what the files of the catalog share: its rows (_row), reading
 * them (_read), telling Postgres what became of them (_report), and when all that happens
 * (route_catalog.c).
 */
#pragma once

#include "syncd/route_catalog.h"

#define REASON_BYTES 512

#define RECHECK_MS 10000 /* between two tries of a route that cannot run */

/* What the log knows of a route that its table refuses again and again: the first time, and now and
 * then, and once that it is well. */
typedef struct CatalogLog {
    bool is_down;    /* it said so, and nothing else since */
    int64_t next_ms; /* not said again before */
    int64_t wait_ms; /* until the time after that */
    int64_t up_ms;   /* since when it runs again */
} CatalogLog;

/* A row of ds_sync.route, and what was made of it. */
typedef struct CatalogRow {
    char *name;
    int64_t version;
    int64_t applied_ms;
    bool paused;
    bool stopped;   /* by an instance: until somebody acts */
    bool stop_told; /* Postgres knows */
    bool resumed;   /* it was stopped, and somebody says that it shall go on */
    bool doubted;   /* a writer was told of a column that nobody fills */
    RouteSpec spec; /* until it became the route's */
    Route *route;   /* NULL: paused, stopped or failed */
    char reason[REASON_BYTES];
    CatalogLog log;
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
    CatalogRow built_in;   /* its route is the configuration's while it runs; no name: none */
    int64_t built_in_ms;   /* held: tried again then */
    bool built_in_stopped; /* as just read */
    bool built_in_written; /* likewise: its tables hold rows, or did */
    char built_in_why[REASON_BYTES];
    bool built_in_untold; /* whether it fails has changed, and Postgres does not know */
    bool told;            /* the routes, at least once */
    bool unreported;      /* what runs is not in ds_sync.route_instance yet */
    size_t reported;      /* routes, the last time */
    bool refused;         /* what was told last; routes are read before it is told again */
    CatalogRow *rows;
    size_t row_count;
    CatalogRow *coming;
    size_t coming_count;
    size_t at; /* in coming: whose table is looked up */
};

/* --- rows (route_catalog_row.c) --- */

void catalog_rows_free(CatalogRow *rows, size_t count);
const CatalogRow *catalog_row_find(const CatalogRow *rows, size_t count, const char *name);
const char *catalog_row_state(const CatalogRow *row);
bool catalog_row_is_same(const CatalogRow *row, const CatalogRow *other); /* other may be NULL */
void catalog_row_log(const CatalogRow *row);
/* For people: may be cut. */
void catalog_reason_set(char reason[REASON_BYTES], Str text);
void catalog_row_fail(CatalogRow *row, const Error *err);
/* It is not written any more; now it ends.  False: it is not held. */
bool catalog_row_take_hold(CatalogRow *row, int64_t now_ms);
void catalog_row_log_up(CatalogRow *row, int64_t now_ms); /* it runs; said once it is well */
/* True: it is well, which is said now. */
bool catalog_row_is_well(CatalogRow *row, int64_t now_ms);

/* --- one thing at a time is asked of Postgres; whoever has no more to ask waits --- */

void catalog_ask(RouteCatalog *catalog, const char *sql, const char *const *params, size_t count,
                 PgReplyFn fn);
void catalog_wait(RouteCatalog *catalog); /* later, from the beginning */

void catalog_read(RouteCatalog *catalog);      /* the rows, and then catalog_complete */
void catalog_complete(RouteCatalog *catalog);  /* all that is to be known of the rows is known */
void catalog_report(RouteCatalog *catalog);    /* what runs */
bool catalog_tell_stop(RouteCatalog *catalog); /* false: Postgres knows of all */
void catalog_tell_built_in(RouteCatalog *catalog); /* whether it fails */
