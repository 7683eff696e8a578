/* SPDX-License-Identifier: Apache-2.0 */
#include "common/route_spec_internal.h"

#include <stdarg.h>

#include "common/ds_proto.h"
#include "common/json_file.h"
#include "common/mem.h"
#include "common/offset.h"
#include "common/parse.h"
#include "common/stream_glob.h"

#define DURATION_BYTES_MAX 32
#define RESERVED_MAX       12
#define WRAP_BYTES_MAX     128

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

/* ---- problems ---- */

/* A route as far as it is read.  What one part is judged by in another is judged only where that
 * other one is legal, so that no mistake is told twice, nor what is none. */
typedef struct Reading {
    RouteSpec spec;
    const json_t *object;
    RouteProblems *problems;
    bool kind_is_known;
    bool prefix_is_good;
    bool streams_are_good;
} Reading;

bool
route_problems_note(RouteProblems *problems, bool good, const Error *problem)
{
    if (!good) {
        if (problems->count < ROUTE_PROBLEMS_MAX) {
            problems->kept[problems->count] = *problem;
        }
        problems->count++;
    }
    return good;
}

void
route_problems_wrap(RouteProblems *problems, size_t before, const char *fmt, ...)
{
    char context[WRAP_BYTES_MAX];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(context, sizeof(context), fmt, args);
    va_end(args);
    for (size_t i = before; i < DS_MIN(problems->count, (size_t)ROUTE_PROBLEMS_MAX); i++) {
        error_wrap(&problems->kept[i], "%s", context);
    }
}

static bool
note(Reading *reading, bool good, const Error *problem)
{
    return route_problems_note(reading->problems, good, problem);
}

/* Every member that is not one of them; false when it is no object at all. */
static bool
note_keys(Reading *reading, const json_t *object, const char *const *keys)
{
    const char *key;
    json_t *value;
    Error err;

    if (!json_is_object(object)) {
        return note(reading, json_file_keys(object, keys, &err), &err);
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        note(reading, json_file_key(key, keys, &err), &err);
    }
    return true;
}

/* ---- names ---- */

/* They stand in settings, logs and metrics, so they are plain. */
static bool
check_plain_name(const char *name, Error *err)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-");

    if (name[len] != '\0' || strchr("_.-", name[0]) != NULL) {
        return error_set(err, ERR_INPUT,
                         "\"name\" must be of lower-case letters, digits, '_', '-' and '.', and "
                         "begin with a letter or digit");
    }
    return true;
}

static bool
take_name(RouteSpec *spec, const json_t *object, Error *err)
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
    return check_plain_name(spec->name, err);
}

