/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_reply.c -- heads, complete replies and problem documents.
 *
 * A head is made in memory of the loop's, for the handler finishes it before any other is begun;
 * whole, it goes to the connection's queue at once.
 */
#include "server/http_reply.h"

#include "common/log.h"
#include "server/http_conn.h"
#include "server/net_loop.h"

#define PROBLEM_BYTES_MAX 32768

static const LogScope scope = {.name = "server.http"};

static const struct {
    int status;
    Str text;
} statuses[] = {
    {200, STR("200 OK")},
    {201, STR("201 Created")},
    {204, STR("204 No Content")},
    {304, STR("304 Not Modified")},
    {400, STR("400 Bad Request")},
    {401, STR("401 Unauthorized")},
    {403, STR("403 Forbidden")},
    {404, STR("404 Not Found")},
    {405, STR("405 Method Not Allowed")},
    {408, STR("408 Request Timeout")},
    {409, STR("409 Conflict")},
    {410, STR("410 Gone")},
    {412, STR("412 Precondition Failed")},
    {413, STR("413 Content Too Large")},
    {414, STR("414 URI Too Long")},
    {415, STR("415 Unsupported Media Type")},
    {417, STR("417 Expectation Failed")},
    {422, STR("422 Unprocessable Content")},
    {429, STR("429 Too Many Requests")},
    {431, STR("431 Request Header Fields Too Large")},
    {500, STR("500 Internal Server Error")},
    {501, STR("501 Not Implemented")},
    {503, STR("503 Service Unavailable")},
    {505, STR("505 HTTP Version Not Supported")},
    {507, STR("507 Insufficient Storage")},
};

Str
http_status_line(int status)
{
    for (size_t i = 0; i < DS_COUNT(statuses); i++) {
        if (statuses[i].status == status) {
            return statuses[i].text;
        }
    }
    DS_ASSERT(status != 500);
    return http_status_line(500);
}

/* ---- heads ---- */

static void
put(HttpExchange *exchange, Str bytes)
{
    NetLoop *loop = conn_of(exchange)->loop;

    DS_ASSERT(loop->replying == exchange && bytes.len <= sizeof(loop->reply) - loop->reply_len);
    memcpy(loop->reply + loop->reply_len, bytes.ptr, bytes.len);
    loop->reply_len += bytes.len;
}

void
reply_start(HttpExchange *exchange, int status)
{
    HttpConn *conn = conn_of(exchange);
    NetLoop *loop = conn->loop;
    bool shared = exchange->method == HTTP_METHOD_GET || exchange->method == HTTP_METHOD_HEAD;

    DS_ASSERT(conn->state == HTTP_CONN_HANDLING);
    loop->replying = exchange;
    loop->reply_len = 0;
    loop->reply_overflow = false;
    exchange->status = status;
    put(exchange, STR("HTTP/1.1 "));
    put(exchange, http_status_line(status));
    put(exchange, STR("\r\n"));
    put(exchange, net_loop_common_fields(loop));
    put(exchange, cors_lines(loop->server->cors, exchange->cors, shared));
}

/* Values come from requests, too: no byte of one may start a new line. */
static void
put_clean(HttpExchange *exchange, Str value)
{
    if (!str_contains_ctl(value)) {
        put(exchange, value);
        return;
    }
    for (size_t i = 0; i < value.len; i++) {
        Str c = str_slice(value, i, i + 1);

        put(exchange, str_contains_ctl(c) ? STR(" ") : c);
    }
}

void
reply_field(HttpExchange *exchange, const char *name, Str value)
{
    NetLoop *loop = conn_of(exchange)->loop;
    Str name_text = str_c(name);

    DS_ASSERT(loop->replying == exchange);
    if (loop->reply_len + name_text.len + value.len + 4 > HTTP_REPLY_HEAD_BYTES_MAX) {
        loop->reply_overflow = true;
        return;
    }
    put(exchange, name_text);
    put(exchange, STR(": "));
    put_clean(exchange, value);
    put(exchange, STR("\r\n"));
}

static Str
decimal(uint64_t value, char room[24])
{
    char *at = room + 24;

    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return str_n(at, (size_t)(room + 24 - at));
}

void
reply_field_u64(HttpExchange *exchange, const char *name, uint64_t value)
{
    char room[24];

    reply_field(exchange, name, decimal(value, room));
}

/* The request, while it is being handled; a late answer has no view of it any more. */
static const HttpRequestView *
view_of(const HttpConn *conn)
{
    static const HttpRequestView none = {.method_text = {"", 0}, .path = {"", 0}};

    return conn->loop->current == conn ? &conn->loop->view : &none;
}

