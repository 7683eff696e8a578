/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What server/store.h promises, held against every storage mode of support/store_modes.h.
 */
#include "server/store.h"

#include <criterion/criterion.h>
#include <pthread.h>

#include "common/mem.h"
#include "tests/support/store_modes.h"

static char text[READ_TEXT_BYTES_MAX];

STORE_TEST(store_contract, what_is_appended_can_be_read_from_anywhere, roomy)
{
    static const char whole[] = "hello, world";
    Stream *stream = run_create(store, STR("a"));
    StoreResult result = run_append(store, stream, STR("hello"));

    cr_expect_eq(result.verdict, STORE_DONE);
    cr_expect_eq(result.next.position, 5);
    cr_expect_eq(result.next.era, stream->era);
    cr_expect_eq(run_append(store, stream, STR(", world")).next.position, 12);
    for (size_t from = 0; from < sizeof(whole); from++) {
        for (size_t page = 1; page < 20; page += 3) {
            cr_expect_eq(read_text(store, stream, from, page, text), 12);
            cr_expect_str_eq(text, whole + from);
        }
    }
    stream_drop(stream);
}

STORE_TEST(store_contract, a_json_stream_counts_messages, roomy)
{
    static const uint32_t ends[] = {2, 7, 10};
    StoreOp op = run_create_as(store, STR("j"), STR("application/json"), false);
    Stream *stream = op.stream;
    StreamInfo info;

    cr_assert_eq(op.result.verdict, STORE_DONE);
    cr_expect_eq(run_append_json(store, stream, STR("1,[22],33,"), ends, 3).next.position, 3);
    cr_expect_eq(run_append_json(store, stream, STR("4,"), ends, 1).next.position, 4);
    cr_expect_eq(read_text(store, stream, 1, 1, text), 4);
    cr_expect_str_eq(text, "[22],33,4,");
    store_stream_info(stream, &info);
    cr_expect_eq(info.messages, 4);
    cr_expect_eq(info.bytes, 12);
    stream_drop(stream);
}

STORE_TEST(store_contract, a_name_is_created_once, roomy)
{
    Stream *stream = run_create(store, STR("a"));
    StoreOp same = run_create_as(store, STR("a"), STR("TEXT/plain; charset=utf-8"), false);
    StoreOp other = run_create_as(store, STR("a"), STR("text/html"), false);
    StoreOp closed = run_create_as(store, STR("a"), STR("text/plain"), true);

    cr_expect_eq(same.result.verdict, STORE_EXISTS);
    cr_expect_eq(same.stream, stream);
    cr_expect_eq(other.result.verdict, STORE_CONFLICT);
    cr_expect_eq(closed.result.verdict, STORE_CONFLICT);
    stream_drop(same.stream);
    stream_drop(other.stream);
    stream_drop(closed.stream);
    stream_drop(stream);
}

