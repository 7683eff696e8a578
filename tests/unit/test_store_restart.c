/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the durable modes bring back: a store is closed and opened again, and everything is as it
 * was.  That nothing is lost when it is not closed is shown by tests/crash and tests/powerloss.
 */
#include <criterion/criterion.h>
#include <sched.h>

#include "common/clock.h"
#include "tests/support/store_modes.h"

#define WAIT_MS 20000

static char text[READ_TEXT_BYTES_MAX];

/* A store that is closed and opened again. */
typedef struct Kept {
    const StoreMode *mode;
    StoreLimits limits;
    Metrics *metrics;
    Store *store;
} Kept;

static void
kept_open(Kept *kept)
{
    kept->metrics = metrics_new();
    kept->store = store_mode_open(kept->mode, &kept->limits, kept->metrics);
}

static void
kept_close(Kept *kept)
{
    store_free(kept->store);
    metrics_free(kept->metrics);
}

static void
reopen(Kept *kept)
{
    kept_close(kept);
    kept_open(kept);
}

static Stream *
find(Kept *kept, const char *name)
{
    Stream *stream = store_find(kept->store, str_c(name));

    cr_assert_not_null(stream, "%s: \"%s\" is gone", kept->mode->name, name);
    return stream;
}

/* A test body that runs on each durable mode. */
#define RESTART_TEST(test)                                                                         \
    static void test##_body(Kept *kept);                                                           \
    Test(store_restart, test)                                                                      \
    {                                                                                              \
        for (size_t i = 0; i < store_modes_count; i++) {                                           \
            Kept kept = {.mode = &store_modes[i], .limits = roomy};                                \
                                                                                                   \
            if (store_modes[i].kind != NULL) {                                                     \
                cr_log_info("%s", store_modes[i].name);                                            \
                kept_open(&kept);                                                                  \
                test##_body(&kept);                                                                \
                kept_close(&kept);                                                                 \
                store_mode_clean();                                                                \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void test##_body(Kept *kept)

/* Reads need the disk from now on, all but the newest bytes. */
static void
wait_until_cold(Kept *kept, Stream *stream)
{
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    ReadVerdict verdict = READ_OK;

    while (verdict != READ_COLD) {
        StoreRead read = {.from_start = true, .bytes_max = 1};

        cr_assert_lt(clock_mono_ms(), deadline_ms, "%s: nothing leaves memory", kept->mode->name);
        verdict = store_read(kept->store, stream, &read);
        if (verdict == READ_OK) {
            range_done(&read.range);
            sched_yield();
        }
    }
}

RESTART_TEST(bytes_messages_and_offsets_are_the_same)
{
    static const uint32_t ends[] = {2, 7, 10};
    Stream *stream = run_create(kept->store, STR("a"));
    StoreOp json = run_create_as(kept->store, STR("j"), STR("application/json"), false);
    uint64_t era = stream->era;
    StreamInfo info;

    run_append(kept->store, stream, STR("hello"));
    run_append_json(kept->store, json.stream, STR("1,[22],33,"), ends, 3);
    stream_drop(stream);
    stream_drop(json.stream);
    for (int round = 0; round < 3; round++) {
        reopen(kept);
        stream = find(kept, "a");
        cr_expect_eq(stream->era, era);
        cr_expect_eq(read_text(kept->store, stream, 0, 100, text), 5 + (uint64_t)round);
        cr_expect_eq(read_text(kept->store, stream, 2, 2, text), 5 + (uint64_t)round);
        cr_expect_eq(run_append(kept->store, stream, STR("!")).next.position, 6 + (uint64_t)round);
        store_stream_info(stream, &info);
        cr_expect_eq(info.messages, 2 + (uint64_t)round);
        cr_expect_eq(info.bytes, 6 + (uint64_t)round);
        stream_drop(stream);

        stream = find(kept, "j");
        cr_expect_eq(read_text(kept->store, stream, 1, 1, text), 3);
        cr_expect_str_eq(text, "[22],33,");
        stream_drop(stream);
        cr_expect_eq(atomic_load(&kept->store->streams), 2);
        cr_expect_eq(atomic_load(&kept->store->bytes), 16 + (uint64_t)round);
    }
}

RESTART_TEST(a_close_is_for_ever)
{
    Stream *stream = run_create(kept->store, STR("a"));
    uint32_t end = 4;
    AppendRequest last = {
        .content_type = STR("text/plain"),
        .payload = {STR("last"), &end, 1},
        .close = true,
        .has_producer = true,
        .producer = {.id = STR("p"), .epoch = 3},
    };
    StoreResult result;

    cr_expect(run_append_request(kept->store, stream, last).closed);
    stream_drop(stream);
    reopen(kept);
    stream = find(kept, "a");
    cr_expect_eq(run_append(kept->store, stream, STR("x")).append, APPEND_CLOSED);
    result = run_append_request(kept->store, stream, last);
    cr_expect_eq(result.append, APPEND_DUPLICATE, "who closed it may repeat that");
    cr_expect(result.closed);
    stream_drop(stream);
}

RESTART_TEST(producers_and_stream_seq_are_remembered)
{
    Stream *stream = run_create(kept->store, STR("a"));
    uint32_t end = 1;
    AppendRequest request = {
        .content_type = STR("text/plain"),
        .payload = {STR("x"), &end, 1},
        .has_seq = true,
        .seq = STR("b"),
        .has_producer = true,
        .producer = {.id = STR("p"), .epoch = 7},
    };

    cr_expect_eq(run_append_request(kept->store, stream, request).append, APPEND_OK);
    stream_drop(stream);
    for (uint64_t seq = 0; seq < 4; seq++) {
        reopen(kept);
        stream = find(kept, "a");
        request.producer.seq = seq;
        cr_expect_eq(run_append_request(kept->store, stream, request).append, APPEND_DUPLICATE);
        request.producer.seq = seq + 2;
        cr_expect_eq(run_append_request(kept->store, stream, request).append, APPEND_GAP);
        request.producer.seq = seq + 1;
        cr_expect_eq(run_append_request(kept->store, stream, request).append, APPEND_SEQ_CONFLICT);
        request.has_seq = false;
        cr_expect_eq(run_append_request(kept->store, stream, request).append, APPEND_OK);
        request.has_seq = true;
        stream_drop(stream);
    }
}

RESTART_TEST(what_was_deleted_stays_deleted)
{
    Stream *first = run_create(kept->store, STR("a"));
    Stream *second;
    uint64_t era = first->era;

    run_append(kept->store, first, STR("old"));
    cr_expect_eq(run_delete(kept->store, first), STORE_DONE);
    stream_drop(first);
    reopen(kept);
    cr_expect_null(store_find(kept->store, STR("a")));
    cr_expect_eq(atomic_load(&kept->store->bytes), 0);
    second = run_create(kept->store, STR("a"));
    cr_expect_gt(second->era, era);
    stream_drop(second);
    reopen(kept);
    second = find(kept, "a");
    cr_expect_eq(read_text(kept->store, second, 0, 100, text), 0);
    stream_drop(second);
}

RESTART_TEST(a_trim_is_kept_and_can_be_repeated_on_what_is_cold)
{
    Stream *stream;
    StoreRead read = {.from = 4, .bytes_max = 100};
    StreamInfo info;

    kept_close(kept);
    store_mode_set_cache(0);
    kept_open(kept);
    stream = run_create(kept->store, STR("a"));
    run_append(kept->store, stream, STR("abcde"));
    run_append(kept->store, stream, STR("fghij"));
    run_append(kept->store, stream, STR("klmno"));
    wait_until_cold(kept, stream);
    cr_expect_eq(run_trim(kept->store, stream, 5).freed_bytes, 5);
    stream_drop(stream);
    reopen(kept);
    stream = find(kept, "a");
    cr_expect_eq(store_read(kept->store, stream, &read), READ_BEFORE_START);
    cr_expect_eq(read_text(kept->store, stream, 5, 3, text), 15);
    cr_expect_str_eq(text, "fghijklmno");
    cr_expect_eq(run_trim(kept->store, stream, 10).freed_bytes, 5);
    store_stream_info(stream, &info);
    cr_expect_eq(info.messages, 1);
    cr_expect_eq(info.bytes, 5);
    run_append(kept->store, stream, STR("p"));
    cr_expect_eq(read_text(kept->store, stream, 10, 100, text), 16);
    cr_expect_str_eq(text, "klmnop");
    cr_expect_eq(atomic_load(&kept->store->bytes), 6);
    stream_drop(stream);
    reopen(kept);
    stream = find(kept, "a");
    cr_expect_eq(read_text(kept->store, stream, 10, 100, text), 16);
    cr_expect_str_eq(text, "klmnop");
    stream_drop(stream);
    store_mode_set_cache(1 << 20);
}

RESTART_TEST(what_left_memory_is_read_from_the_disk)
{
    static char block[1000];
    Stream *stream;
    uint64_t tail = 0;

    kept_close(kept);
    store_mode_set_cache(0);
    kept_open(kept);
    stream = run_create(kept->store, STR("a"));
    for (size_t i = 0; i < 100; i++) {
        memset(block, (int)('a' + i % 26), sizeof(block));
        tail = run_append(kept->store, stream, str_n(block, sizeof(block))).next.position;
    }
    wait_until_cold(kept, stream);
    for (size_t page = 1; page < 300000; page *= 7) {
        uint64_t from = tail - 2 * page % tail;

        cr_expect_eq(read_text(kept->store, stream, from, page, text), tail);
        for (uint64_t i = from; i < tail; i++) {
            cr_assert_eq(text[i - from], 'a' + (int)(i / sizeof(block) % 26), "byte %zu",
                         (size_t)i);
        }
    }
    stream_drop(stream);
    store_mode_set_cache(1 << 20);
}

RESTART_TEST(what_only_waits_for_a_checkpoint_is_not_refused)
{
    static char block[600000]; /* the log has room for eight such */
    Stream *stream = run_create(kept->store, STR("a"));

    memset(block, 'b', sizeof(block));
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(run_append(kept->store, stream, str_n(block, sizeof(block))).verdict,
                     STORE_DONE, "%s: append %d", kept->mode->name, i);
    }
    stream_drop(stream);
}

/* As a request for a fork would: at a position of the parent's. */
static Stream *
fork_at(Kept *kept, const char *name, Stream *parent, uint64_t position)
{
    StoreOp op = run_op(kept->store, (StoreOp){
                                         .kind = STORE_CREATE,
                                         .name = str_c(name),
                                         .config = {.content_type = parent->content_type,
                                                    .ttl_s = STREAM_NEVER,
                                                    .expires_at_ms = STREAM_NEVER},
                                         .fork = {.parent = parent,
                                                  .has_offset = true,
                                                  .offset = stream_offset(parent, position)},
                                     });

    cr_assert_eq(op.result.verdict, STORE_DONE);
    return op.stream;
}

RESTART_TEST(forks_have_their_parents_bytes_again)
{
    Stream *parent = run_create(kept->store, STR("parent"));
    Stream *child;
    Stream *grandchild;

    run_append(kept->store, parent, STR("abcdef"));
    child = fork_at(kept, "child", parent, 4);
    run_append(kept->store, child, STR("XY"));
    grandchild = fork_at(kept, "grandchild", child, 6);
    run_append(kept->store, grandchild, STR("!"));
    run_trim(kept->store, parent, 6);
    cr_expect_eq(run_delete(kept->store, child), STORE_DONE);
    stream_drop(grandchild);
    stream_drop(child);
    stream_drop(parent);

    reopen(kept);
    cr_expect_null(store_find(kept->store, STR("child")), "it is there for its fork alone");
    cr_expect_eq(atomic_load(&kept->store->streams), 3);
    grandchild = find(kept, "grandchild");
    cr_expect_eq(read_text(kept->store, grandchild, 0, 100, text), 7);
    cr_expect_str_eq(text, "abcdXY!");
    cr_expect_eq(run_delete(kept->store, grandchild), STORE_DONE);
    stream_drop(grandchild);
    wait_for_count(&kept->store->streams, 1);
    wait_for_count(&kept->store->bytes, 0);
    reopen(kept);
    cr_expect_eq(atomic_load(&kept->store->streams), 1);
    cr_expect_null(store_find(kept->store, STR("child")));
}

RESTART_TEST(a_ttl_goes_on_and_is_never_shorter)
{
    StoreOp op;
    Stream *stream;
    int64_t window_ms;

    op = run_op(kept->store, (StoreOp){
                                 .kind = STORE_CREATE,
                                 .name = STR("a"),
                                 .config = {.content_type = STR("text/plain"),
                                            .ttl_s = 3600,
                                            .expires_at_ms = STREAM_NEVER},
                             });
    cr_assert_eq(op.result.verdict, STORE_DONE);
    stream_drop(op.stream);
    reopen(kept);
    stream = find(kept, "a");
    cr_expect_eq(stream->ttl_s, 3600);
    window_ms = stream_expiry_ms(stream, clock_boot_ms(), clock_wall_ms()) - clock_wall_ms();
    cr_expect_gt(window_ms, 3590 * 1000);
    cr_expect_leq(window_ms, 3600 * 1000);
    stream_drop(stream);
}

RESTART_TEST(another_mode_or_shard_count_is_refused)
{
    const StoreMode *mode = kept->mode;

    for (size_t i = 0; i < store_modes_count; i++) {
        Metrics *metrics = metrics_new();
        Error err = {0};

        kept_close(kept);
        if (&store_modes[i] != mode && store_modes[i].kind != NULL) {
            cr_expect_null(store_mode_try(&store_modes[i], &roomy, metrics, &err));
            cr_expect_not_null(strstr(err.text, mode->name), "%s", err.text);
        }
        metrics_free(metrics);
        kept_open(kept);
    }
}

RESTART_TEST(a_server_that_runs_keeps_its_directory_to_itself)
{
    Metrics *metrics = metrics_new();
    Error err = {0};

    cr_expect_null(store_mode_try(kept->mode, &roomy, metrics, &err));
    cr_expect_not_null(strstr(err.text, "another ds-server"), "%s", err.text);
    metrics_free(metrics);
}
