/* SPDX-License-Identifier: Apache-2.0 */
#include "common/str.h"

#include <criterion/criterion.h>
#include <signal.h>

Test(str, a_c_string_loses_its_terminator_and_null_is_empty)
{
    cr_expect(str_eq(str_c("abc"), STR("abc")));
    cr_expect_eq(str_c(NULL).len, 0);
    cr_expect_not_null(str_c(NULL).ptr);
}

Test(str, equality_looks_at_every_byte)
{
    cr_expect(str_eq(STR(""), str_n(NULL, 0)));
    cr_expect(str_eq(STR("a\0b"), STR("a\0b")));
    cr_expect_not(str_eq(STR("a\0b"), STR("a\0c")));
    cr_expect_not(str_eq(STR("ab"), STR("abc")));
    cr_expect_not(str_eq(STR("ab"), STR("aB")));
}

Test(str, case_is_ignored_for_ascii_letters_only)
{
    cr_expect(str_eq_nocase(STR("Content-TYPE"), STR("content-type")));
    cr_expect(str_eq_nocase(STR(""), str_n(NULL, 0)));
    cr_expect_not(str_eq_nocase(STR("a"), STR("ab")));
    cr_expect_not(str_eq_nocase(STR("@"), STR("`")), "just before the letters");
    cr_expect_not(str_eq_nocase(STR("["), STR("{")), "just behind them");
    cr_expect_not(str_eq_nocase(STR("\xc9"), STR("\xe9")), "Latin-1 is not ASCII");
}

Test(str, a_zero_byte_does_not_end_a_comparison_without_case)
{
    cr_expect_not(str_eq_nocase(STR("a\0b"), STR("a\0c")));
    cr_expect(str_eq_nocase(STR("a\0b"), STR("A\0B")));
}

Test(str, order_is_bytewise_and_the_shorter_first)
{
    static const Str sorted[] = {{"", 0},   {"A", 1}, {"a", 1},   {"a\0", 2},
                                 {"aa", 2}, {"b", 1}, {"\xff", 1}};

    for (size_t i = 0; i < DS_COUNT(sorted); i++) {
        for (size_t k = 0; k < DS_COUNT(sorted); k++) {
            int order = str_cmp(sorted[i], sorted[k]);

            cr_expect_eq((order > 0) - (order < 0), (i > k) - (i < k), "%zu and %zu", i, k);
        }
    }
}

Test(str, prefixes_and_suffixes_are_found)
{
    cr_expect(str_starts(STR("abc"), STR("ab")));
    cr_expect(str_starts(STR("abc"), STR("")));
    cr_expect(str_starts(STR("abc"), STR("abc")));
    cr_expect(str_starts_nocase(STR("ABC"), STR("abc")));
    cr_expect_not(str_starts(STR("ab"), STR("abc")));
    cr_expect_not(str_starts(STR("abc"), STR("b")));
    cr_expect(str_starts_nocase(STR("Bearer x"), STR("bearer ")));
    cr_expect_not(str_starts_nocase(STR("Bear"), STR("bearer ")));
    cr_expect(str_ends(STR("abc"), STR("bc")));
    cr_expect(str_ends(STR("abc"), STR("")));
    cr_expect_not(str_ends(STR("bc"), STR("abc")));
    cr_expect_not(str_ends(STR("abc"), STR("b")));
}

Test(str, skip_head_and_slice_stay_inside)
{
    cr_expect(str_eq(str_skip(STR("abc"), 1), STR("bc")));
    cr_expect(str_eq(str_skip(STR("abc"), 3), STR("")));
    cr_expect(str_eq(str_skip(STR("abc"), 4), STR("")));
    cr_expect(str_eq(str_skip(str_n(NULL, 0), 4), STR("")));
    cr_expect(str_eq(str_head(STR("abc"), 2), STR("ab")));
    cr_expect(str_eq(str_head(STR("abc"), 4), STR("abc")));
    cr_expect(str_eq(str_slice(STR("abc"), 1, 2), STR("b")));
    cr_expect(str_eq(str_slice(STR("abc"), 3, 3), STR("")));
}

