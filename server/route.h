/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/route.h -- from (method, path) to the operation.
 *
 * Streams live under the base path (DS_HTTP__STREAM_BASE_PATH), subscriptions under its reserved
 * segment, which is looked for first (protocol 6); the admin listener has /admin/...;
 * health, metrics and CORS preflights are answered by the engine before.  route_request and
 * route_admin are HttpHandlers' request and admin; the application is net_loop_app.
 */
#pragma once

#include "server/app.h"
#include "server/live_loop.h"

void route_request(HttpExchange *exchange);
void route_admin(HttpExchange *exchange);
