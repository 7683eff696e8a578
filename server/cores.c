/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cores.h"

#include <sched.h>
#include <unistd.h>

#include "common/base.h"

unsigned
cores_allowed(void)
{
    cpu_set_t cores;
    long count;

    if (sched_getaffinity(0, sizeof(cores), &cores) == 0) {
        count = CPU_COUNT(&cores);
    } else {
        count = sysconf(_SC_NPROCESSORS_ONLN); /* more than CPU_SETSIZE of them */
    }
    return (unsigned)DS_MAX(count, 1L);
}
