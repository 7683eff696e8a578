/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/buf.h -- growable bytes with a mandatory maximum.
 *
 * Invariants: len <= cap <= max; data is NULL while cap is 0.  What would pass the maximum fails
 * with ERR_LIMIT and changes nothing: there is no truncation.  Embedded in its owner: buf_init,
 * then buf_done.  A zeroed Buf has maximum 0 and takes nothing.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

typedef struct Buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max; /* bytes */
} Buf;

void buf_init(Buf *buf, size_t bytes_max);
void buf_done(Buf *buf);                   /* frees; the Buf may be initialised again */
void buf_reset(Buf *buf);                  /* len = 0, memory kept */
void buf_shrink(Buf *buf, size_t cap_max); /* gives memory back when empty and above cap_max */

DS_MUST_CHECK bool buf_append(Buf *buf, Str bytes, Error *err);
DS_MUST_CHECK bool buf_append_i64(Buf *buf, int64_t number, Error *err); /* in decimal */
DS_MUST_CHECK bool buf_append_hex(Buf *buf, Str bytes, Error *err);      /* two digits for a byte */
DS_MUST_CHECK bool buf_printf(Buf *buf, Error *err, const char *fmt, ...) DS_PRINTF(3, 4);

static inline DS_MUST_CHECK bool
buf_append_char(Buf *buf, char c, Error *err)
{
    if (buf->len < buf->cap) {
        buf->data[buf->len++] = c;
        return true;
    }
    return buf_append(buf, str_n(&c, 1), err);
}

/* Room for n more bytes; *out_room is where they go, buf_commit says how many came.  For n = 0 it
 * may be NULL. */
DS_MUST_CHECK bool buf_reserve(Buf *buf, size_t n, char **out_room, Error *err);
void buf_commit(Buf *buf, size_t n);

void buf_consume(Buf *buf, size_t n);    /* drop n bytes from the front (memmove) */
void buf_truncate(Buf *buf, size_t len); /* keep the first len bytes */

static inline Str
buf_str(const Buf *buf)
{
    return (Str){buf->data ? buf->data : "", buf->len};
}

/* The bytes with a terminator; the caller owns them from now on (free), the Buf is empty. */
char *buf_take(Buf *buf);
/* A terminator is put behind the bytes (not counted); borrowed until the next change. */
const char *buf_cstr(Buf *buf);
