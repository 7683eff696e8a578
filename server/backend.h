/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/backend.h -- how a shard of a durable mode keeps its streams: file or acid.
 *
 * store_shard.h judges operations, puts them into batches and tells the results; a backend makes a
 * batch durable, finds bytes that are not in memory any more, and brings everything back at the
 * next start.  A shard has one backend; its commit thread alone calls commit, published and tick.
 *
 * A batch is one unit: after a stop at any moment all of it is there, or nothing.  Its order is
 * that of the changes.  When commit returns true it is as durable as the mode promises.  When it
 * returns false with ERR_FULL nothing of it is there, the store takes it back, and a later one may
 * succeed.  Any other failure stops the process: what is on the disk is then not known.
 *
 * Locks: a stream's state belongs to the commit thread, so a backend reads it in commit without the
 * stream's lock.  Another thread of a backend's calls shard_pause first: between it and
 * shard_resume no operation is judged, committed or published, so state and view are the same.
 */
#pragma once

#include "server/id_map.h"
#include "server/store.h"

typedef struct Backend Backend;
typedef struct Shard Shard;
typedef struct ShardLoad ShardLoad;
typedef struct StreamRow StreamRow;

/* What a durable mode keeps of a stream in memory; a backend may embed it in a larger struct.
 *
 * The log counts from the stream's first byte of its own, trimmed and forgotten ones included,
 * though it holds the newest only: so many bytes and messages as a StreamRow has as file_bytes and
 * file_count, which a backend fills in.  But one of the two is also a position (bytes of a byte
 * stream, messages of a JSON stream) and counts from fork_at. */
typedef struct ShardStream {
    Stream base;        /* first member */
    Shard *shard;       /* fixed */
    uint64_t parent_id; /* of one that was loaded; 0: not a fork */
    ChunkLog log;       /* the newest bytes, as published; under the stream's lock */
    uint64_t kept_to;   /* position: what lies before it, Backend.read finds; under the lock */

    /* the shard's own */
    unsigned pending; /* changes of the batch that are not published; the commit thread's */
    bool is_hot;      /* in the list of those with bytes in memory, under its lock */
    TAILQ_ENTRY(ShardStream) by_use;
    int64_t touch_kept_ms; /* the touched_ms that was committed last; the commit thread's */
    LIST_ENTRY(ShardStream) by_ttl;
} ShardStream;

typedef enum ChangeKind {
    CHANGE_CREATE, /* op: name, config, content, close */
    CHANGE_APPEND, /* op: append; also close alone */
    CHANGE_DELETE,
    CHANGE_SOFT_DELETE, /* forks still need its bytes */
    CHANGE_TRIM,
    CHANGE_TOUCH, /* of its TTL: Stream.touched_ms */
} ChangeKind;

/* stream->base.state is already what it is after the whole batch. */
typedef struct Change {
    ChangeKind kind;
    ShardStream *stream; /* with a reference until the batch is published */
    const StoreOp *op;   /* CREATE, APPEND, TRIM; NULL when the store did it by itself */
    int64_t boot_ms;     /* when it was judged; of TOUCH that access */
    int64_t wall_ms;
    uint64_t position; /* CREATE, APPEND: of the first byte or message of the payload */
    StreamView at;     /* the state's after this change */
} Change;

