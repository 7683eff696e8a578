/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_http_parse.c -- request heads and chunked bodies: what is taken, what is refused,
 * and that neither depends on how the bytes arrive.
 */
#include "common/http_parse.h"

#include <criterion/criterion.h>

#include "common/buf.h"

#define HOST "Host: h\r\n"

static int
status_of(Str bytes, HttpRequestHead *head)
{
    HttpParseFault fault = {0};
    size_t scanned = 0;

    switch (http_parse_head(bytes, &scanned, head, &fault)) {
    case HTTP_PARSE_MORE:
        return 0;
    case HTTP_PARSE_DONE:
        return 200;
    case HTTP_PARSE_DATA:
    case HTTP_PARSE_BAD:
        break;
    }
    cr_assert_not_null(fault.text);
    return fault.status;
}

static void
expect_eq(Str got, const char *want)
{
    cr_expect(str_eq(got, str_c(want)), "got \"%.*s\", want \"%s\"", STR_ARG(got), want);
}

Test(http_parse, a_head_is_read_into_its_parts)
{
    static const char text[] =
        "POST /v1/stream/a%2fb?offset=-1&x=? HTTP/1.1\r\nHost: example.com:4437\r\n"
        "content-TYPE: \t text/plain; a=b \r\nContent-Length: 12\r\nX-Empty:\r\n"
        "Expect: 100-Continue\r\n\r\nbody";
    HttpRequestHead head;
    Str value;
    size_t count;

    cr_assert_eq(status_of(str_c(text), &head), 200);
    cr_expect_eq(head.method, HTTP_METHOD_POST);
    expect_eq(head.path, "/v1/stream/a%2fb");
    expect_eq(head.query, "offset=-1&x=?");
    cr_expect(head.has_query && head.keep_alive && head.expect_continue);
    expect_eq(head.host, "example.com:4437");
    cr_expect_eq(head.minor, 1);
    cr_expect_eq(head.body_kind, HTTP_BODY_LENGTH);
    cr_expect_eq(head.content_length, 12);
    cr_expect_eq(head.bytes, sizeof(text) - 1 - 4);
    cr_assert(http_fields_get(head.fields, head.field_count, STR("Content-Type"), &value, &count));
    expect_eq(value, "text/plain; a=b");
    cr_expect_eq(count, 1);
    cr_assert(http_fields_get(head.fields, head.field_count, STR("x-empty"), &value, NULL));
    expect_eq(value, "");
    cr_expect_not(http_fields_get(head.fields, head.field_count, STR("Absent"), &value, &count));
    cr_expect_eq(count, 0);
}

Test(http_parse, repeated_fields_are_counted_and_the_first_is_given)
{
    HttpRequestHead head;
    Str value;
    size_t count;

    cr_assert_eq(status_of(STR("GET / HTTP/1.1\r\n" HOST "A: 1\r\na: 2\r\n\r\n"), &head), 200);
    cr_assert(http_fields_get(head.fields, head.field_count, STR("A"), &value, &count));
    expect_eq(value, "1");
    cr_expect_eq(count, 2);
    cr_expect_eq(http_request_field(&head, STR("a"), &value), 2);
    expect_eq(value, "1");
}

Test(http_parse, a_field_that_is_not_there_has_no_value_even_if_others_begin_like_it)
{
    HttpRequestHead head;
    Str value = STR("untouched");

    cr_assert_eq(status_of(STR("GET / HTTP/1.1\r\n" HOST "Accept: 1\r\n\r\n"), &head), 200);
    cr_expect_eq(http_request_field(&head, STR("Age"), &value), 0);
    cr_expect_eq(http_request_field(&head, STR("Origin"), &value), 0);
    expect_eq(value, "untouched");
    cr_expect_eq(http_request_field(&head, STR("aCCEPT"), &value), 1);
    expect_eq(value, "1");
}

