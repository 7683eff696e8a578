/* SPDX-License-Identifier: Apache-2.0 */
#include "common/backoff.h"

#include <criterion/criterion.h>
#include <signal.h>

static uint32_t
highest(uint32_t upper_bound)
{
    return upper_bound - 1;
}

static uint32_t
lowest(uint32_t upper_bound)
{
    return upper_bound * 0;
}

Test(backoff, the_ceiling_doubles_up_to_the_maximum)
{
    static const int64_t ceilings[] = {100, 200, 400, 800, 1000, 1000};
    Backoff backoff;

    backoff_init(&backoff, 100, 1000);
    backoff.random = highest;
    for (size_t i = 0; i < DS_COUNT(ceilings); i++) {
        cr_expect_eq(backoff_next_ms(&backoff, 0), ceilings[i], "attempt %zu", i);
        cr_expect_eq(backoff.attempt, i + 1);
    }
}

Test(backoff, reset_starts_again_from_the_base)
{
    Backoff backoff;

    backoff_init(&backoff, 100, 1000);
    backoff.random = highest;
    (void)backoff_next_ms(&backoff, 0);
    (void)backoff_next_ms(&backoff, 0);
    backoff_reset(&backoff);
    cr_expect_eq(backoff_next_ms(&backoff, 0), 100);
}

Test(backoff, the_floor_holds_even_above_the_maximum)
{
    Backoff backoff;

    backoff_init(&backoff, 100, 1000);
    backoff.random = lowest;
    cr_expect_eq(backoff_next_ms(&backoff, 0), 0);
    cr_expect_eq(backoff_next_ms(&backoff, 50), 50);
    cr_expect_eq(backoff_next_ms(&backoff, 120000), 120000);
    backoff.random = highest;
    cr_expect_eq(backoff_next_ms(&backoff, 50), 800);
}

Test(backoff, thousands_of_attempts_never_leave_the_range)
{
    Backoff backoff;

    backoff_init(&backoff, INT32_MAX - 1, INT32_MAX - 1);
    backoff.random = highest;
    for (int i = 0; i < 5000; i++) {
        cr_assert_eq(backoff_next_ms(&backoff, 0), INT32_MAX - 1);
    }
    backoff_init(&backoff, 1, 60000);
    for (int i = 0; i < 5000; i++) {
        int64_t delay = backoff_next_ms(&backoff, 0);

        cr_assert(delay >= 0 && delay <= 60000);
    }
}

Test(backoff, the_default_spreads_over_the_whole_range)
{
    Backoff backoff;
    int quarters[4] = {0};

    backoff_init(&backoff, 1000, 1000);
    for (int i = 0; i < 2000; i++) {
        int64_t delay = backoff_next_ms(&backoff, 0);

        quarters[DS_MIN(delay / 250, 3)]++;
    }
    for (int i = 0; i < 4; i++) {
        cr_expect_gt(quarters[i], 300, "quarter %d", i);
    }
}

Test(backoff, a_maximum_below_the_base_is_our_bug, .signal = SIGABRT)
{
    Backoff backoff;

    backoff_init(&backoff, 100, 99);
}
