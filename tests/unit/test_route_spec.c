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

static void
expect_refused(const char *json, const char *says)
{
    RouteSpec spec = {0};
    Error err;

    cr_assert_not(route_spec_parse(&spec, str_c(json), &err), "%s", json);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect(strstr(err.text, says) != NULL, "%s: %s", json, err.text);
    cr_expect_null(spec.name);
}

/* A route like the smallest, with more members. */
static void
expect_member_refused(const char *members, const char *says)
{
    char json[1024];

    (void)snprintf(json, sizeof(json), "{" SMALLEST ",%s}", members);
    expect_refused(json, says);
}

Test(route_spec, the_smallest_route_has_safe_defaults)
{
    RouteSpec spec = parse("{" SMALLEST "}");

    cr_expect_str_eq(spec.server, "default");
    cr_expect_str_eq(spec.schema, "public");
    cr_expect_str_eq(spec.table, "chat_events");
    cr_expect_str_eq(spec.name_prefix, "");
    cr_expect_str_eq(spec.payload_column, "payload");
    cr_expect_eq(spec.kind, ROUTE_EVENTS);
    cr_expect_eq(spec.payload, ROUTE_PAYLOAD_JSONB);
    cr_expect_eq(spec.start, ROUTE_START_EARLIEST);
    cr_expect_eq(spec.on_error, ROUTE_ERROR_DEAD_LETTER);
    cr_expect_eq(spec.on_recreate, ROUTE_RECREATE_STOP);
    cr_expect_eq(spec.ttl, ROUTE_TTL_RESPECT);
    cr_expect_eq(spec.after_sync, ROUTE_AFTER_KEEP);
    cr_expect_eq(spec.grace_ms, 0);
    cr_expect_eq(spec.layout, ROUTE_LAYOUT_NONE);
    cr_expect(spec.publish);
    route_spec_done(&spec);
}

Test(route_spec, every_member_arrives)
{
    RouteSpec spec = parse(
        "{\"name\":\"chat\",\"server\":\"eu-1\",\"streams\":[\"chat/*\",\"presence/x/**\"],"
        "\"table\":\"app.Chat\",\"as\":\"events\",\"payload\":{\"column\":\"doc\",\"type\":"
        "\"text\"},"
        "\"columns\":{\"user_id\":{\"pointer\":\"/value/"
        "user\",\"type\":\"uuid\",\"required\":true},"
        "\"at\":{\"pointer\":\"/a~1b\",\"type\":\"timestamp with time zone\"}},\"start\":\"now\","
        "\"on_error\":\"stop\",\"on_recreate\":\"new_generation\",\"ttl\":\"hold\","
        "\"after_sync\":\"trim\",\"after_sync_grace\":\"90s\",\"name_prefix\":\"eu/\","
        "\"layout\":{\"list\":[\"eu/presence/\",\"eu/chat/\"]},\"publish\":false}");

    cr_expect_str_eq(spec.server, "eu-1");
    cr_expect_str_eq(spec.schema, "app");
    cr_expect_str_eq(spec.table, "Chat");
    cr_assert_eq(spec.stream_count, 2);
    cr_expect_str_eq(spec.payload_column, "doc");
    cr_expect_eq(spec.payload, ROUTE_PAYLOAD_TEXT);
    cr_assert_eq(spec.column_count, 2);
    cr_expect_str_eq(spec.columns[0].name, "user_id");
    cr_expect_str_eq(spec.columns[0].pointer, "/value/user");
    cr_expect_str_eq(spec.columns[0].type, "uuid");
    cr_expect(spec.columns[0].required);
    cr_expect_not(spec.columns[1].required);
    cr_expect_eq(spec.start, ROUTE_START_NOW);
    cr_expect_eq(spec.on_error, ROUTE_ERROR_STOP);
    cr_expect_eq(spec.on_recreate, ROUTE_RECREATE_NEW_GENERATION);
    cr_expect_eq(spec.ttl, ROUTE_TTL_HOLD);
    cr_expect_eq(spec.after_sync, ROUTE_AFTER_TRIM);
    cr_expect_eq(spec.grace_ms, 90000);
    cr_expect_eq(spec.layout, ROUTE_LAYOUT_LIST);
    cr_assert_eq(spec.list_count, 2);
    cr_expect_str_eq(spec.list_prefixes[0], "eu/chat/");
    cr_expect_not(spec.publish);
    route_spec_done(&spec);
}

Test(route_spec, each_kind_has_its_own_defaults)
{
    RouteSpec chunks = parse("{" SMALLEST ",\"as\":\"chunks\"}");
    RouteSpec state = parse("{" SMALLEST ",\"as\":\"state\"}");

    cr_expect_str_eq(chunks.payload_column, "bytes");
    cr_expect_eq(chunks.payload, ROUTE_PAYLOAD_BYTEA);
    cr_expect_eq(chunks.on_error, ROUTE_ERROR_DEAD_LETTER);
    cr_expect_str_eq(state.payload_column, "value");
    cr_expect_eq(state.on_error, ROUTE_ERROR_STOP);
    route_spec_done(&chunks);
    route_spec_done(&state);
}

