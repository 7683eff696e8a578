/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/event_map.h"

static Str
member_string(Str object, Str name)
{
    JsonValue value;

    if (!json_member(object, name, &value) || value.type != JSON_TYPE_STRING) {
        return (Str){NULL, 0};
    }
    return value.text;
}

EventColumns
event_columns(Str message)
{
    EventColumns columns = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    JsonValue headers;

    if (message.len == 0 || message.ptr[0] != '{') {
        return columns;
    }
    columns.key = member_string(message, STR("key"));
    columns.type = member_string(message, STR("type"));
    columns.operation = member_string(message, STR("operation"));
    if (columns.operation.ptr == NULL && json_member(message, STR("headers"), &headers) &&
        headers.type == JSON_TYPE_OBJECT) {
        columns.operation = member_string(headers.text, STR("operation"));
    }
    return columns;
}
