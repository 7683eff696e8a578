/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_file.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/sqlite.h"
#include "server/store_file_internal.h"

#define PATH_BYTES_MAX 4096
#define META_CACHE_KIB 2048
#define SPARE_PART     8 /* of a segment, for what makes room */
#define SPARE_BYTES    ((size_t)64 * 1024)
#define IDS_CAP_MIN    64
#define ARENA_BYTES_MAX                                                                            \
    (SIZE_MAX / 2) /* a batch, and a record, are bounded where they are made                       \
                    */

static const LogScope scope = {.name = "server.store"};

static FileBackend *
backend_of(Backend *backend)
{
    return DS_CONTAINER_OF(backend, FileBackend, base);
}

static FileStream *
file_stream(ShardStream *stream)
{
    return DS_CONTAINER_OF(stream, FileStream, base);
}

void
id_list_add(IdList *list, uint64_t id)
{
    if (list->count == list->cap) {
        list->cap = DS_MAX((size_t)IDS_CAP_MIN, 2 * list->cap);
        list->ids = mem_regrow(list->ids, list->cap, sizeof(*list->ids));
    }
    list->ids[list->count++] = id;
}

void
file_stream_set_dirty(FileBackend *backend, FileStream *stream, uint64_t lsn)
{
    stream->lsn = lsn;
    if (!stream->is_dirty) {
        stream_take(&stream->base.base);
        stream->is_dirty = true;
        stream->dirty_lsn = lsn;
        TAILQ_INSERT_TAIL(&backend->dirty, stream, by_age);
    }
}

static void
set_deleted(FileBackend *backend, FileStream *stream)
{
    id_list_add(&backend->deleted, stream->base.base.id);
    if (stream->is_dirty) {
        TAILQ_REMOVE(&backend->dirty, stream, by_age);
        stream->is_dirty = false;
        stream_drop(&stream->base.base);
    }
}

/* ---- commit ---- */

static bool
file_commit(Backend *base, const Change *changes, size_t count, Error *err)
{
    FileBackend *backend = backend_of(base);
    Wal *wal = backend->wal;
    bool grows = false;
    bool ok;

    wal_begin(wal);
    for (size_t i = 0; i < count; i++) {
        grows = grows || changes[i].kind == CHANGE_CREATE || changes[i].kind == CHANGE_APPEND;
        Str parts[FILE_RECORD_PARTS_MAX];
        unsigned kind;
        size_t parts_count = file_record_make(&changes[i], &backend->records, &kind, parts);
        uint64_t lsn = wal_add(wal, kind, parts, parts_count);

        backend->first_lsn = i == 0 ? lsn : backend->first_lsn;
    }
    /* What makes room must not lack it. */
    wal_spare(wal,
              grows ? DS_MIN(backend->options.wal_segment_bytes / SPARE_PART, SPARE_BYTES) : 0);
    ok = wal_commit(wal, err);
    arena_reset(&backend->records);
    return ok;
}

static void
file_published(Backend *base, const Change *changes, size_t count)
{
    FileBackend *backend = backend_of(base);
    uint64_t used;

    for (size_t i = 0; i < count; i++) {
        FileStream *stream = file_stream(changes[i].stream);

        if (changes[i].kind == CHANGE_DELETE) {
            set_deleted(backend, stream);
        } else if (!atomic_load(&stream->base.base.deleted)) {
            file_stream_set_dirty(backend, stream, backend->first_lsn + i);
        }
    }
    used = wal_bytes_used(backend->wal);
    if (used > backend->wal_soon_bytes) {
        checkpoint_want(backend->checkpoint);
    }
    if (used > backend->wal_full_bytes) {
        (void)checkpoint_hold_shard(backend->checkpoint);
    }
}

/* The gauge is of all shards. */
static void
file_tick(Backend *base)
{
    FileBackend *backend = backend_of(base);
    uint64_t used = wal_bytes_used(backend->wal);

    metric_move(backend->log_gauge, (int64_t)used - (int64_t)backend->log_bytes);
    backend->log_bytes = used;
}