Test(route_spec, a_mistyped_member_or_word_is_answered_with_the_nearest)
{
    expect_member_refused("\"stream\":[\"a\"]", "\"stream\"; did you mean \"streams\"?");
    expect_member_refused("\"on_error\":\"deadletter\"", "did you mean \"dead_letter\"?");
    expect_member_refused("\"payload\":{\"typ\":\"text\"}", "did you mean \"type\"?");
    expect_member_refused("\"columns\":{\"u\":{\"pointr\":\"/a\"}}", "did you mean \"pointer\"?");
    expect_member_refused("\"start\":\"latest\"", "earliest, now");
    expect_refused("{\"name\":\"chat\",\"on_recreate\":\"stop\",\"batch\":1}", "known are name");
    expect_refused("[]", "object");
    expect_refused("{\"name\":\"chat\"", "line 1");
}

Test(route_spec, what_is_missing_is_said)
{
    expect_refused("{}", "\"name\" is missing");
    expect_refused("{\"name\":\"a\"}", "route \"a\": \"streams\" is missing");
    expect_refused("{\"name\":\"a\",\"streams\":[\"b\"]}", "\"table\" is missing");
    expect_member_refused("\"columns\":{\"u\":{\"type\":\"uuid\"}}", "\"pointer\" is missing");
    expect_member_refused("\"columns\":{\"u\":{\"pointer\":\"/u\"}}", "\"type\" is missing");
}

/* A part that is wrong says nothing about the others, so they are not held against it. */
Test(route_spec, what_depends_on_a_mistake_is_not_another)
{
    static const char *const alone[] = {
        "\"as\":\"evnts\",\"payload\":{\"type\":\"jsonb\",\"column\":\"seq\"},\"columns\":{\"key\":"
        "{"
        "\"pointer\":\"/k\",\"type\":\"int\"}},\"layout\":{\"hash\":4}",
        "\"after_sync\":\"trm\",\"after_sync_grace\":\"1m\"",
        "\"name_prefix\":\"eu\",\"layout\":{\"list\":[\"eu/chat/\"]}",
        "\"layout\":{\"list\":[\"a/\",\"b/\",7]}",
    };

    for (size_t i = 0; i < DS_COUNT(alone); i++) {
        RouteFile file;
        char json[1024];
        (void)snprintf(json, sizeof(json), "{\"routes\":[{" SMALLEST ",%s}]}", alone[i]);
        route_file_read(&file, str_c(json));
        cr_expect_eq(file.problems.count, 1, "%s: %s", json, file.problems.kept[1].text);
        route_file_done(&file);
    }
}

Test(route_spec, names_are_plain)
{
    static const char *const bad[] = {"Chat", "a b", "-a", "a/b", "\xc3\xa4"};
    char json[200];

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        (void)snprintf(json, sizeof(json), "{\"name\":\"%s\"}", bad[i]);
        expect_refused(json, "\"name\"");
    }
    expect_refused("{\"name\":\"default\"}", "SYNCD_STREAMS");
}

Test(route_spec, patterns_and_prefixes_are_whole_segments)
{
    expect_refused("{\"name\":\"a\",\"streams\":[\"x//y\"]}", "\"x//y\"");
    expect_refused("{\"name\":\"a\",\"streams\":[\"x**\"]}", "whole segments");
    expect_refused("{\"name\":\"a\",\"streams\":[]}", "array of 1 to");
    expect_member_refused("\"name_prefix\":\"eu\"", "must end with a slash");
    expect_member_refused("\"name_prefix\":\"e*/\"", "no '*'");
    expect_member_refused("\"name_prefix\":\"a//\"", "empty segments");
}

Test(route_spec, tables_of_others_are_left_alone)
{
    expect_refused("{\"name\":\"a\",\"streams\":[\"b\"],\"table\":\"pg_catalog.x\"}", "Postgres");
    expect_refused("{\"name\":\"a\",\"streams\":[\"b\"],\"table\":\"ds_sync.route\"}",
                   "ds_sync.session_events");
    expect_refused("{\"name\":\"a\",\"streams\":[\"b\"],\"table\":\"a.b.c\"}", "without quotes");
    expect_refused("{\"name\":\"a\",\"streams\":[\"b\"],\"table\":\".c\"}", "schema");
    expect_refused("{\"name\":\"a\",\"streams\":[\"b\"],\"table\":\"\\\"c\\\"\"}", "quotes");
    RouteSpec spec =
        parse("{\"name\":\"a\",\"streams\":[\"b\"],\"table\":\"ds_sync.session_events\"}");
    route_spec_done(&spec);
}

