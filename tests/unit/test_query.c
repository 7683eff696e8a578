/* SPDX-License-Identifier: Apache-2.0 */
#include "server/query.h"

#include <criterion/criterion.h>

static void
expect_value(Str query, Str key, const char *value, size_t count)
{
    Str raw = STR("untouched");
    size_t found = 99;

    cr_assert(query_find(query, key, &raw, &found), "%.*s", STR_ARG(query));
    cr_expect(str_eq(raw, str_c(value)), "%.*s: %.*s", STR_ARG(query), STR_ARG(raw));
    cr_expect_eq(found, count);
}

Test(query, finds_a_parameter_at_any_place)
{
    expect_value(STR("offset=-1"), STR("offset"), "-1", 1);
    expect_value(STR("offset=-1&live=sse"), STR("offset"), "-1", 1);
    expect_value(STR("x=1&offset=a%3d&live=sse"), STR("offset"), "a%3d", 1);
    expect_value(STR("x=1&offset="), STR("offset"), "", 1);
    expect_value(STR("x=1&offset"), STR("offset"), "", 1);
    expect_value(STR("offset=a=b"), STR("offset"), "a=b", 1);
}

Test(query, tells_repeated_ones_and_gives_the_first)
{
    expect_value(STR("offset=1&offset=2&offset=3"), STR("offset"), "1", 3);
}

Test(query, does_not_find_what_only_looks_alike)
{
    Str raw = STR("untouched");

    cr_expect_not(query_find(STR(""), STR("offset"), &raw, NULL));
    cr_expect_not(query_find(STR("&&"), STR("offset"), &raw, NULL));
    cr_expect_not(query_find(STR("offsets=1&xoffset=2&Offset=3"), STR("offset"), &raw, NULL));
    cr_expect(str_eq(raw, STR("untouched")));
}

Test(query, percent_decoding_refuses_every_cut_escape)
{
    static const char text[] = "a%41%zz";
    Error err = {0};

    for (size_t len = 0; len < sizeof(text); len++) {
        Buf out;
        bool whole = len <= 1 || len == 4;

        buf_init(&out, 64);
        cr_expect_eq(percent_decode(str_n(text, len), &out, &err), whole, "%zu bytes", len);
        cr_expect(whole || out.len == 0);
        buf_done(&out);
    }
}
