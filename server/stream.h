/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/stream.h -- one stream: what it is, its state, and the rules of appending to it.
 *
 * The same for every storage mode; a store embeds Stream in what it keeps per stream and adds where
 * the bytes are.
 *
 * A stream has two moments.  `state` is the judged one: what the next operation is judged against,
 * with those of a batch that is not durable yet.  `view` is the committed one, which everybody else
 * reads.  A store judges and applies an operation, brings its bytes to where a crash cannot take
 * them, puts them where readers look, and publishes; or it undoes what it applied, last first.
 *
 * Threads: the fixed part is written before the stream is seen by others; atomics by anybody; the
 * rest under `lock`, the state besides only by the thread that commits to the stream.  References
 * are counted: the registry has one, each fork one of its parent, and whoever found the stream.
 */
#pragma once

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <pthread.h>

#include "common/offset.h"
#include "server/chunk_log.h"
#include "server/producer.h"
#include "server/wake.h"

#define STREAM_SEQ_BYTES_MAX          1024
#define STREAM_CONTENT_TYPE_BYTES_MAX 256
#define STREAM_TTL_S_MAX              (INT64_MAX / 2000)
#define STREAM_NEVER                  (-1) /* of a TTL, of an expiry */

typedef enum StreamKind {
    STREAM_BYTES,
    STREAM_TEXT, /* text/..., sent over SSE as it is */
    STREAM_JSON,
} StreamKind;

/* What the client that creates a stream says about it.  Views are borrowed. */
typedef struct StreamConfig {
    Str content_type;
    int64_t ttl_s;         /* or STREAM_NEVER; at most one of the two */
    int64_t expires_at_ms; /* wall clock, or STREAM_NEVER */
} StreamConfig;

/* How far a stream goes.  Positions count messages (JSON) or bytes. */
typedef struct StreamView {
    uint64_t start; /* the retained start: what is before it is not served */
    uint64_t tail;
    uint64_t base;       /* its own bytes are stored from here on: fork_at, or what trims left */
    uint64_t messages;   /* retained; of a byte stream its own appends, those cut by a trim too */
    uint64_t bytes;      /* its own payload as stored, from base on */
    uint64_t bytes_ever; /* as bytes, never less after a trim */
    int64_t updated_ms;  /* wall clock */
} StreamView;

/* Bytes that are remembered; owned. */
typedef struct StreamNote {
    char *ptr; /* NULL: nothing is */
    size_t len;
} StreamNote;

typedef struct StreamState {
    StreamView at;
    bool closed;
    bool deleted;
    bool soft_deleted;
    StreamNote seq;       /* last Stream-Seq */
    Producers *producers; /* NULL until one writes */
    StreamNote closer_id; /* the producer request that closed the stream */
    uint64_t closer_epoch;
    uint64_t closer_seq;
} StreamState;

/* The first 64 bytes are what it takes to find it. */
typedef struct Stream {
    /* the registry's, under its lock */
    uint64_t hash;
    struct Stream *hash_next;

    /* fixed */
    Str name; /* these two are one allocation of the stream's */
    Str content_type;
    StreamKind kind;
    int64_t ttl_s;
    int64_t expires_at_ms;
    int64_t created_ms;
    uint64_t era;          /* of its own offsets; not less than that of its parent */
    uint64_t id;           /* no other stream of the data directory ever has it */
    struct Stream *parent; /* with a reference; NULL: not a fork */
    uint64_t fork_at;      /* positions before it are the parent's bytes, or lost with it */
    uint64_t serial;       /* of this object; never used twice in a process */
    void (*free_fn)(struct Stream *stream); /* the store's, for the last reference */

    atomic_uint refs;
    _Atomic int64_t touched_ms; /* clock_boot_ms of the last access that renews the TTL */
    atomic_uint forks;          /* living ones; written under lock */
    atomic_bool closed;         /* committed; written under lock, may be looked at without */
    atomic_bool deleted;
    atomic_bool soft_deleted; /* deleted, and kept for its forks alone */

    pthread_mutex_t lock;
    StreamState state;
    StreamView view;
    WakeSource wake;
    LIST_HEAD(, Stream) fork_list; /* fork.h's */

    LIST_ENTRY(Stream) by_parent; /* under the parent's lock */
    _Atomic uint64_t needs;       /* the first position that is read here, or through here */

    /* the registry's, under its lock */
    RB_ENTRY(Stream) by_name;
    TAILQ_ENTRY(Stream) by_expiry;
} Stream;

