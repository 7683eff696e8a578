/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_file.h"

#include "common/mem.h"
#include "common/nearest.h"

#define LIST_BYTES_MAX 300 /* of a list of legal words in an error */

bool
json_file_load(Str text, json_t **out, Error *err)
{
    json_error_t where;
    json_t *value = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &where);

    if (value == NULL) {
        return error_set(err, ERR_INPUT, "line %d, column %d: %s", where.line, where.column,
                         where.text);
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return error_set(err, ERR_INPUT, "must be a JSON object");
    }
    *out = value;
    return true;
}

/* "a, b, c", cut when long. */
static void
list_words(const char *const *words, char out[LIST_BYTES_MAX])
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; words[i] != NULL && len < LIST_BYTES_MAX; i++) {
        int n = snprintf(out + len, LIST_BYTES_MAX - len, "%s%s", i > 0 ? ", " : "", words[i]);
        len += (size_t)n;
    }
}

static bool
unknown_word(const char *what, const char *given, const char *const *words, Error *err)
{
    const char *near = nearest_word(given, words);
    char list[LIST_BYTES_MAX];

    if (near != NULL) {
        return error_set(err, ERR_INPUT, "%s \"%.100s\"; did you mean \"%s\"?", what, given, near);
    }
    list_words(words, list);
    return error_set(err, ERR_INPUT, "%s \"%.100s\"; known are %s", what, given, list);
}

bool
json_file_key(const char *key, const char *const *keys, Error *err)
{
    for (size_t i = 0; keys[i] != NULL; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return unknown_word("unknown member", key, keys, err);
}

bool
json_file_keys(const json_t *object, const char *const *keys, Error *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object)) {
        return error_set(err, ERR_INPUT, "must be a JSON object");
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!json_file_key(key, keys, err)) {
            return false;
        }
    }
    return true;
}

static bool
is_text(const json_t *value, size_t bytes_max)
{
    Str text = STR_EMPTY;

    if (json_is_string(value)) {
        text = str_n(json_string_value(value), json_string_length(value));
    }
    return text.len > 0 && text.len <= bytes_max && !str_contains_ctl(text);
}

bool
json_file_text(const json_t *object, const char *key, size_t bytes_max, char **out, Error *err)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL) {
        return true;
    }
    if (!is_text(value, bytes_max)) {
        return error_set(err, ERR_INPUT,
                         "\"%s\" must be text of 1 to %zu bytes without control characters", key,
                         bytes_max);
    }
    free(*out);
    *out = mem_strdup(json_string_value(value));
    return true;
}

bool
json_file_texts(const json_t *object, const char *key, size_t count_max, size_t bytes_max,
                char ***out, size_t *out_count, Error *err)
{
    const json_t *list = json_object_get(object, key);
    size_t count = json_array_size(list);
    char **texts;

    if (list == NULL) {
        return true;
    }
    if (!json_is_array(list) || count == 0 || count > count_max) {
        return error_set(err, ERR_INPUT, "\"%s\" must be an array of 1 to %zu texts", key,
                         count_max);
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_text(json_array_get(list, i), bytes_max)) {
            return error_set(err, ERR_INPUT,
                             "each of \"%s\" must be text of 1 to %zu bytes without control "
                             "characters; the one at %zu is not",
                             key, bytes_max, i);
        }
    }
    texts = mem_array(count, sizeof(*texts));
    for (size_t i = 0; i < count; i++) {
        texts[i] = mem_strdup(json_string_value(json_array_get(list, i)));
    }
    json_file_texts_free(*out, *out_count);
    *out = texts;
    *out_count = count;
    return true;
}

bool
json_file_choice(const json_t *object, const char *key, const char *const *words, unsigned *out,
                 Error *err)
{
    const json_t *value = json_object_get(object, key);
    char list[LIST_BYTES_MAX];
    const char *text;

    if (value == NULL) {
        return true;
    }
    text = json_string_value(value);
    for (unsigned i = 0; text != NULL && words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            return true;
        }
    }
    if (text != NULL) {
        return unknown_word("cannot be", text, words, err) || error_wrap(err, "\"%s\"", key);
    }
    list_words(words, list);
    return error_set(err, ERR_INPUT, "\"%s\" must be one of %s", key, list);
}

bool
json_file_flag(const json_t *object, const char *key, bool *out, Error *err)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL) {
        return true;
    }
    if (!json_is_boolean(value)) {
        return error_set(err, ERR_INPUT, "\"%s\" must be true or false", key);
    }
    *out = json_is_true(value);
    return true;
}

void
json_file_texts_free(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(texts[i]);
    }
    free(texts);
}
