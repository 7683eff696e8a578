/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/array_text.h"

#include <criterion/criterion.h>

#define BYTES_MAX 256

Test(array_text, an_array_without_elements_is_a_pair_of_braces)
{
    Buf array;
    Error err;

    buf_init(&array, BYTES_MAX);
    cr_assert(array_end(&array, &err));
    cr_expect_str_eq(buf_cstr(&array), "{}");
    buf_done(&array);
}

Test(array_text, elements_of_each_kind_stand_first_and_later)
{
    Buf array;
    Error err;

    for (int first = 0; first < 4; first++) {
        buf_init(&array, BYTES_MAX);
        for (int i = 0; i < 5; i++) {
            switch ((first + i) % 4) {
            case 0:
                cr_assert(array_add_number(&array, -7, &err));
                break;
            case 1:
                cr_assert(array_add_text(&array, STR("a\"\\,}"), &err));
                break;
            case 2:
                cr_assert(array_add_null(&array, &err));
                break;
            default:
                cr_assert(array_add_bytes(&array, STR("\x01\xff"), &err));
                break;
            }
        }
        cr_assert(array_end(&array, &err));
        static const char *const wanted[] = {
            "{-7,\"a\\\"\\\\,}\",NULL,\"\\\\x01ff\",-7}",
            "{\"a\\\"\\\\,}\",NULL,\"\\\\x01ff\",-7,\"a\\\"\\\\,}\"}",
            "{NULL,\"\\\\x01ff\",-7,\"a\\\"\\\\,}\",NULL}",
            "{\"\\\\x01ff\",-7,\"a\\\"\\\\,}\",NULL,\"\\\\x01ff\"}",
        };
        cr_expect_str_eq(buf_cstr(&array), wanted[first]);
        buf_done(&array);
    }
}

Test(array_text, what_does_not_fit_is_an_error)
{
    Buf array;
    Error err;

    buf_init(&array, 4);
    cr_expect(!array_add_text(&array, STR("abcdef"), &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    buf_done(&array);
}
