/* SPDX-License-Identifier: Apache-2.0 */
#include "common/parse.h"

#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)

/* Keeps fraction * unit below 2^63. */
#define FRACTION_DIGITS_MAX 9

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool
parse_u64_loose(Str s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (s.len == 0) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (!is_digit(s.ptr[i]) || __builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.ptr[i] - '0'), &value) || value > max) {
            return false;
        }
    }
    *out = value;
    return true;
}

bool
parse_u64(Str s, uint64_t max, uint64_t *out)
{
    if (s.len > 1 && s.ptr[0] == '0') {
        return false;
    }
    return parse_u64_loose(s, max, out);
}

bool
parse_i64(Str s, int64_t *out)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    uint64_t magnitude;

    if (!parse_u64(str_skip(s, negative ? 1 : 0), (uint64_t)INT64_MAX + (negative ? 1 : 0),
                   &magnitude)) {
        return false;
    }
    if (negative && magnitude == 0) {
        return false;
    }
    /* The detour by -1 and +1 reaches INT64_MIN without leaving the type. */
    *out = negative ? -(int64_t)(magnitude - 1) - 1 : (int64_t)magnitude;
    return true;
}

bool
parse_hex_u64(Str s, uint64_t *out)
{
    uint64_t value = 0;

    if (s.len == 0 || s.len > 16) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (is_digit(c)) {
            value = value << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    *out = value;
    return true;
}

bool
parse_bool(Str s, bool *out)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {
        {"true", true}, {"false", false}, {"on", true}, {"off", false},
        {"yes", true},  {"no", false},    {"1", true},  {"0", false},
    };

    for (size_t i = 0; i < DS_COUNT(words); i++) {
        if (str_eq(s, str_c(words[i].word))) {
            *out = words[i].value;
            return true;
        }
    }
    return false;
}

/* The unit that stands behind the number; *out_number is what is left. */
typedef struct Unit {
    const char *name;
    int64_t scale;
} Unit;

static bool
cut_unit(Str s, const Unit *units, size_t unit_count, Str *out_number, int64_t *out_scale)
{
    size_t digits = 0;

    while (digits < s.len && (is_digit(s.ptr[digits]) || s.ptr[digits] == '.')) {
        digits++;
    }
    for (size_t i = 0; i < unit_count; i++) {
        if (str_eq(str_skip(s, digits), str_c(units[i].name))) {
            *out_number = str_n(s.ptr, digits);
            *out_scale = units[i].scale;
            return true;
        }
    }
    return false;
}

bool
parse_size(Str s, uint64_t *out_bytes)
{
    static const Unit units[] = {
        {"", 1},      {"KiB", 1 << 10}, {"MiB", 1 << 20},   {"GiB", 1 << 30},
        {"KB", 1000}, {"MB", 1000000},  {"GB", 1000000000},
    };
    Str number;
    int64_t scale;
    uint64_t count;

    if (!cut_unit(s, units, DS_COUNT(units), &number, &scale) ||
        !parse_u64(number, UINT64_MAX / (uint64_t)scale, &count)) {
        return false;
    }
    *out_bytes = count * (uint64_t)scale;
    return true;
}

bool
parse_duration_ms(Str s, int64_t bare_unit_ms, int64_t *out_ms)
{
    const Unit units[] = {
        {"", bare_unit_ms}, {"ms", 1},      {"s", SECOND_MS},
        {"m", MINUTE_MS},   {"h", HOUR_MS}, {"d", DAY_MS},
    };
    Str number;
    Str whole_text;
    Str fraction_text;
    int64_t scale;
    uint64_t whole;
    uint64_t fraction = 0;
    uint64_t divisor = 1;

    DS_ASSERT(bare_unit_ms > 0 && bare_unit_ms <= DAY_MS);
    if (!cut_unit(s, units, DS_COUNT(units), &number, &scale)) {
        return false;
    }
    bool has_fraction = str_cut(number, '.', &whole_text, &fraction_text);
    if (!parse_u64(whole_text, (uint64_t)(INT64_MAX / scale), &whole)) {
        return false;
    }
    if (has_fraction && (fraction_text.len > FRACTION_DIGITS_MAX ||
                         !parse_u64_loose(fraction_text, UINT64_MAX, &fraction))) {
        return false;
    }
    for (size_t i = 0; i < fraction_text.len; i++) {
        divisor *= 10;
    }
    uint64_t part = fraction * (uint64_t)scale;
    uint64_t total = whole * (uint64_t)scale + part / divisor;
    if (part % divisor != 0 || total > (uint64_t)INT64_MAX) {
        return false;
    }
    *out_ms = (int64_t)total;
    return true;
}

