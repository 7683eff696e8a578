/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/after_sync.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/ds_proto.h"
#include "common/json_scan.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/stream_glob.h"
#include "sql/queries.h"

#define REQUEST_MS_MAX    30000
#define RETRY_MS          5000 /* at least, when something was in the way */
#define REQUEST_BYTES_MAX 8192
#define HELD_BYTES_MAX    256
#define HELD_TRIES        2 /* in a row, before it is worth a line */

static const LogScope scope = {.name = "syncd.after"};

struct AfterSync {
    Loop *loop;
    ControlLink *link;
    const SyncdConfig *config;
    const StreamKey *key;
    const StreamPlan *plan;
    LoopTimer *timer;
    HttpTransfer *transfer;
    bool busy;                            /* a question or a request is under way */
    char committed[OFFSET_BYTES_MAX + 1]; /* the newest that is */
    bool closed;
    int64_t epoch;                   /* that it was committed in */
    char aim[OFFSET_BYTES_MAX + 1];  /* what the timer runs for */
    char done[OFFSET_BYTES_MAX + 1]; /* trimmed up to there, or "" */
    bool over;                       /* deleted */
    unsigned held_tries;             /* that found a route in the way, in a row */
    bool held_said;
    char *held; /* NULL: no route is in the way, or not for long */
};

#define AFTER_FIELDS(after)                                                                        \
    LOG_FIELDS(log_str("stream", (after)->key->name), log_str("route", (after)->key->route),       \
               log_str("offset", str_c((after)->aim)), log_i64("epoch", (after)->epoch))

static bool
deletes(const AfterSync *after)
{
    return after->plan->route->spec.after_sync == ROUTE_AFTER_DELETE_CLOSED;
}

/* --- who else needs it --- */

static bool
spec_takes(Str json, const StreamKey *key)
{
    RouteSpec spec;
    Error err;

    if (!route_spec_parse(&spec, json, &err)) {
        return true; /* nobody knows: rather keep it */
    }
    bool takes = str_eq(str_c(spec.server), key->source) && route_spec_matches(&spec, key->name);
    route_spec_done(&spec);
    return takes;
}

/* Whether SYNCD_STREAMS names or matches it. */
static bool
built_in_takes(const SyncdConfig *config, const StreamKey *key)
{
    bool takes = false;

    if (str_eq(str_c(config->servers.servers[0].name), key->source)) {
        for (size_t i = 0; i < config->stream_count && !takes; i++) {
            takes = stream_glob_match(str_c(config->streams[i]), key->name);
        }
    }
    return takes;
}

/* Whether the stream is still the route's: what it had of it before does not matter. */
static bool
route_takes(const RouteProgress *route, const StreamKey *key)
{
    return route->spec.len > 0 ? spec_takes(route->spec, key) : route->takes;
}

static bool
route_is_done(const RouteProgress *route, const Offset *ours, bool closed)
{
    Offset theirs;

    return offset_parse(route->offset, &theirs) && theirs.era == ours->era &&
           theirs.position >= ours->position && (!closed || route->closed);
}

bool
after_sync_may(const RouteProgress *progress, size_t count, const StreamKey *key, Str offset,
               bool closed, AfterSyncObstacle *out)
{
    Offset ours;

    if (!offset_parse(offset, &ours) || ours.era == 0) {
        out->route = STR_EMPTY;
        out->why = "the server's offsets do not say which life of the stream they are of";
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const RouteProgress *route = &progress[i];

        if (!route_takes(route, key) || (route->known && route_is_done(route, &ours, closed))) {
            continue;
        }
        out->route = route->name;
        out->why = route->known ? "is not as far" : "takes the stream and has not begun with it";
        return false;
    }
    return true;
}

/* --- the request --- */

static void after_sync_arm(AfterSync *after, int64_t delay_ms);

static void
after_sync_again(AfterSync *after)
{
    after->busy = false;
    after_sync_arm(after, DS_MAX(after->plan->route->spec.grace_ms, (int64_t)RETRY_MS));
}

