/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/listing_roots.h"

#include <stdlib.h>

#include "common/mem.h"
#include "common/stream_glob.h"

static int
root_order(const void *a, const void *b)
{
    const ListingRoot *one = a;
    const ListingRoot *other = b;
    int order = str_cmp(one->prefix, other->prefix);

    return order != 0 ? order : one->exact - other->exact;
}

ListingRoot *
listing_roots_new(const char *const *patterns, size_t pattern_count, size_t *out_count)
{
    ListingRoot *roots = mem_array(pattern_count, sizeof(ListingRoot));
    size_t count = 0;

    for (size_t i = 0; i < pattern_count; i++) {
        Str pattern = str_c(patterns[i]);

        roots[i].prefix = stream_glob_prefix(pattern);
        roots[i].exact = roots[i].prefix.len == pattern.len;
    }
    qsort(roots, pattern_count, sizeof(ListingRoot), root_order);
    for (size_t i = 0; i < pattern_count; i++) {
        const ListingRoot *last = count == 0 ? NULL : &roots[count - 1];
        bool held = last != NULL && (last->exact ? str_eq(roots[i].prefix, last->prefix)
                                                 : str_starts(roots[i].prefix, last->prefix));

        if (!held) {
            roots[count++] = roots[i];
        }
    }
    if (count > LISTING_ROOTS_MAX) {
        while (!str_starts(roots[count - 1].prefix, roots[0].prefix)) {
            roots[0].prefix.len--; /* they are sorted: what these two share, all do */
        }
        roots[0].exact = false;
        count = 1;
    }
    *out_count = count;
    return roots;
}
