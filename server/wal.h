/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/wal.h -- a write-ahead log of records, committed in batches and kept in recycled segments.
 *
 * A batch is written with one pwritev and made durable with one fdatasync; when wal_commit returns
 * true it will be replayed after any crash, until wal_release says that it need not be.  A crash
 * before that leaves all of it or nothing.
 *
 * Records have numbers, LSN, that rise by one from 1.  Those of a batch that was not committed are
 * used again.
 *
 * Segments are files of equal size, `<generation>.wal`, filled with zeros when they are made (an
 * overwrite needs no journal commit of the file system: 1.5 times the syncs) and used again under
 * another generation.  A batch that is larger than a segment gets a segment of its own size.
 *
 * Errors: ERR_FULL: no room for another segment, or segments_max of them wait for wal_release; the
 * batch is dropped, nothing is changed, and the next one may succeed.  ERR_CORRUPT (wal_open only):
 * something that was durable cannot be read.  ERR_FATAL: a write or sync failed, so nobody knows
 * what is on the disk: answer nobody and stop the process.  Every later commit fails the same way.
 *
 * Threads: wal_begin, _add, _commit, _abandon and _seal by one thread at a time; wal_release and
 * wal_prepare by any, which then wait for the disk and not for the committing thread, nor it for
 * them; the three that only look, by any.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

#define WAL_SEGMENT_BYTES_MIN ((size_t)64 * 1024)
#define WAL_SEGMENTS_MIN      2
#define WAL_RECORD_BYTES_MAX  ((size_t)UINT32_MAX)
#define WAL_BATCH_RECORDS_MAX UINT32_MAX

typedef struct Wal Wal;

typedef struct WalOptions {
    const char *dir;      /* made when it is not there, in a folder that is */
    size_t segment_bytes; /* a multiple of 4096 */
    size_t segments_max;  /* with batches that wait for wal_release, the one in use included */
    bool sync; /* false: a power failure may cost the newest batches, but leaves no gap */
} WalOptions;

/* What wal_open found. */
typedef struct WalRecovery {
    uint64_t records; /* replayed */
    uint64_t last_lsn;
    uint64_t torn_bytes; /* of a batch at the end that was not written as a whole, and is cut */
    uint64_t discarded_bytes; /* behind a gap; only possible without sync */
    bool sealed;              /* the log was ended with wal_seal */
} WalRecovery;

/* A record, in order.  The body is borrowed until the function returns; false stops wal_open. */
typedef bool (*WalRecordFn)(void *arg, uint64_t lsn, unsigned kind, Str body, Error *err);

/* Replays what was committed behind after_lsn, up to which the caller has everything: fn is not
 * called for records up to there, and new ones get higher numbers.  The log must reach back to it:
 * with sync, ERR_CORRUPT when it does not. */
DS_MUST_CHECK bool wal_open(const WalOptions *options, uint64_t after_lsn, WalRecordFn fn,
                            void *arg, Wal **out, Error *err);
void wal_free(Wal *wal); /* accepts NULL; does not seal */

const WalRecovery *wal_recovery(const Wal *wal); /* borrowed */

/* One batch: begin, add..., then commit or abandon.  Parts are put together to the record's body;
 * their bytes, not the array, must stay where they are until commit or abandon returns.  The sum is
 * at most WAL_RECORD_BYTES_MAX. */
void wal_begin(Wal *wal);
/* The batch leaves so much of its segment to later ones that must not be refused when there is no
 * room for another segment. */
void wal_spare(Wal *wal, size_t bytes);
uint64_t wal_add(Wal *wal, unsigned kind, const Str *parts, size_t count);
DS_MUST_CHECK bool wal_commit(Wal *wal, Error *err); /* of an empty batch: does nothing */
void wal_abandon(Wal *wal);

/* The last record that was committed (or that wal_open began behind). */
uint64_t wal_last_lsn(const Wal *wal);
/* Bytes of the log from the first record that is not released; to within 2 % of a segment. */
uint64_t wal_bytes_used(const Wal *wal);

/* The caller has everything up to lsn, durably, and will say so to wal_open: segments that hold
 * nothing newer can be used again. */
DS_MUST_CHECK bool wal_release(Wal *wal, uint64_t lsn, Error *err);

/* Makes the next segment ready, if it is not, so that wal_commit need not wait for it.  Takes as
 * long as writing a segment.  ERR_FULL when there is no room: what is ready stays usable. */
DS_MUST_CHECK bool wal_prepare(Wal *wal, Error *err);

/* Writes that the log ends here on purpose: then a damaged last batch cannot pass for one that was
 * never finished.  Nothing may be committed after it. */
DS_MUST_CHECK bool wal_seal(Wal *wal, Error *err);
