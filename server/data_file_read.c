/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading messages back, checked.
 */
#include <inttypes.h>
#include <limits.h>

#include "common/crc32c.h"
#include "common/mem.h"
#include "server/data_file_internal.h"

#define ENTRIES_AT_ONCE 256
#define WINDOW_BYTES    65536
#define MESSAGES_MAX    65536 /* of one read; a caller reads on */

/* The entries of one read: those that count, and the one before to know where the first begins. */
typedef struct DataPlan {
    uint64_t first; /* message */
    uint64_t start; /* where it begins */
    size_t room;    /* bytes that the range may still take */
    bool needs_one; /* however large */
    DataEntry *entries;
    size_t count;
    size_t cap;
} DataPlan;

static bool
damaged(const DataFiles *files, uint64_t id, DataPart part, uint64_t message, uint64_t offset,
        Error *err)
{
    char path[PATH_MAX];

    data_file_path(files, id, part, path);
    return error_set(err, ERR_CORRUPT,
                     "%s is damaged at byte %" PRIu64 ", message %" PRIu64
                     ": restore it from a copy, or delete the stream",
                     path, offset, message);
}

static bool
entries_read(const DataFiles *files, uint64_t id, int fd, uint64_t first, size_t count,
             DataEntry *out, Error *err)
{
    char bytes[ENTRIES_AT_ONCE * DATA_ENTRY_BYTES];
    char path[PATH_MAX];
    size_t len = 0;

    DS_ASSERT(count <= ENTRIES_AT_ONCE);
    data_file_path(files, id, DATA_INDEX, path);
    if (!file_read_at(fd, bytes, count * DATA_ENTRY_BYTES, first * DATA_ENTRY_BYTES, &len, path,
                      err)) {
        return false;
    }
    if (len < count * DATA_ENTRY_BYTES) {
        return damaged(files, id, DATA_INDEX, first + len / DATA_ENTRY_BYTES,
                       first * DATA_ENTRY_BYTES + len, err);
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = data_entry_get(bytes + i * DATA_ENTRY_BYTES);
    }
    return true;
}

bool
data_index_check_end(DataFiles *files, uint64_t id, DataEnd end, Error *err)
{
    uint64_t last = end.count - 1;
    DataEntry entry;
    FdPin pin;

    if (!data_file_pin(files, id, DATA_INDEX, false, &pin, err)) {
        return false;
    }
    bool ok = entries_read(files, id, pin.fd, last, 1, &entry, err);

    fd_cache_unpin(files->cache, &pin);
    return ok && (entry.end == end.bytes ||
                  damaged(files, id, DATA_INDEX, last, last * DATA_ENTRY_BYTES, err));
}

/* The message that has the byte. */
static bool
message_search(const DataFiles *files, int fd, const DataRead *read, uint64_t *out, Error *err)
{
    uint64_t low = 0;
    uint64_t high = read->end.count;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        DataEntry entry;

        if (!entries_read(files, read->id, fd, middle, 1, &entry, err)) {
            return false;
        }
        if (entry.end > read->from) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    *out = low;
    return low < read->end.count ||
           damaged(files, read->id, DATA_INDEX, low, low * DATA_ENTRY_BYTES, err);
}

static bool
plan_start(const DataFiles *files, int fd, const DataRead *read, DataPlan *plan, Error *err)
{
    DataEntry before = {0};

    plan->first = read->from;
    if (!read->counts_messages && !message_search(files, fd, read, &plan->first, err)) {
        return false;
    }
    if (plan->first > 0 && !entries_read(files, read->id, fd, plan->first - 1, 1, &before, err)) {
        return false;
    }
    plan->start = before.end;
    return read->counts_messages || before.end <= read->from ||
           damaged(files, read->id, DATA_INDEX, plan->first, plan->first * DATA_ENTRY_BYTES, err);
}

bool
data_file_locate(DataFiles *files, uint64_t id, DataEnd end, bool counts_messages,
                 uint64_t position, DataEnd *out, Error *err)
{
    DataRead read = {.id = id, .end = end, .counts_messages = counts_messages, .from = position};
    DataPlan plan = {0};
    FdPin pin;
    bool ok;

    if (position == (counts_messages ? end.count : end.bytes)) {
        *out = end;
        return true;
    }
    if (!data_file_pin(files, id, DATA_INDEX, false, &pin, err)) {
        return false;
    }
    ok = plan_start(files, pin.fd, &read, &plan, err);
    fd_cache_unpin(files->cache, &pin);
    if (ok) {
        *out = (DataEnd){.bytes = counts_messages ? plan.start : position, .count = plan.first};
    }
    return ok;
}

