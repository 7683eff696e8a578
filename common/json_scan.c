/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_scan.h"

#include "common/json_internal.h"

#define NUMBER_DIGITS_MAX   1000
#define NUMBER_EXPONENT_MAX 400

typedef struct Scan {
    const char *start;
    const char *at;
    const char *end;
    unsigned traits;
    unsigned depth; /* containers open here */
    unsigned depth_max;
    bool is_object[JSON_DEPTH_MAX]; /* of the open containers; not cleared, for speed */
} Scan;

static void
scan_init(Scan *scan, Str text, size_t at, unsigned depth, unsigned depth_max)
{
    DS_ASSERT(depth_max <= JSON_DEPTH_MAX && at <= text.len);
    scan->start = text.ptr;
    scan->at = at > 0 ? text.ptr + at : text.ptr;
    scan->end = text.len > 0 ? text.ptr + text.len : text.ptr;
    scan->traits = 0;
    scan->depth = depth;
    scan->depth_max = depth_max;
}

__attribute__((cold, noinline)) static bool
scan_fail(const Scan *scan, const char *what, Error *err)
{
    if (scan->at == scan->end) {
        what = "unexpected end";
    }
    return error_set(err, ERR_INPUT, "JSON: %s at byte %zu", what,
                     (size_t)(scan->at - scan->start));
}

