/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"

#include <time.h>

static int64_t
read_ns(clockid_t id)
{
    struct timespec now;

    DS_ASSERT(clock_gettime(id, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t
system_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

static int64_t
system_boot_ns(void)
{
    return read_ns(CLOCK_BOOTTIME);
}

static int64_t
system_wall_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

static const ClockSource system_source = {system_mono_ns, system_boot_ns, system_wall_ns};
static const ClockSource *source = &system_source;

void
clock_set_source(const ClockSource *replacement)
{
    source = replacement != NULL ? replacement : &system_source;
}

int64_t
clock_mono_ns(void)
{
    return source->mono_ns();
}

int64_t
clock_mono_ms(void)
{
    return source->mono_ns() / 1000000;
}

int64_t
clock_boot_ms(void)
{
    return source->boot_ns() / 1000000;
}

int64_t
clock_wall_ms(void)
{
    return source->wall_ns() / 1000000;
}

int64_t
clock_wall_us(void)
{
    return source->wall_ns() / 1000;
}

void
clock_format_rfc3339(int64_t wall_ms, char *out)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    char stamp[24];

    (void)gmtime_r(&seconds, &parts);
    (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(out, CLOCK_RFC3339_SIZE, "%s.%03dZ", stamp, (int)(wall_ms % 1000));
}
