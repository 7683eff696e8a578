/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#define PRAGMAS_BYTES_MAX  512
#define JOURNAL_BYTES_KEPT (64 << 20) /* of a log that grew larger the rest is given back */

/* ---- errors ---- */

static bool
is_no_room(int number)
{
    return number == ENOSPC || number == EDQUOT || number == EFBIG;
}

static ErrorCode
code_of_io_error(int code, int system_errno)
{
    switch (code) {
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
        return ERR_FATAL; /* whatever the reason: the kernel has forgotten the pages */
    case SQLITE_IOERR_READ:
    case SQLITE_IOERR_SHORT_READ:
    case SQLITE_IOERR_CORRUPTFS:
        return ERR_CORRUPT;
    default:
        return is_no_room(system_errno) ? ERR_FULL : ERR_FATAL;
    }
}

static ErrorCode
code_of(int code, int system_errno)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return ERR_FULL;
    case SQLITE_IOERR:
        return code_of_io_error(code, system_errno);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_RETRY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* ours hold unless what is stored is not what was written */
    case SQLITE_SCHEMA:
    case SQLITE_ERROR: /* no such table or column: somebody else's database */
        return ERR_CORRUPT;
    case SQLITE_CANTOPEN:
        if (system_errno == ENOENT) {
            return ERR_NOT_FOUND;
        }
        return is_no_room(system_errno) ? ERR_FULL : ERR_CONFIG;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        return ERR_CONFIG;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    default:
        return ERR_FATAL;
    }
}

static bool
set_error(sqlite3 *db, Error *err)
{
    /* SQLite notes its cause for some failures only; the last call that failed is this one. */
    int cause = errno;
    int code = sqlite3_extended_errcode(db);
    int system_errno = (code & 0xff) == SQLITE_IOERR ? cause : sqlite3_system_errno(db);
    ErrorCode reaction = code_of(code, system_errno);

    if (system_errno != 0 && reaction != ERR_CORRUPT) {
        return error_set(err, reaction, "SQLite: %s (%d): %s", sqlite3_errmsg(db), code,
                         strerror(system_errno));
    }
    return error_set(err, reaction, "SQLite: %s (%d)", sqlite3_errmsg(db), code);
}

/* ---- connections ---- */

/* Connections are not shared, so SQLite needs no lock for them, nor one to count its memory. */
static void
configure(void)
{
    DS_ASSERT(sqlite3_config(SQLITE_CONFIG_MULTITHREAD) == SQLITE_OK);
    DS_ASSERT(sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) == SQLITE_OK);
}

static bool
set_up(sqlite3 *db, const SqliteOptions *options, Error *err)
{
    char pragmas[PRAGMAS_BYTES_MAX];
    int len;

    (void)sqlite3_busy_timeout(db, SQLITE_BUSY_MS);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* page_size and auto_vacuum count only before there is a database, which journal_mode makes. */
    len = snprintf(pragmas, sizeof(pragmas),
                   "PRAGMA page_size=%d;"
                   "PRAGMA auto_vacuum=%s;"
                   "PRAGMA journal_mode=WAL;"
                   "PRAGMA wal_autocheckpoint=0;"
                   "PRAGMA journal_size_limit=%d;"
                   "PRAGMA synchronous=%s;"
                   "PRAGMA cache_size=-%zu;"
                   "PRAGMA mmap_size=0;"
                   "PRAGMA temp_store=MEMORY;"
                   "PRAGMA secure_delete=OFF;" /* Debian's default costs a write per page freed */
                   "PRAGMA foreign_keys=OFF;"
                   "PRAGMA query_only=%s;",
                   SQLITE_PAGE_BYTES, options->can_shrink ? "INCREMENTAL" : "NONE",
                   JOURNAL_BYTES_KEPT, options->sync ? "FULL" : "OFF", options->cache_kib,
                   options->query_only ? "ON" : "OFF");
    DS_ASSERT(len > 0 && (size_t)len < sizeof(pragmas));
    return sqlite_exec(db, pragmas, err);
}

bool
sqlite_open(const SqliteOptions *options, sqlite3 **out, Error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                SQLITE_OPEN_EXRESCODE;
    sqlite3 *db = NULL;
    bool ok = false;

    pthread_once(&once, configure);
    if (options->create) {
        flags |= SQLITE_OPEN_CREATE;
    }
    if (sqlite3_open_v2(options->path, &db, flags, NULL) != SQLITE_OK) {
        DS_ASSERT(db != NULL);
        (void)set_error(db, err);
        goto done;
    }
    ok = set_up(db, options, err);

done:
    if (!ok) {
        error_wrap(err, "%s", options->path);
        sqlite_close(db);
        return false;
    }
    *out = db;
    return true;
}

