/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store.h"

#include "common/log.h"

static const LogScope scope = {.name = "server.store"};

void
store_init(Store *store, const StoreTable *table, const StoreLimits *limits, Metrics *metrics)
{
    store->table = table;
    store->limits = *limits;
    store->registry = registry_new();
    store->journal = journal_new();
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

bool
store_reserve_bytes(Store *store, uint64_t bytes)
{
    uint64_t limit = store->limits.memory_bytes;
    uint64_t used = atomic_fetch_add(&store->bytes, bytes) + bytes;

    if (used > limit) {
        atomic_fetch_sub(&store->bytes, bytes);
        return false;
    }
    metric_set(store->bytes_gauge, (int64_t)used);
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

    metric_set(store->bytes_gauge, (int64_t)used);
    if (used < percent_of(store->limits.memory_bytes, STORE_WARN_AGAIN_PERCENT)) {
        atomic_store(&store->warned_bytes, false);
    }
}

bool
store_reserve_stream(Store *store)
{
    uint64_t count = atomic_fetch_add(&store->streams, 1) + 1;

    if (count > store->limits.streams) {
        atomic_fetch_sub(&store->streams, 1);
        return false;
    }
    metric_set(store->streams_gauge, (int64_t)count);
    return true;
}

void
store_return_stream(Store *store)
{
    metric_set(store->streams_gauge, (int64_t)(atomic_fetch_sub(&store->streams, 1) - 1));
}
