/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/id_map.h -- finds what belongs to the id of a stream: for the time of a start.
 *
 * Ids are never 0 and values never NULL.  Not thread safe.
 */
#pragma once

#include "common/base.h"

typedef struct IdMap IdMap;

IdMap *id_map_new(void);
void id_map_free(IdMap *map); /* accepts NULL; the values are not its own */

void id_map_put(IdMap *map, uint64_t id, void *value); /* replaces */
void *id_map_get(const IdMap *map, uint64_t id);       /* NULL: nothing */
void id_map_remove(IdMap *map, uint64_t id);           /* nothing there is fine */
size_t id_map_count(const IdMap *map);
/* Calls fn for each, in no order; the map must not change meanwhile.  False stops. */
bool id_map_each(const IdMap *map, bool (*fn)(void *arg, uint64_t id, void *value), void *arg);
