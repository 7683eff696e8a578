/* SPDX-License-Identifier: Apache-2.0 */
#include "server/range.h"

#include <criterion/criterion.h>

static unsigned released;

static void
count_release(HttpHold *hold DS_UNUSED)
{
    released++;
}

Test(range, holds_every_part_until_its_end)
{
    enum { PARTS = RANGE_PARTS_INLINE * 5 };
    HttpHold hold;
    Range range;

    http_hold_init(&hold, count_release);
    range_init(&range, 7);
    for (size_t i = 0; i < PARTS; i++) {
        range_add(&range, STR("abc"), &hold);
    }
    cr_expect_eq(range.count, PARTS);
    cr_expect_eq(range.bytes, PARTS * 3);
    for (size_t i = 0; i < PARTS; i++) {
        cr_expect(str_eq(range.parts[i].bytes, STR("abc")));
    }
    http_hold_drop(&hold);
    cr_expect_eq(released, 0);
    range_done(&range);
    cr_expect_eq(released, 1);
}

Test(range, may_be_ended_twice)
{
    Range range;

    range_init(&range, 0);
    range_done(&range);
    range_done(&range);
    cr_expect_eq(range.count, 0);
}

Test(range, holds_files_as_it_holds_bytes)
{
    HttpFile file = {.fd = -1};
    Range range;

    http_hold_init(&file.hold, count_release);
    range_init(&range, 0);
    range.takes_files = true;
    range_add_file(&range, &file, 1000, 30);
    http_hold_drop(&file.hold);
    cr_expect_eq(range.bytes, 30);
    cr_expect_eq(range.parts[0].file_offset, 1000);
    cr_expect_eq(released, 0);
    range_done(&range);
    cr_expect_eq(released, 1);
}