static inline void
skip_space(Scan *scan)
{
    const char *p = scan->at;

    while (p < scan->end && (unsigned char)*p <= ' ' &&
           (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    scan->at = p;
}

static inline bool
next_is(const Scan *scan, char c)
{
    return scan->at < scan->end && *scan->at == c;
}

/* At "\u" and four digits; a surrogate takes its partner with it if that follows. */
static bool
scan_unicode_escape(Scan *scan, Error *err)
{
    unsigned unit;
    unsigned partner;

    if (!json_hex4(scan->at + 2, scan->end, &unit)) {
        return scan_fail(scan, "bad \\u escape", err);
    }
    scan->at += 6;
    if (unit == 0) {
        scan->traits |= JSON_HAS_NUL;
    } else if (json_is_high_surrogate(unit) && scan->end - scan->at >= 6 && scan->at[0] == '\\' &&
               scan->at[1] == 'u' && json_hex4(scan->at + 2, scan->end, &partner) &&
               json_is_low_surrogate(partner)) {
        scan->at += 6;
    } else if (json_is_high_surrogate(unit) || json_is_low_surrogate(unit)) {
        scan->traits |= JSON_HAS_LONE_SURROGATE;
    }
    return true;
}

/* At a backslash with no short escape behind it. */
static bool
scan_escape(Scan *scan, Error *err)
{
    if (scan->end - scan->at < 2) {
        scan->at = scan->end;
        return scan_fail(scan, "", err);
    }
    return scan->at[1] == 'u' ? scan_unicode_escape(scan, err)
                              : scan_fail(scan, "unknown escape", err);
}

static bool
scan_non_ascii(Scan *scan, Error *err)
{
    do {
        size_t length = str_utf8_sequence(str_n(scan->at, (size_t)(scan->end - scan->at)));

        if (length == 0) {
            return scan_fail(scan, "invalid UTF-8", err);
        }
        scan->at += length;
    } while (scan->at < scan->end && (signed char)*scan->at < 0);
    return true;
}

/* At a byte of a string that is not plain, and no quote. */
static bool
scan_special(Scan *scan, Error *err)
{
    if (*scan->at == '\\') {
        return scan_escape(scan, err);
    }
    if ((unsigned char)*scan->at < 0x20) {
        return scan_fail(scan, "control character in a string", err);
    }
    return scan_non_ascii(scan, err);
}

/* What may follow a backslash, "u" aside. */
static inline bool
is_short_escape(char c)
{
    static const bool is_one[256] = {['"'] = true, ['\\'] = true, ['/'] = true, ['b'] = true,
                                     ['f'] = true, ['n'] = true,  ['r'] = true, ['t'] = true};

    return is_one[(unsigned char)c];
}

/* At the opening quote. */
static bool
scan_string(Scan *scan, Error *err)
{
    const char *p = scan->at + 1;

    for (;;) {
        p = json_plain_end(p, scan->end);
        if (scan->end - p >= 2 && *p == '\\' && is_short_escape(p[1])) {
            p += 2;
            continue;
        }
        scan->at = p;
        if (p == scan->end) {
            return scan_fail(scan, "", err);
        }
        if (*p == '"') {
            scan->at++;
            return true;
        }
        if (!scan_special(scan, err)) {
            return false;
        }
        p = scan->at;
    }
}

static inline size_t
skip_digits(Scan *scan)
{
    const char *p = scan->at;

    while (p < scan->end && *p >= '0' && *p <= '9') {
        p++;
    }
    size_t count = (size_t)(p - scan->at);
    scan->at = p;
    return count;
}

/* At the "e". */
static bool
scan_exponent(Scan *scan, Error *err)
{
    unsigned exponent = 0;

    scan->at++;
    if (next_is(scan, '+') || next_is(scan, '-')) {
        scan->at++;
    }
    const char *first = scan->at;
    if (skip_digits(scan) == 0) {
        return scan_fail(scan, "expected a digit", err);
    }
    for (const char *p = first; p < scan->at && exponent <= NUMBER_EXPONENT_MAX; p++) {
        exponent = exponent * 10 + (unsigned)(*p - '0');
    }
    if (exponent > NUMBER_EXPONENT_MAX) {
        scan->traits |= JSON_HAS_HUGE_NUMBER;
    }
    return true;
}

static bool
scan_number(Scan *scan, Error *err)
{
    size_t digits = 1;

    if (*scan->at == '-') {
        scan->at++;
    }
    if (next_is(scan, '0')) {
        scan->at++;
    } else {
        digits = skip_digits(scan);
        if (digits == 0) {
            return scan_fail(scan, "expected a digit", err);
        }
    }
    if (next_is(scan, '.')) {
        scan->at++;
        size_t fraction = skip_digits(scan);
        if (fraction == 0) {
            return scan_fail(scan, "expected a digit", err);
        }
        digits += fraction;
    }
    if (digits > NUMBER_DIGITS_MAX) {
        scan->traits |= JSON_HAS_HUGE_NUMBER;
    }
    if (next_is(scan, 'e') || next_is(scan, 'E')) {
        return scan_exponent(scan, err);
    }
    return true;
}

static bool
scan_word(Scan *scan, Str word, Error *err)
{
    if (!str_starts(str_n(scan->at, (size_t)(scan->end - scan->at)), word)) {
        return scan_fail(scan, "expected a value", err);
    }
    scan->at += word.len;
    return true;
}

/* A member's name and the colon behind it. */
static bool
scan_name(Scan *scan, Str *out_name, Error *err)
{
    skip_space(scan);
    if (!next_is(scan, '"')) {
        return scan_fail(scan, "expected a member name", err);
    }
    const char *first = scan->at;
    if (!scan_string(scan, err)) {
        return false;
    }
    *out_name = str_n(first, (size_t)(scan->at - first));
    skip_space(scan);
    if (!next_is(scan, ':')) {
        return scan_fail(scan, "expected ':'", err);
    }
    scan->at++;
    return true;
}

/* At '{' or '['.  An empty container is passed whole; of another one, what stands before its first
 * value, and *out_opened is true. */
static bool
scan_open(Scan *scan, bool *out_opened, Str *out_name, Error *err)
{
    bool is_object = *scan->at == '{';

    if (scan->depth == scan->depth_max) {
        return error_set(err, ERR_LIMIT, "JSON: nested deeper than %u at byte %zu", scan->depth_max,
                         (size_t)(scan->at - scan->start));
    }
    scan->at++;
    skip_space(scan);
    *out_opened = !next_is(scan, is_object ? '}' : ']');
    if (!*out_opened) {
        scan->at++;
        return true;
    }
    scan->is_object[scan->depth++] = is_object;
    return !is_object || scan_name(scan, out_name, err);
}

/* A scalar, an empty container, or the opening of another one. */
static inline bool
scan_begin(Scan *scan, bool *out_opened, Error *err)
{
    Str name;

    *out_opened = false;
    skip_space(scan);
    switch (scan->at < scan->end ? *scan->at : '\0') {
    case '{':
    case '[':
        return scan_open(scan, out_opened, &name, err);
    case '"':
        return scan_string(scan, err);
    case 't':
        return scan_word(scan, STR("true"), err);
    case 'f':
        return scan_word(scan, STR("false"), err);
    case 'n':
        return scan_word(scan, STR("null"), err);
    case '-':
    case '0' ... '9':
        return scan_number(scan, err);
    default:
        return scan_fail(scan, "expected a value", err);
    }
}

/* Behind a value: closes what ends here, down to depth `base`.  *out_more says that a comma wants
 * one more value. */
static inline bool
scan_close(Scan *scan, unsigned base, bool *out_more, Str *out_name, Error *err)
{
    while (scan->depth > base) {
        bool is_object = scan->is_object[scan->depth - 1];

        skip_space(scan);
        if (next_is(scan, ',')) {
            scan->at++;
            *out_more = true;
            return !is_object || scan_name(scan, out_name, err);
        }
        if (!next_is(scan, is_object ? '}' : ']')) {
            return scan_fail(scan, is_object ? "expected ',' or '}'" : "expected ',' or ']'", err);
        }
        scan->at++;
        scan->depth--;
    }
    *out_more = false;
    return true;
}

static JsonType
type_from_first(char c)
{
    switch (c) {
    case '{':
        return JSON_TYPE_OBJECT;
    case '[':
        return JSON_TYPE_ARRAY;
    case '"':
        return JSON_TYPE_STRING;
    case 't':
    case 'f':
        return JSON_TYPE_BOOL;
    case 'n':
        return JSON_TYPE_NULL;
    default:
        return JSON_TYPE_NUMBER;
    }
}

/* One value and all in it, by a loop and not by recursion. */
static bool
scan_tokens(Scan *scan, Error *err)
{
    unsigned base = scan->depth;
    bool more = true;
    Str name;

    while (more) {
        if (!scan_begin(scan, &more, err)) {
            return false;
        }
        if (!more && !scan_close(scan, base, &more, &name, err)) {
            return false;
        }
    }
    return true;
}

/* --- members that somebody looks out for --- */

static void
watch_clear(const JsonWatch *watch, JsonValue *values)
{
    for (size_t i = 0; i < watch->count; i++) {
        values[i] = (JsonValue){.text = {NULL, 0}};
    }
}

/* Which of the names it is; watch->count for none, as most are. */
static inline size_t
watch_find(const JsonWatch *watch, Str name, JsonWatched *out)
{
    size_t at = 0;

    while (at < watch->count && (name.len != watch->names[at].len ||
                                 memcmp(name.ptr, watch->names[at].ptr, name.len) != 0)) {
        at++;
    }
    if (at == watch->count && memchr(name.ptr, '\\', name.len) != NULL) {
        out->unsure = true;
    }
    return at;
}

/* At '{': as scan_tokens, and takes down the members; `out` has watch->count values. */
static bool
scan_watched_object(Scan *scan, const JsonWatch *watch, JsonValue *values, JsonWatched *out,
                    Error *err)
{
    unsigned base = scan->depth;
    bool more;
    Str name;

    watch_clear(watch, values);
    if (!scan_open(scan, &more, &name, err)) {
        return false;
    }
    while (more) {
        size_t found = watch_find(watch, name, out);
        bool within = watch->within != NULL && found + 1 == watch->count;

        skip_space(scan);
        const char *first = scan->at;
        if (within) {
            watch_clear(watch->within, out->within);
        }
        if (!(within && next_is(scan, '{')
                  ? scan_watched_object(scan, watch->within, out->within, out, err)
                  : scan_tokens(scan, err))) {
            return false;
        }
        if (found < watch->count) {
            values[found] = (JsonValue){.text = str_n(first, (size_t)(scan->at - first)),
                                        .type = type_from_first(*first)};
        }
        if (!scan_close(scan, base, &more, &name, err)) {
            return false;
        }
    }
    return true;
}
/* watch may be NULL, and then so may watched. */
static bool
scan_value(Scan *scan, const JsonWatch *watch, JsonValue *out, JsonWatched *watched, Error *err)
{
    skip_space(scan);
    const char *first = scan->at;
    scan->traits = 0;
    if (watch != NULL) {
        watched->unsure = false;
        watch_clear(watch, watched->values);
        if (watch->within != NULL) {
            watch_clear(watch->within, watched->within);
        }
    }
    if (!(watch != NULL && next_is(scan, '{')
              ? scan_watched_object(scan, watch, watched->values, watched, err)
              : scan_tokens(scan, err))) {
        return false;
    }
    *out = (JsonValue){
        .text = str_n(first, (size_t)(scan->at - first)),
        .type = type_from_first(*first),
        .traits = scan->traits,
    };
    return true;
}

static bool
scan_end(Scan *scan, Error *err)
{
    skip_space(scan);
    return scan->at == scan->end || scan_fail(scan, "expected the end", err);
}

bool
json_scan_value(Str text, unsigned depth_max, JsonValue *out, Error *err)
{
    Scan scan;
    JsonValue value;

    scan_init(&scan, text, 0, 0, depth_max);
    if (!scan_value(&scan, NULL, &value, NULL, err) || !scan_end(&scan, err)) {
        return false;
    }
    *out = value;
    return true;
}

bool
json_elements_init(JsonElements *it, Str text, unsigned depth_max, Error *err)
{
    Scan scan;

    scan_init(&scan, text, 0, 0, depth_max);
    skip_space(&scan);
    if (scan.at == scan.end) {
        return scan_fail(&scan, "", err);
    }
    bool is_array = next_is(&scan, '[');
    if (is_array && depth_max == 0) {
        return error_set(err, ERR_LIMIT, "JSON: nested deeper than 0 at byte %zu",
                         (size_t)(scan.at - scan.start));
    }
    *it = (JsonElements){
        .text = text,
        .at = (size_t)(scan.at - scan.start) + (is_array ? 1 : 0),
        .depth_max = depth_max,
        .is_array = is_array,
    };
    return true;
}

/* What stands before the next element, or after the last one. */
static bool
scan_separator(Scan *scan, const JsonElements *it, bool *out_more, Error *err)
{
    skip_space(scan);
    if (!it->is_array) {
        *out_more = !it->started;
        return true;
    }
    if (next_is(scan, ']')) {
        scan->at++;
        *out_more = false;
        return true;
    }
    *out_more = true;
    if (it->started) {
        if (!next_is(scan, ',')) {
            return scan_fail(scan, "expected ',' or ']'", err);
        }
        scan->at++;
    }
    return true;
}

bool
json_elements_next(JsonElements *it, JsonValue *out, bool *out_more, Error *err)
{
    return json_elements_watch(it, NULL, out, NULL, out_more, err);
}

bool
json_elements_watch(JsonElements *it, const JsonWatch *watch, JsonValue *out, JsonWatched *watched,
                    bool *out_more, Error *err)
{
    Scan scan;
    bool more;

    if (it->done) {
        *out_more = false;
        return true;
    }
    scan_init(&scan, it->text, it->at, it->is_array ? 1 : 0, it->depth_max);
    if (!scan_separator(&scan, it, &more, err) ||
        !(more ? scan_value(&scan, watch, out, watched, err) : scan_end(&scan, err))) {
        return false;
    }
    it->at = (size_t)(scan.at - scan.start);
    it->started = true;
    it->done = !more;
    *out_more = more;
    return true;
}

void
json_members(Str object, const Str *keys, size_t count, JsonValue *out)
{
    Scan scan;
    Str name;
    JsonValue value;
    Error ignored;

    for (size_t i = 0; i < count; i++) {
        out[i] = (JsonValue){.text = {NULL, 0}};
    }
    scan_init(&scan, object, 0, 1, JSON_DEPTH_MAX);
    skip_space(&scan);
    if (!next_is(&scan, '{')) {
        return;
    }
    do {
        scan.at++;
        if (!scan_name(&scan, &name, &ignored) ||
            !scan_value(&scan, NULL, &value, NULL, &ignored)) {
            break;
        }
        for (size_t i = 0; i < count; i++) {
            if (json_name_eq(name, keys[i])) {
                out[i] = value;
            }
        }
        skip_space(&scan);
    } while (next_is(&scan, ','));
}

bool
json_member(Str object, Str key, JsonValue *out)
{
    JsonValue value;

    json_members(object, &key, 1, &value);
    if (value.text.ptr == NULL) {
        return false;
    }
    *out = value;
    return true;
}
