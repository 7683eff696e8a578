/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/lane.h -- one stream's way into its writer: what is read and not yet committed, and how far
 * Postgres is.
 *
 * The session fills the queue at its end, the writer takes a Part from its front.  A part stays in
 * the queue until Postgres has it; one that failed is simply composed again.  A lane is embedded in
 * its session and belongs to one writer; everything happens on the loop's thread.
 */
#pragma once

#include <bsd/sys/tree.h>

#include "syncd/checkpoint.h"
#include "syncd/route_hold.h"
#include "syncd/unit.h"

typedef STAILQ_HEAD(UnitQueue, Unit) UnitQueue;

/* A row that Postgres refused, by its seq; the item is marked POISON_ROW_FAULT. */
typedef struct RowFault {
    RB_ENTRY(RowFault) link;
    int64_t seq;
    char sqlstate[6];
    char message[512];
} RowFault;

typedef RB_HEAD(RowFaults, RowFault) RowFaults; /* by seq: a large batch may have thousands */

/* Why a lane's work came back. */
typedef enum LaneTrouble {
    LANE_FENCED,  /* another epoch owns the stream */
    LANE_MOVED,   /* own epoch, but Postgres stands elsewhere: load again */
    LANE_REFUSED, /* only somebody who acts can mend it: *err says what */
    LANE_HELD,    /* its route is held: *err says why */
    LANE_DELAYED, /* unknown trouble with this stream alone: try again later, not forever */
    LANE_STALLED, /* its transaction takes too long, however small: try again later */
} LaneTrouble;

typedef struct LaneCallbacks {
    void (*on_loaded)(void *arg); /* the checkpoint is fresh and the queue empty */
    void (*on_committed)(void *arg, size_t rows, size_t letters);
    /* The part in flight, if any, was given back before. */
    void (*on_trouble)(void *arg, LaneTrouble trouble, const Error *err);
    void (*on_down)(void *arg); /* Postgres has been out of reach for SYNCD_POSTGRES_PATIENCE */
    /* Its state is written; or it leaves, and nothing of it is in flight any more. */
    void (*on_released)(void *arg);
} LaneCallbacks;

#define LANE_WANTS_LOAD       DS_BIT(0)
#define LANE_WANTS_GENERATION DS_BIT(1)
#define LANE_WANTS_STATE      DS_BIT(2)

typedef struct Lane {
    TAILQ_ENTRY(Lane) ready_link; /* in the writer's ready list while is_ready */
    TAILQ_ENTRY(Lane) job_link;   /* in its job list while wants != 0 */
    TAILQ_ENTRY(Lane) all_link;
    const LaneCallbacks *callbacks;
    void *arg;
    Str name;       /* of the stream; borrowed from the session */
    char *row_name; /* as the rows have it: with the sink's prefix */
    Sink *sink;
    Str source;          /* name of the server */
    Str owner;           /* this instance */
    Str route;           /* the name of what it is loaded by */
    RouteHold *hold;     /* of its route; NULL: there is none */
    bool is_blocked;     /* and counted as such in it */
    int64_t lease_epoch; /* of its work partition: what it loads with */
    Checkpoint checkpoint;
    bool from_start;    /* it came into being under its route; stored, once it is true */
    bool gone;          /* as it is stored with the state, and as it was loaded */
    bool snapshot_open; /* of its state, as of the last commit */
    bool loaded;        /* the checkpoint is ours: rows may be written */
    bool is_ready;
    bool in_flight; /* a part of it is in the writer's transaction */
    bool leaving;   /* nothing more of it is written */
    int verify_row; /* where the running look at all positions has it, from 1 on; 0: nowhere */
    unsigned wants; /* LANE_WANTS_* */
    bool telling;   /* its state is on its way to Postgres */
    Str state;      /* for LANE_WANTS_STATE: static words */
    Buf reason;
    Buf content_type;
    UnitQueue units;
    size_t units_bytes;
    int64_t units_seq; /* behind the last unit */
    size_t head_items; /* items of the first unit that are committed */
    RowFaults faults;
    PoisonTally tally; /* as of the last commit */
    size_t narrow;     /* at most so many items in its next part, after trouble; 0: any number */
    size_t sieve; /* so many of the next items are tried one by one, since the table refuses some */
    size_t run;   /* of those, up to where marks begin or end; 0: not known, or as many as fit */
    Error *sift;  /* why the table refuses rows of its snapshot, which are tried one by one; or
                     NULL */
    bool alone;   /* after trouble: it shares no transaction until one of it is committed */
    bool stalled; /* the trouble is that it takes too long */
    int64_t stalled_ms; /* how long that took */
    unsigned clashes;   /* rows that were there already, since the last commit */
    unsigned failures;  /* unknown errors since the last commit */
} Lane;

