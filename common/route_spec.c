/* SPDX-License-Identifier: Apache-2.0 */
#include "common/route_spec_internal.h"

#include "common/ds_proto.h"
#include "common/json_file.h"
#include "common/mem.h"
#include "common/offset.h"
#include "common/parse.h"
#include "common/stream_glob.h"

#define DURATION_BYTES_MAX 32
#define RESERVED_MAX       12

/* In the order of the enums of the header. */
static const char *const kind_words[] = {"events", "chunks", "state", NULL};
static const char *const payload_words[] = {"jsonb", "json", "text", "bytea", NULL};
static const char *const start_words[] = {"earliest", "now", NULL};
static const char *const on_error_words[] = {"dead_letter", "stop", NULL};
static const char *const on_recreate_words[] = {"stop", "new_generation", NULL};
static const char *const ttl_words[] = {"respect", "hold", NULL};
static const char *const after_sync_words[] = {"keep", "trim", "delete_closed", NULL};

static const char *const route_members[] = {
    "name",        "server",     "streams",          "name_prefix", "table", "as",
    "payload",     "columns",    "layout",           "publish",     "start", "on_error",
    "on_recreate", "after_sync", "after_sync_grace", "ttl",         NULL};

/* Columns that rows of a kind have by themselves. */
static const char *const own_columns[ROUTE_KIND_COUNT][RESERVED_MAX] = {
    [ROUTE_EVENTS] = {"stream_name", "generation", "seq", "ds_offset", "event_key", "event_type",
                      "operation", "received_at", NULL},
    [ROUTE_CHUNKS] = {"stream_name", "generation", "seq", "ds_offset", "received_at", NULL},
    [ROUTE_STATE] = {"stream_name", "type", "key", "seq", NULL},
};

const char *
route_kind_name(RouteKind kind)
{
    DS_ASSERT(kind < ROUTE_KIND_COUNT);
    return kind_words[kind];
}

const char *
route_payload_name(RoutePayload payload)
{
    DS_ASSERT(payload < ROUTE_PAYLOAD_COUNT);
    return payload_words[payload];
}

/* ---- life ---- */

void
route_spec_done(RouteSpec *spec)
{
    free(spec->name);
    free(spec->server);
    free(spec->schema);
    free(spec->table);
    free(spec->name_prefix);
    free(spec->payload_column);
    free(spec->start_offset);
    json_file_texts_free(spec->streams, spec->stream_count);
    for (size_t i = 0; i < spec->column_count; i++) {
        free(spec->columns[i].name);
        free(spec->columns[i].pointer);
        free(spec->columns[i].type);
    }
    free(spec->columns);
    json_file_texts_free(spec->list_prefixes, spec->list_count);
    *spec = (RouteSpec){0};
}

/* ---- names ---- */

/* They stand in settings, logs and metrics, so they are plain. */
static bool
check_plain_name(const char *name, const char *what, Error *err)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");

    if (name[len] != '\0' || strchr("_.-", name[0]) != NULL) {
        return error_set(err, ERR_INPUT,
                         "\"%s\" must be of lower-case letters, digits, '_', '-' and '.', and "
                         "begin with a letter or digit",
                         what);
    }
    return true;
}

static bool
take_names(RouteSpec *spec, const json_t *object, Error *err)
{
    if (!json_file_text(object, "name", ROUTE_NAME_BYTES_MAX, &spec->name, err)) {
        return false;
    }
    if (spec->name == NULL) {
        return error_set(err, ERR_INPUT, "\"name\" is missing");
    }
    if (strcmp(spec->name, ROUTE_DEFAULT_NAME) == 0) {
        return error_set(err, ERR_INPUT,
                         "\"name\" cannot be \"" ROUTE_DEFAULT_NAME
                         "\": that is the route which SYNCD_STREAMS makes");
    }
    spec->server = mem_strdup("default");
    return check_plain_name(spec->name, "name", err) &&
           json_file_text(object, "server", ROUTE_NAME_BYTES_MAX, &spec->server, err);
}

/* The prefix is whole segments, so that what is below it is a name and a pattern again. */
static bool
take_prefix(RouteSpec *spec, const json_t *object, Error *err)
{
    Str prefix;

    spec->name_prefix = mem_strdup("");
    if (!json_file_text(object, "name_prefix", ROUTE_PREFIX_BYTES_MAX, &spec->name_prefix, err)) {
        return false;
    }
    prefix = str_c(spec->name_prefix);
    if (prefix.len == 0) {
        return true;
    }
    if (!str_ends(prefix, STR("/")) || strchr(spec->name_prefix, '*') != NULL) {
        return error_set(err, ERR_INPUT,
                         "\"name_prefix\" must end with a slash, like \"eu/\", and have no '*'");
    }
    prefix.len--;
    return stream_glob_check(prefix, err) || error_wrap(err, "\"name_prefix\"");
}

