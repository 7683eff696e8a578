/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/file_record.h -- what the file modes write into the write-ahead log, one record a change.
 *
 * Little-endian.  Every record begins with {u64 id, i64 wall clock ms}; a create and an append end
 * with {u64 position, u8 flags, u32 messages, [u16, Stream-Seq], [u16, Producer-Id, u64 epoch, u64
 * seq], [u32 ends...], payload}.  One message needs no ends.
 *
 * Pure.  A record comes out of the log checked, so what does not parse was written by another
 * version, or the log is not ours: ERR_CORRUPT.
 */
#pragma once

#include "common/arena.h"
#include "server/backend.h"

#define FILE_RECORD_PARTS_MAX 4

typedef struct FileRecord {
    ChangeKind kind;
    uint64_t id;
    int64_t wall_ms;      /* of TOUCH, that of the access */
    uint64_t position;    /* CREATE, APPEND: the tail before it */
    AppendRequest append; /* CREATE, APPEND; views borrow from the record, ends from the arena */
    StreamView at;        /* TRIM: after it.  CREATE: start, messages, and for the tail position */
    /* CREATE */
    Str name;
    StreamConfig config;
    int64_t created_ms;
    uint64_t era;
    uint64_t parent_id;
    uint64_t fork_at;
} FileRecord;

/* The kind to pass to wal_add, and the body in parts, which borrow from the change and the arena.
 */
size_t file_record_make(const Change *change, Arena *arena, unsigned *out_kind,
                        Str out_parts[FILE_RECORD_PARTS_MAX]);

DS_MUST_CHECK bool file_record_parse(unsigned kind, Str body, Arena *arena, FileRecord *out,
                                     Error *err);
