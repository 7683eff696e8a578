/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/discovery.h"

#include <stdlib.h>

#include "common/mem.h"
#include "syncd/again.h"

struct Discovery {
    Supervisor *supervisor;
    RouteCatalog *catalog;
    Directory *directory;
    Again *again;
    bool begun;
};

static void
discovery_on_routes(void *arg, Route *const *routes, size_t count)
{
    Discovery *discovery = arg;

    directory_set_routes(discovery->directory, routes, count);
    if (!discovery->begun) {
        discovery->begun = true;
        supervisor_start(discovery->supervisor);
    }
}

static void
discovery_on_want(void *arg, const StreamKey *key, const StreamPlan *plan)
{
    Discovery *discovery = arg;

    supervisor_want(discovery->supervisor, key, plan);
}

static void
discovery_on_unwant(void *arg, const StreamKey *key)
{
    Discovery *discovery = arg;

    supervisor_unwant(discovery->supervisor, key);
}

static void
discovery_on_version(void *arg, int64_t version)
{
    Discovery *discovery = arg;

    again_told(discovery->again, version);
}

static void
discovery_on_again(void *arg, const StreamKey *key)
{
    Discovery *discovery = arg;

    supervisor_begin_again(discovery->supervisor, key);
}

Discovery *
discovery_new(Loop *loop, const SyncdConfig *config, Supervisor *supervisor)
{
    static const DirectoryModelCallbacks callbacks = {.want = discovery_on_want,
                                                      .unwant = discovery_on_unwant};
    Discovery *discovery = mem_zalloc(sizeof(*discovery));
    Servers *servers = supervisor_servers(supervisor);
    Route *built_in =
        route_new_default(config->streams, config->stream_count, servers_at(servers, 0),
                          (RouteOnRecreate)config->on_recreate);

    discovery->supervisor = supervisor;
    discovery->directory = directory_new(loop,
                                         &(DirectoryConfig){
                                             .servers = servers,
                                             .streams_max = config->limits.directory_streams,
                                             .idle_ms_max = config->timeouts.idle_ms,
                                             .backoff_base_ms = config->timeouts.backoff_base_ms,
                                             .backoff_max_ms = config->timeouts.backoff_max_ms,
                                         },
                                         &callbacks, discovery);
    discovery->again =
        again_new(supervisor_control_link(supervisor), discovery_on_again, discovery);
    discovery->catalog = route_catalog_new(loop,
                                           &(RouteCatalogConfig){
                                               .link = supervisor_control_link(supervisor),
                                               .servers = servers,
                                               .instance = config->instance,
                                               .built_in = built_in,
                                               .on_version = discovery_on_version,
                                           },
                                           discovery_on_routes, discovery);
    route_unref(built_in);
    return discovery;
}

void
discovery_free(Discovery *discovery)
{
    if (discovery == NULL) {
        return;
    }
    route_catalog_free(discovery->catalog);
    again_free(discovery->again);
    directory_free(discovery->directory);
    free(discovery);
}

void
discovery_start(Discovery *discovery)
{
    route_catalog_start(discovery->catalog);
}

/* Their streams are in nobody's hands then, so no session tells. */
static bool
routes_are_down(const RouteCatalog *catalog)
{
    size_t down = 0;
    size_t paused = 0;

    for (size_t i = 0; i < route_catalog_count(catalog); i++) {
        RouteView view = route_catalog_view(catalog, i);

        down += view.is_down;
        paused += view.is_paused;
    }
    return down > 0 && down + paused == route_catalog_count(catalog);
}

bool
discovery_is_ready(const Discovery *discovery, const Supervisor *supervisor, const char **out_why)
{
    if (!supervisor_is_ready(supervisor, out_why)) {
        return false;
    }
    if (discovery != NULL && routes_are_down(discovery->catalog)) {
        *out_why = "every route is stopped or failed";
        return false;
    }
    return true;
}

const Directory *
discovery_directory(const Discovery *discovery)
{
    return discovery->directory;
}

const RouteCatalog *
discovery_catalog(const Discovery *discovery)
{
    return discovery->catalog;
}
