/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/sink_sql.h"

#include "common/pg.h"
#include "sql/queries.h"

#define SMALL_FIRST_PARAM 15 /* behind the guard's ten and the place's four */
#define SIEVE_FIRST       5  /* behind the place's four */
#define STATE_FIRST_PARAM 11 /* behind those that each statement of state has */
#define PUT_FIRST_PARAM   5  /* but this one */
#define TAG_BYTES_MAX     64

bool
sql_identifier(Buf *out, Str name, Error *err)
{
    if (name.len == 0 || memchr(name.ptr, '\0', name.len) != NULL) {
        return error_set(err, ERR_CONFIG, "a name of a table or a column is empty");
    }
    if (!buf_append_char(out, '"', err)) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if ((name.ptr[i] == '"' && !buf_append_char(out, '"', err)) ||
            !buf_append_char(out, name.ptr[i], err)) {
            return false;
        }
    }
    return buf_append_char(out, '"', err);
}

bool
sql_literal(Buf *out, Str text, Error *err)
{
    bool escapes = memchr(text.ptr, '\\', text.len) != NULL;

    if (!buf_append(out, escapes ? STR(" E'") : STR("'"), err)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (((c == '\'' || c == '\\') && !buf_append_char(out, c, err)) ||
            !buf_append_char(out, c, err)) {
            return false;
        }
    }
    return buf_append_char(out, '\'', err);
}

/* Begins with a comma: something stands before it. */
static bool
append_value_columns(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!buf_append(out, STR(", "), err) ||
            !sql_identifier(out, str_c(sink->values[i].column), err)) {
            return false;
        }
    }
    return true;
}

static bool
append_arrays_from(const Sink *sink, size_t first_param, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!buf_printf(out, err, ", $%zu::text[]", first_param + i)) {
            return false;
        }
    }
    return true;
}

static bool
append_column_literals(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        if ((i > 0 && !buf_append(out, STR(", "), err)) ||
            !sql_literal(out, str_c(sink->values[i].column), err)) {
            return false;
        }
    }
    return true;
}

static bool
append_columns(const Sink *sink, Buf *out, Error *err)
{
    return buf_append(out, STR("stream_name, generation, seq, ds_offset"), err) &&
           append_value_columns(sink, out, err);
}

static bool
append_params(const Sink *sink, Buf *out, Error *err)
{
    return append_arrays_from(sink, SMALL_FIRST_PARAM, out, err);
}

static bool
append_singles(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!buf_printf(out, err, ", ($%zu::text[])[1] AS c%zu", SMALL_FIRST_PARAM + i, i + 1)) {
            return false;
        }
    }
    return true;
}

static bool
append_fields(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!buf_printf(out, err, ", c%zu", i + 1)) {
            return false;
        }
    }
    return true;
}

static bool
append_values(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!buf_printf(out, err, ", r.c%zu::%s", i + 1, sink->values[i].type)) {
            return false;
        }
    }
    return true;
}

/* The first of the sieve's settings that is of a value. */
static size_t
first_setting(const Sink *sink)
{
    return sink->kind == ROUTE_STATE ? STATE_FIRST_PARAM : SIEVE_FIRST;
}

static bool
append_stored(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!buf_printf(out, err, ", current_setting('ds_sync.sieve_%zu')::text[]",
                        first_setting(sink) + i)) {
            return false;
        }
    }
    return true;
}

/* The length, so that the rows are not sent back. */
static bool
append_settings(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 1; i < first_setting(sink) + sink->value_count; i++) {
        if (!buf_printf(out, err,
                        "%soctet_length(set_config('ds_sync.sieve_%zu', $%zu::text, true))",
                        i == 1 ? "" : ", ", i, i)) {
            return false;
        }
    }
    return true;
}

/* --- of state --- */

static const SinkValue *
payload_of(const Sink *sink)
{
    return &sink->values[sink->value_count - 1];
}

static bool
append_payload(const Sink *sink, Buf *out, Error *err)
{
    return sql_identifier(out, str_c(payload_of(sink)->column), err);
}

static bool
append_payload_type(const Sink *sink, Buf *out, Error *err)
{
    return sql_literal(out, str_c(payload_of(sink)->type), err);
}

static bool
append_payload_value(const Sink *sink, Buf *out, Error *err)
{
    return buf_printf(out, err, "r.c%zu::%s", sink->value_count, payload_of(sink)->type);
}

