/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_conn_read.c -- the requests of a connection: from the socket to the handler.
 *
 * What comes is looked at in the loop's own input buffer; only what is incomplete is kept, so an
 * idle connection owns no buffer.  One request is handled at a time: while it waits for its answer,
 * a bounded amount of what follows is kept and then the socket is left alone.
 */
#include "server/http_conn_internal.h"

#include "common/log.h"
#include "server/ops_http.h"

#define BODY_READ_BYTES     65536 /* room made for a body of known length, at a time */
#define BODY_READS_PER_TURN 4
#define LINGER_READS        4

static const LogScope scope = {.name = "server.http"};

/* ---- handing over ---- */

static void
fill_view(HttpConn *conn, Str body)
{
    const HttpRequestHead *head = &conn->loop->head;

    conn->loop->view = (HttpRequestView){
        .method = head->method,
        .method_text = head->method_text,
        .path = head->path,
        .query = head->query,
        .has_query = head->has_query,
        .host = head->host,
        .body = body,
        .peer = str_c(conn->peer),
        .minor = head->minor,
        .admin = conn->admin,
        .tls = conn->transport.tls != NULL,
        .initials = head->initials,
        .field_count = head->field_count,
        .fields = head->fields,
    };
}

static void
hand_over(HttpConn *conn, Str body)
{
    NetLoop *loop = conn->loop;
    const HttpHandlers *handlers = &loop->server->handlers;
    HttpExchange *exchange = &conn->exchange;

    http_conn_enter(conn, HTTP_CONN_HANDLING);
    fill_view(conn, body);
    loop->current = conn;
    if (!ops_http_answer(loop->server, exchange)) {
        (conn->admin ? handlers->admin : handlers->request)(exchange);
    }
    loop->current = NULL;
    if (conn->state == HTTP_CONN_HANDLING) {
        DS_ASSERT(exchange->on_cancel != NULL); /* the handler answered or waits */
    }
    if (conn->state != HTTP_CONN_CLOSED) {
        http_conn_body_release(conn);
        buf_done(&conn->head);
    }
}

void
http_conn_refuse(HttpConn *conn, int status, const char *text)
{
    static const struct {
        int status;
        const char *code;
    } codes[] = {
        {400, "BAD_REQUEST"},     {408, "REQUEST_TIMEOUT"},    {413, "PAYLOAD_TOO_LARGE"},
        {414, "URI_TOO_LONG"},    {417, "EXPECTATION_FAILED"}, {431, "HEADERS_TOO_LARGE"},
        {501, "NOT_IMPLEMENTED"}, {503, "UNAVAILABLE"},        {505, "HTTP_VERSION_NOT_SUPPORTED"},
    };
    const char *code = "BAD_REQUEST";

    for (size_t i = 0; i < DS_COUNT(codes); i++) {
        code = codes[i].status == status ? codes[i].code : code;
    }
    conn->exchange.keep_alive = false;
    http_conn_body_release(conn); /* the connection may linger for a while */
    buf_done(&conn->head);
    http_conn_enter(conn, HTTP_CONN_HANDLING);
    reply_problem_start(&conn->exchange, status);
    if (status == 503) {
        reply_field_u64(&conn->exchange, "Retry-After", 1);
    }
    reply_problem_send(&conn->exchange, code, text);
}

/* Nothing is known of the client: answer as to a GET of HTTP/1.1. */
static void
refuse_unread(HttpConn *conn, const HttpParseFault *fault)
{
    conn->exchange = (HttpExchange){.method = HTTP_METHOD_GET, .minor = 1};
    http_conn_refuse(conn, fault->status, fault->text);
}

/* ---- reading a request ---- */

