/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena.h"

#include "common/mem.h"

#define ARENA_BLOCK_BYTES 16384
#define ARENA_ALIGN       16

struct ArenaBlock {
    ArenaBlock *next;
    size_t used;
    size_t cap;
    _Alignas(ARENA_ALIGN) char data[];
};

void
arena_init(Arena *arena, size_t bytes_max)
{
    DS_ASSERT(bytes_max < SIZE_MAX - ARENA_BLOCK_BYTES);
    *arena = (Arena){.bytes_max = bytes_max};
}

void
arena_reset(Arena *arena)
{
    ArenaBlock *kept = NULL;

    for (ArenaBlock *block = arena->head, *next; block != NULL; block = next) {
        next = block->next;
        if (kept == NULL && block->cap == ARENA_BLOCK_BYTES) {
            kept = block;
        } else {
            free(block);
        }
    }
    if (kept != NULL) {
        kept->next = NULL;
        kept->used = 0;
    }
    arena->head = kept;
    arena->bytes_used = 0;
}

void
arena_done(Arena *arena)
{
    arena_reset(arena);
    free(arena->head);
    arena->head = NULL;
}

void *
arena_alloc(Arena *arena, size_t size, Error *err)
{
    size = DS_MAX(size, (size_t)1);
    if (size > arena->bytes_max || arena->bytes_used > arena->bytes_max - size) {
        (void)error_set(err, ERR_LIMIT, "%zu bytes more would pass the limit of %zu", size,
                        arena->bytes_max);
        return NULL;
    }
    /* Counted as rounded: many tiny pieces must not take sixteen times the limit. */
    size_t rounded = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (arena->head == NULL || arena->head->cap - arena->head->used < rounded) {
        size_t cap = DS_MAX(rounded, (size_t)ARENA_BLOCK_BYTES);
        ArenaBlock *block = mem_alloc(sizeof(*block) + cap);

        *block = (ArenaBlock){.next = arena->head, .cap = cap};
        arena->head = block;
    }
    void *ptr = arena->head->data + arena->head->used;
    arena->head->used += rounded;
    arena->bytes_used += rounded;
    return ptr;
}

bool
arena_copy(Arena *arena, Str bytes, Str *out, Error *err)
{
    char *copy = arena_alloc(arena, bytes.len + 1, err);

    if (copy == NULL) {
        return false;
    }
    if (bytes.len > 0) {
        memcpy(copy, bytes.ptr, bytes.len);
    }
    copy[bytes.len] = '\0';
    *out = str_n(copy, bytes.len);
    return true;
}
