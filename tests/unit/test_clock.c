/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"

#include <criterion/criterion.h>

#include "common/parse.h"

static int64_t
fake_mono(void)
{
    return 1999999;
}

static int64_t
fake_boot(void)
{
    return INT64_C(3000000000);
}

static int64_t
fake_wall(void)
{
    return INT64_C(1767323045678901234);
}

static const ClockSource fake = {fake_mono, fake_boot, fake_wall};

Test(clock, a_test_can_replace_the_time_and_give_it_back)
{
    clock_set_source(&fake);
    cr_expect_eq(clock_mono_ns(), 1999999);
    cr_expect_eq(clock_mono_ms(), 1);
    cr_expect_eq(clock_boot_ms(), 3000);
    cr_expect_eq(clock_wall_ms(), INT64_C(1767323045678));
    cr_expect_eq(clock_wall_us(), INT64_C(1767323045678901));
    clock_set_source(NULL);
    cr_expect_neq(clock_wall_us(), INT64_C(1767323045678901));
    cr_expect_neq(clock_mono_ns(), 1999999);
}

Test(clock, the_monotonic_clock_never_steps_back)
{
    int64_t before = clock_mono_ns();

    for (int i = 0; i < 10000; i++) {
        int64_t now = clock_mono_ns();

        cr_assert_geq(now, before);
        before = now;
    }
}

static void
expect_format(int64_t wall_ms, const char *expected)
{
    char text[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(wall_ms, text);
    cr_expect_str_eq(text, expected);
}

Test(clock, times_are_written_as_rfc3339_has_them)
{
    expect_format(0, "1970-01-01T00:00:00.000Z");
    expect_format(INT64_C(1767323045678), "2026-01-02T03:04:05.678Z");
    expect_format(INT64_C(951827696009), "2000-02-29T12:34:56.009Z");
}

Test(clock, times_before_1970_and_in_early_years_are_right_too)
{
    expect_format(-1, "1969-12-31T23:59:59.999Z");
    expect_format(-1000, "1969-12-31T23:59:59.000Z");
    expect_format(INT64_C(-62167219200000), "0000-01-01T00:00:00.000Z");
    expect_format(INT64_C(-30610224000000), "1000-01-01T00:00:00.000Z");
    expect_format(INT64_C(-59011459200000), "0100-01-01T00:00:00.000Z");
}

Test(clock, times_beyond_the_format_become_its_ends)
{
    expect_format(INT64_C(253402300799999), "9999-12-31T23:59:59.999Z");
    expect_format(INT64_C(253402300800000), "9999-12-31T23:59:59.999Z");
    expect_format(INT64_MAX, "9999-12-31T23:59:59.999Z");
    expect_format(INT64_C(-62167219200001), "0000-01-01T00:00:00.000Z");
    expect_format(INT64_MIN, "0000-01-01T00:00:00.000Z");
}

Test(clock, what_is_written_is_read_back_the_same)
{
    for (int64_t ms = INT64_C(-62167219200000); ms < INT64_C(253402300800000);
         ms += INT64_C(9876543210)) {
        char text[CLOCK_RFC3339_SIZE];
        int64_t parsed = 0;

        clock_format_rfc3339(ms, text);
        cr_assert(parse_rfc3339_ms(str_c(text), &parsed), "%s", text);
        cr_assert_eq(parsed, ms, "%s", text);
    }
}
