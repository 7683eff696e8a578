/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_scan.h"

#include "common/json_block.h"

#define NUMBER_DIGITS_MAX   1000
#define NUMBER_EXPONENT_MAX 400

/* Where a scan stands is handed from function to function, and NULL says that it failed: kept here,
 * it would be written and read for every token. */
typedef struct Scan {
    const char *start;
    const char *end;
    unsigned traits;
    unsigned depth; /* containers open here */
    unsigned depth_max;
    bool has_escape;                /* in the string that was passed last */
    bool is_object[JSON_DEPTH_MAX]; /* of the open containers; not cleared, for speed */
} Scan;

/* *out_at is where it begins. */
static void
scan_init(Scan *scan, Str text, size_t at, unsigned depth, unsigned depth_max, const char **out_at)
{
    DS_ASSERT(depth_max <= JSON_DEPTH_MAX && at <= text.len);
    scan->start = text.ptr;
    scan->end = text.len > 0 ? text.ptr + text.len : text.ptr;
    scan->traits = 0;
    scan->depth = depth;
    scan->depth_max = depth_max;
    *out_at = at > 0 ? text.ptr + at : text.ptr;
}

__attribute__((cold, noinline)) static const char *
scan_fail(const Scan *scan, const char *p, const char *what, Error *err)
{
    if (p == scan->end) {
        what = "unexpected end";
    }
    (void)error_set(err, ERR_INPUT, "JSON: %s at byte %zu", what, (size_t)(p - scan->start));
    return NULL;
}

static inline const char *
skip_space(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ' &&
           (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
    }
    return p;
}

static inline bool
is_at(const Scan *scan, const char *p, char c)
{
    return p < scan->end && *p == c;
}

/* At "\u" and four digits; a surrogate takes its partner with it if that follows. */
static const char *
scan_unicode_escape(Scan *scan, const char *p, Error *err)
{
    unsigned unit;
    unsigned partner;

    if (!json_hex4(p + 2, scan->end, &unit)) {
        return scan_fail(scan, p, "bad \\u escape", err);
    }
    p += 6;
    if (unit == 0) {
        scan->traits |= JSON_HAS_NUL;
    } else if (json_is_high_surrogate(unit) && scan->end - p >= 6 && p[0] == '\\' && p[1] == 'u' &&
               json_hex4(p + 2, scan->end, &partner) && json_is_low_surrogate(partner)) {
        p += 6;
    } else if (json_is_high_surrogate(unit) || json_is_low_surrogate(unit)) {
        scan->traits |= JSON_HAS_LONE_SURROGATE;
    }
    return p;
}

/* At a backslash. */
static inline const char *
scan_escape(Scan *scan, const char *p, Error *err)
{
    scan->has_escape = true;
    if (scan->end - p < 2) {
        return scan_fail(scan, scan->end, "", err);
    }
    if (json_is_short_escape(p[1])) {
        return p + 2;
    }
    return p[1] == 'u' ? scan_unicode_escape(scan, p, err)
                       : scan_fail(scan, p, "unknown escape", err);
}

static const char *
scan_non_ascii(const Scan *scan, const char *p, Error *err)
{
    do {
        size_t length = str_utf8_sequence(str_n(p, (size_t)(scan->end - p)));

        if (length == 0) {
            return scan_fail(scan, p, "invalid UTF-8", err);
        }
        p += length;
    } while (p < scan->end && (signed char)*p < 0);
    return p;
}

/* The next byte of a string that has to be looked at alone. */
static inline const char *
skip_simple(Scan *scan, const char *p)
{
#ifdef __SSE2__
    while (scan->end - p >= JSON_BLOCK_BYTES) {
        const char *stop = json_block_end(p, &scan->has_escape);

        if (stop < p + JSON_BLOCK_BYTES) {
            return stop;
        }
        p = stop;
    }
#endif
    return json_plain_end(p, scan->end);
}

