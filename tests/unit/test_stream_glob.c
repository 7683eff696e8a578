/* SPDX-License-Identifier: Apache-2.0 */
#include "common/stream_glob.h"

#include <criterion/criterion.h>

static void
expect_match(const char *pattern, const char *path, bool match)
{
    Error err;

    cr_assert(stream_glob_check(str_c(pattern), &err), "%s", pattern);
    cr_expect_eq(stream_glob_match(str_c(pattern), str_c(path)), match, "%s %s", pattern, path);
    if (match) {
        cr_expect(str_starts(str_c(path), stream_glob_prefix(str_c(pattern))), "%s %s", pattern,
                  path);
    }
}

Test(stream_glob, a_star_is_exactly_one_segment)
{
    expect_match("events/*", "events/a", true);
    expect_match("events/*", "events", false);
    expect_match("events/*", "events/a/b", false);
    expect_match("events/*", "event/a", false);
    expect_match("*", "a", true);
    expect_match("*", "a/b", false);
    expect_match("*/b", "a/b", true);
    expect_match("a/*/c", "a/b/c", true);
    expect_match("a/*/c", "a/c", false);
}

Test(stream_glob, two_stars_are_any_number_of_segments)
{
    expect_match("**", "a", true);
    expect_match("**", "a/b/c", true);
    expect_match("a/**", "a", true);
    expect_match("a/**", "a/b/c", true);
    expect_match("a/**", "ab", false);
    expect_match("**/z", "z", true);
    expect_match("**/z", "a/b/z", true);
    expect_match("**/z", "a/z/b", false);
    expect_match("a/**/z", "a/z", true);
    expect_match("a/**/z", "a/b/z/c/z", true);
    expect_match("a/**/b/**/c", "a/x/b/y/z/c", true);
    expect_match("a/**/b/**/c", "a/x/y/z/c", false);
    expect_match("**/a/*", "x/a/a/b", true);
    expect_match("a/**/**", "a", true);
}

Test(stream_glob, a_star_within_a_segment_stays_there)
{
    expect_match("user-*/log", "user-1/log", true);
    expect_match("user-*/log", "user-/log", true);
    expect_match("user-*/log", "user-1/x/log", false);
    expect_match("*.log", "a.log", true);
    expect_match("a*b*c", "axbxbc", true);
    expect_match("a*b*c", "axbxb", false);
}

Test(stream_glob, nothing_else_is_special)
{
    expect_match("a?[b]", "a?[b]", true);
    expect_match("a?[b]", "axb", false);
    expect_match("a.c", "abc", false);
    expect_match("plain/name", "plain/name", true);
    expect_match("plain/name", "plain/name/x", false);
}

Test(stream_glob, matching_takes_no_exponential_time)
{
    expect_match("**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b",
                 "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a", false);
    expect_match("*a*a*a*a*a*a*a*a*a*a*a*b",
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false);
}

Test(stream_glob, what_could_match_no_name_is_refused)
{
    static const char *const bad[] = {"",      "/a",  "a/",     "a//b", "a/../b", "./a",
                                      "a/**b", "***", "__ds/*", "__ds", "a\nb",   "\xff"};
    Error err;

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        cr_expect_not(stream_glob_check(str_c(bad[i]), &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_INPUT);
    }
}

static void
expect_overlap(const char *a, const char *b, bool overlap)
{
    Error err;

    cr_assert(stream_glob_check(str_c(a), &err) && stream_glob_check(str_c(b), &err));
    cr_expect_eq(stream_glob_overlap(str_c(a), str_c(b)), overlap, "%s %s", a, b);
    cr_expect_eq(stream_glob_overlap(str_c(b), str_c(a)), overlap, "%s %s", b, a);
}

Test(stream_glob, patterns_overlap_when_one_path_matches_both)
{
    expect_overlap("a/b", "a/b", true);
    expect_overlap("a/b", "a/c", false);
    expect_overlap("a/*", "*/b", true);
    expect_overlap("a/*", "b/*", false);
    expect_overlap("a/*", "a/*/c", false);
    expect_overlap("x*", "*y", true);
    expect_overlap("x*z", "y*z", false);
    expect_overlap("x*a*z", "xb*z", true);
    expect_overlap("*.log", "*.txt", false);
    expect_overlap("**", "a/b/c", true);
    expect_overlap("a/**", "a", true);
    expect_overlap("a/**/z", "a/b/**", true);
    expect_overlap("a/**/z", "b/**", false);
    expect_overlap("**/a", "**/b", false);
    expect_overlap("**/a/*", "**/b", true);
    expect_overlap("a/**", "*", true);
    expect_overlap("a/*/**", "*", false);
}

/* Every pattern overlaps with what it matches, and with nothing that it does not. */
Test(stream_glob, a_name_overlaps_exactly_with_the_patterns_that_match_it)
{
    static const char *const patterns[] = {"a/*", "*/b", "**", "a/**", "**/b", "a*/*b", "*", "a"};
    static const char *const names[] = {"a", "b", "a/b", "ax/yb", "a/x/b", "a/a", "c/b"};

    for (size_t i = 0; i < DS_COUNT(patterns); i++) {
        for (size_t j = 0; j < DS_COUNT(names); j++) {
            expect_overlap(patterns[i], names[j],
                           stream_glob_match(str_c(patterns[i]), str_c(names[j])));
        }
    }
}