static bool
take_streams(RouteSpec *spec, const json_t *object, Error *err)
{
    if (!json_file_texts(object, "streams", ROUTE_STREAMS_MAX, STREAM_GLOB_BYTES_MAX,
                         &spec->streams, &spec->stream_count, err)) {
        return false;
    }
    if (spec->stream_count == 0) {
        return error_set(err, ERR_INPUT,
                         "\"streams\" is missing: names or patterns, like [\"chat/*\"]");
    }
    for (size_t i = 0; i < spec->stream_count; i++) {
        if (!stream_glob_check(str_c(spec->streams[i]), err)) {
            return error_wrap(err, "\"streams\": \"%.100s\"", spec->streams[i]);
        }
    }
    return true;
}

/* ---- the table ---- */

static bool
check_identifier(Str name, const char *what, Error *err)
{
    if (name.len == 0 || name.len > ROUTE_TABLE_BYTES_MAX || str_contains_ctl(name) ||
        memchr(name.ptr, '"', name.len) != NULL || memchr(name.ptr, '.', name.len) != NULL) {
        return error_set(err, ERR_INPUT,
                         "%s \"%.*s\" must be 1 to %d bytes without quotes and points; it is taken "
                         "as it stands, in upper and lower case",
                         what, (int)DS_MIN(name.len, (size_t)100), name.ptr, ROUTE_TABLE_BYTES_MAX);
    }
    return true;
}

/* Of our own schema only the tables that were made to be written. */
static bool
check_schema(const RouteSpec *spec, Error *err)
{
    static const char *const ours[ROUTE_KIND_COUNT] = {
        [ROUTE_EVENTS] = "session_events", [ROUTE_CHUNKS] = "stream_chunks"};
    const char *legal = ours[spec->kind];

    if (str_starts(str_c(spec->schema), STR("pg_")) ||
        strcmp(spec->schema, "information_schema") == 0) {
        return error_set(err, ERR_INPUT, "\"table\": the schema %s belongs to Postgres",
                         spec->schema);
    }
    if (strcmp(spec->schema, "ds_sync") != 0 ||
        (legal != NULL && strcmp(spec->table, legal) == 0)) {
        return true;
    }
    return error_set(err, ERR_INPUT,
                     "\"table\": the schema ds_sync belongs to ds-sync; use another schema%s%s",
                     legal != NULL ? ", or ds_sync." : "", legal != NULL ? legal : "");
}

static bool
take_table(RouteSpec *spec, const json_t *object, Error *err)
{
    char *text = NULL;
    Str schema;
    Str table;
    bool ok = false;

    if (!json_file_choice(object, "as", kind_words, &spec->kind, err) ||
        !json_file_text(object, "table", 2 * ROUTE_TABLE_BYTES_MAX + 1, &text, err)) {
        goto done;
    }
    if (text == NULL) {
        error_set(err, ERR_INPUT, "\"table\" is missing, like \"public.chat_events\"");
        goto done;
    }
    if (!str_cut(str_c(text), '.', &schema, &table)) {
        table = schema;
        schema = STR("public");
    }
    if (!check_identifier(schema, "\"table\": the schema", err) ||
        !check_identifier(table, "\"table\": the name", err)) {
        goto done;
    }
    spec->schema = str_dup(schema);
    spec->table = str_dup(table);
    ok = check_schema(spec, err);

done:
    free(text);
    return ok;
}

