/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_scan.h"

#include <criterion/criterion.h>

static void
expect_unescaped(Str string_value, Str text)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 1024);
    cr_assert(buf_append(&out, STR("kept"), &err));
    cr_expect(json_unescape(string_value, &out, &err), "%.*s: %s", STR_ARG(string_value), err.text);
    cr_expect(str_eq(str_skip(buf_str(&out), 4), text), "%.*s", STR_ARG(string_value));
    buf_done(&out);
}

static void
expect_escaped(Str text, Str string_value)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 1024);
    cr_assert(buf_append(&out, STR("kept"), &err));
    cr_expect(json_escape(text, &out, &err), "%s", err.text);
    cr_expect(str_eq(str_skip(buf_str(&out), 4), string_value), "%.*s", STR_ARG(string_value));
    buf_done(&out);
}

Test(json_string, every_escape_is_decoded)
{
    expect_unescaped(STR("\"\""), STR(""));
    expect_unescaped(STR("\"plain\""), STR("plain"));
    expect_unescaped(STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), STR("\"\\/\b\f\n\r\t"));
    expect_unescaped(STR("\"a\\nb\\nc\""), STR("a\nb\nc"));
    expect_unescaped(STR("\"\\u0041\\u007f\\u0080\\u07FF\\u0800\\uffff\""),
                     STR("A\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"));
    expect_unescaped(STR("\"\\ud800\\udc00\\uDBFF\\uDFFF\""),
                     STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
    expect_unescaped(STR("\"a\\u0000b\""), STR("a\0b"));
    expect_unescaped(STR("\"\\\\u0041\""), STR("\\u0041"));
    expect_unescaped(STR("\"\xe2\x82\xac\""), STR("\xe2\x82\xac"));
}

Test(json_string, a_lone_surrogate_or_no_string_is_refused_and_nothing_is_appended)
{
    static const char *const bad[] = {
        "\"x\\ud800\"",
        "\"x\\udc00\"",
        "\"x\\ud800x\"",
        "\"x\\ud800\\n\"",
        "\"x\\ud800\\u0041\"",
        "\"x\\ud800\\ud800\"",
        "\"x\\ud800xudc00\"",
        "\"x\\ud800\\xdc00\"",
        "\"x\\ud800\\u",
        "",
        "\"",
        "x",
        "1",
        "\"a",
        "a\"",
        "\"\\\"",
        "\"x\\q\"",
        "\"\\u12\"",
    };

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Buf out;
        Error err = {0};

        buf_init(&out, 1024);
        cr_assert(buf_append(&out, STR("kept"), &err));
        cr_expect_not(json_unescape(str_c(bad[i]), &out, &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_INPUT, "%s", bad[i]);
        cr_expect(str_eq(buf_str(&out), STR("kept")), "%s", bad[i]);
        buf_done(&out);
    }
}

Test(json_string, only_what_must_be_is_escaped)
{
    expect_escaped(STR(""), STR("\"\""));
    expect_escaped(STR("plain / text"), STR("\"plain / text\""));
    expect_escaped(STR("\"\\\b\f\n\r\t"), STR("\"\\\"\\\\\\b\\f\\n\\r\\t\""));
    expect_escaped(STR("\0\x01\x1f\x7f"), STR("\"\\u0000\\u0001\\u001f\x7f\""));
    expect_escaped(STR("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \"x\xc3\xa9\""),
                   STR("\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \\\"x\xc3\xa9\\\"\""));
}

Test(json_string, text_that_is_not_utf8_is_not_escaped)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 64);
    cr_expect_not(json_escape(STR("a\xff"), &out, &err));
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_not(json_escape(STR("\xed\xa0\x80"), &out, &err));
    cr_expect_eq(out.len, 0);
    buf_done(&out);
}

Test(json_string, every_ascii_byte_survives_at_every_place)
{
    for (int c = 0; c < 128; c++) {
        for (size_t at = 0; at < 20; at++) {
            char text[20];
            Buf escaped;
            JsonValue value;
            Error err = {0};

            memset(text, 'a', sizeof(text));
            text[at] = (char)c;
            buf_init(&escaped, 64);
            cr_assert(json_escape(str_n(text, sizeof(text)), &escaped, &err), "%s", err.text);
            cr_assert(json_scan_value(buf_str(&escaped), 0, &value, &err), "%s", err.text);
            cr_expect_eq(value.type, JSON_TYPE_STRING);
            expect_unescaped(buf_str(&escaped), str_n(text, sizeof(text)));
            buf_done(&escaped);
        }
    }
}

Test(json_string, an_output_that_is_too_small_is_left_as_it_was)
{
    static const char string_value[] = "\"a\\n\\u20ac\xc3\xa9z\"";
    static const char text[] = "a\n\xe2\x82\xac\xc3\xa9z";
    static const char escaped[] = "\"a\\n\xe2\x82\xac\xc3\xa9z\"";

    for (size_t max = 0; max < 20; max++) {
        Buf out;
        Error err = {0};

        buf_init(&out, max);
        bool fits = max >= sizeof(text) - 1;
        cr_expect_eq(json_unescape(str_c(string_value), &out, &err), fits, "%zu bytes", max);
        cr_expect_eq(out.len, fits ? sizeof(text) - 1 : 0);
        cr_expect(fits || err.code == ERR_LIMIT);
        buf_reset(&out);
        fits = max >= sizeof(escaped) - 1;
        cr_expect_eq(json_escape(str_c(text), &out, &err), fits, "%zu bytes", max);
        cr_expect_eq(out.len, fits ? sizeof(escaped) - 1 : 0);
        cr_expect(fits || err.code == ERR_LIMIT);
        buf_done(&out);
    }
}
