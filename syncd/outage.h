/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/outage.h -- what of a stream server's failures is told, and what would only repeat it.
 *
 * All streams of a server fail at once when it does, and each is tried again and again: a line for
 * every try would bury all others.  Trouble with a server begins with the first read that fails,
 * which is told with its stream; a reason that is new to it is told, too, and where the server
 * answers others, each stream that fails.  Everything else is counted, and told in one line at
 * intervals that double from OUTAGE_TOLD_MS_MIN to OUTAGE_TOLD_MS_MAX.  Once no stream fails any
 * more that is told; the trouble is remembered for some time beyond that, so that one that comes
 * and goes does not begin anew each time.  Bounded: OUTAGE_LINES_MAX streams between two of those
 * lines, OUTAGE_KNOWN_MAX reasons that are remembered.
 *
 * Times are milliseconds of the monotonic clock.  Pure: who asks what is new logs it.
 */
#pragma once

#include <sys/queue.h>

#include "common/error.h"
#include "common/log.h"

#define OUTAGE_TOLD_MS_MIN 5000
#define OUTAGE_TOLD_MS_MAX 600000
#define OUTAGE_CALM_MS     1000 /* no stream fails for that long: then it is over */
#define OUTAGE_LINES_MAX   10
#define OUTAGE_KNOWN_MAX   32

/* A stream; zeroed but for its name, which is borrowed. */
typedef struct OutageUser {
    TAILQ_ENTRY(OutageUser) link; /* while it fails */
    Str name;
    bool fails;
    unsigned counted; /* in that outage */
} OutageUser;

typedef enum OutageNews {
    OUTAGE_NOTHING,
    OUTAGE_GOES_ON,
    OUTAGE_OVER,
} OutageNews;

typedef struct OutageView {
    size_t failing;    /* streams, now */
    size_t streams;    /* that failed since it began */
    uint64_t failures; /* reads that failed since somebody was told last */
    int64_t lasted_ms; /* until now, or until no stream failed any more */
    bool answers;      /* some stream was answered since somebody was told last */
    EventId event;     /* of the last failure */
    const char *reason;
    Str longest; /* who fails for longest; "" when nobody does */
} OutageView;

typedef struct Outage Outage;

/* memory_ms: for so long after the last failure it counts as the same trouble. */
Outage *outage_new(int64_t memory_ms);
void outage_free(Outage *outage); /* accepts NULL; after all users left */

/* A read of the stream failed.  True: it has to be told; false: it was, or there is too much. */
DS_MUST_CHECK bool outage_failed(Outage *outage, OutageUser *user, EventId event, const Error *err,
                                 int64_t now_ms);
/* Some stream was answered as is meant, whatever then became of it. */
void outage_answered(Outage *outage);
/* The stream fails no more: it is read, or it is left alone.  Legal for one that did not fail. */
void outage_leave(Outage *outage, OutageUser *user, int64_t now_ms);

/* To be asked every second or so; *out (not with OUTAGE_NOTHING) is borrowed until the next call of
 * any of these. */
DS_MUST_CHECK OutageNews outage_look(Outage *outage, int64_t now_ms, OutageView *out);
