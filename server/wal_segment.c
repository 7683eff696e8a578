/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of the log: made, recycled, loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/fault.h"
#include "common/little_endian.h"
#include "common/mem.h"
#include "server/file_io.h"
#include "server/wal_internal.h"

#define SEGMENT_HEAD  40 /* bytes */
#define ZEROS_BYTES   ((size_t)64 * 1024)
#define ZEROS_AT_ONCE 16 /* times ZEROS_BYTES */

static const char zeros[ZEROS_BYTES];

void
wal_segment_path(const Wal *wal, uint64_t generation, const char *suffix, char *out)
{
    int len = snprintf(out, PATH_MAX, "%s/%016" PRIx64 "%s", wal->dir, generation, suffix);

    DS_ASSERT(len > 0 && len < PATH_MAX);
}

void
wal_segment_free(WalSegment *segment)
{
    if (segment == NULL) {
        return;
    }
    if (segment->fd >= 0) {
        (void)close(segment->fd);
    }
    free(segment);
}

static WalSegment *
segment_new(uint64_t generation)
{
    WalSegment *segment = mem_zalloc(sizeof(*segment));

    segment->generation = generation;
    segment->fd = -1;
    segment->used = WAL_BLOCK_BYTES;
    return segment;
}

/* ---- the head ---- */

static void
segment_head_put(const WalSegment *segment, char *out)
{
    le64_put(out, WAL_SEGMENT_MAGIC);
    le32_put(out + 8, WAL_VERSION);
    le64_put(out + 16, segment->generation);
    le64_put(out + 24, segment->nonce);
    le64_put(out + 32, segment->size);
    le32_put(out + 12, crc32c(crc32c(CRC32C_INIT, str_n(out, 12)), str_n(out + 16, 24)));
}

static bool
segment_head_get(const char *bytes, WalSegment *segment, const char *path, Error *err)
{
    uint32_t crc = crc32c(crc32c(CRC32C_INIT, str_n(bytes, 12)), str_n(bytes + 16, 24));

    if (le64_get(bytes) != WAL_SEGMENT_MAGIC || le32_get(bytes + 12) != crc ||
        le64_get(bytes + 16) != segment->generation) {
        return error_set(err, ERR_CORRUPT,
                         "the head of %s is damaged: restore the file from a copy, or move it "
                         "away and lose what was written since the last checkpoint",
                         path);
    }
    if (le32_get(bytes + 8) != WAL_VERSION) {
        return error_set(err, ERR_CONFIG,
                         "%s is of version %" PRIu32 ", and this program writes %d", path,
                         le32_get(bytes + 8), WAL_VERSION);
    }
    segment->nonce = le64_get(bytes + 24);
    segment->size = le64_get(bytes + 32);
    return true;
}

static bool
segment_head_write(const WalSegment *segment, const char *path, Error *err)
{
    char head[SEGMENT_HEAD];

    segment_head_put(segment, head);
    struct iovec parts[] = {
        {.iov_base = head, .iov_len = sizeof(head)},
        {.iov_base = (void *)(uintptr_t)zeros, .iov_len = WAL_BLOCK_BYTES - sizeof(head)},
    };
    return file_write_at(segment->fd, parts, DS_COUNT(parts), 0, true, path, err) &&
           file_sync(segment->fd, path, err);
}

/* ---- making ---- */

/* Real zeros: blocks that are only allocated cost a journal commit when they are first written. */
static bool
segment_fill(const WalSegment *segment, const char *path, Error *err)
{
    if (fallocate(segment->fd, 0, 0, (off_t)segment->size) != 0 && errno != EOPNOTSUPP) {
        return file_error(err, "reserve room for", path);
    }
    for (uint64_t at = 0; at < segment->size;) {
        struct iovec parts[ZEROS_AT_ONCE];
        size_t count = 0;
        uint64_t from = at;

        for (; count < ZEROS_AT_ONCE && at < segment->size; count++) {
            size_t len = (size_t)DS_MIN(ZEROS_BYTES, segment->size - at);

            parts[count] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros, .iov_len = len};
            at += len;
        }
        if (!file_write_at(segment->fd, parts, count, from, true, path, err)) {
            return false;
        }
    }
    return true;
}

static WalSegment *
spare_take(Wal *wal, uint64_t size)
{
    (void)pthread_mutex_lock(&wal->lock);
    WalSegment *spare = TAILQ_FIRST(&wal->spares);

    if (spare != NULL && spare->size >= size) {
        TAILQ_REMOVE(&wal->spares, spare, link);
        wal->spares_count--;
    } else {
        spare = NULL;
    }
    (void)pthread_mutex_unlock(&wal->lock);
    return spare;
}

static bool
nonce_draw(uint64_t *out, Error *err)
{
    if (getrandom(out, sizeof(*out), 0) != (ssize_t)sizeof(*out)) {
        return file_error(err, "read", "getrandom");
    }
    return true;
}

