/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stream_row.h"

#include <criterion/criterion.h>

#include "common/mem.h"
#include "server/sqlite.h"
#include "server/stream_rows.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"

#define PRODUCERS_MAX 8

static char dir[TEMP_DIR_BYTES];
static char path[TEMP_PATH_BYTES];
static sqlite3 *db;
static StreamRows *rows;

void
net_loop_post(NetLoop *loop DS_UNUSED, LoopFn fn DS_UNUSED, void *arg DS_UNUSED)
{
    cr_assert_fail("a post that nobody waits for");
}

static void
open_rows(void)
{
    SqliteOptions options = {.path = path, .create = true, .cache_kib = 256};
    Error err = {0};

    cr_assert(sqlite_open(&options, &db, &err), "%s", err.text);
    cr_assert(stream_rows_open(db, &rows, &err), "%s", err.text);
}

static void
close_rows(void)
{
    stream_rows_close(rows);
    sqlite_close(db);
}

static void
set_up(void)
{
    clock_set_source(&fake_clock);
    temp_dir_make(dir);
    temp_dir_path(dir, "rows.sqlite", path);
    open_rows();
}

static void
tear_down(void)
{
    close_rows();
    temp_dir_remove(dir);
}

TestSuite(stream_row, .init = set_up, .fini = tear_down);

static StreamRowTime
now(void)
{
    return (StreamRowTime){.boot_ms = boot_ms, .wall_ms = wall_ms};
}

/* ---- streams ---- */

static void
free_stream(Stream *stream)
{
    stream_done(stream);
    free(stream);
}

static Stream *
stream_new(const char *name, int64_t ttl_s)
{
    Stream *stream = mem_zalloc(sizeof(*stream));
    StreamConfig config = {
        .content_type = STR("text/plain"), .ttl_s = ttl_s, .expires_at_ms = STREAM_NEVER};

    stream_init(stream, str_c(name), &config, free_stream);
    stream->id = 7;
    stream->era = 5;
    return stream;
}

static AppendVerdict
append(Stream *stream, AppendRequest request)
{
    static const uint32_t ends[] = {3};
    ProducerState state;
    AppendVerdict verdict;

    request.content_type = STR("text/plain");
    request.payload = (LogPayload){.bytes = STR("abc"), .ends = ends, .count = 1};
    verdict = stream_judge_append(stream, &request, 1000000, boot_ms, &state);
    if (verdict == APPEND_OK) {
        stream_apply_append(stream, &request, PRODUCERS_MAX, boot_ms, wall_ms, NULL);
        stream_publish(stream);
    }
    return verdict;
}

static AppendRequest
from_producer(const char *id, uint64_t epoch, uint64_t seq)
{
    return (AppendRequest){.has_producer = true,
                           .producer = {.id = str_c(id), .epoch = epoch, .seq = seq}};
}

static void
put(const Stream *stream, uint64_t producers_after)
{
    StreamRow row;
    Error err = {0};

    stream_row_of(stream, producers_after, now(), &row);
    cr_assert(stream_rows_put(rows, &row, &err), "%s", err.text);
    stream_row_done(&row);
}

typedef struct Loaded {
    Stream *streams[4];
    size_t producers[4];
    size_t count;
    int64_t slack_ms;
} Loaded;

static bool
restore(void *arg, const StreamRow *row, Error *err DS_UNUSED)
{
    Loaded *loaded = arg;
    Stream *stream = mem_zalloc(sizeof(*stream));
    StreamConfig config = {.content_type = row->content_type,
                           .ttl_s = row->ttl_s,
                           .expires_at_ms = row->expires_at_ms};

    stream_init(stream, row->name, &config, free_stream);
    stream_row_restore(row, now(), loaded->slack_ms, PRODUCERS_MAX, stream);
    loaded->producers[loaded->count] = row->producers_count;
    loaded->streams[loaded->count++] = stream;
    return true;
}

static Loaded
load(int64_t slack_ms)
{
    Loaded loaded = {.slack_ms = slack_ms};
    Error err = {0};

    cr_assert(stream_rows_load(rows, restore, &loaded, &err), "%s", err.text);
    return loaded;
}

