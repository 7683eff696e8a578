/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What server/store.h promises, held against every storage mode: a mode joins by a line in `modes`.
 * Operations are waited for, so that a mode may finish them on another thread.
 */
#include "server/store.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>

#include "common/mem.h"
#include "server/store_memory.h"

#define DONE_SECONDS_MAX 30
#define TEXT_BYTES_MAX   (1 << 20)

typedef struct Mode {
    const char *name;
    Store *(*make)(const StoreLimits *limits, Metrics *metrics);
} Mode;

static const Mode modes[] = {
    {"memory", store_memory_new},
};

static const StoreLimits roomy = {
    .memory_bytes = 64 << 20,
    .stream_bytes = 32 << 20,
    .streams = 1000,
    .producers_per_stream = 16,
};

/* Nobody of these tests waits on a network loop. */
void
net_loop_post(NetLoop *loop DS_UNUSED, LoopFn fn DS_UNUSED, void *arg DS_UNUSED)
{
    cr_assert_fail("a post that nobody waits for");
}

/* ---- operations, waited for ---- */

typedef struct Waited {
    StoreOp op; /* first member */
    pthread_mutex_t lock;
    pthread_cond_t finished_cond;
    bool finished;
} Waited;

static void
finish(StoreOp *op)
{
    Waited *waited = DS_CONTAINER_OF(op, Waited, op);

    pthread_mutex_lock(&waited->lock);
    waited->finished = true;
    pthread_cond_signal(&waited->finished_cond);
    pthread_mutex_unlock(&waited->lock);
}

static StoreOp
run(Store *store, StoreOp op)
{
    Waited waited = {.op = op};
    struct timespec deadline;

    pthread_mutex_init(&waited.lock, NULL);
    pthread_cond_init(&waited.finished_cond, NULL);
    waited.op.done = finish;
    store_submit(store, &waited.op);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += DONE_SECONDS_MAX;
    pthread_mutex_lock(&waited.lock);
    while (!waited.finished) {
        cr_assert_eq(pthread_cond_timedwait(&waited.finished_cond, &waited.lock, &deadline), 0,
                     "the operation is never done");
    }
    pthread_mutex_unlock(&waited.lock);
    pthread_cond_destroy(&waited.finished_cond);
    pthread_mutex_destroy(&waited.lock);
    return waited.op;
}

static StoreOp
create_as(Store *store, Str name, Str content_type, bool closed)
{
    return run(store, (StoreOp){
                          .kind = STORE_CREATE,
                          .name = name,
                          .config = {.content_type = content_type,
                                     .ttl_s = STREAM_NEVER,
                                     .expires_at_ms = STREAM_NEVER},
                          .append.close = closed,
                      });
}

static Stream *
create(Store *store, Str name)
{
    StoreOp op = create_as(store, name, STR("text/plain"), false);

    cr_assert_eq(op.result.verdict, STORE_DONE);
    return op.stream;
}

static StoreResult
append_request(Store *store, Stream *stream, AppendRequest request)
{
    return run(store, (StoreOp){.kind = STORE_APPEND, .stream = stream, .append = request}).result;
}

static StoreResult
append(Store *store, Stream *stream, Str text)
{
    uint32_t end = (uint32_t)text.len;

    return append_request(store, stream,
                          (AppendRequest){
                              .content_type = stream->content_type,
                              .payload = {.bytes = text, .ends = &end, .count = 1},
                          });
}

static StoreResult
append_json(Store *store, Stream *stream, Str text, const uint32_t *ends, size_t count)
{
    return append_request(store, stream,
                          (AppendRequest){
                              .content_type = STR("application/json"),
                              .payload = {.bytes = text, .ends = ends, .count = count},
                          });
}

static StoreResult
trim(Store *store, Stream *stream, uint64_t position)
{
    return run(store, (StoreOp){.kind = STORE_TRIM, .stream = stream, .position = position}).result;
}

