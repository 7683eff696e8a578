/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_scan.h"

#include <bsd/string.h>
#include <criterion/criterion.h>

static bool
accepts(Str text)
{
    JsonValue value;
    Error err;

    return json_scan_value(text, JSON_DEPTH_MAX, &value, &err);
}

/* Elements of a document as "[a][b]", with " !" at the end when the walk fails. */
static void
walk(Str text, unsigned depth_max, char *out, size_t size, Error *err)
{
    JsonElements it;
    JsonValue value;
    bool more = true;
    size_t len = 0;

    out[0] = '\0';
    bool ok = json_elements_init(&it, text, depth_max, err);
    while (ok && more) {
        ok = json_elements_next(&it, &value, &more, err);
        if (ok && more) {
            len += (size_t)snprintf(out + len, size - len, "[%.*s]", STR_ARG(value.text));
            cr_assert_lt(len, size);
        }
    }
    if (!ok) {
        (void)snprintf(out + len, size - len, " !");
    }
}

static void
expect_walk(Str text, const char *elements)
{
    char got[1024];
    Error err = {0};

    walk(text, JSON_DEPTH_MAX, got, sizeof(got), &err);
    cr_expect_str_eq(got, elements, "%.*s: %s %s", STR_ARG(text), got, err.text);
}

Test(json_scan, every_legal_form_is_taken)
{
    static const char *const good[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1",
        "-12",
        "0.5",
        "-0.50",
        "1e5",
        "1E+5",
        "0e-0",
        "12.34e56",
        "1e00005",
        "\"\"",
        "\"a\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uABcd\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1]",
        "[1,2]",
        "[[],{}]",
        "{\"a\":1}",
        "{\"a\":{\"b\":[1,{}]}}",
        " \t\r\n1 \t\r\n",
        " [ 1 , 2 ] ",
        " { \"a\" : 1 , \"b\" : [ ] } ",
        "{\"a\":1,\"a\":2}",
        "{\"\":0}",
        "\"\x7f\"",
        "\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
        "\"abcdefghijklmnopqrstuvwxyz 0123456789\"",
        "[\"abcdefgh\",\"abcdefg\",\"abcdefghi\"]",
        "\"\\ud83d\\ude00\"",
    };

    for (size_t i = 0; i < DS_COUNT(good); i++) {
        cr_expect(accepts(str_c(good[i])), "%s", good[i]);
    }
}

Test(json_scan, everything_else_is_refused)
{
    static const char *const bad[] = {
        "",
        " ",
        "nul",
        "nulll",
        "NULL",
        "True",
        "tru",
        "falsy",
        "undefined",
        "NaN",
        "Infinity",
        "-",
        "-a",
        "+1",
        ".5",
        "1.",
        "1.e5",
        "01",
        "-01",
        "00",
        "1e",
        "1e+",
        "1e-",
        "0x1",
        "1_0",
        "1,",
        "1 2",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[,]",
        "[1 2]",
        "[1}",
        "{]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{1:2}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1]",
        "{\"a\",1}",
        "{null:1}",
        "\"",
        "\"a",
        "a\"",
        "'a'",
        "\"\\\"",
        "\"\\\\\\\"",
        "\"\\x41\"",
        "\"\\U0041\"",
        "\"\\",
        "\"\\u\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\u 123\"",
        "\"\\ud83d\\u12\"",
        "\"\\ud83d\\x\"",
        "\"\t\"",
        "\"\n\"",
        "\"abcdefg\x1f\"",
        "[1]x",
        "[1][2]",
        "{}{}",
        "/**/1",
        "1//",
        "[1,/**/2]",
        "\x0c"
        "1",
        "\x0b"
        "1",
        "\xc2\xa0"
        "1",
        "\xef\xbb\xbf"
        "1",
        "[\"a\",\n4\n,1,",
        "[\"\"],",
    };

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(accepts(str_c(bad[i])), "%s", bad[i]);
    }
    cr_expect_not(accepts(str_n("1\0", 2)));
    cr_expect_not(accepts(str_n("\"\0\"", 3)));
    cr_expect_not(accepts(str_n("\"\xc3\xa9\0\"", 5)));
    cr_expect_not(accepts(str_n(NULL, 0)));
}

