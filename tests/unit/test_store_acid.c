/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The acid backend alone, without the shard that judges: what it writes, reads, refuses and
 * deletes. What the whole mode promises is held by store_contract.
 */
#include "server/store_acid.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/mem.h"
#include "server/sqlite.h"
#include "server/store_acid_internal.h"
#include "tests/support/temp_dir.h"

#define STREAMS_MAX    8
#define PRODUCERS_MAX  4096
#define TICKS_MAX      1000
#define BIG_BYTES      (3 << 20)
#define READ_BYTES_MAX (8 << 20)

struct ShardLoad {
    size_t count;
};

static char dir[TEMP_DIR_BYTES];
static char path[TEMP_PATH_BYTES];
static void *shared;
static Backend *backend;
static ShardStream *streams[STREAMS_MAX]; /* as loaded, by id - 1 */

/* ---- what a shard is to the backend ---- */

void
shard_evict(Shard *shard DS_UNUSED)
{
}

static void
free_stream(Stream *stream)
{
    stream_done(stream);
    free(DS_CONTAINER_OF(stream, AcidStream, base.base));
}

static ShardStream *
stream_new(uint64_t id, Str name, Str content_type)
{
    AcidStream *acid = mem_zalloc(backend->table->stream_size);
    StreamConfig config = {
        .content_type = content_type, .ttl_s = STREAM_NEVER, .expires_at_ms = STREAM_NEVER};

    stream_init(&acid->base.base, name, &config, free_stream);
    acid->base.base.id = id;
    acid->base.base.era = id;
    streams[id - 1] = &acid->base;
    return &acid->base;
}

bool
shard_load_stream(ShardLoad *load, const StreamRow *row, ShardStream **out, Error *err DS_UNUSED)
{
    StreamRowTime now = {.boot_ms = clock_boot_ms(), .wall_ms = clock_wall_ms()};

    *out = stream_new(row->id, row->name, row->content_type);
    stream_row_restore(row, now, 0, PRODUCERS_MAX, &(*out)->base);
    (*out)->kept_to = row->at.tail;
    load->count++;
    return true;
}

static size_t
open_backend(Error *err)
{
    BackendOptions options = {.data_dir = dir, .shards = 1, .producers_max = PRODUCERS_MAX};
    ShardLoad load = {0};

    backend = NULL;
    if (!store_acid.share(&options, &shared, err)) {
        shared = NULL;
        return SIZE_MAX;
    }
    if (!store_acid.open(&options, shared, &backend, err) ||
        !backend->table->load(backend, &load, err)) {
        return SIZE_MAX;
    }
    return load.count;
}

static void
drop_streams(void)
{
    for (size_t i = 0; i < STREAMS_MAX; i++) {
        stream_drop(streams[i] == NULL ? NULL : &streams[i]->base);
        streams[i] = NULL;
    }
}

static void
close_backend(bool clean)
{
    Error err = {0};

    if (clean) {
        cr_expect(backend->table->close(backend, &err), "%s", err.text);
    }
    drop_streams();
    if (backend != NULL) {
        backend->table->free(backend);
    }
    store_acid.unshare(shared);
    backend = NULL;
    shared = NULL;
}

static size_t
reopen(void)
{
    Error err = {0};
    size_t count;

    close_backend(true);
    count = open_backend(&err);
    cr_assert_neq(count, SIZE_MAX, "%s", err.text);
    return count;
}

static void
set_up(void)
{
    Error err = {0};

    temp_dir_make(dir);
    temp_dir_path(dir, "acid/shard_00.sqlite", path);
    cr_assert_eq(open_backend(&err), 0, "%s", err.text);
}

static void
tear_down(void)
{
    if (backend != NULL) {
        close_backend(true);
    }
    temp_dir_remove(dir);
}

TestSuite(store_acid, .init = set_up, .fini = tear_down);

/* ---- batches ---- */

typedef struct Batch {
    StoreOp ops[64];
    Change changes[64];
    size_t count;
} Batch;

static Change *
add(Batch *batch, ChangeKind kind, ShardStream *stream)
{
    Change *change = &batch->changes[batch->count];

    *change = (Change){.kind = kind,
                       .stream = stream,
                       .op = &batch->ops[batch->count],
                       .boot_ms = clock_boot_ms(),
                       .wall_ms = clock_wall_ms()};
    batch->count++;
    return change;
}