void
sqlite_close(sqlite3 *db)
{
    DS_ASSERT(sqlite3_close(db) == SQLITE_OK); /* else a statement was not ended */
}

bool
sqlite_exec(sqlite3 *db, const char *sql, Error *err)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK || set_error(db, err);
}

bool
sqlite_number(sqlite3 *db, const char *sql, int64_t *out, Error *err)
{
    sqlite3_stmt *statement = NULL;
    bool row = false;
    bool ok = sqlite_prepare(db, sql, &statement, err) && sqlite_step(statement, &row, err);

    if (ok && row) {
        *out = sqlite3_column_int64(statement, 0);
    } else if (ok) {
        ok = error_set(err, ERR_CORRUPT, "SQLite: no row where one must be");
    }
    sqlite3_finalize(statement);
    return ok;
}

/* ---- statements ---- */

bool
sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, Error *err)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK) {
        return set_error(db, err);
    }
    *out = statement;
    return true;
}

bool
sqlite_step(sqlite3_stmt *statement, bool *out_row, Error *err)
{
    int code = sqlite3_step(statement);

    if (code == SQLITE_ROW) {
        *out_row = true;
        return true;
    }
    if (code != SQLITE_DONE) {
        (void)set_error(sqlite3_db_handle(statement), err);
        (void)sqlite3_reset(statement);
        return false;
    }
    (void)sqlite3_reset(statement);
    *out_row = false;
    return true;
}

bool
sqlite_run(sqlite3_stmt *statement, Error *err)
{
    bool row = true;

    while (row) {
        if (!sqlite_step(statement, &row, err)) {
            return false;
        }
    }
    return true;
}

void
sqlite_bind_u64(sqlite3_stmt *statement, int at, uint64_t value)
{
    DS_ASSERT(sqlite3_bind_int64(statement, at, (int64_t)value) == SQLITE_OK);
}

void
sqlite_bind_text(sqlite3_stmt *statement, int at, Str value)
{
    DS_ASSERT(sqlite3_bind_text64(statement, at, value.ptr, value.len, SQLITE_STATIC,
                                  SQLITE_UTF8) == SQLITE_OK);
}

void
sqlite_bind_blob(sqlite3_stmt *statement, int at, Str value)
{
    DS_ASSERT(sqlite3_bind_blob64(statement, at, value.ptr, value.len, SQLITE_STATIC) == SQLITE_OK);
}

uint64_t
sqlite_column_u64(sqlite3_stmt *statement, int at)
{
    return (uint64_t)sqlite3_column_int64(statement, at);
}

static Str
column_str(sqlite3_stmt *statement, int at, const void *bytes)
{
    if (sqlite3_column_type(statement, at) == SQLITE_NULL) {
        return (Str){0};
    }
    /* An empty blob is a NULL pointer. */
    return str_n(bytes == NULL ? "" : bytes, (size_t)sqlite3_column_bytes(statement, at));
}

Str
sqlite_column_text(sqlite3_stmt *statement, int at)
{
    return column_str(statement, at, sqlite3_column_text(statement, at));
}

Str
sqlite_column_blob(sqlite3_stmt *statement, int at)
{
    return column_str(statement, at, sqlite3_column_blob(statement, at));
}

/* ---- transactions and upkeep ---- */

bool
sqlite_begin(sqlite3 *db, Error *err)
{
    return sqlite_exec(db, "BEGIN IMMEDIATE", err);
}

bool
sqlite_commit(sqlite3 *db, Error *err)
{
    return sqlite_exec(db, "COMMIT", err);
}

void
sqlite_rollback(sqlite3 *db)
{
    /* Some errors have ended the transaction already.  Undoing writes nothing in WAL mode. */
    if (sqlite3_get_autocommit(db) == 0) {
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
}

bool
sqlite_checkpoint(sqlite3 *db, uint64_t *out_pages_left, Error *err)
{
    int in_log = 0;
    int moved = 0;

    if (sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved) !=
        SQLITE_OK) {
        return set_error(db, err);
    }
    *out_pages_left = (uint64_t)DS_MAX(in_log - moved, 0);
    return true;
}

bool
sqlite_shrink(sqlite3 *db, uint64_t pages_max, Error *err)
{
    char sql[64];

    (void)snprintf(sql, sizeof(sql), "PRAGMA incremental_vacuum(%" PRIu64 ")", pages_max);
    return sqlite_exec(db, sql, err);
}
