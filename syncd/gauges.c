/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/gauges.h"

#include "common/clock.h"
#include "common/mem.h"

#define LABELS_BYTES_MAX 1024

typedef struct RouteGauges {
    char *name;
    Metric *streams;
    Metric *behind;
    Metric *dead;
    Metric *held;
    Metric *snapshots;
    Metric *snapshot_s;
    Metric *down;
    Metric *queue_bytes;
    /* while counting */
    int64_t streams_now;
    int64_t behind_now;
    int64_t dead_now;
    int64_t held_now;
    int64_t snapshots_now;
    int64_t snapshot_ms_now;
    int64_t down_now;
    int64_t queue_bytes_now;
} RouteGauges;

/* Of a server's streams. */
typedef struct DirectoryGauges {
    Metric *ok;
    Metric *streams;
    Metric *refused;
    Metric *looked;
} DirectoryGauges;

typedef struct PartitionGauge {
    Metric *streams; /* NULL: never held any */
    int64_t streams_now;
} PartitionGauge;

struct Gauges {
    Metrics *metrics;
    Metric *ready;
    Metric *instances;
    Metric *held;
    Metric *wanted;
    Metric *states[SESSION_STATE_COUNT]; /* states with the same word share one */
    RouteGauges *routes;
    size_t route_count;
    size_t route_last; /* where the one before was found */
    PartitionGauge *partitions;
    size_t partition_count;
    DirectoryGauges *directory; /* in the order of the servers; NULL: not asked yet */
};

Gauges *
gauges_new(Metrics *metrics)
{
    Gauges *gauges = mem_zalloc(sizeof(*gauges));
    char label[32];

    gauges->metrics = metrics;
    gauges->ready = metrics_gauge(metrics, "syncd_ready", NULL, "1 when /readyz says 200.");
    gauges->instances = metrics_gauge(metrics, "syncd_instances", NULL,
                                      "Living instances of syncd, as far as this one knows.");
    gauges->held = metrics_gauge(metrics, "syncd_partitions_held", NULL,
                                 "Work partitions that this instance has a lease on.");
    gauges->wanted = metrics_gauge(metrics, "syncd_streams_wanted", NULL,
                                   "Streams to be loaded, here or by other instances.");
    for (size_t i = 0; i < SESSION_STATE_COUNT; i++) {
        (void)snprintf(label, sizeof(label), "state=\"%s\"", session_state_word((SessionState)i));
        gauges->states[i] = metrics_gauge(metrics, "syncd_streams", label,
                                          "Streams of this instance by the state that /status "
                                          "shows.");
    }
    return gauges;
}

void
gauges_free(Gauges *gauges)
{
    if (gauges == NULL) {
        return;
    }
    for (size_t i = 0; i < gauges->route_count; i++) {
        free(gauges->routes[i].name);
    }
    free(gauges->routes);
    free(gauges->partitions);
    free(gauges->directory);
    free(gauges);
}

static RouteGauges *
route_add(Gauges *gauges, Str name)
{
    Metrics *metrics = gauges->metrics;
    Error err;
    Buf labels;

    gauges->routes = mem_regrow(gauges->routes, gauges->route_count + 1, sizeof(RouteGauges));
    RouteGauges *route = &gauges->routes[gauges->route_count++];
    buf_init(&labels, LABELS_BYTES_MAX);
    bool made = metrics_label_append(&labels, "route", name, &err);
    DS_ASSERT(made); /* the name of a route is short */
    *route = (RouteGauges){
        .name = str_dup(name),
        .streams = metrics_gauge(metrics, "syncd_route_streams", buf_cstr(&labels),
                                 "Streams of a route on this instance."),
        .behind = metrics_gauge(metrics, "syncd_route_streams_behind", buf_cstr(&labels),
                                "Of those, the ones that have something to load still, or do not "
                                "know it."),
        .dead = metrics_gauge(metrics, "syncd_route_streams_dead", buf_cstr(&labels),
                              "Of those, the ones that are stopped, failed or fenced."),
        .held = metrics_gauge(metrics, "syncd_route_streams_held", buf_cstr(&labels),
                              "Of those, the ones that after_sync does not let go of, since "
                              "another route is behind."),
        .snapshots = metrics_gauge(metrics, "syncd_route_snapshots_open", buf_cstr(&labels),
                                   "Of those, the ones with a snapshot of state that has begun and "
                                   "not ended: until then the table holds the set of before."),
        .snapshot_s = metrics_gauge(metrics, "syncd_route_snapshot_seconds", buf_cstr(&labels),
                                    "For how long this instance has known the oldest of these "
                                    "snapshots to be open; 0: none is."),
        .down = metrics_gauge(metrics, "syncd_route_down", buf_cstr(&labels),
                              "1 while the route as a whole is stopped or failed."),
        .queue_bytes = metrics_gauge(metrics, "syncd_route_queue_bytes", buf_cstr(&labels),
                                     "Read for a route and not yet committed."),
    };
    buf_done(&labels);
    return route;
}

static RouteGauges *
route_get(Gauges *gauges, Str name)
{
    for (size_t i = 0; i < gauges->route_count; i++) {
        size_t at = (gauges->route_last + i) % gauges->route_count;

        if (str_eq(name, str_c(gauges->routes[at].name))) {
            gauges->route_last = at;
            return &gauges->routes[at];
        }
    }
    return route_add(gauges, name);
}

