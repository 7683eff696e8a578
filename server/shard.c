/* SPDX-License-Identifier: Apache-2.0 */
#include "server/shard_internal.h"

#include <errno.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define NS_PER_MS         1000000
#define THREAD_NAME_BYTES 16

static const LogScope scope = {.name = "server.store"};

void
shard_init(Shard *shard, ShardStore *store, Backend *backend)
{
    pthread_condattr_t monotonic;

    *shard = (Shard){.store = store, .backend = backend};
    backend->shard = shard;
    pthread_mutex_init(&shard->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&shard->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&shard->quiet, NULL);
    STAILQ_INIT(&shard->queue);
    STAILQ_INIT(&shard->taken);
    LIST_INIT(&shard->with_ttl);
    pthread_mutex_init(&shard->hot_lock, NULL);
    TAILQ_INIT(&shard->hot);
    shard->batch = shard_batch_new(shard);
}

void
shard_done(Shard *shard)
{
    shard_batch_free(shard->batch);
    shard->backend->table->free(shard->backend);
    pthread_mutex_destroy(&shard->hot_lock);
    pthread_cond_destroy(&shard->quiet);
    pthread_cond_destroy(&shard->work);
    pthread_mutex_destroy(&shard->lock);
}

/* ---- the queue ---- */

static size_t
op_bytes(const StoreOp *op)
{
    return op->append.payload.bytes.len;
}

void
shard_submit(Shard *shard, StoreOp *op)
{
    size_t bytes = op_bytes(op);
    bool fits;

    pthread_mutex_lock(&shard->lock);
    /* What the store itself gives to another shard must not be lost, but at the end: then the next
     * start finds it to be done. */
    fits = !shard->stopping && (op->kind == STORE_RELEASE || shard->queued_ops == 0 ||
                                (shard->queued_ops < SHARD_QUEUE_OPS_MAX &&
                                 shard->queued_bytes + bytes <= SHARD_QUEUE_BYTES_MAX));
    if (fits) {
        STAILQ_INSERT_TAIL(&shard->queue, op, queue_entry);
        shard->queued_ops++;
        shard->queued_bytes += bytes;
    }
    pthread_mutex_unlock(&shard->lock);
    if (!fits) {
        op->result.verdict = STORE_BUSY;
        op->done(op);
    }
}

void
shard_wake(Shard *shard)
{
    if (!atomic_load(&shard->waiting)) {
        return; /* it looks at the queue before it waits */
    }
    pthread_mutex_lock(&shard->lock);
    if (!STAILQ_EMPTY(&shard->queue)) {
        pthread_cond_signal(&shard->work);
    }
    pthread_mutex_unlock(&shard->lock);
}

void
shard_count_done(Shard *shard, size_t ops, size_t bytes)
{
    pthread_mutex_lock(&shard->lock);
    shard->queued_ops -= ops;
    shard->queued_bytes -= bytes;
    pthread_mutex_unlock(&shard->lock);
}

void
shard_pause(Shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    shard->pauses++;
    while (shard->busy) {
        pthread_cond_wait(&shard->quiet, &shard->lock);
    }
    pthread_mutex_unlock(&shard->lock);
}

void
shard_hold(Shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    shard->pauses++;
    pthread_mutex_unlock(&shard->lock);
}

void
shard_resume(Shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    if (--shard->pauses == 0) {
        pthread_cond_signal(&shard->work);
    }
    pthread_mutex_unlock(&shard->lock);
}

/* ---- the thread ---- */

void
shard_die(const Error *err)
{
    log_error(&scope, EVENT_SERVER_STORE_BROKEN, LOG_FIELDS(log_str("reason", str_c(err->text))),
              "the storage failed, and what is on the disk is not known any more");
    abort();
}

static struct timespec
timespec_of(int64_t mono_ms)
{
    return (struct timespec){
        .tv_sec = mono_ms / 1000,
        .tv_nsec = (mono_ms % 1000) * NS_PER_MS,
    };
}

/* Waits for work.  False: there is none, and there will be none. */
static bool
take(Shard *shard)
{
    struct timespec until = timespec_of(shard->tick_ms);
    bool more = true;

    pthread_mutex_lock(&shard->lock);
    shard->busy = false;
    if (shard->pauses > 0) {
        pthread_cond_broadcast(&shard->quiet);
    }
    atomic_store(&shard->waiting, true);
    while (shard->pauses > 0 || (STAILQ_EMPTY(&shard->queue) && STAILQ_EMPTY(&shard->taken))) {
        if (shard->pauses > 0) {
            pthread_cond_wait(&shard->work, &shard->lock);
        } else if (shard->stopping) {
            more = false;
            break;
        } else if (pthread_cond_timedwait(&shard->work, &shard->lock, &until) == ETIMEDOUT &&
                   shard->pauses == 0) {
            break; /* who pauses found the thread idle, and takes it to stay so */
        }
    }
    atomic_store(&shard->waiting, false);
    shard->busy = true; /* at the end, too: the last accesses are still to be committed */
    STAILQ_CONCAT(&shard->taken, &shard->queue);
    pthread_mutex_unlock(&shard->lock);
    return more;
}

