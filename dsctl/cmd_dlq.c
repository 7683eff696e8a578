/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl dlq: the messages that could not be loaded; what changes them stands in files of its own.
 */
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/letters.h"
#include "dsctl/output.h"
#include "dsctl/rows.h"
#include "dsctl/sync_place.h"

#include "common/parse.h"
#include "sql/queries.h"

#define NUMBER_BYTES      24
#define PAYLOAD_BYTES_MAX (1u << 30)

static int64_t arg_limit = 100;
static int64_t arg_generation;
static const char *arg_route;
static bool arg_payload;

static const Field fields[] = {
    {"stream", FIELD_TEXT},     {"route", FIELD_TEXT},   {"generation", FIELD_INTEGER},
    {"seq", FIELD_INTEGER},     {"offset", FIELD_TEXT},  {"reason", FIELD_TEXT},
    {"sqlstate", FIELD_TEXT},   {"message", FIELD_TEXT}, {"bytes", FIELD_INTEGER},
    {"created_at", FIELD_TEXT}, {"payload", FIELD_SKIP},
};
#define LIST_FIELDS   (DS_COUNT(fields) - 1)
#define PAYLOAD_FIELD ((int)LIST_FIELDS)

static const Option ls_options[] = {
    OPT_INT('n', "limit", &arg_limit, "COUNT", 1, 1000000, "at most so many, newest first (100)"),
    OPT_STRING('r', "route", &arg_route, "NAME", "only those of this route"),
    OPT_END(),
};

