/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/str.h -- a borrowed view of bytes: pointer and length, no terminator promised.
 *
 * Owns nothing; valid as long as the memory it points into.  Values are passed by copy.
 */
#pragma once

#include "common/base.h"

typedef struct Str {
    const char *ptr;
    size_t len;
} Str;

#define STR(literal) ((Str){"" literal "", sizeof(literal) - 1})
#define STR_EMPTY    ((Str){"", 0})

/* For "%.*s": printf("%.*s", STR_ARG(s)).  Only for lengths already bounded below INT_MAX. */
#define STR_ARG(s) (int)(s).len, (s).ptr

static inline Str
str_n(const void *ptr, size_t len)
{
    return (Str){(const char *)ptr, len};
}

/* A C string; NULL becomes the empty string. */
Str str_c(const char *text);

bool str_eq(Str a, Str b);
bool str_eq_nocase(Str a, Str b); /* ASCII only */
int str_cmp(Str a, Str b);        /* bytewise, shorter first on a tie */
bool str_starts(Str s, Str prefix);
bool str_starts_nocase(Str s, Str prefix);
bool str_ends(Str s, Str suffix);
Str str_skip(Str s, size_t n); /* without the first n bytes; n may exceed the length */
Str str_slice(Str s, size_t from, size_t to); /* asserts from <= to <= the length */
Str str_head(Str s, size_t n);                /* the first n bytes at most */
Str str_trim(Str s); /* without spaces and tabs at both ends (RFC 9110 OWS) */
bool str_find(Str s, char c, size_t *out_at);
size_t str_ctl_at(Str s); /* the first control character: a byte < 0x20 or 0x7f; or the length */
bool str_contains_ctl(Str s);

/* Cut at the first `c`: *out_head is before it, *out_rest after; without one, head = s, rest empty
 * and false is returned. */
bool str_cut(Str s, char c, Str *out_head, Str *out_rest);

/* Bytes of the UTF-8 character that s starts with; 0 when none is valid and whole there. */
size_t str_utf8_sequence(Str s);

/* Whole and valid UTF-8 (RFC 3629: no overlongs, no surrogates, at most U+10FFFF). */
bool str_is_utf8(Str s);

/* 64-bit hash for tables; seeded per process, so never for anything stored or sent. */
uint64_t str_hash(Str s);

/* Heap copy with a terminator; free() it.  Aborts when out of memory (see mem.h). */
char *str_dup(Str s);