Test(route_spec, mapped_columns_are_checked)
{
    expect_member_refused("\"columns\":{\"seq\":{\"pointer\":\"/a\",\"type\":\"int\"}}",
                          "another meaning");
    expect_member_refused("\"columns\":{\"payload\":{\"pointer\":\"/a\",\"type\":\"int\"}}",
                          "another meaning");
    expect_member_refused("\"columns\":{\"u\":{\"pointer\":\"a\",\"type\":\"int\"}}",
                          "JSON pointer");
    expect_member_refused("\"columns\":{\"u\":{\"pointer\":\"/a~2\",\"type\":\"int\"}}",
                          "JSON pointer");
    expect_member_refused("\"columns\":{\"u\":{\"pointer\":\"/a~\",\"type\":\"int\"}}",
                          "JSON pointer");
    expect_member_refused(
        "\"columns\":{\"u\":{\"pointer\":\"/a\",\"type\":\"int); DROP TABLE x\"}}",
        "Postgres type");
    expect_member_refused(
        "\"as\":\"chunks\",\"columns\":{\"u\":{\"pointer\":\"/a\",\"type\":\"int\"}}",
        "chunks have no members");
    expect_member_refused("\"payload\":{\"column\":\"seq\"}", "another meaning");
    expect_member_refused("\"as\":\"chunks\",\"payload\":{\"type\":\"jsonb\"}", "bytea or text");
}

Test(route_spec, settings_without_effect_are_refused)
{
    expect_member_refused("\"after_sync_grace\":\"1m\"", "has no effect");
    expect_member_refused("\"after_sync\":\"trim\",\"after_sync_grace\":\"soon\"", "duration");
    expect_member_refused("\"after_sync\":\"trim\",\"after_sync_grace\":\"400d\"", "duration");
    expect_member_refused("\"start\":{\"offset\":\"12_34\"}", "belongs to one stream");
    expect_member_refused("\"start\":{\"offset\":\"-1\"}", "earliest");
    expect_member_refused("\"start\":{\"from\":\"12_34\"}", "\"start\"");
}

Test(route_spec, a_start_offset_is_for_one_stream)
{
    RouteSpec spec = parse("{\"name\":\"a\",\"streams\":[\"one\"],\"table\":\"t\","
                           "\"start\":{\"offset\":\"12_34\"}}");

    cr_expect_eq(spec.start, ROUTE_START_OFFSET);
    cr_expect_str_eq(spec.start_offset, "12_34");
    route_spec_done(&spec);
}

Test(route_spec, layouts_are_checked)
{
    expect_member_refused("\"layout\":\"hash\"", "\"none\"");
    expect_member_refused("\"layout\":{\"hash\":1}", "2 to 256");
    expect_member_refused("\"layout\":{\"hash\":257}", "2 to 256");
    expect_member_refused("\"layout\":{\"hash\":2,\"list\":[\"a\"]}", "\"layout\" must be");
    expect_member_refused("\"layout\":{\"range\":1}", "\"layout\"");
    expect_member_refused("\"layout\":{\"list\":[\"chat/\",\"chat/a\"]}", "lies within");
    expect_member_refused("\"layout\":{\"list\":[\"chat/\",\"chat/\"]}", "lies within");
    expect_member_refused("\"as\":\"state\",\"layout\":{\"hash\":4}", "not partitioned");
    expect_refused("{\"name\":\"a\",\"streams\":[\"b\"],\"layout\":{\"hash\":4},\"table\":"
                   "\"a_table_whose_name_leaves_no_room_for_any_suffix_x\"}",
                   "partitions can be named after it");
    RouteSpec spec = parse("{" SMALLEST ",\"layout\":{\"hash\":256}}");
    cr_expect_eq(spec.hash_count, 256);
    route_spec_done(&spec);
}

Test(route_spec, a_list_must_have_room_for_every_stream_that_matches)
{
    expect_member_refused("\"layout\":{\"list\":[\"presence/\"]}", "\"chat/*\"");
    expect_member_refused("\"name_prefix\":\"eu/\",\"layout\":{\"list\":[\"chat/\"]}",
                          "\"eu/chat/\"");
    expect_refused("{\"name\":\"a\",\"streams\":[\"chat/**\"],\"table\":\"t\","
                   "\"layout\":{\"list\":[\"chat/\"]}}",
                   "begin with \"chat\"");
}

Test(route_spec, no_truncation_of_a_route_is_one)
{
    static const char json[] = "{" SMALLEST ",\"layout\":{\"hash\":4}}";

    for (size_t len = 0; len < sizeof(json) - 1; len++) {
        RouteSpec spec = {0};
        Error err;
        cr_expect_not(route_spec_parse(&spec, str_n(json, len), &err), "%zu", len);
    }
}

Test(route_spec, any_of_its_patterns_may_match)
{
    RouteSpec spec = parse("{\"name\":\"a\",\"streams\":[\"chat/*\",\"one\"],\"table\":\"t\","
                           "\"name_prefix\":\"eu/\"}");

    cr_expect(route_spec_matches(&spec, STR("chat/x")));
    cr_expect(route_spec_matches(&spec, STR("one")));
    cr_expect_not(route_spec_matches(&spec, STR("chat/x/y")));
    cr_expect_not(route_spec_matches(&spec, STR("eu/one")));
    route_spec_done(&spec);
}
