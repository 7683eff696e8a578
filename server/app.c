/* SPDX-License-Identifier: Apache-2.0 */
#include "server/app.h"

#include <sys/resource.h>

#include "common/mem.h"
#include "server/store_acid.h"
#include "server/store_file.h"
#include "server/store_memory.h"
#include "server/store_shard.h"

static void
make_metrics(AppMetrics *out, Metrics *metrics)
{
    out->appends = metrics_counter(metrics, "ds_server_appends_total", NULL,
                                   "Appends that were stored, closes included.");
    out->append_bytes = metrics_counter(metrics, "ds_server_append_bytes_total", NULL,
                                        "Payload bytes that appends stored.");
    out->reads = metrics_counter(metrics, "ds_server_reads_total", NULL,
                                 "Ranges of a stream sent to readers.");
    out->read_bytes = metrics_counter(metrics, "ds_server_read_bytes_total", NULL,
                                      "Payload bytes sent to readers.");
    out->live_reads = metrics_counter(metrics, "ds_server_live_reads_total", NULL,
                                      "Long-polls that waited, and SSE connections.");
    out->live_waiting = metrics_gauge(metrics, "ds_server_live_readers", NULL,
                                      "Long-polls waiting and SSE connections open now.");
    out->queued = metrics_gauge(metrics, "ds_server_operations_queued", NULL,
                                "Operations that the storage has not finished yet.");
    out->cold_reads = metrics_counter(metrics, "ds_server_cold_reads_total", NULL,
                                      "Ranges that were not in memory.");
    out->slow_cut = metrics_counter(metrics, "ds_server_slow_readers_cut_total", NULL,
                                    "SSE readers cut because they did not keep up.");
}

/* Before the first file is opened: streams and connections share what the system grants. */
static void
raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool
open_store(const ServerConfig *config, Metrics *metrics, Store **out, Error *err)
{
    StoreLimits limits = {
        .memory_bytes = (uint64_t)config->limits.memory_bytes,
        .stream_bytes = (uint64_t)config->limits.stream_bytes,
        .streams = (uint64_t)config->limits.streams,
        .producers_per_stream = (size_t)config->limits.producers_per_stream,
    };
    StorageOptions options = {
        .data_dir = config->storage.data_dir,
        .shards = (unsigned)config->storage.wal_shard_count,
        .wal_segment_bytes = (size_t)config->storage.wal_segment_bytes,
        .checkpoint_ms = config->storage.checkpoint_ms,
        .cache_bytes = (uint64_t)config->limits.cache_bytes,
        .open_files_max = (size_t)server_config_stream_files(config),
    };

    raise_file_limit();
    switch ((StorageMode)config->storage_mode) {
    case STORAGE_MEMORY:
        *out = store_memory_new(&limits, metrics);
        return true;
    case STORAGE_FILE_FAST:
        return store_shard_new(&store_file_fast, &options, &limits, metrics, out, err);
    case STORAGE_FILE_DURABLE:
        return store_shard_new(&store_file_durable, &options, &limits, metrics, out, err);
    case STORAGE_ACID:
        options.shards = (unsigned)config->storage.acid_shard_count;
        return store_shard_new(&store_acid, &options, &limits, metrics, out, err);
    }
    DS_ASSERT(false);
    return false;
}

bool
app_new(const ServerConfig *config, Metrics *metrics, App **out, Error *err)
{
    Store *store;
    App *app;

    if (!open_store(config, metrics, &store, err)) {
        return false;
    }
    app = mem_zalloc(sizeof(*app));
    app->config = config;
    app->base_path = str_c(config->stream_base_path);
    app->names = (NameLimits){
        .bytes_max = (size_t)config->limits.stream_name_bytes,
        .segments_max = (size_t)config->limits.stream_name_segments,
    };
    app->store = store;
    app->expiry = expiry_new(app->store, metrics);
    make_metrics(&app->metrics, metrics);
    if (!subs_new(config, app->store, metrics, &app->subs, err)) {
        app_free(app);
        return false;
    }
    *out = app;
    return true;
}

void
app_free(App *app)
{
    if (app != NULL) {
        subs_close(app->subs);
        store_free(app->store); /* finishes what is queued, removals of expired streams, too */
        expiry_free(app->expiry);
        subs_free(app->subs);
        free(app);
    }
}