static void
add_payload(Batch *batch, ChangeKind kind, ShardStream *stream, AppendRequest request)
{
    Change *change = add(batch, kind, stream);

    batch->ops[batch->count - 1].append = request;
    change->position = stream->base.state.at.tail;
    stream_apply_append(&stream->base, &request, PRODUCERS_MAX, change->boot_ms, change->wall_ms,
                        NULL);
}

static void
publish(const Batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        stream_publish(&batch->changes[i].stream->base);
    }
    backend->table->published(backend, batch->changes, batch->count);
}

static bool
commit(Batch *batch, Error *err)
{
    bool ok = backend->table->commit(backend, batch->changes, batch->count, err);

    if (ok) {
        publish(batch);
    }
    batch->count = 0;
    return ok;
}

static void
commit_well(Batch *batch)
{
    Error err = {0};

    cr_assert(commit(batch, &err), "%s", err.text);
}

static AppendRequest
bytes_of(Str bytes, const uint32_t *ends, size_t count)
{
    return (AppendRequest){.payload = {.bytes = bytes, .ends = ends, .count = count}};
}

static ShardStream *
create(uint64_t id, const char *name, Str content_type)
{
    Batch batch = {0};
    ShardStream *stream = stream_new(id, str_c(name), content_type);

    add_payload(&batch, CHANGE_CREATE, stream, (AppendRequest){0});
    commit_well(&batch);
    return stream;
}

static void
append(ShardStream *stream, Str bytes)
{
    Batch batch = {0};
    uint32_t end = (uint32_t)bytes.len;

    add_payload(&batch, CHANGE_APPEND, stream, bytes_of(bytes, &end, 1));
    commit_well(&batch);
}

static void
trim(ShardStream *stream, uint64_t position, uint64_t bytes)
{
    Batch batch = {0};

    stream->base.state.at.start = stream->base.state.at.base = position;
    stream->base.state.at.bytes = bytes;
    add(&batch, CHANGE_TRIM, stream);
    commit_well(&batch);
}

static void
delete_stream(ShardStream *stream)
{
    Batch batch = {0};

    stream->base.state.deleted = true;
    add(&batch, CHANGE_DELETE, stream);
    commit_well(&batch);
    atomic_store(&stream->base.deleted, true);
}

static void
tick_until_clean(void)
{
    AcidBackend *acid = DS_CONTAINER_OF(backend, AcidBackend, base);

    for (size_t i = 0; i < TICKS_MAX && acid->garbage.maybe; i++) {
        backend->table->tick(backend);
    }
    cr_assert(!acid->garbage.maybe);
}

static int64_t
number(const char *sql)
{
    int64_t out = -1;
    Error err = {0};

    cr_assert(sqlite_number(DS_CONTAINER_OF(backend, AcidBackend, base)->db, sql, &out, &err), "%s",
              err.text);
    return out;
}

static void
exec(const char *sql)
{
    Error err = {0};

    cr_assert(sqlite_exec(DS_CONTAINER_OF(backend, AcidBackend, base)->db, sql, &err), "%s",
              err.text);
}

/* ---- reading ---- */

/* One read; the bytes are the caller's. */
static char *
read_range(ShardStream *stream, uint64_t from, uint64_t to, size_t bytes_max, uint64_t *out_to,
           size_t *out_len)
{
    char *text = mem_zalloc(READ_BYTES_MAX);
    Range range;
    Error err = {0};

    range_init(&range, from);
    cr_assert(backend->table->read(backend, stream, from, to, bytes_max, &range, &err), "%s",
              err.text);
    *out_len = 0;
    for (size_t i = 0; i < range.count; i++) {
        memcpy(text + *out_len, range.parts[i].bytes.ptr, range.parts[i].bytes.len);
        *out_len += range.parts[i].bytes.len;
    }
    cr_assert_eq(*out_len, range.bytes);
    *out_to = range.to;
    range_done(&range);
    return text;
}

