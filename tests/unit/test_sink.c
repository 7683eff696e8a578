/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/sink.h"

#include <criterion/criterion.h>

#include "syncd/sink_sql.h"

static const SinkTableColumn events_columns[] = {
    {"stream_name", "text", true, false, false},
    {"generation", "integer", true, false, false},
    {"seq", "bigint", true, false, false},
    {"ds_offset", "text", true, false, false},
    {"operation", "text", false, false, false},
    {"User Id", "uuid", false, false, false},
    {"amount", "numeric(10,2)", true, false, false},
    {"total", "numeric", false, true, true},
    {"body", "json", true, false, false},
    {"received_at", "timestamp with time zone", true, true, false},
};

static const SinkTable events_table = {events_columns, DS_COUNT(events_columns)};

static RouteSpec
spec_of(const char *json)
{
    RouteSpec spec;
    Error err = {0};

    cr_assert(route_spec_parse(&spec, str_c(json), &err), "%s", err.text);
    return spec;
}

static const char events_route[] =
    "{\"name\":\"chat\",\"streams\":[\"chat/*\"],\"table\":\"app.Chat\",\"as\":\"events\","
    "\"payload\":{\"column\":\"body\",\"type\":\"json\"},\"columns\":{"
    "\"User Id\":{\"pointer\":\"/value/user\",\"type\":\"uuid\"},"
    "\"amount\":{\"pointer\":\"/value/amount\",\"type\":\"numeric\"}}}";

static Sink *
events_sink(void)
{
    RouteSpec spec = spec_of(events_route);
    Sink *sink;
    Error err = {0};

    cr_assert(sink_new(&spec, &events_table, &sink, &err), "%s", err.text);
    route_spec_done(&spec);
    return sink;
}

static void
expect_part(const char *sql, const char *part)
{
    cr_expect_not_null(strstr(sql, part), "no %s in %s", part, sql);
}

Test(sink, statements_name_the_columns_that_the_table_has_and_quote_them)
{
    Sink *sink = events_sink();
    static const char columns[] = "(stream_name, generation, seq, ds_offset, \"operation\", "
                                  "\"User Id\", \"amount\", \"body\")";

    expect_part(sink->copy_sql, "COPY \"app\".\"Chat\" (");
    expect_part(sink->copy_sql, columns);
    expect_part(sink->small_sql, columns);
    expect_part(sink->small_sql, "$15::text[], $16::text[], $17::text[], $18::text[])");
    expect_part(sink->small_sql, "r.c1::text, r.c2::uuid, r.c3::numeric(10,2), r.c4::json");
    expect_part(sink->small_sql, "AND o.epoch = w.epoch");
    expect_part(sink->one_sql, columns);
    expect_part(sink->one_sql, "($15::text[])[1] AS c1, ($16::text[])[1] AS c2, ");
    expect_part(sink->one_sql, "r.c1::text, r.c2::uuid, r.c3::numeric(10,2), r.c4::json");
    expect_part(sink->sieve_sql, columns);
    expect_part(sink->sieve_sql, "'\"app\".\"Chat\"'::regclass");
    expect_part(sink->sieve_fill_sql, "set_config('ds_sync.sieve_8', $8::text, true)");
    cr_expect_null(strstr(sink->sieve_fill_sql, "sieve_9"));
    sink_unref(sink);
}

/* Without what lies between words. */
static void
squeeze(Str text, Buf *out)
{
    Error err;

    buf_init(out, 4096);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        cr_assert(c == ' ' || c == '\n' || buf_append_char(out, c, &err));
    }
}

/* What a guard asks, and what it sets. */
static Str
guard_rules(const char *sql, const char *from, const char *to)
{
    const char *first = strstr(sql, from);
    const char *last = first == NULL ? NULL : strstr(first, to);

    cr_assert_not_null(last, "no %s ... %s in %s", from, to, sql);
    return str_n(first, (size_t)(last - first));
}

