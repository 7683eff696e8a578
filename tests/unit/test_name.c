/* SPDX-License-Identifier: Apache-2.0 */
#include "server/name.h"

#include <criterion/criterion.h>

#define ROOM 4096

static const NameLimits limits = {.bytes_max = 16, .segments_max = 3};

static void
expect_name(Str raw, const char *name)
{
    Buf out;
    Error err = {0};

    buf_init(&out, ROOM);
    cr_assert(name_decode(raw, &limits, &out, &err), "%.*s: %s", STR_ARG(raw), err.text);
    cr_expect(str_eq(buf_str(&out), str_c(name)), "%.*s", STR_ARG(raw));
    buf_done(&out);
}

static void
expect_refused(Str raw, const char *why)
{
    Buf out;
    Error err = {0};

    buf_init(&out, ROOM);
    cr_assert_not(name_decode(raw, &limits, &out, &err), "%.*s", STR_ARG(raw));
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect(strstr(err.text, why) != NULL, "%.*s: \"%s\" does not say \"%s\"", STR_ARG(raw),
              err.text, why);
    cr_expect_eq(out.len, 0, "a refused name left bytes behind");
    buf_done(&out);
}

Test(name, is_percent_decoded_once)
{
    expect_name(STR("a"), "a");
    expect_name(STR("a/b/c"), "a/b/c");
    expect_name(STR("a%62"), "ab");
    expect_name(STR("a%2562"), "a%62");
    expect_name(STR("caf%C3%A9"), "caf\xc3\xa9");
    expect_name(STR("caf\xc3\xa9"), "caf\xc3\xa9");
    expect_name(STR("a+b c"), "a+b c");
}

Test(name, bad_escapes_are_refused)
{
    expect_refused(STR("a%"), "hex");
    expect_refused(STR("a%4"), "hex");
    expect_refused(STR("a%4g"), "hex");
    expect_refused(STR("%zz"), "hex");
}

Test(name, an_encoded_slash_is_refused_in_either_case)
{
    expect_refused(STR("a%2Fb"), "slash");
    expect_refused(STR("a%2fb"), "slash");
    expect_refused(STR("%2F"), "slash");
}

Test(name, segments_are_neither_empty_nor_dots)
{
    expect_refused(STR(""), "empty");
    expect_refused(STR("/"), "empty segment");
    expect_refused(STR("a/"), "empty segment");
    expect_refused(STR("/a"), "empty segment");
    expect_refused(STR("a//b"), "empty segment");
    expect_refused(STR("a/./b"), "\".\"");
    expect_refused(STR("a/.."), "\"..\"");
    expect_refused(STR("%2e%2e/a"), "\"..\"");
    expect_name(STR(".../..a"), ".../..a");
}

Test(name, is_utf8_without_control_characters)
{
    expect_refused(STR("a%00"), "control");
    expect_refused(STR("a%0a"), "control");
    expect_refused(STR("a%7f"), "control");
    expect_refused(STR("a%ff"), "UTF-8");
    expect_refused(STR("a%c3"), "UTF-8");
}

Test(name, is_bounded_in_bytes_and_segments)
{
    expect_name(STR("0123456789abcdef"), "0123456789abcdef");
    expect_refused(STR("0123456789abcdefg"), "16 bytes");
    expect_name(STR("%30%31%32%33%34%35%36%37%38%39%61%62%63%64%65%66"), "0123456789abcdef");
    expect_refused(STR("%30%31%32%33%34%35%36%37%38%39%61%62%63%64%65%66%67"), "16 bytes");
    expect_refused(STR("a/b/c/d"), "3 segments");
}

Test(name, only_the_first_segment_can_be_reserved)
{
    cr_expect(name_is_reserved(STR("__ds")));
    cr_expect(name_is_reserved(STR("__ds/subscriptions/x")));
    cr_expect_not(name_is_reserved(STR("__dsx")));
    cr_expect_not(name_is_reserved(STR("a/__ds")));
}
