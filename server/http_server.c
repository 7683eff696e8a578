/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/log.h"
#include "common/mem.h"
#include "server/cores.h"
#include "server/http_conn.h"
#include "server/http_tls.h"
#include "server/listener.h"
#include "server/net_loop.h"

#define ACCEPTS_PER_TURN 64
#define ACCEPT_PAUSE_MS  100 /* after the system had no descriptor left */
#define FILES_KEPT       128 /* descriptors that are neither connections nor streams */
#define CONNECTIONS_MIN  16
#define FULL_QUIET_MS    10000 /* one warning of a kind in this time */

static const LogScope scope = {.name = "server.http"};

static const char full_reply[] = "HTTP/1.1 503 Service Unavailable\r\n"
                                 "X-Content-Type-Options: nosniff\r\n"
                                 "Cross-Origin-Resource-Policy: cross-origin\r\n"
                                 "Retry-After: 1\r\n"
                                 "Content-Length: 0\r\n"
                                 "Connection: close\r\n\r\n";

/* ---- accepting ---- */

typedef struct HandedConn {
    NetLoop *loop;
    Transport transport;
    bool admin;
    char peer[LISTENER_ADDRESS_BYTES_MAX];
} HandedConn;

static void
adopt(void *arg)
{
    HandedConn *handed = arg;

    if (handed->loop->draining) {
        if (handed->transport.tls != NULL) {
            atomic_fetch_sub_explicit(&handed->loop->server->handshakes, 1, memory_order_relaxed);
        }
        transport_close(&handed->transport, true);
        net_loop_uncount(handed->loop);
    } else {
        http_conn_adopt(handed->loop, &handed->transport, handed->admin, handed->peer);
    }
    free(handed);
}

static NetLoop *
least_busy(HttpServer *server)
{
    NetLoop *best = server->loops[0];

    for (unsigned i = 1; i < server->loop_count; i++) {
        if (atomic_load_explicit(&server->loops[i]->connections, memory_order_relaxed) <
            atomic_load_explicit(&best->connections, memory_order_relaxed)) {
            best = server->loops[i];
        }
    }
    return best;
}

static void
hand_to_loop(HttpListener *listener, int fd, const struct sockaddr_storage *peer)
{
    HttpServer *server = listener->server;
    HandedConn *handed = mem_zalloc(sizeof(*handed));
    int on = 1;

    /* A reply is one write, so waiting for more of it would only cost time. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    handed->loop = least_busy(server);
    /* Made here, where the context may change: the loop has only the connection's own part. */
    transport_init(&handed->transport, fd,
                   listener->tls ? transport_tls_new(server->tls, fd) : NULL);
    handed->admin = listener->admin;
    if (listener->tls) {
        atomic_fetch_add_explicit(&server->handshakes, 1, memory_order_relaxed);
    }
    listener_format(peer, handed->peer);
    atomic_fetch_add_explicit(&handed->loop->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
    metric_add(server->metrics.connections_total, 1);
    net_loop_post(handed->loop, adopt, handed);
}

/* As far as one non-blocking write gets: somebody over the limit has no claim on more. */
static void
turn_away(HttpServer *server, int fd, bool tls)
{
    char dropped[4096];
    int64_t now_ms = loop_now_ms(server->main);

    /* Before the client can know and ask. */
    metric_add(server->metrics.connections_refused, 1);
    if (!tls) { /* else it could not be read */
        (void)send(fd, full_reply, sizeof(full_reply) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    (void)shutdown(fd, SHUT_WR);
    (void)recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT); /* unread bytes would reset it */
    (void)close(fd);
    if (server->full_said_ms == 0 || now_ms - server->full_said_ms > FULL_QUIET_MS) {
        server->full_said_ms = now_ms;
        log_warn(&scope, EVENT_SERVER_CONNECTIONS_FULL,
                 LOG_FIELDS(log_i64("limit", server->connections_max)),
                 "connections are refused: as many as allowed are open");
    }
}

static void
pause_accepting(HttpServer *server, int error)
{
    int64_t now_ms = loop_now_ms(server->main);

    if (server->accept_said_ms == 0 || now_ms - server->accept_said_ms > FULL_QUIET_MS) {
        server->accept_said_ms = now_ms;
        log_warn(&scope, EVENT_SERVER_ACCEPT_FAILED,
                 LOG_FIELDS(log_str("reason", str_c(strerror(error)))),
                 "cannot accept connections; trying again shortly");
    }
    for (size_t i = 0; i < server->listener_count; i++) {
        fd_watch(server->listeners[i].watch, 0);
    }
    timer_start(server->accept_timer, ACCEPT_PAUSE_MS);
}

static void
resume_accepting(void *arg)
{
    HttpServer *server = arg;

    for (size_t i = 0; i < server->listener_count; i++) {
        fd_watch(server->listeners[i].watch, LOOP_READABLE);
    }
}

static void
on_acceptable(void *arg, unsigned events DS_UNUSED)
{
    HttpListener *listener = arg;
    HttpServer *server = listener->server;
    /* Whoever wants to know why the server is full has to get in. */
    int64_t limit = server->connections_max + (listener->admin ? HTTP_ADMIN_CONNECTIONS_KEPT : 0);

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t length = sizeof(peer);
        int fd =
            accept4(listener->fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            pause_accepting(server, errno);
            return;
        }
        if (fd < 0 && errno == EAGAIN) {
            return;
        }
        if (fd < 0) {
            continue; /* the client was gone before we came to it */
        }
        if (atomic_load_explicit(&server->connections, memory_order_relaxed) >= limit) {
            turn_away(server, fd, listener->tls);
        } else if (listener->tls && !http_tls_has_room(server)) {
            (void)close(fd);
        } else {
            hand_to_loop(listener, fd, &peer);
        }
    }
}

/* ---- starting ---- */

static bool
add_listener(HttpServer *server, const char *address, int64_t port, bool admin, Error *err)
{
    int fd;

    if (!listener_inherited(admin ? 1 : 0, &fd, err)) {
        return false;
    }
    if (fd < 0 && !listener_open(address, port, &fd, err)) {
        return error_wrap(err, "%s", admin ? "DS_ADMIN__LISTEN" : "DS_SERVER__BIND_ADDRESS");
    }
    HttpListener *listener = &server->listeners[server->listener_count++];
    *listener = (HttpListener){
        .server = server, .fd = fd, .admin = admin, .tls = !admin && server->tls != NULL};
    return true;
}

static void
close_listeners(HttpServer *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        fd_free(server->listeners[i].watch);
        (void)close(server->listeners[i].fd);
    }
    server->listener_count = 0;
}

