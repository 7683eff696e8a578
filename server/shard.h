/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/shard.h -- one shard of a durable store: its queue, its commit thread, its part of the
 * cache.
 *
 * A stream belongs to the shard that its name hashes to, for ever.  Everything that changes it
 * passes through the queue and is judged by the shard's thread alone, so two creates of a name
 * cannot both win and nothing has to be locked against another writer.  The thread takes what came
 * while the last batch was committing, judges and applies each operation, lets the backend commit
 * them as one, publishes, and answers.  An operation that needs the outcome of one before it in the
 * same batch (a name is deleted and created again) begins the next.
 *
 * When there is no room on the disk, a batch is taken back and answered with STORE_NO_SPACE.  When
 * the backend fails otherwise, the process ends at once: nobody may be told what is not known.
 *
 * Limits: what may wait, and what is one batch; a single larger operation passes alone.
 */
#pragma once

#include "server/backend.h"
#include "server/store_shard.h"

#define SHARD_QUEUE_OPS_MAX   16384
#define SHARD_QUEUE_BYTES_MAX ((size_t)64 << 20)
#define SHARD_BATCH_OPS_MAX   1024
#define SHARD_BATCH_BYTES_MAX ((size_t)8 << 20)
#define SHARD_TOUCH_MS        5000  /* how often accesses that renew a TTL are committed */
#define SHARD_TOUCH_SLACK_MS  10000 /* and how old the last one kept may be after a crash */

LIST_HEAD(ShardStreamList, ShardStream);
TAILQ_HEAD(ShardStreamQueue, ShardStream);

typedef struct ShardBatch ShardBatch;

struct Shard {
    ShardStore *store;
    Backend *backend;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock;
    pthread_cond_t work;  /* the thread waits for it */
    pthread_cond_t quiet; /* who pauses waits for it */
    struct StoreOpQueue queue;
    size_t queued_ops; /* until they are answered */
    size_t queued_bytes;
    unsigned pauses;
    atomic_bool waiting; /* the thread, for work; written under lock */
    bool busy;           /* between two looks at the queue */
    bool stopping;

    /* the thread's */
    struct StoreOpQueue taken; /* from the queue, not yet in a batch */
    ShardBatch *batch;
    struct ShardStreamList with_ttl;
    int64_t tick_ms; /* the next */
    int64_t touch_ms;

    pthread_mutex_t hot_lock;    /* taken before a stream's, never after */
    struct ShardStreamQueue hot; /* streams with bytes in memory, used longest ago first */
};

/* The backend is the shard's from now on; nothing is loaded and no thread runs yet. */
void shard_init(Shard *shard, ShardStore *store, Backend *backend);
void shard_start(Shard *shard);
/* Any thread.  Too much waits: done() at once, with STORE_BUSY.  The shard's thread looks at its
 * queue when it has committed what it has; one that waits for work needs shard_wake. */
void shard_submit(Shard *shard, StoreOp *op);
void shard_wake(Shard *shard);
/* The thread has answered so many. */
void shard_count_done(Shard *shard, size_t ops, size_t bytes);
/* Everything queued is done, and the thread is at its end. */
void shard_stop(Shard *shard);
void shard_done(Shard *shard); /* frees the backend, too; no stream is left */

/* With one reference, the caller's. */
ShardStream *shard_stream_new(Shard *shard, Str name, const StreamConfig *config);
/* It is in the registry, or not any more. */
void shard_adopt(Shard *shard, ShardStream *stream);
void shard_forget(Shard *shard, ShardStream *stream);

/* Memory that a log took or gave back. */
void shard_count_cache(Shard *shard, size_t before, size_t after);
void shard_mark_hot(Shard *shard, ShardStream *stream);

/* The storage failed in a way that leaves open what is on the disk: one line, and the end. */
DS_NORETURN void shard_die(const Error *err);

/* ---- shard_batch.c: the thread's ---- */

ShardBatch *shard_batch_new(Shard *shard);
void shard_batch_free(ShardBatch *batch);
/* Forms a batch of what was taken, to its end.  taken is not empty. */
void shard_batch_run(ShardBatch *batch);
/* Commits when streams were touched last. */
void shard_batch_touch(ShardBatch *batch);