Test(http_parse, methods_are_case_sensitive_tokens)
{
    static const struct {
        const char *text;
        HttpMethod method;
    } cases[] = {
        {"GET", HTTP_METHOD_GET},         {"HEAD", HTTP_METHOD_HEAD},  {"PUT", HTTP_METHOD_PUT},
        {"DELETE", HTTP_METHOD_DELETE},   {"get", HTTP_METHOD_OTHER},  {"PATCH", HTTP_METHOD_OTHER},
        {"OPTIONS", HTTP_METHOD_OPTIONS}, {"GETS", HTTP_METHOD_OTHER},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        char text[64];
        HttpRequestHead head;

        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\n" HOST "\r\n", cases[i].text);
        cr_assert_eq(status_of(str_c(text), &head), 200, "%s", text);
        cr_expect_eq(head.method, cases[i].method, "%s", text);
        expect_eq(head.method_text, cases[i].text);
    }
}

Test(http_parse, the_target_may_be_a_path_an_url_or_an_asterisk_for_options)
{
    static const struct {
        const char *target, *path, *query, *host;
    } cases[] = {
        {"/", "/", "", "h"},
        {"/a?", "/a", "", "h"},
        {"//a", "//a", "", "h"},
        {"http://other:1/a?b", "/a", "b", "other:1"},
        {"HTTP://[::1]:80", "/", "", "[::1]:80"},
        {"https://x?q=/", "/", "q=/", "x"},
        {"*", "*", "", "h"},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        char text[128];
        HttpRequestHead head;

        snprintf(text, sizeof(text), "OPTIONS %s HTTP/1.1\r\n" HOST "\r\n", cases[i].target);
        cr_assert_eq(status_of(str_c(text), &head), 200, "%s", text);
        expect_eq(head.path, cases[i].path);
        expect_eq(head.query, cases[i].query);
        expect_eq(head.host, cases[i].host);
    }
}

