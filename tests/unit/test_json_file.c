/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_file.h"

#include <criterion/criterion.h>

static const char *const keys[] = {"name", "tags", "mode", "on", NULL};
static const char *const modes[] = {"keep", "trim", NULL};

static json_t *
load(const char *text)
{
    json_t *value = NULL;
    Error err;

    cr_assert(json_file_load(str_c(text), &value, &err), "%s: %s", text, err.text);
    return value;
}

static void
expect_load_fails(const char *text, const char *says)
{
    json_t *value = NULL;
    Error err;

    cr_assert_not(json_file_load(str_c(text), &value, &err), "%s", text);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect(strstr(err.text, says) != NULL, "%s: %s", text, err.text);
    cr_expect_null(value);
}

Test(json_file, a_slip_of_the_pen_is_located)
{
    expect_load_fails("{\n  \"name\": }", "line 2");
    expect_load_fails("[]", "object");
    expect_load_fails("{\"a\":1,\"a\":2}", "duplicate");
    expect_load_fails("", "line");
}

Test(json_file, no_truncation_of_a_document_is_one)
{
    static const char text[] = "{\"name\": \"a\", \"tags\": [\"b\"]}";

    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        json_t *value = NULL;
        Error err;
        cr_expect_not(json_file_load(str_n(text, len), &value, &err), "%zu", len);
    }
}

Test(json_file, an_unknown_member_is_named_with_the_nearest_known_one)
{
    json_t *object = load("{\"name\":\"a\",\"tag\":[]}");
    json_t *far = load("{\"colour\":1}");
    Error err;

    cr_assert_not(json_file_keys(object, keys, &err));
    cr_expect(strstr(err.text, "\"tag\"; did you mean \"tags\"?") != NULL, "%s", err.text);
    cr_assert_not(json_file_keys(far, keys, &err));
    cr_expect(strstr(err.text, "known are name, tags, mode, on") != NULL, "%s", err.text);
    cr_expect_not(json_file_keys(json_object_get(object, "name"), keys, &err));
    json_decref(object);
    json_decref(far);
}

Test(json_file, absent_members_leave_their_outputs)
{
    json_t *object = load("{}");
    char *text = strdup("before");
    char **texts = NULL;
    size_t count = 0;
    unsigned mode = 1;
    bool on = true;
    Error err;

    cr_assert(json_file_text(object, "name", 10, &text, &err));
    cr_assert(json_file_texts(object, "tags", 10, 10, &texts, &count, &err));
    cr_assert(json_file_choice(object, "mode", modes, &mode, &err));
    cr_assert(json_file_flag(object, "on", &on, &err));
    cr_expect_str_eq(text, "before");
    cr_expect_null(texts);
    cr_expect_eq(mode, 1);
    cr_expect(on);
    free(text);
    json_decref(object);
}

Test(json_file, members_are_taken)
{
    json_t *object = load("{\"name\":\"n\",\"tags\":[\"a\",\"b\"],\"mode\":\"trim\",\"on\":false}");
    char *text = strdup("before");
    char **texts = NULL;
    size_t count = 0;
    unsigned mode = 0;
    bool on = true;
    Error err;

    cr_assert(json_file_keys(object, keys, &err));
    cr_assert(json_file_text(object, "name", 1, &text, &err));
    cr_assert(json_file_texts(object, "tags", 2, 1, &texts, &count, &err));
    cr_assert(json_file_choice(object, "mode", modes, &mode, &err));
    cr_assert(json_file_flag(object, "on", &on, &err));
    cr_expect_str_eq(text, "n");
    cr_assert_eq(count, 2);
    cr_expect_str_eq(texts[1], "b");
    cr_expect_eq(mode, 1);
    cr_expect_not(on);
    free(text);
    json_file_texts_free(texts, count);
    json_decref(object);
}

Test(json_file, what_is_out_of_bounds_is_refused)
{
    static const char *const bad_texts[] = {"{\"name\":\"\"}", "{\"name\":1}", "{\"name\":\"abc\"}",
                                            "{\"name\":\"a\\n\"}"};
    static const char *const bad_lists[] = {"{\"tags\":[]}", "{\"tags\":\"a\"}",
                                            "{\"tags\":[\"a\",\"b\",\"c\"]}", "{\"tags\":[1]}",
                                            "{\"tags\":[\"abc\"]}"};
    Error err;

    for (size_t i = 0; i < DS_COUNT(bad_texts); i++) {
        json_t *object = load(bad_texts[i]);
        char *text = NULL;
        cr_expect_not(json_file_text(object, "name", 2, &text, &err), "%s", bad_texts[i]);
        cr_expect_null(text);
        json_decref(object);
    }
    for (size_t i = 0; i < DS_COUNT(bad_lists); i++) {
        json_t *object = load(bad_lists[i]);
        char **texts = NULL;
        size_t count = 0;
        cr_expect_not(json_file_texts(object, "tags", 2, 2, &texts, &count, &err), "%s",
                      bad_lists[i]);
        cr_expect_eq(count, 0);
        json_decref(object);
    }
}

Test(json_file, a_wrong_word_is_answered_with_the_right_ones)
{
    json_t *object = load("{\"mode\":\"trin\",\"on\":\"yes\"}");
    json_t *number = load("{\"mode\":3}");
    unsigned mode = 0;
    bool on = false;
    Error err;

    cr_assert_not(json_file_choice(object, "mode", modes, &mode, &err));
    cr_expect(strstr(err.text, "\"mode\": cannot be \"trin\"; did you mean \"trim\"?") != NULL,
              "%s", err.text);
    cr_assert_not(json_file_choice(number, "mode", modes, &mode, &err));
    cr_expect(strstr(err.text, "keep, trim") != NULL, "%s", err.text);
    cr_expect_not(json_file_flag(object, "on", &on, &err));
    json_decref(object);
    json_decref(number);
}
