/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/position.h"

#include <criterion/criterion.h>

Test(position, two_are_equal_only_in_offset_and_skip)
{
    Position a;
    Position b;

    position_set(&a, STR("o5"), 3);
    position_set(&b, STR("o5"), 3);
    cr_expect(position_equal(&a, &b));
    b.skip = 4;
    cr_expect_not(position_equal(&a, &b));
    position_set(&b, STR("o6"), 3);
    cr_expect_not(position_equal(&a, &b));
}

Test(position, only_minus_one_with_nothing_done_is_the_start)
{
    Position position;

    position_set(&position, STR("-1"), 0);
    cr_expect(position_at_start(&position));
    position_set(&position, STR("-1"), 1);
    cr_expect_not(position_at_start(&position));
    position_set(&position, STR("0"), 0);
    cr_expect_not(position_at_start(&position));
}

Test(position, an_offset_of_the_same_scheme_that_is_lower_went_back)
{
    cr_expect(offset_went_back(STR("0000_0010"), STR("0000_0009")));
    cr_expect(offset_went_back(STR("o00004"), STR("o00001")));
    cr_expect_not(offset_went_back(STR("o00004"), STR("o00004")));
    cr_expect_not(offset_went_back(STR("o00004"), STR("o00005")));
}

Test(position, offsets_of_different_schemes_are_not_compared)
{
    cr_expect_not(offset_went_back(STR("9"), STR("10"))); /* plain decimals */
    cr_expect_not(offset_went_back(STR("0001_02"), STR("0000.02")));
    cr_expect_not(offset_went_back(STR("b_1"), STR("a11")));
    cr_expect_not(offset_went_back(STR("-1"), STR("00")));
}

Test(position, only_an_offset_with_an_era_names_a_life)
{
    cr_expect(offset_names_life(STR("00c5f0a1b2c3d4e5_0000000000000003")));
    cr_expect_not(offset_names_life(STR("0000000000000005_0000000000000120")),
                  "another server's: five messages, 288 bytes");
    cr_expect_not(offset_names_life(STR("o00005")));
    cr_expect_not(offset_names_life(STR("-1")));
    cr_expect_not(offset_names_life(STR_EMPTY));
}
