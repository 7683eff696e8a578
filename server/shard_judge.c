/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/shard_judge.c -- what each operation of a batch does to the judged state of its stream.
 */
#include "server/shard_internal.h"

#include "common/log.h"

static const LogScope scope = {.name = "server.store"};

/* Whether a name of this bit is created in this batch already; it is from now on. */
static bool
name_used(ShardBatch *batch, Str name)
{
    uint64_t bit = str_hash(name) % SHARD_NAME_BITS;
    uint64_t mask = UINT64_C(1) << (bit % 64);
    bool used = (batch->names[bit / 64] & mask) != 0;

    batch->names[bit / 64] |= mask;
    batch->names_used = true;
    return used;
}

static void
fill_result(const Stream *stream, StoreResult *result)
{
    result->start = stream_offset(stream, stream->state.at.start);
    result->next = stream_offset(stream, stream->state.at.tail);
    result->closed = stream->state.closed;
}

/* Lock held, or the stream not yet seen by others. */
static void
apply_append(ShardBatch *batch, ChangeKind kind, Stream *stream, const StoreOp *op)
{
    uint64_t position = stream->state.at.tail;
    StreamUndo *undo = shard_batch_add(batch, kind, stream, op);
    Change *change = &batch->changes[batch->changes_count - 1];

    stream_apply_append(stream, &op->append, shard_batch_store(batch)->limits.producers_per_stream,
                        batch->boot_ms, batch->wall_ms, undo);
    change->position = position;
    change->at = stream->state.at;
}

static bool
judge_append(ShardBatch *batch, StoreOp *op)
{
    Store *store = shard_batch_store(batch);
    Stream *stream = op->stream;
    StoreResult *result = &op->result;

    pthread_mutex_lock(&stream->lock);
    result->append = stream_judge_append(stream, &op->append, store->limits.stream_bytes,
                                         batch->boot_ms, &result->producer);
    if (result->append == APPEND_OK && !store_reserve_bytes(store, op->append.payload.bytes.len)) {
        result->append = APPEND_STORE_FULL;
    }
    if (result->append == APPEND_OK) {
        apply_append(batch, CHANGE_APPEND, stream, op);
    }
    fill_result(stream, result);
    pthread_mutex_unlock(&stream->lock);
    result->verdict = store_append_verdict(result->append);
    return true;
}

