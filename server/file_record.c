/* SPDX-License-Identifier: Apache-2.0 */
#include "server/file_record.h"

#include "common/fault.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");

/* Numbers on the disk: never changed, never used twice. */
static const unsigned disk_kinds[] = {
    [CHANGE_CREATE] = 1,      [CHANGE_APPEND] = 2, [CHANGE_DELETE] = 3,
    [CHANGE_SOFT_DELETE] = 4, [CHANGE_TRIM] = 5,   [CHANGE_TOUCH] = 6,
};

#define FLAG_CLOSE    1
#define FLAG_SEQ      2
#define FLAG_PRODUCER 4
#define FLAGS_ALL     7

#define FIXED_BYTES_MAX 256 /* of all fixed fields together */

/* The caller's arena has no limit of its own: a batch has one. */
static void *
take(Arena *arena, size_t bytes)
{
    Error err;
    void *room = arena_alloc(arena, bytes, &err);

    DS_ASSERT(room != NULL);
    return room;
}

/* ---- writing ---- */

typedef struct Writer {
    char *start;
    char *at;
} Writer;

static void
put(Writer *writer, const void *bytes, size_t len)
{
    memcpy(writer->at, bytes, len);
    writer->at += len;
}

static void
put_u64(Writer *writer, uint64_t value)
{
    put(writer, &value, sizeof(value));
}

static void
put_i64(Writer *writer, int64_t value)
{
    put(writer, &value, sizeof(value));
}

static void
put_text(Writer *writer, Str text)
{
    uint16_t len = (uint16_t)text.len;

    DS_ASSERT(text.len <= UINT16_MAX);
    put(writer, &len, sizeof(len));
    if (text.len > 0) {
        put(writer, text.ptr, text.len);
    }
}

static void
put_create(Writer *writer, const Change *change)
{
    const Stream *stream = &change->stream->base;
    const StreamView *at = &change->at;

    put_u64(writer, stream->era);
    put_u64(writer, stream->parent == NULL ? 0 : stream->parent->id);
    put_u64(writer, stream->fork_at);
    put_u64(writer, at->start);
    put_u64(writer, at->messages - change->op->append.payload.count);
    put_i64(writer, stream->created_ms);
    put_i64(writer, stream->ttl_s);
    put_i64(writer, stream->expires_at_ms);
    put_text(writer, stream->name);
    put_text(writer, stream->content_type);
}

static void
put_append(Writer *writer, uint64_t position, const AppendRequest *request)
{
    bool has_producer = request->has_producer && !MUTANT("producer_outside_commit");
    unsigned char flags =
        (unsigned char)((request->close ? FLAG_CLOSE : 0) | (request->has_seq ? FLAG_SEQ : 0) |
                        (has_producer ? FLAG_PRODUCER : 0));
    uint32_t count = (uint32_t)request->payload.count;

    put_u64(writer, position);
    put(writer, &flags, sizeof(flags));
    put(writer, &count, sizeof(count));
    if (request->has_seq) {
        put_text(writer, request->seq);
    }
    if (has_producer) {
        put_text(writer, request->producer.id);
        put_u64(writer, request->producer.epoch);
        put_u64(writer, request->producer.seq);
    }
}

static size_t
texts_bytes(const Change *change)
{
    const Stream *stream = &change->stream->base;
    const AppendRequest *request = &change->op->append;

    return stream->name.len + stream->content_type.len + (request->has_seq ? request->seq.len : 0) +
           (request->has_producer ? request->producer.id.len : 0);
}

size_t
file_record_make(const Change *change, Arena *arena, unsigned *out_kind,
                 Str out_parts[FILE_RECORD_PARTS_MAX])
{
    bool appends = change->kind == CHANGE_CREATE || change->kind == CHANGE_APPEND;
    size_t count = 1;
    Writer writer;

    writer.start = take(arena, FIXED_BYTES_MAX + (appends ? texts_bytes(change) : 0));
    writer.at = writer.start;
    put_u64(&writer, change->stream->base.id);
    put_i64(&writer, change->wall_ms);
    if (change->kind == CHANGE_CREATE) {
        put_create(&writer, change);
    }
    if (change->kind == CHANGE_TRIM) {
        put_u64(&writer, change->at.start);
        put_u64(&writer, change->at.base);
        put_u64(&writer, change->at.messages);
        put_u64(&writer, change->at.bytes);
    }
    if (appends) {
        const LogPayload *payload = &change->op->append.payload;

        put_append(&writer, change->position, &change->op->append);
        if (payload->count > 1) {
            out_parts[count++] = str_n(payload->ends, payload->count * sizeof(*payload->ends));
        }
        if (payload->count > 0) {
            out_parts[count++] = payload->bytes;
        }
    }
    out_parts[0] = str_n(writer.start, (size_t)(writer.at - writer.start));
    *out_kind = disk_kinds[change->kind];
    return count;
}

