/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the log at start: what is there is replayed, and what is not is told apart: never
 * finished, or lost.
 *
 * Batches follow each other without a gap in their LSNs.  The first that is missing or damaged ends
 * the log.  It is the mark of a crash if nothing proves that it was durable once; but every head
 * says up to which LSN all was synced when it was written, so a later one that covers the missing
 * LSN is proof of damage.  The end of a segment is not the end of the log: behind a crash the log
 * goes on in another one.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/little_endian.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/file_io.h"
#include "server/wal_internal.h"

#define GENERATION_DIGITS  16
#define SEGMENTS_FOUND_MAX 65536

typedef struct Replay {
    Wal *wal;
    uint64_t after_lsn;
    WalRecordFn fn;
    void *arg;
    uint64_t expected;       /* the next LSN; 0: nothing was read yet */
    uint64_t gap_generation; /* where reading stopped last */
    uint64_t gap_offset;
    bool sealed;
    char *body;
    size_t body_cap;
} Replay;

/* ---- one batch ---- */

static bool
corrupt(const Replay *replay, uint64_t generation, uint64_t offset, uint64_t missing, Error *err)
{
    char path[PATH_MAX];

    wal_segment_path(replay->wal, generation, ".wal", path);
    return error_set(err, ERR_CORRUPT,
                     "the log is damaged at byte %" PRIu64 " of %s: records from %" PRIu64
                     " on were durable and cannot be read. Restore the data folder from a copy; or "
                     "move %s and the log's later files away, and lose these records",
                     offset, path, missing, path);
}

/* The body into replay->body; *out_valid tells whether it is what the head says. */
static bool
body_read(Replay *replay, const WalSegment *segment, uint64_t offset, const WalBatchHead *head,
          bool *out_valid, Error *err)
{
    char path[PATH_MAX];
    size_t len = 0;

    if (head->length > segment->size || offset + WAL_BATCH_HEAD + head->length > segment->size) {
        *out_valid = false;
        return true;
    }
    if (head->length > replay->body_cap) {
        replay->body = mem_realloc(replay->body, head->length);
        replay->body_cap = head->length;
    }
    wal_segment_path(replay->wal, segment->generation, ".wal", path);
    if (!file_read_at(segment->fd, replay->body, head->length, offset + WAL_BATCH_HEAD, &len, path,
                      err)) {
        return false;
    }
    *out_valid =
        len == head->length && crc32c(CRC32C_INIT, str_n(replay->body, len)) == head->body_crc;
    return true;
}

/* Takes one record off the front; false: there is none. */
static bool
record_take(Str *rest, unsigned *out_kind, Str *out_body)
{
    if (rest->len < WAL_RECORD_HEAD || rest->len - WAL_RECORD_HEAD < le32_get(rest->ptr)) {
        return false;
    }
    *out_kind = le32_get(rest->ptr + 4);
    *out_body = str_n(rest->ptr + WAL_RECORD_HEAD, le32_get(rest->ptr));
    *rest = str_skip(*rest, WAL_RECORD_HEAD + out_body->len);
    return true;
}

/* A checksum that fits does not make records: none is delivered unless all are whole. */
static bool
records_are_whole(Str body, uint32_t records)
{
    unsigned kind;
    Str record;

    for (uint32_t i = 0; i < records; i++) {
        if (!record_take(&body, &kind, &record)) {
            return false;
        }
    }
    return body.len == 0;
}

static bool
batch_deliver(Replay *replay, const WalBatchHead *head, Error *err)
{
    Str rest = str_n(replay->body, head->length);

    for (uint32_t i = 0; i < head->records; i++) {
        uint64_t lsn = head->first_lsn + i;
        unsigned kind = 0;
        Str record = STR_EMPTY;
        bool whole = record_take(&rest, &kind, &record);

        DS_ASSERT(whole);
        if (lsn <= replay->after_lsn) {
            continue;
        }
        if (!replay->fn(replay->arg, lsn, kind, record, err)) {
            return false;
        }
        replay->wal->recovery.records++;
    }
    replay->expected = head->first_lsn + head->records;
    replay->sealed = (head->flags & WAL_FLAG_SEAL) != 0;
    replay->wal->recovery.torn_bytes = 0; /* the crash before was followed by this */
    return true;
}

