/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stream_rows.h"

#include "common/mem.h"
#include "server/sqlite.h"

#define FORGET_TURNS 1024

struct StreamRows {
    sqlite3 *db;
    sqlite3_stmt *put;
    sqlite3_stmt *delete_stream;
    sqlite3_stmt *put_producer;
    sqlite3_stmt *forget_producers;
    sqlite3_stmt *delete_producers;
    sqlite3_stmt *load;
    sqlite3_stmt *load_producers;
};

/* ---- the tables ---- */

/* Integers are 64 bits without a sign, so one past 2^63 looks negative here.  Times are
 * milliseconds since 1970; -1 stands for never. */
static const char schema[] = "CREATE TABLE IF NOT EXISTS stream ("
                             "  id INTEGER PRIMARY KEY,"
                             "  name TEXT NOT NULL,"
                             "  content_type TEXT NOT NULL,"
                             "  ttl_s INTEGER NOT NULL,"
                             "  expires_at_ms INTEGER NOT NULL,"
                             "  created_ms INTEGER NOT NULL,"
                             "  era INTEGER NOT NULL,"
                             "  parent_id INTEGER NOT NULL,"
                             "  fork_at INTEGER NOT NULL,"
                             "  start INTEGER NOT NULL,"
                             "  tail INTEGER NOT NULL,"
                             "  base INTEGER NOT NULL,"
                             "  messages INTEGER NOT NULL,"
                             "  bytes INTEGER NOT NULL,"
                             "  bytes_ever INTEGER NOT NULL,"
                             "  updated_ms INTEGER NOT NULL,"
                             "  touched_ms INTEGER NOT NULL,"
                             "  closed INTEGER NOT NULL,"
                             "  soft_deleted INTEGER NOT NULL,"
                             "  stream_seq TEXT,"
                             "  closer_id TEXT,"
                             "  closer_epoch INTEGER NOT NULL,"
                             "  closer_seq INTEGER NOT NULL,"
                             "  lsn INTEGER NOT NULL,"
                             "  file_bytes INTEGER NOT NULL,"
                             "  file_count INTEGER NOT NULL);"
                             "CREATE TABLE IF NOT EXISTS producer ("
                             "  stream_id INTEGER NOT NULL,"
                             "  id TEXT NOT NULL,"
                             "  epoch INTEGER NOT NULL,"
                             "  seq INTEGER NOT NULL,"
                             "  used_ms INTEGER NOT NULL,"
                             "  turn INTEGER NOT NULL,"
                             "  PRIMARY KEY (stream_id, id)) WITHOUT ROWID;";

enum {
    STREAM_ID = 1,
    STREAM_NAME,
    STREAM_CONTENT_TYPE,
    STREAM_TTL,
    STREAM_EXPIRES_AT,
    STREAM_CREATED,
    STREAM_ERA,
    STREAM_PARENT_ID,
    STREAM_FORK_AT,
    STREAM_START,
    STREAM_TAIL,
    STREAM_BASE,
    STREAM_MESSAGES,
    STREAM_BYTES_KEPT,
    STREAM_BYTES_EVER,
    STREAM_UPDATED,
    STREAM_TOUCHED,
    STREAM_CLOSED,
    STREAM_SOFT_DELETED,
    STREAM_SEQ,
    STREAM_CLOSER_ID,
    STREAM_CLOSER_EPOCH,
    STREAM_CLOSER_SEQ,
    STREAM_LSN,
    STREAM_FILE_BYTES,
    STREAM_FILE_COUNT,
};

#define STREAM_COLUMNS                                                                             \
    "id, name, content_type, ttl_s, expires_at_ms, created_ms, era, parent_id, fork_at, start, "   \
    "tail, base, messages, bytes, bytes_ever, updated_ms, touched_ms, closed, soft_deleted, "      \
    "stream_seq, closer_id, closer_epoch, closer_seq, lsn, file_bytes, file_count"

static const char put_sql[] =
    "INSERT INTO stream (" STREAM_COLUMNS ") "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET start = excluded.start, tail = excluded.tail, "
    "base = excluded.base, messages = excluded.messages, bytes = excluded.bytes, "
    "bytes_ever = excluded.bytes_ever, updated_ms = excluded.updated_ms, "
    "touched_ms = excluded.touched_ms, closed = excluded.closed, "
    "soft_deleted = excluded.soft_deleted, stream_seq = excluded.stream_seq, "
    "closer_id = excluded.closer_id, closer_epoch = excluded.closer_epoch, "
    "closer_seq = excluded.closer_seq, lsn = excluded.lsn, file_bytes = excluded.file_bytes, "
    "file_count = excluded.file_count";

