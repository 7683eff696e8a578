/* SPDX-License-Identifier: Apache-2.0 */
#include "server/live.h"

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/ds_proto.h"
#include "common/mem.h"
#include "server/cursor.h"
#include "server/live_loop.h"
#include "server/read_later.h"
#include "server/read_reply.h"
#include "server/sse_frame.h"

typedef struct LiveReader {
    Waiter waiter;
    LiveEntry live;
    NetLoop *net;
    App *app;
    HttpExchange *exchange;
    Stream *stream;
    LoopTimer *timer;  /* of a long-poll */
    uint64_t position; /* of what was not sent yet */
    uint64_t cursor;   /* the least one to answer with */

    /* SSE only */
    ColdRead *cold;         /* NULL: none is under way */
    bool begun;             /* a control event was sent */
    bool stalled;           /* waiting for the connection */
    uint64_t stalled_bytes; /* bytes_ever of the stream when that began */
    int64_t written_ms;
    int64_t ends_ms; /* INT64_MAX: when the stream or the client does */
} LiveReader;

static void
count_waiting(App *app, int change)
{
    metric_move(app->metrics.live_waiting, change);
}

/* ---- life of a reader ---- */

/* Its exchange is dead, or about to be ended by the caller. */
static void
reader_end(LiveReader *reader)
{
    cold_read_cancel(reader->cold);
    wake_leave(&reader->waiter);
    live_leave(&reader->live);
    timer_free(reader->timer);
    stream_drop(reader->stream);
    count_waiting(reader->app, -1);
    loop_defer_free(net_loop_loop(reader->net), reader);
}

static void
reader_canceled(void *arg)
{
    reader_end(arg);
}

static LiveReader *
reader_new(App *app, HttpExchange *exchange, Stream *stream, const StoreRead *read, uint64_t cursor)
{
    LiveReader *reader = mem_zalloc(sizeof(*reader));

    reader->app = app;
    reader->exchange = exchange;
    reader->net = exchange_loop(exchange);
    reader->stream = stream;
    reader->position = read->from;
    reader->cursor = cursor;
    live_join(reader->net, &reader->live);
    exchange_wait(exchange, reader_canceled, reader);
    count_waiting(app, 1);
    metric_add(app->metrics.live_reads, 1);
    return reader;
}

static uint64_t
reader_cursor(const LiveReader *reader)
{
    return DS_MAX(reader->cursor, cursor_now(clock_wall_ms()));
}

/* ---- long-poll ---- */

static void
poll_answer_nothing(LiveReader *reader, bool closed)
{
    read_reply_nothing(reader->exchange, reader->stream, reader->position, closed,
                       reader_cursor(reader));
    reader_end(reader);
}

static void
poll_step(LiveReader *reader)
{
    StoreRead read = {
        .from = reader->position,
        .bytes_max = (size_t)reader->app->config->limits.read_page_bytes,
    };
    ReadVerdict verdict = store_read(reader->app->store, reader->stream, &read);

    if (verdict == READ_COLD) {
        uint64_t cursor = reader_cursor(reader);

        read_later(reader->app, reader->exchange, reader->stream, &read, STR_EMPTY, &cursor);
        reader_end(reader);
    } else if (verdict != READ_OK) {
        read_reply_refused(reader->exchange, verdict);
        reader_end(reader);
    } else if (read.range.bytes > 0) {
        uint64_t cursor = reader_cursor(reader);

        read_reply_range(reader->app, reader->exchange, reader->stream, &read, STR_EMPTY, &cursor);
        reader_end(reader);
    } else if (read.closed) {
        poll_answer_nothing(reader, true);
    }
}

static void
poll_woken(Waiter *waiter)
{
    poll_step(DS_CONTAINER_OF(waiter, LiveReader, waiter));
}

static void
poll_timed_out(void *arg)
{
    poll_answer_nothing(arg, false);
}

static void
poll_drain(LiveEntry *entry)
{
    poll_answer_nothing(DS_CONTAINER_OF(entry, LiveReader, live), false);
}

void
live_long_poll(App *app, HttpExchange *exchange, Stream *stream, StoreRead *read, Str known_tags,
               uint64_t cursor)
{
    NetLoop *net = exchange_loop(exchange);
    ReadVerdict verdict = store_read(app->store, stream, read);
    LiveReader *reader;

    if (verdict == READ_COLD) {
        read_later(app, exchange, stream, read, known_tags, &cursor);
        stream_drop(stream);
        return;
    }
    if (verdict != READ_OK) {
        read_reply_refused(exchange, verdict);
        stream_drop(stream);
        return;
    }
    if (read->range.bytes > 0) {
        read_reply_range(app, exchange, stream, read, known_tags, &cursor);
        stream_drop(stream);
        return;
    }
    if (read->closed || live_is_draining(net)) {
        read_reply_nothing(exchange, stream, read->from, read->closed, cursor);
        stream_drop(stream);
        return;
    }
    reader = reader_new(app, exchange, stream, read, cursor);
    reader->waiter.on_wake = poll_woken;
    reader->live.on_drain = poll_drain;
    reader->timer = timer_new(net_loop_loop(net), poll_timed_out, reader);
    timer_start(reader->timer, app->config->long_poll_ms);
    store_wait(stream, net, &reader->waiter);
    poll_step(reader); /* what came between the first look and the wait */
}

