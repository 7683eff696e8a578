/* SPDX-License-Identifier: Apache-2.0 */
#include "server/query.h"

bool
query_find(Str query, Str key, Str *out_raw, size_t *out_count)
{
    size_t count = 0;

    while (query.len > 0) {
        Str pair;
        Str name;
        Str value;

        str_cut(query, '&', &pair, &query);
        str_cut(pair, '=', &name, &value);
        if (str_eq(name, key) && count++ == 0) {
            *out_raw = value;
        }
    }
    if (out_count != NULL) {
        *out_count = count;
    }
    return count > 0;
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool
percent_decode(Str raw, Buf *out, Error *err)
{
    size_t begin = out->len;
    size_t at;

    if (!str_find(raw, '%', &at)) {
        return buf_append(out, raw, err); /* nearly every name */
    }
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];

        if (c == '%') {
            int high = i + 2 < raw.len ? hex_digit(raw.ptr[i + 1]) : -1;
            int low = i + 2 < raw.len ? hex_digit(raw.ptr[i + 2]) : -1;

            if (high < 0 || low < 0) {
                buf_truncate(out, begin);
                return error_set(err, ERR_INPUT, "a '%%' without two hex digits");
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (!buf_append_char(out, c, err)) {
            buf_truncate(out, begin);
            return false;
        }
    }
    return true;
}
