/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/status.h"

#include <sys/queue.h>
#include <uv.h>

#include "common/http_parse.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/parse.h"
#include "syncd/gauges.h"

static const LogScope scope = {.name = "syncd.status"};

#define BODY_BYTES_MAX (64u << 20)
#define LISTEN_BACKLOG 64

typedef struct Connection {
    LIST_ENTRY(Connection) link;
    Status *status;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    unsigned handles; /* that are not closed yet */
    bool answered;
    size_t scanned;
    char head[STATUS_HEAD_BYTES_MAX];
    size_t head_len;
    char drop[1024]; /* what comes behind the head goes here */
    Buf reply;
} Connection;

struct Status {
    Loop *loop;
    StatusConfig config;
    uv_tcp_t listener;
    LIST_HEAD(, Connection) connections;
    size_t count;
    Gauges *gauges;
};

static void
connection_handle_closed(uv_handle_t *handle)
{
    Connection *connection = handle->data;

    if (--connection->handles == 0) {
        buf_done(&connection->reply);
        free(connection);
    }
}

static void
connection_close(Connection *connection)
{
    if (uv_is_closing((uv_handle_t *)&connection->tcp)) {
        return;
    }
    LIST_REMOVE(connection, link);
    connection->status->count--;
    uv_close((uv_handle_t *)&connection->tcp, connection_handle_closed);
    uv_close((uv_handle_t *)&connection->timer, connection_handle_closed);
}

static void
connection_on_timer(uv_timer_t *timer)
{
    connection_close(timer->data);
}

/* The client may still be sending a body: closing now could reset the answer away. */
static void
connection_on_shutdown(uv_shutdown_t *request, int status)
{
    if (status < 0) {
        connection_close(request->data);
    }
}

static void
connection_on_written(uv_write_t *request, int status)
{
    Connection *connection = request->data;

    if (status < 0 || uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp,
                                  connection_on_shutdown) != 0) {
        connection_close(connection);
    }
}

/* Builds the reply around a body; false when it does not fit (then the connection is just closed).
 */
static bool
reply_build(Connection *connection, int status, const char *type, Str body, bool head_only,
            Error *err)
{
    const char *phrase = status == 200   ? "OK"
                         : status == 404 ? "Not Found"
                         : status == 405 ? "Method Not Allowed"
                         : status == 503 ? "Service Unavailable"
                                         : "Bad Request";

    return buf_printf(&connection->reply, err,
                      "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
                      "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                      "Connection: close\r\n\r\n",
                      status, phrase, type, body.len,
                      status == 405 ? "Allow: GET, HEAD\r\n" : "") &&
           (head_only || buf_append(&connection->reply, body, err));
}

static void
connection_reply(Connection *connection, int status, const char *type, Str body, bool head_only)
{
    Error err;

    connection->answered = true;
    if (!reply_build(connection, status, type, body, head_only, &err)) {
        connection_close(connection);
        return;
    }
    uv_buf_t part = uv_buf_init(connection->reply.data, (unsigned)connection->reply.len);
    connection->write.data = connection;
    connection->shutdown.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &part, 1,
                 connection_on_written) != 0) {
        connection_close(connection);
    }
}

static void
connection_answer(Connection *connection, const HttpRequestHead *head)
{
    static const char text[] = "text/plain; charset=utf-8";
    const StatusConfig *config = &connection->status->config;
    bool head_only = head->method == HTTP_METHOD_HEAD;
    Error err = {0};
    Buf body;

    buf_init(&body, BODY_BYTES_MAX);
    if (head->method != HTTP_METHOD_GET && head->method != HTTP_METHOD_HEAD) {
        connection_reply(connection, 405, text, STR("GET or HEAD only\n"), false);
    } else if (str_eq(head->path, STR("/livez"))) {
        connection_reply(connection, 200, text, STR("ok\n"), head_only);
    } else if (str_eq(head->path, STR("/readyz"))) {
        const char *why;
        bool ready = discovery_is_ready(*config->discovery, config->supervisor, &why);

        if (buf_printf(&body, &err, "%s\n", why)) {
            connection_reply(connection, ready ? 200 : 503, text, buf_str(&body), head_only);
        }
    } else if (str_eq(head->path, STR("/metrics"))) {
        gauges_count(connection->status->gauges, config->supervisor, *config->discovery);
        if (metrics_render(config->metrics, &body, &err)) {
            connection_reply(connection, 200, "text/plain; version=0.0.4; charset=utf-8",
                             buf_str(&body), head_only);
        }
    } else if (str_eq(head->path, STR("/status"))) {
        if (status_json(config->supervisor, *config->discovery, config->instance, &body, &err)) {
            connection_reply(connection, 200, "application/json", buf_str(&body), head_only);
        }
    } else {
        connection_reply(connection, 404, text, STR("/livez /readyz /metrics /status\n"),
                         head_only);
    }
    buf_done(&body);
    if (!connection->answered) {
        connection_close(connection); /* the body outgrew its limit */
    }
}

static void
connection_parse(Connection *connection)
{
    HttpRequestHead head;
    HttpParseFault fault = {0};

    switch (http_parse_head(str_n(connection->head, connection->head_len), &connection->scanned,
                            &head, &fault)) {
    case HTTP_PARSE_MORE:
        if (connection->head_len == sizeof(connection->head)) {
            connection_reply(connection, 400, "text/plain", STR("the head is too long\n"), false);
        }
        break;
    case HTTP_PARSE_DONE:
        connection_answer(connection, &head);
        break;
    case HTTP_PARSE_DATA:
    case HTTP_PARSE_BAD:
        connection_reply(connection, 400, "text/plain", STR("bad request\n"), false);
        break;
    }
}

