/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/budget.h"

void
budget_init(Budget *budget, size_t bytes_max, size_t user_bytes_max, void (*on_resume)(void *arg))
{
    *budget =
        (Budget){.bytes_max = bytes_max,
                 .user_bytes_max = user_bytes_max,
                 .loan_bytes = DS_MIN(bytes_max / BUDGET_LOANS_MIN, (size_t)BUDGET_LOAN_BYTES_MAX),
                 .on_resume = on_resume};
    TAILQ_INIT(&budget->paused);
    TAILQ_INIT(&budget->loans);
}

/* With so many loans. */
static size_t
budget_total(const Budget *budget, size_t loans)
{
    return budget->used + loans * budget->loan_bytes;
}

/* Well below the limit, so that a resumed transfer is not paused again at once. */
static bool
budget_is_eased(const Budget *budget)
{
    return budget->used <= budget->bytes_max / 4 * 3;
}

/* One may always read, or nobody ever would. */
static bool
budget_may_lend(const Budget *budget)
{
    return budget->loan_count == 0
               ? budget_is_eased(budget)
               : budget_total(budget, budget->loan_count + 1) <= budget->bytes_max / 4 * 3;
}

static void
budget_lend(Budget *budget, BudgetUser *user)
{
    user->has_loan = true;
    user->has_read = true;
    user->has_brought = false;
    budget->loan_count++;
    TAILQ_INSERT_TAIL(&budget->loans, user, loan_link);
}

static void
budget_take_back(Budget *budget, BudgetUser *user)
{
    if (user->has_loan) {
        user->has_loan = false;
        budget->loan_count--;
        TAILQ_REMOVE(&budget->loans, user, loan_link);
    }
}

static void
budget_unpause(Budget *budget, BudgetUser *user)
{
    if (user->paused) {
        user->paused = false;
        budget->paused_count--;
        TAILQ_REMOVE(&budget->paused, user, link);
    }
}

void
budget_forget(Budget *budget, BudgetUser *user)
{
    budget_unpause(budget, user);
    budget_take_back(budget, user);
}

/* Whoever resumes may fill its queue from inside the callback and pause again, at the list's end:
 * each user is looked at once.  It may as well give its loan back, which would resume the next one
 * from inside, and so on. */
void
budget_go_on(Budget *budget)
{
    size_t count = budget->resuming || budget->closed ? 0 : budget->paused_count;

    while (count > 0 && !TAILQ_EMPTY(&budget->paused)) {
        BudgetUser *user = TAILQ_FIRST(&budget->paused);

        count--;
        if (!budget_is_eased(budget) || (user->behind && !budget_may_lend(budget))) {
            break;
        }
        if (user->used > budget->user_bytes_max / 2) {
            TAILQ_REMOVE(&budget->paused, user, link);
            TAILQ_INSERT_TAIL(&budget->paused, user, link);
            continue;
        }
        budget_unpause(budget, user);
        if (user->behind) {
            budget_lend(budget, user);
        }
        budget->resuming = true;
        budget->on_resume(user->arg);
        budget->resuming = false;
    }
}

void
budget_set(Budget *budget, BudgetUser *user, size_t bytes)
{
    DS_ASSERT(budget->used >= user->used);
    bool shrinks = bytes < user->used;

    budget->used = budget->used - user->used + bytes;
    user->used = bytes;
    user->has_brought = user->has_brought || !shrinks;
    if (shrinks) {
        budget_go_on(budget);
    }
}

static bool
budget_is_over(const Budget *budget, const BudgetUser *user, bool behind)
{
    if (user->used >= budget->user_bytes_max || budget->used >= budget->bytes_max) {
        return true;
    }
    if (!behind) {
        return false; /* what comes now and then waits for nobody's backlog */
    }
    return user->has_loan ? budget_total(budget, budget->loan_count) > budget->bytes_max ||
                                (user->has_brought && budget->paused_count > 0)
                          : !budget_may_lend(budget);
}

/* Whoever gets its loan is resumed before it stands in line itself. */
static void
budget_pause(Budget *budget, BudgetUser *user, bool behind)
{
    if (user->has_loan) {
        budget_take_back(budget, user);
        budget_go_on(budget);
    }
    user->behind = behind;
    user->paused = true;
    budget->paused_count++;
    TAILQ_INSERT_TAIL(&budget->paused, user, link);
}

bool
budget_must_pause(Budget *budget, BudgetUser *user, bool behind)
{
    user->has_read = true;
    if (user->paused) {
        user->behind = behind; /* more of what was under way */
        return true;
    }
    if (budget_is_over(budget, user, behind)) {
        budget_pause(budget, user, behind);
        return true;
    }
    if (behind && !user->has_loan) {
        budget_lend(budget, user);
    } else if (!behind && user->has_loan) {
        budget_take_back(budget, user);
        budget_go_on(budget);
    }
    return false;
}

void
budget_close(Budget *budget)
{
    budget->closed = true;
}

void
budget_end_loans(Budget *budget)
{
    BudgetUser *user;
    BudgetUser *next;

    for (user = TAILQ_FIRST(&budget->loans); user != NULL; user = next) {
        next = TAILQ_NEXT(user, loan_link);
        if (!user->has_read) {
            budget_take_back(budget, user);
        }
        user->has_read = false;
    }
    budget_go_on(budget);
}
