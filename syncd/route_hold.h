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

/* The first messages of a route, while its table never took a row: so many that are all refused in
 * the same words are no fault of theirs. */
#define ROUTE_ALIKE_MAX 64

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
    bool begun;      /* its table is known to take rows, or somebody wants its letters */
    size_t alike;    /* letters before that, all for the same reason */
    Error reason;    /* theirs, once there are any */
    bool table_seen; /* the catalogue was asked about the columns that are not filled */
    size_t streams;  /* lanes of it */
    size_t blocked;  /* those that may have no more letters */
} RouteHold;

/* Later ones change nothing. */
void route_hold(RouteHold *hold, RouteHoldKind kind, const Error *why);
/* Begins anew; lanes that are left of before are still counted, and what is known of its table
 * stays. */
void route_hold_release(RouteHold *hold);

/* Before a transaction writes its letters, beside so many rows; route_hold_settled, with what is
 * pending of it, when it is over.  False, then nothing is counted: they are too many. */
DS_MUST_CHECK bool route_hold_admit(RouteHold *hold, size_t letters, size_t rows,
                                    size_t *out_pending);
void route_hold_settled(RouteHold *hold, size_t pending);
/* They were committed; a row shows that its table takes rows. */
void route_hold_count(RouteHold *hold, size_t letters, size_t rows);
/* Whether so many letters for that reason, with no row beside them, are one table's refusal of
 * everything.  NULL: they are for several reasons, or for one that lies in the messages. */
bool route_hold_refuses_all(const RouteHold *hold, const Error *reason, size_t letters);
/* They were committed, for that reason (or NULL, as above). */
void route_hold_note(RouteHold *hold, const Error *reason, size_t letters);
/* For people: that all were refused. */
void route_hold_explain_all(const Error *refused, Error *out);
/* For people: that they were too many. */
void route_hold_explain(const Error *refused, Error *out);
