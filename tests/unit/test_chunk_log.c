/* SPDX-License-Identifier: Apache-2.0 */
#include "server/chunk_log.h"

#include <criterion/criterion.h>

#include "common/mem.h"

static void
append(ChunkLog *log, Str message)
{
    uint32_t end = (uint32_t)message.len;

    chunk_log_append(log, (LogPayload){.bytes = message, .ends = &end, .count = 1});
}

/* Several messages at once; each character of `text` that is a comma ends one. */
static void
append_json(ChunkLog *log, const char *text)
{
    uint32_t ends[64];
    size_t count = 0;
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        if (text[i] == ',') {
            ends[count++] = (uint32_t)i + 1;
        }
    }
    chunk_log_append(log, (LogPayload){.bytes = str_n(text, len), .ends = ends, .count = count});
}

static void
expect_range(const ChunkLog *log, uint64_t from, size_t bytes_max, const char *bytes, uint64_t to)
{
    Range range;
    char *joined;
    size_t at = 0;

    range_init(&range, from);
    chunk_log_read(log, from, chunk_log_tail(log), bytes_max, &range);
    joined = mem_zalloc(range.bytes + 1);
    for (size_t i = 0; i < range.count; i++) {
        memcpy(joined + at, range.parts[i].bytes.ptr, range.parts[i].bytes.len);
        at += range.parts[i].bytes.len;
    }
    cr_expect_eq(at, range.bytes);
    cr_expect_str_eq(joined, bytes);
    cr_expect_eq(range.from, from);
    cr_expect_eq(range.to, to, "from %zu: to %zu, not %zu", (size_t)from, (size_t)range.to,
                 (size_t)to);
    free(joined);
    range_done(&range);
}

Test(chunk_log, an_empty_one_gives_an_empty_range)
{
    ChunkLog log;

    chunk_log_init(&log, false);
    expect_range(&log, 0, 100, "", 0);
    cr_expect_eq(chunk_log_tail(&log), 0);
    cr_expect_eq(chunk_log_bytes_from(&log, 0), 0);
    chunk_log_done(&log);
}

Test(chunk_log, of_bytes_can_be_read_from_any_byte)
{
    static const char whole[] = "onetwothree";
    ChunkLog log;

    chunk_log_init(&log, false);
    append(&log, STR("one"));
    append(&log, STR("two"));
    append(&log, STR("three"));
    for (size_t from = 0; from < sizeof(whole); from++) {
        expect_range(&log, from, 100, whole + from, 11);
        cr_expect_eq(chunk_log_bytes_from(&log, from), 11 - from);
    }
    chunk_log_done(&log);
}

Test(chunk_log, of_messages_counts_messages)
{
    ChunkLog log;

    chunk_log_init(&log, true);
    append_json(&log, "1,22,");
    append_json(&log, "333,");
    cr_expect_eq(chunk_log_tail(&log), 3);
    expect_range(&log, 0, 100, "1,22,333,", 3);
    expect_range(&log, 1, 100, "22,333,", 3);
    expect_range(&log, 2, 100, "333,", 3);
    expect_range(&log, 3, 100, "", 3);
    cr_expect_eq(chunk_log_bytes_from(&log, 1), 7);
    chunk_log_done(&log);
}

Test(chunk_log, a_page_ends_with_a_message_and_has_at_least_one)
{
    ChunkLog log;

    chunk_log_init(&log, true);
    append_json(&log, "1,22,333,");
    expect_range(&log, 0, 0, "1,", 1);
    expect_range(&log, 0, 4, "1,", 1);
    expect_range(&log, 0, 5, "1,22,", 2);
    expect_range(&log, 0, 8, "1,22,", 2);
    expect_range(&log, 0, 9, "1,22,333,", 3);
    expect_range(&log, 2, 1, "333,", 3);
    chunk_log_done(&log);
}

Test(chunk_log, a_page_of_bytes_from_within_an_append_ends_with_it)
{
    ChunkLog log;

    chunk_log_init(&log, false);
    append(&log, STR("abcdef"));
    append(&log, STR("ghi"));
    expect_range(&log, 2, 1, "cdef", 6);
    expect_range(&log, 2, 5, "cdef", 6);
    expect_range(&log, 2, 7, "cdefghi", 9);
    chunk_log_done(&log);
}

