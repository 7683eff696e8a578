/* SPDX-License-Identifier: Apache-2.0 */
#include "common/route_spec.h"

#include <criterion/criterion.h>

#define SMALLEST "\"name\":\"chat\",\"streams\":[\"chat/*\"],\"table\":\"chat_events\""

static RouteSpec
parse(const char *json)
{
    RouteSpec spec = {0};
    Error err;

    cr_assert(route_spec_parse(&spec, str_c(json), &err), "%s: %s", json, err.text);
    return spec;
}

static char *
print(const RouteSpec *spec)
{
    Error err;
    Buf out;

    buf_init(&out, ROUTE_SPEC_BYTES_MAX);
    cr_assert(route_spec_print(spec, &out, &err), "%s", err.text);
    return buf_take(&out);
}

Test(route_print, what_is_printed_parses_to_the_same)
{
    static const char *const routes[] = {
        "{" SMALLEST "}",
        "{" SMALLEST ",\"layout\":{\"hash\":16},\"as\":\"chunks\",\"payload\":{\"type\":\"text\"}}",
        "{" SMALLEST ",\"as\":\"state\",\"on_error\":\"dead_letter\"}",
        "{" SMALLEST ",\"layout\":{\"list\":[\"chat/\",\"b\"]},\"after_sync\":\"delete_closed\"}",
        "{" SMALLEST ",\"after_sync\":\"trim\",\"after_sync_grace\":\"1500ms\",\"publish\":false}",
        "{" SMALLEST ",\"after_sync\":\"trim\",\"after_sync_grace\":\"0\"}",
        "{" SMALLEST ",\"columns\":{\"\xc3\xa4\":{\"pointer\":\"/\xc3\xa4\",\"type\":\"int\"}}}",
        "{\"name\":\"a\",\"streams\":[\"b\"],\"table\":\"t\",\"start\":{\"offset\":\"1\"}}",
    };

    for (size_t i = 0; i < DS_COUNT(routes); i++) {
        RouteSpec once = parse(routes[i]);
        char *printed = print(&once);
        RouteSpec twice = parse(printed);
        char *again = print(&twice);

        cr_expect_str_eq(printed, again);
        cr_expect_eq(once.grace_ms, twice.grace_ms);
        cr_expect_eq(once.layout, twice.layout);
        free(printed);
        free(again);
        route_spec_done(&once);
        route_spec_done(&twice);
    }
}

Test(route_print, what_is_printed_spells_everything_out)
{
    RouteSpec spec = parse("{" SMALLEST "}");
    char *printed = print(&spec);

    cr_expect_str_eq(printed,
                     "{\"name\":\"chat\",\"server\":\"default\",\"streams\":[\"chat/*\"],"
                     "\"table\":\"public.chat_events\",\"as\":\"events\","
                     "\"payload\":{\"column\":\"payload\",\"type\":\"jsonb\"},\"columns\":{},"
                     "\"layout\":\"none\",\"publish\":true,\"start\":\"earliest\","
                     "\"on_error\":\"dead_letter\",\"on_recreate\":\"stop\",\"ttl\":\"respect\","
                     "\"after_sync\":\"keep\"}");
    free(printed);
    route_spec_done(&spec);
}