/* RFC 3629: the first and last of each length, and what lies just beyond. */
Test(json_scan, strings_must_be_utf8_at_every_place_in_a_word)
{
    static const struct {
        const char *bytes;
        bool ok;
    } cases[] = {
        {"\xc2\x80", true},
        {"\xdf\xbf", true},
        {"\xe0\xa0\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\xef\xbf\xbf", true},
        {"\xf0\x90\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\x80", false},
        {"\xbf", false},
        {"\xc0\x80", false},
        {"\xc1\xbf", false},
        {"\xe0\x9f\xbf", false},
        {"\xed\xa0\x80", false},
        {"\xed\xbf\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xff", false},
        {"\xfe", false},
        {"\xc2", false},
        {"\xe2\x82", false},
        {"\xf0\x9f\x98", false},
        {"\xe2\x82x", false},
        {"\xc2\xc2\x80", false},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        for (int before = 0; before < 17; before++) {
            char text[64];
            int len = snprintf(text, sizeof(text), "\"%.*s%szzzzzzzzz\"", before,
                               "aaaaaaaaaaaaaaaaa", cases[i].bytes);

            cr_expect_eq(accepts(str_n(text, (size_t)len)), cases[i].ok, "case %zu behind %d bytes",
                         i, before);
        }
    }
}

Test(json_scan, each_byte_is_judged_the_same_at_every_place_in_a_word)
{
    for (int c = 0; c < 128; c++) {
        bool plain = c >= 0x20 && c != '"' && c != '\\';

        for (size_t at = 1; at < 25; at++) {
            char text[27];

            memset(text, 'a', sizeof(text));
            text[0] = '"';
            text[26] = '"';
            text[at] = (char)c;
            /* Behind the backslash stands an 'a' or the quote: neither makes it whole. */
            cr_expect_eq(accepts(str_n(text, sizeof(text))), plain, "byte %d at %zu", c, at);
        }
    }
}

static const char rich[] = " {\"a\":[1,-2.5e+3,true,false,null,\"\\u00e9\\ud83d\\ude00 "
                           "\xe2\x82\xac\",{}],\"b\":{\"c\":[[]]}}";

Test(json_scan, every_truncation_of_a_document_is_refused)
{
    cr_assert(accepts(str_n(rich, sizeof(rich) - 1)));
    for (size_t len = 0; len < sizeof(rich) - 1; len++) {
        cr_expect_not(accepts(str_n(rich, len)), "%zu bytes", len);
    }
}

/* The heap copy has no byte behind it, so that the address sanitizer sees a step too far. */
Test(json_scan, nothing_is_read_behind_the_end)
{
    for (size_t len = 1; len < sizeof(rich); len++) {
        char *copy = malloc(len);
        JsonElements it;
        JsonValue value;
        Error err;
        bool more = true;

        cr_assert_not_null(copy);
        memcpy(copy, rich, len);
        cr_expect_eq(accepts(str_n(copy, len)), len == sizeof(rich) - 1);
        bool ok = json_elements_init(&it, str_n(copy, len), 8, &err);
        while (ok && more) {
            ok = json_elements_next(&it, &value, &more, &err);
        }
        cr_expect_eq(ok, len == sizeof(rich) - 1);
        (void)json_member(str_n(copy, len), STR("zz"), &value);
        free(copy);
    }
}

