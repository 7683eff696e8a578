/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/engine/http_probe.c -- the HTTP engine with a handler that only the tests of this folder
 * need.
 *
 *   /echo           the body back, with the method, path and query as fields
 *   /status?N       an empty reply with that status
 *   /problem        a problem document about the path
 *   /inject?TEXT    a reply field whose value is TEXT with %0d and %0a decoded
 *   /big?BYTES      that many bytes, by reference, twice
 *   /wait           answered by /release; /waiting says how many wait, how many left
 *   /late           answered by a timer after 20 ms
 *   /stream?CHUNKS  so many chunks of 1000 bytes, each when the last one has left
 *   /flood          chunks until the backlog limit stops it, then cut
 *   /cut            one chunk, then cut
 *   /live           a stream that stays until the server stops or the client leaves
 */
#include <signal.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/http_server.h"

#define CHUNK_BYTES 1000

typedef struct Probe Probe;

typedef struct Waiter {
    HttpExchange *exchange;
    Probe *probe;
    LoopTimer *timer;
    uint64_t chunks_left;
    bool live;
    struct Waiter *next;
} Waiter;

/* One thread, so one of it. */
struct Probe {
    Waiter *waiters;
    uint64_t waiting;
    uint64_t left;
    Loop *main;
    LoopSignal *terminate;
    HttpServer *server;
};

static Probe *
probe_of(HttpExchange *exchange)
{
    return net_loop_app(exchange_loop(exchange));
}

/* ---- exchanges that take time ---- */

static void
waiter_free(Waiter *waiter)
{
    Waiter **at = &waiter->probe->waiters;

    while (*at != waiter) {
        at = &(*at)->next;
    }
    *at = waiter->next;
    waiter->probe->waiting--;
    timer_free(waiter->timer);
    free(waiter);
}

static void
on_cancel(void *arg)
{
    Waiter *waiter = arg;

    waiter->probe->left++;
    waiter_free(waiter);
}

static Waiter *
waiter_new(HttpExchange *exchange)
{
    Waiter *waiter = mem_zalloc(sizeof(*waiter));

    waiter->exchange = exchange;
    waiter->probe = probe_of(exchange);
    waiter->probe->waiting++;
    waiter->next = waiter->probe->waiters;
    waiter->probe->waiters = waiter;
    exchange_wait(exchange, on_cancel, waiter);
    return waiter;
}

static void
answer_waiter(void *arg)
{
    Waiter *waiter = arg;
    HttpExchange *exchange = waiter->exchange;

    waiter_free(waiter);
    reply_problem(exchange, 404, "LATE", "answered later");
}

static void
on_drained(void *arg)
{
    static const char chunk[CHUNK_BYTES] = "chunk";
    Waiter *waiter = arg;
    HttpExchange *exchange = waiter->exchange;

    if (waiter->live) {
        return;
    }
    if (waiter->chunks_left == 0) {
        waiter_free(waiter);
        stream_end(exchange);
        return;
    }
    waiter->chunks_left--;
    DS_ASSERT(stream_write(exchange, &(HttpPiece){.bytes = str_n(chunk, sizeof(chunk))}, 1));
}

static Waiter *
open_stream(HttpExchange *exchange, uint64_t chunks, bool live)
{
    Waiter *waiter = waiter_new(exchange);

    waiter->chunks_left = chunks;
    waiter->live = live;
    reply_start(exchange, 200);
    reply_field(exchange, "Content-Type", STR("text/event-stream"));
    stream_start(exchange, on_drained);
    return waiter;
}

/* ---- handlers ---- */

static uint64_t
number_of(HttpExchange *exchange)
{
    uint64_t number = 0;

    return parse_u64(exchange_request(exchange)->query, 1000000000, &number) ? number : 0;
}

static void
answer_echo(HttpExchange *exchange)
{
    const HttpRequestView *request = exchange_request(exchange);
    HttpHold *hold = NULL;
    size_t length;

    reply_start(exchange, 500);
    reply_field(exchange, "Dropped", STR("by the second start"));
    reply_start(exchange, 200);
    reply_field(exchange, "X-Method", request->method_text);
    reply_field(exchange, "X-Path", request->path);
    reply_field(exchange, "X-Query", request->query);
    reply_field(exchange, "X-Host", request->host);
    char *body = exchange_body_take(exchange, &length);
    if (body != NULL) {
        hold = http_hold_new(body);
    }
    reply_send(exchange, &(HttpPiece){.bytes = str_n(body, length), .hold = hold}, 1);
    if (hold != NULL) {
        http_hold_drop(hold);
    }
}

static void
answer_status(HttpExchange *exchange)
{
    reply_start(exchange, (int)number_of(exchange));
    reply_send(exchange, &(HttpPiece){.bytes = STR("body")}, 1);
}

static void
answer_problem(HttpExchange *exchange)
{
    reply_problem(exchange, 409, "CODE", "a \"quoted\"\n\xff detail");
}

static void
answer_inject(HttpExchange *exchange)
{
    Str query = exchange_request(exchange)->query;
    char value[256];
    size_t length = 0;

    for (size_t i = 0; i < query.len && length < sizeof(value); i++) {
        bool coded = query.ptr[i] == '%' && i + 2 < query.len;

        value[length++] = !coded ? query.ptr[i] : query.ptr[i + 2] == 'd' ? '\r' : '\n';
        i += coded ? 2 : 0;
    }
    reply_start(exchange, 200);
    reply_field(exchange, "X-Value", str_n(value, length));
    reply_send(exchange, NULL, 0);
}

