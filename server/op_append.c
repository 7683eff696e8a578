/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op_append.c -- POST: checks type, producer and Stream-Seq, then appends.
 */
#include "server/op.h"

#include "common/ds_proto.h"

typedef struct Refusal {
    int status;
    const char *code;
    const char *detail;
} Refusal;

static const Refusal refusals[] = {
    [APPEND_CLOSED] = {409, "STREAM_CLOSED", "the stream is closed"},
    [APPEND_TYPE_MISMATCH] = {409, "CONTENT_TYPE_MISMATCH",
                              "the stream was created with another content type"},
    [APPEND_SEQ_CONFLICT] = {409, "SEQUENCE_CONFLICT",
                             "Stream-Seq must be greater than that of the last append"},
    [APPEND_STALE_EPOCH] = {403, "PRODUCER_EPOCH_FENCED",
                            "a producer of this id with a higher epoch has written"},
    [APPEND_EPOCH_NOT_ZERO] = {400, "BAD_REQUEST",
                               "the first request of a new epoch has Producer-Seq 0"},
    [APPEND_GAP] = {409, "SEQUENCE_CONFLICT", "Producer-Seq leaves a gap"},
    [APPEND_TOO_MANY_PRODUCERS] = {429, "TOO_MANY_PRODUCERS",
                                   "as many producers as DS_LIMITS__MAX_PRODUCERS_PER_STREAM "
                                   "allows wrote to the stream lately"},
};

static void
refuse(const Op *op)
{
    HttpExchange *exchange = op->exchange;
    const StoreResult *result = &op->store.result;
    AppendVerdict verdict = result->append;

    if (verdict == APPEND_STREAM_FULL || verdict == APPEND_STORE_FULL) {
        op_problem_full(exchange, verdict);
        return;
    }
    reply_problem_start(exchange, refusals[verdict].status);
    reply_field(exchange, "Cache-Control", STR("no-store"));
    if (verdict == APPEND_CLOSED) {
        reply_field(exchange, DS_H_STREAM_CLOSED, STR("true"));
        op_field_offset(exchange, DS_H_STREAM_NEXT_OFFSET, result->next);
    }
    if (verdict == APPEND_STALE_EPOCH) {
        reply_field_u64(exchange, DS_H_PRODUCER_EPOCH, result->producer.epoch);
    }
    if (verdict == APPEND_GAP) {
        reply_field_u64(exchange, DS_H_PRODUCER_EXPECTED_SEQ, result->producer.expected);
        reply_field_u64(exchange, DS_H_PRODUCER_RECEIVED_SEQ, op->store.append.producer.seq);
    }
    reply_problem_send(exchange, refusals[verdict].code, refusals[verdict].detail);
}

static void
accept(const Op *op)
{
    HttpExchange *exchange = op->exchange;
    const StoreResult *result = &op->store.result;
    const AppendRequest *request = &op->store.append;
    /* 200 tells a producer "new", 204 "seen before" (protocol 5.2.1); others just get 204. */
    bool is_new =
        request->has_producer && request->payload.count > 0 && result->append == APPEND_OK;

    reply_start(exchange, is_new ? 200 : 204);
    op_field_offset(exchange, DS_H_STREAM_NEXT_OFFSET, result->next);
    if (result->closed) {
        reply_field(exchange, DS_H_STREAM_CLOSED, STR("true"));
    }
    if (request->has_producer) {
        reply_field_u64(exchange, DS_H_PRODUCER_EPOCH, result->producer.epoch);
        reply_field_u64(exchange, DS_H_PRODUCER_SEQ, result->producer.seq);
    }
    reply_send(exchange, NULL, 0);
}

void
op_append_done(StoreOp *store_op)
{
    Op *op = DS_CONTAINER_OF(store_op, Op, store);

    switch (store_op->result.verdict) {
    case STORE_DONE:
        if (store_op->result.append == APPEND_OK) {
            metric_add(op->app->metrics.appends, 1);
            metric_add(op->app->metrics.append_bytes, store_op->append.payload.bytes.len);
        }
        accept(op);
        break;
    case STORE_REFUSED:
        refuse(op);
        break;
    case STORE_GONE:
        op_problem_gone(op->exchange);
        break;
    case STORE_NO_SPACE:
    case STORE_BUSY:
    case STORE_UNREADABLE:
        op_problem_storage(op->exchange, store_op->result.verdict);
        break;
    case STORE_NOT_FOUND:
    case STORE_EXISTS:
    case STORE_CONFLICT:
    case STORE_FORK_REFUSED:
    case STORE_TOO_MANY_STREAMS:
    case STORE_PAST_TAIL:
        op_problem(op->exchange, 404, "NOT_FOUND", "there is no stream of this name");
        break;
    }
    op_free(op);
}

/* What does not depend on the stream's state; the store judges the rest under the stream's lock. */
static bool
take_request(Op *op)
{
    AppendRequest *request = &op->store.append;
    const Stream *stream = op->store.stream;

    request->close = op_wants_close(op->exchange);
    if (!exchange_field(op->exchange, "Content-Type", &request->content_type, NULL) ||
        request->content_type.len == 0) {
        op_problem(op->exchange, 400, "BAD_REQUEST", "a body needs a Content-Type");
        return false;
    }
    if (!op_take_write_fields(op->exchange, request)) {
        return false;
    }
    /* A closed stream and another type come before bad JSON, so that is looked for only without. */
    if (atomic_load(&stream->closed) ||
        !stream_same_media_type(stream->content_type, request->content_type)) {
        return op_take_body(op, STREAM_BYTES);
    }
    if (!op_take_body(op, stream->kind)) {
        return false;
    }
    if (request->payload.count == 0) {
        op_problem(op->exchange, 400, "EMPTY_ARRAY", "an array without a message appends nothing");
        return false;
    }
    return true;
}

void
op_append(App *app, HttpExchange *exchange, Str name)
{
    Stream *stream = op_find(app, exchange, name);
    Op *op;

    if (stream == NULL) {
        return;
    }
    stream_touch(stream);
    if (exchange_request(exchange)->body.len == 0) {
        op_close(app, exchange, stream);
        return;
    }
    op = op_new(app, exchange, STORE_APPEND, stream, op_append_done);
    if (!take_request(op)) {
        op_free(op);
        return;
    }
    op_submit(op);
}
