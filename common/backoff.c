/* SPDX-License-Identifier: Apache-2.0 */
#include "common/backoff.h"

#include <bsd/stdlib.h>

static uint32_t
backoff_random(uint32_t upper_bound)
{
    return arc4random_uniform(upper_bound);
}

void
backoff_init(Backoff *backoff, int64_t base_ms, int64_t max_ms)
{
    DS_ASSERT(base_ms > 0 && max_ms >= base_ms && max_ms < INT32_MAX);
    *backoff = (Backoff){.base_ms = base_ms, .max_ms = max_ms, .random = backoff_random};
}

void
backoff_reset(Backoff *backoff)
{
    backoff->attempt = 0;
}

int64_t
backoff_next_ms(Backoff *backoff, int64_t floor_ms)
{
    int64_t ceiling = backoff->max_ms;

    if (backoff->attempt < 32) {
        ceiling = DS_MIN(ceiling, backoff->base_ms << backoff->attempt);
    }
    backoff->attempt++;
    int64_t delay = (int64_t)backoff->random((uint32_t)ceiling + 1);
    return DS_MAX(delay, floor_ms);
}
