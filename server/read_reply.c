/* SPDX-License-Identifier: Apache-2.0 */
#include "server/read_reply.h"

#include "common/ds_proto.h"
#include "common/mem.h"
#include "server/etag.h"
#include "server/op.h"

#define CACHE_SHARED STR("public, max-age=60, stale-while-revalidate=300")
#define CACHE_NEVER  STR("no-store")

/* Two for the brackets. */
#define PIECES_INLINE (RANGE_PARTS_INLINE + 2)

static void
send_json(HttpExchange *exchange, const Range *range)
{
    HttpPiece pieces_inline[PIECES_INLINE];
    HttpPiece *pieces = pieces_inline;
    size_t count = range->count;

    if (count + 2 > PIECES_INLINE) {
        pieces = mem_array(count + 2, sizeof(*pieces));
    }
    pieces[0] = (HttpPiece){.bytes = STR("[")};
    memcpy(pieces + 1, range->parts, count * sizeof(*pieces));
    if (count > 0) {
        pieces[count].bytes.len--; /* the comma behind the last message */
    }
    pieces[count + 1] = (HttpPiece){.bytes = STR("]")};
    reply_send(exchange, pieces, count + 2);
    if (pieces != pieces_inline) {
        free(pieces);
    }
}

static void
field_position(HttpExchange *exchange, Offset next, bool at_tail, bool final)
{
    op_field_offset(exchange, DS_H_STREAM_NEXT_OFFSET, next);
    if (at_tail) {
        reply_field(exchange, DS_H_STREAM_UP_TO_DATE, STR("true"));
    }
    if (final) {
        reply_field(exchange, DS_H_STREAM_CLOSED, STR("true"));
    }
}

void
read_reply_range(const App *app, HttpExchange *exchange, const Stream *stream, StoreRead *read,
                 Str known_tags, const uint64_t *cursor)
{
    const Range *range = &read->range;
    bool final = read->closed && read->at_tail;
    char etag[ETAG_BYTES_MAX];
    bool fresh;

    etag_format(stream, range->from, range->to, final, etag);
    fresh = etag_matches(known_tags, str_c(etag));
    reply_start(exchange, fresh ? 304 : 200);
    reply_field(exchange, "Content-Type", stream->content_type);
    reply_field(exchange, "Cache-Control", CACHE_SHARED);
    reply_field(exchange, "ETag", str_c(etag));
    field_position(exchange, stream_offset(stream, range->to), read->at_tail, final);
    if (cursor != NULL) {
        reply_field_u64(exchange, DS_H_STREAM_CURSOR, *cursor);
    }
    if (fresh) {
        reply_send(exchange, NULL, 0);
    } else if (stream->kind == STREAM_JSON) {
        send_json(exchange, range);
    } else {
        reply_send(exchange, range->parts, range->count);
    }
    metric_add(app->metrics.reads, 1);
    metric_add(app->metrics.read_bytes, fresh ? 0 : range->bytes);
    range_done(&read->range);
}

void
read_reply_now(HttpExchange *exchange, Stream *stream)
{
    HttpPiece empty_array = {.bytes = STR("[]")};
    StreamInfo info;

    store_stream_info(stream, &info);
    reply_start(exchange, 200);
    reply_field(exchange, "Content-Type", stream->content_type);
    reply_field(exchange, "Cache-Control", CACHE_NEVER);
    field_position(exchange, info.tail, true, info.closed);
    reply_send(exchange, &empty_array, stream->kind == STREAM_JSON ? 1 : 0);
}

void
read_reply_nothing(HttpExchange *exchange, const Stream *stream, uint64_t tail, bool closed,
                   uint64_t cursor)
{
    reply_start(exchange, 204);
    reply_field(exchange, "Cache-Control", CACHE_NEVER);
    field_position(exchange, stream_offset(stream, tail), true, closed);
    reply_field_u64(exchange, DS_H_STREAM_CURSOR, cursor);
    reply_send(exchange, NULL, 0);
}

void
read_reply_refused(HttpExchange *exchange, ReadVerdict verdict)
{
    switch (verdict) {
    case READ_OK:
    case READ_DELETED:
        op_problem(exchange, 404, "NOT_FOUND", "there is no stream of this name");
        break;
    case READ_BEFORE_START:
        op_problem(exchange, 410, "GONE", "the offset lies before what the stream still holds");
        break;
    case READ_PAST_TAIL:
        op_problem(exchange, 410, "GONE", "the offset lies past the end of the stream");
        break;
    case READ_GONE:
        op_problem_gone(exchange);
        break;
    case READ_COLD:
    case READ_FAILED:
        op_problem(exchange, 500, "INTERNAL_ERROR", "the bytes at the offset cannot be read");
        break;
    }
}
