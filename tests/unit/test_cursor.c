/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cursor.h"

#include <criterion/criterion.h>

#include "common/ds_proto.h"

#define EPOCH_MS ((int64_t)DS_CURSOR_EPOCH_S * 1000)
#define NOW_MS   (EPOCH_MS + 1000 * DS_CURSOR_INTERVAL_S * INT64_C(1000))

Test(cursor, counts_intervals_of_20_seconds_since_its_epoch)
{
    cr_expect_eq(cursor_now(EPOCH_MS), 0);
    cr_expect_eq(cursor_now(EPOCH_MS + 19999), 0);
    cr_expect_eq(cursor_now(EPOCH_MS + 20000), 1);
    cr_expect_eq(cursor_now(NOW_MS), 1000);
}

Test(cursor, is_zero_before_its_epoch)
{
    cr_expect_eq(cursor_now(0), 0);
    cr_expect_eq(cursor_now(EPOCH_MS - 1), 0);
}

Test(cursor, an_old_one_or_none_is_answered_with_now)
{
    cr_expect_eq(cursor_next(STR(""), NOW_MS, 7), 1000);
    cr_expect_eq(cursor_next(STR("999"), NOW_MS, 7), 1000);
    cr_expect_eq(cursor_next(STR("x"), NOW_MS, 7), 1000);
    cr_expect_eq(cursor_next(STR("-5"), NOW_MS, 7), 1000);
    cr_expect_eq(cursor_next(STR("99999999999999999999999"), NOW_MS, 7), 1000);
}

Test(cursor, one_of_now_or_later_is_answered_with_a_later_one_within_an_hour)
{
    for (uint32_t random = 0; random < 2 * CURSOR_JITTER_S_MAX; random++) {
        uint64_t next = cursor_next(STR("1000"), NOW_MS, random);

        cr_assert_gt(next, 1000);
        cr_assert_leq(next, 1000 + CURSOR_JITTER_S_MAX / DS_CURSOR_INTERVAL_S);
    }
    cr_expect_gt(cursor_next(STR("5000"), NOW_MS, UINT32_MAX), 5000);
}