static void
expect_read(ShardStream *stream, uint64_t from, uint64_t to, size_t bytes_max, const char *bytes,
            uint64_t read_to)
{
    uint64_t got_to;
    size_t len;
    char *text = read_range(stream, from, to, bytes_max, &got_to, &len);

    cr_expect_str_eq(text, bytes, "from %d to %d, %zu bytes: %s", (int)from, (int)to, bytes_max,
                     text);
    cr_expect_eq(got_to, read_to);
    free(text);
}

static ErrorCode
read_fails(ShardStream *stream, uint64_t from, uint64_t to)
{
    Range range;
    Error err = {0};
    bool ok;

    range_init(&range, from);
    ok = backend->table->read(backend, stream, from, to, 1000, &range, &err);
    range_done(&range);
    return ok ? ERR_NONE : err.code;
}

static void
expect_measure(ShardStream *stream, uint64_t position, uint64_t bytes, uint64_t messages)
{
    uint64_t got_bytes = 99;
    uint64_t got_messages = 99;
    Error err = {0};

    cr_assert(backend->table->measure(backend, stream, position, &got_bytes, &got_messages, &err),
              "%s", err.text);
    cr_expect_eq(got_bytes, bytes, "bytes before %d: %d", (int)position, (int)got_bytes);
    cr_expect_eq(got_messages, messages, "messages before %d: %d", (int)position,
                 (int)got_messages);
}

/* ---- tests ---- */

Test(store_acid, json_is_read_by_messages_however_it_was_batched)
{
    static const uint32_t two[] = {2, 5};
    static const uint32_t one[] = {3};
    ShardStream *stream = create(1, "a", STR("application/json"));
    Batch batch = {0};

    add_payload(&batch, CHANGE_APPEND, stream, bytes_of(STR("1,22,"), two, 2));
    add_payload(&batch, CHANGE_APPEND, stream, bytes_of(STR("33,"), one, 1));
    commit_well(&batch);
    append(stream, STR("4,"));
    append(stream, STR("55555,"));
    cr_expect_eq(number("SELECT count(*) FROM append"), 3, "a batch is one row");
    for (size_t round = 0; round < 2; round++) {
        expect_read(stream, 0, 5, 1000, "1,22,33,4,55555,", 5);
        expect_read(stream, 1, 4, 1000, "22,33,4,", 4);
        expect_read(stream, 2, 3, 1000, "33,", 3);
        expect_read(stream, 0, 5, 8, "1,22,33,", 3);
        expect_read(stream, 0, 5, 7, "1,22,", 2);
        expect_read(stream, 0, 5, 9, "1,22,33,", 3);
        expect_read(stream, 4, 5, 1, "55555,", 5);
        expect_read(stream, 0, 5, 1, "1,", 1);
        expect_measure(stream, 0, 0, 0);
        expect_measure(stream, 2, 5, 2);
        expect_measure(stream, 4, 10, 4);
        expect_measure(stream, 5, 16, 5);
        cr_assert_eq(reopen(), 1);
        stream = streams[0];
    }
}

Test(store_acid, bytes_are_read_from_any_byte_and_cut_at_appends)
{
    ShardStream *stream = create(1, "a", STR("text/plain"));

    append(stream, STR("hello"));
    append(stream, STR(", "));
    append(stream, STR("world"));
    expect_read(stream, 0, 12, 1000, "hello, world", 12);
    expect_read(stream, 3, 12, 1000, "lo, world", 12);
    expect_read(stream, 3, 9, 1000, "lo, wo", 9);
    expect_read(stream, 0, 12, 6, "hello", 5);
    expect_read(stream, 2, 12, 1, "llo", 5);
    expect_read(stream, 2, 4, 1, "ll", 4);
    expect_measure(stream, 0, 0, 0);
    expect_measure(stream, 3, 3, 0);
    expect_measure(stream, 6, 6, 1);
    expect_measure(stream, 12, 12, 3);
}