static void
connection_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    Connection *connection = handle->data;

    (void)suggested; /* what there is must do */
    *out = connection->answered
               ? uv_buf_init(connection->drop, sizeof(connection->drop))
               : uv_buf_init(connection->head + connection->head_len,
                             (unsigned)(sizeof(connection->head) - connection->head_len));
}

static void
connection_on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    Connection *connection = stream->data;

    (void)buf; /* it lies in the connection */
    if (count < 0) {
        connection_close(connection);
    } else if (count > 0 && !connection->answered) {
        connection->head_len += (size_t)count;
        connection_parse(connection);
    }
}

static void
status_on_connection(uv_stream_t *listener, int result)
{
    Status *status = listener->data;
    uv_loop_t *uv = loop_uv(status->loop);

    if (result < 0) {
        return; /* the next one may be better */
    }
    Connection *connection = mem_zalloc(sizeof(*connection));
    connection->status = status;
    connection->handles = 2;
    buf_init(&connection->reply, BODY_BYTES_MAX + 4096);
    (void)uv_tcp_init(uv, &connection->tcp); /* cannot fail: no socket is made yet */
    (void)uv_timer_init(uv, &connection->timer);
    connection->tcp.data = connection;
    connection->timer.data = connection;
    LIST_INSERT_HEAD(&status->connections, connection, link);
    status->count++;
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) != 0 ||
        status->count > STATUS_CONNECTIONS_MAX ||
        uv_timer_start(&connection->timer, connection_on_timer, STATUS_CONNECTION_MS, 0) != 0 ||
        uv_read_start((uv_stream_t *)&connection->tcp, connection_on_alloc, connection_on_read) !=
            0) {
        connection_close(connection);
    }
}

static bool
listen_address(const char *listen, struct sockaddr_storage *out, Error *err)
{
    Str text = str_c(listen);
    const char *colon = strrchr(listen, ':');
    char host[64];
    uint64_t port;

    if (colon == NULL || !parse_u64(str_c(colon + 1), UINT16_MAX, &port)) {
        return error_set(err, ERR_CONFIG, "SYNCD_LISTEN is \"%s\"; it must be ADDRESS:PORT, or off",
                         listen);
    }
    Str address = str_slice(text, 0, (size_t)(colon - listen));
    if (str_starts(address, STR("[")) && str_ends(address, STR("]"))) {
        address = str_slice(address, 1, address.len - 1);
    }
    if (address.len >= sizeof(host)) {
        return error_set(err, ERR_CONFIG, "SYNCD_LISTEN: the address is too long");
    }
    memcpy(host, address.ptr, address.len);
    host[address.len] = '\0';
    if (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)out) != 0 &&
        uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)out) != 0) {
        return error_set(err, ERR_CONFIG, "SYNCD_LISTEN: \"%s\" is no IP address", host);
    }
    return true;
}

bool
status_listen_check(const char *listen, Error *err)
{
    struct sockaddr_storage address;

    return strcmp(listen, "off") == 0 || listen_address(listen, &address, err);
}

static void
status_log_address(const Status *status)
{
    struct sockaddr_storage address = {0};
    int length = sizeof(address);
    char host[64] = "";
    char text[80];
    unsigned port;

    (void)uv_tcp_getsockname(&status->listener, (struct sockaddr *)&address, &length);
    if (address.ss_family == AF_INET6) {
        (void)uv_ip6_name((struct sockaddr_in6 *)&address, host, sizeof(host));
        port = ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
        (void)snprintf(text, sizeof(text), "[%s]:%u", host, port);
    } else {
        (void)uv_ip4_name((struct sockaddr_in *)&address, host, sizeof(host));
        port = ntohs(((struct sockaddr_in *)&address)->sin_port);
        (void)snprintf(text, sizeof(text), "%s:%u", host, port);
    }
    log_info(&scope, LOG_FIELDS(log_str("addr", str_c(text))), "listening");
}

static void
status_handle_closed(uv_handle_t *handle)
{
    free(handle->data);
}

Status *
status_new(Loop *loop, const StatusConfig *config, Error *err)
{
    struct sockaddr_storage address = {0};
    Status *status;
    int failed;

    if (!listen_address(config->listen, &address, err)) {
        return NULL;
    }
    status = mem_zalloc(sizeof(*status));
    status->loop = loop;
    status->config = *config;
    LIST_INIT(&status->connections);
    (void)uv_tcp_init(loop_uv(loop), &status->listener); /* cannot fail: no socket is made yet */
    status->listener.data = status;
    failed = uv_tcp_bind(&status->listener, (struct sockaddr *)&address, 0);
    if (failed == 0) {
        failed = uv_listen((uv_stream_t *)&status->listener, LISTEN_BACKLOG, status_on_connection);
    }
    if (failed != 0) {
        (void)error_set(err, ERR_CONFIG, "SYNCD_LISTEN: %s: %s", config->listen,
                        uv_strerror(failed));
        uv_close((uv_handle_t *)&status->listener, status_handle_closed);
        return NULL;
    }
    status->gauges = gauges_new(config->metrics);
    status_log_address(status);
    return status;
}

void
status_free(Status *status)
{
    if (status == NULL) {
        return;
    }
    while (!LIST_EMPTY(&status->connections)) {
        connection_close(LIST_FIRST(&status->connections));
    }
    gauges_free(status->gauges);
    uv_close((uv_handle_t *)&status->listener, status_handle_closed);
}
