/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_shard.h"

#include "common/clock.h"
#include "common/fnv.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/shard.h"
#include "server/stream_row.h"

static const LogScope scope = {.name = "server.store"};

static ShardStore *
shard_store(Store *store)
{
    return DS_CONTAINER_OF(store, ShardStore, base);
}

static ShardStream *
shard_stream(Stream *stream)
{
    return DS_CONTAINER_OF(stream, ShardStream, base);
}

/* Part of the disk format: "fnv1a64-mix" in the manifest.  FNV alone leaves the upper half of names
 * that differ in their last byte the same, and the lowest bits follow those of the bytes. */
static Shard *
shard_of_name(ShardStore *store, Str name)
{
    uint64_t hash = fnv1a64(FNV1A64_BASIS, name);

    hash = (hash ^ hash >> 32) * UINT64_C(0xff51afd7ed558ccd);
    return &store->shards[(hash >> 32) % store->shard_count];
}

/* ---- the table ---- */

static Shard *
enqueue(ShardStore *store, StoreOp *op)
{
    Shard *shard =
        op->kind == STORE_CREATE ? shard_of_name(store, op->name) : shard_stream(op->stream)->shard;

    op->result = (StoreResult){0};
    shard_submit(shard, op);
    return shard;
}

static void
submit(Store *store, StoreOp *op)
{
    shard_wake(enqueue(shard_store(store), op));
}

/* A shard that was woken by the first would commit it alone. */
static void
submit_all(Store *base, struct StoreOpQueue *ops)
{
    ShardStore *store = shard_store(base);

    while (!STAILQ_EMPTY(ops)) {
        StoreOp *op = STAILQ_FIRST(ops);

        STAILQ_REMOVE_HEAD(ops, queue_entry);
        (void)enqueue(store, op);
    }
    for (unsigned i = 0; i < store->shard_count; i++) {
        shard_wake(&store->shards[i]);
    }
}

static ReadPart
read_stream(Store *store DS_UNUSED, Stream *base, uint64_t from, uint64_t to, size_t bytes_max,
            bool may_block, Range *out, Error *err)
{
    ShardStream *stream = shard_stream(base);
    Backend *backend = stream->shard->backend;
    uint64_t hot = chunk_log_start(&stream->log);
    bool ok;

    if (from >= hot) {
        chunk_log_read(&stream->log, from, to, bytes_max, out);
        return READ_PART_OK;
    }
    if (!may_block) {
        return READ_PART_COLD;
    }
    pthread_mutex_unlock(&base->lock);
    ok = backend->table->read(backend, stream, from, DS_MIN(to, hot), bytes_max, out, err);
    pthread_mutex_lock(&base->lock);
    if (!ok) {
        return READ_PART_FAILED;
    }
    /* On to what is in memory, if that has not gone meanwhile. */
    if (!atomic_load(&base->deleted) && out->to >= chunk_log_start(&stream->log) && out->to < to &&
        out->bytes < bytes_max) {
        chunk_log_read(&stream->log, out->to, to, bytes_max, out);
    }
    return READ_PART_OK;
}

static void
stop(Store *base)
{
    ShardStore *store = shard_store(base);
    bool clean = true;
    Error err;

    for (unsigned i = 0; i < store->shard_count; i++) {
        shard_stop(&store->shards[i]);
    }
    for (unsigned i = 0; i < store->shard_count; i++) {
        Backend *backend = store->shards[i].backend;

        if (!backend->table->close(backend, &err)) {
            clean = false;
            log_warn(&scope, EVENT_SERVER_STORE_UNCLEAN,
                     LOG_FIELDS(log_u64("shard", i), log_str("reason", str_c(err.text))),
                     "the data directory is not left clean: the next start recovers");
        }
    }
    if (clean && !data_dir_seal(&store->dir, &err)) {
        log_warn(&scope, EVENT_SERVER_STORE_UNCLEAN, LOG_FIELDS(log_str("reason", str_c(err.text))),
                 "the data directory is not left clean: the next start recovers");
    }
}

static void
free_store(Store *base)
{
    ShardStore *store = shard_store(base);

    for (unsigned i = 0; i < store->shard_count; i++) {
        shard_done(&store->shards[i]);
    }
    if (store->kind->unshare != NULL && store->shared != NULL) {
        store->kind->unshare(store->shared);
    }
    data_dir_close(&store->dir);
    free(store->shards);
    free(store);
}

