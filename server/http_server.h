/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_server.h -- listeners, network threads, and an orderly end.
 *
 * The main thread accepts and hands each connection to the network loop that has the fewest, rather
 * than letting the loops race for them: SSE connections live long, and who wins a burst would carry
 * it. Everything here is for the main thread.
 */
#pragma once

#include "common/loop.h"
#include "common/metrics.h"
#include "server/http.h"
#include "server/server_config.h"

typedef struct HttpServer HttpServer;

typedef struct HttpServerOptions {
    const ServerConfig *config; /* outlives the server */
    HttpHandlers handlers;
    Metrics *metrics;  /* outlives the server; /metrics shows it */
    Loop *main;        /* outlives the server */
    LoopFn on_stopped; /* on the main thread: every thread has ended; http_server_free is legal */
    void *on_stopped_arg;
} HttpServerOptions;

/* Opens the listeners and starts the threads.  ERR_CONFIG: an address that cannot be had. */
DS_MUST_CHECK bool http_server_new(const HttpServerOptions *options, HttpServer **out, Error *err);

/* Stops accepting, drains for at most DS_SERVER__DRAIN_TIMEOUT, ends in on_stopped.  Called again,
 * it does not wait for anybody. */
void http_server_stop(HttpServer *server);
/* Reads certificate, key and client CA again, for connections to come.  What is not good is logged,
 * and the old ones stay. */
void http_server_reload(HttpServer *server);
/* For a watchdog, called from time to time: whether every network thread has answered since the
 * last call.  Asks them again. */
bool http_server_is_alive(HttpServer *server);
void http_server_free(HttpServer *server); /* after on_stopped; accepts NULL */
