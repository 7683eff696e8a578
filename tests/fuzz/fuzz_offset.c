/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_offset.c -- an offset of ours has one spelling, and spellings sort as they mean.
 */
#include "common/offset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(Str text)
{
    char again[OFFSET_OWN_BYTES + 1];
    Offset offset = {7, 7};

    if (!offset_parse(text, &offset)) {
        DS_ASSERT(offset.era == 7 && offset.position == 7);
        return;
    }
    offset_format(offset, again);
    DS_ASSERT(str_eq(str_c(again), text) && offset_is_valid(text));
}

static void
check_rules(Str text)
{
    if (!offset_is_valid(text)) {
        return;
    }
    DS_ASSERT(text.len > 0 && text.len <= OFFSET_BYTES_MAX && !str_contains_ctl(text));
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        DS_ASSERT(c != ',' && c != '&' && c != '=' && c != '?' && c != '/' && c != ' ');
    }
    DS_ASSERT(!str_eq(text, STR("-1")) && !str_eq(text, STR("now")));
}

static int
compare(Offset a, Offset b)
{
    if (a.era != b.era) {
        return a.era < b.era ? -1 : 1;
    }
    return a.position == b.position ? 0 : a.position < b.position ? -1 : 1;
}

static void
check_numbers(const uint8_t *data)
{
    char text[2][OFFSET_OWN_BYTES + 1];
    Offset offsets[2];
    Offset again;

    memcpy(offsets, data, sizeof(offsets));
    for (int i = 0; i < 2; i++) {
        offset_format(offsets[i], text[i]);
        DS_ASSERT(offset_parse(str_c(text[i]), &again));
        DS_ASSERT(compare(again, offsets[i]) == 0);
    }
    int order = strcmp(text[0], text[1]);
    DS_ASSERT((order > 0) - (order < 0) == compare(offsets[0], offsets[1]));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_text(str_n(data, size));
    check_rules(str_n(data, size));
    if (size >= 2 * sizeof(Offset)) {
        check_numbers(data);
    }
    return 0;
}
