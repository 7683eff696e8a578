/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shards' own rules, on a backend that keeps nothing and does what the test says.
 */
#include "server/shard.h"

#include <criterion/criterion.h>
#include <sched.h>

#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/store_modes.h"
#include "tests/support/temp_dir.h"

#define WAIT_MS 20000

static const StoreLimits limits = {
    .memory_bytes = 1 << 20,
    .stream_bytes = 1 << 20,
    .streams = 100,
    .producers_per_stream = 2,
};

/* ---- the backend ---- */

static atomic_bool is_full;    /* commits find no room */
static atomic_bool is_blocked; /* commits wait */
static atomic_uint commits;    /* begun */
static atomic_uint held;       /* that were worth a second try */
static atomic_bool may_hold;
static atomic_size_t last_count; /* changes of the last commit */

static bool
fake_load(Backend *backend DS_UNUSED, ShardLoad *load DS_UNUSED, Error *err DS_UNUSED)
{
    return true;
}

static bool
fake_commit(Backend *backend DS_UNUSED, const Change *changes DS_UNUSED, size_t count, Error *err)
{
    atomic_fetch_add(&commits, 1);
    while (atomic_load(&is_blocked)) {
        sched_yield();
    }
    atomic_store(&last_count, count);
    return !atomic_load(&is_full) || error_set(err, ERR_FULL, "no room");
}

static bool
fake_hold_for_room(Backend *backend DS_UNUSED)
{
    if (atomic_load(&may_hold)) {
        atomic_fetch_add(&held, 1);
        return true;
    }
    return false;
}

static void
fake_published(Backend *backend DS_UNUSED, const Change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ShardStream *stream = changes[i].stream;

        pthread_mutex_lock(&stream->base.lock);
        stream->kept_to = stream->base.view.tail;
        pthread_mutex_unlock(&stream->base.lock);
    }
}

static bool
fake_close(Backend *backend DS_UNUSED, Error *err DS_UNUSED)
{
    return true;
}

static void
fake_free(Backend *backend)
{
    free(backend);
}

static bool
fake_open(const BackendOptions *options DS_UNUSED, void *shared DS_UNUSED, Backend **out,
          Error *err DS_UNUSED)
{
    static const BackendTable table = {
        .stream_size = sizeof(ShardStream),
        .load = fake_load,
        .commit = fake_commit,
        .hold_for_room = fake_hold_for_room,
        .published = fake_published,
        .close = fake_close,
        .free = fake_free,
    };

    *out = mem_zalloc(sizeof(**out));
    (*out)->table = &table;
    return true;
}

/* ---- a store on it ---- */

static char dir[TEMP_DIR_BYTES];
static Metrics *metrics;
static Store *store;

static void
set_up(void)
{
    static const BackendKind kind = {.mode = "fake", .open = fake_open};
    StorageOptions options = {.data_dir = dir, .shards = 1, .cache_bytes = 1 << 20};
    Error err;

    temp_dir_make(dir);
    metrics = metrics_new();
    cr_assert(store_shard_new(&kind, &options, &limits, metrics, &store, &err), "%s", err.text);
}

static void
tear_down(void)
{
    store_free(store);
    metrics_free(metrics);
    temp_dir_remove(dir);
}

TestSuite(shard, .init = set_up, .fini = tear_down);

static StoreResult
append_as(Stream *stream, const char *text, const char *producer, uint64_t seq,
          const char *stream_seq)
{
    uint32_t end = (uint32_t)strlen(text);

    return run_append_request(store, stream,
                              (AppendRequest){
                                  .content_type = STR("text/plain"),
                                  .payload = {str_c(text), &end, 1},
                                  .has_producer = true,
                                  .producer = {.id = str_c(producer), .seq = seq},
                                  .has_seq = stream_seq != NULL,
                                  .seq = str_c(stream_seq),
                              });
}