static const OutputColumn ls_columns[] = {
    {"stream", "STREAM", COLUMN_TEXT, NULL},
    {"generation", "GEN", COLUMN_NUMBER, NULL},
    {"seq", "SEQ", COLUMN_NUMBER, NULL},
    {"reason", "REASON", COLUMN_TEXT, NULL},
    {"sqlstate", "SQLSTATE", COLUMN_TEXT, NULL},
    {"bytes", "BYTES", COLUMN_NUMBER, NULL},
    {"created_at", "CREATED", COLUMN_TEXT, NULL},
    {"message", "MESSAGE", COLUMN_TEXT, NULL},
    {"route", "ROUTE", COLUMN_TEXT, NULL},
    {"offset", NULL, COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static bool
run_ls(Call *call, const CliCall *cli, Error *err)
{
    char limit[NUMBER_BYTES];
    PgParam params[] = {
        {.value = cli->count > 0 ? cli->args[0] : NULL}, {.value = limit}, {.value = arg_route}};
    CallRows rows = {0};
    json_t *out = json_array();
    bool ok = false;

    (void)snprintf(limit, sizeof(limit), "%lld", (long long)arg_limit);
    if (call_pg(call, sql_dlq_list, params, DS_COUNT(params), &rows, err)) {
        ok = rows.rows > 0 || sync_check_known(call, params[0].value, arg_route, err);
        for (int i = 0; ok && i < rows.rows; i++) {
            json_t *row = NULL;
            ok = rows_object(&rows, i, fields, LIST_FIELDS, &row, err);
            json_array_append_new(out, row);
        }
        ok = ok && output_rows("dead_letters", ls_columns, out, err);
    }
    if (ok && rows.rows == 0) {
        call_note("there is no dead letter");
    }
    if (ok && rows.rows == arg_limit) {
        call_note("there may be more than --limit %lld", (long long)arg_limit);
    }
    json_decref(out);
    call_rows_done(&rows);
    return ok;
}

static int
cmd_ls(const CliCall *cli)
{
    return call_main(run_ls, cli);
}

/* ---- show ---- */

static const Option show_options[] = {
    OPT_INT('g', "generation", &arg_generation, "N", 1, INT32_MAX, "generation (the newest)"),
    OPT_STRING('r', "route", &arg_route, "NAME", "of this route"),
    OPT_FLAG(0, "payload", &arg_payload, "print nothing but the message, byte for byte"),
    OPT_END(),
};

static const OutputColumn show_columns[] = {
    {"stream", "stream", COLUMN_TEXT, NULL},
    {"route", "route", COLUMN_TEXT, NULL},
    {"generation", "generation", COLUMN_NUMBER, NULL},
    {"seq", "seq", COLUMN_NUMBER, NULL},
    {"offset", "offset", COLUMN_TEXT, NULL},
    {"reason", "reason", COLUMN_TEXT, NULL},
    {"sqlstate", "sqlstate", COLUMN_TEXT, NULL},
    {"message", "message", COLUMN_TEXT, NULL},
    {"created_at", "created", COLUMN_TEXT, NULL},
    {"bytes", "bytes", COLUMN_NUMBER, NULL},
    {"payload", "payload", COLUMN_TEXT, NULL},
    {"payload_hex", NULL, COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static bool
decode_hex(Str hex, Buf *out, Error *err)
{
    char *room = NULL;

    if (!buf_reserve(out, hex.len / 2, &room, err)) {
        return false;
    }
    for (size_t i = 0; i + 1 < hex.len; i += 2) {
        uint64_t byte = 0;
        if (!parse_hex_u64(str_n(hex.ptr + i, 2), &byte)) {
            return error_set(err, ERR_PROTOCOL, "Postgres answered no hexadecimal payload");
        }
        room[i / 2] = (char)byte;
    }
    buf_commit(out, hex.len / 2);
    return true;
}

/* "payload" is for reading: what is no text shows as \xff, so it may stand for several payloads;
 * "payload_hex" is exact. */
static bool
show_letter(const CallRows *rows, Str payload, Error *err)
{
    json_t *record = NULL;
    Buf shown;
    bool ok = false;

    buf_init(&shown, PAYLOAD_BYTES_MAX);
    if (rows_object(rows, 0, fields, DS_COUNT(fields), &record, err) &&
        output_escape(&shown, payload, true, err)) {
        json_object_set_new(record, "payload", json_stringn(buf_cstr(&shown), shown.len));
        json_object_set_new(record, "payload_hex",
                            json_string(call_rows_get(rows, 0, PAYLOAD_FIELD)));
        ok = output_record(show_columns, record, err);
    }
    json_decref(record);
    buf_done(&shown);
    return ok;
}

static bool
run_show(Call *call, const CliCall *cli, Error *err)
{
    char generation[NUMBER_BYTES];
    PgParam params[] = {
        {.value = cli->args[0]}, {.value = cli->args[1]}, {.value = NULL}, {.value = arg_route}};
    CallRows rows = {0};
    bool ok = false;
    Buf payload;

    buf_init(&payload, PAYLOAD_BYTES_MAX);
    (void)snprintf(generation, sizeof(generation), "%lld", (long long)arg_generation);
    params[2].value = arg_generation > 0 ? generation : NULL;
    if (!letters_check_seq(cli->args[1], err) ||
        !call_pg(call, sql_dlq_show, params, DS_COUNT(params), &rows, err)) {
        goto done;
    }
    if (rows.rows == 0) {
        error_set(err, ERR_NOT_FOUND, "no dead letter of %s has the number %s", cli->args[0],
                  cli->args[1]);
        goto done;
    }
    if (!decode_hex(str_c(call_rows_get(&rows, 0, PAYLOAD_FIELD)), &payload, err)) {
        goto done;
    }
    ok = arg_payload ? output_bytes(buf_str(&payload), err)
                     : show_letter(&rows, buf_str(&payload), err);

done:
    call_rows_done(&rows);
    buf_done(&payload);
    return ok;
}

static int
cmd_show(const CliCall *cli)
{
    return call_main(run_show, cli);
}

const Command dlq_commands[] = {
    {.name = "ls",
     .args = "[STREAM]",
     .args_max = 1,
     .options = ls_options,
     .run = cmd_ls,
     .help = "list dead letters, newest first"},
    {.name = "show",
     .args = "STREAM SEQ",
     .args_min = 2,
     .args_max = 2,
     .options = show_options,
     .run = cmd_show,
     .help = "show a dead letter with its bytes"},
    {.name = "replay",
     .args = "[STREAM [SEQ]]",
     .args_max = 2,
     .options = dlq_replay_options,
     .run = cmd_dlq_replay,
     .help = "put dead letters into their table, once what refused them is mended",
     .details = dlq_replay_details},
    {.name = "rm",
     .args = "STREAM SEQ...",
     .args_min = 2,
     .args_max = 64,
     .options = dlq_rm_options,
     .run = cmd_dlq_rm,
     .help = "drop dead letters",
     .details = dlq_rm_details},
    {.name = "purge",
     .args = "[STREAM]",
     .args_max = 1,
     .options = dlq_purge_options,
     .run = cmd_dlq_purge,
     .help = "drop old dead letters",
     .details = dlq_rm_details},
    {.name = NULL},
};
