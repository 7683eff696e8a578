/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/writer.h -- owns one Postgres connection and writes what its lanes hold, exactly once.
 *
 * A transaction is composed of what lies in the lanes when the last one is done, so batches form by
 * themselves and a lone message goes at once.  The guarded update of stream_offset comes first and
 * must hit every stream; COMMIT is believed only by its command tag; when an outcome is unknown the
 * positions are read again, and they tell.  Trouble with the connection is waited out here; trouble
 * with one stream goes back to its session.  Callbacks of lanes come from the loop.
 */
#pragma once

#include "common/loop.h"
#include "common/secret.h"
#include "syncd/lane.h"
#include "syncd/stats.h"

typedef struct Writer Writer;

typedef struct WriterConfig {
    unsigned number; /* for the log */
    const Secret *postgres_url;
    void (*on_refused)(void *arg); /* the login was: the secret may be read anew */
    void *arg;
    const char *application_name;
    int64_t rows_max; /* of a transaction */
    int64_t bytes_max;
    bool electric_pads; /* keep published row changes off multiples of 100 */
    int64_t backoff_base_ms;
    int64_t backoff_max_ms;
    int64_t patience_ms;  /* Postgres out of reach this long: lanes are told */
    int64_t statement_ms; /* of one statement of a transaction, at Postgres */
    int64_t lease_ms;     /* a transaction may idle for a third of it, and 5 s at most */
    const Stats *stats;
} WriterConfig;

Writer *writer_new(Loop *loop, const WriterConfig *config);
void writer_free(Writer *writer); /* accepts NULL; closes the connection; lanes are the caller's */
void writer_start(Writer *writer);

void writer_attach(Writer *writer, Lane *lane);
/* Writes nothing of the lane any more, but for what is in flight: on_released comes when that is
 * done, and at once when there is none. */
void writer_leave(Writer *writer, Lane *lane);
void writer_detach(Writer *writer,
                   Lane *lane); /* not while in flight; no callback comes any more */
void writer_push(Writer *writer, Lane *lane, Unit *unit); /* into its queue; steals the unit */
void writer_lane_filled(Writer *writer, Lane *lane);      /* its queue has something */
void writer_load(Writer *writer, Lane *lane);             /* fence and read; ends in on_loaded */
void writer_new_generation(Writer *writer, Lane *lane);   /* likewise */
/* state is a static word; reason and content_type may be empty (NULL is stored, the known type
 * stays). */
void writer_set_state(Writer *writer, Lane *lane, Str state, Str reason, Str content_type);

bool writer_is_up(const Writer *writer); /* the last command was answered well */

DS_MUST_CHECK bool writer_print_states(Buf *out, Error *err); /* the edge table in Mermaid */
