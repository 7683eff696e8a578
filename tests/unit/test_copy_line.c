/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/copy_line.h"

#include <criterion/criterion.h>

static const RowPlace place = {
    .stream_name = STR("a\tb"), .generation = 2, .seq = 1234567890123, .offset = STR("0_f")};

static void
expect_event(const char *message, const char *expected)
{
    CopyPlace shared;
    Buf out;
    Buf scratch;
    Error err = {0};

    buf_init(&out, 1000);
    buf_init(&scratch, 1000);
    cr_assert(copy_line(&out, sink_default_events(), &place, &(SinkItem){.text = str_c(message)},
                        &scratch, &err),
              "%s", err.text);
    cr_expect_str_eq(buf_cstr(&out), expected);
    buf_reset(&out);
    cr_assert(copy_place_init(&shared, &place, &err));
    cr_assert(copy_line_at(&out, sink_default_events(), &shared, place.seq,
                           &(SinkItem){.text = str_c(message)}, &scratch, &err));
    cr_expect_str_eq(buf_cstr(&out), expected, "of a place that rows share");
    copy_place_done(&shared);
    buf_done(&out);
    buf_done(&scratch);
}

Test(copy_line, of_a_message_has_its_place_its_columns_and_its_text)
{
    expect_event("{\"key\":\"k\",\"type\":\"t\",\"headers\":{\"operation\":\"o\"}}",
                 "a\\tb\t2\t1234567890123\t0_f\tk\tt\to\t"
                 "{\"key\":\"k\",\"type\":\"t\",\"headers\":{\"operation\":\"o\"}}\n");
    expect_event("7", "a\\tb\t2\t1234567890123\t0_f\t\\N\t\\N\t\\N\t7\n");
}

Test(copy_line, escapes_are_undone_in_columns_and_kept_in_the_text)
{
    expect_event("{\"key\":\"a\\tb\\\\N\\u00e9\"}",
                 "a\\tb\t2\t1234567890123\t0_f\ta\\tb\\\\N\u00e9\t\\N\t\\N\t"
                 "{\"key\":\"a\\\\tb\\\\\\\\N\\\\u00e9\"}\n");
}

static bool
chunk(Buf *out, Str bytes, Error *err)
{
    Buf unused = {0};

    return copy_line(out, sink_default_chunks(), &place, &(SinkItem){.text = bytes}, &unused, err);
}

Test(copy_line, of_a_chunk_has_its_bytes_in_hexadecimal)
{
    Buf out;
    Error err = {0};

    buf_init(&out, 1000);
    cr_assert(chunk(&out, STR("\n\0\xff"), &err), "%s", err.text);
    cr_expect_str_eq(buf_cstr(&out), "a\\tb\t2\t1234567890123\t0_f\t\\\\x0a00ff\n");
    buf_done(&out);
}

Test(copy_line, whose_column_cannot_hold_its_text_is_a_fault_of_the_row)
{
    Buf out;
    Buf scratch;
    Error err = {0};

    buf_init(&out, 1000);
    buf_init(&scratch, 1000);
    cr_expect_not(copy_line(&out, sink_default_events(), &place,
                            &(SinkItem){.text = STR("{\"key\":\"\\udc00\"}")}, &scratch, &err));
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_str_eq(err.sqlstate, "22P02");
    buf_done(&out);
    buf_done(&scratch);
}

Test(copy_line, that_does_not_fit_is_a_limit_error)
{
    Buf whole;
    Error err = {0};

    buf_init(&whole, 1000);
    cr_assert(chunk(&whole, STR("abc"), &err), "%s", err.text);
    for (size_t max = 0; max < whole.len; max++) {
        Buf out;

        buf_init(&out, max);
        err = (Error){0};
        cr_expect_not(chunk(&out, STR("abc"), &err), "%zu bytes", max);
        cr_expect_eq(err.code, ERR_LIMIT);
        buf_done(&out);
    }
    buf_done(&whole);
}
