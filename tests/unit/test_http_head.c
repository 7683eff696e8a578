/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http_client_internal.h"

#include <criterion/criterion.h>

static bool
add(HttpHeadStore *store, const char *line, int status, Error *err)
{
    bool complete;

    return http_head_add(store, str_c(line), status, &complete, err);
}

static void
store_init(HttpHeadStore *store)
{
    *store = (HttpHeadStore){.count = 0};
    buf_init(&store->bytes, HTTP_CLIENT_HEAD_BYTES_MAX);
}

Test(http_head, the_final_head_is_kept_and_interim_ones_and_trailers_are_not)
{
    HttpHeadStore store;
    HttpHead head;
    Error err = {0};
    bool complete;
    Str value;

    store_init(&store);
    cr_assert(add(&store, "HTTP/1.1 103 Early Hints\r\n", 103, &err));
    cr_assert(add(&store, "X-Early: 1\r\n", 103, &err));
    cr_assert(http_head_add(&store, STR("\r\n"), 103, &complete, &err));
    cr_expect_not(complete);
    cr_assert(add(&store, "HTTP/1.1 200 OK\r\n", 200, &err));
    cr_assert(add(&store, "X-One:  a b \t\r\n", 200, &err));
    cr_assert(add(&store, " folded\r\n", 200, &err));
    cr_assert(add(&store, "no colon here\r\n", 200, &err));
    cr_assert(add(&store, "x-one: last\n", 200, &err));
    cr_assert(add(&store, "X-Empty:\r\n", 200, &err));
    cr_assert(http_head_add(&store, STR("\r\n"), 200, &complete, &err));
    cr_expect(complete);
    cr_assert(http_head_add(&store, STR("X-Trailer: t\r\n"), 200, &complete, &err));
    cr_expect_not(complete);
    http_head_view(&store, &head);
    cr_expect_eq(head.status, 200);
    cr_expect_eq(head.count, 3);
    cr_expect(str_eq(head.values[0], STR("a b")));
    cr_assert(http_head_get(&head, "X-ONE", &value));
    cr_expect(str_eq(value, STR("last")));
    cr_assert(http_head_get(&head, "x-empty", &value));
    cr_expect_eq(value.len, 0);
    cr_expect_not(http_head_get(&head, "x-early", &value));
    cr_expect_not(http_head_get(&head, "x-trailer", &value));
    cr_expect_not(http_head_get(&head, "x-on", &value));
    buf_done(&store.bytes);
}

Test(http_head, lines_and_bytes_have_a_limit)
{
    HttpHeadStore store;
    Error err = {0};
    Buf line;

    store_init(&store);
    for (int i = 0; i < HTTP_CLIENT_HEADERS_MAX; i++) {
        cr_assert(add(&store, "a: b\r\n", 200, &err), "%d", i);
    }
    cr_expect_not(add(&store, "a: b\r\n", 200, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    buf_done(&store.bytes);

    store_init(&store);
    buf_init(&line, HTTP_CLIENT_HEAD_BYTES_MAX * 2);
    cr_assert(buf_append(&line, STR("a:"), &err));
    while (line.len < HTTP_CLIENT_HEAD_BYTES_MAX + 1) {
        cr_assert(buf_append_char(&line, 'x', &err));
    }
    cr_expect(http_head_add(&store, buf_str(&line), 200, &(bool){false}, &err));
    cr_expect_not(add(&store, "b: c\r\n", 200, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    buf_done(&line);
    buf_done(&store.bytes);
}

Test(http_head, retry_after_reads_seconds_and_dates)
{
    int64_t now = INT64_C(784111777000); /* Sun, 06 Nov 1994 08:49:37 GMT */

    cr_expect_eq(http_retry_after_ms(STR("0"), now), 0);
    cr_expect_eq(http_retry_after_ms(STR("120"), now), 120000);
    cr_expect_eq(http_retry_after_ms(STR("99999999999999"), now), HTTP_RETRY_AFTER_MS_MAX);
    cr_expect_eq(http_retry_after_ms(STR("Sun, 06 Nov 1994 08:49:47 GMT"), now), 10000);
    cr_expect_eq(http_retry_after_ms(STR("Sun, 06 Nov 1994 08:49:37 GMT"), now), 0);
    cr_expect_eq(http_retry_after_ms(STR("Sun, 06 Nov 1984 08:49:37 GMT"), now), 0);
    cr_expect_eq(http_retry_after_ms(STR("Sun, 06 Nov 2094 08:49:37 GMT"), now),
                 HTTP_RETRY_AFTER_MS_MAX);
    cr_expect_eq(http_retry_after_ms(STR(""), now), 0);
    cr_expect_eq(http_retry_after_ms(STR("soon"), now), 0);
    cr_expect_eq(http_retry_after_ms(STR("-5"), now), 0);
}

Test(http_head, url_encoding_keeps_unreserved_bytes_and_those_asked_for)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 64);
    cr_assert(http_url_encode(&out, STR("a/b c?%\xc3\xa9~-._"), "/", &err));
    cr_expect_str_eq(buf_cstr(&out), "a/b%20c%3F%25%C3%A9~-._");
    buf_reset(&out);
    cr_assert(http_url_encode(&out, str_n("a/\0", 3), "", &err));
    cr_expect_str_eq(buf_cstr(&out), "a%2F%00");
    cr_expect_not(http_url_encode(&out, STR("////////////////////////"), "", &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    cr_expect_str_eq(buf_cstr(&out), "a%2F%00");
    buf_done(&out);
}
