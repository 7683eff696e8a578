/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/offset.h -- stream offsets as clients see them (Durable Streams protocol, section 8).
 *
 * Opaque, case-sensitive, bytewise ordered, below 256 bytes, none of , & = ? / in them; "-1" is the
 * start and "now" the tail, and neither is ever stored.  What our own server mints has a structure
 * (era and position, 16 lower-case hex digits each); only the server looks into it.
 */
#pragma once

#include "common/str.h"

#define OFFSET_BYTES_MAX 255
#define OFFSET_OWN_BYTES 33 /* eeeeeeeeeeeeeeee_pppppppppppppppp */

/* Legal as a resume point from any server: not empty, not a sentinel, within the character rules.
 */
bool offset_is_valid(Str offset);

typedef struct Offset {
    uint64_t era;
    uint64_t position; /* messages (JSON) or bytes */
} Offset;

/* Exactly the own form, nothing else. */
DS_MUST_CHECK bool offset_parse(Str text, Offset *out);
void offset_format(Offset offset, char out[OFFSET_OWN_BYTES + 1]);