Test(shard, a_batch_without_room_leaves_nothing_behind)
{
    static char text[READ_TEXT_BYTES_MAX];
    Stream *stream = run_create(store, STR("a"));
    StreamInfo before;
    StreamInfo after;

    cr_expect_eq(append_as(stream, "one", "p", 0, "b").append, APPEND_OK);
    store_stream_info(stream, &before);
    atomic_store(&is_full, true);
    cr_expect_eq(append_as(stream, "two", "p", 1, "c").verdict, STORE_NO_SPACE);
    cr_expect_eq(append_as(stream, "two", "q", 0, NULL).verdict, STORE_NO_SPACE);
    cr_expect_eq(append_as(stream, "two", "r", 0, NULL).verdict, STORE_NO_SPACE);
    cr_expect_eq(run_create_as(store, STR("b"), STR("text/plain"), false).result.verdict,
                 STORE_NO_SPACE);
    cr_expect_eq(run_trim(store, stream, 2).verdict, STORE_NO_SPACE);
    cr_expect_eq(run_delete(store, stream), STORE_NO_SPACE);
    store_stream_info(stream, &after);
    cr_expect_eq(after.start.position, before.start.position);
    cr_expect_eq(after.tail.position, before.tail.position);
    cr_expect_eq(after.messages, before.messages);
    cr_expect_eq(after.bytes, before.bytes);
    cr_expect_eq(after.bytes_ever, before.bytes_ever);
    cr_expect_eq(after.updated_ms, before.updated_ms);
    cr_expect(!after.closed && !after.deleted);
    cr_expect_null(store_find(store, STR("b")));
    cr_expect_eq(atomic_load(&store->bytes), 3);
    cr_expect_eq(atomic_load(&store->streams), 1);

    /* What is judged next knows nothing of it either. */
    atomic_store(&is_full, false);
    cr_expect_eq(append_as(stream, "two", "p", 0, NULL).append, APPEND_DUPLICATE);
    cr_expect_eq(append_as(stream, "two", "p", 2, NULL).append, APPEND_GAP);
    cr_expect_eq(append_as(stream, "two", "p", 1, "b").append, APPEND_SEQ_CONFLICT);
    cr_expect_eq(append_as(stream, "two", "p", 1, "bb").next.position, 6);
    cr_expect_eq(append_as(stream, "x", "q", 0, NULL).append, APPEND_OK);
    cr_expect_eq(read_text(store, stream, 0, 100, text), 7);
    cr_expect_str_eq(text, "onetwox");
    stream_drop(stream);
}

/* ---- many at once ---- */

typedef struct Counted {
    StoreOp op; /* first member */
    char body[8];
    uint32_t end;
} Counted;

static atomic_uint verdicts[STORE_UNREADABLE + 1];
static atomic_uint finished;

static void
count(StoreOp *op)
{
    Counted *counted = DS_CONTAINER_OF(op, Counted, op);

    atomic_fetch_add(&verdicts[op->result.verdict], 1);
    if (op->kind == STORE_CREATE) {
        stream_drop(op->stream);
    }
    free(counted);
    atomic_fetch_add(&finished, 1);
}

static void
submit_append(Stream *stream)
{
    Counted *counted = mem_zalloc(sizeof(*counted));

    memcpy(counted->body, "x", 1);
    counted->end = 1;
    counted->op = (StoreOp){
        .kind = STORE_APPEND,
        .done = count,
        .stream = stream,
        .append = {.content_type = STR("text/plain"),
                   .payload = {str_n(counted->body, 1), &counted->end, 1}},
    };
    store_submit(store, &counted->op);
}

static void
submit_of(StoreOpKind kind, Stream *stream, Str name)
{
    Counted *counted = mem_zalloc(sizeof(*counted));

    counted->op = (StoreOp){
        .kind = kind,
        .done = count,
        .stream = stream,
        .name = name,
        .config = {.content_type = STR("text/plain"),
                   .ttl_s = STREAM_NEVER,
                   .expires_at_ms = STREAM_NEVER},
    };
    store_submit(store, &counted->op);
}

static void
wait_until(const atomic_uint *counter, unsigned wanted)
{
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;

    while (atomic_load(counter) < wanted) {
        cr_assert_lt(clock_mono_ms(), deadline_ms);
        sched_yield();
    }
}

Test(shard, what_comes_during_a_commit_is_the_next_one)
{
    Stream *stream = run_create(store, STR("a"));
    unsigned before = atomic_load(&commits);

    atomic_store(&is_blocked, true);
    submit_append(stream);
    wait_until(&commits, before + 1);
    for (int i = 0; i < 500; i++) {
        submit_append(stream);
    }
    cr_expect_eq(atomic_load(&finished), 0, "nobody is answered before the commit");
    cr_expect_eq(stream->view.tail, 0, "and nobody sees it");
    atomic_store(&is_blocked, false);
    wait_until(&finished, 501);
    cr_expect_eq(atomic_load(&commits), before + 2);
    cr_expect_eq(atomic_load(&last_count), 500);
    cr_expect_eq(atomic_load(&verdicts[STORE_DONE]), 501);
    stream_drop(stream);
}

