/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store_memory.h"

#include "common/clock.h"
#include "common/mem.h"

typedef struct MemoryStream {
    Stream base;
    ChunkLog log; /* under the stream's lock */
} MemoryStream;

static ChunkLog *
log_of(Stream *stream)
{
    return &DS_CONTAINER_OF(stream, MemoryStream, base)->log;
}

static void
memory_stream_free(Stream *stream)
{
    chunk_log_done(log_of(stream));
    stream_done(stream);
    free(DS_CONTAINER_OF(stream, MemoryStream, base));
}

static void
fill_result(const Stream *stream, StoreResult *result)
{
    result->start = stream_offset(stream, stream->view.start);
    result->next = stream_offset(stream, stream->view.tail);
    result->closed = atomic_load(&stream->closed);
}

/* The stream is out of the registry, and the registry's reference ours. */
static void
discard(Store *store, Stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    store_return_bytes(store, stream->state.at.bytes);
    stream->state.at.bytes = 0;
    stream->state.deleted = true;
    stream_publish(stream);
    chunk_log_done(log_of(stream));
    wake_all(&stream->wake);
    pthread_mutex_unlock(&stream->lock);
    store_return_stream(store);
    stream_drop(stream);
}

/* ---- append ---- */

/* Lock held, or the stream not yet seen by others. */
static void
commit(Store *store, Stream *stream, const AppendRequest *request, int64_t boot_ms)
{
    if (request->payload.count > 0) {
        chunk_log_append(log_of(stream), request->payload);
    }
    stream_apply_append(stream, request, store->limits.producers_per_stream, boot_ms,
                        clock_wall_ms(), NULL);
    stream_publish(stream);
}

static void
memory_append(Store *store, StoreOp *op)
{
    Stream *stream = op->stream;
    StoreResult *result = &op->result;
    int64_t boot_ms = clock_boot_ms();

    pthread_mutex_lock(&stream->lock);
    result->append = stream_judge_append(stream, &op->append, store->limits.stream_bytes, boot_ms,
                                         &result->producer);
    if (result->append == APPEND_OK && !store_reserve_bytes(store, op->append.payload.bytes.len)) {
        result->append = APPEND_STORE_FULL;
    }
    if (result->append == APPEND_OK) {
        commit(store, stream, &op->append, boot_ms);
        wake_all(&stream->wake);
    }
    fill_result(stream, result);
    pthread_mutex_unlock(&stream->lock);
    if (result->append == APPEND_OK && op->append.close) {
        journal_add(store->journal, JOURNAL_CLOSED, stream->name, stream->era);
    }
    result->verdict = store_append_verdict(result->append);
}

/* ---- create ---- */

static void
judge_existing(StoreOp *op, Stream *other)
{
    pthread_mutex_lock(&other->lock);
    op->result.verdict =
        stream_matches(other, &op->config, op->append.close) ? STORE_EXISTS : STORE_CONFLICT;
    fill_result(other, &op->result);
    pthread_mutex_unlock(&other->lock);
    op->stream = other;
}

/* Of the content that a stream is created with.  False: a limit; result says which. */
static bool
reserve_new(Store *store, StoreOp *op)
{
    uint64_t bytes = op->append.payload.bytes.len;

    if (bytes > store->limits.stream_bytes) {
        op->result.verdict = STORE_REFUSED;
        op->result.append = APPEND_STREAM_FULL;
        return false;
    }
    if (!store_reserve_stream(store)) {
        op->result.verdict = STORE_TOO_MANY_STREAMS;
        return false;
    }
    if (!store_reserve_bytes(store, bytes)) {
        store_return_stream(store);
        op->result.verdict = STORE_REFUSED;
        op->result.append = APPEND_STORE_FULL;
        return false;
    }
    return true;
}