static bool
append_staged_payload(const Sink *sink, Buf *out, Error *err)
{
    bool is_bytes = sink->payload == ROUTE_PAYLOAD_BYTEA;

    return buf_printf(out, err, is_bytes ? "convert_to(%s, 'UTF8')" : "%s::%s",
                      "ds_sync.staged_json(s.fields[cardinality(s.fields)])",
                      payload_of(sink)->type);
}

static bool
append_staged_fields(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        bool is_payload = i + 1 == sink->value_count;

        if (!buf_printf(out, err, "%s%s(r.c%zu::%s)%s", i == 0 ? "" : ", ",
                        is_payload ? "ds_sync.staged_text" : "", i + 1, sink->values[i].type,
                        is_payload ? "" : "::text")) {
            return false;
        }
    }
    return true;
}

static bool
append_pointer_literals(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->mapped_count; i++) {
        if ((i > 0 && !buf_append(out, STR(", "), err)) ||
            !sql_literal(out, str_c(sink->values[sink->mapped_first + i].pointer), err)) {
            return false;
        }
    }
    return true;
}

static bool
append_required(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->mapped_count; i++) {
        if (!buf_printf(out, err, "%s%s", i > 0 ? ", " : "",
                        sink->values[sink->mapped_first + i].required ? "true" : "false")) {
            return false;
        }
    }
    return true;
}

/* Each text with its length, so that no two lists of columns read the same. */
static bool
describe_shape(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        const SinkValue *value = &sink->values[i];
        const char *pointer = value->pointer == NULL ? "" : value->pointer;

        if (!buf_printf(out, err, "%zu:%s%zu:%s%zu:%s", strlen(value->column), value->column,
                        strlen(value->type), value->type, strlen(pointer), pointer)) {
            return false;
        }
    }
    return true;
}

/* A constant to Postgres, though a long text of ours. */
static bool
append_shape(const Sink *sink, Buf *out, Error *err)
{
    Buf shape;

    buf_init(&shape, SINK_SQL_BYTES_MAX);
    bool ok = describe_shape(sink, &shape, err) &&
              buf_append(out, STR("substr(sha256(convert_to("), err) &&
              sql_literal(out, buf_str(&shape), err) &&
              buf_append(out, STR(", 'UTF8')), 1, 16)"), err);
    buf_done(&shape);
    return ok;
}

static bool
append_staged_values(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        if (!buf_printf(out, err, ", s.fields[%zu]::%s", i + 1, sink->values[i].type)) {
            return false;
        }
    }
    return true;
}

static bool
append_state_assigned(const Sink *sink, Buf *out, Error *err)
{
    for (size_t i = 0; i < sink->value_count; i++) {
        Str column = str_c(sink->values[i].column);

        if (!buf_append(out, STR(", "), err) || !sql_identifier(out, column, err) ||
            !buf_append(out, STR(" = excluded."), err) || !sql_identifier(out, column, err)) {
            return false;
        }
    }
    return true;
}

static bool
append_state_params(const Sink *sink, Buf *out, Error *err)
{
    return append_arrays_from(sink, STATE_FIRST_PARAM, out, err);
}

static bool
append_put_params(const Sink *sink, Buf *out, Error *err)
{
    return append_arrays_from(sink, PUT_FIRST_PARAM, out, err);
}

static bool
append_table(const Sink *sink, Buf *out, Error *err)
{
    return buf_append(out, str_c(sink->table), err);
}

static bool
append_table_literal(const Sink *sink, Buf *out, Error *err)
{
    return sql_literal(out, str_c(sink->table), err);
}

static bool
append_no_row_fault(const Sink *sink, Buf *out, Error *err)
{
    (void)sink;
    return buf_append_char(out, '\'', err) && pg_no_row_fault_pattern(out, err) &&
           buf_append_char(out, '\'', err);
}

static bool
tag_is_free(const Sink *sink, const char *tag)
{
    if (strstr(sink->table, tag) != NULL) {
        return false;
    }
    for (size_t i = 0; i < sink->value_count; i++) {
        if (strstr(sink->values[i].column, tag) != NULL ||
            strstr(sink->values[i].type, tag) != NULL) {
            return false;
        }
    }
    return true;
}

/* The same each time: it depends on the sink's names alone. */
static bool
append_tag(const Sink *sink, Buf *out, Error *err)
{
    char tag[TAG_BYTES_MAX];

    for (unsigned number = 0; number < SINK_VALUES_MAX * 2 + 2; number++) {
        (void)snprintf(tag, sizeof(tag), "sieve%u", number); /* fits */
        if (tag_is_free(sink, tag)) {
            return buf_append(out, str_c(tag), err);
        }
    }
    return error_set(err, ERR_CONFIG, "too many names of the table look like \"sieve1\"");
}