Test(store_acid, a_fork_stores_its_own_from_where_it_begins)
{
    ShardStream *stream = stream_new(2, STR("fork"), STR("application/json"));
    static const uint32_t ends[] = {2};
    Batch batch = {0};

    stream->base.fork_at = 7;
    stream->base.parent = &create(1, "parent", STR("application/json"))->base;
    stream_take(stream->base.parent);
    stream->base.state.at.tail = stream->base.state.at.base = 7;
    add_payload(&batch, CHANGE_CREATE, stream, bytes_of(STR("7,"), ends, 1));
    commit_well(&batch);
    append(stream, STR("88,"));
    expect_read(stream, 7, 9, 1000, "7,88,", 9);
    expect_measure(stream, 7, 0, 0);
    expect_measure(stream, 8, 2, 1);
    cr_expect_eq(number("SELECT parent_id FROM stream WHERE id = 2"), 1);
    cr_expect_eq(number("SELECT file_bytes FROM stream WHERE id = 2"), 5);
    cr_expect_eq(number("SELECT file_count FROM stream WHERE id = 2"), 2);
}

Test(store_acid, a_large_append_is_cut_into_rows_and_a_large_message_is_not)
{
    ShardStream *stream = create(1, "a", STR("application/octet-stream"));
    char *big = mem_alloc(BIG_BYTES);
    uint32_t *ends = mem_array(BIG_BYTES / 1000, sizeof(*ends));
    Batch batch = {0};
    uint64_t to;
    size_t len;
    char *got;

    for (size_t i = 0; i < BIG_BYTES; i++) {
        big[i] = (char)(i * 7 + i / 251);
    }
    for (size_t i = 0; i < BIG_BYTES / 1000; i++) {
        ends[i] = (uint32_t)(i + 1) * 1000;
    }
    add_payload(&batch, CHANGE_APPEND, stream,
                bytes_of(str_n(big, BIG_BYTES / 1000 * 1000), ends, BIG_BYTES / 1000));
    commit_well(&batch);
    cr_expect_eq(number("SELECT count(*) FROM append"), 13);
    cr_expect_leq(number("SELECT max(length(bytes)) FROM append"), (int64_t)ACID_ROW_BYTES_MAX);
    append(stream, str_n(big, BIG_BYTES));
    cr_expect_eq(number("SELECT max(length(bytes)) FROM append"), BIG_BYTES);

    got = read_range(stream, 999, stream->kept_to, 2 * BIG_BYTES, &to, &len);
    cr_assert_eq(to, stream->kept_to);
    cr_assert_eq(len, BIG_BYTES / 1000 * 1000 - 999 + BIG_BYTES);
    cr_expect_eq(memcmp(got, big + 999, BIG_BYTES / 1000 * 1000 - 999), 0);
    cr_expect_eq(memcmp(got + BIG_BYTES / 1000 * 1000 - 999, big, BIG_BYTES), 0);
    free(got);
    got = read_range(stream, BIG_BYTES / 1000 * 1000 + 5, stream->kept_to, 10, &to, &len);
    cr_expect_eq(len, BIG_BYTES - 5, "one message at least");
    free(got);
    free(ends);
    free(big);
}

Test(store_acid, many_producers_are_not_written_again)
{
    ShardStream *stream = create(1, "a", STR("text/plain"));
    static const uint32_t ends[] = {1};
    Batch batch = {0};
    char id[16];

    for (size_t i = 0; i < 2000; i++) {
        AppendRequest request = bytes_of(STR("x"), ends, 1);

        (void)snprintf(id, sizeof(id), "p%zu", i);
        request.has_producer = true;
        request.producer = (ProducerTag){.id = str_c(id)};
        add_payload(&batch, CHANGE_APPEND, stream, request);
        commit_well(&batch);
    }
    cr_expect_eq(number("SELECT count(*) FROM producer"), 2000);
    exec("UPDATE producer SET epoch = 77");
    append(stream, STR("y"));
    cr_expect_eq(number("SELECT count(*) FROM producer WHERE epoch = 77"), 2000);
    cr_assert_eq(reopen(), 1);
    cr_expect_eq(producers_count(streams[0]->base.state.producers), 2000);
}

