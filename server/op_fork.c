/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op_fork.c -- PUT with Stream-Forked-From: what to fork, and where.
 */
#include "server/op.h"

#include "common/ds_proto.h"
#include "common/parse.h"
#include "server/query.h"

static bool
bad_request(HttpExchange *exchange, const char *detail)
{
    op_problem(exchange, 400, "BAD_REQUEST", detail);
    return false;
}

/* The value is the path of a stream's URL. */
static Stream *
find_parent(App *app, HttpExchange *exchange, Str path)
{
    Stream *parent = NULL;
    Buf name;
    Str raw;
    Error err;

    buf_init(&name, HTTP_TARGET_BYTES_MAX);
    if (!op_raw_name(app, path, &raw) || !name_decode(raw, &app->names, &name, &err)) {
        (void)bad_request(exchange, "Stream-Forked-From must be the path of a stream's URL");
    } else {
        parent = registry_find(app->store->registry, buf_str(&name));
        if (parent == NULL) {
            op_problem(exchange, 404, "NOT_FOUND", "there is no stream to fork");
        }
    }
    buf_done(&name);
    return parent;
}

static bool
take_offset(HttpExchange *exchange, Str value, ForkRequest *out)
{
    if (str_eq(value, STR(DS_OFFSET_NOW))) {
        return true;
    }
    out->has_offset = true;
    out->offset = (Offset){0};
    if (str_eq(value, STR(DS_OFFSET_START)) || offset_parse(value, &out->offset)) {
        return true;
    }
    op_problem(exchange, 400, "INVALID_OFFSET", "Stream-Fork-Offset is no offset of this server");
    return false;
}

/* What the request does not say is as the parent has it. */
static void
inherit(const HttpExchange *exchange, const Stream *parent, StreamConfig *config)
{
    Str value;

    if (!exchange_field(exchange, "Content-Type", &value, NULL) || value.len == 0) {
        config->content_type = parent->content_type;
    }
    if (config->ttl_s == STREAM_NEVER && config->expires_at_ms == STREAM_NEVER) {
        config->ttl_s = parent->ttl_s;
        config->expires_at_ms = parent->expires_at_ms;
    }
}

bool
op_take_fork(Op *op)
{
    HttpExchange *exchange = op->exchange;
    ForkRequest *fork = &op->store.fork;
    Str path;
    Str offset;
    Str sub;
    bool has_path = exchange_field(exchange, DS_H_STREAM_FORKED_FROM, &path, NULL);
    bool has_offset = exchange_field(exchange, DS_H_STREAM_FORK_OFFSET, &offset, NULL);
    bool has_sub = exchange_field(exchange, DS_H_STREAM_FORK_SUB_OFFSET, &sub, NULL);

    if (!has_path) {
        return (!has_offset && !has_sub) ||
               bad_request(exchange, "Stream-Fork-Offset and Stream-Fork-Sub-Offset go with "
                                     "Stream-Forked-From");
    }
    if (has_sub && !parse_u64(sub, INT64_MAX, &fork->sub)) {
        return bad_request(exchange, "Stream-Fork-Sub-Offset must be a whole number");
    }
    if (has_offset && !take_offset(exchange, offset, fork)) {
        return false;
    }
    fork->parent = find_parent(op->app, exchange, path);
    if (fork->parent == NULL) {
        return false;
    }
    inherit(exchange, fork->parent, &op->store.config);
    return true;
}

void
op_problem_fork(HttpExchange *exchange, ForkVerdict verdict)
{
    switch (verdict) {
    case FORK_OK:
    case FORK_NOT_FOUND:
        op_problem(exchange, 404, "NOT_FOUND", "there is no stream to fork");
        break;
    case FORK_GONE:
        op_problem(exchange, 409, "FORK_FROM_TOMBSTONE",
                   "the stream to fork was deleted and is kept for its forks alone");
        break;
    case FORK_TYPE_MISMATCH:
        op_problem(exchange, 409, "CONTENT_TYPE_MISMATCH",
                   "the stream to fork has another content type");
        break;
    case FORK_BAD_OFFSET:
        op_problem(exchange, 400, "INVALID_OFFSET",
                   "the fork would not begin within what the stream to fork holds");
        break;
    case FORK_TOO_DEEP:
        op_problem(exchange, 409, "FORK_TOO_DEEP",
                   "the stream to fork is a fork of a fork too many times over");
        break;
    }
}
