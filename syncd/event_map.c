/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/event_map.h"

enum { MEMBER_KEY, MEMBER_TYPE, MEMBER_OPERATION, MEMBER_HEADERS, MEMBER_COUNT };

static Str
string_or_null(const JsonValue *value)
{
    bool is_string = value->text.ptr != NULL && value->type == JSON_TYPE_STRING;

    return is_string ? value->text : (Str){NULL, 0};
}

static const Str watched_within[] = {STR("\"operation\"")};
static const JsonWatch watch_headers = {watched_within, DS_COUNT(watched_within), NULL};
static const Str watched_names[MEMBER_COUNT] = {
    [MEMBER_KEY] = STR("\"key\""),
    [MEMBER_TYPE] = STR("\"type\""),
    [MEMBER_OPERATION] = STR("\"operation\""),
    [MEMBER_HEADERS] = STR("\"headers\""),
};
const JsonWatch event_watch = {watched_names, MEMBER_COUNT, &watch_headers};

EventColumns
event_columns_watched(Str message, const JsonWatched *watched)
{
    if (watched->unsure) {
        return event_columns(message);
    }
    EventColumns columns = {
        .key = string_or_null(&watched->values[MEMBER_KEY]),
        .type = string_or_null(&watched->values[MEMBER_TYPE]),
        .operation = string_or_null(&watched->values[MEMBER_OPERATION]),
    };
    if (columns.operation.ptr == NULL) {
        columns.operation = string_or_null(&watched->within[0]);
    }
    return columns;
}

EventColumns
event_columns(Str message)
{
    static const Str names[MEMBER_COUNT] = {
        [MEMBER_KEY] = {"key", 3},
        [MEMBER_TYPE] = {"type", 4},
        [MEMBER_OPERATION] = {"operation", 9},
        [MEMBER_HEADERS] = {"headers", 7},
    };
    JsonValue members[MEMBER_COUNT];
    JsonValue operation;

    json_members(message, names, MEMBER_COUNT, members);
    EventColumns columns = {
        .key = string_or_null(&members[MEMBER_KEY]),
        .type = string_or_null(&members[MEMBER_TYPE]),
        .operation = string_or_null(&members[MEMBER_OPERATION]),
    };
    if (columns.operation.ptr == NULL && members[MEMBER_HEADERS].text.ptr != NULL &&
        json_member(members[MEMBER_HEADERS].text, STR("operation"), &operation)) {
        columns.operation = string_or_null(&operation);
    }
    return columns;
}
