/* SPDX-License-Identifier: Apache-2.0 */
#include "common/standard_fds.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/base.h"

void
standard_fds_hold(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            /* The lowest number that is free, so it is this one. */
            int held = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);

            DS_ASSERT(held == fd);
        }
    }
}
