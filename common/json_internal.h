/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/json_internal.h -- what the scanner and the string functions of JSON share; for
 * common/json* alone.
 *
 * All of it stops at `end`, whatever the bytes are.
 */
#pragma once

#include <endian.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "common/str.h"

#define JSON_BYTE_ONES  UINT64_C(0x0101010101010101)
#define JSON_BYTE_HIGHS UINT64_C(0x8080808080808080)

static inline bool
json_is_high_surrogate(unsigned unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static inline bool
json_is_low_surrogate(unsigned unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

static inline bool
json_is_plain(char c)
{
    return (signed char)c >= 0x20 && c != '"' && c != '\\';
}

/* The first byte in [p, end) that is not plain ASCII inside a string: a quote, a backslash, a
 * control character, or one with the high bit; else end. */
static inline const char *
json_plain_end(const char *p, const char *end)
{
#ifdef __SSE2__
    while (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                                     _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));

        /* As signed numbers, bytes with the high bit are below a space, too. */
        marks = _mm_or_si128(marks, _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)));
        int mask = _mm_movemask_epi8(marks);
        if (mask != 0) {
            return p + __builtin_ctz((unsigned)mask);
        }
        p += sizeof(bytes);
    }
#endif
    while (end - p >= 8) {
        uint64_t word;

        memcpy(&word, p, sizeof(word));
        word = le64toh(word);
        /* A subtraction sets the high bit of a byte that is too small.  It also borrows from the
         * next byte, so only the lowest mark is sure, and that is the one used. */
        uint64_t below_space = word - JSON_BYTE_ONES * 0x20;
        uint64_t quote = (word ^ (JSON_BYTE_ONES * '"')) - JSON_BYTE_ONES;
        uint64_t backslash = (word ^ (JSON_BYTE_ONES * '\\')) - JSON_BYTE_ONES;
        uint64_t marks = (below_space | quote | backslash | word) & JSON_BYTE_HIGHS;
        if (marks != 0) {
            return p + __builtin_ctzll(marks) / 8;
        }
        p += sizeof(word);
    }
    while (p < end && json_is_plain(*p)) {
        p++;
    }
    return p;
}

/* What may follow a backslash, "u" aside. */
static inline bool
json_is_short_escape(char c)
{
    static const bool is_one[256] = {['"'] = true, ['\\'] = true, ['/'] = true, ['b'] = true,
                                     ['f'] = true, ['n'] = true,  ['r'] = true, ['t'] = true};

    return is_one[(unsigned char)c];
}

/* Four hexadecimal digits of either case. */
DS_MUST_CHECK bool json_hex4(const char *p, const char *end, unsigned *out);

/* Whether a member name, as it stands in the text with its quotes, says `key`. */
bool json_name_eq(Str name, Str key);
