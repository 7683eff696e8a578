/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/etag.h -- entity tags: which bytes of which life of a stream (protocol 10; RFC 9110 8.8).
 *
 * "<era>:<from>:<to>", and ":c" behind it when the stream is closed and ends there: so a tag
 * changes when a stream is closed, and one of a deleted stream never fits its successor.  A fork
 * has the era of its parent, as its next life may; its tags are "<era>.<id>:<from>:<to>".
 */
#pragma once

#include "server/stream.h"

#define ETAG_BYTES_MAX 80 /* with quotes and terminator */

void etag_format(const Stream *stream, uint64_t from, uint64_t to, bool final, char *out);
/* What DELETE compares If-Match with: "<life>", as the changes tell it (stream_life). */
void etag_format_life(const Stream *stream, char *out);

/* list: the value of If-Match or If-None-Match; "*" fits everything, W/ is ignored. */
bool etag_matches(Str list, Str tag);
