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

/* Where the stream stands. */
static void
fill_result(const Stream *stream, StoreResult *result)
{
    result->start = stream_offset(stream, stream->view.start);
    result->next = stream_offset(stream, stream->view.tail);
    result->closed = atomic_load(&stream->closed);
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

/* ---- the end of a stream ---- */

/* Lock held, judged deleted: lets go of the bytes, and of who waits. */
static void
discard(Store *store, Stream *stream)
{
    store_return_bytes(store, stream->state.at.bytes);
    stream->state.at.bytes = 0;
    stream_publish(stream);
    chunk_log_done(log_of(stream));
    wake_all(&stream->wake);
}

/* No lock held, after discard. */
static void
finish(Store *store, Stream *stream)
{
    store_return_stream(store);
    store_unlink_fork(store, stream);
}

/* Out of the registry already, whose reference is ours. */
static void
discard_expired(Store *store, Stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    discard(store, stream);
    pthread_mutex_unlock(&stream->lock);
    finish(store, stream);
    stream_drop(stream);
}

static void
remove_discarded(Store *store, Stream *stream)
{
    if (registry_remove(store->registry, stream)) {
        stream_drop(stream);
    }
    finish(store, stream);
}

/* Lock held: the base moves up to where somebody still needs bytes.  How many bytes that frees. */
static uint64_t
move_base(Store *store, Stream *stream)
{
    StreamView *at = &stream->state.at;
    ChunkLog *log = log_of(stream);
    uint64_t base = fork_base(stream);
    uint64_t freed = 0;

    if (base > at->base) {
        freed = at->bytes - chunk_log_bytes_from(log, base);
        store_return_bytes(store, freed);
        at->bytes -= freed;
        at->base = base;
        stream_publish(stream);
        chunk_log_trim(log, base);
    }
    return freed;
}

static void
memory_delete(Store *store, StoreOp *op)
{
    Stream *stream = op->stream;
    DeleteVerdict verdict;

    pthread_mutex_lock(&stream->lock);
    verdict = fork_judge_delete(stream);
    if (verdict == DELETE_WHOLE) {
        discard(store, stream);
    } else if (verdict == DELETE_SOFT) {
        stream_publish(stream);
        (void)move_base(store, stream);
        wake_all(&stream->wake);
    }
    pthread_mutex_unlock(&stream->lock);
    switch (verdict) {
    case DELETE_WHOLE:
        remove_discarded(store, stream);
        break;
    case DELETE_SOFT:
        registry_tell_deleted(store->registry, stream);
        store_settle_fork(store, stream);
        break;
    case DELETE_GONE:
        op->result.verdict = STORE_GONE;
        return;
    case DELETE_NOT_FOUND:
        op->result.verdict = STORE_NOT_FOUND;
        return;
    }
    op->result.verdict = STORE_DONE;
}

static void
memory_release(Store *store, StoreOp *op)
{
    Stream *stream = op->stream;
    ReleaseVerdict verdict;

    pthread_mutex_lock(&stream->lock);
    verdict = fork_judge_release(stream);
    if (verdict == RELEASE_WHOLE) {
        discard(store, stream);
    } else if (verdict == RELEASE_BASE) {
        (void)move_base(store, stream);
    }
    pthread_mutex_unlock(&stream->lock);
    if (verdict == RELEASE_WHOLE) {
        remove_discarded(store, stream);
    } else {
        store_settle_fork(store, stream);
    }
    op->result.verdict = STORE_DONE;
}

/* ---- trim ---- */

static StoreVerdict
judge_trim(const Stream *stream, uint64_t position)
{
    if (stream->state.deleted) {
        return STORE_NOT_FOUND;
    }
    if (stream->state.soft_deleted) {
        return STORE_GONE;
    }
    return position > stream->state.at.tail ? STORE_PAST_TAIL : STORE_DONE;
}

/* Lock held: of a JSON stream the messages from start on; of another its own appends. */
static uint64_t
count_messages(const Stream *stream, const ChunkLog *log, uint64_t start)
{
    if (log->counts_messages) {
        return stream->state.at.tail - start;
    }
    return log->index_end - chunk_log_index_at(log, DS_MAX(start, stream->state.at.base));
}

static void
memory_trim(Store *store, StoreOp *op)
{
    Stream *stream = op->stream;
    StreamView *at = &stream->state.at;
    StoreResult *result = &op->result;

    pthread_mutex_lock(&stream->lock);
    result->verdict = judge_trim(stream, op->position);
    if (result->verdict == STORE_DONE && op->position > at->start) {
        at->messages = count_messages(stream, log_of(stream), op->position);
        at->start = op->position;
        stream_publish(stream);
        result->freed_bytes = move_base(store, stream);
    }
    fill_result(stream, result);
    pthread_mutex_unlock(&stream->lock);
    if (result->verdict == STORE_DONE) {
        store_settle_fork(store, stream);
    }
}

/* ---- create ---- */

/* There is one of this name.  False: it is being deleted. */
static bool
judge_existing(StoreOp *op, Stream *other)
{
    StoreResult *result = &op->result;
    bool deleted;

    pthread_mutex_lock(&other->lock);
    deleted = other->state.deleted;
    if (fork_presence(other) == FORK_KEPT) {
        result->verdict = STORE_GONE;
    } else if (stream_matches(other, &op->config, op->append.close) &&
               fork_matches(other, &op->fork)) {
        result->verdict = STORE_EXISTS;
    } else {
        result->verdict = STORE_CONFLICT;
    }
    fill_result(other, result);
    pthread_mutex_unlock(&other->lock);
    if (deleted) {
        stream_drop(other);
        return false;
    }
    op->stream = other;
    return true;
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

/* What reserve_new took is the stream's.  NULL: it is no fork of what it should be one of. */
static Stream *
new_stream(Store *store, StoreOp *op)
{
    MemoryStream *created = mem_zalloc(sizeof(*created));
    Stream *stream = &created->base;
    bool is_json;

    stream_init(stream, op->name, &op->config, memory_stream_free);
    op->result.fork = op->fork.parent == NULL ? FORK_OK : fork_link(stream, &op->fork);
    if (op->result.fork != FORK_OK) {
        op->result.verdict = STORE_FORK_REFUSED;
        store_return_bytes(store, op->append.payload.bytes.len);
        store_return_stream(store);
        stream_drop(stream);
        return NULL;
    }
    is_json = stream->kind == STREAM_JSON;
    chunk_log_init_at(&created->log, is_json, is_json ? 0 : stream->fork_at,
                      is_json ? stream->fork_at : 0);
    commit(store, stream, &op->append, clock_boot_ms());
    return stream;
}

static void
discard_new(Store *store, Stream *stream)
{
    stream->state.deleted = true;
    discard(store, stream);
    finish(store, stream);
    stream_drop(stream);
}

/* False: try again, there was one that is being deleted. */
static bool
try_create(Store *store, StoreOp *op)
{
    Stream *other = registry_find(store->registry, op->name);
    Stream *expired;
    Stream *stream;
    StreamView begun;

    if (other != NULL) {
        return judge_existing(op, other);
    }
    /* Before the new one is counted, lest it is refused for the place of its own forerunner. */
    expired = registry_remove_expired(store->registry, op->name);
    if (expired != NULL) {
        discard_expired(store, expired);
    }
    if (!reserve_new(store, op)) {
        return true;
    }
    stream = new_stream(store, op);
    if (stream == NULL) {
        return true;
    }
    begun = stream->view; /* somebody may append as soon as it can be found */
    if (!registry_insert(store->registry, stream, &other, &expired)) {
        discard_new(store, stream);
        return judge_existing(op, other);
    }
    if (expired != NULL) {
        discard_expired(store, expired);
    }
    op->stream = stream;
    op->result.verdict = STORE_DONE;
    op->result.start = stream_offset(stream, begun.start);
    op->result.next = stream_offset(stream, begun.tail);
    op->result.closed = op->append.close;
    return true;
}

static void
memory_create(Store *store, StoreOp *op)
{
    while (!try_create(store, op)) {
        op->result = (StoreResult){0};
    }
}

/* ---- the table ---- */

static void
memory_submit(Store *store, StoreOp *op)
{
    static void (*const run[STORE_OP_COUNT])(Store *, StoreOp *) = {
        [STORE_CREATE] = memory_create,   [STORE_APPEND] = memory_append,
        [STORE_DELETE] = memory_delete,   [STORE_TRIM] = memory_trim,
        [STORE_RELEASE] = memory_release,
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
