/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wake.h"

#include "common/mem.h"

typedef TAILQ_HEAD(WaiterQueue, Waiter) WaiterQueue;

struct WakeGroup {
    WakeGroup *next;
    NetLoop *loop;
    WaiterQueue
        waiters; /* who is visited goes to the end, so those still to be visited are in front */
    size_t left; /* at most that many are still to be visited for the last change */
    atomic_size_t waiting;
    atomic_bool changed; /* since a round of visits was begun */
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
        TAILQ_INIT(&group->waiters);
        atomic_init(&group->refs, 1);
        group->next = source->groups;
        source->groups = group;
    }
    TAILQ_INSERT_TAIL(&group->waiters, waiter, entry);
    atomic_fetch_add(&group->waiting, 1);
    waiter->group = group;
}

void
wake_leave(Waiter *waiter)
{
    if (waiter->group != NULL) {
        TAILQ_REMOVE(&waiter->group->waiters, waiter, entry);
        atomic_fetch_sub(&waiter->group->waiting, 1);
        waiter->group = NULL;
    }
}

/* A waiter may leave, or free itself or any other, or join; so nobody is remembered from one visit
 * to the next.  Who left unvisited makes `left` too large by one: then somebody is visited twice.
 */
static void
visit_some(WakeGroup *group)
{
    for (int i = 0; i < WAKE_VISITS_AT_ONCE && group->left > 0; i++) {
        Waiter *waiter = TAILQ_FIRST(&group->waiters);

        if (waiter == NULL) {
            group->left = 0;
            break;
        }
        group->left--;
        TAILQ_REMOVE(&group->waiters, waiter, entry);
        TAILQ_INSERT_TAIL(&group->waiters, waiter, entry);
        waiter->on_wake(waiter);
    }
}

/* On the group's loop, with a reference to it.  Posts itself until all are visited. */
static void
group_visit(void *arg)
{
    WakeGroup *group = arg;

    if (group->left == 0 && atomic_exchange(&group->changed, false)) {
        group->left = atomic_load(&group->waiting);
    }
    visit_some(group);
    if (group->left == 0) {
        atomic_store(&group->posted, false);
        if (!atomic_load(&group->changed) || atomic_exchange(&group->posted, true)) {
            group_drop(group);
            return;
        }
    }
    net_loop_post(group->loop, group_visit, group);
}

void
wake_all(WakeSource *source)
{
    for (WakeGroup *group = source->groups; group != NULL; group = group->next) {
        if (atomic_load(&group->waiting) == 0) {
            continue;
        }
        atomic_store(&group->changed, true);
        if (!atomic_exchange(&group->posted, true)) {
            atomic_fetch_add_explicit(&group->refs, 1, memory_order_relaxed);
            net_loop_post(group->loop, group_visit, group);
        }
    }
}
