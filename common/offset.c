/* SPDX-License-Identifier: Apache-2.0 */
#include "common/offset.h"

#include "common/parse.h"

bool
offset_is_valid(Str offset)
{
    if (offset.len == 0 || offset.len > OFFSET_BYTES_MAX || str_eq(offset, STR("-1")) ||
        str_eq(offset, STR("now"))) {
        return false;
    }
    for (size_t i = 0; i < offset.len; i++) {
        unsigned char c = (unsigned char)offset.ptr[i];

        if (c <= 0x20 || c >= 0x7f || strchr(",&=?/", c) != NULL) {
            return false;
        }
    }
    return true;
}

bool
offset_parse(Str text, Offset *out)
{
    Offset parsed;

    if (text.len != OFFSET_OWN_BYTES || text.ptr[16] != '_' ||
        !parse_hex_u64(str_n(text.ptr, 16), &parsed.era) ||
        !parse_hex_u64(str_skip(text, 17), &parsed.position)) {
        return false;
    }
    *out = parsed;
    return true;
}

void
offset_format(Offset offset, char out[OFFSET_OWN_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        out[15 - i] = digits[(offset.era >> (4 * i)) & 0xf];
        out[32 - i] = digits[(offset.position >> (4 * i)) & 0xf];
    }
    out[16] = '_';
    out[33] = '\0';
}