/* Of a string, from its first byte that is not plain. */
__attribute__((noinline)) static const char *
scan_special(Scan *scan, const char *p, Error *err)
{
    p = skip_simple(scan, p);
    while (p < scan->end && *p != '"') {
        if (*p == '\\') {
            p = scan_escape(scan, p, err);
        } else if ((signed char)*p < 0) {
            p = scan_non_ascii(scan, p, err);
        } else {
            return scan_fail(scan, p, "control character in a string", err);
        }
        if (p == NULL) {
            return NULL;
        }
        p = skip_simple(scan, p);
    }
    return p < scan->end ? p + 1 : scan_fail(scan, p, "", err);
}

/* At the opening quote. */
static inline const char *
scan_string(Scan *scan, const char *p, Error *err)
{
    scan->has_escape = false;
    p = json_plain_end(p + 1, scan->end);
    return is_at(scan, p, '"') ? p + 1 : scan_special(scan, p, err);
}

static inline const char *
skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

/* At the "e". */
static const char *
scan_exponent(Scan *scan, const char *p, Error *err)
{
    unsigned exponent = 0;

    p++;
    if (is_at(scan, p, '+') || is_at(scan, p, '-')) {
        p++;
    }
    const char *end = skip_digits(p, scan->end);
    if (end == p) {
        return scan_fail(scan, p, "expected a digit", err);
    }
    for (; p < end && exponent <= NUMBER_EXPONENT_MAX; p++) {
        exponent = exponent * 10 + (unsigned)(*p - '0');
    }
    if (exponent > NUMBER_EXPONENT_MAX) {
        scan->traits |= JSON_HAS_HUGE_NUMBER;
    }
    return end;
}

static const char *
scan_number(Scan *scan, const char *p, Error *err)
{
    size_t digits = 1;

    if (*p == '-') {
        p++;
    }
    if (is_at(scan, p, '0')) {
        p++;
    } else {
        const char *end = skip_digits(p, scan->end);

        if (end == p) {
            return scan_fail(scan, p, "expected a digit", err);
        }
        digits = (size_t)(end - p);
        p = end;
    }
    if (is_at(scan, p, '.')) {
        const char *end = skip_digits(++p, scan->end);

        if (end == p) {
            return scan_fail(scan, p, "expected a digit", err);
        }
        digits += (size_t)(end - p);
        p = end;
    }
    if (digits > NUMBER_DIGITS_MAX) {
        scan->traits |= JSON_HAS_HUGE_NUMBER;
    }
    return is_at(scan, p, 'e') || is_at(scan, p, 'E') ? scan_exponent(scan, p, err) : p;
}

static inline const char *
scan_word(const Scan *scan, const char *p, Str word, Error *err)
{
    if (!str_starts(str_n(p, (size_t)(scan->end - p)), word)) {
        return scan_fail(scan, p, "expected a value", err);
    }
    return p + word.len;
}

/* A member's name and the colon behind it. */
static inline const char *
scan_name(Scan *scan, const char *p, Str *out_name, Error *err)
{
    p = skip_space(p, scan->end);
    if (!is_at(scan, p, '"')) {
        return scan_fail(scan, p, "expected a member name", err);
    }
    const char *first = p;
    p = scan_string(scan, p, err);
    if (p == NULL) {
        return NULL;
    }
    *out_name = str_n(first, (size_t)(p - first));
    p = skip_space(p, scan->end);
    return is_at(scan, p, ':') ? p + 1 : scan_fail(scan, p, "expected ':'", err);
}

/* At '{' or '['.  An empty container is passed whole; of another one, what stands before its first
 * value, and *out_opened is true. */
static inline const char *
scan_open(Scan *scan, const char *p, bool *out_opened, Str *out_name, Error *err)
{
    bool is_object = *p == '{';

    if (scan->depth == scan->depth_max) {
        (void)error_set(err, ERR_LIMIT, "JSON: nested deeper than %u at byte %zu", scan->depth_max,
                        (size_t)(p - scan->start));
        return NULL;
    }
    p = skip_space(p + 1, scan->end);
    *out_opened = !is_at(scan, p, is_object ? '}' : ']');
    if (!*out_opened) {
        return p + 1;
    }
    scan->is_object[scan->depth++] = is_object;
    return is_object ? scan_name(scan, p, out_name, err) : p;
}

