/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/state_change.h"

enum { MEMBER_TYPE, MEMBER_KEY, MEMBER_VALUE, MEMBER_OPERATION, MEMBER_HEADERS, MEMBER_COUNT };
enum { HEADER_OPERATION, HEADER_CONTROL, HEADER_COUNT };

#define SHOWN_BYTES_MAX 64 /* of a word that is not known, in the error */

typedef struct Word {
    Str json; /* quoted */
    StateOp op;
} Word;

/* An append is refined by what its value is. */
static const Word operations[] = {
    {{"\"insert\"", 8}, STATE_SET},           {{"\"update\"", 8}, STATE_SET},
    {{"\"upsert\"", 8}, STATE_SET},           {{"\"set\"", 5}, STATE_SET},
    {{"\"delete\"", 8}, STATE_DELETE},        {{"\"remove\"", 8}, STATE_DELETE},
    {{"\"append\"", 8}, STATE_APPEND_STRING},
};

static const Word controls[] = {
    {{"\"reset\"", 7}, STATE_RESET},
    {{"\"snapshot-start\"", 16}, STATE_SNAPSHOT_START},
    {{"\"snapshot-end\"", 14}, STATE_SNAPSHOT_END},
};

static bool
is_there(const JsonValue *member)
{
    return member->text.ptr != NULL;
}

static bool
find_word(const JsonValue *member, const Word *words, size_t count, const char *what,
          StateOp *out_op, Error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(member->text, words[i].json)) {
            *out_op = words[i].op;
            return true;
        }
    }
    return error_set(err, ERR_INPUT, "%s %.*s is not known", what,
                     STR_ARG(str_head(member->text, SHOWN_BYTES_MAX)));
}

/* headers.operation and operation: at least one, and if both, of one meaning. */
static bool
find_operation(const JsonValue *outer, const JsonValue *inner, StateOp *out_op, Error *err)
{
    StateOp op = STATE_SET;
    StateOp other = STATE_SET;

    if (!is_there(outer) && !is_there(inner)) {
        return error_set(err, ERR_INPUT, "there is no operation");
    }
    if (is_there(outer) &&
        !find_word(outer, operations, DS_COUNT(operations), "operation", &op, err)) {
        return false;
    }
    if (is_there(inner)) {
        if (!find_word(inner, operations, DS_COUNT(operations), "headers.operation", &other, err)) {
            return false;
        }
        if (is_there(outer) && other != op) {
            return error_set(err, ERR_INPUT, "operation and headers.operation contradict");
        }
        op = other;
    }
    *out_op = op;
    return true;
}

static bool
check_name(const JsonValue *member, const char *what, size_t bytes_max, Error *err)
{
    if (!is_there(member) || member->type != JSON_TYPE_STRING) {
        return error_set(err, ERR_INPUT, "%s is %s", what,
                         is_there(member) ? "not a string" : "missing");
    }
    if (member->text.len > bytes_max) {
        return error_set(err, ERR_INPUT, "%s has %zu bytes, %zu is the limit", what,
                         member->text.len, bytes_max);
    }
    if ((member->traits & (JSON_HAS_NUL | JSON_HAS_LONE_SURROGATE)) != 0) {
        return error_set(err, ERR_INPUT, "%s holds what Postgres cannot store as text", what);
    }
    return true;
}

static bool
refine_append(JsonType type, StateOp *op, Error *err)
{
    if (type == JSON_TYPE_STRING || type == JSON_TYPE_ARRAY) {
        *op = type == JSON_TYPE_STRING ? STATE_APPEND_STRING : STATE_APPEND_ARRAY;
        return true;
    }
    return error_set(err, ERR_INPUT, "only a string or an array can be appended");
}

bool
state_change_parse(Str message, StateChange *out, Error *err)
{
    static const Str names[MEMBER_COUNT] = {
        [MEMBER_TYPE] = {"type", 4},       [MEMBER_KEY] = {"key", 3},
        [MEMBER_VALUE] = {"value", 5},     [MEMBER_OPERATION] = {"operation", 9},
        [MEMBER_HEADERS] = {"headers", 7},
    };
    static const Str header_names[HEADER_COUNT] = {
        [HEADER_OPERATION] = {"operation", 9},
        [HEADER_CONTROL] = {"control", 7},
    };
    JsonValue members[MEMBER_COUNT];
    JsonValue headers[HEADER_COUNT] = {0};
    StateChange change = {0};

    json_members(message, names, MEMBER_COUNT, members);
    if (is_there(&members[MEMBER_HEADERS])) {
        json_members(members[MEMBER_HEADERS].text, header_names, HEADER_COUNT, headers);
    }
    if (is_there(&headers[HEADER_CONTROL])) {
        if (is_there(&headers[HEADER_OPERATION]) || is_there(&members[MEMBER_OPERATION])) {
            return error_set(err, ERR_INPUT, "there is a control and an operation");
        }
        if (!find_word(&headers[HEADER_CONTROL], controls, DS_COUNT(controls), "headers.control",
                       &change.op, err)) {
            return false;
        }
        *out = change;
        return true;
    }
    if (!find_operation(&members[MEMBER_OPERATION], &headers[HEADER_OPERATION], &change.op, err) ||
        !check_name(&members[MEMBER_TYPE], "type", STATE_TYPE_BYTES_MAX, err) ||
        !check_name(&members[MEMBER_KEY], "key", STATE_KEY_BYTES_MAX, err)) {
        return false;
    }
    change.type = members[MEMBER_TYPE].text;
    change.key = members[MEMBER_KEY].text;
    if (change.op != STATE_DELETE) {
        if (!is_there(&members[MEMBER_VALUE])) {
            return error_set(err, ERR_INPUT, "value is missing");
        }
        change.value = members[MEMBER_VALUE].text;
        if (change.op == STATE_APPEND_STRING &&
            !refine_append(members[MEMBER_VALUE].type, &change.op, err)) {
            return false;
        }
    }
    *out = change;
    return true;
}