/* Under its old or a temporary name, until everything in it is durable. */
static bool
segment_write(WalSegment *segment, bool is_spare, const char *path, Error *err)
{
    int flags = is_spare ? O_RDWR | O_CLOEXEC : O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC;

    if (FAULT("wal.make_segment")) {
        errno = ENOSPC;
        return file_error(err, "make", path);
    }
    segment->fd = open(path, flags, 0644);
    if (segment->fd < 0) {
        return file_error(err, "open", path);
    }
    return (is_spare || segment_fill(segment, path, err)) && segment_head_write(segment, path, err);
}

bool
wal_segment_make(Wal *wal, uint64_t size, WalSegment **out, Error *err)
{
    WalSegment *spare = spare_take(wal, size);
    WalSegment *segment = segment_new(wal->generation + 1);
    char from[PATH_MAX];
    char to[PATH_MAX];
    bool ok = false;

    segment->size = spare != NULL ? spare->size : size;
    if (spare != NULL) {
        wal_segment_path(wal, spare->generation, ".spare", from);
    } else {
        wal_segment_path(wal, segment->generation, ".new", from);
    }
    wal_segment_path(wal, segment->generation, ".wal", to);
    ok = nonce_draw(&segment->nonce, err) && segment_write(segment, spare != NULL, from, err) &&
         file_rename(from, to, err);
    if (ok) {
        wal->generation = segment->generation;
        *out = segment;
    } else {
        (void)unlink(from); /* gives the room back; a spare's, too */
        wal_segment_free(segment);
    }
    wal_segment_free(spare);
    return ok;
}

/* ---- recycling ---- */

static bool
segment_retire(Wal *wal, const WalSegment *segment, bool keep, Error *err)
{
    char from[PATH_MAX];
    char to[PATH_MAX];

    wal_segment_path(wal, segment->generation, ".wal", from);
    if (keep) {
        wal_segment_path(wal, segment->generation, ".spare", to);
        return rename(from, to) == 0 || file_error(err, "rename", from);
    }
    return unlink(from) == 0 || file_error(err, "remove", from);
}

bool
wal_segments_retire(Wal *wal, WalSegmentList *list, Error *err)
{
    WalSegment *segment = TAILQ_FIRST(list);
    bool any = segment != NULL;
    bool ok = true;

    for (; segment != NULL; segment = TAILQ_FIRST(list)) {
        TAILQ_REMOVE(list, segment, link);
        (void)pthread_mutex_lock(&wal->lock);
        bool keep = segment->size == wal->segment_bytes && wal->spares_count < WAL_SPARES_MAX;
        (void)pthread_mutex_unlock(&wal->lock);

        if (segment->fd >= 0) {
            (void)close(segment->fd);
            segment->fd = -1;
        }
        bool retired = ok && segment_retire(wal, segment, keep, err);

        ok = ok && retired;
        if (retired && keep) {
            (void)pthread_mutex_lock(&wal->lock);
            TAILQ_INSERT_TAIL(&wal->spares, segment, link);
            wal->spares_count++;
            (void)pthread_mutex_unlock(&wal->lock);
        } else {
            wal_segment_free(segment);
        }
    }
    return ok && (!any || file_sync_dir(wal->dir, err));
}

/* Whoever wrote the file may have been killed before its sync, or have stopped because a sync
 * failed: then the page cache has what the disk has not.  Afterwards what is read is what is
 * durable. */
static bool
segment_settle(const Wal *wal, const WalSegment *segment, const char *path, Error *err)
{
    if (!wal->sync) {
        return true;
    }
    if (!file_sync(segment->fd, path, err)) {
        return false;
    }
    (void)posix_fadvise(segment->fd, 0, 0, POSIX_FADV_DONTNEED);
    return true;
}

bool
wal_segment_load(Wal *wal, uint64_t generation, WalSegment **out, Error *err)
{
    WalSegment *segment = segment_new(generation);
    char path[PATH_MAX];
    char head[SEGMENT_HEAD] = {0};
    uint64_t size = 0;
    size_t len = 0;
    bool ok = false;

    wal_segment_path(wal, generation, ".wal", path);
    segment->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (segment->fd < 0) {
        (void)file_error(err, "open", path);
        goto done;
    }
    ok = segment_settle(wal, segment, path, err) &&
         file_read_at(segment->fd, head, sizeof(head), 0, &len, path, err) &&
         segment_head_get(head, segment, path, err) && file_size(segment->fd, &size, path, err);
    if (ok && size < segment->size) {
        ok = error_set(err, ERR_CORRUPT,
                       "%s ends at byte %" PRIu64 ", and should at %" PRIu64
                       ": restore it from a copy, or move it away and lose what was written since "
                       "the last checkpoint",
                       path, size, segment->size);
    }

done:
    if (ok) {
        *out = segment;
    } else {
        wal_segment_free(segment);
    }
    return ok;
}
