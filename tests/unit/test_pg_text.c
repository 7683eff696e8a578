/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pg_internal.h"

#include <criterion/criterion.h>

#include "common/mem.h"

Test(pg_text, copy_escapes_exactly_the_bytes_that_copy_would_read_otherwise)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 1024);
    cr_assert(pg_copy_escape(&out, STR("a\b\f\n\r\t\v\\z"), &err), "%s", err.text);
    cr_expect_str_eq(buf_cstr(&out), "a\\b\\f\\n\\r\\t\\v\\\\z");
    buf_reset(&out);
    for (int c = 1; c < 256; c++) {
        char byte = (char)c;
        bool special = strchr("\b\f\n\r\t\v\\", c) != NULL;

        buf_reset(&out);
        cr_assert(pg_copy_escape(&out, str_n(&byte, 1), &err));
        cr_expect_eq(out.len, special ? 2 : 1, "byte %d", c);
    }
    buf_reset(&out);
    cr_assert(pg_copy_escape(&out, STR_EMPTY, &err));
    cr_expect_eq(out.len, 0);
    buf_done(&out);
}

/* Eight bytes are looked at in one go: each byte value, at each place of a word and its neighbours.
 */
Test(pg_text, copy_escaping_does_not_depend_on_where_in_a_word_a_byte_stands)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 1024);
    for (int c = 0; c < 256; c++) {
        for (size_t len = 1; len <= 25; len++) {
            for (size_t at = 0; at < len; at++) {
                char text[25];
                Buf one;

                memset(text, 'x', sizeof(text));
                text[at] = (char)c;
                buf_init(&one, 2);
                cr_assert(pg_copy_escape(&one, str_n(&text[at], 1), &err));
                buf_reset(&out);
                cr_assert(pg_copy_escape(&out, str_n(text, len), &err));
                cr_assert_eq(out.len, len - 1 + one.len, "byte %d at %zu of %zu", c, at, len);
                cr_assert_eq(memcmp(out.data + at, one.data, one.len), 0);
                buf_done(&one);
            }
        }
    }
    buf_done(&out);
}

/* Thirty-two bytes are escaped in one go, and what lies behind the text is not ours to read. */
Test(pg_text, escapes_however_close_together_are_those_of_each_byte_alone)
{
    static const char bytes[] = "ab\\c\n\td\xc3";
    unsigned random = 1;

    for (size_t len = 60; len <= 140; len++) {
        for (int round = 0; round < 100; round++) {
            char *text = mem_alloc(len);
            Buf one_by_one;
            Buf whole;
            Error err = {0};

            buf_init(&one_by_one, 2 * len);
            buf_init(&whole, 4096);
            for (size_t i = 0; i < len; i++) {
                random = random * 1103515245 + 12345;
                text[i] = bytes[(random >> 16) % (sizeof(bytes) - 1)];
                cr_assert(pg_copy_escape(&one_by_one, str_n(&text[i], 1), &err));
            }
            cr_assert(pg_copy_escape(&whole, str_n(text, len), &err));
            cr_assert(str_eq(buf_str(&whole), buf_str(&one_by_one)), "%zu bytes: %s", len,
                      buf_cstr(&whole));
            buf_done(&one_by_one);
            buf_done(&whole);
            free(text);
        }
    }
}

Test(pg_text, text_of_any_length_takes_as_much_room_as_its_escapes_need)
{
    char text[3000];

    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = i % 7 == 0 || i % 1024 == 1023 ? '\\' : (char)('a' + i % 26);
    }
    for (size_t len = 0; len <= sizeof(text); len += len < 40 || len > 2990 ? 1 : 59) {
        Buf one_by_one;
        Buf whole;
        Error err = {0};

        buf_init(&one_by_one, 2 * sizeof(text));
        for (size_t i = 0; i < len; i++) {
            cr_assert(pg_copy_escape(&one_by_one, str_n(&text[i], 1), &err));
        }
        buf_init(&whole, one_by_one.len);
        cr_assert(pg_copy_escape(&whole, str_n(text, len), &err), "%zu bytes: %s", len, err.text);
        cr_assert(str_eq(buf_str(&whole), buf_str(&one_by_one)), "%zu bytes", len);
        buf_done(&whole);
        if (len > 0) {
            buf_init(&whole, one_by_one.len - 1);
            cr_assert_not(pg_copy_escape(&whole, str_n(text, len), &err), "%zu bytes", len);
            cr_assert_eq(whole.len, 0);
            buf_done(&whole);
        }
        buf_done(&one_by_one);
    }
}

