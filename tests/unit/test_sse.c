/* SPDX-License-Identifier: Apache-2.0 */
#include "common/sse.h"

#include <criterion/criterion.h>
#include <signal.h>

/* Writes down each event as "name=data#id|". */
typedef struct Recorder {
    char trace[4096];
    size_t len;
    int stop_after; /* events; 0: never */
} Recorder;

static bool
record(void *arg, const SseEvent *event, Error *err)
{
    Recorder *rec = arg;
    int n = snprintf(rec->trace + rec->len, sizeof(rec->trace) - rec->len, "%.*s=%.*s#%.*s|",
                     STR_ARG(event->name), STR_ARG(event->data), STR_ARG(event->id));

    rec->len += (size_t)n;
    cr_assert_lt(rec->len, sizeof(rec->trace));
    if (rec->stop_after > 0 && --rec->stop_after == 0) {
        return error_set(err, ERR_CANCELED, "enough");
    }
    return true;
}

/* Whole, cut at every point, and byte by byte with rests. */
static void
expect_events(Str wire, const char *trace)
{
    for (size_t cut = 0; cut <= wire.len; cut++) {
        Recorder rec = {0};
        Error err = {0};
        SseParser *parser = sse_new(1024, record, &rec);

        cr_assert(sse_feed(parser, str_n(wire.ptr, cut), &err), "%s", err.text);
        cr_assert(sse_feed(parser, str_skip(wire, cut), &err), "%s", err.text);
        cr_expect_str_eq(rec.trace, trace, "%s, not %s: cut at byte %zu", rec.trace, trace, cut);
        sse_free(parser);
    }
    Recorder rec = {0};
    Error err = {0};
    SseParser *parser = sse_new(1024, record, &rec);

    for (size_t i = 0; i < wire.len; i++) {
        cr_assert(sse_feed(parser, str_n(wire.ptr + i, 1), &err), "%s", err.text);
        sse_rest(parser);
    }
    cr_expect_str_eq(rec.trace, trace, "%s, not %s: byte by byte, resting in between", rec.trace,
                     trace);
    sse_free(parser);
}

Test(sse, every_split_point_gives_the_same_events)
{
    expect_events(STR("event: data\ndata: [1,\ndata: 2]\n\n"
                      "id: 7\r\nevent: control\r\ndata:{}\r\n\r\n"),
                  "data=[1,\n2]#|control={}#7|");
}

Test(sse, cr_lf_and_crlf_all_end_lines)
{
    expect_events(STR("data: a\rdata: b\r\r"), "message=a\nb#|");
    expect_events(STR("data: a\ndata: b\n\n"), "message=a\nb#|");
    expect_events(STR("data: a\r\ndata: b\r\n\r\n"), "message=a\nb#|");
    expect_events(STR("data: a\r\ndata: b\n\rdata: c\r\r\n"), "message=a\nb#|message=c#|");
    expect_events(STR("\r\r\n\n\r\ndata: a\n\r\n\r"), "message=a#|");
}

/* The examples of WHATWG HTML, section 9.2.6. */
Test(sse, the_examples_of_the_standard_hold)
{
    expect_events(STR("data: YHOO\ndata: +2\ndata: 10\n\n"), "message=YHOO\n+2\n10#|");
    expect_events(STR(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
                      "data:  third event\n\n"),
                  "message=first event#1|message=second event#|message= third event#|");
    expect_events(STR("data\n\ndata\ndata\n\ndata:"), "message=#|message=\n#|");
    expect_events(STR("data:test\n\ndata: test\n\n"), "message=test#|message=test#|");
}

Test(sse, one_space_after_the_colon_is_taken_and_no_more)
{
    expect_events(STR("data:  a \ndata:\tb\ndata: :c\nevent:  x\n\n"), " x= a \n\tb\n:c#|");
}

