/* SPDX-License-Identifier: Apache-2.0 */
#include "common/buf.h"

#include <stdarg.h>

#include "common/mem.h"

#define BUF_CAP_FIRST  256
#define I64_DIGITS_MAX 20 /* with a sign */

void
buf_init(Buf *buf, size_t bytes_max)
{
    DS_ASSERT(bytes_max < SIZE_MAX);
    *buf = (Buf){.max = bytes_max};
}

void
buf_done(Buf *buf)
{
    free(buf->data);
    *buf = (Buf){.max = buf->max};
}

void
buf_reset(Buf *buf)
{
    buf->len = 0;
}

void
buf_shrink(Buf *buf, size_t cap_max)
{
    if (buf->len == 0 && buf->cap > cap_max) {
        buf_done(buf);
    }
}

static void
buf_grow(Buf *buf, size_t needed)
{
    size_t cap = DS_MIN(DS_MAX(buf->cap, (size_t)BUF_CAP_FIRST), buf->max);

    while (cap < needed) {
        cap = cap > buf->max / 2 ? buf->max : cap * 2;
    }
    /* One byte more than counted, so that a terminator always has a place. */
    buf->data = mem_realloc(buf->data, cap + 1);
    buf->cap = cap;
}

bool
buf_reserve(Buf *buf, size_t n, char **out_room, Error *err)
{
    if (n > buf->max - buf->len) {
        return error_set(err, ERR_LIMIT, "buffer of %zu bytes cannot take %zu more (limit %zu)",
                         buf->len, n, buf->max);
    }
    if (buf->cap - buf->len < n) {
        buf_grow(buf, buf->len + n);
    }
    if (out_room != NULL) {
        *out_room = buf->data == NULL ? NULL : buf->data + buf->len;
    }
    return true;
}

void
buf_commit(Buf *buf, size_t n)
{
    DS_ASSERT(n <= buf->cap - buf->len);
    buf->len += n;
}

bool
buf_append(Buf *buf, Str bytes, Error *err)
{
    if (buf->cap - buf->len < bytes.len && !buf_reserve(buf, bytes.len, NULL, err)) {
        return false;
    }
    if (bytes.len > 0) {
        memcpy(buf->data + buf->len, bytes.ptr, bytes.len);
    }
    buf->len += bytes.len;
    return true;
}

/* A row has several numbers, and printf takes longer for one than COPY's text for the rest. */
bool
buf_append_i64(Buf *buf, int64_t number, Error *err)
{
    char text[I64_DIGITS_MAX];
    size_t at = sizeof(text);
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

    do {
        text[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (number < 0) {
        text[--at] = '-';
    }
    return buf_append(buf, str_n(text + at, sizeof(text) - at), err);
}

bool
buf_append_hex(Buf *buf, Str bytes, Error *err)
{
    static const char digits[] = "0123456789abcdef";
    char *room;

    if (!buf_reserve(buf, bytes.len * 2, &room, err)) {
        return false;
    }
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char byte = (unsigned char)bytes.ptr[i];

        room[2 * i] = digits[byte >> 4];
        room[2 * i + 1] = digits[byte & 15];
    }
    buf_commit(buf, bytes.len * 2);
    return true;
}

bool
buf_printf(Buf *buf, Error *err, const char *fmt, ...)
{
    char small[256];
    va_list args;

    va_start(args, fmt);
    int length = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    DS_ASSERT(length >= 0);
    if ((size_t)length < sizeof(small)) {
        return buf_append(buf, str_n(small, (size_t)length), err);
    }
    char *room;
    if (!buf_reserve(buf, (size_t)length, &room, err)) {
        return false;
    }
    va_start(args, fmt);
    (void)vsnprintf(room, (size_t)length + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)length;
    return true;
}

void
buf_consume(Buf *buf, size_t n)
{
    DS_ASSERT(n <= buf->len);
    if (n == 0) {
        return;
    }
    memmove(buf->data, buf->data + n, buf->len - n);
    buf->len -= n;
}

void
buf_truncate(Buf *buf, size_t len)
{
    DS_ASSERT(len <= buf->len);
    buf->len = len;
}

const char *
buf_cstr(Buf *buf)
{
    if (buf->data == NULL) {
        return "";
    }
    buf->data[buf->len] = '\0';
    return buf->data;
}

char *
buf_take(Buf *buf)
{
    char *data = buf->data == NULL ? mem_zalloc(1) : buf->data;

    data[buf->len] = '\0';
    *buf = (Buf){.max = buf->max};
    return data;
}
