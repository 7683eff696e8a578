/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/load.c -- load for an HTTP server: N keep-alive connections, each with one POST under way.
 *
 * usage: bench-load PORT CONNECTIONS SECONDS BODY_BYTES PATH [PATH...]
 *
 * The body is a JSON string of BODY_BYTES bytes; connection i posts to PATH i modulo their number.
 * One request is one append: nothing is batched or pipelined.  Prints one JSON line with requests,
 * seconds and refused (answers other than 2xx); ends with 1 when a connection breaks, because then
 * the numbers mean nothing.  It reads answers with Content-Length, or none; that is all these
 * servers send.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/parse.h"

#define CONNECTIONS_MAX     1024
#define BODY_BYTES_MAX      (1u << 20)
#define ANSWER_BYTES_MAX    16384
#define SECONDS_MAX         600
#define EVENTS_PER_TURN     256
#define WARM_UP_MS          300
#define WAIT_FOR_ANSWERS_MS 5000

typedef struct Connection {
    int fd;
    Str request;
    size_t sent;
    bool wants_writable;
    size_t answer_len;
    char answer[ANSWER_BYTES_MAX];
} Connection;

typedef struct Load {
    int epoll;
    int port;
    size_t count;
    Connection *connections;
    Buf *requests; /* one for each path */
    size_t path_count;
    uint64_t answered;
    uint64_t refused;
    bool stopping; /* no new requests */
    size_t waiting;
} Load;

static void
die(const char *what)
{
    (void)fprintf(stderr, "bench-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t
number_or_die(const char *text, uint64_t max, const char *what)
{
    uint64_t value;

    if (!parse_u64(str_c(text), max, &value) || value == 0) {
        (void)fprintf(stderr, "bench-load: %s must be a number from 1 to %llu\n", what,
                      (unsigned long long)max);
        exit(2);
    }
    return value;
}

static void
request_build(Buf *out, const char *path, int port, size_t body_bytes)
{
    Error err;

    buf_init(out, BODY_BYTES_MAX + ANSWER_BYTES_MAX);
    bool ok = buf_printf(out, &err,
                         "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                         "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n\"",
                         path, port, body_bytes);

    for (size_t i = 0; i + 2 < body_bytes; i++) {
        ok = ok && buf_append_char(out, (char)('a' + i % 26), &err);
    }
    if (!ok || !buf_append_char(out, '"', &err)) {
        (void)fprintf(stderr, "bench-load: %s\n", err.text);
        exit(2);
    }
}

static void
connection_watch(Load *load, Connection *connection, int operation, bool writable)
{
    struct epoll_event event = {.events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = connection};

    if (epoll_ctl(load->epoll, operation, connection->fd, &event) != 0) {
        die("epoll_ctl");
    }
    connection->wants_writable = writable;
}

static void
connection_send(Load *load, Connection *connection)
{
    Str left = str_skip(connection->request, connection->sent);
    ssize_t sent = send(connection->fd, left.ptr, left.len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent < 0 && errno != EAGAIN) {
        die("send");
    }
    connection->sent += (size_t)DS_MAX(sent, (ssize_t)0);
    bool partly = connection->sent < connection->request.len;
    if (partly != connection->wants_writable) {
        connection_watch(load, connection, EPOLL_CTL_MOD, partly);
    }
}

static void
connection_open(Load *load, size_t index)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)load->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    Connection *connection = &load->connections[index];
    int one = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0) {
        die("connect");
    }
    connection->request = buf_str(&load->requests[index % load->path_count]);
    connection_watch(load, connection, EPOLL_CTL_ADD, false);
}

/* Bytes of the answer that lies at the front, 0 when it is not whole yet. */
static size_t
answer_length(const char *answer, size_t len, int *out_status)
{
    const char *end = memmem(answer, len, "\r\n\r\n", 4);
    uint64_t status = 0;
    uint64_t body = 0;

    if (end == NULL) {
        return 0;
    }
    Str rest = str_n(answer, (size_t)(end - answer));
    if (rest.len < 12 || !parse_u64(str_slice(rest, 9, 12), 999, &status)) {
        die("an answer that is no HTTP");
    }
    while (rest.len > 0) {
        Str line, name, value;

        (void)str_cut(rest, '\n', &line, &rest);
        if (str_cut(line, ':', &name, &value) && str_eq_nocase(name, STR("Content-Length"))) {
            value = str_trim(value);
            if (value.len > 0 && value.ptr[value.len - 1] == '\r') {
                value.len--;
            }
            if (!parse_u64(value, ANSWER_BYTES_MAX, &body)) {
                die("an answer too long");
            }
        }
    }
    *out_status = (int)status;
    size_t whole = (size_t)(end - answer) + 4 + (size_t)body;
    return len >= whole ? whole : 0;
}