static bool
check_version(sqlite3 *db, Error *err)
{
    int64_t version;

    if (!sqlite_number(db, "SELECT coalesce(max(version), 0) FROM schema_version", &version, err)) {
        return false;
    }
    if (version == 0) {
        return sqlite_exec(db, "INSERT INTO schema_version VALUES (1)", err);
    }
    if (version != STREAM_ROWS_VERSION) {
        return error_set(
            err, ERR_CONFIG,
            "it has format %lld, and this program knows format %d: use the newer program "
            "that wrote it",
            (long long)version, STREAM_ROWS_VERSION);
    }
    return true;
}

/* The version first: of a newer format nothing may be made. */
static bool
make_tables(sqlite3 *db, Error *err)
{
    bool ok =
        sqlite_begin(db, err) &&
        sqlite_exec(db, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)",
                    err) &&
        check_version(db, err) && sqlite_exec(db, schema, err) && sqlite_commit(db, err);

    if (!ok) {
        sqlite_rollback(db);
    }
    return ok;
}

static bool
prepare_all(StreamRows *rows, Error *err)
{
    sqlite3 *db = rows->db;

    return sqlite_prepare(db, put_sql, &rows->put, err) &&
           sqlite_prepare(db, "DELETE FROM stream WHERE id = ?", &rows->delete_stream, err) &&
           sqlite_prepare(db,
                          "INSERT OR REPLACE INTO producer (stream_id, id, epoch, seq, used_ms, "
                          "turn) VALUES (?, ?, ?, ?, ?, ?)",
                          &rows->put_producer, err) &&
           sqlite_prepare(db, "DELETE FROM producer WHERE stream_id = ? AND turn < ?",
                          &rows->forget_producers, err) &&
           sqlite_prepare(db, "DELETE FROM producer WHERE stream_id = ?", &rows->delete_producers,
                          err) &&
           sqlite_prepare(db, "SELECT " STREAM_COLUMNS " FROM stream ORDER BY id", &rows->load,
                          err) &&
           sqlite_prepare(db,
                          "SELECT id, epoch, seq, used_ms, turn FROM producer WHERE stream_id = ? "
                          "ORDER BY turn",
                          &rows->load_producers, err);
}

bool
stream_rows_open(sqlite3 *db, StreamRows **out, Error *err)
{
    StreamRows *rows = mem_zalloc(sizeof(*rows));

    rows->db = db;
    if (!make_tables(db, err) || !prepare_all(rows, err)) {
        stream_rows_close(rows);
        return error_wrap(err, "%s", sqlite3_db_filename(db, NULL));
    }
    *out = rows;
    return true;
}

void
stream_rows_close(StreamRows *rows)
{
    if (rows == NULL) {
        return;
    }
    sqlite3_finalize(rows->put);
    sqlite3_finalize(rows->delete_stream);
    sqlite3_finalize(rows->put_producer);
    sqlite3_finalize(rows->forget_producers);
    sqlite3_finalize(rows->delete_producers);
    sqlite3_finalize(rows->load);
    sqlite3_finalize(rows->load_producers);
    free(rows);
}

/* ---- writing ---- */

static void
bind_i64(sqlite3_stmt *statement, int at, int64_t value)
{
    sqlite_bind_u64(statement, at, (uint64_t)value);
}

