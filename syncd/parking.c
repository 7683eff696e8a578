/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/parking.h"

#define LOOK_MS_MIN 250
#define LOOK_MS_MAX 10000

void
parking_set_ttl(Parking *parking, int64_t ttl_s, bool hold)
{
    parking->ttl_ms = ttl_s > INT64_MAX / 1000 ? INT64_MAX : ttl_s * 1000;
    parking->hold = hold;
}

void
parking_touch(Parking *parking, int64_t now_ms)
{
    parking->since_ms = now_ms;
}

int64_t
parking_due_ms(const Parking *parking, int64_t now_ms)
{
    /* Held: two reads within each TTL, so that one may fail. */
    int64_t patience_ms = parking->hold ? parking->ttl_ms / 3 : parking->ttl_ms / 4;

    if (parking->ttl_ms == 0) {
        return INT64_MAX;
    }
    return DS_MAX(patience_ms - (now_ms - parking->since_ms), INT64_C(0));
}

int64_t
parking_look_ms(const Parking *parking, uint32_t (*random)(uint32_t upper_bound))
{
    int64_t most_ms =
        DS_MIN(DS_MAX(parking->ttl_ms / 8, (int64_t)LOOK_MS_MIN), (int64_t)LOOK_MS_MAX);

    return most_ms / 2 + random((uint32_t)(most_ms / 2 + 1));
}
