/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/copy_text.h"

#include <criterion/criterion.h>

#include "common/mem.h"

#define LINE_BYTES 1000

/* Lines that were made ahead, as a unit holds them. */
static void
make_lines(Buf *lines, size_t count, char c)
{
    Error err;

    buf_init(lines, count * LINE_BYTES + 1);
    for (size_t i = 0; i < count * LINE_BYTES; i++) {
        cr_assert(buf_append_char(lines, i % LINE_BYTES == LINE_BYTES - 1 ? '\n' : c, &err));
    }
}

static void
add_ahead(CopyText *copy, const Buf *lines, size_t first, size_t end)
{
    Error err;

    for (size_t i = first; i < end; i++) {
        Str line = str_slice(buf_str(lines), i * LINE_BYTES, (i + 1) * LINE_BYTES);

        cr_assert(copy_text_ahead(copy, line, &err));
    }
}

static void
add_own(CopyText *copy, const char *line)
{
    Buf *out;
    Error err;

    cr_assert(copy_text_open(copy, &out, &err));
    cr_assert(buf_append(out, str_c(line), &err));
}

Test(copy_text, a_long_run_is_sent_from_where_it_lies)
{
    CopyText copy;
    Buf lines;
    Error err;

    copy_text_init(&copy, 1u << 20);
    make_lines(&lines, 100, 'a');
    add_ahead(&copy, &lines, 10, 90);
    cr_assert(copy_text_end(&copy, &err));
    cr_assert_eq(copy.count, 1);
    cr_expect_eq(copy.texts[0].ptr, lines.data + 10 * LINE_BYTES);
    cr_expect_eq(copy.texts[0].len, 80 * LINE_BYTES);
    cr_expect_eq(copy.own.len, 0);
    copy_text_done(&copy);
    buf_done(&lines);
}

Test(copy_text, short_runs_and_lines_of_its_own_are_one_piece)
{
    CopyText copy;
    Buf a;
    Buf b;
    Buf expected;
    Error err;

    copy_text_init(&copy, 1u << 20);
    make_lines(&a, 3, 'a');
    make_lines(&b, 3, 'b');
    add_ahead(&copy, &a, 0, 2);
    add_own(&copy, "own\n");
    add_ahead(&copy, &a, 2, 3);
    add_ahead(&copy, &b, 1, 3);
    cr_assert(copy_text_end(&copy, &err));
    buf_init(&expected, 1u << 20);
    cr_assert(buf_append(&expected, str_head(buf_str(&a), 2 * LINE_BYTES), &err));
    cr_assert(buf_append(&expected, STR("own\n"), &err));
    cr_assert(buf_append(&expected, str_skip(buf_str(&a), 2 * LINE_BYTES), &err));
    cr_assert(buf_append(&expected, str_skip(buf_str(&b), LINE_BYTES), &err));
    cr_assert_eq(copy.count, 1);
    cr_expect(str_eq(copy.texts[0], buf_str(&expected)));
    copy_text_done(&copy);
    buf_done(&expected);
    buf_done(&a);
    buf_done(&b);
}

/* Lines of its own move in memory when more of them come. */
Test(copy_text, pieces_stay_in_order_however_long_each_is)
{
    for (unsigned ways = 0; ways < 32; ways++) {
        CopyText copy;
        Buf lines;
        Buf expected;
        Buf got;
        Error err;

        copy_text_init(&copy, 1u << 20);
        buf_init(&expected, 1u << 20);
        buf_init(&got, 1u << 20);
        make_lines(&lines, 300, 'a');
        for (size_t i = 0; i < 5; i++) {
            size_t end = 50 * i + ((ways >> i & 1) != 0 ? 49 : 2);

            add_own(&copy, "own\n");
            add_ahead(&copy, &lines, 50 * i, end);
            cr_assert(buf_append(&expected, STR("own\n"), &err));
            cr_assert(buf_append(&expected,
                                 str_slice(buf_str(&lines), 50 * i * LINE_BYTES, end * LINE_BYTES),
                                 &err));
        }
        cr_assert(copy_text_end(&copy, &err));
        for (size_t i = 0; i < copy.count; i++) {
            cr_assert(buf_append(&got, copy.texts[i], &err));
        }
        cr_expect(str_eq(buf_str(&got), buf_str(&expected)), "ways %u", ways);
        cr_expect_leq(copy.count, 2 * (unsigned)__builtin_popcount(ways) + 1);
        copy_text_reset(&copy);
        cr_assert(copy_text_end(&copy, &err));
        cr_expect_eq(copy.count, 0, "nothing is left for the next");
        copy_text_done(&copy);
        buf_done(&expected);
        buf_done(&got);
        buf_done(&lines);
    }
}

Test(copy_text, what_is_not_borrowed_has_a_limit)
{
    CopyText copy;
    Buf lines;
    Error err;

    copy_text_init(&copy, LINE_BYTES + 1);
    make_lines(&lines, 100, 'a');
    add_ahead(&copy, &lines, 0, 2);
    cr_expect_not(copy_text_end(&copy, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    copy_text_reset(&copy);
    add_ahead(&copy, &lines, 0, 100);
    cr_expect(copy_text_end(&copy, &err), "long runs do not count");
    copy_text_done(&copy);
    buf_done(&lines);
}
