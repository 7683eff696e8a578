/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/pg_text.c -- Postgres' text forms: COPY values, array elements, columns, messages.
 */
#include "common/pg_internal.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* A piece that is escaped at once: each byte may become two, and whole vectors are written. */
#define COPY_PIECE_BYTES       1024
#define COPY_PIECE_ROOM(bytes) (2 * (bytes) + 16)

/* The letter after the backslash, 0 for a byte that stands for itself. */
static inline char
copy_escape_letter(char c)
{
    static const char letters[' '] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['\v'] = 'v'};
    unsigned char byte = (unsigned char)c;

    if (byte < ' ') {
        return letters[byte];
    }
    return c == '\\' ? '\\' : 0;
}

static inline char *
put_escaped(char *out, char c)
{
    char letter = copy_escape_letter(c);

    if (letter != 0) {
        *out++ = '\\';
        *out++ = letter;
    } else {
        *out++ = c;
    }
    return out;
}

/* What stands for itself is copied a vector at a time; out has room for all that may come, and for
 * a vector behind it. */
static char *
put_text(char *out, Str text)
{
    const char *p = text.ptr;
    const char *end = text.len > 0 ? p + text.len : p;

#ifdef __SSE2__
    while (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        int mask = _mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));

        _mm_storeu_si128((__m128i *)(void *)out, bytes);
        if (mask == 0) {
            p += 16;
            out += 16;
            continue;
        }
        size_t plain = (size_t)__builtin_ctz((unsigned)mask);
        p += plain;
        out = put_escaped(out + plain, *p++);
    }
#endif
    while (p < end) {
        out = put_escaped(out, *p++);
    }
    return out;
}

/* Where the buffer may grow by what is needed alone. */
static bool
append_tight(Buf *out, Str text, Error *err)
{
    bool ok = true;

    for (size_t i = 0; i < text.len && ok; i++) {
        char escaped[2];
        size_t len = (size_t)(put_escaped(escaped, text.ptr[i]) - escaped);

        ok = buf_append(out, str_n(escaped, len), err);
    }
    return ok;
}

bool
pg_copy_escape(Buf *out, Str text, Error *err)
{
    size_t len_before = out->len;
    bool ok = true;

    while (text.len > 0 && ok) {
        Str piece = str_n(text.ptr, DS_MIN(text.len, (size_t)COPY_PIECE_BYTES));
        char *room;

        if (buf_reserve(out, COPY_PIECE_ROOM(piece.len), &room, err)) {
            buf_commit(out, (size_t)(put_text(room, piece) - room));
        } else {
            ok = append_tight(out, piece, err);
        }
        text = str_n(text.ptr + piece.len, text.len - piece.len);
    }
    if (!ok) {
        buf_truncate(out, len_before);
    }
    return ok;
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
