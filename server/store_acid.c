/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_acid.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store_acid_internal.h"

#define CACHE_KIB_MIN       512
#define LOG_PAGES_MIN       1024
#define LOG_SOON_SHARE      4 /* of log_pages_max */
#define BATCH_GARBAGE_ROWS  64
#define BATCH_GARBAGE_BYTES (1 << 20)
#define IDLE_BUDGET_MS      50

static const LogScope scope = {.name = "server.store"};

static AcidBackend *
backend_of(Backend *backend)
{
    return DS_CONTAINER_OF(backend, AcidBackend, base);
}

static AcidStream *
acid_stream(ShardStream *stream)
{
    return DS_CONTAINER_OF(stream, AcidStream, base);
}

/* ---- commit ---- */

static void
chain_payload(AcidBackend *backend, AcidStream *stream, size_t at)
{
    uint32_t link = (uint32_t)at + 1;

    if (stream->last_payload == 0) {
        stream->first_payload = link;
    } else {
        backend->next_payload[stream->last_payload - 1] = link;
    }
    stream->last_payload = link;
    backend->next_payload[at] = 0;
}

static bool
has_payload(const Change *change)
{
    return (change->kind == CHANGE_CREATE || change->kind == CHANGE_APPEND) &&
           change->op->append.payload.count > 0;
}

/* Sorts the changes by stream: each is written once, however often it was changed. */
static void
gather_batch(AcidBackend *backend, const Change *changes, size_t count)
{
    if (count > backend->next_payload_cap) {
        backend->next_payload_cap = count;
        backend->next_payload =
            mem_regrow(backend->next_payload, count, sizeof(*backend->next_payload));
    }
    for (size_t i = 0; i < count; i++) {
        AcidStream *stream = acid_stream(changes[i].stream);

        if (!stream->in_batch) {
            stream->in_batch = true;
            stream->first_payload = 0;
            stream->last_payload = 0;
            STAILQ_INSERT_TAIL(&backend->batch, stream, next_in_batch);
        }
        if (has_payload(&changes[i])) {
            chain_payload(backend, stream, i);
        }
        backend->grows =
            backend->grows || changes[i].kind == CHANGE_CREATE || changes[i].kind == CHANGE_APPEND;
    }
}

static bool
write_payload(AcidBackend *backend, AcidStream *stream, const Change *changes, Error *err)
{
    AcidWriter *writer = &backend->writer;

    stream->batch_bytes = stream->bytes;
    stream->batch_messages = stream->messages;
    if (stream->first_payload == 0) {
        return true;
    }
    acid_writer_begin(writer, stream, changes[stream->first_payload - 1].position);
    for (uint32_t link = stream->first_payload; link != 0; link = backend->next_payload[link - 1]) {
        if (!acid_writer_add(writer, changes[link - 1].op->append.payload, err)) {
            return false;
        }
    }
    if (!acid_writer_flush(writer, err)) {
        return false;
    }
    stream->batch_bytes = writer->bytes;
    stream->batch_messages = writer->messages;
    return true;
}

static bool
write_row(AcidBackend *backend, AcidStream *stream, StreamRowTime now, Error *err)
{
    StreamRow row;
    bool ok;

    stream_row_of(&stream->base.base, stream->producers_after, now, &row);
    row.file_bytes = stream->batch_bytes;
    row.file_count = stream->batch_messages;
    stream->batch_producers = row.producers_last_turn;
    if (MUTANT("producer_outside_commit")) {
        row.producers_count = 0;
    }
    ok = stream_rows_put(backend->rows, &row, err);
    stream_row_done(&row);
    return ok;
}

static bool
write_stream(AcidBackend *backend, AcidStream *stream, const Change *changes, StreamRowTime now,
             Error *err)
{
    const Stream *base = &stream->base.base;

    if (base->state.deleted) {
        return stream_rows_delete(backend->rows, base->id, err) &&
               acid_garbage_note(&backend->garbage, base, UINT64_MAX, err);
    }
    if (base->state.at.base > stream->garbage_below &&
        !acid_garbage_note(&backend->garbage, base, base->state.at.base, err)) {
        return false;
    }
    return write_payload(backend, stream, changes, err) && write_row(backend, stream, now, err);
}

