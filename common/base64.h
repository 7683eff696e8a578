/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/base64.h -- standard base64 (RFC 4648, section 4), as byte streams travel over SSE; and
 * the URL-safe one of tokens and keys.
 *
 * The standard one is always padded.  All append to out, and leave it as it was when they fail.
 */
#pragma once

#include "common/buf.h"

/* ERR_LIMIT when out is full. */
DS_MUST_CHECK bool base64_encode(Buf *out, Str bytes, Error *err);

/* Skips CR and LF.  ERR_INPUT for any other foreign byte, missing or early padding, and bits that
 * the padding cuts off but that are set: one text per value. */
DS_MUST_CHECK bool base64_decode(Buf *out, Str text, Error *err);

/* The URL-safe alphabet of RFC 4648, section 5, without padding and without line breaks. */
DS_MUST_CHECK bool base64url_encode(Buf *out, Str bytes, Error *err);
/* ERR_INPUT as above; padding is foreign, too. */
DS_MUST_CHECK bool base64url_decode(Buf *out, Str text, Error *err);
