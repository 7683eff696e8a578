/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/lease_internal.h -- what lease.c (what answers lead to) and lease_ask.c (the statements)
 * share.
 */
#pragma once

#include "syncd/lease.h"
#include "syncd/lease_host.h"
#include "syncd/lease_rules.h"

#define LEASE_STARTED_SIZE 40

typedef enum LeaseState {
    LEASE_OFF,
    LEASE_NEIGHBOURS, /* asks who ran on this machine before */
    LEASE_JOIN,
    LEASE_MEMBER,
    LEASE_LEAVE,
    LEASE_LEFT,
    LEASE_STATE_COUNT
} LeaseState;

/* What a member has asked Postgres and not heard of; one at a time. */
typedef enum LeaseAsked {
    ASKED_NOTHING,
    ASKED_NEIGHBOURS,
    ASKED_JOIN,
    ASKED_LOOK,
    ASKED_CLAIM,
    ASKED_RENEW,
    ASKED_RELEASE,
    ASKED_LEAVE,
} LeaseAsked;

struct Lease {
    Loop *loop;
    ControlLink *link;
    LeaseConfig config;
    const LeaseCallbacks *callbacks;
    void *arg;
    LeaseState state;
    LeaseAsked asked;
    int64_t asked_ms;
    LoopTimer *tick;     /* looks, renews, and tries again what failed */
    LoopTimer *next;     /* fires in the next turn: there is something to ask */
    LoopTimer *deadline; /* of all leases */
    LoopTimer *leave;
    LeaseTable table;
    char host[LEASE_HOST_SIZE];
    char started[LEASE_STARTED_SIZE]; /* of our row, as Postgres says it */
    Buf dead;                         /* array literal of dead neighbours */
    bool joined_before;               /* the row of our name is ours only the first time */
    bool name_told;
    bool settled;
    bool renew_due;
    bool look_due;
    bool leaving;
    bool leaving_now;
    int64_t renew_at_ms;
    unsigned living;
    unsigned free_partitions; /* at the last look; 0 after a claim */
};

/* To lease_ask_*, which ask one thing and note what and when; nothing else may be under way. */
void lease_answered(void *arg, const PgReply *reply);

void lease_ask_neighbours(Lease *lease);
void lease_ask_join(Lease *lease);
void lease_ask_renew(Lease *lease);
void lease_ask_release(Lease *lease); /* of all that is yielded */
void lease_ask_claim(Lease *lease, unsigned count);
void lease_ask_look(Lease *lease);
void lease_ask_leave(Lease *lease);
