/* SPDX-License-Identifier: Apache-2.0 */
/* Payload of streams that are deleted or trimmed, deleted a little at a time. */
#include "common/clock.h"
#include "server/store_acid_internal.h"

#define IDLE_ROWS_MAX    256 /* of a transaction in an idle moment */
#define IDLE_BYTES_MAX   (4 << 20)
#define SHRINK_PAGES     256 /* of one, too */
#define FREE_PAGES_KEPT  1024
#define FREE_PAGES_SHARE 4 /* more than one in so many */

/* below: position; what ends at or before it is to go, all when it is the largest number. */
const char acid_garbage_schema[] = "CREATE TABLE IF NOT EXISTS garbage ("
                                   "  stream_id INTEGER PRIMARY KEY,"
                                   "  counts_messages INTEGER NOT NULL,"
                                   "  below INTEGER NOT NULL);";

static const char note_sql[] =
    "INSERT INTO garbage (stream_id, counts_messages, below) VALUES (?, ?, ?) "
    "ON CONFLICT (stream_id) DO UPDATE SET below = max(below, excluded.below)";
/* The size of a value is told by the row's head, so large ones are not read. */
static const char rows_sql[] =
    "SELECT position, length(bytes), coalesce(length(ends) / 4, 1) FROM append "
    "WHERE stream_id = ? AND position < ? ORDER BY position";

bool
acid_garbage_open(AcidGarbage *garbage, sqlite3 *db, Error *err)
{
    *garbage = (AcidGarbage){.db = db, .maybe = true, .freed = true};
    return sqlite_prepare(db, note_sql, &garbage->note, err) &&
           sqlite_prepare(db, "SELECT stream_id, counts_messages, below FROM garbage LIMIT 1",
                          &garbage->first, err) &&
           sqlite_prepare(db, rows_sql, &garbage->rows, err) &&
           sqlite_prepare(db, "DELETE FROM append WHERE stream_id = ? AND position <= ?",
                          &garbage->delete_rows, err) &&
           sqlite_prepare(db, "DELETE FROM garbage WHERE stream_id = ?", &garbage->forget, err);
}

void
acid_garbage_close(AcidGarbage *garbage)
{
    sqlite3_finalize(garbage->note);
    sqlite3_finalize(garbage->first);
    sqlite3_finalize(garbage->rows);
    sqlite3_finalize(garbage->delete_rows);
    sqlite3_finalize(garbage->forget);
    *garbage = (AcidGarbage){0};
}

bool
acid_garbage_note(AcidGarbage *garbage, const Stream *stream, uint64_t below, Error *err)
{
    sqlite_bind_u64(garbage->note, 1, stream->id);
    sqlite_bind_u64(garbage->note, 2, stream->kind == STREAM_JSON);
    sqlite_bind_u64(garbage->note, 3, DS_MIN(below, (uint64_t)INT64_MAX));
    garbage->maybe = true;
    return sqlite_run(garbage->note, err);
}

typedef struct Slice {
    uint64_t stream_id;
    bool counts_messages;
    uint64_t below;
    size_t rows;
    uint64_t last; /* position of the last row to go */
    bool is_last;  /* nothing is left of this stream's */
} Slice;

static bool
next_slice(AcidGarbage *garbage, Slice *slice, bool *out_any, Error *err)
{
    if (!sqlite_step(garbage->first, out_any, err)) {
        return false;
    }
    if (*out_any) {
        *slice = (Slice){
            .stream_id = sqlite_column_u64(garbage->first, 0),
            .counts_messages = sqlite_column_u64(garbage->first, 1) != 0,
            .below = sqlite_column_u64(garbage->first, 2),
        };
        (void)sqlite3_reset(garbage->first);
    }
    return true;
}