static const struct {
    Str name;
    bool (*append)(const Sink *sink, Buf *out, Error *err);
} placeholders[] = {
    {STR("column_literals"), append_column_literals},
    {STR("columns"), append_columns},
    {STR("fields"), append_fields},
    {STR("no_row_fault"), append_no_row_fault},
    {STR("params"), append_params},
    {STR("payload"), append_payload},
    {STR("payload_type"), append_payload_type},
    {STR("payload_value"), append_payload_value},
    {STR("pointer_literals"), append_pointer_literals},
    {STR("put_params"), append_put_params},
    {STR("required"), append_required},
    {STR("settings"), append_settings},
    {STR("shape"), append_shape},
    {STR("singles"), append_singles},
    {STR("staged_fields"), append_staged_fields},
    {STR("staged_payload"), append_staged_payload},
    {STR("staged_values"), append_staged_values},
    {STR("state_assigned"), append_state_assigned},
    {STR("state_columns"), append_value_columns},
    {STR("state_params"), append_state_params},
    {STR("stored"), append_stored},
    {STR("table"), append_table},
    {STR("table_literal"), append_table_literal},
    {STR("tag"), append_tag},
    {STR("values"), append_values},
};

static bool
append_placeholder(const Sink *sink, Str name, Buf *out, Error *err)
{
    for (size_t i = 0; i < DS_COUNT(placeholders); i++) {
        if (str_eq(placeholders[i].name, name)) {
            return placeholders[i].append(sink, out, err);
        }
    }
    DS_UNREACHABLE("a template with an unknown placeholder");
}

/* An empty pair of braces is SQL, not a placeholder. */
static bool
fill(const Sink *sink, const char *template, Buf *out, Error *err)
{
    Str rest = str_c(template);
    Str head;
    Str name;

    while (str_cut(rest, '{', &head, &rest)) {
        bool closed = str_cut(rest, '}', &name, &rest);

        DS_ASSERT(closed);
        if (!buf_append(out, head, err) ||
            !(name.len == 0 ? buf_append(out, STR("{}"), err)
                            : append_placeholder(sink, name, out, err))) {
            return false;
        }
    }
    return buf_append(out, head, err);
}

static bool
make(const Sink *sink, const char *template, char **out, Error *err)
{
    Buf text;

    buf_init(&text, SINK_SQL_BYTES_MAX);
    if (!fill(sink, template, &text, err)) {
        buf_done(&text);
        return error_wrap(err, "the statements for %s", sink->table);
    }
    *out = buf_take(&text);
    return true;
}

static bool
make_state_statements(Sink *sink, Error *err)
{
    return make(sink, sql_sink_state_check, &sink->state_sql[SINK_STATE_CHECK], err) &&
           make(sink, sql_sink_state_stage, &sink->state_sql[SINK_STATE_STAGE], err) &&
           make(sink, sql_sink_state_remove, &sink->state_sql[SINK_STATE_REMOVE], err) &&
           make(sink, sql_sink_state_move, &sink->state_sql[SINK_STATE_MOVE], err) &&
           make(sink, sql_sink_state_sift, &sink->state_sql[SINK_STATE_SIFT], err) &&
           make(sink, sql_sink_sieve_fill, &sink->state_sql[SINK_STATE_FILL], err) &&
           make(sink, sql_sink_state_sieve, &sink->state_sql[SINK_STATE_SIEVE], err) &&
           make(sink, sql_sink_state_clear, &sink->state_sql[SINK_STATE_CLEAR], err) &&
           make(sink, sql_sink_state_apply, &sink->state_sql[SINK_STATE_APPLY], err) &&
           make(sink, sql_sink_state_put, &sink->state_sql[SINK_STATE_PUT], err);
}

bool
sink_make_statements(Sink *sink, Error *err)
{
    if (sink->kind == ROUTE_STATE) {
        return make_state_statements(sink, err);
    }
    return make(sink, sql_sink_small, &sink->small_sql, err) &&
           make(sink, sql_sink_one, &sink->one_sql, err) &&
           make(sink, sql_sink_copy, &sink->copy_sql, err) &&
           make(sink, sql_sink_sieve_fill, &sink->sieve_fill_sql, err) &&
           make(sink, sql_sink_sieve, &sink->sieve_sql, err);
}
