/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server is asked, in each state of the one who watches it.
 */
#include "syncd/server_watch_internal.h"

#include <inttypes.h>

#include "common/clock.h"
#include "common/ds_proto.h"
#include "common/fnv.h"
#include "common/json_scan.h"

#define PAGE_STREAMS      1000
#define REQUEST_MS_MAX    30000
#define URL_BYTES_MAX     8192
#define REQUEST_BYTES_MAX 8192
#define SUBSCRIPTIONS     DS_STREAM_ROOT "/__ds/subscriptions/ds-sync-"

static void
watch_on_head(void *arg, const HttpHead *head)
{
    ServerWatch *watch = arg;

    watch->status = head->status;
}

static void
watch_on_body(void *arg, Str bytes)
{
    ServerWatch *watch = arg;
    Error err;

    if (!buf_append(&watch->body, bytes, &err)) {
        http_transfer_cancel(watch->transfer);
        watch->transfer = NULL;
        (void)error_wrap(&err, "the list of streams is too long");
        watch_failed(watch, &err, watch->config.backoff_max_ms);
    }
}

static void
watch_on_done(void *arg, const HttpResult *result)
{
    ServerWatch *watch = arg;

    watch->transfer = NULL;
    if (!result->ok) {
        watch_failed(watch, &result->err, result->retry_after_ms);
    } else if (result->status == 401 || result->status == 403) {
        watch_refused(watch);
    } else {
        watch_answered(watch);
    }
}

static void
watch_start(ServerWatch *watch, HttpClient *client, const char *method, Buf *url, Str body)
{
    static const HttpCallbacks callbacks = {
        .on_head = watch_on_head, .on_body = watch_on_body, .on_done = watch_on_done};
    static const char *const json[] = {"Content-Type: application/json", NULL};
    bool waits = watch->state == WATCH_FOLLOW;
    bool puts = strcmp(method, "PUT") == 0;

    buf_reset(&watch->body);
    watch->status = 0;
    watch->token_version = watch->config.server->token_version;
    watch->asked_ms = clock_mono_ms();
    watch->asked_wall_ms = clock_wall_ms();
    watch->transfer = http_start(client,
                                 &(HttpRequest){
                                     .method = method,
                                     .url = buf_cstr(url),
                                     .headers = puts ? json : NULL,
                                     .body = body,
                                     .has_body = puts,
                                     .idle_ms_max = waits ? watch->config.idle_ms_max : 0,
                                     .total_ms_max = waits ? 0 : REQUEST_MS_MAX,
                                 },
                                 &callbacks, watch);
}

static bool
list_url(const ServerWatch *watch, Buf *url, Error *err)
{
    const ListingRoot *root = &watch->roots[watch->root_at];

    /* Names are sorted: of those that begin with it, a stream's own name is the first. */
    return buf_printf(url, err,
                      "%s/admin/streams?limit=%d&prefix=", watch->config.server->admin_url,
                      root->exact ? 1 : PAGE_STREAMS) &&
           http_url_encode(url, root->prefix, "/", err) &&
           (watch->listing.next.len == 0 ||
            (buf_append(url, STR("&after="), err) &&
             http_url_encode(url, buf_str(&watch->listing.next), "/", err)));
}

static bool
follow_url(const ServerWatch *watch, Buf *url, Error *err)
{
    return buf_printf(url, err, "%s/admin/streams?since=", watch->config.server->admin_url) &&
           http_url_encode(url, buf_str(&watch->token), "", err);
}

/* The pattern's own, so that another set of patterns changes no subscription. */
static bool
subscription_url(const ServerWatch *watch, Buf *url, Error *err)
{
    /* The same in every instance. */
    uint64_t hash = fnv1a64(FNV1A64_BASIS, str_c(watch->patterns[watch->at]));

    return buf_printf(url, err, "%s%s%016" PRIx64, watch->config.server->url, SUBSCRIPTIONS, hash);
}

void
watch_ask(ServerWatch *watch)
{
    const Server *server = watch->config.server;
    Buf url;
    Buf body;
    Error err;
    bool built = true;

    buf_init(&url, URL_BYTES_MAX);
    buf_init(&body, REQUEST_BYTES_MAX);
    switch (watch->state) {
    case WATCH_LIST:
        built = list_url(watch, &url, &err);
        break;
    case WATCH_FOLLOW:
        built = follow_url(watch, &url, &err);
        break;
    case WATCH_WAKE:
        built = buf_printf(&url, &err, "%s%s/%s", server->url, DS_STREAM_ROOT, WATCH_WAKE_STREAM);
        break;
    case WATCH_SUBSCRIBE:
        built = subscription_url(watch, &url, &err) &&
                buf_append(&body,
                           STR("{\"type\":\"pull-wake\",\"wake_stream\":\"" WATCH_WAKE_STREAM
                               "\",\"pattern\":"),
                           &err) &&
                json_escape(str_c(watch->patterns[watch->at]), &body, &err) &&
                buf_append_char(&body, '}', &err);
        break;
    case WATCH_VIEW:
        built = subscription_url(watch, &url, &err);
        break;
    case WATCH_IDLE:
    case WATCH_PAUSE:
    case WATCH_STATE_COUNT:
        DS_UNREACHABLE("a state that asks nothing");
    }
    DS_ASSERT(built); /* names, tokens and patterns are bounded */
    bool admin = watch->state == WATCH_LIST || watch->state == WATCH_FOLLOW;
    bool puts = watch->state == WATCH_WAKE || watch->state == WATCH_SUBSCRIBE;
    watch_start(watch, admin ? server->admin_client : server->client, puts ? "PUT" : "GET", &url,
                buf_str(&body));
    buf_done(&url);
    buf_done(&body);
}
