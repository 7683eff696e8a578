/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl dlq rm and purge: drop dead letters, a batch at a time. */
#include "common/parse.h"
#include "dsctl/before.h"
#include "dsctl/commands.h"
#include "dsctl/letters.h"
#include "dsctl/output.h"
#include "sql/queries.h"

#define ARRAY_BYTES_MAX (LETTERS_PAGE * 24u)
#define NUMBER_BYTES    24

static const char *arg_route;
static const char *arg_before;
static int64_t arg_generation;
static bool arg_execute;

const Option dlq_rm_options[] = {
    OPT_STRING('r', "route", &arg_route, "NAME", "only those of this route"),
    OPT_INT('g', "generation", &arg_generation, "N", 1, INT32_MAX, "only those of this generation"),
    OPT_FLAG(0, "execute", &arg_execute, "drop them, instead of counting them"),
    OPT_END(),
};

const Option dlq_purge_options[] = {
    OPT_STRING(0, "before", &arg_before, "TIME", BEFORE_HELP),
    OPT_STRING('r', "route", &arg_route, "NAME", "only those of this route"),
    OPT_FLAG(0, "execute", &arg_execute, "drop them, instead of counting them"),
    OPT_END(),
};

const char dlq_rm_details[] =
    "Their bytes are lost then, unless the stream server still has the messages.  At most 500 of "
    "them go in a\n"
    "transaction, and what was dropped before an interruption stays dropped.  Positions stay.";

static const OutputColumn rm_columns[] = {
    {"stream", "STREAM", COLUMN_TEXT, NULL},     {"route", "ROUTE", COLUMN_TEXT, NULL},
    {"letters", "LETTERS", COLUMN_NUMBER, NULL}, {"result", "RESULT", COLUMN_TEXT, NULL},
    {"source", NULL, COLUMN_TEXT, NULL},         {NULL, NULL, COLUMN_TEXT, NULL},
};

/* A line for each stream; letters come in the order of streams. */
static void
count_letter(const CallRows *page, int row, json_t *out)
{
    const char *stream = call_rows_get(page, row, LETTER_STREAM);
    const char *route = call_rows_get(page, row, LETTER_ROUTE);
    const char *source = call_rows_get(page, row, LETTER_SOURCE);
    size_t count = json_array_size(out);

    for (size_t i = count; i > 0; i--) {
        json_t *line = json_array_get(out, i - 1);

        if (strcmp(json_string_value(json_object_get(line, "stream")), stream) == 0 &&
            strcmp(json_string_value(json_object_get(line, "route")), route) == 0 &&
            strcmp(json_string_value(json_object_get(line, "source")), source) == 0) {
            json_t *letters = json_object_get(line, "letters");
            json_integer_set(letters, json_integer_value(letters) + 1);
            return;
        }
    }
    json_array_append_new(out, json_pack("{s:s, s:s, s:s, s:i, s:s}", "stream", stream, "route",
                                         route, "source", source, "letters", 1, "result",
                                         arg_execute ? "dropped" : "would be dropped"));
}

static bool
append_column(const CallRows *page, int column, Buf *out, Error *err)
{
    bool ok = buf_append_char(out, '{', err);

    for (int row = 0; ok && row < page->rows; row++) {
        ok = pg_array_append(out, str_c(call_rows_get(page, row, column)), row == 0, err);
    }
    return ok && buf_append_char(out, '}', err);
}

static bool
drop_page(Call *call, const CallRows *page, Error *err)
{
    static const int columns[] = {LETTER_STREAM_ID, LETTER_GENERATION, LETTER_SEQ};
    PgParam params[DS_COUNT(columns)];
    Buf arrays[DS_COUNT(columns)];
    CallRows rows = {0};
    bool ok = true;

    for (size_t i = 0; i < DS_COUNT(columns); i++) {
        buf_init(&arrays[i], ARRAY_BYTES_MAX);
        ok = ok && append_column(page, columns[i], &arrays[i], err);
        params[i] = (PgParam){.value = ok ? buf_cstr(&arrays[i]) : NULL};
    }
    ok = ok && call_pg(call, sql_dlq_delete, params, DS_COUNT(params), &rows, err);
    call_rows_done(&rows);
    for (size_t i = 0; i < DS_COUNT(columns); i++) {
        buf_done(&arrays[i]);
    }
    return ok;
}

static bool
drop_letters(Call *call, const LettersWanted *wanted, json_t *out, Error *err)
{
    CallRows page = {0};
    bool ok = true;

    do {
        ok = letters_next(call, wanted, LETTERS_PAGE, &page, err);
        ok = ok && (!arg_execute || page.rows == 0 || drop_page(call, &page, err));
        for (int row = 0; ok && row < page.rows; row++) {
            count_letter(&page, row, out);
        }
    } while (ok && page.rows > 0);
    call_rows_done(&page);
    return ok;
}

static bool
show(json_t *out, Error *err)
{
    if (!output_rows("streams", rm_columns, out, err)) {
        return false;
    }
    if (!arg_execute) {
        call_note("nothing was dropped; --execute does it");
    }
    return true;
}

static bool
run_rm(Call *call, const CliCall *cli, Error *err)
{
    char generation[NUMBER_BYTES];
    LettersWanted wanted = {.stream = cli->args[0],
                            .route = arg_route,
                            .generation = arg_generation > 0 ? generation : NULL};
    json_t *out = json_array();
    bool ok = true;

    (void)snprintf(generation, sizeof(generation), "%lld", (long long)arg_generation);
    for (size_t i = 1; ok && i < cli->count; i++) {
        ok = letters_check_seq(cli->args[i], err);
    }
    for (size_t i = 1; ok && i < cli->count; i++) {
        wanted.seq = cli->args[i];
        ok = drop_letters(call, &wanted, out, err);
    }
    if (ok && json_array_size(out) == 0) {
        ok = error_set(err, ERR_NOT_FOUND, "no dead letter of %s has that number", cli->args[0]);
    }
    ok = ok && show(out, err);
    json_decref(out);
    return ok;
}

int
cmd_dlq_rm(const CliCall *cli)
{
    return call_main(run_rm, cli);
}

static bool
run_purge(Call *call, const CliCall *cli, Error *err)
{
    LettersWanted wanted = {.stream = cli->count > 0 ? cli->args[0] : NULL, .route = arg_route};
    json_t *out = json_array();
    CallRows before = {0};
    bool ok = before_find(call, arg_before, &before, err);

    if (ok) {
        wanted.before = call_rows_get(&before, 0, 0);
        ok = drop_letters(call, &wanted, out, err) && show(out, err);
    }
    json_decref(out);
    call_rows_done(&before);
    return ok;
}

int
cmd_dlq_purge(const CliCall *cli)
{
    return call_main(run_purge, cli);
}
