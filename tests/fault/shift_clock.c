/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fault/shift_clock.c -- a library to preload into Postgres, whose clock a test then sets.
 *
 * DS_CLOCK_FILE names a file of eight bytes: by how many seconds the clock of the day is ahead, as
 * int64_t of this machine.  It is mapped, so a write into the file is seen at once, and nothing
 * here is unsafe in a signal handler: Postgres looks at the clock in the one of its timers.
 * libfaketime, which does much more, shows it the true time there, and timeouts come at wrong
 * moments or never. The monotonic clock stays as it is, as it does when an administrator sets the
 * time.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t no_shift;
static _Atomic int64_t *shift = &no_shift;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void
shift_clock_init(void)
{
    const char *path = getenv("DS_CLOCK_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = MAP_FAILED;

    *(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (fd >= 0) {
        map = mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
        (void)close(fd);
    }
    if (real_clock_gettime == NULL || map == MAP_FAILED) {
        abort(); /* a test that shifts nothing would prove nothing */
    }
    shift = map;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
    int result;

    if (real_clock_gettime == NULL) {
        shift_clock_init(); /* somebody's constructor comes before ours */
    }
    result = real_clock_gettime(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += (time_t)atomic_load_explicit(shift, memory_order_relaxed);
    }
    return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;

    (void)zone; /* obsolete, and Postgres passes NULL */
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0) {
        return -1;
    }
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t
time(time_t *out)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
