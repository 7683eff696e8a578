/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_conn.c -- the life of a connection, its replies in order, and its time.
 *
 * Requests are http_conn_read.c's.  Everything that is queued in one turn leaves in one write at
 * its end.
 */
#include "server/http_conn_internal.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <bsd/string.h>

#include "common/mem.h"
#include "server/http_file.h"
#include "server/net_loop.h"

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

void
http_conn_enter(HttpConn *conn, HttpConnState next)
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
    http_conn_enter(conn, HTTP_CONN_CLOSED);
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

static void
update_watch(HttpConn *conn)
{
    bool reads = http_conn_wants_input(conn);
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
    http_conn_enter(conn, HTTP_CONN_LINGER);
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

/* Since when a client has let us wait to send. */
static void
note_waiting(HttpConn *conn)
{
    if (conn->out.bytes == 0) {
        conn->waiting_ms = 0;
    } else if (conn->waiting_ms == 0) {
        conn->waiting_ms = loop_now_ms(conn->loop->loop);
        conn->waited_taken = 0;
        conn->taken = -1;
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
        conn->handed += (int64_t)sent;
        metric_add(server->metrics.sent_bytes, sent);
    }
    if (result == HTTP_OUT_BROKEN) {
        http_conn_close(conn);
        return;
    }
    note_waiting(conn);
    conn->blocked = result == HTTP_OUT_BLOCKED;
    if (result == HTTP_OUT_EMPTY) {
        after_sent(conn);
    } else if (result == HTTP_OUT_COLD && conn->warming == NULL) {
        start_warming(conn);
    }
    if (conn->state == HTTP_CONN_IDLE && conn->in.len > 0) {
        http_conn_take_kept(conn);
    }
    if (conn->state != HTTP_CONN_CLOSED) {
        update_watch(conn);
    }
}

void
http_conn_flush(HttpConn *conn)
{
    if (transport_has_more(&conn->transport)) {
        http_conn_read(conn);
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
        http_conn_read(conn);
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
    http_conn_enter(conn, conn->exchange.keep_alive ? HTTP_CONN_IDLE : HTTP_CONN_CLOSING);
    http_conn_mark_dirty(conn);
}

void
http_conn_streaming(HttpConn *conn)
{
    http_conn_enter(conn, HTTP_CONN_STREAMING);
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
            http_conn_enter(conn, HTTP_CONN_CLOSING);
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
    http_conn_refuse(conn, 408, text);
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

/* The kernel lets us write again only when a good part of its buffer is free, megabytes perhaps:
 * what a slow client takes meanwhile can be seen by what is left there. */
static void
note_taken(HttpConn *conn, int64_t now_ms)
{
    int left = 0;

    if (!conn->blocked || ioctl(conn->transport.fd, SIOCOUTQ, &left) != 0) {
        return;
    }
    int64_t taken = conn->handed - left; /* TLS adds some: a little less than it was */
    if (conn->taken >= 0 && taken > conn->taken) {
        conn->progress_ms = now_ms;
        conn->waited_taken += taken - conn->taken;
    }
    if (taken > conn->taken) {
        conn->taken = taken;
    }
}

/* A client that takes nothing, or only as much as keeps us from thinking so. */
static bool
takes_too_slowly(const HttpConn *conn, int64_t now_ms)
{
    const ServerTimeouts *limits = &conn->loop->server->config->timeouts;
    /* Even when all replies have left, TLS's goodbye may wait for room. */
    bool sends = conn->out.bytes > 0 || conn->state == HTTP_CONN_CLOSING;

    if (sends && now_ms - conn->progress_ms > limits->write_stall_ms) {
        return true;
    }
    return conn->waiting_ms > 0 &&
           now_ms - conn->waiting_ms >
               limits->write_stall_ms + conn->waited_taken * 1000 / limits->send_rate;
}

void
http_conn_check_time(HttpConn *conn, int64_t now_ms)
{
    HttpServer *server = conn->loop->server;

    note_taken(conn, now_ms);
    if (takes_too_slowly(conn, now_ms)) {
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
