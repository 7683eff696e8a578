/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What file-durable and file-fast find when they start after a crash at an unlucky moment, and what
 * keeps their shards from working while a checkpoint looks at them.
 */
#include <criterion/criterion.h>
#include <sched.h>

#include "common/clock.h"
#include "common/little_endian.h"
#include "server/shard.h"
#include "server/sqlite.h"
#include "server/store_file.h"
#include "server/wal.h"
#include "tests/support/store_modes.h"

#define UNKNOWN_ID 0x123456789u
#define TOUCH      6u /* as the log has it */
#define DELETE     3u

static const StoreMode file_durable = {.name = "file-durable", .kind = &store_file_durable};
static const StoreMode file_fast = {.name = "file-fast", .kind = &store_file_fast};
static char text[READ_TEXT_BYTES_MAX];

static bool
accept(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err)
{
    (void)arg;
    (void)lsn;
    (void)kind;
    (void)body;
    (void)err;
    return true;
}

/* A store that was used and stopped. */
static void
leave_store(void)
{
    Metrics *metrics = metrics_new();
    Store *store = store_mode_open(&file_durable, &roomy, metrics);

    stream_drop(run_create(store, STR("kept")));
    store_free(store);
    metrics_free(metrics);
}

/* Behind what its log has, records about a stream that it has no row of. */
static void
add_records(const unsigned *kinds, size_t count)
{
    char dir[512];
    char body[16] = {0};
    Str part = str_n(body, sizeof(body));
    WalOptions options = {
        .dir = dir, .segment_bytes = WAL_SEGMENT_BYTES_MIN, .segments_max = 8, .sync = true};
    Wal *wal = NULL;
    Error err = {0};

    (void)snprintf(dir, sizeof(dir), "%s/wal-00", store_mode_dir());
    cr_assert(wal_open(&options, 0, accept, NULL, &wal, &err), "%s", err.text);
    le64_put(body, UNKNOWN_ID);
    le64_put(body + 8, 1);
    wal_begin(wal);
    for (size_t i = 0; i < count; i++) {
        (void)wal_add(wal, kinds[i], &part, 1);
    }
    cr_assert(wal_commit(wal, &err), "%s", err.text);
    wal_free(wal);
}

/* The code of the error; ERR_NONE when it starts, with all that it had. */
static ErrorCode
start_again(void)
{
    Metrics *metrics = metrics_new();
    Error err = {0};
    Store *store = store_mode_try(&file_durable, &roomy, metrics, &err);
    ErrorCode code = store != NULL ? ERR_NONE : err.code;

    if (store != NULL) {
        Stream *stream = store_find(store, STR("kept"));

        cr_expect_not_null(stream);
        stream_drop(stream);
        store_free(store);
    }
    metrics_free(metrics);
    return code;
}

Test(store_file, a_stream_that_a_running_checkpoint_missed_may_be_in_the_log_if_it_is_deleted_there)
{
    static const unsigned kinds[] = {TOUCH, TOUCH, DELETE};

    leave_store();
    add_records(kinds, DS_COUNT(kinds));
    cr_expect_eq(start_again(), ERR_NONE);
    cr_expect_eq(start_again(), ERR_NONE);
    store_mode_clean();
}

Test(store_file, a_log_about_a_stream_that_there_is_not_is_refused)
{
    static const unsigned kinds[] = {TOUCH};

    leave_store();
    add_records(kinds, DS_COUNT(kinds));
    cr_expect_eq(start_again(), ERR_CORRUPT);
    store_mode_clean();
}

/* ---- shards that are paused ---- */

static bool
is_busy(Shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    bool busy = shard->busy;

    pthread_mutex_unlock(&shard->lock);
    return busy;
}

typedef struct Flagged {
    StoreOp op; /* first member */
    atomic_bool done;
} Flagged;

static void
flag(StoreOp *op)
{
    atomic_store(&((Flagged *)op)->done, true);
}

static bool
is_done_within(const Flagged *flagged, int64_t ms)
{
    int64_t deadline_ms = clock_mono_ms() + ms;

    while (!atomic_load(&flagged->done) && clock_mono_ms() < deadline_ms) {
        sched_yield();
    }
    return atomic_load(&flagged->done);
}