static void
after_sync_on_done(void *arg, const HttpResult *result)
{
    AfterSync *after = arg;
    bool gone = result->status == 404 || result->status == 410 || result->status == 412;

    after->transfer = NULL;
    if (!result->ok || (!gone && (result->status < 200 || result->status > 299))) {
        log_warn(
            &scope, EVENT_STREAM_AFTER_SYNC, AFTER_FIELDS(after),
            "%s: the server %s%s; tries again", deletes(after) ? "delete" : "trim",
            result->ok ? "refuses it" : "does not answer: ", result->ok ? "" : result->err.text);
        after_sync_again(after);
        return;
    }
    log_info(&scope, AFTER_FIELDS(after), "%s",
             gone             ? "the stream is gone already, or another one"
             : deletes(after) ? "closed and loaded: deleted at the server"
                              : "trimmed at the server");
    after->over = gone || deletes(after);
    memcpy(after->done, after->aim, sizeof(after->done));
    after->busy = false;
    after_sync_arm(after, after->plan->route->spec.grace_ms);
}

static void
after_sync_trim(AfterSync *after)
{
    static const HttpCallbacks callbacks = {.on_done = after_sync_on_done};
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    const Server *server = after->plan->route->server;
    Buf url;
    Buf body;
    Error err;

    buf_init(&url, REQUEST_BYTES_MAX);
    buf_init(&body, REQUEST_BYTES_MAX);
    bool built = buf_printf(&url, &err, "%s/admin/trim", server->admin_url) &&
                 buf_append(&body, STR("{\"stream\":"), &err) &&
                 json_escape(after->key->name, &body, &err) &&
                 buf_printf(&body, &err, ",\"before\":\"%s\"}", after->aim);
    DS_ASSERT(built); /* name and offset are bounded */
    after->transfer = http_start(server->admin_client,
                                 &(HttpRequest){.method = "POST",
                                                .url = buf_cstr(&url),
                                                .headers = headers,
                                                .body = buf_str(&body),
                                                .total_ms_max = REQUEST_MS_MAX},
                                 &callbacks, after);
    buf_done(&url);
    buf_done(&body);
}

static void
after_sync_delete(AfterSync *after)
{
    static const HttpCallbacks callbacks = {.on_done = after_sync_on_done};
    char match[64];
    const char *headers[] = {match, NULL};
    Offset offset;
    bool parsed = offset_parse(str_c(after->aim), &offset);

    DS_ASSERT(parsed); /* after_sync_may has */
    (void)snprintf(match, sizeof(match), "If-Match: \"%016" PRIx64 "\"", offset.era);
    after->transfer = http_start(after->plan->route->server->client,
                                 &(HttpRequest){.method = "DELETE",
                                                .url = after->plan->url,
                                                .headers = headers,
                                                .total_ms_max = REQUEST_MS_MAX},
                                 &callbacks, after);
}

static void
after_sync_not_held(AfterSync *after)
{
    after->held_tries = 0;
    free(after->held);
    after->held = NULL;
}

/* Routes are rarely equally fast; one that is behind for more than a grace is worth a look. */
static void
after_sync_hold(AfterSync *after, const AfterSyncObstacle *obstacle)
{
    Buf text;
    Error err;

    if (obstacle->route.len == 0 || ++after->held_tries < HELD_TRIES) {
        return;
    }
    buf_init(&text, HELD_BYTES_MAX);
    bool built = buf_printf(&text, &err, "%.*s: %s", STR_ARG(obstacle->route), obstacle->why);
    DS_ASSERT(built); /* the name of a route is short */
    free(after->held);
    after->held = buf_take(&text);
    if (!after->held_said) {
        after->held_said = true;
        log_warn(&scope, EVENT_STREAM_HELD, AFTER_FIELDS(after),
                 "%s waits for another route: %s; a route that is removed, or no longer takes the "
                 "stream, is not waited for",
                 deletes(after) ? "deleting it" : "trimming it", after->held);
    }
}

