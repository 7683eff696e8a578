/* SPDX-License-Identifier: Apache-2.0 */
#include "server/op.h"

#include "common/ds_proto.h"
#include "common/parse.h"
#include "server/live_loop.h"
#include "server/op_home.h"

Op *
op_new(App *app, HttpExchange *exchange, StoreOpKind kind, Stream *stream, void (*done)(StoreOp *))
{
    Op *op = op_home_make(live_op_home(exchange_loop(exchange)));

    /* The payload has kilobytes that need not be cleared for each append. */
    op->store = (StoreOp){.kind = kind, .done = done, .stream = stream};
    op->app = app;
    op->exchange = exchange;
    op->host = op->path = STR_EMPTY;
    op->https = false;
    op->home = NULL;
    op->next = NULL;
    op->kept = op->kept_body = NULL;
    op->queued_bytes = 0;
    payload_init(&op->payload);
    return op;
}

void
op_done(Op *op)
{
    stream_drop(op->store.stream);
    stream_drop(op->store.fork.parent);
    payload_done(&op->payload);
    op_home_release(op);
}

void
op_free(Op *op)
{
    op_done(op);
    op_home_spare(op);
}

void
op_submit(Op *op)
{
    Store *store = op->app->store;

    if (store->table->queued) {
        op_home_send(live_op_home(exchange_loop(op->exchange)), op);
    } else {
        store_submit(store, &op->store);
    }
}

void
op_problem(HttpExchange *exchange, int status, const char *code, const char *detail)
{
    reply_problem_start(exchange, status);
    reply_field(exchange, "Cache-Control", STR("no-store"));
    reply_problem_send(exchange, code, detail);
}

Stream *
op_find(App *app, HttpExchange *exchange, Str name)
{
    Stream *stream = registry_find(app->store->registry, name);

    if (stream == NULL) {
        op_problem(exchange, 404, "NOT_FOUND", "there is no stream of this name");
    } else if (fork_presence(stream) == FORK_KEPT) {
        op_problem_gone(exchange);
        stream_drop(stream);
        stream = NULL;
    }
    return stream;
}

bool
op_raw_name(const App *app, Str path, Str *out)
{
    if (!str_starts(path, app->base_path) || path.len <= app->base_path.len ||
        path.ptr[app->base_path.len] != '/') {
        return false;
    }
    *out = str_skip(path, app->base_path.len + 1);
    return true;
}

bool
op_over_https(const HttpExchange *exchange)
{
    bool tls = exchange_request(exchange)->tls;
    Str proto;
    Str rest;

    if (!exchange_field(exchange, "X-Forwarded-Proto", &proto, NULL)) {
        return tls;
    }
    (void)str_cut(proto, ',', &proto, &rest); /* the one that the client spoke comes first */
    proto = str_trim(proto);
    return str_eq_nocase(proto, STR("https")) || (tls && !str_eq_nocase(proto, STR("http")));
}

bool
op_wants_close(const HttpExchange *exchange)
{
    Str value;

    return exchange_field(exchange, DS_H_STREAM_CLOSED, &value, NULL) &&
           str_eq_nocase(value, STR("true"));
}

static bool
bad_request(HttpExchange *exchange, const char *detail)
{
    op_problem(exchange, 400, "BAD_REQUEST", detail);
    return false;
}

static bool
take_producer(HttpExchange *exchange, AppendRequest *request)
{
    Str epoch;
    Str seq;
    bool has_id = exchange_field(exchange, DS_H_PRODUCER_ID, &request->producer.id, NULL);
    bool has_epoch = exchange_field(exchange, DS_H_PRODUCER_EPOCH, &epoch, NULL);
    bool has_seq = exchange_field(exchange, DS_H_PRODUCER_SEQ, &seq, NULL);

    if (!has_id && !has_epoch && !has_seq) {
        return true;
    }
    if (!has_id || !has_epoch || !has_seq) {
        return bad_request(exchange,
                           "Producer-Id, Producer-Epoch and Producer-Seq go together: all or none");
    }
    if (request->producer.id.len == 0 || request->producer.id.len > PRODUCER_ID_BYTES_MAX) {
        return bad_request(exchange, "Producer-Id must have 1 to 256 bytes");
    }
    if (!parse_u64_loose(epoch, DS_PRODUCER_NUMBER_MAX, &request->producer.epoch)) {
        return bad_request(exchange, "Producer-Epoch must be an integer from 0 to 2^53-1");
    }
    if (!parse_u64_loose(seq, DS_PRODUCER_NUMBER_MAX, &request->producer.seq)) {
        return bad_request(exchange, "Producer-Seq must be an integer from 0 to 2^53-1");
    }
    request->has_producer = true;
    return true;
}

bool
op_take_write_fields(HttpExchange *exchange, AppendRequest *request)
{
    request->has_seq = exchange_field(exchange, DS_H_STREAM_SEQ, &request->seq, NULL);
    if (request->has_seq && request->seq.len > STREAM_SEQ_BYTES_MAX) {
        return bad_request(exchange, "Stream-Seq is longer than 1024 bytes");
    }
    return take_producer(exchange, request);
}

bool
op_take_body(Op *op, StreamKind kind)
{
    Str body = exchange_request(op->exchange)->body;
    Error err;

    if (kind != STREAM_JSON) {
        payload_set_bytes(&op->payload, body);
    } else if (body.len > 0 && !payload_set_json(&op->payload, body, &err)) {
        op_problem(op->exchange, 400, "INVALID_JSON", err.text);
        return false;
    }
    op->store.append.payload = op->payload.view;
    return true;
}

void
op_field_offset(HttpExchange *exchange, const char *name, Offset offset)
{
    char text[OFFSET_OWN_BYTES + 1];

    offset_format(offset, text);
    reply_field(exchange, name, str_n(text, OFFSET_OWN_BYTES));
}

void
op_problem_full(HttpExchange *exchange, AppendVerdict verdict)
{
    op_problem(exchange, 413, "PAYLOAD_TOO_LARGE",
               verdict == APPEND_STREAM_FULL
                   ? "the stream would grow over DS_LIMITS__MAX_STREAM_BYTES"
                   : "all streams together would grow over DS_LIMITS__MAX_MEMORY_BYTES");
}

void
op_problem_gone(HttpExchange *exchange)
{
    op_problem(exchange, 410, "GONE", "the stream was deleted and is kept for its forks alone");
}

void
op_problem_storage(HttpExchange *exchange, StoreVerdict verdict)
{
    if (verdict == STORE_NO_SPACE) {
        op_problem(exchange, 507, "INSUFFICIENT_STORAGE",
                   "the disk of the server is full; nothing was written");
    } else if (verdict == STORE_BUSY) {
        reply_problem_start(exchange, 503);
        reply_field_u64(exchange, "Retry-After", 1);
        reply_field(exchange, "Cache-Control", STR("no-store"));
        reply_problem_send(exchange, "UNAVAILABLE", "too many operations wait for the storage");
    } else {
        op_problem(exchange, 500, "STORAGE_FAILED", "what is stored of the stream cannot be read");
    }
}
