/* SPDX-License-Identifier: Apache-2.0 */
#include "common/buf.h"

#include <criterion/criterion.h>
#include <signal.h>

Test(buf, bytes_come_out_as_they_went_in)
{
    Buf buf;
    Error err;

    buf_init(&buf, 1000);
    cr_expect(buf_append(&buf, STR("a\0b"), &err));
    cr_expect(buf_append_char(&buf, 'c', &err));
    cr_expect(buf_append(&buf, str_n(NULL, 0), &err));
    cr_expect(buf_printf(&buf, &err, "%d-%s", 42, "x"));
    cr_expect(str_eq(buf_str(&buf), STR("a\0bc42-x")));
    buf_done(&buf);
}

Test(buf, a_number_is_its_digits)
{
    static const int64_t numbers[] = {0,   1,           -1,        9,         10,
                                      -10, 12345678901, INT64_MAX, INT64_MIN, INT64_MIN + 1};

    for (size_t i = 0; i < DS_COUNT(numbers); i++) {
        char expected[32];
        Buf buf;
        Error err = {0};

        (void)snprintf(expected, sizeof(expected), "%lld", (long long)numbers[i]);
        buf_init(&buf, strlen(expected));
        cr_expect(buf_append_i64(&buf, numbers[i], &err), "%s", err.text);
        cr_expect(str_eq(buf_str(&buf), str_c(expected)), "%s", expected);
        cr_expect_not(buf_append_i64(&buf, 0, &err));
        cr_expect_eq(err.code, ERR_LIMIT);
        buf_done(&buf);
    }
}

