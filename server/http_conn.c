/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_conn.c -- one connection: reads requests, hands them over, sends replies in order.
 *
 * What comes is looked at in the loop's own input buffer; only what is incomplete is kept, so an
 * idle connection owns no buffer.  One request is handled at a time: while it waits for its answer,
 * a bounded amount of what follows is kept and then the socket is left alone.
 */
#include "server/http_conn.h"

#include <sys/socket.h>

#include <bsd/string.h>

#include "common/log.h"
#include "common/mem.h"
#include "server/http_file.h"
#include "server/net_loop.h"
#include "server/ops_http.h"

#define BODY_READ_BYTES     65536 /* room made for a body of known length, at a time */
#define BODY_READS_PER_TURN 4
#define LINGER_READS        4

static const LogScope scope = {.name = "server.http"};

/* Every legal edge and no other. */
static const uint16_t conn_edges[HTTP_CONN_STATE_COUNT] = {
    [HTTP_CONN_HANDSHAKE] = DS_BIT(HTTP_CONN_IDLE) | DS_BIT(HTTP_CONN_CLOSED),
    [HTTP_CONN_IDLE] =
        DS_BIT(HTTP_CONN_HEAD) | DS_BIT(HTTP_CONN_CLOSING) | DS_BIT(HTTP_CONN_CLOSED),
    [HTTP_CONN_HEAD] =
        DS_BIT(HTTP_CONN_BODY) | DS_BIT(HTTP_CONN_HANDLING) | DS_BIT(HTTP_CONN_CLOSED),
    [HTTP_CONN_BODY] = DS_BIT(HTTP_CONN_HANDLING) | DS_BIT(HTTP_CONN_CLOSED),
    [HTTP_CONN_HANDLING] = DS_BIT(HTTP_CONN_IDLE) | DS_BIT(HTTP_CONN_STREAMING) |
                           DS_BIT(HTTP_CONN_CLOSING) | DS_BIT(HTTP_CONN_CLOSED),
    [HTTP_CONN_STREAMING] =
        DS_BIT(HTTP_CONN_IDLE) | DS_BIT(HTTP_CONN_CLOSING) | DS_BIT(HTTP_CONN_CLOSED),
    [HTTP_CONN_CLOSING] = DS_BIT(HTTP_CONN_LINGER) | DS_BIT(HTTP_CONN_CLOSED),
    [HTTP_CONN_LINGER] = DS_BIT(HTTP_CONN_CLOSED),
};

static void on_event(void *arg, unsigned events);

static void
enter(HttpConn *conn, HttpConnState next)
{
    DS_ASSERT(conn_edges[conn->state] & DS_BIT(next));
    if (conn->state == HTTP_CONN_HANDSHAKE) {
        atomic_fetch_sub_explicit(&conn->loop->server->handshakes, 1, memory_order_relaxed);
    }
    conn->state = next;
    conn->since_ms = loop_now_ms(conn->loop->loop);
}

/* ---- birth and death ---- */

void
http_conn_adopt(NetLoop *loop, const Transport *transport, bool admin, const char *peer)
{
    HttpConn *conn = mem_zalloc(sizeof(*conn));

    conn->loop = loop;
    conn->transport = *transport;
    conn->state = transport->tls != NULL ? HTTP_CONN_HANDSHAKE : HTTP_CONN_IDLE;
    conn->admin = admin;
    conn->since_ms = loop_now_ms(loop->loop);
    (void)strlcpy(conn->peer, peer, sizeof(conn->peer)); /* was made to fit */
    buf_init(&conn->in, HTTP_INPUT_BYTES_MAX);
    buf_init(&conn->head, HTTP_HEAD_BYTES_MAX);
    http_out_init(&conn->out);
    conn->watch = fd_new(loop->loop, transport->fd, on_event, conn);
    TAILQ_INSERT_TAIL(&loop->conns, conn, all);
    fd_watch(conn->watch, LOOP_READABLE);
}

