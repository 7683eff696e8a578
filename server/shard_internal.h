/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/shard_internal.h -- a batch on its way: shard_judge.c fills it, shard_batch.c commits it,
 * shard_publish.c shows it.  All on the shard's thread.
 */
#pragma once

#include "server/shard.h"

#define SHARD_NAME_BITS 65536 /* two names that share a bit only part a batch in two */

struct ShardBatch {
    Shard *shard;
    StoreOp **ops;
    size_t ops_count;
    size_t bytes; /* of payload */
    Change *changes;
    StreamUndo *undos; /* of each change */
    size_t changes_count;
    size_t changes_cap;
    bool only_smaller;  /* the next batch takes nothing that needs room on the disk */
    bool is_second_try; /* of one that found no room */
    bool names_used;
    uint64_t names[SHARD_NAME_BITS / 64]; /* created in this batch */
    int64_t boot_ms;
    int64_t wall_ms;
};

static inline Store *
shard_batch_store(const ShardBatch *batch)
{
    return &batch->shard->store->base;
}

static inline ShardStream *
shard_stream_of(Stream *stream)
{
    return DS_CONTAINER_OF(stream, ShardStream, base);
}

/* After the state was changed, under the stream's lock. */
StreamUndo *shard_batch_add(ShardBatch *batch, ChangeKind kind, Stream *stream, const StoreOp *op);

/* Judges and applies; the result is as it will be told.  False: it has to wait for the next batch.
 */
DS_MUST_CHECK bool shard_judge(ShardBatch *batch, StoreOp *op);

/* It is committed: from now on everybody sees it. */
void shard_publish(ShardBatch *batch);
/* When the backend has seen them, too: the registry's references to what is deleted, and those of
 * deletions that the store made by itself. */
void shard_drop_deleted(const ShardBatch *batch);
