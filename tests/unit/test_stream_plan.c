/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/stream_plan.h"

#include <criterion/criterion.h>

static StreamKey
key(const char *source, const char *name, const char *route)
{
    return (StreamKey){.source = str_c(source), .name = str_c(name), .route = str_c(route)};
}

/* Numbers of another program: partitions are shared by all instances of all versions. */
Test(stream_plan, partitions_are_what_fnv1a_64_says)
{
    StreamKey empty = key("", "", "any");
    StreamKey chat = key("default", "chat/1", "default");

    cr_expect_eq(stream_partition(&empty, 4096), 2015);
    cr_expect_eq(stream_partition(&chat, 64), 32);
    cr_expect_eq(stream_partition(&chat, 4096), 3936);
    cr_expect_eq(stream_partition(&chat, 1), 0);
}

Test(stream_plan, the_border_between_source_and_name_counts)
{
    StreamKey one = key("ab", "c", "default");
    StreamKey other = key("a", "bc", "default");

    cr_expect_neq(stream_partition(&one, 4096), stream_partition(&other, 4096));
}

Test(stream_plan, all_routes_of_a_stream_are_in_one_partition)
{
    StreamKey one = key("s", "n", "default");
    StreamKey other = key("s", "n", "chat");

    cr_expect_eq(stream_partition(&one, 4096), stream_partition(&other, 4096));
    cr_expect_neq(stream_key_compare(&one, &other), 0);
}

Test(stream_plan, keys_are_ordered_by_source_then_name_then_route)
{
    StreamKey sorted[] = {key("a", "z", "z"), key("b", "a", "z"), key("b", "b", "a"),
                          key("b", "b", "b")};

    for (size_t i = 0; i < DS_COUNT(sorted); i++) {
        for (size_t j = 0; j < DS_COUNT(sorted); j++) {
            int order = stream_key_compare(&sorted[i], &sorted[j]);

            cr_expect_eq(order < 0, i < j);
            cr_expect_eq(order == 0, i == j);
        }
    }
}

Test(stream_plan, copies_live_longer_than_what_they_were_made_of)
{
    char name[] = "name";
    char url[] = "http://h/v1/stream/name";
    StreamKey given = key("source", name, "route");
    StreamKey kept = stream_key_copy(&given);
    StreamPlan plan = stream_plan_copy(&(StreamPlan){.url = url});

    name[0] = 'x';
    url[0] = 'x';
    cr_expect(str_eq(kept.name, STR("name")));
    cr_expect_eq(kept.name.ptr[kept.name.len], '\0');
    cr_expect_str_eq(plan.url, "http://h/v1/stream/name");
    cr_expect_not(stream_plan_equal(&plan, &(StreamPlan){.url = url}));
    stream_plan_done(&plan);
    stream_key_done(&kept);
}
