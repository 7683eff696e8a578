/* SPDX-License-Identifier: Apache-2.0 */
#include "server/id_map.h"

#include "common/mem.h"

#define CAP_MIN 64

typedef struct IdEntry {
    uint64_t id; /* 0: free */
    void *value; /* NULL: removed */
} IdEntry;

struct IdMap {
    IdEntry *entries;
    size_t cap;  /* a power of two, at least twice `used` */
    size_t used; /* removed ones included */
    size_t count;
};

IdMap *
id_map_new(void)
{
    IdMap *map = mem_zalloc(sizeof(*map));

    map->cap = CAP_MIN;
    map->entries = mem_array(map->cap, sizeof(*map->entries));
    return map;
}

void
id_map_free(IdMap *map)
{
    if (map != NULL) {
        free(map->entries);
        free(map);
    }
}

/* The entry of the id, or the free one where it would go. */
static IdEntry *
find(const IdMap *map, uint64_t id)
{
    size_t at = (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (map->cap - 1);

    while (map->entries[at].id != 0 && map->entries[at].id != id) {
        at = (at + 1) & (map->cap - 1);
    }
    return &map->entries[at];
}

static void
grow(IdMap *map)
{
    IdEntry *old = map->entries;
    size_t old_cap = map->cap;

    while (map->cap < 4 * (map->count + 1)) {
        map->cap *= 2;
    }
    map->entries = mem_array(map->cap, sizeof(*map->entries));
    map->used = map->count;
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].value != NULL) {
            *find(map, old[i].id) = old[i];
        }
    }
    free(old);
}

void
id_map_put(IdMap *map, uint64_t id, void *value)
{
    IdEntry *entry;

    DS_ASSERT(id != 0 && value != NULL);
    if (2 * (map->used + 1) > map->cap) {
        grow(map);
    }
    entry = find(map, id);
    map->used += entry->id == 0;
    map->count += entry->value == NULL;
    *entry = (IdEntry){.id = id, .value = value};
}

void *
id_map_get(const IdMap *map, uint64_t id)
{
    return find(map, id)->value;
}

void
id_map_remove(IdMap *map, uint64_t id)
{
    IdEntry *entry = find(map, id);

    map->count -= entry->value != NULL;
    entry->value = NULL;
}

size_t
id_map_count(const IdMap *map)
{
    return map->count;
}

bool
id_map_each(const IdMap *map, bool (*fn)(void *arg, uint64_t id, void *value), void *arg)
{
    for (size_t i = 0; i < map->cap; i++) {
        if (map->entries[i].value != NULL && !fn(arg, map->entries[i].id, map->entries[i].value)) {
            return false;
        }
    }
    return true;
}
