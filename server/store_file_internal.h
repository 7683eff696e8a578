/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/store_file_internal.h -- what the file modes' backend and its checkpoint thread share.
 *
 * The list of dirty streams and the ids that are deleted are changed by the commit thread within a
 * batch, and by the checkpoint thread while the shard is paused; so no lock guards them.
 */
#pragma once

#include "server/checkpoint.h"
#include "server/data_file.h"
#include "server/file_record.h"
#include "server/stream_rows.h"
#include "server/wal.h"

typedef struct FileStream {
    ShardStream base;         /* first member */
    uint64_t lsn;             /* of the last record about it */
    bool is_dirty;            /* in the list, with a reference */
    uint64_t dirty_lsn;       /* of the first record that its row does not know */
    bool forget_row;          /* what is fixed in it has changed */
    uint64_t producers_after; /* turn: those up to it are in the database */
    DataEnd end;              /* of its files, up to kept_to; under the stream's lock */
    uint64_t punched;         /* position: what lies before it has no place on the disk */
    TAILQ_ENTRY(FileStream) by_age;
} FileStream;

TAILQ_HEAD(FileStreamQueue, FileStream);

typedef struct IdList {
    uint64_t *ids;
    size_t count;
    size_t cap;
} IdList;

struct FileBackend {
    Backend base; /* first member */
    BackendOptions options;
    bool sync;
    DataFiles *files;
    Wal *wal;
    size_t wal_full_bytes; /* more waits for the checkpoint */
    size_t wal_soon_bytes; /* more since the last one begins the next */
    sqlite3 *db;
    StreamRows *rows;
    sqlite3_stmt *save_position;
    uint64_t position; /* LSN: what came until then is in rows and files; in the database, too */

    /* the commit thread's */
    Arena records;
    uint64_t first_lsn; /* of the batch */
    uint64_t log_bytes; /* as the gauge has it */
    Metric *log_gauge;

    struct FileStreamQueue dirty; /* by dirty_lsn */
    IdList deleted;

    Checkpoint *checkpoint;
};

/* Of a stream that has a record which its row does not know. */
void file_stream_set_dirty(FileBackend *backend, FileStream *stream, uint64_t lsn);
void id_list_add(IdList *list, uint64_t id);
