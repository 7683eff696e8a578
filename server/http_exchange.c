/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_exchange.c -- what a handler may ask of its exchange: the request, later answers,
 * streams.  The contract is server/http.h.
 */
#include "server/http.h"

#include "common/mem.h"
#include "server/http_conn.h"
#include "server/http_reply.h"

#define CHUNK_SIZE_BYTES_MAX (2 * sizeof(size_t) + 2) /* digits, CR LF */

/* ---- the request ---- */

const HttpRequestView *
exchange_request(const HttpExchange *exchange)
{
    const HttpConn *conn = conn_of_const(exchange);

    DS_ASSERT(conn->loop->current == conn);
    return &conn->loop->view;
}

bool
exchange_field(const HttpExchange *exchange, const char *name, Str *out, size_t *out_count)
{
    const HttpRequestView *view = exchange_request(exchange);

    if ((view->initials & http_initial(name[0])) == 0) {
        if (out_count != NULL) {
            *out_count = 0;
        }
        return false;
    }
    return http_fields_get(view->fields, view->field_count, str_c(name), out, out_count);
}

char *
exchange_body_take(HttpExchange *exchange, size_t *out_len)
{
    HttpConn *conn = conn_of(exchange);
    Str body = exchange_request(exchange)->body;
    char *taken = NULL;

    *out_len = body.len;
    if (body.len == 0) {
        return NULL;
    }
    if (body.ptr == conn->body.data) {
        taken = buf_take(&conn->body);
        http_conn_body_release(conn);
    } else {
        taken = str_dup(body);
    }
    return taken;
}

NetLoop *
exchange_loop(const HttpExchange *exchange)
{
    return conn_of_const(exchange)->loop;
}

/* ---- later answers ---- */

void
exchange_wait(HttpExchange *exchange, HttpCancelFn on_cancel, void *arg)
{
    HttpConn *conn = conn_of(exchange);

    DS_ASSERT(conn->state == HTTP_CONN_HANDLING || conn->state == HTTP_CONN_STREAMING);
    DS_ASSERT(on_cancel != NULL);
    exchange->on_cancel = on_cancel;
    exchange->arg = arg;
}

void
exchange_outlives_eof(HttpExchange *exchange)
{
    exchange->outlives_eof = true;
}

void
exchange_abort(HttpExchange *exchange)
{
    http_conn_abort(conn_of(exchange));
}

/* ---- streams ---- */

void
stream_start(HttpExchange *exchange, HttpDrainedFn on_drained)
{
    HttpConn *conn = conn_of(exchange);

    DS_ASSERT(exchange->on_cancel != NULL && exchange->method != HTTP_METHOD_HEAD);
    exchange->on_drained = on_drained;
    exchange->drain_due = true;
    exchange->chunked = exchange->minor >= 1;
    if (!exchange->chunked) {
        exchange->keep_alive = false;
    }
    http_reply_end_stream_head(exchange);
    http_conn_streaming(conn);
}

/* Thousands of subscribers get each event: printf would take a tenth of what that costs. */
static Str
chunk_size_line(size_t size, char room[CHUNK_SIZE_BYTES_MAX])
{
    static const char digits[] = "0123456789abcdef";
    char *at = room + CHUNK_SIZE_BYTES_MAX;

    *--at = '\n';
    *--at = '\r';
    do {
        *--at = digits[size & 15];
        size >>= 4;
    } while (size > 0);
    return str_n(at, (size_t)(room + CHUNK_SIZE_BYTES_MAX - at));
}

bool
stream_write(HttpExchange *exchange, const HttpPiece *pieces, size_t count)
{
    HttpConn *conn = conn_of(exchange);
    size_t limit = (size_t)conn->loop->server->config->limits.subscriber_backlog_bytes;
    size_t total = 0;

    DS_ASSERT(conn->state == HTTP_CONN_STREAMING);
    for (size_t i = 0; i < count; i++) {
        DS_ASSERT(pieces[i].file == NULL);
        total += pieces[i].bytes.len;
    }
    if (conn->out.bytes > 0 && conn->out.bytes + total > limit) {
        return false;
    }
    if (total == 0) {
        return true; /* an empty chunk would end the body */
    }
    if (exchange->chunked) {
        char room[CHUNK_SIZE_BYTES_MAX];

        http_out_copy(&conn->out, chunk_size_line(total, room));
    }
    for (size_t i = 0; i < count; i++) {
        http_out_piece(&conn->out, &pieces[i]);
    }
    if (exchange->chunked) {
        http_out_copy(&conn->out, STR("\r\n"));
    }
    exchange->drain_due = true;
    http_conn_mark_dirty(conn);
    return true;
}

size_t
stream_backlog(const HttpExchange *exchange)
{
    return conn_of_const(exchange)->out.bytes;
}

void
stream_end(HttpExchange *exchange)
{
    HttpConn *conn = conn_of(exchange);

    DS_ASSERT(conn->state == HTTP_CONN_STREAMING);
    if (exchange->chunked) {
        http_out_copy(&conn->out, STR("0\r\n\r\n"));
    }
    http_conn_replied(conn);
}

/* ---- bytes ---- */

typedef struct HeldBytes {
    HttpHold hold;
    char *data;
} HeldBytes;

static void
release_held(HttpHold *hold)
{
    HeldBytes *held = DS_CONTAINER_OF(hold, HeldBytes, hold);

    free(held->data);
    free(held);
}

HttpHold *
http_hold_new(char *data)
{
    HeldBytes *held = mem_alloc(sizeof(*held));

    http_hold_init(&held->hold, release_held);
    held->data = data;
    return &held->hold;
}
