/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What server/store.h and server/fork.h promise of forks, held against every storage mode.
 */
#include "server/store.h"

#include <criterion/criterion.h>
#include <pthread.h>

#include "common/mem.h"
#include "tests/support/store_modes.h"

static char text[READ_TEXT_BYTES_MAX];

static StoreOp
run_fork_op(Store *store, Str name, ForkRequest request)
{
    stream_take(request.parent);
    StoreOp op = run_op(store, (StoreOp){
                                   .kind = STORE_CREATE,
                                   .name = name,
                                   .config = {.content_type = request.parent->content_type,
                                              .ttl_s = STREAM_NEVER,
                                              .expires_at_ms = STREAM_NEVER},
                                   .fork = request,
                               });

    stream_drop(request.parent);
    return op;
}

static ForkRequest
at(Stream *parent, uint64_t position)
{
    return (ForkRequest){
        .parent = parent,
        .has_offset = true,
        .offset = stream_offset(parent, position),
    };
}

static Stream *
run_fork_at(Store *store, Str name, Stream *parent, uint64_t position)
{
    StoreOp op = run_fork_op(store, name, at(parent, position));

    cr_assert_eq(op.result.verdict, STORE_DONE);
    cr_expect_eq(op.result.next.position, position);
    cr_expect_eq(op.result.next.era, stream_offset(parent, position).era);
    return op.stream;
}

static Stream *
run_fork(Store *store, Str name, Stream *parent)
{
    StoreOp op = run_fork_op(store, name, (ForkRequest){.parent = parent});

    cr_assert_eq(op.result.verdict, STORE_DONE);
    return op.stream;
}

static void
expect_text(Store *store, Stream *stream, const char *whole)
{
    for (size_t from = 0; from <= strlen(whole); from++) {
        for (size_t page = 1; page < 12; page += 2) {
            cr_expect_eq(read_text(store, stream, from, page, text), strlen(whole));
            cr_expect_str_eq(text, whole + from);
        }
    }
}

STORE_TEST(store_forks, a_fork_reads_its_parents_bytes_and_then_its_own, roomy)
{
    Stream *root = run_create(store, STR("root"));
    Stream *fork;
    StreamInfo info;

    run_append(store, root, STR("one"));
    run_append(store, root, STR("two"));
    fork = run_fork(store, STR("fork"), root);
    run_append(store, root, STR("not for the fork"));
    expect_text(store, fork, "onetwo");
    cr_expect_eq(run_append(store, fork, STR("three")).next.position, 11);
    run_append(store, fork, STR("four"));
    expect_text(store, fork, "onetwothreefour");
    expect_text(store, root, "onetwonot for the fork");
    store_stream_info(fork, &info);
    cr_expect_eq(info.bytes, 9, "its own");
    cr_expect_eq(atomic_load(&store->bytes), 22 + 9);
    stream_drop(fork);
    stream_drop(root);
}

STORE_TEST(store_forks, a_fork_can_begin_at_any_byte, roomy)
{
    static const char whole[] = "onetwo";
    Stream *root = run_create(store, STR("root"));
    char wanted[sizeof(whole)];

    run_append(store, root, STR("one"));
    run_append(store, root, STR("two"));
    for (size_t position = 0; position < sizeof(whole); position++) {
        Stream *fork = run_fork_at(store, STR("fork"), root, position);

        memcpy(wanted, whole, position);
        wanted[position] = '\0';
        expect_text(store, fork, wanted);
        run_append(store, fork, STR("!"));
        wanted[position] = '!';
        if (position + 1 < sizeof(wanted)) {
            wanted[position + 1] = '\0';
            expect_text(store, fork, wanted);
        }
        cr_expect_eq(run_delete(store, fork), STORE_DONE);
        stream_drop(fork);
    }
    stream_drop(root);
}

