/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "common/route_spec.h"

#define A "{\"name\":\"a\",\"table\":\"t\",\"streams\":[\"chat/*\"]"
#define B "{\"name\":\"b\",\"table\":\"t\",\"streams\":[\"presence/*\"]"

static void
expect_file(const char *json, size_t wanted)
{
    RouteSpec *specs = NULL;
    size_t count = 0;
    Error err;

    cr_assert(route_file_parse(&specs, &count, str_c(json), &err), "%s: %s", json, err.text);
    cr_expect_eq(count, wanted);
    route_specs_free(specs, count);
}

static void
expect_refused(const char *json, ErrorCode code, const char *says)
{
    RouteSpec *specs = NULL;
    size_t count = 0;
    Error err;

    cr_assert_not(route_file_parse(&specs, &count, str_c(json), &err), "%s", json);
    cr_expect_eq(err.code, code, "%s: %s", json, err.text);
    cr_expect(strstr(err.text, says) != NULL, "%s: %s", json, err.text);
    cr_expect_null(specs);
}

/* Two routes that get along but for these members. */
static void
expect_conflict(const char *of_a, const char *of_b, const char *says)
{
    char json[1024];

    (void)snprintf(json, sizeof(json), "{\"routes\":[" A "%s}," B "%s}]}", of_a, of_b);
    expect_refused(json, ERR_CONFLICT, says);
}

Test(route_set, a_file_has_routes)
{
    expect_file("{\"routes\":[" A "}]}", 1);
    expect_file("{\"routes\":[" A "}," B "}]}", 2);
    expect_refused("{\"routes\":[]}", ERR_INPUT, "1 to 256");
    expect_refused("{}", ERR_INPUT, "\"routes\"");
    expect_refused("{\"route\":[]}", ERR_INPUT, "did you mean \"routes\"?");
    expect_refused("[]", ERR_INPUT, "object");
    expect_refused("{\"routes\":[" A "},{\"name\":\"b\"}]}", ERR_INPUT,
                   "routes[1]: route \"b\": \"streams\" is missing");
}

Test(route_set, names_are_unique)
{
    expect_refused("{\"routes\":[" A "},{\"name\":\"a\",\"table\":\"u\",\"streams\":[\"x\"]}]}",
                   ERR_CONFLICT, "two routes are called \"a\"");
}

Test(route_set, routes_into_one_table_agree_about_it)
{
    expect_conflict("", ",\"as\":\"state\"", "\"as\" must be the same");
    expect_conflict("", ",\"payload\":{\"type\":\"text\"}", "\"payload\" must be the same");
    expect_conflict("", ",\"payload\":{\"column\":\"c\"}", "\"payload\" must be the same");
    expect_conflict("", ",\"layout\":{\"hash\":4}", "\"layout\" must be the same");
    expect_conflict(",\"layout\":{\"hash\":8}", ",\"layout\":{\"hash\":4}", "\"layout\"");
    expect_conflict(",\"layout\":{\"list\":[\"chat/\"]}", ",\"layout\":{\"list\":[\"presence/\"]}",
                    "\"layout\"");
    expect_conflict("", ",\"publish\":false", "\"publish\" must be the same");
    expect_conflict(",\"columns\":{\"u\":{\"pointer\":\"/u\",\"type\":\"uuid\"}}",
                    ",\"columns\":{\"u\":{\"pointer\":\"/v\",\"type\":\"text\"}}",
                    "different types");
}

Test(route_set, two_servers_into_one_table_need_a_prefix_each)
{
    expect_conflict("", ",\"server\":\"eu\"", "of its own");
    expect_conflict("", ",\"server\":\"eu\",\"name_prefix\":\"eu/\"", "of its own");
    expect_conflict(",\"name_prefix\":\"x/\"", ",\"server\":\"eu\",\"name_prefix\":\"x/\"",
                    "may begin with the other");
    expect_conflict(",\"name_prefix\":\"x/\"", ",\"server\":\"eu\",\"name_prefix\":\"x/y/\"",
                    "may begin with the other");
    expect_file("{\"routes\":[" A ",\"name_prefix\":\"us/\"}," B
                ",\"server\":\"eu\",\"name_prefix\":\"eu/\"}]}",
                2);
}

Test(route_set, one_stream_goes_into_a_table_once)
{
    expect_refused("{\"routes\":[" A
                   "},{\"name\":\"b\",\"table\":\"t\",\"streams\":[\"x\",\"*/y\"]}]}",
                   ERR_CONFLICT, "\"chat/*\" of route \"a\" and \"*/y\" of route \"b\"");
    expect_file("{\"routes\":[" A "},{\"name\":\"b\",\"table\":\"u\",\"streams\":[\"chat/*\"]}]}",
                2);
    expect_file("{\"routes\":[" A ",\"name_prefix\":\"m/\"},{\"name\":\"b\",\"table\":\"t\","
                "\"streams\":[\"chat/*\"],\"name_prefix\":\"n/\"}]}",
                2);
}
