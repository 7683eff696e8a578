/* SPDX-License-Identifier: Apache-2.0 */
#include "server/expiry.h"

#include <criterion/criterion.h>

#include "common/clock.h"
#include "common/mem.h"
#include "server/store_memory.h"
#include "tests/support/fake_clock.h"

typedef struct Fixture {
    Metrics *metrics;
    Store *store;
    Expiry *expiry;
} Fixture;

static Fixture
setup(void)
{
    StoreLimits limits = {
        .memory_bytes = 1 << 20,
        .stream_bytes = 1 << 20,
        .streams = 100000,
        .producers_per_stream = 4,
    };
    Fixture fixture;

    clock_set_source(&fake_clock);
    fixture.metrics = metrics_new();
    fixture.store = store_memory_new(&limits, fixture.metrics);
    fixture.expiry = expiry_new(fixture.store, fixture.metrics);
    return fixture;
}

static void
teardown(Fixture *fixture)
{
    expiry_free(fixture->expiry);
    store_free(fixture->store);
    metrics_free(fixture->metrics);
}

static void
created(StoreOp *op)
{
    cr_assert_eq(op->result.verdict, STORE_DONE);
    stream_drop(op->stream);
}

static void
create(Store *store, size_t number, int64_t ttl_s)
{
    char name[32];
    StoreOp op = {
        .kind = STORE_CREATE,
        .done = created,
        .config = {.content_type = STR("a/b"), .ttl_s = ttl_s, .expires_at_ms = STREAM_NEVER},
    };

    snprintf(name, sizeof(name), "s%zu", number);
    op.name = str_c(name);
    store_submit(store, &op);
}

static void
pass(int64_t ms)
{
    boot_ms += ms;
    wall_ms += ms;
}

Test(expiry, removes_the_expired_and_nothing_else)
{
    Fixture f = setup();

    for (size_t i = 0; i < 100; i++) {
        create(f.store, i, i % 2 == 0 ? 10 : STREAM_NEVER);
    }
    pass(9999);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 100);
    pass(1);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 50);
    teardown(&f);
}

Test(expiry, waits_after_a_jump_of_the_wall_clock)
{
    Fixture f = setup();

    create(f.store, 0, 10);
    boot_ms += 10000;
    wall_ms += 10000 + EXPIRY_JUMP_MS + 1;
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 1);
    pass(EXPIRY_JUMP_PAUSE_MS - 1);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 1);
    pass(1);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 0);
    teardown(&f);
}

Test(expiry, waits_once_when_very_many_are_due_and_then_goes_on)
{
    enum { STREAMS = 3 * EXPIRY_REMOVE_MAX };
    Fixture f = setup();

    for (size_t i = 0; i < STREAMS; i++) {
        create(f.store, i, 10);
    }
    pass(10000);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), STREAMS);
    pass(EXPIRY_BULK_PAUSE_MS);
    for (size_t left = STREAMS; left > 0; left -= EXPIRY_REMOVE_MAX) {
        cr_expect_eq(atomic_load(&f.store->streams), left, "a tick removes a bounded number");
        expiry_tick(f.expiry);
    }
    cr_expect_eq(atomic_load(&f.store->streams), 0);
    teardown(&f);
}

Test(expiry, a_few_due_at_once_are_nothing_unusual)
{
    Fixture f = setup();

    for (size_t i = 0; i < EXPIRY_BULK_MIN - 1; i++) {
        create(f.store, i, 10);
    }
    pass(10000);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 0);
    teardown(&f);
}

static Stream *
find(Store *store, const char *name)
{
    Stream *stream = registry_find(store->registry, str_c(name));

    cr_assert_not_null(stream);
    stream_drop(stream); /* the registry has it, and nobody takes it out meanwhile */
    return stream;
}

static void
create_fork(Store *store, Stream *parent, size_t number, int64_t ttl_s)
{
    char name[32];
    StoreOp op = {
        .kind = STORE_CREATE,
        .done = created,
        .config = {.content_type = STR("a/b"), .ttl_s = ttl_s, .expires_at_ms = STREAM_NEVER},
        .fork = {.parent = parent},
    };

    snprintf(name, sizeof(name), "s%zu", number);
    op.name = str_c(name);
    store_submit(store, &op);
}

Test(expiry, keeps_what_has_forks_until_they_are_gone)
{
    Fixture f = setup();
    Stream *found[2];
    size_t scanned;

    create(f.store, 0, 10);
    create_fork(f.store, find(f.store, "s0"), 1, 20);
    pass(10000);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 2);
    cr_expect(atomic_load(&find(f.store, "s0")->soft_deleted));
    cr_expect_eq(registry_find_expired(f.store->registry, 100, found, 2, &scanned), 0,
                 "it is deleted once");
    pass(10000);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 0, "the fork takes it along");
    teardown(&f);
}

Test(expiry, of_a_whole_chain_of_forks_at_once_leaves_nothing)
{
    enum { DEPTH = FORK_DEPTH_MAX };
    Fixture f = setup();
    char name[32];

    create(f.store, 0, 10);
    for (size_t i = 1; i <= DEPTH; i++) {
        snprintf(name, sizeof(name), "s%zu", i - 1);
        create_fork(f.store, find(f.store, name), i, 10);
    }
    pass(10000);
    expiry_tick(f.expiry);
    cr_expect_eq(atomic_load(&f.store->streams), 0);
    teardown(&f);
}