static StoreVerdict
delete_stream(Store *store, Stream *stream)
{
    return run(store, (StoreOp){.kind = STORE_DELETE, .stream = stream}).result.verdict;
}

/* Everything from a position on, page by page.  Returns the position after it. */
static uint64_t
read_text(Store *store, Stream *stream, uint64_t from, size_t page, char *out)
{
    size_t len = 0;

    while (true) {
        StoreRead read = {.from = from, .bytes_max = page};
        bool end;

        cr_assert_eq(store_read(store, stream, &read), READ_OK);
        for (size_t i = 0; i < read.range.count; i++) {
            cr_assert_lt(len + read.range.parts[i].bytes.len, TEXT_BYTES_MAX);
            memcpy(out + len, read.range.parts[i].bytes.ptr, read.range.parts[i].bytes.len);
            len += read.range.parts[i].bytes.len;
        }
        cr_assert_eq(read.range.from, from);
        from = read.range.to;
        end = read.at_tail;
        range_done(&read.range);
        if (end) {
            out[len] = '\0';
            return from;
        }
    }
}

static char text[TEXT_BYTES_MAX];

/* A test body that runs on each mode with limits of its own. */
#define STORE_TEST(test, limits_)                                                                  \
    static void test##_body(Store *store);                                                         \
    Test(store_contract, test)                                                                     \
    {                                                                                              \
        for (size_t i = 0; i < DS_COUNT(modes); i++) {                                             \
            Metrics *metrics = metrics_new();                                                      \
            Store *store = modes[i].make(&(limits_), metrics);                                     \
                                                                                                   \
            cr_log_info("%s", modes[i].name);                                                      \
            test##_body(store);                                                                    \
            store_free(store);                                                                     \
            metrics_free(metrics);                                                                 \
        }                                                                                          \
    }                                                                                              \
    static void test##_body(Store *store)

STORE_TEST(what_is_appended_can_be_read_from_anywhere, roomy)
{
    static const char whole[] = "hello, world";
    Stream *stream = create(store, STR("a"));
    StoreResult result = append(store, stream, STR("hello"));

    cr_expect_eq(result.verdict, STORE_DONE);
    cr_expect_eq(result.next.position, 5);
    cr_expect_eq(result.next.era, stream->era);
    cr_expect_eq(append(store, stream, STR(", world")).next.position, 12);
    for (size_t from = 0; from < sizeof(whole); from++) {
        for (size_t page = 1; page < 20; page += 3) {
            cr_expect_eq(read_text(store, stream, from, page, text), 12);
            cr_expect_str_eq(text, whole + from);
        }
    }
    stream_drop(stream);
}

STORE_TEST(a_json_stream_counts_messages, roomy)
{
    static const uint32_t ends[] = {2, 7, 10};
    StoreOp op = create_as(store, STR("j"), STR("application/json"), false);
    Stream *stream = op.stream;
    StreamInfo info;

    cr_assert_eq(op.result.verdict, STORE_DONE);
    cr_expect_eq(append_json(store, stream, STR("1,[22],33,"), ends, 3).next.position, 3);
    cr_expect_eq(append_json(store, stream, STR("4,"), ends, 1).next.position, 4);
    cr_expect_eq(read_text(store, stream, 1, 1, text), 4);
    cr_expect_str_eq(text, "[22],33,4,");
    store_stream_info(stream, &info);
    cr_expect_eq(info.messages, 4);
    cr_expect_eq(info.bytes, 12);
    stream_drop(stream);
}