/* ---- reading ---- */

static bool
get(Str *from, void *out, size_t len)
{
    if (from->len < len) {
        return false;
    }
    memcpy(out, from->ptr, len);
    *from = str_skip(*from, len);
    return true;
}

static bool
get_u64(Str *from, uint64_t *out)
{
    return get(from, out, sizeof(*out));
}

static bool
get_i64(Str *from, int64_t *out)
{
    return get(from, out, sizeof(*out));
}

static bool
get_text(Str *from, Str *out)
{
    uint16_t len;

    if (!get(from, &len, sizeof(len)) || from->len < len) {
        return false;
    }
    *out = str_head(*from, len);
    *from = str_skip(*from, len);
    return true;
}

static bool
get_create(Str *from, FileRecord *out)
{
    return get_u64(from, &out->era) && get_u64(from, &out->parent_id) &&
           get_u64(from, &out->fork_at) && get_u64(from, &out->at.start) &&
           get_u64(from, &out->at.messages) && get_i64(from, &out->created_ms) &&
           get_i64(from, &out->config.ttl_s) && get_i64(from, &out->config.expires_at_ms) &&
           get_text(from, &out->name) && get_text(from, &out->config.content_type);
}

/* The rest of the record: ends, unless there is one message, and the bytes. */
static bool
get_payload(Str *from, uint32_t count, Arena *arena, LogPayload *out)
{
    uint32_t *ends;

    if (count == 0) {
        return from->len == 0;
    }
    if (from->len > UINT32_MAX || (count > 1 && from->len / sizeof(*ends) < count)) {
        return false;
    }
    ends = take(arena, count * sizeof(*ends));
    if (count == 1) {
        ends[0] = (uint32_t)from->len;
    } else if (!get(from, ends, count * sizeof(*ends))) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (ends[i] <= (i == 0 ? 0 : ends[i - 1])) {
            return false;
        }
    }
    *out = (LogPayload){.bytes = *from, .ends = ends, .count = count};
    return ends[count - 1] == from->len;
}

static bool
get_append(Str *from, Arena *arena, FileRecord *out)
{
    AppendRequest *request = &out->append;
    unsigned char flags;
    uint32_t count;

    if (!get_u64(from, &out->position) || !get(from, &flags, sizeof(flags)) ||
        !get(from, &count, sizeof(count)) || (flags & ~FLAGS_ALL) != 0) {
        return false;
    }
    request->close = (flags & FLAG_CLOSE) != 0;
    request->has_seq = (flags & FLAG_SEQ) != 0;
    request->has_producer = (flags & FLAG_PRODUCER) != 0;
    if (request->has_seq && !get_text(from, &request->seq)) {
        return false;
    }
    if (request->has_producer &&
        (!get_text(from, &request->producer.id) || request->producer.id.len == 0 ||
         !get_u64(from, &request->producer.epoch) || !get_u64(from, &request->producer.seq))) {
        return false;
    }
    return get_payload(from, count, arena, &request->payload);
}

static bool
get_trim(Str *from, StreamView *out)
{
    return get_u64(from, &out->start) && get_u64(from, &out->base) &&
           get_u64(from, &out->messages) && get_u64(from, &out->bytes);
}

static bool
kind_of(unsigned number, ChangeKind *out)
{
    for (size_t i = 0; i < DS_COUNT(disk_kinds); i++) {
        if (disk_kinds[i] == number) {
            *out = (ChangeKind)i;
            return true;
        }
    }
    return false;
}

bool
file_record_parse(unsigned kind, Str body, Arena *arena, FileRecord *out, Error *err)
{
    FileRecord record = {.append.payload.bytes = STR_EMPTY};
    Str rest = body;
    bool ok = kind_of(kind, &record.kind) && get_u64(&rest, &record.id) && record.id != 0 &&
              get_i64(&rest, &record.wall_ms);

    switch (record.kind) {
    case CHANGE_CREATE:
        ok = ok && get_create(&rest, &record) && get_append(&rest, arena, &record);
        break;
    case CHANGE_APPEND:
        ok = ok && get_append(&rest, arena, &record);
        break;
    case CHANGE_TRIM:
        ok = ok && get_trim(&rest, &record.at) && rest.len == 0;
        break;
    case CHANGE_DELETE:
    case CHANGE_SOFT_DELETE:
    case CHANGE_TOUCH:
        ok = ok && rest.len == 0;
        break;
    }
    if (!ok) {
        return error_set(err, ERR_CORRUPT,
                         "a record of the write-ahead log (kind %u, %zu bytes) "
                         "is not one that this program writes",
                         kind, body.len);
    }
    *out = record;
    return true;
}