/* Enough appends of all sizes to fill many chunks; every page size gives the same bytes. */
Test(chunk_log, reading_page_by_page_gives_every_byte_once)
{
    enum { APPENDS = 500 };
    static char pattern[CHUNK_BYTES_MAX * 2];
    size_t total = 0;
    ChunkLog log;

    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (char)('a' + i % 23);
    }
    chunk_log_init(&log, false);
    for (size_t i = 0; i < APPENDS; i++) {
        size_t len = 1 + (i * i * 31) % (i % 50 == 0 ? sizeof(pattern) - 23 : 900);

        append(&log, str_n(pattern + total % 23, len));
        total += len;
    }
    cr_assert_eq(chunk_log_tail(&log), total);
    cr_assert_gt(log.count, 5);
    for (size_t page = 1; page <= 4 * sizeof(pattern); page = page * 3 + 1) {
        uint64_t at = 0;

        while (at < total) {
            Range range;

            range_init(&range, at);
            chunk_log_read(&log, at, chunk_log_tail(&log), page, &range);
            cr_assert_gt(range.to, at);
            for (size_t i = 0; i < range.count; i++) {
                for (size_t j = 0; j < range.parts[i].bytes.len; j++) {
                    cr_assert_eq(range.parts[i].bytes.ptr[j], 'a' + (int)(at % 23));
                    at++;
                }
            }
            cr_assert_eq(at, range.to);
            range_done(&range);
        }
    }
    chunk_log_done(&log);
}

Test(chunk_log, trimming_frees_whole_chunks_and_keeps_positions)
{
    enum { APPENDS = 2000 };
    ChunkLog log;

    chunk_log_init(&log, true);
    for (size_t i = 0; i < APPENDS; i++) {
        append_json(&log, "\"some message that is a little longer\",");
    }
    for (uint64_t at = 0; at <= APPENDS; at += 100) {
        chunk_log_trim(&log, at);
        cr_expect_eq(chunk_log_tail(&log), APPENDS);
        cr_expect_eq(chunk_log_bytes_from(&log, at), (APPENDS - at) * 39);
        cr_expect_eq(chunk_log_index_at(&log, at), at);
        if (at < APPENDS) {
            expect_range(&log, at, 1, "\"some message that is a little longer\",", at + 1);
            cr_expect_leq(log.chunks[log.head].index_start, at);
        }
    }
    cr_expect_eq(log.count, 0);
    cr_expect_null(log.chunks);
    append_json(&log, "1,");
    expect_range(&log, APPENDS, 100, "1,", APPENDS + 1);
    chunk_log_done(&log);
}

/* Else a few counted bytes could keep a chunk as large as the largest append. */
Test(chunk_log, what_a_trim_leaves_of_a_chunk_takes_no_more_than_twice_its_bytes)
{
    enum { COUNT = 1000 };
    static char bytes[COUNT * 4 + 1];
    static uint32_t ends[COUNT];

    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(bytes + 4 * i, 5, "%03u,", i);
        ends[i] = 4 * (i + 1);
    }
    for (int counts_messages = 0; counts_messages <= 1; counts_messages++) {
        uint64_t unit = counts_messages ? 1 : 4;
        ChunkLog log;
        Range held;

        chunk_log_init(&log, counts_messages);
        chunk_log_append(
            &log, (LogPayload){.bytes = str_n(bytes, 4 * COUNT), .ends = ends, .count = COUNT});
        range_init(&held, 0);
        chunk_log_read(&log, 0, chunk_log_tail(&log), sizeof(bytes), &held);
        for (uint64_t keep = COUNT; keep-- > 1;) {
            uint64_t position = (COUNT - keep) * unit;

            chunk_log_trim(&log, position);
            cr_expect_leq(log.chunks[log.head].cap, 2 * 4 * keep, "%zu kept", (size_t)keep);
            cr_expect_eq(chunk_log_bytes_from(&log, position), 4 * keep);
            cr_expect_eq(chunk_log_index_at(&log, position), COUNT - keep);
            expect_range(&log, position, 4 * keep, bytes + 4 * (COUNT - keep), COUNT * unit);
        }
        append(&log, STR("abc,"));
        expect_range(&log, (COUNT - 1) * unit, 100, "999,abc,", (COUNT + 1) * unit);
        cr_expect_eq(memcmp(held.parts[0].bytes.ptr, bytes, 4 * COUNT), 0);
        range_done(&held);
        chunk_log_done(&log);
    }
}

Test(chunk_log, a_reader_keeps_its_bytes_when_the_log_goes)
{
    ChunkLog log;
    Range range;

    chunk_log_init(&log, false);
    append(&log, STR("stays"));
    range_init(&range, 0);
    chunk_log_read(&log, 0, chunk_log_tail(&log), 100, &range);
    append(&log, STR(" and more"));
    chunk_log_trim(&log, chunk_log_tail(&log));
    chunk_log_done(&log);
    cr_assert_eq(range.count, 1);
    cr_expect(str_eq(range.parts[0].bytes, STR("stays")));
    range_done(&range);
}

