/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_conn_internal.h -- what the two halves of a connection ask of each other: http_conn.c
 * (its life, its replies, its time) and http_conn_read.c (its requests).
 */
#pragma once

#include "server/http_conn.h"

void http_conn_enter(HttpConn *conn, HttpConnState next); /* asserts that the edge is legal */

bool http_conn_wants_input(const HttpConn *conn);
void http_conn_read(HttpConn *conn);      /* the socket, or TLS, may have something */
void http_conn_take_kept(HttpConn *conn); /* looks at what came before and was kept */

/* The engine's own answer to what cannot be read further.  text is static. */
void http_conn_refuse(HttpConn *conn, int status, const char *text);
