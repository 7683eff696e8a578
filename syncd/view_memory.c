/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/view_memory.h"

#include <stdlib.h>

#include "common/fnv.h"
#include "common/mem.h"

#define ROOM_MIN 16

void
view_memory_init(ViewMemory *memory)
{
    *memory = (ViewMemory){0};
}

void
view_memory_done(ViewMemory *memory)
{
    free(memory->sights);
    free(memory->coming);
    view_memory_init(memory);
}

void
view_memory_begin(ViewMemory *memory)
{
    memory->coming_count = 0;
}

static int
sight_order(const void *a, const void *b)
{
    const ViewSight *one = a;
    const ViewSight *other = b;

    return (one->name > other->name) - (one->name < other->name);
}

int64_t
view_memory_see(ViewMemory *memory, Str name, int64_t now_ms)
{
    ViewSight sight = {.name = fnv1a64(FNV1A64_BASIS, name),
                       .since_ms = memory->whole ? now_ms : 0};
    const ViewSight *before = memory->count == 0 ? NULL
                                                 : bsearch(&sight, memory->sights, memory->count,
                                                           sizeof(sight), sight_order);

    if (before != NULL) {
        sight.since_ms = before->since_ms;
    }
    if (memory->coming_count == memory->coming_room) {
        memory->coming_room = DS_MAX(memory->coming_room * 2, (size_t)ROOM_MIN);
        memory->coming = mem_regrow(memory->coming, memory->coming_room, sizeof(ViewSight));
    }
    memory->coming[memory->coming_count++] = sight;
    return sight.since_ms;
}

void
view_memory_end(ViewMemory *memory)
{
    free(memory->sights);
    memory->sights = memory->coming;
    memory->count = memory->coming_count;
    memory->coming = NULL;
    memory->coming_count = 0;
    memory->coming_room = 0;
    memory->whole = true;
    if (memory->count > 1) {
        qsort(memory->sights, memory->count, sizeof(ViewSight), sight_order);
    }
}