Test(store_acid, a_trim_deletes_rows_and_leaves_what_is_kept)
{
    ShardStream *stream = create(1, "a", STR("text/plain"));

    for (size_t i = 0; i < 10; i++) {
        append(stream, STR("0123456789"));
    }
    trim(stream, 35, 65);
    tick_until_clean();
    cr_expect_eq(number("SELECT count(*) FROM append"), 7);
    cr_expect_eq(number("SELECT min(position) FROM append"), 30);
    expect_read(stream, 35, 42, 1000, "5678901", 42);
    expect_measure(stream, 35, 35, 3);
    cr_expect_eq(read_fails(stream, 29, 42), ERR_GONE);
    trim(stream, 100, 0);
    tick_until_clean();
    cr_expect_eq(number("SELECT count(*) FROM append"), 0, "nothing is kept for nothing");
    expect_measure(stream, 100, 100, 10);
    append(stream, STR("abc"));
    expect_read(stream, 100, 103, 1000, "abc", 103);
    cr_expect_eq(number("SELECT count(*) FROM garbage"), 0);
}

Test(store_acid, a_trim_of_json_counts_messages)
{
    static const uint32_t ends[] = {10, 20, 30};
    ShardStream *stream = create(1, "a", STR("application/json"));
    Batch batch = {0};

    for (size_t i = 0; i < 3; i++) {
        add_payload(&batch, CHANGE_APPEND, stream,
                    bytes_of(STR("123456789,abcdefghi,ABCDEFGHI,"), ends, 3));
        commit_well(&batch);
    }
    trim(stream, 5, 40);
    tick_until_clean();
    cr_expect_eq(number("SELECT min(position) FROM append"), 3);
    trim(stream, 6, 30);
    tick_until_clean();
    cr_expect_eq(number("SELECT min(position) FROM append"), 6);
    expect_read(stream, 6, 9, 10, "123456789,", 7);
}

Test(store_acid, a_large_delete_goes_in_slices_and_its_space_is_given_back)
{
    ShardStream *keep = create(2, "keep", STR("text/plain"));
    ShardStream *stream = create(1, "a", STR("text/plain"));
    char *big = mem_zalloc(ACID_ROW_BYTES_MAX);
    int64_t pages;

    for (size_t i = 0; i < 40; i++) {
        append(stream, str_n(big, ACID_ROW_BYTES_MAX));
    }
    free(big);
    pages = number("PRAGMA page_count");
    delete_stream(stream);
    cr_expect_eq(number("SELECT count(*) FROM stream"), 1, "it is gone at once");
    cr_expect_gt(number("SELECT count(*) FROM append"), 30, "its payload is not");
    for (size_t i = 0; i < 20; i++) {
        append(keep, STR("x"));
    }
    cr_expect_eq(number("SELECT count(*) FROM append WHERE stream_id = 1"), 0,
                 "batches take some along");
    for (size_t i = 0; i < TICKS_MAX && number("PRAGMA page_count") > pages / 2; i++) {
        backend->table->tick(backend);
    }
    cr_expect_leq(number("PRAGMA page_count"), pages / 2);
}

/* Whoever reads between the commit and its becoming public sees the stream as it was. */
Test(store_acid, what_a_batch_trims_or_deletes_is_there_until_it_is_public)
{
    ShardStream *trimmed = create(1, "trimmed", STR("text/plain"));
    ShardStream *deleted = create(2, "deleted", STR("text/plain"));
    Batch batch = {0};
    Error err = {0};

    append(trimmed, STR("0123456789"));
    append(deleted, STR("abcdefghij"));
    trimmed->base.state.at.start = trimmed->base.state.at.base = 10;
    trimmed->base.state.at.bytes = 0;
    add(&batch, CHANGE_TRIM, trimmed);
    deleted->base.state.deleted = true;
    add(&batch, CHANGE_DELETE, deleted);
    cr_assert(backend->table->commit(backend, batch.changes, batch.count, &err), "%s", err.text);
    expect_read(trimmed, 0, 10, 1000, "0123456789", 10);
    expect_measure(trimmed, 5, 5, 0);
    expect_read(deleted, 0, 10, 1000, "abcdefghij", 10);
    publish(&batch);
    atomic_store(&deleted->base.deleted, true);
    tick_until_clean();
    cr_expect_eq(read_fails(trimmed, 0, 10), ERR_GONE);
    cr_expect_eq(read_fails(deleted, 0, 10), ERR_GONE);
    cr_expect_eq(number("SELECT count(*) FROM append"), 0);
}

