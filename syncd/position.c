/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/position.h"

#include "common/ds_proto.h"

#define ERA_MIN (UINT64_C(1) << 40) /* no stream has so many messages */

void
position_set(Position *position, Str offset, int64_t skip)
{
    DS_ASSERT(offset.len < sizeof(position->offset) && skip >= 0);
    memmove(position->offset, offset.ptr, offset.len);
    position->offset[offset.len] = '\0';
    position->skip = skip;
}

bool
position_equal(const Position *a, const Position *b)
{
    return a->skip == b->skip && strcmp(a->offset, b->offset) == 0;
}

bool
position_at_start(const Position *position)
{
    return position->skip == 0 && strcmp(position->offset, DS_OFFSET_START) == 0;
}

bool
offset_names_life(Str offset)
{
    Offset own;

    return offset_parse(offset, &own) && own.era >= ERA_MIN;
}

void
position_name_start(Position *position, Str end, int64_t steps)
{
    Offset start;
    char text[OFFSET_OWN_BYTES + 1];

    if (strcmp(position->offset, DS_OFFSET_START) != 0 || !offset_names_life(end) ||
        !offset_parse(end, &start) || steps < 0 || (uint64_t)steps > start.position) {
        return;
    }
    start.position -= (uint64_t)steps;
    offset_format(start, text);
    position_set(position, str_c(text), position->skip);
}

static bool
is_digit_or_letter(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Of one length, with separators at the same places: schemes of other lengths are not ours to
 * judge. */
static bool
offset_same_scheme(Str a, Str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        bool word_a = is_digit_or_letter(a.ptr[i]);

        if (word_a != is_digit_or_letter(b.ptr[i]) || (!word_a && a.ptr[i] != b.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool
offset_went_back(Str ours, Str theirs)
{
    return offset_same_scheme(ours, theirs) && str_cmp(theirs, ours) < 0;
}
