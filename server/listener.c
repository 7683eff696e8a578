/* SPDX-License-Identifier: Apache-2.0 */
#include "server/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/parse.h"

#define BACKLOG            4096 /* the kernel cuts it to net.core.somaxconn */
#define HOST_BYTES_MAX     256
#define INHERITED_FD_FIRST 3
#define INHERITED_FDS_MAX  16

/* "[::1]:80" -> "::1", 80 */
static bool
split_address(const char *address, char *host, uint64_t *out_port)
{
    const char *colon = strrchr(address, ':');

    if (colon == NULL || !parse_u64(str_c(colon + 1), 65535, out_port)) {
        return false;
    }
    Str name = str_n(address, (size_t)(colon - address));
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
        name = str_slice(name, 1, name.len - 1);
    } else if (memchr(name.ptr, ':', name.len) != NULL) {
        return false; /* an IPv6 address without brackets */
    }
    if (name.len == 0 || name.len >= HOST_BYTES_MAX) {
        return false;
    }
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    return true;
}

static bool
open_socket(const struct addrinfo *info, const char *host, const char *port, int *out_fd,
            Error *err)
{
    int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return error_set(err, ERR_CONFIG, "cannot make a socket for %s: %s", host, strerror(errno));
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        error_set(err, ERR_CONFIG, "cannot listen on %s port %s: %s", host, port, strerror(errno));
        (void)close(fd);
        return false;
    }
    *out_fd = fd;
    return true;
}

bool
listener_check_address(const char *address, Error *err)
{
    char host[HOST_BYTES_MAX];
    uint64_t port;

    if (!split_address(address, host, &port)) {
        return error_set(err, ERR_CONFIG, "\"%.100s\" is not an address such as 0.0.0.0:4437",
                         address);
    }
    return true;
}

bool
listener_check_host(const char *address, Error *err)
{
    char host[HOST_BYTES_MAX];
    char anywhere[HOST_BYTES_MAX + 8];
    uint64_t number;
    int fd;

    if (!listener_check_address(address, err)) {
        return false;
    }
    DS_ASSERT(split_address(address, host, &number));
    (void)snprintf(anywhere, sizeof(anywhere), strchr(host, ':') != NULL ? "[%s]:0" : "%s:0", host);
    if (!listener_open(anywhere, 0, &fd, err)) {
        return false;
    }
    (void)close(fd);
    return true;
}

bool
listener_open(const char *address, int64_t port, int *out_fd, Error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char host[HOST_BYTES_MAX];
    char service[8];
    uint64_t number;

    if (!listener_check_address(address, err)) {
        return false;
    }
    DS_ASSERT(split_address(address, host, &number));
    (void)snprintf(service, sizeof(service), "%u",
                   port > 0 ? (unsigned)port & 0xffff : (unsigned)number);
    int status = getaddrinfo(host, service, &hints, &found);
    if (status != 0) {
        return error_set(err, ERR_CONFIG, "cannot resolve %.100s: %s", address,
                         gai_strerror(status));
    }
    bool ok = open_socket(found, host, service, out_fd, err);
    freeaddrinfo(found);
    return ok;
}

/* How many sockets are meant for this process. */
static uint64_t
inherited_count(void)
{
    uint64_t pid;
    uint64_t count;

    if (!parse_u64(str_c(getenv("LISTEN_PID")), INT32_MAX, &pid) || (pid_t)pid != getpid() ||
        !parse_u64(str_c(getenv("LISTEN_FDS")), INHERITED_FDS_MAX, &count)) {
        return 0;
    }
    return count;
}

static bool
socket_option_is(int fd, int option, int wanted)
{
    int value = 0;
    socklen_t length = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 && value == wanted;
}

bool
listener_inherited(int index, int *out_fd, Error *err)
{
    int fd = INHERITED_FD_FIRST + index;

    if ((uint64_t)index >= inherited_count()) {
        *out_fd = -1;
        return true;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || !socket_option_is(fd, SO_ACCEPTCONN, 1) ||
        !socket_option_is(fd, SO_TYPE, SOCK_STREAM) ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return error_set(err, ERR_CONFIG,
                         "descriptor %d of LISTEN_FDS is not a listening stream socket", fd);
    }
    *out_fd = fd;
    return true;
}

void
listener_format(const struct sockaddr_storage *address, char *out)
{
    char host[INET6_ADDRSTRLEN] = "";

    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        (void)snprintf(out, LISTENER_ADDRESS_BYTES_MAX, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;

        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        (void)snprintf(out, LISTENER_ADDRESS_BYTES_MAX, "%s:%u", host, ntohs(v4->sin_port));
    } else {
        (void)strlcpy(out, "unknown", LISTENER_ADDRESS_BYTES_MAX);
    }
}

void
listener_local_address(int fd, char *out)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(address);

    (void)getsockname(fd, (struct sockaddr *)&address, &length);
    listener_format(&address, out);
}