/* Whether one more message belongs to what is read. */
static bool
plan_wants(const DataRead *read, const DataPlan *plan, uint64_t start, uint64_t end)
{
    bool is_asked = read->counts_messages ? plan->first + plan->count < read->to : start < read->to;
    uint64_t bytes = read->counts_messages ? end - plan->start : DS_MIN(end, read->to) - read->from;

    return is_asked && plan->count < MESSAGES_MAX &&
           (bytes <= plan->room || (plan->count == 0 && plan->needs_one));
}

static void
plan_add(DataPlan *plan, const DataEntry *entry)
{
    if (plan->count == plan->cap) {
        plan->cap = DS_MAX(plan->cap * 2, 64);
        plan->entries = mem_regrow(plan->entries, plan->cap, sizeof(*plan->entries));
    }
    plan->entries[plan->count++] = *entry;
}

/* Every entry must go on where the one before ends: no length is believed that the others deny. */
static bool
plan_fill(const DataFiles *files, int fd, const DataRead *read, DataPlan *plan, Error *err)
{
    uint64_t at = plan->first;
    uint64_t start = plan->start;

    while (at < read->end.count) {
        DataEntry entries[ENTRIES_AT_ONCE];
        size_t count = (size_t)DS_MIN(ENTRIES_AT_ONCE, read->end.count - at);

        if (!entries_read(files, read->id, fd, at, count, entries, err)) {
            return false;
        }
        for (size_t i = 0; i < count; i++, at++) {
            const DataEntry *entry = &entries[i];

            if (entry->length == 0 || entry->end != start + entry->length ||
                entry->end > read->end.bytes) {
                return damaged(files, read->id, DATA_INDEX, at, at * DATA_ENTRY_BYTES, err);
            }
            if (!plan_wants(read, plan, start, entry->end)) {
                return true;
            }
            plan_add(plan, entry);
            start = entry->end;
        }
    }
    return true;
}

static bool
plan_make(DataFiles *files, const DataRead *read, DataPlan *plan, Error *err)
{
    FdPin pin;

    if (!data_file_pin(files, read->id, DATA_INDEX, false, &pin, err)) {
        return false;
    }
    bool ok =
        plan_start(files, pin.fd, read, plan, err) && plan_fill(files, pin.fd, read, plan, err);

    fd_cache_unpin(files->cache, &pin);
    return ok &&
           (plan->count > 0 || !plan->needs_one ||
            damaged(files, read->id, DATA_INDEX, plan->first, plan->first * DATA_ENTRY_BYTES, err));
}

static bool
payload_check(const DataFiles *files, const DataRead *read, const DataPlan *plan, const char *bytes,
              Error *err)
{
    for (size_t i = 0; i < plan->count; i++) {
        const DataEntry *entry = &plan->entries[i];
        uint64_t start = entry->end - entry->length;

        if (crc32c(CRC32C_INIT, str_n(bytes + (start - plan->start), entry->length)) !=
            entry->crc) {
            return damaged(files, read->id, DATA_PAYLOAD, plan->first + i, start, err);
        }
    }
    return true;
}

static bool
payload_read(DataFiles *files, const DataRead *read, const DataPlan *plan, char *out, size_t len,
             Error *err)
{
    char path[PATH_MAX];
    size_t got = 0;
    FdPin pin;

    data_file_path(files, read->id, DATA_PAYLOAD, path);
    if (!data_file_pin(files, read->id, DATA_PAYLOAD, false, &pin, err)) {
        return false;
    }
    bool ok = file_read_at(pin.fd, out, len, plan->start, &got, path, err);

    fd_cache_unpin(files->cache, &pin);
    if (ok && got < len) {
        ok = damaged(files, read->id, DATA_PAYLOAD, plan->first, plan->start + got, err);
    }
    return ok && payload_check(files, read, plan, out, err);
}

/* ---- left in the file ---- */

typedef struct DataPiece {
    HttpFile file;
    DataFiles *files;
    FdPin pin;
} DataPiece;

static void
piece_release(HttpHold *hold)
{
    DataPiece *piece = DS_CONTAINER_OF(hold, DataPiece, file.hold);

    fd_cache_unpin(piece->files->cache, &piece->pin);
    atomic_fetch_sub(&piece->files->pieces, 1);
    free(piece);
}

static DataPiece *
piece_new(DataFiles *files, uint64_t id, Error *err)
{
    DataPiece *piece = mem_zalloc(sizeof(*piece));

    data_file_set_sent(files, id); /* before anything of it is read, see data_file_punch */
    piece->files = files;
    http_hold_init(&piece->file.hold, piece_release);
    if (!data_file_pin(files, id, DATA_PAYLOAD, false, &piece->pin, err)) {
        free(piece);
        return NULL;
    }
    piece->file.fd = piece->pin.fd;
    atomic_fetch_add(&files->pieces, 1);
    return piece;
}