/* ---- SSE ---- */

static void
sse_end(LiveReader *reader)
{
    stream_end(reader->exchange);
    reader_end(reader);
}

static void
sse_cut(LiveReader *reader)
{
    exchange_abort(reader->exchange);
    reader_end(reader);
}

/* The data event, if there are bytes, and its control event.  False: the connection cannot take
 * them now, and nothing happened. */
static bool
sse_write(LiveReader *reader, const StoreRead *read)
{
    SseControl control = {
        .next = stream_offset(reader->stream, read->range.to),
        .cursor = reader_cursor(reader),
        .up_to_date = read->at_tail,
        .closed = read->closed && read->at_tail,
    };
    char text[SSE_CONTROL_BYTES_MAX];
    HttpPiece pieces[2];
    size_t count = 0;
    SseFrame *frame = NULL;
    bool ok;

    if (read->range.bytes > 0) {
        frame = sse_frame_get(live_frames(reader->net), reader->stream, &read->range);
        pieces[count++] = (HttpPiece){.bytes = frame->bytes, .hold = &frame->hold};
    }
    pieces[count++] = (HttpPiece){.bytes = str_n(text, sse_control_format(&control, text))};
    ok = stream_write(reader->exchange, pieces, count);
    if (frame != NULL) {
        http_hold_drop(&frame->hold);
    }
    if (ok) {
        reader->begun = true;
        reader->position = read->range.to;
        reader->written_ms = loop_now_ms(net_loop_loop(reader->net));
        metric_add(reader->app->metrics.reads, 1);
        metric_add(reader->app->metrics.read_bytes, read->range.bytes);
    }
    return ok;
}

/* Large events wait until the connection is empty; then it takes any. */
static bool
sse_has_room(const LiveReader *reader, size_t bytes)
{
    size_t backlog = stream_backlog(reader->exchange);

    return backlog == 0 || backlog + bytes <= SSE_BACKLOG_PAUSE;
}

typedef enum SseProgress {
    SSE_MORE,   /* there is more to send */
    SSE_WAIT,   /* for the stream, or for the connection */
    SSE_FINAL,  /* the end of the stream was sent */
    SSE_BROKEN, /* the bytes cannot be read */
    SSE_LAGS,   /* too much passed by while the connection took nothing */
} SseProgress;

static SseProgress
sse_stall(LiveReader *reader, const StoreRead *read)
{
    uint64_t lag_max = (uint64_t)reader->app->config->limits.subscriber_backlog_bytes;

    if (!reader->stalled) {
        reader->stalled = true;
        reader->stalled_bytes = read->bytes_ever;
    }
    return read->bytes_ever - reader->stalled_bytes > lag_max ? SSE_LAGS : SSE_WAIT;
}

static SseProgress
sse_send(LiveReader *reader, const StoreRead *read)
{
    bool final = read->closed && read->at_tail;

    if (read->range.bytes == 0 && !final && reader->begun) {
        return SSE_WAIT;
    }
    if (!sse_has_room(reader, read->range.bytes) || !sse_write(reader, read)) {
        return sse_stall(reader, read);
    }
    reader->stalled = false;
    if (final) {
        return SSE_FINAL;
    }
    return read->at_tail ? SSE_WAIT : SSE_MORE;
}

static void sse_cold_done(void *arg, ReadVerdict verdict, StoreRead *read);

static SseProgress
sse_take(LiveReader *reader, ReadVerdict verdict, StoreRead *read)
{
    SseProgress progress = SSE_FINAL; /* the next request says why */

    if (verdict == READ_OK) {
        progress = sse_send(reader, read);
        range_done(&read->range);
    } else if (verdict == READ_FAILED) {
        progress = SSE_BROKEN;
    } else if (verdict == READ_COLD && !sse_has_room(reader, read->bytes_max)) {
        progress = sse_stall(reader, read);
    } else if (verdict == READ_COLD) {
        reader->cold = cold_read_start(live_cold_reads(reader->net), reader->app, reader->stream,
                                       read, sse_cold_done, reader);
        progress = SSE_WAIT;
    }
    return progress;
}

