/* SPDX-License-Identifier: Apache-2.0 */
#include "server/etag.h"

#include <criterion/criterion.h>

Test(etag, tells_era_range_and_end)
{
    Stream stream = {.era = 0xab};
    char tag[ETAG_BYTES_MAX];

    etag_format(&stream, 1, 31, false, tag);
    cr_expect_str_eq(tag, "\"00000000000000ab:1:1f\"");
    etag_format(&stream, 1, 31, true, tag);
    cr_expect_str_eq(tag, "\"00000000000000ab:1:1f:c\"");
    etag_format_era(&stream, tag);
    cr_expect_str_eq(tag, "\"00000000000000ab\"");
}

Test(etag, the_longest_one_fits)
{
    Stream stream = {.era = UINT64_MAX};
    char tag[ETAG_BYTES_MAX];

    etag_format(&stream, UINT64_MAX, UINT64_MAX, true, tag);
    cr_expect(str_ends(str_c(tag), STR(":c\"")));
}

Test(etag, matches_within_a_list)
{
    Str tag = STR("\"a:1:2\"");

    cr_expect(etag_matches(STR("\"a:1:2\""), tag));
    cr_expect(etag_matches(STR("W/\"a:1:2\""), tag));
    cr_expect(etag_matches(STR("\"x\", \"a:1:2\""), tag));
    cr_expect(etag_matches(STR("\"x\",W/\"a:1:2\" ,\"y\""), tag));
    cr_expect(etag_matches(STR("*"), tag));
    cr_expect_not(etag_matches(STR(""), tag));
    cr_expect_not(etag_matches(STR("\"a:1:2"), tag));
    cr_expect_not(etag_matches(STR("a:1:2"), tag));
    cr_expect_not(etag_matches(STR("\"a:1:2:c\""), tag));
    cr_expect_not(etag_matches(STR("\"x\",\"y\""), tag));
}