static bool
count_pages(sqlite3_stmt *pragma, uint64_t *out, Error *err)
{
    bool row;

    if (!sqlite_step(pragma, &row, err)) {
        return false;
    }
    DS_ASSERT(row);
    *out = sqlite_column_u64(pragma, 0);
    (void)sqlite3_reset(pragma);
    return true;
}

/* A place in the file for every page that is about to be committed; free pages have one. */
static bool
hold_room(AcidBackend *backend, Error *err)
{
    uint64_t pages;
    uint64_t unused = ACID_RESERVE_PAGES;

    if (!count_pages(backend->page_count, &pages, err) ||
        (backend->grows && !count_pages(backend->free_count, &unused, err))) {
        return false;
    }
    unused = DS_MIN(unused, (uint64_t)ACID_RESERVE_PAGES);
    return acid_reserve_hold(&backend->reserve, pages + ACID_RESERVE_PAGES - unused, err);
}

static bool
write_batch(AcidBackend *backend, const Change *changes, Error *err)
{
    StreamRowTime now = {.boot_ms = clock_boot_ms(), .wall_ms = clock_wall_ms()};
    AcidStream *stream;

    /* Garbage of earlier batches: that of this one is read until the batch is public. */
    if (!sqlite_begin(backend->db, err) ||
        !acid_garbage_slice(&backend->garbage, BATCH_GARBAGE_ROWS, BATCH_GARBAGE_BYTES, err)) {
        return false;
    }
    STAILQ_FOREACH (stream, &backend->batch, next_in_batch) {
        if (!write_stream(backend, stream, changes, now, err)) {
            return false;
        }
    }
    if (!hold_room(backend, err)) {
        return false;
    }
    (void)FAULT("acid.commit_sent");
    return sqlite_commit(backend->db, err);
}

static void
roll_back(AcidBackend *backend)
{
    sqlite_rollback(backend->db);
    backend->garbage.maybe = true;
}

/* Moves all of SQLite's log to the file, so that it begins anew; false: it cannot be now. */
static bool
empty_log(AcidBackend *backend, Error *err)
{
    uint64_t left = 0;
    bool ok;

    acid_upkeep_forget(backend->upkeep, backend);
    ok = sqlite_checkpoint(backend->db, &left, err);
    atomic_store(&backend->reserve.is_lost, true);
    return ok && left == 0;
}

/* What finds no room in the log tries again in an empty one. */
static bool
write_batch_twice(AcidBackend *backend, const Change *changes, Error *err)
{
    Error second = {0};

    if (write_batch(backend, changes, err)) {
        return true;
    }
    roll_back(backend);
    if (err->code != ERR_FULL) {
        return false;
    }
    if (!empty_log(backend, &second)) {
        err->code = second.code == ERR_FATAL ? ERR_FATAL : ERR_FULL;
        return false;
    }
    if (write_batch(backend, changes, err)) {
        return true;
    }
    roll_back(backend);
    return false;
}

/* What is written is what counts from now on. */
static void
end_batch(AcidBackend *backend, bool committed)
{
    AcidStream *stream;

    while ((stream = STAILQ_FIRST(&backend->batch)) != NULL) {
        STAILQ_REMOVE_HEAD(&backend->batch, next_in_batch);
        stream->in_batch = false;
        if (!committed || stream->base.base.state.deleted) {
            continue;
        }
        stream->producers_after = stream->batch_producers;
        stream->garbage_below = stream->base.base.state.at.base;
        pthread_mutex_lock(&stream->base.base.lock);
        stream->bytes = stream->batch_bytes;
        stream->messages = stream->batch_messages;
        pthread_mutex_unlock(&stream->base.base.lock);
    }
}

