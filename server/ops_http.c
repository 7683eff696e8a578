/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ops_http.h"

#include "server/http_internal.h"
#include "server/http_reply.h"

static void
send_text(HttpExchange *exchange, int status, Str text)
{
    reply_start(exchange, status);
    reply_field(exchange, "Content-Type", STR("text/plain; charset=utf-8"));
    reply_field(exchange, "Cache-Control", STR("no-store"));
    reply_send(exchange, &(HttpPiece){.bytes = text}, 1);
}

static void
answer_health(HttpServer *server DS_UNUSED, HttpExchange *exchange)
{
    send_text(exchange, 200, STR("ok\n"));
}

static void
answer_ready(HttpServer *server, HttpExchange *exchange)
{
    if (exchange_loop(exchange)->draining) {
        send_text(exchange, 503, STR("stopping\n"));
    } else if (server->handlers.ready != NULL && !server->handlers.ready(server->handlers.app)) {
        send_text(exchange, 503, STR("not ready\n"));
    } else {
        send_text(exchange, 200, STR("ready\n"));
    }
}

static void
answer_metrics(HttpServer *server, HttpExchange *exchange)
{
    Error err;
    Buf text;

    metric_set(server->metrics.connections_open, atomic_load(&server->connections));
    metric_set(server->metrics.body_bytes, atomic_load(&server->inflight_body_bytes));
    buf_init(&text, OPS_METRICS_BYTES_MAX);
    if (!metrics_render(server->registry, &text, &err)) {
        buf_done(&text);
        reply_problem(exchange, 500, "INTERNAL_ERROR", err.text);
        return;
    }
    size_t length = text.len;
    char *data = buf_take(&text);
    HttpHold *hold = http_hold_new(data);
    reply_start(exchange, 200);
    reply_field(exchange, "Content-Type", STR("text/plain; version=0.0.4; charset=utf-8"));
    reply_send(exchange, &(HttpPiece){.bytes = str_n(data, length), .hold = hold}, 1);
    http_hold_drop(hold);
}

static const struct {
    Str path;
    bool admin_only;
    void (*answer)(HttpServer *server, HttpExchange *exchange);
} pages[] = {
    {STR("/healthz"), false, answer_health},
    {STR("/health"), false, answer_health},
    {STR("/readyz"), false, answer_ready},
    {STR("/metrics"), true, answer_metrics},
};

static void
answer_page(HttpServer *server, HttpExchange *exchange, size_t page)
{
    HttpMethod method = exchange_request(exchange)->method;

    if (method != HTTP_METHOD_GET && method != HTTP_METHOD_HEAD) {
        reply_problem_start(exchange, 405);
        reply_field(exchange, "Allow", STR("GET, HEAD"));
        reply_problem_send(exchange, "METHOD_NOT_ALLOWED", "");
        return;
    }
    pages[page].answer(server, exchange);
}

bool
ops_http_answer(HttpServer *server, HttpExchange *exchange)
{
    const HttpRequestView *request = exchange_request(exchange);
    Str origin;

    if (request->admin && exchange_field(exchange, "Origin", &origin, NULL)) {
        reply_problem(exchange, 403, "FORBIDDEN", "the admin listener does not serve browsers");
        return true;
    }
    if (!request->admin && request->method == HTTP_METHOD_OPTIONS) {
        http_reply_preflight(exchange);
        return true;
    }
    for (size_t i = 0; i < DS_COUNT(pages); i++) {
        if (str_eq(request->path, pages[i].path) && (request->admin || !pages[i].admin_only)) {
            answer_page(server, exchange, i);
            return true;
        }
    }
    return false;
}
