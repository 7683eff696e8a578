/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/load_append.c -- N keep-alive connections, each with one POST under way.
 *
 * append PORT CONNECTIONS SECONDS BODY_BYTES STREAMS [producers]
 *
 * One request is one append: nothing is batched or pipelined.  The body is a JSON string.  The k-th
 * request of connection c goes to stream c + k * CONNECTIONS, modulo STREAMS: all streams get the
 * same, and neighbours in time are different ones.  With "producers" every connection is an
 * idempotent producer on every stream.  Answers other than 2xx are counted as refused.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/load.h"
#include "common/clock.h"
#include "common/mem.h"

#define BODY_BYTES_MAX      (1u << 20)
#define HEAD_BYTES_MAX      512
#define ANSWER_BYTES_MAX    4096
#define WARM_UP_MS          300
#define WAIT_FOR_ANSWERS_MS 5000

typedef struct Appender {
    int fd;
    bool wants_writable;
    uint64_t stream; /* of the next request */
    uint32_t *seqs;  /* of each stream, with producers */
    char *request;
    size_t request_len;
    size_t sent;
    int64_t sent_ns;
    size_t answer_len;
    char answer[ANSWER_BYTES_MAX];
} Appender;

typedef struct AppendLoad {
    int epoll;
    int port;
    bool producers;
    uint64_t count;
    uint64_t streams;
    Appender *appenders;
    char *body;
    size_t body_bytes;
    uint64_t answered;
    uint64_t refused;
    LoadLatencies latencies;
    bool stopping; /* no new requests */
    uint64_t waiting;
} AppendLoad;

/* printf would take longer than the server. */
static char *
put_text(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}
#define PUT(at, literal) put_text(at, literal, sizeof(literal) - 1)

static char *
put_number(char *at, uint64_t number, int digits_min)
{
    char digits[24];
    int count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0 || count < digits_min);
    while (count > 0) {
        *at++ = digits[--count];
    }
    return at;
}

static void
request_make(AppendLoad *load, Appender *appender)
{
    char *at = PUT(appender->request, "POST " LOAD_PATH);

    at = put_number(at, appender->stream, LOAD_NAME_DIGITS);
    at = PUT(at, " HTTP/1.1\r\nHost: 127.0.0.1:");
    at = put_number(at, (uint64_t)load->port, 1);
    at = PUT(at, "\r\nContent-Type: application/json\r\nContent-Length: ");
    at = put_number(at, load->body_bytes, 1);
    if (load->producers) {
        at = PUT(at, "\r\nProducer-Id: bench-");
        at = put_number(at, (uint64_t)(appender - load->appenders), 1);
        at = PUT(at, "\r\nProducer-Epoch: 0\r\nProducer-Seq: ");
        at = put_number(at, appender->seqs[appender->stream]++, 1);
    }
    at = PUT(at, "\r\n\r\n");
    at = put_text(at, load->body, load->body_bytes);
    appender->request_len = (size_t)(at - appender->request);
    appender->sent = 0;
    appender->stream = (appender->stream + load->count) % load->streams;
}

static void
request_send(AppendLoad *load, Appender *appender)
{
    ssize_t sent = send(appender->fd, appender->request + appender->sent,
                        appender->request_len - appender->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent < 0 && errno != EAGAIN) {
        load_die("send");
    }
    appender->sent += (size_t)DS_MAX(sent, (ssize_t)0);
    bool partly = appender->sent < appender->request_len;
    if (partly != appender->wants_writable) {
        load_watch(load->epoll, EPOLL_CTL_MOD, appender->fd, appender,
                   partly ? EPOLLIN | EPOLLOUT : EPOLLIN);
        appender->wants_writable = partly;
    }
}

static void
request_next(AppendLoad *load, Appender *appender)
{
    appender->answer_len = 0;
    if (load->stopping) {
        load->waiting--;
        return;
    }
    request_make(load, appender);
    appender->sent_ns = clock_mono_ns();
    request_send(load, appender);
}

static void
answer_take(AppendLoad *load, Appender *appender)
{
    ssize_t got = recv(appender->fd, appender->answer + appender->answer_len,
                       sizeof(appender->answer) - appender->answer_len, MSG_DONTWAIT);
    LoadAnswer answer;

    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        load_die("the server closed a connection, or an answer is too long");
    }
    appender->answer_len += (size_t)got;
    if (!load_answer(str_n(appender->answer, appender->answer_len), &answer) ||
        appender->answer_len < answer.head_bytes + answer.body_bytes) {
        return;
    }
    if (appender->answer_len != answer.head_bytes + answer.body_bytes) {
        load_die("an answer nobody asked for");
    }
    load->answered++;
    if (answer.status < 200 || answer.status > 299) {
        load->refused++;
    }
    load_latency_add(&load->latencies, clock_mono_ns() - appender->sent_ns);
    request_next(load, appender);
}

