/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_json_scan.c -- the scanner and jansson must agree on what JSON is and says.
 *
 * Known differences, all of them jansson's limits: it refuses lone surrogates (here a trait),
 * U+0000 in member names (also a trait), numbers beyond a double, and nests to 2048 instead of 512.
 * Integers are read as doubles, so that only the last kind of number is left out.  And a zero byte
 * between tokens looks like the end to it.
 */
#include "common/json_scan.h"

#include <jansson.h>

#define BYTES_MAX (1u << 22)
#define FLAGS     (JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *
load(Str text)
{
    json_error_t error;

    return json_loadb(text.ptr, text.len, FLAGS, &error);
}

static void
check_same(Str text, json_t *expected)
{
    json_t *value = load(text);

    DS_ASSERT(value != NULL && json_equal(value, expected));
    json_decref(value);
}

/* Whether jansson's refusal is one of the known differences. */
static bool
is_known_refusal(const JsonValue *value, const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_numeric_overflow:
        return true;
    case json_error_null_byte_in_key:
        return (value->traits & JSON_HAS_NUL) != 0;
    default:
        return (value->traits & JSON_HAS_LONE_SURROGATE) != 0;
    }
}

static JsonType
type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return JSON_TYPE_OBJECT;
    case JSON_ARRAY:
        return JSON_TYPE_ARRAY;
    case JSON_STRING:
        return JSON_TYPE_STRING;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_TYPE_BOOL;
    case JSON_NULL:
        return JSON_TYPE_NULL;
    default:
        return JSON_TYPE_NUMBER;
    }
}

static void
check_members(Str object, json_t *oracle)
{
    JsonValue member;
    const char *key;
    json_t *value;

    json_object_foreach(oracle, key, value)
    {
        DS_ASSERT(json_member(object, str_c(key), &member));
        check_same(member.text, value);
    }
}

/* What jansson decoded is what json_unescape says, and json_escape says it again. */
static void
check_string(Str text, const json_t *oracle)
{
    Str expected = str_n(json_string_value(oracle), json_string_length(oracle));
    JsonValue again;
    Buf decoded;
    Buf escaped;
    Error err;

    buf_init(&decoded, BYTES_MAX);
    buf_init(&escaped, BYTES_MAX);
    DS_ASSERT(json_unescape(text, &decoded, &err));
    DS_ASSERT(str_eq(buf_str(&decoded), expected));
    DS_ASSERT(json_escape(expected, &escaped, &err));
    DS_ASSERT(json_scan_value(buf_str(&escaped), 0, &again, &err));
    buf_reset(&decoded);
    DS_ASSERT(json_unescape(again.text, &decoded, &err));
    DS_ASSERT(str_eq(buf_str(&decoded), expected));
    buf_done(&decoded);
    buf_done(&escaped);
}

static void
check_value(const JsonValue *value, json_t *oracle)
{
    DS_ASSERT(value->type == type_of(oracle));
    check_same(value->text, oracle);
    if (value->type == JSON_TYPE_OBJECT) {
        check_members(value->text, oracle);
    } else if (value->type == JSON_TYPE_STRING) {
        check_string(value->text, oracle);
    }
}

/* What was taken down on the way is what is found afterwards. */
static void
check_watched(const JsonValue *element, const JsonWatched *watched)
{
    static const Str keys[] = {STR("a"), STR("b")};
    JsonValue found[DS_COUNT(keys)];
    JsonValue within = {.text = {NULL, 0}};

    if (watched->unsure) {
        return;
    }
    json_members(element->text, keys, DS_COUNT(keys), found);
    for (size_t i = 0; i < DS_COUNT(keys); i++) {
        DS_ASSERT(watched->values[i].text.ptr == found[i].text.ptr);
        DS_ASSERT(found[i].text.ptr == NULL || (watched->values[i].text.len == found[i].text.len &&
                                                watched->values[i].type == found[i].type));
    }
    if (found[1].text.ptr != NULL) {
        json_members(found[1].text, keys, 1, &within);
    }
    DS_ASSERT(watched->within[0].text.ptr == within.text.ptr);
}

/* Walks to the end or to the fault; oracle may be NULL.  The traits of all elements together. */
static bool
walk(Str text, json_t *oracle, unsigned *out_traits, Error *err)
{
    bool is_array = oracle != NULL && json_is_array(oracle);
    static const Str names[] = {STR("\"a\""), STR("\"b\"")};
    static const JsonWatch inner = {names, 1, NULL};
    static const JsonWatch outer = {names, DS_COUNT(names), &inner};
    JsonElements it;
    JsonValue value;
    JsonWatched watched;
    bool more = true;
    size_t count = 0;

    *out_traits = 0;
    if (!json_elements_init(&it, text, JSON_DEPTH_MAX, err)) {
        return false;
    }
    while (true) {
        if (!json_elements_watch(&it, &outer, &value, &watched, &more, err)) {
            return false;
        }
        if (!more) {
            break;
        }
        check_watched(&value, &watched);
        if (oracle != NULL) {
            check_value(&value, is_array ? json_array_get(oracle, count) : oracle);
        }
        *out_traits |= value.traits;
        count++;
    }
    DS_ASSERT(oracle == NULL || count == (is_array ? json_array_size(oracle) : 1));
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Str text = str_n(data, size);
    json_error_t refusal;
    JsonValue value = {.traits = 0};
    Error scan_err = {0};
    Error walk_err = {0};
    unsigned traits;
    size_t zero_at;

    json_t *oracle = json_loadb(text.ptr != NULL ? text.ptr : "", text.len, FLAGS, &refusal);
    bool ok = json_scan_value(text, JSON_DEPTH_MAX, &value, &scan_err);
    if (ok) {
        DS_ASSERT(oracle != NULL || is_known_refusal(&value, &refusal));
        DS_ASSERT(oracle == NULL || (value.traits & JSON_HAS_LONE_SURROGATE) == 0);
    } else {
        DS_ASSERT(oracle == NULL || scan_err.code == ERR_LIMIT || str_find(text, '\0', &zero_at));
    }
    DS_ASSERT(walk(text, ok ? oracle : NULL, &traits, &walk_err) == ok);
    DS_ASSERT(ok ? traits == value.traits : walk_err.code == scan_err.code);
    (void)json_member(text, STR("a"), &value);
    json_decref(oracle);
    return 0;
}
