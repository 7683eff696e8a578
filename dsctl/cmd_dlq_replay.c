/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl dlq replay: put dead letters where they belong, once what refused them is mended. */
#include "dsctl/commands.h"
#include "dsctl/letters.h"
#include "dsctl/output.h"
#include "dsctl/rows.h"
#include "dsctl/sync_place.h"
#include "sql/queries.h"

#define NUMBER_BYTES      24
#define PATTERN_BYTES_MAX 1024

static const char *arg_route;
static const char *arg_source;
static int64_t arg_generation;
static int64_t arg_limit = 10000;
static bool arg_all;
static bool arg_dry_run;

const Option dlq_replay_options[] = {
    OPT_STRING('r', "route", &arg_route, "NAME", "only those of this route"),
    OPT_INT('g', "generation", &arg_generation, "N", 1, INT32_MAX, "only those of this generation"),
    OPT_STRING(0, "source", &arg_source, "NAME", "only those of this server, as syncd calls it"),
    OPT_FLAG(0, "all", &arg_all, "those of every stream"),
    OPT_INT('n', "limit", &arg_limit, "COUNT", 1, 1000000, "at most so many (10000)"),
    OPT_FLAG(0, "dry-run", &arg_dry_run, "say what would become of each, and change nothing"),
    OPT_END(),
};

const char dlq_replay_details[] =
    "Each in a transaction of its own, in the order of the messages, with the number that its "
    "message has:\n"
    "  replayed   it is in the table, and no letter any more\n"
    "  present    the table has a row of that number, which stays\n"
    "  overtaken  newer messages decide about its key (tables of state)\n"
    "  failed     refused again; the letter says what is wrong now\n"
    "  no_route   its route is not declared\n"
    "Nothing is overwritten, and what was not replayed stays a letter, for dlq rm: status 8 then.  "
    "A dry run\n"
    "tries each by itself.  The user needs what the route's table asks for: to insert, and for "
    "state to update\n"
    "and delete.";

static const Field result_fields[] = {
    {"result", FIELD_TEXT},
    {"sqlstate", FIELD_TEXT},
    {"message", FIELD_TEXT},
};

