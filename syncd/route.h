/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/route.h -- a route as this instance runs it: what was declared, where its streams are, and
 * what its rows look like.
 *
 * Counted, and immutable but for its hold: the catalogue holds one reference, each plan made of it
 * another, so that a session goes on with what it began with until it is told otherwise.  One
 * thread.
 */
#pragma once

#include "common/route_spec.h"
#include "syncd/route_hold.h"
#include "syncd/servers.h"
#include "syncd/sink.h"

typedef struct Route {
    unsigned references;
    int64_t version;    /* of its row in ds_sync.route; 0: built in */
    int64_t applied_ms; /* since when it has these streams, by our clock (wall); 0: always */
    RouteSpec spec;
    Sink *sink;
    const Server *server;
    RouteHold hold;
} Route;

/* Steals the spec, leaving a zeroed one, and the reference to the sink. */
Route *route_new(RouteSpec *spec, Sink *sink, const Server *server, int64_t version);
/* That of SYNCD_STREAMS: exact names and patterns, into the default tables. */
Route *route_new_default(char *const *streams, size_t count, const Server *server,
                         RouteOnRecreate on_recreate);
Route *route_ref(Route *route);
void route_unref(Route *route); /* accepts NULL */

/* Whether it names the stream itself: then it belongs to it whether it exists or not. */
bool route_names(const Route *route, Str name);
/* Appends its patterns to an array that grows; borrowed from the route. */
void route_add_patterns(const Route *route, const char ***patterns, size_t *count);
/* Likewise those that it names itself. */
void route_add_names(const Route *route, const char ***names, size_t *count);
