/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/sqlite.h -- SQLite with our settings and our errors.
 *
 * Connections are in WAL mode, without checkpoints of SQLite's own: who writes calls
 * sqlite_checkpoint.  One thread at a time per connection; statements belong to theirs and end
 * before it.  Nothing is mapped into memory, so a bad disk is an error and not a signal.
 *
 * Errors: ERR_FULL: no room, nothing was changed, the transaction is to be rolled back.  ERR_RETRY:
 * another program keeps the database locked.  ERR_CORRUPT: not a database, or a damaged one.
 * ERR_CONFIG: it may not be opened.  ERR_FATAL: a write or a sync failed, and nobody knows what is
 * on the disk.  Texts carry SQLite's, and no values.
 */
#pragma once

#include <sqlite3.h>

#include "common/error.h"
#include "common/str.h"

#define SQLITE_PAGE_BYTES 4096  /* of databases that are made here */
#define SQLITE_BUSY_MS    10000 /* what another program may hold the lock for */

typedef struct SqliteOptions {
    const char *path;
    bool create;      /* when it is not there; else that is ERR_NOT_FOUND */
    bool sync;        /* each commit, and before and after a checkpoint */
    bool query_only;  /* for reading and checkpoints */
    bool can_shrink;  /* of one that is made now: sqlite_shrink works */
    size_t cache_kib; /* at most, of pages */
} SqliteOptions;

DS_MUST_CHECK bool sqlite_open(const SqliteOptions *options, sqlite3 **out, Error *err);
/* Accepts NULL.  The last one of a database moves the log to the file and removes it, if it can. */
void sqlite_close(sqlite3 *db);

/* One or more statements without results. */
DS_MUST_CHECK bool sqlite_exec(sqlite3 *db, const char *sql, Error *err);
/* One number that a statement gives. */
DS_MUST_CHECK bool sqlite_number(sqlite3 *db, const char *sql, int64_t *out, Error *err);

/* Statements are kept and used again; end with sqlite3_finalize, which accepts NULL. */
DS_MUST_CHECK bool sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, Error *err);
/* To the next row, or *out_row false; then, and on failure, it can be bound and run again.  One
 * that is left at a row takes sqlite3_reset. */
DS_MUST_CHECK bool sqlite_step(sqlite3_stmt *statement, bool *out_row, Error *err);
/* To its end; rows are ignored. */
DS_MUST_CHECK bool sqlite_run(sqlite3_stmt *statement, Error *err);

/* Bytes are borrowed until the statement is bound anew or ends; a Str with ptr NULL is NULL. */
void sqlite_bind_u64(sqlite3_stmt *statement, int at, uint64_t value); /* past 2^63: negative */
void sqlite_bind_text(sqlite3_stmt *statement, int at, Str value);
void sqlite_bind_blob(sqlite3_stmt *statement, int at, Str value);
/* Borrowed until the next step; NULL is a Str with ptr NULL. */
uint64_t sqlite_column_u64(sqlite3_stmt *statement, int at);
Str sqlite_column_text(sqlite3_stmt *statement, int at);
Str sqlite_column_blob(sqlite3_stmt *statement, int at);

DS_MUST_CHECK bool sqlite_begin(sqlite3 *db, Error *err); /* as the writer, from the start */
DS_MUST_CHECK bool sqlite_commit(sqlite3 *db, Error *err);
void sqlite_rollback(sqlite3 *db); /* does nothing outside of a transaction */

/* Moves the log into the file as far as readers and writers allow, without waiting for them; *out:
 * pages of the log that are left to move.  ERR_FULL: later. */
DS_MUST_CHECK bool sqlite_checkpoint(sqlite3 *db, uint64_t *out_pages_left, Error *err);

/* Gives back at most so many unused pages at the end of the file; a transaction of its own. */
DS_MUST_CHECK bool sqlite_shrink(sqlite3 *db, uint64_t pages_max, Error *err);
