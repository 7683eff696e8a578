/* SPDX-License-Identifier: Apache-2.0 */
#include "server/payload.h"

#include <criterion/criterion.h>

#include "common/json_scan.h"
#include "common/mem.h"

static void
expect_json(Str body, const char *stored, size_t count)
{
    Payload payload;
    Error err = {0};
    uint32_t last = 0;

    payload_init(&payload);
    cr_assert(payload_set_json(&payload, body, &err), "%.*s: %s", STR_ARG(body), err.text);
    cr_expect(str_eq(payload.view.bytes, str_c(stored)), "%.*s", STR_ARG(payload.view.bytes));
    cr_assert_eq(payload.view.count, count);
    for (size_t i = 0; i < count; i++) {
        cr_expect_gt(payload.view.ends[i], last);
        last = payload.view.ends[i];
        cr_expect_eq(payload.view.bytes.ptr[last - 1], ',');
    }
    cr_expect_eq(last, payload.view.bytes.len);
    payload_done(&payload);
}

static void
expect_refused(Str body)
{
    Payload payload;
    Error err = {0};

    payload_init(&payload);
    cr_expect_not(payload_set_json(&payload, body, &err), "%.*s", STR_ARG(body));
    cr_expect_eq(payload.view.count, 0);
    payload_done(&payload);
}

Test(payload, one_json_array_level_is_flattened)
{
    expect_json(STR("1"), "1,", 1);
    expect_json(STR(" {\"a\": [1, 2]} "), "{\"a\": [1, 2]},", 1);
    expect_json(STR("[1, \"x\" ,null]"), "1,\"x\",null,", 3);
    expect_json(STR("[[1,2],[3]]"), "[1,2],[3],", 2);
    expect_json(STR("[[]]"), "[],", 1);
    expect_json(STR(" [ ] "), "", 0);
}

Test(payload, the_bytes_of_a_message_are_kept)
{
    expect_json(STR("[123456789012345678901234567890, 1.50e+03]"),
                "123456789012345678901234567890,1.50e+03,", 2);
    expect_json(STR("{ \"b\":1,\t\"a\" : \"\\u00e9\" }"), "{ \"b\":1,\t\"a\" : \"\\u00e9\" },", 1);
}

Test(payload, a_body_that_is_bad_anywhere_gives_nothing)
{
    expect_refused(STR("[1,2"));
    expect_refused(STR("[1,2,]"));
    expect_refused(STR("[1] 2"));
    expect_refused(STR("{\"a\":}"));
    expect_refused(STR(" "));
    expect_refused(STR("[1,nul]"));
    expect_refused(STR("\"\xff\""));
}

Test(payload, every_truncation_of_a_document_is_refused)
{
    static const char body[] = "[{\"a\":[1,{\"b\":\"x\\n\"}]},-1.5e3,true]";

    for (size_t len = 0; len + 1 < sizeof(body); len++) {
        expect_refused(str_n(body, len));
    }
    expect_json(str_n(body, sizeof(body) - 1), "{\"a\":[1,{\"b\":\"x\\n\"}]},-1.5e3,true,", 3);
}

/* Between brackets, as readers get them, messages must not be deeper than readers read. */
Test(payload, what_is_stored_can_be_read_back_as_an_array)
{
    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX; depth++) {
        Payload payload;
        Error err = {0};
        char lone[JSON_DEPTH_MAX * 7];
        size_t len = 0;

        for (size_t i = 0; i < depth; i++, len += 5) {
            memcpy(lone + len, "{\"a\":", 5);
        }
        lone[len++] = '1';
        for (size_t i = 0; i < depth; i++) {
            lone[len++] = '}';
        }
        payload_init(&payload);
        cr_expect_eq(payload_set_json(&payload, str_n(lone, len), &err), depth < JSON_DEPTH_MAX);
        payload_done(&payload);
    }
}

/* Around the sizes that need no allocation. */
Test(payload, any_number_of_messages_fits)
{
    for (size_t count = 1; count < 600; count++) {
        char *body = mem_zalloc(2 * count + 2);
        char *stored = mem_zalloc(2 * count + 1);

        for (size_t i = 0; i < count; i++) {
            body[2 * i] = i == 0 ? '[' : ',';
            body[2 * i + 1] = (char)('0' + i % 10);
            stored[2 * i] = (char)('0' + i % 10);
            stored[2 * i + 1] = ',';
        }
        body[2 * count] = ']';
        expect_json(str_c(body), stored, count);
        free(body);
        free(stored);
    }
}

Test(payload, other_bodies_are_one_message_as_they_are)
{
    Payload payload;

    payload_init(&payload);
    payload_set_bytes(&payload, STR("[1,2"));
    cr_expect_eq(payload.view.count, 1);
    cr_expect(str_eq(payload.view.bytes, STR("[1,2")));
    cr_expect_eq(payload.view.ends[0], 4);
    payload_done(&payload);

    payload_init(&payload);
    payload_set_bytes(&payload, STR(""));
    cr_expect_eq(payload.view.count, 0);
    payload_done(&payload);
}
