/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry.h"

#include <criterion/criterion.h>

#include "common/clock.h"
#include "common/mem.h"

static int64_t boot_ms = 1000000;
static unsigned alive;

static int64_t
fake_ns(void)
{
    return boot_ms * 1000000;
}

static const ClockSource fake_clock = {.mono_ns = fake_ns, .boot_ns = fake_ns, .wall_ns = fake_ns};

static void
free_stream(Stream *stream)
{
    stream_done(stream);
    free(stream);
    alive--;
}

static Journal *
the_journal(void)
{
    static Journal *journal;

    if (journal == NULL) {
        journal = journal_new();
    }
    return journal;
}

static Registry *
start(void)
{
    clock_set_source(&fake_clock);
    return registry_new(the_journal());
}

static Stream *
new_stream(const char *name, int64_t ttl_s)
{
    StreamConfig config = {
        .content_type = STR("text/plain"),
        .ttl_s = ttl_s,
        .expires_at_ms = STREAM_NEVER,
    };
    Stream *stream = mem_zalloc(sizeof(*stream));

    stream_init(stream, str_c(name), &config, free_stream);
    alive++;
    return stream;
}

static Stream *
insert(Registry *registry, const char *name, int64_t ttl_s)
{
    Stream *stream = new_stream(name, ttl_s);
    Stream *other;
    Stream *expired;

    cr_assert(registry_insert(registry, stream, &other, &expired));
    stream_drop(expired);
    stream_drop(stream);
    return stream;
}

static void
expect_list(Registry *registry, Str prefix, Str after, size_t limit, const char *names)
{
    Stream *found[64];
    size_t count = registry_list(registry, FORK_ALIVE, prefix, after, found, limit);
    char joined[1024] = "";
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        len +=
            (size_t)snprintf(joined + len, sizeof(joined) - len, "%.*s ", STR_ARG(found[i]->name));
        stream_drop(found[i]);
    }
    cr_expect_str_eq(joined, names);
}

Test(registry, finds_what_was_inserted_and_not_removed)
{
    enum { STREAMS = 5000 };
    static Stream *streams[STREAMS];
    Registry *registry = start();
    char name[32];

    for (size_t i = 0; i < STREAMS; i++) {
        snprintf(name, sizeof(name), "stream/%zu", i);
        streams[i] = insert(registry, name, STREAM_NEVER);
    }
    for (size_t i = 0; i < STREAMS; i += 2) {
        cr_assert(registry_remove(registry, streams[i]));
        stream_drop(streams[i]);
    }
    for (size_t i = 0; i < STREAMS; i++) {
        Stream *found;

        snprintf(name, sizeof(name), "stream/%zu", i);
        found = registry_find(registry, str_c(name));
        cr_assert_eq(found, i % 2 == 0 ? NULL : streams[i]);
        stream_drop(found);
    }
    registry_free(registry);
    cr_expect_eq(alive, 0);
}

Test(registry, a_taken_name_is_refused)
{
    Registry *registry = start();
    Stream *first = insert(registry, "a", STREAM_NEVER);
    Stream *second = new_stream("a", STREAM_NEVER);
    Stream *other;
    Stream *expired;

    cr_expect_not(registry_insert(registry, second, &other, &expired));
    cr_expect_eq(other, first);
    cr_expect_null(expired);
    stream_drop(other);
    stream_drop(second);
    registry_free(registry);
    cr_expect_eq(alive, 0);
}

Test(registry, the_era_rises_with_each_creation_and_over_a_restart)
{
    Registry *registry = start();
    uint64_t last = 0;

    for (int i = 0; i < 100; i++) {
        Stream *stream = insert(registry, "a", STREAM_NEVER);

        cr_assert_gt(stream->era, last);
        last = stream->era;
        cr_assert(registry_remove(registry, stream));
        stream_drop(stream);
    }
    registry_free(registry);
    boot_ms += 1;
    registry = start();
    cr_expect_gt(insert(registry, "a", STREAM_NEVER)->era, last);
    registry_free(registry);
}

Test(registry, the_era_is_another_when_the_clock_begins_again)
{
    enum { STARTS = 8 };
    uint64_t eras[STARTS];
    size_t same = 0;

    for (size_t i = 0; i < STARTS; i++) {
        Registry *registry = start();

        eras[i] = insert(registry, "a", STREAM_NEVER)->era;
        same += i > 0 && eras[i] == eras[0];
        registry_free(registry);
    }
    cr_expect_lt(same, STARTS - 1, "an offset of an earlier run would be taken for one of this");
}