/* Sends what there is and the connection has room for.  The reader may be gone afterwards. */
static void
sse_go_on(LiveReader *reader, SseProgress progress)
{
    while (progress == SSE_MORE) {
        StoreRead read = {.from = reader->position, .bytes_max = SSE_EVENT_BYTES_MAX};
        ReadVerdict verdict = store_read(reader->app->store, reader->stream, &read);

        progress = sse_take(reader, verdict, &read);
    }
    if (progress == SSE_FINAL) {
        sse_end(reader);
    } else if (progress == SSE_BROKEN) {
        sse_cut(reader);
    } else if (progress == SSE_LAGS) {
        metric_add(reader->app->metrics.slow_cut, 1);
        sse_cut(reader);
    }
}

static void
sse_cold_done(void *arg, ReadVerdict verdict, StoreRead *read)
{
    LiveReader *reader = arg;
    SseProgress progress;

    reader->cold = NULL;
    progress = sse_take(reader, verdict, read);
    if (progress == SSE_WAIT && !reader->stalled) {
        progress = SSE_MORE; /* the stream may have grown behind what the pool saw */
    }
    sse_go_on(reader, progress);
}

/* What is on its way from the disk is sent first. */
static void
sse_step(LiveReader *reader)
{
    if (reader->cold == NULL) {
        sse_go_on(reader, SSE_MORE);
    }
}

static void
sse_woken(Waiter *waiter)
{
    sse_step(DS_CONTAINER_OF(waiter, LiveReader, waiter));
}

/* Who is not stalled has sent all there is. */
static void
sse_drained(void *arg)
{
    LiveReader *reader = arg;

    if (reader->stalled) {
        sse_step(reader);
    }
}

static void
sse_drain(LiveEntry *entry)
{
    sse_end(DS_CONTAINER_OF(entry, LiveReader, live));
}

static void
sse_tick(LiveEntry *entry, int64_t now_ms)
{
    static const HttpPiece comment = {.bytes = {":\n\n", 3}};
    LiveReader *reader = DS_CONTAINER_OF(entry, LiveReader, live);

    if (now_ms >= reader->ends_ms) {
        sse_end(reader);
        return;
    }
    if (now_ms - reader->written_ms >= SSE_KEEP_ALIVE_MS) {
        /* A connection too full for a comment is not idle. */
        (void)!stream_write(reader->exchange, &comment, 1);
        reader->written_ms = now_ms;
    }
}

/* Not all at the same time after a restart. */
static int64_t
sse_end_ms(const App *app, int64_t now_ms)
{
    int64_t lifetime_ms = app->config->sse_reconnect_ms;
    int64_t spread_ms = lifetime_ms * SSE_LIFETIME_SPREAD / 100;

    if (lifetime_ms == 0) {
        return INT64_MAX;
    }
    return now_ms + lifetime_ms - spread_ms +
           (int64_t)arc4random_uniform((uint32_t)DS_MIN(2 * spread_ms + 1, INT64_C(1) << 31));
}

static void
sse_reply_head(HttpExchange *exchange, const Stream *stream, bool resumed)
{
    reply_start(exchange, 200);
    reply_field(exchange, "Content-Type", STR(DS_MEDIA_SSE));
    reply_field(exchange, "Cache-Control", resumed ? STR("private, no-store") : STR("no-cache"));
    if (stream->kind == STREAM_BYTES) {
        reply_field(exchange, DS_H_SSE_ENCODING, STR("base64"));
    }
}

void
live_sse(App *app, HttpExchange *exchange, Stream *stream, StoreRead *read, uint64_t cursor,
         bool resumed)
{
    NetLoop *net = exchange_loop(exchange);
    LiveReader *reader;
    ReadVerdict verdict;

    /* Whether it can be read from there has to be known before the head goes out. */
    read->bytes_max = 0;
    verdict = store_read(app->store, stream, read);
    if (verdict != READ_OK && verdict != READ_COLD) {
        read_reply_refused(exchange, verdict);
        stream_drop(stream);
        return;
    }
    range_done(&read->range);

    reader = reader_new(app, exchange, stream, read, cursor);
    reader->waiter.on_wake = sse_woken;
    reader->live.on_drain = sse_drain;
    reader->live.on_tick = sse_tick;
    reader->written_ms = loop_now_ms(net_loop_loop(net));
    reader->ends_ms = sse_end_ms(app, reader->written_ms);
    sse_reply_head(exchange, stream, resumed);
    stream_start(exchange, sse_drained);
    if (live_is_draining(net)) {
        sse_end(reader);
        return;
    }
    store_wait(stream, net, &reader->waiter);
    sse_step(reader);
}
