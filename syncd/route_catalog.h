/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/route_catalog.h -- the routes that are to run: those in ds_sync.route, and the built-in
 * one.
 *
 * Looks at ds_sync.control each second; when the version moved, routes that changed are parsed and
 * their tables looked up.  A route that cannot run, because its spec, its server or its table is
 * not good, is reported in the log and in ds_sync.route_instance and tried again every 10 s; it
 * stops no other.  So is one that a writer holds (syncd/route_hold.h), unless it is to be stopped:
 * then Postgres is told, and no instance runs it before somebody acts.  While Postgres is out of
 * reach, routes stay what they were.
 */
#pragma once

#include "syncd/control_link.h"
#include "syncd/route.h"

typedef struct RouteCatalog RouteCatalog;

typedef struct RouteCatalogConfig {
    ControlLink *link; /* borrowed, as all here */
    const Servers *servers;
    const char *instance;
    Route *built_in; /* of SYNCD_STREAMS, or NULL; a reference is taken */
    /* The version of ds_sync.control, each time it was read; may be NULL. */
    void (*on_version)(void *arg, int64_t version);
} RouteCatalogConfig;

/* The routes that are to run from now on; borrowed until it returns. */
typedef void (*RoutesFn)(void *arg, Route *const *routes, size_t count);

RouteCatalog *route_catalog_new(Loop *loop, const RouteCatalogConfig *config, RoutesFn fn,
                                void *arg);
void route_catalog_free(RouteCatalog *catalog); /* accepts NULL; before the link */
/* What became of a route here; borrowed until the loop turns. */
typedef struct RouteView {
    const char *name;
    const char *state;  /* running, paused, stopped or failed */
    const char *reason; /* of stopped and failed, else empty */
    bool is_down;       /* stopped or failed */
    bool is_paused;
} RouteView;

/* Routes, the built-in one among them; none before Postgres told them. */
size_t route_catalog_count(const RouteCatalog *catalog);
RouteView route_catalog_view(const RouteCatalog *catalog, size_t number);

/* The schema is there.  fn comes when the routes were read, then whenever they change. */
void route_catalog_start(RouteCatalog *catalog);
