/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl dlq rm and purge: drop dead letters, a batch at a time. */
#include "common/mem.h"
#include "dsctl/before.h"
#include "dsctl/commands.h"
#include "dsctl/letters.h"
#include "dsctl/output.h"
#include "dsctl/sync_place.h"
#include "sql/queries.h"

#define ARRAY_BYTES_MAX (LETTERS_PAGE * 24u)
#define NUMBER_BYTES    24

static const char *arg_route;
static const char *arg_source;
static const char *arg_before;
static int64_t arg_generation;
static bool arg_execute;

#define OPT_SOURCE                                                                                 \
    OPT_STRING(0, "source", &arg_source, "NAME", "only those of this server, as syncd calls it")

const Option dlq_rm_options[] = {
    OPT_STRING('r', "route", &arg_route, "NAME", "only those of this route"),
    OPT_SOURCE,
    OPT_INT('g', "generation", &arg_generation, "N", 1, INT32_MAX, "only those of this generation"),
    OPT_FLAG(0, "execute", &arg_execute, "drop them, instead of counting them"),
    OPT_END(),
};

const Option dlq_purge_options[] = {
    OPT_STRING(0, "before", &arg_before, "TIME", BEFORE_HELP),
    OPT_STRING('r', "route", &arg_route, "NAME", "only those of this route"),
    OPT_SOURCE,
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

/* Holds the streams first: a syncd that commits meanwhile may leave a letter that the marks of what
 * was deleted are still needed for. */
static bool
drop_in_transaction(Call *call, const PgParam *params, Error *err)
{
    if (!call_pg_run(call, "BEGIN ISOLATION LEVEL READ COMMITTED", NULL, 0, err)) {
        return false;
    }
    if (call_pg_run(call, sql_dlq_lock, params, 1, err) &&
        call_pg_run(call, sql_dlq_delete, params, 3, err) &&
        call_pg_run(call, sql_dlq_tidy, params, 1, err) &&
        call_pg_run(call, "COMMIT", NULL, 0, err)) {
        return true;
    }
    call_pg_rollback(call);
    return false;
}

static bool
drop_page(Call *call, const CallRows *page, Error *err)
{
    static const int columns[] = {LETTER_STREAM_ID, LETTER_GENERATION, LETTER_SEQ};
    PgParam params[DS_COUNT(columns)];
    Buf arrays[DS_COUNT(columns)];
    bool ok = true;

    for (size_t i = 0; i < DS_COUNT(columns); i++) {
        buf_init(&arrays[i], ARRAY_BYTES_MAX);
        ok = ok && append_column(page, columns[i], &arrays[i], err);
        params[i] = (PgParam){.value = ok ? buf_cstr(&arrays[i]) : NULL};
    }
    ok = ok && drop_in_transaction(call, params, err);
    for (size_t i = 0; i < DS_COUNT(columns); i++) {
        buf_done(&arrays[i]);
    }
    return ok;
}

/* Only counted without --execute. */
static bool
drop_letters(Call *call, const CallRows *page, json_t *out, Error *err)
{
    bool ok = !arg_execute || page->rows == 0 || drop_page(call, page, err);

    for (int row = 0; ok && row < page->rows; row++) {
        count_letter(page, row, out);
    }
    return ok;
}

/* What was dropped before a failure is said, too. */
static bool
show(json_t *out, bool ok, Error *err)
{
    if (ok || (arg_execute && json_array_size(out) > 0)) {
        Error ignored;
        bool shown = output_rows("streams", rm_columns, out, ok ? err : &ignored);
        ok = ok && shown;
    }
    if (ok && json_array_size(out) == 0) {
        call_note("there is no dead letter to drop");
    } else if (ok && !arg_execute) {
        call_note("nothing was dropped; --execute does it");
    }
    return ok;
}

/* ---- rm ---- */

/* The letters of one number: of one stream, though of any generation. */
static bool
pick_number(Call *call, const LettersWanted *wanted, CallRows *out, Error *err)
{
    if (!letters_next(call, wanted, LETTERS_PAGE, out, err)) {
        return false;
    }
    for (int row = 1; row < out->rows; row++) {
        const char *route = call_rows_get(out, 0, LETTER_ROUTE);
        const char *other = call_rows_get(out, row, LETTER_ROUTE);
        bool by_route = strcmp(route, other) != 0;

        if (strcmp(call_rows_get(out, 0, LETTER_STREAM_ID),
                   call_rows_get(out, row, LETTER_STREAM_ID)) != 0) {
            return error_set(err, ERR_CONFIG,
                             "%s has more than one letter %s: say which, as --%s %s or --%s %s",
                             wanted->stream, wanted->seq, by_route ? "route" : "source",
                             by_route ? route : call_rows_get(out, 0, LETTER_SOURCE),
                             by_route ? "route" : "source",
                             by_route ? other : call_rows_get(out, row, LETTER_SOURCE));
        }
    }
    return true;
}

static bool
is_repeated(const CliCall *cli, size_t at)
{
    for (size_t i = 1; i < at; i++) {
        if (strcmp(cli->args[i], cli->args[at]) == 0) {
            return true;
        }
    }
    return false;
}

/* pages: of each argument, empty before.  None is dropped unless all of them are clear. */
static bool
rm_letters(Call *call, const CliCall *cli, CallRows *pages, json_t *out, Error *err)
{
    char generation[NUMBER_BYTES];
    LettersWanted wanted = {.stream = cli->args[0],
                            .route = arg_route,
                            .source = arg_source,
                            .generation = arg_generation > 0 ? generation : NULL};
    bool found = false;

    (void)snprintf(generation, sizeof(generation), "%lld", (long long)arg_generation);
    for (size_t i = 1; i < cli->count; i++) {
        if (!letters_check_seq(cli->args[i], err)) {
            return false;
        }
    }
    for (size_t i = 1; i < cli->count; i++) {
        wanted.seq = cli->args[i];
        if (!is_repeated(cli, i) && !pick_number(call, &wanted, &pages[i], err)) {
            return false;
        }
        found = found || pages[i].rows > 0;
    }
    if (!found) {
        return error_set(err, ERR_NOT_FOUND, "no dead letter of %s has that number", cli->args[0]);
    }
    for (size_t i = 1; i < cli->count; i++) {
        if (pages[i].rows == 0 && !is_repeated(cli, i)) {
            call_note("no dead letter of %s has the number %s", cli->args[0], cli->args[i]);
        }
    }
    for (size_t i = 1; i < cli->count; i++) {
        if (!drop_letters(call, &pages[i], out, err)) {
            return false;
        }
    }
    return true;
}

static bool
run_rm(Call *call, const CliCall *cli, Error *err)
{
    CallRows *pages = mem_array(cli->count, sizeof(*pages));
    json_t *out = json_array();
    bool ok = show(out, rm_letters(call, cli, pages, out, err), err);

    for (size_t i = 0; i < cli->count; i++) {
        call_rows_done(&pages[i]);
    }
    free(pages);
    json_decref(out);
    return ok;
}

int
cmd_dlq_rm(const CliCall *cli)
{
    return call_main(run_rm, cli);
}

/* ---- purge ---- */

static bool
purge_letters(Call *call, const LettersWanted *wanted, json_t *out, Error *err)
{
    CallRows page = {0};
    bool ok;

    do {
        ok = letters_next(call, wanted, LETTERS_PAGE, &page, err) &&
             drop_letters(call, &page, out, err);
    } while (ok && page.rows > 0);
    call_rows_done(&page);
    return ok;
}

static bool
run_purge(Call *call, const CliCall *cli, Error *err)
{
    LettersWanted wanted = {
        .stream = cli->count > 0 ? cli->args[0] : NULL, .route = arg_route, .source = arg_source};
    json_t *out = json_array();
    CallRows before = {0};
    bool ok = before_find(call, arg_before, &before, err);

    if (ok) {
        wanted.before = call_rows_get(&before, 0, 0);
        ok = purge_letters(call, &wanted, out, err) &&
             (json_array_size(out) > 0 || sync_check_known(call, wanted.stream, wanted.route, err));
        ok = show(out, ok, err);
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
