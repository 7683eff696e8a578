/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/ops_http.h -- what the engine answers itself: health, readiness, metrics, OPTIONS.
 *
 * GET /healthz, /health: the process serves (both listeners).  GET /readyz: it is ready and not
 * stopping (both).  GET /metrics: Prometheus text (admin only).  The admin listener refuses
 * requests that name an Origin: they come from a browser that somebody else's page steers.
 */
#pragma once

#include "server/http.h"

typedef struct HttpServer HttpServer;

#define OPS_METRICS_BYTES_MAX 4194304

/* True when it was answered here. */
bool ops_http_answer(HttpServer *server, HttpExchange *exchange);