static bool
file_hold_for_room(Backend *base)
{
    return checkpoint_hold_shard(backend_of(base)->checkpoint);
}

/* ---- reading ---- */

/* Where the stream's files begin, as a position. */
static DataRead
data_read(const ShardStream *stream, uint64_t from, uint64_t to, size_t bytes_max)
{
    uint64_t first = stream->base.fork_at;

    return (DataRead){
        .id = stream->base.id,
        .counts_messages = stream->base.kind == STREAM_JSON,
        .from = from - first,
        .to = to - first,
        .bytes_max = bytes_max,
    };
}

static bool
file_read(Backend *base, ShardStream *stream, uint64_t from, uint64_t to, size_t bytes_max,
          Range *out, Error *err)
{
    DataRead read = data_read(stream, from, to, bytes_max);

    pthread_mutex_lock(&stream->base.lock);
    read.end = file_stream(stream)->end;
    pthread_mutex_unlock(&stream->base.lock);
    return data_file_read(backend_of(base)->files, &read, out, err);
}

static bool
file_measure(Backend *base, ShardStream *stream, uint64_t position, uint64_t *out_bytes,
             uint64_t *out_messages, Error *err)
{
    DataEnd end;
    DataEnd found;

    /* The checkpoint thread moves it, and does not pause the shard for that. */
    pthread_mutex_lock(&stream->base.lock);
    end = file_stream(stream)->end;
    pthread_mutex_unlock(&stream->base.lock);
    if (!data_file_locate(backend_of(base)->files, stream->base.id, end,
                          stream->base.kind == STREAM_JSON, position - stream->base.fork_at, &found,
                          err)) {
        return false;
    }
    *out_bytes = found.bytes;
    *out_messages = found.count;
    return true;
}

/* ---- loading ---- */

typedef struct Replay {
    FileBackend *backend;
    ShardLoad *load;
    Arena arena;
    StreamRowTime now;
    IdList unknown; /* streams that there are not, until their deletion is found */
    uint64_t unknown_lsn;
} Replay;

static bool
load_row(void *arg, const StreamRow *row, Error *err)
{
    Replay *replay = arg;
    ShardStream *stream;
    FileStream *file;

    if (!shard_load_stream(replay->load, row, &stream, err)) {
        return false;
    }
    file = file_stream(stream);
    file->lsn = row->lsn;
    file->end = (DataEnd){.bytes = row->file_bytes, .count = row->file_count};
    file->producers_after = row->producers_last_turn;
    return true;
}

/* Of a record: to boot time, which began anew. */
static int64_t
boot_ms_of(const Replay *replay, int64_t wall_ms)
{
    return replay->now.boot_ms - DS_MAX(replay->now.wall_ms - wall_ms, INT64_C(0));
}

static bool
replay_create(Replay *replay, const FileRecord *record, ShardStream **out, Error *err)
{
    StreamRow row = {
        .id = record->id,
        .name = record->name,
        .content_type = record->config.content_type,
        .ttl_s = record->config.ttl_s,
        .expires_at_ms = record->config.expires_at_ms,
        .created_ms = record->created_ms,
        .era = record->era,
        .parent_id = record->parent_id,
        .fork_at = record->fork_at,
        .at =
            {
                .start = record->at.start,
                .tail = record->position,
                .base = record->position,
                .messages = record->at.messages,
                .updated_ms = record->created_ms,
            },
        .touched_ms = record->wall_ms,
    };

    return shard_load_stream(replay->load, &row, out, err);
}

static bool
replay_append(Replay *replay, const FileRecord *record, ShardStream *stream, Error *err)
{
    Stream *base = &stream->base;

    if (base->state.at.tail != record->position) {
        return error_set(err, ERR_CORRUPT,
                         "the write-ahead log continues stream %016llx at %llu, and its tail is "
                         "at %llu",
                         (unsigned long long)record->id, (unsigned long long)record->position,
                         (unsigned long long)base->state.at.tail);
    }
    if (record->append.payload.count > 0) {
        chunk_log_append(&stream->log, record->append.payload);
    }
    stream_apply_append(base, &record->append, replay->backend->options.producers_max,
                        boot_ms_of(replay, record->wall_ms), record->wall_ms, NULL);
    return true;
}