Test(chunk_log, messages_of_a_byte_stream_are_its_appends)
{
    ChunkLog log;

    chunk_log_init(&log, false);
    append(&log, STR("abc"));
    append(&log, STR("de"));
    cr_expect_eq(chunk_log_index_at(&log, 0), 0);
    cr_expect_eq(chunk_log_index_at(&log, 2), 0);
    cr_expect_eq(chunk_log_index_at(&log, 3), 1);
    cr_expect_eq(chunk_log_index_at(&log, 5), 2);
    chunk_log_done(&log);
}

static void
expect_between(const ChunkLog *log, uint64_t from, uint64_t to, const char *bytes)
{
    char joined[64];
    size_t at = 0;
    Range range;

    range_init(&range, from);
    chunk_log_read(log, from, to, SIZE_MAX, &range);
    for (size_t i = 0; i < range.count; i++) {
        memcpy(joined + at, range.parts[i].bytes.ptr, range.parts[i].bytes.len);
        at += range.parts[i].bytes.len;
    }
    joined[at] = '\0';
    cr_expect_str_eq(joined, bytes, "from %zu to %zu: %s", (size_t)from, (size_t)to, joined);
    cr_expect_eq(range.to, to);
    range_done(&range);
}

Test(chunk_log, can_begin_behind_what_lies_elsewhere)
{
    ChunkLog log;

    chunk_log_init_at(&log, true, 1000, 7);
    cr_expect_eq(chunk_log_tail(&log), 7);
    cr_expect_eq(chunk_log_start(&log), 7);
    expect_range(&log, 7, 100, "", 7);
    append_json(&log, "1,22,");
    append_json(&log, "333,");
    cr_expect_eq(chunk_log_start(&log), 7);
    cr_expect_eq(chunk_log_tail(&log), 10);
    cr_expect_eq(log.byte_end, 1009);
    cr_expect_eq(chunk_log_index_at(&log, 8), 8);
    cr_expect_eq(chunk_log_bytes_from(&log, 8), 7);
    expect_range(&log, 8, 100, "22,333,", 10);
    chunk_log_trim(&log, 10);
    cr_expect_eq(chunk_log_start(&log), 10);
    chunk_log_done(&log);

    chunk_log_init_at(&log, false, 1000, 0);
    append(&log, STR("abc"));
    expect_range(&log, 1001, 100, "bc", 1003);
    chunk_log_done(&log);
}

Test(chunk_log, is_read_up_to_any_position_and_no_further)
{
    static const char whole[] = "aabbbccccc";
    char between[sizeof(whole)];
    ChunkLog log;

    chunk_log_init(&log, false);
    append(&log, STR("aa"));
    append(&log, STR("bbb"));
    append(&log, STR("ccccc"));
    for (size_t from = 0; from < sizeof(whole); from++) {
        for (size_t to = from; to < sizeof(whole); to++) {
            memcpy(between, whole + from, to - from);
            between[to - from] = '\0';
            expect_between(&log, from, to, between);
        }
    }
    chunk_log_done(&log);

    chunk_log_init(&log, true);
    append_json(&log, "1,22,");
    append_json(&log, "333,");
    expect_between(&log, 0, 1, "1,");
    expect_between(&log, 0, 2, "1,22,");
    expect_between(&log, 1, 3, "22,333,");
    chunk_log_done(&log);
}

Test(chunk_log, adds_to_a_range_that_another_log_began)
{
    ChunkLog first;
    ChunkLog second;
    Range range;

    chunk_log_init(&first, true);
    chunk_log_init_at(&second, true, 0, 2);
    append_json(&first, "1,22,not in the second,");
    append_json(&second, "333,4444,");
    range_init(&range, 1);
    chunk_log_read(&first, 1, 2, 7, &range);
    chunk_log_read(&second, range.to, 4, 7, &range);
    cr_expect_eq(range.to, 3, "the page is full");
    cr_expect_eq(range.bytes, 7);
    cr_assert_eq(range.count, 2);
    cr_expect(str_eq(range.parts[0].bytes, STR("22,")));
    cr_expect(str_eq(range.parts[1].bytes, STR("333,")));
    chunk_log_done(&first);
    chunk_log_done(&second);
    range_done(&range);
}
