/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/peer_clock.h"

#include <criterion/criterion.h>

Test(peer_clock, a_clock_that_may_be_ours_is_taken_for_ours)
{
    PeerClock clock = {.asked_ms = 1000, .answered_ms = 1500, .peer_ms = 1000};

    cr_expect_eq(peer_clock_ours(&clock, 7), 7);
    clock.peer_ms = 1500;
    cr_expect_eq(peer_clock_ours(&clock, 7), 7);
}

Test(peer_clock, another_clock_is_off_by_as_little_as_the_answer_allows)
{
    PeerClock behind = {.asked_ms = 10000, .answered_ms = 10500, .peer_ms = 4000};
    PeerClock ahead = {.asked_ms = 10000, .answered_ms = 10500, .peer_ms = 90500};

    cr_expect_eq(peer_clock_ours(&behind, 3000), 9000, "a second before it was asked");
    cr_expect_eq(peer_clock_ours(&ahead, 90500), 10500);
}
