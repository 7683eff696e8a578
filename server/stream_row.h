/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/stream_row.h -- everything durable about one stream but its bytes, and its table in
 * SQLite.
 *
 * A StreamRow is a snapshot: what a stream is after some operation, to be written whenever the
 * backend wants, and the same row brings it back at the next start.  Times of the boot clock (the
 * last access, when producers wrote) stand in it as wall clock, because boot time begins anew.
 *
 * Of producers it carries those that wrote since another row was taken, so that a stream with
 * thousands of them need not rewrite them all; which are forgotten is told by turn (producer.h).
 */
#pragma once

#include "server/stream.h"

typedef struct StreamRow {
    /* fixed */
    uint64_t id;
    Str name;
    Str content_type;
    int64_t ttl_s;
    int64_t expires_at_ms;
    int64_t created_ms;
    uint64_t era;
    uint64_t parent_id; /* 0: not a fork */
    uint64_t fork_at;

    /* what operations change */
    StreamView at;
    bool closed;
    bool soft_deleted;
    Str seq;       /* ptr NULL: none */
    Str closer_id; /* ptr NULL: no producer closed it */
    uint64_t closer_epoch;
    uint64_t closer_seq;
    int64_t touched_ms; /* wall clock */

    ProducerRecord *producers; /* the oldest first; used_ms is wall clock */
    size_t producers_count;
    uint64_t producers_after;
    uint64_t producers_first_turn; /* those with a smaller one are forgotten */
    uint64_t producers_last_turn;  /* what to pass as producers_after for the next row */

    /* the file modes': up to which LSN it is complete, and what counts of its files */
    uint64_t lsn;
    uint64_t file_bytes;
    uint64_t file_count;

    char *memory; /* what the views point into, where it is the row's own */
} StreamRow;

/* Both clocks at one moment. */
typedef struct StreamRowTime {
    int64_t boot_ms;
    int64_t wall_ms;
} StreamRowTime;

/* Under the stream's lock, or by the thread that commits to it: its state.  name and content_type
 * stay borrowed from the stream, for its life; the rest is the row's own.  Producers: those
 * accepted after that turn, 0 for all.  The file modes' fields are 0. */
void stream_row_of(const Stream *stream, uint64_t producers_after, StreamRowTime now,
                   StreamRow *out);
void stream_row_done(StreamRow *row);

/* stream: after stream_init with the row's name, content_type, ttl_s and expires_at_ms, not yet
 * seen by others.  Published, too; the parent is left to the caller.  The last access is taken for
 * touch_slack_ms later than the row says, but not for later than now: a TTL must not run out early
 * because the last accesses were not kept. */
void stream_row_restore(const StreamRow *row, StreamRowTime now, int64_t touch_slack_ms,
                        size_t producers_max, Stream *stream);