Test(sink, the_guard_of_a_single_row_asks_and_sets_the_same)
{
    static const struct {
        const char *from;
        const char *to;
    } rules[] = {{"UPDATE ds_sync.stream_offset o", "FROM"}, {"WHERE o.", "RETURNING"}};
    Sink *sink = events_sink();

    for (size_t i = 0; i < DS_COUNT(rules); i++) {
        Str small = guard_rules(strstr(sink->small_sql, "guard AS"), rules[i].from, rules[i].to);
        Str one = guard_rules(sink->one_sql, rules[i].from, rules[i].to);
        Buf tight_small;
        Buf tight_one;

        squeeze(small, &tight_small);
        squeeze(one, &tight_one);
        cr_expect_str_eq(buf_cstr(&tight_one), buf_cstr(&tight_small));
        buf_done(&tight_small);
        buf_done(&tight_one);
    }
    sink_unref(sink);
}

Test(sink, no_brace_of_a_template_is_left)
{
    Sink *sink = events_sink();
    const char *const statements[] = {sink->small_sql, sink->one_sql, sink->copy_sql,
                                      sink->sieve_fill_sql};

    for (size_t i = 0; i < DS_COUNT(statements); i++) {
        cr_expect_null(strpbrk(statements[i], "{}"), "%s", statements[i]);
    }
    for (const char *at = sink->sieve_sql; (at = strchr(at, '{')) != NULL; at++) {
        cr_expect_eq(at[1], '}', "%.20s", at); /* an empty array */
    }
    sink_unref(sink);
}

Test(sink, a_name_cannot_end_the_quote_around_the_sieve)
{
    static const SinkTableColumn columns[] = {
        {"stream_name", "text", true, false, false}, {"generation", "integer", true, false, false},
        {"seq", "bigint", true, false, false},       {"ds_offset", "text", true, false, false},
        {"$sieve0$;--", "text", true, false, false}, {"body", "text", true, false, false}};
    SinkTable table = {columns, DS_COUNT(columns)};
    RouteSpec spec =
        spec_of("{\"name\":\"r\",\"streams\":[\"a\"],\"table\":\"t\",\"as\":\"events\","
                "\"payload\":{\"column\":\"body\",\"type\":\"text\"},"
                "\"columns\":{\"$sieve0$;--\":{\"pointer\":\"/a\",\"type\":\"text\"}}}");
    Sink *sink;
    Error err = {0};

    cr_assert(sink_new(&spec, &table, &sink, &err), "%s", err.text);
    expect_part(sink->sieve_sql, "DO $sieve1$");
    expect_part(sink->sieve_sql, "END\n$sieve1$");
    sink_unref(sink);
    route_spec_done(&spec);
}

/* What rows of such a route are staged as; columns are those of the route, as JSON. */
static void
shape_of(const char *columns, const char *type, const char *payload, char *out, size_t size)
{
    SinkTableColumn table_columns[] = {
        {"stream_name", "text", true, false, false},
        {"type", "text", true, false, false},
        {"key", "text", true, false, false},
        {"seq", "bigint", true, false, false},
        {"a", type, false, false, false},
        {"b", "text", false, false, false},
        {"ab", "text", false, false, false},
        {"value", payload, true, false, false},
    };
    SinkTable table = {table_columns, DS_COUNT(table_columns)};
    char json[512];
    Sink *sink;
    Error err = {0};

    (void)snprintf(json, sizeof(json),
                   "{\"name\":\"s\",\"streams\":[\"a\"],\"table\":\"t\",\"as\":\"state\","
                   "\"payload\":{\"column\":\"value\",\"type\":\"%s\"},\"columns\":{%s}}",
                   payload, columns);
    RouteSpec spec = spec_of(json);
    cr_assert(sink_new(&spec, &table, &sink, &err), "%s", err.text);
    const char *shape = strstr(sink->state_sql[SINK_STATE_MOVE], "substr(sha256(convert_to(");
    cr_assert_not_null(shape);
    cr_expect_not_null(strstr(sink->state_sql[SINK_STATE_STAGE], "substr(sha256(convert_to("));
    (void)snprintf(out, size, "%.*s", (int)strcspn(shape, "\n"), shape);
    sink_unref(sink);
    route_spec_done(&spec);
}

