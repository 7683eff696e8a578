/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/admin_internal.h -- shared by the files of the admin requests.
 */
#pragma once

#include "server/admin.h"

/* Sends the buffer as application/json and ends it. */
void admin_reply(HttpExchange *exchange, Buf *body);
/* Must be right by construction: what goes in is bounded. */
void admin_put(Buf *out, Str text);
void admin_put_string(Buf *out, Str text);

/* GET with since=; raw is the token, still encoded. */
void admin_changes(App *app, HttpExchange *exchange, Str raw, size_t limit);
