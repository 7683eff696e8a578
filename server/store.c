/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store.h"

#include "common/log.h"
#include "common/mem.h"

static const LogScope scope = {.name = "server.store"};

void
store_init(Store *store, const StoreTable *table, const StoreLimits *limits, Metrics *metrics)
{
    store->table = table;
    store->limits = *limits;
    store->journal = journal_new();
    store->registry = registry_new(store->journal);
    atomic_init(&store->bytes, 0);
    atomic_init(&store->streams, 0);
    atomic_init(&store->warned_bytes, false);
    store->bytes_gauge = metrics_gauge(metrics, "ds_server_payload_bytes", NULL,
                                       "Payload bytes that all streams hold.");
    store->streams_gauge = metrics_gauge(metrics, "ds_server_streams", NULL, "Streams that exist.");
}

void
store_free(Store *store)
{
    if (store == NULL) {
        return;
    }
    if (store->table->stop != NULL) {
        store->table->stop(store);
    }
    registry_free(store->registry);
    journal_free(store->journal);
    store->table->free(store);
}

Stream *
store_find(Store *store, Str name)
{
    Stream *stream = registry_find(store->registry, name);

    if (stream != NULL && fork_presence(stream) != FORK_ALIVE) {
        stream_drop(stream);
        stream = NULL;
    }
    return stream;
}

void
store_submit_all(Store *store, struct StoreOpQueue *ops)
{
    if (store->table->submit_all != NULL) {
        store->table->submit_all(store, ops);
        return;
    }
    while (!STAILQ_EMPTY(ops)) {
        StoreOp *op = STAILQ_FIRST(ops);

        STAILQ_REMOVE_HEAD(ops, queue_entry);
        store_submit(store, op);
    }
}

void
store_stream_info(Stream *stream, StreamInfo *out)
{
    const StreamView *view = &stream->view;

    pthread_mutex_lock(&stream->lock);
    *out = (StreamInfo){
        .start = stream_offset(stream, view->start),
        .tail = stream_offset(stream, view->tail),
        .messages = view->messages,
        .bytes = view->bytes,
        .bytes_ever = view->bytes_ever,
        .updated_ms = view->updated_ms,
        .closed = atomic_load(&stream->closed),
        .deleted = atomic_load(&stream->deleted) || atomic_load(&stream->soft_deleted),
    };
    pthread_mutex_unlock(&stream->lock);
}

/* ---- reading ---- */

/* Lock held. */
static ReadVerdict
judge_read(const Stream *stream, const StoreRead *read)
{
    if (atomic_load(&stream->deleted)) {
        return READ_DELETED;
    }
    if (atomic_load(&stream->soft_deleted)) {
        return READ_GONE;
    }
    if (read->from < stream->view.start) {
        return READ_BEFORE_START;
    }
    return read->from > stream->view.tail ? READ_PAST_TAIL : READ_OK;
}

/* Whether the owner still has its bytes at a position.  Those of a fork's parent can go between two
 * looks when the fork itself is trimmed or deleted. */
static ReadVerdict
judge_owner(const Stream *owner, uint64_t position)
{
    if (atomic_load(&owner->deleted)) {
        return READ_DELETED;
    }
    return position < owner->view.base ? READ_BEFORE_START : READ_OK;
}

/* Owner's lock held: one part more of the range. */
static ReadVerdict
read_part(Store *store, Stream *owner, StoreRead *read, uint64_t to)
{
    Range *range = &read->range;
    uint64_t position = range->to;
    ReadVerdict verdict = judge_owner(owner, position);
    Error err;

    if (verdict != READ_OK) {
        return verdict;
    }
    switch (store->table->read(store, owner, range->to, to, read->bytes_max, read->may_block, range,
                               &err)) {
    case READ_PART_OK:
        /* What was trimmed while the lock was let go of may be given back to the disk any time. */
        return read->may_block ? judge_owner(owner, position) : READ_OK;
    case READ_PART_COLD:
        return READ_COLD;
    case READ_PART_FAILED:
        break;
    }
    /* It may have gone while the store waited for a disk. */
    verdict = judge_owner(owner, range->to);
    if (verdict != READ_OK) {
        return verdict;
    }
    log_error(&scope, EVENT_SERVER_READ_FAILED,
              LOG_FIELDS(log_str("stream", owner->name), log_u64("position", range->to)),
              "the bytes of a stream cannot be read: %s", err.text);
    return READ_FAILED;
}

static bool
wants_more(const StoreRead *read, uint64_t tail)
{
    return read->range.to < tail && (read->range.bytes < read->bytes_max || read->range.bytes == 0);
}

/* Part by part, from whoever has the bytes: of a fork, of its parents those before fork_at. */
static ReadVerdict
read_parts(Store *store, Stream *stream, StoreRead *read, uint64_t tail)
{
    Range *range = &read->range;
    ReadVerdict verdict = READ_OK;
    uint64_t before;

    do {
        Stream *owner = stream;
        uint64_t to = tail;

        before = range->to;
        while (range->to < owner->fork_at) {
            to = DS_MIN(to, owner->fork_at);
            owner = owner->parent;
        }
        pthread_mutex_lock(&owner->lock);
        verdict = read_part(store, owner, read, to);
        pthread_mutex_unlock(&owner->lock);
    } while (verdict == READ_OK && range->to > before && wants_more(read, tail));
    /* What can be read comes first; who goes on behind it learns the rest. */
    return verdict == READ_FAILED && range->to > read->from ? READ_OK : verdict;
}

