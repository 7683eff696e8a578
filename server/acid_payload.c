/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of payload: made of what a batch appends, and cut for who reads. */
#include "common/crc32c.h"
#include "common/mem.h"
#include "server/store_acid.h"
#include "server/store_acid_internal.h"

#define DATA_CAP_MIN     4096
#define ENDS_CAP_MIN     64
#define READ_BLOCK_BYTES ((size_t)256 * 1024)

/* `ends` is written as it lies in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rows are little-endian");

/* position counts messages (JSON) or bytes; the two counts before the row are the stream's own,
 * deleted ones included.  ends: per message or append u32 where it ends, little-endian; NULL: there
 * is one. */
const char acid_payload_schema[] = "CREATE TABLE IF NOT EXISTS append ("
                                   "  stream_id INTEGER NOT NULL,"
                                   "  position INTEGER NOT NULL,"
                                   "  bytes_before INTEGER NOT NULL,"
                                   "  messages_before INTEGER NOT NULL,"
                                   "  crc32c INTEGER NOT NULL,"
                                   "  ends BLOB,"
                                   "  bytes BLOB NOT NULL,"
                                   "  PRIMARY KEY (stream_id, position)) WITHOUT ROWID;";

static const char insert_sql[] =
    "INSERT INTO append (stream_id, position, bytes_before, "
    "messages_before, crc32c, ends, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)";

#define ROW_COLUMNS "position, bytes_before, messages_before, crc32c, ends, bytes"

/* The row that a position lies in begins at or before it. */
const char acid_range_sql[] =
    "SELECT " ROW_COLUMNS " FROM append WHERE stream_id = ?1 AND position >= coalesce("
    "(SELECT max(position) FROM append WHERE stream_id = ?1 AND position <= ?2), ?2) "
    "AND position < ?3 ORDER BY position";
const char acid_last_before_sql[] =
    "SELECT " ROW_COLUMNS " FROM append WHERE stream_id = ?1 AND position < ?2 "
    "ORDER BY position DESC LIMIT 1";

typedef struct AcidRow {
    uint64_t stream_id;
    uint64_t position;
    uint64_t bytes_before;
    uint64_t messages_before;
    Str ends; /* ptr NULL: one message */
    Str bytes;
    size_t count;
} AcidRow;

/* Of where it belongs, too: a row must not pass for another. */
static uint32_t
row_checksum(const AcidRow *row)
{
    uint64_t place[] = {row->stream_id, row->position, row->bytes_before, row->messages_before};
    uint32_t crc = crc32c(CRC32C_INIT, str_n(place, sizeof(place)));

    return crc32c(crc32c(crc, str_n(row->ends.ptr, row->ends.len)), row->bytes);
}

/* ---- writing ---- */

bool
acid_writer_open(AcidWriter *writer, sqlite3 *db, Error *err)
{
    return sqlite_prepare(db, insert_sql, &writer->insert, err);
}

void
acid_writer_close(AcidWriter *writer)
{
    sqlite3_finalize(writer->insert);
    acid_writer_rest(writer);
}

void
acid_writer_rest(AcidWriter *writer)
{
    free(writer->data);
    free(writer->ends);
    writer->data = NULL;
    writer->data_cap = 0;
    writer->ends = NULL;
    writer->ends_cap = 0;
}

void
acid_writer_begin(AcidWriter *writer, AcidStream *stream, uint64_t position)
{
    writer->stream = stream;
    writer->position = position;
    writer->bytes = stream->bytes;
    writer->messages = stream->messages;
    writer->len = 0;
    writer->ends_count = 0;
}