Test(store_file, a_shard_that_is_paused_while_it_waits_does_nothing_when_its_time_is_over)
{
    Metrics *metrics = metrics_new();
    Store *store = store_mode_open(&file_durable, &roomy, metrics);
    Stream *stream = run_create(store, STR("a"));
    Shard *shard = ((ShardStream *)stream)->shard;
    Flagged append = {
        .op = {.kind = STORE_APPEND, .stream = stream, .append = {.close = true}, .done = flag}};

    while (is_busy(shard)) {
        sched_yield();
    }
    shard_pause(shard);
    shard_submit(shard, &append.op); /* nobody wakes it */
    cr_expect_not(is_done_within(&append, SHARD_TICK_MS * 3 / 2));
    shard_resume(shard);
    cr_expect(is_done_within(&append, 20000));
    stream_drop(stream);
    store_free(store);
    metrics_free(metrics);
    store_mode_clean();
}

/* ---- what a machine that stops takes from file-fast ---- */

/* As if the machine had stopped, and the disk had only what the statement leaves. */
static void
lose(const char *sql)
{
    char path[512];
    char manifest[MANIFEST_BYTES_MAX];
    Error err = {0};

    for (int i = 0; i < 2; i++) {
        SqliteOptions options = {.path = path};
        sqlite3 *db;

        (void)snprintf(path, sizeof(path), "%s/meta-%02x.sqlite", store_mode_dir(), i);
        cr_assert(sqlite_open(&options, &db, &err) && sqlite_exec(db, sql, &err), "%s", err.text);
        sqlite_close(db);
    }
    (void)snprintf(path, sizeof(path), "%s/MANIFEST", store_mode_dir());
    FILE *file = fopen(path, "w");
    Manifest left = {.format_version = MANIFEST_FORMAT_VERSION,
                     .mode = "file-fast",
                     .shards = 2,
                     .server_uuid = "x",
                     .boot_id = "of-another-time"};

    cr_assert_not_null(file);
    cr_assert_eq(fwrite(manifest, 1, manifest_format(&left, manifest), file), strlen(manifest));
    cr_assert_eq(fclose(file), 0);
}

static Stream *
make_fork(Store *store, Str name, Stream *parent)
{
    stream_take(parent);
    StoreOp op = run_op(store, (StoreOp){.kind = STORE_CREATE,
                                         .name = name,
                                         .config = {.content_type = parent->content_type,
                                                    .ttl_s = STREAM_NEVER,
                                                    .expires_at_ms = STREAM_NEVER},
                                         .fork = {.parent = parent}});

    cr_assert_eq(op.result.verdict, STORE_DONE);
    stream_drop(parent);
    return op.stream;
}

static void
expect_text(Store *store, Str name, const char *expected)
{
    Stream *stream = store_find(store, name);
    StreamInfo info;

    cr_assert_not_null(stream);
    store_stream_info(stream, &info);
    (void)read_text(store, stream, info.start.position, 100, text);
    cr_expect_str_eq(text, expected);
    stream_drop(stream);
}

Test(store_file, forks_of_what_was_lost_begin_with_what_is_left_at_every_start)
{
    Metrics *metrics = metrics_new();
    Store *store = store_mode_open(&file_fast, &roomy, metrics);
    Stream *parent = run_create(store, STR("parent"));

    (void)run_append(store, parent, STR("lost"));
    Stream *fork = make_fork(store, STR("fork"), parent);
    (void)run_append(store, fork, STR("kept"));
    Stream *second = make_fork(store, STR("second"), fork);

    (void)run_append(store, second, STR("+more"));
    stream_drop(parent);
    stream_drop(fork);
    stream_drop(second);
    store_free(store);
    lose("DELETE FROM stream WHERE name = 'parent'");
    for (int i = 0; i < 2; i++) {
        store = store_mode_open(&file_fast, &roomy, metrics);
        expect_text(store, STR("fork"), "kept");
        expect_text(store, STR("second"), "kept+more");
        store_free(store);
    }
    metrics_free(metrics);
    store_mode_clean();
}

Test(store_file, a_fork_whose_parent_lost_its_end_is_there_at_every_start)
{
    Metrics *metrics = metrics_new();
    Store *store = store_mode_open(&file_fast, &roomy, metrics);
    Stream *parent = run_create(store, STR("parent"));

    (void)run_append(store, parent, STR("lost"));
    Stream *fork = make_fork(store, STR("fork"), parent);

    (void)run_append(store, fork, STR("kept"));
    stream_drop(parent);
    stream_drop(fork);
    store_free(store);
    lose("UPDATE stream SET tail = 0, bytes = 0, messages = 0, file_bytes = 0, file_count = 0 "
         "WHERE name = 'parent'");
    for (int i = 0; i < 2; i++) {
        store = store_mode_open(&file_fast, &roomy, metrics);
        expect_text(store, STR("parent"), "");
        expect_text(store, STR("fork"), "kept");
        store_free(store);
    }
    metrics_free(metrics);
    store_mode_clean();
}