STORE_TEST(a_name_is_created_once, roomy)
{
    Stream *stream = create(store, STR("a"));
    StoreOp same = create_as(store, STR("a"), STR("TEXT/plain; charset=utf-8"), false);
    StoreOp other = create_as(store, STR("a"), STR("text/html"), false);
    StoreOp closed = create_as(store, STR("a"), STR("text/plain"), true);

    cr_expect_eq(same.result.verdict, STORE_EXISTS);
    cr_expect_eq(same.stream, stream);
    cr_expect_eq(other.result.verdict, STORE_CONFLICT);
    cr_expect_eq(closed.result.verdict, STORE_CONFLICT);
    stream_drop(same.stream);
    stream_drop(other.stream);
    stream_drop(closed.stream);
    stream_drop(stream);
}

STORE_TEST(a_stream_can_be_created_with_its_whole_content, roomy)
{
    uint32_t end = 3;
    StoreOp op = run(store, (StoreOp){
                                .kind = STORE_CREATE,
                                .name = STR("a"),
                                .config = {.content_type = STR("text/plain"),
                                           .ttl_s = STREAM_NEVER,
                                           .expires_at_ms = STREAM_NEVER},
                                .append = {.payload = {STR("all"), &end, 1}, .close = true},
                            });
    StoreRead read = {.from = 0, .bytes_max = 100};

    cr_assert_eq(op.result.verdict, STORE_DONE);
    cr_expect_eq(op.result.next.position, 3);
    cr_expect(op.result.closed);
    cr_assert_eq(store_read(store, op.stream, &read), READ_OK);
    cr_expect(read.closed && read.at_tail);
    cr_expect_eq(read.range.bytes, 3);
    range_done(&read.range);
    stream_drop(op.stream);
}

STORE_TEST(a_deleted_stream_is_gone_and_its_successor_empty, roomy)
{
    Stream *first = create(store, STR("a"));
    Stream *second;
    StoreRead read = {.bytes_max = 100};

    append(store, first, STR("old"));
    cr_expect_eq(delete_stream(store, first), STORE_DONE);
    cr_expect_eq(delete_stream(store, first), STORE_NOT_FOUND);
    cr_expect_null(store_find(store, STR("a")));
    cr_expect_eq(store_read(store, first, &read), READ_DELETED);
    cr_expect_eq(append(store, first, STR("x")).verdict, STORE_NOT_FOUND);
    cr_expect_eq(trim(store, first, 1).verdict, STORE_NOT_FOUND);
    cr_expect_eq(atomic_load(&store->bytes), 0);

    second = create(store, STR("a"));
    cr_expect_gt(second->era, first->era);
    cr_expect_eq(read_text(store, second, 0, 100, text), 0);
    stream_drop(first);
    stream_drop(second);
}

STORE_TEST(a_range_survives_trim_and_delete, roomy)
{
    Stream *stream = create(store, STR("a"));
    StoreRead read = {.bytes_max = 100};

    append(store, stream, STR("kept"));
    cr_assert_eq(store_read(store, stream, &read), READ_OK);
    trim(store, stream, 4);
    delete_stream(store, stream);
    cr_assert_eq(read.range.count, 1);
    cr_expect(str_eq(read.range.parts[0].bytes, STR("kept")));
    range_done(&read.range);
    stream_drop(stream);
}

STORE_TEST(a_trim_moves_the_start_and_counts_what_it_frees, roomy)
{
    Stream *stream = create(store, STR("a"));
    StreamInfo info;
    StoreResult result;
    StoreRead read = {.from = 4, .bytes_max = 100};

    append(store, stream, STR("abcde"));
    append(store, stream, STR("fghij"));
    result = trim(store, stream, 5);
    cr_expect_eq(result.verdict, STORE_DONE);
    cr_expect_eq(result.freed_bytes, 5);
    cr_expect_eq(result.start.position, 5);
    cr_expect_eq(atomic_load(&store->bytes), 5);
    cr_expect_eq(store_read(store, stream, &read), READ_BEFORE_START);
    cr_expect_eq(read_text(store, stream, 5, 100, text), 10);
    cr_expect_str_eq(text, "fghij");

    result = trim(store, stream, 2);
    cr_expect_eq(result.freed_bytes, 0);
    cr_expect_eq(result.start.position, 5, "a trim never goes back");
    cr_expect_eq(trim(store, stream, 11).verdict, STORE_PAST_TAIL);
    cr_expect_eq(trim(store, stream, 10).freed_bytes, 5);
    store_stream_info(stream, &info);
    cr_expect_eq(info.bytes, 0);
    cr_expect_eq(info.messages, 0);
    cr_expect_eq(info.start.position, 10);
    cr_expect_eq(append(store, stream, STR("k")).next.position, 11);
    read = (StoreRead){.from_start = true, .bytes_max = 100};
    cr_assert_eq(store_read(store, stream, &read), READ_OK);
    cr_expect_eq(read.range.from, 10);
    range_done(&read.range);
    stream_drop(stream);
}

