/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/etag.h -- entity tags: which bytes of which life of a stream (protocol 10; RFC 9110 8.8).
 *
 * "<era>:<from>:<to>", and ":c" behind it when the stream is closed and ends there: so a tag
 * changes when a stream is closed, and one of a deleted stream never fits its successor.  The
 * era is the stream's own, also where a fork shows what it inherits.
 */
#pragma once

#include "server/stream.h"

#define ETAG_BYTES_MAX 64 /* with quotes and terminator */

void etag_format(const Stream *stream, uint64_t from, uint64_t to, bool final, char *out);
/* What DELETE compares If-Match with: the era alone, "<era>". */
void etag_format_era(const Stream *stream, char *out);

/* list: the value of If-Match or If-None-Match; "*" fits everything, W/ is ignored. */
bool etag_matches(Str list, Str tag);