static bool
same_note(StreamNote a, StreamNote b)
{
    return (a.ptr == NULL) == (b.ptr == NULL) && str_eq(str_n(a.ptr, a.len), str_n(b.ptr, b.len));
}

static void
expect_same(const Stream *a, const Stream *b)
{
    cr_expect(str_eq(a->name, b->name));
    cr_expect(str_eq(a->content_type, b->content_type));
    cr_expect_eq(a->kind, b->kind);
    cr_expect_eq(a->ttl_s, b->ttl_s);
    cr_expect_eq(a->expires_at_ms, b->expires_at_ms);
    cr_expect_eq(a->created_ms, b->created_ms);
    cr_expect_eq(a->era, b->era);
    cr_expect_eq(a->id, b->id);
    cr_expect_eq(a->fork_at, b->fork_at);
    cr_expect_eq(atomic_load(&a->touched_ms), atomic_load(&b->touched_ms));
    cr_expect_eq(memcmp(&a->state.at, &b->state.at, sizeof(a->state.at)), 0);
    cr_expect_eq(memcmp(&a->view, &b->view, sizeof(a->view)), 0);
    cr_expect_eq(a->state.closed, b->state.closed);
    cr_expect_eq(atomic_load(&a->closed), atomic_load(&b->closed));
    cr_expect_eq(a->state.soft_deleted, b->state.soft_deleted);
    cr_expect_eq(atomic_load(&a->soft_deleted), atomic_load(&b->soft_deleted));
    cr_expect(same_note(a->state.seq, b->state.seq));
    cr_expect(same_note(a->state.closer_id, b->state.closer_id));
    cr_expect_eq(a->state.closer_epoch, b->state.closer_epoch);
    cr_expect_eq(a->state.closer_seq, b->state.closer_seq);
    cr_expect_eq(producers_count(a->state.producers), producers_count(b->state.producers));
}

/* ---- tests ---- */

Test(stream_row, a_stream_that_was_only_created_comes_back)
{
    Stream *stream = stream_new("a/b", STREAM_NEVER);
    Loaded loaded;

    put(stream, 0);
    loaded = load(0);
    cr_assert_eq(loaded.count, 1);
    expect_same(loaded.streams[0], stream);
    cr_expect_null(loaded.streams[0]->state.producers);
    stream_drop(loaded.streams[0]);
    stream_drop(stream);
}

Test(stream_row, everything_about_a_stream_comes_back)
{
    Stream *stream = stream_new("caf\xc3\xa9", 60);
    AppendRequest last = from_producer("p", UINT64_MAX, 0);
    Loaded loaded;

    cr_assert_eq(append(stream, (AppendRequest){.has_seq = true, .seq = STR("s\xff 1")}),
                 APPEND_OK);
    cr_assert_eq(append(stream, from_producer("q", 3, 0)), APPEND_OK);
    last.close = true;
    cr_assert_eq(append(stream, last), APPEND_OK);
    stream->state.at.start = stream->state.at.base = 3;
    stream->state.at.bytes = 6;
    stream->state.soft_deleted = true;
    stream_publish(stream);
    put(stream, 0);
    close_rows();
    open_rows();
    loaded = load(0);
    cr_assert_eq(loaded.count, 1);
    expect_same(loaded.streams[0], stream);
    last.payload.count = 1;
    cr_expect_eq(append(loaded.streams[0], last), append(stream, last));
    stream_drop(loaded.streams[0]);
    stream_drop(stream);
}

Test(stream_row, a_second_row_writes_over_the_first)
{
    Stream *stream = stream_new("a", STREAM_NEVER);
    Loaded loaded;

    put(stream, 0);
    cr_assert_eq(append(stream, (AppendRequest){.close = true}), APPEND_OK);
    put(stream, 0);
    loaded = load(0);
    cr_assert_eq(loaded.count, 1);
    expect_same(loaded.streams[0], stream);
    stream_drop(loaded.streams[0]);
    stream_drop(stream);
}