STORE_TEST(store_forks, messages_of_parent_and_fork_are_one_sequence, roomy)
{
    static const uint32_t ends[] = {2, 5, 9};
    Stream *root = run_create_as(store, STR("root"), STR("application/json"), false).stream;
    Stream *fork;
    StreamInfo info;

    run_append_json(store, root, STR("1,22,333,"), ends, 3);
    fork = run_fork_at(store, STR("fork"), root, 2);
    cr_expect_eq(run_append_json(store, fork, STR("4,"), ends, 1).next.position, 3);
    for (size_t page = 1; page < 12; page++) {
        cr_expect_eq(read_text(store, fork, 0, page, text), 3);
        cr_expect_str_eq(text, "1,22,4,");
        cr_expect_eq(read_text(store, fork, 1, page, text), 3);
        cr_expect_str_eq(text, "22,4,");
    }
    store_stream_info(fork, &info);
    cr_expect_eq(info.messages, 3);
    run_trim(store, fork, 1);
    store_stream_info(fork, &info);
    cr_expect_eq(info.messages, 2);
    cr_expect_eq(read_text(store, fork, 1, 100, text), 3);
    cr_expect_str_eq(text, "22,4,");
    stream_drop(fork);
    stream_drop(root);
}

STORE_TEST(store_forks, forks_of_forks_read_through_all_of_them, roomy)
{
    Stream *root = run_create(store, STR("root"));
    Stream *middle;
    Stream *leaf;
    Stream *low;

    run_append(store, root, STR("abcd"));
    middle = run_fork_at(store, STR("middle"), root, 3);
    run_append(store, middle, STR("XYZ"));
    leaf = run_fork_at(store, STR("leaf"), middle, 5);
    run_append(store, leaf, STR("!"));
    low = run_fork_at(store, STR("low"), middle, 1);
    run_append(store, low, STR("?"));
    expect_text(store, middle, "abcXYZ");
    expect_text(store, leaf, "abcXY!");
    expect_text(store, low, "a?");
    stream_drop(low);
    stream_drop(leaf);
    stream_drop(middle);
    stream_drop(root);
}

STORE_TEST(store_forks, a_fork_inherits_no_state_of_its_writers, roomy)
{
    Stream *root = run_create(store, STR("root"));
    uint32_t end = 1;
    AppendRequest last = {
        .content_type = STR("text/plain"),
        .payload = {STR("x"), &end, 1},
        .close = true,
        .has_seq = true,
        .seq = STR("b"),
        .has_producer = true,
        .producer = {.id = STR("p"), .epoch = 7},
    };
    AppendRequest first = last;
    StoreResult result;
    Stream *fork;

    cr_expect_eq(run_append_request(store, root, last).append, APPEND_OK);
    fork = run_fork(store, STR("fork"), root);
    first.close = false;
    first.seq = STR("a");
    first.producer.epoch = 0;
    result = run_append_request(store, fork, first);
    cr_expect_eq(result.append, APPEND_OK);
    cr_expect_not(result.closed);
    expect_text(store, fork, "xx");
    stream_drop(fork);
    stream_drop(root);
}

STORE_TEST(store_forks, a_fork_can_be_created_with_more, roomy)
{
    Stream *root = run_create(store, STR("root"));
    uint32_t end = 4;
    StoreOp op;

    run_append(store, root, STR("root"));
    op = run_op(store, (StoreOp){
                           .kind = STORE_CREATE,
                           .name = STR("fork"),
                           .config = {.content_type = STR("text/plain"),
                                      .ttl_s = STREAM_NEVER,
                                      .expires_at_ms = STREAM_NEVER},
                           .append = {.payload = {STR("more"), &end, 1}, .close = true},
                           .fork = at(root, 2),
                       });
    cr_assert_eq(op.result.verdict, STORE_DONE);
    cr_expect_eq(op.result.next.position, 6);
    cr_expect(op.result.closed);
    expect_text(store, op.stream, "romore");
    stream_drop(op.stream);
    stream_drop(root);
}

