/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op_create.c -- PUT: makes a stream, or finds that it is there unchanged.
 */
#include "server/op.h"

#include "common/ds_proto.h"
#include "common/parse.h"

static bool
bad_request(HttpExchange *exchange, const char *detail)
{
    op_problem(exchange, 400, "BAD_REQUEST", detail);
    return false;
}

static bool
take_expiry(HttpExchange *exchange, StreamConfig *config)
{
    Str ttl;
    Str expires_at;
    uint64_t ttl_s;
    bool has_ttl = exchange_field(exchange, DS_H_STREAM_TTL, &ttl, NULL);
    bool has_expires_at = exchange_field(exchange, DS_H_STREAM_EXPIRES_AT, &expires_at, NULL);

    config->ttl_s = STREAM_NEVER;
    config->expires_at_ms = STREAM_NEVER;
    if (has_ttl && has_expires_at) {
        return bad_request(exchange, "Stream-TTL and Stream-Expires-At exclude each other");
    }
    if (has_ttl) {
        if (!parse_u64(ttl, STREAM_TTL_S_MAX, &ttl_s)) {
            return bad_request(exchange, "Stream-TTL must be a whole number of seconds");
        }
        config->ttl_s = (int64_t)ttl_s;
    }
    if (has_expires_at && !parse_rfc3339_ms(expires_at, &config->expires_at_ms)) {
        return bad_request(exchange, "Stream-Expires-At must be an RFC 3339 time");
    }
    if (has_expires_at) {
        config->expires_at_ms = DS_MAX(config->expires_at_ms, INT64_C(0)); /* -1 is "never" */
    }
    return true;
}

static bool
take_config(HttpExchange *exchange, StreamConfig *config)
{
    if (!exchange_field(exchange, "Content-Type", &config->content_type, NULL) ||
        config->content_type.len == 0) {
        config->content_type = STR(DS_MEDIA_BYTES);
    }
    if (config->content_type.len > STREAM_CONTENT_TYPE_BYTES_MAX) {
        return bad_request(exchange, "Content-Type is longer than 256 bytes");
    }
    return take_expiry(exchange, config);
}

/* An absolute URL, as far as the server can know it: a proxy that ends TLS says so. */
static void
take_location(Op *op)
{
    const HttpRequestView *request = exchange_request(op->exchange);

    op->host = request->host;
    op->path = request->path;
    op->https = op_over_https(op->exchange);
}

static void
field_location(const Op *op)
{
    Buf url;
    Error err;

    buf_init(&url, 2 * HTTP_TARGET_BYTES_MAX);
    if ((op->host.len == 0 ||
         (buf_append(&url, op->https ? STR("https://") : STR("http://"), &err) &&
          buf_append(&url, op->host, &err))) &&
        buf_append(&url, op->path, &err)) {
        reply_field(op->exchange, "Location", buf_str(&url));
    }
    buf_done(&url);
}

static void
reply_created(const Op *op)
{
    HttpExchange *exchange = op->exchange;
    const StoreResult *result = &op->store.result;

    reply_start(exchange, result->verdict == STORE_DONE ? 201 : 200);
    if (result->verdict == STORE_DONE) {
        field_location(op);
    }
    reply_field(exchange, "Content-Type", op->store.stream->content_type);
    op_field_offset(exchange, DS_H_STREAM_NEXT_OFFSET, result->next);
    if (result->closed) {
        reply_field(exchange, DS_H_STREAM_CLOSED, STR("true"));
    }
    reply_send(exchange, NULL, 0);
}

static void
created(StoreOp *store_op)
{
    Op *op = DS_CONTAINER_OF(store_op, Op, store);

    switch (store_op->result.verdict) {
    case STORE_DONE:
    case STORE_EXISTS:
        reply_created(op);
        break;
    case STORE_CONFLICT:
        op_problem(
            op->exchange, 409, "ALREADY_EXISTS",
            "a stream of this name exists with another content type, expiry, openness or origin");
        break;
    case STORE_GONE:
        op_problem(op->exchange, 409, "PATH_BLOCKED",
                   "a stream of this name was deleted and is kept for its forks");
        break;
    case STORE_FORK_REFUSED:
        op_problem_fork(op->exchange, store_op->result.fork);
        break;
    case STORE_TOO_MANY_STREAMS:
        op_problem(op->exchange, 429, "TOO_MANY_STREAMS",
                   "there are as many streams as DS_LIMITS__MAX_STREAMS allows");
        break;
    case STORE_NO_SPACE:
    case STORE_BUSY:
    case STORE_UNREADABLE:
        op_problem_storage(op->exchange, store_op->result.verdict);
        break;
    case STORE_REFUSED:
    case STORE_NOT_FOUND:
    case STORE_PAST_TAIL:
        op_problem_full(op->exchange, store_op->result.append);
        break;
    }
    op_free(op);
}

/* A body of another type than the parent's is not looked at: the fork will be refused. */
static StreamKind
body_kind(const StoreOp *op)
{
    const Stream *parent = op->fork.parent;

    if (parent != NULL && !stream_same_media_type(parent->content_type, op->config.content_type)) {
        return STREAM_BYTES;
    }
    return stream_kind(op->config.content_type);
}

void
op_create(App *app, HttpExchange *exchange, Str name)
{
    Op *op = op_new(app, exchange, STORE_CREATE, NULL, created);

    op->store.name = name;
    op->store.append.close = op_wants_close(exchange);
    if (!take_config(exchange, &op->store.config) || !op_take_fork(op) ||
        !op_take_body(op, body_kind(&op->store))) {
        op_free(op);
        return;
    }
    take_location(op);
    op_submit(op);
}