STORE_TEST(past_the_tail_nothing_can_be_read, roomy)
{
    Stream *stream = create(store, STR("a"));
    StoreRead read = {.from = 1, .bytes_max = 100};

    cr_expect_eq(store_read(store, stream, &read), READ_PAST_TAIL);
    append(store, stream, STR("x"));
    cr_expect_eq(store_read(store, stream, &read), READ_OK);
    cr_expect(read.at_tail);
    cr_expect_eq(read.range.count, 0);
    range_done(&read.range);
    stream_drop(stream);
}

STORE_TEST(data_and_close_are_one_step, roomy)
{
    Stream *stream = create(store, STR("a"));
    uint32_t end = 4;
    StoreResult result = append_request(store, stream,
                                        (AppendRequest){
                                            .content_type = STR("text/plain"),
                                            .payload = {STR("last"), &end, 1},
                                            .close = true,
                                        });

    cr_expect_eq(result.append, APPEND_OK);
    cr_expect(result.closed);
    result = append(store, stream, STR("x"));
    cr_expect_eq(result.verdict, STORE_REFUSED);
    cr_expect_eq(result.append, APPEND_CLOSED);
    cr_expect_eq(result.next.position, 4);
    stream_drop(stream);
}

STORE_TEST(a_producers_repeat_is_not_stored_again, roomy)
{
    Stream *stream = create(store, STR("a"));
    uint32_t end = 1;
    AppendRequest request = {
        .content_type = STR("text/plain"),
        .payload = {STR("x"), &end, 1},
        .has_producer = true,
        .producer = {.id = STR("p")},
    };

    cr_expect_eq(append_request(store, stream, request).append, APPEND_OK);
    cr_expect_eq(append_request(store, stream, request).append, APPEND_DUPLICATE);
    request.producer.seq = 2;
    cr_expect_eq(append_request(store, stream, request).append, APPEND_GAP);
    request.producer.seq = 1;
    cr_expect_eq(append_request(store, stream, request).next.position, 2);
    stream_drop(stream);
}

static const StoreLimits tight = {
    .memory_bytes = 100,
    .stream_bytes = 60,
    .streams = 3,
    .producers_per_stream = 1,
};

STORE_TEST(limits_are_exact_and_give_back, tight)
{
    static const char forty[] = "0123456789012345678901234567890123456789";
    Stream *a = create(store, STR("a"));
    Stream *b = create(store, STR("b"));
    Stream *c = create(store, STR("c"));
    StoreOp too_many = create_as(store, STR("d"), STR("text/plain"), false);

    cr_expect_eq(too_many.result.verdict, STORE_TOO_MANY_STREAMS);
    cr_expect_null(too_many.stream);
    cr_expect_eq(append(store, a, str_n(forty, 40)).append, APPEND_OK);
    cr_expect_eq(append(store, a, str_n(forty, 21)).append, APPEND_STREAM_FULL);
    cr_expect_eq(append(store, a, str_n(forty, 20)).append, APPEND_OK);
    cr_expect_eq(append(store, b, str_n(forty, 40)).append, APPEND_OK);
    cr_expect_eq(append(store, c, str_n(forty, 1)).append, APPEND_STORE_FULL);
    cr_expect_eq(atomic_load(&store->bytes), 100);

    trim(store, a, 1);
    cr_expect_eq(append(store, c, str_n(forty, 1)).append, APPEND_OK);
    cr_expect_eq(append(store, a, str_n(forty, 1)).append, APPEND_STORE_FULL);
    delete_stream(store, b);
    cr_expect_eq(append(store, c, str_n(forty, 40)).append, APPEND_OK);
    too_many = create_as(store, STR("d"), STR("text/plain"), false);
    cr_expect_eq(too_many.result.verdict, STORE_DONE);
    stream_drop(too_many.stream);
    stream_drop(a);
    stream_drop(b);
    stream_drop(c);
}

