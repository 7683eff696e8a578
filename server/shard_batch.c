/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/shard_batch.c -- one batch of a shard: form, commit, answer; or take back.
 */
#include "server/shard_internal.h"

#include "common/clock.h"
#include "common/fault.h"
#include "common/mem.h"

#define CHANGES_CAP_MIN 64

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

/* After the state was changed. */
StreamUndo *
shard_batch_add(ShardBatch *batch, ChangeKind kind, Stream *stream, const StoreOp *op)
{
    size_t at = batch->changes_count++;

    if (at == batch->changes_cap) {
        batch->changes_cap = DS_MAX((size_t)CHANGES_CAP_MIN, 2 * batch->changes_cap);
        batch->changes = mem_regrow(batch->changes, batch->changes_cap, sizeof(*batch->changes));
        batch->undos = mem_regrow(batch->undos, batch->changes_cap, sizeof(*batch->undos));
    }
    batch->changes[at] = (Change){
        .kind = kind,
        .stream = shard_stream_of(stream),
        .op = op,
        .boot_ms = batch->boot_ms,
        .wall_ms = batch->wall_ms,
    };
    batch->undos[at] = (StreamUndo){0};
    shard_stream_of(stream)->pending++;
    return &batch->undos[at];
}

/* ---- commit, or take back ---- */

static void
take_back(ShardBatch *batch, size_t at)
{
    Store *store = shard_batch_store(batch);
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

        (void)shard_batch_add(batch, CHANGE_TOUCH, &stream->base, NULL);
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

/* The backend waits for room of its own making, once. */
static bool
may_try_again(ShardBatch *batch)
{
    Backend *backend = batch->shard->backend;
    bool again = !batch->is_second_try && backend->table->hold_for_room != NULL &&
                 backend->table->hold_for_room(backend);

    batch->is_second_try = again;
    return again;
}

static void
put_back(ShardBatch *batch)
{
    struct StoreOpQueue *taken = &batch->shard->taken;

    while (batch->ops_count > 0) {
        StoreOp *op = batch->ops[--batch->ops_count];

        take_result_back(op);
        STAILQ_INSERT_HEAD(taken, op, queue_entry);
    }
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
    shard_publish(batch);
    metric_add(batch->shard->store->batches, 1);
    backend->table->published(backend, batch->changes, batch->changes_count);
    shard_drop_deleted(batch);
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
           !(only_smaller && needs_room(op)) && shard_judge(batch, op)) {
        STAILQ_REMOVE_HEAD(taken, queue_entry);
        add_op(batch, op);
    }
    if (batch->changes_count > 0 && !commit(batch)) {
        if (may_try_again(batch)) {
            put_back(batch);
            return;
        }
        fail(batch);
    }
    batch->is_second_try = false;
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