static bool
append_body(HttpConn *conn, Str data)
{
    HttpServer *server = conn->loop->server;
    Error err;

    if (!buf_append(&conn->body, data, &err)) {
        http_conn_refuse(conn, 413, "the request body is larger than this server takes");
        return false;
    }
    if (conn->body.cap > conn->body_counted) {
        int64_t more = (int64_t)(conn->body.cap - conn->body_counted);
        int64_t total = more + atomic_fetch_add_explicit(&server->inflight_body_bytes, more,
                                                         memory_order_relaxed);

        conn->body_counted = conn->body.cap;
        if (total > server->config->limits.inflight_body_bytes) {
            http_conn_refuse(conn, 503, "the request bodies being received fill their memory");
            return false;
        }
    }
    return true;
}

static void
finish_body(HttpConn *conn)
{
    HttpParseFault fault;
    size_t scanned = 0;

    /* The fields of a request whose body came later are read again, rather than kept. */
    DS_ASSERT(http_parse_head(buf_str(&conn->head), &scanned, &conn->loop->head, &fault) ==
              HTTP_PARSE_DONE);
    hand_over(conn, buf_str(&conn->body));
}

/* The take_* functions eat from the front of *view and say whether it is worth going on. */

static bool
take_chunks(HttpConn *conn, Str *view)
{
    for (;;) {
        HttpParseFault fault;
        Str data;

        switch (http_chunks_next(&conn->chunks, view, &data, &fault)) {
        case HTTP_PARSE_MORE:
            return false;
        case HTTP_PARSE_DATA:
            if (!append_body(conn, data)) {
                return false;
            }
            break;
        case HTTP_PARSE_DONE:
            finish_body(conn);
            return true;
        case HTTP_PARSE_BAD:
            http_conn_refuse(conn, fault.status, fault.text);
            return false;
        }
    }
}

static bool
take_body(HttpConn *conn, Str *view)
{
    if (conn->body_kind == HTTP_BODY_CHUNKED) {
        return take_chunks(conn, view);
    }
    size_t take = DS_MIN((size_t)conn->body_length - conn->body.len, view->len);
    if (take > 0 && !append_body(conn, str_n(view->ptr, take))) {
        return false;
    }
    *view = str_skip(*view, take);
    if (conn->body.len < conn->body_length) {
        return false;
    }
    finish_body(conn);
    return true;
}

static void
begin_exchange(HttpConn *conn, const HttpRequestHead *head)
{
    HttpServer *server = conn->loop->server;
    int64_t requests_max = server->config->limits.requests_per_connection;
    Str origin = STR_EMPTY;

    (void)http_request_field(head, STR("Origin"), &origin);
    conn->requests++;
    bool last = requests_max > 0 && conn->requests >= requests_max;
    conn->scanned = 0;
    conn->exchange = (HttpExchange){
        .method = head->method,
        .minor = head->minor != 0,
        .keep_alive = head->keep_alive && !conn->loop->draining && !last,
        .cors = conn->admin ? (CorsVerdict){.kind = CORS_NONE} : cors_judge(server->cors, origin),
    };
}

