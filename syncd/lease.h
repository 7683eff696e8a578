/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/lease.h -- this instance among the others: which work partitions are its own.
 *
 * Joins (a row of ds_sync.instance), takes its fair share of ds_sync.work_partition, renews at a
 * third of the lease, looks every second who lives and what is free, and gives back what others
 * should have.  Whoever looks also ends sessions of writers that froze with positions locked.  The
 * leases only keep instances out of each other's way: what shuts out a writer that is late is the
 * epoch, which rises with every change of owner.  Whoever cannot renew is told that all is lost
 * before the lease ends.  Callbacks come from the loop, and from inside lease_doubt and
 * lease_leave.
 */
#pragma once

#include "syncd/control_link.h"

#define LEASE_HASH     "fnv1a-64"
#define LEASE_LOOK_MS  1000 /* between two looks; less when the lease is short */
#define LEASE_LEAVE_MS 2000 /* what leaving at once may take at most */

typedef struct Lease Lease;

typedef struct LeaseCallbacks {
    void (*on_joined)(void *arg, unsigned partition_count); /* once, before the others */
    void (*on_gained)(void *arg, unsigned partition, int64_t epoch);
    void (*on_yield)(void *arg, unsigned partition); /* end what works on it; lease_yielded then */
    void (*on_lost)(void *arg, unsigned partition);  /* write nothing more of it */
    /* Once: the instances of this database are set up otherwise; only a restart can help. */
    void (*on_refused)(void *arg, const Error *err);
    void (*on_left)(void *arg); /* once, after lease_leave */
} LeaseCallbacks;

typedef struct LeaseConfig {
    const char *instance;    /* borrowed, as the next */
    const char *servers;     /* array literal: the names of those that it has */
    const char *server_urls; /* likewise, their origins */
    int64_t lease_ms;
    int64_t statement_ms; /* a writer's: who takes longer, and Postgres waits for him, is ended */
} LeaseConfig;

Lease *lease_new(Loop *loop, ControlLink *link, const LeaseConfig *config,
                 const LeaseCallbacks *callbacks, void *arg);
void lease_free(Lease *lease); /* accepts NULL; before the link; releases nothing */
void lease_start(Lease *lease);

void lease_yielded(Lease *lease, unsigned partition);
/* A stream of the partition is held by a later epoch than ours: on_lost comes, and it is taken
 * again with a new epoch if nobody else has it. */
void lease_doubt(Lease *lease, unsigned partition);
/* on_yield for all that is held; at the end, or when `now`, everything is released and on_left
 * comes.  What fails of that is tried again until it is called with `now`, and LEASE_LEAVE_MS
 * longer; what is not released then ends by itself.  May be called again, with now. */
void lease_leave(Lease *lease, bool now);

bool lease_is_settled(const Lease *lease); /* has joined, and taken what there was */
unsigned lease_held(const Lease *lease);
unsigned lease_living(const Lease *lease); /* instances, at the last look */
