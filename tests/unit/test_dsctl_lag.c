/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/lag.h"

#include <criterion/criterion.h>

#define ERA   "00000000000000aa_"
#define OTHER "00000000000000ab_"

Test(dsctl_lag, equal_offsets_are_the_tail_whoever_minted_them)
{
    cr_expect_eq(lag_between(STR("o00012"), 0, STR("o00012")).kind, LAG_NONE);
    cr_expect_eq(lag_between(STR(ERA "0000000000000001"), 0, STR(ERA "0000000000000001")).kind,
                 LAG_NONE);
}

Test(dsctl_lag, own_offsets_of_one_era_are_counted)
{
    Lag lag = lag_between(STR(ERA "0000000000000001"), 2, STR(ERA "0000000000000010"));

    cr_expect_eq(lag.kind, LAG_COUNTED);
    cr_expect_eq(lag.behind, 13);
}

Test(dsctl_lag, skip_can_reach_the_tail)
{
    cr_expect_eq(lag_between(STR(ERA "0000000000000001"), 4, STR(ERA "0000000000000005")).kind,
                 LAG_NONE);
}

Test(dsctl_lag, the_start_is_position_zero_of_any_era)
{
    Lag lag = lag_between(STR("-1"), 0, STR(ERA "0000000000000003"));

    cr_expect_eq(lag.kind, LAG_COUNTED);
    cr_expect_eq(lag.behind, 3);
    cr_expect_eq(lag_between(STR("-1"), 0, STR(ERA "0000000000000000")).kind, LAG_NONE);
}

Test(dsctl_lag, foreign_offsets_that_differ_cannot_be_counted)
{
    cr_expect_eq(lag_between(STR("o1"), 0, STR("o2")).kind, LAG_UNKNOWN);
    cr_expect_eq(lag_between(STR("-1"), 0, STR("o2")).kind, LAG_UNKNOWN);
    cr_expect_eq(lag_between(STR("o2"), 1, STR("o2")).kind, LAG_UNKNOWN);
    cr_expect_eq(lag_between(STR("o1"), 0, STR(ERA "0000000000000003")).kind, LAG_UNKNOWN);
}

Test(dsctl_lag, another_era_or_a_shorter_stream_was_made_anew)
{
    cr_expect_eq(lag_between(STR(ERA "0000000000000001"), 0, STR(OTHER "0000000000000009")).kind,
                 LAG_OTHER_ERA);
    cr_expect_eq(lag_between(STR(ERA "0000000000000002"), 0, STR(ERA "0000000000000001")).kind,
                 LAG_OTHER_ERA);
    cr_expect_eq(lag_between(STR(ERA "0000000000000001"), 1, STR(ERA "0000000000000001")).kind,
                 LAG_OTHER_ERA);
}
