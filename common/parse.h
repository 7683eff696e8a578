/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/parse.h -- strict readers of numbers and units.  The whole input must match; no leading
 * space, sign or zero unless said; outputs are untouched on failure.
 */
#pragma once

#include "common/str.h"

/* Digits only, no leading zero (but "0"), at most `max`. */
DS_MUST_CHECK bool parse_u64(Str s, uint64_t max, uint64_t *out);
/* As parse_u64, leading zeros allowed. */
DS_MUST_CHECK bool parse_u64_loose(Str s, uint64_t max, uint64_t *out);
DS_MUST_CHECK bool parse_i64(Str s, int64_t *out);      /* optional '-', but no "-0" */
DS_MUST_CHECK bool parse_hex_u64(Str s, uint64_t *out); /* 1..16 lower-case digits */
DS_MUST_CHECK bool parse_bool(Str s, bool *out);        /* true false on off yes no 1 0 */
DS_MUST_CHECK bool parse_size(Str s,
                              uint64_t *out_bytes); /* 10, 10KiB, 8MiB, 1GiB, 10KB, 10MB, 1GB */
/* 250ms, 30s, 5m, 2h, 7d; a bare number counts `bare_unit_ms` (1 ms to 1 day) each; "1.5s" is 1500.
 * At most 9 digits behind the point, and the result must be whole milliseconds. */
DS_MUST_CHECK bool parse_duration_ms(Str s, int64_t bare_unit_ms, int64_t *out_ms);
/* RFC 3339 date-time to milliseconds since 1970; finer fractions are cut off, and a leap second
 * (only where one can be: 23:59:60 UTC) is the second behind it. */
DS_MUST_CHECK bool parse_rfc3339_ms(Str s, int64_t *out_ms);
