/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/budget.h"

#include <criterion/criterion.h>

static int resumed;

static void
on_resume(void *arg)
{
    (void)arg;
    resumed++;
}

Test(budget, a_user_above_its_share_pauses_and_goes_on_at_half)
{
    Budget budget;
    BudgetUser user = {0};

    budget_init(&budget, 1000, 100, on_resume);
    budget_set(&budget, &user, 99);
    cr_expect_not(budget_must_pause(&budget, &user, false));
    budget_set(&budget, &user, 100);
    cr_expect(budget_must_pause(&budget, &user, false));
    cr_expect(budget_must_pause(&budget, &user, false), "paused is paused");
    budget_set(&budget, &user, 51);
    cr_expect_eq(resumed, 0);
    budget_set(&budget, &user, 50);
    cr_expect_eq(resumed, 1);
    cr_expect_not(user.paused);
}

Test(budget, all_together_pause_who_reads_and_any_commit_eases_it)
{
    Budget budget;
    BudgetUser big = {0};
    BudgetUser small = {0};

    budget_init(&budget, 1000, 1000, on_resume);
    budget_set(&budget, &big, 990);
    budget_set(&budget, &small, 10);
    cr_expect(budget_must_pause(&budget, &small, false));
    budget_set(&budget, &big, 800);
    cr_expect_eq(resumed, 0, "810 of 1000 is not eased");
    budget_set(&budget, &big, 400);
    cr_expect_eq(resumed, 1);
    cr_expect_eq(budget.used, 410);
}

Test(budget, who_is_forgotten_is_not_resumed)
{
    Budget budget;
    BudgetUser user = {0};

    budget_init(&budget, 100, 100, on_resume);
    budget_set(&budget, &user, 100);
    cr_expect(budget_must_pause(&budget, &user, false));
    budget_forget(&budget, &user);
    budget_forget(&budget, &user);
    budget_set(&budget, &user, 0);
    cr_expect_eq(resumed, 0);
    cr_expect_eq(budget.paused_count, 0);
}

static Budget eager;

/* Fills its queue again at once, as a transfer that resumes does. */
static void
on_resume_fill(void *arg)
{
    BudgetUser *user = arg;

    resumed++;
    budget_set(&eager, user, 60);
    cr_expect(budget_must_pause(&eager, user, false));
}

Test(budget, users_that_fill_again_when_resumed_each_get_one_turn)
{
    BudgetUser users[3] = {{.arg = &users[0]}, {.arg = &users[1]}, {.arg = &users[2]}};

    budget_init(&eager, 1000, 60, on_resume_fill);
    for (size_t i = 0; i < DS_COUNT(users); i++) {
        budget_set(&eager, &users[i], 60);
        cr_expect(budget_must_pause(&eager, &users[i], false));
    }
    budget_set(&eager, &users[1], 0);
    cr_expect_eq(resumed, 1, "only one of them was eased");
    cr_expect_eq(eager.paused_count, 3);
}

#define CROWD 100
#define LOAN  100 /* an eighth of all */

static Budget crowded;
static BudgetUser crowd[CROWD];
static size_t crowd_resumed;

static void
on_resume_count(void *arg DS_UNUSED)
{
    crowd_resumed++;
}

/* All are behind, and paused by what the first one holds. */
static void
crowd_init(void)
{
    crowd_resumed = 0;
    budget_init(&crowded, LOAN * 8, LOAN * 8, on_resume_count);
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = (BudgetUser){.arg = &crowd[i]};
    }
    budget_set(&crowded, &crowd[0], LOAN * 8);
    for (size_t i = 0; i < CROWD; i++) {
        cr_expect(budget_must_pause(&crowded, &crowd[i], true));
    }
}

Test(budget, no_more_are_resumed_than_what_they_bring_will_fit_in)
{
    crowd_init();
    budget_set(&crowded, &crowd[0], 0);
    cr_expect_eq(crowd_resumed, (size_t)6, "three quarters of eight loans");
    cr_expect_eq(crowded.paused_count, (size_t)CROWD - 6);
}

