/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs.h -- subscriptions: the one place where their state, streams, webhooks and storage
 * meet (protocol 6, 7).
 *
 * All state belongs to the thread of the first network loop, home.  Requests that came in on other
 * loops are posted there and their answers back.  What a request changed is stored, off the network
 * threads, before it is answered, and a wake before it is sent.
 *
 * Files: subs_model and subs_wake (the state machine), subs_request and subs_view (documents),
 * subs_http (requests), subs_call (what they do), subs_watch (streams), subs_delivery (webhooks),
 * subs_event (wake streams), subs_store (the database), subs_sign and jwt (keys and tokens).
 */
#pragma once

#include "common/metrics.h"
#include "server/name.h"
#include "server/server_config.h"
#include "server/store.h"

#define SUBS_CALLS_MAX 1024 /* requests that wait for an answer, all loops together */

typedef struct Subs Subs;

/* Reads what is stored.  config, store and metrics outlive it.  ERR_CONFIG: keys for claims that
 * cannot be read, a database that cannot be opened. */
DS_MUST_CHECK bool subs_new(const ServerConfig *config, Store *store, Metrics *metrics, Subs **out,
                            Error *err);
/* Both accept NULL.  After every network loop has ended: close stores what is left, while the data
 * folder is still ours; the store may finish wake events until free. */
void subs_close(Subs *subs);
void subs_free(Subs *subs);

/* On the first loop's thread. */
void subs_loop_start(Subs *subs, NetLoop *net);
void subs_loop_drain(Subs *subs); /* no new wakes; requests are still answered */
void subs_loop_stop(Subs *subs);
