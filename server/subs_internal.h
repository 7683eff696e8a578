/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_internal.h -- what the files of subscriptions share.  All on home's thread, unless it
 * is said otherwise.
 */
#pragma once

#include "common/http_client.h"
#include "server/jwt.h"
#include "server/subs.h"
#include "server/subs_model.h"
#include "server/subs_request.h"
#include "server/subs_sign.h"
#include "server/subs_store.h"

#define SUBS_DELIVERIES_MAX   64                  /* webhooks under way at once */
#define SUBS_CONNECT_MS_MAX   5000                /* name look-up and TLS included */
#define SUBS_ANSWER_MS_MAX    30000               /* for a webhook to answer; or its lease */
#define SUBS_ANSWER_BYTES_MAX ((size_t)64 * 1024) /* of a webhook's answer */
#define SUBS_ISSUE_MAX        64                  /* wakes begun in one turn */
#define SUBS_LIST_PAGE        512                 /* streams looked at in one turn */
#define SUBS_STORE_RETRY_MS   1000

/* Something to be done once what was changed before it is stored. */
typedef struct SubsAfter {
    STAILQ_ENTRY(SubsAfter) entry;
    uint64_t batch;
    /* stored: false when home has ended or the storage takes nothing now. */
    void (*run)(struct SubsAfter *after, bool stored);
} SubsAfter;

typedef struct SubsMetrics {
    Metric *subscriptions;
    Metric *links;
    Metric *wakes;
    Metric *delivered;
    Metric *failed;
    Metric *refused;
    Metric *events;
    Metric *events_failed;
    Metric *claims;
    Metric *fenced;
    Metric *unlinked; /* streams beyond the limit */
    Metric *commits;
} SubsMetrics;

typedef struct SubsDelivery SubsDelivery;
typedef struct SubsWatch SubsWatch;
typedef struct SubsBackfill SubsBackfill;

struct Subs {
    const ServerConfig *config;
    Store *store;
    Str base_path;
    NameLimits names;
    SubsMetrics metrics;
    SubsModel *model;
    SubsKeys *keys;
    JwtKeys *service_keys; /* immutable; NULL: none */
    atomic_uint calls;

    _Atomic(NetLoop *) home;
    pthread_mutex_t mutex; /* guards stopped, for other threads that want to post home */
    bool stopped;
    bool draining;
    Loop *loop;
    HttpClient *client; /* NULL: no webhook was sent yet */
    LoopTimer *timer;
    bool in_turn;
    bool turn_due;
    bool turn_deferred;

    /* streams */
    Waiter journal_waiter;
    Offset journal_token;
    LIST_HEAD(, SubsWatch) watches;
    STAILQ_HEAD(, SubsBackfill) backfills;
    bool backfill_posted;

    LIST_HEAD(, SubsDelivery) deliveries;
    size_t delivery_count;

    /* storage */
    SubsStore *storage; /* NULL: everything is in memory only */
    SubsChanges committing;
    bool keys_changed;
    bool commit_running;
    bool commit_keys;
    SubsKeyDump keys_dump;
    bool commit_ok;
    bool stuck; /* the storage takes nothing; the last batch is tried again */
    Error commit_err;
    uint64_t batches_begun;
    uint64_t batches_done;
    STAILQ_HEAD(, SubsAfter) after;
};

/* ---- subs.c ---- */

/* Ends each entry from outside: begins wakes, stores, runs what waited, sets the timer.  May free
 * what waited. */
void subs_turn(Subs *subs);
void subs_turn_later(Subs *subs); /* at the end of the loop's turn, once for many */
/* Runs it, from subs_turn, when all that is changed now is stored. */
void subs_after(Subs *subs, SubsAfter *after, void (*run)(SubsAfter *after, bool stored));
/* From any thread.  False: home has ended, and nothing is posted. */
DS_MUST_CHECK bool subs_post_home(Subs *subs, LoopFn fn, void *arg);
int64_t subs_now_ms(void);
void subs_make_wake_id(char out[SUBS_WAKE_ID_SIZE]);
/* The same subscription, not a later one of that id; or NULL. */
Subscription *subs_find(Subs *subs, const SubsDefinition *definition);

/* ---- subs_watch.c ---- */

void subs_watch_start(Subs *subs); /* finds every linked stream, follows the journal */
/* From now on new streams are seen; creating streams costs nothing as long as nobody subscribes. */
void subs_watch_follow(Subs *subs);
void subs_watch_stop(Subs *subs);
/* Links it, at the tail, and follows it; exists or not. */
SubsVerdict subs_watch_link(Subs *subs, Subscription *subscription, Str path, bool is_explicit);
/* After links were taken away: who has none is not followed any more. */
void subs_watch_sweep(Subs *subs, Str path);
/* Ends the subscription. */
void subs_watch_delete(Subs *subs, Subscription *subscription);
/* Looks how far its streams are right now. */
void subs_watch_refresh(Subscription *subscription);

typedef enum SubsBackfillEnd {
    SUBS_BACKFILL_DONE,
    SUBS_BACKFILL_FULL, /* more streams match than may be linked */
    SUBS_BACKFILL_GONE, /* the subscription was deleted meanwhile */
} SubsBackfillEnd;

/* Links all streams that match the pattern, in pages; done (may be NULL) is called later, or when
 * home ends, with GONE. */
void subs_watch_backfill(Subs *subs, Subscription *subscription, bool from_origin,
                         void (*done)(void *arg, SubsBackfillEnd end), void *arg);

/* ---- subs_call.c ---- */

typedef enum SubsCallKind {
    SUBS_CALL_CREATE,
    SUBS_CALL_READ,
    SUBS_CALL_DELETE,
    SUBS_CALL_LINK,
    SUBS_CALL_UNLINK,
    SUBS_CALL_CALLBACK,
    SUBS_CALL_CLAIM,
    SUBS_CALL_ACK,
    SUBS_CALL_RELEASE,
    SUBS_CALL_JWKS,
    SUBS_CALL_ROTATE,
    SUBS_CALL_COUNT
} SubsCallKind;

/* A request on its way: made on the network loop it came in on, run on home, answered there. */
typedef struct SubsCall {
    SubsAfter after; /* first member */
    Subs *subs;
    SubsCallKind kind;
    NetLoop *net;
    HttpExchange *exchange; /* net's thread only; NULL: the client left */
    SubsRequest request;
    char *id;
    char *path;   /* unlink */
    char *bearer; /* NULL: none */
    char *origin;
    SubsDefinition *definition; /* of the subscription it is about, with a reference */

    /* the answer */
    int status;
    bool changes;
    const char *code; /* of an error */
    Buf reply;
} SubsCall;

/* LoopFn for subs_post_home; ends in subs_call_answer. */
void subs_call_run(void *call);
/* Any thread: takes the call home to its exchange (subs_http.c). */
void subs_call_answer(SubsCall *call);

/* ---- subs_delivery.c, subs_event.c: the wake that was just issued ---- */

void subs_deliver(Subs *subs, Subscription *subscription);
void subs_delivery_stop(Subs *subs);
void subs_write_event(Subs *subs, Subscription *subscription);
