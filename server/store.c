/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store.h"

#include "common/log.h"

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
    registry_free(store->registry);
    journal_free(store->journal);
    store->table->free(store);
}

void
store_stream_info(Stream *stream, StreamInfo *out)
{
    pthread_mutex_lock(&stream->lock);
    *out = (StreamInfo){
        .start = stream_offset(stream, stream->state.start),
        .tail = stream_offset(stream, stream->state.tail),
        .messages = stream->state.messages,
        .bytes = stream->state.bytes,
        .bytes_ever = stream->state.bytes_ever,
        .updated_ms = stream->state.updated_ms,
        .closed = atomic_load(&stream->closed),
        .deleted = atomic_load(&stream->deleted),
    };
    pthread_mutex_unlock(&stream->lock);
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
        if (amount > limit - before) {
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
