/* SPDX-License-Identifier: Apache-2.0 */
#include "server/checkpoint.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/shard.h"
#include "server/sqlite.h"
#include "server/store_file_internal.h"

#define THREAD_NAME_BYTES 16

/* A stream as it was at one moment, on its way to the files. */
typedef struct Capture {
    FileStream *stream; /* with the reference that the list had */
    StreamRow row;
    Range range; /* what the files do not have */
    uint32_t *lengths;
    DataEnd end; /* of the files with it */
    uint64_t tail;
    uint64_t dirty_lsn;
} Capture;

struct Checkpoint {
    FileBackend *backend;
    int64_t interval_ms;
    Metric *done;
    Metric *failed;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running;
    bool stopping;
    bool wanted;
    bool holding; /* the shard */
    bool failing;

    /* of the run under way */
    Capture *group[CHECKPOINT_STREAMS_MAX];
    size_t group_count;
    uint64_t released;                    /* LSN: the log need not know what came until then */
    uint64_t ids[CHECKPOINT_STREAMS_MAX]; /* files to sync */
    size_t ids_count;
    IdList deleted;
};

static const LogScope scope = {.name = "server.checkpoint"};

Checkpoint *
checkpoint_new(FileBackend *backend, int64_t interval_ms, Metrics *metrics)
{
    Checkpoint *checkpoint = mem_zalloc(sizeof(*checkpoint));
    pthread_condattr_t monotonic;

    checkpoint->backend = backend;
    checkpoint->interval_ms = interval_ms;
    checkpoint->done = metrics_counter(metrics, "ds_server_checkpoints_total", NULL,
                                       "Checkpoints that moved something to the files.");
    checkpoint->failed = metrics_counter(metrics, "ds_server_checkpoints_failed_total", NULL,
                                         "Checkpoints that failed and were tried again.");
    pthread_mutex_init(&checkpoint->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&checkpoint->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return checkpoint;
}

void
checkpoint_free(Checkpoint *checkpoint)
{
    if (checkpoint != NULL) {
        free(checkpoint->deleted.ids);
        pthread_cond_destroy(&checkpoint->changed);
        pthread_mutex_destroy(&checkpoint->lock);
        free(checkpoint);
    }
}

/* ---- a group of streams ---- */

static Capture *
capture_new(FileStream *stream)
{
    Capture *capture = mem_zalloc(sizeof(*capture));
    StreamRowTime now = {.boot_ms = clock_boot_ms(), .wall_ms = clock_wall_ms()};
    Stream *base = &stream->base.base;
    const ChunkLog *log = &stream->base.log;
    uint64_t from;
    size_t count;

    pthread_mutex_lock(&base->lock);
    from = stream->base.kept_to;
    stream_row_of(base, stream->forget_row ? 0 : stream->producers_after, now, &capture->row);
    range_init(&capture->range, from);
    chunk_log_read(log, from, base->view.tail, SIZE_MAX, &capture->range);
    DS_ASSERT(capture->range.to == base->view.tail);
    count = chunk_log_lengths(log, from, NULL);
    capture->lengths = mem_array(count, sizeof(*capture->lengths));
    (void)chunk_log_lengths(log, from, capture->lengths);
    pthread_mutex_unlock(&base->lock);

    capture->stream = stream;
    capture->tail = capture->range.to;
    capture->dirty_lsn = stream->dirty_lsn;
    capture->end = (DataEnd){
        .bytes = stream->end.bytes + capture->range.bytes,
        .count = stream->end.count + count,
    };
    capture->row.lsn = stream->lsn;
    capture->row.file_bytes = capture->end.bytes;
    capture->row.file_count = capture->end.count;
    return capture;
}

static void
capture_free(Capture *capture)
{
    stream_row_done(&capture->row);
    range_done(&capture->range);
    free(capture->lengths);
    stream_drop(&capture->stream->base.base);
    free(capture);
}

/* Streams whose first record is not past `cut`, as many as a group may have.  False: those were all
 * of them. */
static bool
take_group(Checkpoint *checkpoint, uint64_t cut)
{
    FileBackend *backend = checkpoint->backend;
    size_t bytes = 0;
    bool more = true;

    while (more && checkpoint->group_count < CHECKPOINT_STREAMS_MAX &&
           bytes < CHECKPOINT_BYTES_MAX) {
        shard_pause(backend->base.shard);
        for (int i = 0; i < CHECKPOINT_PAUSE_STREAMS && more; i++) {
            FileStream *stream = TAILQ_FIRST(&backend->dirty);

            more = stream != NULL && stream->dirty_lsn <= cut &&
                   checkpoint->group_count < CHECKPOINT_STREAMS_MAX;
            if (more) {
                Capture *capture = capture_new(stream);

                TAILQ_REMOVE(&backend->dirty, stream, by_age);
                stream->is_dirty = false;
                checkpoint->group[checkpoint->group_count++] = capture;
                bytes += capture->range.bytes;
            }
        }
        shard_resume(backend->base.shard);
    }
    return more || checkpoint->group_count == CHECKPOINT_STREAMS_MAX;
}

static bool
write_bytes(FileBackend *backend, const Capture *capture, Error *err)
{
    const FileStream *stream = capture->stream;
    const Range *range = &capture->range;
    Str *parts = mem_array(range->count, sizeof(*parts));
    DataRun run = {
        .parts = parts,
        .parts_count = range->count,
        .lengths = capture->lengths,
        .count = capture->end.count - stream->end.count,
    };
    bool ok;

    for (size_t i = 0; i < range->count; i++) {
        parts[i] = range->parts[i].bytes;
    }
    ok = data_file_append(backend->files, stream->base.base.id, stream->end, &run, err);
    free(parts);
    return ok;
}

/* Rows must not know what the log has lost, so without a sync of its own the log is synced here. */
static bool
sync_files(Checkpoint *checkpoint, Error *err)
{
    FileBackend *backend = checkpoint->backend;

    if (backend->sync) {
        return data_files_sync(backend->files, checkpoint->ids, checkpoint->ids_count, err);
    }
    if (syncfs(backend->options.data_dir_fd) < 0) {
        return error_set(err, ERR_FATAL, "syncfs: %s", strerror(errno));
    }
    return true;
}

static bool
write_files(Checkpoint *checkpoint, Error *err)
{
    FileBackend *backend = checkpoint->backend;

    checkpoint->ids_count = 0;
    for (size_t i = 0; i < checkpoint->group_count; i++) {
        const Capture *capture = checkpoint->group[i];

        if (capture->range.bytes > 0) {
            if (!write_bytes(backend, capture, err)) {
                return false;
            }
            checkpoint->ids[checkpoint->ids_count++] = capture->row.id;
        }
    }
    (void)FAULT("checkpoint.files_written");
    if (!sync_files(checkpoint, err)) {
        return false;
    }
    (void)FAULT("checkpoint.synced");
    return true;
}

static bool
put_row(FileBackend *backend, const Capture *capture, Error *err)
{
    if (capture->stream->forget_row && !stream_rows_delete(backend->rows, capture->row.id, err)) {
        return false;
    }
    return stream_rows_put(backend->rows, &capture->row, err);
}

/* cut 0: it is not the last group. */
static bool
put_rows(Checkpoint *checkpoint, uint64_t cut, Error *err)
{
    FileBackend *backend = checkpoint->backend;
    const IdList *deleted = &checkpoint->deleted;

    for (size_t i = 0; i < checkpoint->group_count; i++) {
        if (!put_row(backend, checkpoint->group[i], err)) {
            return false;
        }
    }
    if (cut == 0) {
        return true;
    }
    for (size_t i = 0; i < deleted->count; i++) {
        if (!stream_rows_delete(backend->rows, deleted->ids[i], err)) {
            return false;
        }
    }
    sqlite_bind_u64(backend->save_position, 1, cut);
    return sqlite_run(backend->save_position, err);
}

static bool
commit_rows(Checkpoint *checkpoint, uint64_t cut, Error *err)
{
    sqlite3 *db = checkpoint->backend->db;

    if (!sqlite_begin(db, err)) {
        return false;
    }
    if (!put_rows(checkpoint, cut, err) || !sqlite_commit(db, err)) {
        sqlite_rollback(db);
        return false;
    }
    (void)FAULT("checkpoint.meta_committed");
    return true;
}

/* The files have it: from now on they are read, and memory may forget. */
static void
settle(FileBackend *backend, const Capture *capture)
{
    FileStream *stream = capture->stream;
    ShardStream *kept = &stream->base;
    uint64_t base = capture->row.at.base;
    size_t before;

    pthread_mutex_lock(&kept->base.lock);
    stream->end = capture->end;
    stream->producers_after = capture->row.producers_last_turn;
    stream->forget_row = false;
    kept->kept_to = capture->tail;
    before = kept->log.memory;
    if (!atomic_load(&kept->base.deleted) && base > chunk_log_start(&kept->log)) {
        chunk_log_trim(&kept->log, base);
    }
    shard_count_cache(kept->shard, before, kept->log.memory);
    pthread_mutex_unlock(&kept->base.lock);
    if (base > stream->punched && base > capture->row.fork_at &&
        data_file_punch(backend->files, capture->row.id,
                        capture->end.bytes - capture->row.at.bytes)) {
        stream->punched = base;
    }
}

/* It failed: they wait for the next one, where they stood. */
static void
give_back(Checkpoint *checkpoint)
{
    FileBackend *backend = checkpoint->backend;

    shard_pause(backend->base.shard);
    for (size_t i = checkpoint->group_count; i-- > 0;) {
        Capture *capture = checkpoint->group[i];
        FileStream *stream = capture->stream;
        Stream *base = &stream->base.base;

        if (stream->is_dirty) {
            TAILQ_REMOVE(&backend->dirty, stream, by_age);
            stream_drop(base);
            stream->is_dirty = false;
        }
        if (!atomic_load(&base->deleted)) {
            stream_take(base);
            stream->is_dirty = true;
            stream->dirty_lsn = capture->dirty_lsn;
            TAILQ_INSERT_HEAD(&backend->dirty, stream, by_age);
        }
    }
    shard_resume(backend->base.shard);
}

static bool
flush_group(Checkpoint *checkpoint, uint64_t cut, Error *err)
{
    bool ok = write_files(checkpoint, err) && commit_rows(checkpoint, cut, err);

    if (!ok) {
        give_back(checkpoint);
    }
    for (size_t i = 0; i < checkpoint->group_count; i++) {
        if (ok) {
            settle(checkpoint->backend, checkpoint->group[i]);
        }
        capture_free(checkpoint->group[i]);
    }
    checkpoint->group_count = 0;
    return ok;
}

/* ---- a run ---- */

/* That they are deleted is durable in the log, so their files may go before their rows. */
static bool
delete_files(Checkpoint *checkpoint, Error *err)
{
    for (size_t i = 0; i < checkpoint->deleted.count; i++) {
        if (!data_file_delete(checkpoint->backend->files, checkpoint->deleted.ids[i], err)) {
            return false;
        }
    }
    (void)FAULT("delete.files_removed");
    return true;
}

/* Where the log stands, and what was deleted until then.  False: nothing is new. */
static bool
begin_run(Checkpoint *checkpoint, uint64_t *out_cut)
{
    FileBackend *backend = checkpoint->backend;
    bool anything;

    shard_pause(backend->base.shard);
    *out_cut = wal_last_lsn(backend->wal);
    for (size_t i = 0; i < backend->deleted.count; i++) {
        id_list_add(&checkpoint->deleted, backend->deleted.ids[i]);
    }
    backend->deleted.count = 0;
    anything = *out_cut > checkpoint->released || !TAILQ_EMPTY(&backend->dirty) ||
               checkpoint->deleted.count > 0;
    shard_resume(backend->base.shard);
    return anything;
}

static bool
end_run(Checkpoint *checkpoint, uint64_t cut, Error *err)
{
    FileBackend *backend = checkpoint->backend;
    uint64_t pages_left;

    backend->position = cut;
    if (!delete_files(checkpoint, err)) {
        return false;
    }
    checkpoint->deleted.count = 0;
    if (!wal_release(backend->wal, cut, err)) {
        return false;
    }
    checkpoint->released = cut;
    (void)FAULT("checkpoint.released");
    return sqlite_checkpoint(backend->db, &pages_left, err);
}

/* What was deleted may be what the next try lacks. */
static void
make_room(Checkpoint *checkpoint, const Error *failure)
{
    Error err;

    if (failure->code == ERR_FULL && !delete_files(checkpoint, &err)) {
        log_debug(&scope, LOG_FIELDS(log_str("reason", str_c(err.text))), "cannot delete files");
    }
}

/* So that no commit has to wait for a segment.  One that cannot be had now may not be needed. */
static void
prepare_log(Checkpoint *checkpoint)
{
    Error err;

    if (!wal_prepare(checkpoint->backend->wal, &err) && err.code == ERR_FATAL) {
        shard_die(&err);
    }
}

bool
checkpoint_run(Checkpoint *checkpoint, Error *err)
{
    uint64_t cut;
    bool more;

    if (!begin_run(checkpoint, &cut)) {
        return true;
    }
    do {
        prepare_log(checkpoint);
        more = take_group(checkpoint, cut);
        if (!flush_group(checkpoint, more ? 0 : cut, err)) {
            make_room(checkpoint, err);
            return false;
        }
    } while (more);
    if (!end_run(checkpoint, cut, err)) {
        return false;
    }
    metric_add(checkpoint->done, 1);
    shard_evict(checkpoint->backend->base.shard);
    return true;
}

/* ---- the thread ---- */

static void
report(Checkpoint *checkpoint, bool ok, const Error *err)
{
    if (!ok && err->code == ERR_FATAL) {
        shard_die(err);
    }
    metric_add(checkpoint->failed, !ok);
    if (!ok && !checkpoint->failing) {
        log_warn(&scope, EVENT_SERVER_CHECKPOINT_FAILED,
                 LOG_FIELDS(log_str("reason", str_c(err->text))),
                 "a checkpoint failed: the log is kept, and it is tried again");
    } else if (ok && checkpoint->failing) {
        log_info(&scope, LOG_FIELDS(), "checkpoints work again");
    }
}

/* Lock held.  False: it is time to stop. */
static bool
wait_for_turn(Checkpoint *checkpoint)
{
    int64_t pause_ms = checkpoint->failing ? DS_MIN(CHECKPOINT_RETRY_MS, checkpoint->interval_ms)
                                           : checkpoint->interval_ms;
    int64_t until_ms = clock_mono_ms() + pause_ms;
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};

    while (!checkpoint->stopping && (!checkpoint->wanted || checkpoint->failing)) {
        if (pthread_cond_timedwait(&checkpoint->changed, &checkpoint->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    checkpoint->wanted = false;
    return !checkpoint->stopping;
}

static void *
run(void *arg)
{
    Checkpoint *checkpoint = arg;
    FileBackend *backend = checkpoint->backend;
    char name[THREAD_NAME_BYTES];

    (void)snprintf(name, sizeof(name), "checkpoint-%u", backend->options.shard % 1000);
    (void)pthread_setname_np(pthread_self(), name);
    pthread_mutex_lock(&checkpoint->lock);
    while (wait_for_turn(checkpoint)) {
        Error err = {0};
        bool ok;

        pthread_mutex_unlock(&checkpoint->lock);
        prepare_log(checkpoint);
        ok = checkpoint_run(checkpoint, &err);
        report(checkpoint, ok, &err);
        pthread_mutex_lock(&checkpoint->lock);
        checkpoint->failing = !ok;
        if (checkpoint->holding) {
            checkpoint->holding = false;
            shard_resume(backend->base.shard);
        }
    }
    pthread_mutex_unlock(&checkpoint->lock);
    return NULL;
}

void
checkpoint_start(Checkpoint *checkpoint)
{
    checkpoint->running = true;
    DS_ASSERT(pthread_create(&checkpoint->thread, NULL, run, checkpoint) == 0);
}

void
checkpoint_stop(Checkpoint *checkpoint)
{
    pthread_mutex_lock(&checkpoint->lock);
    checkpoint->stopping = true;
    pthread_cond_signal(&checkpoint->changed);
    pthread_mutex_unlock(&checkpoint->lock);
    if (checkpoint->running) {
        DS_ASSERT(pthread_join(checkpoint->thread, NULL) == 0);
        checkpoint->running = false;
    }
}

void
checkpoint_want(Checkpoint *checkpoint)
{
    pthread_mutex_lock(&checkpoint->lock);
    if (!checkpoint->wanted) {
        checkpoint->wanted = true;
        pthread_cond_signal(&checkpoint->changed);
    }
    pthread_mutex_unlock(&checkpoint->lock);
}

bool
checkpoint_hold_shard(Checkpoint *checkpoint)
{
    bool holding;

    pthread_mutex_lock(&checkpoint->lock);
    if (!checkpoint->failing && !checkpoint->holding && checkpoint->running &&
        !checkpoint->stopping) {
        checkpoint->holding = true;
        shard_hold(checkpoint->backend->base.shard);
        checkpoint->wanted = true;
        pthread_cond_signal(&checkpoint->changed);
    }
    holding = checkpoint->holding;
    pthread_mutex_unlock(&checkpoint->lock);
    return holding;
}
