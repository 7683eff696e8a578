/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_model.h -- what subscriptions are and how they change (protocol 6, 7).
 *
 * A pure state machine: no I/O, no clock and no randomness of its own; who drives it tells it the
 * time (wall clock, milliseconds), what streams do and what workers ask, and looks what is to be
 * done: subscriptions that are ready to be woken, when to come back, and the changes to store.
 *
 *   idle     nothing is pending, or nobody looked yet
 *   ready    there is work, and the next wake can be issued
 *   waking   a wake was issued: its webhook is under way, or its event waits to be claimed
 *   leased   a worker has it, until its lease ends
 *   backoff  a delivery failed, or wakes end without an ack: the next one waits
 *
 * Each wake raises the generation and has an id of its own; whoever acts for another wake is
 * fenced. Positions are those of a stream's offsets.  A link whose stream does not exist has no
 * position: it begins at the start of the stream that will be made.
 *
 * One thread.  Objects belong to the model; pointers are good until the next call that can delete
 * them: subs_model_delete, subs_model_unlink, subs_model_stream_gone.
 */
#pragma once

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <stdatomic.h>

#include "common/error.h"
#include "common/offset.h"
#include "common/str.h"

#define SUBS_ID_BYTES_MAX     256
#define SUBS_HOLDER_BYTES_MAX 256
#define SUBS_WAKE_ID_SIZE     40
#define SUBS_HASH_SIZE        65
#define SUBS_LEASE_MS_MIN     1000
#define SUBS_LEASE_MS_MAX     600000
#define SUBS_LEASE_MS_DEFAULT 30000
#define SUBS_RETRY_MS_MIN     1000
#define SUBS_RETRY_MS_MAX     60000
#define SUBS_RETRY_JITTER     20      /* percent, both ways */
#define SUBS_LINKS_MAX        1000000 /* of all subscriptions together */
#define SUBS_WAKE_STREAMS_MAX 1000    /* told to a worker at once; the rest with the next wake */
#define SUBS_NEVER            INT64_MAX

typedef enum SubsType { SUBS_WEBHOOK, SUBS_PULL_WAKE } SubsType;

typedef enum SubsPhase {
    SUBS_IDLE,
    SUBS_READY,
    SUBS_WAKING,
    SUBS_LEASED,
    SUBS_BACKOFF,
    SUBS_PHASE_COUNT
} SubsPhase;

/* What never changes about a subscription; shared with who stores it, so counted. */
typedef struct SubsDefinition {
    atomic_uint refs;
    uint64_t serial; /* no other subscription that exists has it, nor any made later in this run */
    char *id;
    SubsType type;
    char *pattern;     /* NULL: none */
    char *url;         /* webhook */
    char *wake_stream; /* pull-wake */
    char *description; /* NULL: none */
    char *origin;      /* "https://host": what URLs in webhooks begin with */
    char hash[SUBS_HASH_SIZE];
    int64_t lease_ms;
    int64_t created_ms;
} SubsDefinition;

SubsDefinition *subs_definition_new(void); /* zeroed, with one reference */
SubsDefinition *subs_definition_take(SubsDefinition *definition);
void subs_definition_drop(SubsDefinition *definition); /* accepts NULL */

/* What does change, beside the links. */
typedef struct SubsState {
    SubsPhase phase;
    uint64_t generation;
    char wake_id[SUBS_WAKE_ID_SIZE]; /* "": no wake is valid */
    char holder[SUBS_HOLDER_BYTES_MAX + 1];
    int64_t lease_until_ms;  /* waking (webhook) and leased */
    int64_t next_attempt_ms; /* backoff */
    uint64_t attempts;       /* wakes in a row that moved no cursor */
    bool progressed;         /* this wake did */
    bool failed;             /* the last delivery did, and it is to be tried again */
} SubsState;

/* A stream as the store has it.  Streams are made anew under the same path: id tells. */
typedef struct SubsTail {
    uint64_t id;
    uint64_t era;
    uint64_t origin; /* where its own content begins: 0, or where it was forked */
    uint64_t tail;
} SubsTail;

