/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/name.h -- the name of a stream, as it stands behind the base path of a URL.
 *
 * Names are percent-decoded once, so "a%62" and "ab" are one stream.  A name is 1..8 segments
 * between single slashes, at most 1024 bytes after decoding, valid UTF-8 without control
 * characters; no segment is "." or "..".  An encoded slash is refused: proxies disagree about it.
 * Pure.
 */
#pragma once

#include "common/buf.h"
#include "common/error.h"

typedef struct NameLimits {
    size_t bytes_max;    /* at most DS_STREAM_NAME_BYTES_MAX */
    size_t segments_max; /* at least 1 */
} NameLimits;

/* raw: what follows the base path and its slash, still encoded.  The decoded name is appended to
 * `out`, which needs room for raw.len or 3 * limits->bytes_max, the smaller.  ERR_INPUT says what
 * is wrong with the name. */
DS_MUST_CHECK bool name_decode(Str raw, const NameLimits *limits, Buf *out, Error *err);

/* A name that stands as it is, in a document.  ERR_INPUT says what is wrong with it. */
DS_MUST_CHECK bool name_check(Str name, const NameLimits *limits, Error *err);

/* The first segment is reserved: "__ds" alone or followed by a slash. */
bool name_is_reserved(Str name);