static void
tick(Shard *shard)
{
    int64_t now_ms = clock_mono_ms();

    if (now_ms < shard->tick_ms) {
        return;
    }
    shard->tick_ms = now_ms + SHARD_TICK_MS;
    if (now_ms >= shard->touch_ms) {
        shard->touch_ms = now_ms + SHARD_TOUCH_MS;
        shard_batch_touch(shard->batch);
    }
    if (shard->backend->table->tick != NULL) {
        shard->backend->table->tick(shard->backend);
    }
}

/* For ever: nobody has to wait for the thread any more. */
static void
rest(Shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    shard->busy = false;
    pthread_cond_broadcast(&shard->quiet);
    pthread_mutex_unlock(&shard->lock);
}

static void *
run(void *arg)
{
    Shard *shard = arg;
    char name[THREAD_NAME_BYTES];

    (void)snprintf(name, sizeof(name), "shard-%u", (unsigned)(shard - shard->store->shards));
    (void)pthread_setname_np(pthread_self(), name);
    while (take(shard)) {
        if (!STAILQ_EMPTY(&shard->taken)) {
            shard_batch_run(shard->batch);
        }
        tick(shard);
    }
    shard_batch_touch(shard->batch);
    rest(shard);
    return NULL;
}

void
shard_start(Shard *shard)
{
    DS_ASSERT(pthread_create(&shard->thread, NULL, run, shard) == 0);
    shard->has_thread = true;
}

void
shard_stop(Shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    shard->stopping = true;
    pthread_cond_signal(&shard->work);
    pthread_mutex_unlock(&shard->lock);
    if (shard->has_thread) {
        DS_ASSERT(pthread_join(shard->thread, NULL) == 0);
        shard->has_thread = false;
    }
}

/* ---- streams ---- */

static void
stream_free(Stream *base)
{
    ShardStream *stream = shard_stream_of(base);
    Backend *backend = stream->shard->backend;

    shard_count_cache(stream->shard, stream->log.memory, 0);
    chunk_log_done(&stream->log);
    if (backend->table->stream_done != NULL) {
        backend->table->stream_done(backend, stream);
    }
    stream_done(base);
    free(stream);
}

ShardStream *
shard_stream_new(Shard *shard, Str name, const StreamConfig *config)
{
    ShardStream *stream = mem_zalloc(shard->backend->table->stream_size);

    stream_init(&stream->base, name, config, stream_free);
    stream->shard = shard;
    stream->touch_kept_ms = atomic_load(&stream->base.touched_ms);
    return stream;
}

void
shard_adopt(Shard *shard, ShardStream *stream)
{
    if (stream->base.ttl_s != STREAM_NEVER) {
        LIST_INSERT_HEAD(&shard->with_ttl, stream, by_ttl);
    }
}

void
shard_forget(Shard *shard, ShardStream *stream)
{
    if (stream->base.ttl_s != STREAM_NEVER) {
        LIST_REMOVE(stream, by_ttl);
    }
    pthread_mutex_lock(&shard->hot_lock);
    if (stream->is_hot) {
        TAILQ_REMOVE(&shard->hot, stream, by_use);
        stream->is_hot = false;
    }
    pthread_mutex_unlock(&shard->hot_lock);
}

/* ---- the cache ---- */

void
shard_count_cache(Shard *shard, size_t before, size_t after)
{
    if (before != after) {
        atomic_fetch_add(&shard->store->cache_bytes, after - before); /* modulo, when less */
        metric_move(shard->store->cache_gauge, (int64_t)after - (int64_t)before);
    }
}

void
shard_mark_hot(Shard *shard, ShardStream *stream)
{
    pthread_mutex_lock(&shard->hot_lock);
    if (stream->is_hot) {
        TAILQ_REMOVE(&shard->hot, stream, by_use);
    }
    TAILQ_INSERT_TAIL(&shard->hot, stream, by_use);
    stream->is_hot = true;
    pthread_mutex_unlock(&shard->hot_lock);
}

void
shard_evict(Shard *shard)
{
    uint64_t budget = shard->store->options.cache_bytes;
    ShardStream *stream;
    ShardStream *next;

    pthread_mutex_lock(&shard->hot_lock);
    for (stream = TAILQ_FIRST(&shard->hot);
         stream != NULL && atomic_load(&shard->store->cache_bytes) > budget; stream = next) {
        size_t before;

        next = TAILQ_NEXT(stream, by_use);
        pthread_mutex_lock(&stream->base.lock);
        before = stream->log.memory;
        if (stream->kept_to > chunk_log_start(&stream->log)) {
            chunk_log_trim(&stream->log, stream->kept_to);
        }
        shard_count_cache(shard, before, stream->log.memory);
        if (stream->log.memory == 0) {
            TAILQ_REMOVE(&shard->hot, stream, by_use);
            stream->is_hot = false;
        }
        pthread_mutex_unlock(&stream->base.lock);
    }
    pthread_mutex_unlock(&shard->hot_lock);
}
