/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/stream.h -- one stream: what it is, its state, and the rules of appending to it.
 *
 * The same for every storage mode; a store embeds Stream in what it keeps per stream and adds where
 * the bytes are.  The rules only judge; the store commits.
 *
 * Threads: the fixed part is written before the stream is seen by others; atomics by anybody; the
 * rest under `lock`.  References are counted: the registry has one, and whoever found the stream.
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

/* Guarded by the stream's lock. */
typedef struct StreamState {
    uint64_t start; /* positions: the retained start and the tail */
    uint64_t tail;
    uint64_t messages;   /* retained; of a byte stream the appends, those cut by a trim included */
    uint64_t bytes;      /* retained payload as stored */
    uint64_t bytes_ever; /* as bytes, never less after a trim */
    int64_t updated_ms;  /* wall clock */
    char *seq;           /* last Stream-Seq; NULL before the first */
    size_t seq_len;
    Producers *producers; /* NULL until one writes */
    char *closer_id;      /* the producer request that closed the stream; NULL: none did */
    size_t closer_id_len;
    uint64_t closer_epoch;
    uint64_t closer_seq;
} StreamState;

typedef struct Stream {
    /* fixed */
    Str name; /* these two are one allocation of the stream's */
    Str content_type;
    StreamKind kind;
    int64_t ttl_s;
    int64_t expires_at_ms;
    int64_t created_ms;
    uint64_t era;
    uint64_t serial;                        /* of this object; never used twice in a process */
    void (*free_fn)(struct Stream *stream); /* the store's, for the last reference */

    atomic_uint refs;
    _Atomic int64_t touched_ms; /* clock_boot_ms of the last access that renews the TTL */
    atomic_bool closed;         /* written under lock; may be looked at without */
    atomic_bool deleted;

    pthread_mutex_t lock;
    StreamState state;
    WakeSource wake;

    /* the registry's, under its lock */
    uint64_t hash;
    struct Stream *hash_next;
    RB_ENTRY(Stream) by_name;
    TAILQ_ENTRY(Stream) by_expiry;
} Stream;

StreamKind stream_kind(Str content_type);
/* Media types are compared without parameters and case (protocol 5.1). */
bool stream_same_media_type(Str a, Str b);

/* With one reference, the caller's; era stays 0 until the registry takes the stream in. */
void stream_init(Stream *stream, Str name, const StreamConfig *config, void (*free_fn)(Stream *));
void stream_done(Stream *stream); /* for free_fn */
void stream_take(Stream *stream);
void stream_drop(Stream *stream); /* accepts NULL */

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

/* Lock held.  bytes_max limits the stream.  Never says APPEND_STORE_FULL.  *out for those verdicts
 * that a producer caused, and for APPEND_OK with a producer. */
AppendVerdict stream_judge_append(const Stream *stream, const AppendRequest *request,
                                  uint64_t bytes_max, int64_t boot_ms, ProducerState *out);
/* Lock held, after APPEND_OK and once the bytes are in: moves the tail and remembers. */
void stream_commit_append(Stream *stream, const AppendRequest *request, size_t producers_max,
                          int64_t boot_ms, int64_t wall_ms);

/* The same content type, expiry and openness (protocol 5.1: then PUT again is fine). */
bool stream_matches(const Stream *stream, const StreamConfig *config, bool closed);

static inline Offset
stream_offset(const Stream *stream, uint64_t position)
{
    return (Offset){.era = stream->era, .position = position};
}