static PartitionGauge *
partition_get(Gauges *gauges, unsigned number)
{
    char label[32];

    if (number >= gauges->partition_count) {
        gauges->partitions = mem_regrow(gauges->partitions, number + 1, sizeof(PartitionGauge));
        memset(&gauges->partitions[gauges->partition_count], 0,
               (number + 1 - gauges->partition_count) * sizeof(PartitionGauge));
        gauges->partition_count = number + 1;
    }
    PartitionGauge *partition = &gauges->partitions[number];
    if (partition->streams == NULL) {
        (void)snprintf(label, sizeof(label), "partition=\"%u\"", number);
        partition->streams = metrics_gauge(gauges->metrics, "syncd_partition_streams", label,
                                           "Streams of a work partition on this instance.");
    }
    return partition;
}

static void
session_count(Gauges *gauges, const SessionView *view)
{
    RouteGauges *route = route_get(gauges, view->route);

    route->streams_now++;
    route->dead_now += session_is_dead(view->state);
    route->held_now += view->held[0] != '\0';
    if (view->snapshot_wall_ms > 0) {
        int64_t open_ms = clock_wall_ms() - view->snapshot_wall_ms;

        route->snapshots_now++;
        route->snapshot_ms_now = DS_MAX(route->snapshot_ms_now, open_ms);
    }
    route->behind_now += !view->up_to_date && view->state != SESSION_CLOSED;
    route->queue_bytes_now += (int64_t)view->queue_bytes;
    partition_get(gauges, view->partition)->streams_now++;
}

static void
routes_count(Gauges *gauges, const RouteCatalog *catalog)
{
    for (size_t i = 0; i < route_catalog_count(catalog); i++) {
        RouteView view = route_catalog_view(catalog, i);

        route_get(gauges, str_c(view.name))->down_now = view.is_down;
    }
}

static void
sums_set(Gauges *gauges)
{
    for (size_t i = 0; i < gauges->route_count; i++) {
        RouteGauges *route = &gauges->routes[i];

        metric_set(route->streams, route->streams_now);
        metric_set(route->behind, route->behind_now);
        metric_set(route->dead, route->dead_now);
        metric_set(route->held, route->held_now);
        metric_set(route->snapshots, route->snapshots_now);
        metric_set(route->snapshot_s, route->snapshot_ms_now / 1000);
        metric_set(route->down, route->down_now);
        metric_set(route->queue_bytes, route->queue_bytes_now);
        route->streams_now = route->behind_now = route->dead_now = 0;
        route->held_now = route->down_now = route->queue_bytes_now = 0;
        route->snapshots_now = route->snapshot_ms_now = 0;
    }
    for (size_t i = 0; i < gauges->partition_count; i++) {
        PartitionGauge *partition = &gauges->partitions[i];

        if (partition->streams != NULL) {
            metric_set(partition->streams, partition->streams_now);
            partition->streams_now = 0;
        }
    }
}

static DirectoryGauges
directory_gauges(Metrics *metrics, const char *server)
{
    Error err;
    Buf labels;

    buf_init(&labels, LABELS_BYTES_MAX);
    bool made = metrics_label_append(&labels, "server", str_c(server), &err);
    DS_ASSERT(made); /* the name of a server is short */
    DirectoryGauges gauges = {
        .ok = metrics_gauge(metrics, "syncd_directory_ok", buf_cstr(&labels),
                            "1 unless the server cannot be asked which streams it has."),
        .streams = metrics_gauge(metrics, "syncd_directory_streams", buf_cstr(&labels),
                                 "Streams of the server that belong to routes."),
        .refused = metrics_gauge(metrics, "syncd_directory_streams_refused", buf_cstr(&labels),
                                 "Those for which there is no room: SYNCD_DIRECTORY_STREAMS_MAX."),
        .looked = metrics_gauge(metrics, "syncd_directory_looked_at_seconds", buf_cstr(&labels),
                                "When the server last said which streams it has, in seconds since "
                                "1970; 0: never, or there is nothing to ask."),
    };
    buf_done(&labels);
    return gauges;
}

static void
directory_count(Gauges *gauges, const Directory *directory)
{
    size_t count = directory_servers(directory);
    bool first = gauges->directory == NULL;

    if (first) {
        gauges->directory = mem_array(count, sizeof(*gauges->directory));
    }
    for (size_t i = 0; i < count; i++) {
        DirectoryView view = directory_view(directory, i);

        if (first) {
            gauges->directory[i] = directory_gauges(gauges->metrics, view.server);
        }
        metric_set(gauges->directory[i].ok, view.watch.reason[0] == '\0');
        metric_set(gauges->directory[i].streams, (int64_t)view.streams);
        metric_set(gauges->directory[i].refused, (int64_t)view.refused);
        metric_set(gauges->directory[i].looked, view.watch.looked_ms / 1000);
    }
}

void
gauges_count(Gauges *gauges, const Supervisor *supervisor, const Discovery *discovery)
{
    FleetView fleet = supervisor_fleet(supervisor);
    int64_t counts[SESSION_STATE_COUNT] = {0};
    const char *why;

    for (size_t i = 0; i < supervisor_count(supervisor); i++) {
        SessionView view = supervisor_view(supervisor, i);

        for (size_t j = 0; j < SESSION_STATE_COUNT; j++) {
            counts[j] += gauges->states[j] == gauges->states[view.state];
        }
        session_count(gauges, &view);
    }
    for (size_t i = 0; i < SESSION_STATE_COUNT; i++) {
        metric_set(gauges->states[i], counts[i]);
    }
    if (discovery != NULL) {
        routes_count(gauges, discovery_catalog(discovery));
    }
    sums_set(gauges);
    if (discovery != NULL) {
        directory_count(gauges, discovery_directory(discovery));
    }
    metric_set(gauges->ready, discovery_is_ready(discovery, supervisor, &why));
    metric_set(gauges->instances, fleet.instances);
    metric_set(gauges->held, fleet.held);
    metric_set(gauges->wanted, (int64_t)fleet.wanted);
}
