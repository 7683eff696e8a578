/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/sync_loop.c -- the least that a durable append over HTTP can cost, to compare with.
 *
 * usage: bench-sync-loop PORT FILE
 *
 * One thread: each turn takes all requests that wait, writes their bodies at one place of a file
 * that was written before, calls fdatasync once, and answers all with 204.  It understands only
 * what bench-load append sends: a POST with a Content-Length, whole, nothing pipelined.  There are
 * no streams, no offsets, and nothing can be read back.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/load.h"
#include "common/mem.h"

#define FILE_BYTES        (64u << 20)
#define BATCH_BYTES_MAX   (1u << 20)
#define REQUEST_BYTES_MAX 8192
#define LISTENER_BACKLOG  1024
#define ZEROES_BYTES      (1u << 20)

typedef struct Client {
    int fd;
    size_t len;
    char request[REQUEST_BYTES_MAX];
} Client;

typedef struct SyncLoop {
    int epoll;
    int listener;
    int file;
    uint64_t place; /* in the file; wraps */
    size_t batch_len;
    char batch[BATCH_BYTES_MAX];
    size_t waiting_count;
    Client *waiting[LOAD_EVENTS_PER_TURN];
} SyncLoop;

static int
file_open(const char *path)
{
    char *zeroes = mem_zalloc(ZEROES_BYTES);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (file < 0) {
        load_die(path);
    }
    for (uint64_t at = 0; at < FILE_BYTES; at += ZEROES_BYTES) {
        if (pwrite(file, zeroes, ZEROES_BYTES, (off_t)at) != ZEROES_BYTES) {
            load_die("writing the file");
        }
    }
    if (fsync(file) != 0) {
        load_die("fsync");
    }
    free(zeroes);
    return file;
}

static int
listener_open(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        listen(fd, LISTENER_BACKLOG) != 0) {
        load_die("listen");
    }
    return fd;
}

static void
accept_all(SyncLoop *loop)
{
    int one = 1;
    int fd;

    while ((fd = accept4(loop->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        Client *client = mem_zalloc(sizeof(*client));

        client->fd = fd;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        load_watch(loop->epoll, EPOLL_CTL_ADD, fd, client, EPOLLIN);
    }
}

static void
client_receive(SyncLoop *loop, Client *client)
{
    ssize_t got = recv(client->fd, client->request + client->len,
                       sizeof(client->request) - client->len, MSG_DONTWAIT);
    LoadAnswer head; /* a request's head has the same shape, but for its first line */

    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        (void)close(client->fd);
        free(client);
        return;
    }
    client->len += (size_t)got;
    if (!load_head(str_n(client->request, client->len), &head) ||
        client->len < head.head_bytes + head.body_bytes) {
        return;
    }
    if (loop->batch_len + head.body_bytes > sizeof(loop->batch)) {
        load_die("a turn with too many bytes");
    }
    memcpy(loop->batch + loop->batch_len, client->request + head.head_bytes, head.body_bytes);
    loop->batch_len += head.body_bytes;
    loop->waiting[loop->waiting_count++] = client;
}

static void
batch_commit(SyncLoop *loop)
{
    static const char answer[] = "HTTP/1.1 204 No Content\r\n"
                                 "Stream-Next-Offset: 0000000000000000_0000000000000000\r\n\r\n";

    if (loop->place + loop->batch_len > FILE_BYTES) {
        loop->place = 0;
    }
    if (pwrite(loop->file, loop->batch, loop->batch_len, (off_t)loop->place) !=
            (ssize_t)loop->batch_len ||
        fdatasync(loop->file) != 0) {
        load_die("writing the file");
    }
    loop->place += loop->batch_len;
    for (size_t i = 0; i < loop->waiting_count; i++) {
        loop->waiting[i]->len = 0;
        load_send_all(loop->waiting[i]->fd, str_n(answer, sizeof(answer) - 1));
    }
    loop->batch_len = loop->waiting_count = 0;
}

int
main(int argc, char **argv)
{
    static SyncLoop loop;
    struct epoll_event events[LOAD_EVENTS_PER_TURN];

    if (argc != 3) {
        (void)fprintf(stderr, "usage: bench-sync-loop PORT FILE\n");
        return 2;
    }
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    loop.file = file_open(argv[2]);
    loop.listener = listener_open((int)load_number(argv[1], 1, 65535, "PORT"));
    load_watch(loop.epoll, EPOLL_CTL_ADD, loop.listener, &loop, EPOLLIN);
    for (;;) {
        int count = epoll_wait(loop.epoll, events, LOAD_EVENTS_PER_TURN, -1);

        if (count < 0 && errno != EINTR) {
            load_die("epoll_wait");
        }
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &loop) {
                accept_all(&loop);
            } else {
                client_receive(&loop, events[i].data.ptr);
            }
        }
        if (loop.waiting_count > 0) {
            batch_commit(&loop);
        }
    }
}
