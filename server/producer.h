/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/producer.h -- what a stream remembers of its idempotent producers (protocol 5.2.1).
 *
 * Per producer the epoch and the highest accepted sequence number.  Judging changes nothing; only
 * producers_accept does, so that a request that fails for another reason leaves no trace; what was
 * accepted and could not be stored is undone.  Bounded:
 * past the maximum the producer unheard of for longest is forgotten, and so is any that was silent
 * for PRODUCER_IDLE_MS_MAX.  A forgotten producer that goes on is answered with a gap (409); only
 * its very first request, repeated, would be taken for new.  So none is forgotten that wrote within
 * PRODUCER_KEPT_MS: longer than anybody repeats a request.  When that leaves no place, a new
 * producer is refused.
 *
 * Not thread safe: the stream's lock guards it.
 */
#pragma once

#include "common/str.h"

#define PRODUCER_ID_BYTES_MAX 256
#define PRODUCER_IDLE_MS_MAX  (INT64_C(7) * 24 * 3600 * 1000)
#define PRODUCER_KEPT_MS      (INT64_C(10) * 60 * 1000)

typedef struct ProducerTag {
    Str id; /* never empty */
    uint64_t epoch;
    uint64_t seq;
} ProducerTag;

typedef enum ProducerVerdict {
    PRODUCER_ACCEPT,
    PRODUCER_DUPLICATE,
    PRODUCER_STALE_EPOCH,    /* fenced: somebody has a higher epoch */
    PRODUCER_EPOCH_NOT_ZERO, /* a new epoch has to begin at 0 */
    PRODUCER_GAP,
    PRODUCER_TOO_MANY, /* a new one, and nobody may be forgotten yet */
} ProducerVerdict;

typedef struct ProducerState {
    uint64_t epoch;    /* the stored one, or the request's for a producer not known */
    uint64_t seq;      /* the highest accepted one; only for DUPLICATE */
    uint64_t expected; /* only for GAP */
} ProducerState;

typedef struct Producers Producers;
typedef struct Producer Producer;

/* What one producers_accept changed. */
typedef struct ProducerUndo {
    Producer *accepted;  /* NULL: nothing to undo */
    Producer *before;    /* it stood behind this one by age; NULL: it was the oldest */
    Producer *forgotten; /* for its place; NULL: nobody was.  Owned. */
    bool is_new;
    int64_t used_ms;
    uint64_t epoch;
    uint64_t seq;
    uint64_t turn;
} ProducerUndo;

/* One as it is kept outside.  Turns rise with every accept of a stream's producers, so the order of
 * turns is that of age; one number is never used twice, but for what was undone. */
typedef struct ProducerRecord {
    Str id;
    uint64_t epoch;
    uint64_t seq;
    int64_t used_ms;
    uint64_t turn;
} ProducerRecord;

Producers *producers_new(size_t count_max);
void producers_free(Producers *producers); /* accepts NULL */

/* producers may be NULL: nobody has written yet.  *out says what the reply tells. */
ProducerVerdict producers_judge(const Producers *producers, ProducerTag tag, int64_t now_ms,
                                ProducerState *out);
/* After PRODUCER_ACCEPT.  now_ms never goes back.  undo: NULL when nothing else can fail; else it
 * takes producers_undo, in reverse order when there were more, or producer_undo_done. */
void producers_accept(Producers *producers, ProducerTag tag, int64_t now_ms, ProducerUndo *undo);
void producers_undo(Producers *producers, ProducerUndo *undo);
void producer_undo_done(ProducerUndo *undo);

size_t producers_count(const Producers *producers);

/* ---- to keep them over a restart; producers may be NULL ---- */

/* How many were accepted after that turn; the last `room` of them go to out, the oldest first, ids
 * borrowed until the next change. */
size_t producers_export(const Producers *producers, uint64_t after_turn, ProducerRecord *out,
                        size_t room);
/* The oldest's: those with a smaller one are forgotten.  Without any: the next turn. */
uint64_t producers_first_turn(const Producers *producers);
uint64_t producers_last_turn(const Producers *producers); /* 0: there was none */
/* In the order of their turns, before any accept.  Past the maximum the oldest is forgotten. */
void producers_restore(Producers *producers, const ProducerRecord *record);