static bool
is_own_column(const RouteSpec *spec, const char *name)
{
    for (const char *const *own = own_columns[spec->kind]; *own != NULL; own++) {
        if (strcmp(*own, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool
take_payload(RouteSpec *spec, const json_t *object, Error *err)
{
    static const char *const members[] = {"column", "type", NULL};
    static const char *const columns[ROUTE_KIND_COUNT] = {
        [ROUTE_EVENTS] = "payload", [ROUTE_CHUNKS] = "bytes", [ROUTE_STATE] = "value"};
    const json_t *payload = json_object_get(object, "payload");

    spec->payload = spec->kind == ROUTE_CHUNKS ? ROUTE_PAYLOAD_BYTEA : ROUTE_PAYLOAD_JSONB;
    spec->payload_column = mem_strdup(columns[spec->kind]);
    if (payload != NULL &&
        (!json_file_keys(payload, members, err) ||
         !json_file_text(payload, "column", ROUTE_TABLE_BYTES_MAX, &spec->payload_column, err) ||
         !json_file_choice(payload, "type", payload_words, &spec->payload, err) ||
         !check_identifier(str_c(spec->payload_column), "\"column\"", err))) {
        return error_wrap(err, "\"payload\"");
    }
    if (spec->kind == ROUTE_CHUNKS && spec->payload != ROUTE_PAYLOAD_BYTEA &&
        spec->payload != ROUTE_PAYLOAD_TEXT) {
        return error_set(err, ERR_INPUT,
                         "\"payload\": chunks are bytea or text, for they are cut anywhere");
    }
    if (is_own_column(spec, spec->payload_column)) {
        return error_set(err, ERR_INPUT, "\"payload\": the column \"%s\" has another meaning",
                         spec->payload_column);
    }
    return true;
}

/* ---- mapped columns ---- */

/* RFC 6901: '~' is written "~0", and a slash within a name "~1". */
static bool
check_pointer(const char *pointer, Error *err)
{
    bool ok = pointer[0] == '/';

    for (const char *at = strchr(pointer, '~'); ok && at != NULL; at = strchr(at + 1, '~')) {
        ok = at[1] == '0' || at[1] == '1';
    }
    return ok || error_set(err, ERR_INPUT,
                           "\"pointer\" must be a JSON pointer, like \"/value/user\" ('~' is ~0 "
                           "and a slash within a name ~1)");
}

/* So that it can stand in a statement; the catalogue says whether there is such a type. */
static bool
check_type(const char *type, Error *err)
{
    for (const char *at = type; *at != '\0'; at++) {
        bool is_word =
            (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        if (!is_word && strchr(" _.,()[]\"", *at) == NULL) {
            return error_set(err, ERR_INPUT,
                             "\"type\" must be the name of a Postgres type, like \"uuid\" or "
                             "\"numeric(10,2)\"");
        }
    }
    return true;
}

static bool
take_column(RouteColumn *column, const json_t *object, Error *err)
{
    static const char *const members[] = {"pointer", "type", "required", NULL};

    if (!json_file_keys(object, members, err) ||
        !json_file_text(object, "pointer", ROUTE_POINTER_BYTES, &column->pointer, err) ||
        !json_file_text(object, "type", ROUTE_TYPE_BYTES_MAX, &column->type, err) ||
        !json_file_flag(object, "required", &column->required, err)) {
        return false;
    }
    if (column->pointer == NULL || column->type == NULL) {
        return error_set(err, ERR_INPUT, "\"%s\" is missing",
                         column->pointer == NULL ? "pointer" : "type");
    }
    return check_pointer(column->pointer, err) && check_type(column->type, err);
}

static bool
take_columns(RouteSpec *spec, const json_t *object, Error *err)
{
    const json_t *columns = json_object_get(object, "columns");
    size_t count = json_object_size(columns);
    const char *name;
    json_t *value;

    if (columns == NULL) {
        return true;
    }
    if (!json_is_object(columns) || count > ROUTE_COLUMNS_MAX) {
        return error_set(err, ERR_INPUT, "\"columns\" must be an object of at most %d columns",
                         ROUTE_COLUMNS_MAX);
    }
    if (spec->kind == ROUTE_CHUNKS && count > 0) {
        return error_set(err, ERR_INPUT, "\"columns\": chunks have no members to take");
    }
    spec->columns = mem_array(count + 1, sizeof(*spec->columns));
    json_object_foreach((json_t *)(uintptr_t)columns, name, value)
    {
        RouteColumn *column = &spec->columns[spec->column_count++];

        column->name = mem_strdup(name);
        if (!check_identifier(str_c(name), "the name", err) || !take_column(column, value, err)) {
            return error_wrap(err, "\"columns\": \"%.63s\"", name);
        }
        if (is_own_column(spec, name) || strcmp(name, spec->payload_column) == 0) {
            return error_set(err, ERR_INPUT,
                             "\"columns\": the column \"%s\" has another meaning; choose another "
                             "name",
                             name);
        }
    }
    return true;
}

/* ---- layout ---- */

static bool
take_hash(RouteSpec *spec, const json_t *value, Error *err)
{
    json_int_t count = json_is_integer(value) ? json_integer_value(value) : 0;

    if (count < 2 || count > ROUTE_HASH_MAX) {
        return error_set(err, ERR_INPUT, "\"hash\" must be a number of partitions from 2 to %d",
                         ROUTE_HASH_MAX);
    }
    spec->layout = ROUTE_LAYOUT_HASH;
    spec->hash_count = (unsigned)count;
    return true;
}

static int
compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* There is no partition for the rest, because every later one would have to lock and search it: so
 * whatever a pattern matches must lie in the list. */
static bool
check_covered(const RouteSpec *spec, const char *pattern, Error *err)
{
    Str fixed = stream_glob_prefix(str_c(pattern));
    char *name = mem_alloc(strlen(spec->name_prefix) + fixed.len + 1);
    bool covered = false;

    (void)memcpy(name, spec->name_prefix, strlen(spec->name_prefix));
    (void)memcpy(name + strlen(spec->name_prefix), fixed.ptr, fixed.len);
    name[strlen(spec->name_prefix) + fixed.len] = '\0';
    for (size_t i = 0; i < spec->list_count && !covered; i++) {
        covered = str_starts(str_c(name), str_c(spec->list_prefixes[i]));
    }
    if (!covered) {
        error_set(err, ERR_INPUT,
                  "\"list\" has no prefix for what \"%.100s\" matches (names that begin with "
                  "\"%.100s\", the \"name_prefix\" included): add one, or use \"hash\"",
                  pattern, name);
    }
    free(name);
    return covered;
}

static bool
take_list(RouteSpec *spec, const json_t *layout, Error *err)
{
    if (!json_file_texts(layout, "list", ROUTE_LIST_MAX, ROUTE_PREFIX_BYTES_MAX,
                         &spec->list_prefixes, &spec->list_count, err)) {
        return false;
    }
    spec->layout = ROUTE_LAYOUT_LIST;
    qsort(spec->list_prefixes, spec->list_count, sizeof(*spec->list_prefixes), compare_texts);
    for (size_t i = 1; i < spec->list_count; i++) {
        if (str_starts(str_c(spec->list_prefixes[i]), str_c(spec->list_prefixes[i - 1]))) {
            return error_set(err, ERR_INPUT,
                             "\"list\": \"%.100s\" lies within \"%.100s\"; partitions cannot "
                             "overlap",
                             spec->list_prefixes[i], spec->list_prefixes[i - 1]);
        }
    }
    for (size_t i = 0; i < spec->stream_count; i++) {
        if (!check_covered(spec, spec->streams[i], err)) {
            return false;
        }
    }
    return true;
}

static bool
take_layout(RouteSpec *spec, const json_t *object, Error *err)
{
    static const char *const members[] = {"hash", "list", NULL};
    const json_t *layout = json_object_get(object, "layout");
    bool ok;

    if (layout == NULL ||
        (json_is_string(layout) && strcmp(json_string_value(layout), "none") == 0)) {
        return true;
    }
    if (json_object_size(layout) != 1) {
        return error_set(err, ERR_INPUT,
                         "\"layout\" must be \"none\", {\"hash\": 16} or {\"list\": [\"chat/\"]}");
    }
    ok = json_file_keys(layout, members, err) &&
         (json_object_get(layout, "hash") != NULL
              ? take_hash(spec, json_object_get(layout, "hash"), err)
              : take_list(spec, layout, err));
    if (!ok) {
        return error_wrap(err, "\"layout\"");
    }
    if (spec->kind == ROUTE_STATE) {
        return error_set(err, ERR_INPUT,
                         "\"layout\": a state table is not partitioned; leave it out");
    }
    if (strlen(spec->table) > ROUTE_LAID_BYTES_MAX) {
        return error_set(err, ERR_INPUT,
                         "\"table\": the name of a partitioned table has at most %d bytes, so that "
                         "its partitions can be named after it",
                         ROUTE_LAID_BYTES_MAX);
    }
    return true;
}

/* ---- policies ---- */

static bool
take_start(RouteSpec *spec, const json_t *object, Error *err)
{
    static const char *const members[] = {"offset", NULL};
    const json_t *start = json_object_get(object, "start");

    if (!json_is_object(start)) {
        return json_file_choice(object, "start", start_words, &spec->start, err);
    }
    if (!json_file_keys(start, members, err) ||
        !json_file_text(start, "offset", OFFSET_BYTES_MAX, &spec->start_offset, err)) {
        return error_wrap(err, "\"start\"");
    }
    if (spec->start_offset == NULL || !offset_is_valid(str_c(spec->start_offset))) {
        return error_set(err, ERR_INPUT,
                         "\"start\": \"offset\" must be an offset as the server gave it; for the "
                         "ends of a stream say \"earliest\" or \"now\"");
    }
    if (spec->stream_count != 1 || strchr(spec->streams[0], '*') != NULL) {
        return error_set(err, ERR_INPUT,
                         "\"start\": an offset belongs to one stream, so \"streams\" must be one "
                         "name without '*'");
    }
    spec->start = ROUTE_START_OFFSET;
    return true;
}

static bool
take_grace(RouteSpec *spec, const json_t *object, Error *err)
{
    char *text = NULL;
    int64_t grace_ms = ROUTE_GRACE_MS_DEFAULT;
    bool ok = json_file_text(object, "after_sync_grace", DURATION_BYTES_MAX, &text, err);

    if (!ok) {
        return false;
    }
    if (text != NULL && spec->after_sync == ROUTE_AFTER_KEEP) {
        ok = error_set(err, ERR_INPUT,
                       "\"after_sync_grace\" has no effect unless \"after_sync\" is \"trim\" or "
                       "\"delete_closed\"");
    } else if (text != NULL && (!parse_duration_ms(str_c(text), 1, &grace_ms) || grace_ms < 0 ||
                                grace_ms > ROUTE_GRACE_MS_MAX)) {
        ok = error_set(err, ERR_INPUT,
                       "\"after_sync_grace\" must be a duration of at most 366 days, like \"10m\"");
    } else {
        spec->grace_ms = spec->after_sync == ROUTE_AFTER_KEEP ? 0 : grace_ms;
    }
    free(text);
    return ok;
}

static bool
take_policies(RouteSpec *spec, const json_t *object, Error *err)
{
    /* A state table with a gap is wrong from there on; a log with a gap says so. */
    spec->on_error = spec->kind == ROUTE_STATE ? ROUTE_ERROR_STOP : ROUTE_ERROR_DEAD_LETTER;
    spec->publish = true;
    return take_start(spec, object, err) &&
           json_file_choice(object, "on_error", on_error_words, &spec->on_error, err) &&
           json_file_choice(object, "on_recreate", on_recreate_words, &spec->on_recreate, err) &&
           json_file_choice(object, "ttl", ttl_words, &spec->ttl, err) &&
           json_file_choice(object, "after_sync", after_sync_words, &spec->after_sync, err) &&
           take_grace(spec, object, err) && json_file_flag(object, "publish", &spec->publish, err);
}

/* ---- parsing ---- */

bool
route_spec_take(RouteSpec *out, const json_t *object, Error *err)
{
    RouteSpec spec = {0};

    if (json_file_keys(object, route_members, err) && take_names(&spec, object, err) &&
        take_prefix(&spec, object, err) && take_streams(&spec, object, err) &&
        take_table(&spec, object, err) && take_payload(&spec, object, err) &&
        take_columns(&spec, object, err) && take_layout(&spec, object, err) &&
        take_policies(&spec, object, err)) {
        *out = spec;
        return true;
    }
    if (spec.name != NULL) {
        error_wrap(err, "route \"%.63s\"", spec.name);
    }
    route_spec_done(&spec);
    return false;
}

bool
route_spec_parse(RouteSpec *out, Str json, Error *err)
{
    json_t *object = NULL;
    bool ok;

    if (!json_file_load(json, &object, err)) {
        return false;
    }
    ok = route_spec_take(out, object, err);
    json_decref(object);
    return ok;
}

bool
route_spec_matches(const RouteSpec *spec, Str name)
{
    for (size_t i = 0; i < spec->stream_count; i++) {
        if (stream_glob_match(str_c(spec->streams[i]), name)) {
            return true;
        }
    }
    return false;
}

/* ---- printing ---- */

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
                            : json_string(start_words[spec->start]));
    json_object_set_new(object, "on_error", json_string(on_error_words[spec->on_error]));
    json_object_set_new(object, "on_recreate", json_string(on_recreate_words[spec->on_recreate]));
    json_object_set_new(object, "ttl", json_string(ttl_words[spec->ttl]));
    json_object_set_new(object, "after_sync", json_string(after_sync_words[spec->after_sync]));
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
