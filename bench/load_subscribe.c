/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/load_subscribe.c -- N SSE subscribers of one stream, and some who append to it.
 *
 * subscribe PORT SUBSCRIBERS EVENTS_PER_SECOND SECONDS
 *
 * The stream is the first one, of text/plain.  A message has 100 bytes, among them the moment it
 * was sent at; a subscriber finds those moments in what it receives, wherever the events are cut,
 * and counts them.  A message is sent at its time, by whichever of WRITERS connections has no other
 * under way; if all have, it is late, not left out.  After the last one the load waits DELIVERY_MS
 * for what is still on its way.  With 0 events a second the subscribers only wait, between the
 * marks.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/load.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/parse.h"

#define WRITERS          32
#define MESSAGE_BYTES    100
#define MARK             "@@" /* in front of the moment's digits */
#define MOMENT_DIGITS    19
#define MOMENT_BASE      INT64_C(1000000000000000000) /* so that a moment has that many digits */
#define FOUND_BYTES      (sizeof(MARK) - 1 + MOMENT_DIGITS)
#define RECEIVED_AT_ONCE (256u << 10)
#define ANSWER_BYTES_MAX 4096
#define OPEN_MS_MAX      60000
#define DELIVERY_MS      1000

typedef struct Subscriber {
    int fd;
    bool open; /* the first event came */
    size_t kept_len;
    char kept[FOUND_BYTES]; /* the end of what came, that may be the begin of a moment */
} Subscriber;

typedef struct Writer {
    int fd;
    bool waits; /* for the answer to its last message */
} Writer;

typedef struct SubscribeLoad {
    int epoll;
    int port;
    uint64_t count;
    Subscriber *subscribers;
    uint64_t open;
    Writer writers[WRITERS];
    uint64_t written;
    uint64_t delivered;
    LoadLatencies latencies;
} SubscribeLoad;

static void
writer_send(SubscribeLoad *load, Writer *writer)
{
    char request[512];
    int head = snprintf(request, sizeof(request),
                        "POST " LOAD_PATH "%0*d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                        "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n" MARK "%lld",
                        LOAD_NAME_DIGITS, 0, load->port, MESSAGE_BYTES,
                        (long long)(MOMENT_BASE + clock_mono_ns()));
    size_t filler = MESSAGE_BYTES - FOUND_BYTES;

    memset(request + head, '.', filler);
    load_send_all(writer->fd, str_n(request, (size_t)head + filler));
    writer->waits = true;
    load->written++;
}

static void
writer_receive(Writer *writer)
{
    char bytes[ANSWER_BYTES_MAX];
    LoadAnswer answer;
    ssize_t got = recv(writer->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0 || !load_answer(str_n(bytes, (size_t)got), &answer) || answer.status > 204) {
        load_die("an append failed");
    }
    writer->waits = false;
}

/* Counts the moments in the bytes; what is left may begin one. */
static Str
find_moments(SubscribeLoad *load, Str bytes, int64_t now_ns)
{
    const char *mark;

    while ((mark = memmem(bytes.ptr, bytes.len, MARK, sizeof(MARK) - 1)) != NULL) {
        Str found = str_skip(bytes, (size_t)(mark - bytes.ptr));
        uint64_t moment;

        if (found.len < FOUND_BYTES) {
            return found;
        }
        if (!parse_u64(str_slice(found, sizeof(MARK) - 1, FOUND_BYTES), INT64_MAX, &moment)) {
            load_die("a message came out of shape");
        }
        load->delivered++;
        load_latency_add(&load->latencies, now_ns - ((int64_t)moment - MOMENT_BASE));
        bytes = str_skip(found, FOUND_BYTES);
    }
    return str_skip(bytes, bytes.len - DS_MIN(bytes.len, sizeof(MARK) - 2));
}

static void
subscriber_receive(SubscribeLoad *load, Subscriber *subscriber)
{
    static char room[FOUND_BYTES + RECEIVED_AT_ONCE];
    ssize_t got;

    memcpy(room, subscriber->kept, subscriber->kept_len);
    got = recv(subscriber->fd, room + subscriber->kept_len, RECEIVED_AT_ONCE, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        load_die("the server closed a subscription");
    }
    Str bytes = str_n(room, subscriber->kept_len + (size_t)got);
    if (!subscriber->open && memmem(bytes.ptr, bytes.len, "streamNextOffset", 16) != NULL) {
        subscriber->open = true;
        load->open++;
    }
    Str kept = find_moments(load, bytes, clock_mono_ns());
    memcpy(subscriber->kept, kept.ptr, kept.len);
    subscriber->kept_len = kept.len;
}

