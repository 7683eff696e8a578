/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op_delete.c -- DELETE: removes a stream, or one life of it (If-Match).
 */
#include "server/etag.h"
#include "server/op.h"

static void
deleted(StoreOp *store_op)
{
    Op *op = DS_CONTAINER_OF(store_op, Op, store);

    if (store_op->result.verdict == STORE_DONE) {
        reply_start(op->exchange, 204);
        reply_send(op->exchange, NULL, 0);
    } else if (store_op->result.verdict == STORE_GONE) {
        op_problem_gone(op->exchange);
    } else if (store_op->result.verdict == STORE_NOT_FOUND) {
        op_problem(op->exchange, 404, "NOT_FOUND", "there is no stream of this name");
    } else {
        op_problem_storage(op->exchange, store_op->result.verdict);
    }
    op_free(op);
}

/* If-Match "<era>": delete this life of the stream, not one that somebody created since. */
void
op_delete(App *app, HttpExchange *exchange, Str name)
{
    Stream *stream = op_find(app, exchange, name);
    char era[ETAG_BYTES_MAX];
    Str wanted;
    Op *op;

    if (stream == NULL) {
        return;
    }
    etag_format_era(stream, era);
    if (exchange_field(exchange, "If-Match", &wanted, NULL) && !etag_matches(wanted, str_c(era))) {
        op_problem(exchange, 412, "PRECONDITION_FAILED", "the stream is of another era");
        stream_drop(stream);
        return;
    }
    op = op_new(app, exchange, STORE_DELETE, stream, deleted);
    op_submit(op);
}
