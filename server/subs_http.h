/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_http.h -- requests below {root}/__ds/ (protocol 6, 7).
 *
 *   PUT, GET, DELETE  subscriptions/:id
 *   POST              subscriptions/:id/streams
 *   DELETE            subscriptions/:id/streams/:path   encoded, slashes too if the client likes
 *   POST              subscriptions/:id/callback, /claim, /ack, /release
 *   GET               jwks.json
 *
 * Errors are {"error": {"code", "message"}}.
 */
#pragma once

#include "server/app.h"

/* rest: the raw path behind "{root}/__ds" and its slash. */
void subs_http(App *app, HttpExchange *exchange, Str rest);

/* POST /admin/subscriptions/rotate-key: a new key signs webhooks; answers with the public keys. */
void subs_http_rotate(App *app, HttpExchange *exchange);