static void
load_turn(SubscribeLoad *load, int64_t until_ns)
{
    struct epoll_event events[LOAD_EVENTS_PER_TURN];
    int64_t left_ms = (until_ns - clock_mono_ns()) / 1000000;
    int count =
        epoll_wait(load->epoll, events, LOAD_EVENTS_PER_TURN, (int)DS_MAX(left_ms, INT64_C(0)));

    if (count < 0 && errno != EINTR) {
        load_die("epoll_wait");
    }
    for (int i = 0; i < count; i++) {
        void *who = events[i].data.ptr;

        if (who >= (void *)load->writers && who < (void *)(load->writers + WRITERS)) {
            writer_receive(who);
        } else {
            subscriber_receive(load, who);
        }
    }
}

static void
open_all(SubscribeLoad *load)
{
    int64_t end_ns = clock_mono_ns() + OPEN_MS_MAX * INT64_C(1000000);
    char request[256];
    int len = snprintf(request, sizeof(request),
                       "GET " LOAD_PATH "%0*d?offset=now&live=sse HTTP/1.1\r\n"
                       "Host: 127.0.0.1:%d\r\n\r\n",
                       LOAD_NAME_DIGITS, 0, load->port);

    for (uint64_t i = 0; i < load->count; i++) {
        Subscriber *subscriber = &load->subscribers[i];

        subscriber->fd = load_connect(load->port);
        load_watch(load->epoll, EPOLL_CTL_ADD, subscriber->fd, subscriber, EPOLLIN);
        load_send_all(subscriber->fd, str_n(request, (size_t)len));
    }
    while (load->open < load->count && clock_mono_ns() < end_ns) {
        load_turn(load, end_ns);
    }
    if (load->open < load->count) {
        load_die("not every subscription was answered in time");
    }
}

static Writer *
free_writer(SubscribeLoad *load)
{
    for (size_t i = 0; i < WRITERS; i++) {
        if (!load->writers[i].waits) {
            return &load->writers[i];
        }
    }
    return NULL;
}

static void
publish(SubscribeLoad *load, uint64_t per_second, int64_t seconds)
{
    int64_t start_ns = clock_mono_ns();
    int64_t end_ns = start_ns + seconds * INT64_C(1000000000);

    while (clock_mono_ns() < end_ns) {
        int64_t due_ns = start_ns + (int64_t)(load->written * UINT64_C(1000000000) / per_second);

        Writer *writer = free_writer(load);

        if (writer != NULL && clock_mono_ns() >= due_ns) {
            writer_send(load, writer);
        }
        load_turn(load, writer != NULL ? due_ns : end_ns);
    }
    end_ns += DELIVERY_MS * INT64_C(1000000);
    while (load->delivered < load->written * load->count && clock_mono_ns() < end_ns) {
        load_turn(load, end_ns);
    }
}

int
load_run_subscribe(int argc, char **argv)
{
    SubscribeLoad load = {.epoll = epoll_create1(EPOLL_CLOEXEC)};

    if (argc < 4) {
        (void)fprintf(stderr, "usage: bench-load subscribe PORT SUBSCRIBERS EVENTS_PER_SECOND "
                              "SECONDS\n");
        return 2;
    }
    load.port = (int)load_number(argv[0], 1, 65535, "PORT");
    load.count = load_number(argv[1], 1, LOAD_CONNECTIONS_MAX, "SUBSCRIBERS");
    uint64_t per_second = load_number(argv[2], 0, 100000, "EVENTS_PER_SECOND");
    int64_t seconds = (int64_t)load_number(argv[3], 1, LOAD_SECONDS_MAX, "SECONDS");
    load.subscribers = mem_array(load.count, sizeof(*load.subscribers));
    for (size_t i = 0; i < WRITERS; i++) {
        load.writers[i].fd = load_connect(load.port);
        load_watch(load.epoll, EPOLL_CTL_ADD, load.writers[i].fd, &load.writers[i], EPOLLIN);
    }
    open_all(&load);
    load_mark("begin");
    if (per_second > 0) {
        publish(&load, per_second, seconds);
    }
    load_mark("end");
    (void)printf("{\"written\": %llu, \"wanted\": %llu, \"delivered\": %llu, \"p50_ms\": %.3f, "
                 "\"p99_ms\": %.3f}\n",
                 (unsigned long long)load.written,
                 (unsigned long long)(per_second * (uint64_t)seconds),
                 (unsigned long long)load.delivered, load_latency_ms(&load.latencies, 0.5),
                 load_latency_ms(&load.latencies, 0.99));
    for (uint64_t i = 0; i < load.count; i++) {
        (void)close(load.subscribers[i].fd);
    }
    free(load.subscribers);
    for (size_t i = 0; i < WRITERS; i++) {
        (void)close(load.writers[i].fd);
    }
    (void)close(load.epoll);
    return 0;
}
