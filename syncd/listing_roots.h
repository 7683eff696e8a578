/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/listing_roots.h -- what of a server's streams has to be listed to see all that patterns
 * match.
 *
 * Few roots that do not overlap, in the order of their prefixes.  Pure.
 */
#pragma once

#include "common/str.h"

#define LISTING_ROOTS_MAX 64 /* of more, what they have in common */

/* What is listed: streams whose names begin so, or the one of this name. */
typedef struct ListingRoot {
    Str prefix; /* of a pattern, borrowed */
    bool exact;
} ListingRoot;

/* At least one pattern; names may stand among them.  Owned by the caller: free. */
ListingRoot *listing_roots_new(const char *const *patterns, size_t pattern_count,
                               size_t *out_count);
