/* SPDX-License-Identifier: Apache-2.0 */
#include "common/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/parse.h"

void
notify_send(const char *state)
{
    Str path = str_c(getenv("NOTIFY_SOCKET"));
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (path.len < 2 || path.len >= sizeof(address.sun_path) ||
        (path.ptr[0] != '/' && path.ptr[0] != '@')) {
        return;
    }
    memcpy(address.sun_path, path.ptr, path.len);
    if (path.ptr[0] == '@') {
        address.sun_path[0] = '\0'; /* the abstract namespace */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len);
    ssize_t sent =
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, length);
    (void)sent; /* nobody could act on it */
    (void)close(fd);
}

void
notify_reloading(void)
{
    struct timespec now = {0};
    char state[64];

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    notify_send(state);
}

int64_t
notify_watchdog_ms(void)
{
    Str pid = str_c(getenv("WATCHDOG_PID"));
    uint64_t number;
    uint64_t usec;

    if (pid.len > 0 && (!parse_u64(pid, INT32_MAX, &number) || number != (uint64_t)getpid())) {
        return 0;
    }
    if (!parse_u64(str_c(getenv("WATCHDOG_USEC")), INT64_MAX, &usec)) {
        return 0;
    }
    return (int64_t)(usec / 2000);
}
