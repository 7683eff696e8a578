/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/lease_rules.h -- which work partitions an instance holds, and what it should do about it.
 *
 * Each instance alone takes up to its fair share of the partitions that are free, and gives back
 * what it has above that.  The shares of all together are at least all partitions, so nobody gives
 * back what nobody else may take, and whatever holds its share stays where it is.  Times are
 * milliseconds of our own monotonic clock; Postgres's clock decides about leases, ours only makes
 * us stop early.  Pure: syncd/lease.c asks Postgres.
 */
#pragma once

#include "common/base.h"

#define LEASE_PARTITIONS_MAX 4096 /* as work_partitioning checks it */
#define LEASE_MS_MIN         1000
#define LEASE_MS_MAX         300000 /* well below the 10 minutes of lease_look.sql */

typedef enum LeaseSlotState {
    LEASE_SLOT_NONE,      /* not ours, as far as we know */
    LEASE_SLOT_HELD,      /* ours */
    LEASE_SLOT_YIELDING,  /* still ours, and renewed, until what works on it has ended */
    LEASE_SLOT_YIELDED,   /* nothing works on it any more: to be released in Postgres */
    LEASE_SLOT_RELEASING, /* Postgres is asked to */
} LeaseSlotState;

typedef struct LeaseSlot {
    LeaseSlotState state;
    int64_t epoch; /* of our lease */
    bool is_late;  /* its row was locked when the others were renewed */
} LeaseSlot;

typedef struct LeaseTable {
    LeaseSlot *slots;
    unsigned count;
    unsigned in_state[LEASE_SLOT_RELEASING + 1];
    int64_t deadline_ms; /* of all that is held or yielding; means nothing when there is none */
} LeaseTable;

void lease_table_init(LeaseTable *table, unsigned count);
void lease_table_done(LeaseTable *table);
void lease_table_set(LeaseTable *table, unsigned partition, LeaseSlotState state, int64_t epoch);
/* All that are in a state. */
void lease_table_move(LeaseTable *table, LeaseSlotState from, LeaseSlotState to);
unsigned lease_table_working(const LeaseTable *table); /* held or yielding */

/* Rounded up, so that the shares of all cover every partition; living counts ourselves. */
unsigned lease_share(unsigned partitions, unsigned living);
/* How many to take now, of those that are free. */
unsigned lease_claimable(const LeaseTable *table, unsigned living, unsigned free_partitions);
/* How many to give back now. */
unsigned lease_surplus(const LeaseTable *table, unsigned living);

/* A lease that was asked for at asked_ms ends for us at this time: before it does in Postgres,
 * which began to count later, by a tenth for what our clock and the stop itself may take. */
int64_t lease_deadline_ms(int64_t asked_ms, int64_t lease_ms);
int64_t lease_renew_ms(int64_t lease_ms); /* between two renewals */
/* Postgres granted what was asked for at asked_ms: one more slot, which does not prolong the
 * others; or all of them anew. */
void lease_table_claimed(LeaseTable *table, unsigned partition, int64_t epoch, int64_t asked_ms,
                         int64_t lease_ms);
void lease_table_renewed(LeaseTable *table, int64_t asked_ms, int64_t lease_ms);
bool lease_table_is_over(const LeaseTable *table, int64_t now_ms);