/* Connection and the empty line: from here on the head can be sent. */
static void
end_head(HttpExchange *exchange)
{
    HttpConn *conn = conn_of(exchange);
    NetLoop *loop = conn->loop;

    if (!exchange->keep_alive) {
        put(exchange, STR("Connection: close\r\n"));
    } else if (exchange->minor == 0) {
        put(exchange, STR("Connection: keep-alive\r\n"));
    }
    put(exchange, STR("\r\n"));
    http_out_copy(&conn->out, str_n(loop->reply, loop->reply_len));
    loop->replying = NULL;
    metric_add(loop->server->metrics.replies[exchange->status / 100], 1);
    log_debug(&scope,
              LOG_FIELDS(log_str("peer", str_c(conn->peer)), log_i64("status", exchange->status),
                         log_str("method", view_of(conn)->method_text),
                         log_str("path", view_of(conn)->path)),
              "answered");
}

/* ---- complete replies ---- */

void
reply_send(HttpExchange *exchange, const HttpPiece *pieces, size_t count)
{
    HttpConn *conn = conn_of(exchange);
    bool head_only = exchange->method == HTTP_METHOD_HEAD;
    uint64_t total = 0;

    DS_ASSERT(conn->loop->replying == exchange);
    if (conn->loop->reply_overflow) {
        reply_problem(exchange, 500, "INTERNAL_ERROR", "the reply's header fields are too long");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        total += pieces[i].bytes.len;
    }
    if (exchange->status == 204 || exchange->status == 304) {
        head_only = true;
    } else if (total > 0 || !head_only) {
        char room[24];

        put(exchange, STR("Content-Length: "));
        put(exchange, decimal(total, room));
        put(exchange, STR("\r\n"));
    }
    end_head(exchange);
    for (size_t i = 0; i < count && !head_only; i++) {
        http_out_piece(&conn->out, &pieces[i]);
    }
    http_conn_replied(conn);
}

void
http_reply_end_stream_head(HttpExchange *exchange)
{
    const NetLoop *loop = conn_of(exchange)->loop;

    DS_ASSERT(loop->replying == exchange && !loop->reply_overflow);
    if (exchange->chunked) {
        put(exchange, STR("Transfer-Encoding: chunked\r\n"));
    }
    end_head(exchange);
}

void
http_reply_preflight(HttpExchange *exchange)
{
    reply_start(exchange, 204);
    if (exchange->cors.kind != CORS_NONE) {
        put(exchange, cors_preflight_lines());
    }
    put(exchange, STR("Allow: GET, POST, PUT, DELETE, HEAD, OPTIONS\r\n"));
    reply_send(exchange, NULL, 0);
}

/* ---- problem documents (RFC 9457) ---- */

static bool
put_json_text(Buf *out, Str text, Error *err)
{
    bool utf8 = str_is_utf8(text);

    if (!buf_append_char(out, '"', err)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool ok;

        if (c == '"' || c == '\\') {
            ok = buf_printf(out, err, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            ok = buf_printf(out, err, "\\u%04x", c);
        } else {
            ok = buf_append_char(out, c < 0x80 || utf8 ? (char)c : '?', err);
        }
        if (!ok) {
            return false;
        }
    }
    return buf_append_char(out, '"', err);
}

static bool
put_problem(Buf *out, int status, Str code, Str detail, Str instance, Error *err)
{
    Str title = str_skip(http_status_line(status), 4);

    if (!buf_append(out, STR("{\"type\":\"about:blank\",\"title\":"), err) ||
        !put_json_text(out, title, err) ||
        !buf_printf(out, err, ",\"status\":%d,\"code\":", status) ||
        !put_json_text(out, code, err)) {
        return false;
    }
    if (detail.len > 0 &&
        (!buf_append(out, STR(",\"detail\":"), err) || !put_json_text(out, detail, err))) {
        return false;
    }
    if (instance.len > 0 &&
        (!buf_append(out, STR(",\"instance\":"), err) || !put_json_text(out, instance, err))) {
        return false;
    }
    return buf_append(out, STR("}\n"), err);
}

void
reply_problem_start(HttpExchange *exchange, int status)
{
    reply_start(exchange, status);
    reply_field(exchange, "Content-Type", STR("application/problem+json"));
    reply_field(exchange, "Cache-Control", STR("no-store"));
}

void
reply_problem_send(HttpExchange *exchange, const char *code, const char *detail)
{
    const HttpConn *conn = conn_of(exchange);
    Str instance = view_of(conn)->path;
    Error err;
    Buf body;

    buf_init(&body, PROBLEM_BYTES_MAX);
    if (!put_problem(&body, exchange->status, str_c(code), str_c(detail), instance, &err)) {
        buf_reset(&body);
        DS_ASSERT(put_problem(&body, exchange->status, str_c(code), STR_EMPTY, STR_EMPTY, &err));
    }
    reply_send(exchange, &(HttpPiece){.bytes = buf_str(&body)}, 1);
    buf_done(&body);
}

void
reply_problem(HttpExchange *exchange, int status, const char *code, const char *detail)
{
    reply_problem_start(exchange, status);
    reply_problem_send(exchange, code, detail);
}