STORE_TEST(store_contract, a_stream_can_be_created_with_its_whole_content, roomy)
{
    uint32_t end = 3;
    StoreOp op = run_op(store, (StoreOp){
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

STORE_TEST(store_contract, a_deleted_stream_is_gone_and_its_successor_empty, roomy)
{
    Stream *first = run_create(store, STR("a"));
    Stream *second;
    StoreRead read = {.bytes_max = 100};

    run_append(store, first, STR("old"));
    cr_expect_eq(run_delete(store, first), STORE_DONE);
    cr_expect_eq(run_delete(store, first), STORE_NOT_FOUND);
    cr_expect_null(store_find(store, STR("a")));
    cr_expect_eq(store_read(store, first, &read), READ_DELETED);
    cr_expect_eq(run_append(store, first, STR("x")).verdict, STORE_NOT_FOUND);
    cr_expect_eq(run_trim(store, first, 1).verdict, STORE_NOT_FOUND);
    cr_expect_eq(atomic_load(&store->bytes), 0);

    second = run_create(store, STR("a"));
    cr_expect_gt(second->era, first->era);
    cr_expect_eq(read_text(store, second, 0, 100, text), 0);
    stream_drop(first);
    stream_drop(second);
}

STORE_TEST(store_contract, a_range_survives_trim_and_delete, roomy)
{
    Stream *stream = run_create(store, STR("a"));
    StoreRead read = {.bytes_max = 100};

    run_append(store, stream, STR("kept"));
    cr_assert_eq(store_read(store, stream, &read), READ_OK);
    run_trim(store, stream, 4);
    run_delete(store, stream);
    cr_assert_eq(read.range.count, 1);
    cr_expect(str_eq(read.range.parts[0].bytes, STR("kept")));
    range_done(&read.range);
    stream_drop(stream);
}

STORE_TEST(store_contract, a_trim_moves_the_start_and_counts_what_it_frees, roomy)
{
    Stream *stream = run_create(store, STR("a"));
    StreamInfo info;
    StoreResult result;
    StoreRead read = {.from = 4, .bytes_max = 100};

    run_append(store, stream, STR("abcde"));
    run_append(store, stream, STR("fghij"));
    result = run_trim(store, stream, 5);
    cr_expect_eq(result.verdict, STORE_DONE);
    cr_expect_eq(result.freed_bytes, 5);
    cr_expect_eq(result.start.position, 5);
    cr_expect_eq(atomic_load(&store->bytes), 5);
    cr_expect_eq(store_read(store, stream, &read), READ_BEFORE_START);
    cr_expect_eq(read_text(store, stream, 5, 100, text), 10);
    cr_expect_str_eq(text, "fghij");

    result = run_trim(store, stream, 2);
    cr_expect_eq(result.freed_bytes, 0);
    cr_expect_eq(result.start.position, 5, "a trim never goes back");
    cr_expect_eq(run_trim(store, stream, 11).verdict, STORE_PAST_TAIL);
    cr_expect_eq(run_trim(store, stream, 10).freed_bytes, 5);
    store_stream_info(stream, &info);
    cr_expect_eq(info.bytes, 0);
    cr_expect_eq(info.messages, 0);
    cr_expect_eq(info.start.position, 10);
    cr_expect_eq(run_append(store, stream, STR("k")).next.position, 11);
    read = (StoreRead){.from_start = true, .bytes_max = 100};
    cr_assert_eq(store_read(store, stream, &read), READ_OK);
    cr_expect_eq(read.range.from, 10);
    range_done(&read.range);
    stream_drop(stream);
}

STORE_TEST(store_contract, past_the_tail_nothing_can_be_read, roomy)
{
    Stream *stream = run_create(store, STR("a"));
    StoreRead read = {.from = 1, .bytes_max = 100};

    cr_expect_eq(store_read(store, stream, &read), READ_PAST_TAIL);
    run_append(store, stream, STR("x"));
    cr_expect_eq(store_read(store, stream, &read), READ_OK);
    cr_expect(read.at_tail);
    cr_expect_eq(read.range.count, 0);
    range_done(&read.range);
    stream_drop(stream);
}

STORE_TEST(store_contract, data_and_close_are_one_step, roomy)
{
    Stream *stream = run_create(store, STR("a"));
    uint32_t end = 4;
    StoreResult result = run_append_request(store, stream,
                                            (AppendRequest){
                                                .content_type = STR("text/plain"),
                                                .payload = {STR("last"), &end, 1},
                                                .close = true,
                                            });

    cr_expect_eq(result.append, APPEND_OK);
    cr_expect(result.closed);
    result = run_append(store, stream, STR("x"));
    cr_expect_eq(result.verdict, STORE_REFUSED);
    cr_expect_eq(result.append, APPEND_CLOSED);
    cr_expect_eq(result.next.position, 4);
    stream_drop(stream);
}

STORE_TEST(store_contract, a_producers_repeat_is_not_stored_again, roomy)
{
    Stream *stream = run_create(store, STR("a"));
    uint32_t end = 1;
    AppendRequest request = {
        .content_type = STR("text/plain"),
        .payload = {STR("x"), &end, 1},
        .has_producer = true,
        .producer = {.id = STR("p")},
    };

    cr_expect_eq(run_append_request(store, stream, request).append, APPEND_OK);
    cr_expect_eq(run_append_request(store, stream, request).append, APPEND_DUPLICATE);
    request.producer.seq = 2;
    cr_expect_eq(run_append_request(store, stream, request).append, APPEND_GAP);
    request.producer.seq = 1;
    cr_expect_eq(run_append_request(store, stream, request).next.position, 2);
    stream_drop(stream);
}

static const StoreLimits tight = {
    .memory_bytes = 100,
    .stream_bytes = 60,
    .streams = 3,
    .producers_per_stream = 1,
};

STORE_TEST(store_contract, limits_are_exact_and_give_back, tight)
{
    static const char forty[] = "0123456789012345678901234567890123456789";
    Stream *a = run_create(store, STR("a"));
    Stream *b = run_create(store, STR("b"));
    Stream *c = run_create(store, STR("c"));
    StoreOp too_many = run_create_as(store, STR("d"), STR("text/plain"), false);

    cr_expect_eq(too_many.result.verdict, STORE_TOO_MANY_STREAMS);
    cr_expect_null(too_many.stream);
    cr_expect_eq(run_append(store, a, str_n(forty, 40)).append, APPEND_OK);
    cr_expect_eq(run_append(store, a, str_n(forty, 21)).append, APPEND_STREAM_FULL);
    cr_expect_eq(run_append(store, a, str_n(forty, 20)).append, APPEND_OK);
    cr_expect_eq(run_append(store, b, str_n(forty, 40)).append, APPEND_OK);
    cr_expect_eq(run_append(store, c, str_n(forty, 1)).append, APPEND_STORE_FULL);
    cr_expect_eq(atomic_load(&store->bytes), 100);

    run_trim(store, a, 1);
    cr_expect_eq(run_append(store, c, str_n(forty, 1)).append, APPEND_OK);
    cr_expect_eq(run_append(store, a, str_n(forty, 1)).append, APPEND_STORE_FULL);
    run_delete(store, b);
    cr_expect_eq(run_append(store, c, str_n(forty, 40)).append, APPEND_OK);
    too_many = run_create_as(store, STR("d"), STR("text/plain"), false);
    cr_expect_eq(too_many.result.verdict, STORE_DONE);
    stream_drop(too_many.stream);
    stream_drop(a);
    stream_drop(b);
    stream_drop(c);
}

STORE_TEST(store_contract, changes_are_told_in_order, roomy)
{
    Offset token = journal_token(store->journal);
    Stream *stream = run_create(store, STR("a"));
    JournalEntry entries[4];
    size_t count = 0;
    Error err = {0};

    run_append(store, stream, STR("x"));
    run_append_request(store, stream, (AppendRequest){.close = true});
    run_append_request(store, stream, (AppendRequest){.close = true});
    run_delete(store, stream);
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
        (void)run_append_request(worker->store, worker->stream, request);
    }
    return NULL;
}

STORE_TEST(store_contract, appends_of_many_threads_are_each_stored_once, roomy)
{
    Worker workers[THREADS];
    size_t counts[THREADS] = {0};
    Stream *stream = run_create(store, STR("a"));
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
        StoreResult result =
            run_append(worker->store, worker->stream, STR("more than there is room"));

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

STORE_TEST(store_contract, what_does_not_fit_takes_no_room_from_what_does, sixteen_bytes)
{
    Stream *stream = run_create(store, STR("s"));
    Stream *other = run_create(store, STR("other")); /* a lock of its own */
    Worker workers[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (Worker){.store = store, .stream = other};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, append_too_much, &workers[i]), 0);
    }
    for (int i = 0; i < 50000; i++) {
        StoreResult result = run_append(store, stream, STR("it fits: sixteen"));

        cr_assert_eq(result.append, APPEND_OK, "append %d", i);
        cr_assert_eq(run_trim(store, stream, result.next.position).freed_bytes, 16);
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

STORE_TEST(store_contract, the_name_of_an_expired_stream_is_free_also_at_the_limit, one_stream)
{
    for (int i = 0; i < 3; i++) {
        StoreOp op = run_op(store, (StoreOp){
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
        StoreOp op = run_create_as(worker->store, STR("fought over"), STR("text/plain"), false);

        if (op.result.verdict == STORE_DONE) {
            (void)run_append(worker->store, op.stream, STR("mine"));
            worker->won += run_delete(worker->store, op.stream) == STORE_DONE;
        }
        stream_drop(op.stream);
    }
    return NULL;
}

STORE_TEST(store_contract, a_name_that_many_create_and_delete_leaves_nothing_behind, roomy)
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