static bool
acid_commit(Backend *base, const Change *changes, size_t count, Error *err)
{
    AcidBackend *backend = backend_of(base);
    bool ok;

    backend->grows = false;
    gather_batch(backend, changes, count);
    ok = write_batch_twice(backend, changes, err);
    if (!ok) {
        /* Somebody holds the lock of the database: nothing was changed either. */
        err->code = err->code == ERR_RETRY ? ERR_FULL : err->code;
        error_wrap(err, "%s", backend->path);
    } else {
        (void)FAULT("acid.committed");
        backend->idle = false;
    }
    end_batch(backend, ok);
    return ok;
}

/* Called by SQLite after each commit. */
static int
note_log_pages(void *arg, sqlite3 *db DS_UNUSED, const char *name DS_UNUSED, int pages)
{
    AcidBackend *backend = arg;

    backend->log_pages = (uint64_t)DS_MAX(pages, 0);
    return SQLITE_OK;
}

/* The log begins anew only when all of it is in the file at some moment; while commits never pause,
 * that is here. */
static void
shorten_log(AcidBackend *backend)
{
    Error err = {0};

    if (backend->log_pages > backend->log_pages_max) {
        if (!empty_log(backend, &err) && err.code == ERR_FATAL) {
            acid_fail(backend, &err);
        }
    } else if (backend->log_pages > backend->log_pages_soon) {
        acid_upkeep_want(backend->upkeep, backend);
    }
}

static void
acid_published(Backend *base, const Change *changes, size_t count)
{
    AcidBackend *backend = backend_of(base);

    for (size_t i = 0; i < count; i++) {
        ShardStream *stream = changes[i].stream;

        pthread_mutex_lock(&stream->base.lock);
        stream->kept_to = stream->base.view.tail;
        pthread_mutex_unlock(&stream->base.lock);
    }
    shard_evict(base->shard);
    shorten_log(backend);
}

static void
acid_tick(Backend *base)
{
    AcidBackend *backend = backend_of(base);
    Error err;

    if (backend->idle) {
        acid_writer_rest(&backend->writer);
    }
    backend->idle = true;
    if (acid_garbage_idle(&backend->garbage, IDLE_BUDGET_MS, &err)) {
        return;
    }
    if (err.code == ERR_FATAL) {
        acid_fail(backend, &err);
    }
    /* No room, or another program at it: later. */
    log_debug(&scope, LOG_FIELDS(log_str("reason", str_c(err.text))), "no garbage was deleted");
}

/* ---- reading ---- */

static bool
acid_read(Backend *base, ShardStream *stream, uint64_t from, uint64_t to, size_t bytes_max,
          Range *out, Error *err)
{
    AcidBackend *backend = backend_of(base);
    AcidReader *reader;
    bool ok;

    if (!acid_reader_take(&backend->readers, &reader, err)) {
        return false;
    }
    ok = acid_payload_read(reader, stream, from, to, bytes_max, out, err);
    acid_reader_return(&backend->readers, reader);
    return ok;
}

static bool
acid_measure(Backend *base, ShardStream *stream, uint64_t position, uint64_t *out_bytes,
             uint64_t *out_messages, Error *err)
{
    AcidBackend *backend = backend_of(base);
    AcidReader *reader;
    bool ok;

    if (!acid_reader_take(&backend->readers, &reader, err)) {
        return false;
    }
    ok = acid_payload_measure(reader, stream, position, out_bytes, out_messages, err);
    acid_reader_return(&backend->readers, reader);
    return ok;
}

/* ---- start and end ---- */

static bool
load_row(void *arg, const StreamRow *row, Error *err)
{
    ShardLoad *load = arg;
    ShardStream *stream;
    AcidStream *acid;

    if (!shard_load_stream(load, row, &stream, err)) {
        return false;
    }
    acid = acid_stream(stream);
    acid->bytes = row->file_bytes;
    acid->messages = row->file_count;
    acid->producers_after = row->producers_last_turn;
    acid->garbage_below = row->at.base;
    return true;
}

static bool
acid_load(Backend *base, ShardLoad *load, Error *err)
{
    AcidBackend *backend = backend_of(base);

    return (acid_schema_check(backend->db, err) || error_wrap(err, "%s", backend->path)) &&
           stream_rows_load(backend->rows, load_row, load, err);
}

