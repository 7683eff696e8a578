/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/budget.h"

void
budget_init(Budget *budget, size_t bytes_max, size_t user_bytes_max, void (*on_resume)(void *arg))
{
    *budget =
        (Budget){.bytes_max = bytes_max, .user_bytes_max = user_bytes_max, .on_resume = on_resume};
    TAILQ_INIT(&budget->paused);
}

static bool
budget_is_over(const Budget *budget, const BudgetUser *user)
{
    return budget->used >= budget->bytes_max || user->used >= budget->user_bytes_max;
}

/* Below the limits by enough that a resumed transfer is not paused again at once. */
static bool
budget_is_eased(const Budget *budget, const BudgetUser *user)
{
    return budget->used <= budget->bytes_max / 4 * 3 && user->used <= budget->user_bytes_max / 2;
}

void
budget_forget(Budget *budget, BudgetUser *user)
{
    if (user->paused) {
        user->paused = false;
        budget->paused_count--;
        TAILQ_REMOVE(&budget->paused, user, link);
    }
}

/* Whoever resumes may fill its queue from inside the callback and pause again, at the list's end:
 * each user is looked at once. */
static void
budget_resume(Budget *budget)
{
    size_t count = budget->paused_count;

    while (count > 0 && !TAILQ_EMPTY(&budget->paused)) {
        BudgetUser *user = TAILQ_FIRST(&budget->paused);

        count--;
        TAILQ_REMOVE(&budget->paused, user, link);
        if (budget_is_eased(budget, user)) {
            user->paused = false;
            budget->paused_count--;
            budget->on_resume(user->arg);
        } else {
            TAILQ_INSERT_TAIL(&budget->paused, user, link);
        }
    }
}

void
budget_set(Budget *budget, BudgetUser *user, size_t bytes)
{
    DS_ASSERT(budget->used >= user->used);
    bool shrinks = bytes < user->used;

    budget->used = budget->used - user->used + bytes;
    user->used = bytes;
    if (shrinks) {
        budget_resume(budget);
    }
}

bool
budget_must_pause(Budget *budget, BudgetUser *user)
{
    if (!budget_is_over(budget, user)) {
        return false;
    }
    if (!user->paused) {
        user->paused = true;
        budget->paused_count++;
        TAILQ_INSERT_TAIL(&budget->paused, user, link);
    }
    return true;
}