Test(pg_text, array_elements_are_quoted_and_separated)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 1024);
    cr_assert(pg_array_append(&out, STR("a,b"), true, &err));
    cr_assert(pg_array_append(&out, STR("\"q\\"), false, &err));
    cr_assert(pg_array_append(&out, STR_EMPTY, false, &err));
    cr_assert(pg_array_append(&out, STR("NULL"), false, &err));
    cr_expect_str_eq(buf_cstr(&out), "\"a,b\",\"\\\"q\\\\\",\"\",\"NULL\"");
    buf_done(&out);
}

Test(pg_text, what_does_not_fit_leaves_the_buffer_as_it_was)
{
    for (size_t max = 3; max < 10; max++) {
        Buf out;
        Error err = {0};

        buf_init(&out, max);
        cr_assert(buf_append(&out, STR("abc"), &err));
        cr_expect_not(pg_copy_escape(&out, STR("x\ny\nz"), &err), "limit %zu", max);
        cr_expect_eq(err.code, ERR_LIMIT);
        cr_expect_str_eq(buf_cstr(&out), "abc");
        cr_expect_not(pg_array_append(&out, STR("x\"y\"z"), true, &err), "limit %zu", max);
        cr_expect_str_eq(buf_cstr(&out), "abc");
        buf_done(&out);
    }
}

Test(pg_text, messages_become_one_line_without_source_locations)
{
    char out[64];
    char small[8];

    pg_flatten("ERROR:  22P02: bad\nDETAIL:  why\nLOCATION:  f, x.c:1\n", out, sizeof(out));
    cr_expect_str_eq(out, "ERROR:  22P02: bad; DETAIL:  why");
    pg_flatten("", out, sizeof(out));
    cr_expect_str_eq(out, "");
    pg_flatten(NULL, out, sizeof(out));
    cr_expect_str_eq(out, "");
    pg_flatten("1234567890\nabc", small, sizeof(small));
    cr_expect_str_eq(small, "1234567");
    pg_flatten("12345\nabc", small, sizeof(small));
    cr_expect_str_eq(small, "12345; ");
}

Test(pg_text, a_refused_connection_has_the_sqlstate_of_its_last_host)
{
    Error err = {0};
    PgErrorClass class = pg_connect_error(
        "connection to server at \"h1\", port 1 failed: FATAL:  53300: sorry, too many clients\n"
        "LOCATION:  InitProcess, proc.c:348\n"
        "connection to server at \"h2\", port 1 failed: FATAL:  3D000: database \"x\" does not "
        "exist\n",
        false, &err);

    cr_expect_eq(class, PG_ERROR_PERMANENT);
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_str_eq(err.sqlstate, "3D000");
    cr_expect_null(strstr(err.text, "LOCATION"));
    cr_expect_null(strchr(err.text, '\n'));

    class = pg_connect_error("could not connect:  nobody\n", false, &err);
    cr_expect_eq(class, PG_ERROR_CONNECTION);
    cr_expect_eq(err.code, ERR_RETRY);
    cr_expect_str_eq(err.sqlstate, "");

    class = pg_connect_error("fe_sendauth: no password supplied\n", true, &err);
    cr_expect_eq(class, PG_ERROR_PERMANENT);
    cr_expect_eq(err.code, ERR_AUTH);
}

Test(pg_text, a_truncated_message_is_never_read_past_its_end)
{
    static const char message[] = "FATAL:  57P03: starting up";

    for (size_t len = 0; len < sizeof(message); len++) {
        char *cut = str_dup(str_n(message, len)); /* exact size, for the address sanitizer */
        Error err = {0};

        (void)pg_connect_error(cut, false, &err);
        cr_expect_str_eq(err.sqlstate, len >= strlen("FATAL:  57P03: ") ? "57P03" : "", "%zu", len);
        free(cut);
    }
}

Test(pg_text, every_byte_is_found_wherever_it_lies_in_a_long_text)
{
    static const char specials[] = "\b\f\n\r\t\v\\";
    static const char letters[] = "bfnrtv\\";
    char text[53];

    for (int byte = 0; byte < 256; byte++) {
        const char *special = byte == 0 ? NULL : memchr(specials, byte, sizeof(specials) - 1);

        for (size_t at = 0; at < sizeof(text); at++) {
            Buf out;
            Error err;

            memset(text, 'x', sizeof(text));
            text[at] = (char)byte;
            buf_init(&out, 1000);
            cr_assert(pg_copy_escape(&out, str_n(text, sizeof(text)), &err), "%s", err.text);
            cr_assert_eq(out.len, sizeof(text) + (special != NULL), "byte %d at %zu", byte, at);
            if (special != NULL) {
                cr_assert_eq(out.data[at], '\\');
                cr_assert_eq(out.data[at + 1], letters[special - specials]);
            } else {
                cr_assert_eq(out.data[at], (char)byte);
            }
            buf_done(&out);
        }
    }
}
