/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/output.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>

#include "dsctl/emit.h"
#include "dsctl/options.h"

static const OutputColumn columns[] = {
    {"name", "NAME", COLUMN_TEXT, NULL}, {"rows", "ROWS", COLUMN_NUMBER, "why"},
    {"age_ms", "AGE", COLUMN_AGE, NULL}, {"open", NULL, COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static int
nothing(const CliCall *call)
{
    (void)call;
    return 0;
}

static void
choose(const char *form)
{
    static const Command commands[] = {{.name = "x", .run = nothing}, {.name = NULL}};
    static const Cli cli = {.program = "dsctl",
                            .global_options = options_global,
                            .commands = commands,
                            .exit_usage = 2};
    char words[3][16] = {"dsctl", "x", "-o"};
    char value[16];
    char *argv[] = {words[0], words[1], words[2], value, NULL};

    (void)snprintf(value, sizeof(value), "%s", form);
    cr_assert_eq(cli_main(&cli, 4, argv), 0);
}

static json_t *
sample(void)
{
    json_t *rows = json_pack("[{s:s, s:i, s:i, s:b}, {s:s, s:n, s:s, s:i}]", "name",
                             "a,\"b\"\t\x1b[1m", "rows", 7, "age_ms", 1500, "open", 1, "name", "b",
                             "rows", "why", "absent", "age_ms", 7200000);

    cr_assert(rows != NULL);
    return rows;
}

static const char *
printed(void)
{
    static char text[8192];
    FILE *from = cr_get_redirected_stdout();
    size_t len = 0;

    fflush(stdout);
    len = fread(text, 1, sizeof(text) - 1, from);
    text[len] = '\0';
    return text;
}

static void
expect_rows(const char *form, const char *wanted)
{
    Error err = {0};
    json_t *rows = sample();

    choose(form);
    cr_redirect_stdout();
    cr_assert(output_rows("things", columns, rows, &err), "%s", err.text);
    const char *text = printed();
    cr_expect_str_eq(text, wanted, "%s", text);
    json_decref(rows);
}

Test(dsctl_output, a_piped_table_has_tabs_no_titles_and_no_control_characters)
{
    expect_rows("table", "a,\"b\"\\x09\\x1b[1m\t7\t1.5s\nb\tabsent\t2h\n");
}

Test(dsctl_output, csv_has_all_columns_and_quotes_what_needs_it)
{
    expect_rows("csv", "name,rows,age_ms,open\n\"a,\"\"b\"\"\t\x1b[1m\",7,1500,yes\nb,,7200000,\n");
}

Test(dsctl_output, ndjson_is_an_object_a_line)
{
    expect_rows("ndjson",
                "{\"name\":\"a,\\\"b\\\"\\t\\u001B[1m\",\"rows\":7,\"age_ms\":1500,\"open\":"
                "true}\n{\"name\":\"b\",\"rows\":null,\"why\":\"absent\",\"age_ms\":"
                "7200000}\n");
}

Test(dsctl_output, json_is_one_document_with_a_version)
{
    Error err = {0};
    json_t *rows = sample();

    choose("json");
    cr_redirect_stdout();
    cr_assert(output_rows("things", columns, rows, &err), "%s", err.text);
    json_t *document = json_loads(printed(), 0, NULL);
    cr_assert(document != NULL);
    cr_expect_eq(json_integer_value(json_object_get(document, "schema_version")), 1);
    cr_expect(json_equal(json_object_get(document, "things"), rows));
    json_decref(document);
    json_decref(rows);
}

Test(dsctl_output, no_rows_are_an_empty_list_and_not_nothing)
{
    Error err = {0};
    json_t *rows = json_array();

    choose("json");
    cr_redirect_stdout();
    cr_assert(output_rows("things", columns, rows, &err));
    json_t *document = json_loads(printed(), 0, NULL);
    cr_expect(json_is_array(json_object_get(document, "things")));
    json_decref(document);
    json_decref(rows);
}

Test(dsctl_output, a_record_is_a_line_per_member)
{
    Error err = {0};
    json_t *rows = sample();

    choose("table");
    cr_redirect_stdout();
    cr_assert(output_record(columns, json_array_get(rows, 1), &err));
    cr_expect_str_eq(printed(), "NAME\tb\nROWS\tabsent\nAGE\t2h\n");
    json_decref(rows);
}

Test(dsctl_output, escaping_shows_every_byte_that_is_no_text)
{
    Error err = {0};
    Buf out;

    buf_init(&out, 1000);
    cr_assert(output_escape(&out, STR("a\n\t\xc3\xa9\xc2\x9b\xff\x7f\x00z"), false, &err));
    cr_expect_str_eq(buf_cstr(&out), "a\\x0a\\x09\xc3\xa9\\xc2\\x9b\\xff\\x7f\\x00z");
    buf_reset(&out);
    cr_assert(output_escape(&out, STR("a\n\t\r"), true, &err));
    cr_expect_str_eq(buf_cstr(&out), "a\n\t\\x0d");
    buf_reset(&out);
    for (size_t len = 0; len <= 4; len++) {
        cr_assert(output_escape(&out, str_n("\xf0\x9f\x98\x80", len), false, &err));
    }
    cr_expect(str_ends(buf_str(&out), STR("\xf0\x9f\x98\x80")));
    cr_expect(strstr(buf_cstr(&out), "\\xf0\\x9f\\x98") != NULL, "a cut character is no text");
    buf_done(&out);
}

/* ---- emit ---- */

static void
expect_emit(Emit emit, Str content, const char *offset, const char *wanted)
{
    Error err = {0};

    cr_redirect_stdout();
    cr_assert(emit_begin(&emit, &err), "%s", err.text);
    cr_assert(emit_batch(&emit, content, str_c(offset), &err), "%s", err.text);
    cr_assert(emit_end(&emit, &err), "%s", err.text);
    const char *text = printed();
    cr_expect_str_eq(text, wanted, "%s", text);
}

static const Emit raw = {.form = EMIT_RAW, .is_json = true, .count_left = UINT64_MAX};
static const Emit lines = {.form = EMIT_NDJSON, .is_json = true, .count_left = UINT64_MAX};
static const Emit array = {.form = EMIT_JSON, .is_json = true, .count_left = UINT64_MAX};
static const Emit bytes = {.form = EMIT_NDJSON, .is_json = false, .count_left = UINT64_MAX};

Test(dsctl_emit, raw_json_is_a_message_a_line_with_its_own_digits)
{
    expect_emit(raw, STR("[1.0 , {\"a\":\r\n[2]},\"x\\n\"]"), "o",
                "1.0\n{\"a\":  [2]}\n\"x\\n\"\n");
}

Test(dsctl_emit, only_the_last_line_of_a_batch_has_the_offset)
{
    expect_emit(lines, STR("[1,2]"), "o\"1", "{\"data\":1}\n{\"offset\":\"o\\\"1\",\"data\":2}\n");
}

Test(dsctl_emit, a_count_that_ends_inside_a_batch_gives_no_offset)
{
    Emit two = lines;

    two.count_left = 2;
    expect_emit(two, STR("[1,2,3]"), "o", "{\"data\":1}\n{\"data\":2}\n");
}

Test(dsctl_emit, a_count_that_ends_with_the_batch_gives_its_offset)
{
    Emit two = lines;

    two.count_left = 2;
    expect_emit(two, STR("[1,2]"), "o", "{\"data\":1}\n{\"offset\":\"o\",\"data\":2}\n");
}

Test(dsctl_emit, json_is_one_array_also_of_nothing)
{
    expect_emit(array, STR("[1,[2]]"), "o", "[\n1,\n[2]\n]\n");
}

Test(dsctl_emit, json_of_nothing_is_an_empty_array)
{
    expect_emit(array, STR("[]"), "o", "[]\n");
}

Test(dsctl_emit, text_is_data_and_bytes_are_base64)
{
    expect_emit(bytes, STR("a\n\"b\""), "o", "{\"offset\":\"o\",\"data\":\"a\\n\\\"b\\\"\"}\n");
}

Test(dsctl_emit, bytes_that_are_no_text_are_base64)
{
    expect_emit(bytes, STR("\xff\x00"), "", "{\"base64\":\"/wA=\"}\n");
}

Test(dsctl_emit, a_stream_of_bytes_cannot_be_one_json_array)
{
    Emit wrong = {.form = EMIT_JSON, .is_json = false, .count_left = 1};
    Error err = {0};

    cr_expect(!emit_begin(&wrong, &err));
    cr_expect_eq(err.code, ERR_CONFIG);
}

Test(dsctl_emit, bad_json_from_the_server_is_an_error)
{
    Emit emit = raw;
    Error err = {0};

    cr_redirect_stdout();
    cr_expect(!emit_batch(&emit, STR("[1,"), STR("o"), &err));
    cr_expect(strstr(err.text, "the server sent bad JSON") != NULL, "%s", err.text);
}

Test(dsctl_emit, content_types_are_compared_without_parameters_and_case)
{
    cr_expect(emit_is_json(STR("application/json")));
    cr_expect(emit_is_json(STR("Application/JSON ; charset=utf-8")));
    cr_expect(!emit_is_json(STR("application/ndjson")));
    cr_expect(!emit_is_json(STR("application/json-patch+json")));
    cr_expect(!emit_is_json(STR_EMPTY));
}