void
http_conn_body_release(HttpConn *conn)
{
    if (conn->body_counted > 0) {
        atomic_fetch_sub_explicit(&conn->loop->server->inflight_body_bytes,
                                  (int64_t)conn->body_counted, memory_order_relaxed);
        conn->body_counted = 0;
    }
    buf_done(&conn->body);
}

/* ---- pieces of files ---- */

/* A connection may end while the disk is read for it. */
struct HttpWarming {
    HttpConn *conn; /* NULL: it has */
    const HttpFile *file;
    HttpHold *hold;
    uint64_t offset;
    size_t len;
    bool ok;
};

/* On a thread of the pool. */
static void
warm(void *arg)
{
    HttpWarming *warming = arg;

    warming->ok = http_file_warm(warming->file, warming->offset, warming->len);
}

static void
warmed(void *arg)
{
    HttpWarming *warming = arg;
    HttpConn *conn = warming->conn;
    bool ok = warming->ok;

    http_hold_drop(warming->hold);
    free(warming);
    if (conn == NULL) {
        return;
    }
    conn->warming = NULL;
    if (ok) {
        http_conn_flush(conn);
    } else {
        http_conn_close(conn);
    }
}

static void
start_warming(HttpConn *conn)
{
    const HttpSegment *segment = http_out_next_file(&conn->out);
    HttpWarming *warming = mem_zalloc(sizeof(*warming));

    http_hold_take(segment->hold);
    *warming = (HttpWarming){
        .conn = conn,
        .file = segment->file,
        .hold = segment->hold,
        .offset = segment->place,
        .len = segment->len,
    };
    conn->warming = warming;
    loop_work(conn->loop->loop, warm, warmed, warming);
}

static void
conn_free(HttpConn *conn, bool cut)
{
    enter(conn, HTTP_CONN_CLOSED);
    fd_free(conn->watch);
    transport_close(&conn->transport, cut);
    if (conn->dirty) {
        net_loop_flush_done(conn->loop, conn);
    }
    if (conn->warming != NULL) {
        conn->warming->conn = NULL;
    }
    http_out_done(&conn->out);
    http_conn_body_release(conn);
    buf_done(&conn->in);
    buf_done(&conn->head);
    net_loop_forget(conn->loop, conn);
    loop_defer_free(conn->loop->loop, conn);
}

void
http_conn_close(HttpConn *conn)
{
    HttpCancelFn on_cancel = conn->exchange.on_cancel;

    if (conn->state == HTTP_CONN_CLOSED) {
        return;
    }
    bool owed = conn->state == HTTP_CONN_HANDLING || conn->state == HTTP_CONN_STREAMING;
    /* A reply that is not whole must not look so. */
    conn_free(conn, owed || conn->out.bytes > 0);
    if (owed && on_cancel != NULL) {
        on_cancel(conn->exchange.arg);
    }
}