Test(buf, bytes_in_hexadecimal_are_two_digits_each)
{
    Buf buf;
    Error err = {0};

    buf_init(&buf, 9);
    cr_expect(buf_append_hex(&buf, STR("\x00\x0f\xa5\xff"), &err));
    cr_expect(buf_append_hex(&buf, STR_EMPTY, &err));
    cr_expect_not(buf_append_hex(&buf, STR("x"), &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect(str_eq(buf_str(&buf), STR("000fa5ff")));
    buf_done(&buf);
}

Test(buf, an_empty_one_is_an_empty_string_and_holds_no_memory)
{
    Buf buf;

    buf_init(&buf, 1000);
    cr_expect(str_eq(buf_str(&buf), STR("")));
    cr_expect_str_eq(buf_cstr(&buf), "");
    cr_expect_null(buf.data);
    buf_done(&buf);
}

Test(buf, it_grows_to_its_maximum_and_refuses_one_byte_more)
{
    static const size_t maxima[] = {1, 2, 255, 256, 257, 1000, 4096, 5000};

    for (size_t i = 0; i < DS_COUNT(maxima); i++) {
        Buf buf;
        Error err = {0};

        buf_init(&buf, maxima[i]);
        for (size_t n = 0; n < maxima[i]; n++) {
            cr_assert(buf_append_char(&buf, (char)n, &err), "%s", err.text);
            cr_assert(buf.len <= buf.cap && buf.cap <= buf.max);
        }
        cr_expect_not(buf_append_char(&buf, 'x', &err));
        cr_expect_eq(err.code, ERR_LIMIT);
        cr_expect_eq(buf.len, maxima[i]);
        for (size_t n = 0; n < maxima[i]; n++) {
            cr_assert_eq(buf.data[n], (char)n);
        }
        (void)buf_cstr(&buf);
        buf_done(&buf);
    }
}

Test(buf, a_refusal_changes_nothing)
{
    char wide[400];
    Buf buf;
    Error err = {0};

    memset(wide, 'w', sizeof(wide) - 1);
    wide[sizeof(wide) - 1] = '\0';
    buf_init(&buf, 300);
    cr_assert(buf_append(&buf, STR("kept"), &err));
    cr_expect_not(buf_append(&buf, str_c(wide), &err));
    cr_expect_not(buf_printf(&buf, &err, "%s", wide));
    cr_expect_not(buf_reserve(&buf, 297, NULL, &err));
    cr_expect_not(buf_reserve(&buf, SIZE_MAX, NULL, &err));
    cr_expect(str_eq(buf_str(&buf), STR("kept")));
    cr_expect_leq(buf.cap, buf.max);
    cr_expect(buf_reserve(&buf, 296, NULL, &err));
    buf_done(&buf);
}

Test(buf, a_zeroed_one_takes_nothing)
{
    Buf buf = {0};
    Error err = {0};

    cr_expect(buf_append(&buf, STR(""), &err));
    cr_expect(buf_printf(&buf, &err, "%s", ""));
    cr_expect(buf_reserve(&buf, 0, NULL, &err));
    cr_expect_not(buf_append_char(&buf, 'x', &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_eq(buf.cap, 0);
    cr_expect_null(buf.data);
    buf_done(&buf);
}

Test(buf, formatted_text_of_every_length_is_whole)
{
    Buf buf;
    Error err;

    buf_init(&buf, 1000);
    for (int width = 0; width < 600; width++) {
        buf_reset(&buf);
        cr_assert(buf_printf(&buf, &err, "%*s%s", width, "", "end"), "%s", err.text);
        cr_assert_eq(buf.len, (size_t)width + 3);
        cr_assert(str_ends(buf_str(&buf), STR("end")));
    }
    buf_done(&buf);
}

Test(buf, reserved_room_is_used_as_far_as_it_is_committed)
{
    char *room;
    Buf buf;
    Error err;

    buf_init(&buf, 1000);
    cr_assert(buf_append(&buf, STR("ab"), &err));
    cr_assert(buf_reserve(&buf, 500, &room, &err));
    memset(room, 'x', 500);
    buf_commit(&buf, 3);
    cr_expect(str_eq(buf_str(&buf), STR("abxxx")));
    buf_done(&buf);
}

Test(buf, committing_more_than_was_reserved_is_our_bug, .signal = SIGABRT)
{
    Buf buf;

    buf_init(&buf, 1000);
    buf_commit(&buf, 1);
}

Test(buf, consuming_drops_from_the_front_and_truncating_from_the_end)
{
    Buf buf;
    Error err;

    buf_init(&buf, 1000);
    cr_assert(buf_append(&buf, STR("abcdef"), &err));
    buf_consume(&buf, 0);
    buf_consume(&buf, 2);
    cr_expect(str_eq(buf_str(&buf), STR("cdef")));
    buf_truncate(&buf, 3);
    cr_expect(str_eq(buf_str(&buf), STR("cde")));
    buf_truncate(&buf, 3);
    buf_consume(&buf, 3);
    cr_expect(str_eq(buf_str(&buf), STR("")));
    buf_done(&buf);
}

Test(buf, truncating_to_more_than_there_is_is_our_bug, .signal = SIGABRT)
{
    Buf buf;

    buf_init(&buf, 1000);
    buf_truncate(&buf, 1);
}

Test(buf, reset_keeps_the_memory_and_shrink_gives_it_back_when_it_is_much)
{
    Buf buf;
    Error err;

    buf_init(&buf, 10000);
    cr_assert(buf_reserve(&buf, 5000, NULL, &err));
    cr_assert(buf_append(&buf, STR("x"), &err));
    buf_shrink(&buf, 100);
    cr_expect_geq(buf.cap, 5000, "not while it holds something");
    buf_reset(&buf);
    cr_expect_geq(buf.cap, 5000);
    buf_shrink(&buf, 8192);
    cr_expect_geq(buf.cap, 5000, "not while it is small enough");
    buf_shrink(&buf, 100);
    cr_expect_eq(buf.cap, 0);
    cr_expect(buf_append(&buf, STR("y"), &err), "still usable");
    buf_done(&buf);
}

Test(buf, taken_bytes_are_terminated_and_belong_to_the_caller)
{
    Buf buf;
    Error err;

    buf_init(&buf, 3);
    cr_assert(buf_append(&buf, STR("abc"), &err));
    char *taken = buf_take(&buf);
    cr_expect_str_eq(taken, "abc");
    free(taken);
    cr_expect_eq(buf.len, 0);
    cr_expect_eq(buf.max, 3, "the maximum stays");
    cr_expect(buf_append(&buf, STR("def"), &err));
    cr_expect_str_eq(buf_cstr(&buf), "def");
    buf_done(&buf);
    taken = buf_take(&buf);
    cr_expect_str_eq(taken, "");
    free(taken);
}