STORE_TEST(store_forks, a_refused_fork_leaves_nothing_behind, roomy)
{
    Stream *root = run_create(store, STR("root"));
    ForkRequest other_era = at(root, 0);
    StoreOp op = run_fork_op(store, STR("fork"), at(root, 1));

    cr_expect_eq(op.result.verdict, STORE_FORK_REFUSED);
    cr_expect_eq(op.result.fork, FORK_BAD_OFFSET);
    cr_expect_null(op.stream);
    other_era.offset.era++;
    cr_expect_eq(run_fork_op(store, STR("fork"), other_era).result.fork, FORK_BAD_OFFSET);
    op = run_op(store, (StoreOp){
                           .kind = STORE_CREATE,
                           .name = STR("fork"),
                           .config = {.content_type = STR("application/json"),
                                      .ttl_s = STREAM_NEVER,
                                      .expires_at_ms = STREAM_NEVER},
                           .fork = {.parent = root},
                       });
    cr_expect_eq(op.result.fork, FORK_TYPE_MISMATCH);
    cr_expect_null(store_find(store, STR("fork")));
    cr_expect_eq(atomic_load(&store->streams), 1);
    cr_expect_eq(run_delete(store, root), STORE_DONE);
    cr_expect_null(registry_find(store->registry, STR("root")), "it had no fork");
    cr_expect_eq(run_fork_op(store, STR("fork"), (ForkRequest){.parent = root}).result.fork,
                 FORK_NOT_FOUND);
    cr_expect_eq(atomic_load(&store->streams), 0);
    stream_drop(root);
}

STORE_TEST(store_forks, the_same_fork_again_exists_already, roomy)
{
    Stream *root = run_create(store, STR("root"));
    Stream *fork;
    StoreOp op;

    run_append(store, root, STR("abc"));
    fork = run_fork_at(store, STR("fork"), root, 2);
    op = run_fork_op(store, STR("fork"), at(root, 2));
    cr_expect_eq(op.result.verdict, STORE_EXISTS);
    cr_expect_eq(op.stream, fork);
    stream_drop(op.stream);
    op = run_fork_op(store, STR("fork"), at(root, 1));
    cr_expect_eq(op.result.verdict, STORE_CONFLICT);
    stream_drop(op.stream);
    op = run_create_as(store, STR("fork"), STR("text/plain"), false);
    cr_expect_eq(op.result.verdict, STORE_CONFLICT, "that was no fork");
    stream_drop(op.stream);
    op = run_fork_op(store, STR("root"), (ForkRequest){.parent = root});
    cr_expect_eq(op.result.verdict, STORE_CONFLICT, "nobody is a fork of itself");
    stream_drop(op.stream);
    cr_expect_eq(atomic_load(&root->forks), 1);
    stream_drop(fork);
    stream_drop(root);
}

/* ---- deleting ---- */

static void
expect_kept(Store *store, Stream *stream)
{
    Stream *found = registry_find(store->registry, stream->name);
    StoreRead read = {.bytes_max = 100};
    StoreOp op = run_create_as(store, stream->name, STR("text/plain"), false);

    cr_expect_eq(found, stream);
    cr_expect_null(store_find(store, stream->name));
    cr_expect_eq(op.result.verdict, STORE_GONE);
    cr_expect_eq(store_read(store, stream, &read), READ_GONE);
    cr_expect_eq(run_append(store, stream, STR("x")).verdict, STORE_GONE);
    cr_expect_eq(run_trim(store, stream, 0).verdict, STORE_GONE);
    cr_expect_eq(run_delete(store, stream), STORE_GONE);
    cr_expect_eq(run_fork_op(store, STR("another"), (ForkRequest){.parent = stream}).result.fork,
                 FORK_GONE);
    stream_drop(op.stream);
    stream_drop(found);
}

