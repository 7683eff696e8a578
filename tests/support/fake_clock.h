/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/fake_clock.h -- clocks that a test sets; for clock_set_source.
 *
 * Included once by a test, so the times are its own.  The monotonic clock is the boot clock.
 */
#pragma once

#include "common/clock.h"

static int64_t boot_ms = 1000000;
static int64_t wall_ms = 1700000000000;

static int64_t
fake_boot_ns(void)
{
    return boot_ms * 1000000;
}
static int64_t
fake_wall_ns(void)
{
    return wall_ms * 1000000;
}

static const ClockSource fake_clock = {
    .mono_ns = fake_boot_ns,
    .boot_ns = fake_boot_ns,
    .wall_ns = fake_wall_ns,
};
