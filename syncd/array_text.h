/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/array_text.h -- array literals, element by element: how many rows go as few parameters.
 *
 * Begins with an empty Buf, ends with array_end.  Pure.  ERR_LIMIT: the Buf is full.
 */
#pragma once

#include "common/buf.h"

DS_MUST_CHECK bool array_add_number(Buf *array, int64_t number, Error *err);
DS_MUST_CHECK bool array_add_text(Buf *array, Str text, Error *err);
DS_MUST_CHECK bool array_add_null(Buf *array, Error *err);
DS_MUST_CHECK bool array_add_bytes(Buf *array, Str bytes, Error *err); /* a bytea */
DS_MUST_CHECK bool array_end(Buf *array, Error *err); /* without an element it is "{}" */