typedef struct BackendTable {
    size_t stream_size; /* of what embeds ShardStream; zeroed when it is made */

    /* Once, before all else and before the shard's thread: shard_load_stream for every stream that
     * there is, in any order. */
    bool (*load)(Backend *backend, ShardLoad *load, Error *err);
    /* When every shard is loaded and forks have their parents; may be NULL.  lost: the machine
     * stopped, and the mode may have lost what it acknowledged; streams that are open have got
     * another era. */
    bool (*loaded)(Backend *backend, ShardLoad *load, bool lost, Error *err);

    bool (*commit)(Backend *backend, const Change *changes, size_t count, Error *err);
    /* The commit thread, after ERR_FULL: true when it held the shard (shard_hold) until there may
     * be room, and the batch is worth a second try.  May be NULL. */
    bool (*hold_for_room)(Backend *backend);
    /* Afterwards, when everybody sees it and before anybody is answered.  Bytes are in the log. */
    void (*published)(Backend *backend, const Change *changes, size_t count);
    /* Between two batches, at least every SHARD_TICK_MS; may be NULL. */
    void (*tick)(Backend *backend);

    /* Any thread, may block, no lock held: appends to *out the stream's own bytes from `from` on,
     * at most up to `to` (<= kept_to), at most bytes_max but at least one message, cut at the end
     * of a message.  Fewer is no error, none is.  ERR_GONE: deleted or trimmed meanwhile. */
    bool (*read)(Backend *backend, ShardStream *stream, uint64_t from, uint64_t to,
                 size_t bytes_max, Range *out, Error *err);
    /* The same for counting: payload bytes and messages of the stream's own before a position
     * (<= kept_to, >= the view's base), trimmed ones included.  Of a byte stream an append that the
     * position lies within is not before it. */
    bool (*measure)(Backend *backend, ShardStream *stream, uint64_t position, uint64_t *out_bytes,
                    uint64_t *out_messages, Error *err);

    /* The last reference to a stream is gone; only memory is to be freed.  May be NULL. */
    void (*stream_done)(Backend *backend, ShardStream *stream);

    /* The shard's thread has ended and every batch is committed.  What needs a checkpoint gets it.
     * False: the next start has to recover. */
    bool (*close)(Backend *backend, Error *err);
    void (*free)(Backend *backend); /* after close, and after the last stream_done */
} BackendTable;

struct Backend {
    const BackendTable *table;
    Shard *shard; /* set before load */
};

typedef struct BackendOptions {
    const char *data_dir; /* exists; fd of it for openat */
    int data_dir_fd;
    unsigned shard; /* from 0 */
    unsigned shards;
    size_t producers_max;
    size_t wal_segment_bytes;
    int64_t checkpoint_ms;
    size_t open_files_max; /* of streams, all shards together */
    bool left_clean; /* a server was here and ended in order: all that belongs here was made */
    Metrics *metrics;
} BackendOptions;

/* A durable mode. */
typedef struct BackendKind {
    const char *mode; /* as in DS_STORAGE__MODE */
    /* What all shards have in common, made before the first and freed after the last; may be NULL.
     * options->shard does not count. */
    bool (*share)(const BackendOptions *options, void **out_shared, Error *err);
    void (*unshare)(void *shared);
    /* After load of all shards, and after a stop that was none: ids that belong to no stream may
     * go. May be NULL. */
    bool (*sweep)(void *shared, const IdMap *streams, Error *err);
    bool may_lose; /* what it acknowledged, when the machine stops */
    bool (*open)(const BackendOptions *options, void *shared, Backend **out, Error *err);
} BackendKind;

#define SHARD_TICK_MS 1000

/* ---- what a shard does for its backend ---- */

/* In load: makes the stream of a row, as it was when the row was taken: kept_to is its tail, the
 * log is empty and begins there.  Borrowed until load ends.  A backend that replays changes made
 * later does it on this (stream_apply_append, chunk_log_append), or takes it back. */
DS_MUST_CHECK bool shard_load_stream(ShardLoad *load, const StreamRow *row, ShardStream **out,
                                     Error *err);
ShardStream *shard_load_find(ShardLoad *load, uint64_t id); /* NULL: no such stream */
void shard_load_forget(ShardLoad *load, ShardStream *stream);
/* Those of the shard; false from fn stops. */
DS_MUST_CHECK bool shard_load_each(ShardLoad *load,
                                   bool (*fn)(void *arg, ShardStream *stream, Error *err),
                                   void *arg, Error *err);

/* From a thread of the backend's: waits for the batch under way and keeps the next one from
 * starting.  For milliseconds at most. */
void shard_pause(Shard *shard);
void shard_resume(Shard *shard);
/* From the commit thread, in published or tick: no batch begins until somebody resumes. */
void shard_hold(Shard *shard);

/* From any thread, no lock held: bytes up to kept_to may leave memory when there are more than
 * DS_LIMITS__MAX_CACHE_BYTES, those used longest ago first. */
void shard_evict(Shard *shard);
