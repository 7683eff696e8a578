/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cursor.h"

#include "common/ds_proto.h"
#include "common/parse.h"

uint64_t
cursor_now(int64_t wall_ms)
{
    int64_t seconds = wall_ms / 1000 - DS_CURSOR_EPOCH_S;

    return seconds < 0 ? 0 : (uint64_t)seconds / DS_CURSOR_INTERVAL_S;
}

uint64_t
cursor_next(Str shown, int64_t wall_ms, uint32_t random)
{
    uint64_t now = cursor_now(wall_ms);
    uint64_t client;
    uint64_t jitter_s;

    if (!parse_u64_loose(shown, DS_PRODUCER_NUMBER_MAX, &client) || client < now) {
        return now;
    }
    jitter_s = 1 + random % CURSOR_JITTER_S_MAX;
    return client + (jitter_s + DS_CURSOR_INTERVAL_S - 1) / DS_CURSOR_INTERVAL_S;
}