typedef struct Subscription Subscription;
typedef struct SubsModel SubsModel;

typedef struct SubsStream {
    Str path; /* an allocation of its own */
    bool exists;
    SubsTail at;
    LIST_HEAD(, SubsLink) links;
    RB_ENTRY(SubsStream) by_path;
    void *watch; /* the driver's; NULL when the stream is forgotten */
} SubsStream;

/* A cursor, as it is stored. */
typedef struct SubsCursor {
    bool is_explicit;
    bool is_glob;
    bool placed;
    uint64_t id;
    uint64_t era;
    uint64_t position; /* acked */
} SubsCursor;

typedef struct SubsLink {
    Subscription *subscription;
    SubsStream *stream;
    SubsCursor cursor;
    bool pending;
    bool in_snapshot;
    uint64_t snapshot_era;
    uint64_t snapshot; /* the tail when the wake was issued */
    RB_ENTRY(SubsLink) by_path;
    LIST_ENTRY(SubsLink) by_stream;
} SubsLink;

typedef RB_HEAD(SubsLinks, SubsLink) SubsLinks;

struct Subscription {
    SubsDefinition *definition;
    SubsState state;
    SubsLinks links;
    size_t link_count;
    size_t pending;
    /* the driver's */
    bool link_limit_said;
    bool was_failing;
    RB_ENTRY(Subscription) by_id;
    RB_ENTRY(Subscription) by_due;
    TAILQ_ENTRY(Subscription) in_ready;
    int64_t due_ms; /* SUBS_NEVER: not in the tree */
};

typedef struct SubsLimits {
    size_t subscriptions;
    size_t streams_per_subscription;
} SubsLimits;

/* ---- changes to store ---- */

typedef enum SubsChangeKind {
    SUBS_CHANGE_CREATE, /* definition and state */
    SUBS_CHANGE_STATE,
    SUBS_CHANGE_DELETE, /* with its links */
    SUBS_CHANGE_LINK,
    SUBS_CHANGE_UNLINK,
} SubsChangeKind;

typedef struct SubsChange {
    SubsChangeKind kind;
    SubsDefinition *definition; /* a reference */
    SubsState state;
    char *path; /* link, unlink */
    SubsCursor cursor;
} SubsChange;

typedef struct SubsChanges {
    SubsChange *items;
    size_t count;
    size_t room;
} SubsChanges;

/* Those since the last call, in order; the caller ends them with subs_changes_done. */
void subs_model_changes(SubsModel *model, SubsChanges *out);
void subs_changes_done(SubsChanges *changes);
size_t subs_model_unsaved(const SubsModel *model); /* how many there would be */

/* ---- the model ---- */

/* random: 0 .. bound - 1. */
SubsModel *subs_model_new(const SubsLimits *limits, uint32_t (*random)(uint32_t bound));
void subs_model_free(SubsModel *model); /* accepts NULL; streams' watches must be gone */

size_t subs_model_count(const SubsModel *model);
size_t subs_model_links(const SubsModel *model);
Subscription *subs_model_find(SubsModel *model, Str id);         /* or NULL */
Subscription *subs_model_next(SubsModel *model, Str after);      /* by id; "" for the first */
Subscription *subs_model_following(Subscription *subscription);  /* the next by id, or NULL */
SubsStream *subs_model_stream(SubsModel *model, Str path);       /* or NULL */
SubsStream *subs_model_next_stream(SubsModel *model, Str after); /* by path */
SubsLink *subs_link_find(Subscription *subscription, Str path);  /* or NULL */
SubsLink *subs_link_next(Subscription *subscription, const SubsLink *after); /* NULL: the first */

typedef enum SubsVerdict {
    SUBS_OK,
    SUBS_TOO_MANY,
    SUBS_FENCED,
    SUBS_HELD,
    SUBS_NO_WORK,
    SUBS_BAD_OFFSET, /* err says which */
} SubsVerdict;

