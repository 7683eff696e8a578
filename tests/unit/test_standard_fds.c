/* SPDX-License-Identifier: Apache-2.0 */
#include "common/standard_fds.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLOSED_SETS 8 /* of three descriptors */

/* In a child: its status is 0 when all is as it should be. */
static int
hold(unsigned closed)
{
    char byte = 'x';
    int status = 0;

    for (int fd = 0; fd < 3; fd++) {
        if ((closed >> fd) & 1u) {
            (void)close(fd);
        }
    }
    standard_fds_hold();
    if (open("/dev/zero", O_RDWR) < 3) {
        status |= 1;
    }
    for (int fd = 0; fd < 3; fd++) {
        bool was_closed = (closed >> fd) & 1u;

        if (fcntl(fd, F_GETFD) < 0) {
            status |= 2;
        }
        if (was_closed && (fd == 0 ? read(fd, &byte, 1) : write(fd, &byte, 1)) != -1) {
            status |= 4;
        }
    }
    return status;
}

Test(standard_fds, nothing_that_is_opened_later_takes_the_place_of_one_that_was_closed)
{
    for (unsigned closed = 0; closed < CLOSED_SETS; closed++) {
        int status = -1;
        pid_t child = fork();

        if (child == 0) {
            _exit(hold(closed));
        }
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "closed %u: %d", closed, status);
    }
}
