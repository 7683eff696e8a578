/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"

#include <time.h>

/* The format has years of four digits: 0000-01-01T00:00:00.000Z to 9999-12-31T23:59:59.999Z. */
#define RFC3339_MS_MIN INT64_C(-62167219200000)
#define RFC3339_MS_MAX INT64_C(253402300799999)

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

static void
put_digits(char *out, int value, int width)
{
    while (width > 0) {
        out[--width] = (char)('0' + value % 10);
        value /= 10;
    }
}

void
clock_format_rfc3339(int64_t wall_ms, char *out)
{
    static const char shape[] = "YYYY-MM-DDThh:mm:ss.000Z";

    wall_ms = DS_MIN(DS_MAX(wall_ms, RFC3339_MS_MIN), RFC3339_MS_MAX);
    /* Rounded down, so that the milliseconds are never negative. */
    int64_t ms = (wall_ms % 1000 + 1000) % 1000;
    time_t seconds = (time_t)((wall_ms - ms) / 1000);
    struct tm parts;

    (void)gmtime_r(&seconds, &parts);
    memcpy(out, shape, sizeof(shape));
    put_digits(out, parts.tm_year + 1900, 4);
    put_digits(out + 5, parts.tm_mon + 1, 2);
    put_digits(out + 8, parts.tm_mday, 2);
    put_digits(out + 11, parts.tm_hour, 2);
    put_digits(out + 14, parts.tm_min, 2);
    put_digits(out + 17, parts.tm_sec, 2);
    put_digits(out + 20, (int)ms, 3);
}