/* A scalar, an empty container, or the opening of another one. */
static inline const char *
scan_begin(Scan *scan, const char *p, bool *out_opened, Error *err)
{
    Str name;

    *out_opened = false;
    p = skip_space(p, scan->end);
    switch (p < scan->end ? *p : '\0') {
    case '{':
    case '[':
        return scan_open(scan, p, out_opened, &name, err);
    case '"':
        return scan_string(scan, p, err);
    case 't':
        return scan_word(scan, p, STR("true"), err);
    case 'f':
        return scan_word(scan, p, STR("false"), err);
    case 'n':
        return scan_word(scan, p, STR("null"), err);
    case '-':
    case '0' ... '9':
        return scan_number(scan, p, err);
    default:
        return scan_fail(scan, p, "expected a value", err);
    }
}

/* Behind a value: closes what ends here, down to depth `base`.  *out_more says that a comma wants
 * one more value. */
static inline const char *
scan_close(Scan *scan, const char *p, unsigned base, bool *out_more, Str *out_name, Error *err)
{
    *out_more = false;
    while (scan->depth > base) {
        bool is_object = scan->is_object[scan->depth - 1];

        p = skip_space(p, scan->end);
        if (is_at(scan, p, ',')) {
            *out_more = true;
            return is_object ? scan_name(scan, p + 1, out_name, err) : p + 1;
        }
        if (!is_at(scan, p, is_object ? '}' : ']')) {
            return scan_fail(scan, p, is_object ? "expected ',' or '}'" : "expected ',' or ']'",
                             err);
        }
        p++;
        scan->depth--;
    }
    return p;
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
static const char *
scan_tokens(Scan *scan, const char *p, Error *err)
{
    unsigned base = scan->depth;
    bool more = true;
    Str name;

    while (more && p != NULL) {
        p = scan_begin(scan, p, &more, err);
        if (!more && p != NULL) {
            p = scan_close(scan, p, base, &more, &name, err);
        }
    }
    return p;
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
watch_find(const JsonWatch *watch, Str name)
{
    size_t at = 0;

    while (at < watch->count && (name.len != watch->names[at].len ||
                                 memcmp(name.ptr, watch->names[at].ptr, name.len) != 0)) {
        at++;
    }
    return at;
}

/* At '{': as scan_tokens, and takes down the members; `out` has watch->count values. */
static const char *
scan_watched_object(Scan *scan, const char *p, const JsonWatch *watch, JsonValue *values,
                    JsonWatched *out, Error *err)
{
    unsigned base = scan->depth;
    bool more;
    Str name;

    watch_clear(watch, values);
    p = scan_open(scan, p, &more, &name, err);
    while (more && p != NULL) {
        size_t found = watch_find(watch, name);
        bool within = watch->within != NULL && found + 1 == watch->count;

        out->unsure = out->unsure || (found == watch->count && scan->has_escape);
        p = skip_space(p, scan->end);
        const char *first = p;
        if (within) {
            watch_clear(watch->within, out->within);
        }
        p = within && is_at(scan, p, '{')
                ? scan_watched_object(scan, p, watch->within, out->within, out, err)
                : scan_tokens(scan, p, err);
        if (p != NULL && found < watch->count) {
            values[found] = (JsonValue){.text = str_n(first, (size_t)(p - first)),
                                        .type = type_from_first(*first)};
        }
        if (p != NULL) {
            p = scan_close(scan, p, base, &more, &name, err);
        }
    }
    return p;
}

/* watch may be NULL, and then so may watched. */
static const char *
scan_value(Scan *scan, const char *p, const JsonWatch *watch, JsonValue *out, JsonWatched *watched,
           Error *err)
{
    p = skip_space(p, scan->end);
    const char *first = p;
    scan->traits = 0;
    if (watch != NULL) {
        watched->unsure = false;
        watch_clear(watch, watched->values);
        if (watch->within != NULL) {
            watch_clear(watch->within, watched->within);
        }
    }
    p = watch != NULL && is_at(scan, p, '{')
            ? scan_watched_object(scan, p, watch, watched->values, watched, err)
            : scan_tokens(scan, p, err);
    if (p != NULL) {
        *out = (JsonValue){
            .text = str_n(first, (size_t)(p - first)),
            .type = type_from_first(*first),
            .traits = scan->traits,
        };
    }
    return p;
}

static const char *
scan_end(Scan *scan, const char *p, Error *err)
{
    p = skip_space(p, scan->end);
    return p == scan->end ? p : scan_fail(scan, p, "expected the end", err);
}

bool
json_scan_value(Str text, unsigned depth_max, JsonValue *out, Error *err)
{
    Scan scan;
    JsonValue value;
    const char *p;

    scan_init(&scan, text, 0, 0, depth_max, &p);
    p = scan_value(&scan, p, NULL, &value, NULL, err);
    if (p == NULL || scan_end(&scan, p, err) == NULL) {
        return false;
    }
    *out = value;
    return true;
}

bool
json_elements_init(JsonElements *it, Str text, unsigned depth_max, Error *err)
{
    Scan scan;
    const char *p;

    scan_init(&scan, text, 0, 0, depth_max, &p);
    p = skip_space(p, scan.end);
    if (p == scan.end) {
        return scan_fail(&scan, p, "", err) != NULL;
    }
    bool is_array = is_at(&scan, p, '[');
    if (is_array && depth_max == 0) {
        return error_set(err, ERR_LIMIT, "JSON: nested deeper than 0 at byte %zu",
                         (size_t)(p - scan.start));
    }
    *it = (JsonElements){
        .text = text,
        .at = (size_t)(p - scan.start) + (is_array ? 1 : 0),
        .depth_max = depth_max,
        .is_array = is_array,
    };
    return true;
}

/* What stands before the next element, or after the last one. */
static const char *
scan_separator(const Scan *scan, const char *p, const JsonElements *it, bool *out_more, Error *err)
{
    p = skip_space(p, scan->end);
    if (!it->is_array) {
        *out_more = !it->started;
        return p;
    }
    if (is_at(scan, p, ']')) {
        *out_more = false;
        return p + 1;
    }
    *out_more = true;
    if (!it->started) {
        return p;
    }
    return is_at(scan, p, ',') ? p + 1 : scan_fail(scan, p, "expected ',' or ']'", err);
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
    const char *p;
    bool more;

    if (it->done) {
        *out_more = false;
        return true;
    }
    scan_init(&scan, it->text, it->at, it->is_array ? 1 : 0, it->depth_max, &p);
    p = scan_separator(&scan, p, it, &more, err);
    if (p != NULL) {
        p = more ? scan_value(&scan, p, watch, out, watched, err) : scan_end(&scan, p, err);
    }
    if (p == NULL) {
        return false;
    }
    it->at = (size_t)(p - scan.start);
    it->started = true;
    it->done = !more;
    *out_more = more;
    return true;
}

void
json_members(Str object, const Str *keys, size_t count, JsonValue *out)
{
    Scan scan;
    const char *p;
    Str name;
    JsonValue value;
    Error ignored;

    for (size_t i = 0; i < count; i++) {
        out[i] = (JsonValue){.text = {NULL, 0}};
    }
    scan_init(&scan, object, 0, 1, JSON_DEPTH_MAX, &p);
    p = skip_space(p, scan.end);
    if (!is_at(&scan, p, '{')) {
        return;
    }
    do {
        p = scan_name(&scan, p + 1, &name, &ignored);
        if (p == NULL || (p = scan_value(&scan, p, NULL, &value, NULL, &ignored)) == NULL) {
            break;
        }
        for (size_t i = 0; i < count; i++) {
            if (json_name_eq(name, keys[i])) {
                out[i] = value;
            }
        }
        p = skip_space(p, scan.end);
    } while (is_at(&scan, p, ','));
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
