/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wake.h"

#include "common/mem.h"

LIST_HEAD(WaiterList, Waiter);

struct WakeGroup {
    WakeGroup *next;
    NetLoop *loop;
    struct WaiterList waiters;
    atomic_size_t waiting;
    atomic_bool posted;
    atomic_uint refs; /* the source, and the posted call */
};

static void
group_drop(WakeGroup *group)
{
    if (atomic_fetch_sub_explicit(&group->refs, 1, memory_order_acq_rel) == 1) {
        free(group);
    }
}

void
wake_source_done(WakeSource *source)
{
    while (source->groups != NULL) {
        WakeGroup *group = source->groups;

        source->groups = group->next;
        DS_ASSERT(atomic_load(&group->waiting) == 0);
        group_drop(group);
    }
}

void
wake_join(WakeSource *source, NetLoop *loop, Waiter *waiter)
{
    WakeGroup *group = source->groups;

    DS_ASSERT(waiter->group == NULL);
    while (group != NULL && group->loop != loop) {
        group = group->next;
    }
    if (group == NULL) {
        group = mem_zalloc(sizeof(*group));
        group->loop = loop;
        LIST_INIT(&group->waiters);
        atomic_init(&group->refs, 1);
        group->next = source->groups;
        source->groups = group;
    }
    LIST_INSERT_HEAD(&group->waiters, waiter, entry);
    atomic_fetch_add(&group->waiting, 1);
    waiter->group = group;
}

void
wake_leave(Waiter *waiter)
{
    if (waiter->group != NULL) {
        LIST_REMOVE(waiter, entry);
        atomic_fetch_sub(&waiter->group->waiting, 1);
        waiter->group = NULL;
    }
}

/* On the group's loop.  A waiter may leave or free itself or any other, so those still to be
 * visited stand in a list of their own, which needs no head to be unlinked from. */
static void
group_visit(void *arg)
{
    WakeGroup *group = arg;
    struct WaiterList left = LIST_HEAD_INITIALIZER(left);
    Waiter *waiter;

    atomic_store(&group->posted, false);
    LIST_SWAP(&group->waiters, &left, Waiter, entry);
    while ((waiter = LIST_FIRST(&left)) != NULL) {
        LIST_REMOVE(waiter, entry);
        LIST_INSERT_HEAD(&group->waiters, waiter, entry);
        waiter->on_wake(waiter);
    }
    group_drop(group);
}

void
wake_all(WakeSource *source)
{
    for (WakeGroup *group = source->groups; group != NULL; group = group->next) {
        if (atomic_load(&group->waiting) > 0 && !atomic_exchange(&group->posted, true)) {
            atomic_fetch_add_explicit(&group->refs, 1, memory_order_relaxed);
            net_loop_post(group->loop, group_visit, group);
        }
    }
}