Test(json_scan, a_value_is_its_text_and_type_without_the_space_around_it)
{
    static const struct {
        const char *text;
        const char *value;
        JsonType type;
    } cases[] = {
        {" null ", "null", JSON_TYPE_NULL},    {"\ttrue", "true", JSON_TYPE_BOOL},
        {"false\n", "false", JSON_TYPE_BOOL},  {"-1.5e3", "-1.5e3", JSON_TYPE_NUMBER},
        {"\r0\r", "0", JSON_TYPE_NUMBER},      {" \" a \" ", "\" a \"", JSON_TYPE_STRING},
        {" [ 1 ] ", "[ 1 ]", JSON_TYPE_ARRAY}, {" { } ", "{ }", JSON_TYPE_OBJECT},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        JsonValue value;
        Error err;

        cr_assert(json_scan_value(str_c(cases[i].text), 4, &value, &err), "%s", err.text);
        cr_expect(str_eq(value.text, str_c(cases[i].value)), "%s", cases[i].text);
        cr_expect_eq(value.type, cases[i].type, "%s", cases[i].text);
        cr_expect_eq(value.traits, 0, "%s", cases[i].text);
    }
}

Test(json_scan, an_error_says_what_and_where_and_leaves_the_output)
{
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"[1,x]", "JSON: expected a value at byte 3"},
        {"{\"a\" 1}", "JSON: expected ':' at byte 5"},
        {"{1}", "JSON: expected a member name at byte 1"},
        {"[1 2]", "JSON: expected ',' or ']' at byte 3"},
        {"{\"a\":1]", "JSON: expected ',' or '}' at byte 6"},
        {"1 2", "JSON: expected the end at byte 2"},
        {"01", "JSON: expected the end at byte 1"},
        {"-x", "JSON: expected a digit at byte 1"},
        {"1.e", "JSON: expected a digit at byte 2"},
        {"\"a\tb\"", "JSON: control character in a string at byte 2"},
        {"\"a\\q\"", "JSON: unknown escape at byte 2"},
        {"\"\\u12\"   ", "JSON: bad \\u escape at byte 1"},
        {"\"ab\xff\"", "JSON: invalid UTF-8 at byte 3"},
        {"[1,", "JSON: unexpected end at byte 3"},
        {"", "JSON: unexpected end at byte 0"},
        {"\"abc", "JSON: unexpected end at byte 4"},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        JsonValue value = {.text = STR("before"), .type = JSON_TYPE_BOOL, .traits = 99};
        Error err = {0};

        cr_expect_not(json_scan_value(str_c(cases[i].text), 4, &value, &err));
        cr_expect_eq(err.code, ERR_INPUT);
        cr_expect_str_eq(err.text, cases[i].message);
        cr_expect(str_eq(value.text, STR("before")) && value.traits == 99);
    }
}

static void
nest(char *out, size_t depth, const char *open, const char *close)
{
    out[0] = '\0';
    for (size_t i = 0; i < depth; i++) {
        memcpy(out + strlen(out), open, strlen(open) + 1);
    }
    for (size_t i = 0; i < depth; i++) {
        memcpy(out + strlen(out), close, strlen(close) + 1);
    }
}