Test(sse, a_byte_order_mark_is_skipped_at_the_start_only)
{
    expect_events(STR("\xef\xbb\xbf"
                      "data: a\n\n"),
                  "message=a#|");
    expect_events(STR("\xef\xbb\xbf\xef\xbb\xbf"
                      "data: a\n\ndata: b\n\n"),
                  "message=b#|");
    expect_events(STR("data: a\n\n\xef\xbb\xbf"
                      "data: b\n\n"),
                  "message=a#|");
    expect_events(STR("\xef\xbb"
                      "data: a\n\ndata: b\n\n"),
                  "message=b#|");
    expect_events(STR("\xef\xbb\n\ndata: b\n\n"), "message=b#|");
    expect_events(STR("\xef\xbb\xbf: comment\ndata: a\n\n"), "message=a#|");
}

Test(sse, comments_and_unknown_fields_mean_nothing)
{
    expect_events(STR(":\n: x\n:data: no\nretry: 10\nDATA: no\n data: no\ndata : no\nfoo\n"
                      "data: yes\n:more\n\n:\n\n"),
                  "message=yes#|");
}

Test(sse, an_event_without_a_data_line_is_not_dispatched_and_leaves_no_name)
{
    expect_events(STR("event: x\n\ndata: a\n\nevent: y\nid: 3\n\ndata: b\n\n"),
                  "message=a#|message=b#3|");
}

Test(sse, the_last_name_wins_and_an_empty_one_is_message)
{
    expect_events(STR("event: x\nevent: y\ndata: a\n\nevent: x\nevent\ndata: b\n\n"),
                  "y=a#|message=b#|");
}

Test(sse, the_id_stays_until_another_comes_and_one_with_a_zero_byte_does_not_count)
{
    expect_events(STR("id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n"),
                  "message=a#1|message=b#1|message=c#1|message=d#|");
}

Test(sse, an_unfinished_event_is_never_dispatched_and_known_to_be_there)
{
    static const char wire[] = "event: x\ndata: a\n\n";

    for (size_t cut = 0; cut < sizeof(wire) - 1; cut++) {
        Recorder rec = {0};
        Error err = {0};
        SseParser *parser = sse_new(1024, record, &rec);

        cr_assert(sse_feed(parser, str_n(wire, cut), &err));
        cr_expect_eq(rec.len, 0, "cut at byte %zu", cut);
        cr_expect_eq(sse_is_partial(parser), cut > 0, "cut at byte %zu", cut);
        cr_assert(sse_feed(parser, str_c(wire + cut), &err));
        cr_expect_not(sse_is_partial(parser));
        sse_free(parser);
    }
}

Test(sse, a_comment_is_no_part_of_an_event)
{
    Recorder rec = {0};
    Error err = {0};
    SseParser *parser = sse_new(1024, record, &rec);

    cr_assert(sse_feed(parser, STR(": keep"), &err));
    cr_expect_not(sse_is_partial(parser));
    cr_assert(sse_feed(parser, STR("-alive\n\n"), &err));
    cr_expect_not(sse_is_partial(parser));
    sse_free(parser);
}

Test(sse, reset_forgets_all_that_came_before)
{
    static const char wire[] = "id: 1\nevent: x\ndata: a\r";

    for (size_t cut = 0; cut < sizeof(wire); cut++) {
        Recorder rec = {0};
        Error err = {0};
        SseParser *parser = sse_new(1024, record, &rec);

        cr_assert(sse_feed(parser, str_n(wire, cut), &err));
        sse_reset(parser);
        cr_expect_not(sse_is_partial(parser));
        cr_assert(sse_feed(parser,
                           STR("\xef\xbb\xbf"
                               "data: b\n\n"),
                           &err));
        cr_expect_str_eq(rec.trace, "message=b#|", "%s: cut at byte %zu", rec.trace, cut);
        sse_free(parser);
    }
}

