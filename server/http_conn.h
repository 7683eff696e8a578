/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_conn.h -- one connection: reads requests, hands them over, sends replies in order.
 *
 * Everything here runs on the connection's loop.  A connection frees itself: after http_conn_close,
 * http_conn_abort, or any call that may end in one, only its state may be looked at, in this turn.
 */
#pragma once

#include "server/http_internal.h"

/* The transport is ours from now on. */
void http_conn_adopt(NetLoop *loop, const Transport *transport, bool admin, const char *peer);
void http_conn_close(HttpConn *conn); /* at once; on_cancel is called if one is owed */
void http_conn_abort(HttpConn *conn); /* at once, so that the client sees a cut; no on_cancel */
void http_conn_drain(HttpConn *conn); /* the server stops: close it as soon as it has answered */
void http_conn_check_time(HttpConn *conn, int64_t now_ms);

/* What the exchange tells its connection. */
void http_conn_replied(HttpConn *conn);   /* the whole reply is queued */
void http_conn_streaming(HttpConn *conn); /* the head of a stream is queued */
void
http_conn_mark_dirty(HttpConn *conn); /* something is queued: send it at the end of this turn */
void http_conn_body_release(HttpConn *conn);

void http_conn_flush(HttpConn *conn);
