/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/sink.h"

#include <bsd/string.h>

#include "common/mem.h"
#include "syncd/sink_sql.h"

#define TABLE_BYTES_MAX 512 /* two identifiers of 63 bytes, each byte quoted */

static const char *const event_names[SINK_EVENT_COLUMNS] = {"event_key", "event_type", "operation"};

static const SinkTableColumn *
table_find(const SinkTable *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->columns[i].name, name) == 0) {
            return &table->columns[i];
        }
    }
    return NULL;
}

static bool
type_is_text(const char *type)
{
    return strcmp(type, "text") == 0 || str_starts(str_c(type), STR("character varying"));
}

static bool
type_is_integer(const char *type)
{
    return strcmp(type, "bigint") == 0 || strcmp(type, "integer") == 0;
}

static bool
type_is_bigint(const char *type)
{
    return strcmp(type, "bigint") == 0;
}

typedef struct FixedColumn {
    const char *name;
    bool (*suits)(const char *type);
    const char *wanted;
} FixedColumn;

static const FixedColumn place_columns[] = {{"stream_name", type_is_text, "text"},
                                            {"generation", type_is_integer, "integer"},
                                            {"seq", type_is_bigint, "bigint"},
                                            {"ds_offset", type_is_text, "text"}};
static const FixedColumn state_columns[] = {{"stream_name", type_is_text, "text"},
                                            {"type", type_is_text, "text"},
                                            {"key", type_is_text, "text"},
                                            {"seq", type_is_bigint, "bigint"}};

static const FixedColumn *
fixed_columns(RouteKind kind, size_t *out_count)
{
    bool state = kind == ROUTE_STATE;

    *out_count = state ? DS_COUNT(state_columns) : DS_COUNT(place_columns);
    return state ? state_columns : place_columns;
}

