/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/shard_publish.c -- shows what was committed: bytes first, then how far they go.
 */
#include "server/shard_internal.h"

/* Lock held, once for each change; the last one shows them all. */
static void
publish_stream(Stream *stream)
{
    if (--shard_stream_of(stream)->pending == 0) {
        stream_publish(stream);
        wake_all(&stream->wake);
    }
}

static void
publish_payload(ShardBatch *batch, const Change *change)
{
    ShardStream *stream = change->stream;
    size_t before;

    if (change->op->append.payload.count > 0) {
        before = stream->log.memory;
        chunk_log_append(&stream->log, change->op->append.payload);
        shard_count_cache(batch->shard, before, stream->log.memory);
    }
}

static void
publish_append(ShardBatch *batch, const Change *change)
{
    Stream *stream = &change->stream->base;

    pthread_mutex_lock(&stream->lock);
    publish_payload(batch, change);
    publish_stream(stream);
    pthread_mutex_unlock(&stream->lock);
    if (change->op->append.payload.count > 0) {
        shard_mark_hot(batch->shard, change->stream);
    }
    if (change->op->append.close) {
        journal_add(shard_batch_store(batch)->journal, JOURNAL_CLOSED, stream->name, stream->era);
    }
}

static void
publish_create(ShardBatch *batch, const Change *change)
{
    Stream *stream = &change->stream->base;
    Stream *other;
    Stream *expired;

    pthread_mutex_lock(&stream->lock);
    publish_payload(batch, change);
    publish_stream(stream);
    pthread_mutex_unlock(&stream->lock);
    /* Names of this shard come and go on this thread alone. */
    DS_ASSERT(registry_insert(shard_batch_store(batch)->registry, stream, &other, &expired));
    DS_ASSERT(expired == NULL);
    shard_adopt(batch->shard, change->stream);
    if (change->op->append.payload.count > 0) {
        shard_mark_hot(batch->shard, change->stream);
    }
}

static void
publish_delete(ShardBatch *batch, const Change *change)
{
    Store *store = shard_batch_store(batch);
    ShardStream *stream = change->stream;
    Stream *base = &stream->base;

    DS_ASSERT(registry_remove(store->registry, base));
    shard_forget(batch->shard, stream);
    pthread_mutex_lock(&base->lock);
    store_return_bytes(store, base->state.at.bytes);
    base->state.at.bytes = 0;
    publish_stream(base);
    shard_count_cache(batch->shard, stream->log.memory, 0);
    chunk_log_done(&stream->log);
    pthread_mutex_unlock(&base->lock);
    store_return_stream(store);
    store_unlink_fork(store, base);
}

static void
publish_soft_delete(ShardBatch *batch, const Change *change)
{
    Store *store = shard_batch_store(batch);
    Stream *stream = &change->stream->base;

    pthread_mutex_lock(&stream->lock);
    publish_stream(stream);
    pthread_mutex_unlock(&stream->lock);
    registry_tell_deleted(store->registry, stream);
    store_settle_fork(store, stream);
}

/* What the files do not have yet stays in the log until they do. */
static void
publish_trim(ShardBatch *batch, const Change *change)
{
    ShardStream *stream = change->stream;
    Stream *base = &stream->base;
    uint64_t gone;
    size_t before;

    pthread_mutex_lock(&base->lock);
    store_return_bytes(shard_batch_store(batch), base->view.bytes - change->at.bytes);
    base->view.bytes = change->at.bytes;
    base->view.base = change->at.base;
    base->view.start = change->at.start;
    publish_stream(base);
    before = stream->log.memory;
    gone = DS_MIN(change->at.base, stream->kept_to);
    if (gone > chunk_log_start(&stream->log)) {
        chunk_log_trim(&stream->log, gone);
    }
    shard_count_cache(batch->shard, before, stream->log.memory);
    pthread_mutex_unlock(&base->lock);
    store_settle_fork(shard_batch_store(batch), base);
}

void
shard_publish(ShardBatch *batch)
{
    for (size_t i = 0; i < batch->changes_count; i++) {
        const Change *change = &batch->changes[i];

        stream_undo_done(&batch->undos[i]);
        switch (change->kind) {
        case CHANGE_CREATE:
            publish_create(batch, change);
            break;
        case CHANGE_APPEND:
            publish_append(batch, change);
            break;
        case CHANGE_DELETE:
            publish_delete(batch, change);
            break;
        case CHANGE_SOFT_DELETE:
            publish_soft_delete(batch, change);
            break;
        case CHANGE_TRIM:
            publish_trim(batch, change);
            break;
        case CHANGE_TOUCH:
            change->stream->pending--;
            change->stream->touch_kept_ms = change->boot_ms;
            break;
        }
    }
}

void
shard_drop_deleted(const ShardBatch *batch)
{
    for (size_t i = 0; i < batch->changes_count; i++) {
        const Change *change = &batch->changes[i];

        if (change->kind == CHANGE_DELETE) {
            stream_drop(change->op == NULL ? &change->stream->base : NULL);
            stream_drop(&change->stream->base);
        }
    }
}