/* ": pad\n" does not count, the 5 + 8 + 9 bytes of the other lines do. */
Test(sse, an_event_may_be_as_large_as_the_limit_and_not_larger_wherever_it_is_cut)
{
    static const char wire[] = "id: 1\n: pad pad pad pad pad\nevent: x\ndata:abcd\n\ndata: b\n\n";

    for (size_t cut = 0; cut < sizeof(wire); cut++) {
        Recorder rec = {0};
        Error err = {0};
        SseParser *parser = sse_new(22, record, &rec);

        cr_assert(sse_feed(parser, str_n(wire, cut), &err), "%s", err.text);
        cr_assert(sse_feed(parser, str_c(wire + cut), &err), "%s", err.text);
        cr_expect_str_eq(rec.trace, "x=abcd#1|message=b#1|", "cut at byte %zu", cut);
        sse_free(parser);

        rec = (Recorder){0};
        parser = sse_new(21, record, &rec);
        bool ok =
            sse_feed(parser, str_n(wire, cut), &err) && sse_feed(parser, str_c(wire + cut), &err);
        cr_expect_not(ok, "cut at byte %zu", cut);
        cr_expect_eq(err.code, ERR_LIMIT);
        cr_expect_eq(rec.len, 0);
        sse_reset(parser);
        cr_expect(sse_feed(parser, STR("data: c\n\n"), &err));
        cr_expect_str_eq(rec.trace, "message=c#|");
        sse_free(parser);
    }
}

Test(sse, a_line_that_never_ends_stops_at_the_limit)
{
    Recorder rec = {0};
    Error err = {0};
    SseParser *parser = sse_new(1000, record, &rec);
    size_t fed = 0;

    while (sse_feed(parser, STR("data: 0123456789"), &err)) {
        fed += 16;
        cr_assert_leq(fed, 1000);
    }
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_gt(fed, 980);
    sse_free(parser);
}

Test(sse, a_comment_of_any_length_takes_no_memory)
{
    Recorder rec = {0};
    Error err = {0};
    SseParser *parser = sse_new(10, record, &rec);

    for (int i = 0; i < 100; i++) {
        cr_assert(sse_feed(parser, STR(": a long comment without an end"), &err), "%s", err.text);
    }
    cr_assert(sse_feed(parser, STR("\ndata: x\n\n"), &err), "%s", err.text);
    cr_expect_str_eq(rec.trace, "message=x#|");
    sse_free(parser);
}

Test(sse, a_callback_that_says_no_stops_the_parser_with_its_error)
{
    Recorder rec = {.stop_after = 2};
    Error err = {0};
    SseParser *parser = sse_new(1024, record, &rec);

    cr_expect_not(sse_feed(parser, STR("data: a\n\ndata: b\n\ndata: c\n\n"), &err));
    cr_expect_eq(err.code, ERR_CANCELED);
    cr_expect_str_eq(rec.trace, "message=a#|message=b#|");
    sse_free(parser);
}

Test(sse, freeing_nothing_is_allowed)
{
    sse_free(NULL);
}

Test(sse, feeding_a_parser_that_failed_is_our_bug, .signal = SIGABRT)
{
    Recorder rec = {0};
    Error err = {0};
    SseParser *parser = sse_new(4, record, &rec);

    cr_assert_not(sse_feed(parser, STR("data: too long"), &err));
    cr_assert_not(sse_feed(parser, STR("\n"), &err));
}

static bool
free_parser(void *arg, const SseEvent *event, Error *err)
{
    SseParser **parser = arg;

    (void)event;
    (void)err;
    sse_free(*parser);
    return true;
}

Test(sse, freeing_the_parser_from_its_own_callback_is_our_bug, .signal = SIGABRT)
{
    Error err = {0};
    SseParser *parser = sse_new(100, free_parser, &parser);

    cr_assert(sse_feed(parser, STR("data: a\n\n"), &err));
}

static void
expect_encoded(Str name, Str id, Str data, const char *wire)
{
    Buf out;
    Error err;

    buf_init(&out, 1024);
    cr_assert(sse_encode(&out, name, id, data, &err), "%s", err.text);
    cr_expect_str_eq(buf_cstr(&out), wire);
    buf_done(&out);
}

