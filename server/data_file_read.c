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
#define MESSAGES_MAX    65536 /* of one read; a caller reads on */

/* The entries of one read: those that count, and the one before to know where the first begins. */
typedef struct DataPlan {
    uint64_t first; /* message */
    uint64_t start; /* where it begins */
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

/* Whether one more message belongs to what is read. */
static bool
plan_wants(const DataRead *read, const DataPlan *plan, uint64_t start, uint64_t end)
{
    if (plan->count == MESSAGES_MAX) {
        return false;
    }
    if (plan->count == 0) {
        return true;
    }
    if (read->counts_messages) {
        return plan->first + plan->count < read->to && end - plan->start <= read->bytes_max;
    }
    return start < read->to && DS_MIN(end, read->to) - read->from <= read->bytes_max;
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
    return ok && (plan->count > 0 || damaged(files, read->id, DATA_INDEX, plan->first,
                                             plan->first * DATA_ENTRY_BYTES, err));
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

static void
range_extend(Range *range, const DataRead *read, const DataPlan *plan, char *bytes, size_t len)
{
    uint64_t skip = read->counts_messages ? 0 : read->from - plan->start;
    uint64_t end = read->counts_messages ? plan->start + len : DS_MIN(plan->start + len, read->to);
    Str wanted = str_n(bytes + skip, (size_t)(end - plan->start - skip));
    HttpHold *hold = http_hold_new(bytes);

    range_add(range, wanted, hold);
    http_hold_drop(hold);
    range->to += read->counts_messages ? plan->count : wanted.len;
}

bool
data_file_read(DataFiles *files, const DataRead *read, Range *range, Error *err)
{
    DataPlan plan = {0};
    char *bytes = NULL;
    bool ok = false;

    DS_ASSERT(read->from < read->to &&
              read->to <= (read->counts_messages ? read->end.count : read->end.bytes));
    if (!plan_make(files, read, &plan, err)) {
        goto done;
    }
    size_t len = (size_t)(plan.entries[plan.count - 1].end - plan.start);

    bytes = mem_alloc(len);
    ok = payload_read(files, read, &plan, bytes, len, err);

done:
    if (ok) {
        range_extend(range, read, &plan, bytes, len);
    } else {
        free(bytes);
        err->code = err->code == ERR_FATAL ? ERR_CORRUPT : err->code; /* nothing was written */
    }
    free(plan.entries);
    return ok;
}
