/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/poison.h"

#include <criterion/criterion.h>

Test(poison, each_trait_has_its_reason)
{
    cr_expect_eq(poison_judge(0), POISON_NONE);
    cr_expect_eq(poison_judge(JSON_HAS_NUL | JSON_HAS_HUGE_NUMBER), POISON_NUL);
    cr_expect_eq(poison_judge(JSON_HAS_LONE_SURROGATE), POISON_LONE_SURROGATE);
    cr_expect_eq(poison_judge(JSON_HAS_HUGE_NUMBER), POISON_NUMBER);
}

Test(poison, every_reason_has_a_word_of_its_own)
{
    for (int a = POISON_NONE; a < POISON_COUNT; a++) {
        cr_expect_gt(strlen(poison_name((PoisonReason)a)), 0);
        for (int b = a + 1; b < POISON_COUNT; b++) {
            cr_expect_str_neq(poison_name((PoisonReason)a), poison_name((PoisonReason)b));
        }
        if (a != POISON_NONE) {
            cr_expect_gt(strlen(poison_message((PoisonReason)a)), 0);
        }
    }
}

/* How many of `count` messages become dead letters before it is too much, if all but every
 * `good`th are bad. */
static int64_t
letters_until_full(PoisonTally *tally, int64_t count, int64_t good)
{
    int64_t letters = 0;

    for (int64_t number = 1; number <= count; number++) {
        if (number % good == 0) {
            poison_tally_rows(tally, 1);
        } else if (poison_tally_letter(tally, POISON_LETTERS_MAX)) {
            letters++;
        } else {
            break;
        }
    }
    return letters;
}

Test(poison, a_stream_of_nothing_but_letters_ends_at_the_limit)
{
    PoisonTally tally = {0};

    poison_tally_rows(&tally, 1000000); /* what was good long ago is no credit */
    cr_expect_eq(letters_until_full(&tally, 100000, INT64_MAX), POISON_LETTERS_MAX);
    cr_expect_not(poison_tally_letter(&tally, POISON_LETTERS_MAX));
}

Test(poison, every_other_message_may_be_a_letter_for_ever)
{
    PoisonTally tally = {0};

    cr_expect_eq(letters_until_full(&tally, 100000, 2), 50000);
}

Test(poison, three_of_four_messages_may_be_letters_and_four_of_five_may_not)
{
    PoisonTally three = {0};
    PoisonTally four = {0};

    cr_expect_eq(letters_until_full(&three, 100000, 4), 75000);
    cr_expect_lt(letters_until_full(&four, 100000, 5), 80000);
}

Test(poison, half_of_5000_messages_may_be_letters_wherever_they_are)
{
    for (int64_t first = 0; first <= 2500; first += 500) {
        PoisonTally tally = {0};

        poison_tally_rows(&tally, first);
        cr_expect_eq(letters_until_full(&tally, 2500, INT64_MAX), 2500);
        poison_tally_rows(&tally, 2500 - first);
    }
}

Test(poison, a_letter_too_many_is_not_counted)
{
    PoisonTally tally = {0};

    cr_assert_eq(letters_until_full(&tally, 5000, INT64_MAX), POISON_LETTERS_MAX);
    cr_expect_not(poison_tally_letter(&tally, POISON_LETTERS_MAX));
    poison_tally_rows(&tally, 1);
    for (int i = 0; i < POISON_ROW_REDEEMS; i++) {
        cr_expect(poison_tally_letter(&tally, POISON_LETTERS_MAX));
    }
    cr_expect_not(poison_tally_letter(&tally, POISON_LETTERS_MAX));
}

Test(poison, the_line_of_copy_is_read_wherever_it_stands_in_the_context)
{
    uint64_t line = 0;

    cr_assert(
        poison_copy_line(STR("COPY session_events, line 3, column payload: \"{\"x\"...\""), &line));
    cr_expect_eq(line, 3);
    cr_assert(poison_copy_line(STR("JSON data, line 1: {...\nCOPY t, line 17"), &line));
    cr_expect_eq(line, 17);
    cr_assert(poison_copy_line(STR("PL/pgSQL function f() line 9 at RAISE\nCOPY t, line 2: \"a\""),
                               &line));
    cr_expect_eq(line, 2);
}

Test(poison, a_context_without_a_line_of_copy_gives_none)
{
    static const char *const contexts[] = {"",
                                           "COPY t",
                                           "COPY t, Zeile 3",
                                           "COPY t, line 0",
                                           "COPY t, line x",
                                           "COPY t, line ",
                                           "PL/pgSQL function f() line 9 at RAISE",
                                           "JSON data, line 1: {",
                                           "COPY t, line 99999999999999999999"};

    for (size_t i = 0; i < DS_COUNT(contexts); i++) {
        uint64_t line = 77;

        cr_expect_not(poison_copy_line(str_c(contexts[i]), &line), "%s", contexts[i]);
        cr_expect_eq(line, 77, "%s touched the output", contexts[i]);
    }
}

Test(poison, a_context_cut_anywhere_gives_no_wrong_line)
{
    Str whole = STR("COPY session_events, line 345, column payload");

    for (size_t cut = 0; cut <= whole.len; cut++) {
        uint64_t line = 0;

        if (poison_copy_line(str_head(whole, cut), &line)) {
            cr_expect(line == 3 || line == 34 || line == 345, "cut at %zu gave %llu", cut,
                      (unsigned long long)line);
        }
    }
}
