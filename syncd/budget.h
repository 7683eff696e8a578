/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/budget.h -- how much may be read and not yet committed: of one stream, and of all together.
 *
 * Beyond a limit the stream's transfer is paused; below three quarters (all) and half (one) it goes
 * on. What one read holds in buffers when it is paused comes on top: one event of each stream, and
 * at most UNIT_LINES_BYTES_MAX of lines made of it.  Pure.
 */
#pragma once

#include <sys/queue.h>

#include "common/base.h"

typedef struct BudgetUser {
    TAILQ_ENTRY(BudgetUser) link; /* while paused */
    size_t used;
    bool paused;
    void *arg;
} BudgetUser;

typedef struct Budget {
    size_t bytes_max;
    size_t user_bytes_max;
    size_t used;
    TAILQ_HEAD(, BudgetUser) paused;
    size_t paused_count;
    void (*on_resume)(void *arg); /* of a user that was paused; it is no longer */
} Budget;

void budget_init(Budget *budget, size_t bytes_max, size_t user_bytes_max,
                 void (*on_resume)(void *arg));
/* Says what the user holds now.  May resume others, or this one, from inside. */
void budget_set(Budget *budget, BudgetUser *user, size_t bytes);
/* True when the user must pause; it is resumed through on_resume. */
bool budget_must_pause(Budget *budget, BudgetUser *user);
void budget_forget(Budget *budget, BudgetUser *user); /* no longer waits to be resumed */