static bool
insert_row(AcidWriter *writer, Str bytes, const uint32_t *ends, size_t count, Error *err)
{
    sqlite3_stmt *insert = writer->insert;
    const Stream *stream = &writer->stream->base.base;
    AcidRow row = {
        .stream_id = stream->id,
        .position = writer->position,
        .bytes_before = writer->bytes,
        .messages_before = writer->messages,
        .ends = count == 1 ? (Str){0} : str_n(ends, count * sizeof(*ends)),
        .bytes = bytes,
    };

    sqlite_bind_u64(insert, 1, row.stream_id);
    sqlite_bind_u64(insert, 2, row.position);
    sqlite_bind_u64(insert, 3, row.bytes_before);
    sqlite_bind_u64(insert, 4, row.messages_before);
    sqlite_bind_u64(insert, 5, row_checksum(&row));
    sqlite_bind_blob(insert, 6, row.ends);
    sqlite_bind_blob(insert, 7, row.bytes);
    writer->position += stream->kind == STREAM_JSON ? count : bytes.len;
    writer->bytes += bytes.len;
    writer->messages += count;
    return sqlite_run(insert, err);
}

bool
acid_writer_flush(AcidWriter *writer, Error *err)
{
    size_t count = writer->ends_count;
    Str bytes = str_n(writer->data, writer->len);

    writer->ends_count = 0;
    writer->len = 0;
    return count == 0 || insert_row(writer, bytes, writer->ends, count, err);
}

static size_t
grown(size_t cap, size_t cap_min, size_t wanted)
{
    cap = DS_MAX(cap, cap_min);
    while (cap < wanted) {
        cap *= 2;
    }
    return cap;
}

/* Messages of the payload, which end at ends[0..count) counted from `from`; they fit. */
static void
gather(AcidWriter *writer, Str bytes, const uint32_t *ends, size_t count, uint32_t from)
{
    if (writer->len + bytes.len > writer->data_cap) {
        writer->data_cap = grown(writer->data_cap, DATA_CAP_MIN, writer->len + bytes.len);
        writer->data = mem_realloc(writer->data, writer->data_cap);
    }
    if (writer->ends_count + count > writer->ends_cap) {
        writer->ends_cap = grown(writer->ends_cap, ENDS_CAP_MIN, writer->ends_count + count);
        writer->ends = mem_regrow(writer->ends, writer->ends_cap, sizeof(*writer->ends));
    }
    memcpy(writer->data + writer->len, bytes.ptr, bytes.len);
    for (size_t i = 0; i < count; i++) {
        writer->ends[writer->ends_count++] = (uint32_t)writer->len + (ends[i] - from);
    }
    writer->len += bytes.len;
}

/* How many messages from the first on have room, at most all. */
static size_t
fitting(LogPayload payload, size_t first, uint32_t from, size_t room)
{
    size_t last = first;

    if (payload.bytes.len - from <= room) {
        return payload.count - first;
    }
    while (payload.ends[last] - from <= room) {
        last++;
    }
    return last - first;
}

bool
acid_writer_add(AcidWriter *writer, LogPayload payload, Error *err)
{
    size_t first = 0;
    uint32_t from = 0;

    while (first < payload.count) {
        size_t count = fitting(payload, first, from, ACID_ROW_BYTES_MAX - writer->len);
        bool too_large = count == 0 && writer->len == 0;
        Str bytes;

        if (count == 0 && !too_large) {
            if (!acid_writer_flush(writer, err)) {
                return false;
            }
            continue;
        }
        count = DS_MAX(count, (size_t)1);
        bytes = str_slice(payload.bytes, from, payload.ends[first + count - 1]);
        if (!too_large) {
            gather(writer, bytes, payload.ends + first, count, from);
        } else if (!insert_row(writer, bytes, NULL, 1, err)) {
            return false;
        }
        from = payload.ends[first + count - 1];
        first += count;
    }
    return true;
}

/* ---- reading ---- */

static bool
damaged(const Stream *stream, uint64_t position, Error *err)
{
    return error_set(err, ERR_CORRUPT, "payload of stream %llu at position %llu is damaged",
                     (unsigned long long)stream->id, (unsigned long long)position);
}

