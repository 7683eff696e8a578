/* SPDX-License-Identifier: Apache-2.0 */
#include "server/chunk_log.h"

#include "common/mem.h"

#define ENDS_COUNT_MIN   4
#define CHUNKS_COUNT_MIN 4

static void
chunk_release(HttpHold *hold)
{
    free(DS_CONTAINER_OF(hold, Chunk, hold));
}

static Chunk *
chunk_new(size_t cap)
{
    Chunk *chunk = mem_alloc(sizeof(*chunk) + cap);

    http_hold_init(&chunk->hold, chunk_release);
    return chunk;
}

static size_t
entry_memory(const LogChunk *entry)
{
    return sizeof(*entry) + sizeof(*entry->chunk) + entry->cap +
           entry->ends_cap * sizeof(*entry->ends);
}

static void
log_chunk_done(ChunkLog *log, LogChunk *entry)
{
    log->memory -= entry_memory(entry);
    http_hold_drop(&entry->chunk->hold);
    free(entry->ends);
}

void
chunk_log_init(ChunkLog *log, bool counts_messages)
{
    chunk_log_init_at(log, counts_messages, 0, 0);
}

void
chunk_log_init_at(ChunkLog *log, bool counts_messages, uint64_t bytes, uint64_t messages)
{
    *log = (ChunkLog){
        .byte_end = bytes,
        .index_end = messages,
        .counts_messages = counts_messages,
    };
}

void
chunk_log_done(ChunkLog *log)
{
    for (size_t i = log->head; i < log->count; i++) {
        log_chunk_done(log, &log->chunks[i]);
    }
    free(log->chunks);
    chunk_log_init(log, log->counts_messages);
}

/* Makes room for one more entry: by moving the live ones to the front when half are dead. */
static LogChunk *
entry_new(ChunkLog *log)
{
    if (log->count == log->cap && log->head >= log->cap / 2 && log->head > 0) {
        memmove(log->chunks, log->chunks + log->head,
                (log->count - log->head) * sizeof(*log->chunks));
        log->count -= log->head;
        log->head = 0;
    }
    if (log->count == log->cap) {
        log->cap = log->cap == 0 ? CHUNKS_COUNT_MIN : log->cap * 2;
        log->chunks = mem_regrow(log->chunks, log->cap, sizeof(*log->chunks));
    }
    return &log->chunks[log->count++];
}

static LogChunk *
chunk_with_room(ChunkLog *log, size_t bytes)
{
    size_t cap = CHUNK_BYTES_MIN;
    LogChunk *entry;

    if (log->count > log->head) {
        const LogChunk *last = &log->chunks[log->count - 1];

        if (last->cap - last->len >= bytes) {
            return &log->chunks[log->count - 1];
        }
        cap = DS_MIN((size_t)last->cap * 2, CHUNK_BYTES_MAX);
    }
    cap = DS_MAX(cap, bytes);
    entry = entry_new(log);
    *entry = (LogChunk){
        .chunk = chunk_new(cap),
        .cap = (uint32_t)cap,
        .byte_start = log->byte_end,
        .index_start = log->index_end,
    };
    log->memory += entry_memory(entry);
    return entry;
}

void
chunk_log_append(ChunkLog *log, LogPayload payload)
{
    LogChunk *entry;

    DS_ASSERT(payload.count > 0 && payload.bytes.len <= CHUNK_APPEND_BYTES_MAX);
    entry = chunk_with_room(log, payload.bytes.len);
    if (entry->ends_cap - entry->ends_count < payload.count) {
        uint32_t cap_before = entry->ends_cap;
        size_t wanted = DS_MAX(entry->ends_count + payload.count, (size_t)entry->ends_cap * 2);

        entry->ends_cap = (uint32_t)DS_MAX(wanted, (size_t)ENDS_COUNT_MIN);
        entry->ends = mem_regrow(entry->ends, entry->ends_cap, sizeof(*entry->ends));
        log->memory += (entry->ends_cap - cap_before) * sizeof(*entry->ends);
    }
    memcpy(entry->chunk->data + entry->len, payload.bytes.ptr, payload.bytes.len);
    for (size_t i = 0; i < payload.count; i++) {
        entry->ends[entry->ends_count + i] = entry->len + payload.ends[i];
    }
    entry->len += (uint32_t)payload.bytes.len;
    entry->ends_count += (uint32_t)payload.count;
    log->byte_end += payload.bytes.len;
    log->index_end += payload.count;
}

uint64_t
chunk_log_tail(const ChunkLog *log)
{
    return log->counts_messages ? log->index_end : log->byte_end;
}

static uint64_t
entry_start(const ChunkLog *log, const LogChunk *entry)
{
    return log->counts_messages ? entry->index_start : entry->byte_start;
}

uint64_t
chunk_log_start(const ChunkLog *log)
{
    return log->head < log->count ? entry_start(log, &log->chunks[log->head]) : chunk_log_tail(log);
}

static uint64_t
entry_length(const ChunkLog *log, const LogChunk *entry)
{
    return log->counts_messages ? entry->ends_count : entry->len;
}

/* The entry that holds the position; count when it is the tail. */
static size_t
find_entry(const ChunkLog *log, uint64_t position)
{
    size_t low = log->head;
    size_t high = log->count;

    if (position >= chunk_log_tail(log)) {
        DS_ASSERT(position == chunk_log_tail(log));
        return log->count;
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (entry_start(log, &log->chunks[middle]) <= position) {
            low = middle;
        } else {
            high = middle;
        }
    }
    DS_ASSERT(low < high && entry_start(log, &log->chunks[low]) <= position);
    return low;
}