static void
replay_trim(const FileRecord *record, ShardStream *stream)
{
    StreamView *at = &stream->base.state.at;

    at->start = record->at.start;
    at->base = record->at.base;
    at->messages = record->at.messages;
    at->bytes = record->at.bytes;
}

static bool
apply_record(Replay *replay, const FileRecord *record, ShardStream *stream, Error *err)
{
    Stream *base = &stream->base;

    switch (record->kind) {
    case CHANGE_CREATE:
    case CHANGE_APPEND:
        if (!replay_append(replay, record, stream, err)) {
            return false;
        }
        break;
    case CHANGE_TRIM:
        replay_trim(record, stream);
        break;
    case CHANGE_SOFT_DELETE:
        base->state.soft_deleted = true;
        break;
    case CHANGE_TOUCH:
        break;
    case CHANGE_DELETE:
        return true;
    }
    /* Everything but the removal of a fork's bytes is an access, or comes with one. */
    atomic_store(&base->touched_ms,
                 DS_MAX(atomic_load(&base->touched_ms), boot_ms_of(replay, record->wall_ms)));
    stream_publish(base);
    return true;
}

/* A stream may be made before the position of a checkpoint and deleted while it runs: then it never
 * got a row, and the log has what became of it behind the position, its deletion at last. */
static void
replay_unknown(Replay *replay, const FileRecord *record, uint64_t lsn)
{
    IdList *unknown = &replay->unknown;
    size_t at = 0;

    while (at < unknown->count && unknown->ids[at] != record->id) {
        at++;
    }
    if (record->kind != CHANGE_DELETE && at == unknown->count) {
        id_list_add(unknown, record->id);
        replay->unknown_lsn = lsn;
    } else if (record->kind == CHANGE_DELETE && at < unknown->count) {
        unknown->ids[at] = unknown->ids[--unknown->count];
    }
}

static bool
check_unknown(const Replay *replay, Error *err)
{
    return replay->unknown.count == 0 ||
           error_set(err, ERR_CORRUPT,
                     "the write-ahead log is about stream %016llx, which there is not (records up "
                     "to %llu)",
                     (unsigned long long)replay->unknown.ids[0],
                     (unsigned long long)replay->unknown_lsn);
}

static bool
replay_record(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err)
{
    Replay *replay = arg;
    FileBackend *backend = replay->backend;
    ShardStream *stream;
    FileRecord record;

    arena_reset(&replay->arena);
    if (!file_record_parse(kind, body, &replay->arena, &record, err)) {
        return false;
    }
    stream = shard_load_find(replay->load, record.id);
    if (stream != NULL && lsn <= file_stream(stream)->lsn) {
        return true; /* the row knows it */
    }
    if (stream == NULL && record.kind == CHANGE_CREATE &&
        !replay_create(replay, &record, &stream, err)) {
        return false;
    }
    if (stream == NULL) {
        replay_unknown(replay, &record, lsn);
        return true;
    }
    if (!apply_record(replay, &record, stream, err)) {
        return false;
    }
    if (record.kind == CHANGE_DELETE) {
        set_deleted(backend, file_stream(stream));
        shard_load_forget(replay->load, stream);
    } else {
        file_stream_set_dirty(backend, file_stream(stream), lsn);
    }
    return true;
}

static bool
check_loaded(void *arg, ShardStream *stream, Error *err DS_UNUSED)
{
    FileBackend *backend = arg;
    const FileStream *file = file_stream(stream);
    Error damage;

    if (!data_file_cut(backend->files, stream->base.id, file->end, &damage)) {
        /* The other streams are not to blame, and what is there of this one can be read. */
        log_error(&scope, EVENT_SERVER_STREAM_DAMAGED,
                  LOG_FIELDS(log_str("stream", stream->base.name)),
                  "the files of a stream are damaged: %s", damage.text);
    }
    return true;
}

