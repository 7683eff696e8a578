/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/fault.h"
#include "common/little_endian.h"
#include "common/mem.h"
#include "server/file_io.h"
#include "server/wal_internal.h"

#define COPY_BYTES_MAX     512 /* a part up to this is cheaper to copy than to gather */
#define SCRATCH_BYTES_KEEP ((size_t)1024 * 1024)
#define PIECES_CAP_MIN     64

static const char padding[WAL_BLOCK_BYTES];

/* ---- the batch ---- */

static void
batch_reset(WalBatch *batch)
{
    if (batch->scratch_cap > SCRATCH_BYTES_KEEP) {
        free(batch->scratch);
        batch->scratch = NULL;
        batch->scratch_cap = 0;
    }
    batch->scratch_len = 0;
    batch->pieces_count = 0;
    batch->bytes = 0;
    batch->spare = 0;
    batch->records = 0;
    batch->open = false;
}

static WalPiece *
batch_piece_new(WalBatch *batch)
{
    if (batch->pieces_count == batch->pieces_cap) {
        batch->pieces_cap = DS_MAX(batch->pieces_cap * 2, PIECES_CAP_MIN);
        batch->pieces = mem_regrow(batch->pieces, batch->pieces_cap, sizeof(*batch->pieces));
    }
    return &batch->pieces[batch->pieces_count++];
}

static void
batch_copy(WalBatch *batch, Str bytes)
{
    WalPiece *last = batch->pieces_count > 0 ? &batch->pieces[batch->pieces_count - 1] : NULL;

    if (batch->scratch_len + bytes.len > batch->scratch_cap) {
        batch->scratch_cap =
            DS_MAX(batch->scratch_cap * 2, DS_MAX(batch->scratch_len + bytes.len, 4096));
        batch->scratch = mem_realloc(batch->scratch, batch->scratch_cap);
    }
    memcpy(batch->scratch + batch->scratch_len, bytes.ptr, bytes.len);
    if (last != NULL && last->ptr == NULL) {
        last->len += bytes.len;
    } else {
        *batch_piece_new(batch) = (WalPiece){.offset = batch->scratch_len, .len = bytes.len};
    }
    batch->scratch_len += bytes.len;
}

static const char *
batch_piece_ptr(const WalBatch *batch, const WalPiece *piece)
{
    return piece->ptr != NULL ? piece->ptr : batch->scratch + piece->offset;
}

void
wal_begin(Wal *wal)
{
    DS_ASSERT(!wal->batch.open && !wal->sealed);
    wal->batch.open = true;
}

void
wal_spare(Wal *wal, size_t bytes)
{
    wal->batch.spare = wal_round_up(bytes);
}

uint64_t
wal_add(Wal *wal, unsigned kind, const Str *parts, size_t count)
{
    WalBatch *batch = &wal->batch;
    char head[WAL_RECORD_HEAD];
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        bytes += parts[i].len;
    }
    DS_ASSERT(batch->open && bytes <= WAL_RECORD_BYTES_MAX &&
              batch->records < WAL_BATCH_RECORDS_MAX);
    le32_put(head, (uint32_t)bytes);
    le32_put(head + 4, kind);
    batch_copy(batch, str_n(head, sizeof(head)));
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > COPY_BYTES_MAX) {
            *batch_piece_new(batch) = (WalPiece){.ptr = parts[i].ptr, .len = parts[i].len};
        } else if (parts[i].len > 0) {
            batch_copy(batch, parts[i]);
        }
    }
    batch->bytes += sizeof(head) + bytes;
    batch->records++;
    return wal_last_lsn(wal) + batch->records;
}

void
wal_abandon(Wal *wal)
{
    batch_reset(&wal->batch);
}

/* ---- committing ---- */

static size_t
segments_unreleased(const Wal *wal) /* lock held */
{
    const WalSegment *segment;
    size_t count = 0;

    TAILQ_FOREACH (segment, &wal->live, link) {
        count += segment->last_lsn > wal->released_lsn;
    }
    return count;
}