/* Each connection needs a descriptor: take all that the system grants, and say if that is less. */
static int64_t
connections_allowed(const ServerConfig *config)
{
    int64_t wanted = config->limits.connections;
    int64_t kept = FILES_KEPT + server_config_stream_files(config);
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return wanted;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        limit.rlim_cur >= (rlim_t)(wanted + kept)) {
        return wanted;
    }
    int64_t allowed = DS_MAX((int64_t)limit.rlim_cur - kept, (int64_t)CONNECTIONS_MIN);
    log_warn(&scope, EVENT_SERVER_FILES_LOW,
             LOG_FIELDS(log_i64("wanted", wanted), log_i64("allowed", allowed)),
             "the limit of open files allows fewer connections than DS_LIMITS__MAX_CONNECTIONS");
    return allowed;
}

static void
make_metrics(HttpServer *server, Metrics *metrics)
{
    static const char *const classes[] = {NULL,           NULL,           "code=\"2xx\"",
                                          "code=\"3xx\"", "code=\"4xx\"", "code=\"5xx\""};
    HttpServerMetrics *m = &server->metrics;

    server->registry = metrics;
    m->connections_total =
        metrics_counter(metrics, "ds_http_connections_total", NULL, "Connections accepted.");
    m->connections_refused = metrics_counter(metrics, "ds_http_connections_refused_total", NULL,
                                             "Connections refused at the limit.");
    m->connections_open =
        metrics_gauge(metrics, "ds_http_connections", NULL, "Connections open now.");
    for (size_t i = 0; i < DS_COUNT(classes); i++) {
        if (classes[i] != NULL) {
            m->replies[i] = metrics_counter(metrics, "ds_http_replies_total", classes[i],
                                            "Replies by class of status.");
        }
    }
    m->received_bytes =
        metrics_counter(metrics, "ds_http_received_bytes_total", NULL, "Bytes read from clients.");
    m->sent_bytes =
        metrics_counter(metrics, "ds_http_sent_bytes_total", NULL, "Bytes written to clients.");
    m->timeouts = metrics_counter(metrics, "ds_http_timeouts_total", NULL,
                                  "Connections ended because a client was too slow.");
    m->aborted =
        metrics_counter(metrics, "ds_http_aborted_total", NULL, "Replies cut before their end.");
    m->body_bytes = metrics_gauge(metrics, "ds_http_inflight_body_bytes", NULL,
                                  "Memory of request bodies being received.");
}

static void
start_threads(HttpServer *server)
{
    int64_t threads = server->config->threads;

    if (threads == 0) {
        threads = cores_allowed();
    }
    server->loop_count = (unsigned)DS_MIN(threads, (int64_t)HTTP_LOOPS_MAX);
    for (unsigned i = 0; i < server->loop_count; i++) {
        server->loops[i] = net_loop_new(server, i);
    }
}

