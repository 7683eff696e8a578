/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/http_head.c -- the head of a response, line by line, and what its fields mean to us.
 */
#include "common/http_client_internal.h"

#include "common/parse.h"

static Str
line_without_end(Str line)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\n') {
        line.len--;
    }
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

static bool
head_add_field(HttpHeadStore *store, Str line, Error *err)
{
    Str name, value;
    HttpHeaderSpan span;

    /* A line that continues the one before was abolished by RFC 9112 5.2; it is dropped. */
    if (line.ptr[0] == ' ' || line.ptr[0] == '\t' || !str_cut(line, ':', &name, &value)) {
        return true;
    }
    value = str_trim(value);
    if (store->count == HTTP_CLIENT_HEADERS_MAX) {
        return error_set(err, ERR_LIMIT, "the response has more than %d header lines",
                         HTTP_CLIENT_HEADERS_MAX);
    }
    span = (HttpHeaderSpan){store->bytes.len, name.len, store->bytes.len + name.len, value.len};
    if (!buf_append(&store->bytes, name, err) || !buf_append(&store->bytes, value, err)) {
        return error_set(err, ERR_LIMIT, "the response's head has more than %d bytes",
                         HTTP_CLIENT_HEAD_BYTES_MAX);
    }
    store->spans[store->count++] = span;
    return true;
}

bool
http_head_add(HttpHeadStore *store, Str line, int status, bool *out_complete, Error *err)
{
    *out_complete = false;
    line = line_without_end(line);
    if (store->done) {
        return true; /* a trailer */
    }
    if (line.len == 0) {
        /* An interim response (1xx) is followed by another head. */
        store->done = status >= 200;
        store->status = store->done ? status : 0;
        *out_complete = store->done;
        return true;
    }
    if (str_starts(line, STR("HTTP/"))) {
        buf_reset(&store->bytes);
        store->count = 0;
        return true;
    }
    return head_add_field(store, line, err);
}

void
http_head_view(const HttpHeadStore *store, HttpHead *out)
{
    Str bytes = buf_str(&store->bytes);

    out->status = store->status;
    out->count = store->count;
    for (size_t i = 0; i < store->count; i++) {
        const HttpHeaderSpan *span = &store->spans[i];

        out->names[i] = str_n(bytes.ptr + span->name_at, span->name_len);
        out->values[i] = str_n(bytes.ptr + span->value_at, span->value_len);
    }
}

bool
http_head_get(const HttpHead *head, const char *name, Str *out)
{
    for (size_t i = head->count; i > 0; i--) {
        if (str_eq_nocase(head->names[i - 1], str_c(name))) {
            *out = head->values[i - 1];
            return true;
        }
    }
    return false;
}

int64_t
http_retry_after_ms(Str value, int64_t wall_ms)
{
    char date[64];
    uint64_t seconds;

    if (parse_u64_loose(value, UINT64_MAX, &seconds)) {
        return (int64_t)DS_MIN(seconds, (uint64_t)HTTP_RETRY_AFTER_MS_MAX / 1000) * 1000;
    }
    if (value.len == 0 || value.len >= sizeof(date)) {
        return 0;
    }
    memcpy(date, value.ptr, value.len);
    date[value.len] = '\0';
    time_t at = curl_getdate(date, NULL);
    if (at <= 0 || (int64_t)at <= wall_ms / 1000) {
        return 0; /* no date, or one that has passed */
    }
    return DS_MIN(((int64_t)at - wall_ms / 1000) * 1000, HTTP_RETRY_AFTER_MS_MAX);
}

static bool
is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

bool
http_url_encode(Buf *out, Str text, const char *keep, Error *err)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len_before = out->len;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        unsigned char byte = (unsigned char)c;
        char escape[3] = {'%', digits[byte >> 4], digits[byte & 15]};
        bool plain = is_unreserved(c) || (c != '\0' && strchr(keep, c) != NULL);

        if (!buf_append(out, plain ? str_n(&c, 1) : str_n(escape, sizeof(escape)), err)) {
            buf_truncate(out, len_before);
            return false;
        }
    }
    return true;
}
