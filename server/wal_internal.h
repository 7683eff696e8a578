/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/wal_internal.h -- the log's formats, and its segments as files.
 *
 * Segment: a block {magic, version, crc, generation, nonce, size}, then batches.  The nonce is
 * drawn anew at every use of a file, so neither what is left of its earlier life nor a payload that
 * imitates a batch can pass for one.
 *
 * Batch: a head, the records {u32 length, u32 kind, body}, zeros to the next block.  The head has
 * its own CRC, so that it proves what it claims (everything up to durable_lsn was synced before it
 * was written) even when its body was torn.
 *
 * Why batches begin at blocks of 4096 bytes: a power failure can damage any sector that was being
 * written, and a disk or file system may write 4096 bytes when 512 were changed.  A block that
 * holds a piece of a durable batch is never written again, so nothing that is written later can
 * damage it.  Nor has the kernel to read a block before it overwrites it.
 */
#pragma once

#include <bsd/sys/queue.h>
#include <pthread.h>
#include <stdatomic.h>

#include "server/wal.h"

#define WAL_BLOCK_BYTES 4096
#define WAL_MARKS       64 /* of a segment: how fine wal_bytes_used counts */
#define WAL_SPARES_MAX  2  /* released segments that are kept */

#define WAL_SEGMENT_MAGIC  0x314c415753444321u
#define WAL_VERSION        1
#define WAL_BATCH_MAGIC    0x48435442u
#define WAL_BATCH_HEAD     72 /* bytes */
#define WAL_RECORD_HEAD    8
#define WAL_FLAG_SEAL      1u /* the log ends here */
#define WAL_NAME_BYTES_MAX 32

typedef struct WalSegment {
    TAILQ_ENTRY(WalSegment) link;
    uint64_t generation;
    uint64_t nonce;
    uint64_t size;
    int fd; /* -1: closed */
    /* the rest under the log's lock */
    uint64_t used;
    uint64_t first_lsn; /* 0: no batch yet */
    uint64_t last_lsn;
    uint64_t mark_lsn[WAL_MARKS]; /* last LSN when used passed the mark; 0: it has not */
} WalSegment;

typedef TAILQ_HEAD(WalSegmentList, WalSegment) WalSegmentList;

/* Bytes of a batch, in the order of writing. */
typedef struct WalPiece {
    const char *ptr; /* NULL: in the scratch memory, at offset */
    size_t offset;
    size_t len;
} WalPiece;

typedef struct WalBatch {
    WalPiece *pieces;
    size_t pieces_count;
    size_t pieces_cap;
    char *scratch; /* heads of records, and parts too small to be worth a piece */
    size_t scratch_len;
    size_t scratch_cap;
    uint64_t bytes; /* of all pieces */
    uint64_t spare; /* to be left in its segment */
    uint32_t records;
    bool open;
} WalBatch;

struct Wal {
    char *dir;
    size_t segment_bytes;
    size_t segments_max;
    bool sync;
    WalRecovery recovery;

    /* the committing thread's */
    WalBatch batch;
    struct iovec *parts;
    size_t parts_cap;
    bool failed;
    bool sealed;

    pthread_mutex_t files; /* while segments are made, renamed or removed; taken before `lock` */
    uint64_t generation;   /* the highest that was used; under `files` */

    pthread_mutex_t lock;
    WalSegmentList live; /* in the order of their generations; the last is written to */
    WalSegment *current; /* NULL: none yet */
    WalSegment *ready;   /* NULL: not made */
    WalSegmentList spares;
    size_t spares_count;
    uint64_t released_lsn;
    atomic_uint_fast64_t last_lsn;
};

typedef struct WalBatchHead {
    uint32_t body_crc;
    uint32_t flags;
    uint64_t generation;
    uint64_t nonce;
    uint64_t first_lsn;
    uint64_t durable_lsn;
    uint64_t segment_first_lsn;
    uint64_t length; /* of the body, without the zeros behind it */
    uint32_t records;
} WalBatchHead;

static inline uint64_t
wal_round_up(uint64_t bytes)
{
    return (bytes + WAL_BLOCK_BYTES - 1) / WAL_BLOCK_BYTES * WAL_BLOCK_BYTES;
}

/* ---- segments ---- */

/* "<dir>/<generation><suffix>"; out holds PATH_MAX bytes.  wal_open checked that it fits. */
void wal_segment_path(const Wal *wal, uint64_t generation, const char *suffix, char *out);

/* All under `files`.  A new segment, or a spare with a new head, durable, of at least this size. */
DS_MUST_CHECK bool wal_segment_make(Wal *wal, uint64_t size, WalSegment **out, Error *err);
/* Takes segments out of use: kept as spares or removed; the list is empty then, on failure too. */
DS_MUST_CHECK bool wal_segments_retire(Wal *wal, WalSegmentList *list, Error *err);
/* Opens a segment's file for reading and checks its head.  ERR_CORRUPT. */
DS_MUST_CHECK bool wal_segment_load(Wal *wal, uint64_t generation, WalSegment **out, Error *err);
void wal_segment_free(WalSegment *segment); /* closes; accepts NULL */

/* ---- batches ---- */

void wal_batch_head_put(const WalBatchHead *head, char *out); /* WAL_BATCH_HEAD bytes */
/* Whether the bytes are a head that was written to this segment. */
bool wal_batch_head_get(const char *bytes, const WalSegment *segment, WalBatchHead *out);

/* ---- recovery ---- */

/* Finds the files, replays them, sorts the segments into live and spares. */
DS_MUST_CHECK bool wal_recover(Wal *wal, uint64_t after_lsn, WalRecordFn fn, void *arg, Error *err);
