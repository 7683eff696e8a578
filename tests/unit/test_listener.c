/* SPDX-License-Identifier: Apache-2.0 */
#include "server/listener.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/str.h"

Test(listener, port_0_takes_a_free_port_and_the_address_says_which)
{
    char address[LISTENER_ADDRESS_BYTES_MAX];
    Error err;
    int fd;

    cr_assert(listener_open("127.0.0.1:0", 0, &fd, &err), "%s", err.text);
    listener_local_address(fd, address);
    cr_expect(str_starts(str_c(address), STR("127.0.0.1:")));
    cr_expect_not(str_ends(str_c(address), STR(":0")));
    close(fd);
}

Test(listener, a_port_in_use_is_refused_even_to_the_same_user)
{
    char address[LISTENER_ADDRESS_BYTES_MAX];
    Error err;
    int first, second;

    cr_assert(listener_open("127.0.0.1:0", 0, &first, &err));
    listener_local_address(first, address);
    cr_expect_not(listener_open(address, 0, &second, &err));
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_not_null(strstr(err.text, strrchr(address, ':') + 1), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "in use"), "%s", err.text);
    close(first);
}

Test(listener, the_port_setting_replaces_the_port_of_the_address)
{
    char address[LISTENER_ADDRESS_BYTES_MAX];
    Error err;
    int taken, fd;

    /* The port that is asked for is in use, so that asking for it can be told from asking for 0. */
    cr_assert(listener_open("127.0.0.1:0", 0, &taken, &err));
    listener_local_address(taken, address);
    int64_t port = strtol(strrchr(address, ':') + 1, NULL, 10);
    cr_expect_not(listener_open("127.0.0.1:0", port, &fd, &err));
    cr_expect_not_null(strstr(err.text, "in use"), "%s", err.text);
    close(taken);
}

Test(listener, what_is_no_address_is_refused)
{
    static const char *const bad[] = {
        "",       "4437",  ":4437",           "127.0.0.1",    "127.0.0.1:",     "127.0.0.1:x",
        "::1:80", "[::1]", "127.0.0.1:65536", "127.0.0.1:-1", "host.invalid:80"};

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Error err = {0};
        int fd;

        cr_expect_not(listener_open(bad[i], 0, &fd, &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_CONFIG);
    }
}

static int
inherited(int index)
{
    Error err;
    int fd = -2;

    cr_assert(listener_inherited(index, &fd, &err), "%s", err.text);
    return fd;
}

Test(listener, sockets_meant_for_another_process_are_not_taken)
{
    cr_assert_eq(setenv("LISTEN_FDS", "1", 1), 0);
    cr_assert_eq(setenv("LISTEN_PID", "1", 1), 0);
    cr_expect_eq(inherited(0), -1);
    cr_assert_eq(unsetenv("LISTEN_PID"), 0);
    cr_expect_eq(inherited(0), -1);
}

#define LAST_INDEX 15
#define LAST_FD    (3 + LAST_INDEX) /* the first ones are the test framework's own */

static void
hand_over(int fd)
{
    char pid[24];

    cr_assert_eq(dup2(fd, LAST_FD), LAST_FD);
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    cr_assert_eq(setenv("LISTEN_PID", pid, 1), 0);
    cr_assert_eq(setenv("LISTEN_FDS", "16", 1), 0);
}

Test(listener, a_socket_meant_for_this_process_is_taken)
{
    Error err;
    int fd;

    cr_assert(listener_open("127.0.0.1:0", 0, &fd, &err), "%s", err.text);
    hand_over(fd);
    cr_expect_eq(inherited(LAST_INDEX), LAST_FD);
    cr_expect_eq(inherited(LAST_INDEX + 1), -1);
}

Test(listener, what_does_not_listen_is_refused)
{
    static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM};

    for (size_t i = 0; i < DS_COUNT(kinds); i++) {
        Error err = {0};
        int taken = -2;
        int fd = socket(AF_INET, kinds[i], 0);

        hand_over(fd);
        cr_expect_not(listener_inherited(LAST_INDEX, &taken, &err));
        cr_expect_eq(err.code, ERR_CONFIG);
        cr_expect_eq(taken, -2);
        close(fd);
    }
}
