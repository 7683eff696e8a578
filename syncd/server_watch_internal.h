/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/server_watch_internal.h -- what server_watch.c (what answers lead to) and
 * server_watch_ask.c (the requests) share.
 */
#pragma once

#include "common/backoff.h"
#include "syncd/listing_roots.h"
#include "syncd/server_watch.h"
#include "syncd/view_memory.h"

typedef enum WatchState {
    WATCH_IDLE,      /* nothing to look for */
    WATCH_LIST,      /* a page of the listing is asked for */
    WATCH_FOLLOW,    /* waits for changes */
    WATCH_WAKE,      /* makes the wake stream that subscriptions must have */
    WATCH_SUBSCRIBE, /* makes the subscription of a pattern */
    WATCH_VIEW,      /* looks at it */
    WATCH_PAUSE,     /* until the timer says to go on with `next` */
    WATCH_STATE_COUNT
} WatchState;

struct ServerWatch {
    Loop *loop;
    ServerWatchConfig config;
    const ServerWatchCallbacks *callbacks;
    void *arg;
    WatchState state;
    WatchState next;
    HttpTransfer *transfer;
    LoopTimer *timer;
    Backoff backoff;
    char **patterns;
    ViewMemory *memories; /* of their subscriptions, one for each */
    size_t pattern_count;
    ListingRoot *roots; /* by prefix */
    size_t root_count;
    size_t root_at; /* the one that is being listed */
    size_t at;      /* the pattern whose subscription is asked for */
    Buf body;
    int status;
    int64_t asked_ms;
    int64_t asked_wall_ms;
    Listing listing;
    Buf token;     /* of the listing's first page, or of the last changes */
    bool followed; /* changes came since the listing */
    size_t seen;   /* streams of this round */
    int64_t looked_ms;
    Error trouble;
    bool said;              /* the trouble is in the log already */
    bool refused;           /* WATCH_PAUSE: since our credentials were */
    unsigned token_version; /* that it last asked with */
};

/* server_watch.c */
void watch_answered(ServerWatch *watch); /* watch->status, watch->body */
/* Tries again later, after so long at least. */
void watch_failed(ServerWatch *watch, const Error *err, int64_t floor_ms);
void watch_refused(ServerWatch *watch); /* our credentials; likewise, soon if there are others */

/* server_watch_ask.c */
void watch_ask(ServerWatch *watch); /* what its state is about */
