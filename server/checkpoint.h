/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/checkpoint.h -- brings what a shard's write-ahead log holds to the streams' files.
 *
 * A thread per shard.  At an interval, or earlier when a segment is full, it takes the
 * streams that changed, in groups: their new bytes go to their files, the files are synced, the
 * rows are written in one transaction; after the last group the log may forget everything up to
 * where the log stood when it began.  Then bytes may leave memory.  Commits go on meanwhile, but
 * for the moments in which a group is looked at.
 *
 * One that fails for want of room (or of anything else that may pass) changes nothing that counts,
 * keeps the log, is said once, and is tried again; reads go on, and appends until the log is full.
 * A failed sync ends the process.
 */
#pragma once

#include "common/error.h"
#include "common/metrics.h"

#define CHECKPOINT_STREAMS_MAX   4096 /* of a group */
#define CHECKPOINT_BYTES_MAX     ((size_t)64 << 20)
#define CHECKPOINT_PAUSE_STREAMS 64 /* looked at while commits wait */
#define CHECKPOINT_RETRY_MS      500

typedef struct Checkpoint Checkpoint;
typedef struct FileBackend FileBackend;

Checkpoint *checkpoint_new(FileBackend *backend, int64_t interval_ms, Metrics *metrics);
void checkpoint_free(Checkpoint *checkpoint); /* accepts NULL; stopped, or never started */

void checkpoint_start(Checkpoint *checkpoint);
void checkpoint_stop(Checkpoint *checkpoint); /* one that runs ends first */
/* Any thread: do not wait for the interval. */
void checkpoint_want(Checkpoint *checkpoint);
/* The commit thread's: if checkpoints work, its shard is held until the next one is over.  False:
 * they do not. */
bool checkpoint_hold_shard(Checkpoint *checkpoint);

/* One now, on the caller's thread, which is the only one: at the start and at the end. */
DS_MUST_CHECK bool checkpoint_run(Checkpoint *checkpoint, Error *err);