/* Takes the reference when it is OK, and sets the serial.  The id must be free. */
SubsVerdict subs_model_create(SubsModel *model, SubsDefinition *definition, Subscription **out);
/* Streams that have no other links are forgotten, unless they have a watch. */
void subs_model_delete(SubsModel *model, Subscription *subscription);

/* As they were stored; follow with subs_model_link_restore, subs_model_stream_is for every stream,
 * and subs_model_start. */
Subscription *subs_model_restore(SubsModel *model, SubsDefinition *definition,
                                 const SubsState *state);
void subs_model_link_restore(SubsModel *model, Subscription *subscription, Str path,
                             const SubsCursor *cursor);
void subs_model_start(SubsModel *model, int64_t now_ms);

/* at: the stream, NULL when there is none.  A new link begins at its tail, or with from_origin
 * where its content does.  *out is the link, there before or not; may be NULL. */
SubsVerdict subs_model_link(SubsModel *model, Subscription *subscription, Str path,
                            bool is_explicit, const SubsTail *at, bool from_origin, int64_t now_ms,
                            SubsLink **out);
/* Takes away the one or the other; a link without any goes. */
void subs_model_unlink(SubsModel *model, Subscription *subscription, Str path, bool is_explicit,
                       int64_t now_ms);

/* The stream is there, and is at. */
void subs_model_stream_is(SubsModel *model, SubsStream *stream, const SubsTail *at, int64_t now_ms);
/* It is not there any more: glob links end, explicit ones wait for the next of that path.  The
 * stream may be gone afterwards; its watch must be gone before. */
void subs_model_stream_gone(SubsModel *model, SubsStream *stream, int64_t now_ms);

/* Forgets a stream that has neither links nor a watch: after subs_model_unlink. */
void subs_model_stream_sweep(SubsModel *model, SubsStream *stream);

/* ---- wakes ---- */

/* When subs_model_tick has something to do; SUBS_NEVER. */
int64_t subs_model_due(const SubsModel *model);
void subs_model_tick(SubsModel *model, int64_t now_ms);

/* The first that is ready, of those the driver can serve now; NULL. */
Subscription *subs_model_ready(SubsModel *model, bool webhooks);
/* Of a ready one: the next generation begins, with the tails of now as its snapshot: those of the
 * first SUBS_WAKE_STREAMS_MAX pending streams. */
void subs_model_issue(SubsModel *model, Subscription *subscription, const char *wake_id,
                      int64_t now_ms);

typedef enum SubsOutcome {
    SUBS_DELIVERED, /* the worker goes on by itself */
    SUBS_DONE,      /* and has done all of the snapshot */
    SUBS_FAILED,    /* it was not, or the event could not be written */
} SubsOutcome;

/* How the wake of that generation went; an old one's outcome changes nothing.  retry_ms is the
 * least time to the next attempt, from Retry-After. */
void subs_model_outcome(SubsModel *model, Subscription *subscription, uint64_t generation,
                        SubsOutcome outcome, int64_t retry_ms, int64_t now_ms);

/* Pull-wake.  OK: leased; a wake that nobody has claimed is taken over, else one with this id is
 * begun. */
SubsVerdict subs_model_claim(SubsModel *model, Subscription *subscription, Str worker,
                             const char *wake_id, int64_t now_ms);

typedef struct SubsAck {
    Str path;
    Str offset;
} SubsAck;

/* Callback and ack.  All acks or none; without done the lease is extended.  *out_next: there is
 * work left, so another wake comes. */
SubsVerdict subs_model_ack(SubsModel *model, Subscription *subscription, uint64_t generation,
                           Str wake_id, const SubsAck *acks, size_t count, bool done,
                           int64_t now_ms, bool *out_next, Error *err);
SubsVerdict subs_model_release(SubsModel *model, Subscription *subscription, uint64_t generation,
                               Str wake_id, int64_t now_ms);

bool subs_phase_may_follow(SubsPhase from, SubsPhase to);

/* The wait before attempt number `attempts` + 1; failed: else the first one comes at once. */
int64_t subs_retry_ms(uint64_t attempts, bool failed, uint32_t (*random)(uint32_t bound));
