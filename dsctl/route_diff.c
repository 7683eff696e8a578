/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/route_diff.h"

#include "common/base.h"

#define PATH_BYTES_MAX 512

typedef struct Diff {
    const char *route;
    const char *change;
    json_t *rows;
} Diff;

/* Texts without quotes; NULL is absent. */
static json_t *
shown(const json_t *value)
{
    char *text;
    json_t *string;

    if (value == NULL || json_is_string(value)) {
        return value == NULL ? json_null() : json_string(json_string_value(value));
    }
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    string = json_string(text);
    free(text);
    return string;
}

static void
add_row(const Diff *diff, const char *path, const json_t *from, const json_t *to)
{
    json_t *row = json_object();

    json_object_set_new(row, "route", json_string(diff->route));
    json_object_set_new(row, "change", json_string(diff->change));
    json_object_set_new(row, "what", json_string(path));
    json_object_set_new(row, "from", shown(from));
    json_object_set_new(row, "to", shown(to));
    json_array_append_new(diff->rows, row);
}

static bool
contains(const json_t *array, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (json_equal(json_array_get(array, i), value)) {
            return true;
        }
    }
    return false;
}

static void
diff_lists(const Diff *diff, const char *path, const json_t *before, const json_t *after)
{
    for (size_t i = 0; i < json_array_size(before); i++) {
        if (!contains(after, json_array_get(before, i))) {
            add_row(diff, path, json_array_get(before, i), NULL);
        }
    }
    for (size_t i = 0; i < json_array_size(after); i++) {
        if (!contains(before, json_array_get(after, i))) {
            add_row(diff, path, NULL, json_array_get(after, i));
        }
    }
}

static void diff_values(const Diff *diff, const char *path, const json_t *before,
                        const json_t *after);

static void
diff_member(const Diff *diff, const char *path, const char *key, const json_t *before,
            const json_t *after)
{
    char below[PATH_BYTES_MAX];

    (void)snprintf(below, sizeof(below), "%s%s%s", path, path[0] != '\0' ? "." : "", key);
    diff_values(diff, below, before, after);
}

/* Members in the order of the new one, then those that went. */
static void
diff_objects(const Diff *diff, const char *path, const json_t *before, const json_t *after)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)after, key, value)
    {
        diff_member(diff, path, key, json_object_get(before, key), value);
    }
    json_object_foreach((json_t *)(uintptr_t)before, key, value)
    {
        if (json_object_get(after, key) == NULL) {
            diff_member(diff, path, key, value, NULL);
        }
    }
}

static bool
is_kind(const json_t *a, const json_t *b, json_type type)
{
    return (a == NULL || json_typeof(a) == type) && (b == NULL || json_typeof(b) == type);
}

/* Specs nest three deep. */
static void
diff_values(const Diff *diff, const char *path, const json_t *before, const json_t *after)
{
    if (before != NULL && after != NULL && json_equal(before, after)) {
        return;
    }
    if (is_kind(before, after, JSON_OBJECT)) {
        diff_objects(diff, path, before, after);
    } else if (is_kind(before, after, JSON_ARRAY)) {
        diff_lists(diff, path, before, after);
    } else {
        add_row(diff, path, before, after);
    }
}

void
route_diff(const char *route, const json_t *before, const json_t *after, json_t *rows)
{
    Diff diff = {route, before == NULL ? "add" : "change", rows};
    size_t count = json_array_size(rows);

    diff_values(&diff, "", before, after);
    if (json_array_size(rows) == count) {
        diff.change = "same";
        add_row(&diff, "", NULL, NULL);
    }
}
