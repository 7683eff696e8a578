/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/chunk_log.h -- the bytes of one stream in memory, and where its messages end.
 *
 * Bytes lie in chunks, in order; an append is never cut by a chunk's end, so a message is
 * contiguous. Of a JSON stream each message is followed by a comma: any range of whole messages,
 * without its last comma and put between brackets, is a JSON array as it lies.  Bytes once appended
 * never move or change; a reader holds references to the chunks of its range and needs no lock to
 * send it, even when the log is trimmed or freed meanwhile.
 *
 * A position counts messages (JSON) or bytes.  "Message" below is also one append to a byte stream:
 * ranges are cut there if they can be.
 *
 * Not thread safe but for what readers hold: the stream's lock guards the log.
 */
#pragma once

#include "server/range.h"

#define CHUNK_BYTES_MIN        256
#define CHUNK_BYTES_MAX        ((size_t)64 * 1024) /* grown by doubling; a larger append gets its own */
#define CHUNK_APPEND_BYTES_MAX UINT32_MAX

typedef struct Chunk {
    HttpHold hold; /* first member: chunk_of */
    char data[];
} Chunk;

typedef struct LogChunk {
    Chunk *chunk;
    uint64_t byte_start;  /* bytes of the stream before this chunk */
    uint64_t index_start; /* messages before it */
    uint32_t cap;         /* of the chunk: an append looks at nothing of it but its end */
    uint32_t len;
    uint32_t ends_count;
    uint32_t ends_cap;
    uint32_t *ends; /* where each message ends, from the chunk's first byte */
} LogChunk;

typedef struct ChunkLog {
    LogChunk *chunks; /* head..count are alive */
    size_t head;
    size_t count;
    size_t cap;
    uint64_t byte_end;
    uint64_t index_end;
    size_t memory;        /* bytes that it takes, to within what malloc adds */
    bool counts_messages; /* positions are messages, not bytes */
} ChunkLog;

/* Bytes to append, flattened: of a JSON stream each message with its comma. */
typedef struct LogPayload {
    Str bytes;
    const uint32_t *ends; /* ascending, the last is bytes.len */
    size_t count;
} LogPayload;

void chunk_log_init(ChunkLog *log, bool counts_messages);
/* A log that begins behind as many bytes and messages that lie elsewhere. */
void chunk_log_init_at(ChunkLog *log, bool counts_messages, uint64_t bytes, uint64_t messages);
void chunk_log_done(ChunkLog *log);

/* At most CHUNK_APPEND_BYTES_MAX bytes, count > 0, no empty message. */
void chunk_log_append(ChunkLog *log, LogPayload payload);

/* The first position that it holds; the tail when it holds none. */
uint64_t chunk_log_start(const ChunkLog *log);
/* Position after the last message. */
uint64_t chunk_log_tail(const ChunkLog *log);
/* Messages before a position that the log still holds, or its tail. */
uint64_t chunk_log_index_at(const ChunkLog *log, uint64_t position);
/* Bytes between a position that the log still holds, or its tail, and the tail. */
uint64_t chunk_log_bytes_from(const ChunkLog *log, uint64_t position);

/* How many messages lie between a position, at the end of one, that the log still holds, and the
 * tail; out, which may be NULL, gets the length of each. */
size_t chunk_log_lengths(const ChunkLog *log, uint64_t from, uint32_t *out);

/* Frees every chunk that lies before the position as a whole, and moves what is left of one that
 * lies mostly before it. */
void chunk_log_trim(ChunkLog *log, uint64_t position);

/* Adds what lies between two positions that the log holds, or its tail: at most bytes_max, cut at
 * the end of a message; but when *out was empty, at least one message if there is one.  Moves
 * out->to. */
void chunk_log_read(const ChunkLog *log, uint64_t from, uint64_t to, size_t bytes_max, Range *out);
