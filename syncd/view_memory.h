/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/view_memory.h -- since when each stream is in the view of a subscription.
 *
 * A view says which streams there are, not since when.  One that was not in the view before came in
 * between; of those in the first view nobody knows.  What is in a view is remembered whether
 * anybody has a use for it then or not, so that it is not taken for new, or for old, when somebody
 * has. Names are kept as hashes: 16 bytes for each stream.  Pure.
 */
#pragma once

#include "common/str.h"

typedef struct ViewSight {
    uint64_t name; /* its hash */
    int64_t since_ms;
} ViewSight;

typedef struct ViewMemory {
    ViewSight *sights; /* of the last view that was read as a whole, by name */
    size_t count;
    ViewSight *coming; /* of the one that is being read */
    size_t coming_count;
    size_t coming_room;
    bool whole; /* there was such a view */
} ViewMemory;

void view_memory_init(ViewMemory *memory);
void view_memory_done(ViewMemory *memory);

/* A view: begin, each stream once, end.  Begun again without an end, it is as if it had not been.
 */
void view_memory_begin(ViewMemory *memory);
/* Since when the stream is there, at the latest: 0 when it was in the first view. */
int64_t view_memory_see(ViewMemory *memory, Str name, int64_t now_ms);
void view_memory_end(ViewMemory *memory);
