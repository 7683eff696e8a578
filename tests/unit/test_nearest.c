/* SPDX-License-Identifier: Apache-2.0 */
#include "common/nearest.h"

#include <criterion/criterion.h>

static const char *const words[] = {"streams", "server", "start", "completion", NULL};

Test(nearest, a_slip_or_two_is_recognised)
{
    cr_expect_str_eq(nearest_word("stream", words), "streams");
    cr_expect_str_eq(nearest_word("serrver", words), "server");
    cr_expect_str_eq(nearest_word("strat", words), "start");
}

Test(nearest, the_beginning_of_a_word_is_near_to_it)
{
    cr_expect_str_eq(nearest_word("compl", words), "completion");
}

Test(nearest, the_nearest_wins)
{
    Nearest nearest = NEAREST_NONE;

    nearest_try(&nearest, "tables", "tale");
    nearest_try(&nearest, "tables", "table");
    nearest_try(&nearest, "tables", "cable");
    cr_expect_str_eq(nearest.name, "table");
}

Test(nearest, what_is_far_away_suggests_nothing)
{
    char longer[100];

    memset(longer, 's', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    cr_expect_null(nearest_word("payload", words));
    cr_expect_null(nearest_word("", words));
    cr_expect_null(nearest_word("x", words));
    cr_expect_null(nearest_word(longer, words));
}