#define COLUMN(name, pointer) "\"" name "\":{\"pointer\":\"" pointer "\",\"type\":\"text\"}"

Test(sink, staged_rows_of_other_columns_have_another_shape)
{
    static const struct {
        const char *columns;
        const char *type;
        const char *payload;
    } others[] = {
        {COLUMN("b", "/b") "," COLUMN("a", "/a"), "text", "jsonb"},
        {COLUMN("a", "/b") "," COLUMN("b", "/a"), "text", "jsonb"},
        {COLUMN("a", "/a") "," COLUMN("b", "/b") "," COLUMN("ab", "/c"), "text", "jsonb"},
        {COLUMN("a", "/a") "," COLUMN("ab", "/b"), "text", "jsonb"},
        {COLUMN("a", "/a"), "text", "jsonb"},
        {COLUMN("a", "/a") "," COLUMN("b", "/b"), "integer", "jsonb"},
        {COLUMN("a", "/a") "," COLUMN("b", "/b"), "text", "bytea"},
        {COLUMN("a", "/b'2:") "," COLUMN("b", "/"), "text", "jsonb"},
        {"", "text", "jsonb"},
    };
    char shapes[DS_COUNT(others) + 1][512];
    char again[512];

    shape_of(COLUMN("a", "/a") "," COLUMN("b", "/b"), "text", "jsonb", shapes[0], 512);
    shape_of(COLUMN("a", "/a") "," COLUMN("b", "/b"), "text", "jsonb", again, 512);
    cr_expect_str_eq(again, shapes[0]);
    for (size_t i = 0; i < DS_COUNT(others); i++) {
        shape_of(others[i].columns, others[i].type, others[i].payload, shapes[i + 1], 512);
        for (size_t j = 0; j <= i; j++) {
            cr_expect_str_neq(shapes[i + 1], shapes[j], "%zu and %zu", i + 1, j);
        }
    }
}

Test(sink, identifiers_and_literals_are_quoted_whatever_is_in_them)
{
    static const struct {
        const char *text;
        const char *identifier;
        const char *literal;
    } cases[] = {{"a", "\"a\"", "'a'"},
                 {"select", "\"select\"", "'select'"},
                 {"a\"b'c", "\"a\"\"b'c\"", "'a\"b''c'"},
                 {"a\\b", "\"a\\b\"", " E'a\\\\b'"}};
    Error err;
    Buf out;

    buf_init(&out, 1000);
    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        buf_reset(&out);
        cr_assert(sql_identifier(&out, str_c(cases[i].text), &err));
        cr_expect_str_eq(buf_cstr(&out), cases[i].identifier);
        buf_reset(&out);
        cr_assert(sql_literal(&out, str_c(cases[i].text), &err));
        cr_expect_str_eq(buf_cstr(&out), cases[i].literal);
    }
    cr_expect_not(sql_identifier(&out, STR_EMPTY, &err));
    cr_expect_not(sql_identifier(&out, STR("a\0b"), &err));
    buf_done(&out);
}

/* Changes one column of a good table, or takes it away, and expects a reason that names it. */
static void
expect_refused(const char *column, const SinkTableColumn *instead, const char *reason)
{
    RouteSpec spec = spec_of(events_route);
    SinkTableColumn columns[DS_COUNT(events_columns) + 1];
    SinkTable table = {columns, 0};
    Sink *sink;
    Error err = {0};

    for (size_t i = 0; i < DS_COUNT(events_columns); i++) {
        if (column == NULL || strcmp(events_columns[i].name, column) != 0) {
            columns[table.count++] = events_columns[i];
        }
    }
    if (instead != NULL) {
        columns[table.count++] = *instead;
    }
    cr_expect_not(sink_new(&spec, &table, &sink, &err), "%s", reason);
    cr_expect_eq(err.code, ERR_CONFIG);
    cr_expect_not_null(strstr(err.text, reason), "%s, not %s", err.text, reason);
    route_spec_done(&spec);
}

