/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/shard_batch.c -- one batch of a shard: judge, apply, commit, publish, answer; or take
 * back.
 */
#include "server/shard.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"

#define NAME_BITS       65536 /* two names that share a bit only part a batch in two */
#define CHANGES_CAP_MIN 64

struct ShardBatch {
    Shard *shard;
    StoreOp **ops;
    size_t ops_count;
    size_t bytes; /* of payload */
    Change *changes;
    StreamUndo *undos; /* of each change */
    size_t changes_count;
    size_t changes_cap;
    bool only_smaller; /* the next batch takes nothing that needs room on the disk */
    bool names_used;
    uint64_t names[NAME_BITS / 64]; /* created in this batch */
    int64_t boot_ms;
    int64_t wall_ms;
};

static const LogScope scope = {.name = "server.store"};

ShardBatch *
shard_batch_new(Shard *shard)
{
    ShardBatch *batch = mem_zalloc(sizeof(*batch));

    batch->shard = shard;
    batch->ops = mem_array(SHARD_BATCH_OPS_MAX, sizeof(*batch->ops));
    return batch;
}

void
shard_batch_free(ShardBatch *batch)
{
    free(batch->undos);
    free(batch->changes);
    free(batch->ops);
    free(batch);
}

static void
begin(ShardBatch *batch)
{
    batch->ops_count = 0;
    batch->bytes = 0;
    batch->changes_count = 0;
    if (batch->names_used) {
        memset(batch->names, 0, sizeof(batch->names));
        batch->names_used = false;
    }
    batch->boot_ms = clock_boot_ms();
    batch->wall_ms = clock_wall_ms();
}

static Store *
store_of(const ShardBatch *batch)
{
    return &batch->shard->store->base;
}

static ShardStream *
shard_stream(Stream *stream)
{
    return DS_CONTAINER_OF(stream, ShardStream, base);
}

/* Whether a name of this bit is created in this batch already; it is from now on. */
static bool
name_used(ShardBatch *batch, Str name)
{
    uint64_t bit = str_hash(name) % NAME_BITS;
    uint64_t mask = UINT64_C(1) << (bit % 64);
    bool used = (batch->names[bit / 64] & mask) != 0;

    batch->names[bit / 64] |= mask;
    batch->names_used = true;
    return used;
}

/* After the state was changed. */
static StreamUndo *
add_change(ShardBatch *batch, ChangeKind kind, Stream *stream, const StoreOp *op)
{
    size_t at = batch->changes_count++;

    if (at == batch->changes_cap) {
        batch->changes_cap = DS_MAX((size_t)CHANGES_CAP_MIN, 2 * batch->changes_cap);
        batch->changes = mem_regrow(batch->changes, batch->changes_cap, sizeof(*batch->changes));
        batch->undos = mem_regrow(batch->undos, batch->changes_cap, sizeof(*batch->undos));
    }
    batch->changes[at] = (Change){
        .kind = kind,
        .stream = shard_stream(stream),
        .op = op,
        .boot_ms = batch->boot_ms,
        .wall_ms = batch->wall_ms,
    };
    batch->undos[at] = (StreamUndo){0};
    shard_stream(stream)->pending++;
    return &batch->undos[at];
}

/* ---- judge and apply ---- */

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
    StreamUndo *undo = add_change(batch, kind, stream, op);
    Change *change = &batch->changes[batch->changes_count - 1];

    stream_apply_append(stream, &op->append, store_of(batch)->limits.producers_per_stream,
                        batch->boot_ms, batch->wall_ms, undo);
    change->position = position;
    change->at = stream->state.at;
}

