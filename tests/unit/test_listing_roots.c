/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/listing_roots.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/stream_glob.h"

/* "prefix" or "prefix=" of one stream alone, each ending in a bar. */
static void
expect_roots(const char *const *patterns, size_t pattern_count, const char *expected)
{
    size_t count = 0;
    ListingRoot *roots = listing_roots_new(patterns, pattern_count, &count);
    Buf text;
    Error err;

    buf_init(&text, 4096);
    for (size_t i = 0; i < count; i++) {
        cr_assert(buf_printf(&text, &err, "%.*s%s|", STR_ARG(roots[i].prefix),
                             roots[i].exact ? "=" : ""));
    }
    cr_expect_str_eq(buf_cstr(&text), expected);
    buf_done(&text);
    free(roots);
}

#define EXPECT(expected, ...)                                                                      \
    expect_roots((const char *const[]){__VA_ARGS__},                                               \
                 DS_COUNT(((const char *const[]){__VA_ARGS__})), expected)

Test(listing_roots, a_pattern_is_listed_by_what_is_before_its_first_star)
{
    EXPECT("chat/|", "chat/*");
    EXPECT("chat/a|", "chat/a*/b");
    EXPECT("|", "**");
}

Test(listing_roots, a_name_is_listed_alone)
{
    EXPECT("chat/1=|", "chat/1");
    EXPECT("chat/1=|chat/10=|", "chat/10", "chat/1");
}

Test(listing_roots, what_is_said_twice_is_listed_once)
{
    EXPECT("chat/|", "chat/*", "chat/*");
    EXPECT("chat/1=|", "chat/1", "chat/1");
    EXPECT("chat|", "chat/*", "chat/**");
}

Test(listing_roots, what_another_root_holds_is_not_listed_beside_it)
{
    EXPECT("chat/|", "chat/eu/*", "chat/*");
    EXPECT("chat/|", "chat/1", "chat/*");
    EXPECT("chat=|chat/|", "chat/*", "chat");
    EXPECT("|", "a/*", "*", "b");
}

Test(listing_roots, a_name_holds_no_longer_one)
{
    EXPECT("a=|a/b=|a/b/|", "a", "a/b", "a/b/*");
}

Test(listing_roots, a_pattern_and_a_name_that_is_its_prefix_are_one_root)
{
    EXPECT("a|", "a", "a*");
    EXPECT("a|", "a*", "a");
}

/* Of so many names; out: the first root, whose prefix is borrowed until the next call. */
static size_t
roots_of_names(const char *const *begins, size_t count, ListingRoot *out)
{
    static char texts[2 * LISTING_ROOTS_MAX][32];
    const char *names[DS_COUNT(texts)];
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "%s%03zu", begins[i % 2], i);
        names[i] = texts[i];
    }
    ListingRoot *roots = listing_roots_new(names, count, &found);
    cr_assert_gt(found, (size_t)0);
    *out = roots[0];
    free(roots);
    return found;
}

Test(listing_roots, of_too_many_what_they_have_in_common_is_listed)
{
    static const char *const near[] = {"chat/eu/", "chat/us/"};
    static const char *const far[] = {"chat/eu/", "talk/us/"};
    ListingRoot root;

    cr_expect_eq(roots_of_names(near, LISTING_ROOTS_MAX, &root), (size_t)LISTING_ROOTS_MAX);
    cr_expect(root.exact);
    cr_expect_eq(roots_of_names(near, LISTING_ROOTS_MAX + 1, &root), (size_t)1);
    cr_expect(str_eq(root.prefix, STR("chat/")), "%.*s", STR_ARG(root.prefix));
    cr_expect_not(root.exact, "it is the prefix of many");
    cr_expect_eq(roots_of_names(far, LISTING_ROOTS_MAX + 1, &root), (size_t)1);
    cr_expect_eq(root.prefix.len, (size_t)0, "all that there is");
    cr_expect_not(root.exact);
}

/* Another name of at most four letters for each number, the digits of which are the letters. */
static Str
name_of(unsigned number, char *out)
{
    static const char letters[] = "ab/";
    size_t len = 0;

    for (unsigned rest = number; rest > 0; rest /= 4) {
        if (rest % 4 > 0) {
            out[len++] = letters[rest % 4 - 1];
        }
    }
    out[len] = '\0';
    return str_n(out, len);
}

#define NAMES 256

/* How many of the roots list the name. */
static size_t
listed_by(const ListingRoot *roots, size_t count, Str name)
{
    size_t listed = 0;

    for (size_t i = 0; i < count; i++) {
        listed +=
            roots[i].exact ? str_eq(name, roots[i].prefix) : str_starts(name, roots[i].prefix);
    }
    return listed;
}

Test(listing_roots, whatever_matches_is_listed_exactly_once)
{
    static const char *const all[] = {"a", "a*", "a/*", "ab", "ab/*", "a/b", "b/**", "b", "/*"};

    for (unsigned set = 1; set < 1u << DS_COUNT(all); set++) {
        const char *patterns[DS_COUNT(all)];
        size_t pattern_count = 0;
        size_t count = 0;

        for (size_t i = 0; i < DS_COUNT(all); i++) {
            if ((set & 1u << i) != 0) {
                patterns[pattern_count++] = all[i];
            }
        }
        ListingRoot *roots = listing_roots_new(patterns, pattern_count, &count);
        for (unsigned number = 1; number < NAMES; number++) {
            char text[8];
            Str name = name_of(number, text);
            bool matches = false;

            for (size_t i = 0; i < pattern_count; i++) {
                matches = matches || stream_glob_match(str_c(patterns[i]), name);
            }
            size_t listed = listed_by(roots, count, name);
            cr_expect(listed <= 1 && (!matches || listed == 1), "%s of set %u: %zu", text, set,
                      listed);
        }
        free(roots);
    }
}
