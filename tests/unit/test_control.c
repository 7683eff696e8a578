/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/control.h"

#include <criterion/criterion.h>

Test(control, every_member_is_read)
{
    Control control;
    Error err;

    cr_assert(control_parse(
        STR("{\"streamNextOffset\":\"00_05\",\"streamCursor\":\"77\",\"upToDate\":true}"), &control,
        &err));
    cr_expect(str_eq(control.offset, STR("00_05")));
    cr_expect(str_eq(control.cursor, STR("77")));
    cr_expect(control.up_to_date);
    cr_expect_not(control.closed);
    cr_assert(control_parse(STR(" {\"x\":{\"streamClosed\":false},\"streamClosed\":true,"
                                "\"streamNextOffset\":\"9\"} "),
                            &control, &err));
    cr_expect(control.closed);
    cr_expect_eq(control.cursor.len, 0);
    cr_expect_not(control.up_to_date);
}

Test(control, without_an_offset_that_may_be_resumed_from_it_is_a_protocol_error)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "\"x\"",
                                      "{}",
                                      "{]",
                                      "{\"streamNextOffset\":5}",
                                      "{\"streamNextOffset\":null}",
                                      "{\"streamNextOffset\":\"\"}",
                                      "{\"streamNextOffset\":\"-1\"}",
                                      "{\"streamNextOffset\":\"now\"}",
                                      "{\"streamNextOffset\":\"a,b&c=?\"}",
                                      "{\"streamNextOffset\":\"a/b\"}",
                                      "{\"streamNextOffset\":\"\\u0031\"}",
                                      "{\"streamNextOffset\":\"1\"} x"};

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Control control;
        Error err = {0};

        cr_expect_not(control_parse(str_c(bad[i]), &control, &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_PROTOCOL, "%s", bad[i]);
    }
}

Test(control, every_truncation_is_a_protocol_error)
{
    static const char whole[] = "{\"streamNextOffset\":\"00_05\",\"upToDate\":true}";

    for (size_t cut = 0; cut < sizeof(whole) - 1; cut++) {
        Control control;
        Error err = {0};

        cr_expect_not(control_parse(str_n(whole, cut), &control, &err), "cut at %zu", cut);
        cr_expect_eq(err.code, ERR_PROTOCOL);
    }
}

Test(control, a_cursor_that_is_too_long_is_left_out)
{
    char text[512];
    Control control;
    Error err;

    (void)snprintf(text, sizeof(text), "{\"streamNextOffset\":\"1\",\"streamCursor\":\"%0200d\"}",
                   7);
    cr_assert(control_parse(str_c(text), &control, &err));
    cr_expect_eq(control.cursor.len, 0);
}
