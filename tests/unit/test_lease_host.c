/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/lease_host.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

Test(lease_host, the_name_is_the_same_each_time_and_says_which_boot)
{
    char one[LEASE_HOST_SIZE];
    char other[LEASE_HOST_SIZE];

    lease_host_name(one);
    lease_host_name(other);
    cr_expect_str_eq(one, other);
    cr_expect_not_null(strchr(one, '/'), "%s", one);
}

Test(lease_host, only_who_ended_here_is_dead)
{
    char here[LEASE_HOST_SIZE];
    pid_t child = fork();

    cr_assert_geq(child, 0);
    if (child == 0) {
        _exit(0);
    }
    lease_host_name(here);
    cr_expect_not(lease_host_is_dead(str_c(here), getpid()));
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_expect(lease_host_is_dead(str_c(here), child));
    cr_expect_not(lease_host_is_dead(STR("elsewhere"), child));
    cr_expect_not(lease_host_is_dead(STR("elsewhere/boot:pid"), child));
    cr_expect_not(lease_host_is_dead(str_c(here), 0));
    cr_expect_not(lease_host_is_dead(str_c(here), -1));
}
