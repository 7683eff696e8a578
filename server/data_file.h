/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/data_file.h -- the payload of streams in files: one of bytes and one that is its index.
 *
 * `<dir>/<2 hex>/<id>.data` holds the messages as they are sent, `<id>.idx` per message {u64 where
 * it ends, u32 its length, u32 its CRC-32C}, little-endian.  "Message" is also one append to a byte
 * stream.  How much of the two counts is not in them: the caller knows (bytes, count) and passes
 * it; what lies behind is left over from a write that was never finished, and is overwritten.
 *
 * A position counts messages or bytes from the first of the file.  Everything read is checked:
 * bytes that are not those once written are never served, but ERR_CORRUPT, which names file and
 * place.
 *
 * Errors of what writes: ERR_FULL: no room; what counts is unchanged, try again later.  ERR_FATAL:
 * stop the process (a failed sync cannot be tried again: the kernel has forgotten the pages).
 *
 * Threads: any; of one id one writer (append, cut, delete) at a time, beside any number of readers.
 */
#pragma once

#include "server/range.h"

#define DATA_FILE_SYNC_EACH_MAX   32     /* more files than this: one syncfs */
#define DATA_FILE_PIECE_BYTES_MIN 131072 /* of a range that may stay in its file */

typedef struct DataFiles DataFiles;

/* How much of a file counts. */
typedef struct DataEnd {
    uint64_t bytes;
    uint64_t count; /* messages */
} DataEnd;

/* Messages to append: lengths[i] bytes each, one behind the other in the parts. */
typedef struct DataRun {
    const Str *parts;
    size_t parts_count;
    const uint32_t *lengths;
    size_t count;
} DataRun;

/* dir is made when it is not there.  sync false: data_files_sync does nothing. */
DS_MUST_CHECK bool data_files_open(const char *dir, size_t open_files_max, bool sync,
                                   DataFiles **out, Error *err);
void data_files_free(DataFiles *files); /* accepts NULL */

/* Behind `end`; makes the files when end is zero.  Durable after data_files_sync. */
DS_MUST_CHECK bool data_file_append(DataFiles *files, uint64_t id, DataEnd end, const DataRun *run,
                                    Error *err);
/* Makes everything of these files durable, names included: each by itself when they are few. */
DS_MUST_CHECK bool data_files_sync(DataFiles *files, const uint64_t *ids, size_t count, Error *err);

/* At start: cuts off what does not count.  ERR_CORRUPT when there is less than `end`; end zero: the
 * files need not exist. */
DS_MUST_CHECK bool data_file_cut(DataFiles *files, uint64_t id, DataEnd end, Error *err);

/* Where to read. */
typedef struct DataRead {
    uint64_t id;
    DataEnd end;          /* what counts */
    bool counts_messages; /* positions are messages, not bytes */
    uint64_t from;        /* from < to, to at most end */
    uint64_t to;
    /* Of the whole range; cut at the end of a message.  An empty range gets one message at least,
     * however large; to another that has no room for the next one nothing is added. */
    size_t bytes_max;
} DataRead;

/* Adds the bytes to the range and moves its `to` by as many positions.  ERR_NOT_FOUND: the file is
 * gone (a stream deleted meanwhile), ERR_RETRY: no descriptor.  Many bytes of a range that takes
 * files are checked and left in the file, which then stays open and is not punched until the range
 * and whoever sends it let go. */
DS_MUST_CHECK bool data_file_read(DataFiles *files, const DataRead *read, Range *range, Error *err);

/* What lies before a position (at most `end`): bytes, and whole messages. */
DS_MUST_CHECK bool data_file_locate(DataFiles *files, uint64_t id, DataEnd end,
                                    bool counts_messages, uint64_t position, DataEnd *out,
                                    Error *err);

/* Gives the disk space of the first `bytes` back, in blocks; the caller has moved the start of what
 * may be read before, and readers look at it again when they have the bytes.  Does nothing where
 * the file system cannot.  False: somebody is reading the file; try again later. */
DS_MUST_CHECK bool data_file_punch(DataFiles *files, uint64_t id, uint64_t bytes);

/* Both files; those that do not exist are fine.  Not made durable: what comes back after a power
 * failure belongs to no stream, and data_files_each finds it. */
DS_MUST_CHECK bool data_file_delete(DataFiles *files, uint64_t id, Error *err);

/* Calls fn for each id that has a file (once, or once for each of its two); deleting inside is
 * fine. False from fn stops. */
typedef bool (*DataFileFn)(void *arg, uint64_t id, Error *err);
DS_MUST_CHECK bool data_files_each(DataFiles *files, DataFileFn fn, void *arg, Error *err);
