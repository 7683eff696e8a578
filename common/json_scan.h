/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/json_scan.h -- strict RFC 8259 validation, and slices of the text where values lie.
 *
 * For the hot path: nothing is built and nothing re-serialised; the bytes that came are the bytes
 * that go on.  Depth is limited, so a hostile document cannot exhaust the stack.  Pure; fuzzed
 * against jansson.
 */
#pragma once

#include "common/buf.h"

#define JSON_DEPTH_MAX 512

/* What Postgres's jsonb cannot hold though it is legal JSON; a bit set describes one value. */
typedef enum JsonTrait {
    JSON_HAS_NUL = 1 << 0,            /* \u0000 in a string */
    JSON_HAS_LONE_SURROGATE = 1 << 1, /* \ud800 without its partner */
    JSON_HAS_HUGE_NUMBER = 1 << 2,    /* exponent beyond +-400, or more than 1000 digits */
} JsonTrait;

typedef enum JsonType {
    JSON_TYPE_NULL,
    JSON_TYPE_BOOL,
    JSON_TYPE_NUMBER,
    JSON_TYPE_STRING,
    JSON_TYPE_ARRAY,
    JSON_TYPE_OBJECT,
} JsonType;

typedef struct JsonValue {
    Str text; /* the value as it stands, without white space around it; borrowed */
    JsonType type;
    unsigned traits; /* JsonTrait bits of it and everything inside it */
} JsonValue;

/* One whole document, white space around it allowed.  Text must be UTF-8 (checked).
 * ERR_INPUT says what and at which byte; ERR_LIMIT beyond depth_max (at most JSON_DEPTH_MAX) nested
 * containers. */
DS_MUST_CHECK bool json_scan_value(Str text, unsigned depth_max, JsonValue *out, Error *err);

/* Walks the elements of a document that is an array, or yields the one value that it is otherwise
 * ("flatten exactly one level", protocol 9.1).  A step validates only what it passes: a caller that
 * must not use a part of a bad document walks it to the end first.  depth_max counts the outer
 * array too, so the walk ends well for exactly the documents that json_scan_value takes. */
typedef struct JsonElements {
    Str text;
    size_t at;
    unsigned depth_max;
    bool is_array;
    bool started;
    bool done;
} JsonElements;

DS_MUST_CHECK bool json_elements_init(JsonElements *it, Str text, unsigned depth_max, Error *err);
/* *out_more is false after the last element, and only then the document was whole and valid. */
DS_MUST_CHECK bool json_elements_next(JsonElements *it, JsonValue *out, bool *out_more, Error *err);

/* Members to take down while a value is scanned, so that it need not be scanned again for them. */
#define JSON_WATCH_NAMES_MAX 4
typedef struct JsonWatch {
    const Str *names; /* in quotes, as they stand in the text when they have no escape */
    size_t count;     /* at most JSON_WATCH_NAMES_MAX */
    const struct JsonWatch *within; /* of the last of them, if that is an object; or NULL */
} JsonWatch;

/* As json_members would have them, but without traits. */
typedef struct JsonWatched {
    JsonValue values[JSON_WATCH_NAMES_MAX];
    JsonValue within[JSON_WATCH_NAMES_MAX];
    bool unsure; /* a name has an escape, so it may be any: ask json_members */
} JsonWatched;

/* As json_elements_next, and what the element has of those members; one that is no object has none
 * of them.  A watch within a watch has none itself. */
DS_MUST_CHECK bool json_elements_watch(JsonElements *it, const JsonWatch *watch, JsonValue *out,
                                       JsonWatched *watched, bool *out_more, Error *err);

/* The member `key` of a valid object (the last one if repeated, as jsonb does).  False if absent or
 * not an object.  Escapes in member names are honoured. */
bool json_member(Str object, Str key, JsonValue *out);
/* The same for several members in one pass: out[i] is of keys[i]; its text.ptr is NULL when absent.
 */
void json_members(Str object, const Str *keys, size_t count, JsonValue *out);

/* Text of a valid JSON string value (with its quotes) with escapes decoded, appended to out; \u0000
 * becomes a zero byte.  ERR_INPUT for a lone surrogate, or for what is not a string. */
DS_MUST_CHECK bool json_unescape(Str string_value, Buf *out, Error *err);
/* Append text as a JSON string, quotes included.  ERR_INPUT when text is not UTF-8. */
DS_MUST_CHECK bool json_escape(Str text, Buf *out, Error *err);