Test(sink, a_table_that_does_not_suit_is_refused_with_its_reason)
{
    static const SinkTableColumn other = {"other", "text", true, false, false};
    static const SinkTableColumn wrong_seq = {"seq", "integer", true, false, false};
    static const SinkTableColumn wrong_body = {"body", "jsonb", true, false, false};
    static const SinkTableColumn generated = {"amount", "numeric", true, true, true};

    expect_refused("stream_name", NULL, "no column stream_name");
    expect_refused("ds_offset", NULL, "no column ds_offset");
    expect_refused("amount", NULL, "no column amount");
    expect_refused("body", NULL, "no column body");
    expect_refused("seq", &wrong_seq, "it must be bigint");
    expect_refused("body", &wrong_body, "the route says json");
    expect_refused("amount", &generated, "is generated");
    expect_refused(NULL, &other, "column other of \"app\".\"Chat\" is NOT NULL without a default");
}

Test(sink, a_table_that_is_not_there_is_refused)
{
    RouteSpec spec = spec_of(events_route);
    SinkTable none = {NULL, 0};
    Sink *sink;
    Error err = {0};

    cr_expect_not(sink_new(&spec, &none, &sink, &err));
    cr_expect_not_null(strstr(err.text, "route chat: there is no table \"app\".\"Chat\""), "%s",
                       err.text);
    route_spec_done(&spec);
}

Test(sink, lives_until_its_last_reference_is_gone)
{
    Sink *sink = events_sink();

    cr_expect_eq(sink_ref(sink), sink);
    sink_unref(sink);
    expect_part(sink->copy_sql, "COPY");
    sink_unref(sink);
}

Test(sink, the_default_sinks_write_the_tables_of_the_first_migration)
{
    expect_part(sink_default_events()->copy_sql,
                "COPY \"ds_sync\".\"session_events\" (stream_name, generation, seq, ds_offset, "
                "\"event_key\", \"event_type\", \"operation\", \"payload\") FROM STDIN");
    expect_part(sink_default_chunks()->copy_sql,
                "COPY \"ds_sync\".\"stream_chunks\" (stream_name, generation, seq, ds_offset, "
                "\"bytes\") FROM STDIN");
    cr_expect_eq(sink_default_events(), sink_default_events());
}

Test(sink, streams_go_where_their_kind_belongs)
{
    Sink *mapped = events_sink();

    cr_expect_eq(sink_of_kind(sink_default_events(), UNIT_JSON), sink_default_events());
    cr_expect_eq(sink_of_kind(sink_default_events(), UNIT_BYTES), sink_default_chunks());
    cr_expect_eq(sink_of_kind(sink_default_chunks(), UNIT_BYTES), sink_default_chunks());
    cr_expect_null(sink_of_kind(sink_default_chunks(), UNIT_JSON));
    cr_expect_eq(sink_of_kind(mapped, UNIT_JSON), mapped);
    cr_expect_null(sink_of_kind(mapped, UNIT_BYTES));
    cr_expect_not_null(strstr(sink_refusal(mapped), "as: chunks"));
    cr_expect_str_neq(sink_refusal(mapped), sink_refusal(sink_default_chunks()));
    sink_unref(mapped);
}

Test(sink, only_jsonb_refuses_what_is_legal_json)
{
    static const unsigned traits[] = {JSON_HAS_NUL, JSON_HAS_LONE_SURROGATE, JSON_HAS_HUGE_NUMBER};
    Sink *json = events_sink();

    for (size_t i = 0; i < DS_COUNT(traits); i++) {
        cr_expect_eq(sink_judge(json, traits[i]), POISON_NONE);
        cr_expect_eq(sink_judge(sink_default_events(), traits[i]), poison_judge(traits[i]));
        cr_expect_neq(sink_judge(sink_default_events(), traits[i]), POISON_NONE);
    }
    sink_unref(json);
}

