/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_model_internal.h -- what subs_model.c (what there is) and subs_wake.c (wakes, leases,
 * acks) share.
 */
#pragma once

#include "server/subs_model.h"

RB_HEAD(SubsById, Subscription);
RB_HEAD(SubsByDue, Subscription);
RB_HEAD(SubsByPath, SubsStream);
TAILQ_HEAD(SubsReady, Subscription);

struct SubsModel {
    SubsLimits limits;
    uint32_t (*random)(uint32_t bound);
    struct SubsById subscriptions;
    struct SubsByDue due;
    struct SubsByPath streams;
    struct SubsReady ready[2]; /* by SubsType */
    size_t count;
    size_t links;
    uint64_t serial;
    int64_t last_ms; /* the latest time that was told */
    SubsChanges changes;
};

RB_PROTOTYPE(SubsByDue, Subscription, by_due, subs_due_cmp)

/* Records it to be stored. */
void subs_note_state(SubsModel *model, Subscription *subscription);
void subs_note_link(SubsModel *model, SubsLink *link);

/* After the cursor or the tail moved. */
void subs_link_refresh(SubsLink *link);
/* After the count of pending links may have changed. */
void subs_consider(SubsModel *model, Subscription *subscription, int64_t now_ms);
/* Out of the lists of wakes, for good. */
void subs_forget_wake(SubsModel *model, Subscription *subscription);
