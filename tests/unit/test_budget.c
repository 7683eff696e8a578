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
    cr_expect_not(budget_must_pause(&budget, &user));
    budget_set(&budget, &user, 100);
    cr_expect(budget_must_pause(&budget, &user));
    cr_expect(budget_must_pause(&budget, &user), "paused is paused");
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
    cr_expect(budget_must_pause(&budget, &small));
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
    cr_expect(budget_must_pause(&budget, &user));
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
    cr_expect(budget_must_pause(&eager, user));
}

Test(budget, users_that_fill_again_when_resumed_each_get_one_turn)
{
    BudgetUser users[3] = {{.arg = &users[0]}, {.arg = &users[1]}, {.arg = &users[2]}};

    budget_init(&eager, 1000, 60, on_resume_fill);
    for (size_t i = 0; i < DS_COUNT(users); i++) {
        budget_set(&eager, &users[i], 60);
        cr_expect(budget_must_pause(&eager, &users[i]));
    }
    budget_set(&eager, &users[1], 0);
    cr_expect_eq(resumed, 1, "only one of them was eased");
    cr_expect_eq(eager.paused_count, 3);
}
