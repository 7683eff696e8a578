/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/unit.h"

#include <criterion/criterion.h>

#include "common/mem.h"

static const UnitLimits limits = {.bytes_max = 4u << 20, .message_bytes_max = 100};

static bool
add(Unit *unit, const char *event, int64_t *drop)
{
    Error err;

    return unit_add_json(unit, str_c(event), &limits, drop, &err);
}

static void
expect_item(const Unit *unit, size_t item, const char *text)
{
    Str found = unit_item_text(unit, item);

    cr_expect(str_eq(found, str_c(text)), "item %zu is %.*s, not %s", item, STR_ARG(found), text);
}

Test(unit, messages_are_the_bytes_between_the_commas)
{
    Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &limits);
    int64_t drop = 0;

    cr_assert(add(unit, "[ {\"a\" : 1} ,2.50,\n\"x,]\" , [1,[2]], null]", &drop));
    cr_assert_eq(unit->count, 5);
    expect_item(unit, 0, "{\"a\" : 1}");
    expect_item(unit, 1, "2.50");
    expect_item(unit, 2, "\"x,]\"");
    expect_item(unit, 3, "[1,[2]]");
    expect_item(unit, 4, "null");
    cr_expect_eq(unit_item_step(unit, 1), 1);
    unit_free(unit);
}

Test(unit, several_data_events_make_one_unit)
{
    Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &limits);
    int64_t drop = 0;

    for (int i = 0; i < 200; i++) {
        cr_assert(add(unit, "[1,{\"n\":2}]", &drop));
    }
    cr_assert_eq(unit->count, 400);
    expect_item(unit, 0, "1");
    expect_item(unit, 399, "{\"n\":2}");
    unit_free(unit);
}

Test(unit, what_is_committed_already_is_dropped_and_counted_in_the_start)
{
    for (int64_t skip = 0; skip <= 6; skip++) {
        Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &limits);
        int64_t drop = skip;

        cr_assert(add(unit, "[0,1,2]", &drop));
        cr_assert(add(unit, "[3,4]", &drop));
        size_t left = skip < 5 ? (size_t)(5 - skip) : 0;
        cr_expect_eq(unit->count, left, "skip %lld left %zu", (long long)skip, unit->count);
        cr_expect_eq(unit->start.skip, 5 - (int64_t)left);
        cr_expect_eq(drop, skip - unit->start.skip);
        if (left > 0) {
            char first[2] = {(char)('0' + skip), '\0'};

            expect_item(unit, 0, first);
        }
        unit_free(unit);
    }
}

Test(unit, a_damaged_event_is_a_protocol_error_at_every_truncation)
{
    static const char whole[] = "[{\"a\":\"\\u00e9\"},[1,2],\"x\"]";

    for (size_t cut = 0; cut < sizeof(whole) - 1; cut++) {
        Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &limits);
        int64_t drop = 0;
        Error err = {0};

        cr_expect_not(unit_add_json(unit, str_n(whole, cut), &limits, &drop, &err), "cut at %zu",
                      cut);
        cr_expect_eq(err.code, ERR_PROTOCOL);
        unit_free(unit);
    }
}

Test(unit, an_event_above_the_limit_is_refused)
{
    static const UnitLimits tight = {.bytes_max = 16, .message_bytes_max = 100};
    Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &tight);
    int64_t drop = 0;
    Error err = {0};

    cr_expect_not(unit_add_json(unit, STR("[1,2,3,4,5,6,7,8,9]"), &tight, &drop, &err));
    cr_expect_eq(err.code, ERR_LIMIT);
    unit_free(unit);
}

Test(unit, poison_is_marked_and_its_neighbours_are_not)
{
    Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &limits);
    int64_t drop = 0;

    cr_assert(add(unit,
                  "[1,\"\\u0000\",2,\"\\ud800\",3,1e999,"
                  "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                  "aaaaaaaaaaaaaa"
                  "aaaaaaaaaa\",4]",
                  &drop));
    static const PoisonReason expected[] = {POISON_NONE,           POISON_NUL,  POISON_NONE,
                                            POISON_LONE_SURROGATE, POISON_NONE, POISON_NUMBER,
                                            POISON_SIZE,           POISON_NONE};
    cr_assert_eq(unit->count, DS_COUNT(expected));
    unit_judge(unit, sink_default_events());
    for (size_t i = 0; i < DS_COUNT(expected); i++) {
        cr_expect_eq(unit->items[i].poison, expected[i], "item %zu", i);
    }
    unit_free(unit);
}

