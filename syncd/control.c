/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/control.h"

#include "common/offset.h"

#define CONTROL_DEPTH_MAX 8

/* The text of a member that is a plain string; offsets and cursors need no escapes. */
static bool
member_plain(Str object, Str name, Str *out)
{
    JsonValue value;
    size_t at;

    if (!json_member(object, name, &value) || value.type != JSON_TYPE_STRING ||
        str_find(value.text, '\\', &at)) {
        return false;
    }
    *out = str_slice(value.text, 1, value.text.len - 1);
    return true;
}

static bool
member_true(Str object, Str name)
{
    JsonValue value;

    return json_member(object, name, &value) && str_eq(value.text, STR("true"));
}

bool
control_parse(Str data, Control *out, Error *err)
{
    JsonValue value;
    Control control = {.cursor = STR_EMPTY};

    if (!json_scan_value(data, CONTROL_DEPTH_MAX, &value, err)) {
        err->code = ERR_PROTOCOL;
        return error_wrap(err, "control event");
    }
    if (value.type != JSON_TYPE_OBJECT) {
        return error_set(err, ERR_PROTOCOL, "a control event that is no JSON object");
    }
    if (!member_plain(value.text, STR("streamNextOffset"), &control.offset)) {
        return error_set(err, ERR_PROTOCOL, "a control event without streamNextOffset");
    }
    if (!offset_is_valid(control.offset)) {
        return error_set(err, ERR_PROTOCOL, "a control event with an offset that is none: \"%.*s\"",
                         STR_ARG(str_head(control.offset, 64)));
    }
    if (!member_plain(value.text, STR("streamCursor"), &control.cursor) ||
        control.cursor.len > CONTROL_CURSOR_BYTES_MAX) {
        control.cursor = STR_EMPTY;
    }
    control.up_to_date = member_true(value.text, STR("upToDate"));
    control.closed = member_true(value.text, STR("streamClosed"));
    *out = control;
    return true;
}