static void
after_sync_on_routes(void *arg, const PgReply *reply)
{
    AfterSync *after = arg;
    size_t count = reply->ok ? (size_t)reply->rows : 0;
    AfterSyncObstacle obstacle = {.why = "Postgres does not answer"};
    RouteProgress *progress = mem_array(DS_MAX(count, (size_t)1), sizeof(*progress));

    for (size_t i = 0; i < count; i++) {
        progress[i] = (RouteProgress){
            .name = pg_get(reply, (int)i, 0),
            .spec = pg_get(reply, (int)i, 1),
            .known = !pg_is_null(reply, (int)i, 2),
            .offset = pg_get(reply, (int)i, 2),
            .closed = str_eq(pg_get(reply, (int)i, 3), STR("t")),
        };
        progress[i].takes = progress[i].spec.len == 0 && built_in_takes(after->config, after->key);
    }
    if (!reply->ok || !after_sync_may(progress, count, after->key, str_c(after->aim),
                                      deletes(after), &obstacle)) {
        log_debug(&scope, AFTER_FIELDS(after), "not yet: %.*s %s", STR_ARG(obstacle.route),
                  obstacle.why);
        after_sync_hold(after, &obstacle);
        after_sync_again(after);
    } else {
        after_sync_not_held(after);
        if (deletes(after)) {
            after_sync_delete(after);
        } else {
            after_sync_trim(after);
        }
    }
    free(progress);
}

static void
after_sync_on_timer(void *arg)
{
    AfterSync *after = arg;
    const char *params[] = {after->key->source.ptr, after->key->name.ptr}; /* they end in NUL */

    if (control_link_is_busy(after->link)) {
        timer_start(after->timer, RETRY_MS + (int64_t)arc4random_uniform(RETRY_MS));
        return;
    }
    after->busy = true;
    control_link_query(after->link, sql_routes_of_stream, params, DS_COUNT(params),
                       after_sync_on_routes, after);
}

/* --- life --- */

static void
after_sync_arm(AfterSync *after, int64_t delay_ms)
{
    bool due = deletes(after) ? after->closed : strcmp(after->committed, after->done) != 0;

    if (due && !after->over && !after->busy && !timer_active(after->timer)) {
        memcpy(after->aim, after->committed, sizeof(after->aim));
        timer_start(after->timer, delay_ms);
    }
}

void
after_sync_committed(AfterSync *after, const Checkpoint *checkpoint)
{
    if (after == NULL || position_at_start(&checkpoint->position)) {
        return;
    }
    /* What goes on behind its end is another life of the stream. */
    after->over = after->over && strcmp(after->aim, checkpoint->position.offset) == 0;
    memcpy(after->committed, checkpoint->position.offset, sizeof(after->committed));
    after->closed = checkpoint->closed;
    after->epoch = checkpoint->epoch;
    after_sync_arm(after, after->plan->route->spec.grace_ms);
}

const char *
after_sync_held(const AfterSync *after)
{
    return after == NULL || after->held == NULL ? "" : after->held;
}

AfterSync *
after_sync_new(Loop *loop, ControlLink *link, const SyncdConfig *config, const StreamKey *key,
               const StreamPlan *plan)
{
    if (plan->route->spec.after_sync == ROUTE_AFTER_KEEP) {
        return NULL;
    }
    AfterSync *after = mem_zalloc(sizeof(*after));
    after->loop = loop;
    after->link = link;
    after->config = config;
    after->key = key;
    after->plan = plan;
    after->timer = timer_new(loop, after_sync_on_timer, after);
    return after;
}

void
after_sync_free(AfterSync *after)
{
    if (after == NULL) {
        return;
    }
    if (after->transfer != NULL) {
        http_transfer_cancel(after->transfer);
    }
    control_link_forget(after->link, after);
    timer_free(after->timer);
    after_sync_not_held(after);
    loop_defer_free(after->loop, after);
}
