/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/parking.h"

#include <criterion/criterion.h>

static uint32_t
random_low(uint32_t upper_bound)
{
    (void)upper_bound;
    return 0;
}

static uint32_t
random_high(uint32_t upper_bound)
{
    return upper_bound - 1;
}

Test(parking, a_stream_without_ttl_is_never_due)
{
    Parking parking = {0};

    parking_set_ttl(&parking, 0, false);
    cr_expect_eq(parking_due_ms(&parking, 1000000), INT64_MAX);
}

Test(parking, a_quiet_stream_is_due_after_a_quarter_of_its_ttl)
{
    Parking parking = {0};

    parking_set_ttl(&parking, 40, false);
    parking_touch(&parking, 5000);
    cr_expect_eq(parking_due_ms(&parking, 5000), 10000);
    cr_expect_eq(parking_due_ms(&parking, 14999), 1);
    cr_expect_eq(parking_due_ms(&parking, 15000), 0);
    cr_expect_eq(parking_due_ms(&parking, 99000), 0);
    parking_touch(&parking, 99000);
    cr_expect_eq(parking_due_ms(&parking, 99000), 10000);
}

Test(parking, a_held_stream_is_read_twice_within_each_ttl)
{
    Parking parking = {0};

    parking_set_ttl(&parking, 30, true);
    cr_expect_leq(2 * parking_due_ms(&parking, 0), 30000);
}

Test(parking, looks_are_spread_and_bounded)
{
    Parking parking = {0};

    parking_set_ttl(&parking, 8, false);
    cr_expect_eq(parking_look_ms(&parking, random_low), 500);
    cr_expect_eq(parking_look_ms(&parking, random_high), 1000);
    parking_set_ttl(&parking, 1, false);
    cr_expect_geq(parking_look_ms(&parking, random_low), 125);
    parking_set_ttl(&parking, INT64_MAX, false);
    cr_expect_leq(parking_look_ms(&parking, random_high), 10000);
}
