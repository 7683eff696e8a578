/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wake.h"

#include <criterion/criterion.h>

/* Instead of the engine's: the posted calls wait here until the test runs them. */
#define POSTS_MAX 16

static struct {
    NetLoop *loop;
    LoopFn fn;
    void *arg;
} posts[POSTS_MAX];
static size_t post_count;

void
net_loop_post(NetLoop *loop, LoopFn fn, void *arg)
{
    cr_assert_lt(post_count, POSTS_MAX);
    posts[post_count].loop = loop;
    posts[post_count].fn = fn;
    posts[post_count++].arg = arg;
}

static void
run_posts(void)
{
    size_t count = post_count;

    post_count = 0;
    for (size_t i = 0; i < count; i++) {
        posts[i].fn(posts[i].arg);
    }
}

static char loops[2];

static NetLoop *
loop(size_t i)
{
    return (NetLoop *)(void *)&loops[i];
}

typedef struct Reader {
    Waiter waiter;
    unsigned woken;
    struct Reader *takes_along; /* leaves together with it */
    bool leaves;
} Reader;

static void
on_wake(Waiter *waiter)
{
    Reader *reader = DS_CONTAINER_OF(waiter, Reader, waiter);

    reader->woken++;
    if (reader->leaves) {
        wake_leave(waiter);
    }
    if (reader->takes_along != NULL) {
        wake_leave(&reader->takes_along->waiter);
    }
}

static void
join(WakeSource *source, size_t at, Reader *reader)
{
    reader->waiter.on_wake = on_wake;
    wake_join(source, loop(at), &reader->waiter);
}

Test(wake, many_changes_are_one_call_per_loop)
{
    WakeSource source = {0};
    Reader a = {0};
    Reader b = {0};
    Reader c = {0};

    join(&source, 0, &a);
    join(&source, 0, &b);
    join(&source, 1, &c);
    wake_all(&source);
    wake_all(&source);
    wake_all(&source);
    cr_expect_eq(post_count, 2);
    cr_expect_eq(a.woken, 0, "nobody is woken on a foreign thread");
    run_posts();
    cr_expect_eq(a.woken, 1);
    cr_expect_eq(b.woken, 1);
    cr_expect_eq(c.woken, 1);
    wake_all(&source);
    cr_expect_eq(post_count, 2, "after the call a change posts again");
    run_posts();
    wake_leave(&a.waiter);
    wake_leave(&b.waiter);
    wake_leave(&c.waiter);
    wake_source_done(&source);
}

Test(wake, nobody_waiting_costs_no_call)
{
    WakeSource source = {0};
    Reader a = {0};

    wake_all(&source);
    join(&source, 0, &a);
    wake_leave(&a.waiter);
    wake_leave(&a.waiter);
    wake_all(&source);
    cr_expect_eq(post_count, 0);
    wake_source_done(&source);
}

Test(wake, waiters_may_leave_with_each_other_while_woken)
{
    WakeSource source = {0};
    Reader readers[4] = {0};

    for (size_t i = 0; i < DS_COUNT(readers); i++) {
        readers[i].leaves = true;
        readers[i].takes_along = &readers[DS_COUNT(readers) - 1 - i];
        join(&source, 0, &readers[i]);
    }
    wake_all(&source);
    run_posts();
    cr_expect_eq(readers[0].woken + readers[3].woken, 1);
    cr_expect_eq(readers[1].woken + readers[2].woken, 1);
    wake_source_done(&source);
}

Test(wake, a_call_outlives_its_source)
{
    WakeSource source = {0};
    Reader a = {0};

    join(&source, 0, &a);
    wake_all(&source);
    wake_leave(&a.waiter);
    wake_source_done(&source);
    run_posts();
    cr_expect_eq(a.woken, 0);
}

/* Those in front are not asked again before everybody was. */
Test(wake, many_waiters_are_visited_over_several_calls_in_the_order_they_came)
{
    enum { COUNT = 2 * WAKE_VISITS_AT_ONCE + 1 };
    static Reader readers[COUNT];
    WakeSource source = {0};

    for (size_t i = 0; i < COUNT; i++) {
        join(&source, 0, &readers[i]);
    }
    wake_all(&source);
    run_posts();
    cr_expect_eq(readers[WAKE_VISITS_AT_ONCE - 1].woken, 1);
    cr_expect_eq(readers[WAKE_VISITS_AT_ONCE].woken, 0);
    wake_all(&source); /* another change, in the middle of the round */
    cr_expect_eq(post_count, 1);
    run_posts();
    run_posts();
    for (size_t i = 0; i < COUNT; i++) {
        cr_expect_eq(readers[i].woken, 1, "reader %zu", i);
    }
    while (post_count > 0) {
        run_posts();
    }
    for (size_t i = 0; i < COUNT; i++) {
        cr_expect_eq(readers[i].woken, 2, "reader %zu", i);
        wake_leave(&readers[i].waiter);
    }
    wake_source_done(&source);
}

Test(wake, nobody_is_left_out_when_others_leave_and_come_in_the_middle_of_a_round)
{
    enum { COUNT = 2 * WAKE_VISITS_AT_ONCE };
    static Reader readers[COUNT];
    Reader late = {0};
    WakeSource source = {0};

    for (size_t i = 0; i < COUNT; i++) {
        join(&source, 0, &readers[i]);
    }
    wake_all(&source);
    run_posts();
    wake_leave(&readers[0].waiter);         /* was visited */
    wake_leave(&readers[COUNT - 1].waiter); /* was not */
    join(&source, 0, &late);
    while (post_count > 0) {
        run_posts();
    }
    for (size_t i = 1; i + 1 < COUNT; i++) {
        cr_expect_geq(readers[i].woken, 1, "reader %zu", i);
        wake_leave(&readers[i].waiter);
    }
    cr_expect_eq(readers[COUNT - 1].woken, 0);
    wake_leave(&late.waiter);
    wake_source_done(&source);
}