/* How far the messages of a plan are checked. */
typedef struct DataCheck {
    size_t message;
    uint32_t crc;
} DataCheck;

static bool
window_check(const DataFiles *files, const DataRead *read, const DataPlan *plan, DataCheck *check,
             uint64_t at, Str bytes, Error *err)
{
    while (bytes.len > 0) {
        const DataEntry *entry = &plan->entries[check->message];
        size_t take = (size_t)DS_MIN((uint64_t)bytes.len, entry->end - at);

        check->crc = crc32c(check->crc, str_head(bytes, take));
        bytes = str_skip(bytes, take);
        at += take;
        if (at < entry->end) {
            continue;
        }
        if (check->crc != entry->crc) {
            return damaged(files, read->id, DATA_PAYLOAD, plan->first + check->message,
                           entry->end - entry->length, err);
        }
        check->crc = CRC32C_INIT;
        check->message++;
    }
    return true;
}

/* Reads it all, which also brings it into the page cache for whoever sends it. */
static bool
piece_check(const DataFiles *files, const DataRead *read, const DataPlan *plan, int fd, size_t len,
            Error *err)
{
    char *window = mem_alloc(WINDOW_BYTES);
    DataCheck check = {.crc = CRC32C_INIT};
    char path[PATH_MAX];
    bool ok = true;

    data_file_path(files, read->id, DATA_PAYLOAD, path);
    for (size_t done = 0; ok && done < len; done += WINDOW_BYTES) {
        size_t wanted = DS_MIN(len - done, (size_t)WINDOW_BYTES);
        size_t got = 0;

        ok = file_read_at(fd, window, wanted, plan->start + done, &got, path, err);
        if (ok && got < wanted) {
            ok = damaged(files, read->id, DATA_PAYLOAD, plan->first, plan->start + done + got, err);
        }
        ok = ok && window_check(files, read, plan, &check, plan->start + done,
                                str_n(window, wanted), err);
    }
    free(window);
    return ok;
}

/* ---- the range ---- */

/* The part of a plan's bytes that was asked for. */
typedef struct DataWanted {
    uint64_t offset;
    size_t len;
} DataWanted;

static DataWanted
wanted_of(const DataRead *read, const DataPlan *plan, size_t len)
{
    uint64_t end = plan->start + len;

    if (read->counts_messages) {
        return (DataWanted){plan->start, len};
    }
    return (DataWanted){read->from, (size_t)(DS_MIN(end, read->to) - read->from)};
}

static bool
add_piece(DataFiles *files, const DataRead *read, const DataPlan *plan, size_t len, Range *range,
          Error *err)
{
    DataWanted wanted = wanted_of(read, plan, len);
    DataPiece *piece = piece_new(files, read->id, err);
    bool ok = piece != NULL && piece_check(files, read, plan, piece->file.fd, len, err);

    if (ok) {
        range_add_file(range, &piece->file, wanted.offset, wanted.len);
    }
    if (piece != NULL) {
        http_hold_drop(&piece->file.hold);
    }
    return ok;
}

static bool
add_bytes(DataFiles *files, const DataRead *read, const DataPlan *plan, size_t len, Range *range,
          Error *err)
{
    DataWanted wanted = wanted_of(read, plan, len);
    char *bytes = mem_alloc(len);

    if (!payload_read(files, read, plan, bytes, len, err)) {
        free(bytes);
        return false;
    }
    HttpHold *hold = http_hold_new(bytes);

    range_add(range, str_n(bytes + (wanted.offset - plan->start), wanted.len), hold);
    http_hold_drop(hold);
    return true;
}

bool
data_file_read(DataFiles *files, const DataRead *read, Range *range, Error *err)
{
    DataPlan plan = {
        .room = read->bytes_max - DS_MIN(read->bytes_max, range->bytes),
        .needs_one = range->bytes == 0,
    };
    size_t before = range->bytes;
    bool ok;

    DS_ASSERT(read->from < read->to &&
              read->to <= (read->counts_messages ? read->end.count : read->end.bytes));
    ok = plan_make(files, read, &plan, err);
    if (ok && plan.count > 0) {
        size_t len = (size_t)(plan.entries[plan.count - 1].end - plan.start);
        bool stays = range->takes_files && len >= DATA_FILE_PIECE_BYTES_MIN &&
                     atomic_load(&files->pieces) < files->pieces_max;

        ok = (stays ? add_piece : add_bytes)(files, read, &plan, len, range, err);
    }
    if (ok) {
        range->to += read->counts_messages ? plan.count : range->bytes - before;
    } else {
        err->code = err->code == ERR_FATAL ? ERR_CORRUPT : err->code; /* nothing was written */
    }
    free(plan.entries);
    return ok;
}
