/* SPDX-License-Identifier: Apache-2.0 */
#include "common/notify.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A datagram socket as systemd's; name[0] is '@' for the abstract namespace. */
static int
listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    cr_assert_geq(fd, 0);
    cr_assert_lt(length, sizeof(address.sun_path));
    memcpy(address.sun_path, name, length);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    cr_assert_eq(bind(fd, (struct sockaddr *)&address,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
                 0);
    return fd;
}

static void
expect_message(const char *name, const char *message)
{
    char got[64] = "";
    int fd = listen_at(name);

    cr_assert_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
    notify_send(message);
    ssize_t length = recv(fd, got, sizeof(got) - 1, 0);
    cr_expect_eq(length, (ssize_t)strlen(message));
    cr_expect_str_eq(got, message);
    (void)close(fd);
}

Test(notify, a_message_reaches_a_socket_with_a_path)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/tmp/ds-test-notify-%ld", (long)getpid());
    expect_message(path, "READY=1");
    (void)unlink(path);
}

Test(notify, a_message_reaches_a_socket_in_the_abstract_namespace)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "@ds-test-notify-%ld", (long)getpid());
    expect_message(name, "STOPPING=1");
}

Test(notify, a_reload_carries_the_time_it_began)
{
    char path[64];
    char got[64] = "";
    long long usec = 0;

    (void)snprintf(path, sizeof(path), "/tmp/ds-test-notify-reload-%ld", (long)getpid());
    int fd = listen_at(path);
    cr_assert_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
    notify_reloading();
    cr_assert_gt(recv(fd, got, sizeof(got) - 1, 0), 0);
    cr_expect_eq(sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%lld", &usec), 1, "%s", got);
    cr_expect_gt(usec, 0);
    (void)close(fd);
    (void)unlink(path);
}

Test(notify, without_a_socket_nothing_happens)
{
    static const char *const names[] = {"", "/", "relative", "/does/not/exist"};

    cr_assert_eq(unsetenv("NOTIFY_SOCKET"), 0);
    notify_send("READY=1");
    for (size_t i = 0; i < DS_COUNT(names); i++) {
        cr_assert_eq(setenv("NOTIFY_SOCKET", names[i], 1), 0);
        notify_send("READY=1");
    }
}

Test(notify, the_watchdog_is_fed_twice_in_its_time_and_only_if_it_is_ours)
{
    char pid[24];

    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    cr_expect_eq(notify_watchdog_ms(), 0);
    cr_assert_eq(setenv("WATCHDOG_USEC", "30000000", 1), 0);
    cr_expect_eq(notify_watchdog_ms(), 15000);
    cr_assert_eq(setenv("WATCHDOG_PID", pid, 1), 0);
    cr_expect_eq(notify_watchdog_ms(), 15000);
    cr_assert_eq(setenv("WATCHDOG_PID", "1", 1), 0);
    cr_expect_eq(notify_watchdog_ms(), 0);
    cr_assert_eq(unsetenv("WATCHDOG_PID"), 0);
    cr_assert_eq(setenv("WATCHDOG_USEC", "soon", 1), 0);
    cr_expect_eq(notify_watchdog_ms(), 0);
}
