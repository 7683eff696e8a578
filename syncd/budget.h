/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/budget.h -- how much may be read and not yet committed: of one stream, and of all together.
 *
 * Beyond a limit the stream's transfer is paused; below three quarters (all) and half (one) it goes
 * on.  Whoever is behind the end of its stream reads on a loan, which counts like bytes: so only as
 * many are resumed at a time as what they bring will fit in, first come, first served, and one at
 * least.  A loan ends with the pause, at the end of the stream, when nothing came for a while, or
 * when it brought something and others wait.
 *
 * What comes on top: of a unit the bytes beyond a loan, and of each stream that gets something
 * after it was at its end what one read brings before it can be paused: HTTP_READ_BYTES_MAX.  Pure.
 */
#pragma once

#include <sys/queue.h>

#include "common/base.h"

#define BUDGET_LOAN_BYTES_MAX (1u << 20) /* a data event of ds-server with its lines is less */
#define BUDGET_LOANS_MIN      8          /* in a budget */
#define BUDGET_LOOK_MS        1000       /* between two calls of budget_end_loans */

typedef struct BudgetUser {
    TAILQ_ENTRY(BudgetUser) link; /* while paused */
    TAILQ_ENTRY(BudgetUser) loan_link;
    size_t used;
    bool paused;
    bool behind; /* while paused: needs a loan to go on */
    bool has_loan;
    bool has_read;    /* since loans were last looked at */
    bool has_brought; /* since it has its loan */
    void *arg;
} BudgetUser;

typedef TAILQ_HEAD(BudgetUsers, BudgetUser) BudgetUsers;

typedef struct Budget {
    size_t bytes_max;
    size_t user_bytes_max;
    size_t loan_bytes;
    size_t used;
    BudgetUsers paused;
    size_t paused_count;
    BudgetUsers loans;
    size_t loan_count;
    bool resuming;
    bool closed;
    void (*on_resume)(void *arg); /* of a user that was paused; it is no longer */
} Budget;

void budget_init(Budget *budget, size_t bytes_max, size_t user_bytes_max,
                 void (*on_resume)(void *arg));
/* Says what the user holds now.  May resume others, or this one, from inside. */
void budget_set(Budget *budget, BudgetUser *user, size_t bytes);
/* To be asked when an answer begins and after each piece of it; behind: more is known to come. True
 * when the user must pause; it is resumed through on_resume.  May resume others from inside. */
bool budget_must_pause(Budget *budget, BudgetUser *user, bool behind);
/* It reads no more: it no longer waits to be resumed and has no loan.  Resumes nobody. */
void budget_forget(Budget *budget, BudgetUser *user);
void budget_close(Budget *budget); /* resumes nobody any more */
void budget_go_on(Budget *budget); /* resumes whoever may go on, after others were forgotten */
/* Every now and then: whoever read nothing since the last time has no use for its loan. */
void budget_end_loans(Budget *budget);