static bool
may_have_another(Wal *wal, Error *err)
{
    (void)pthread_mutex_lock(&wal->lock);
    bool may = segments_unreleased(wal) < wal->segments_max;
    (void)pthread_mutex_unlock(&wal->lock);

    return may || error_set(err, ERR_FULL, "the log %s is full: %zu segments wait for a checkpoint",
                            wal->dir, wal->segments_max);
}

/* Under `files`.  What is ready, if it is large enough; a smaller one is given up, because the log
 * is in the order of the generations. */
static bool
ready_take(Wal *wal, uint64_t size, WalSegment **out, Error *err)
{
    WalSegmentList unused = TAILQ_HEAD_INITIALIZER(unused);

    (void)pthread_mutex_lock(&wal->lock);
    WalSegment *ready = wal->ready;

    wal->ready = NULL;
    (void)pthread_mutex_unlock(&wal->lock);
    if (ready != NULL && ready->size < size) {
        TAILQ_INSERT_TAIL(&unused, ready, link);
        ready = NULL;
    }
    *out = ready;
    return wal_segments_retire(wal, &unused, err);
}

static bool
segment_next(Wal *wal, uint64_t need, Error *err)
{
    uint64_t size = DS_MAX((uint64_t)wal->segment_bytes, WAL_BLOCK_BYTES + need + wal->batch.spare);
    WalSegment *next = NULL;

    if (!may_have_another(wal, err)) {
        return false;
    }
    (void)pthread_mutex_lock(&wal->files);
    bool ok = ready_take(wal, size, &next, err) &&
              (next != NULL || wal_segment_make(wal, size, &next, err));

    if (ok) {
        (void)pthread_mutex_lock(&wal->lock);
        if (wal->current != NULL) {
            (void)close(wal->current->fd);
            wal->current->fd = -1;
        }
        TAILQ_INSERT_TAIL(&wal->live, next, link);
        wal->current = next;
        (void)pthread_mutex_unlock(&wal->lock);
    }
    (void)pthread_mutex_unlock(&wal->files);
    return ok;
}

/* Where the batch goes as wal->parts, whose first is left to the head; returns how many. */
static size_t
parts_gather(Wal *wal, char *head, uint64_t need)
{
    const WalBatch *batch = &wal->batch;
    uint64_t bytes = WAL_BATCH_HEAD + batch->bytes;
    size_t count = 0;

    if (wal->parts_cap < batch->pieces_count + 2) {
        wal->parts_cap = batch->pieces_cap + 2;
        wal->parts = mem_regrow(wal->parts, wal->parts_cap, sizeof(*wal->parts));
    }
    wal->parts[count++] = (struct iovec){.iov_base = head, .iov_len = WAL_BATCH_HEAD};
    for (size_t i = 0; i < batch->pieces_count; i++) {
        const WalPiece *piece = &batch->pieces[i];

        wal->parts[count++] = (struct iovec){
            .iov_base = (void *)(uintptr_t)batch_piece_ptr(batch, piece), .iov_len = piece->len};
    }
    if (need > bytes) {
        wal->parts[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)padding,
                                             .iov_len = (size_t)(need - bytes)};
    }
    return count;
}

static void
head_fill(const Wal *wal, uint32_t flags, char *out)
{
    const WalBatch *batch = &wal->batch;
    const WalSegment *segment = wal->current;
    uint64_t last = wal_last_lsn(wal);
    uint32_t crc = CRC32C_INIT;

    for (size_t i = 0; i < batch->pieces_count; i++) {
        const WalPiece *piece = &batch->pieces[i];

        crc = crc32c(crc, str_n(batch_piece_ptr(batch, piece), piece->len));
    }
    const WalBatchHead head = {
        .body_crc = crc,
        .flags = flags,
        .generation = segment->generation,
        .nonce = segment->nonce,
        .first_lsn = last + 1,
        .durable_lsn = wal->sync ? last : 0,
        .segment_first_lsn = segment->first_lsn > 0 ? segment->first_lsn : last + 1,
        .length = batch->bytes,
        .records = batch->records,
    };
    wal_batch_head_put(&head, out);
}

