/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/store.h -- what keeps the streams: one interface for every storage mode.
 *
 * All that changes something is a StoreOp, given to store_submit and finished by its done(). Memory
 * mode does it at once, on the caller's thread, and calls done() before store_submit returns.  A
 * durable mode queues it to the stream's shard, whose commit thread judges, writes and syncs many
 * together and calls done() from there; the submitter then has to bring the result home
 * (net_loop_post).  So an op lives on the heap, with all that its views borrow from, until done().
 *
 * What is committed can be read by anybody at any time without waiting; what is not committed, by
 * nobody.  Looking up, listing, expiry, limits and the journal of changes are the same in all
 * modes.
 */
#pragma once

#include "common/metrics.h"
#include "server/fork.h"
#include "server/journal.h"
#include "server/range.h"
#include "server/registry.h"

typedef struct Store Store;

typedef struct StoreLimits {
    uint64_t memory_bytes; /* payload of all streams */
    uint64_t stream_bytes; /* payload of one */
    uint64_t streams;
    size_t producers_per_stream;
} StoreLimits;

typedef enum StoreOpKind {
    STORE_CREATE,
    STORE_APPEND, /* and close */
    STORE_DELETE,
    STORE_TRIM,
    STORE_RELEASE, /* the store's own: a fork of the stream went, or needs less of it */
    STORE_OP_COUNT
} StoreOpKind;

typedef enum StoreVerdict {
    STORE_DONE,
    STORE_EXISTS,   /* create: there is one, with the same configuration */
    STORE_CONFLICT, /* create: there is one, with another */
    STORE_NOT_FOUND,
    STORE_GONE,         /* soft-deleted: it is there for its forks only; create: the name is */
    STORE_FORK_REFUSED, /* create: result.fork says why */
    STORE_REFUSED,      /* append, create with content: result.append says why */
    STORE_TOO_MANY_STREAMS,
    STORE_PAST_TAIL,  /* trim */
    STORE_NO_SPACE,   /* the disk is full; nothing was changed */
    STORE_BUSY,       /* too much waits already; nothing was changed */
    STORE_UNREADABLE, /* what is on the disk is damaged; nothing was changed */
} StoreVerdict;

typedef struct StoreResult {
    StoreVerdict verdict;
    AppendVerdict append; /* DONE: APPEND_OK or APPEND_DUPLICATE */
    ProducerState producer;
    ForkVerdict fork;
    Offset start; /* the stream's, after the operation or as it was found */
    Offset next;
    bool closed;
    uint64_t freed_bytes; /* trim */
} StoreResult;

typedef struct StoreOp {
    StoreOpKind kind;
    void (*done)(struct StoreOp *op); /* exactly once; the op is the submitter's again */

    Str name;             /* create */
    StreamConfig config;  /* create */
    ForkRequest fork;     /* create; with a reference to its parent, the submitter's */
    AppendRequest append; /* append; create: payload and close only */
    uint64_t position;    /* trim: the first to keep */
    Stream *stream; /* with a reference; of create it is a result, for DONE, EXISTS and CONFLICT */

    StoreResult result;

    STAILQ_ENTRY(StoreOp) queue_entry; /* store_submit_all's, then the store's, until done() */
} StoreOp;

typedef enum ReadVerdict {
    READ_OK,
    READ_BEFORE_START,
    READ_PAST_TAIL,
    READ_DELETED,
    READ_GONE,   /* soft-deleted */
    READ_COLD,   /* the bytes are on disk, and may_block is not set */
    READ_FAILED, /* damaged or unreadable; it is logged */
} ReadVerdict;

typedef struct StoreRead {
    uint64_t from;    /* out, too, with from_start */
    bool from_start;  /* the retained start, wherever it is */
    bool may_block;   /* on a disk: never on a network thread */
    bool takes_files; /* the range may have parts that lie in files */
    size_t bytes_max; /* a single message may be larger */

    /* out, all of one moment */
    Range range; /* ends with range_done when the verdict is READ_OK; may end before bytes_max */
    bool at_tail;
    bool closed;         /* nothing will come after the tail */
    uint64_t bytes_ever; /* StreamView's */
} StoreRead;

