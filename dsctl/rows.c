/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/rows.h"

#include "common/parse.h"

static json_t *
field_value(FieldType type, const char *text)
{
    int64_t number = 0;

    if (text == NULL) {
        return json_null();
    }
    switch (type) {
    case FIELD_TEXT:
        return json_string(text);
    case FIELD_INTEGER:
        return parse_i64(str_c(text), &number) ? json_integer(number) : NULL;
    case FIELD_BOOL:
        return json_boolean(strcmp(text, "t") == 0);
    case FIELD_SKIP:
        break;
    }
    return NULL;
}

bool
rows_object(const CallRows *rows, int row, const Field *fields, size_t count, json_t **out,
            Error *err)
{
    json_t *object = json_object();

    if ((size_t)rows->columns != count) {
        json_decref(object);
        return error_set(err, ERR_PROTOCOL, "Postgres answered %d columns instead of %zu",
                         rows->columns, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (fields[i].type == FIELD_SKIP) {
            continue;
        }
        json_t *value = field_value(fields[i].type, call_rows_get(rows, row, (int)i));
        if (value == NULL) {
            json_decref(object);
            return error_set(err, ERR_PROTOCOL, "Postgres answered no legal %s", fields[i].key);
        }
        json_object_set_new(object, fields[i].key, value);
    }
    *out = object;
    return true;
}