Test(str, a_slice_beyond_the_end_is_our_bug, .signal = SIGABRT)
{
    (void)str_slice(STR("abc"), 2, 4);
}

Test(str, trim_takes_spaces_and_tabs_and_nothing_else)
{
    cr_expect(str_eq(str_trim(STR(" \t a b\t ")), STR("a b")));
    cr_expect(str_eq(str_trim(STR(" \t ")), STR("")));
    cr_expect(str_eq(str_trim(STR("")), STR("")));
    cr_expect(str_eq(str_trim(STR("\na\r")), STR("\na\r")));
}

Test(str, find_gives_the_first_place)
{
    size_t at = 99;

    cr_expect(str_find(STR("a:b:c"), ':', &at));
    cr_expect_eq(at, 1);
    cr_expect(str_find(STR("a\0b"), '\0', &at));
    cr_expect_eq(at, 1);
    cr_expect_not(str_find(STR("abc"), ':', &at));
    cr_expect_not(str_find(str_n(NULL, 0), ':', &at));
    cr_expect_not(str_find(str_n("abc", 2), 'c', &at));
    cr_expect_eq(at, 1, "untouched when absent");
}

Test(str, control_characters_are_seen)
{
    for (int c = 0; c < 256; c++) {
        char text[3] = {'a', (char)c, 'b'};

        cr_expect_eq(str_contains_ctl(str_n(text, 3)), c < 0x20 || c == 0x7f, "byte %d", c);
    }
    cr_expect_not(str_contains_ctl(STR("")));
}

/* Eight bytes are looked at together, the rest one by one. */
Test(str, a_control_character_is_seen_wherever_it_stands_and_whatever_stands_beside_it)
{
    static const char fillers[] = {' ', '~', 'a', '\x80', '\xff'};
    char text[19];

    for (size_t i = 0; i < sizeof(text) * 256 * sizeof(fillers); i++) {
        size_t at = i % sizeof(text);
        int c = (int)(i / sizeof(text) % 256);

        memset(text, fillers[i / sizeof(text) / 256], sizeof(text));
        text[at] = (char)c;
        size_t want = c < 0x20 || c == 0x7f ? at : sizeof(text);
        cr_assert_eq(str_ctl_at(str_n(text, sizeof(text))), want, "byte %d at %zu", c, at);
        text[sizeof(text) - 1] = '\n'; /* and what comes later does not matter */
        cr_assert_leq(str_ctl_at(str_n(text, sizeof(text))), want, "byte %d at %zu", c, at);
    }
}

Test(str, cut_divides_at_the_first_place)
{
    Str head;
    Str rest;

    cr_expect(str_cut(STR("a:b:c"), ':', &head, &rest));
    cr_expect(str_eq(head, STR("a")) && str_eq(rest, STR("b:c")));
    cr_expect(str_cut(STR(":"), ':', &head, &rest));
    cr_expect(str_eq(head, STR("")) && str_eq(rest, STR("")));
    cr_expect_not(str_cut(STR("abc"), ':', &head, &rest));
    cr_expect(str_eq(head, STR("abc")) && str_eq(rest, STR("")));
}

Test(str, a_string_may_be_cut_into_itself)
{
    Str head;
    Str rest = STR("a,b,c");

    cr_expect(str_cut(rest, ',', &head, &rest));
    cr_expect(str_eq(head, STR("a")) && str_eq(rest, STR("b,c")));
}

/* The bytes of a code point, without asking whether it may be encoded. */
static size_t
encode(uint32_t code, size_t length, char out[4])
{
    static const uint8_t leads[] = {0, 0x00, 0xc0, 0xe0, 0xf0};

    for (size_t i = length; i-- > 1;) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(leads[length] | code);
    return length;
}

