/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/stream_rows.h -- the rows of streams in SQLite: what there is to know at the next start.
 *
 * Tables `stream` and `producer`, which is one of its own so that only those that wrote are
 * written; and `schema_version`, so that another format is refused and not misread.  The caller
 * owns the connection and the transactions.  Errors are those of sqlite.h, and ERR_CORRUPT for a
 * row that no stream can have.  One thread at a time.
 */
#pragma once

#include <sqlite3.h>

#include "common/error.h"
#include "server/stream_row.h"

#define STREAM_ROWS_VERSION 1

typedef struct StreamRows StreamRows;

/* Makes the tables where there are none.  ERR_CONFIG: of a newer format. */
DS_MUST_CHECK bool stream_rows_open(sqlite3 *db, StreamRows **out, Error *err); /* db is borrowed */
void stream_rows_close(StreamRows *rows); /* accepts NULL; before the connection is closed */

/* Adds it or writes over it, its producers included.  Of one that is there the fixed part stays. */
DS_MUST_CHECK bool stream_rows_put(StreamRows *rows, const StreamRow *row, Error *err);
/* With its producers; one that is not there is fine. */
DS_MUST_CHECK bool stream_rows_delete(StreamRows *rows, uint64_t id, Error *err);

/* Every stream with all its producers, in the order of ids.  The row is borrowed until fn returns;
 * false stops. */
typedef bool (*StreamRowFn)(void *arg, const StreamRow *row, Error *err);
DS_MUST_CHECK bool stream_rows_load(StreamRows *rows, StreamRowFn fn, void *arg, Error *err);