Test(budget, each_one_at_the_end_of_its_stream_lets_the_next_one_read)
{
    crowd_init();
    budget_set(&crowded, &crowd[0], 0);
    for (size_t i = 0; i < CROWD; i++) {
        cr_expect_eq(crowd_resumed, DS_MIN((size_t)CROWD, 6 + i), "%zu", i);
        cr_expect_not(budget_must_pause(&crowded, &crowd[i], false));
    }
    cr_expect_eq(crowded.loan_count, (size_t)0);
    cr_expect_eq(crowded.paused_count, (size_t)0);
}

Test(budget, one_that_is_behind_may_always_read)
{
    Budget budget;
    BudgetUser user = {0};

    budget_init(&budget, 8, 8, on_resume);
    cr_expect_not(budget_must_pause(&budget, &user, true));
    budget_set(&budget, &user, 7);
    cr_expect_not(budget_must_pause(&budget, &user, true));
    budget_set(&budget, &user, 8);
    cr_expect(budget_must_pause(&budget, &user, true));
    budget_set(&budget, &user, 4);
    cr_expect_eq(resumed, 1);
}

Test(budget, who_is_at_the_end_of_its_stream_waits_for_no_loan)
{
    BudgetUser quiet = {0};

    crowd_init();
    budget_set(&crowded, &crowd[0], LOAN * 8 - 1);
    cr_expect_not(budget_must_pause(&crowded, &quiet, false));
    cr_expect_eq(crowd_resumed, (size_t)0);
}

Test(budget, a_loan_is_lost_by_who_reads_nothing)
{
    crowd_init();
    budget_set(&crowded, &crowd[0], 0);
    budget_end_loans(&crowded);
    cr_expect_eq(crowd_resumed, (size_t)6, "they had no time yet");
    cr_expect_not(budget_must_pause(&crowded, &crowd[0], true));
    budget_end_loans(&crowded);
    cr_expect_eq(crowd_resumed, (size_t)11, "all but the one that read lose theirs");
}

Test(budget, who_is_forgotten_leaves_its_loan_to_others)
{
    crowd_init();
    budget_set(&crowded, &crowd[0], 0);
    budget_forget(&crowded, &crowd[3]);
    cr_expect_eq(crowd_resumed, (size_t)6, "nobody is resumed while others are torn down");
    budget_go_on(&crowded);
    cr_expect_eq(crowd_resumed, (size_t)7);
}

/* At the end of its stream as soon as it goes on. */
static void
on_resume_end(void *arg)
{
    crowd_resumed++;
    cr_expect(crowded.resuming);
    cr_expect_not(budget_must_pause(&crowded, arg, false));
}

Test(budget, all_are_resumed_in_turn_and_none_from_inside_another)
{
    crowd_init();
    crowded.on_resume = on_resume_end;
    budget_set(&crowded, &crowd[0], 0);
    cr_expect_eq(crowd_resumed, (size_t)CROWD);
}

Test(budget, who_has_brought_something_gives_way_to_who_waits)
{
    crowd_init();
    budget_set(&crowded, &crowd[0], 1);
    cr_expect_eq(crowd_resumed, (size_t)5);
    cr_expect_not(budget_must_pause(&crowded, &crowd[0], true), "it has brought nothing yet");
    budget_set(&crowded, &crowd[0], 2);
    cr_expect(budget_must_pause(&crowded, &crowd[0], true));
    cr_expect_eq(crowd_resumed, (size_t)6);
    cr_expect_not(crowd[5].paused);
    cr_expect(crowd[0].paused, "it is the last in line");
}

Test(budget, nobody_is_resumed_once_it_is_closed)
{
    crowd_init();
    budget_close(&crowded);
    budget_set(&crowded, &crowd[0], 0);
    cr_expect_eq(crowd_resumed, (size_t)0);
}