static bool
is_fixed(RouteKind kind, const char *name)
{
    size_t count;
    const FixedColumn *fixed = fixed_columns(kind, &count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(fixed[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The column must be there and open to writers. */
static bool
need_column(const Sink *sink, const SinkTable *table, const char *name, const SinkTableColumn **out,
            Error *err)
{
    *out = table_find(table, name);
    if (*out == NULL) {
        return error_set(err, ERR_CONFIG,
                         "%s has no column %s: dsctl route apply says how to add it", sink->table,
                         name);
    }
    if ((*out)->generated) {
        return error_set(err, ERR_CONFIG, "column %s of %s is generated and cannot be written",
                         name, sink->table);
    }
    return true;
}

static bool
check_fixed(const Sink *sink, const SinkTable *table, Error *err)
{
    size_t count;
    const FixedColumn *fixed = fixed_columns(sink->kind, &count);
    const SinkTableColumn *column;

    for (size_t i = 0; i < count; i++) {
        if (!need_column(sink, table, fixed[i].name, &column, err)) {
            return false;
        }
        if (!fixed[i].suits(column->type)) {
            return error_set(err, ERR_CONFIG, "column %s of %s is of type %s; it must be %s",
                             fixed[i].name, sink->table, column->type, fixed[i].wanted);
        }
    }
    return true;
}

bool
sink_writes(const Sink *sink, const char *name)
{
    if (is_fixed(sink->kind, name)) {
        return true;
    }
    for (size_t i = 0; i < sink->value_count; i++) {
        if (strcmp(sink->values[i].column, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool
check_unwritten(const Sink *sink, const SinkTable *table, Error *err)
{
    for (size_t i = 0; i < table->count; i++) {
        const SinkTableColumn *column = &table->columns[i];

        if (column->not_null && !column->has_default && !sink_writes(sink, column->name)) {
            return error_set(err, ERR_CONFIG,
                             "column %s of %s is NOT NULL without a default, and the route does "
                             "not fill it: map it, or give it a default",
                             column->name, sink->table);
        }
    }
    return true;
}

static void
add_value(Sink *sink, const SinkTableColumn *column, const char *pointer, bool required)
{
    DS_ASSERT(sink->value_count < SINK_VALUES_MAX);
    sink->values[sink->value_count++] = (SinkValue){
        .column = mem_strdup(column->name),
        .type = mem_strdup(column->type),
        .pointer = pointer == NULL ? NULL : mem_strdup(pointer),
        .required = required || column->not_null,
    };
}

static bool
spec_maps(const RouteSpec *spec, const char *name)
{
    for (size_t i = 0; i < spec->column_count; i++) {
        if (strcmp(spec->columns[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A mapping for one of them takes its place. */
static void
add_event_columns(Sink *sink, const RouteSpec *spec, const SinkTable *table)
{
    for (size_t i = 0; i < SINK_EVENT_COLUMNS && sink->kind == ROUTE_EVENTS; i++) {
        const SinkTableColumn *column = table_find(table, event_names[i]);

        sink->has_event[i] =
            column != NULL && !column->generated && !spec_maps(spec, event_names[i]);
        if (sink->has_event[i]) {
            add_value(sink, column, NULL, false);
        }
    }
}

static bool
add_mapped(Sink *sink, const RouteSpec *spec, const SinkTable *table, Error *err)
{
    Str pointers[ROUTE_COLUMNS_MAX];

    sink->mapped_first = sink->value_count;
    if (spec->column_count > 0 && sink->kind == ROUTE_CHUNKS) {
        return error_set(err, ERR_CONFIG, "chunks have no columns to map");
    }
    DS_ASSERT(spec->column_count <= ROUTE_COLUMNS_MAX);
    for (size_t i = 0; i < spec->column_count; i++) {
        const RouteColumn *mapped = &spec->columns[i];
        const SinkTableColumn *column;

        if (sink_writes(sink, mapped->name) || strcmp(mapped->name, spec->payload_column) == 0) {
            return error_set(err, ERR_CONFIG, "column %s of %s cannot be mapped: syncd fills it",
                             mapped->name, sink->table);
        }
        if (!need_column(sink, table, mapped->name, &column, err)) {
            return false;
        }
        pointers[i] = str_c(mapped->pointer);
        add_value(sink, column, mapped->pointer, mapped->required);
    }
    sink->mapped_count = spec->column_count;
    return sink->mapped_count == 0 ||
           json_pointers_new(pointers, sink->mapped_count, &sink->pointers, err);
}

static bool
add_payload(Sink *sink, const RouteSpec *spec, const SinkTable *table, Error *err)
{
    const char *type = route_payload_name(spec->payload);
    const SinkTableColumn *column;

    if (sink->kind == ROUTE_CHUNKS && spec->payload != ROUTE_PAYLOAD_BYTEA &&
        spec->payload != ROUTE_PAYLOAD_TEXT) {
        return error_set(err, ERR_CONFIG, "chunks are bytea or text, not %s", type);
    }
    if (!need_column(sink, table, spec->payload_column, &column, err)) {
        return false;
    }
    if (strcmp(column->type, type) != 0) {
        return error_set(err, ERR_CONFIG, "column %s of %s is of type %s; the route says %s",
                         column->name, sink->table, column->type, type);
    }
    add_value(sink, column, NULL, false);
    return true;
}

static bool
name_table(Sink *sink, const RouteSpec *spec, Error *err)
{
    Buf name;

    buf_init(&name, TABLE_BYTES_MAX);
    if (!sql_identifier(&name, str_c(spec->schema), err) || !buf_append_char(&name, '.', err) ||
        !sql_identifier(&name, str_c(spec->table), err)) {
        buf_done(&name);
        return false;
    }
    sink->table = buf_take(&name);
    return true;
}

/* What jsonb refuses.  Type json and text take any legal JSON, bytea takes anything. */
static unsigned
traits_refused(RoutePayload payload)
{
    return payload == ROUTE_PAYLOAD_JSONB
               ? JSON_HAS_NUL | JSON_HAS_LONE_SURROGATE | JSON_HAS_HUGE_NUMBER
               : 0;
}

static bool
fill_sink(Sink *sink, const RouteSpec *spec, const SinkTable *table, Error *err)
{
    if (!name_table(sink, spec, err)) {
        return false;
    }
    if (table->count == 0) {
        return error_set(err, ERR_CONFIG, "there is no table %s: run dsctl route apply",
                         sink->table);
    }
    add_event_columns(sink, spec, table);
    return check_fixed(sink, table, err) && add_mapped(sink, spec, table, err) &&
           add_payload(sink, spec, table, err) && check_unwritten(sink, table, err) &&
           sink_make_statements(sink, err);
}

bool
sink_new(const RouteSpec *spec, const SinkTable *table, Sink **out, Error *err)
{
    Sink *sink = mem_zalloc(sizeof(*sink));

    sink->refs = 1;
    sink->route = mem_strdup(spec->name);
    sink->kind = spec->kind;
    sink->payload = spec->payload;
    sink->on_error = spec->on_error;
    sink->name_prefix = mem_strdup(spec->name_prefix);
    sink->poison_traits = traits_refused(spec->payload);
    if (!fill_sink(sink, spec, table, err)) {
        sink_unref(sink);
        return error_wrap(err, "route %s", spec->name);
    }
    *out = sink;
    return true;
}

Sink *
sink_ref(Sink *sink)
{
    sink->refs++;
    return sink;
}

void
sink_unref(Sink *sink)
{
    if (sink == NULL || --sink->refs > 0) {
        return;
    }
    for (size_t i = 0; i < sink->value_count; i++) {
        free(sink->values[i].column);
        free(sink->values[i].type);
        free(sink->values[i].pointer);
    }
    json_pointers_free(sink->pointers);
    free(sink->route);
    free(sink->name_prefix);
    free(sink->table);
    free(sink->small_sql);
    free(sink->one_sql);
    free(sink->copy_sql);
    free(sink->sieve_fill_sql);
    free(sink->sieve_sql);
    for (size_t i = 0; i < SINK_STATE_COUNT; i++) {
        free(sink->state_sql[i]);
    }
    free(sink);
}

/* --- the built-in ones: tables of migration 001 --- */

static Sink *
default_sink(RouteKind kind, char *table_name, char *payload_column, RoutePayload payload)
{
    static const SinkTableColumn columns[] = {
        {"stream_name", "text", true, false, false},
        {"generation", "integer", true, false, false},
        {"seq", "bigint", true, false, false},
        {"ds_offset", "text", true, false, false},
        {"event_key", "text", false, false, false},
        {"event_type", "text", false, false, false},
        {"operation", "text", false, false, false},
        {"payload", "jsonb", true, false, false},
        {"received_at", "timestamp with time zone", true, true, false},
    };
    static const SinkTableColumn chunk_columns[] = {
        {"stream_name", "text", true, false, false},
        {"generation", "integer", true, false, false},
        {"seq", "bigint", true, false, false},
        {"ds_offset", "text", true, false, false},
        {"bytes", "bytea", true, false, false},
        {"received_at", "timestamp with time zone", true, true, false},
    };
    SinkTable table = {columns, DS_COUNT(columns)};
    char name[] = ROUTE_DEFAULT_NAME;
    char schema[] = "ds_sync";
    char prefix[] = "";
    RouteSpec spec = {.name = name,
                      .schema = schema,
                      .table = table_name,
                      .name_prefix = prefix,
                      .payload_column = payload_column,
                      .kind = kind,
                      .payload = payload,
                      .on_error = ROUTE_ERROR_DEAD_LETTER};
    Sink *sink;
    Error err;

    if (kind == ROUTE_CHUNKS) {
        table = (SinkTable){chunk_columns, DS_COUNT(chunk_columns)};
    }
    bool made = sink_new(&spec, &table, &sink, &err);
    DS_ASSERT(made);
    return sink;
}

Sink *
sink_default_chunks(void)
{
    static Sink *sink;
    char table[] = "stream_chunks";
    char payload[] = "bytes";

    if (sink == NULL) {
        sink = default_sink(ROUTE_CHUNKS, table, payload, ROUTE_PAYLOAD_BYTEA);
    }
    return sink;
}

Sink *
sink_default_events(void)
{
    static Sink *sink;
    char table[] = "session_events";
    char payload[] = "payload";

    if (sink == NULL) {
        sink = default_sink(ROUTE_EVENTS, table, payload, ROUTE_PAYLOAD_JSONB);
        sink->of_bytes = sink_default_chunks();
    }
    return sink;
}

/* --- what goes in --- */

Sink *
sink_of_kind(Sink *sink, UnitKind kind)
{
    if ((kind == UNIT_JSON) == (sink->kind != ROUTE_CHUNKS)) {
        return sink;
    }
    return sink->of_bytes;
}

const char *
sink_refusal(const Sink *sink)
{
    return sink->kind == ROUTE_CHUNKS
               ? "the route takes byte and text streams (as: chunks), and this one holds JSON"
               : "the route takes JSON streams, and this one holds bytes or text: use as: chunks";
}

PoisonReason
sink_judge(const Sink *sink, unsigned json_traits)
{
    return poison_judge(json_traits & sink->poison_traits);
}

PoisonReason
sink_judge_chunk(const Sink *sink, Str bytes)
{
    if (sink->payload != ROUTE_PAYLOAD_TEXT) {
        return POISON_NONE;
    }
    if (memchr(bytes.ptr, '\0', bytes.len) != NULL) {
        return POISON_NUL;
    }
    return str_is_utf8(bytes) ? POISON_NONE : POISON_UTF8;
}

static bool
row_fault(Error *err, const char *sqlstate, const char *what)
{
    (void)error_set(err, ERR_INPUT, "%s", what);
    (void)strlcpy(err->sqlstate, sqlstate, sizeof(err->sqlstate));
    return false;
}

static void
event_texts(const Sink *sink, const SinkItem *item, SinkText *out)
{
    EventColumns found = item->has_columns ? item->columns : event_columns(item->text);
    const Str texts[SINK_EVENT_COLUMNS] = {found.key, found.type, found.operation};
    size_t at = 0;

    for (size_t i = 0; i < SINK_EVENT_COLUMNS; i++) {
        if (sink->has_event[i]) {
            out[at++] = (SinkText){
                .text = texts[i], .is_null = texts[i].ptr == NULL, .is_json_string = true};
        }
    }
}

static void
mapped_texts(const Sink *sink, Str message, SinkText *out)
{
    JsonValue values[JSON_POINTERS_MAX];

    json_pointers_get(sink->pointers, message, values);
    for (size_t i = 0; i < sink->mapped_count; i++) {
        out[sink->mapped_first + i] =
            (SinkText){.text = values[i].text,
                       .is_null = values[i].text.ptr == NULL || values[i].type == JSON_TYPE_NULL,
                       .is_json_string = values[i].type == JSON_TYPE_STRING};
    }
}

void
sink_texts_there(const Sink *sink, const SinkItem *item, SinkText *out)
{
    if (sink->mapped_first > 0) {
        event_texts(sink, item, out);
    }
    out[sink->value_count - 1] =
        (SinkText){.text = item->text, .is_bytes = sink->payload == ROUTE_PAYLOAD_BYTEA};
    if (sink->mapped_count > 0) {
        mapped_texts(sink, item->text, out);
    }
}

bool
sink_texts(const Sink *sink, const SinkItem *item, SinkText *out, Error *err)
{
    char what[256];

    sink_texts_there(sink, item, out);
    for (size_t i = 0; i < sink->mapped_count; i++) {
        const SinkValue *column = &sink->values[sink->mapped_first + i];

        if (out[sink->mapped_first + i].is_null && column->required) {
            (void)snprintf(what, sizeof(what), /* text for people: may be cut */
                           "column %s is required, and the message has no value for it",
                           column->column);
            return row_fault(err, "23502", what);
        }
    }
    return true;
}

bool
sink_decode(const Sink *sink, size_t value, const SinkText *text, Buf *scratch, Str *out,
            Error *err)
{
    DS_ASSERT(!text->is_null);
    if (!text->is_json_string) {
        *out = text->text;
        return true;
    }
    buf_reset(scratch);
    if (!json_unescape(text->text, scratch, err)) {
        if (err->code == ERR_INPUT) {
            (void)row_fault(err, "22P02", "its text holds half of a surrogate pair");
            return error_wrap(err, "column %s", sink->values[value].column);
        }
        return false;
    }
    *out = buf_str(scratch);
    if (memchr(out->ptr, '\0', out->len) != NULL) {
        (void)row_fault(err, "22P05", "its text holds \\u0000");
        return error_wrap(err, "column %s", sink->values[value].column);
    }
    return true;
}
