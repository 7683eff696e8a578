/* SPDX-License-Identifier: Apache-2.0 */
#include "server/range.h"

#include "common/mem.h"

void
range_init(Range *range, uint64_t from)
{
    range->from = from;
    range->to = from;
    range->bytes = 0;
    range->takes_files = false;
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

static void
add(Range *range, HttpPiece piece)
{
    if (range->count == range->cap) {
        range_grow(range);
    }
    http_hold_take(piece.hold);
    range->parts[range->count++] = piece;
    range->bytes += piece.bytes.len;
}

void
range_add(Range *range, Str bytes, HttpHold *hold)
{
    add(range, (HttpPiece){.bytes = bytes, .hold = hold});
}

void
range_add_file(Range *range, HttpFile *file, uint64_t offset, size_t len)
{
    DS_ASSERT(range->takes_files);
    add(range, (HttpPiece){
                   .bytes = {NULL, len},
                   .hold = &file->hold,
                   .file = file,
                   .file_offset = offset,
               });
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