static bool
set_new_era(void *arg, ShardStream *stream, Error *err DS_UNUSED)
{
    FileBackend *backend = arg;
    FileStream *file = file_stream(stream);

    file->forget_row = true;
    file->producers_after = 0;
    file_stream_set_dirty(backend, file, file->lsn);
    return true;
}

static bool
open_meta(FileBackend *backend, const char *path, Error *err)
{
    SqliteOptions options = {
        .path = path, .create = true, .sync = true, .cache_kib = META_CACHE_KIB};
    int64_t position = 0;

    if (!sqlite_open(&options, &backend->db, err) ||
        !stream_rows_open(backend->db, &backend->rows, err) ||
        !sqlite_exec(backend->db,
                     "CREATE TABLE IF NOT EXISTS wal_position (one INTEGER PRIMARY KEY CHECK "
                     "(one = 1), lsn INTEGER NOT NULL); INSERT OR IGNORE INTO wal_position VALUES "
                     "(1, 0)",
                     err) ||
        !sqlite_prepare(backend->db, "UPDATE wal_position SET lsn = ?1", &backend->save_position,
                        err) ||
        !sqlite_number(backend->db, "SELECT lsn FROM wal_position", &position, err)) {
        return error_wrap(err, "%s", path);
    }
    backend->position = (uint64_t)position;
    return true;
}

static bool
file_load(Backend *base, ShardLoad *load, Error *err)
{
    FileBackend *backend = backend_of(base);
    const BackendOptions *options = &backend->options;
    Replay replay = {
        .backend = backend,
        .load = load,
        .now = {.boot_ms = clock_boot_ms(), .wall_ms = clock_wall_ms()},
    };
    char path[PATH_BYTES_MAX];
    WalOptions wal = {
        .dir = path,
        .segment_bytes = options->wal_segment_bytes,
        .segments_max = FILE_WAL_SEGMENTS_MAX,
        .sync = backend->sync,
    };
    bool ok;

    (void)snprintf(path, sizeof(path), "%s/wal-%02x", options->data_dir, options->shard);
    arena_init(&replay.arena, ARENA_BYTES_MAX);
    ok = stream_rows_load(backend->rows, load_row, &replay, err) &&
         wal_open(&wal, backend->position, replay_record, &replay, &backend->wal, err) &&
         check_unknown(&replay, err);
    arena_done(&replay.arena);
    free(replay.unknown.ids);
    return ok;
}

static bool
file_loaded(Backend *base, ShardLoad *load, bool lost, Error *err)
{
    FileBackend *backend = backend_of(base);
    const WalRecovery *found = wal_recovery(backend->wal);

    if (!found->sealed && !shard_load_each(load, check_loaded, backend, err)) {
        return false;
    }
    if (lost && !shard_load_each(load, set_new_era, backend, err)) {
        return false;
    }
    if (found->records > 0 || found->torn_bytes > 0 || found->discarded_bytes > 0) {
        log_info(&scope,
                 LOG_FIELDS(log_u64("shard", backend->options.shard),
                            log_u64("records", found->records),
                            log_u64("torn_bytes", found->torn_bytes),
                            log_u64("discarded_bytes", found->discarded_bytes)),
                 "the write-ahead log was applied");
    }
    /* Other eras must be on the disk before anybody learns them. */
    if (lost && !checkpoint_run(backend->checkpoint, err)) {
        return false;
    }
    checkpoint_start(backend->checkpoint);
    return true;
}

/* ---- the end ---- */

static void
drop_dirty(FileBackend *backend)
{
    FileStream *stream;

    while ((stream = TAILQ_FIRST(&backend->dirty)) != NULL) {
        TAILQ_REMOVE(&backend->dirty, stream, by_age);
        stream_drop(&stream->base.base);
    }
}