Test(json_scan, containers_nest_to_the_limit_and_no_deeper)
{
    static char text[10 * JSON_DEPTH_MAX];
    static const unsigned limits[] = {1, 2, 7, 64, JSON_DEPTH_MAX};
    JsonValue value;
    Error err;

    for (size_t i = 0; i < DS_COUNT(limits); i++) {
        for (unsigned over = 0; over < 2; over++) {
            nest(text, limits[i] + over, "[", "]");
            err.code = ERR_NONE;
            cr_expect_eq(json_scan_value(str_c(text), limits[i], &value, &err), over == 0);
            cr_expect_eq(err.code, over == 0 ? ERR_NONE : ERR_LIMIT);
            nest(text, limits[i] + over, "{\"a\":[", "]}");
            err.code = ERR_NONE;
            cr_expect_eq(
                json_scan_value(str_c(text), DS_MIN(2 * limits[i], JSON_DEPTH_MAX), &value, &err),
                over == 0 && limits[i] < JSON_DEPTH_MAX);
            cr_expect_eq(err.code, over == 0 && limits[i] < JSON_DEPTH_MAX ? ERR_NONE : ERR_LIMIT);
        }
    }
    cr_expect(json_scan_value(STR("1"), 0, &value, &err));
    cr_expect_not(json_scan_value(STR("[]"), 0, &value, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect(json_scan_value(STR("[[],[],{},[]]"), 2, &value, &err), "siblings are not nested");
}

Test(json_scan, a_million_open_brackets_are_refused_without_harm)
{
    size_t len = 1000000;
    char *text = malloc(len);
    JsonValue value;
    Error err;

    cr_assert_not_null(text);
    memset(text, '[', len);
    cr_expect_not(json_scan_value(str_n(text, len), JSON_DEPTH_MAX, &value, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    free(text);
}

static unsigned
traits_of(const char *text)
{
    JsonValue value = {.traits = 0xff};
    Error err;

    cr_assert(json_scan_value(str_c(text), 8, &value, &err), "%s: %s", text, err.text);
    return value.traits;
}

Test(json_scan, what_jsonb_cannot_hold_is_marked)
{
    static const struct {
        const char *text;
        unsigned traits;
    } cases[] = {
        {"\"\\u0000\"", JSON_HAS_NUL},
        {"\"\\\\u0000\"", 0},
        {"\"\\u0001\"", 0},
        {"{\"a\\u0000\":1}", JSON_HAS_NUL},
        {"[1,[{\"a\":[\"x\\u0000\"]}]]", JSON_HAS_NUL},
        {"\"\\ud800\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\uDBFF\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\udc00\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\udfff\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\ud7ff\\ue000\"", 0},
        {"\"\\ud800\\udc00\"", 0},
        {"\"\\uDBFF\\uDFFF\"", 0},
        {"\"\\ud800\\ud800\\udc00\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\udc00\\ud800\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\ud800\\udc00\\udc00\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\ud800x\\udc00\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\ud800\\n\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\ud800xudc00\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\ud800\\tdc00\"", JSON_HAS_LONE_SURROGATE},
        {"\"\\ud800\\u0000\"", JSON_HAS_LONE_SURROGATE | JSON_HAS_NUL},
        {"{\"\\ud800\":\"\\u0000\"}", JSON_HAS_LONE_SURROGATE | JSON_HAS_NUL},
        {"1e400", 0},
        {"1e401", JSON_HAS_HUGE_NUMBER},
        {"1E+401", JSON_HAS_HUGE_NUMBER},
        {"1e4000", JSON_HAS_HUGE_NUMBER},
        {"1e40", 0},
        {"1e-400", 0},
        {"-1.5e-401", JSON_HAS_HUGE_NUMBER},
        {"1e0000000000000000000400", 0},
        {"1e99999999999999999999999999", JSON_HAS_HUGE_NUMBER},
        {"[0,{\"a\":1e999}]", JSON_HAS_HUGE_NUMBER},
        {"\"1e999\"", 0},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        cr_expect_eq(traits_of(cases[i].text), cases[i].traits, "%s: %u", cases[i].text,
                     traits_of(cases[i].text));
    }
}

Test(json_scan, a_number_of_more_than_a_thousand_digits_is_marked)
{
    char text[1100];

    for (size_t digits = 999; digits < 1003; digits++) {
        unsigned expected = digits > 1000 ? JSON_HAS_HUGE_NUMBER : 0;

        memset(text, '1', digits);
        text[digits] = '\0';
        cr_expect_eq(traits_of(text), expected, "%zu digits", digits);

        /* A point in the middle is no digit. */
        text[digits + 1] = '\0';
        text[digits] = '1';
        text[500] = '.';
        cr_expect_eq(traits_of(text), expected, "%zu digits with a point", digits);
    }
}

Test(json_scan, an_array_is_flattened_by_exactly_one_level)
{
    expect_walk(STR("[1,[2,3],{\"a\":[4]}]"), "[1][[2,3]][{\"a\":[4]}]");
    expect_walk(STR(" [ 1 , \"a,]\" ,null ] "), "[1][\"a,]\"][null]");
    expect_walk(STR("[]"), "");
    expect_walk(STR(" [ ] "), "");
    expect_walk(STR("[[]]"), "[[]]");
    expect_walk(STR("[[[1]]]"), "[[[1]]]");
}

Test(json_scan, what_is_not_an_array_is_its_own_only_element)
{
    expect_walk(STR(" {\"a\":[1]} "), "[{\"a\":[1]}]");
    expect_walk(STR("\"[1,2]\""), "[\"[1,2]\"]");
    expect_walk(STR("null"), "[null]");
    expect_walk(STR("0"), "[0]");
}

Test(json_scan, the_walk_fails_where_the_document_does)
{
    expect_walk(STR(""), " !");
    expect_walk(STR("  "), " !");
    expect_walk(STR("x"), " !");
    expect_walk(STR("[1,2"), "[1][2] !");
    expect_walk(STR("[1,2,"), "[1][2] !");
    expect_walk(STR("[1,2,]"), "[1][2] !");
    expect_walk(STR("[,1]"), " !");
    expect_walk(STR("["), " !");
    expect_walk(STR("[1 2]"), "[1] !");
    expect_walk(STR("[1}"), "[1] !");
    expect_walk(STR("[1]]"), "[1] !");
    expect_walk(STR("[1],2"), "[1] !");
    expect_walk(STR("1,2"), "[1] !");
    expect_walk(STR("1 2"), "[1] !");
}

Test(json_scan, the_walk_ends_well_for_exactly_the_documents_that_scan)
{
    static const char *const texts[] = {
        "[[1],[2]]", "[[1],[2]", "[1]x", "{\"a\":[[]]}", "[[[]]]", "[{\"a\":[]}]", "[]", "7", "[",
    };

    for (size_t i = 0; i < DS_COUNT(texts); i++) {
        for (unsigned depth = 0; depth < 5; depth++) {
            JsonValue value;
            Error scan_err = {0};
            Error walk_err = {0};
            char got[256];

            bool scans = json_scan_value(str_c(texts[i]), depth, &value, &scan_err);
            walk(str_c(texts[i]), depth, got, sizeof(got), &walk_err);
            bool walks = strchr(got, '!') == NULL;
            cr_expect_eq(scans, walks, "%s to depth %u", texts[i], depth);
            cr_expect(scans || scan_err.code == walk_err.code, "%s to depth %u", texts[i], depth);
        }
    }
}

Test(json_scan, each_element_has_its_own_traits_and_the_end_stays_the_end)
{
    JsonElements it;
    JsonValue value;
    Error err;
    bool more;

    cr_assert(json_elements_init(&it, STR("[\"\\u0000\",1,1e999]"), 2, &err));
    cr_assert(json_elements_next(&it, &value, &more, &err) && more);
    cr_expect_eq(value.traits, JSON_HAS_NUL);
    cr_assert(json_elements_next(&it, &value, &more, &err) && more);
    cr_expect_eq(value.traits, 0);
    cr_assert(json_elements_next(&it, &value, &more, &err) && more);
    cr_expect_eq(value.traits, JSON_HAS_HUGE_NUMBER);
    for (int i = 0; i < 3; i++) {
        more = true;
        cr_assert(json_elements_next(&it, &value, &more, &err));
        cr_expect_not(more);
    }
}

static void
expect_member(const char *object, Str key, const char *expected)
{
    JsonValue value = {.text = STR("before")};
    bool found = json_member(str_c(object), key, &value);

    cr_expect_eq(found, expected != NULL, "%s", object);
    cr_expect(str_eq(value.text, str_c(expected != NULL ? expected : "before")), "%s: %.*s", object,
              STR_ARG(value.text));
}

Test(json_scan, a_member_is_found_by_its_name_at_the_first_level_only)
{
    expect_member("{\"a\":1,\"b\":[2],\"c\":{\"d\":3}}", STR("a"), "1");
    expect_member(" { \"a\" : 1 , \"b\" : [ 2 ] } ", STR("b"), "[ 2 ]");
    expect_member("{\"c\":{\"d\":3}}", STR("c"), "{\"d\":3}");
    expect_member("{\"c\":{\"d\":3}}", STR("d"), NULL);
    expect_member("{\"ab\":1}", STR("a"), NULL);
    expect_member("{\"a\":1}", STR("ab"), NULL);
    expect_member("{\"a\":1}", STR(""), NULL);
    expect_member("{\"\":1}", STR(""), "1");
    expect_member("{}", STR("a"), NULL);
    expect_member("{ }", STR("a"), NULL);
    expect_member("{\"A\":1}", STR("a"), NULL);
    expect_member("{\"x\":\"\\\"a\\\":2\",\"a\":1}", STR("a"), "1");
}

Test(json_scan, several_members_are_found_in_one_pass_as_one_by_one)
{
    static const char *const objects[] = {"{\"a\":1,\"b\":[2],\"c\":{\"a\":3}}",
                                          "{\"c\":1,\"a\":2,\"c\":\"x\"}",
                                          "{}",
                                          "[1]",
                                          "",
                                          "{\"\\u0062\":5}"};
    const Str keys[] = {STR("a"), STR("b"), STR("c"), STR("d")};

    for (size_t i = 0; i < DS_COUNT(objects); i++) {
        JsonValue values[DS_COUNT(keys)];

        json_members(str_c(objects[i]), keys, DS_COUNT(keys), values);
        for (size_t k = 0; k < DS_COUNT(keys); k++) {
            JsonValue value = {.text = {NULL, 0}};
            bool found = json_member(str_c(objects[i]), keys[k], &value);

            cr_expect_eq(found, values[k].text.ptr != NULL, "%s", objects[i]);
            cr_expect_eq(value.text.ptr, values[k].text.ptr, "%s", objects[i]);
            cr_expect_eq(value.text.len, values[k].text.len, "%s", objects[i]);
        }
    }
}

Test(json_scan, of_repeated_members_the_last_counts)
{
    expect_member("{\"a\":1,\"b\":2,\"a\":3,\"c\":4}", STR("a"), "3");
    expect_member("{\"a\":1,\"\\u0061\":2}", STR("a"), "2");
}

Test(json_scan, escapes_in_member_names_are_honoured)
{
    expect_member("{\"\\u0061b\":1}", STR("ab"), "1");
    expect_member("{\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\":1}", STR("a\"\\/\b\f\n\r\t"), "1");
    expect_member("{\"\\u20AC\":1}", STR("\xe2\x82\xac"), "1");
    expect_member("{\"\\ud83d\\ude00\":1}", STR("\xf0\x9f\x98\x80"), "1");
    expect_member("{\"\\u0000\":1}", STR("\0"), "1");
    expect_member("{\"\\u0000\":1}", STR(""), NULL);
    expect_member("{\"\\ud83d\":1}", STR("\xed\xa0\xbd"), NULL);
    expect_member("{\"a\\u0062\":1}", STR("a"), NULL);
    expect_member("{\"\\u00e9\":1}", STR("\xc3"), NULL);
}

Test(json_scan, a_member_has_its_type_and_traits)
{
    JsonValue value;

    cr_assert(
        json_member(STR("{\"x\":\"\\u0000\",\"a\":[\"\\ud800\"],\"y\":1e999}"), STR("a"), &value));
    cr_expect_eq(value.type, JSON_TYPE_ARRAY);
    cr_expect_eq(value.traits, JSON_HAS_LONE_SURROGATE);
}

Test(json_scan, what_is_no_object_has_no_members)
{
    static const char *const texts[] = {"", "[]", "[\"a\",1]", "\"a\"", "1", "null"};

    for (size_t i = 0; i < DS_COUNT(texts); i++) {
        expect_member(texts[i], STR("a"), NULL);
    }
}

Test(json_scan, a_byte_that_a_string_may_not_hold_is_found_wherever_it_lies)
{
    char text[55];

    for (int byte = 0; byte < 256; byte++) {
        bool good = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';

        for (size_t at = 1; at < sizeof(text) - 1; at++) {
            JsonValue value;
            Error err;

            memset(text, 'x', sizeof(text));
            text[0] = '"';
            text[sizeof(text) - 1] = '"';
            text[at] = (char)byte;
            cr_assert_eq(json_scan_value(str_n(text, sizeof(text)), 4, &value, &err), good,
                         "byte %d at %zu", byte, at);
        }
    }
}

/* What may stand in a string, and what may not; each is at fault where it begins. */
static const char *const good_pieces[] = {"a",     "word ",    "\\\"",     "\\\\",
                                          "\\n",   "\\u00e9",  "\xc3\xa9", "\xd0\xb6",
                                          "\\/ ",  "\\\\\\\"", "\\t\\r",   "\xe2\x82\xac",
                                          "a b c", "\x7f",     "{[,:]}",   "\xf0\x9f\x98\x80"};
static const char *const bad_pieces[] = {"\x01",         "\x1f",       "\\x",      "\xc3",
                                         "\x80",         "\xc0\x80",   "\xc1\xbf", "\xe0\x9f\xbf",
                                         "\xed\xa0\x80", "\\\xc3\xa9", "\\\x01",   "\\\x80",
                                         "\xe2\x82",     "\\u12x",     "\xff",     "\xc3\xc3\xa9"};

/* Sixty-four bytes are looked at in one go. */
Test(json_scan, a_long_string_is_judged_as_its_pieces_are)
{
    unsigned random = 1;

    for (int round = 0; round < 20000; round++) {
        char text[512] = "\"";
        size_t bad_at = 0;
        size_t pieces = 20 + (size_t)round % 40;
        size_t bad = (size_t)round % (3 * pieces); /* behind the last one: none */
        JsonValue value;
        Error err;

        for (size_t i = 0; i < pieces; i++) {
            random = random * 1103515245 + 12345;
            if (i == bad) {
                bad_at = strlen(text);
                (void)strlcat(text, bad_pieces[(random >> 16) % DS_COUNT(bad_pieces)],
                              sizeof(text));
            } else {
                (void)strlcat(text, good_pieces[(random >> 16) % DS_COUNT(good_pieces)],
                              sizeof(text));
            }
        }
        cr_assert_lt(strlcat(text, "\"", sizeof(text)), sizeof(text));
        cr_assert_eq(json_scan_value(str_c(text), 4, &value, &err), bad_at == 0, "%s", text);
        if (bad_at != 0) {
            char where[32];

            (void)snprintf(where, sizeof(where), "at byte %zu", bad_at);
            cr_assert(str_ends(str_c(err.text), str_c(where)), "%s: %s", text, err.text);
        }
    }
}

Test(json_scan, a_watched_name_is_unsure_only_for_an_escape_in_it)
{
    static const Str names[] = {STR("\"key\"")};
    static const JsonWatch watch = {names, DS_COUNT(names), NULL};
    static const char filler[] =
        "\xc3\xa9 a name that is longer than what is looked at in one go..";

    for (size_t len = 0; len < 200; len++) {
        for (unsigned escape = 0; escape < 2; escape++) {
            char text[512] = "{\"";
            JsonElements it;
            JsonValue value;
            JsonWatched watched;
            bool more;
            Error err;

            for (size_t i = 0; i < len; i++) {
                size_t at = 2 * (i % (sizeof(filler) / 2));

                (void)strlcat(text, (const char[]){filler[at], filler[at + 1], '\0'}, sizeof(text));
            }
            (void)strlcat(text, escape != 0 ? "\\n\":\"x\"}" : "n\":\"\\n and more \\t\"}",
                          sizeof(text));
            cr_assert(json_elements_init(&it, str_c(text), JSON_DEPTH_MAX, &err));
            cr_assert(json_elements_watch(&it, &watch, &value, &watched, &more, &err), "%s: %s",
                      text, err.text);
            cr_assert_eq(watched.unsure, escape != 0, "%s", text);
        }
    }
}
