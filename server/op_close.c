/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op_close.c -- POST with Stream-Closed and nothing to append.
 */
#include "server/op.h"

/* Close without a last message (protocol 5.3).  Content-Type means nothing here. */
void
op_close(App *app, HttpExchange *exchange, Stream *stream)
{
    Op *op = op_new(app, exchange, STORE_APPEND, stream, op_append_done);

    op->store.append.close = op_wants_close(exchange);
    if (!op->store.append.close) {
        op_problem(exchange, 400, "EMPTY_BODY", "an append needs a body");
        op_free(op);
        return;
    }
    if (!op_take_write_fields(exchange, &op->store.append)) {
        op_free(op);
        return;
    }
    op->store.append.payload = op->payload.view;
    op_submit(op);
}
