/* SPDX-License-Identifier: Apache-2.0 */
#include "common/str.h"

#include <endian.h>
#include <pthread.h>

#include <bsd/stdlib.h>

#include "common/mem.h"

#define BYTE_ONES  UINT64_C(0x0101010101010101)
#define BYTE_HIGHS UINT64_C(0x8080808080808080)

Str
str_c(const char *text)
{
    return text == NULL ? STR_EMPTY : (Str){text, strlen(text)};
}

bool
str_eq(Str a, Str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static char
ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Not strncasecmp: that stops at a zero byte, and looks at the locale. */
bool
str_eq_nocase(Str a, Str b)
{
    if (a.len != b.len) {
        return false;
    }
    if (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0) {
        return true; /* nearly everybody writes names as the standards do */
    }
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

int
str_cmp(Str a, Str b)
{
    size_t shared = DS_MIN(a.len, b.len);
    int order = shared == 0 ? 0 : memcmp(a.ptr, b.ptr, shared);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

bool
str_starts(Str s, Str prefix)
{
    return s.len >= prefix.len && str_eq(str_n(s.ptr, prefix.len), prefix);
}

bool
str_starts_nocase(Str s, Str prefix)
{
    return s.len >= prefix.len && str_eq_nocase(str_n(s.ptr, prefix.len), prefix);
}

bool
str_ends(Str s, Str suffix)
{
    return s.len >= suffix.len && str_eq(str_skip(s, s.len - suffix.len), suffix);
}

Str
str_skip(Str s, size_t n)
{
    n = DS_MIN(n, s.len);
    return n == 0 ? s : (Str){s.ptr + n, s.len - n};
}

Str
str_head(Str s, size_t n)
{
    return str_n(s.ptr, DS_MIN(n, s.len));
}

Str
str_slice(Str s, size_t from, size_t to)
{
    DS_ASSERT(from <= to && to <= s.len);
    return (Str){s.ptr + from, to - from};
}

Str
str_trim(Str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s = str_skip(s, 1);
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

bool
str_find(Str s, char c, size_t *out_at)
{
    const char *found = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);

    if (found == NULL) {
        return false;
    }
    *out_at = (size_t)(found - s.ptr);
    return true;
}

/* The high bit of each of eight bytes that is below 0x20 or 0x7f.  Both tests subtract and look for
 * the bytes that borrowed without having had their high bit; a borrow also reaches the next byte,
 * so only the lowest mark is sure. */
static uint64_t
ctl_marks(uint64_t word)
{
    uint64_t del = word ^ (BYTE_ONES * 0x7f);

    return (((word - BYTE_ONES * 0x20) & ~word) | ((del - BYTE_ONES) & ~del)) & BYTE_HIGHS;
}

size_t
str_ctl_at(Str s)
{
    size_t i = 0;

    for (uint64_t word; s.len - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, s.ptr + i, sizeof(word));
        uint64_t marks = ctl_marks(le64toh(word));
        if (marks != 0) {
            return i + (size_t)__builtin_ctzll(marks) / 8;
        }
    }
    for (; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c < 0x20 || c == 0x7f) {
            break;
        }
    }
    return i;
}

bool
str_contains_ctl(Str s)
{
    return str_ctl_at(s) < s.len;
}

bool
str_cut(Str s, char c, Str *out_head, Str *out_rest)
{
    size_t at;

    if (!str_find(s, c, &at)) {
        *out_head = s;
        *out_rest = STR_EMPTY;
        return false;
    }
    *out_head = str_n(s.ptr, at);
    *out_rest = str_skip(s, at + 1);
    return true;
}

/* Table 3-7 of the Unicode standard. */
size_t
str_utf8_sequence(Str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t length;

    if (s.len == 0) {
        return 0;
    }
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        length = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        length = 3;
        low = p[0] == 0xe0 ? 0xa0 : low;
        high = p[0] == 0xed ? 0x9f : high;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        length = 4;
        low = p[0] == 0xf0 ? 0x90 : low;
        high = p[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (s.len < length || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }
    return length;
}

bool
str_is_utf8(Str s)
{
    size_t i = 0;

    while (i < s.len) {
        uint64_t word;

        if (s.len - i >= sizeof(word)) {
            memcpy(&word, s.ptr + i, sizeof(word));
            if ((word & BYTE_HIGHS) == 0) {
                i += sizeof(word);
                continue;
            }
        }
        size_t length = str_utf8_sequence(str_n(s.ptr + i, s.len - i));
        if (length == 0) {
            return false;
        }
        i += length;
    }
    return true;
}

static uint64_t hash_seed;
static pthread_once_t hash_seed_once = PTHREAD_ONCE_INIT;

static void
hash_seed_make(void)
{
    arc4random_buf(&hash_seed, sizeof(hash_seed));
}

uint64_t
str_hash(Str s)
{
    (void)pthread_once(&hash_seed_once, hash_seed_make);
    uint64_t hash = hash_seed ^ (s.len * UINT64_C(0x9e3779b97f4a7c15));
    for (size_t i = 0; i < s.len;) {
        uint64_t word = 0;
        size_t take = DS_MIN(sizeof(word), s.len - i);

        memcpy(&word, s.ptr + i, take);
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
        i += take;
    }
    hash *= UINT64_C(0xc4ceb9fe1a85ec53);
    return hash ^ (hash >> 33);
}

char *
str_dup(Str s)
{
    char *copy = mem_alloc(s.len + 1);

    if (s.len > 0) {
        memcpy(copy, s.ptr, s.len);
    }
    copy[s.len] = '\0';
    return copy;
}
