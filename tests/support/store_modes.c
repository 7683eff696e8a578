/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/store_modes.h"

#include <bsd/string.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "common/clock.h"
#include "server/store_acid.h"
#include "server/store_file.h"
#include "server/store_memory.h"
#include "server/store_shard.h"
#include "tests/support/temp_dir.h"

#define DONE_SECONDS_MAX 30

const StoreMode store_modes[] = {
    {"memory", NULL},
    {"file-durable", &store_file_durable},
    {"file-fast", &store_file_fast},
    {"acid", &store_acid},
};
const size_t store_modes_count = DS_COUNT(store_modes);

static char dir[TEMP_DIR_BYTES];
static uint64_t cache_bytes = 1 << 20;

/* In memory, if that is possible: it is not the disk that is tested. */
static void
make_dir(void)
{
    (void)strlcpy(dir, "/dev/shm/ds-unit-XXXXXX", sizeof(dir));
    if (mkdtemp(dir) == NULL) {
        temp_dir_make(dir);
    }
}

Store *
store_mode_try(const StoreMode *mode, const StoreLimits *limits, Metrics *metrics, Error *out_err)
{
    StorageOptions options = {
        .data_dir = dir,
        .shards = 2,
        .wal_segment_bytes = 1 << 20,
        .checkpoint_ms = 50,
        .cache_bytes = cache_bytes,
        .open_files_max = 8,
    };
    Store *store;

    if (mode->kind == NULL) {
        return store_memory_new(limits, metrics);
    }
    if (dir[0] == '\0') {
        make_dir();
    }
    return store_shard_new(mode->kind, &options, limits, metrics, &store, out_err) ? store : NULL;
}

Store *
store_mode_open(const StoreMode *mode, const StoreLimits *limits, Metrics *metrics)
{
    Error err = {0};
    Store *store = store_mode_try(mode, limits, metrics, &err);

    cr_assert_not_null(store, "%s: %s", mode->name, err.text);
    return store;
}

void
store_mode_clean(void)
{
    if (dir[0] != '\0') {
        temp_dir_remove(dir);
        dir[0] = '\0';
    }
}

const char *
store_mode_dir(void)
{
    return dir;
}

void
store_mode_set_cache(uint64_t bytes)
{
    cache_bytes = bytes;
}

const StoreLimits roomy = {
    .memory_bytes = 64 << 20,
    .stream_bytes = 32 << 20,
    .streams = 1000,
    .producers_per_stream = 16,
};

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

StoreOp
run_op(Store *store, StoreOp op)
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

StoreOp
run_create_as(Store *store, Str name, Str content_type, bool closed)
{
    return run_op(store, (StoreOp){
                             .kind = STORE_CREATE,
                             .name = name,
                             .config = {.content_type = content_type,
                                        .ttl_s = STREAM_NEVER,
                                        .expires_at_ms = STREAM_NEVER},
                             .append.close = closed,
                         });
}

Stream *
run_create(Store *store, Str name)
{
    StoreOp op = run_create_as(store, name, STR("text/plain"), false);

    cr_assert_eq(op.result.verdict, STORE_DONE);
    return op.stream;
}

StoreResult
run_append_request(Store *store, Stream *stream, AppendRequest request)
{
    return run_op(store, (StoreOp){.kind = STORE_APPEND, .stream = stream, .append = request})
        .result;
}

StoreResult
run_append(Store *store, Stream *stream, Str text)
{
    uint32_t end = (uint32_t)text.len;

    return run_append_request(store, stream,
                              (AppendRequest){
                                  .content_type = stream->content_type,
                                  .payload = {.bytes = text, .ends = &end, .count = 1},
                              });
}

StoreResult
run_append_json(Store *store, Stream *stream, Str text, const uint32_t *ends, size_t count)
{
    return run_append_request(store, stream,
                              (AppendRequest){
                                  .content_type = STR("application/json"),
                                  .payload = {.bytes = text, .ends = ends, .count = count},
                              });
}

StoreResult
run_trim(Store *store, Stream *stream, uint64_t position)
{
    return run_op(store, (StoreOp){.kind = STORE_TRIM, .stream = stream, .position = position})
        .result;
}

StoreVerdict
run_delete(Store *store, Stream *stream)
{
    return run_op(store, (StoreOp){.kind = STORE_DELETE, .stream = stream}).result.verdict;
}

/* Everything from a position on, page by page.  Returns the position after it. */
uint64_t
read_text(Store *store, Stream *stream, uint64_t from, size_t page, char *out)
{
    size_t len = 0;

    while (true) {
        StoreRead read = {.from = from, .may_block = true, .bytes_max = page};
        bool end;

        cr_assert_eq(store_read(store, stream, &read), READ_OK);
        for (size_t i = 0; i < read.range.count; i++) {
            cr_assert_lt(len + read.range.parts[i].bytes.len, READ_TEXT_BYTES_MAX);
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

void
wait_for_count(const atomic_uint_fast64_t *count, uint64_t wanted)
{
    int64_t deadline_ms = clock_mono_ms() + DONE_SECONDS_MAX * 1000;

    while (atomic_load(count) != wanted) {
        cr_assert_lt(clock_mono_ms(), deadline_ms, "it is %zu, not %zu", (size_t)atomic_load(count),
                     (size_t)wanted);
        sched_yield();
    }
}