STORE_TEST(changes_are_told_in_order, roomy)
{
    Offset token = journal_token(store->journal);
    Stream *stream = create(store, STR("a"));
    JournalEntry entries[4];
    size_t count = 0;
    Error err = {0};

    append(store, stream, STR("x"));
    append_request(store, stream, (AppendRequest){.close = true});
    append_request(store, stream, (AppendRequest){.close = true});
    delete_stream(store, stream);
    cr_assert(journal_read(store->journal, token, entries, 4, &count, &token, &err));
    cr_assert_eq(count, 3);
    cr_expect_eq(entries[0].kind, JOURNAL_CREATED);
    cr_expect_eq(entries[1].kind, JOURNAL_CLOSED);
    cr_expect_eq(entries[2].kind, JOURNAL_DELETED);
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(entries[i].era, stream->era);
        free(entries[i].name);
    }
    stream_drop(stream);
}

/* ---- many threads ---- */

enum { THREADS = 4, APPENDS = 2000 };

typedef struct Worker {
    pthread_t thread;
    Store *store;
    Stream *stream;
    char mark;
    unsigned won;
} Worker;

static void *
append_marks(void *arg)
{
    Worker *worker = arg;
    uint32_t end = 1;

    for (uint64_t i = 0; i < APPENDS; i++) {
        AppendRequest request = {
            .content_type = STR("text/plain"),
            .payload = {str_n(&worker->mark, 1), &end, 1},
            .has_producer = true,
            .producer = {.id = str_n(&worker->mark, 1), .seq = i / 2},
        };

        /* Each is sent twice, as after a lost answer. */
        (void)append_request(worker->store, worker->stream, request);
    }
    return NULL;
}

STORE_TEST(appends_of_many_threads_are_each_stored_once, roomy)
{
    Worker workers[THREADS];
    size_t counts[THREADS] = {0};
    Stream *stream = create(store, STR("a"));
    uint64_t seen = 0;

    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (Worker){.store = store, .stream = stream, .mark = (char)('a' + i)};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, append_marks, &workers[i]), 0);
    }
    /* A reader in between sees ever more of the same bytes. */
    while (seen < THREADS * APPENDS / 2) {
        char before = seen == 0 ? 0 : text[seen - 1];
        uint64_t now = read_text(store, stream, 0, 4096, text);

        cr_assert_geq(now, seen);
        cr_assert(seen == 0 || text[seen - 1] == before);
        seen = now;
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    cr_assert_eq(read_text(store, stream, 0, 4096, text), THREADS * APPENDS / 2);
    for (size_t i = 0; i < THREADS * APPENDS / 2; i++) {
        counts[text[i] - 'a']++;
    }
    for (size_t i = 0; i < THREADS; i++) {
        cr_expect_eq(counts[i], APPENDS / 2);
    }
    stream_drop(stream);
}

static atomic_bool enough;

static void *
append_too_much(void *arg)
{
    Worker *worker = arg;

    while (!atomic_load(&enough)) {
        StoreResult result = append(worker->store, worker->stream, STR("more than there is room"));

        cr_assert_eq(result.append, APPEND_STORE_FULL);
    }
    return NULL;
}