STORE_TEST(store_forks, a_deleted_parent_is_kept_for_its_forks_alone, roomy)
{
    Stream *root = run_create(store, STR("root"));
    Stream *fork;
    StoreOp again;

    run_append(store, root, STR("kept"));
    fork = run_fork(store, STR("fork"), root);
    cr_expect_eq(run_delete(store, root), STORE_DONE);
    expect_kept(store, root);
    expect_text(store, fork, "kept");
    run_append(store, fork, STR("!"));
    expect_text(store, fork, "kept!");

    cr_expect_eq(run_delete(store, fork), STORE_DONE);
    cr_expect_null(store_find(store, STR("fork")));
    wait_for_count(&store->streams, 0);
    wait_for_count(&store->bytes, 0);
    again = run_create_as(store, STR("root"), STR("text/plain"), false);
    cr_expect_eq(again.result.verdict, STORE_DONE);
    cr_expect_gt(again.stream->era, root->era);
    stream_drop(again.stream);
    stream_drop(fork);
    stream_drop(root);
}

STORE_TEST(store_forks, the_last_fork_takes_all_deleted_ones_above_with_it, roomy)
{
    Stream *root = run_create(store, STR("root"));
    Stream *middle;
    Stream *leaf;

    run_append(store, root, STR("a"));
    middle = run_fork(store, STR("middle"), root);
    run_append(store, middle, STR("b"));
    leaf = run_fork(store, STR("leaf"), middle);
    run_append(store, leaf, STR("c"));
    cr_expect_eq(run_delete(store, middle), STORE_DONE);
    expect_kept(store, middle);
    cr_expect_eq(run_delete(store, root), STORE_DONE);
    expect_kept(store, root);
    expect_text(store, leaf, "abc");
    cr_expect_eq(run_delete(store, leaf), STORE_DONE);
    wait_for_count(&store->streams, 0);
    wait_for_count(&store->bytes, 0);
    cr_expect_null(registry_find(store->registry, STR("root")));
    stream_drop(leaf);
    stream_drop(middle);
    stream_drop(root);
}

STORE_TEST(store_forks, a_living_parent_outlives_its_forks, roomy)
{
    Stream *root = run_create(store, STR("root"));
    Stream *one;
    Stream *two;

    run_append(store, root, STR("root"));
    one = run_fork(store, STR("one"), root);
    two = run_fork(store, STR("two"), root);
    cr_expect_eq(run_delete(store, one), STORE_DONE);
    cr_expect_eq(run_delete(store, two), STORE_DONE);
    wait_for_count(&store->streams, 1);
    expect_text(store, root, "root");
    cr_expect_eq(run_delete(store, root), STORE_DONE);
    cr_expect_null(registry_find(store->registry, STR("root")));
    stream_drop(two);
    stream_drop(one);
    stream_drop(root);
}

STORE_TEST(store_forks, an_expired_parent_is_kept_until_it_is_removed_softly, roomy)
{
    StoreOp op = run_op(store, (StoreOp){
                                   .kind = STORE_CREATE,
                                   .name = STR("root"),
                                   .config = {.content_type = STR("text/plain"),
                                              .ttl_s = 3600,
                                              .expires_at_ms = STREAM_NEVER},
                               });
    Stream *root = op.stream;
    Stream *fork;
    StoreOp again;

    run_append(store, root, STR("kept"));
    fork = run_fork(store, STR("fork"), root);
    atomic_fetch_sub(&root->touched_ms, 3600 * 1000);
    again = run_create_as(store, STR("root"), STR("text/plain"), false);
    cr_expect_eq(again.result.verdict, STORE_GONE);
    stream_drop(again.stream);
    expect_text(store, fork, "kept");
    cr_expect_eq(run_delete(store, root), STORE_DONE, "as the sweep does");
    expect_kept(store, root);
    cr_expect_eq(run_delete(store, fork), STORE_DONE);
    wait_for_count(&store->streams, 0);
    stream_drop(fork);
    stream_drop(root);
}