static void
load_turn(AppendLoad *load, int timeout_ms)
{
    struct epoll_event events[LOAD_EVENTS_PER_TURN];
    int count = epoll_wait(load->epoll, events, LOAD_EVENTS_PER_TURN, timeout_ms);

    if (count < 0 && errno != EINTR) {
        load_die("epoll_wait");
    }
    for (int i = 0; i < count; i++) {
        Appender *appender = events[i].data.ptr;

        if (events[i].events & EPOLLOUT) {
            request_send(load, appender);
        }
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
            answer_take(load, appender);
        }
    }
}

static void
load_run_until(AppendLoad *load, int64_t end_ms)
{
    int64_t left;

    while ((left = end_ms - clock_mono_ms()) > 0) {
        load_turn(load, (int)left);
    }
}

static void
load_measure(AppendLoad *load, int64_t seconds)
{
    load_run_until(load, clock_mono_ms() + WARM_UP_MS);
    load_mark("begin");
    memset(&load->latencies, 0, sizeof(load->latencies));
    uint64_t answered = load->answered;
    int64_t start_ns = clock_mono_ns();

    load_run_until(load, clock_mono_ms() + seconds * 1000);
    answered = load->answered - answered;
    double elapsed = (double)(clock_mono_ns() - start_ns) / 1e9;
    load_mark("end");
    (void)printf("{\"requests\": %llu, \"seconds\": %.6f, \"refused\": %llu, \"p50_ms\": %.3f, "
                 "\"p99_ms\": %.3f}\n",
                 (unsigned long long)answered, elapsed, (unsigned long long)load->refused,
                 load_latency_ms(&load->latencies, 0.5), load_latency_ms(&load->latencies, 0.99));
    (void)fflush(stdout);
}

static void
appender_open(AppendLoad *load, uint64_t index)
{
    Appender *appender = &load->appenders[index];

    appender->fd = load_connect(load->port);
    appender->stream = index % load->streams;
    appender->request = mem_alloc(HEAD_BYTES_MAX + load->body_bytes);
    appender->seqs = load->producers ? mem_array(load->streams, sizeof(*appender->seqs)) : NULL;
    load_watch(load->epoll, EPOLL_CTL_ADD, appender->fd, appender, EPOLLIN);
}

/* The driver stops the server next, and an answer on its way would look like a lost one. */
static void
load_end(AppendLoad *load)
{
    int64_t deadline = clock_mono_ms() + WAIT_FOR_ANSWERS_MS;

    load->stopping = true;
    load->waiting = load->count;
    while (load->waiting > 0 && clock_mono_ms() < deadline) {
        load_turn(load, 100);
    }
    for (uint64_t i = 0; i < load->count; i++) {
        (void)close(load->appenders[i].fd);
        free(load->appenders[i].request);
        free(load->appenders[i].seqs);
    }
    free(load->appenders);
    free(load->body);
    (void)close(load->epoll);
}

int
load_run_append(int argc, char **argv)
{
    AppendLoad load = {.epoll = epoll_create1(EPOLL_CLOEXEC)};

    if (argc < 5) {
        (void)fprintf(stderr,
                      "usage: bench-load append PORT CONNECTIONS SECONDS BODY_BYTES STREAMS "
                      "[producers]\n");
        return 2;
    }
    load.port = (int)load_number(argv[0], 1, 65535, "PORT");
    load.count = load_number(argv[1], 1, LOAD_CONNECTIONS_MAX, "CONNECTIONS");
    int64_t seconds = (int64_t)load_number(argv[2], 1, LOAD_SECONDS_MAX, "SECONDS");
    load.body_bytes = load_number(argv[3], 2, BODY_BYTES_MAX, "BODY_BYTES");
    load.streams = load_number(argv[4], 1, LOAD_STREAMS_MAX, "STREAMS");
    load.producers = argc > 5 && strcmp(argv[5], "producers") == 0;
    load.body = mem_alloc(load.body_bytes);
    for (size_t i = 0; i < load.body_bytes; i++) {
        load.body[i] = i == 0 || i + 1 == load.body_bytes ? '"' : (char)('a' + i % 26);
    }
    load.appenders = mem_array(load.count, sizeof(*load.appenders));
    for (uint64_t i = 0; i < load.count; i++) {
        appender_open(&load, i);
    }
    for (uint64_t i = 0; i < load.count; i++) {
        request_next(&load, &load.appenders[i]);
    }
    load_measure(&load, seconds);
    load_end(&load);
    return 0;
}
