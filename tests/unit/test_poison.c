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

Test(poison, a_hundred_letters_within_ten_thousand_messages_are_allowed_and_no_more)
{
    PoisonWindow window = {0};

    for (int64_t seq = 0; seq < POISON_LETTERS_MAX; seq++) {
        cr_assert(poison_window_add(&window, seq * 50));
    }
    cr_expect_not(poison_window_add(&window, 9999));
    cr_expect_not(poison_window_add(&window, 9999), "a refused letter was remembered");
    poison_window_done(&window);
}

Test(poison, letters_that_are_far_enough_apart_never_end)
{
    PoisonWindow window = {0};

    for (int64_t seq = 0; seq < 5000; seq++) {
        cr_assert(poison_window_add(&window, seq * 100), "letter %lld", (long long)seq);
    }
    cr_expect_not(poison_window_add(&window, 4999 * 100 - 50));
    poison_window_done(&window);
}

Test(poison, a_letter_that_is_tried_again_counts_once)
{
    PoisonWindow window = {0};

    for (int turn = 0; turn < 5; turn++) {
        for (int64_t seq = 0; seq < POISON_LETTERS_MAX; seq++) {
            cr_assert(poison_window_add(&window, seq));
        }
    }
    cr_expect_not(poison_window_add(&window, POISON_LETTERS_MAX));
    poison_window_done(&window);
}

Test(poison, letters_count_in_any_order)
{
    PoisonWindow window = {0};

    cr_assert(poison_window_add(&window, 9000));
    for (int64_t seq = POISON_LETTERS_MAX - 1; seq > 0; seq--) {
        cr_assert(poison_window_add(&window, seq));
    }
    cr_expect_not(poison_window_add(&window, 500));
    cr_expect_not(poison_window_add(&window, 10000), "all of them are within 10,000 of it");
    cr_expect(poison_window_add(&window, 10001), "the first of them is now far enough away");
    poison_window_done(&window);
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
