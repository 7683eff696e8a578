/* SPDX-License-Identifier: Apache-2.0 */
#include "common/error.h"

#include <criterion/criterion.h>
#include <signal.h>

Test(error, setting_fills_code_and_text_and_forgets_the_sqlstate)
{
    Error err = {.sqlstate = "40001"};

    cr_expect_not(error_set(&err, ERR_RETRY, "%s %d", "port", 5432));
    cr_expect_eq(err.code, ERR_RETRY);
    cr_expect_str_eq(err.text, "port 5432");
    cr_expect_str_eq(err.sqlstate, "");
}

Test(error, wrapping_puts_context_in_front_and_keeps_the_rest)
{
    Error err = {.code = ERR_CONFLICT, .sqlstate = "40001", .text = "inner"};

    cr_expect_not(error_wrap(&err, "stream %s", "a"));
    cr_expect_not(error_wrap(&err, "outer"));
    cr_expect_str_eq(err.text, "outer: stream a: inner");
    cr_expect_eq(err.code, ERR_CONFLICT);
    cr_expect_str_eq(err.sqlstate, "40001");
}

Test(error, its_own_text_may_be_among_the_arguments)
{
    Error err = {.text = "inner"};

    (void)error_set(&err, ERR_INPUT, "new (was: %s)", err.text);
    cr_expect_str_eq(err.text, "new (was: inner)");
    (void)error_wrap(&err, "again %s", err.text);
    cr_expect_str_eq(err.text, "again new (was: inner): new (was: inner)");
}

Test(error, what_is_too_long_is_cut_with_dots_and_nothing_else_is)
{
    for (size_t length = 500; length < 520; length++) {
        char long_text[521];
        Error err;

        memset(long_text, 'x', length);
        long_text[length] = '\0';
        (void)error_set(&err, ERR_INPUT, "%s", long_text);
        if (length < sizeof(err.text)) {
            cr_expect_str_eq(err.text, long_text);
        } else {
            cr_expect_eq(strlen(err.text), sizeof(err.text) - 1);
            cr_expect_arr_eq(err.text + sizeof(err.text) - 5, "x...", 5);
        }
    }
}

Test(error, a_wrapped_text_is_cut_wherever_the_end_falls)
{
    char context[600];

    for (size_t length = 400; length < sizeof(context); length++) {
        Error err = {.text = "0123456789"};
        size_t whole = length + 2 + 10;

        memset(context, 'c', length);
        (void)error_wrap(&err, "%.*s", (int)length, context);
        cr_assert_eq(strlen(err.text), DS_MIN(whole, sizeof(err.text) - 1), "%zu", length);
        cr_assert_eq(strcmp(err.text + strlen(err.text) - 3, "...") == 0,
                     whole >= sizeof(err.text));
    }
}

Test(error, a_cut_never_divides_a_utf8_character)
{
    for (int before = 500; before < 512; before++) {
        Error err;

        (void)error_set(&err, ERR_INPUT, "%*s%s", before, "x",
                        "\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80");
        size_t length = strlen(err.text);
        cr_assert_str_eq(err.text + length - 3, "...");
        size_t tail = length - 3 - (size_t)DS_MIN(before, (int)length - 3);
        cr_expect_eq(tail % 4, 0, "%zu bytes of characters behind %d", tail, before);
    }
}

Test(error, the_text_is_always_one_line)
{
    Error err;

    (void)error_set(&err, ERR_RETRY, "ERROR:  no\nLINE 1: x\r\n\tHINT\x01\x7f\n\n");
    cr_expect_str_eq(err.text, "ERROR:  no LINE 1: x   HINT");
    (void)error_set(&err, ERR_RETRY, "\n");
    cr_expect_str_eq(err.text, "");
    (void)error_set(&err, ERR_RETRY, "h\xc3\xa9");
    (void)error_wrap(&err, "a\nb");
    cr_expect_str_eq(err.text, "a b: h\xc3\xa9");
}

Test(error, every_code_has_a_name_of_its_own)
{
    for (int i = 0; i < ERR_COUNT; i++) {
        const char *name = error_code_name((ErrorCode)i);

        cr_assert_not_null(name);
        cr_expect_gt(strlen(name), 2);
        for (int k = 0; k < i; k++) {
            cr_expect_str_neq(name, error_code_name((ErrorCode)k));
        }
    }
    cr_expect_str_eq(error_code_name(ERR_NOT_FOUND), "not_found");
}

Test(error, setting_no_error_is_our_bug, .signal = SIGABRT)
{
    Error err;

    (void)error_set(&err, ERR_NONE, "fine");
}