Test(unit, a_message_that_is_not_utf8_is_passed_whole_and_marked)
{
    static const char *const bad[] = {"\"a\xff\"", "{\"k\":[\"\xc3\",\"]\\\"\"]}",
                                      "{\"\xed\xa0\x80\":1}", "[\"\xf5\"]"};

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &limits);
        int64_t drop = 0;
        Buf event;
        Error err;

        buf_init(&event, 1000);
        cr_assert(buf_printf(&event, &err, "[1, %s ,2]", bad[i]));
        cr_assert(add(unit, buf_cstr(&event), &drop), "%s", bad[i]);
        cr_assert_eq(unit->count, 3);
        expect_item(unit, 1, bad[i]);
        expect_item(unit, 2, "2");
        cr_expect_eq(unit->items[1].poison, POISON_UTF8);
        cr_expect_eq(unit->items[2].poison, POISON_NONE);
        unit_free(unit);
        buf_done(&event);
    }
}

Test(unit, what_is_no_json_for_another_reason_is_a_protocol_error)
{
    static const char *const bad[] = {"[1,{\"a\" 1},2]", "[1,tru,2]", "[1,\"\x01\",2]",
                                      "[\xff]",          "[1,2]x",    "[1,\"\\x\"]"};

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &limits);
        int64_t drop = 0;
        Error err = {0};

        cr_expect_not(unit_add_json(unit, str_c(bad[i]), &limits, &drop, &err), "%s", bad[i]);
        cr_expect_eq(err.code, ERR_PROTOCOL);
        unit_free(unit);
    }
}

/* Brackets and quotes in strings must not end it early. */
Test(unit, a_message_that_is_too_deep_is_passed_whole_and_marked)
{
    static const UnitLimits wide = {.bytes_max = 1u << 20, .message_bytes_max = 1u << 20};
    Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &wide);
    Buf event;
    Error err;
    int64_t drop = 0;

    buf_init(&event, 1u << 20);
    cr_assert(buf_append(&event, STR("[ 1 , "), &err));
    for (int i = 0; i < 700; i++) {
        cr_assert(buf_append(&event, STR("{\"k]\\\"\":["), &err));
    }
    for (int i = 0; i < 700; i++) {
        cr_assert(buf_append(&event, STR("]}"), &err));
    }
    cr_assert(buf_append(&event, STR(" , 2]"), &err));
    cr_assert(unit_add_json(unit, buf_str(&event), &wide, &drop, &err), "%s", err.text);
    cr_assert_eq(unit->count, 3);
    cr_expect_eq(unit->items[1].poison, POISON_DEPTH);
    cr_expect_eq(unit->items[1].len, 700 * 11);
    expect_item(unit, 2, "2");
    cr_expect_eq(unit->items[2].poison, POISON_NONE);
    unit_free(unit);
    buf_done(&event);
}

Test(unit, a_deep_message_that_never_ends_is_a_protocol_error)
{
    char event[2000];
    Unit *unit = unit_new(UNIT_JSON, STR("o1"), 0, &limits);
    int64_t drop = 0;
    Error err = {0};

    memset(event, '[', sizeof(event));
    cr_expect_not(unit_add_json(unit, str_n(event, sizeof(event)), &limits, &drop, &err));
    cr_expect_eq(err.code, ERR_PROTOCOL);
    unit_free(unit);
}

Test(unit, bytes_are_cut_into_chunks_by_position_however_they_come)
{
    size_t total = UNIT_CHUNK_BYTES_MAX * 2 + 12345;
    char *bytes = malloc(total);

    cr_assert_not_null(bytes);
    for (size_t i = 0; i < total; i++) {
        bytes[i] = (char)(i * 31);
    }
    static const size_t pieces[] = {1000, 65536, 1u << 20, 3u << 20};
    for (size_t p = 0; p < DS_COUNT(pieces); p++) {
        Unit *unit = unit_new(UNIT_BYTES, STR("o1"), 0, &limits);
        int64_t drop = 0;
        Error err;

        for (size_t at = 0; at < total; at += pieces[p]) {
            cr_assert(unit_add_bytes(unit, str_n(bytes + at, DS_MIN(pieces[p], total - at)), &drop,
                                     &err));
        }
        cr_assert_eq(unit->count, 3);
        cr_expect_eq(unit_item_step(unit, 0), UNIT_CHUNK_BYTES_MAX);
        cr_expect_eq(unit_item_step(unit, 2), 12345);
        cr_expect_eq(memcmp(unit->data.data, bytes, total), 0);
        unit_free(unit);
    }
    free(bytes);
}

