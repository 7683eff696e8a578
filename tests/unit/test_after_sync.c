/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/after_sync.h"

#include <criterion/criterion.h>

#define ERA  "0000000000000007_"
#define AT_3 ERA "0000000000000003"
#define AT_5 ERA "0000000000000005"
#define TAKES                                                                                      \
    "{\"name\":\"r\",\"server\":\"default\",\"streams\":[\"a/*\"],\"table\":\"public.t\",\"as\":"  \
    "\"events\"}"
#define ELSEWHERE                                                                                  \
    "{\"name\":\"r\",\"server\":\"eu\",\"streams\":[\"a/*\"],\"table\":\"public.t\",\"as\":"       \
    "\"events\"}"

static bool
may(const RouteProgress *progress, size_t count, const char *offset, bool closed)
{
    StreamKey key = {.source = STR("default"), .name = STR("a/b"), .route = STR("r")};
    AfterSyncObstacle obstacle;

    return after_sync_may(progress, count, &key, str_c(offset), closed, &obstacle);
}

Test(after_sync, the_slowest_route_decides)
{
    RouteProgress progress[] = {
        {.known = true, .spec = STR(TAKES), .offset = STR(AT_5), .closed = true},
        {.known = true, .spec = STR(TAKES), .offset = STR(AT_3)},
    };

    cr_expect(may(progress, 2, AT_3, false));
    cr_expect_not(may(progress, 2, AT_5, false));
    cr_expect(may(progress, 1, AT_5, true));
    cr_expect_not(may(progress, 2, AT_3, true), "the other route has not seen it close");
}

Test(after_sync, a_route_that_has_not_begun_is_waited_for_if_the_stream_is_its)
{
    RouteProgress takes = {.spec = STR(TAKES)};
    RouteProgress elsewhere = {.spec = STR(ELSEWHERE)};
    RouteProgress unreadable = {.spec = STR("{\"of\":\"a later version\"}")};
    RouteProgress built_in = {.spec = STR_EMPTY};
    RouteProgress listed = {.spec = STR_EMPTY, .takes = true};

    cr_expect_not(may(&takes, 1, AT_3, false));
    cr_expect(may(&elsewhere, 1, AT_3, false));
    cr_expect_not(may(&unreadable, 1, AT_3, false));
    cr_expect(may(&built_in, 1, AT_3, false));
    cr_expect_not(may(&listed, 1, AT_3, false), "SYNCD_STREAMS has it");
}

Test(after_sync, a_route_that_no_longer_takes_the_stream_is_not_waited_for)
{
    RouteProgress elsewhere = {.known = true, .spec = STR(ELSEWHERE), .offset = STR(AT_3)};
    RouteProgress built_in = {.known = true, .spec = STR_EMPTY, .offset = STR(AT_3)};
    RouteProgress unreadable = {
        .known = true, .spec = STR("{\"of\":\"a later version\"}"), .offset = STR(AT_3)};

    cr_expect(may(&elsewhere, 1, AT_5, true));
    cr_expect(may(&built_in, 1, AT_5, true), "SYNCD_STREAMS no longer has it");
    cr_expect_not(may(&unreadable, 1, AT_5, false));
}

Test(after_sync, the_route_that_is_in_the_way_is_named)
{
    StreamKey key = {.source = STR("default"), .name = STR("a/b"), .route = STR("r")};
    RouteProgress progress[] = {
        {.name = STR("done"), .known = true, .spec = STR(TAKES), .offset = STR(AT_5)},
        {.name = STR("slow"), .known = true, .spec = STR(TAKES), .offset = STR(AT_3)},
    };
    AfterSyncObstacle obstacle = {.why = ""};

    cr_assert_not(after_sync_may(progress, 2, &key, STR(AT_5), false, &obstacle));
    cr_expect(str_eq(obstacle.route, STR("slow")));
    cr_expect_str_eq(obstacle.why, "is not as far");
}

Test(after_sync, another_life_of_the_stream_is_never_touched)
{
    RouteProgress other = {
        .known = true, .spec = STR(TAKES), .offset = STR("0000000000000008_0000000000000009")};
    RouteProgress start = {.known = true, .spec = STR(TAKES), .offset = STR("-1")};
    RouteProgress opaque = {.known = true, .spec = STR(TAKES), .offset = STR("o00007")};
    RouteProgress no_era = {
        .known = true, .spec = STR(TAKES), .offset = STR("0000000000000000_0000000000000009")};

    cr_expect_not(may(&other, 1, AT_3, false));
    cr_expect_not(may(&start, 1, AT_3, false));
    cr_expect_not(may(&opaque, 1, AT_3, false));
    cr_expect_not(may(&opaque, 1, "o00005", false), "offsets that do not name their era");
    cr_expect_not(may(&no_era, 1, "0000000000000000_0000000000000009", false),
                  "other servers have offsets that look like ours");
}