Test(http_parse, the_connection_is_kept_as_the_version_and_connection_say)
{
    static const struct {
        const char *text;
        bool keep;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", true},
        {"GET / HTTP/1.1\r\n" HOST "Connection: x,  Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: closed\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        HttpRequestHead head;

        cr_assert_eq(status_of(str_c(cases[i].text), &head), 200, "%s", cases[i].text);
        cr_expect_eq(head.keep_alive, cases[i].keep, "%s", cases[i].text);
    }
}

Test(http_parse, one_empty_line_may_lead_and_no_more)
{
    HttpRequestHead head;

    cr_expect_eq(status_of(STR("\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), &head), 200);
    cr_expect_eq(head.bytes, 2 + 16 + 9 + 2);
    cr_expect_eq(status_of(STR("\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), &head), 400);
}

/* What two servers could read in two ways, and what is plainly wrong. */
static const struct {
    Str text;
    int status;
} refused[] = {
    /* framing */
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
     400},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"),
     400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\ncontent-length: 4\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: -3\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: 3 4\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n"), 501},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n"), 501},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n"), 501},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n"), 501},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n"), 501},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
         "chunked\r\n\r\n"),
     400},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"),
     400},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding\r\n: chunked\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "X: 1\r\n Transfer-Encoding: chunked\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "X: 1\nTransfer-Encoding: chunked\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "X: 1\rTransfer-Encoding: chunked\r\n\r\n"), 400},
    {STR("POST / HTTP/1.1\r\n" HOST "X: 1\r\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
    {STR("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
    /* line ends */
    {STR("GET / HTTP/1.1\n"), 400},
    {STR("\nGET / HTTP/1.1\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "\n"), 400},
    {STR("GET / HTTP/1.1\rHost: h\r\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "\r\r\n\r\n"), 400},
    /* fields */
    {STR("GET / HTTP/1.1\r\n Host: h\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n\tHost: h\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "A B: 1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "A\t: 1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST ": 1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "NoColon\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "(A): 1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "\xc3\xa4: 1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "A: 1\0002\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "A\0: 1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "A: \x7f\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n"), 417},
    /* Host */
    {STR("GET / HTTP/1.1\r\n\r\n"), 400},
    {STR("GET http://h/ HTTP/1.1\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\n" HOST HOST "\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: user@h\r\n\r\n"), 400},
    {STR("GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n"), 400},
    /* request line */
    {STR("GET / HTTP/2.0\r\n" HOST "\r\n"), 505},
    {STR("GET / HTTP/0.9\r\n" HOST "\r\n"), 505},
    {STR("GET / http/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET / HTTP/1.10\r\n" HOST "\r\n"), 400},
    {STR("GET / HTTP/1\r\n" HOST "\r\n"), 400},
    {STR("GET / HTTP/1.1 \r\n" HOST "\r\n"), 400},
    {STR("GET  / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET /  HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET /a b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET /\r\n" HOST "\r\n"), 400},
    {STR("GET\t/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR(" GET / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("G(T / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET a HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET * HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("CONNECT h:1 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET ftp://h/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET http:///a HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET http://u@h/a HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET /#a HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("GET /\0 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {STR("\x16\x03\x01"), 400},
    {STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
};

Test(http_parse, what_can_be_read_in_two_ways_is_refused)
{
    for (size_t i = 0; i < DS_COUNT(refused); i++) {
        HttpRequestHead head;

        cr_expect_eq(status_of(refused[i].text, &head), refused[i].status, "case %zu: %d for %.*s",
                     i, status_of(refused[i].text, &head), STR_ARG(refused[i].text));
    }
}

Test(http_parse, a_refusal_does_not_depend_on_how_the_bytes_arrive)
{
    for (size_t i = 0; i < DS_COUNT(refused); i++) {
        HttpRequestHead head;
        HttpParseFault fault = {0};
        HttpParseResult result = HTTP_PARSE_MORE;
        size_t scanned = 0;

        for (size_t n = 0; n <= refused[i].text.len && result == HTTP_PARSE_MORE; n++) {
            result = http_parse_head(str_n(refused[i].text.ptr, n), &scanned, &head, &fault);
        }
        cr_expect_eq(result, HTTP_PARSE_BAD, "case %zu", i);
        cr_expect_eq(fault.status, refused[i].status, "case %zu", i);
    }
}

static const char whole[] =
    "\r\nPUT /s?a=b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n";

Test(http_parse, every_truncation_asks_for_more)
{
    for (size_t n = 0; n < sizeof(whole) - 1; n++) {
        HttpRequestHead head;

        cr_expect_eq(status_of(str_n(whole, n), &head), 0, "truncated at %zu", n);
    }
}

Test(http_parse, every_split_point_gives_the_same_head)
{
    for (size_t cut = 0; cut < sizeof(whole); cut++) {
        HttpRequestHead head;
        HttpParseFault fault;
        size_t scanned = 0;

        if (cut < sizeof(whole) - 1) {
            cr_assert_eq(http_parse_head(str_n(whole, cut), &scanned, &head, &fault),
                         HTTP_PARSE_MORE);
            cr_assert_leq(scanned, cut + 2);
        }
        cr_assert_eq(http_parse_head(str_c(whole), &scanned, &head, &fault), HTTP_PARSE_DONE,
                     "cut at %zu", cut);
        expect_eq(head.path, "/s");
        cr_expect_eq(head.body_kind, HTTP_BODY_CHUNKED);
        cr_expect_eq(head.bytes, sizeof(whole) - 1);
    }
}

/* A head of `bytes` bytes in all: the request line, Host, and one long field. */
static void
make_long_head(Buf *buf, size_t bytes)
{
    static const char start[] = "GET / HTTP/1.1\r\n" HOST "L: ";
    Error err;

    cr_assert(buf_append(buf, str_c(start), &err));
    while (buf->len < bytes - 4) {
        cr_assert(buf_append_char(buf, 'x', &err));
    }
    cr_assert(buf_append(buf, STR("\r\n\r\n"), &err));
}

Test(http_parse, the_longest_head_is_taken_and_one_byte_more_is_431)
{
    HttpRequestHead head;
    Buf buf;

    buf_init(&buf, HTTP_HEAD_BYTES_MAX + 64);
    make_long_head(&buf, HTTP_HEAD_BYTES_MAX);
    cr_expect_eq(status_of(buf_str(&buf), &head), 200);
    buf_reset(&buf);
    make_long_head(&buf, HTTP_HEAD_BYTES_MAX + 1);
    cr_expect_eq(status_of(buf_str(&buf), &head), 431);
    cr_expect_eq(status_of(str_n(buf.data, HTTP_HEAD_BYTES_MAX - 1), &head), 0);
    buf_done(&buf);
}

Test(http_parse, a_hundred_fields_are_taken_and_one_more_is_431)
{
    for (size_t count = HTTP_FIELDS_MAX; count <= HTTP_FIELDS_MAX + 1; count++) {
        HttpRequestHead head;
        Error err;
        Buf buf;

        buf_init(&buf, 65536);
        cr_assert(buf_append(&buf, STR("GET / HTTP/1.1\r\n" HOST), &err));
        for (size_t i = 1; i < count; i++) {
            cr_assert(buf_append(&buf, STR("A: 1\r\n"), &err));
        }
        cr_assert(buf_append(&buf, STR("\r\n"), &err));
        cr_expect_eq(status_of(buf_str(&buf), &head), count == HTTP_FIELDS_MAX ? 200 : 431);
        buf_done(&buf);
    }
}

Test(http_parse, the_longest_target_is_taken_and_one_byte_more_is_414)
{
    for (size_t length = HTTP_TARGET_BYTES_MAX; length <= HTTP_TARGET_BYTES_MAX + 1; length++) {
        HttpRequestHead head;
        Error err;
        Buf buf;

        buf_init(&buf, 65536);
        cr_assert(buf_append(&buf, STR("GET /"), &err));
        while (buf.len < 4 + length) {
            cr_assert(buf_append_char(&buf, 'a', &err));
        }
        cr_assert(buf_append(&buf, STR(" HTTP/1.1\r\n" HOST "\r\n"), &err));
        cr_expect_eq(status_of(buf_str(&buf), &head), length == HTTP_TARGET_BYTES_MAX ? 200 : 414);
        buf_done(&buf);
    }
}

Test(http_parse, a_request_line_that_never_ends_is_414)
{
    static char endless[HTTP_HEAD_BYTES_MAX];
    HttpRequestHead head;

    memset(endless, 'a', sizeof(endless));
    cr_expect_eq(status_of(str_n(endless, sizeof(endless)), &head), 414);
}

/* ---- chunks ---- */

/* Decodes in pieces of at most `slice` bytes.  Returns 0 (unfinished), 200 or the fault's status;
 * the bytes of a body that ended are counted in *out_used. */
static int
decode(Str wire, size_t slice, Buf *out, size_t *out_used)
{
    HttpChunks chunks = {0};
    size_t at = 0;

    while (at < wire.len) {
        Str in = str_n(wire.ptr + at, DS_MIN(slice, wire.len - at));
        size_t given = in.len;
        HttpParseResult result;
        do {
            HttpParseFault fault = {0};
            Error err;
            Str data;

            result = http_chunks_next(&chunks, &in, &data, &fault);
            if (result == HTTP_PARSE_BAD) {
                return fault.status;
            }
            if (result == HTTP_PARSE_DATA) {
                cr_assert(buf_append(out, data, &err));
            }
        } while (result == HTTP_PARSE_DATA);
        at += given - in.len;
        if (result == HTTP_PARSE_DONE) {
            *out_used = at;
            return 200;
        }
        cr_assert_eq(in.len, 0);
    }
    return 0;
}

static const char chunked[] =
    "5\r\nhello\r\n00A;x=\"y z\"\r\n, world\r\n!\r\n0;last\r\nTrailer: v\r\nT2:\r\n\r\n";

Test(http_parse, chunks_give_the_same_bytes_for_every_slicing)
{
    for (size_t slice = 1; slice <= sizeof(chunked); slice++) {
        size_t used = 0;
        Buf out;

        buf_init(&out, 1024);
        cr_expect_eq(decode(str_c(chunked), slice, &out, &used), 200, "slices of %zu", slice);
        expect_eq(buf_str(&out), "hello, world\r\n!");
        cr_expect_eq(used, sizeof(chunked) - 1);
        buf_done(&out);
    }
}

Test(http_parse, chunks_cut_at_every_byte_are_unfinished)
{
    for (size_t n = 0; n < sizeof(chunked) - 1; n++) {
        size_t used = 0;
        Buf out;

        buf_init(&out, 1024);
        cr_expect_eq(decode(str_n(chunked, n), n + 1, &out, &used), 0, "cut at %zu", n);
        buf_done(&out);
    }
}

Test(http_parse, what_follows_a_chunked_body_is_left_alone)
{
    size_t used = 0;
    Buf out;

    buf_init(&out, 64);
    cr_expect_eq(decode(STR("1\r\na\r\n0\r\n\r\nGET /"), 100, &out, &used), 200);
    cr_expect_eq(used, 11);
    buf_done(&out);
}

Test(http_parse, a_malformed_chunk_is_refused)
{
    static const struct {
        Str text;
        int status;
    } cases[] = {
        {STR("\r\n"), 400},
        {STR(" 5\r\n"), 400},
        {STR("5 \r\n"), 400},
        {STR("0x5\r\n"), 400},
        {STR("-5\r\n"), 400},
        {STR("+5\r\n"), 400},
        {STR("5\n"), 400},
        {STR("5\rx"), 400},
        {STR("g\r\n"), 400},
        {STR(";a\r\n"), 400},
        {STR("1\r\nab"), 400},
        {STR("1\r\na\n"), 400},
        {STR("1\r\na\rb"), 400},
        {STR("5;a\nb\r\n"), 400},
        {STR("5;a\0\r\n"), 400},
        {STR("0\r\n X: 1\r\n"), 400},
        {STR("0\r\nX\r\n"), 400},
        {STR("0\r\n: 1\r\n"), 400},
        {STR("0\r\nX: 1\n"), 400},
        {STR("0\r\nX: \0\r\n"), 400},
        {STR("0\r\n\rx"), 400},
        {STR("0\r\n\n"), 400},
        {STR("fffffffffffffffff\r\n"), 400},
        {STR("4000000000000000\r\n"), 400},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        for (size_t slice = 1; slice < 4; slice++) {
            size_t used = 0;
            Buf out;

            buf_init(&out, 64);
            cr_expect_eq(decode(cases[i].text, slice, &out, &used), cases[i].status, "case %zu", i);
            buf_done(&out);
        }
    }
}

/* prefix, then `unit` repeated until `bytes` are there. */
static void
fill(Buf *buf, Str prefix, Str unit, size_t bytes)
{
    Error err;

    cr_assert(buf_append(buf, prefix, &err));
    while (buf->len < bytes) {
        cr_assert(buf_append(buf, unit, &err));
    }
}

Test(http_parse, chunk_lines_extensions_and_trailers_are_bounded)
{
    static const struct {
        Str prefix, unit;
        size_t bytes;
    } cases[] = {
        {STR(""), STR("0"), HTTP_CHUNK_LINE_BYTES_MAX},
        {STR("1;"), STR("x"), HTTP_CHUNK_LINE_BYTES_MAX},
        {STR(""), STR("1;xxxx\r\na\r\n"), HTTP_CHUNK_EXTENSION_BYTES_MAX / 4 * 11},
        {STR("0\r\n"), STR("A: 1\r\n"), HTTP_TRAILER_BYTES_MAX},
        {STR("0\r\nA: "), STR("x"), HTTP_TRAILER_BYTES_MAX},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        size_t used = 0;
        Buf wire, out;

        buf_init(&wire, 1 << 20);
        buf_init(&out, 1 << 20);
        fill(&wire, cases[i].prefix, cases[i].unit, cases[i].bytes / 2);
        cr_expect_eq(decode(buf_str(&wire), 4096, &out, &used), 0, "case %zu, half of it", i);
        fill(&wire, STR(""), cases[i].unit, cases[i].bytes * 3 / 2);
        buf_reset(&out);
        cr_expect_eq(decode(buf_str(&wire), 4096, &out, &used), 431, "case %zu, too much", i);
        buf_done(&wire);
        buf_done(&out);
    }
}