Test(unit, chunks_of_text_end_between_characters)
{
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

    for (size_t c = 0; c < DS_COUNT(characters); c++) {
        size_t width = strlen(characters[c]);
        size_t total = UNIT_CHUNK_BYTES_MAX + 1000 - (UNIT_CHUNK_BYTES_MAX + 1000) % width;

        for (size_t shift = 0; shift < width; shift++) {
            Unit *unit = unit_new(UNIT_BYTES, STR("o1"), 0, &limits);
            char *text = malloc(shift + total);
            int64_t drop = 0;
            Error err;

            cr_assert_not_null(text);
            memset(text, 'x', shift);
            for (size_t at = 0; at < total; at++) {
                text[shift + at] = characters[c][at % width];
            }
            unit->is_text = true;
            for (size_t at = 0; at < shift + total; at += 7777) {
                cr_assert(unit_add_bytes(
                    unit, str_n(text + at, DS_MIN(shift + total - at, (size_t)7777)), &drop, &err));
            }
            cr_assert_eq(unit->count, 2);
            cr_expect(str_is_utf8(unit_item_text(unit, 0)), "width %zu, shift %zu", width, shift);
            cr_expect(str_is_utf8(unit_item_text(unit, 1)), "width %zu, shift %zu", width, shift);
            cr_expect_eq(unit_steps(unit), (int64_t)(shift + total));
            cr_expect_geq(unit_item_step(unit, 0), UNIT_CHUNK_BYTES_MAX - 3);
            free(text);
            unit_free(unit);
        }
    }
}

Test(unit, a_character_that_has_only_begun_is_taken_off_the_end)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
    static const size_t tails[] = {0, 0, 1, 0, 1, 2, 0, 1, 2, 3, 0};

    for (size_t len = 0; len < sizeof(text); len++) {
        Unit *unit = unit_new(UNIT_BYTES, STR("o1"), 0, &limits);
        char tail[3];
        int64_t drop = 0;
        Error err;

        cr_assert(unit_add_bytes(unit, str_n(text, len), &drop, &err));
        cr_expect_eq(unit_take_tail(unit, tail), tails[len], "%zu bytes", len);
        cr_expect_eq(unit_steps(unit), (int64_t)(len - tails[len]));
        cr_expect_eq(memcmp(tail, text + len - tails[len], tails[len]), 0);
        cr_expect(str_is_utf8(buf_str(&unit->data)));
        unit_free(unit);
    }
}

Test(unit, bytes_that_are_no_text_stay_at_the_end)
{
    static const char *const ends[] = {"a\x80", "a\x80\x80\x80\x80", "a\xc3\xa9\xa9"};

    for (size_t i = 0; i < DS_COUNT(ends); i++) {
        Unit *unit = unit_new(UNIT_BYTES, STR("o1"), 0, &limits);
        char tail[3];
        int64_t drop = 0;
        Error err;

        cr_assert(unit_add_bytes(unit, str_c(ends[i]), &drop, &err));
        cr_expect_eq(unit_take_tail(unit, tail), 0, "%zu", i);
        unit_free(unit);
    }
}

Test(unit, bytes_that_are_committed_already_are_dropped_at_every_split)
{
    static const char text[] = "0123456789";

    for (int64_t skip = 0; skip <= 12; skip++) {
        for (size_t split = 0; split <= 10; split++) {
            Unit *unit = unit_new(UNIT_BYTES, STR("o1"), 0, &limits);
            int64_t drop = skip;
            Error err;

            cr_assert(unit_add_bytes(unit, str_n(text, split), &drop, &err));
            cr_assert(unit_add_bytes(unit, str_n(text + split, 10 - split), &drop, &err));
            int64_t done = DS_MIN(skip, (int64_t)10);
            cr_expect_eq(unit->start.skip, done);
            cr_expect_eq(drop, skip - done);
            cr_expect(str_eq(buf_str(&unit->data), str_c(text + done)));
            unit_free(unit);
        }
    }
}

static const RowPlace first = {
    .stream_name = STR("s"), .generation = 1, .seq = 10, .offset = STR("0_1")};

static Unit *
unit_of(Str event)
{
    Unit *unit = unit_new(UNIT_JSON, first.offset, 0, &limits);
    int64_t drop = 0;
    Error err = {0};

    cr_assert(unit_add_json(unit, event, &limits, &drop, &err), "%s", err.text);
    unit_end(unit, STR("0_9"), 0, false);
    return unit;
}

static RowPlace
place_at(int64_t seq, int64_t generation)
{
    RowPlace place = first;

    place.seq = seq;
    place.generation = generation;
    return place;
}

static void
expect_line(const Unit *unit, size_t item, const RowPlace *place, const char *expected)
{
    Str line;
    bool found = unit_prepared_line(unit, item, place, &line);

    cr_expect_eq(found, expected != NULL, "item %zu", item);
    cr_expect(!found || expected == NULL || str_eq(line, str_c(expected)), "item %zu: %.*s", item,
              STR_ARG(line));
}