/* Whether the log goes on with this batch.  At a segment's start there may be a gap, if the caller
 * has what is missing: of segments released together any may have survived a power failure. */
static bool
batch_continues(const Replay *replay, const WalBatchHead *head, bool at_start)
{
    if (head->first_lsn == replay->expected) {
        return true;
    }
    return at_start && head->first_lsn > replay->expected &&
           head->first_lsn <= replay->after_lsn + 1;
}

/* ---- one segment ---- */

static bool
head_read(const Replay *replay, const WalSegment *segment, uint64_t offset, WalBatchHead *out,
          bool *out_valid, Error *err)
{
    char bytes[WAL_BATCH_HEAD];
    char path[PATH_MAX];
    size_t len = 0;

    wal_segment_path(replay->wal, segment->generation, ".wal", path);
    if (!file_read_at(segment->fd, bytes, sizeof(bytes), offset, &len, path, err)) {
        return false;
    }
    *out_valid = len == sizeof(bytes) && wal_batch_head_get(bytes, segment, out);
    return true;
}

/* Behind the end: looks for heads that prove damage, and counts what is given up. */
static bool
rest_check(Replay *replay, const WalSegment *segment, uint64_t from, Error *err)
{
    for (uint64_t offset = from; offset + WAL_BATCH_HEAD <= segment->size;
         offset += WAL_BLOCK_BYTES) {
        WalBatchHead head;
        bool valid = false;

        if (!head_read(replay, segment, offset, &head, &valid, err)) {
            return false;
        }
        if (!valid) {
            continue;
        }
        uint64_t missing = replay->expected > 0
                               ? replay->expected
                               : DS_MIN(head.segment_first_lsn, replay->after_lsn + 1);

        if (head.durable_lsn >= missing) {
            return corrupt(replay, replay->gap_generation, replay->gap_offset, missing, err);
        }
        if (offset == from && head.first_lsn == missing) {
            replay->wal->recovery.torn_bytes = WAL_BATCH_HEAD + head.length;
        } else {
            replay->wal->recovery.discarded_bytes += WAL_BATCH_HEAD + head.length;
        }
    }
    return true;
}

/* One batch at segment->used; *out_more: it was there, and used is behind it. */
static bool
batch_replay(Replay *replay, WalSegment *segment, bool *out_more, Error *err)
{
    bool at_start = segment->first_lsn == 0;
    WalBatchHead head;
    bool valid = false;

    *out_more = false;
    if (segment->used + WAL_BATCH_HEAD > segment->size) {
        return true;
    }
    if (!head_read(replay, segment, segment->used, &head, &valid, err)) {
        return false;
    }
    if (!valid || !batch_continues(replay, &head, at_start)) {
        return true;
    }
    if (!body_read(replay, segment, segment->used, &head, &valid, err)) {
        return false;
    }
    if (!valid) {
        return true;
    }
    if (!records_are_whole(str_n(replay->body, head.length), head.records)) {
        return corrupt(replay, segment->generation, segment->used, head.first_lsn, err);
    }
    if (!batch_deliver(replay, &head, err)) {
        return false;
    }
    segment->first_lsn = at_start ? head.first_lsn : segment->first_lsn;
    segment->last_lsn = replay->expected - 1;
    segment->used += wal_round_up(WAL_BATCH_HEAD + head.length);
    *out_more = true;
    return true;
}

static bool
segment_replay(Replay *replay, WalSegment *segment, Error *err)
{
    bool more = true;

    while (more) {
        if (!batch_replay(replay, segment, &more, err)) {
            return false;
        }
    }
    if (replay->gap_generation == 0 || segment->first_lsn > 0) {
        replay->gap_generation = segment->generation;
        replay->gap_offset = segment->used;
    }
    return rest_check(replay, segment, segment->used, err);
}

/* ---- the folder ---- */

typedef struct Found {
    uint64_t *generations; /* of .wal files */
    size_t count;
    size_t cap;
} Found;