Test(store_acid, garbage_survives_a_restart)
{
    ShardStream *stream = create(1, "a", STR("text/plain"));
    char *big = mem_zalloc(ACID_ROW_BYTES_MAX);

    for (size_t i = 0; i < 10; i++) {
        append(stream, str_n(big, ACID_ROW_BYTES_MAX));
    }
    free(big);
    delete_stream(stream);
    cr_assert_gt(number("SELECT count(*) FROM append"), 0);
    cr_assert_eq(reopen(), 0);
    tick_until_clean();
    cr_expect_eq(number("SELECT count(*) FROM append"), 0);
}

Test(store_acid, space_is_used_again_however_often_a_stream_is_trimmed)
{
    ShardStream *stream = create(1, "a", STR("text/plain"));
    char *big = mem_zalloc(ACID_ROW_BYTES_MAX);
    int64_t pages = 0;

    for (size_t round = 0; round < 20; round++) {
        for (size_t i = 0; i < 8; i++) {
            append(stream, str_n(big, ACID_ROW_BYTES_MAX));
        }
        trim(stream, stream->kept_to, 0);
        tick_until_clean();
        if (round == 1) {
            pages = number("PRAGMA page_count");
        }
    }
    free(big);
    cr_expect_leq(number("PRAGMA page_count"), pages + pages / 4);
}

Test(store_acid, the_log_stays_short_while_commits_go_on)
{
    AcidBackend *acid = DS_CONTAINER_OF(backend, AcidBackend, base);
    ShardStream *stream = create(1, "a", STR("text/plain"));
    char *big = mem_zalloc(ACID_ROW_BYTES_MAX);
    uint64_t most = 0;

    acid->log_pages_soon = 200;
    acid->log_pages_max = 400;
    for (size_t i = 0; i < 50; i++) {
        append(stream, str_n(big, ACID_ROW_BYTES_MAX));
        most = DS_MAX(most, acid->log_pages);
    }
    free(big);
    cr_expect_leq(most, 600, "%d", (int)most);
}

/* ---- no room ---- */

