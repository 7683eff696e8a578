/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/closed_look.h"

#include <criterion/criterion.h>

static uint32_t
least(uint32_t upper_bound)
{
    (void)upper_bound;
    return 0;
}

static uint32_t
most(uint32_t upper_bound)
{
    return upper_bound - 1;
}

Test(closed_look, a_few_are_looked_at_within_seconds)
{
    cr_expect_eq(closed_look_ms(1, least), 2000);
    cr_expect_eq(closed_look_ms(1, most), 4000);
    cr_expect_eq(closed_look_ms(200, least), 2000);
}

Test(closed_look, many_together_ask_no_more_than_the_limit)
{
    for (size_t sessions = 1; sessions <= 100000; sessions *= 10) {
        int64_t asked_per_s = (int64_t)sessions * 1000 / closed_look_ms(sessions, least);

        cr_expect_leq(asked_per_s, CLOSED_LOOKS_PER_S, "%zu", sessions);
    }
    cr_expect_eq(closed_look_ms(SIZE_MAX, least), 3600000);
}
