/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/base64.h -- standard base64 (RFC 4648, section 4), as byte streams travel over SSE.
 *
 * Always padded.  Both append to out, and leave it as it was when they fail.
 */
#pragma once

#include "common/buf.h"

/* ERR_LIMIT when out is full. */
DS_MUST_CHECK bool base64_encode(Buf *out, Str bytes, Error *err);

/* Skips CR and LF.  ERR_INPUT for any other foreign byte, missing or early padding, and bits that
 * the padding cuts off but that are set: one text per value. */
DS_MUST_CHECK bool base64_decode(Buf *out, Str text, Error *err);