static bool
take_server(RouteSpec *spec, const json_t *object, Error *err)
{
    spec->server = mem_strdup("default");
    return json_file_text(object, "server", ROUTE_NAME_BYTES_MAX, &spec->server, err);
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

static void
take_streams(Reading *reading)
{
    RouteSpec *spec = &reading->spec;
    bool good;
    Error err;

    good = json_file_texts(reading->object, "streams", ROUTE_STREAMS_MAX, STREAM_GLOB_BYTES_MAX,
                           &spec->streams, &spec->stream_count, &err);
    if (good && spec->stream_count == 0) {
        good = error_set(&err, ERR_INPUT,
                         "\"streams\" is missing: names or patterns, like [\"chat/*\"]");
    }
    note(reading, good, &err);
    for (size_t i = 0; i < spec->stream_count; i++) {
        if (!stream_glob_check(str_c(spec->streams[i]), &err)) {
            good = error_wrap(&err, "\"streams\": \"%.100s\"", spec->streams[i]);
            note(reading, false, &err);
        }
    }
    reading->streams_are_good = good;
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
check_schema(const Reading *reading, Error *err)
{
    static const char *const ours[ROUTE_KIND_COUNT] = {
        [ROUTE_EVENTS] = "session_events", [ROUTE_CHUNKS] = "stream_chunks"};
    const RouteSpec *spec = &reading->spec;
    const char *legal = ours[spec->kind];

    if (str_starts(str_c(spec->schema), STR("pg_")) ||
        strcmp(spec->schema, "information_schema") == 0) {
        return error_set(err, ERR_INPUT, "\"table\": the schema %s belongs to Postgres",
                         spec->schema);
    }
    if (strcmp(spec->schema, "ds_sync") != 0 || !reading->kind_is_known ||
        (legal != NULL && strcmp(spec->table, legal) == 0)) {
        return true;
    }
    return error_set(err, ERR_INPUT,
                     "\"table\": the schema ds_sync belongs to ds-sync; use another schema%s%s",
                     legal != NULL ? ", or ds_sync." : "", legal != NULL ? legal : "");
}

static bool
take_table(Reading *reading, Error *err)
{
    RouteSpec *spec = &reading->spec;
    char *text = NULL;
    Str schema;
    Str table;
    bool ok = false;

    if (!json_file_text(reading->object, "table", 2 * ROUTE_TABLE_BYTES_MAX + 1, &text, err)) {
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
    ok = check_schema(reading, err);

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

/* What the kind of the route says about its payload. */
static void
check_payload(Reading *reading, bool type_is_good)
{
    const RouteSpec *spec = &reading->spec;
    Error err;

    if (type_is_good && spec->kind == ROUTE_CHUNKS && spec->payload != ROUTE_PAYLOAD_BYTEA &&
        spec->payload != ROUTE_PAYLOAD_TEXT) {
        error_set(&err, ERR_INPUT,
                  "\"payload\": chunks are bytea or text, for they are cut anywhere");
        note(reading, false, &err);
    }
    if (is_own_column(spec, spec->payload_column)) {
        error_set(&err, ERR_INPUT, "\"payload\": the column \"%s\" has another meaning",
                  spec->payload_column);
        note(reading, false, &err);
    }
}

static void
take_payload(Reading *reading)
{
    static const char *const members[] = {"column", "type", NULL};
    static const char *const columns[ROUTE_KIND_COUNT] = {
        [ROUTE_EVENTS] = "payload", [ROUTE_CHUNKS] = "bytes", [ROUTE_STATE] = "value"};
    const json_t *payload = json_object_get(reading->object, "payload");
    RouteSpec *spec = &reading->spec;
    size_t before = reading->problems->count;
    bool type_is_good = true;
    Error err;

    spec->payload = spec->kind == ROUTE_CHUNKS ? ROUTE_PAYLOAD_BYTEA : ROUTE_PAYLOAD_JSONB;
    spec->payload_column = mem_strdup(columns[spec->kind]);
    if (payload != NULL && note_keys(reading, payload, members)) {
        note(
            reading,
            json_file_text(payload, "column", ROUTE_TABLE_BYTES_MAX, &spec->payload_column, &err) &&
                check_identifier(str_c(spec->payload_column), "\"column\"", &err),
            &err);
        type_is_good = note(
            reading, json_file_choice(payload, "type", route_payload_words, &spec->payload, &err),
            &err);
    }
    route_problems_wrap(reading->problems, before, "\"payload\"");
    if (reading->kind_is_known) {
        check_payload(reading, type_is_good);
    }
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

/* A text without which there is no column. */
static bool
take_needed(const json_t *object, const char *key, size_t bytes_max, char **out,
            bool (*check)(const char *text, Error *err), Error *err)
{
    if (!json_file_text(object, key, bytes_max, out, err)) {
        return false;
    }
    if (*out == NULL) {
        return error_set(err, ERR_INPUT, "\"%s\" is missing", key);
    }
    return check(*out, err);
}

static void
take_column(Reading *reading, RouteColumn *column, const json_t *object)
{
    static const char *const members[] = {"pointer", "type", "required", NULL};
    Error err;

    note(reading, check_identifier(str_c(column->name), "the name", &err), &err);
    if (!note_keys(reading, object, members)) {
        return;
    }
    note(reading,
         take_needed(object, "pointer", ROUTE_POINTER_BYTES, &column->pointer, check_pointer, &err),
         &err);
    note(reading,
         take_needed(object, "type", ROUTE_TYPE_BYTES_MAX, &column->type, check_type, &err), &err);
    note(reading, json_file_flag(object, "required", &column->required, &err), &err);
}

static void
take_columns(Reading *reading)
{
    const json_t *columns = json_object_get(reading->object, "columns");
    RouteSpec *spec = &reading->spec;
    size_t count = json_object_size(columns);
    const char *name;
    json_t *value;
    Error err;

    if (columns != NULL && (!json_is_object(columns) || count > ROUTE_COLUMNS_MAX)) {
        error_set(&err, ERR_INPUT, "\"columns\" must be an object of at most %d columns",
                  ROUTE_COLUMNS_MAX);
        note(reading, false, &err);
        return;
    }
    if (reading->kind_is_known && spec->kind == ROUTE_CHUNKS && count > 0) {
        error_set(&err, ERR_INPUT, "\"columns\": chunks have no members to take");
        note(reading, false, &err);
        return;
    }
    spec->columns = mem_array(count + 1, sizeof(*spec->columns));
    json_object_foreach((json_t *)(uintptr_t)columns, name, value)
    {
        RouteColumn *column = &spec->columns[spec->column_count++];
        size_t before = reading->problems->count;

        column->name = mem_strdup(name);
        take_column(reading, column, value);
        route_problems_wrap(reading->problems, before, "\"columns\": \"%.63s\"", name);
        if (reading->kind_is_known &&
            (is_own_column(spec, name) || strcmp(name, spec->payload_column) == 0)) {
            error_set(&err, ERR_INPUT,
                      "\"columns\": the column \"%s\" has another meaning; choose another name",
                      name);
            note(reading, false, &err);
        }
    }
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

static void
take_list(Reading *reading, const json_t *layout)
{
    RouteSpec *spec = &reading->spec;
    Error err;

    if (!note(reading,
              json_file_texts(layout, "list", ROUTE_LIST_MAX, ROUTE_PREFIX_BYTES_MAX,
                              &spec->list_prefixes, &spec->list_count, &err),
              &err)) {
        return;
    }
    spec->layout = ROUTE_LAYOUT_LIST;
    qsort(spec->list_prefixes, spec->list_count, sizeof(*spec->list_prefixes), compare_texts);
    for (size_t i = 1; i < spec->list_count; i++) {
        if (str_starts(str_c(spec->list_prefixes[i]), str_c(spec->list_prefixes[i - 1]))) {
            error_set(&err, ERR_INPUT,
                      "\"list\": \"%.100s\" lies within \"%.100s\"; partitions cannot overlap",
                      spec->list_prefixes[i], spec->list_prefixes[i - 1]);
            note(reading, false, &err);
        }
    }
    if (!reading->prefix_is_good || !reading->streams_are_good) {
        return;
    }
    for (size_t i = 0; i < spec->stream_count; i++) {
        note(reading, check_covered(spec, spec->streams[i], &err), &err);
    }
}

static void
take_partitions(Reading *reading, const json_t *layout)
{
    static const char *const members[] = {"hash", "list", NULL};
    size_t before = reading->problems->count;
    Error err;

    if (json_object_get(layout, "hash") != NULL) {
        note(reading, take_hash(&reading->spec, json_object_get(layout, "hash"), &err), &err);
    } else if (json_object_get(layout, "list") != NULL) {
        take_list(reading, layout);
    } else {
        note_keys(reading, layout, members);
    }
    route_problems_wrap(reading->problems, before, "\"layout\"");
}

static void
take_layout(Reading *reading)
{
    const json_t *layout = json_object_get(reading->object, "layout");
    const RouteSpec *spec = &reading->spec;
    Error err;

    if (layout == NULL ||
        (json_is_string(layout) && strcmp(json_string_value(layout), "none") == 0)) {
        return;
    }
    if (json_object_size(layout) != 1) {
        error_set(&err, ERR_INPUT,
                  "\"layout\" must be \"none\", {\"hash\": 16} or {\"list\": [\"chat/\"]}");
        note(reading, false, &err);
        return;
    }
    take_partitions(reading, layout);
    if (reading->kind_is_known && spec->kind == ROUTE_STATE) {
        error_set(&err, ERR_INPUT, "\"layout\": a state table is not partitioned; leave it out");
        note(reading, false, &err);
    }
    if (spec->table != NULL && strlen(spec->table) > ROUTE_LAID_BYTES_MAX) {
        error_set(&err, ERR_INPUT,
                  "\"table\": the name of a partitioned table has at most %d bytes, so that its "
                  "partitions can be named after it",
                  ROUTE_LAID_BYTES_MAX);
        note(reading, false, &err);
    }
}

/* ---- policies ---- */

static bool
take_offset(RouteSpec *spec, const json_t *start, Error *err)
{
    if (!json_file_text(start, "offset", OFFSET_BYTES_MAX, &spec->start_offset, err)) {
        return false;
    }
    if (spec->start_offset == NULL || !offset_is_valid(str_c(spec->start_offset))) {
        return error_set(err, ERR_INPUT,
                         "\"offset\" must be an offset as the server gave it; for the ends of a "
                         "stream say \"earliest\" or \"now\"");
    }
    return true;
}

static void
take_start(Reading *reading)
{
    static const char *const members[] = {"offset", NULL};
    const json_t *start = json_object_get(reading->object, "start");
    RouteSpec *spec = &reading->spec;
    size_t before = reading->problems->count;
    Error err;

    if (!json_is_object(start)) {
        note(reading,
             json_file_choice(reading->object, "start", route_start_words, &spec->start, &err),
             &err);
        return;
    }
    note_keys(reading, start, members);
    note(reading, take_offset(spec, start, &err), &err);
    if (reading->streams_are_good &&
        (spec->stream_count != 1 || strchr(spec->streams[0], '*') != NULL)) {
        error_set(&err, ERR_INPUT,
                  "an offset belongs to one stream, so \"streams\" must be one name without '*'");
        note(reading, false, &err);
    }
    route_problems_wrap(reading->problems, before, "\"start\"");
    spec->start = ROUTE_START_OFFSET;
}

static bool
take_grace(RouteSpec *spec, const json_t *object, bool policy_is_known, Error *err)
{
    char *text = NULL;
    int64_t grace_ms = ROUTE_GRACE_MS_DEFAULT;
    bool ok = json_file_text(object, "after_sync_grace", DURATION_BYTES_MAX, &text, err);

    if (!ok) {
        return false;
    }
    if (text != NULL && policy_is_known && spec->after_sync == ROUTE_AFTER_KEEP) {
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

static void
take_policies(Reading *reading)
{
    RouteSpec *spec = &reading->spec;
    const json_t *object = reading->object;
    bool known;
    Error err;

    /* A state table with a gap is wrong from there on; a log with a gap says so. */
    spec->on_error = spec->kind == ROUTE_STATE ? ROUTE_ERROR_STOP : ROUTE_ERROR_DEAD_LETTER;
    spec->publish = true;
    take_start(reading);
    note(reading, json_file_choice(object, "on_error", route_on_error_words, &spec->on_error, &err),
         &err);
    note(reading,
         json_file_choice(object, "on_recreate", route_on_recreate_words, &spec->on_recreate, &err),
         &err);
    note(reading, json_file_choice(object, "ttl", route_ttl_words, &spec->ttl, &err), &err);
    known = note(
        reading,
        json_file_choice(object, "after_sync", route_after_sync_words, &spec->after_sync, &err),
        &err);
    note(reading, take_grace(spec, object, known, &err), &err);
    note(reading, json_file_flag(object, "publish", &spec->publish, &err), &err);
}

/* ---- parsing ---- */

static void
take_members(Reading *reading)
{
    const json_t *object = reading->object;
    RouteSpec *spec = &reading->spec;
    Error err;

    note(reading, take_name(spec, object, &err), &err);
    note(reading, take_server(spec, object, &err), &err);
    reading->prefix_is_good = note(reading, take_prefix(spec, object, &err), &err);
    take_streams(reading);
    reading->kind_is_known =
        note(reading, json_file_choice(object, "as", route_kind_words, &spec->kind, &err), &err);
    note(reading, take_table(reading, &err), &err);
    take_payload(reading);
    take_columns(reading);
    take_layout(reading);
    take_policies(reading);
}

bool
route_spec_take(RouteSpec *out, const json_t *object, RouteProblems *problems)
{
    Reading reading = {.object = object, .problems = problems};
    size_t before = problems->count;

    if (note_keys(&reading, object, route_members)) {
        take_members(&reading);
    }
    if (problems->count == before) {
        *out = reading.spec;
        return true;
    }
    if (reading.spec.name != NULL) {
        route_problems_wrap(problems, before, "route \"%.63s\"", reading.spec.name);
    }
    route_spec_done(&reading.spec);
    return false;
}

bool
route_spec_parse(RouteSpec *out, Str json, Error *err)
{
    RouteProblems problems = {0};
    json_t *object = NULL;
    bool ok;

    if (!json_file_load(json, &object, err)) {
        return false;
    }
    ok = route_spec_take(out, object, &problems);
    if (!ok) {
        *err = problems.kept[0];
    }
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