static bool
judge_append(ShardBatch *batch, StoreOp *op)
{
    Store *store = store_of(batch);
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
    Store *store = store_of(batch);
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

/* With our reference; the batch has it from now on. */
static void
apply_expiry(ShardBatch *batch, Stream *stream)
{
    DeleteVerdict verdict;

    pthread_mutex_lock(&stream->lock);
    verdict = fork_judge_delete(stream);
    DS_ASSERT(verdict == DELETE_WHOLE); /* nobody forks what has expired */
    (void)add_change(batch, CHANGE_DELETE, stream, NULL);
    pthread_mutex_unlock(&stream->lock);
}

/* False: what is there of that name has to go first, or to come. */
static bool
judge_create(ShardBatch *batch, StoreOp *op)
{
    Store *store = store_of(batch);
    Stream *other = registry_look(store->registry, op->name);
    Stream *stream;

    if (other != NULL && other->state.deleted) {
        stream_drop(other);
        return false;
    }
    if (other != NULL && fork_presence(other) == FORK_ABSENT) {
        apply_expiry(batch, other);
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
    Error err;

    if (position >= chunk_log_start(log)) {
        *out_bytes = log->byte_end - chunk_log_bytes_from(log, position);
        *out_messages = chunk_log_index_at(log, position);
        *(log->counts_messages ? out_messages : out_bytes) -= fork_at;
        return true;
    }
    if (shard->backend->table->measure(shard->backend, stream, position, out_bytes, out_messages,
                                       &err)) {
        return true;
    }
    log_error(&scope, EVENT_SERVER_READ_FAILED,
              LOG_FIELDS(log_str("stream", stream->base.name), log_u64("position", position)),
              "a stream cannot be trimmed: %s", err.text);
    return false;
}

/* Lock held, nothing of the stream pending: its start, and the base up to where somebody still
 * needs bytes.  False: they cannot be read; nothing is changed. */
static bool
apply_trim(ShardBatch *batch, Stream *base, uint64_t start, const StoreOp *op)
{
    ShardStream *stream = shard_stream(base);
    const ChunkLog *log = &stream->log;
    StreamView *at = &base->state.at;
    StreamView before = *at;
    uint64_t all_bytes = log->byte_end - (log->counts_messages ? 0 : base->fork_at);
    uint64_t bytes;
    uint64_t messages;

    at->start = start;
    at->base = fork_base(base);
    if (!measure(batch->shard, stream, at->base, &bytes, &messages)) {
        *at = before;
        return false;
    }
    at->bytes = all_bytes - bytes;
    if (log->counts_messages) {
        at->messages = at->tail - start;
    } else if (start > at->base && !measure(batch->shard, stream, start, &bytes, &messages)) {
        *at = before;
        return false;
    } else {
        at->messages = log->index_end - messages;
    }
    (void)add_change(batch, CHANGE_TRIM, base, op);
    batch->changes[batch->changes_count - 1].at = *at;
    return true;
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

/* False: what is pending has to be published first. */
static bool
judge_delete(ShardBatch *batch, StoreOp *op)
{
    Stream *stream = op->stream;
    DeleteVerdict verdict;

    if (shard_stream(stream)->pending > 0) {
        return false;
    }
    pthread_mutex_lock(&stream->lock);
    verdict = fork_judge_delete(stream);
    if (verdict == DELETE_WHOLE) {
        (void)add_change(batch, CHANGE_DELETE, stream, op);
    } else if (verdict == DELETE_SOFT) {
        if (fork_base(stream) > stream->state.at.base) {
            (void)apply_trim(batch, stream, stream->state.at.start, op);
        }
        (void)add_change(batch, CHANGE_SOFT_DELETE, stream, op);
    }
    pthread_mutex_unlock(&stream->lock);
    op->result.verdict = delete_verdict(verdict);
    return true;
}

static bool
judge_release(ShardBatch *batch, StoreOp *op)
{
    Stream *stream = op->stream;

    if (shard_stream(stream)->pending > 0) {
        return false;
    }
    pthread_mutex_lock(&stream->lock);
    switch (fork_judge_release(stream)) {
    case RELEASE_WHOLE:
        (void)add_change(batch, CHANGE_DELETE, stream, op);
        break;
    case RELEASE_BASE:
        (void)apply_trim(batch, stream, stream->state.at.start, op);
        break;
    case RELEASE_NOTHING:
        break;
    }
    pthread_mutex_unlock(&stream->lock);
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

    if (shard_stream(stream)->pending > 0) {
        return false;
    }
    pthread_mutex_lock(&stream->lock);
    result->verdict = trim_verdict(state, op->position);
    if (result->verdict == STORE_DONE && op->position > state->at.start) {
        result->freed_bytes = state->at.bytes;
        if (!apply_trim(batch, stream, op->position, op)) {
            result->verdict = STORE_UNREADABLE;
        }
        result->freed_bytes -= state->at.bytes;
    }
    fill_result(stream, result);
    pthread_mutex_unlock(&stream->lock);
    return true;
}

static bool
judge(ShardBatch *batch, StoreOp *op)
{
    static bool (*const judges[STORE_OP_COUNT])(ShardBatch *, StoreOp *) = {
        [STORE_CREATE] = judge_create,   [STORE_APPEND] = judge_append,
        [STORE_DELETE] = judge_delete,   [STORE_TRIM] = judge_trim,
        [STORE_RELEASE] = judge_release,
    };

    op->result = (StoreResult){0};
    return judges[op->kind](batch, op);
}

/* ---- publish ---- */

/* Lock held, once for each change; the last one shows them all. */
static void
publish_stream(Stream *stream)
{
    if (--shard_stream(stream)->pending == 0) {
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
        journal_add(store_of(batch)->journal, JOURNAL_CLOSED, stream->name, stream->era);
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
    DS_ASSERT(registry_insert(store_of(batch)->registry, stream, &other, &expired));
    DS_ASSERT(expired == NULL);
    shard_adopt(batch->shard, change->stream);
    if (change->op->append.payload.count > 0) {
        shard_mark_hot(batch->shard, change->stream);
    }
}

static void
publish_delete(ShardBatch *batch, const Change *change)
{
    Store *store = store_of(batch);
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
    stream_drop(base);
    if (change->op == NULL) {
        stream_drop(base);
    }
}

static void
publish_soft_delete(ShardBatch *batch, const Change *change)
{
    Store *store = store_of(batch);
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
    store_return_bytes(store_of(batch), base->view.bytes - change->at.bytes);
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
    store_settle_fork(store_of(batch), base);
}

static void
publish(ShardBatch *batch)
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

/* ---- commit, or take back ---- */

static void
take_back(ShardBatch *batch, size_t at)
{
    Store *store = store_of(batch);
    const Change *change = &batch->changes[at];
    Stream *stream = &change->stream->base;

    change->stream->pending--;
    if (change->kind == CHANGE_CREATE) {
        stream_undo_done(&batch->undos[at]);
        store_return_bytes(store, change->op->append.payload.bytes.len);
        store_return_stream(store);
        store_unlink_fork(store, stream);
        stream_drop(stream);
        return;
    }
    if (change->kind == CHANGE_TOUCH) {
        return;
    }
    if (change->kind == CHANGE_APPEND) {
        store_return_bytes(store, change->op->append.payload.bytes.len);
    }
    pthread_mutex_lock(&stream->lock);
    stream_undo(stream, &batch->undos[at]);
    pthread_mutex_unlock(&stream->lock);
    if (change->op == NULL) {
        stream_drop(stream);
    }
}

static bool
needs_room(const StoreOp *op)
{
    return op->kind == STORE_CREATE || op->kind == STORE_APPEND;
}

/* A create may have found or made a stream. */
static void
take_result_back(StoreOp *op)
{
    if (op->kind == STORE_CREATE && op->stream != NULL) {
        if (op->result.verdict != STORE_DONE) {
            stream_drop(op->stream);
        }
        op->stream = NULL;
    }
    op->result = (StoreResult){.verdict = STORE_NO_SPACE};
}

static void
add_op(ShardBatch *batch, StoreOp *op)
{
    batch->ops[batch->ops_count++] = op;
    batch->bytes += op->append.payload.bytes.len;
}

/* Of a stream that somebody read or wrote since it was said last. */
static void
add_touch(ShardBatch *batch, ShardStream *stream)
{
    int64_t touched_ms = atomic_load(&stream->base.touched_ms);

    if (touched_ms != stream->touch_kept_ms) {
        Change *change;

        (void)add_change(batch, CHANGE_TOUCH, &stream->base, NULL);
        change = &batch->changes[batch->changes_count - 1];
        change->boot_ms = touched_ms;
        change->wall_ms -= batch->boot_ms - touched_ms;
    }
}

/* There was no room.  What makes some gets another try, in a batch without what needs it. */
static void
fail(ShardBatch *batch)
{
    struct StoreOpQueue *taken = &batch->shard->taken;
    struct StoreOpQueue again = STAILQ_HEAD_INITIALIZER(again);
    size_t count = batch->ops_count;
    bool any_needs_room = false;

    /* One that waited for the place of its forerunner would wait for ever. */
    if (count == 0) {
        add_op(batch, STAILQ_FIRST(taken));
        STAILQ_REMOVE_HEAD(taken, queue_entry);
        count = 1;
    }
    for (size_t i = 0; i < count; i++) {
        any_needs_room = any_needs_room || needs_room(batch->ops[i]);
    }
    batch->ops_count = 0;
    batch->bytes = 0;
    for (size_t i = 0; i < count; i++) {
        StoreOp *op = batch->ops[i];

        if (any_needs_room && !needs_room(op)) {
            STAILQ_INSERT_TAIL(&again, op, queue_entry);
        } else {
            take_result_back(op);
            add_op(batch, op);
        }
    }
    batch->only_smaller = !STAILQ_EMPTY(&again);
    STAILQ_CONCAT(&again, taken);
    STAILQ_CONCAT(taken, &again);
}

static void
take_all_back(ShardBatch *batch)
{
    while (batch->changes_count > 0) {
        take_back(batch, --batch->changes_count);
    }
}

/* False: there was no room, and everything is as if the batch had never been. */
static bool
commit(ShardBatch *batch)
{
    Backend *backend = batch->shard->backend;
    Error err;

    (void)FAULT("shard.judged");
    if (!backend->table->commit(backend, batch->changes, batch->changes_count, &err)) {
        if (err.code != ERR_FULL) {
            shard_die(&err);
        }
        take_all_back(batch);
        return false;
    }
    (void)FAULT("shard.committed");
    publish(batch);
    metric_add(batch->shard->store->batches, 1);
    backend->table->published(backend, batch->changes, batch->changes_count);
    (void)FAULT("shard.published");
    return true;
}

static void
answer(ShardBatch *batch)
{
    for (size_t i = 0; i < batch->ops_count; i++) {
        batch->ops[i]->done(batch->ops[i]);
    }
    shard_count_done(batch->shard, batch->ops_count, batch->bytes);
}

void
shard_batch_run(ShardBatch *batch)
{
    struct StoreOpQueue *taken = &batch->shard->taken;
    bool only_smaller = batch->only_smaller;
    StoreOp *op;

    begin(batch);
    batch->only_smaller = false;
    while ((op = STAILQ_FIRST(taken)) != NULL && batch->ops_count < SHARD_BATCH_OPS_MAX &&
           (batch->bytes == 0 ||
            batch->bytes + op->append.payload.bytes.len <= SHARD_BATCH_BYTES_MAX) &&
           !(only_smaller && needs_room(op)) && judge(batch, op)) {
        STAILQ_REMOVE_HEAD(taken, queue_entry);
        add_op(batch, op);
    }
    if (batch->changes_count > 0 && !commit(batch)) {
        fail(batch);
    }
    answer(batch);
}

void
shard_batch_touch(ShardBatch *batch)
{
    ShardStream *stream = LIST_FIRST(&batch->shard->with_ttl);
    bool ok = true;

    while (stream != NULL && ok) {
        begin(batch);
        for (; stream != NULL && batch->changes_count < SHARD_BATCH_OPS_MAX;
             stream = LIST_NEXT(stream, by_ttl)) {
            add_touch(batch, stream);
        }
        ok = batch->changes_count == 0 || commit(batch);
    }
}
