/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/pg_text.c -- Postgres' text forms: COPY values, array elements, columns, messages.
 */
#include "common/pg_internal.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The letter after the backslash, 0 for a byte that stands for itself. */
static char
copy_escape_letter(char c)
{
    switch (c) {
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\v':
        return 'v';
    case '\\':
        return '\\';
    default:
        return 0;
    }
}

/* The first byte from `at` on that may need an escape: one below a space, or a backslash; else the
 * end. Most text has neither. */
static size_t
next_candidate(Str text, size_t at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = ones << 7;

#ifdef __SSE2__
    for (; text.len - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(text.ptr + at));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        int mask = _mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));

        if (mask != 0) {
            return at + (size_t)__builtin_ctz((unsigned)mask);
        }
    }
#endif
    for (; text.len - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
        uint64_t word, slashes;

        memcpy(&word, text.ptr + at, sizeof(word));
        slashes = word ^ (ones * '\\');
        if (((((word - ones * ' ') & ~word) | ((slashes - ones) & ~slashes)) & highs) != 0) {
            break;
        }
    }
    while (at < text.len && (unsigned char)text.ptr[at] >= ' ' && text.ptr[at] != '\\') {
        at++;
    }
    return at;
}

/* Bytes at the front that stand for themselves. */
static size_t
plain_length(Str text)
{
    size_t len = next_candidate(text, 0);

    while (len < text.len && copy_escape_letter(text.ptr[len]) == 0) {
        len = next_candidate(text, len + 1);
    }
    return len;
}

bool
pg_copy_escape(Buf *out, Str text, Error *err)
{
    size_t len_before = out->len;

    for (;;) {
        size_t plain = plain_length(text);

        if (!buf_append(out, str_slice(text, 0, plain), err)) {
            break;
        }
        if (plain == text.len) {
            return true;
        }
        char escape[2] = {'\\', copy_escape_letter(text.ptr[plain])};
        if (!buf_append(out, str_n(escape, sizeof(escape)), err)) {
            break;
        }
        text = str_skip(text, plain + 1);
    }
    buf_truncate(out, len_before);
    return false;
}

bool
pg_array_append(Buf *out, Str text, bool is_first, Error *err)
{
    size_t len_before = out->len;
    size_t plain = 0;

    if (!buf_append(out, is_first ? STR("\"") : STR(",\""), err)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '"' && text.ptr[i] != '\\') {
            continue;
        }
        if (!buf_append(out, str_slice(text, plain, i), err) || !buf_append_char(out, '\\', err)) {
            goto fail;
        }
        plain = i; /* the byte itself opens the next run */
    }
    if (buf_append(out, str_skip(text, plain), err) && buf_append_char(out, '"', err)) {
        return true;
    }

fail:
    buf_truncate(out, len_before);
    return false;
}

int
pg_columns(const PgReply *reply)
{
    return reply->result != NULL ? PQnfields(reply->result) : 0;
}

Str
pg_get(const PgReply *reply, int row, int column)
{
    DS_ASSERT(row >= 0 && row < reply->rows);
    DS_ASSERT(column >= 0 && column < PQnfields(reply->result));
    return str_n(PQgetvalue(reply->result, row, column),
                 (size_t)PQgetlength(reply->result, row, column));
}

bool
pg_is_null(const PgReply *reply, int row, int column)
{
    DS_ASSERT(row >= 0 && row < reply->rows);
    DS_ASSERT(column >= 0 && column < PQnfields(reply->result));
    return PQgetisnull(reply->result, row, column) != 0;
}

void
pg_flatten(const char *message, char *out, size_t out_size)
{
    Str rest = str_c(message);
    size_t len = 0;

    while (rest.len > 0) {
        Str line;

        (void)str_cut(rest, '\n', &line, &rest);
        line = str_trim(line);
        if (line.len == 0 || str_starts(line, STR("LOCATION:"))) {
            continue;
        }
        if (len > 0 && len + 2 < out_size) {
            memcpy(out + len, "; ", 2);
            len += 2;
        }
        size_t take = DS_MIN(line.len, out_size - 1 - len);
        memcpy(out + len, line.ptr, take);
        len += take;
    }
    out[len] = '\0';
}