static void
segment_advance(Wal *wal, uint64_t need)
{
    WalSegment *segment = wal->current;
    uint64_t first = wal_last_lsn(wal) + 1;
    uint64_t last = wal_last_lsn(wal) + wal->batch.records;

    (void)pthread_mutex_lock(&wal->lock);
    segment->first_lsn = segment->first_lsn > 0 ? segment->first_lsn : first;
    segment->last_lsn = last;
    segment->used += need;
    for (size_t i = 0; i < WAL_MARKS; i++) {
        if (segment->mark_lsn[i] == 0 && segment->used >= segment->size / WAL_MARKS * (i + 1)) {
            segment->mark_lsn[i] = last;
        }
    }
    (void)pthread_mutex_unlock(&wal->lock);
    atomic_store(&wal->last_lsn, last);
}

static bool
batch_write(Wal *wal, uint32_t flags, bool sync, Error *err)
{
    uint64_t need = wal_round_up(WAL_BATCH_HEAD + wal->batch.bytes);
    WalSegment *segment = wal->current;
    char head[WAL_BATCH_HEAD];
    char path[PATH_MAX];

    if (MUTANT("ack_before_sync") && segment != NULL && !file_sync(segment->fd, wal->dir, err)) {
        return false; /* of the batch before, which is answered already */
    }
    if (segment == NULL || segment->used + need + wal->batch.spare > segment->size) {
        if (!segment_next(wal, need, err)) {
            return false;
        }
        segment = wal->current;
    }
    wal_segment_path(wal, segment->generation, ".wal", path);
    head_fill(wal, flags, head);
    size_t count = parts_gather(wal, head, need);

    if (!file_write_at(segment->fd, wal->parts, count, segment->used, false, path, err)) {
        return false;
    }
    (void)FAULT("wal.written");
    if (sync && !MUTANT("ack_before_sync") && !file_sync(segment->fd, path, err)) {
        return false;
    }
    (void)FAULT("wal.synced");
    segment_advance(wal, need);
    return true;
}

/* Whatever else went wrong with our own files: nothing may be written on top of it. */
static bool
full_or_fatal(Error *err)
{
    bool may_pass = err->code == ERR_FULL || err->code == ERR_RETRY; /* no descriptor, no memory */

    err->code = may_pass ? ERR_FULL : ERR_FATAL;
    return false;
}

static bool
batch_commit(Wal *wal, uint32_t flags, bool sync, Error *err)
{
    bool ok = false;

    if (wal->failed) {
        (void)error_set(err, ERR_FATAL, "an earlier write to the log %s failed", wal->dir);
    } else {
        ok = batch_write(wal, flags, sync, err);
        if (!ok) {
            (void)full_or_fatal(err);
            wal->failed = err->code == ERR_FATAL;
        }
    }
    batch_reset(&wal->batch);
    return ok;
}

bool
wal_commit(Wal *wal, Error *err)
{
    DS_ASSERT(wal->batch.open);
    if (wal->batch.records == 0) {
        batch_reset(&wal->batch);
        return true;
    }
    return batch_commit(wal, 0, wal->sync, err);
}

bool
wal_seal(Wal *wal, Error *err)
{
    DS_ASSERT(!wal->batch.open && !wal->sealed);
    if (!batch_commit(wal, WAL_FLAG_SEAL, true, err)) {
        return false;
    }
    wal->sealed = true;
    return true;
}

/* ---- segments ---- */

bool
wal_prepare(Wal *wal, Error *err)
{
    WalSegment *made = NULL;
    bool ok = true;

    (void)pthread_mutex_lock(&wal->files);
    (void)pthread_mutex_lock(&wal->lock);
    bool wanted = wal->ready == NULL && segments_unreleased(wal) < wal->segments_max;
    (void)pthread_mutex_unlock(&wal->lock);

    if (wanted) {
        ok = wal_segment_make(wal, wal->segment_bytes, &made, err);
    }
    if (made != NULL) {
        (void)pthread_mutex_lock(&wal->lock);
        wal->ready = made;
        (void)pthread_mutex_unlock(&wal->lock);
    }
    (void)pthread_mutex_unlock(&wal->files);
    return ok || full_or_fatal(err);
}