typedef enum ReadPart {
    READ_PART_OK,
    READ_PART_COLD, /* not in memory, and may_block is false */
    READ_PART_FAILED,
} ReadPart;

STAILQ_HEAD(StoreOpQueue, StoreOp);

typedef struct StoreTable {
    const char *mode;
    bool queued; /* done() comes later, from another thread; else before submit returns */
    void (*submit)(Store *store, StoreOp *op);
    /* Many at once, in their order: a store that queues them can commit them together.  NULL: one
     * by one. */
    void (*submit_all)(Store *store, struct StoreOpQueue *ops);
    /* Adds to *out bytes of the stream's own between two positions that lie within its view's base
     * and tail, from < to: at least one message, else at most bytes_max in *out, and moves out->to.
     * Less is fine.  Lock held; with may_block the store may let go of it meanwhile, but holds it
     * again on return.  err for FAILED only. */
    ReadPart (*read)(Store *store, Stream *stream, uint64_t from, uint64_t to, size_t bytes_max,
                     bool may_block, Range *out, Error *err);
    /* Finishes what is queued; nothing is submitted any more.  NULL: nothing is ever queued. */
    void (*stop)(Store *store);
    void (*free)(Store *store); /* of the mode's own; Store's parts are freed by store_free */
} StoreTable;

struct Store {
    const StoreTable *table;
    StoreLimits limits;
    Registry *registry;
    Journal *journal;
    atomic_uint_fast64_t bytes;
    atomic_uint_fast64_t streams;
    atomic_bool warned_bytes; /* past STORE_WARN_PERCENT, and said so */
    Metric *bytes_gauge;
    Metric *streams_gauge;
};

#define STORE_WARN_PERCENT       80
#define STORE_WARN_AGAIN_PERCENT 70 /* a warning may come again after falling below */

/* What is left to a mode's constructor, and its end. */
void store_init(Store *store, const StoreTable *table, const StoreLimits *limits, Metrics *metrics);
void store_free(Store *store); /* accepts NULL; nobody may use it or its streams any more */

static inline void
store_submit(Store *store, StoreOp *op)
{
    store->table->submit(store, op);
}

/* The queue is empty afterwards. */
void store_submit_all(Store *store, struct StoreOpQueue *ops);

/* The only verdict with something to end is READ_OK. */
ReadVerdict store_read(Store *store, Stream *stream, StoreRead *read);

/* With a reference, or NULL; an expired or soft-deleted stream is not found. */
Stream *store_find(Store *store, Str name);

/* One moment of a stream. */
typedef struct StreamInfo {
    Offset start;
    Offset tail;
    uint64_t messages;
    uint64_t bytes;
    uint64_t bytes_ever;
    int64_t updated_ms;
    bool closed;
    bool deleted; /* softly, too */
} StreamInfo;

void store_stream_info(Stream *stream, StreamInfo *out);

/* From now on waiter->on_wake is called on the loop when the stream changes: bytes, close, delete.
 * On the loop's thread; wake_leave undoes it.  Read after it, lest something is missed. */
void store_wait(Stream *stream, NetLoop *loop, Waiter *waiter);

/* ---- for the modes ---- */

/* Payload is counted before it is stored and given back when it is freed; false: over the limit. */
DS_MUST_CHECK bool store_reserve_bytes(Store *store, uint64_t bytes);
void store_return_bytes(Store *store, uint64_t bytes);
DS_MUST_CHECK bool store_reserve_stream(Store *store);
void store_return_stream(Store *store);
StoreVerdict store_append_verdict(AppendVerdict verdict);
/* Of a stream that is there at the start, whatever the limits are now. */
void store_count_loaded(Store *store, uint64_t bytes);
/* A fork of the stream went, or needs less of it: it looks what that changes. */
void store_release(Store *store, Stream *stream);
/* No lock held, after a deletion was published: what it leaves to the stream's parent. */
void store_unlink_fork(Store *store, Stream *stream);
/* No lock held, after a trim or a release was published, or a soft delete. */
void store_settle_fork(Store *store, Stream *stream);
