/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/store_acid_internal.h -- what the parts of the acid mode share.
 *
 * store_acid commits and loads, acid_payload writes and reads rows of payload, acid_garbage deletes
 * them, acid_upkeep is the thread for checkpoints, acid_readers the pool of connections;
 * acid_schema says what the files have to be, acid_reserve holds room for them.
 */
#pragma once

#include "server/backend.h"
#include "server/sqlite.h"
#include "server/stream_rows.h"

typedef struct AcidStream {
    ShardStream base; /* first member */

    /* of its own since it exists; written by the commit thread under the stream's lock */
    uint64_t bytes;
    uint64_t messages;

    /* the commit thread's */
    uint64_t producers_after; /* turn: those up to it are in the database */
    uint64_t garbage_below;   /* position: noted up to there */
    bool in_batch;
    STAILQ_ENTRY(AcidStream) next_in_batch;
    uint32_t first_payload; /* changes of the batch with payload: index + 1, 0 for none */
    uint32_t last_payload;
    uint64_t batch_bytes;
    uint64_t batch_messages;
    uint64_t batch_producers; /* producers_after when it is committed */
} AcidStream;

STAILQ_HEAD(AcidStreamQueue, AcidStream);

/* ---- acid_readers.c: connections that only read, and make checkpoints ---- */

typedef struct AcidReader {
    sqlite3 *db;
    sqlite3_stmt *range;
    sqlite3_stmt *last_before; /* the row that begins before a position */
    SLIST_ENTRY(AcidReader) next;
} AcidReader;

typedef struct AcidReaders {
    const char *path; /* borrowed */
    bool sync;
    pthread_mutex_t lock;
    pthread_cond_t returned;
    SLIST_HEAD(, AcidReader) idle;
    unsigned idle_count;
    unsigned count;
} AcidReaders;

void acid_readers_init(AcidReaders *readers, const char *path, bool sync);
void acid_readers_done(AcidReaders *readers); /* none is in use */
/* Any thread; waits while ACID_READERS_MAX are in use. */
DS_MUST_CHECK bool acid_reader_take(AcidReaders *readers, AcidReader **out, Error *err);
void acid_reader_return(AcidReaders *readers, AcidReader *reader);

/* ---- acid_payload.c ---- */

extern const char acid_payload_schema[];
extern const char acid_range_sql[];
extern const char acid_last_before_sql[];

/* Gathers what a batch appends to one stream into rows. */
typedef struct AcidWriter {
    sqlite3_stmt *insert;
    AcidStream *stream; /* whose row is being gathered */
    uint64_t position;  /* of the row; the counts before it */
    uint64_t bytes;
    uint64_t messages;
    char *data; /* at most ACID_ROW_BYTES_MAX, rounded up */
    size_t len;
    size_t data_cap;
    uint32_t *ends;
    size_t ends_count;
    size_t ends_cap;
} AcidWriter;

DS_MUST_CHECK bool acid_writer_open(AcidWriter *writer, sqlite3 *db, Error *err);
void acid_writer_close(AcidWriter *writer);
/* One stream: begin, add..., flush.  position is that of the first byte or message. */
void acid_writer_begin(AcidWriter *writer, AcidStream *stream, uint64_t position);
DS_MUST_CHECK bool acid_writer_add(AcidWriter *writer, LogPayload payload, Error *err);
DS_MUST_CHECK bool acid_writer_flush(AcidWriter *writer, Error *err);
void acid_writer_rest(AcidWriter *writer); /* gives back what a large batch took */

/* Backend.read and .measure, with a reader. */
DS_MUST_CHECK bool acid_payload_read(AcidReader *reader, ShardStream *stream, uint64_t from,
                                     uint64_t to, size_t bytes_max, Range *out, Error *err);
DS_MUST_CHECK bool acid_payload_measure(AcidReader *reader, ShardStream *stream, uint64_t position,
                                        uint64_t *out_bytes, uint64_t *out_messages, Error *err);

/* ---- acid_schema.c ---- */

char *acid_path(const BackendOptions *options, unsigned shard); /* free() it */
/* Makes the folder; ERR_CORRUPT when files are missing that were there. */
DS_MUST_CHECK bool acid_folder_check(const BackendOptions *options, Error *err);
/* ERR_CORRUPT: the file of another shard. */
DS_MUST_CHECK bool acid_schema_make(sqlite3 *db, const BackendOptions *options, Error *err);
DS_MUST_CHECK bool acid_schema_check(sqlite3 *db, Error *err);

