/* SPDX-License-Identifier: Apache-2.0 */
#include "common/offset.h"

#include <endian.h>

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

/* The sixteen digits of a word, the highest first.  Every reply has two of them, so all digits of a
 * half are made at once: a byte for each four bits, then the character for each byte. */
static void
put_hex(uint64_t word, char out[16])
{
    for (int half = 0; half < 2; half++) {
        uint64_t x = half == 0 ? word >> 32 : word & 0xffffffff;

        x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
        x = (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
        x = (x | x << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
        uint64_t letters = ((x + UINT64_C(0x0606060606060606)) >> 4) & UINT64_C(0x0101010101010101);
        x = htobe64(x + UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10));
        memcpy(out + 8 * half, &x, sizeof(x));
    }
}

void
offset_format(Offset offset, char out[OFFSET_OWN_BYTES + 1])
{
    put_hex(offset.era, out);
    out[16] = '_';
    put_hex(offset.position, out + 17);
    out[33] = '\0';
}