static void
answer_big(HttpExchange *exchange)
{
    size_t size = (size_t)number_of(exchange);
    char *data = mem_alloc(size + 1);
    HttpHold *hold = http_hold_new(data);

    for (size_t i = 0; i < size; i++) {
        data[i] = (char)('a' + i % 26);
    }
    HttpPiece pieces[] = {
        {.bytes = STR("[")}, {.bytes = str_n(data, size), .hold = hold},
        {.bytes = STR(",")}, {.bytes = str_n(data, size), .hold = hold},
        {.bytes = STR("]")},
    };
    reply_start(exchange, 200);
    reply_send(exchange, pieces, DS_COUNT(pieces));
    http_hold_drop(hold);
}

static void
answer_wait(HttpExchange *exchange)
{
    (void)waiter_new(exchange);
}

static void
answer_waiting(HttpExchange *exchange)
{
    Probe *probe = probe_of(exchange);

    reply_start(exchange, 200);
    reply_field_u64(exchange, "X-Waiting", probe->waiting);
    reply_field_u64(exchange, "X-Left", probe->left);
    reply_send(exchange, NULL, 0);
}

static void
answer_release(HttpExchange *exchange)
{
    Probe *probe = probe_of(exchange);

    while (probe->waiters != NULL) {
        answer_waiter(probe->waiters);
    }
    reply_start(exchange, 204);
    reply_send(exchange, NULL, 0);
}

static void
answer_late(HttpExchange *exchange)
{
    Waiter *waiter = waiter_new(exchange);

    waiter->timer = timer_new(net_loop_loop(exchange_loop(exchange)), answer_waiter, waiter);
    timer_start(waiter->timer, 20);
}

static void
answer_stream(HttpExchange *exchange)
{
    (void)open_stream(exchange, number_of(exchange), false);
}

static void
answer_flood(HttpExchange *exchange)
{
    static const char flood[65536] = "flood";
    Waiter *waiter = open_stream(exchange, 0, true);

    while (stream_write(exchange, &(HttpPiece){.bytes = str_n(flood, sizeof(flood))}, 1)) {
    }
    waiter_free(waiter);
    exchange_abort(exchange);
}

static void
cut_late(void *arg)
{
    Waiter *waiter = arg;
    HttpExchange *exchange = waiter->exchange;

    waiter_free(waiter);
    exchange_abort(exchange);
}

static void
answer_cut(HttpExchange *exchange)
{
    Waiter *waiter = open_stream(exchange, 0, true);

    DS_ASSERT(stream_write(exchange, &(HttpPiece){.bytes = STR("some")}, 1));
    waiter->timer = timer_new(net_loop_loop(exchange_loop(exchange)), cut_late, waiter);
    timer_start(waiter->timer, 20);
}

static void
answer_live(HttpExchange *exchange)
{
    (void)open_stream(exchange, 0, true);
}

static const struct {
    Str path;
    void (*answer)(HttpExchange *exchange);
} pages[] = {
    {STR("/echo"), answer_echo},       {STR("/status"), answer_status},
    {STR("/problem"), answer_problem}, {STR("/inject"), answer_inject},
    {STR("/big"), answer_big},         {STR("/wait"), answer_wait},
    {STR("/waiting"), answer_waiting}, {STR("/release"), answer_release},
    {STR("/late"), answer_late},       {STR("/stream"), answer_stream},
    {STR("/flood"), answer_flood},     {STR("/cut"), answer_cut},
    {STR("/live"), answer_live},
};

static void
on_request(HttpExchange *exchange)
{
    for (size_t i = 0; i < DS_COUNT(pages); i++) {
        if (str_eq(exchange_request(exchange)->path, pages[i].path)) {
            pages[i].answer(exchange);
            return;
        }
    }
    reply_problem(exchange, 404, "NOT_FOUND", "");
}

static void
on_loop_drain(NetLoop *loop)
{
    Probe *probe = net_loop_app(loop);
    Waiter *next;

    for (Waiter *waiter = probe->waiters; waiter != NULL; waiter = next) {
        HttpExchange *exchange = waiter->exchange;

        next = waiter->next;
        if (waiter->live) {
            waiter_free(waiter);
            stream_end(exchange);
        }
    }
}

/* ---- the program ---- */

static void
on_terminate(void *arg)
{
    Probe *probe = arg;

    http_server_stop(probe->server);
}

static void
on_stopped(void *arg)
{
    Probe *probe = arg;

    signal_free(probe->terminate);
    http_server_free(probe->server);
    loop_stop(probe->main);
}

static bool
run(Probe *probe, const ServerConfig *config, Metrics *metrics, Error *err)
{
    HttpServerOptions options = {
        .config = config,
        .metrics = metrics,
        .main = probe->main,
        .on_stopped = on_stopped,
        .on_stopped_arg = probe,
        .handlers = {.app = probe,
                     .request = on_request,
                     .admin = on_request,
                     .loop_drain = on_loop_drain},
    };

    if (!http_server_new(&options, &probe->server, err)) {
        return false;
    }
    probe->terminate = signal_new(probe->main, SIGTERM, on_terminate, probe);
    loop_run(probe->main);
    return true;
}

int
main(int argc, char **argv)
{
    LogConfig log = {.program = "http_probe", .fd = STDOUT_FILENO, .filter = "info"};
    ConfigLoad load = {.argc = argc, .argv = argv, .environ_ = environ};
    ServerConfig config = {0};
    Metrics *metrics = metrics_new();
    Error err = {0};
    Probe probe = {.main = loop_new()};

    (void)signal(SIGPIPE, SIG_IGN);
    bool ok = server_config_load(&config, &load, &err) && log_init(&log, &err);
    config.threads = 1;
    ok = ok && run(&probe, &config, metrics, &err);
    if (!ok) {
        fprintf(stderr, "%s\n", err.text);
    }
    loop_free(probe.main);
    metrics_free(metrics);
    config_load_done(&load);
    server_config_done(&config);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
