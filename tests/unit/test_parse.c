/* SPDX-License-Identifier: Apache-2.0 */
#include "common/parse.h"

#include <criterion/criterion.h>

Test(parse, u64_takes_digits_up_to_its_maximum)
{
    static const struct {
        const char *text;
        uint64_t max;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"0", 10, true, 0},
        {"10", 10, true, 10},
        {"11", 10, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"99999999999999999999", UINT64_MAX, false, 0},
        {"", 10, false, 0},
        {"00", 10, false, 0},
        {"01", 10, false, 0},
        {"+1", 10, false, 0},
        {"-1", 10, false, 0},
        {" 1", 10, false, 0},
        {"1 ", 10, false, 0},
        {"1.0", 10, false, 0},
        {"0x1", 10, false, 0},
        {"1e1", 10, false, 0},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        uint64_t value = 77;

        cr_expect_eq(parse_u64(str_c(cases[i].text), cases[i].max, &value), cases[i].ok, "\"%s\"",
                     cases[i].text);
        cr_expect_eq(value, cases[i].ok ? cases[i].value : 77, "\"%s\"", cases[i].text);
    }
}

Test(parse, u64_does_not_stop_at_a_zero_byte)
{
    uint64_t value;

    cr_expect_not(parse_u64(str_n("1\0", 2), 10, &value));
    cr_expect_not(parse_u64(str_n(NULL, 0), 10, &value));
}

Test(parse, only_the_loose_u64_takes_leading_zeros)
{
    uint64_t value = 0;

    cr_expect(parse_u64_loose(STR("007"), 10, &value));
    cr_expect_eq(value, 7);
    cr_expect(parse_u64_loose(STR("00000000000000000000000000000000000010"), 10, &value));
    cr_expect_eq(value, 10);
    cr_expect_not(parse_u64_loose(STR(""), 10, &value));
    cr_expect_not(parse_u64_loose(STR("0011"), 10, &value));
}

Test(parse, i64_reaches_both_ends_of_its_type)
{
    int64_t value = 0;

    cr_expect(parse_i64(STR("9223372036854775807"), &value));
    cr_expect_eq(value, INT64_MAX);
    cr_expect(parse_i64(STR("-9223372036854775808"), &value));
    cr_expect_eq(value, INT64_MIN);
    cr_expect(parse_i64(STR("-1"), &value));
    cr_expect_eq(value, -1);
    cr_expect(parse_i64(STR("0"), &value));
    cr_expect_eq(value, 0);
    cr_expect_not(parse_i64(STR("9223372036854775808"), &value));
    cr_expect_not(parse_i64(STR("-9223372036854775809"), &value));
    cr_expect_eq(value, 0, "untouched on failure");
}

Test(parse, i64_refuses_what_is_not_canonical)
{
    static const char *const bad[] = {"", "-", "-0", "--1", "+1", "- 1", "-01", "1-", "1_000"};
    int64_t value = 5;

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(parse_i64(str_c(bad[i]), &value), "\"%s\"", bad[i]);
    }
    cr_expect_eq(value, 5);
}

Test(parse, hex_takes_one_to_sixteen_lower_case_digits)
{
    static const char *const bad[] = {"", "A", "g", "0x1", "00000000000000000", "-1", "1 "};
    uint64_t value = 0;

    cr_expect(parse_hex_u64(STR("0"), &value));
    cr_expect_eq(value, 0);
    cr_expect(parse_hex_u64(STR("0000000000000a0f"), &value));
    cr_expect_eq(value, 0xa0f);
    cr_expect(parse_hex_u64(STR("ffffffffffffffff"), &value));
    cr_expect_eq(value, UINT64_MAX);
    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(parse_hex_u64(str_c(bad[i]), &value), "\"%s\"", bad[i]);
    }
    cr_expect_eq(value, UINT64_MAX);
}

Test(parse, bool_knows_eight_words_and_no_other)
{
    static const char *const yes[] = {"true", "on", "yes", "1"};
    static const char *const no[] = {"false", "off", "no", "0"};
    static const char *const bad[] = {"", "TRUE", "True", "t", "y", "2", "01", "true ", "enabled"};
    bool value;

    for (size_t i = 0; i < DS_COUNT(yes); i++) {
        value = false;
        cr_expect(parse_bool(str_c(yes[i]), &value) && value, "\"%s\"", yes[i]);
        value = true;
        cr_expect(parse_bool(str_c(no[i]), &value) && !value, "\"%s\"", no[i]);
    }
    value = true;
    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(parse_bool(str_c(bad[i]), &value), "\"%s\"", bad[i]);
    }
    cr_expect(value);
}

Test(parse, size_tells_binary_units_from_decimal_ones)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"10", 10},
        {"10KiB", 10240},
        {"10KB", 10000},
        {"8MiB", 8388608},
        {"8MB", 8000000},
        {"1GiB", 1073741824},
        {"1GB", 1000000000},
        {"17179869183GiB", UINT64_C(17179869183) << 30},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {
        "",
        "KiB",
        "-1",
        "1.5MiB",
        "1 KiB",
        "1kib",
        "1K",
        "1B",
        "1TiB",
        "1KiBB",
        "01KiB",
        "1.KiB",
        "17179869184GiB",
        "18446744073709551616",
        "18446744073709551616KB",
    };
    uint64_t bytes = 0;

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        cr_expect(parse_size(str_c(cases[i].text), &bytes), "\"%s\"", cases[i].text);
        cr_expect_eq(bytes, cases[i].bytes, "\"%s\"", cases[i].text);
    }
    bytes = 3;
    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(parse_size(str_c(bad[i]), &bytes), "\"%s\"", bad[i]);
    }
    cr_expect_eq(bytes, 3);
}

