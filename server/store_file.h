/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/store_file.h -- storage modes "file-durable" and "file-fast": a write-ahead log and files.
 *
 *     <data>/wal-XX/            the write-ahead log of shard XX (wal.h)
 *     <data>/meta-XX.sqlite     a row for each of its streams (stream_row.h), and how far the log
 *                               is in the files
 *     <data>/streams/YY/<id>.*  payload and index of each stream that has any (data_file.h)
 *
 * An acknowledged operation is in the log alone, and its bytes in memory; a checkpoint
 * (checkpoint.h) brings them to the files, then its rows, then the log forgets them.  Each row says
 * up to which record of the log it is complete, so it may be newer than the checkpoint it was
 * written by.  A start loads the rows, and applies what the log has beyond each.
 *
 * The two modes differ in one sync: file-fast does not wait for the disk before it acknowledges.  A
 * crash of the process costs it nothing.  A crash of the machine may cost it the newest operations;
 * then every stream that is open begins a new era, so that no reader takes what is written next for
 * what it has read before.
 */
#pragma once

#include "server/backend.h"

#define FILE_WAL_SEGMENTS_MAX 8 /* of a shard */

extern const BackendKind store_file_durable;
extern const BackendKind store_file_fast;