static bool
open_database(AcidBackend *backend, const BackendOptions *options, Error *err)
{
    bool sync = !MUTANT("no_fdatasync");
    SqliteOptions database = {
        .path = backend->path,
        .create = true,
        .sync = sync,
        .can_shrink = true,
        .cache_kib = DS_MAX((size_t)ACID_CACHE_KIB_ALL / options->shards, (size_t)CACHE_KIB_MIN),
    };

    if (!sqlite_open(&database, &backend->db, err)) {
        return false;
    }
    (void)sqlite3_wal_hook(backend->db, note_log_pages, backend);
    if (!stream_rows_open(backend->db, &backend->rows, err)) {
        return false;
    }
    return (acid_schema_make(backend->db, options, err) &&
            acid_writer_open(&backend->writer, backend->db, err) &&
            acid_garbage_open(&backend->garbage, backend->db, err) &&
            sqlite_prepare(backend->db, "PRAGMA page_count", &backend->page_count, err) &&
            sqlite_prepare(backend->db, "PRAGMA freelist_count", &backend->free_count, err) &&
            acid_reserve_open(&backend->reserve, backend->path, err)) ||
           error_wrap(err, "%s", backend->path);
}

static void
close_database(AcidBackend *backend)
{
    sqlite3_finalize(backend->page_count);
    sqlite3_finalize(backend->free_count);
    backend->page_count = NULL;
    backend->free_count = NULL;
    acid_garbage_close(&backend->garbage);
    acid_writer_close(&backend->writer);
    stream_rows_close(backend->rows);
    backend->rows = NULL;
    sqlite_close(backend->db);
    backend->db = NULL;
    acid_reserve_close(&backend->reserve);
}

/* The last connection moves the log to the file and removes it. */
static bool
acid_close(Backend *base, Error *err)
{
    AcidBackend *backend = backend_of(base);
    uint64_t left = 0;
    bool ok;

    acid_upkeep_forget(backend->upkeep, backend);
    ok = sqlite_checkpoint(backend->db, &left, err);
    acid_readers_done(&backend->readers);
    backend->closed = true;
    close_database(backend);
    return ok || error_wrap(err, "%s", backend->path);
}

static void
acid_free(Backend *base)
{
    AcidBackend *backend = backend_of(base);

    if (!backend->closed) {
        acid_upkeep_forget(backend->upkeep, backend);
        acid_readers_done(&backend->readers);
        close_database(backend);
    }
    free(backend->next_payload);
    free(backend->path);
    free(backend);
}

static bool
acid_open(const BackendOptions *options, void *shared, Backend **out, Error *err)
{
    static const BackendTable table = {
        .stream_size = sizeof(AcidStream),
        .load = acid_load,
        .commit = acid_commit,
        .published = acid_published,
        .tick = acid_tick,
        .read = acid_read,
        .measure = acid_measure,
        .close = acid_close,
        .free = acid_free,
    };
    AcidBackend *backend = mem_zalloc(sizeof(*backend));

    backend->base.table = &table;
    backend->upkeep = shared;
    backend->reserve.fd = -1;
    backend->path = acid_path(options, options->shard);
    backend->log_pages_max = DS_MAX(ACID_LOG_PAGES_ALL / options->shards, LOG_PAGES_MIN);
    backend->log_pages_soon = backend->log_pages_max / LOG_SOON_SHARE;
    STAILQ_INIT(&backend->batch);
    acid_readers_init(&backend->readers, backend->path, !MUTANT("no_fdatasync"));
    if (!open_database(backend, options, err)) {
        acid_free(&backend->base);
        return false;
    }
    *out = &backend->base;
    return true;
}

static bool
acid_share(const BackendOptions *options, void **out_shared, Error *err)
{
    if (!acid_folder_check(options, err)) {
        return false;
    }
    *out_shared = acid_upkeep_start();
    return true;
}

static void
acid_unshare(void *shared)
{
    acid_upkeep_stop(shared);
}

const BackendKind store_acid = {
    .mode = "acid",
    .share = acid_share,
    .unshare = acid_unshare,
    .open = acid_open,
};