Test(stream_row, a_row_keeps_what_the_stream_forgets)
{
    Stream *stream = stream_new("a", STREAM_NEVER);
    StreamRow row;

    cr_assert_eq(append(stream, (AppendRequest){.has_seq = true, .seq = STR("1")}), APPEND_OK);
    cr_assert_eq(append(stream, from_producer("p", 0, 0)), APPEND_OK);
    stream_row_of(stream, 0, now(), &row);
    cr_assert_eq(append(stream, (AppendRequest){.has_seq = true, .seq = STR("2")}), APPEND_OK);
    producers_free(stream->state.producers);
    stream->state.producers = NULL;
    cr_expect(str_eq(row.seq, STR("1")));
    cr_assert_eq(row.producers_count, 1);
    cr_expect(str_eq(row.producers[0].id, STR("p")));
    stream_row_done(&row);
    stream_drop(stream);
}

Test(stream_row, a_deleted_one_is_gone_with_its_producers)
{
    Stream *stream = stream_new("a", STREAM_NEVER);
    Error err = {0};
    int64_t count;

    cr_assert_eq(append(stream, from_producer("p", 0, 0)), APPEND_OK);
    put(stream, 0);
    cr_assert(stream_rows_delete(rows, stream->id, &err));
    cr_assert(stream_rows_delete(rows, stream->id, &err), "not there is fine");
    cr_expect_eq(load(0).count, 0);
    cr_assert(sqlite_number(db, "SELECT count(*) FROM producer", &count, &err));
    cr_expect_eq(count, 0);
    stream_drop(stream);
}

/* ---- producers ---- */

Test(stream_row, only_producers_that_wrote_since_are_written)
{
    Stream *stream = stream_new("a", STREAM_NEVER);
    Loaded loaded;
    StreamRow row;

    for (size_t i = 0; i < 3; i++) {
        char id[] = {(char)('a' + i), '\0'};

        cr_assert_eq(append(stream, from_producer(id, 0, 0)), APPEND_OK);
    }
    put(stream, 0);
    cr_assert_eq(append(stream, from_producer("b", 0, 1)), APPEND_OK);
    stream_row_of(stream, 3, now(), &row);
    cr_expect_eq(row.producers_count, 1);
    cr_expect_eq(row.producers_last_turn, 4);
    stream_row_done(&row);
    put(stream, 3);
    loaded = load(0);
    cr_assert_eq(producers_count(loaded.streams[0]->state.producers), 3);
    cr_expect_eq(append(loaded.streams[0], from_producer("b", 0, 1)), APPEND_DUPLICATE);
    cr_expect_eq(append(loaded.streams[0], from_producer("a", 0, 1)), APPEND_OK);
    stream_drop(loaded.streams[0]);
    stream_drop(stream);
}

Test(stream_row, forgotten_producers_leave_the_table_in_the_end)
{
    Stream *stream = stream_new("a", STREAM_NEVER);
    Error err = {0};
    int64_t count;
    uint64_t after = 0;
    Loaded loaded;

    for (size_t i = 0; i < 3000; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "p%zu", i);
        boot_ms += PRODUCER_KEPT_MS + 1;
        wall_ms += PRODUCER_KEPT_MS + 1;
        cr_assert_eq(append(stream, from_producer(id, 0, 0)), APPEND_OK);
        put(stream, after);
        after = producers_last_turn(stream->state.producers);
    }
    cr_assert(sqlite_number(db, "SELECT count(*) FROM producer", &count, &err));
    cr_expect_leq(count, PRODUCERS_MAX + 1024);
    loaded = load(0);
    cr_assert_eq(producers_count(loaded.streams[0]->state.producers), PRODUCERS_MAX);
    cr_expect_eq(append(loaded.streams[0], from_producer("p2999", 0, 0)), APPEND_DUPLICATE);
    cr_expect_eq(append(loaded.streams[0], from_producer("p2992", 0, 0)), APPEND_DUPLICATE);
    stream_drop(loaded.streams[0]);
    stream_drop(stream);
}