void
http_conn_abort(HttpConn *conn)
{
    if (conn->state == HTTP_CONN_STREAMING && !conn->exchange.chunked) {
        /* Without chunks a plain close would look like the end of the body. */
        struct linger reset = {.l_onoff = 1, .l_linger = 0};

        (void)setsockopt(conn->transport.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    metric_add(conn->loop->server->metrics.aborted, 1);
    conn_free(conn, true);
}

/* ---- what is watched ---- */

static bool
wants_input(const HttpConn *conn)
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

static void
update_watch(HttpConn *conn)
{
    bool reads = wants_input(conn);
    unsigned events = reads ? LOOP_READABLE : 0;

    if (conn->blocked || (reads && conn->transport.wants_write)) {
        events |= LOOP_WRITABLE;
    }
    if (reads && transport_has_more(&conn->transport) && !conn->dirty) {
        conn->dirty = true; /* the socket will not say so */
        net_loop_flush_later(conn->loop, conn);
    }
    fd_watch(conn->watch, events);
}

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

    enter(conn, HTTP_CONN_HANDLING);
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

/* The engine's own answer to what cannot be read further. */
static void
refuse(HttpConn *conn, int status, const char *text)
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
    enter(conn, HTTP_CONN_HANDLING);
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
    refuse(conn, fault->status, fault->text);
}

/* ---- reading a request ---- */

static bool
append_body(HttpConn *conn, Str data)
{
    HttpServer *server = conn->loop->server;
    Error err;

    if (!buf_append(&conn->body, data, &err)) {
        refuse(conn, 413, "the request body is larger than this server takes");
        return false;
    }
    if (conn->body.cap > conn->body_counted) {
        int64_t more = (int64_t)(conn->body.cap - conn->body_counted);
        int64_t total = more + atomic_fetch_add_explicit(&server->inflight_body_bytes, more,
                                                         memory_order_relaxed);

        conn->body_counted = conn->body.cap;
        if (total > server->config->limits.inflight_body_bytes) {
            refuse(conn, 503, "the request bodies being received fill their memory");
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
            refuse(conn, fault.status, fault.text);
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

    enter(conn, HTTP_CONN_BODY);
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
        refuse(conn, 413, "the request body is larger than this server takes");
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
        enter(conn, HTTP_CONN_HEAD);
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

/* ---- sockets ---- */

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
        enter(conn, HTTP_CONN_IDLE);
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

static void
on_readable(HttpConn *conn)
{
    size_t limit = conn->state == HTTP_CONN_HANDLING || conn->state == HTTP_CONN_STREAMING
                       ? HTTP_PIPELINED_BYTES_MAX
                       : HTTP_INPUT_BYTES_MAX;
    size_t n;

    if (conn->state == HTTP_CONN_HANDSHAKE && !shake_hands(conn)) {
        return;
    }
    if (!wants_input(conn)) {
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

static void
start_linger(HttpConn *conn)
{
    if (transport_end(&conn->transport) == TRANSPORT_AGAIN) {
        conn->blocked = true;
        return;
    }
    if (conn->eof) {
        http_conn_close(conn);
        return;
    }
    enter(conn, HTTP_CONN_LINGER);
}

/* What may go on now that everything queued has been sent. */
static void
after_sent(HttpConn *conn)
{
    if (conn->state == HTTP_CONN_CLOSING) {
        start_linger(conn);
    } else if (conn->state == HTTP_CONN_STREAMING && conn->exchange.drain_due) {
        conn->exchange.drain_due = false;
        if (conn->exchange.on_drained != NULL) {
            conn->exchange.on_drained(conn->exchange.arg);
        }
    } else if (conn->state == HTTP_CONN_IDLE && conn->in.len == 0 && conn->eof) {
        http_conn_close(conn);
    }
}

static void
flush(HttpConn *conn)
{
    HttpServer *server = conn->loop->server;
    uint64_t sent = 0;

    if (conn->dirty) {
        net_loop_flush_done(conn->loop, conn);
        conn->dirty = false;
    }
    HttpOutResult result =
        conn->warming != NULL ? HTTP_OUT_COLD : http_out_send(&conn->out, &conn->transport, &sent);
    if (sent > 0) {
        conn->progress_ms = loop_now_ms(conn->loop->loop);
        metric_add(server->metrics.sent_bytes, sent);
    }
    if (result == HTTP_OUT_BROKEN) {
        http_conn_close(conn);
        return;
    }
    conn->blocked = result == HTTP_OUT_BLOCKED;
    if (result == HTTP_OUT_EMPTY) {
        after_sent(conn);
    } else if (result == HTTP_OUT_COLD && conn->warming == NULL) {
        start_warming(conn);
    }
    if (conn->state == HTTP_CONN_IDLE && conn->in.len > 0) {
        take_input(conn, STR_EMPTY);
    }
    if (conn->state != HTTP_CONN_CLOSED) {
        update_watch(conn);
    }
}

void
http_conn_flush(HttpConn *conn)
{
    if (transport_has_more(&conn->transport)) {
        on_readable(conn);
    }
    if (conn->state != HTTP_CONN_CLOSED) {
        flush(conn);
    }
}

static void
on_event(void *arg, unsigned events)
{
    HttpConn *conn = arg;

    if ((events & LOOP_READABLE) || conn->transport.wants_write) {
        on_readable(conn);
    }
    if (conn->state != HTTP_CONN_CLOSED) {
        flush(conn);
    }
}

void
http_conn_mark_dirty(HttpConn *conn)
{
    if (!conn->blocked) {
        conn->progress_ms = loop_now_ms(conn->loop->loop);
    }
    if (!conn->dirty) {
        conn->dirty = true;
        net_loop_flush_later(conn->loop, conn);
    }
}

/* ---- what the exchange tells ---- */

void
http_conn_replied(HttpConn *conn)
{
    conn->exchange.on_cancel = NULL;
    conn->exchange.on_drained = NULL;
    enter(conn, conn->exchange.keep_alive ? HTTP_CONN_IDLE : HTTP_CONN_CLOSING);
    http_conn_mark_dirty(conn);
}

void
http_conn_streaming(HttpConn *conn)
{
    enter(conn, HTTP_CONN_STREAMING);
    http_conn_mark_dirty(conn);
}

void
http_conn_drain(HttpConn *conn)
{
    conn->exchange.keep_alive = false;
    if (conn->state == HTTP_CONN_HANDSHAKE) {
        http_conn_close(conn);
    } else if (conn->state == HTTP_CONN_IDLE && conn->in.len == 0) {
        if (conn->out.bytes == 0) {
            http_conn_close(conn);
        } else {
            enter(conn, HTTP_CONN_CLOSING);
        }
    }
}

/* ---- time ---- */

static void
timed_out(HttpConn *conn, const char *text)
{
    metric_add(conn->loop->server->metrics.timeouts, 1);
    if (text == NULL) {
        http_conn_close(conn);
        return;
    }
    if (conn->state == HTTP_CONN_HEAD) {
        conn->exchange = (HttpExchange){.method = HTTP_METHOD_GET, .minor = 1};
    }
    refuse(conn, 408, text);
}

/* How long the state may last. */
static int64_t
patience_ms(const HttpConn *conn)
{
    const ServerTimeouts *limits = &conn->loop->server->config->timeouts;

    switch (conn->state) {
    case HTTP_CONN_HANDSHAKE:
        return limits->handshake_ms;
    case HTTP_CONN_IDLE:
        return conn->out.bytes == 0 ? limits->idle_ms : INT64_MAX;
    case HTTP_CONN_HEAD:
        return limits->head_ms;
    case HTTP_CONN_BODY:
        return limits->body_ms + (int64_t)conn->body.len * 1000 / limits->body_rate;
    case HTTP_CONN_LINGER:
        return conn->loop->draining ? HTTP_LINGER_STOPPING_MS : HTTP_LINGER_MS;
    case HTTP_CONN_HANDLING:
    case HTTP_CONN_STREAMING:
    case HTTP_CONN_CLOSING:
    case HTTP_CONN_CLOSED:
    case HTTP_CONN_STATE_COUNT:
        break;
    }
    return INT64_MAX;
}

void
http_conn_check_time(HttpConn *conn, int64_t now_ms)
{
    HttpServer *server = conn->loop->server;
    /* Even when all replies have left, TLS's goodbye may wait for room. */
    bool sends = conn->out.bytes > 0 || conn->state == HTTP_CONN_CLOSING;

    if (sends && now_ms - conn->progress_ms > server->config->timeouts.write_stall_ms) {
        timed_out(conn, NULL);
        return;
    }
    if (now_ms - conn->since_ms <= patience_ms(conn)) {
        return;
    }
    if (conn->state == HTTP_CONN_LINGER) {
        http_conn_close(conn);
    } else if (conn->state == HTTP_CONN_HEAD) {
        timed_out(conn, "the request head did not come in time");
    } else if (conn->state == HTTP_CONN_BODY) {
        timed_out(conn, "the request body did not come in time");
    } else {
        if (conn->state == HTTP_CONN_HANDSHAKE) {
            metric_add(server->metrics.handshakes_failed, 1);
        }
        timed_out(conn, NULL);
    }
}
