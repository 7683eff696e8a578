/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/admin.h -- what operators and syncd ask on the admin listener.
 *
 * GET  /admin/streams?prefix=&after=&limit=   {"streams": [...], "next": NAME or null, "token": T}
 * GET  /admin/streams?since=T[&limit=]        {"changes": [...], "token": T}; waits like a
 * long-poll POST /admin/trim {"stream", "before"}       {"start_offset", "freed_bytes"}
 *
 * Names are listed in bytewise order; "next" is the name to continue after.  The token of a listing
 * is of the moment before it: follow the changes from the first page's token and nothing is missed.
 */
#pragma once

#include "server/app.h"

#define ADMIN_LIST_DEFAULT 100
#define ADMIN_LIST_MAX     1000
#define ADMIN_REPLY_BYTES_MAX                                                                      \
    ((size_t)16 * 1024 * 1024) /* over ADMIN_LIST_MAX entries of any kind */
#define ADMIN_BODY_BYTES_MAX ((size_t)16 * 1024)

void admin_streams(App *app, HttpExchange *exchange);
void admin_trim(App *app, HttpExchange *exchange);
