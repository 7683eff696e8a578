/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_tls.h -- the certificates of the running server: loaded, watched, reloaded.
 *
 * For the main thread.  They are read again on demand and twice a day, which also makes new keys
 * for session tickets.
 */
#pragma once

#include "server/http_internal.h"

/* Nothing to do, and true, without DS_TLS__CERT_PATH. */
DS_MUST_CHECK bool http_tls_start(HttpServer *server, Error *err);
void http_tls_stop(HttpServer *server);

/* Whether one more may begin its handshake; if not that is counted, and said now and then. */
bool http_tls_has_room(HttpServer *server);

/* What can be known without starting: whether the files, if any, are good. */
DS_MUST_CHECK bool http_tls_check(const ServerTls *settings, Error *err);