STORE_TEST(store_forks, who_follows_the_changes_learns_once_of_a_soft_delete, roomy)
{
    static const JournalKind wanted[] = {JOURNAL_CREATED, JOURNAL_CREATED, JOURNAL_DELETED,
                                         JOURNAL_DELETED};
    Offset token = journal_token(store->journal);
    Stream *root = run_create(store, STR("root"));
    Stream *fork = run_fork(store, STR("fork"), root);
    JournalEntry entries[8];
    size_t count = 0;
    Error err = {0};

    run_delete(store, root);
    run_delete(store, fork);
    wait_for_count(&store->streams, 0);
    cr_assert(journal_read(store->journal, token, entries, 8, &count, &token, &err));
    cr_assert_eq(count, DS_COUNT(wanted));
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(entries[i].kind, wanted[i], "change %zu", i);
        cr_expect_eq(entries[i].era, i % 2 == 0 ? root->era : fork->era);
        free(entries[i].name);
    }
    cr_expect_gt(fork->era, root->era);
    cr_expect_neq(fork->id, root->id);
    stream_drop(fork);
    stream_drop(root);
}

/* ---- trimming ---- */

STORE_TEST(store_forks, a_trim_frees_what_no_fork_reads, roomy)
{
    Stream *root = run_create(store, STR("root"));
    Stream *fork;
    StoreRead read = {.bytes_max = 100};

    run_append(store, root, STR("abcd"));
    run_append(store, root, STR("efgh"));
    fork = run_fork_at(store, STR("fork"), root, 6);
    cr_expect_eq(run_trim(store, root, 4).freed_bytes, 0);
    cr_expect_eq(store_read(store, root, &read), READ_BEFORE_START);
    cr_expect_eq(read_text(store, root, 4, 100, text), 8);
    cr_expect_str_eq(text, "efgh");
    expect_text(store, fork, "abcdef");
    cr_expect_eq(atomic_load(&store->bytes), 8);

    cr_expect_eq(run_trim(store, fork, 2).verdict, STORE_DONE);
    cr_expect_eq(store_read(store, fork, &read), READ_BEFORE_START);
    wait_for_count(&store->bytes, 6);
    cr_expect_eq(read_text(store, fork, 2, 100, text), 6);
    cr_expect_str_eq(text, "cdef");
    cr_expect_eq(run_delete(store, fork), STORE_DONE);
    wait_for_count(&store->bytes, 4);
    cr_expect_eq(read_text(store, root, 4, 100, text), 8);
    cr_expect_str_eq(text, "efgh");
    stream_drop(fork);
    stream_drop(root);
}

STORE_TEST(store_forks, a_deleted_parent_keeps_only_what_forks_read, roomy)
{
    Stream *root = run_create(store, STR("root"));
    Stream *fork;

    run_append(store, root, STR("abcd"));
    run_append(store, root, STR("efgh"));
    fork = run_fork(store, STR("fork"), root);
    run_append(store, fork, STR("ij"));
    run_delete(store, root);
    expect_text(store, fork, "abcdefghij");
    run_trim(store, fork, 5);
    wait_for_count(&store->bytes, 5);
    cr_expect_eq(read_text(store, fork, 5, 100, text), 10);
    cr_expect_str_eq(text, "fghij");
    run_trim(store, fork, 9);
    wait_for_count(&store->bytes, 1);
    cr_expect_eq(read_text(store, fork, 9, 100, text), 10);
    cr_expect_str_eq(text, "j");
    run_delete(store, fork);
    wait_for_count(&store->streams, 0);
    stream_drop(fork);
    stream_drop(root);
}

