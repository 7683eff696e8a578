/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/peer_clock.h"

#include <criterion/criterion.h>

/* What the peer's clock says is ours and so much more. */
static int64_t
peers(int64_t ours_ms, int64_t ahead_ms)
{
    return ours_ms + ahead_ms;
}

Test(peer_clock, a_time_is_between_the_two_however_wrong_the_peers_clock_is)
{
    static const int64_t ahead_ms[] = {-90000, -400, -100, -1, 0, 1, 100, 400, 90000};
    static const int64_t read_ms[] = {10000, 10001, 10250, 10500}; /* between asked and answered */

    for (size_t i = 0; i < DS_COUNT(ahead_ms); i++) {
        for (size_t j = 0; j < DS_COUNT(read_ms); j++) {
            PeerClock clock = {
                .asked_ms = 10000, .answered_ms = 10500, .peer_ms = peers(read_ms[j], ahead_ms[i])};

            cr_expect_geq(peer_clock_latest_ms(&clock, peers(9900, ahead_ms[i])), 9900);
            cr_expect_leq(peer_clock_earliest_ms(&clock, peers(9900, ahead_ms[i])), 9900);
        }
    }
}

Test(peer_clock, both_are_as_far_apart_as_the_answer_took)
{
    PeerClock clock = {.asked_ms = 10000, .answered_ms = 10500, .peer_ms = 4100};

    cr_expect_eq(peer_clock_latest_ms(&clock, 4000) - peer_clock_earliest_ms(&clock, 4000),
                 500 + 2 * PEER_CLOCK_GRAIN_MS);
}
