/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/route_layout.h"

#include <criterion/criterion.h>

static void
expect_end(const char *prefix, const char *end)
{
    Error err;
    Buf out;

    buf_init(&out, 100);
    cr_assert(route_prefix_end(str_c(prefix), &out, &err), "%s", prefix);
    cr_expect_str_eq(buf_cstr(&out), end, "%s: %s", prefix, buf_cstr(&out));
    cr_expect(strcmp(prefix, end) < 0);
    buf_done(&out);
}

Test(dsctl_route_layout, the_last_character_goes_up_by_one)
{
    expect_end("chat/", "chat0");
    expect_end("a", "b");
    expect_end("~", "\x7f");
}

Test(dsctl_route_layout, characters_of_several_bytes_stay_whole)
{
    expect_end("\x7f", "\xc2\x80");
    expect_end("x\xc3\xa4", "x\xc3\xa5");
    expect_end("\xdf\xbf", "\xe0\xa0\x80");
    expect_end("\xef\xbf\xbf", "\xf0\x90\x80\x80");
    expect_end("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x81");
}

Test(dsctl_route_layout, there_are_no_surrogates)
{
    expect_end("\xed\x9f\xbf", "\xee\x80\x80");
}

Test(dsctl_route_layout, the_last_of_all_characters_carries)
{
    Error err;
    Buf out;

    expect_end("a\xf4\x8f\xbf\xbf", "b");
    expect_end("a\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf", "b");
    buf_init(&out, 100);
    cr_expect_not(route_prefix_end(STR("\xf4\x8f\xbf\xbf"), &out, &err));
    cr_expect_eq(err.code, ERR_INPUT);
    buf_done(&out);
}