static void
begin_body(HttpConn *conn, const HttpRequestHead *head, Str head_bytes, bool body_came)
{
    Error err;

    http_conn_enter(conn, HTTP_CONN_BODY);
    DS_ASSERT(buf_append(&conn->head, head_bytes, &err)); /* at most HTTP_HEAD_BYTES_MAX */
    conn->body_kind = head->body_kind;
    conn->body_length = head->content_length;
    conn->chunks = (HttpChunks){0};
    buf_init(&conn->body, head->body_kind == HTTP_BODY_LENGTH
                              ? (size_t)head->content_length
                              : (size_t)conn->loop->server->config->limits.request_body_bytes);
    if (head->expect_continue && !body_came) {
        http_out_copy(&conn->out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
        http_conn_mark_dirty(conn);
    }
}

static bool
take_head(HttpConn *conn, Str *view)
{
    HttpRequestHead *head = &conn->loop->head;
    uint64_t body_max = (uint64_t)conn->loop->server->config->limits.request_body_bytes;
    HttpParseFault fault;
    HttpParseResult result = http_parse_head(*view, &conn->scanned, head, &fault);

    if (result == HTTP_PARSE_MORE) {
        return false;
    }
    if (result == HTTP_PARSE_BAD) {
        refuse_unread(conn, &fault);
        return false;
    }
    begin_exchange(conn, head);
    Str head_bytes = str_n(view->ptr, head->bytes);
    Str rest = str_skip(*view, head->bytes);
    if (head->body_kind == HTTP_BODY_LENGTH && head->content_length > body_max) {
        http_conn_refuse(conn, 413, "the request body is larger than this server takes");
        return false;
    }
    if (head->body_kind == HTTP_BODY_NONE ||
        (head->body_kind == HTTP_BODY_LENGTH && head->content_length <= rest.len)) {
        size_t length = head->body_kind == HTTP_BODY_NONE ? 0 : (size_t)head->content_length;

        hand_over(conn, str_n(rest.ptr, length));
        *view = str_skip(rest, length);
        return true;
    }
    begin_body(conn, head, head_bytes, rest.len > 0);
    *view = rest;
    return true;
}

static bool
take_step(HttpConn *conn, Str *view)
{
    switch (conn->state) {
    case HTTP_CONN_IDLE:
        if (view->len == 0 || conn->out.bytes >= HTTP_PIPELINED_OUT_BYTES_MAX) {
            return false;
        }
        http_conn_enter(conn, HTTP_CONN_HEAD);
        return true;
    case HTTP_CONN_HEAD:
        return take_head(conn, view);
    case HTTP_CONN_BODY:
        return take_body(conn, view);
    case HTTP_CONN_HANDSHAKE:
    case HTTP_CONN_HANDLING:
    case HTTP_CONN_STREAMING:
    case HTTP_CONN_CLOSING:
    case HTTP_CONN_LINGER:
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        break;
    }
    return false;
}

static bool
is_ending(const HttpConn *conn)
{
    return conn->state == HTTP_CONN_CLOSING || conn->state == HTTP_CONN_LINGER ||
           conn->state == HTTP_CONN_CLOSED;
}

/* Looks at what was kept and then at `fresh`, which lies in the loop's input buffer. */
static void
take_input(HttpConn *conn, Str fresh)
{
    bool kept = conn->in.len > 0;
    Str view = fresh;
    Error err;

    if (kept) {
        DS_ASSERT(buf_append(&conn->in, fresh, &err)); /* no more is read than fits */
        view = buf_str(&conn->in);
    }
    while (take_step(conn, &view)) {
    }
    if (is_ending(conn)) {
        buf_done(&conn->in);
    } else if (kept) {
        buf_consume(&conn->in, conn->in.len - view.len);
        buf_shrink(&conn->in, 0);
    } else {
        DS_ASSERT(buf_append(&conn->in, view, &err));
    }
}

void
http_conn_take_kept(HttpConn *conn)
{
    take_input(conn, STR_EMPTY);
}

/* ---- sockets ---- */

bool
http_conn_wants_input(const HttpConn *conn)
{
    if (conn->eof) {
        return false;
    }
    switch (conn->state) {
    case HTTP_CONN_HANDSHAKE:
        return true;
    case HTTP_CONN_IDLE:
    case HTTP_CONN_HEAD:
    case HTTP_CONN_BODY:
        return conn->in.len < HTTP_INPUT_BYTES_MAX;
    case HTTP_CONN_HANDLING:
    case HTTP_CONN_STREAMING: /* to learn that the client left */
        return conn->in.len < HTTP_PIPELINED_BYTES_MAX;
    case HTTP_CONN_LINGER:
        return true;
    case HTTP_CONN_CLOSING:
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        break;
    }
    return false;
}

/* False when there is nothing (more) to take; EOF and errors are dealt with. */
static bool
receive(HttpConn *conn, char *room, size_t size, size_t *out_n)
{
    TransportResult result = conn->state == HTTP_CONN_LINGER
                                 ? transport_drop(&conn->transport, room, size, out_n)
                                 : transport_receive(&conn->transport, room, size, out_n);

    switch (result) {
    case TRANSPORT_OK:
        metric_add(conn->loop->server->metrics.received_bytes, *out_n);
        return true;
    case TRANSPORT_AGAIN:
        return false;
    case TRANSPORT_BROKEN:
        http_conn_close(conn);
        return false;
    case TRANSPORT_END:
        break;
    }
    conn->eof = true;
    /* Replies that are on their way are still sent; whoever waits long for one has left. */
    if (conn->state != HTTP_CONN_CLOSING &&
        !(conn->state == HTTP_CONN_IDLE && conn->out.bytes > 0) &&
        !(conn->state == HTTP_CONN_HANDLING && conn->exchange.outlives_eof)) {
        http_conn_close(conn);
    }
    return false;
}

/* A large body goes from the socket to its place without a stop in between. */
static void
read_body(HttpConn *conn)
{
    for (int i = 0; i < BODY_READS_PER_TURN && conn->state == HTTP_CONN_BODY; i++) {
        size_t left = (size_t)conn->body_length - conn->body.len;
        size_t n;
        char *room;
        Error err;

        if (conn->body.cap == conn->body.len) {
            DS_ASSERT(buf_reserve(&conn->body, DS_MIN(left, (size_t)BODY_READ_BYTES), &room, &err));
            if (!append_body(conn, STR_EMPTY)) {
                return;
            }
        }
        room = conn->body.data + conn->body.len;
        if (!receive(conn, room, DS_MIN(left, conn->body.cap - conn->body.len), &n)) {
            return;
        }
        buf_commit(&conn->body, n);
        if (conn->body.len == conn->body_length) {
            finish_body(conn);
        }
    }
}

static void
read_linger(HttpConn *conn)
{
    size_t n;

    for (int i = 0; i < LINGER_READS; i++) {
        if (!receive(conn, conn->loop->input, sizeof(conn->loop->input), &n)) {
            return;
        }
        conn->discarded += n;
        if (conn->discarded > HTTP_LINGER_BYTES_MAX) {
            http_conn_close(conn);
            return;
        }
    }
}

/* False when there is nothing to read yet. */
static bool
shake_hands(HttpConn *conn)
{
    const char *reason;

    switch (transport_handshake(&conn->transport, &reason)) {
    case TRANSPORT_OK:
        http_conn_enter(conn, HTTP_CONN_IDLE);
        return true;
    case TRANSPORT_AGAIN:
        break;
    case TRANSPORT_END:
    case TRANSPORT_BROKEN:
        metric_add(conn->loop->server->metrics.handshakes_failed, 1);
        log_debug(&scope,
                  LOG_FIELDS(log_str("peer", str_c(conn->peer)), log_str("reason", str_c(reason))),
                  "a TLS handshake failed");
        http_conn_close(conn);
        break;
    }
    return false;
}

void
http_conn_read(HttpConn *conn)
{
    size_t limit = conn->state == HTTP_CONN_HANDLING || conn->state == HTTP_CONN_STREAMING
                       ? HTTP_PIPELINED_BYTES_MAX
                       : HTTP_INPUT_BYTES_MAX;
    size_t n;

    if (conn->state == HTTP_CONN_HANDSHAKE && !shake_hands(conn)) {
        return;
    }
    if (!http_conn_wants_input(conn)) {
        return;
    }
    if (conn->state == HTTP_CONN_LINGER) {
        read_linger(conn);
    } else if (conn->state == HTTP_CONN_BODY && conn->body_kind == HTTP_BODY_LENGTH) {
        read_body(conn);
    } else if (receive(conn, conn->loop->input, limit - conn->in.len, &n)) {
        take_input(conn, str_n(conn->loop->input, n));
    }
}
