/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op_head.c -- HEAD: what a stream is, without renewing it.
 */
#include "server/op.h"

#include "common/clock.h"
#include "common/ds_proto.h"

/* Tells about a stream without renewing its TTL (protocol 5.5). */
void
op_head(App *app, HttpExchange *exchange, Str name)
{
    Stream *stream = op_find(app, exchange, name);
    StreamInfo info;

    if (stream == NULL) {
        return;
    }
    store_stream_info(stream, &info);
    reply_start(exchange, 200);
    reply_field(exchange, "Content-Type", stream->content_type);
    reply_field(exchange, "Cache-Control", STR("no-store"));
    op_field_offset(exchange, DS_H_STREAM_NEXT_OFFSET, info.tail);
    if (stream->ttl_s != STREAM_NEVER) {
        reply_field_u64(exchange, DS_H_STREAM_TTL, (uint64_t)stream->ttl_s);
    }
    if (stream->expires_at_ms != STREAM_NEVER) {
        char text[CLOCK_RFC3339_SIZE];

        clock_format_rfc3339(stream->expires_at_ms, text);
        reply_field(exchange, DS_H_STREAM_EXPIRES_AT, str_c(text));
    }
    if (info.closed) {
        reply_field(exchange, DS_H_STREAM_CLOSED, STR("true"));
    }
    reply_send(exchange, NULL, 0);
    stream_drop(stream);
}
