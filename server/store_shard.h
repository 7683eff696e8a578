/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/store_shard.h -- the durable storage modes: a store of shards over a data directory.
 *
 * Everything that store.h says, with operations that are finished by the shards' threads.  What is
 * acknowledged, or was read by anybody, is there again after a start, as the mode promises; what
 * is not committed nobody sees.
 */
#pragma once

#include "server/backend.h"
#include "server/manifest.h"

#define SHARDS_MAX 256

typedef struct StorageOptions {
    const char *data_dir;
    unsigned shards; /* a power of two, the same as when the directory was made; 0: that number */
    size_t wal_segment_bytes;
    int64_t checkpoint_ms;
    uint64_t cache_bytes;  /* payload and its index in memory, besides what is in no file yet */
    size_t open_files_max; /* of streams */
} StorageOptions;

typedef struct ShardStore {
    Store base; /* first member */
    const BackendKind *kind;
    StoreTable table;
    StorageOptions options;
    DataDir dir;
    void *shared; /* the backends' own */
    atomic_size_t cache_bytes;
    Metric *cache_gauge;
    Metric *batches;
    unsigned shard_count; /* options.shards once all are open */
    struct Shard *shards;
} ShardStore;

/* Loads everything; ERR_CONFIG: the directory is refused (manifest.h), ERR_CORRUPT: damaged. */
DS_MUST_CHECK bool store_shard_new(const BackendKind *kind, const StorageOptions *options,
                                   const StoreLimits *limits, Metrics *metrics, Store **out,
                                   Error *err);
