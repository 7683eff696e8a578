/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_reply.h -- what replies need inside the engine; handlers use server/http.h.
 */
#pragma once

#include "server/http.h"

/* "404 Not Found"; "500 Internal Server Error" for a status without a name here. */
Str http_status_line(int status);
/* Ends the head of a stream: after it the body may be queued. */
void http_reply_end_stream_head(HttpExchange *exchange);
/* The answer to OPTIONS on any path. */
void http_reply_preflight(HttpExchange *exchange);
