/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/source_internal.h"

#include <criterion/criterion.h>

#include "common/http_client_internal.h"
#include "tests/support/http_peer.h"

TestSuite(source, .timeout = 60);

#define HELD_MS_MAX      3600000
#define LOOK_MS          2
#define HTTP_CHUNK_BYTES 10007                          /* no fraction of a piece */
#define LONG_BYTES       (2 * UNIT_CHUNK_BYTES_MAX + 1) /* a reply that is handed over in pieces */

typedef struct Bench {
    Peer peer;
    Loop *loop;
    HttpClient *client;
    Gate *gate; /* one place */
    LoopTimer *look;
    bool (*is_there)(struct Bench *bench); /* what is waited for */
    char url[64];
    size_t units;
    size_t unnamed; /* units that are read from "-1", even if only a part of them is loaded */
    size_t ends;
    SourceEndKind end_kind; /* of the last one */
} Bench;

/* An event stream that has begun, and an answer to GET. */
static const char sse_head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
static const char sse_event[] = "event: data\ndata:[1]\n\n"
                                "event: control\ndata:{\"streamNextOffset\":\"1\"}\n\n";
static const char text_reply[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                 "Stream-Next-Offset: 1\r\nStream-Up-To-Date: true\r\n"
                                 "Content-Length: 1\r\n\r\nx";

static void
on_unit(void *arg, Unit *unit)
{
    Bench *bench = arg;

    Position resume;

    unit_resume_start(unit, &resume);
    bench->unnamed += strcmp(resume.offset, "-1") == 0;
    bench->units++;
    unit_free(unit);
}

static void
on_read(void *arg DS_UNUSED)
{
}

static void
on_end(void *arg, const SourceEnd *end)
{
    Bench *bench = arg;

    bench->ends++;
    bench->end_kind = end->kind;
}

static void
on_look(void *arg)
{
    Bench *bench = arg;

    if (bench->is_there(bench)) {
        timer_stop(bench->look);
        loop_stop(bench->loop);
    }
}

static void
bench_wait(Bench *bench, bool (*is_there)(Bench *bench))
{
    bench->is_there = is_there;
    timer_repeat(bench->look, LOOK_MS);
    loop_run(bench->loop);
}

static void
bench_init(Bench *bench, PeerFn handler)
{
    *bench = (Bench){.loop = loop_new()};
    peer_start(&bench->peer, handler);
    (void)snprintf(bench->url, sizeof(bench->url), "http://127.0.0.1:%d/s", bench->peer.port);
    bench->client = http_client_new(bench->loop, &(HttpClientConfig){.user_agent = "test"});
    bench->gate = gate_new(bench->loop, 1, HELD_MS_MAX);
    bench->look = timer_new(bench->loop, on_look, bench);
}

static Source *
bench_source(Bench *bench, const char *content_type)
{
    static const SourceCallbacks callbacks = {
        .on_unit = on_unit, .on_read = on_read, .on_end = on_end};
    Source *source = source_new(&(SourceConfig){.url = bench->url,
                                                .client = bench->client,
                                                .gate = bench->gate,
                                                .limits = {.bytes_max = LONG_BYTES + LONG_BYTES / 2,
                                                           .message_bytes_max = 1 << 20}},
                                &callbacks, bench);

    source_set_content_type(source, str_c(content_type));
    return source;
}

static void
bench_done(Bench *bench)
{
    http_client_free(bench->client);
    gate_free(bench->gate);
    timer_free(bench->look);
    loop_run(bench->loop);
    loop_free(bench->loop);
    peer_stop(&bench->peer);
}

static bool
gate_is_empty(Bench *bench)
{
    return gate_inside(bench->gate) == 0 && gate_in_line(bench->gate) == 0;
}

static bool
a_unit_came(Bench *bench)
{
    return bench->units > 0;
}

static bool
a_read_ended(Bench *bench)
{
    return bench->ends > 0;
}

/* The head, no event. */
static void
serve_head(Peer *peer, int fd, int index DS_UNUSED)
{
    if (peer_read(peer, fd)) {
        peer_send(fd, str_c(sse_head));
        peer_hold(peer, fd);
    }
}

Test(source, its_place_is_free_as_soon_as_the_head_is_there)
{
    Bench bench;

    bench_init(&bench, serve_head);
    Source *source = bench_source(&bench, "application/json");
    source_open(source);
    cr_expect_eq(gate_inside(bench.gate), (size_t)1);
    bench_wait(&bench, gate_is_empty);
    cr_expect_eq(bench.ends, (size_t)0, "it still reads");
    source_free(source);
    bench_done(&bench);
}

static void
serve_nothing(Peer *peer, int fd, int index DS_UNUSED)
{
    if (peer_read(peer, fd)) {
        peer_hold(peer, fd);
    }
}

Test(source, one_that_is_closed_gives_its_place_back)
{
    Bench bench;

    bench_init(&bench, serve_nothing);
    Source *inside = bench_source(&bench, "application/json");
    Source *in_line = bench_source(&bench, "application/json");
    source_open(inside);
    source_probe(in_line);
    cr_expect_eq(gate_in_line(bench.gate), (size_t)1);
    source_close(in_line);
    source_close(inside);
    cr_expect(gate_is_empty(&bench));
    source_free(inside);
    source_free(in_line);
    bench_done(&bench);
}

static void
serve_event(Peer *peer, int fd, int index DS_UNUSED)
{
    if (peer_read(peer, fd)) {
        peer_send(fd, str_c(sse_head));
        peer_send(fd, str_c(sse_event));
        peer_hold(peer, fd);
    }
}

Test(source, one_that_is_paused_in_line_is_paused_when_its_turn_comes)
{
    Bench bench;

    bench_init(&bench, serve_event);
    Source *first = bench_source(&bench, "application/json");
    Source *paused = bench_source(&bench, "application/json");
    source_open(first);
    source_open(paused);
    source_pause(paused);
    bench_wait(&bench, gate_is_empty);
    cr_expect(paused->transfer->paused);
    bench_wait(&bench, a_unit_came);
    source_close(first);
    bench.units = 0;
    source_resume(paused);
    bench_wait(&bench, a_unit_came);
    cr_expect_str_eq(source_position(paused)->offset, "1");
    source_free(first);
    source_free(paused);
    bench_done(&bench);
}

static void
serve_text(Peer *peer, int fd, int index DS_UNUSED)
{
    if (peer_read(peer, fd)) {
        peer_send(fd, str_c(text_reply));
    }
    if (peer_read(peer, fd)) {
        peer_hold(peer, fd);
    }
}

Test(source, a_long_poll_takes_no_place_since_its_answer_may_take_long)
{
    Bench bench;

    bench_init(&bench, serve_text);
    Source *source = bench_source(&bench, "text/plain");
    source_open(source);
    cr_expect_eq(gate_inside(bench.gate), (size_t)1, "the first read is answered at once");
    bench_wait(&bench, a_read_ended);
    source_open(source);
    cr_expect_eq(gate_inside(bench.gate), (size_t)0);
    source_free(source);
    bench_done(&bench);
}

/* All of a closed stream, and the connection stays. */
static void
serve_closed(Peer *peer, int fd, int index DS_UNUSED)
{
    if (peer_read(peer, fd)) {
        peer_send(fd, str_c(sse_head));
        peer_send(fd, STR("event: data\ndata:[1]\n\nevent: control\n"
                          "data:{\"streamNextOffset\":\"1\",\"streamClosed\":true}\n\n"));
        peer_hold(peer, fd);
    }
}

Test(source, a_read_of_a_closed_stream_ends_though_its_connection_stays_open)
{
    Bench bench;

    bench_init(&bench, serve_closed);
    Source *source = bench_source(&bench, "application/json");
    source_open(source);
    bench_wait(&bench, a_unit_came);
    cr_expect_eq(bench.ends, (size_t)1);
    cr_expect_eq(bench.end_kind, SOURCE_END_CLOSED);
    cr_expect_eq(bench.units, (size_t)1);
    source_free(source);
    bench_done(&bench);
}

static void
serve_more_than_all(Peer *peer, int fd, int index DS_UNUSED)
{
    if (peer_read(peer, fd)) {
        peer_send(fd, str_c(sse_head));
        peer_send(fd, STR("event: control\n"
                          "data:{\"streamNextOffset\":\"1\",\"streamClosed\":true}\n\n"
                          "event: data\ndata:[1]\n\n"));
        peer_hold(peer, fd);
    }
}

Test(source, data_behind_the_end_of_a_closed_stream_is_an_error)
{
    Bench bench;

    bench_init(&bench, serve_more_than_all);
    Source *source = bench_source(&bench, "application/json");
    source_open(source);
    bench_wait(&bench, a_read_ended);
    cr_expect_eq(bench.end_kind, SOURCE_END_PROTOCOL);
    source_free(source);
    bench_done(&bench);
}

/* A first reply of so many bytes. */
typedef struct LongReply {
    const char *next_offset;
    size_t bytes;
    bool has_length;
} LongReply;

static LongReply long_reply;

static void
serve_long(Peer *peer, int fd, int index DS_UNUSED)
{
    char head[256];
    char *body = malloc(long_reply.bytes);

    memset(body, 'x', long_reply.bytes);
    (void)snprintf(head, sizeof(head),
                   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nStream-Next-Offset: %s\r\n"
                   "Stream-Up-To-Date: true\r\n%s: %s\r\n\r\n",
                   long_reply.next_offset,
                   long_reply.has_length ? "Content-Length" : "Transfer-Encoding",
                   long_reply.has_length ? "2097153" : "chunked");
    if (!peer_read(peer, fd)) {
        free(body);
        return;
    }
    peer_send(fd, str_c(head));
    if (long_reply.has_length) {
        peer_send(fd, str_n(body, long_reply.bytes));
    } else {
        for (size_t sent = 0; sent < long_reply.bytes; sent += HTTP_CHUNK_BYTES) {
            size_t size = DS_MIN(long_reply.bytes - sent, (size_t)HTTP_CHUNK_BYTES);

            (void)snprintf(head, sizeof(head), "%zx\r\n", size);
            peer_send(fd, str_c(head));
            peer_send(fd, str_n(body, size));
            peer_send(fd, STR("\r\n"));
        }
        peer_send(fd, STR("0\r\n\r\n"));
    }
    free(body);
}

static void
read_long(Bench *bench, const LongReply *reply)
{
    long_reply = *reply;
    bench_init(bench, serve_long);
    Source *source = bench_source(bench, "text/plain");
    source_open(source);
    bench_wait(bench, a_read_ended);
    source_free(source);
    bench_done(bench);
}

Test(source, what_is_done_of_a_long_first_reply_is_done_of_this_life_of_the_stream)
{
    static const char ours[] = "01a209d641a602ab_0000000000200001";
    Bench bench;

    read_long(&bench, &(LongReply){ours, LONG_BYTES, true});
    cr_expect_eq(bench.end_kind, SOURCE_END_CYCLE);
    cr_expect_gt(bench.units, (size_t)1, "it comes in pieces");
    cr_expect_eq(bench.unnamed, (size_t)0);
    read_long(&bench, &(LongReply){ours, LONG_BYTES, false});
    cr_expect_eq(bench.end_kind, SOURCE_END_CYCLE);
    cr_expect_eq(bench.units, (size_t)1, "where it begins is known at its end");
    cr_expect_eq(bench.unnamed, (size_t)0);
}

Test(source, a_server_whose_offsets_name_no_life_is_read_in_pieces)
{
    Bench bench;

    read_long(&bench, &(LongReply){"o7", LONG_BYTES, false});
    cr_expect_eq(bench.end_kind, SOURCE_END_CYCLE);
    cr_expect_gt(bench.units, (size_t)1);
}

Test(source, a_first_reply_of_unknown_length_has_a_limit)
{
    Bench bench;

    read_long(&bench,
              &(LongReply){"01a209d641a602ab_0000000000400002", (size_t)2 * LONG_BYTES, false});
    cr_expect_eq(bench.end_kind, SOURCE_END_FATAL);
    cr_expect_eq(bench.units, (size_t)0);
}
