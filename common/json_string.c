/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/json_string.c -- decoding, comparing and escaping JSON strings.
 */
#include "common/json_scan.h"

#include "common/json_internal.h"

bool
json_hex4(const char *p, const char *end, unsigned *out)
{
    unsigned value = 0;

    if (end - p < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        char lower = (char)(c | 0x20);

        if (c >= '0' && c <= '9') {
            value = value << 4 | (unsigned)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value << 4 | (unsigned)(lower - 'a' + 10);
        } else {
            return false;
        }
    }
    *out = value;
    return true;
}

static size_t
utf8_encode(unsigned code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* At "\u"; false for a surrogate without its partner. */
static bool
decode_unicode(const char **at, const char *end, unsigned *out_code)
{
    const char *p = *at + 2;
    unsigned unit;
    unsigned partner;

    if (!json_hex4(p, end, &unit) || json_is_low_surrogate(unit)) {
        return false;
    }
    p += 4;
    if (json_is_high_surrogate(unit)) {
        if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || !json_hex4(p + 2, end, &partner) ||
            !json_is_low_surrogate(partner)) {
            return false;
        }
        unit = 0x10000 + ((unit - 0xd800) << 10) + (partner - 0xdc00);
        p += 6;
    }
    *at = p;
    *out_code = unit;
    return true;
}

/* At a backslash: *at moves behind the escape, whose UTF-8 goes to out.  0 when it means nothing.
 */
static size_t
decode_escape(const char **at, const char *end, char out[4])
{
    static const char names[] = "\"\\/bfnrt";
    static const char means[] = "\"\\/\b\f\n\r\t";
    unsigned code;

    if (end - *at < 2) {
        return 0;
    }
    if ((*at)[1] == 'u') {
        return decode_unicode(at, end, &code) ? utf8_encode(code, out) : 0;
    }
    const char *name = memchr(names, (*at)[1], sizeof(names) - 1);
    if (name == NULL) {
        return 0;
    }
    out[0] = means[name - names];
    *at += 2;
    return 1;
}

/* The bytes between the quotes. */
static bool
strip_quotes(Str string_value, Str *out)
{
    if (string_value.len < 2 || string_value.ptr[0] != '"' ||
        string_value.ptr[string_value.len - 1] != '"') {
        return false;
    }
    *out = str_n(string_value.ptr + 1, string_value.len - 2);
    return true;
}

bool
json_name_eq(Str name, Str key)
{
    Str inner;

    if (!strip_quotes(name, &inner)) {
        return false;
    }
    /* Nearly all names have no escape, and one that has is longer than what it stands for. */
    if (inner.len < key.len || memchr(inner.ptr, '\\', inner.len) == NULL) {
        return str_eq(inner, key);
    }
    const char *p = inner.ptr;
    const char *end = inner.ptr + inner.len;
    while (p < end) {
        char decoded[4] = {*p};
        size_t length = 1;

        if (*p == '\\') {
            length = decode_escape(&p, end, decoded);
        } else {
            p++;
        }
        if (length == 0 || !str_starts(key, str_n(decoded, length))) {
            return false;
        }
        key = str_skip(key, length);
    }
    return key.len == 0;
}

bool
json_unescape(Str string_value, Buf *out, Error *err)
{
    size_t before = out->len;
    Str inner;

    if (!strip_quotes(string_value, &inner)) {
        return error_set(err, ERR_INPUT, "JSON: not a string");
    }
    const char *p = inner.ptr;
    const char *end = inner.ptr + inner.len;
    while (p < end) {
        const char *run = p;
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        char decoded[4];

        p = slash != NULL ? slash : end;
        if (!buf_append(out, str_n(run, (size_t)(p - run)), err)) {
            goto fail;
        }
        if (slash == NULL) {
            break;
        }
        size_t length = decode_escape(&p, end, decoded);
        if (length == 0) {
            (void)error_set(err, ERR_INPUT,
                            "JSON: lone surrogate or bad escape in a string, at byte %zu",
                            (size_t)(p - string_value.ptr));
            goto fail;
        }
        if (!buf_append(out, str_n(decoded, length), err)) {
            goto fail;
        }
    }
    return true;

fail:
    buf_truncate(out, before);
    return false;
}

/* One byte that cannot stand in a string as it is. */
static bool
append_escape(char c, Buf *out, Error *err)
{
    static const char hex[] = "0123456789abcdef";
    static const char means[] = "\"\\\b\f\n\r\t";
    static const char names[] = "\"\\bfnrt";
    char escape[6] = {'\\', 'u', '0', '0', hex[(unsigned char)c >> 4], hex[c & 0xf]};
    const char *mean = memchr(means, c, sizeof(means) - 1);

    if (mean == NULL) {
        return buf_append(out, str_n(escape, sizeof(escape)), err);
    }
    escape[1] = names[mean - means];
    return buf_append(out, str_n(escape, 2), err);
}

bool
json_escape(Str text, Buf *out, Error *err)
{
    size_t before = out->len;
    const char *p = text.ptr;
    const char *end = text.len > 0 ? text.ptr + text.len : text.ptr;

    if (!str_is_utf8(text)) {
        return error_set(err, ERR_INPUT, "text is not UTF-8");
    }
    if (!buf_append_char(out, '"', err)) {
        return false;
    }
    while (p < end) {
        const char *run = p;

        do {
            p = json_plain_end(p, end);
            while (p < end && (unsigned char)*p >= 0x7f) {
                p++;
            }
        } while (p < end && json_is_plain(*p));
        if (!buf_append(out, str_n(run, (size_t)(p - run)), err) ||
            (p < end && !append_escape(*p++, out, err))) {
            goto fail;
        }
    }
    if (buf_append_char(out, '"', err)) {
        return true;
    }

fail:
    buf_truncate(out, before);
    return false;
}