static void
connection_next(Load *load, Connection *connection)
{
    connection->answer_len = 0;
    if (load->stopping) {
        load->waiting--;
        return;
    }
    connection->sent = 0;
    connection_send(load, connection);
}

static void
connection_receive(Load *load, Connection *connection)
{
    int status = 0;
    ssize_t got = recv(connection->fd, connection->answer + connection->answer_len,
                       sizeof(connection->answer) - connection->answer_len, MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        die("the server closed a connection");
    }
    connection->answer_len += (size_t)got;
    size_t whole = answer_length(connection->answer, connection->answer_len, &status);
    if (whole == 0) {
        if (connection->answer_len == sizeof(connection->answer)) {
            die("an answer too long");
        }
        return;
    }
    if (whole != connection->answer_len) {
        die("an answer nobody asked for");
    }
    load->answered++;
    load->refused += status < 200 || status > 299;
    connection_next(load, connection);
}

static void
load_turn(Load *load, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(load->epoll, events, EVENTS_PER_TURN, timeout_ms);

    if (count < 0 && errno != EINTR) {
        die("epoll_wait");
    }
    for (int i = 0; i < count; i++) {
        Connection *connection = events[i].data.ptr;

        if (events[i].events & EPOLLOUT) {
            connection_send(load, connection);
        }
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
            connection_receive(load, connection);
        }
    }
}

static void
load_run_until(Load *load, int64_t end_ms)
{
    int64_t left;

    while ((left = end_ms - clock_mono_ms()) > 0) {
        load_turn(load, (int)left);
    }
}

/* The marks on stdout let the driver read the server's CPU time at the same moments. */
static void
load_measure(Load *load, int64_t seconds)
{
    load_run_until(load, clock_mono_ms() + WARM_UP_MS);
    (void)puts("begin");
    (void)fflush(stdout);
    uint64_t answered = load->answered;
    int64_t start_ns = clock_mono_ns();

    load_run_until(load, clock_mono_ms() + seconds * 1000);
    answered = load->answered - answered;
    double elapsed = (double)(clock_mono_ns() - start_ns) / 1e9;
    (void)printf("{\"requests\": %llu, \"seconds\": %.6f, \"refused\": %llu}\n",
                 (unsigned long long)answered, elapsed, (unsigned long long)load->refused);
    (void)fflush(stdout);
}

int
main(int argc, char **argv)
{
    Load load = {.epoll = epoll_create1(EPOLL_CLOEXEC)};

    if (argc < 6) {
        (void)fprintf(stderr, "usage: bench-load PORT CONNECTIONS SECONDS BODY_BYTES PATH...\n");
        return 2;
    }
    load.port = (int)number_or_die(argv[1], 65535, "PORT");
    load.count = number_or_die(argv[2], CONNECTIONS_MAX, "CONNECTIONS");
    int64_t seconds = (int64_t)number_or_die(argv[3], SECONDS_MAX, "SECONDS");
    size_t body_bytes = number_or_die(argv[4], BODY_BYTES_MAX, "BODY_BYTES");
    load.path_count = (size_t)argc - 5;
    load.requests = mem_array(load.path_count, sizeof(*load.requests));
    load.connections = mem_array(load.count, sizeof(*load.connections));
    for (size_t i = 0; i < load.path_count; i++) {
        request_build(&load.requests[i], argv[5 + i], load.port, body_bytes);
    }
    for (size_t i = 0; i < load.count; i++) {
        connection_open(&load, i);
    }
    for (size_t i = 0; i < load.count; i++) {
        connection_send(&load, &load.connections[i]);
    }
    load_measure(&load, seconds);
    load.stopping = true;
    load.waiting = load.count;
    int64_t deadline = clock_mono_ms() + WAIT_FOR_ANSWERS_MS;
    while (load.waiting > 0 && clock_mono_ms() < deadline) {
        load_turn(&load, 100);
    }
    for (size_t i = 0; i < load.count; i++) {
        close(load.connections[i].fd);
    }
    for (size_t i = 0; i < load.path_count; i++) {
        buf_done(&load.requests[i]);
    }
    free(load.requests);
    free(load.connections);
    close(load.epoll);
    return 0;
}