/* ---- clocks ---- */

Test(stream_row, time_goes_on_while_the_server_is_down)
{
    Stream *stream = stream_new("a", 60);
    Loaded loaded;

    cr_assert_eq(append(stream, from_producer("p", 0, 0)), APPEND_OK);
    put(stream, 0);
    stream_drop(stream);
    wall_ms += 59000;
    boot_ms = 100; /* another boot */
    loaded = load(0);
    cr_expect(!stream_is_expired(loaded.streams[0], boot_ms, wall_ms));
    cr_expect(stream_is_expired(loaded.streams[0], boot_ms + 1000, wall_ms + 1000));
    stream_drop(loaded.streams[0]);

    loaded = load(500);
    cr_expect(!stream_is_expired(loaded.streams[0], boot_ms + 1000, wall_ms + 1000));
    cr_expect(stream_is_expired(loaded.streams[0], boot_ms + 1500, wall_ms + 1500));
    stream_drop(loaded.streams[0]);

    wall_ms += PRODUCER_IDLE_MS_MAX - 59000;
    loaded = load(0);
    cr_expect_eq(append(loaded.streams[0], from_producer("p", 0, 0)), APPEND_DUPLICATE);
    stream_drop(loaded.streams[0]);
    wall_ms += 1;
    loaded = load(0);
    cr_expect_eq(append(loaded.streams[0], from_producer("p", 0, 0)), APPEND_OK, "forgotten");
    stream_drop(loaded.streams[0]);
}

Test(stream_row, a_clock_that_was_set_back_lets_nothing_live_for_ever)
{
    Stream *stream = stream_new("a", 60);
    Loaded loaded;

    put(stream, 0);
    stream_drop(stream);
    wall_ms -= INT64_C(1000) * 24 * 3600 * 1000;
    loaded = load(10000);
    cr_expect_eq(atomic_load(&loaded.streams[0]->touched_ms), boot_ms);
    stream_drop(loaded.streams[0]);
}

/* ---- what is refused ---- */

static ErrorCode
load_fails(void)
{
    Loaded loaded = {0};
    Error err = {0};

    cr_assert(!stream_rows_load(rows, restore, &loaded, &err));
    cr_expect_eq(loaded.count, 0);
    return err.code;
}

Test(stream_row, a_row_that_contradicts_itself_is_refused)
{
    static const char *const damage[] = {
        "UPDATE stream SET tail = 2, start = 3", "UPDATE stream SET base = 9",
        "UPDATE stream SET name = ''",           "UPDATE stream SET era = 0",
        "UPDATE stream SET ttl_s = -2",          "UPDATE stream SET fork_at = 1",
        "UPDATE stream SET bytes = 99",          "UPDATE producer SET turn = 0",
        "UPDATE producer SET id = ''",
    };
    Stream *stream = stream_new("a", STREAM_NEVER);
    Error err = {0};

    cr_assert_eq(append(stream, from_producer("p", 0, 0)), APPEND_OK);
    put(stream, 0);
    for (size_t i = 0; i < DS_COUNT(damage); i++) {
        cr_assert(sqlite_begin(db, &err));
        cr_assert(sqlite_exec(db, damage[i], &err), "%s", err.text);
        cr_expect_eq(load_fails(), ERR_CORRUPT, "%s", damage[i]);
        sqlite_rollback(db);
    }
    stream_drop(stream);
}

Test(stream_row, a_newer_format_is_refused_and_left_alone)
{
    StreamRows *newer = NULL;
    Error err = {0};
    int64_t version;

    cr_assert(sqlite_exec(db, "UPDATE schema_version SET version = 2; DROP TABLE producer", &err));
    cr_expect(!stream_rows_open(db, &newer, &err));
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_not_null(strstr(err.text, "newer"));
    cr_assert(sqlite_number(db, "SELECT version FROM schema_version", &version, &err));
    cr_expect_eq(version, 2);
    cr_expect(!sqlite_exec(db, "SELECT 1 FROM producer", &err), "it makes no tables in it");
}
