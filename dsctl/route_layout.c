/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/route_layout.h"

#define LAST_CHARACTER  UINT32_C(0x10ffff)
#define SURROGATE_FIRST UINT32_C(0xd800)
#define SURROGATE_LAST  UINT32_C(0xdfff)

static uint32_t
decode(Str bytes)
{
    static const uint8_t lead_masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t character = (uint8_t)bytes.ptr[0] & lead_masks[bytes.len];

    for (size_t i = 1; i < bytes.len; i++) {
        character = (character << 6) | ((uint8_t)bytes.ptr[i] & 0x3f);
    }
    return character;
}

static bool
encode(uint32_t character, Buf *out, Error *err)
{
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t len = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    char bytes[4];

    for (size_t i = len - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    bytes[0] = (char)(leads[len] | character);
    return buf_append(out, str_n(bytes, len), err);
}

/* UTF-8 sorts as its characters do. */
bool
route_prefix_end(Str prefix, Buf *out, Error *err)
{
    size_t last = 0;

    while (prefix.len > 0) {
        for (size_t at = 0; at < prefix.len; at += str_utf8_sequence(str_skip(prefix, at))) {
            last = at;
        }
        uint32_t character = decode(str_skip(prefix, last)) + 1;
        if (character >= SURROGATE_FIRST && character <= SURROGATE_LAST) {
            character = SURROGATE_LAST + 1;
        }
        prefix = str_head(prefix, last);
        if (character <= LAST_CHARACTER) {
            return buf_append(out, prefix, err) && encode(character, out, err);
        }
    }
    return error_set(err, ERR_INPUT, "nothing lies behind the names that begin so");
}