static const StoreLimits sixteen_bytes = {
    .memory_bytes = 16,
    .stream_bytes = 1000,
    .streams = 10,
    .producers_per_stream = 4,
};

STORE_TEST(what_does_not_fit_takes_no_room_from_what_does, sixteen_bytes)
{
    Stream *stream = create(store, STR("s"));
    Stream *other = create(store, STR("other")); /* a lock of its own */
    Worker workers[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (Worker){.store = store, .stream = other};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, append_too_much, &workers[i]), 0);
    }
    for (int i = 0; i < 50000; i++) {
        StoreResult result = append(store, stream, STR("it fits: sixteen"));

        cr_assert_eq(result.append, APPEND_OK, "append %d", i);
        cr_assert_eq(trim(store, stream, result.next.position).freed_bytes, 16);
    }
    atomic_store(&enough, true);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    stream_drop(other);
    stream_drop(stream);
}

static const StoreLimits one_stream = {
    .memory_bytes = 1000,
    .stream_bytes = 1000,
    .streams = 1,
    .producers_per_stream = 4,
};

STORE_TEST(the_name_of_an_expired_stream_is_free_also_at_the_limit, one_stream)
{
    for (int i = 0; i < 3; i++) {
        StoreOp op = run(store, (StoreOp){
                                    .kind = STORE_CREATE,
                                    .name = STR("s"),
                                    .config = {.content_type = STR("text/plain"),
                                               .ttl_s = 0,
                                               .expires_at_ms = STREAM_NEVER},
                                });

        cr_expect_eq(op.result.verdict, STORE_DONE, "creation %d", i);
        stream_drop(op.stream);
    }
    cr_expect_eq(atomic_load(&store->streams), 1);
}

/* Who follows goes by the order: a "created" behind its own "deleted" would never be taken back. */
static void
expect_changes_in_order(Store *store)
{
    static JournalEntry entries[JOURNAL_ENTRIES_MAX];
    Offset token = journal_token(store->journal);
    size_t count = 0;
    Error err;

    token.position -= DS_MIN(token.position, (uint64_t)JOURNAL_ENTRIES_MAX);
    cr_assert(
        journal_read(store->journal, token, entries, JOURNAL_ENTRIES_MAX, &count, &token, &err));
    cr_assert_gt(count, 0);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && entries[i].kind == JOURNAL_CREATED) {
            cr_expect_eq(entries[i - 1].kind, JOURNAL_DELETED, "change %zu", i);
            cr_expect_gt(entries[i].era, entries[i - 1].era);
        } else if (i > 0) {
            cr_expect_eq(entries[i - 1].kind, JOURNAL_CREATED, "change %zu", i);
            cr_expect_eq(entries[i].era, entries[i - 1].era);
        }
    }
    for (size_t i = 0; i < count; i++) {
        free(entries[i].name);
    }
}

static void *
create_and_delete(void *arg)
{
    Worker *worker = arg;

    for (int i = 0; i < APPENDS; i++) {
        StoreOp op = create_as(worker->store, STR("fought over"), STR("text/plain"), false);

        if (op.result.verdict == STORE_DONE) {
            (void)append(worker->store, op.stream, STR("mine"));
            worker->won += delete_stream(worker->store, op.stream) == STORE_DONE;
        }
        stream_drop(op.stream);
    }
    return NULL;
}

STORE_TEST(a_name_that_many_create_and_delete_leaves_nothing_behind, roomy)
{
    Worker workers[THREADS];
    unsigned won = 0;

    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (Worker){.store = store};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, create_and_delete, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        won += workers[i].won;
    }
    cr_expect_gt(won, 0);
    cr_expect_null(store_find(store, STR("fought over")));
    expect_changes_in_order(store);
    cr_expect_eq(atomic_load(&store->bytes), 0);
    cr_expect_eq(atomic_load(&store->streams), 0);
}