Test(sse, encoding_has_the_bytes_that_clients_expect)
{
    expect_encoded(STR("control"), STR("7"), STR("{\"a\":1}"),
                   "id: 7\nevent: control\ndata:{\"a\":1}\n\n");
    expect_encoded(STR("data"), STR(""), STR("[1]"), "event: data\ndata:[1]\n\n");
    expect_encoded(STR(""), STR(""), STR(""), "data:\n\n");
    expect_encoded(STR("data"), STR(""), STR("a\nb\rc\r\nd\n"),
                   "event: data\ndata:a\ndata:b\ndata:c\ndata:d\ndata:\n\n");
    expect_encoded(STR("data"), STR(""), str_n("a\r\n", 2), "event: data\ndata:a\ndata:\n\n");
    expect_encoded(STR("data"), STR(""), STR("\n\revent: x"),
                   "event: data\ndata:\ndata:\ndata:event: x\n\n");
}

Test(sse, what_is_encoded_is_parsed_again_whatever_it_holds)
{
    static const char *const texts[] = {
        "", " ", "  two", "a\n b", "\n", "\n\n", ":", "data: x", "x\n\nevent: y\n", "\xef\xbb\xbf",
    };

    for (size_t i = 0; i < DS_COUNT(texts); i++) {
        Buf out;
        Error err;
        Recorder rec = {0};
        char expected[128];
        SseParser *parser = sse_new(1024, record, &rec);

        buf_init(&out, 1024);
        cr_assert(sse_encode(&out, STR("n"), STR("i"), str_c(texts[i]), &err), "%s", err.text);
        cr_assert(sse_feed(parser, buf_str(&out), &err), "%s", err.text);
        (void)snprintf(expected, sizeof(expected), "n=%s#i|", texts[i]);
        cr_expect_str_eq(rec.trace, expected);
        buf_done(&out);
        sse_free(parser);
    }
}

Test(sse, a_line_break_in_name_or_id_is_refused_and_nothing_is_written)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 1024);
    cr_expect_not(sse_encode(&out, STR("a\nb"), STR("1"), STR("x"), &err));
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_not(sse_encode(&out, STR("a"), STR("1\r"), STR("x"), &err));
    cr_expect_eq(out.len, 0);
    buf_done(&out);
}

Test(sse, an_output_that_is_too_small_is_left_as_it_was)
{
    Buf out;
    Error err = {0};
    static const char whole[] = "kept:id: 1\nevent: e\ndata:x\ndata:y\n\n";
    size_t needed = sizeof(whole) - 1;

    for (size_t max = 5; max <= needed; max++) {
        buf_init(&out, max);
        cr_assert(buf_append(&out, STR("kept:"), &err));
        cr_expect_eq(sse_encode(&out, STR("e"), STR("1"), STR("x\ny"), &err), max == needed, "%zu",
                     max);
        cr_expect_str_eq(buf_cstr(&out), max == needed ? whole : "kept:");
        buf_truncate(&out, 5);
        cr_expect_eq(sse_encode_comment(&out, STR("a\nb"), &err), max >= 12, "%zu", max);
        cr_expect_str_eq(buf_cstr(&out), max >= 12 ? "kept::a\n:b\n\n" : "kept:");
        buf_done(&out);
    }
}

Test(sse, a_comment_is_one_whatever_it_holds)
{
    Buf out;
    Error err;
    Recorder rec = {0};
    SseParser *parser = sse_new(1024, record, &rec);

    buf_init(&out, 1024);
    cr_assert(sse_encode_comment(&out, STR(""), &err));
    cr_expect_str_eq(buf_cstr(&out), ":\n\n");
    cr_assert(sse_encode_comment(&out, STR("a\ndata: b\r\n\r\n"), &err));
    cr_assert(sse_feed(parser, buf_str(&out), &err));
    cr_expect_eq(rec.len, 0);
    buf_done(&out);
    sse_free(parser);
}
