/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op.h -- what the operations of the protocol share: find, check, reply.
 *
 * Each operation is a function in a file of its own, op_<name>.c, called by route.c with the
 * decoded name of a stream; it answers the exchange, or leaves it waiting.  Functions here that
 * return false or NULL have answered.
 */
#pragma once

#include "server/app.h"
#include "server/payload.h"

void op_create(App *app, HttpExchange *exchange, Str name);
void op_append(App *app, HttpExchange *exchange, Str name); /* POST: append, append and close */
void op_close(App *app, HttpExchange *exchange, Stream *stream); /* POST without a body; takes the
                                                                    reference */
void op_read(App *app, HttpExchange *exchange, Str name);
void op_head(App *app, HttpExchange *exchange, Str name);
void op_delete(App *app, HttpExchange *exchange, Str name);

/* ---- shared ---- */

typedef struct OpHome OpHome;

#define OP_KEPT_BYTES_INLINE 128

/* A write on its way: from the request to its reply. */
typedef struct Op {
    StoreOp store; /* first member */
    App *app;
    HttpExchange *exchange; /* NULL: the client left (op_home.h) */
    Str host;               /* create: of the request, for Location */
    Str path;
    bool https;

    /* op_home.h's */
    OpHome *born;    /* the loop's; borrowed */
    struct Op *next; /* finished and not answered, or spare */

    /* op_home.h's, of a store that queues */
    OpHome *home; /* with a reference; NULL: was not sent */
    void (*answer)(StoreOp *op);
    char *kept; /* what views borrow from, when the request is gone: kept_inline, or its own */
    char kept_inline[OP_KEPT_BYTES_INLINE];
    char *kept_body;
    int64_t queued_bytes;

    Payload payload;
} Op;

/* stream: its reference becomes the op's; NULL for a create. */
Op *op_new(App *app, HttpExchange *exchange, StoreOpKind kind, Stream *stream,
           void (*done)(StoreOp *));
void op_free(Op *op); /* on the loop's thread */
void op_done(Op *op); /* op_home.h's, elsewhere: what it holds; free the op then */
/* Gives it to the store.  done() answers on the loop's thread: at once, or when the store has
 * finished it, unless the client left before. */
void op_submit(Op *op);

/* reply_problem, never to be kept by a cache. */
void op_problem(HttpExchange *exchange, int status, const char *code, const char *detail);

/* With a reference; else 404, or 410 when it is kept for its forks alone. */
Stream *op_find(App *app, HttpExchange *exchange, Str name);

/* What follows "<base path>/", still encoded; false when the path lies elsewhere. */
DS_MUST_CHECK bool op_raw_name(const App *app, Str path, Str *out);

/* How the client spoke to us, as far as we can know: a proxy that ends TLS says so. */
bool op_over_https(const HttpExchange *exchange);

/* Stream-Closed counts only if it is "true" (protocol 4.1). */
bool op_wants_close(const HttpExchange *exchange);

/* Producer-Id, -Epoch, -Seq and Stream-Seq into the request; 400 when they are not legal. */
DS_MUST_CHECK bool op_take_write_fields(HttpExchange *exchange, AppendRequest *request);

/* The body into op->payload and op->store.append; 400 when it should be JSON and is not. */
DS_MUST_CHECK bool op_take_body(Op *op, StreamKind kind);

/* The fork fields of a PUT into op->store.fork, and what the fork inherits into op->store.config,
 * which has what the request says already. */
DS_MUST_CHECK bool op_take_fork(Op *op);
/* 400, 404 or 409; verdict is not FORK_OK. */
void op_problem_fork(HttpExchange *exchange, ForkVerdict verdict);

/* Answers any append or close by op->store.result, and frees the op. */
void op_append_done(StoreOp *store_op);

/* The refusals that a create and an append have in common: 413. */
void op_problem_full(HttpExchange *exchange, AppendVerdict verdict);

/* The stream is soft-deleted: 410. */
void op_problem_gone(HttpExchange *exchange);
/* What the storage refuses, whatever was asked: NO_SPACE 507, BUSY 503, UNREADABLE 500. */
void op_problem_storage(HttpExchange *exchange, StoreVerdict verdict);

void op_field_offset(HttpExchange *exchange, const char *name, Offset offset);
