/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/route_print.c -- a route as canonical JSON, and the words that its members have.
 */
#include "common/route_spec_internal.h"

#define DURATION_BYTES_MAX 32

const char *const route_kind_words[] = {"events", "chunks", "state", NULL};
const char *const route_payload_words[] = {"jsonb", "json", "text", "bytea", NULL};
const char *const route_start_words[] = {"earliest", "now", NULL};
const char *const route_on_error_words[] = {"dead_letter", "stop", NULL};
const char *const route_on_recreate_words[] = {"stop", "new_generation", NULL};
const char *const route_ttl_words[] = {"respect", "hold", NULL};
const char *const route_after_sync_words[] = {"keep", "trim", "delete_closed", NULL};

const char *
route_kind_name(RouteKind kind)
{
    DS_ASSERT(kind < ROUTE_KIND_COUNT);
    return route_kind_words[kind];
}

const char *
route_payload_name(RoutePayload payload)
{
    DS_ASSERT(payload < ROUTE_PAYLOAD_COUNT);
    return route_payload_words[payload];
}

/* The largest unit that says it exactly. */
static json_t *
print_duration(int64_t ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    char text[DURATION_BYTES_MAX];
    size_t i = 0;

    while (ms % units[i].ms != 0) {
        i++;
    }
    i = ms == 0 ? 3 : i;
    (void)snprintf(text, sizeof(text), "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
    return json_string(text);
}

static json_t *
print_texts(char *const *texts, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(array, json_string(texts[i]));
    }
    return array;
}

static json_t *
print_columns(const RouteSpec *spec)
{
    json_t *columns = json_object();

    for (size_t i = 0; i < spec->column_count; i++) {
        const RouteColumn *column = &spec->columns[i];
        json_object_set_new(columns, column->name,
                            json_pack("{s:s, s:s, s:b}", "pointer", column->pointer, "type",
                                      column->type, "required", (int)column->required));
    }
    return columns;
}

static json_t *
print_layout(const RouteSpec *spec)
{
    if (spec->layout == ROUTE_LAYOUT_HASH) {
        return json_pack("{s:i}", "hash", (int)spec->hash_count);
    }
    if (spec->layout == ROUTE_LAYOUT_LIST) {
        return json_pack("{s:o}", "list", print_texts(spec->list_prefixes, spec->list_count));
    }
    return json_string("none");
}

static json_t *
print_object(const RouteSpec *spec)
{
    json_t *object = json_object();

    json_object_set_new(object, "name", json_string(spec->name));
    json_object_set_new(object, "server", json_string(spec->server));
    json_object_set_new(object, "streams", print_texts(spec->streams, spec->stream_count));
    if (spec->name_prefix[0] != '\0') {
        json_object_set_new(object, "name_prefix", json_string(spec->name_prefix));
    }
    json_object_set_new(object, "table", json_sprintf("%s.%s", spec->schema, spec->table));
    json_object_set_new(object, "as", json_string(route_kind_name(spec->kind)));
    json_object_set_new(object, "payload",
                        json_pack("{s:s, s:s}", "column", spec->payload_column, "type",
                                  route_payload_name(spec->payload)));
    json_object_set_new(object, "columns", print_columns(spec));
    json_object_set_new(object, "layout", print_layout(spec));
    json_object_set_new(object, "publish", json_boolean(spec->publish));
    json_object_set_new(object, "start",
                        spec->start == ROUTE_START_OFFSET
                            ? json_pack("{s:s}", "offset", spec->start_offset)
                            : json_string(route_start_words[spec->start]));
    json_object_set_new(object, "on_error", json_string(route_on_error_words[spec->on_error]));
    json_object_set_new(object, "on_recreate",
                        json_string(route_on_recreate_words[spec->on_recreate]));
    json_object_set_new(object, "ttl", json_string(route_ttl_words[spec->ttl]));
    json_object_set_new(object, "after_sync",
                        json_string(route_after_sync_words[spec->after_sync]));
    if (spec->after_sync != ROUTE_AFTER_KEEP) {
        json_object_set_new(object, "after_sync_grace", print_duration(spec->grace_ms));
    }
    return object;
}

bool
route_spec_print(const RouteSpec *spec, Buf *out, Error *err)
{
    json_t *object = print_object(spec);
    char *text = json_dumps(object, JSON_COMPACT);
    bool ok;

    DS_ASSERT(text != NULL); /* the parser took only UTF-8 */
    ok = buf_append(out, str_c(text), err);
    free(text);
    json_decref(object);
    return ok;
}