static void
memory_create(Store *store, StoreOp *op)
{
    Stream *other = registry_find(store->registry, op->name);
    Stream *expired;
    MemoryStream *created;

    if (other != NULL) {
        judge_existing(op, other);
        return;
    }
    /* Before the new one is counted, lest it is refused for the place of its own forerunner. */
    expired = registry_remove_expired(store->registry, op->name);
    if (expired != NULL) {
        discard(store, expired);
    }
    if (!reserve_new(store, op)) {
        return;
    }
    created = mem_zalloc(sizeof(*created));
    stream_init(&created->base, op->name, &op->config, memory_stream_free);
    chunk_log_init(&created->log, created->base.kind == STREAM_JSON);
    commit(store, &created->base, &op->append, clock_boot_ms());

    if (!registry_insert(store->registry, &created->base, &other, &expired)) {
        store_return_bytes(store, op->append.payload.bytes.len);
        store_return_stream(store);
        stream_drop(&created->base);
        judge_existing(op, other);
        return;
    }
    if (expired != NULL) {
        discard(store, expired);
    }
    op->stream = &created->base;
    op->result.verdict = STORE_DONE;
    /* As it was created: somebody may have appended already. */
    op->result.start = stream_offset(op->stream, 0);
    op->result.next =
        stream_offset(op->stream, op->stream->kind == STREAM_JSON ? op->append.payload.count
                                                                  : op->append.payload.bytes.len);
    op->result.closed = op->append.close;
}

/* ---- delete and trim ---- */

static void
memory_delete(Store *store, StoreOp *op)
{
    if (!registry_remove(store->registry, op->stream)) {
        op->result.verdict = STORE_NOT_FOUND;
        return;
    }
    discard(store, op->stream);
    op->result.verdict = STORE_DONE;
}

static void
memory_trim(Store *store, StoreOp *op)
{
    Stream *stream = op->stream;
    StreamView *at = &stream->state.at;
    ChunkLog *log = log_of(stream);

    pthread_mutex_lock(&stream->lock);
    if (stream->state.deleted) {
        op->result.verdict = STORE_NOT_FOUND;
    } else if (op->position > at->tail) {
        op->result.verdict = STORE_PAST_TAIL;
    } else {
        op->result.verdict = STORE_DONE;
    }
    if (op->result.verdict == STORE_DONE && op->position > at->start) {
        uint64_t bytes = chunk_log_bytes_from(log, op->position);

        op->result.freed_bytes = at->bytes - bytes;
        store_return_bytes(store, op->result.freed_bytes);
        at->bytes = bytes;
        at->messages = log->index_end - chunk_log_index_at(log, op->position);
        at->start = at->base = op->position;
        stream_publish(stream);
        chunk_log_trim(log, op->position);
    }
    fill_result(stream, &op->result);
    pthread_mutex_unlock(&stream->lock);
}

/* ---- the table ---- */

static void
memory_submit(Store *store, StoreOp *op)
{
    static void (*const run[STORE_OP_COUNT])(Store *, StoreOp *) = {
        [STORE_CREATE] = memory_create,
        [STORE_APPEND] = memory_append,
        [STORE_DELETE] = memory_delete,
        [STORE_TRIM] = memory_trim,
    };

    op->result = (StoreResult){0};
    run[op->kind](store, op);
    op->done(op);
}

static ReadPart
memory_read(Store *store DS_UNUSED, Stream *stream, uint64_t from, uint64_t to, size_t bytes_max,
            bool may_block DS_UNUSED, Range *out, Error *err DS_UNUSED)
{
    chunk_log_read(log_of(stream), from, to, bytes_max, out);
    return READ_PART_OK;
}

static void
memory_free(Store *store)
{
    free(store);
}

Store *
store_memory_new(const StoreLimits *limits, Metrics *metrics)
{
    static const StoreTable table = {
        .mode = "memory",
        .submit = memory_submit,
        .read = memory_read,
        .free = memory_free,
    };
    Store *store = mem_zalloc(sizeof(*store));

    store_init(store, &table, limits, metrics);
    return store;
}