Test(str, every_code_point_is_utf8_in_its_shortest_form_only_and_surrogates_never)
{
    static const uint32_t shortest_from[] = {0, 0, 0x80, 0x800, 0x10000, 0x110000};

    for (size_t length = 1; length <= 4; length++) {
        uint32_t limit = length == 1 ? 0x80 : UINT32_C(1) << (length == 4 ? 21 : 1 + 5 * length);

        for (uint32_t code = 0; code < limit; code++) {
            char bytes[4];
            bool legal = code >= shortest_from[length] && code < shortest_from[length + 1] &&
                         (code < 0xd800 || code > 0xdfff);

            (void)encode(code, length, bytes);
            if (str_utf8_sequence(str_n(bytes, length)) != (legal ? length : 0)) {
                cr_assert_fail("U+%04X in %zu bytes", code, length);
            }
        }
    }
}

Test(str, only_a_continuation_byte_continues_a_character)
{
    static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf1\x9f\x98\x80"};

    for (size_t i = 0; i < DS_COUNT(characters); i++) {
        size_t length = strlen(characters[i]);

        for (size_t at = 1; at < length; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                char changed[4];
                size_t expected = byte >= 0x80 && byte <= 0xbf ? length : 0;

                memcpy(changed, characters[i], length);
                changed[at] = (char)byte;
                cr_expect_eq(str_utf8_sequence(str_n(changed, length)), expected,
                             "%02x at byte %zu of %zu", byte, at, length);
            }
        }
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char alone = (char)byte;

        cr_expect_eq(str_utf8_sequence(str_n(&alone, 1)), byte < 0x80 ? 1 : 0, "%02x", byte);
    }
}

Test(str, utf8_is_whole_or_not_utf8_wherever_it_stands)
{
    static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

    for (size_t i = 0; i < DS_COUNT(characters); i++) {
        for (size_t before = 0; before < 20; before++) {
            char text[32];
            size_t length = strlen(characters[i]);

            memset(text, 'a', sizeof(text));
            memcpy(text + before, characters[i], length);
            cr_expect(str_is_utf8(str_n(text, sizeof(text))));
            for (size_t part = 1; part < length; part++) {
                cr_expect_not(str_is_utf8(str_n(text, before + part)), "%zu + %zu", before, part);
            }
            cr_expect(str_is_utf8(str_n(text, before + length)));
            text[before] = 'a';
            cr_expect_not(str_is_utf8(str_n(text, sizeof(text))), "without its lead byte");
        }
    }
    cr_expect(str_is_utf8(str_n(NULL, 0)));
    cr_expect(str_is_utf8(STR("\0")));
    cr_expect_not(str_is_utf8(STR("\xff")));
}

Test(str, equal_bytes_hash_alike_and_others_do_not)
{
    char text[40];
    uint64_t seen[40];

    memset(text, 'x', sizeof(text));
    for (size_t len = 0; len < sizeof(text); len++) {
        char copy[41];

        memcpy(copy + 1, text, len);
        seen[len] = str_hash(str_n(text, len));
        cr_expect_eq(str_hash(str_n(copy + 1, len)), seen[len], "%zu bytes elsewhere", len);
        for (size_t k = 0; k < len; k++) {
            cr_expect_neq(seen[k], seen[len], "%zu and %zu bytes", k, len);
            text[k] = 'y';
            cr_expect_neq(str_hash(str_n(text, len)), seen[len], "byte %zu of %zu", k, len);
            text[k] = 'x';
        }
    }
}

Test(str, a_copy_is_terminated_and_independent)
{
    char text[] = "a\0b";
    char *copy = str_dup(str_n(text, 3));

    text[0] = 'x';
    cr_expect_arr_eq(copy, "a\0b", 4);
    free(copy);
    copy = str_dup(str_n(NULL, 0));
    cr_expect_str_eq(copy, "");
    free(copy);
}
