/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/pg_text.c -- Postgres' text forms: COPY values, array elements, columns, messages.
 */
#include "common/pg_internal.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* A piece that is escaped at once: each byte may become two, and two vectors are written
 * at a time. */
#define COPY_PIECE_BYTES       1024
#define COPY_PIECE_ROOM(bytes) (2 * (bytes) + 32)

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

#ifdef __SSE2__

#define VECTOR_BYTES 16

/* Copies a vector and says which of its bytes want an escape. */
static inline unsigned
put_vector(char *out, const char *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);

    _mm_storeu_si128((__m128i *)(void *)out, bytes);
    return (unsigned)_mm_movemask_epi8(
        _mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
}

/* Two vectors; p has two more behind them.  Behind each byte that is escaped the rest is copied
 * again, a byte further, all of it: how much of it counts is no branch, for none could be
 * foreseen. */
static inline char *
put_two_vectors(char *out, const char *p)
{
    unsigned marks = put_vector(out, p) | put_vector(out + VECTOR_BYTES, p + VECTOR_BYTES) << 16;
    unsigned done = 0;

    while (marks != 0) {
        unsigned at = (unsigned)__builtin_ctz(marks);

        out = put_escaped(out + (at - done), p[at]);
        done = at + 1;
        (void)put_vector(out, p + done);
        (void)put_vector(out + VECTOR_BYTES, p + done + VECTOR_BYTES);
        marks &= marks - 1;
    }
    return out + (2 * VECTOR_BYTES - done);
}
#endif

/* What stands for itself is copied a vector at a time; out has room for all that may come, and for
 * two vectors behind it. */
static char *
put_text(char *out, Str text)
{
    const char *p = text.ptr;
    const char *end = text.len > 0 ? p + text.len : p;

#ifdef __SSE2__
    for (; end - p >= 4 * VECTOR_BYTES; p += 2 * VECTOR_BYTES) {
        out = put_two_vectors(out, p);
    }
    while (end - p >= VECTOR_BYTES) {
        unsigned marks = put_vector(out, p);

        if (marks == 0) {
            p += VECTOR_BYTES;
            out += VECTOR_BYTES;
            continue;
        }
        unsigned plain = (unsigned)__builtin_ctz(marks);
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