Test(parse, duration_scales_by_its_unit_and_bare_numbers_by_the_callers)
{
    static const struct {
        const char *text;
        int64_t bare_unit_ms;
        int64_t ms;
    } cases[] = {
        {"250ms", 1, 250},
        {"30s", 1, 30000},
        {"5m", 1, 300000},
        {"2h", 1, 7200000},
        {"7d", 1, 604800000},
        {"30", 1000, 30000},
        {"30", 1, 30},
        {"0", 1000, 0},
        {"1.5s", 1, 1500},
        {"0.25", 1000, 250},
        {"1.500s", 1, 1500},
        {"0.001s", 1, 1},
        {"0.5d", 1, 43200000},
        {"9223372036854775807ms", 1, INT64_MAX},
        {"9223372036854775.807s", 1, INT64_MAX},
        {"106751991167d", 1, INT64_C(106751991167) * 86400000},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        int64_t ms = -1;

        cr_expect(parse_duration_ms(str_c(cases[i].text), cases[i].bare_unit_ms, &ms), "\"%s\"",
                  cases[i].text);
        cr_expect_eq(ms, cases[i].ms, "\"%s\"", cases[i].text);
    }
}

Test(parse, duration_refuses_what_it_cannot_hold_exactly)
{
    static const char *const bad[] = {
        "",
        "s",
        "ms",
        ".5s",
        "5.s",
        "1.s",
        "1..5s",
        "-1s",
        "+1s",
        "1 s",
        "1S",
        "1sec",
        "1h30m",
        "01s",
        "1.5.5s",
        "0.5ms",
        "0.0001s",
        "1.2345678901s",
        "9223372036854775808ms",
        "9223372036854775807.5s",
        "106751991168d",
        "9223372036854775.808s",
        "0.000000125d",
    };
    int64_t ms = 9;

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(parse_duration_ms(str_c(bad[i]), 1, &ms), "\"%s\"", bad[i]);
    }
    cr_expect_eq(ms, 9);
}

Test(parse, rfc3339_counts_from_1970)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1969-12-31T23:59:59.999Z", -1},
        {"2024-10-09T00:00:00Z", INT64_C(1728432000000)},
        {"2000-02-29T12:34:56.789Z", INT64_C(951827696789)},
        {"2026-01-02T03:04:05.6Z", INT64_C(1767323045600)},
        {"2026-01-02T03:04:05.67Z", INT64_C(1767323045670)},
        {"2026-01-02T03:04:05.6789999999999999999999Z", INT64_C(1767323045678)},
        {"2026-01-02t03:04:05z", INT64_C(1767323045000)},
        {"2026-01-02T05:04:05+02:00", INT64_C(1767323045000)},
        {"2026-01-01T21:34:05-05:30", INT64_C(1767323045000)},
        {"2026-01-02T03:04:05-00:00", INT64_C(1767323045000)},
        {"2016-12-31T23:59:60Z", INT64_C(1483228800000)},
        {"2016-12-31T23:59:60.250Z", INT64_C(1483228800250)},
        {"2016-12-31T15:59:60-08:00", INT64_C(1483228800000)},
        {"0000-01-01T00:00:00Z", INT64_C(-62167219200000)},
        {"9999-12-31T23:59:59.999Z", INT64_C(253402300799999)},
        {"1900-03-01T00:00:00Z", INT64_C(-2203891200000)},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        int64_t ms = 0;

        cr_expect(parse_rfc3339_ms(str_c(cases[i].text), &ms), "\"%s\"", cases[i].text);
        cr_expect_eq(ms, cases[i].ms, "\"%s\": %lld", cases[i].text, (long long)ms);
    }
}

Test(parse, rfc3339_refuses_times_that_do_not_exist)
{
    static const char *const bad[] = {
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05ZZ",
        "2026-01-02T03:04:05+0200",
        "2026-01-02T03:04:05+02",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+02:60",
        "2026-01-02T03:04:05 Z",
        " 2026-01-02T03:04:05Z",
        "2026-1-02T03:04:05Z",
        "26-01-02T03:04:05Z",
        "+2026-01-02T03:04:05Z",
        "2026-00-02T03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-01-00T03:04:05Z",
        "2026-01-32T03:04:05Z",
        "2026-04-31T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:60Z",
        "2016-12-31T23:59:60+01:00",
        "2026-01-02T03:04:-5Z",
    };
    int64_t ms = 4;

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(parse_rfc3339_ms(str_c(bad[i]), &ms), "\"%s\"", bad[i]);
    }
    cr_expect_eq(ms, 4);
}

Test(parse, every_truncation_of_a_time_is_refused)
{
    static const char text[] = "2026-01-02T03:04:05.678+02:00";
    int64_t ms;

    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        cr_expect_not(parse_rfc3339_ms(str_n(text, len), &ms), "%zu bytes", len);
    }
    cr_expect(parse_rfc3339_ms(str_n(text, sizeof(text) - 1), &ms));
}