static void
bind_row(sqlite3_stmt *put, const StreamRow *row)
{
    sqlite_bind_u64(put, STREAM_ID, row->id);
    sqlite_bind_text(put, STREAM_NAME, row->name);
    sqlite_bind_text(put, STREAM_CONTENT_TYPE, row->content_type);
    bind_i64(put, STREAM_TTL, row->ttl_s);
    bind_i64(put, STREAM_EXPIRES_AT, row->expires_at_ms);
    bind_i64(put, STREAM_CREATED, row->created_ms);
    sqlite_bind_u64(put, STREAM_ERA, row->era);
    sqlite_bind_u64(put, STREAM_PARENT_ID, row->parent_id);
    sqlite_bind_u64(put, STREAM_FORK_AT, row->fork_at);
    sqlite_bind_u64(put, STREAM_START, row->at.start);
    sqlite_bind_u64(put, STREAM_TAIL, row->at.tail);
    sqlite_bind_u64(put, STREAM_BASE, row->at.base);
    sqlite_bind_u64(put, STREAM_MESSAGES, row->at.messages);
    sqlite_bind_u64(put, STREAM_BYTES_KEPT, row->at.bytes);
    sqlite_bind_u64(put, STREAM_BYTES_EVER, row->at.bytes_ever);
    bind_i64(put, STREAM_UPDATED, row->at.updated_ms);
    bind_i64(put, STREAM_TOUCHED, row->touched_ms);
    sqlite_bind_u64(put, STREAM_CLOSED, row->closed);
    sqlite_bind_u64(put, STREAM_SOFT_DELETED, row->soft_deleted);
    sqlite_bind_text(put, STREAM_SEQ, row->seq);
    sqlite_bind_text(put, STREAM_CLOSER_ID, row->closer_id);
    sqlite_bind_u64(put, STREAM_CLOSER_EPOCH, row->closer_epoch);
    sqlite_bind_u64(put, STREAM_CLOSER_SEQ, row->closer_seq);
    sqlite_bind_u64(put, STREAM_LSN, row->lsn);
    sqlite_bind_u64(put, STREAM_FILE_BYTES, row->file_bytes);
    sqlite_bind_u64(put, STREAM_FILE_COUNT, row->file_count);
}

static bool
put_producer(sqlite3_stmt *put, uint64_t stream_id, const ProducerRecord *record, Error *err)
{
    sqlite_bind_u64(put, 1, stream_id);
    sqlite_bind_text(put, 2, record->id);
    sqlite_bind_u64(put, 3, record->epoch);
    sqlite_bind_u64(put, 4, record->seq);
    bind_i64(put, 5, record->used_ms);
    sqlite_bind_u64(put, 6, record->turn);
    return sqlite_run(put, err);
}

/* Finding the forgotten means to read all of a stream's, so it is done once in so many turns. Until
 * then they are the oldest of the table, and to remember somebody longer does no harm. */
static bool
forget_is_due(const StreamRow *row)
{
    return row->producers_first_turn > 1 &&
           row->producers_after / FORGET_TURNS != row->producers_last_turn / FORGET_TURNS;
}

bool
stream_rows_put(StreamRows *rows, const StreamRow *row, Error *err)
{
    bind_row(rows->put, row);
    if (!sqlite_run(rows->put, err)) {
        return false;
    }
    for (size_t i = 0; i < row->producers_count; i++) {
        if (!put_producer(rows->put_producer, row->id, &row->producers[i], err)) {
            return false;
        }
    }
    if (!forget_is_due(row)) {
        return true;
    }
    sqlite_bind_u64(rows->forget_producers, 1, row->id);
    sqlite_bind_u64(rows->forget_producers, 2, row->producers_first_turn);
    return sqlite_run(rows->forget_producers, err);
}

bool
stream_rows_delete(StreamRows *rows, uint64_t id, Error *err)
{
    sqlite_bind_u64(rows->delete_stream, 1, id);
    sqlite_bind_u64(rows->delete_producers, 1, id);
    return sqlite_run(rows->delete_stream, err) && sqlite_run(rows->delete_producers, err);
}

/* ---- loading ---- */

static int64_t
column_i64(sqlite3_stmt *statement, int at)
{
    return (int64_t)sqlite_column_u64(statement, at - 1);
}

static uint64_t
column_u64(sqlite3_stmt *statement, int at)
{
    return sqlite_column_u64(statement, at - 1);
}

/* Views are borrowed until the next step. */
static void
read_row(sqlite3_stmt *load, StreamRow *row)
{
    row->id = column_u64(load, STREAM_ID);
    row->name = sqlite_column_text(load, STREAM_NAME - 1);
    row->content_type = sqlite_column_text(load, STREAM_CONTENT_TYPE - 1);
    row->ttl_s = column_i64(load, STREAM_TTL);
    row->expires_at_ms = column_i64(load, STREAM_EXPIRES_AT);
    row->created_ms = column_i64(load, STREAM_CREATED);
    row->era = column_u64(load, STREAM_ERA);
    row->parent_id = column_u64(load, STREAM_PARENT_ID);
    row->fork_at = column_u64(load, STREAM_FORK_AT);
    row->at = (StreamView){
        .start = column_u64(load, STREAM_START),
        .tail = column_u64(load, STREAM_TAIL),
        .base = column_u64(load, STREAM_BASE),
        .messages = column_u64(load, STREAM_MESSAGES),
        .bytes = column_u64(load, STREAM_BYTES_KEPT),
        .bytes_ever = column_u64(load, STREAM_BYTES_EVER),
        .updated_ms = column_i64(load, STREAM_UPDATED),
    };
    row->touched_ms = column_i64(load, STREAM_TOUCHED);
    row->closed = column_u64(load, STREAM_CLOSED) != 0;
    row->soft_deleted = column_u64(load, STREAM_SOFT_DELETED) != 0;
    row->seq = sqlite_column_text(load, STREAM_SEQ - 1);
    row->closer_id = sqlite_column_text(load, STREAM_CLOSER_ID - 1);
    row->closer_epoch = column_u64(load, STREAM_CLOSER_EPOCH);
    row->closer_seq = column_u64(load, STREAM_CLOSER_SEQ);
    row->lsn = column_u64(load, STREAM_LSN);
    row->file_bytes = column_u64(load, STREAM_FILE_BYTES);
    row->file_count = column_u64(load, STREAM_FILE_COUNT);
}

