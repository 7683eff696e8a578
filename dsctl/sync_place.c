/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/sync_place.h"

#include "common/parse.h"
#include "sql/queries.h"

#define NAMES_BYTES_MAX  (1u << 20)
#define LETTER_BYTES_MAX (1u << 29) /* in hexadecimal: what Postgres takes in a parameter */
#define NUMBER_BYTES     24

/* Columns of sync_find.sql. */
enum {
    FOUND_ID,
    FOUND_NAME,
    FOUND_SOURCE,
    FOUND_ROUTE,
    FOUND_STATE,
    FOUND_REASON,
    FOUND_TYPE,
    FOUND_OWNER,
    FOUND_GENERATION,
    FOUND_OFFSET,
    FOUND_SKIP,
    FOUND_NEXT_SEQ,
    FOUND_AS,
};

const OutputColumn sync_move_columns[] = {
    {"stream", "STREAM", COLUMN_TEXT, NULL},
    {"result", "RESULT", COLUMN_TEXT, NULL},
    {"state", "STATE", COLUMN_TEXT, NULL},
    {"generation_before", "GEN", COLUMN_NUMBER, NULL},
    {"offset_before", "OFFSET", COLUMN_TEXT, NULL},
    {"skip_before", "SKIP", COLUMN_NUMBER, NULL},
    {"generation_after", "NEW GEN", COLUMN_NUMBER, NULL},
    {"offset_after", "NEW OFFSET", COLUMN_TEXT, NULL},
    {"skip_after", "NEW SKIP", COLUMN_NUMBER, NULL},
    {"reason", "REASON", COLUMN_TEXT, NULL},
    {"route", "ROUTE", COLUMN_TEXT, NULL},
    {"source", NULL, COLUMN_TEXT, NULL},
    {"next_seq_before", NULL, COLUMN_NUMBER, NULL},
    {"next_seq_after", NULL, COLUMN_NUMBER, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

bool
sync_names(const char *const *names, size_t count, Buf *out, Error *err)
{
    bool ok = buf_append_char(out, '{', err);

    for (size_t i = 0; ok && i < count; i++) {
        ok = pg_array_append(out, str_c(names[i]), i == 0, err);
    }
    return ok && buf_append_char(out, '}', err);
}

static bool
all_found(const SyncWanted *wanted, const CallRows *rows, Error *err)
{
    for (size_t i = 0; i < wanted->count; i++) {
        bool found = false;

        for (int row = 0; row < rows->rows && !found; row++) {
            found = strcmp(call_rows_get(rows, row, FOUND_NAME), wanted->names[i]) == 0;
        }
        if (!found) {
            return error_set(err, ERR_NOT_FOUND, "syncd has no position of a stream %s%s%s",
                             wanted->names[i], wanted->route == NULL ? "" : " on the route ",
                             wanted->route == NULL ? "" : wanted->route);
        }
    }
    return true;
}

bool
sync_find(Call *call, const SyncWanted *wanted, CallRows *out, Error *err)
{
    bool ok;
    Buf names;

    buf_init(&names, NAMES_BYTES_MAX);
    ok = sync_names(wanted->names, wanted->count, &names, err);
    if (ok) {
        PgParam params[] = {{.value = wanted->count > 0 ? buf_cstr(&names) : NULL},
                            {.value = wanted->route},
                            {.value = wanted->source}};

        ok = call_pg(call, sql_sync_find, params, DS_COUNT(params), out, err);
    }
    buf_done(&names);
    return ok && all_found(wanted, out, err);
}

bool
sync_stream(const CallRows *rows, int row, SyncStream *out, Error *err)
{
    *out = (SyncStream){
        .id = call_rows_get(rows, row, FOUND_ID),
        .name = call_rows_get(rows, row, FOUND_NAME),
        .source = call_rows_get(rows, row, FOUND_SOURCE),
        .route = call_rows_get(rows, row, FOUND_ROUTE),
        .state = call_rows_get(rows, row, FOUND_STATE),
        .reason = call_rows_get(rows, row, FOUND_REASON),
        .content_type = call_rows_get(rows, row, FOUND_TYPE),
        .as = call_rows_get(rows, row, FOUND_AS),
        .place.offset = call_rows_get(rows, row, FOUND_OFFSET),
    };
    return (parse_i64(str_c(call_rows_get(rows, row, FOUND_GENERATION)), &out->place.generation) &&
            parse_i64(str_c(call_rows_get(rows, row, FOUND_SKIP)), &out->place.skip) &&
            parse_i64(str_c(call_rows_get(rows, row, FOUND_NEXT_SEQ)), &out->place.next_seq)) ||
           error_set(err, ERR_PROTOCOL, "Postgres answered no number in the position of %s",
                     out->name);
}

bool
sync_find_one(Call *call, const SyncWanted *wanted, CallRows *rows, SyncStream *out, Error *err)
{
    if (!sync_find(call, wanted, rows, err) || !sync_stream(rows, 0, out, err)) {
        return false;
    }
    if (rows->rows > 1) {
        const char *route = call_rows_get(rows, 1, FOUND_ROUTE);
        bool by_route = strcmp(out->route, route) != 0;

        return error_set(err, ERR_CONFIG, "%s is there %d times: say which, as --%s %s or --%s %s",
                         out->name, rows->rows, by_route ? "route" : "source",
                         by_route ? out->route : out->source, by_route ? "route" : "source",
                         by_route ? route : call_rows_get(rows, 1, FOUND_SOURCE));
    }
    return true;
}

bool
sync_hold(Call *call, const SyncWanted *wanted, CallRows *rows, SyncStream *stream, Error *err)
{
    PgParam id = {.value = stream->id};

    if (!call_pg_run(call, "BEGIN", NULL, 0, err)) {
        return false;
    }
    if (call_pg_run(call, sql_sync_lock, &id, 1, err)) {
        call_rows_done(rows);
        if (sync_find_one(call, wanted, rows, stream, err)) {
            return true;
        }
    }
    call_pg_rollback(call);
    return false;
}

bool
sync_release(Call *call, bool ok, Error *err)
{
    if (ok) {
        return call_pg_run(call, "COMMIT", NULL, 0, err);
    }
    call_pg_rollback(call);
    return false;
}

static bool
to_hex(Str bytes, Buf *out, Error *err)
{
    bool ok = true;

    for (size_t i = 0; ok && i < bytes.len; i++) {
        ok = buf_printf(out, err, "%02x", (unsigned char)bytes.ptr[i]);
    }
    return ok;
}

bool
sync_move(Call *call, const char *action, const SyncStream *stream, const SyncPlace *to,
          const SyncLetter *letter, Error *err)
{
    const SyncPlace *from = &stream->place;
    const int64_t values[] = {from->generation, from->skip, from->next_seq,
                              to->generation,   to->skip,   to->next_seq};
    char numbers[DS_COUNT(values)][NUMBER_BYTES];
    CallRows rows = {0};
    Buf hex;

    for (size_t i = 0; i < DS_COUNT(values); i++) {
        (void)snprintf(numbers[i], sizeof(numbers[i]), "%lld", (long long)values[i]);
    }
    buf_init(&hex, LETTER_BYTES_MAX);
    bool ok = letter == NULL || to_hex(letter->payload, &hex, err);
    if (ok) {
        PgParam params[] = {
            {.value = action},
            {.value = stream->id},
            {.value = numbers[0]},
            {.value = from->offset},
            {.value = numbers[1]},
            {.value = numbers[2]},
            {.value = numbers[3]},
            {.value = to->offset},
            {.value = numbers[4]},
            {.value = numbers[5]},
            {.value = letter != NULL ? buf_cstr(&hex) : NULL},
            {.value = letter != NULL ? letter->why : NULL},
        };

        ok = call_pg(call, sql_sync_move, params, DS_COUNT(params), &rows, err);
    }
    buf_done(&hex);
    if (ok && rows.rows == 0) {
        ok = error_set(err, ERR_CONFLICT,
                       "%s moved on meanwhile; nothing was changed: look again with dsctl sync "
                       "status",
                       stream->name);
    }
    call_rows_done(&rows);
    return ok;
}

bool
sync_check_known(Call *call, const char *stream, const char *route, Error *err)
{
    PgParam params[] = {{.value = stream}, {.value = route}};
    CallRows rows = {0};
    bool ok = call_pg(call, sql_sync_known, params, DS_COUNT(params), &rows, err);

    if (ok && strcmp(call_rows_get(&rows, 0, 1), "t") != 0) {
        ok = error_set(err, ERR_NOT_FOUND, "there is no route %s", route);
    } else if (ok && strcmp(call_rows_get(&rows, 0, 0), "t") != 0) {
        ok = error_set(err, ERR_NOT_FOUND, "syncd knows no stream %s", stream);
    }
    call_rows_done(&rows);
    return ok;
}

json_t *
sync_move_row(const SyncStream *stream, const SyncPlace *to, const char *result)
{
    const SyncPlace *from = &stream->place;

    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s?, s:I, s:s, s:I, s:I, s:I, s:s, s:I, s:I}", "stream",
        stream->name, "source", stream->source, "route", stream->route, "result", result, "state",
        stream->state, "reason", stream->reason, "generation_before", (json_int_t)from->generation,
        "offset_before", from->offset, "skip_before", (json_int_t)from->skip, "next_seq_before",
        (json_int_t)from->next_seq, "generation_after", (json_int_t)to->generation, "offset_after",
        to->offset, "skip_after", (json_int_t)to->skip, "next_seq_after", (json_int_t)to->next_seq);
}

bool
sync_note_nobody(Call *call, Error *err)
{
    CallRows rows = {0};
    bool ok = call_pg(call, sql_sync_living, NULL, 0, &rows, err);

    if (ok && rows.rows == 1 && strcmp(call_rows_get(&rows, 0, 0), "0") == 0) {
        call_note("no syncd runs; it begins there when one is started");
    }
    call_rows_done(&rows);
    return ok;
}
