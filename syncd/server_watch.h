/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/server_watch.h -- asks one server which streams it has, and hears of new ones.
 *
 * With an admin listener: the listing, page by page, then its changes by long-poll; 410 means that
 * too much was missed, so it lists again.  Without one: a pull-wake subscription for each pattern,
 * whose view names the streams that match; it is looked at every few seconds and never claimed, so
 * it needs no token and wakes nobody.  The wake stream itself is never told.  Does nothing while
 * there is nothing to look for.
 */
#pragma once

#include "common/buf.h"
#include "syncd/listing.h"
#include "syncd/servers.h"

#define WATCH_WAKE_STREAM                                                                          \
    "ds-sync/wake" /* made where subscriptions are used; holds next to nothing */

typedef struct ServerWatch ServerWatch;

typedef struct ServerWatchConfig {
    const Server *server;
    int64_t idle_ms_max; /* a long-poll without a byte for this long is dead */
    int64_t backoff_base_ms;
    int64_t backoff_max_ms;
} ServerWatchConfig;

/* begin .. tell as LISTING_EXISTS .. end is all that the server has of the patterns; tells may come
 * without an end, when the server breaks off.  Changes are told outside of such a bracket. */
typedef struct ServerWatchCallbacks {
    void (*begin)(void *arg, const Server *server);
    /* created_ms is by our clock (wall); told_ms says nothing. */
    void (*tell)(void *arg, const Server *server, const ListingStream *stream);
    void (*end)(void *arg, const Server *server);
    void (*on_refused)(void *arg); /* credentials: read them again */
} ServerWatchCallbacks;

ServerWatch *server_watch_new(Loop *loop, const ServerWatchConfig *config,
                              const ServerWatchCallbacks *callbacks, void *arg);
void server_watch_free(ServerWatch *watch); /* accepts NULL */

/* What to look for from now on; the same as before changes nothing.  With an admin listener names
 * may stand among the patterns; without one they must not. */
void server_watch_set(ServerWatch *watch, const char *const *patterns, size_t count);
/* All is listed anew, unless that is going on, or the next look brings it anyway. */
void server_watch_again(ServerWatch *watch);
/* To be called now and then: where its token was refused and is another one by now, it asks soon.
 */
void server_watch_sweep(ServerWatch *watch);

typedef struct ServerWatchView {
    const char *how;    /* "listing", "subscription", or "names": there is nothing to look for */
    int64_t looked_ms;  /* the last good answer, wall; 0: none yet */
    const char *reason; /* "" or why the server cannot be asked; borrowed until the loop turns */
} ServerWatchView;

ServerWatchView server_watch_view(const ServerWatch *watch);
