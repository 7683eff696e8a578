/* SPDX-License-Identifier: Apache-2.0 */
#include "server/id_map.h"

#include <criterion/criterion.h>

#define IDS 10000

static int values[IDS + 1];

static bool
count_one(void *arg, uint64_t id, void *value)
{
    size_t *seen = arg;

    cr_expect_eq(value, &values[id / 65536]);
    ++*seen;
    return true;
}

Test(id_map, holds_what_was_put_and_not_removed)
{
    IdMap *map = id_map_new();
    size_t seen = 0;

    /* Ids of streams that were created one a millisecond. */
    for (size_t i = 1; i <= IDS; i++) {
        id_map_put(map, i * 65536, &values[i]);
    }
    for (size_t i = 2; i <= IDS; i += 2) {
        id_map_remove(map, i * 65536);
        id_map_remove(map, i * 65536 + 1);
    }
    cr_expect_eq(id_map_count(map), IDS / 2);
    for (size_t i = 1; i <= IDS; i++) {
        cr_expect_eq(id_map_get(map, i * 65536), i % 2 == 1 ? &values[i] : NULL);
        cr_expect_null(id_map_get(map, i * 65536 + 1));
    }
    id_map_each(map, count_one, &seen);
    cr_expect_eq(seen, IDS / 2);
    id_map_free(map);
}

Test(id_map, a_removed_id_can_be_put_again_any_number_of_times)
{
    IdMap *map = id_map_new();

    for (size_t i = 1; i < IDS; i++) {
        id_map_put(map, i, &values[i]);
        id_map_put(map, i, &values[0]);
        cr_expect_eq(id_map_get(map, i), &values[0]);
        id_map_remove(map, i);
        cr_expect_null(id_map_get(map, i));
    }
    cr_expect_eq(id_map_count(map), 0);
    id_map_free(map);
}