/* What the rest of the server takes for granted. */
static bool
check_row(const StreamRow *row, Error *err)
{
    const StreamView *at = &row->at;
    bool fork_is_whole = row->parent_id != 0 || row->fork_at <= at->start; /* lost its parent */

    if (row->id == 0 || row->era == 0 || row->name.len == 0 || !fork_is_whole ||
        row->ttl_s < STREAM_NEVER || row->ttl_s > STREAM_TTL_S_MAX ||
        row->expires_at_ms < STREAM_NEVER || at->start > at->tail || at->base > at->tail ||
        row->fork_at > at->base || at->bytes > at->bytes_ever) {
        return error_set(err, ERR_CORRUPT, "the row of stream %llu contradicts itself",
                         (unsigned long long)row->id);
    }
    return true;
}

typedef struct ProducerList {
    ProducerRecord *records; /* ids owned */
    size_t count;
    size_t cap;
} ProducerList;

static void
list_reset(ProducerList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free((char *)(uintptr_t)list->records[i].id.ptr);
    }
    list->count = 0;
}

static void
list_add(ProducerList *list, sqlite3_stmt *load)
{
    if (list->count == list->cap) {
        list->cap = DS_MAX(list->cap * 2, (size_t)16);
        list->records = mem_regrow(list->records, list->cap, sizeof(*list->records));
    }
    list->records[list->count++] = (ProducerRecord){
        .id = {.ptr = str_dup(sqlite_column_text(load, 0)), .len = sqlite_column_text(load, 0).len},
        .epoch = sqlite_column_u64(load, 1),
        .seq = sqlite_column_u64(load, 2),
        .used_ms = (int64_t)sqlite_column_u64(load, 3),
        .turn = sqlite_column_u64(load, 4),
    };
}

static bool
load_producers(StreamRows *rows, StreamRow *row, ProducerList *list, Error *err)
{
    sqlite3_stmt *load = rows->load_producers;
    uint64_t last_turn = 0;
    bool more;

    list_reset(list);
    sqlite_bind_u64(load, 1, row->id);
    if (!sqlite_step(load, &more, err)) {
        return false;
    }
    while (more) {
        uint64_t turn = sqlite_column_u64(load, 4);

        if (turn <= last_turn || sqlite_column_text(load, 0).len == 0) {
            (void)sqlite3_reset(load);
            return error_set(err, ERR_CORRUPT, "a producer of stream %llu contradicts itself",
                             (unsigned long long)row->id);
        }
        last_turn = turn;
        list_add(list, load);
        if (!sqlite_step(load, &more, err)) {
            return false;
        }
    }
    row->producers = list->records;
    row->producers_count = list->count;
    row->producers_first_turn = list->count == 0 ? 1 : list->records[0].turn;
    row->producers_last_turn = last_turn;
    return true;
}

bool
stream_rows_load(StreamRows *rows, StreamRowFn fn, void *arg, Error *err)
{
    ProducerList producers = {0};
    bool more = false;
    bool ok = sqlite_step(rows->load, &more, err);

    while (ok && more) {
        StreamRow row = {0};

        read_row(rows->load, &row);
        ok = check_row(&row, err) && load_producers(rows, &row, &producers, err) &&
             fn(arg, &row, err) && sqlite_step(rows->load, &more, err);
    }
    (void)sqlite3_reset(rows->load);
    list_reset(&producers);
    free(producers.records);
    return ok || error_wrap(err, "%s", sqlite3_db_filename(rows->db, NULL));
}
