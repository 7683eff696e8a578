/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/route_set.c -- several routes: a file of them, and whether they get along.
 */
#include "common/route_spec_internal.h"

#include "common/json_file.h"
#include "common/mem.h"
#include "common/stream_glob.h"

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

static bool
same_layout(const RouteSpec *a, const RouteSpec *b)
{
    return a->layout == b->layout && a->hash_count == b->hash_count &&
           same_texts(a->list_prefixes, a->list_count, b->list_prefixes, b->list_count);
}

/* What the table is, which every route into it must say alike. */
static void
check_table(const RouteSpec *a, const RouteSpec *b, RouteProblems *problems)
{
    const struct {
        const char *member;
        bool same;
    } members[] = {
        {"as", a->kind == b->kind},
        /* Another kind has another payload by itself. */
        {"payload", a->kind != b->kind || (a->payload == b->payload &&
                                           strcmp(a->payload_column, b->payload_column) == 0)},
        {"layout", same_layout(a, b)},
        {"publish", a->publish == b->publish},
    };
    Error err;

    for (size_t i = 0; i < DS_COUNT(members); i++) {
        if (!members[i].same) {
            error_set(&err, ERR_CONFLICT,
                      "routes \"%s\" and \"%s\" share the table %s.%s, so \"%s\" must be the same "
                      "in both",
                      a->name, b->name, a->schema, a->table, members[i].member);
            route_problems_note(problems, false, &err);
        }
    }
}

static void
check_columns(const RouteSpec *a, const RouteSpec *b, RouteProblems *problems)
{
    Error err;

    for (size_t i = 0; i < a->column_count; i++) {
        for (size_t j = 0; j < b->column_count; j++) {
            if (strcmp(a->columns[i].name, b->columns[j].name) == 0 &&
                strcmp(a->columns[i].type, b->columns[j].type) != 0) {
                error_set(&err, ERR_CONFLICT,
                          "routes \"%s\" and \"%s\" give the column \"%s\" of %s.%s different "
                          "types",
                          a->name, b->name, a->columns[i].name, a->schema, a->table);
                route_problems_note(problems, false, &err);
            }
        }
    }
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

static void
check_pair(const RouteSpec *a, const RouteSpec *b, RouteProblems *problems)
{
    Error err;

    if (strcmp(a->name, b->name) == 0) {
        error_set(&err, ERR_CONFLICT, "two routes are called \"%s\"", a->name);
        route_problems_note(problems, false, &err);
    }
    if (strcmp(a->schema, b->schema) == 0 && strcmp(a->table, b->table) == 0) {
        check_table(a, b, problems);
        check_columns(a, b, problems);
        route_problems_note(problems, check_names(a, b, &err), &err);
    }
}

void
route_specs_check(const RouteSpec *const *specs, size_t count, size_t settled,
                  RouteProblems *problems)
{
    for (size_t i = settled; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            check_pair(specs[j], specs[i], problems);
        }
    }
}

/* ---- files ---- */

static void
take_route(RouteFile *file, const json_t *route, size_t at)
{
    const char *name = json_string_value(json_object_get(route, "name"));
    size_t before = file->problems.count;

    file->names[file->name_count++] = name != NULL ? mem_strdup(name) : NULL;
    if (route_spec_take(&file->specs[file->count], route, &file->problems)) {
        file->count++;
    } else {
        route_problems_wrap(&file->problems, before, "routes[%zu]", at);
    }
}

static void
take_routes(RouteFile *file, const json_t *routes)
{
    const RouteSpec *pointers[ROUTES_MAX];
    size_t count = json_array_size(routes);
    Error err;

    if (count == 0 || count > ROUTES_MAX) {
        error_set(&err, ERR_INPUT, "\"routes\" must be an array of 1 to %d routes", ROUTES_MAX);
        route_problems_note(&file->problems, false, &err);
        return;
    }
    file->specs = mem_array(count, sizeof(*file->specs));
    file->names = mem_array(count, sizeof(*file->names));
    for (size_t i = 0; i < count; i++) {
        take_route(file, json_array_get(routes, i), i);
    }
    for (size_t i = 0; i < file->count; i++) {
        pointers[i] = &file->specs[i];
    }
    route_specs_check(pointers, file->count, 0, &file->problems);
}

static void
take_file(RouteFile *out, const json_t *file)
{
    static const char *const members[] = {"routes", NULL};
    const json_t *routes = json_object_get(file, "routes");
    const char *key;
    json_t *value;
    Error err;

    json_object_foreach((json_t *)(uintptr_t)file, key, value)
    {
        route_problems_note(&out->problems, json_file_key(key, members, &err), &err);
    }
    if (routes != NULL || out->problems.count == 0) {
        take_routes(out, routes);
    }
}

void
route_file_read(RouteFile *out, Str json)
{
    json_t *file = NULL;
    Error err;

    *out = (RouteFile){0};
    if (route_problems_note(&out->problems, json_file_load(json, &file, &err), &err)) {
        take_file(out, file);
    }
    json_decref(file);
}

void
route_file_done(RouteFile *file)
{
    for (size_t i = 0; i < file->count; i++) {
        route_spec_done(&file->specs[i]);
    }
    free(file->specs);
    json_file_texts_free(file->names, file->name_count);
    *file = (RouteFile){0};
}