static int
generation_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static bool
spare_found(Wal *wal, uint64_t generation, Error *err)
{
    char path[PATH_MAX];
    struct stat status;

    wal_segment_path(wal, generation, ".spare", path);
    if (stat(path, &status) != 0) {
        return file_error(err, "look at", path);
    }
    if ((uint64_t)status.st_size != wal->segment_bytes || wal->spares_count == WAL_SPARES_MAX) {
        return unlink(path) == 0 || file_error(err, "remove", path);
    }
    WalSegment *spare = mem_zalloc(sizeof(*spare));

    *spare = (WalSegment){.generation = generation, .size = wal->segment_bytes, .fd = -1};
    TAILQ_INSERT_TAIL(&wal->spares, spare, link);
    wal->spares_count++;
    return true;
}

static bool
name_found(Wal *wal, Str name, Found *found, Error *err)
{
    Str suffix = str_skip(name, GENERATION_DIGITS);
    uint64_t generation = 0;
    char path[PATH_MAX];

    if (name.len < GENERATION_DIGITS ||
        !parse_hex_u64(str_head(name, GENERATION_DIGITS), &generation)) {
        return true; /* not ours */
    }
    if (str_eq(suffix, STR(".new"))) {
        wal_segment_path(wal, generation, ".new", path);
        return unlink(path) == 0 || file_error(err, "remove", path);
    }
    if (str_eq(suffix, STR(".spare"))) {
        wal->generation = DS_MAX(wal->generation, generation);
        return spare_found(wal, generation, err);
    }
    if (!str_eq(suffix, STR(".wal"))) {
        return true;
    }
    if (found->count == SEGMENTS_FOUND_MAX) {
        return error_set(err, ERR_LIMIT, "%s has more than %d segments", wal->dir,
                         SEGMENTS_FOUND_MAX);
    }
    wal->generation = DS_MAX(wal->generation, generation);
    if (found->count == found->cap) {
        found->cap = DS_MAX(found->cap * 2, 16);
        found->generations = mem_regrow(found->generations, found->cap, sizeof(uint64_t));
    }
    found->generations[found->count++] = generation;
    return true;
}

static bool
folder_read(Wal *wal, Found *found, Error *err)
{
    DIR *dir = opendir(wal->dir);
    bool ok = true;

    if (dir == NULL) {
        return file_error(err, "open", wal->dir);
    }
    while (ok) {
        errno = 0;
        const struct dirent *entry = readdir(dir);

        if (entry == NULL) {
            ok = errno == 0 || file_error(err, "read", wal->dir);
            break;
        }
        ok = name_found(wal, str_c(entry->d_name), found, err);
    }
    (void)closedir(dir);
    if (ok && found->count > 0) {
        qsort(found->generations, found->count, sizeof(uint64_t), generation_compare);
    }
    return ok;
}

static bool
segments_replay(Replay *replay, const Found *found, WalSegmentList *unused, Error *err)
{
    Wal *wal = replay->wal;

    for (size_t i = 0; i < found->count; i++) {
        WalSegment *segment = NULL;

        if (!wal_segment_load(wal, found->generations[i], &segment, err)) {
            return false;
        }
        bool ok = segment_replay(replay, segment, err);
        bool needed = segment->last_lsn > replay->after_lsn;

        (void)close(segment->fd);
        segment->fd = -1;
        TAILQ_INSERT_TAIL(needed ? &wal->live : unused, segment, link);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool
wal_recover(Wal *wal, uint64_t after_lsn, WalRecordFn fn, void *arg, Error *err)
{
    Replay replay = {.wal = wal, .after_lsn = after_lsn, .fn = fn, .arg = arg};
    WalSegmentList unused = TAILQ_HEAD_INITIALIZER(unused);
    Found found = {0};
    bool ok = file_make_dir(wal->dir, err) && folder_read(wal, &found, err) &&
              segments_replay(&replay, &found, &unused, err);

    if (ok) {
        uint64_t last = DS_MAX(replay.expected, 1) - 1;

        wal->recovery.last_lsn = DS_MAX(last, after_lsn);
        wal->recovery.sealed = replay.sealed;
        wal->released_lsn = after_lsn;
        atomic_store(&wal->last_lsn, wal->recovery.last_lsn);
        /* Before anything is written: what was given up must never be read again. */
        ok = wal_segments_retire(wal, &unused, err);
    }
    for (WalSegment *segment; (segment = TAILQ_FIRST(&unused)) != NULL;) {
        TAILQ_REMOVE(&unused, segment, link);
        wal_segment_free(segment);
    }
    free(found.generations);
    free(replay.body);
    return ok;
}
