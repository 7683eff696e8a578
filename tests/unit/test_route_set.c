/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "common/route_spec.h"

#define A "{\"name\":\"a\",\"table\":\"t\",\"streams\":[\"chat/*\"]"
#define B "{\"name\":\"b\",\"table\":\"t\",\"streams\":[\"presence/*\"]"

static void
expect_file(const char *json, size_t wanted)
{
    RouteFile file;

    route_file_read(&file, str_c(json));
    cr_assert_eq(file.problems.count, 0, "%s: %s", json, file.problems.kept[0].text);
    cr_expect_eq(file.count, wanted);
    cr_expect_eq(file.name_count, wanted);
    route_file_done(&file);
}

static void
expect_refused(const char *json, ErrorCode code, const char *says)
{
    RouteFile file;

    route_file_read(&file, str_c(json));
    cr_assert_neq(file.problems.count, 0, "%s", json);
    cr_expect_eq(file.problems.kept[0].code, code, "%s: %s", json, file.problems.kept[0].text);
    cr_expect(strstr(file.problems.kept[0].text, says) != NULL, "%s: %s", json,
              file.problems.kept[0].text);
    route_file_done(&file);
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

static void
expect_problems(const char *json, const char *const *says, size_t count)
{
    RouteFile file;

    route_file_read(&file, str_c(json));
    cr_expect_eq(file.problems.count, count, "%zu", file.problems.count);
    for (size_t i = 0; i < DS_MIN(count, file.problems.count); i++) {
        cr_expect(strstr(file.problems.kept[i].text, says[i]) != NULL, "%zu: %s", i,
                  file.problems.kept[i].text);
    }
    route_file_done(&file);
}

Test(route_set, a_mistake_hides_no_other_and_no_conflict)
{
    static const char *const says[] = {
        "routes[1]: route \"c\": unknown member \"layot\"",
        "routes[1]: route \"c\": \"streams\" is missing",
        "routes[2]: must be a JSON object",
        "routes[3]: \"name\" is missing",
        "\"as\" must be the same",
        "\"publish\" must be the same",
        "\"*/x\" of route \"d\"",
    };

    expect_problems("{\"routes\":[" A "},{\"name\":\"c\",\"table\":\"t\",\"layot\":1},7,"
                    "{\"table\":\"t\",\"streams\":[\"x\"]},"
                    "{\"name\":\"d\",\"table\":\"t\",\"streams\":[\"*/x\"],\"as\":\"state\","
                    "\"publish\":false}]}",
                    says, DS_COUNT(says));
}

Test(route_set, routes_with_mistakes_are_left_out_and_named)
{
    RouteFile file;

    route_file_read(&file, STR("{\"routes\":[{\"name\":\"a\"},7," B "}]}"));
    cr_assert_eq(file.count, 1);
    cr_expect_str_eq(file.specs[0].name, "b");
    cr_assert_eq(file.name_count, 3);
    cr_expect_str_eq(file.names[0], "a");
    cr_expect_null(file.names[1]);
    cr_expect_str_eq(file.names[2], "b");
    route_file_done(&file);
}

Test(route_set, what_is_beyond_the_limit_is_counted)
{
    RouteFile file;
    Error err;
    Buf json;

    buf_init(&json, 65536);
    for (int i = 0; i < 2 * ROUTE_PROBLEMS_MAX; i++) {
        cr_assert(buf_printf(&json, &err, "%s{\"name\":\"r%d\",\"table\":\"t\"}",
                             i == 0 ? "{\"routes\":[" : ",", i));
    }
    cr_assert(buf_append(&json, STR("]}"), &err));
    route_file_read(&file, buf_str(&json));
    cr_expect_eq(file.problems.count, 2 * ROUTE_PROBLEMS_MAX);
    cr_expect(strstr(file.problems.kept[ROUTE_PROBLEMS_MAX - 1].text,
                     "routes[19]: route \"r19\"") != NULL);
    route_file_done(&file);
    buf_done(&json);
}

Test(route_set, routes_that_are_settled_are_not_compared_again)
{
    RouteProblems problems = {0};
    RouteSpec specs[3] = {0};
    const RouteSpec *pointers[3];
    Error err;

    for (size_t i = 0; i < 3; i++) {
        cr_assert(route_spec_parse(&specs[i], STR(A "}"), &err));
        pointers[i] = &specs[i];
    }
    route_specs_check(pointers, 3, 3, &problems);
    cr_expect_eq(problems.count, 0);
    route_specs_check(pointers, 3, 2, &problems);
    cr_expect_eq(problems.count, 4); /* a name and a stream, with each of the first two */
    for (size_t i = 0; i < 3; i++) {
        route_spec_done(&specs[i]);
    }
}