/* Takes a reference to the sink. */
void lane_init(Lane *lane, Str source, Str name, Str owner, Sink *sink,
               const LaneCallbacks *callbacks, void *arg);
void lane_done(Lane *lane);
/* It shares what all streams of its route do; the hold outlives the lane. */
void lane_join(Lane *lane, RouteHold *hold);
/* What was refused may be no letter: its route is held, if that is true of all lanes of it. */
void lane_block(Lane *lane, const Error *refused);
/* The table refuses rows of its snapshot; they are tried one by one until something is committed.
 */
void lane_sift(Lane *lane, const Error *refused);
bool lane_is_held(const Lane *lane);
bool lane_has_to_tell(const Lane *lane); /* its state is not stored yet */
/* What was stored of it; what we know and have not stored yet counts more. */
void lane_remember(Lane *lane, bool from_start, bool gone);

/* Steals the unit, which must be of a kind that the sink takes, and marks what the sink cannot
 * hold. One that has to wait is prepared for COPY meanwhile: its messages have their numbers
 * already. */
void lane_push(Lane *lane, Unit *unit, bool has_to_wait);
void lane_clear(Lane *lane); /* drops the queue; not while in flight */
bool lane_is_empty(const Lane *lane);

#define LANE_SIEVE_MAX  1000 /* items that are tried one by one in a transaction */
#define LANE_NARROW_MAX 4096 /* wider than that is any number */

typedef struct PartLimits {
    size_t rows_max;
    size_t bytes_max;
} PartLimits;

/* A run of items at the front of a lane's queue, and where the stream stands behind it. */
typedef struct Part {
    Lane *lane;
    Position end;
    int64_t steps; /* what seq grows by */
    bool closed;
    size_t items;   /* rows and dead letters */
    size_t letters; /* dead letters among them */
    size_t bytes;
    size_t units_whole; /* units that are done with it */
    size_t items_rest;  /* of the unit behind those, items that are done */
    bool blocked;       /* cut before a message that may not become a dead letter */
    bool snapshot_open; /* behind it */
    size_t rows;        /* items that are rows, or may yet become some */
    size_t sifted;      /* rows of a set that became letters at its end */
    size_t moved;       /* rows of a set that were written at its end */
    int64_t returned;   /* weight of letters that messages of sets had redeemed before their end */
    PoisonTally tally;  /* with its items, and the end of its set */
} Part;

/* False when there is nothing to write; then only blocked may be set, and lane_blocked says why. */
bool part_compose(Lane *lane, const PartLimits *limits, Part *out);
/* Postgres has it: moves the checkpoint and frees what is done. */
void part_committed(const Part *part);
Sink *lane_sink(const Lane *lane); /* of its first unit; the lane is not empty */

/* The item with that seq was refused, or is at fault: notes it, marks the item and counts it. */
void part_mark_fault(Part *part, Unit *unit, size_t item, int64_t seq, const Error *err);
/* Counts the letters of a part anew, after faults were marked.  False: it must be composed again,
 * since it now holds one that may not become a dead letter. */
bool part_recount(Part *part);
/* Of a set that ends, so many more rows were refused, and so many written.  False: hardly one is
 * written, so that it is the table that is at fault. */
bool part_add_sifted(Part *part, size_t letters, size_t rows);
/* Letters of its set's end are not too many, now that all of it is counted. */
bool part_allows_sifted(const Part *part);
/* What it adds to the letters of its route, before its rows redeem any. */
size_t part_weight(const Part *part);
/* Why the item with that seq is a dead letter. */
void lane_letter_cause(const Lane *lane, const Unit *unit, size_t item, int64_t seq, Error *out);
/* Why its first message was refused, and why that blocks the lane. */
void lane_first_cause(const Lane *lane, Error *out);
void lane_blocked(const Lane *lane, Error *out);
const RowFault *lane_find_fault(const Lane *lane, int64_t seq); /* NULL when none */

/* Walks the items of a part. */
typedef struct PartCursor {
    Unit *unit;
    size_t item;
    size_t left;
    int64_t seq; /* of this item */
} PartCursor;

PartCursor part_cursor(const Part *part);
/* False behind the last item; else the cursor stands on one, and part_cursor_next goes on. */
bool part_cursor_valid(PartCursor *cursor);
void part_cursor_next(PartCursor *cursor);