STORE_TEST(store_forks, a_fork_of_a_trimmed_stream_begins_where_that_does, roomy)
{
    Stream *root = run_create(store, STR("root"));
    StoreRead read = {.from = 2, .bytes_max = 100};
    ForkRequest start = {.parent = root, .has_offset = true};
    StoreOp op;

    run_append(store, root, STR("abcdef"));
    run_trim(store, root, 3);
    cr_expect_eq(run_fork_op(store, STR("fork"), at(root, 2)).result.fork, FORK_BAD_OFFSET);
    op = run_fork_op(store, STR("fork"), start);
    cr_assert_eq(op.result.verdict, STORE_DONE);
    cr_expect_eq(op.result.start.position, 3);
    cr_expect_eq(op.result.next.position, 3);
    run_append(store, op.stream, STR("!"));
    cr_expect_eq(store_read(store, op.stream, &read), READ_BEFORE_START);
    cr_expect_eq(read_text(store, op.stream, 3, 100, text), 4);
    cr_expect_str_eq(text, "!");
    stream_drop(op.stream);
    stream_drop(root);
}

/* ---- limits and threads ---- */

static const StoreLimits two_streams = {
    .memory_bytes = 1000,
    .stream_bytes = 1000,
    .streams = 2,
    .producers_per_stream = 4,
};

STORE_TEST(store_forks, forks_count_as_streams_and_so_does_what_is_kept_for_them, two_streams)
{
    Stream *root = run_create(store, STR("root"));
    Stream *fork = run_fork(store, STR("fork"), root);
    ForkRequest request = {.parent = root};
    StoreOp op = run_fork_op(store, STR("third"), request);

    cr_expect_eq(op.result.verdict, STORE_TOO_MANY_STREAMS);
    run_delete(store, root);
    op = run_create_as(store, STR("third"), STR("text/plain"), false);
    cr_expect_eq(op.result.verdict, STORE_TOO_MANY_STREAMS);
    run_delete(store, fork);
    wait_for_count(&store->streams, 0);
    stream_drop(fork);
    stream_drop(root);
}

enum { THREADS = 4, ROUNDS = 500 };

typedef struct Worker {
    pthread_t thread;
    Store *store;
    char name[8];
} Worker;

/* Forks whatever stream "root" is, reads, and deletes both in any order. */
static void *
fork_and_delete(void *arg)
{
    Worker *worker = arg;
    char *seen = mem_alloc(READ_TEXT_BYTES_MAX);

    for (int i = 0; i < ROUNDS; i++) {
        StoreOp made = run_create_as(worker->store, STR("root"), STR("text/plain"), false);
        StoreOp forked;

        if (made.stream == NULL) {
            continue;
        }
        if (made.result.verdict == STORE_DONE) {
            (void)run_append(worker->store, made.stream, STR("root"));
        }
        forked =
            run_fork_op(worker->store, str_c(worker->name), (ForkRequest){.parent = made.stream});
        if (forked.result.verdict == STORE_DONE) {
            uint64_t from = forked.stream->fork_at;

            (void)run_append(worker->store, forked.stream, STR("!"));
            cr_assert_eq(read_text(worker->store, forked.stream, 0, 2, seen), from + 1);
            cr_assert(str_starts(STR("root"), str_n(seen, from)) && seen[from] == '!');
            cr_assert_neq(run_delete(worker->store, i % 2 == 0 ? made.stream : forked.stream),
                          STORE_NOT_FOUND);
            (void)run_delete(worker->store, i % 2 == 0 ? forked.stream : made.stream);
        } else {
            (void)run_delete(worker->store, made.stream);
        }
        stream_drop(forked.stream);
        stream_drop(made.stream);
    }
    free(seen);
    return NULL;
}

STORE_TEST(store_forks, a_stream_that_many_fork_and_delete_leaves_nothing_behind, roomy)
{
    Worker workers[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (Worker){.store = store};
        snprintf(workers[i].name, sizeof(workers[i].name), "fork%zu", i);
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, fork_and_delete, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    wait_for_count(&store->streams, 0);
    wait_for_count(&store->bytes, 0);
    cr_expect_null(registry_find(store->registry, STR("root")));
}
