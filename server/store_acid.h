/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/store_acid.h -- storage mode "acid": each shard is one SQLite database.
 *
 *     <data>/acid/shard_XX.sqlite   XX: number of the shard, hexadecimal
 *         stream, producer          what there is to know of a stream (stream_rows.h)
 *         append                    payload: a row for what one batch appended to one stream
 *         garbage                   whose payload is to be deleted, and up to where
 *         shard                     which shard of how many this is
 *
 * A batch is one transaction, and one sync of the write-ahead log of SQLite: data, producers and
 * metadata are there together or not at all.  Rows of `append` carry a CRC-32C, because SQLite
 * checks no page of its file: what is damaged is refused, never served.
 *
 * Deleting and trimming only note what is not needed any more; its rows go in slices that the
 * batches after it and idle moments take along, so that no stream waits for the end of a large one.
 * Their pages are used again, and given back to the file system when there are many.
 *
 * Checkpoints (from SQLite's log to the file) are made by one thread for all shards; only when it
 * cannot keep up a shard does its own.  Bytes that left memory are read by connections of a small
 * pool per shard, beside the writer.
 *
 * Limits: a row holds ACID_ROW_BYTES_MAX, or one larger message of at most ACID_MESSAGE_BYTES_MAX.
 */
#pragma once

#include "server/backend.h"

#define ACID_ROW_BYTES_MAX     ((size_t)256 * 1024)
#define ACID_MESSAGE_BYTES_MAX ((size_t)512 * 1024 * 1024) /* SQLite's own limit is 10^9 */
#define ACID_READERS_MAX       4                           /* per shard, at once; others wait */
#define ACID_READERS_IDLE_MAX  1                           /* per shard, kept open */
#define ACID_LOG_PAGES_ALL     131072                      /* of all shards' logs; 512 MiB */
#define ACID_CACHE_KIB_ALL     32768                       /* of all shards' writers */

extern const BackendKind store_acid;
