/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/parse.h"

#define ANSWER_BYTES_MAX 16384

void
load_die(const char *what)
{
    (void)fprintf(stderr, "bench-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t
load_number(const char *text, uint64_t min, uint64_t max, const char *what)
{
    uint64_t value;

    if (!parse_u64(str_c(text), max, &value) || value < min) {
        (void)fprintf(stderr, "bench-load: %s must be a number from %llu to %llu\n", what,
                      (unsigned long long)min, (unsigned long long)max);
        exit(2);
    }
    return value;
}

int
load_connect(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0) {
        load_die("connect");
    }
    return fd;
}

void
load_watch(int epoll, int operation, int fd, void *ptr, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = ptr};

    if (epoll_ctl(epoll, operation, fd, &event) != 0) {
        load_die("epoll_ctl");
    }
}

void
load_send_all(int fd, Str bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

        if (sent < 0 && errno != EINTR) {
            load_die("send");
        }
        bytes = str_skip(bytes, (size_t)DS_MAX(sent, (ssize_t)0));
    }
}

static Str
field_value(Str line)
{
    Str name, value;

    (void)str_cut(line, ':', &name, &value);
    value = str_trim(value);
    if (str_ends(value, STR("\r"))) {
        value.len--;
    }
    return value;
}

bool
load_head(Str bytes, LoadAnswer *out)
{
    const char *end = memmem(bytes.ptr, bytes.len, "\r\n\r\n", 4);

    if (end == NULL) {
        return false;
    }
    Str rest = str_n(bytes.ptr, (size_t)(end - bytes.ptr));
    *out = (LoadAnswer){.head_bytes = rest.len + 4, .next_offset = STR_EMPTY};
    while (rest.len > 0) {
        Str line;

        (void)str_cut(rest, '\n', &line, &rest);
        if (str_starts_nocase(line, STR("Content-Length:"))) {
            if (!parse_u64(field_value(line), UINT64_MAX, &out->body_bytes)) {
                load_die("a Content-Length that is no number");
            }
        } else if (str_starts_nocase(line, STR("Stream-Next-Offset:"))) {
            out->next_offset = field_value(line);
        } else if (str_starts_nocase(line, STR("Stream-Up-To-Date:"))) {
            out->up_to_date = true;
        }
    }
    return true;
}

bool
load_answer(Str bytes, LoadAnswer *out)
{
    uint64_t status = 0;

    if (!load_head(bytes, out)) {
        return false;
    }
    if (out->head_bytes < 12 || !parse_u64(str_slice(bytes, 9, 12), 999, &status)) {
        load_die("an answer that is no HTTP");
    }
    out->status = (int)status;
    return true;
}

void
load_create(int fd, int port, uint64_t stream, const char *content_type)
{
    char bytes[ANSWER_BYTES_MAX];
    size_t len = 0;
    LoadAnswer answer;
    int written = snprintf(bytes, sizeof(bytes),
                           "PUT " LOAD_PATH "%0*llu HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                           "Content-Type: %s\r\nContent-Length: 0\r\n\r\n",
                           LOAD_NAME_DIGITS, (unsigned long long)stream, port, content_type);

    load_send_all(fd, str_n(bytes, (size_t)written));
    do {
        ssize_t got = recv(fd, bytes + len, sizeof(bytes) - len, 0);

        if (got <= 0) {
            load_die("the server closed a connection, or an answer is too long");
        }
        len += (size_t)got;
    } while (!load_answer(str_n(bytes, len), &answer) ||
             len < answer.head_bytes + answer.body_bytes);
    if (answer.status != 200 && answer.status != 201) {
        (void)fprintf(stderr, "bench-load: PUT was answered with %d\n", answer.status);
        exit(1);
    }
}

/* ---- latencies ---- */

/* The highest bit, and the three below it. */
static size_t
latency_step(uint64_t ns)
{
    unsigned bit;

    if (ns < 8) {
        return (size_t)ns;
    }
    bit = 63u - (unsigned)__builtin_clzll(ns);
    return (size_t)(bit - 2) * 8 + ((ns >> (bit - 3)) & 7);
}

static double
step_ns(size_t step)
{
    return step < 8 ? (double)step : (double)((8 + step % 8) << (step / 8 - 1));
}

void
load_latency_add(LoadLatencies *latencies, int64_t ns)
{
    latencies->steps[latency_step((uint64_t)DS_MAX(ns, (int64_t)0))]++;
    latencies->count++;
}

double
load_latency_ms(const LoadLatencies *latencies, double share)
{
    uint64_t wanted = (uint64_t)((double)latencies->count * share);
    uint64_t seen = 0;

    for (size_t i = 0; i < LOAD_LATENCY_STEPS; i++) {
        seen += latencies->steps[i];
        if (seen > wanted) {
            return step_ns(i) / 1e6;
        }
    }
    return 0;
}

void
load_mark(const char *what)
{
    char line[16];

    (void)puts(what);
    (void)fflush(stdout);
    if (fgets(line, sizeof(line), stdin) == NULL) {
        load_die("the driver is gone");
    }
}
