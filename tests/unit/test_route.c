/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/route.h"

#include <criterion/criterion.h>

static const Server server = {.name = "default", .url = "http://here"};

Test(route, the_built_in_one_takes_names_and_patterns)
{
    char *const streams[] = {(char *)"a/b", (char *)"c/*"};
    Route *route = route_new_default(streams, 2, &server, ROUTE_RECREATE_NEW_GENERATION);
    const char **patterns = NULL;
    size_t count = 0;

    cr_expect_str_eq(route->spec.name, ROUTE_DEFAULT_NAME);
    cr_expect_eq(route->spec.on_recreate, ROUTE_RECREATE_NEW_GENERATION);
    cr_expect(route_names(route, STR("a/b")));
    cr_expect_not(route_names(route, STR("c/*")), "a pattern names nothing");
    cr_expect_not(route_names(route, STR("c/d")));
    cr_expect(route_spec_matches(&route->spec, STR("c/d")));
    route_add_patterns(route, &patterns, &count);
    cr_assert_eq(count, 1);
    cr_expect_str_eq(patterns[0], "c/*");
    free(patterns);
    route_unref(route);
}

Test(route, who_holds_a_reference_keeps_it)
{
    char *const streams[] = {(char *)"a/b"};
    Route *route = route_new_default(streams, 1, &server, ROUTE_RECREATE_STOP);

    route_unref(route_ref(route));
    cr_expect_str_eq(route->spec.table, "session_events");
    route_unref(route);
    route_unref(NULL);
}