static void
announce(HttpServer *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        HttpListener *listener = &server->listeners[i];
        char address[LISTENER_ADDRESS_BYTES_MAX];

        listener->watch = fd_new(server->main, listener->fd, on_acceptable, listener);
        fd_watch(listener->watch, LOOP_READABLE);
        listener_local_address(listener->fd, address);
        if (listener->admin) {
            log_info(&scope, LOG_FIELDS(log_str("addr", str_c(address))), "admin listening");
        } else {
            log_info(&scope,
                     LOG_FIELDS(log_str("addr", str_c(address)),
                                log_u64("threads", server->loop_count),
                                log_str("tls", listener->tls ? STR("on") : STR("off"))),
                     "listening");
        }
    }
}

static void on_loop_empty(void *arg);
static void on_drain_timeout(void *arg);

bool
http_server_new(const HttpServerOptions *options, HttpServer **out, Error *err)
{
    const ServerConfig *config = options->config;
    HttpServer *server = mem_zalloc(sizeof(*server));

    server->config = config;
    server->handlers = options->handlers;
    server->main = options->main;
    server->on_stopped = options->on_stopped;
    server->on_stopped_arg = options->on_stopped_arg;
    make_metrics(server, options->metrics);
    if (!cors_new(str_c(config->cors_origins), &server->cors, err) ||
        !http_tls_start(server, err)) {
        goto fail;
    }
    /* The admin listener first: when the line of the main one is logged, both are there. */
    if (strcmp(config->admin_listen, "off") != 0 &&
        !add_listener(server, config->admin_listen, 0, true, err)) {
        goto fail;
    }
    if (!add_listener(server, config->bind_address, config->port, false, err)) {
        goto fail;
    }
    server->connections_max = connections_allowed(config);
    server->main_wake = wake_new(server->main, on_loop_empty, server);
    server->drain_timer = timer_new(server->main, on_drain_timeout, server);
    server->accept_timer = timer_new(server->main, resume_accepting, server);
    start_threads(server);
    announce(server);
    *out = server;
    return true;

fail:
    close_listeners(server);
    http_tls_stop(server);
    cors_free(server->cors);
    free(server);
    return false;
}

/* ---- stopping ---- */

static void
post_to_all(HttpServer *server, LoopFn fn)
{
    for (unsigned i = 0; i < server->loop_count; i++) {
        net_loop_post(server->loops[i], fn, server->loops[i]);
    }
}

static void
on_drain_timeout(void *arg)
{
    HttpServer *server = arg;

    log_warn(&scope, EVENT_SERVER_DRAIN_TIMEOUT,
             LOG_FIELDS(log_i64("connections", atomic_load(&server->connections))),
             "connections are still open after the time to drain; they are cut");
    post_to_all(server, net_loop_force_close);
}

void
http_server_stop(HttpServer *server)
{
    if (server->stopping) {
        post_to_all(server, net_loop_force_close);
        return;
    }
    server->stopping = true;
    log_info(&scope, LOG_FIELDS(log_i64("connections", atomic_load(&server->connections))),
             "stopping");
    timer_stop(server->accept_timer);
    close_listeners(server);
    post_to_all(server, net_loop_begin_drain);
    timer_start(server->drain_timer, server->config->timeouts.drain_ms);
}

bool
http_server_is_alive(HttpServer *server)
{
    bool alive = true;

    if (server->stopping) {
        return true; /* that has a limit of its own */
    }
    for (unsigned i = 0; i < server->loop_count; i++) {
        alive = net_loop_ping(server->loops[i]) && alive;
    }
    return alive;
}

static void
on_loop_empty(void *arg)
{
    HttpServer *server = arg;

    if (server->finishing || atomic_load(&server->loops_empty) < server->loop_count) {
        return;
    }
    server->finishing = true;
    timer_stop(server->drain_timer);
    post_to_all(server, net_loop_finish);
    for (unsigned i = 0; i < server->loop_count; i++) {
        net_loop_join(server->loops[i]);
    }
    for (unsigned i = 0; i < server->loop_count; i++) {
        net_loop_run_leftovers(server->loops[i]);
    }
    server->on_stopped(server->on_stopped_arg);
}

void
http_server_free(HttpServer *server)
{
    if (server == NULL) {
        return;
    }
    for (unsigned i = 0; i < server->loop_count; i++) {
        net_loop_free(server->loops[i]);
    }
    close_listeners(server);
    timer_free(server->drain_timer);
    timer_free(server->accept_timer);
    http_tls_stop(server);
    wake_free(server->main_wake);
    cors_free(server->cors);
    free(server);
}
