/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/data_file_internal.h -- what writing and reading the payload files share.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "common/little_endian.h"
#include "server/data_file.h"
#include "server/fd_cache.h"
#include "server/file_io.h"

#define DATA_FILE_SHELVES                                                                          \
    256 /* folders, made at once: no name of theirs is ever to be synced later */
#define DATA_ENTRY_BYTES    16
#define DATA_FILE_SENT_BITS 65536

typedef enum DataPart { DATA_PAYLOAD, DATA_INDEX } DataPart;

struct DataFiles {
    char *dir;
    int dir_fd;
    bool sync;
    FdCache *cache;
    size_t pieces_max;    /* half of the files: the others are for whoever writes */
    atomic_size_t pieces; /* ranges that lie in files, held by somebody */
    /* A bit for what an id hashes to: ranges of such a file were sent from where they lie. */
    atomic_uchar sent[DATA_FILE_SENT_BITS / 8];
    atomic_bool shelf_dirty[DATA_FILE_SHELVES]; /* names were made there that are not durable */
    pthread_mutex_t names; /* from taking such marks away until what they stood for is durable */
};

/* Of one message. */
typedef struct DataEntry {
    uint64_t end;
    uint32_t length;
    uint32_t crc;
} DataEntry;

static inline void
data_entry_put(const DataEntry *entry, char *out)
{
    le64_put(out, entry->end);
    le32_put(out + 8, entry->length);
    le32_put(out + 12, entry->crc);
}

static inline DataEntry
data_entry_get(const char *bytes)
{
    return (DataEntry){
        .end = le64_get(bytes), .length = le32_get(bytes + 8), .crc = le32_get(bytes + 12)};
}

/* Sockets may refer to the pages of the file from now on, for as long as clients like. */
void data_file_set_sent(DataFiles *files, uint64_t id);

/* out holds PATH_MAX bytes. */
void data_file_path(const DataFiles *files, uint64_t id, DataPart part, char *out);
DS_MUST_CHECK bool data_file_pin(DataFiles *files, uint64_t id, DataPart part, bool create,
                                 FdPin *out, Error *err);
/* The last entry ends where the payload ends.  ERR_CORRUPT. */
DS_MUST_CHECK bool data_index_check_end(DataFiles *files, uint64_t id, DataEnd end, Error *err);
