/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/http_peer.h"

#include <arpa/inet.h>
#include <bsd/string.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/parse.h"

#define OUTCOME_BODY_MAX (64u << 20)
#define HOLD_POLL_MS     5

typedef struct PeerConnection {
    Peer *peer;
    int fd;
    int index;
    pthread_t thread;
} PeerConnection;

typedef struct PeerThreads {
    pthread_t acceptor;
    PeerConnection connections[PEER_CONNECTIONS_MAX];
    atomic_int released;
} PeerThreads;

static void *
connection_main(void *arg)
{
    PeerConnection *connection = arg;

    connection->peer->handler(connection->peer, connection->fd, connection->index);
    (void)shutdown(connection->fd, SHUT_WR);
    close(connection->fd);
    return NULL;
}

static void *
acceptor_main(void *arg)
{
    Peer *peer = arg;
    PeerThreads *threads = peer->thread_state;
    int one = 1;
    int fd;

    while ((fd = accept(peer->listener, NULL, NULL)) >= 0) {
        DS_ASSERT(peer->connections < PEER_CONNECTIONS_MAX);
        PeerConnection *connection = &threads->connections[peer->connections];

        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        *connection = (PeerConnection){.peer = peer, .fd = fd, .index = peer->connections};
        DS_ASSERT(pthread_create(&connection->thread, NULL, connection_main, connection) == 0);
        peer->connections++;
    }
    return NULL;
}

void
peer_start(Peer *peer, PeerFn handler)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    PeerThreads *threads = mem_zalloc(sizeof(*threads));

    *peer = (Peer){.handler = handler, .thread_state = threads};
    peer->listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(peer->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    cr_assert_eq(listen(peer->listener, PEER_CONNECTIONS_MAX), 0);
    cr_assert_eq(getsockname(peer->listener, (struct sockaddr *)&addr, &length), 0);
    peer->port = ntohs(addr.sin_port);
    cr_assert_eq(pthread_create(&threads->acceptor, NULL, acceptor_main, peer), 0);
}

void
peer_stop(Peer *peer)
{
    PeerThreads *threads = peer->thread_state;

    peer_release(peer);
    (void)shutdown(peer->listener, SHUT_RDWR);
    (void)pthread_join(threads->acceptor, NULL);
    for (int i = 0; i < peer->connections; i++) {
        (void)pthread_join(threads->connections[i].thread, NULL);
    }
    close(peer->listener);
    free(threads);
}

static size_t
content_length(const char *request)
{
    const char *line = strcasestr(request, "\r\nContent-Length: ");
    uint64_t length = 0;

    if (line != NULL) {
        Str digits, rest;

        (void)str_cut(str_c(line + strlen("\r\nContent-Length: ")), '\r', &digits, &rest);
        DS_ASSERT(parse_u64(digits, SIZE_MAX, &length));
    }
    return (size_t)length;
}

bool
peer_read(Peer *peer, int fd)
{
    size_t len = 0;

    for (;;) {
        ssize_t got = recv(fd, peer->request + len, sizeof(peer->request) - 1 - len, 0);

        if (got <= 0) {
            return false;
        }
        len += (size_t)got;
        peer->request[len] = '\0';
        const char *end = strstr(peer->request, "\r\n\r\n");
        if (end != NULL &&
            len >= (size_t)(end + 4 - peer->request) + content_length(peer->request)) {
            return true;
        }
        DS_ASSERT(len < sizeof(peer->request) - 1);
    }
}

void
peer_send(int fd, Str bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

        if (sent <= 0) {
            return;
        }
        bytes = str_skip(bytes, (size_t)sent);
    }
}

void
peer_send_slices(int fd, Str bytes, size_t slice)
{
    while (bytes.len > 0) {
        size_t take = DS_MIN(slice, bytes.len);

        peer_send(fd, str_slice(bytes, 0, take));
        bytes = str_skip(bytes, take);
    }
}

void
peer_hold(Peer *peer, int fd)
{
    PeerThreads *threads = peer->thread_state;

    while (!atomic_load(&threads->released)) {
        struct pollfd watch = {.fd = fd, .events = POLLRDHUP};

        if (poll(&watch, 1, HOLD_POLL_MS) > 0) {
            return;
        }
    }
}

void
peer_release(Peer *peer)
{
    PeerThreads *threads = peer->thread_state;

    atomic_store(&threads->released, 1);
}

static void
outcome_trace(Outcome *outcome, char letter)
{
    size_t len = strlen(outcome->trace);
    bool first = strchr(outcome->trace, letter) == NULL;

    if (len == 0 || outcome->trace[len - 1] != letter) {
        DS_ASSERT(len < sizeof(outcome->trace) - 1);
        outcome->trace[len] = letter;
    }
    if (first && outcome->on_first != NULL) {
        outcome->on_first(outcome, letter);
    }
}

static void
outcome_on_head(void *arg, const HttpHead *head)
{
    Outcome *outcome = arg;
    Str value;

    outcome->status = head->status;
    if (http_head_get(head, "content-type", &value)) {
        DS_ASSERT(value.len < sizeof(outcome->content_type));
        memcpy(outcome->content_type, value.ptr, value.len);
        outcome->content_type[value.len] = '\0';
    }
    outcome_trace(outcome, 'h');
}

static void
outcome_on_body(void *arg, Str bytes)
{
    Outcome *outcome = arg;
    Error err;

    cr_assert(buf_append(&outcome->body, bytes, &err), "%s", err.text);
    outcome_trace(outcome, 'b');
}

static void
outcome_on_done(void *arg, const HttpResult *result)
{
    Outcome *outcome = arg;

    outcome->result = *result;
    outcome->done++;
    loop_stop(outcome->loop);
    outcome_trace(outcome, 'd');
}

const HttpCallbacks outcome_callbacks = {
    .on_head = outcome_on_head,
    .on_body = outcome_on_body,
    .on_done = outcome_on_done,
};

void
outcome_init(Outcome *outcome, const Secret *bearer)
{
    *outcome = (Outcome){.loop = loop_new()};
    buf_init(&outcome->body, OUTCOME_BODY_MAX);
    outcome->client = http_client_new(
        outcome->loop, &(HttpClientConfig){.user_agent = "ds-test/1", .bearer = bearer});
}

void
outcome_done(Outcome *outcome)
{
    http_client_free(outcome->client);
    loop_free(outcome->loop);
    buf_done(&outcome->body);
}

void
outcome_start(Outcome *outcome, const Peer *peer, HttpRequest request)
{
    char url[1024];

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", peer->port, request.url);
    request.url = url;
    outcome->transfer = http_start(outcome->client, &request, &outcome_callbacks, outcome);
}

void
outcome_wait(Outcome *outcome)
{
    int done = outcome->done;

    while (outcome->done == done) {
        loop_run(outcome->loop);
    }
}

static void
on_time(void *arg)
{
    loop_stop(arg);
}

void
outcome_run_ms(Outcome *outcome, int64_t ms)
{
    LoopTimer *timer = timer_new(outcome->loop, on_time, outcome->loop);

    timer_start(timer, ms);
    while (timer_active(timer)) {
        loop_run(outcome->loop);
    }
    timer_free(timer);
}
