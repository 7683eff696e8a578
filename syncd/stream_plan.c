/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/stream_plan.h"

#include "common/fnv.h"
#include "common/mem.h"

StreamKey
stream_key_copy(const StreamKey *key)
{
    return (StreamKey){
        .source = str_c(str_dup(key->source)),
        .name = str_c(str_dup(key->name)),
        .route = str_c(str_dup(key->route)),
    };
}

static void
text_done(Str *text)
{
    free((char *)(uintptr_t)text->ptr); /* of stream_key_copy */
    *text = (Str){NULL, 0};
}

void
stream_key_done(StreamKey *key)
{
    text_done(&key->source);
    text_done(&key->name);
    text_done(&key->route);
}

int
stream_key_compare(const StreamKey *a, const StreamKey *b)
{
    int order = str_cmp(a->source, b->source);

    if (order == 0) {
        order = str_cmp(a->name, b->name);
    }
    return order != 0 ? order : str_cmp(a->route, b->route);
}

StreamPlan
stream_plan_copy(const StreamPlan *plan)
{
    return (StreamPlan){.url = mem_strdup(plan->url),
                        .route = plan->route == NULL ? NULL : route_ref(plan->route),
                        .told = plan->told,
                        .from_start = plan->from_start};
}

void
stream_plan_done(StreamPlan *plan)
{
    free((char *)(uintptr_t)plan->url); /* of stream_plan_copy */
    route_unref(plan->route);
    *plan = (StreamPlan){0};
}

bool
stream_plan_equal(const StreamPlan *a, const StreamPlan *b)
{
    return strcmp(a->url, b->url) == 0 && a->route == b->route;
}

unsigned
stream_partition(const StreamKey *key, unsigned count)
{
    uint64_t hash = fnv1a64(FNV1A64_BASIS, key->source);

    hash = fnv1a64(hash, str_n("", 1)); /* so that "a" + "bc" is not "ab" + "c" */
    return (unsigned)(fnv1a64(hash, key->name) % count);
}