/* Which rows go: those that lie below as a whole, until there are enough. */
static bool
measure_slice(AcidGarbage *garbage, Slice *slice, size_t *rows_max, uint64_t *bytes_max, Error *err)
{
    sqlite3_stmt *rows = garbage->rows;

    sqlite_bind_u64(rows, 1, slice->stream_id);
    sqlite_bind_u64(rows, 2, slice->below);
    while (*rows_max > 0 && *bytes_max > 0) {
        uint64_t position;
        uint64_t bytes;
        uint64_t length;
        bool more;

        if (!sqlite_step(rows, &more, err)) {
            return false;
        }
        if (!more) {
            slice->is_last = true;
            return true;
        }
        position = sqlite_column_u64(rows, 0);
        bytes = sqlite_column_u64(rows, 1);
        length = slice->counts_messages ? sqlite_column_u64(rows, 2) : bytes;
        if (length > slice->below - position) {
            slice->is_last = true;
            break;
        }
        slice->rows++;
        slice->last = position;
        *rows_max -= 1;
        *bytes_max -= DS_MIN(bytes, *bytes_max);
    }
    (void)sqlite3_reset(rows);
    return true;
}

static bool
delete_slice(AcidGarbage *garbage, const Slice *slice, Error *err)
{
    if (slice->rows > 0) {
        sqlite_bind_u64(garbage->delete_rows, 1, slice->stream_id);
        sqlite_bind_u64(garbage->delete_rows, 2, slice->last);
        garbage->freed = true;
        if (!sqlite_run(garbage->delete_rows, err)) {
            return false;
        }
    }
    sqlite_bind_u64(garbage->forget, 1, slice->stream_id);
    return !slice->is_last || sqlite_run(garbage->forget, err);
}

bool
acid_garbage_slice(AcidGarbage *garbage, size_t rows_max, uint64_t bytes_max, Error *err)
{
    while (garbage->maybe && rows_max > 0 && bytes_max > 0) {
        Slice slice;
        bool any;

        if (!next_slice(garbage, &slice, &any, err)) {
            return false;
        }
        if (!any) {
            garbage->maybe = false;
            return true;
        }
        /* A stream without rows counts as one, so that this ends. */
        if (!measure_slice(garbage, &slice, &rows_max, &bytes_max, err) ||
            !delete_slice(garbage, &slice, err)) {
            return false;
        }
        rows_max -= DS_MIN(rows_max, (size_t)(slice.rows == 0));
    }
    return true;
}

static bool
idle_slice(AcidGarbage *garbage, Error *err)
{
    bool ok = sqlite_begin(garbage->db, err) &&
              acid_garbage_slice(garbage, IDLE_ROWS_MAX, IDLE_BYTES_MAX, err) &&
              sqlite_commit(garbage->db, err);

    if (!ok) {
        sqlite_rollback(garbage->db);
        garbage->maybe = true;
    }
    return ok;
}

/* One part of what is to be given back; *out_more: there is another. */
static bool
shrink(AcidGarbage *garbage, bool *out_more, Error *err)
{
    int64_t free_pages;
    int64_t pages;

    if (!sqlite_number(garbage->db, "PRAGMA freelist_count", &free_pages, err) ||
        !sqlite_number(garbage->db, "PRAGMA page_count", &pages, err)) {
        return false;
    }
    *out_more = free_pages > FREE_PAGES_KEPT && free_pages > pages / FREE_PAGES_SHARE;
    return !*out_more || sqlite_shrink(garbage->db, SHRINK_PAGES, err);
}

bool
acid_garbage_idle(AcidGarbage *garbage, int64_t budget_ms, Error *err)
{
    int64_t end_ms = clock_mono_ms() + budget_ms;

    while ((garbage->maybe || garbage->freed) && clock_mono_ms() < end_ms) {
        bool more = true;

        if (garbage->maybe ? !idle_slice(garbage, err) : !shrink(garbage, &more, err)) {
            return false;
        }
        garbage->freed = garbage->freed && more;
    }
    return true;
}
