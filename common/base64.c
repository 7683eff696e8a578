/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base64.h"

/* What sextet() says of a byte that stands for no value; values are below 64. */
#define SKIPPED 64
#define PADDING 65
#define FOREIGN 255

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* One more than the meaning, so that what is not named here is foreign. */
static const uint8_t meanings[256] = {
    /* clang-format off */
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
    /* clang-format on */
    ['\r'] = SKIPPED + 1,
    ['\n'] = SKIPPED + 1,
    ['='] = PADDING + 1,
};

static inline uint8_t
sextet(char c)
{
    return (uint8_t)(meanings[(uint8_t)c] - 1);
}

bool
base64_encode(Buf *out, Str bytes, Error *err)
{
    const uint8_t *p = (const uint8_t *)bytes.ptr;
    size_t left = bytes.len;
    char *room;

    if (!buf_reserve(out, left / 3 * 4 + (left % 3 != 0 ? 4 : 0), &room, err)) {
        return false;
    }
    char *to = room;
    for (; left >= 3; left -= 3, p += 3) {
        uint32_t group = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

        *to++ = alphabet[group >> 18];
        *to++ = alphabet[group >> 12 & 63];
        *to++ = alphabet[group >> 6 & 63];
        *to++ = alphabet[group & 63];
    }
    if (left > 0) {
        uint32_t group = (uint32_t)p[0] << 16 | (left == 2 ? (uint32_t)p[1] << 8 : 0);

        *to++ = alphabet[group >> 18];
        *to++ = alphabet[group >> 12 & 63];
        *to++ = left == 2 ? alphabet[group >> 6 & 63] : '=';
        *to++ = '=';
    }
    buf_commit(out, (size_t)(to - room));
    return true;
}

static bool
bad_text(Error *err, const char *what, size_t at)
{
    return error_set(err, ERR_INPUT, "base64: %s at byte %zu", what, at);
}

/* The padding of an incomplete group of `count` values, and nothing but line breaks behind it. */
static bool
check_padding(Str text, size_t at, unsigned count, Error *err)
{
    unsigned expected = 4 - count;
    unsigned seen = 0;

    if (count < 2) {
        return bad_text(err, "padding too early", at);
    }
    for (; at < text.len; at++) {
        uint8_t value = sextet(text.ptr[at]);

        if (value == PADDING && seen < expected) {
            seen++;
        } else if (value != SKIPPED) {
            return bad_text(err, "something behind the padding", at);
        }
    }
    return seen == expected || bad_text(err, "padding missing", at);
}

/* The two or one bytes of the last, incomplete group. */
static bool
decode_tail(uint32_t group, unsigned count, char **to, size_t at, Error *err)
{
    unsigned spare_bits = count == 3 ? 2 : 4;

    if ((group & ((1u << spare_bits) - 1)) != 0) {
        return bad_text(err, "stray bits before the padding", at);
    }
    group >>= spare_bits;
    if (count == 3) {
        *(*to)++ = (char)(group >> 8);
    }
    *(*to)++ = (char)group;
    return true;
}

/* Whole groups of four values, which is nearly all of a text; stops at the first that is not. */
static size_t
decode_groups(Str text, char **to)
{
    char *p = *to;
    size_t at = 0;

    for (; text.len - at >= 4; at += 4) {
        uint32_t a = sextet(text.ptr[at]);
        uint32_t b = sextet(text.ptr[at + 1]);
        uint32_t c = sextet(text.ptr[at + 2]);
        uint32_t d = sextet(text.ptr[at + 3]);

        if ((a | b | c | d) > 63) {
            break;
        }
        uint32_t group = a << 18 | b << 12 | c << 6 | d;
        *p++ = (char)(group >> 16);
        *p++ = (char)(group >> 8);
        *p++ = (char)group;
    }
    *to = p;
    return at;
}

/* Exactly, for an output so full that a guess would be refused. */
static size_t
decoded_bytes(Str text)
{
    size_t sextets = 0;

    for (size_t i = 0; i < text.len; i++) {
        sextets += sextet(text.ptr[i]) < 64;
    }
    return sextets / 4 * 3 + sextets % 4 * 6 / 8;
}

bool
base64_decode(Buf *out, Str text, Error *err)
{
    uint32_t group = 0;
    unsigned count = 0;
    char *room;

    size_t need = text.len / 4 * 3 + 3;
    if (need > out->max - out->len) {
        need = decoded_bytes(text);
    }
    if (!buf_reserve(out, need, &room, err)) {
        return false;
    }
    char *to = room;
    size_t at = decode_groups(text, &to);
    while (at < text.len && sextet(text.ptr[at]) != PADDING) {
        uint8_t value = sextet(text.ptr[at]);

        if (value == FOREIGN) {
            return bad_text(err, "foreign byte", at);
        }
        at++;
        if (value == SKIPPED) {
            /* Behind a line break at a group's end the fast way is open again. */
            at += count == 0 ? decode_groups(str_skip(text, at), &to) : 0;
            continue;
        }
        group = group << 6 | value;
        if (++count == 4) {
            *to++ = (char)(group >> 16);
            *to++ = (char)(group >> 8);
            *to++ = (char)group;
            group = 0;
            count = 0;
        }
    }
    if ((at < text.len || count > 0) &&
        (!check_padding(text, at, count, err) || !decode_tail(group, count, &to, at, err))) {
        return false;
    }
    buf_commit(out, (size_t)(to - room));
    return true;
}

/* ---- the URL-safe alphabet ---- */

bool
base64url_encode(Buf *out, Str bytes, Error *err)
{
    Buf text;
    bool ok = false;

    buf_init(&text, SIZE_MAX / 2);
    if (base64_encode(&text, bytes, err)) {
        while (text.len > 0 && text.data[text.len - 1] == '=') {
            text.len--;
        }
        for (size_t i = 0; i < text.len; i++) {
            text.data[i] = text.data[i] == '+' ? '-' : text.data[i] == '/' ? '_' : text.data[i];
        }
        ok = buf_append(out, buf_str(&text), err);
    }
    buf_done(&text);
    return ok;
}

/* Into the standard alphabet, padded. */
static bool
from_url(Str text, Buf *out, Error *err)
{
    static const Str padding[] = {STR(""), STR(""), STR("=="), STR("=")};

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '+' || c == '/' || c == '=' || c == '\r' || c == '\n') {
            return bad_text(err, "foreign byte", i);
        }
        if (!buf_append_char(out, c == '-' ? '+' : c == '_' ? '/' : c, err)) {
            return false;
        }
    }
    if (text.len % 4 == 1) {
        return bad_text(err, "a single character", text.len - 1);
    }
    return buf_append(out, padding[text.len % 4], err);
}

bool
base64url_decode(Buf *out, Str text, Error *err)
{
    Buf standard;
    bool ok;

    buf_init(&standard, SIZE_MAX / 2);
    ok = from_url(text, &standard, err) && base64_decode(out, buf_str(&standard), err);
    buf_done(&standard);
    return ok;
}
