/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/op_read.c -- GET: catch-up, long-poll or SSE, by the parameters of the request.
 */
#include "server/op.h"

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/ds_proto.h"
#include "server/cursor.h"
#include "server/live.h"
#include "server/query.h"
#include "server/read_later.h"
#include "server/read_reply.h"

typedef enum ReadMode { READ_CATCH_UP, READ_LONG_POLL, READ_SSE } ReadMode;

typedef enum ReadFrom { FROM_START, FROM_TAIL, FROM_OFFSET } ReadFrom;

typedef struct ReadQuery {
    ReadMode mode;
    ReadFrom from;
    Offset offset; /* FROM_OFFSET */
    uint64_t cursor;
} ReadQuery;

static bool
parse_offset(Str raw, ReadQuery *out)
{
    char text[OFFSET_BYTES_MAX];
    Buf decoded;
    Error err;
    bool ok = false;

    buf_init(&decoded, sizeof(text));
    if (percent_decode(raw, &decoded, &err)) {
        if (str_eq(buf_str(&decoded), STR(DS_OFFSET_START))) {
            out->from = FROM_START;
            ok = true;
        } else if (str_eq(buf_str(&decoded), STR(DS_OFFSET_NOW))) {
            out->from = FROM_TAIL;
            ok = true;
        } else {
            out->from = FROM_OFFSET;
            ok = offset_parse(buf_str(&decoded), &out->offset);
        }
    }
    buf_done(&decoded);
    return ok;
}

/* NULL, or what is wrong. */
static const char *
parse_query(Str query, ReadQuery *out)
{
    Str offset = STR_EMPTY;
    Str live;
    Str cursor = STR_EMPTY;
    size_t offsets;
    bool has_offset = query_find(query, STR("offset"), &offset, &offsets);

    *out = (ReadQuery){.mode = READ_CATCH_UP, .from = FROM_START};
    if (query_find(query, STR("live"), &live, NULL)) {
        if (str_eq(live, STR("long-poll"))) {
            out->mode = READ_LONG_POLL;
        } else if (str_eq(live, STR("sse"))) {
            out->mode = READ_SSE;
        } else {
            return "live is \"long-poll\" or \"sse\"";
        }
        if (!has_offset) {
            return "a live read needs an offset";
        }
    }
    if (has_offset && offsets > 1) {
        return "offset is given more than once";
    }
    if (has_offset && !parse_offset(offset, out)) {
        return "offset is not one that this server gave: \"-1\" is the start, \"now\" the tail";
    }
    query_find(query, STR("cursor"), &cursor, NULL);
    out->cursor = cursor_next(cursor, clock_wall_ms(), arc4random());
    return NULL;
}

/* Where to begin.  False: the offset is of another life of the stream. */
static bool
resolve(const ReadQuery *query, Stream *stream, StoreRead *out)
{
    StreamInfo info;

    switch (query->from) {
    case FROM_START:
        out->from_start = true;
        return true;
    case FROM_TAIL:
        store_stream_info(stream, &info);
        out->from = info.tail.position;
        return true;
    case FROM_OFFSET:
        break;
    }
    out->from = query->offset.position;
    /* The very start of any stream is also all zeros. */
    return stream_has_offset(stream, query->offset) ||
           (query->offset.era == 0 && query->offset.position == 0);
}

/* A browser's EventSource repeats its first URL and tells in Last-Event-ID how far it got.  That is
 * believed when it leads further in this life of the stream than the URL does. */
static bool
resume_from_event_id(HttpExchange *exchange, const ReadQuery *query, const Stream *stream,
                     StoreRead *read)
{
    Str id;
    Offset seen;

    if (!exchange_field(exchange, "Last-Event-ID", &id, NULL) || !offset_parse(id, &seen) ||
        !stream_has_offset(stream, seen)) {
        return false;
    }
    if (query->from == FROM_OFFSET && seen.position <= read->from) {
        return false;
    }
    read->from = seen.position;
    read->from_start = false;
    return true;
}

static void
catch_up(App *app, HttpExchange *exchange, Stream *stream, StoreRead *read, Str known_tags)
{
    ReadVerdict verdict = store_read(app->store, stream, read);

    if (verdict == READ_OK) {
        read_reply_range(app, exchange, stream, read, known_tags, NULL);
    } else if (verdict == READ_COLD) {
        read_later(app, exchange, stream, read, known_tags, NULL);
    } else {
        read_reply_refused(exchange, verdict);
    }
    stream_drop(stream);
}

void
op_read(App *app, HttpExchange *exchange, Str name)
{
    StoreRead read = {.bytes_max = (size_t)app->config->limits.read_page_bytes};
    ReadQuery query;
    Str known_tags = STR_EMPTY;
    Stream *stream;
    const char *wrong = parse_query(exchange_request(exchange)->query, &query);
    bool resumed;

    if (wrong != NULL) {
        op_problem(exchange, 400, "INVALID_OFFSET", wrong);
        return;
    }
    stream = op_find(app, exchange, name);
    if (stream == NULL) {
        return;
    }
    stream_touch(stream);
    if (!resolve(&query, stream, &read)) {
        op_problem(exchange, 410, "GONE", "the offset is of an earlier stream of this name");
        stream_drop(stream);
        return;
    }
    exchange_field(exchange, "If-None-Match", &known_tags, NULL);
    switch (query.mode) {
    case READ_CATCH_UP:
        if (query.from == FROM_TAIL) {
            read_reply_now(exchange, stream);
            stream_drop(stream);
        } else {
            catch_up(app, exchange, stream, &read, known_tags);
        }
        break;
    case READ_LONG_POLL:
        live_long_poll(app, exchange, stream, &read, known_tags, query.cursor);
        break;
    case READ_SSE:
        resumed = resume_from_event_id(exchange, &query, stream, &read);
        live_sse(app, exchange, stream, &read, query.cursor, resumed);
        break;
    }
}
