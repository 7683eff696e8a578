/* SPDX-License-Identifier: Apache-2.0 */
#include "common/offset.h"

#include <criterion/criterion.h>

Test(offset, what_any_server_may_mint_is_a_resume_point)
{
    static const char *const good[] = {
        "0",   "0000000000000000_0000000000000000",
        "abc", "-2",
        "NOW", "now1",
        "-1-", "a.b~c!d*e'f(g)",
    };

    for (size_t i = 0; i < DS_COUNT(good); i++) {
        cr_expect(offset_is_valid(str_c(good[i])), "%s", good[i]);
    }
}

Test(offset, sentinels_and_foreign_characters_are_none)
{
    static const char *const bad[] = {
        "",    "-1",  "now",  "a,b",  "a&b",   "a=b",       "a?b",
        "a/b", "a b", "a\tb", "a\nb", "a\x7f", "h\xc3\xa9",
    };

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(offset_is_valid(str_c(bad[i])), "\"%s\"", bad[i]);
    }
    cr_expect_not(offset_is_valid(STR("a\0b")));
}

Test(offset, the_longest_is_255_bytes)
{
    char text[256];

    memset(text, 'a', sizeof(text));
    cr_expect(offset_is_valid(str_n(text, OFFSET_BYTES_MAX)));
    cr_expect_not(offset_is_valid(str_n(text, OFFSET_BYTES_MAX + 1)));
}

static const struct {
    Offset offset;
    const char *text;
} own[] = {
    {{0, 0}, "0000000000000000_0000000000000000"},
    {{1, 255}, "0000000000000001_00000000000000ff"},
    {{UINT64_C(0x0123456789abcdef), UINT64_MAX}, "0123456789abcdef_ffffffffffffffff"},
};

Test(offset, our_own_form_goes_both_ways)
{
    for (size_t i = 0; i < DS_COUNT(own); i++) {
        char text[OFFSET_OWN_BYTES + 1];
        Offset parsed;

        offset_format(own[i].offset, text);
        cr_expect_str_eq(text, own[i].text);
        cr_expect(offset_is_valid(str_c(text)));
        cr_assert(offset_parse(str_c(text), &parsed));
        cr_expect_eq(parsed.era, own[i].offset.era);
        cr_expect_eq(parsed.position, own[i].offset.position);
    }
}

Test(offset, text_order_is_stream_order)
{
    static const Offset ordered[] = {
        {0, 0}, {0, 9}, {0, 10}, {0, 256}, {0, UINT64_MAX}, {1, 0}, {10, 0}, {UINT64_MAX, 0},
    };

    for (size_t i = 1; i < DS_COUNT(ordered); i++) {
        char before[OFFSET_OWN_BYTES + 1];
        char after[OFFSET_OWN_BYTES + 1];

        offset_format(ordered[i - 1], before);
        offset_format(ordered[i], after);
        cr_expect_lt(str_cmp(str_c(before), str_c(after)), 0, "%s %s", before, after);
    }
}

Test(offset, any_other_form_is_refused_and_leaves_the_output)
{
    static const char good[] = "0123456789abcdef_0123456789abcdef";
    Offset parsed = {7, 8};

    for (size_t at = 0; at < sizeof(good) - 1; at++) {
        static const char wrong[] = {'A', 'g', ' ', '-', '/', ':', '`', '\0'};

        for (size_t i = 0; i < sizeof(wrong); i++) {
            char text[sizeof(good)];

            memcpy(text, good, sizeof(good));
            text[at] = wrong[i];
            cr_expect_not(offset_parse(str_n(text, sizeof(good) - 1), &parsed), "%s", text);
        }
        cr_expect_not(offset_parse(str_n(good, at), &parsed), "cut at %zu", at);
    }
    cr_expect_not(offset_parse(STR("0123456789abcdef_0123456789abcdef0"), &parsed));
    cr_expect_not(offset_parse(STR("01234567_89abcdef_0123456789abcdef"), &parsed));
    cr_expect_not(offset_parse(STR("-1"), &parsed));
    cr_expect(parsed.era == 7 && parsed.position == 8);
}