Test(sink, chunks_of_text_must_be_text_and_chunks_of_bytes_are_anything)
{
    static const SinkTableColumn columns[] = {{"stream_name", "text", true, false, false},
                                              {"generation", "bigint", true, false, false},
                                              {"seq", "bigint", true, false, false},
                                              {"ds_offset", "text", true, false, false},
                                              {"bytes", "text", true, false, false}};
    SinkTable table = {columns, DS_COUNT(columns)};
    RouteSpec spec =
        spec_of("{\"name\":\"r\",\"streams\":[\"a\"],\"table\":\"t\",\"as\":\"chunks\","
                "\"payload\":{\"column\":\"bytes\",\"type\":\"text\"}}");
    Sink *sink;
    Error err = {0};

    cr_assert(sink_new(&spec, &table, &sink, &err), "%s", err.text);
    cr_expect_eq(sink_judge_chunk(sink, STR("gr\xc3\xbc\xc3\x9f")), POISON_NONE);
    cr_expect_eq(sink_judge_chunk(sink, STR("a\0b")), POISON_NUL);
    cr_expect_eq(sink_judge_chunk(sink, STR("a\xff")), POISON_UTF8);
    cr_expect_eq(sink_judge_chunk(sink_default_chunks(), STR("\0\xff")), POISON_NONE);
    sink_unref(sink);
    route_spec_done(&spec);
}

/* What the column gets: text, "NULL", or the SQLSTATE of the fault, whose text names it. */
static void
expect_text(const char *column, const char *message, const char *expected)
{
    Sink *sink = events_sink();
    SinkText texts[SINK_VALUES_MAX];
    size_t at = 0;
    Buf scratch;
    Str text = STR("NULL");
    Error err = {0};

    buf_init(&scratch, 1000);
    while (strcmp(sink->values[at].column, column) != 0) {
        at++;
    }
    if (sink_texts(sink, &(SinkItem){.text = str_c(message)}, texts, &err) &&
        (texts[at].is_null || sink_decode(sink, at, &texts[at], &scratch, &text, &err))) {
        cr_expect(str_eq(text, str_c(expected)), "%s gives %.*s", message, STR_ARG(text));
    } else {
        cr_expect_eq(err.code, ERR_INPUT);
        cr_expect_str_eq(err.sqlstate, expected, "%s", err.text);
        cr_expect_not_null(strstr(err.text, column), "%s", err.text);
    }
    buf_done(&scratch);
    sink_unref(sink);
}

#define WITH_AMOUNT(json) "{\"value\":{\"amount\":1," json "}}"

Test(sink, a_mapped_column_gets_the_text_of_its_value)
{
    expect_text("User Id", WITH_AMOUNT("\"user\":\"a\\n\\u00e9\""), "a\n\xc3\xa9");
    expect_text("User Id", WITH_AMOUNT("\"user\":1.50"), "1.50");
    expect_text("User Id", WITH_AMOUNT("\"user\":true"), "true");
    expect_text("User Id", WITH_AMOUNT("\"user\":{\"a\": [1]}"), "{\"a\": [1]}");
    expect_text("User Id", WITH_AMOUNT("\"user\":\"\""), "");
    expect_text("User Id", WITH_AMOUNT("\"user\":null"), "NULL");
    expect_text("User Id", WITH_AMOUNT("\"x\":0"), "NULL");
}

Test(sink, event_columns_and_payload_stand_beside_the_mapped_ones)
{
    static const char message[] =
        "{\"key\":\"k\",\"operation\":\"\\u0073et\",\"value\":{\"amount\":1}}";

    expect_text("operation", message, "set");
    expect_text("operation", WITH_AMOUNT("\"x\":0"), "NULL");
    expect_text("amount", message, "1");
    expect_text("body", message, message);
}

Test(sink, a_value_that_no_column_can_hold_is_a_fault_of_its_row)
{
    expect_text("User Id", WITH_AMOUNT("\"user\":\"a\\u0000\""), "22P05");
    expect_text("User Id", WITH_AMOUNT("\"user\":\"\\ud800\""), "22P02");
    expect_text("User Id", WITH_AMOUNT("\"user\":{\"deep\":\"\\u0000\"}"),
                "{\"deep\":\"\\u0000\"}");
    expect_text("operation", "{\"operation\":\"\\u0000\",\"value\":{\"amount\":1}}", "22P05");
    expect_text("amount", "{\"value\":{\"amount\":null}}", "23502"); /* NOT NULL in the table */
    expect_text("amount", "{}", "23502");
    expect_text("amount", "7", "23502");
}