/* Exactly `width` digits at `at`, between low and high. */
static bool
fixed_digits(Str s, size_t at, size_t width, unsigned low, unsigned high, unsigned *out)
{
    uint64_t value;

    if (at + width > s.len || !parse_u64_loose(str_n(s.ptr + at, width), high, &value) ||
        value < low) {
        return false;
    }
    *out = (unsigned)value;
    return true;
}

static bool
is_leap_year(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar; the year counts from March, so that
 * the leap day is the last one of its year. */
static int64_t
days_from_civil(unsigned year, unsigned month, unsigned day)
{
    int64_t y = (int64_t)year - (month <= 2 ? 1 : 0);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t month_from_march = (month + 9) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

static bool
parse_date(Str s, int64_t *out_days)
{
    static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year;
    unsigned month;
    unsigned day;

    if (!fixed_digits(s, 0, 4, 0, 9999, &year) || s.ptr[4] != '-' ||
        !fixed_digits(s, 5, 2, 1, 12, &month) || s.ptr[7] != '-' ||
        !fixed_digits(s, 8, 2, 1, 31, &day)) {
        return false;
    }
    unsigned last = month_days[month - 1] + (month == 2 && is_leap_year(year) ? 1u : 0u);
    if (day > last) {
        return false;
    }
    *out_days = days_from_civil(year, month, day);
    return true;
}

/* "Z", "+hh:mm" or "-hh:mm", and nothing behind it. */
static bool
parse_zone(Str s, int64_t *out_ms)
{
    unsigned hours;
    unsigned minutes;

    if (s.len == 1 && (s.ptr[0] == 'Z' || s.ptr[0] == 'z')) {
        *out_ms = 0;
        return true;
    }
    if (s.len != 6 || (s.ptr[0] != '+' && s.ptr[0] != '-') || s.ptr[3] != ':' ||
        !fixed_digits(s, 1, 2, 0, 23, &hours) || !fixed_digits(s, 4, 2, 0, 59, &minutes)) {
        return false;
    }
    int64_t ahead = hours * HOUR_MS + minutes * MINUTE_MS;
    *out_ms = s.ptr[0] == '+' ? ahead : -ahead;
    return true;
}

/* ".digits", whatever their number; what is finer than a millisecond is cut off. */
static bool
cut_fraction_ms(Str s, Str *out_rest, unsigned *out_ms)
{
    unsigned ms = 0;
    size_t i = 1;

    if (s.len == 0 || s.ptr[0] != '.') {
        *out_rest = s;
        *out_ms = 0;
        return true;
    }
    for (; i < s.len && is_digit(s.ptr[i]); i++) {
        static const unsigned weight[] = {0, 100, 10, 1};

        ms += i < DS_COUNT(weight) ? weight[i] * (unsigned)(s.ptr[i] - '0') : 0;
    }
    *out_rest = str_skip(s, i);
    *out_ms = ms;
    return i > 1;
}

bool
parse_rfc3339_ms(Str s, int64_t *out_ms)
{
    int64_t days;
    int64_t ahead_ms;
    unsigned hour;
    unsigned minute;
    unsigned second;
    unsigned ms;
    Str zone;

    if (s.len < sizeof("YYYY-MM-DDThh:mm:ssZ") - 1 || !parse_date(s, &days) ||
        (s.ptr[10] != 'T' && s.ptr[10] != 't') || !fixed_digits(s, 11, 2, 0, 23, &hour) ||
        s.ptr[13] != ':' || !fixed_digits(s, 14, 2, 0, 59, &minute) || s.ptr[16] != ':' ||
        !fixed_digits(s, 17, 2, 0, 60, &second) || !cut_fraction_ms(str_skip(s, 19), &zone, &ms) ||
        !parse_zone(zone, &ahead_ms)) {
        return false;
    }
    int64_t minute_start = days * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS - ahead_ms;
    /* A leap second ends a UTC day; POSIX time gives it the number of the second behind it. */
    bool ends_day = (minute_start % DAY_MS + DAY_MS) % DAY_MS == DAY_MS - MINUTE_MS;
    if (second == 60 && !ends_day) {
        return false;
    }
    *out_ms = minute_start + second * SECOND_MS + ms;
    return true;
}
