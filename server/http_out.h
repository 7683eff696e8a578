/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_out.h -- what waits to be sent on one connection, in order.
 *
 * Small bytes are copied and lie side by side; large ones are sent from where they are, kept alive
 * by their HttpHold.  Empty, it owns no memory.  It has no limit of its own: a reply is bounded by
 * the page limit, a stream by the backlog limit, pipelined replies by HTTP_PIPELINED_OUT_BYTES_MAX.
 */
#pragma once

#include "common/buf.h"
#include "server/http.h"
#include "server/transport.h"

#define HTTP_OUT_COPIED_BYTES_MAX 262144 /* side by side; larger pieces get memory of their own */
/* Beside what is copied anyway, a small piece is cheaper copied, too, than sent from its place. */
#define HTTP_OUT_COPIED_PIECE_BYTES_MAX 1024
#define HTTP_OUT_TURN_BYTES_MAX                                                                    \
    1048576 /* sent in one turn, so that one reader cannot starve others */
#define HTTP_OUT_VECTORS_MAX 64

typedef struct HttpSegment {
    const char *ptr; /* NULL: in the file at place, or in copied at place - copied_base */
    uint64_t place;
    size_t len;
    HttpHold *hold;
    const HttpFile *file;
} HttpSegment;

typedef struct HttpOut {
    Buf copied;
    uint64_t copied_base; /* bytes dropped from the front of copied */
    HttpSegment *segments;
    size_t first; /* segments before it are sent */
    size_t count;
    size_t cap;
    size_t bytes; /* not yet taken by the kernel */
} HttpOut;

typedef enum HttpOutResult {
    HTTP_OUT_EMPTY,
    HTTP_OUT_BLOCKED, /* the socket is full, or it was enough for this turn */
    HTTP_OUT_COLD,    /* what comes next lies in a file and not in memory: http_out_next_file */
    HTTP_OUT_BROKEN,
} HttpOutResult;

void http_out_init(HttpOut *out);
void http_out_done(HttpOut *out); /* drops every hold */

void http_out_copy(HttpOut *out, Str bytes);
void http_out_piece(HttpOut *out, const HttpPiece *piece);

/* The segment that HTTP_OUT_COLD means; borrowed, but its hold may be taken. */
const HttpSegment *http_out_next_file(const HttpOut *out);

/* Sends what the socket takes.  *out_sent is added to. */
HttpOutResult http_out_send(HttpOut *out, Transport *transport, uint64_t *out_sent);
