/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/load_read.c -- N keep-alive connections that read the same thing over and over.
 *
 * read PORT CONNECTIONS SECONDS PATH [offsets]
 *
 * With "offsets" PATH is a stream, read from its start to its tail page by page, as
 * Stream-Next-Offset says; without, it is a file.  Bodies are dropped inside the kernel, so that
 * the reader costs as little as can be.  Counts body bytes, and whole reads.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/load.h"
#include "common/clock.h"
#include "common/mem.h"

#define REQUEST_BYTES_MAX 512
#define OFFSET_BYTES_MAX  256
#define ANSWER_BYTES_MAX  4096
#define DROPPED_AT_ONCE   (1u << 20)
#define WARM_UP_MS        300

typedef struct Reader {
    int fd;
    size_t head_len;    /* bytes of `head` that came */
    uint64_t body_left; /* 0: an answer's head comes next */
    bool last_page;
    uint64_t read_bytes; /* of this read, so far */
    char offset[OFFSET_BYTES_MAX];
    char head[ANSWER_BYTES_MAX];
} Reader;

typedef struct ReadLoad {
    int epoll;
    int port;
    const char *path;
    bool offsets;
    uint64_t bytes;
    uint64_t reads;
    uint64_t whole_bytes; /* of one read; all have to be the same */
} ReadLoad;

static void
reader_ask(const ReadLoad *load, Reader *reader)
{
    char request[REQUEST_BYTES_MAX];
    int len =
        snprintf(request, sizeof(request), "GET %s%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
                 load->path, load->offsets ? "?offset=" : "", reader->offset, load->port);

    load_send_all(reader->fd, str_n(request, (size_t)len));
    reader->head_len = 0;
}

static void
read_done(ReadLoad *load, Reader *reader)
{
    if (load->whole_bytes != 0 && load->whole_bytes != reader->read_bytes) {
        load_die("two reads differ in length");
    }
    load->whole_bytes = reader->read_bytes;
    load->reads++;
    reader->read_bytes = 0;
    (void)snprintf(reader->offset, sizeof(reader->offset), "%s", load->offsets ? "-1" : "");
}

static void
page_done(ReadLoad *load, Reader *reader)
{
    if (reader->last_page) {
        read_done(load, reader);
    }
    reader_ask(load, reader);
}

static void
body_came(ReadLoad *load, Reader *reader, uint64_t bytes)
{
    if (bytes > reader->body_left) {
        load_die("an answer nobody asked for");
    }
    reader->body_left -= bytes;
    reader->read_bytes += bytes;
    load->bytes += bytes;
    if (reader->body_left == 0) {
        page_done(load, reader);
    }
}

static void
head_came(ReadLoad *load, Reader *reader, const LoadAnswer *answer)
{
    if (answer->status != 200) {
        load_die("an answer other than 200");
    }
    reader->last_page = !load->offsets || answer->up_to_date;
    if (load->offsets) {
        (void)snprintf(reader->offset, sizeof(reader->offset), "%.*s",
                       STR_ARG(answer->next_offset));
    }
    reader->body_left = answer->body_bytes;
    body_came(load, reader, reader->head_len - answer->head_bytes);
}

static void
reader_receive(ReadLoad *load, Reader *reader)
{
    static char dropped[DROPPED_AT_ONCE]; /* MSG_TRUNC leaves it alone */
    LoadAnswer answer;
    ssize_t got;

    if (reader->body_left > 0) {
        got = recv(reader->fd, dropped, DS_MIN(reader->body_left, (uint64_t)sizeof(dropped)),
                   MSG_DONTWAIT | MSG_TRUNC);
    } else {
        got = recv(reader->fd, reader->head + reader->head_len,
                   sizeof(reader->head) - reader->head_len, MSG_DONTWAIT);
    }
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        load_die("the server closed a connection");
    }
    if (reader->body_left > 0) {
        body_came(load, reader, (uint64_t)got);
        return;
    }
    reader->head_len += (size_t)got;
    if (load_answer(str_n(reader->head, reader->head_len), &answer)) {
        head_came(load, reader, &answer);
    } else if (reader->head_len == sizeof(reader->head)) {
        load_die("the head of an answer is too long");
    }
}

static void
load_run_until(ReadLoad *load, int64_t end_ms)
{
    struct epoll_event events[LOAD_EVENTS_PER_TURN];
    int64_t left;

    while ((left = end_ms - clock_mono_ms()) > 0) {
        int count = epoll_wait(load->epoll, events, LOAD_EVENTS_PER_TURN, (int)left);

        if (count < 0 && errno != EINTR) {
            load_die("epoll_wait");
        }
        for (int i = 0; i < count; i++) {
            reader_receive(load, events[i].data.ptr);
        }
    }
}

int
load_run_read(int argc, char **argv)
{
    ReadLoad load = {.epoll = epoll_create1(EPOLL_CLOEXEC)};

    if (argc < 4) {
        (void)fprintf(stderr, "usage: bench-load read PORT CONNECTIONS SECONDS PATH [offsets]\n");
        return 2;
    }
    load.port = (int)load_number(argv[0], 1, 65535, "PORT");
    uint64_t count = load_number(argv[1], 1, LOAD_CONNECTIONS_MAX, "CONNECTIONS");
    int64_t seconds = (int64_t)load_number(argv[2], 1, LOAD_SECONDS_MAX, "SECONDS");
    load.path = argv[3];
    load.offsets = argc > 4 && strcmp(argv[4], "offsets") == 0;
    Reader *readers = mem_array(count, sizeof(*readers));
    for (uint64_t i = 0; i < count; i++) {
        readers[i].fd = load_connect(load.port);
        (void)snprintf(readers[i].offset, sizeof(readers[i].offset), "%s",
                       load.offsets ? "-1" : "");
        load_watch(load.epoll, EPOLL_CTL_ADD, readers[i].fd, &readers[i], EPOLLIN);
        reader_ask(&load, &readers[i]);
    }
    load_run_until(&load, clock_mono_ms() + WARM_UP_MS);
    load_mark("begin");
    load.bytes = load.reads = 0;
    int64_t start_ns = clock_mono_ns();
    load_run_until(&load, clock_mono_ms() + seconds * 1000);
    double elapsed = (double)(clock_mono_ns() - start_ns) / 1e9;
    load_mark("end");
    (void)printf("{\"bytes\": %llu, \"reads\": %llu, \"seconds\": %.6f, \"whole_bytes\": %llu}\n",
                 (unsigned long long)load.bytes, (unsigned long long)load.reads, elapsed,
                 (unsigned long long)load.whole_bytes);
    for (uint64_t i = 0; i < count; i++) {
        (void)close(readers[i].fd);
    }
    free(readers);
    (void)close(load.epoll);
    return 0;
}
