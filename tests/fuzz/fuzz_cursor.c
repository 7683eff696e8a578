/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_cursor.c -- whatever a client shows: the answer is never of the past, later than
 * what was shown, and never further ahead than the jitter.
 *
 * Eight bytes are the time, four the chance; the rest is shown.
 */
#include "server/cursor.h"

#include "common/ds_proto.h"
#include "common/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t client = 0;
    int64_t wall_ms;
    uint32_t random;

    if (size < sizeof(wall_ms) + sizeof(random)) {
        return 0;
    }
    memcpy(&wall_ms, data, sizeof(wall_ms));
    memcpy(&random, data + sizeof(wall_ms), sizeof(random));
    Str shown =
        str_n(data + sizeof(wall_ms) + sizeof(random), size - sizeof(wall_ms) - sizeof(random));
    uint64_t now = cursor_now(wall_ms);
    uint64_t next = cursor_next(shown, wall_ms, random);
    bool number = parse_u64_loose(shown, DS_PRODUCER_NUMBER_MAX, &client);

    DS_ASSERT(next >= now);
    if (number && client >= now) {
        DS_ASSERT(next > client);
        DS_ASSERT(next - client <= CURSOR_JITTER_S_MAX / DS_CURSOR_INTERVAL_S);
    } else {
        DS_ASSERT(next == now);
    }
    return 0;
}