/* Borrowed until the next step. */
static bool
row_get(sqlite3_stmt *statement, const Stream *stream, AcidRow *row, Error *err)
{
    uint32_t last_end;

    *row = (AcidRow){
        .stream_id = stream->id,
        .position = sqlite_column_u64(statement, 0),
        .bytes_before = sqlite_column_u64(statement, 1),
        .messages_before = sqlite_column_u64(statement, 2),
        .ends = sqlite_column_blob(statement, 4),
        .bytes = sqlite_column_blob(statement, 5),
        .count = 1,
    };
    if (row->bytes.len == 0 || row_checksum(row) != sqlite_column_u64(statement, 3)) {
        return damaged(stream, row->position, err);
    }
    if (row->ends.ptr == NULL) {
        return true;
    }
    row->count = row->ends.len / sizeof(last_end);
    if (row->count == 0 || row->ends.len % sizeof(last_end) != 0) {
        return damaged(stream, row->position, err);
    }
    memcpy(&last_end, row->ends.ptr + row->ends.len - sizeof(last_end), sizeof(last_end));
    return last_end == row->bytes.len || damaged(stream, row->position, err);
}

/* Where so many messages of it end. */
static size_t
row_end(const AcidRow *row, size_t count)
{
    uint32_t end;

    if (count == 0 || count == row->count) {
        return count == 0 ? 0 : row->bytes.len;
    }
    memcpy(&end, row->ends.ptr + (count - 1) * sizeof(end), sizeof(end));
    return end;
}

