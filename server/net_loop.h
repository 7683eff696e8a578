/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/net_loop.h -- a network thread: its loop, its connections, its mailbox.
 *
 * Made, joined and freed by the main thread.  Its end comes in three posts: begin_drain (no new
 * requests on idle connections), force_close when the time for that is up, finish when every loop
 * is without connections.
 */
#pragma once

#include "server/http_internal.h"

#define NET_LOOP_TICK_MS_MAX      1000 /* how late a timeout may strike */
#define NET_LOOP_TICK_MS_MIN      10
#define NET_LOOP_TICK_MS_STOPPING 50

NetLoop *net_loop_new(HttpServer *server, unsigned index); /* starts its thread */
void net_loop_join(NetLoop *loop);                         /* after net_loop_finish was posted */
void net_loop_run_leftovers(NetLoop *loop);                /* when every loop is joined */
void net_loop_free(NetLoop *loop);

/* Asks the loop to answer; false, and it is not asked again, when it has not answered the last
 * time.  Main's. */
bool net_loop_ping(NetLoop *loop);

/* For net_loop_post: arg is the loop, or what it names. */
void net_loop_begin_drain(void *loop);
void net_loop_force_close(void *loop);
void net_loop_finish(void *loop);

/* For connections. */
void net_loop_flush_later(NetLoop *loop, HttpConn *conn);
void net_loop_flush_done(NetLoop *loop, HttpConn *conn);
void net_loop_forget(NetLoop *loop, HttpConn *conn);
void net_loop_uncount(NetLoop *loop);      /* a connection that was handed over and is not kept */
Str net_loop_common_fields(NetLoop *loop); /* Date and the security fields, each with CR LF */