StreamKind stream_kind(Str content_type);
/* Media types are compared without parameters and case (protocol 5.1). */
bool stream_same_media_type(Str a, Str b);

/* With one reference, the caller's; era and id stay 0 until the registry takes the stream in,
 * unless the caller sets them. */
void stream_init(Stream *stream, Str name, const StreamConfig *config, void (*free_fn)(Stream *));
void stream_done(Stream *stream); /* for free_fn */
void stream_take(Stream *stream);
void stream_drop(Stream *stream); /* accepts NULL */

static inline bool
stream_can_expire(const Stream *stream)
{
    return stream->ttl_s != STREAM_NEVER || stream->expires_at_ms != STREAM_NEVER;
}

/* The clocks' now: boot time for the TTL, wall time for Expires-At. */
bool stream_is_expired(const Stream *stream, int64_t boot_ms, int64_t wall_ms);
/* An access that renews the TTL (protocol 5.1: any read or write but HEAD). */
void stream_touch(Stream *stream);
/* When it expires if nobody touches it, wall clock; STREAM_NEVER. */
int64_t stream_expiry_ms(const Stream *stream, int64_t boot_ms, int64_t wall_ms);

/* ---- appending ---- */

typedef struct AppendRequest {
    Str content_type;   /* looked at only when there is payload */
    LogPayload payload; /* count 0: close only */
    bool close;
    bool has_seq;
    Str seq;
    bool has_producer;
    ProducerTag producer;
} AppendRequest;

typedef enum AppendVerdict {
    APPEND_OK,
    APPEND_DUPLICATE, /* of the producer's; nothing is written */
    APPEND_DELETED,
    APPEND_GONE, /* soft-deleted */
    APPEND_CLOSED,
    APPEND_TYPE_MISMATCH,
    APPEND_SEQ_CONFLICT,
    APPEND_STALE_EPOCH,
    APPEND_EPOCH_NOT_ZERO,
    APPEND_GAP,
    APPEND_TOO_MANY_PRODUCERS,
    APPEND_STREAM_FULL, /* the stream's own limit */
    APPEND_STORE_FULL,  /* that of all streams together */
} AppendVerdict;

/* What an append overwrote in the state, but for the view. */
typedef struct StreamUndo {
    ProducerUndo producer;
    bool has_producer;
    bool has_seq;
    bool has_closer;
    StreamNote seq;
    StreamNote closer_id;
    uint64_t closer_epoch;
    uint64_t closer_seq;
} StreamUndo;

/* Lock held.  bytes_max limits the stream.  Never says APPEND_STORE_FULL.  *out for those verdicts
 * that a producer caused, and for APPEND_OK with a producer. */
AppendVerdict stream_judge_append(const Stream *stream, const AppendRequest *request,
                                  uint64_t bytes_max, int64_t boot_ms, ProducerState *out);
/* Lock held, after APPEND_OK: moves the state's tail and remembers.  undo: NULL when nothing can
 * fail any more; else it takes stream_undo or stream_undo_done. */
void stream_apply_append(Stream *stream, const AppendRequest *request, size_t producers_max,
                         int64_t boot_ms, int64_t wall_ms, StreamUndo *undo);
/* Lock held: what was applied is seen by all from now on.  First comes the payload of all that was
 * applied; waking who waits is left to the caller. */
void stream_publish(Stream *stream);
/* Lock held: the state is as it was before that append, the view's part as it was published; so
 * all that was applied since is undone, the last first.  undo may be NULL: of another operation. */
void stream_undo(Stream *stream, StreamUndo *undo);
/* It will not be undone. */
void stream_undo_done(StreamUndo *undo);

/* Lock held.  The same content type, expiry and openness (protocol 5.1: then PUT again is fine). */
bool stream_matches(const Stream *stream, const StreamConfig *config, bool closed);

/* What a fork inherits has the offsets of its parent, up to fork_at itself. */
Offset stream_offset(const Stream *stream, uint64_t position);
/* The offset is one of this life of the stream; not that the position is still, or already, there.
 * All zeros is not. */
bool stream_has_offset(const Stream *stream, Offset offset);
