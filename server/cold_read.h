/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/cold_read.h -- reads of ranges that are not in memory, beside the network loops.
 *
 * store_read said READ_COLD: the same read is done again, with leave to block, on a thread of
 * libuv's pool, and its verdict comes back to the loop.  One ColdReads per network loop.  At most
 * COLD_READS_MAX of its reads are with the pool at once; the others stand in line, one for each
 * request.  Every page is a read of its own, so who is far behind takes turns with all others, and
 * who reads what is in memory never stands in the line.
 *
 * All on the loop's thread.
 */
#pragma once

#include "server/app.h"

#define COLD_READS_MAX    8
#define COLD_POOL_THREADS "8" /* of all loops, in UV_THREADPOOL_SIZE if it is not set */

typedef struct ColdReads ColdReads;
typedef struct ColdRead ColdRead;

/* verdict is not READ_COLD.  The range is the callee's to end, or ends when this returns. */
typedef void (*ColdReadFn)(void *arg, ReadVerdict verdict, StoreRead *read);

ColdReads *cold_reads_new(NetLoop *net);
/* Every read has ended or was canceled; those still with the pool need the loop until loop_free. */
void cold_reads_free(ColdReads *reads);

/* from, from_start, bytes_max and takes_files of read count; the stream is held meanwhile.  done
 * comes once, and not before this returns, unless the read is canceled. */
ColdRead *cold_read_start(ColdReads *reads, App *app, Stream *stream, const StoreRead *read,
                          ColdReadFn done, void *arg);
void cold_read_cancel(ColdRead *read); /* accepts NULL; not inside done or after it */
