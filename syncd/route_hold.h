/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/route_hold.h -- what all streams of a route on this instance have in common when Postgres
 * refuses them: one count of dead letters, and one word that ends them all.
 *
 * A table that refuses everything must not fill ds_sync.dead_letter from a thousand streams, each
 * within its own limit, and a table that is gone must not fail each of them for itself.  Writers
 * count and hold; nothing of a route that is held is written; the catalogue of routes looks every
 * second, and decides what becomes of it.  Pure.
 */
#pragma once

#include "syncd/poison.h"

/* As POISON_LETTERS_MAX, of all streams of a route. */
#define ROUTE_LETTERS_MAX 5000

typedef enum RouteHoldKind {
    ROUTE_HOLD_NONE,
    ROUTE_HOLD_RETRY, /* the table is not good: tried again by itself */
    ROUTE_HOLD_STOP,  /* hardly anything is taken: until somebody acts */
} RouteHoldKind;

/* Zeroed at first. */
typedef struct RouteHold {
    RouteHoldKind kind;
    Error why;
    PoisonTally tally;
    int64_t pending; /* letters in transactions under way that their own rows do not redeem */
    size_t streams;  /* lanes of it */
    size_t blocked;  /* those that may have no more letters */
} RouteHold;

/* Later ones change nothing. */
void route_hold(RouteHold *hold, RouteHoldKind kind, const Error *why);
/* Begins anew; lanes that are left of before are still counted. */
void route_hold_release(RouteHold *hold);

/* Before a transaction writes its letters, beside so many rows; route_hold_settled, with what is
 * pending of it, when it is over.  False, then nothing is counted: they are too many. */
DS_MUST_CHECK bool route_hold_admit(RouteHold *hold, size_t letters, size_t rows,
                                    size_t *out_pending);
void route_hold_settled(RouteHold *hold, size_t pending);
/* They were committed. */
void route_hold_count(RouteHold *hold, size_t letters, size_t rows);
/* For people: that they were too many. */
void route_hold_explain(const Error *refused, Error *out);
