/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/closed_look.h"

#define LOOK_MS_MIN 2000
#define LOOK_MS_MAX 3600000

int64_t
closed_look_ms(size_t sessions, uint32_t (*random)(uint32_t upper_bound))
{
    int64_t fair_ms =
        sessions > LOOK_MS_MAX ? LOOK_MS_MAX : (int64_t)sessions * 1000 / CLOSED_LOOKS_PER_S;
    int64_t least_ms = DS_MIN(DS_MAX(fair_ms, (int64_t)LOOK_MS_MIN), (int64_t)LOOK_MS_MAX);

    return least_ms + random((uint32_t)(least_ms + 1));
}