static const OutputColumn replay_columns[] = {
    {"stream", "STREAM", COLUMN_TEXT, NULL},
    {"generation", "GEN", COLUMN_NUMBER, NULL},
    {"seq", "SEQ", COLUMN_NUMBER, NULL},
    {"result", "RESULT", COLUMN_TEXT, NULL},
    {"sqlstate", "SQLSTATE", COLUMN_TEXT, NULL},
    {"message", "MESSAGE", COLUMN_TEXT, NULL},
    {"route", "ROUTE", COLUMN_TEXT, NULL},
    {"source", NULL, COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

/* A dry run does it, too, and takes it back. */
static bool
replay_letter(Call *call, const CallRows *page, int row, const char *no_row_fault, json_t **out,
              Error *err)
{
    PgParam params[] = {{.value = call_rows_get(page, row, LETTER_STREAM_ID)},
                        {.value = call_rows_get(page, row, LETTER_GENERATION)},
                        {.value = call_rows_get(page, row, LETTER_SEQ)},
                        {.value = no_row_fault}};
    CallRows rows = {0};

    if (arg_dry_run && !call_pg_run(call, "BEGIN", NULL, 0, err)) {
        return false;
    }
    bool ok = call_pg(call, sql_dlq_replay, params, DS_COUNT(params), &rows, err) &&
              rows_object(&rows, 0, result_fields, DS_COUNT(result_fields), out, err);
    call_rows_done(&rows);
    if (arg_dry_run) {
        call_pg_rollback(call);
    }
    return ok || error_wrap(err, "%s %s", call_rows_get(page, row, LETTER_STREAM),
                            call_rows_get(page, row, LETTER_SEQ));
}

static bool
add_letter(const CallRows *page, int row, json_t *letter, Error *err)
{
    static const Field fields[] = {
        {"stream_id", FIELD_SKIP}, {"stream", FIELD_TEXT},        {"route", FIELD_TEXT},
        {"source", FIELD_TEXT},    {"generation", FIELD_INTEGER}, {"seq", FIELD_INTEGER},
        {"reason", FIELD_SKIP},
    };
    json_t *place = NULL;

    if (!rows_object(page, row, fields, DS_COUNT(fields), &place, err)) {
        return false;
    }
    (void)json_object_update(letter, place); /* of another object, so it cannot fail */
    json_decref(place);
    return true;
}

/* Once for each of the letters; *stuck counts those that stay. */
static bool
replay_letters(Call *call, const CallRows *page, const char *no_row_fault, json_t *out,
               int64_t *stuck, Error *err)
{
    for (int row = 0; row < page->rows; row++) {
        json_t *letter = NULL;

        if (!replay_letter(call, page, row, no_row_fault, &letter, err)) {
            return false;
        }
        const char *result = json_string_value(json_object_get(letter, "result"));
        *stuck += strcmp(result, "replayed") != 0 && strcmp(result, "gone") != 0;
        json_array_append_new(out, letter);
        if (!add_letter(page, row, letter, err)) {
            return false;
        }
    }
    return true;
}

static bool
replay_page(Call *call, const CallRows *page, json_t *out, int64_t *stuck, Error *err)
{
    bool ok;
    Buf pattern;

    buf_init(&pattern, PATTERN_BYTES_MAX);
    ok = pg_no_row_fault_pattern(&pattern, err) &&
         replay_letters(call, page, buf_cstr(&pattern), out, stuck, err);
    buf_done(&pattern);
    return ok;
}

static bool
check_arguments(const CliCall *cli, Error *err)
{
    if (cli->count == 0 && arg_route == NULL && !arg_all) {
        return error_set(err, ERR_CONFIG, "which letters? a STREAM, --route NAME, or --all");
    }
    return cli->count < 2 || letters_check_seq(cli->args[1], err);
}

static bool
nothing_found(Call *call, const LettersWanted *wanted, Error *err)
{
    if (wanted->seq != NULL) {
        return error_set(err, ERR_NOT_FOUND, "no dead letter of %s has the number %s",
                         wanted->stream, wanted->seq);
    }
    if (!sync_check_known(call, wanted->stream, wanted->route, err)) {
        return false;
    }
    call_note("there is no dead letter");
    return true;
}

static bool
run_replay(Call *call, const CliCall *cli, Error *err)
{
    char generation[NUMBER_BYTES];
    LettersWanted wanted = {.stream = cli->count > 0 ? cli->args[0] : NULL,
                            .seq = cli->count > 1 ? cli->args[1] : NULL,
                            .route = arg_route,
                            .source = arg_source,
                            .generation = arg_generation > 0 ? generation : NULL};
    json_t *out = json_array();
    CallRows page = {0};
    int64_t left = arg_limit;
    int64_t stuck = 0;

    (void)snprintf(generation, sizeof(generation), "%lld", (long long)arg_generation);
    bool ok = check_arguments(cli, err);
    bool stopped = false;
    while (ok && left > 0) {
        ok = letters_next(call, &wanted, left, &page, err);
        if (!ok || page.rows == 0) {
            break;
        }
        left -= page.rows;
        ok = replay_page(call, &page, out, &stuck, err);
        stopped = !ok;
    }
    if (ok && json_array_size(out) == 0) {
        ok = nothing_found(call, &wanted, err);
    }
    if (ok || stopped) { /* what was done is said in any case */
        Error ignored;
        bool shown = output_rows("dead_letters", replay_columns, out, ok ? err : &ignored);
        ok = ok && shown;
    }
    if (ok && left == 0) {
        call_note("there may be more than --limit %lld", (long long)arg_limit);
    }
    if (ok && stuck > 0) {
        call_note("%lld of %zu stay", (long long)stuck, json_array_size(out));
        call_set_exit(call, DSCTL_PARTIAL);
    }
    json_decref(out);
    call_rows_done(&page);
    return ok;
}

int
cmd_dlq_replay(const CliCall *cli)
{
    return call_main(run_replay, cli);
}