Test(registry, lists_in_order_by_prefix_and_in_pages)
{
    static const char *const names[] = {"b", "a/2", "a/1", "a", "a/10", "ab", "c/x"};
    Registry *registry = registry_new(the_journal());

    for (size_t i = 0; i < DS_COUNT(names); i++) {
        insert(registry, names[i], STREAM_NEVER);
    }
    expect_list(registry, STR(""), STR(""), 64, "a a/1 a/10 a/2 ab b c/x ");
    expect_list(registry, STR("a/"), STR(""), 64, "a/1 a/10 a/2 ");
    expect_list(registry, STR(""), STR(""), 3, "a a/1 a/10 ");
    expect_list(registry, STR(""), STR("a/10"), 3, "a/2 ab b ");
    expect_list(registry, STR("a/"), STR("a/1"), 64, "a/10 a/2 ");
    expect_list(registry, STR("a/"), STR("b"), 64, "");
    expect_list(registry, STR("b"), STR("a"), 64, "b ");
    expect_list(registry, STR("x"), STR(""), 64, "");
    registry_free(registry);
    cr_expect_eq(alive, 0);
}

Test(registry, an_expired_stream_is_not_found_and_its_name_free)
{
    Registry *registry = start();
    Stream *first = insert(registry, "a", 10);
    Stream *second;
    Stream *other;
    Stream *expired;

    boot_ms += 9999;
    other = registry_find(registry, STR("a"));
    cr_expect_eq(other, first);
    stream_drop(other);
    boot_ms += 1;
    cr_expect_null(registry_find(registry, STR("a")));
    expect_list(registry, STR(""), STR(""), 64, "");
    second = new_stream("a", 10);
    cr_expect(registry_insert(registry, second, &other, &expired));
    cr_expect_null(other);
    cr_expect_eq(expired, first);
    stream_drop(expired);
    stream_drop(second);
    registry_free(registry);
    cr_expect_eq(alive, 0);
}

Test(registry, a_sweep_finds_every_expired_stream_in_bounded_steps)
{
    enum { STREAMS = 1000, STEP = 64 };
    Registry *registry = start();
    Stream *found[STEP];
    size_t total = 0;
    size_t steps = 0;
    char name[32];

    for (size_t i = 0; i < STREAMS; i++) {
        snprintf(name, sizeof(name), "s%zu", i);
        insert(registry, name, i % 4 == 0 ? 10 : i % 4 == 1 ? 1000 : STREAM_NEVER);
    }
    boot_ms += 10000;
    while (total < STREAMS / 4) {
        size_t scanned;
        size_t count = registry_find_expired(registry, STEP, found, STEP, &scanned);

        cr_assert_leq(scanned, STEP);
        cr_assert_lt(++steps, 100, "the sweep does not come round");
        for (size_t i = 0; i < count; i++) {
            cr_assert_eq(found[i]->ttl_s, 10);
            if (registry_remove(registry, found[i])) {
                total++;
                stream_drop(found[i]);
            }
            stream_drop(found[i]);
        }
    }
    registry_free(registry);
    cr_expect_eq(alive, 0);
}

Test(registry, a_stream_keeps_the_era_and_the_id_that_it_comes_with)
{
    Registry *registry = start();
    Stream *loaded = new_stream("loaded", STREAM_NEVER);
    Stream *old = new_stream("old", STREAM_NEVER);
    Stream *fresh;
    Stream *other;
    Stream *expired;

    loaded->era = 7;
    loaded->id = 5;
    cr_assert(registry_insert(registry, loaded, &other, &expired));
    cr_expect_eq(loaded->era, 7);
    cr_expect_eq(loaded->id, 5);
    old->id = registry_draw(registry);
    cr_assert(registry_insert(registry, old, &other, &expired));
    cr_expect_gt(old->era, old->id);
    fresh = insert(registry, "fresh", STREAM_NEVER);
    cr_expect_gt(fresh->era, old->era);
    cr_expect_eq(fresh->id, fresh->era);
    stream_drop(loaded);
    stream_drop(old);
    registry_free(registry);
    cr_expect_eq(alive, 0);
}

Test(registry, numbers_rise_over_what_was_found_and_never_go_back)
{
    Registry *registry = start();
    uint64_t first = registry_draw(registry);

    registry_raise(registry, first + 1000);
    cr_expect_eq(registry_draw(registry), first + 1001);
    registry_raise(registry, first);
    cr_expect_eq(registry_draw(registry), first + 1002);
    registry_free(registry);
}
