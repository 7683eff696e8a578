/* SPDX-License-Identifier: Apache-2.0 */
#include "common/crc32c.h"

#include <criterion/criterion.h>

static void
expect_crc(Str bytes, uint32_t expected)
{
    cr_expect_eq(crc32c(CRC32C_INIT, bytes), expected, "%08x", crc32c(CRC32C_INIT, bytes));
    cr_expect_eq(crc32c_by_table(CRC32C_INIT, bytes), expected);
}

/* RFC 3720, B.4; the RFC prints the bytes as they are sent. */
Test(crc32c, the_vectors_of_rfc_3720_hold)
{
    char bytes[48] = {0};

    expect_crc(str_n(bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    expect_crc(str_n(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (char)i;
    }
    expect_crc(str_n(bytes, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (char)(31 - i);
    }
    expect_crc(str_n(bytes, 32), 0x113fdb5cu);
    static const unsigned char scsi_read[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02,
    };
    expect_crc(str_n(scsi_read, sizeof(scsi_read)), 0xd9963a56u);
    expect_crc(STR("123456789"), 0xe3069283u);
    expect_crc(STR_EMPTY, 0);
}

Test(crc32c, every_length_and_alignment_is_the_same_with_and_without_the_instruction)
{
    char bytes[96];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(i * 37 + 11);
    }
    for (size_t from = 0; from < 9; from++) {
        for (size_t len = 0; len + from <= sizeof(bytes); len++) {
            Str piece = str_n(bytes + from, len);

            cr_assert_eq(crc32c(CRC32C_INIT, piece), crc32c_by_table(CRC32C_INIT, piece));
        }
    }
}

Test(crc32c, pieces_give_what_the_whole_gives_wherever_it_is_cut)
{
    Str whole = STR("what is checked in pieces is what was checked as a whole");

    for (size_t cut = 0; cut <= whole.len; cut++) {
        uint32_t head = crc32c(CRC32C_INIT, str_head(whole, cut));

        cr_expect_eq(crc32c(head, str_skip(whole, cut)), crc32c(CRC32C_INIT, whole));
    }
}
