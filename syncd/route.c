/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/route.h"

#include <stdlib.h>

#include "common/mem.h"

Route *
route_new(RouteSpec *spec, Sink *sink, const Server *server, int64_t version)
{
    Route *route = mem_zalloc(sizeof(*route));

    route->references = 1;
    route->version = version;
    route->spec = *spec;
    route->sink = sink;
    route->server = server;
    *spec = (RouteSpec){0};
    return route;
}

Route *
route_new_default(char *const *streams, size_t count, const Server *server,
                  RouteOnRecreate on_recreate)
{
    RouteSpec spec = {
        .name = mem_strdup(ROUTE_DEFAULT_NAME),
        .server = mem_strdup(server->name),
        .schema = mem_strdup("ds_sync"),
        .table = mem_strdup("session_events"),
        .name_prefix = mem_strdup(""),
        .payload_column = mem_strdup("payload"),
        .streams = mem_array(DS_MAX(count, (size_t)1), sizeof(char *)),
        .stream_count = count,
        .on_recreate = on_recreate,
    };

    for (size_t i = 0; i < count; i++) {
        spec.streams[i] = mem_strdup(streams[i]);
    }
    return route_new(&spec, sink_ref(sink_default_events()), server, 0);
}

Route *
route_ref(Route *route)
{
    route->references++;
    return route;
}

void
route_unref(Route *route)
{
    if (route != NULL && --route->references == 0) {
        route_spec_done(&route->spec);
        sink_unref(route->sink);
        free(route);
    }
}

static bool
is_pattern(Str text)
{
    size_t at;

    return str_find(text, '*', &at);
}

bool
route_names(const Route *route, Str name)
{
    for (size_t i = 0; i < route->spec.stream_count; i++) {
        if (str_eq(name, str_c(route->spec.streams[i]))) {
            return !is_pattern(name);
        }
    }
    return false;
}

static void
add_streams(const Route *route, bool patterns, const char ***out, size_t *count)
{
    for (size_t i = 0; i < route->spec.stream_count; i++) {
        const char *text = route->spec.streams[i];

        if (is_pattern(str_c(text)) == patterns) {
            *out = mem_regrow(*out, *count + 1, sizeof(**out));
            (*out)[(*count)++] = text;
        }
    }
}

void
route_add_patterns(const Route *route, const char ***patterns, size_t *count)
{
    add_streams(route, true, patterns, count);
}

void
route_add_names(const Route *route, const char ***names, size_t *count)
{
    add_streams(route, false, names, count);
}