/* How many messages of it end at or before a byte. */
static size_t
row_messages(const AcidRow *row, size_t byte)
{
    size_t low = 0;
    size_t high = row->count;

    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;

        if (row_end(row, middle) <= byte) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

/* The byte of the row at a position that is not before it; its end when that lies behind. */
static size_t
row_byte(const AcidRow *row, StreamKind kind, uint64_t position)
{
    uint64_t behind = position - row->position;

    return kind == STREAM_JSON ? row_end(row, (size_t)DS_MIN(behind, (uint64_t)row->count))
                               : (size_t)DS_MIN(behind, (uint64_t)row->bytes.len);
}

static uint64_t
row_position(const AcidRow *row, StreamKind kind, size_t byte)
{
    return row->position + (kind == STREAM_JSON ? row_messages(row, byte) : byte);
}

/* Where to stop: at the end of a message, past bytes_max only with a first one that must be. */
static size_t
row_stop(const AcidRow *row, size_t begin, size_t limit, size_t bytes_max, bool first_must)
{
    size_t messages;
    size_t stop;

    if (limit - begin <= bytes_max) {
        return limit;
    }
    messages = row_messages(row, begin + bytes_max);
    stop = row_end(row, messages);
    if (stop <= begin && first_must) {
        stop = DS_MIN(row_end(row, messages + 1), limit);
    }
    return DS_MAX(stop, begin);
}

/* Bytes that are copied together, lest a range has a part for every row. */
typedef struct Block {
    Range *out;
    char *data;
    size_t len;
    size_t cap;
} Block;

static void
block_end(Block *block)
{
    HttpHold *hold;

    if (block->data == NULL) {
        return;
    }
    hold = http_hold_new(block->data);
    range_add(block->out, str_n(block->data, block->len), hold);
    http_hold_drop(hold);
    block->data = NULL;
}

static void
block_add(Block *block, Str bytes, size_t wanted)
{
    if (block->data != NULL && block->cap - block->len < bytes.len) {
        block_end(block);
    }
    if (block->data == NULL) {
        block->cap = DS_MAX(DS_MIN(wanted, READ_BLOCK_BYTES), bytes.len);
        block->data = mem_alloc(block->cap);
        block->len = 0;
    }
    memcpy(block->data + block->len, bytes.ptr, bytes.len);
    block->len += bytes.len;
}

/* What is not there was deleted, or else it is lost. */
static bool
missing(ShardStream *stream, uint64_t position, Error *err)
{
    bool gone;

    pthread_mutex_lock(&stream->base.lock);
    gone = atomic_load(&stream->base.deleted) || stream->base.view.base > position;
    pthread_mutex_unlock(&stream->base.lock);
    if (gone) {
        return error_set(err, ERR_GONE, "it was deleted or trimmed meanwhile");
    }
    return damaged(&stream->base, position, err);
}

static bool
read_rows(sqlite3_stmt *range, ShardStream *stream, uint64_t to, size_t bytes_max, Block *block,
          Error *err)
{
    StreamKind kind = stream->base.kind;
    Range *out = block->out;
    size_t done = out->bytes;
    bool more = true;

    while (out->to < to && (done == 0 || done < bytes_max)) {
        AcidRow row;
        size_t begin;
        size_t stop;

        if (!sqlite_step(range, &more, err)) {
            return false;
        }
        if (!more) {
            return missing(stream, out->to, err);
        }
        if (!row_get(range, &stream->base, &row, err)) {
            return false;
        }
        begin = row.position <= out->to ? row_byte(&row, kind, out->to) : row.bytes.len;
        if (begin == row.bytes.len) {
            return missing(stream, out->to, err);
        }
        stop = row_stop(&row, begin, row_byte(&row, kind, to), bytes_max - done, done == 0);
        if (stop == begin) {
            break;
        }
        block_add(block, str_slice(row.bytes, begin, stop), bytes_max - done);
        done += stop - begin;
        out->to = row_position(&row, kind, stop);
        if (stop < row.bytes.len) {
            break;
        }
    }
    return true;
}

bool
acid_payload_read(AcidReader *reader, ShardStream *stream, uint64_t from, uint64_t to,
                  size_t bytes_max, Range *out, Error *err)
{
    Block block = {.out = out};
    uint64_t out_to = out->to;
    bool ok;

    DS_ASSERT(out->to == from);
    sqlite_bind_u64(reader->range, 1, stream->base.id);
    sqlite_bind_u64(reader->range, 2, from);
    sqlite_bind_u64(reader->range, 3, to);
    ok = read_rows(reader->range, stream, to, bytes_max, &block, err);
    (void)sqlite3_reset(reader->range);
    block_end(&block);
    if (!ok && out->to == out_to) {
        return false;
    }
    /* What came before the damage is good: the next read begins at it. */
    return true;
}

/* All of the stream's own, when the position is its tail. */
static bool
measure_tail(ShardStream *stream, uint64_t position, uint64_t *out_bytes, uint64_t *out_messages)
{
    const AcidStream *acid = DS_CONTAINER_OF(stream, AcidStream, base);
    bool is_tail;

    pthread_mutex_lock(&stream->base.lock);
    is_tail = position == stream->kept_to;
    if (is_tail) {
        *out_bytes = acid->bytes;
        *out_messages = acid->messages;
    }
    pthread_mutex_unlock(&stream->base.lock);
    return is_tail;
}

bool
acid_payload_measure(AcidReader *reader, ShardStream *stream, uint64_t position,
                     uint64_t *out_bytes, uint64_t *out_messages, Error *err)
{
    AcidRow row;
    size_t byte;
    bool found;
    bool ok;

    if (measure_tail(stream, position, out_bytes, out_messages)) {
        return true;
    }
    sqlite_bind_u64(reader->last_before, 1, stream->base.id);
    sqlite_bind_u64(reader->last_before, 2, position + 1);
    if (!sqlite_step(reader->last_before, &found, err)) {
        return false;
    }
    if (!found) {
        return missing(stream, position, err);
    }
    ok = row_get(reader->last_before, &stream->base, &row, err);
    if (ok) {
        byte = row_byte(&row, stream->base.kind, position);
        *out_bytes = row.bytes_before + byte;
        *out_messages = row.messages_before + row_messages(&row, byte);
        ok = byte < row.bytes.len || missing(stream, position, err);
    }
    (void)sqlite3_reset(reader->last_before);
    return ok;
}
