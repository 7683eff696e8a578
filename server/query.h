/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/query.h -- the parameters of a request's target: "offset=-1&live=sse".
 *
 * Unknown parameters are nobody's business (protocol 5.1).  Keys are compared as they stand.  Pure.
 */
#pragma once

#include "common/buf.h"
#include "common/error.h"

/* The first value of that key, still encoded; false when absent.  A key without '=' has an empty
 * value.  *out_count, if not NULL, is how many there are. */
bool query_find(Str query, Str key, Str *out_raw, size_t *out_count);

/* %XX becomes a byte; nothing else changes ('+' is a plus).  Appended to out. */
DS_MUST_CHECK bool percent_decode(Str raw, Buf *out, Error *err);