bool
wal_release(Wal *wal, uint64_t lsn, Error *err)
{
    WalSegmentList unused = TAILQ_HEAD_INITIALIZER(unused);
    WalSegment *segment;
    WalSegment *next;

    (void)pthread_mutex_lock(&wal->files);
    (void)pthread_mutex_lock(&wal->lock);
    wal->released_lsn = DS_MAX(wal->released_lsn, lsn);
    TAILQ_FOREACH_SAFE (segment, &wal->live, link, next) {
        if (segment != wal->current && segment->last_lsn <= wal->released_lsn) {
            TAILQ_REMOVE(&wal->live, segment, link);
            TAILQ_INSERT_TAIL(&unused, segment, link);
        }
    }
    (void)pthread_mutex_unlock(&wal->lock);
    bool ok = wal_segments_retire(wal, &unused, err);

    (void)pthread_mutex_unlock(&wal->files);
    return ok || full_or_fatal(err);
}

static uint64_t
segment_bytes_used(const WalSegment *segment, uint64_t released_lsn)
{
    uint64_t released = 0;

    if (segment->last_lsn <= released_lsn) {
        return 0;
    }
    for (size_t i = 0;
         i < WAL_MARKS && segment->mark_lsn[i] != 0 && segment->mark_lsn[i] <= released_lsn; i++) {
        released = segment->size / WAL_MARKS * (i + 1);
    }
    return segment->used - DS_MIN(released, segment->used);
}

uint64_t
wal_bytes_used(const Wal *wal)
{
    Wal *locked = (Wal *)(uintptr_t)wal;
    const WalSegment *segment;
    uint64_t bytes = 0;

    (void)pthread_mutex_lock(&locked->lock);
    TAILQ_FOREACH (segment, &wal->live, link) {
        bytes += segment_bytes_used(segment, wal->released_lsn);
    }
    (void)pthread_mutex_unlock(&locked->lock);
    return bytes;
}

uint64_t
wal_last_lsn(const Wal *wal)
{
    return atomic_load(&wal->last_lsn);
}

const WalRecovery *
wal_recovery(const Wal *wal)
{
    return &wal->recovery;
}

/* ---- life ---- */

bool
wal_open(const WalOptions *options, uint64_t after_lsn, WalRecordFn fn, void *arg, Wal **out,
         Error *err)
{
    DS_ASSERT(options->segment_bytes >= WAL_SEGMENT_BYTES_MIN &&
              options->segment_bytes % WAL_BLOCK_BYTES == 0 &&
              options->segments_max >= WAL_SEGMENTS_MIN);
    if (strlen(options->dir) + WAL_NAME_BYTES_MAX >= PATH_MAX) {
        return error_set(err, ERR_CONFIG, "the path is too long: %s", options->dir);
    }
    Wal *wal = mem_zalloc(sizeof(*wal));

    wal->dir = mem_strdup(options->dir);
    wal->segment_bytes = options->segment_bytes;
    wal->segments_max = options->segments_max;
    wal->sync = options->sync;
    (void)pthread_mutex_init(&wal->files, NULL);
    (void)pthread_mutex_init(&wal->lock, NULL);
    TAILQ_INIT(&wal->live);
    TAILQ_INIT(&wal->spares);
    if (!wal_recover(wal, after_lsn, fn, arg, err)) {
        wal_free(wal);
        return false;
    }
    *out = wal;
    return true;
}

static void
segments_free(WalSegmentList *list)
{
    WalSegment *segment;

    while ((segment = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, segment, link);
        wal_segment_free(segment);
    }
}

void
wal_free(Wal *wal)
{
    if (wal == NULL) {
        return;
    }
    segments_free(&wal->live);
    segments_free(&wal->spares);
    wal_segment_free(wal->ready);
    free(wal->batch.pieces);
    free(wal->batch.scratch);
    free(wal->parts);
    free(wal->dir);
    (void)pthread_mutex_destroy(&wal->files);
    (void)pthread_mutex_destroy(&wal->lock);
    free(wal);
}
