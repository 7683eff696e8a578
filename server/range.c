/* SPDX-License-Identifier: Apache-2.0 */
#include "server/range.h"

#include "common/mem.h"

void
range_init(Range *range, uint64_t from)
{
    range->from = from;
    range->to = from;
    range->bytes = 0;
    range->parts = range->parts_inline;
    range->count = 0;
    range->cap = RANGE_PARTS_INLINE;
}

static void
range_grow(Range *range)
{
    bool was_inline = range->parts == range->parts_inline;

    range->cap *= 2;
    range->parts = mem_regrow(was_inline ? NULL : range->parts, range->cap, sizeof(*range->parts));
    if (was_inline) {
        memcpy(range->parts, range->parts_inline, sizeof(range->parts_inline));
    }
}

void
range_add(Range *range, Str bytes, HttpHold *hold)
{
    if (range->count == range->cap) {
        range_grow(range);
    }
    http_hold_take(hold);
    range->parts[range->count++] = (HttpPiece){.bytes = bytes, .hold = hold};
    range->bytes += bytes.len;
}

void
range_done(Range *range)
{
    for (size_t i = 0; i < range->count; i++) {
        http_hold_drop(range->parts[i].hold);
    }
    if (range->parts != range->parts_inline) {
        free(range->parts);
    }
    range_init(range, range->to);
}