static bool
file_close(Backend *base, Error *err)
{
    FileBackend *backend = backend_of(base);
    bool ok;

    checkpoint_stop(backend->checkpoint);
    ok = checkpoint_run(backend->checkpoint, err) && wal_seal(backend->wal, err);
    drop_dirty(backend);
    return ok;
}

static void
file_free(Backend *base)
{
    FileBackend *backend = backend_of(base);

    checkpoint_stop(backend->checkpoint); /* these two: of a start that failed */
    drop_dirty(backend);
    checkpoint_free(backend->checkpoint);
    wal_free(backend->wal);
    stream_rows_close(backend->rows);
    sqlite3_finalize(backend->save_position);
    sqlite_close(backend->db);
    arena_done(&backend->records);
    free(backend->deleted.ids);
    free(backend);
}

/* ---- the kinds ---- */

static const BackendTable file_table = {
    .stream_size = sizeof(FileStream),
    .load = file_load,
    .loaded = file_loaded,
    .commit = file_commit,
    .hold_for_room = file_hold_for_room,
    .published = file_published,
    .tick = file_tick,
    .read = file_read,
    .measure = file_measure,
    .close = file_close,
    .free = file_free,
};

static bool
open_file(const BackendOptions *options, void *shared, bool sync, Backend **out, Error *err)
{
    FileBackend *backend = mem_zalloc(sizeof(*backend));
    size_t segment = options->wal_segment_bytes;
    char path[PATH_BYTES_MAX];

    backend->base.table = &file_table;
    backend->options = *options;
    backend->sync = sync;
    backend->files = shared;
    backend->wal_soon_bytes = segment;
    backend->wal_full_bytes = (FILE_WAL_SEGMENTS_MAX - 3) * segment;
    arena_init(&backend->records, ARENA_BYTES_MAX);
    TAILQ_INIT(&backend->dirty);
    backend->log_gauge =
        metrics_gauge(options->metrics, "ds_server_log_bytes", NULL,
                      "Bytes of the write-ahead logs that no checkpoint has moved to the files.");
    backend->checkpoint = checkpoint_new(backend, options->checkpoint_ms, options->metrics);
    (void)snprintf(path, sizeof(path), "%s/meta-%02x.sqlite", options->data_dir, options->shard);
    if (!open_meta(backend, path, err)) {
        file_free(&backend->base);
        return false;
    }
    *out = &backend->base;
    return true;
}

static bool
open_durable(const BackendOptions *options, void *shared, Backend **out, Error *err)
{
    return open_file(options, shared, true, out, err);
}

static bool
open_fast(const BackendOptions *options, void *shared, Backend **out, Error *err)
{
    return open_file(options, shared, false, out, err);
}

static bool
share_files(const BackendOptions *options, void **out_shared, Error *err)
{
    char path[PATH_BYTES_MAX];
    DataFiles *files;

    (void)snprintf(path, sizeof(path), "%s/streams", options->data_dir);
    if (!data_files_open(path, options->open_files_max, true, &files, err)) {
        return false;
    }
    *out_shared = files;
    return true;
}

static void
unshare_files(void *shared)
{
    data_files_free(shared);
}

typedef struct Sweep {
    DataFiles *files;
    const IdMap *streams;
} Sweep;

static bool
sweep_one(void *arg, uint64_t id, Error *err)
{
    const Sweep *sweep = arg;

    return id_map_get(sweep->streams, id) != NULL || data_file_delete(sweep->files, id, err);
}

static bool
sweep_files(void *shared, const IdMap *streams, Error *err)
{
    Sweep sweep = {.files = shared, .streams = streams};

    return data_files_each(shared, sweep_one, &sweep, err);
}

const BackendKind store_file_durable = {
    .mode = "file-durable",
    .share = share_files,
    .unshare = unshare_files,
    .sweep = sweep_files,
    .open = open_durable,
};

const BackendKind store_file_fast = {
    .mode = "file-fast",
    .share = share_files,
    .unshare = unshare_files,
    .sweep = sweep_files,
    .may_lose = true,
    .open = open_fast,
};
