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

static bool
stream_json(const SessionView *view, Buf *out, Error *err)
{
    const Checkpoint *at = view->checkpoint;
    char committed[CLOCK_RFC3339_SIZE];

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
    if (view->committed_wall_ms == 0) {
        return buf_append(out, STR(",\"committed_at\":null}"), err);
    }
    clock_format_rfc3339(view->committed_wall_ms, committed);
    return text_member(out, "committed_at", committed, err) && buf_append_char(out, '}', err);
}

bool
status_json(const Supervisor *supervisor, const char *instance, Buf *out, Error *err)
{
    const char *why;
    bool ready = supervisor_is_ready(supervisor, &why);
    FleetView fleet = supervisor_fleet(supervisor);

    if (!buf_printf(out, err, "{\"version\":\"%s\",\"instance\":", DS_VERSION) ||
        !json_escape(str_c(instance), out, err) ||
        !buf_printf(out, err, ",\"ready\":%s", ready ? "true" : "false") ||
        !text_member(out, "readiness", why, err) ||
        !buf_printf(out, err,
                    ",\"fleet\":{\"instances\":%u,\"partitions_held\":%u,\"streams_wanted\":%zu}"
                    ",\"streams\":[",
                    fleet.instances, fleet.held, fleet.wanted)) {
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