Test(store_acid, without_room_nothing_of_a_batch_is_there_and_a_later_one_succeeds)
{
    ShardStream *stream = create(1, "a", STR("text/plain"));
    char *big = mem_zalloc(BIG_BYTES);
    uint32_t end = BIG_BYTES;
    AppendRequest request = bytes_of(str_n(big, BIG_BYTES), &end, 1);
    StreamUndo undo;
    Batch batch = {0};
    Error err = {0};

    append(stream, STR("before"));
    exec("PRAGMA max_page_count = 100");
    batch.ops[0].append = request;
    add(&batch, CHANGE_APPEND, stream)->position = 6;
    stream_apply_append(&stream->base, &request, PRODUCERS_MAX, 0, 0, &undo);
    cr_expect(!commit(&batch, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    stream_undo(&stream->base, &undo);
    free(big);
    cr_expect_eq(number("SELECT tail FROM stream"), 6);
    append(stream, STR(" after"));
    expect_read(stream, 0, 12, 1000, "before after", 12);
    expect_measure(stream, 12, 12, 2);
    cr_assert_eq(reopen(), 1);
    expect_read(streams[0], 0, 12, 1000, "before after", 12);
}

Test(store_acid, a_database_that_another_program_locks_refuses_and_recovers)
{
    ShardStream *stream = create(1, "a", STR("text/plain"));
    SqliteOptions options = {.path = path, .sync = true, .cache_kib = 64};
    uint32_t end = 1;
    AppendRequest request = bytes_of(STR("x"), &end, 1);
    StreamUndo undo;
    Batch batch = {0};
    sqlite3 *other;
    Error err = {0};

    (void)sqlite3_busy_timeout(DS_CONTAINER_OF(backend, AcidBackend, base)->db, 1);
    cr_assert(sqlite_open(&options, &other, &err), "%s", err.text);
    cr_assert(sqlite_begin(other, &err));
    batch.ops[0].append = request;
    add(&batch, CHANGE_APPEND, stream);
    stream_apply_append(&stream->base, &request, PRODUCERS_MAX, 0, 0, &undo);
    cr_expect(!commit(&batch, &err));
    cr_expect_eq(err.code, ERR_FULL, "%s", err.text);
    stream_undo(&stream->base, &undo);
    sqlite_rollback(other);
    sqlite_close(other);
    append(stream, STR("x"));
    expect_read(stream, 0, 1, 10, "x", 1);
}

/* ---- damage ---- */

Test(store_acid, damaged_payload_is_refused_and_the_good_before_it_is_served)
{
    static const char copy_of_the_next[] =
        "UPDATE append SET bytes = (SELECT bytes FROM append WHERE position = 8), "
        "crc32c = (SELECT crc32c FROM append WHERE position = 8) WHERE position = 4";
    static const char *const damage[] = {
        "UPDATE append SET bytes = X'6c6f7365' WHERE position = 4",
        "UPDATE append SET crc32c = crc32c + 1 WHERE position = 4",
        "UPDATE append SET ends = X'010000000400' WHERE position = 4",
        "UPDATE append SET bytes_before = 5 WHERE position = 4",
        "UPDATE append SET position = 5 WHERE position = 4",
        copy_of_the_next,
        "DELETE FROM append WHERE position = 4",
    };
    ShardStream *stream = create(1, "a", STR("text/plain"));

    append(stream, STR("good"));
    append(stream, STR("lost"));
    append(stream, STR("more"));
    exec("CREATE TABLE saved AS SELECT * FROM append");
    for (size_t i = 0; i < DS_COUNT(damage); i++) {
        exec(damage[i]);
        expect_read(stream, 0, 12, 1000, "good", 4);
        cr_expect_eq(read_fails(stream, 4, 12), ERR_CORRUPT, "%s", damage[i]);
        exec("DELETE FROM append; INSERT INTO append SELECT * FROM saved");
    }
    expect_read(stream, 0, 12, 1000, "goodlostmore", 12);
}

static ErrorCode
start_fails(void)
{
    Error err = {0};
    size_t count = open_backend(&err);
    ErrorCode code = err.code;

    cr_assert_eq(count, SIZE_MAX);
    close_backend(false);
    return code;
}

Test(store_acid, the_file_of_another_shard_is_refused)
{
    exec("UPDATE shard SET number = 3");
    close_backend(true);
    cr_expect_eq(start_fails(), ERR_CORRUPT);
}

Test(store_acid, a_missing_file_is_refused_when_others_hold_streams)
{
    BackendOptions options = {.data_dir = dir, .shards = 4, .producers_max = PRODUCERS_MAX};
    Error err = {0};

    exec("UPDATE shard SET count = 4");
    close_backend(true);
    cr_assert(store_acid.share(&options, &shared, &err), "nothing is lost yet: %s", err.text);
    cr_assert(store_acid.open(&options, shared, &backend, &err), "%s", err.text);
    (void)create(1, "a", STR("text/plain"));
    close_backend(true);
    cr_expect(!store_acid.share(&options, &shared, &err));
    cr_expect_eq(err.code, ERR_CORRUPT);
    cr_expect_not_null(strstr(err.text, "shard_01.sqlite is missing"), "%s", err.text);
    for (options.shard = 1; options.shard < 4; options.shard++) {
        char *file = acid_path(&options, options.shard);

        close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        free(file);
    }
    cr_expect(store_acid.share(&options, &shared, &err), "%s", err.text);
}

Test(store_acid, files_that_are_all_missing_are_refused_after_an_orderly_stop)
{
    BackendOptions options = {.data_dir = dir, .shards = 1, .left_clean = true};
    Error err = {0};

    close_backend(true);
    cr_assert_eq(unlink(path), 0);
    cr_expect(!store_acid.share(&options, &shared, &err));
    cr_expect_eq(err.code, ERR_CORRUPT, "%s", err.text);
    options.left_clean = false;
    cr_expect(store_acid.share(&options, &shared, &err), "%s", err.text);
}

Test(store_acid, a_file_that_is_no_database_is_refused)
{
    int fd;

    close_backend(true);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(pwrite(fd, "not what SQLite writes", 22, 0), 22);
    close(fd);
    cr_expect_eq(start_fails(), ERR_CORRUPT);
}