/* ---- acid_garbage.c ---- */

typedef struct AcidGarbage {
    sqlite3 *db;
    sqlite3_stmt *note;
    sqlite3_stmt *first;
    sqlite3_stmt *rows;
    sqlite3_stmt *delete_rows;
    sqlite3_stmt *forget;
    bool maybe; /* there may be some */
    bool freed; /* pages, since the last look at how many are free */
} AcidGarbage;

extern const char acid_garbage_schema[];

DS_MUST_CHECK bool acid_garbage_open(AcidGarbage *garbage, sqlite3 *db, Error *err);
void acid_garbage_close(AcidGarbage *garbage);
/* In a transaction: payload before the position is not needed; UINT64_MAX: none is. */
DS_MUST_CHECK bool acid_garbage_note(AcidGarbage *garbage, const Stream *stream, uint64_t below,
                                     Error *err);
/* In a transaction: deletes at most so many rows, and not many bytes more than that. */
DS_MUST_CHECK bool acid_garbage_slice(AcidGarbage *garbage, size_t rows_max, uint64_t bytes_max,
                                      Error *err);
/* Outside of one: slices for about so long, then gives pages back when very many are free. */
DS_MUST_CHECK bool acid_garbage_idle(AcidGarbage *garbage, int64_t budget_ms, Error *err);

/* ---- acid_reserve.c: room on the disk, held in advance ----
 *
 * Every page that is committed has its place in the file before, and SQLite's log has some that is
 * never given up.  So on a disk that is full a checkpoint succeeds, the log begins anew, and what
 * frees space can be committed. */

#define ACID_RESERVE_PAGES 64 /* beyond those in use: for what frees some */

typedef struct AcidReserve {
    /* Kept until every connection is closed: closing it gives up SQLite's locks on the file. */
    int fd;
    uint64_t pages;      /* of the file that have their place */
    atomic_bool is_lost; /* a checkpoint cut the file to its size */
} AcidReserve;

/* Of a database that is open. */
DS_MUST_CHECK bool acid_reserve_open(AcidReserve *reserve, const char *path, Error *err);
void acid_reserve_close(AcidReserve *reserve);
/* ERR_FULL: there is no room for a file of so many pages. */
DS_MUST_CHECK bool acid_reserve_hold(AcidReserve *reserve, uint64_t pages, Error *err);

/* ---- acid_upkeep.c: the thread that makes checkpoints ---- */

typedef struct AcidUpkeep AcidUpkeep;

typedef struct AcidBackend {
    Backend base; /* first member */
    AcidUpkeep *upkeep;
    char *path;
    sqlite3 *db;
    StreamRows *rows;
    AcidWriter writer;
    AcidGarbage garbage;
    AcidReaders readers;
    AcidReserve reserve;
    sqlite3_stmt *page_count;
    sqlite3_stmt *free_count;
    uint32_t *next_payload; /* by change: index + 1 of the stream's next with payload */
    size_t next_payload_cap;
    struct AcidStreamQueue batch;
    bool grows;              /* the batch may need more room than was held for it */
    bool idle;               /* no batch since the last tick */
    bool closed;             /* all but memory */
    uint64_t log_pages;      /* in SQLite's log after the last commit */
    uint64_t log_pages_soon; /* more: wants a checkpoint */
    uint64_t log_pages_max;  /* more: makes one itself */

    bool wants_checkpoint; /* these two under upkeep's lock */
    STAILQ_ENTRY(AcidBackend) next_wanting;
} AcidBackend;

AcidUpkeep *acid_upkeep_start(void);
void acid_upkeep_stop(AcidUpkeep *upkeep); /* accepts NULL; what is wanted is not made any more */
void acid_upkeep_want(AcidUpkeep *upkeep, AcidBackend *backend);
/* Waits for one that is under way; none is wanted any more. */
void acid_upkeep_forget(AcidUpkeep *upkeep, AcidBackend *backend);

/* Says why, and ends the process: nobody knows what is on the disk. */
_Noreturn void acid_fail(const AcidBackend *backend, const Error *err);