/* ---- loading ---- */

struct ShardLoad {
    ShardStore *store;
    Shard *shard;
    IdMap *streams; /* ShardStream, of all shards, each with a reference */
    ShardStream **all;
    size_t count; /* of all */
    bool lost;
    StreamRowTime now;
};

bool
shard_load_stream(ShardLoad *load, const StreamRow *row, ShardStream **out, Error *err)
{
    const StoreLimits *limits = &load->store->base.limits;
    StreamConfig config = {
        .content_type = row->content_type,
        .ttl_s = row->ttl_s,
        .expires_at_ms = row->expires_at_ms,
    };
    ShardStream *stream;
    bool is_json;

    if (row->id == 0 || id_map_get(load->streams, row->id) != NULL ||
        shard_of_name(load->store, row->name) != load->shard) {
        return error_set(err, ERR_CORRUPT, "stream %016llx is there twice, or in a wrong shard",
                         (unsigned long long)row->id);
    }
    stream = shard_stream_new(load->shard, row->name, &config);
    stream_row_restore(row, load->now, SHARD_TOUCH_SLACK_MS, limits->producers_per_stream,
                       &stream->base);
    is_json = stream->base.kind == STREAM_JSON;
    chunk_log_init_at(&stream->log, is_json, is_json ? row->file_bytes : row->at.tail,
                      is_json ? row->at.tail : row->file_count);
    stream->kept_to = row->at.tail;
    stream->parent_id = row->parent_id;
    id_map_put(load->streams, row->id, stream);
    *out = stream;
    return true;
}

ShardStream *
shard_load_find(ShardLoad *load, uint64_t id)
{
    return id_map_get(load->streams, id);
}

void
shard_load_forget(ShardLoad *load, ShardStream *stream)
{
    id_map_remove(load->streams, stream->base.id);
    stream_drop(&stream->base);
}

typedef struct Each {
    ShardLoad *load;
    bool (*fn)(void *arg, ShardStream *stream, Error *err);
    void *arg;
    Error *err;
} Each;

static bool
each_of_shard(void *arg, uint64_t id DS_UNUSED, void *value)
{
    const Each *each = arg;
    ShardStream *stream = value;

    return stream->shard != each->load->shard || each->fn(each->arg, stream, each->err);
}

bool
shard_load_each(ShardLoad *load, bool (*fn)(void *arg, ShardStream *stream, Error *err), void *arg,
                Error *err)
{
    Each each = {.load = load, .fn = fn, .arg = arg, .err = err};

    return id_map_each(load->streams, each_of_shard, &each);
}

/* ---- forks that were loaded ---- */

/* The machine stopped, and took what a fork inherits, itself or through its parent, which was left
 * without one for that: it begins behind what is gone. */
static void
skip_lost(ShardStream *stream)
{
    Stream *fork = &stream->base;
    StreamView *at = &fork->state.at;
    const Stream *owner = fork;
    uint64_t first = fork->fork_at;

    while (owner->parent != NULL && at->start < owner->fork_at) {
        owner = owner->parent;
        first = DS_MIN(first, owner->fork_at);
    }
    if (at->start < owner->fork_at) {
        at->start = first;
        if (fork->kind == STREAM_JSON) {
            at->messages = at->tail - at->start;
        }
        fork->view = *at;
    }
}

static bool
link_fork(const ShardLoad *load, ShardStream *stream, Error *err)
{
    Stream *fork = &stream->base;
    ShardStream *parent = id_map_get(load->streams, stream->parent_id);
    bool whole = parent != NULL && parent->base.view.tail >= fork->fork_at;

    if (!whole && !load->lost) {
        return error_set(err, ERR_CORRUPT,
                         "stream %016llx is a fork of %016llx, which has not what it inherits",
                         (unsigned long long)fork->id, (unsigned long long)stream->parent_id);
    }
    if (whole) { /* else it never has one again, or the next start would miss the same */
        stream_take(&parent->base);
        fork->parent = &parent->base;
        fork_link_loaded(fork);
        atomic_store(&fork->needs, 0); /* until its own forks are known */
    }
    return true;
}