/* Takes the reference to what is there. */
static void
judge_existing(StoreOp *op, Stream *other)
{
    StoreResult *result = &op->result;

    pthread_mutex_lock(&other->lock);
    if (other->state.soft_deleted || fork_presence(other) == FORK_KEPT) {
        result->verdict = STORE_GONE;
    } else if (stream_matches(other, &op->config, op->append.close) &&
               fork_matches(other, &op->fork)) {
        result->verdict = STORE_EXISTS;
    } else {
        result->verdict = STORE_CONFLICT;
    }
    fill_result(other, result);
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

/* What reserve_new took is the stream's.  NULL: it is no fork of what it should be one of. */
static Stream *
new_stream(ShardBatch *batch, StoreOp *op)
{
    Store *store = shard_batch_store(batch);
    ShardStream *created = shard_stream_new(batch->shard, op->name, &op->config);
    Stream *stream = &created->base;
    bool is_json = stream->kind == STREAM_JSON;

    op->result.fork = op->fork.parent == NULL ? FORK_OK : fork_link(stream, &op->fork);
    if (op->result.fork != FORK_OK) {
        op->result.verdict = STORE_FORK_REFUSED;
        store_return_bytes(store, op->append.payload.bytes.len);
        store_return_stream(store);
        stream_drop(stream);
        return NULL;
    }
    stream->id = registry_draw(store->registry);
    stream->era = stream->id;
    chunk_log_init_at(&created->log, is_json, is_json ? 0 : stream->fork_at,
                      is_json ? stream->fork_at : 0);
    created->kept_to = stream->fork_at;
    return stream;
}

/* With our reference; the batch has it from now on.  False: somebody used it at the last moment. */
static bool
apply_expiry(ShardBatch *batch, Stream *stream)
{
    if (!fork_claim_expired(stream)) {
        return false;
    }
    pthread_mutex_lock(&stream->lock);
    (void)shard_batch_add(batch, CHANGE_DELETE, stream, NULL);
    pthread_mutex_unlock(&stream->lock);
    return true;
}

/* False: what is there of that name has to go first, or to come. */
static bool
judge_create(ShardBatch *batch, StoreOp *op)
{
    Store *store = shard_batch_store(batch);
    Stream *other = registry_look(store->registry, op->name);
    Stream *stream;

    if (other != NULL && other->state.deleted) {
        stream_drop(other);
        return false;
    }
    if (other != NULL && fork_presence(other) == FORK_ABSENT && apply_expiry(batch, other)) {
        return false;
    }
    if (other != NULL) {
        judge_existing(op, other);
        return true;
    }
    if (name_used(batch, op->name)) {
        return false;
    }
    stream = reserve_new(store, op) ? new_stream(batch, op) : NULL;
    if (stream != NULL) {
        apply_append(batch, CHANGE_CREATE, stream, op);
        op->stream = stream;
        op->result.verdict = STORE_DONE;
        fill_result(stream, &op->result);
    }
    return true;
}

/* ---- delete, trim, release ---- */

/* What the stream's own bytes before a position amount to, in the log or below it. */
static bool
measure(Shard *shard, ShardStream *stream, uint64_t position, uint64_t *out_bytes,
        uint64_t *out_messages)
{
    const ChunkLog *log = &stream->log;
    uint64_t fork_at = stream->base.fork_at;
    bool in_memory;
    Error err;

    pthread_mutex_lock(&stream->base.lock);
    in_memory = position >= chunk_log_start(log);
    if (in_memory) {
        *out_bytes = log->byte_end - chunk_log_bytes_from(log, position);
        *out_messages = chunk_log_index_at(log, position);
        *(log->counts_messages ? out_messages : out_bytes) -= fork_at;
    }
    pthread_mutex_unlock(&stream->base.lock);
    if (in_memory || shard->backend->table->measure(shard->backend, stream, position, out_bytes,
                                                    out_messages, &err)) {
        return true;
    }
    log_error(&scope, EVENT_SERVER_READ_FAILED,
              LOG_FIELDS(log_str("stream", stream->base.name), log_u64("position", position)),
              "a stream cannot be trimmed: %s", err.text);
    return false;
}

/* Of a view whose start and base have moved. */
static bool
count_retained(Shard *shard, ShardStream *stream, StreamView *at)
{
    const ChunkLog *log = &stream->log;
    uint64_t all_bytes = log->byte_end - (log->counts_messages ? 0 : stream->base.fork_at);
    uint64_t bytes;
    uint64_t messages;

    if (!measure(shard, stream, at->base, &bytes, &messages)) {
        return false;
    }
    at->bytes = all_bytes - bytes;
    if (log->counts_messages) {
        at->messages = at->tail - at->start;
        return true;
    }
    if (at->start > at->base && !measure(shard, stream, at->start, &bytes, &messages)) {
        return false;
    }
    at->messages = log->index_end - messages;
    return true;
}

/* Nothing of the stream pending: its start moves, and the base up to where somebody still needs
 * bytes.  False: they cannot be read; nothing is changed. */
static bool
apply_trim(ShardBatch *batch, Stream *stream, uint64_t start, const StoreOp *op)
{
    StreamView *at = &stream->state.at;
    StreamView before = *at;
    StreamView after = before;
    bool ok;

    pthread_mutex_lock(&stream->lock);
    at->start = start; /* who forks it from now on does it behind there */
    after.start = start;
    after.base = fork_base(stream);
    pthread_mutex_unlock(&stream->lock);
    ok = count_retained(batch->shard, shard_stream_of(stream), &after);
    pthread_mutex_lock(&stream->lock);
    *at = ok ? after : before;
    if (ok) {
        (void)shard_batch_add(batch, CHANGE_TRIM, stream, op);
        batch->changes[batch->changes_count - 1].at = after;
    }
    pthread_mutex_unlock(&stream->lock);
    return ok;
}

static StoreVerdict
delete_verdict(DeleteVerdict verdict)
{
    switch (verdict) {
    case DELETE_WHOLE:
    case DELETE_SOFT:
        return STORE_DONE;
    case DELETE_GONE:
        return STORE_GONE;
    case DELETE_NOT_FOUND:
        break;
    }
    return STORE_NOT_FOUND;
}

static void
apply(ShardBatch *batch, ChangeKind kind, Stream *stream, const StoreOp *op)
{
    pthread_mutex_lock(&stream->lock);
    (void)shard_batch_add(batch, kind, stream, op);
    pthread_mutex_unlock(&stream->lock);
}

/* False: what is pending has to be published first. */
static bool
judge_delete(ShardBatch *batch, StoreOp *op)
{
    Stream *stream = op->stream;
    DeleteVerdict verdict;
    bool frees;

    if (shard_stream_of(stream)->pending > 0) {
        return false;
    }
    pthread_mutex_lock(&stream->lock);
    verdict = fork_judge_delete(stream);
    frees = verdict == DELETE_SOFT && fork_base(stream) > stream->state.at.base;
    pthread_mutex_unlock(&stream->lock);
    if (frees) {
        (void)apply_trim(batch, stream, stream->state.at.start, op);
    }
    if (verdict == DELETE_WHOLE || verdict == DELETE_SOFT) {
        apply(batch, verdict == DELETE_WHOLE ? CHANGE_DELETE : CHANGE_SOFT_DELETE, stream, op);
    }
    op->result.verdict = delete_verdict(verdict);
    return true;
}

static bool
judge_release(ShardBatch *batch, StoreOp *op)
{
    Stream *stream = op->stream;
    ReleaseVerdict verdict;

    if (shard_stream_of(stream)->pending > 0) {
        return false;
    }
    pthread_mutex_lock(&stream->lock);
    verdict = fork_judge_release(stream);
    pthread_mutex_unlock(&stream->lock);
    if (verdict == RELEASE_WHOLE) {
        apply(batch, CHANGE_DELETE, stream, op);
    } else if (verdict == RELEASE_BASE) {
        (void)apply_trim(batch, stream, stream->state.at.start, op);
    }
    op->result.verdict = STORE_DONE;
    return true;
}

static StoreVerdict
trim_verdict(const StreamState *state, uint64_t position)
{
    if (state->deleted) {
        return STORE_NOT_FOUND;
    }
    if (state->soft_deleted) {
        return STORE_GONE;
    }
    return position > state->at.tail ? STORE_PAST_TAIL : STORE_DONE;
}

static bool
judge_trim(ShardBatch *batch, StoreOp *op)
{
    Stream *stream = op->stream;
    StreamState *state = &stream->state;
    StoreResult *result = &op->result;

    if (shard_stream_of(stream)->pending > 0) {
        return false;
    }
    result->verdict = trim_verdict(state, op->position);
    if (result->verdict == STORE_DONE && op->position > state->at.start) {
        result->freed_bytes = state->at.bytes;
        if (!apply_trim(batch, stream, op->position, op)) {
            result->verdict = STORE_UNREADABLE;
        }
        result->freed_bytes -= state->at.bytes;
    }
    fill_result(stream, result);
    return true;
}

bool
shard_judge(ShardBatch *batch, StoreOp *op)
{
    static bool (*const judges[STORE_OP_COUNT])(ShardBatch *, StoreOp *) = {
        [STORE_CREATE] = judge_create,   [STORE_APPEND] = judge_append,
        [STORE_DELETE] = judge_delete,   [STORE_TRIM] = judge_trim,
        [STORE_RELEASE] = judge_release,
    };

    op->result = (StoreResult){0};
    return judges[op->kind](batch, op);
}
