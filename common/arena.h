/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/arena.h -- bump memory for one request or one batch, given back all at once.
 *
 * Bounded: a piece that would pass bytes_max is refused with NULL and ERR_LIMIT.  Pointers live
 * until arena_reset or arena_done.  Not thread safe.
 */
#pragma once

#include "common/error.h"
#include "common/str.h"

typedef struct ArenaBlock ArenaBlock;

typedef struct Arena {
    ArenaBlock *head;
    size_t bytes_used; /* handed out since the last reset, each piece rounded up to 16 */
    size_t bytes_max;
} Arena;

void arena_init(Arena *arena, size_t bytes_max);
void arena_reset(Arena *arena); /* keeps one block of ordinary size, if there is one */
void arena_done(Arena *arena);

DS_MUST_CHECK void *arena_alloc(Arena *arena, size_t size,
                                Error *err); /* 16-byte aligned, uninitialised */
DS_MUST_CHECK bool arena_copy(Arena *arena, Str bytes, Str *out, Error *err); /* terminated copy */