Test(shard, more_than_the_queue_holds_is_refused_at_once)
{
    Stream *stream = run_create(store, STR("a"));
    unsigned before = atomic_load(&commits);

    atomic_store(&is_blocked, true);
    submit_append(stream);
    wait_until(&commits, before + 1);
    for (int i = 1; i < SHARD_QUEUE_OPS_MAX + 10; i++) {
        submit_append(stream);
    }
    cr_expect_eq(atomic_load(&verdicts[STORE_BUSY]), 10);
    atomic_store(&is_blocked, false);
    wait_until(&finished, SHARD_QUEUE_OPS_MAX + 10);
    cr_expect_eq(atomic_load(&verdicts[STORE_DONE]), SHARD_QUEUE_OPS_MAX);
    cr_expect_eq(run_append(store, stream, STR("y")).verdict, STORE_DONE, "it has room again");
    stream_drop(stream);
}

Test(shard, of_many_creates_of_a_name_one_wins)
{
    Stream *first = run_create(store, STR("a"));
    unsigned before = atomic_load(&commits);

    atomic_store(&is_blocked, true);
    submit_append(first);
    wait_until(&commits, before + 1);
    for (int i = 0; i < 10; i++) {
        submit_of(STORE_CREATE, NULL, STR("b"));
        submit_of(STORE_CREATE, NULL, STR("c"));
    }
    atomic_store(&is_blocked, false);
    wait_until(&finished, 21);
    cr_expect_eq(atomic_load(&verdicts[STORE_DONE]), 3);
    cr_expect_eq(atomic_load(&verdicts[STORE_EXISTS]), 18);
    cr_expect_eq(atomic_load(&store->streams), 3);
    stream_drop(first);
}

Test(shard, a_name_is_deleted_and_created_again_in_the_order_of_the_requests)
{
    Stream *first = run_create(store, STR("a"));
    unsigned before = atomic_load(&commits);
    Stream *second;

    atomic_store(&is_blocked, true);
    submit_append(first);
    wait_until(&commits, before + 1);
    submit_append(first);
    submit_of(STORE_DELETE, first, STR_EMPTY);
    submit_of(STORE_CREATE, NULL, STR("a"));
    submit_append(first);
    atomic_store(&is_blocked, false);
    wait_until(&finished, 5);
    cr_expect_eq(atomic_load(&verdicts[STORE_DONE]), 4);
    cr_expect_eq(atomic_load(&verdicts[STORE_NOT_FOUND]), 1,
                 "the last append is of the old stream");
    second = store_find(store, STR("a"));
    cr_assert_not_null(second);
    cr_expect_gt(second->era, first->era);
    cr_expect_eq(second->view.tail, 0);
    cr_expect_eq(atomic_load(&store->streams), 1);
    cr_expect_eq(atomic_load(&store->bytes), 0);
    stream_drop(second);
    stream_drop(first);
}

Test(shard, what_makes_room_is_tried_without_what_needs_it)
{
    Stream *large = run_create(store, STR("large"));
    Stream *other = run_create(store, STR("other"));
    unsigned before = atomic_load(&commits);

    atomic_store(&is_blocked, true);
    submit_append(other);
    wait_until(&commits, before + 1);
    submit_append(other);
    submit_of(STORE_DELETE, large, STR_EMPTY);
    submit_append(other);
    atomic_store(&is_full, true);
    atomic_store(&is_blocked, false);
    wait_until(&finished, 4);
    cr_expect_eq(atomic_load(&verdicts[STORE_NO_SPACE]), 4);
    cr_expect_eq(atomic_load(&last_count), 1, "the deletion alone was the last try");
    atomic_store(&is_full, false);
    cr_expect_eq(run_delete(store, large), STORE_DONE);
    stream_drop(other);
    stream_drop(large);
}

Test(shard, a_batch_that_may_wait_for_room_is_tried_twice)
{
    Stream *stream = run_create(store, STR("a"));
    unsigned before = atomic_load(&commits);

    atomic_store(&may_hold, true);
    atomic_store(&is_full, true);
    cr_expect_eq(run_append(store, stream, STR("x")).verdict, STORE_NO_SPACE);
    cr_expect_eq(atomic_load(&commits), before + 2);
    cr_expect_eq(atomic_load(&held), 1);
    atomic_store(&is_full, false);
    cr_expect_eq(run_append(store, stream, STR("x")).next.position, 1);
    stream_drop(stream);
}

Test(shard, while_somebody_pauses_it_nothing_is_committed)
{
    Stream *stream = run_create(store, STR("a"));
    Shard *shard = DS_CONTAINER_OF(stream, ShardStream, base)->shard;
    unsigned before;

    shard_pause(shard);
    shard_pause(shard);
    before = atomic_load(&commits);
    submit_append(stream);
    shard_resume(shard);
    for (int i = 0; i < 1000; i++) {
        sched_yield();
    }
    cr_expect_eq(atomic_load(&commits), before);
    shard_resume(shard);
    wait_until(&finished, 1);
    stream_drop(stream);
}