static unsigned
depth_of(const Stream *stream)
{
    unsigned depth = 0;

    for (const Stream *parent = stream->parent; parent != NULL; parent = parent->parent) {
        depth++;
    }
    return depth;
}

static int
by_depth(const void *a, const void *b)
{
    unsigned depth_a = depth_of(&(*(ShardStream *const *)a)->base);
    unsigned depth_b = depth_of(&(*(ShardStream *const *)b)->base);

    return (depth_a > depth_b) - (depth_a < depth_b);
}

static bool
gather(void *arg, uint64_t id DS_UNUSED, void *value)
{
    ShardLoad *load = arg;

    load->all[load->count++] = value;
    return true;
}

/* Parents come before their forks in load->all from now on. */
static bool
link_forks(ShardLoad *load, Error *err)
{
    load->all = mem_array(id_map_count(load->streams), sizeof(*load->all));
    (void)id_map_each(load->streams, gather, load);
    for (size_t i = 0; i < load->count; i++) {
        if (load->all[i]->parent_id != 0 && !link_fork(load, load->all[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; load->lost && i < load->count; i++) {
        skip_lost(load->all[i]);
    }
    qsort(load->all, load->count, sizeof(*load->all), by_depth);
    for (size_t i = load->count; i-- > 0;) {
        Stream *stream = &load->all[i]->base;

        if (stream->parent != NULL) {
            pthread_mutex_lock(&stream->lock);
            (void)fork_settle(stream);
            pthread_mutex_unlock(&stream->lock);
        }
    }
    return true;
}

/* What may have lost its end goes on under another era.  A fork's is never less than its parent's.
 */
static void
renew_eras(ShardLoad *load)
{
    for (size_t i = 0; i < load->count; i++) {
        Stream *stream = &load->all[i]->base;
        const Stream *parent = stream->parent;

        if (!stream->state.closed || (parent != NULL && parent->era > stream->era)) {
            stream->era = registry_draw(load->store->base.registry);
        }
    }
}

/* ---- the start ---- */

static bool
open_shards(ShardStore *store, Metrics *metrics, Error *err)
{
    const StorageOptions *options = &store->options;
    BackendOptions backend_options = {
        .data_dir = store->dir.path,
        .data_dir_fd = store->dir.fd,
        .shards = options->shards,
        .producers_max = store->base.limits.producers_per_stream,
        .wal_segment_bytes = options->wal_segment_bytes,
        .checkpoint_ms = options->checkpoint_ms,
        .open_files_max = options->open_files_max,
        .left_clean = store->dir.was_clean && !store->dir.is_new,
        .metrics = metrics,
    };

    if (store->kind->share != NULL && !store->kind->share(&backend_options, &store->shared, err)) {
        return false;
    }
    store->shards = mem_array(options->shards, sizeof(*store->shards));
    while (store->shard_count < options->shards) {
        Backend *backend;

        backend_options.shard = store->shard_count;
        if (!store->kind->open(&backend_options, store->shared, &backend, err)) {
            return error_wrap(err, "shard %u", store->shard_count);
        }
        shard_init(&store->shards[store->shard_count++], store, backend);
    }
    return true;
}

static bool
load_shards(ShardLoad *load, Error *err)
{
    ShardStore *store = load->store;

    for (unsigned i = 0; i < store->shard_count; i++) {
        Backend *backend = store->shards[i].backend;

        load->shard = &store->shards[i];
        if (!backend->table->load(backend, load, err)) {
            return error_wrap(err, "shard %u", i);
        }
    }
    if (!link_forks(load, err)) {
        return false;
    }
    if (!store->dir.was_clean && store->kind->sweep != NULL &&
        !store->kind->sweep(store->shared, load->streams, err)) {
        return false;
    }
    if (load->lost) {
        renew_eras(load);
    }
    for (unsigned i = 0; i < store->shard_count; i++) {
        Backend *backend = store->shards[i].backend;

        load->shard = &store->shards[i];
        if (backend->table->loaded != NULL &&
            !backend->table->loaded(backend, load, load->lost, err)) {
            return error_wrap(err, "shard %u", i);
        }
    }
    return true;
}

static bool
insert(ShardStore *store, ShardStream *stream, Error *err)
{
    Stream *base = &stream->base;
    Stream *other = registry_look(store->base.registry, base->name);
    Stream *expired;
    bool is_new = other == NULL;

    stream_drop(other);
    if (!is_new || !registry_insert(store->base.registry, base, &other, &expired)) {
        return error_set(err, ERR_CORRUPT, "two streams have the name \"%.*s\"",
                         (int)DS_MIN(base->name.len, (size_t)200), base->name.ptr);
    }
    registry_raise(store->base.registry, DS_MAX(base->era, base->id));
    store_count_loaded(&store->base, base->state.at.bytes);
    shard_adopt(stream->shard, stream);
    stream->touch_kept_ms = atomic_load(&base->touched_ms);
    if (stream->log.memory > 0) {
        shard_count_cache(stream->shard, 0, stream->log.memory);
        shard_mark_hot(stream->shard, stream);
    }
    return true;
}

static bool
insert_all(ShardLoad *load, Error *err)
{
    for (size_t i = 0; i < load->count; i++) {
        if (!insert(load->store, load->all[i], err)) {
            return false;
        }
    }
    return true;
}

/* A stop may have come between the end of a fork and what that leaves to its parent. */
static void
release_parents(ShardLoad *load)
{
    for (size_t i = 0; i < load->count; i++) {
        Stream *stream = &load->all[i]->base;

        if (stream->state.soft_deleted || fork_base(stream) > stream->state.at.base) {
            store_release(&load->store->base, stream);
        }
    }
}

static bool
drop_one(void *arg DS_UNUSED, uint64_t id DS_UNUSED, void *value)
{
    ShardStream *stream = value;

    stream_drop(&stream->base);
    return true;
}

static bool
load_all(ShardStore *store, Error *err)
{
    ShardLoad load = {
        .store = store,
        .streams = id_map_new(),
        .lost = store->kind->may_lose && !store->dir.was_clean && !store->dir.same_boot,
        .now = {.boot_ms = clock_boot_ms(), .wall_ms = clock_wall_ms()},
    };
    int64_t begun_ms = clock_mono_ms();
    bool ok =
        load_shards(&load, err) && insert_all(&load, err) && data_dir_recovered(&store->dir, err);

    if (ok) {
        log_info(&scope,
                 LOG_FIELDS(log_u64("streams", load.count),
                            log_str("left", store->dir.was_clean ? STR("clean") : STR("unclean")),
                            log_i64("ms", clock_mono_ms() - begun_ms)),
                 "the data directory is loaded");
        for (unsigned i = 0; i < store->shard_count; i++) {
            shard_start(&store->shards[i]);
        }
        release_parents(&load);
    }
    (void)id_map_each(load.streams, drop_one, NULL);
    id_map_free(load.streams);
    free(load.all);
    return ok;
}

bool
store_shard_new(const BackendKind *kind, const StorageOptions *options, const StoreLimits *limits,
                Metrics *metrics, Store **out, Error *err)
{
    ShardStore *store = mem_zalloc(sizeof(*store));

    DS_ASSERT(options->shards <= SHARDS_MAX);
    store->kind = kind;
    store->options = *options;
    store->table = (StoreTable){
        .mode = kind->mode,
        .queued = true,
        .submit = submit,
        .submit_all = submit_all,
        .read = read_stream,
        .stop = stop,
        .free = free_store,
    };
    if (!data_dir_open(options->data_dir, kind->mode, options->shards, &store->dir, err)) {
        free(store);
        return false;
    }
    store->options.shards = (unsigned)store->dir.manifest.shards;
    store_init(&store->base, &store->table, limits, metrics);
    registry_raise(store->base.registry, store->dir.first_number);
    store->cache_gauge = metrics_gauge(metrics, "ds_server_cache_bytes", NULL,
                                       "Memory that holds bytes of streams.");
    store->batches = metrics_counter(metrics, "ds_server_commits_total", NULL,
                                     "Batches of operations that were committed.");
    if (!open_shards(store, metrics, err) || !load_all(store, err)) {
        store->table.stop = NULL; /* nothing is to be written */
        store_free(&store->base);
        return false;
    }
    *out = &store->base;
    return true;
}
