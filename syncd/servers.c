/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/servers.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/ds_proto.h"
#include "common/log.h"
#include "common/mem.h"

#define CONNECT_MS_MAX 10000
#define URL_BYTES_MAX  8192
#define LOOK_MS        1000 /* between two looks whether an outage goes on */
#define OPENING_SHARE  15   /* of the longest silence: then others may be opened beside it */

static const LogScope scope = {.name = "syncd"};

struct Servers {
    ServersConfig config;
    Server *servers;
    size_t count;
    LoopTimer *timer;
    LoopFn on_renewed;
    void *on_renewed_arg;
};

/* --- outages --- */

static void
outage_log_goes_on(const Server *server, const OutageView *view)
{
    const LogField *fields =
        LOG_FIELDS(log_str("server", str_c(server->name)), log_u64("streams", view->failing),
                   log_u64("failures", view->failures), log_str("longest", view->longest));

    if (view->failing == 0) {
        log_warn(&scope, view->event, fields,
                 "reads of streams fail again and again, and go on: %s", view->reason);
        return;
    }
    log_warn(&scope, view->event, fields,
             "streams that cannot be read%s: %zu, the first for %lld s: %s; each is tried again "
             "from the same place",
             view->answers ? ", while others can" : "", view->failing,
             (long long)view->lasted_ms / 1000, view->reason);
}

static void
outage_log_over(const Server *server, const OutageView *view)
{
    log_info(&scope,
             LOG_FIELDS(log_str("server", str_c(server->name)), log_u64("streams", view->streams),
                        log_i64("lasted_ms", view->lasted_ms)),
             "%s",
             view->answers ? "the server answers again: all streams that failed are read"
                           : "no stream waits for the server any more");
}

static void
servers_on_look(void *arg)
{
    Servers *servers = arg;
    int64_t now_ms = clock_mono_ms();
    OutageView view;

    for (size_t i = 0; i < servers->count; i++) {
        const Server *server = &servers->servers[i];

        switch (outage_look(server->outage, now_ms, &view)) {
        case OUTAGE_NOTHING:
            break;
        case OUTAGE_GOES_ON:
            outage_log_goes_on(server, &view);
            break;
        case OUTAGE_OVER:
            outage_log_over(server, &view);
            break;
        }
    }
}

/* --- life --- */

static HttpClient *
client_new(Loop *loop, const ServersConfig *config, const Secret *bearer)
{
    return http_client_new(loop, &(HttpClientConfig){
                                     .user_agent = "syncd/" DS_VERSION,
                                     .ca_file = config->ca_file,
                                     .cert_file = config->cert_file,
                                     .key_file = config->key_file,
                                     .bearer = bearer,
                                     .connect_ms_max = CONNECT_MS_MAX,
                                 });
}

Servers *
servers_new(Loop *loop, const ServersConfig *config)
{
    Servers *servers = mem_zalloc(sizeof(*servers));

    servers->config = *config;
    servers->count = config->list->count;
    servers->servers = mem_array(servers->count, sizeof(*servers->servers));
    for (size_t i = 0; i < servers->count; i++) {
        const ServerConfig *from = &config->list->servers[i];

        servers->servers[i] = (Server){
            .name = from->name,
            .url = from->url,
            .admin_url = from->admin_url,
            .client = client_new(loop, config, &from->token),
            .admin_client = from->admin_url == NULL ? NULL : client_new(loop, config, NULL),
            .gate = gate_new(loop, config->openings_max,
                             DS_MAX(config->idle_ms_max / OPENING_SHARE, INT64_C(1))),
            /* Longer than a stream takes to fail again that is answered and then left alone. */
            .outage = outage_new(2 * config->backoff_ms_max + config->idle_ms_max),
        };
    }
    servers->timer = timer_new(loop, servers_on_look, servers);
    timer_repeat(servers->timer, LOOK_MS);
    return servers;
}

void
servers_free(Servers *servers)
{
    if (servers == NULL) {
        return;
    }
    for (size_t i = 0; i < servers->count; i++) {
        http_client_free(servers->servers[i].client);
        if (servers->servers[i].admin_client != NULL) {
            http_client_free(servers->servers[i].admin_client);
        }
        gate_free(servers->servers[i].gate);
        outage_free(servers->servers[i].outage);
    }
    timer_free(servers->timer);
    free(servers->servers);
    free(servers);
}

size_t
servers_count(const Servers *servers)
{
    return servers->count;
}

const Server *
servers_at(const Servers *servers, size_t index)
{
    DS_ASSERT(index < servers->count);
    return &servers->servers[index];
}

const Server *
servers_find(const Servers *servers, Str name)
{
    for (size_t i = 0; i < servers->count; i++) {
        if (str_eq(name, str_c(servers->servers[i].name))) {
            return &servers->servers[i];
        }
    }
    return NULL;
}

/* True: it is another one than before. */
static bool
token_read(ServerConfig *config, Server *server, bool asked)
{
    Secret before = {0};
    Error err;

    secret_set(&before, str_c(secret_reveal(&config->token)));
    bool read = secret_read_file(&config->token, config->token_file, &err);
    if (!read && (asked || !server->token_told)) {
        log_warn(&scope, EVENT_SECRET_UNREADABLE,
                 LOG_FIELDS(log_str("server", str_c(server->name))), "the file of the token: %s",
                 err.text);
    }
    server->token_told = !read;
    bool renewed = read && strcmp(secret_reveal(&before), secret_reveal(&config->token)) != 0;
    secret_done(&before);
    return renewed;
}

void
servers_reload_tokens(Servers *servers, bool asked)
{
    const ServerList *list = servers->config.list;
    bool renewed = false;

    for (size_t i = 0; i < list->count; i++) {
        if (list->servers[i].token_file != NULL &&
            token_read(&list->servers[i], &servers->servers[i], asked)) {
            servers->servers[i].token_version++;
            renewed = true;
        }
    }
    if (renewed && servers->on_renewed != NULL) {
        servers->on_renewed(servers->on_renewed_arg);
    }
}

void
servers_on_renewed(Servers *servers, LoopFn fn, void *arg)
{
    servers->on_renewed = fn;
    servers->on_renewed_arg = arg;
}

char *
server_stream_url(const Server *server, Str name)
{
    Buf url;
    Error err;

    buf_init(&url, URL_BYTES_MAX);
    /* The name is at most 1024 bytes, three for one when escaped. */
    bool built = buf_printf(&url, &err, "%s%s/", server->url, DS_STREAM_ROOT) &&
                 http_url_encode(&url, name, "/", &err);
    DS_ASSERT(built);
    return buf_take(&url);
}
