/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/route_set.c -- several routes: a file of them, and whether they get along.
 */
#include "common/route_spec_internal.h"

#include "common/json_file.h"
#include "common/mem.h"
#include "common/stream_glob.h"

void
route_specs_free(RouteSpec *specs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        route_spec_done(&specs[i]);
    }
    free(specs);
}

/* ---- conflicts ---- */

static bool
same_texts(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
    bool same = a_count == b_count;

    for (size_t i = 0; same && i < a_count; i++) {
        same = strcmp(a[i], b[i]) == 0;
    }
    return same;
}

/* What the table is, which every route into it must say alike. */
static const char *
table_difference(const RouteSpec *a, const RouteSpec *b)
{
    if (a->kind != b->kind) {
        return "as";
    }
    if (a->payload != b->payload || strcmp(a->payload_column, b->payload_column) != 0) {
        return "payload";
    }
    if (a->layout != b->layout || a->hash_count != b->hash_count ||
        !same_texts(a->list_prefixes, a->list_count, b->list_prefixes, b->list_count)) {
        return "layout";
    }
    return a->publish != b->publish ? "publish" : NULL;
}

static bool
check_columns(const RouteSpec *a, const RouteSpec *b, Error *err)
{
    for (size_t i = 0; i < a->column_count; i++) {
        for (size_t j = 0; j < b->column_count; j++) {
            if (strcmp(a->columns[i].name, b->columns[j].name) == 0 &&
                strcmp(a->columns[i].type, b->columns[j].type) != 0) {
                return error_set(err, ERR_CONFLICT,
                                 "routes \"%s\" and \"%s\" give the column \"%s\" of %s.%s "
                                 "different types",
                                 a->name, b->name, a->columns[i].name, a->schema, a->table);
            }
        }
    }
    return true;
}

/* Two routes of one prefix must not match one stream; with other prefixes they cannot name rows
 * alike unless one prefix begins with the other. */
static bool
check_names(const RouteSpec *a, const RouteSpec *b, Error *err)
{
    Str a_prefix = str_c(a->name_prefix);
    Str b_prefix = str_c(b->name_prefix);
    bool same_server = strcmp(a->server, b->server) == 0;

    if (!same_server && (a_prefix.len == 0 || b_prefix.len == 0)) {
        return error_set(err, ERR_CONFLICT,
                         "routes \"%s\" and \"%s\" bring two servers into %s.%s: give each a "
                         "\"name_prefix\" of its own",
                         a->name, b->name, a->schema, a->table);
    }
    if (!same_server || !str_eq(a_prefix, b_prefix)) {
        return (!str_starts(a_prefix, b_prefix) && !str_starts(b_prefix, a_prefix)) ||
               error_set(err, ERR_CONFLICT,
                         "routes \"%s\" and \"%s\" could give rows in %s.%s the same stream_name: "
                         "neither \"name_prefix\" may begin with the other",
                         a->name, b->name, a->schema, a->table);
    }
    for (size_t i = 0; i < a->stream_count; i++) {
        for (size_t j = 0; j < b->stream_count; j++) {
            if (stream_glob_overlap(str_c(a->streams[i]), str_c(b->streams[j]))) {
                return error_set(err, ERR_CONFLICT,
                                 "\"%.80s\" of route \"%s\" and \"%.80s\" of route \"%s\" can "
                                 "match one stream, and both go into %s.%s: make them distinct",
                                 a->streams[i], a->name, b->streams[j], b->name, a->schema,
                                 a->table);
            }
        }
    }
    return true;
}

static bool
check_pair(const RouteSpec *a, const RouteSpec *b, Error *err)
{
    const char *difference;

    if (strcmp(a->name, b->name) == 0) {
        return error_set(err, ERR_CONFLICT, "two routes are called \"%s\"", a->name);
    }
    if (strcmp(a->schema, b->schema) != 0 || strcmp(a->table, b->table) != 0) {
        return true;
    }
    difference = table_difference(a, b);
    if (difference != NULL) {
        return error_set(err, ERR_CONFLICT,
                         "routes \"%s\" and \"%s\" share the table %s.%s, so \"%s\" must be the "
                         "same in both",
                         a->name, b->name, a->schema, a->table, difference);
    }
    return check_columns(a, b, err) && check_names(a, b, err);
}

bool
route_specs_check(const RouteSpec *const *specs, size_t count, Error *err)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!check_pair(specs[j], specs[i], err)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- files ---- */

static bool
file_take(const json_t *routes, RouteSpec *specs, Error *err)
{
    const RouteSpec *pointers[ROUTES_MAX];
    size_t count = json_array_size(routes);

    for (size_t i = 0; i < count; i++) {
        if (!route_spec_take(&specs[i], json_array_get(routes, i), err)) {
            return error_wrap(err, "routes[%zu]", i);
        }
        pointers[i] = &specs[i];
    }
    return route_specs_check(pointers, count, err);
}

bool
route_file_parse(RouteSpec **out, size_t *out_count, Str json, Error *err)
{
    static const char *const members[] = {"routes", NULL};
    const json_t *routes;
    json_t *file = NULL;
    RouteSpec *specs = NULL;
    size_t count = 0;
    bool ok = false;

    if (!json_file_load(json, &file, err) || !json_file_keys(file, members, err)) {
        goto done;
    }
    routes = json_object_get(file, "routes");
    if (json_array_size(routes) == 0 || json_array_size(routes) > ROUTES_MAX) {
        error_set(err, ERR_INPUT, "\"routes\" must be an array of 1 to %d routes", ROUTES_MAX);
        goto done;
    }
    count = json_array_size(routes);
    specs = mem_array(count, sizeof(*specs));
    ok = file_take(routes, specs, err);
    if (ok) {
        *out = specs;
        *out_count = count;
    }

done:
    if (!ok) {
        route_specs_free(specs, count);
    }
    json_decref(file);
    return ok;
}
