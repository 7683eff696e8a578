/* SPDX-License-Identifier: Apache-2.0 */
#include "common/mem.h"

#include <criterion/criterion.h>
#include <signal.h>

Test(mem, zeroed_memory_is_zero)
{
    static const char zeros[1000];
    char *one = mem_zalloc(1000);
    char *many = mem_array(10, 100);

    cr_expect_arr_eq(one, zeros, 1000);
    cr_expect_arr_eq(many, zeros, 1000);
    free(one);
    free(many);
}

Test(mem, growing_keeps_what_was_there)
{
    char *ptr = mem_alloc(3);

    memcpy(ptr, "abc", 3);
    ptr = mem_realloc(ptr, 1000);
    ptr = mem_regrow(ptr, 1000, 100);
    cr_expect_arr_eq(ptr, "abc", 3);
    free(ptr);
}

Test(mem, a_copied_string_is_equal_and_null_stays_null)
{
    char *copy = mem_strdup("abc");

    cr_expect_str_eq(copy, "abc");
    cr_expect_null(mem_strdup(NULL));
    free(copy);
}

/* Not a constant, so that the compiler cannot see the absurd size. */
static volatile size_t too_many = SIZE_MAX / 2;

Test(mem, a_product_that_overflows_aborts, .signal = SIGABRT)
{
    free(mem_array(too_many, 4));
}

Test(mem, a_regrown_product_that_overflows_aborts, .signal = SIGABRT)
{
    free(mem_regrow(NULL, too_many, 4));
}
