/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/status_json.c -- the body of /status.
 */
#include "syncd/status.h"

#include "common/clock.h"
#include "common/json_scan.h"

static bool
text_member(Buf *out, const char *name, const char *text, Error *err)
{
    return buf_printf(out, err, ",\"%s\":", name) && json_escape(str_c(text), out, err);
}

/* A time, or null for 0. */
static bool
time_member(Buf *out, const char *name, int64_t wall_ms, Error *err)
{
    char text[CLOCK_RFC3339_SIZE];

    if (wall_ms == 0) {
        return buf_printf(out, err, ",\"%s\":null", name);
    }
    clock_format_rfc3339(wall_ms, text);
    return text_member(out, name, text, err);
}

static bool
stream_json(const SessionView *view, Buf *out, Error *err)
{
    const Checkpoint *at = view->checkpoint;

    if (!buf_append(out, STR("{\"name\":"), err) || !json_escape(str_c(view->name), out, err) ||
        !text_member(out, "server", view->source.ptr, err) ||
        !text_member(out, "route", view->route.ptr, err) ||
        !buf_printf(out, err, ",\"partition\":%u", view->partition) ||
        !text_member(out, "state", view->state_word, err) ||
        !text_member(out, "reason", view->reason, err) ||
        !text_member(out, "held", view->held, err) ||
        !text_member(out, "offset", at->position.offset, err) ||
        !buf_printf(out, err,
                    ",\"skip\":%lld,\"generation\":%lld,\"epoch\":%lld,\"next_seq\":%lld,"
                    "\"rows\":%llu,\"dead_letters\":%llu,\"queue_bytes\":%zu,\"up_to_date\":%s",
                    (long long)at->position.skip, (long long)at->generation, (long long)at->epoch,
                    (long long)at->next_seq, (unsigned long long)view->rows,
                    (unsigned long long)view->letters, view->queue_bytes,
                    view->up_to_date ? "true" : "false")) {
        return false;
    }
    return time_member(out, "committed_at", view->committed_wall_ms, err) &&
           time_member(out, "snapshot_open_since", view->snapshot_wall_ms, err) &&
           buf_append_char(out, '}', err);
}

static bool
routes_json(const RouteCatalog *catalog, Buf *out, Error *err)
{
    for (size_t i = 0; i < route_catalog_count(catalog); i++) {
        RouteView view = route_catalog_view(catalog, i);

        if (!buf_printf(out, err, "%s{\"name\":", i == 0 ? "" : ",") ||
            !json_escape(str_c(view.name), out, err) ||
            !text_member(out, "state", view.state, err) ||
            !text_member(out, "reason", view.reason, err) || !buf_append_char(out, '}', err)) {
            return false;
        }
    }
    return true;
}

/* How the streams of each server are found. */
static bool
directory_json(const Directory *directory, Buf *out, Error *err)
{
    for (size_t i = 0; i < directory_servers(directory); i++) {
        DirectoryView view = directory_view(directory, i);

        if (!buf_printf(out, err, "%s{\"server\":", i == 0 ? "" : ",") ||
            !json_escape(str_c(view.server), out, err) ||
            !text_member(out, "how", view.watch.how, err) ||
            !buf_printf(out, err, ",\"streams\":%zu,\"refused\":%zu", view.streams, view.refused) ||
            !time_member(out, "looked_at", view.watch.looked_ms, err) ||
            !text_member(out, "reason", view.watch.reason, err) ||
            !buf_append_char(out, '}', err)) {
            return false;
        }
    }
    return true;
}

bool
status_json(const Supervisor *supervisor, const Discovery *discovery, const char *instance,
            Buf *out, Error *err)
{
    const char *why;
    bool ready = discovery_is_ready(discovery, supervisor, &why);
    FleetView fleet = supervisor_fleet(supervisor);

    if (!buf_printf(out, err, "{\"version\":\"%s\",\"instance\":", DS_VERSION) ||
        !json_escape(str_c(instance), out, err) ||
        !buf_printf(out, err, ",\"ready\":%s", ready ? "true" : "false") ||
        !text_member(out, "readiness", why, err) ||
        !buf_printf(out, err,
                    ",\"fleet\":{\"instances\":%u,\"partitions_held\":%u,\"streams_wanted\":%zu}"
                    ",\"directory\":[",
                    fleet.instances, fleet.held, fleet.wanted) ||
        (discovery != NULL && !directory_json(discovery_directory(discovery), out, err)) ||
        !buf_append(out, STR("],\"routes\":["), err) ||
        (discovery != NULL && !routes_json(discovery_catalog(discovery), out, err)) ||
        !buf_append(out, STR("],\"streams\":["), err)) {
        return false;
    }
    for (size_t i = 0; i < supervisor_count(supervisor); i++) {
        SessionView view = supervisor_view(supervisor, i);

        if ((i > 0 && !buf_append_char(out, ',', err)) || !stream_json(&view, out, err)) {
            return false;
        }
    }
    return buf_append(out, STR("]}\n"), err);
}