ReadVerdict
store_read(Store *store, Stream *stream, StoreRead *read)
{
    ReadVerdict verdict;
    uint64_t tail;

    pthread_mutex_lock(&stream->lock);
    if (read->from_start) {
        read->from = stream->view.start;
    }
    verdict = judge_read(stream, read);
    tail = stream->view.tail;
    read->closed = atomic_load(&stream->closed);
    read->bytes_ever = stream->view.bytes_ever;
    range_init(&read->range, read->from);
    read->range.takes_files = read->takes_files;
    /* Nearly always this is all of it, and of one moment. */
    if (verdict == READ_OK && read->from < tail && read->from >= stream->fork_at) {
        verdict = read_part(store, stream, read, tail);
    }
    pthread_mutex_unlock(&stream->lock);
    if (verdict == READ_OK && wants_more(read, tail)) {
        verdict = read_parts(store, stream, read, tail);
    }
    read->at_tail = read->range.to == tail;
    if (verdict != READ_OK) {
        range_done(&read->range);
    }
    return verdict;
}

void
store_wait(Stream *stream, NetLoop *loop, Waiter *waiter)
{
    pthread_mutex_lock(&stream->lock);
    wake_join(&stream->wake, loop, waiter);
    pthread_mutex_unlock(&stream->lock);
}

static uint64_t
percent_of(uint64_t whole, unsigned percent)
{
    return whole / 100 * percent;
}

/* What does not fit takes nothing, not even for a moment: another that fits must not be refused. */
static bool
reserve(atomic_uint_fast64_t *used, uint64_t amount, uint64_t limit, uint64_t *out_used)
{
    uint_fast64_t before = atomic_load(used);

    do {
        if (before > limit || amount > limit - before) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(used, &before, before + amount));
    *out_used = before + amount;
    return true;
}

bool
store_reserve_bytes(Store *store, uint64_t bytes)
{
    uint64_t limit = store->limits.memory_bytes;
    uint64_t used;

    if (!reserve(&store->bytes, bytes, limit, &used)) {
        return false;
    }
    metric_move(store->bytes_gauge, (int64_t)bytes);
    if (used > percent_of(limit, STORE_WARN_PERCENT) &&
        !atomic_exchange(&store->warned_bytes, true)) {
        log_warn(&scope, EVENT_SERVER_STORE_NEARLY_FULL,
                 LOG_FIELDS(log_u64("bytes", used), log_u64("limit_bytes", limit)),
                 "the streams hold more than %d %% of DS_LIMITS__MAX_MEMORY_BYTES; at the limit "
                 "appends are answered with 413",
                 STORE_WARN_PERCENT);
    }
    return true;
}

void
store_return_bytes(Store *store, uint64_t bytes)
{
    uint64_t used = atomic_fetch_sub(&store->bytes, bytes) - bytes;

    metric_move(store->bytes_gauge, -(int64_t)bytes);
    if (used < percent_of(store->limits.memory_bytes, STORE_WARN_AGAIN_PERCENT)) {
        atomic_store(&store->warned_bytes, false);
    }
}

bool
store_reserve_stream(Store *store)
{
    uint64_t count;

    if (!reserve(&store->streams, 1, store->limits.streams, &count)) {
        return false;
    }
    metric_move(store->streams_gauge, 1);
    return true;
}

void
store_return_stream(Store *store)
{
    atomic_fetch_sub(&store->streams, 1);
    metric_move(store->streams_gauge, -1);
}

void
store_count_loaded(Store *store, uint64_t bytes)
{
    atomic_fetch_add(&store->bytes, bytes);
    metric_move(store->bytes_gauge, (int64_t)bytes);
    atomic_fetch_add(&store->streams, 1);
    metric_move(store->streams_gauge, 1);
}

StoreVerdict
store_append_verdict(AppendVerdict verdict)
{
    switch (verdict) {
    case APPEND_OK:
    case APPEND_DUPLICATE:
        return STORE_DONE;
    case APPEND_DELETED:
        return STORE_NOT_FOUND;
    case APPEND_GONE:
        return STORE_GONE;
    case APPEND_CLOSED:
    case APPEND_TYPE_MISMATCH:
    case APPEND_SEQ_CONFLICT:
    case APPEND_STALE_EPOCH:
    case APPEND_EPOCH_NOT_ZERO:
    case APPEND_GAP:
    case APPEND_TOO_MANY_PRODUCERS:
    case APPEND_STREAM_FULL:
    case APPEND_STORE_FULL:
        break;
    }
    return STORE_REFUSED;
}

/* ---- forks ---- */

static void
released(StoreOp *op)
{
    stream_drop(op->stream);
    free(op);
}

void
store_release(Store *store, Stream *stream)
{
    StoreOp *op = mem_zalloc(sizeof(*op));

    stream_take(stream);
    op->kind = STORE_RELEASE;
    op->stream = stream;
    op->done = released;
    store_submit(store, op);
}

void
store_unlink_fork(Store *store, Stream *stream)
{
    Stream *parent = fork_unlink(stream);

    if (parent != NULL) {
        store_release(store, parent);
    }
}

void
store_settle_fork(Store *store, Stream *stream)
{
    bool needs_less;

    pthread_mutex_lock(&stream->lock);
    needs_less = fork_settle(stream);
    pthread_mutex_unlock(&stream->lock);
    if (needs_less) {
        store_release(store, stream->parent);
    }
}
