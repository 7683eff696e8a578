/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/sync_place.h -- where streams stand in Postgres, and moving one of them.
 *
 * A move is guarded: it happens only from the place that was looked at, and whoever loads the
 * stream can commit nothing from there any more.  A stream that is moving must be held meanwhile.
 */
#pragma once

#include <jansson.h>

#include "dsctl/call.h"
#include "dsctl/output.h"

typedef struct SyncPlace {
    int64_t generation;
    const char *offset; /* borrowed */
    int64_t skip;
    int64_t next_seq;
} SyncPlace;

typedef struct SyncStream {
    const char *id; /* borrowed from the rows, as all here */
    const char *name;
    const char *source;
    const char *route;
    const char *state;
    const char *reason;       /* may be NULL */
    const char *content_type; /* may be NULL */
    const char *as;           /* what its route makes of it; NULL: of no route that is known */
    SyncPlace place;
} SyncStream;

/* Streams to look for: names, or with count 0 all that are stopped or failed; route and source may
 * be NULL. */
typedef struct SyncWanted {
    const char *const *names;
    size_t count;
    const char *route;
    const char *source;
} SyncWanted;

/* Streams' names as an array of Postgres. */
DS_MUST_CHECK bool sync_names(const char *const *names, size_t count, Buf *out, Error *err);

/* ERR_NOT_FOUND names a stream that syncd has never had.  The rows are the caller's. */
DS_MUST_CHECK bool sync_find(Call *call, const SyncWanted *wanted, CallRows *out, Error *err);
DS_MUST_CHECK bool sync_stream(const CallRows *rows, int row, SyncStream *out, Error *err);
/* Exactly one; ERR_CONFIG says how to tell several apart. */
DS_MUST_CHECK bool sync_find_one(Call *call, const SyncWanted *wanted, CallRows *rows,
                                 SyncStream *out, Error *err);

/* Begins a transaction that holds the stream, and looks again where it stands; sync_release ends
 * it, and when !ok nothing of it happened. */
DS_MUST_CHECK bool sync_hold(Call *call, const SyncWanted *wanted, CallRows *rows,
                             SyncStream *stream, Error *err);
DS_MUST_CHECK bool sync_release(Call *call, bool ok, Error *err);

typedef struct SyncLetter {
    Str payload; /* ptr NULL: none */
    const char *why;
} SyncLetter;

/* action: the word in ds_sync.audit.  ERR_CONFLICT when it does not stand there any more. */
DS_MUST_CHECK bool sync_move(Call *call, const char *action, const SyncStream *stream,
                             const SyncPlace *to, const SyncLetter *letter, Error *err);

/* ERR_NOT_FOUND when there was never such a stream or route, either of which may be NULL: so no
 * list is empty because of a wrong name. */
DS_MUST_CHECK bool sync_check_known(Call *call, const char *stream, const char *route, Error *err);

/* A row that shows what was, or would be, done. */
extern const OutputColumn sync_move_columns[];
json_t *sync_move_row(const SyncStream *stream, const SyncPlace *to, const char *result);

/* A note when no syncd lives that could begin again. */
DS_MUST_CHECK bool sync_note_nobody(Call *call, Error *err);
