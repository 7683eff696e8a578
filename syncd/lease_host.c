/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/lease_host.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define HOST_NAME_BYTES 65

/* The first bytes of a line; "" when it cannot be read. */
static void
read_line(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, out, size - 1);

    out[DS_MAX(got, 0)] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (fd >= 0) {
        (void)close(fd); /* only read */
    }
}

void
lease_host_name(char *out)
{
    char name[HOST_NAME_BYTES] = "host";
    char boot[48];
    char space[48];

    (void)gethostname(name, sizeof(name) - 1); /* without a name, "host" stays */
    read_line("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
    ssize_t got = readlink("/proc/self/ns/pid", space, sizeof(space) - 1);
    space[DS_MAX(got, 0)] = '\0';
    if (boot[0] == '\0' || space[0] == '\0') {
        (void)snprintf(out, LEASE_HOST_SIZE, "%s", name);
    } else {
        (void)snprintf(out, LEASE_HOST_SIZE, "%s/%s:%s", name, boot, space); /* it fits */
    }
}

bool
lease_host_is_dead(Str host, int64_t pid)
{
    char here[LEASE_HOST_SIZE];

    lease_host_name(here);
    return strchr(here, '/') != NULL && str_eq(host, str_c(here)) && pid > 0 && pid <= INT32_MAX &&
           kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}