/* How many messages of the chunk end at or before the byte. */
static uint32_t
ends_until(const LogChunk *entry, uint64_t byte)
{
    uint32_t low = 0;
    uint32_t high = entry->ends_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (entry->ends[middle] <= byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Where the position lies in its chunk, in bytes. */
static uint32_t
byte_in_entry(const ChunkLog *log, const LogChunk *entry, uint64_t position)
{
    uint64_t skip = position - entry_start(log, entry);

    if (!log->counts_messages) {
        return (uint32_t)skip;
    }
    return skip == 0 ? 0 : entry->ends[skip - 1];
}

uint64_t
chunk_log_index_at(const ChunkLog *log, uint64_t position)
{
    size_t at = find_entry(log, position);

    if (log->counts_messages) {
        return position;
    }
    if (at == log->count) {
        return log->index_end;
    }
    return log->chunks[at].index_start +
           ends_until(&log->chunks[at], byte_in_entry(log, &log->chunks[at], position));
}

uint64_t
chunk_log_bytes_from(const ChunkLog *log, uint64_t position)
{
    size_t at = find_entry(log, position);

    if (at == log->count) {
        return 0;
    }
    return log->byte_end - log->chunks[at].byte_start -
           byte_in_entry(log, &log->chunks[at], position);
}

size_t
chunk_log_lengths(const ChunkLog *log, uint64_t from, uint32_t *out)
{
    size_t first = find_entry(log, from);
    size_t count = 0;

    for (size_t i = first; i < log->count; i++) {
        const LogChunk *entry = &log->chunks[i];
        uint32_t begin = i == first ? byte_in_entry(log, entry, from) : 0;

        for (uint32_t j = ends_until(entry, begin); j < entry->ends_count; j++) {
            if (out != NULL) {
                out[count] = entry->ends[j] - begin;
            }
            begin = entry->ends[j];
            count++;
        }
    }
    return count;
}

/* What is left of a chunk whose greater part was trimmed moves to one of its own size; who reads
 * the old one holds it.  So a log takes no more than twice what it counts. */
static void
entry_shrink(ChunkLog *log, LogChunk *entry, uint32_t begin)
{
    uint32_t gone = ends_until(entry, begin);
    LogChunk kept = {
        .chunk = chunk_new(entry->len - begin),
        .byte_start = entry->byte_start + begin,
        .index_start = entry->index_start + gone,
        .cap = entry->len - begin,
        .len = entry->len - begin,
        .ends_count = entry->ends_count - gone,
        .ends_cap = entry->ends_count - gone,
        .ends = mem_array(entry->ends_count - gone, sizeof(*entry->ends)),
    };

    memcpy(kept.chunk->data, entry->chunk->data + begin, kept.len);
    for (uint32_t i = 0; i < kept.ends_count; i++) {
        kept.ends[i] = entry->ends[gone + i] - begin;
    }
    log_chunk_done(log, entry);
    *entry = kept;
    log->memory += entry_memory(entry);
}

void
chunk_log_trim(ChunkLog *log, uint64_t position)
{
    size_t keep = find_entry(log, position);

    while (log->head < keep) {
        log_chunk_done(log, &log->chunks[log->head++]);
    }
    if (log->head == log->count) {
        free(log->chunks);
        log->chunks = NULL;
        log->head = log->count = log->cap = 0;
        return;
    }
    LogChunk *first = &log->chunks[log->head];
    uint32_t begin = byte_in_entry(log, first, position);

    if (first->len - begin < first->cap / 2 && begin > 0) {
        entry_shrink(log, first, begin);
    }
}

/* Where to stop in this chunk: at its end, or at the last message that fits; first_must is set when
 * nothing was taken yet, and then one message is taken whatever its size. */
static uint32_t
entry_stop(const LogChunk *entry, uint32_t begin, size_t bytes_left, bool first_must)
{
    uint32_t fit;

    if (entry->len - begin <= bytes_left) {
        return entry->len;
    }
    fit = ends_until(entry, (uint64_t)begin + bytes_left);
    if (fit > 0 && entry->ends[fit - 1] > begin) {
        return entry->ends[fit - 1];
    }
    return first_must ? entry->ends[ends_until(entry, begin)] : begin;
}

void
chunk_log_read(const ChunkLog *log, uint64_t from, uint64_t to, size_t bytes_max, Range *out)
{
    size_t first = find_entry(log, from);
    bool first_must = out->count == 0;

    for (size_t i = first; i < log->count && out->to < to; i++) {
        const LogChunk *entry = &log->chunks[i];
        uint32_t begin = i == first ? byte_in_entry(log, entry, from) : 0;
        uint32_t stop =
            entry_stop(entry, begin, bytes_max - DS_MIN(bytes_max, out->bytes), first_must);

        if (to < entry_start(log, entry) + entry_length(log, entry)) {
            stop = DS_MIN(stop, byte_in_entry(log, entry, to));
        }
        if (stop == begin) {
            break;
        }
        range_add(out, str_n(entry->chunk->data + begin, stop - begin), &entry->chunk->hold);
        out->to = log->counts_messages ? entry->index_start + ends_until(entry, stop)
                                       : entry->byte_start + stop;
        first_must = false;
        if (stop < entry->len) {
            break;
        }
    }
}
