/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_pointer.h"

#include <criterion/criterion.h>

static JsonPointers *
pointers_of(const char *const *texts, size_t count)
{
    Str pointers[JSON_POINTERS_MAX];
    JsonPointers *made;
    Error err = {0};

    for (size_t i = 0; i < count; i++) {
        pointers[i] = str_c(texts[i]);
    }
    cr_assert(json_pointers_new(pointers, count, &made, &err), "%s", err.text);
    return made;
}

static void
expect(const char *pointer, const char *document, const char *expected)
{
    JsonPointers *pointers = pointers_of(&pointer, 1);
    JsonValue value;

    json_pointers_get(pointers, str_c(document), &value);
    if (expected == NULL) {
        cr_expect_null(value.text.ptr, "%s of %s", pointer, document);
    } else {
        cr_expect(value.text.ptr != NULL && str_eq(value.text, str_c(expected)),
                  "%s of %s is not %s", pointer, document, expected);
    }
    json_pointers_free(pointers);
}

/* The document and the answers of RFC 6901, section 5. */
Test(json_pointer, finds_what_the_standard_says)
{
    static const char document[] =
        "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,"
        "\"g|h\":4,\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8}";

    expect("", document, document);
    expect("/foo", document, "[\"bar\",\"baz\"]");
    expect("/foo/0", document, "\"bar\"");
    expect("/", document, "0");
    expect("/a~1b", document, "1");
    expect("/c%d", document, "2");
    expect("/e^f", document, "3");
    expect("/g|h", document, "4");
    expect("/i\\j", document, "5");
    expect("/k\"l", document, "6");
    expect("/ ", document, "7");
    expect("/m~0n", document, "8");
}

Test(json_pointer, finds_nothing_where_nothing_is)
{
    static const char document[] = "{\"a\":[1,{\"b\":2}],\"s\":\"text\"}";

    expect("/x", document, NULL);
    expect("/a/2", document, NULL);
    expect("/a/-", document, NULL);
    expect("/a/01", document, NULL);
    expect("/a/x", document, NULL);
    expect("/a/99999999999999999999", document, NULL);
    expect("/a/1/b", document, "2");
    expect("/a/1/b/c", document, NULL);
    expect("/s/0", document, NULL);
    expect("/a", "7", NULL);
    expect("/a", "[]", NULL);
    expect("/0", "{\"0\":\"member\"}", "\"member\"");
    expect("/0/0", "[[8]]", "8");
}

Test(json_pointer, the_last_of_several_members_with_one_name_counts)
{
    expect("/a/b", "{\"a\":{\"b\":1},\"a\":{\"b\":2}}", "2");
    expect("/a/b", "{\"a\":{\"b\":1},\"a\":3}", NULL);
    expect("/\xc3\xa9", "{\"\\u00e9\":1}", "1");
}

Test(json_pointer, several_share_their_way_and_keep_their_order)
{
    static const char *const texts[] = {"/v/x", "/k", "/v", "/v/y/1", "/v/x", "/none", "/v/y/0"};
    static const char *const expected[] = {
        "1", "\"key\"", "{\"x\":1,\"y\":[2,{\"z\":3}]}", "{\"z\":3}", "1", NULL, "2"};
    JsonPointers *pointers = pointers_of(texts, DS_COUNT(texts));
    JsonValue values[DS_COUNT(texts)];

    json_pointers_get(pointers, STR("{\"k\":\"key\",\"v\":{\"x\":1,\"y\":[2,{\"z\":3}]}}"), values);
    for (size_t i = 0; i < DS_COUNT(texts); i++) {
        cr_expect_eq(values[i].text.ptr != NULL, expected[i] != NULL, "%s", texts[i]);
        cr_expect(expected[i] == NULL || str_eq(values[i].text, str_c(expected[i])), "%s",
                  texts[i]);
    }
    cr_expect_eq(values[0].type, JSON_TYPE_NUMBER);
    cr_expect_eq(values[3].type, JSON_TYPE_OBJECT);
    json_pointers_free(pointers);
}

Test(json_pointer, tells_the_traits_of_what_it_found_alone)
{
    static const char *const texts[] = {"/a", "/b"};
    JsonPointers *pointers = pointers_of(texts, 2);
    JsonValue values[2];

    json_pointers_get(pointers, STR("{\"a\":\"\\u0000\",\"b\":\"\\ud800\"}"), values);
    cr_expect_eq(values[0].traits, JSON_HAS_NUL);
    cr_expect_eq(values[1].traits, JSON_HAS_LONE_SURROGATE);
    json_pointers_free(pointers);
}

Test(json_pointer, what_is_no_pointer_is_refused)
{
    static const char *const bad[] = {"a", "a/b", "/~", "/a~2", "/a/b~", " /a"};
    JsonPointers *pointers;
    Error err;

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Str pointer = str_c(bad[i]);

        err = (Error){0};
        cr_expect_not(json_pointers_new(&pointer, 1, &pointers, &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_INPUT, "%s", bad[i]);
    }
}

Test(json_pointer, limits_are_kept)
{
    char deep[2 * (JSON_POINTER_TOKENS_MAX + 1)];
    Str many[JSON_POINTERS_MAX + 1];
    static char long_one[JSON_POINTER_BYTES_MAX + 1];
    JsonPointers *pointers;
    Error err;

    for (size_t i = 0; i < sizeof(deep); i++) {
        deep[i] = i % 2 == 0 ? '/' : 'a';
    }
    Str pointer = str_n(deep, sizeof(deep));
    cr_expect_not(json_pointers_new(&pointer, 1, &pointers, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    pointer.len -= 2;
    cr_assert(json_pointers_new(&pointer, 1, &pointers, &err), "%s", err.text);
    json_pointers_free(pointers);
    for (size_t i = 0; i < DS_COUNT(many); i++) {
        many[i] = STR("/a");
    }
    cr_expect_not(json_pointers_new(many, DS_COUNT(many), &pointers, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    memset(long_one, '/', sizeof(long_one));
    pointer = str_n(long_one, sizeof(long_one));
    cr_expect_not(json_pointers_new(&pointer, 1, &pointers, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
}