Test(unit, prepared_lines_are_those_of_their_items)
{
    Unit *unit = unit_of(STR("[1,{\"key\":\"k\"},\"x\"]"));
    static const char *const lines[] = {
        "s\t1\t10\t0_1\t\\N\t\\N\t\\N\t1\n",
        "s\t1\t11\t0_1\tk\t\\N\t\\N\t{\"key\":\"k\"}\n",
        "s\t1\t12\t0_1\t\\N\t\\N\t\\N\t\"x\"\n",
    };

    unit_prepare(unit, sink_default_events(), &first);
    for (size_t i = 0; i < DS_COUNT(lines); i++) {
        RowPlace place = place_at(10 + (int64_t)i, 1);

        expect_line(unit, i, &place, lines[i]);
    }
    unit_free(unit);
}

Test(unit, a_line_is_only_good_for_its_own_place)
{
    Unit *unit = unit_of(STR("[1,2]"));
    RowPlace same = place_at(11, 1);
    RowPlace other_seq = place_at(12, 1);
    RowPlace other_generation = place_at(11, 2);

    expect_line(unit, 1, &same, NULL); /* not prepared */
    unit_prepare(unit, sink_default_events(), &first);
    expect_line(unit, 1, &other_seq, NULL);
    expect_line(unit, 1, &other_generation, NULL);
    expect_line(unit, 1, &same, "s\t1\t11\t0_1\t\\N\t\\N\t\\N\t2\n");
    unit_free(unit);
}

Test(unit, a_dead_letter_has_a_number_and_no_line)
{
    Unit *unit = unit_of(STR("[1,\"\\u0000\",3]"));
    RowPlace places[] = {place_at(10, 1), place_at(11, 1), place_at(12, 1)};

    unit_judge(unit, sink_default_events());
    cr_assert_eq(unit->items[1].poison, POISON_NUL);
    unit_prepare(unit, sink_default_events(), &first);
    expect_line(unit, 0, &places[0], "s\t1\t10\t0_1\t\\N\t\\N\t\\N\t1\n");
    expect_line(unit, 1, &places[1], NULL);
    expect_line(unit, 2, &places[2], "s\t1\t12\t0_1\t\\N\t\\N\t\\N\t3\n");
    unit_free(unit);
}

Test(unit, lines_count_as_memory_and_stay_within_their_limit)
{
    static const size_t counts[] = {1000, UNIT_LINES_BYTES_MAX / 60, UNIT_LINES_BYTES_MAX / 20};

    for (size_t i = 0; i < DS_COUNT(counts); i++) {
        Buf event;
        Error err = {0};

        buf_init(&event, 1u << 20);
        for (size_t at = 0; at < counts[i]; at++) {
            cr_assert(buf_append(&event, at == 0 ? STR("[1") : STR(",1"), &err), "%s", err.text);
        }
        cr_assert(buf_append_char(&event, ']', &err), "%s", err.text);
        Unit *unit = unit_of(buf_str(&event));
        size_t before = unit_memory(unit);

        unit_prepare(unit, sink_default_events(), &first);
        cr_expect_leq(unit->lines.len, UNIT_LINES_BYTES_MAX);
        cr_expect_eq(unit->lines.len > 0, counts[i] == 1000, "%zu messages", counts[i]);
        cr_expect_eq(unit_memory(unit), before + unit->lines.cap);
        unit_free(unit);
        buf_done(&event);
    }
}

Test(unit, text_that_grows_beyond_the_limit_by_its_escapes_is_not_prepared)
{
    static const UnitLimits wide = {.bytes_max = 16u << 20, .message_bytes_max = 16u << 20};
    size_t len = UNIT_LINES_BYTES_MAX / 4 * 3;
    char *event = mem_regrow(NULL, len, 1);
    Unit *unit = unit_new(UNIT_JSON, first.offset, 0, &wide);
    RowPlace place = place_at(10, 1);
    int64_t drop = 0;
    Error err = {0};

    memset(event, '\\', len);
    event[0] = '"';
    event[len - 1] = '"';
    cr_assert(unit_add_json(unit, str_n(event, len), &wide, &drop, &err), "%s", err.text);
    unit_prepare(unit, sink_default_events(), &first);
    cr_expect_eq(unit->lines.cap, 0);
    expect_line(unit, 0, &place, NULL);
    unit_free(unit);
    free(event);
}

Test(unit, steps_are_messages_or_bytes)
{
    Unit *json = unit_of(STR("[1,2,3]"));
    Unit *bytes = unit_new(UNIT_BYTES, first.offset, 0, &limits);
    int64_t drop = 2;
    Error err = {0};

    cr_assert(unit_add_bytes(bytes, STR("abcdef"), &drop, &err), "%s", err.text);
    cr_expect_eq(unit_steps(json), 3);
    cr_expect_eq(unit_steps(bytes), 4);
    unit_prepare(bytes, sink_default_events(), &first);
    cr_expect_eq(bytes->lines.cap, 0);
    unit_free(json);
    unit_free(bytes);
}
