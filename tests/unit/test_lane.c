/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/lane.h"

#include <criterion/criterion.h>

static const UnitLimits unit_limits = {.bytes_max = 8u << 20, .message_bytes_max = 1000};
static const PartLimits plenty = {.rows_max = 1000, .bytes_max = 1u << 20};
static const PartLimits wide = {.rows_max = 5000, .bytes_max = 1u << 20};

static void
make_lane(Lane *lane)
{
    static const LaneCallbacks callbacks = {0};

    lane_init(lane, STR("default"), STR("s"), STR("me"), sink_default_events(), &callbacks, NULL);
    position_set(&lane->checkpoint.position, STR("o0"), 0);
    lane->checkpoint.next_seq = 100;
}

static void
push(Lane *lane, const char *from, const char *event, const char *to)
{
    Unit *unit = unit_new(UNIT_JSON, str_c(from), 0, &unit_limits);
    int64_t drop = 0;
    Error err;

    cr_assert(event == NULL || unit_add_json(unit, str_c(event), &unit_limits, &drop, &err));
    unit_end(unit, str_c(to), 0, false);
    lane_push(lane, unit, false);
}

/* Commits parts of at most rows_max until the queue is empty; says how many. */
static size_t
drain(Lane *lane, size_t rows_max)
{
    PartLimits limits = {.rows_max = rows_max, .bytes_max = 1u << 20};
    size_t parts = 0;
    Part part;

    while (part_compose(lane, &limits, &part)) {
        cr_assert_leq(part.items, rows_max);
        part_committed(&part);
        parts++;
    }
    return parts;
}

Test(lane, whole_units_go_together_and_end_at_the_last_offset)
{
    Lane lane;
    Part part;

    make_lane(&lane);
    push(&lane, "o0", "[1,2]", "o1");
    push(&lane, "o1", "[3]", "o2");
    cr_assert(part_compose(&lane, &plenty, &part));
    cr_expect_eq(part.items, 3);
    cr_expect_eq(part.steps, 3);
    cr_expect_str_eq(part.end.offset, "o2");
    cr_expect_eq(part.end.skip, 0);
    part_committed(&part);
    cr_expect(lane_is_empty(&lane));
    cr_expect_eq(lane.checkpoint.next_seq, 103);
    cr_expect_str_eq(lane.checkpoint.position.offset, "o2");
    cr_expect_eq(lane.units_bytes, 0);
    lane_done(&lane);
}

Test(lane, a_unit_larger_than_a_batch_is_committed_in_parts_by_skip)
{
    Lane lane;
    Part part;
    PartLimits limits = {.rows_max = 3, .bytes_max = 1u << 20};

    make_lane(&lane);
    push(&lane, "o0", "[0,1,2,3,4,5,6]", "o1");
    push(&lane, "o1", "[7]", "o2");
    cr_assert(part_compose(&lane, &limits, &part));
    cr_expect_str_eq(part.end.offset, "o0");
    cr_expect_eq(part.end.skip, 3);
    part_committed(&part);
    cr_assert(part_compose(&lane, &limits, &part));
    cr_expect_str_eq(part.end.offset, "o0");
    cr_expect_eq(part.end.skip, 6);
    part_committed(&part);
    cr_assert(part_compose(&lane, &limits, &part));
    cr_expect_eq(part.items, 2);
    cr_expect_str_eq(part.end.offset, "o2");
    cr_expect_eq(part.end.skip, 0);
    part_committed(&part);
    cr_expect_eq(lane.checkpoint.next_seq, 108);
    lane_done(&lane);
}

Test(lane, a_part_of_the_first_unit_is_not_done_of_whatever_stream_has_the_name_later)
{
    static const char *const ends[][2] = {
        {"01a209d641a602ab_000000000000000a", "01a209d641a602ab_0000000000000003"}, /* trimmed */
        {"01a209d641a602ab_0000000000000007", "01a209d641a602ab_0000000000000000"},
        {"01a209d641a602ab_0000000000000006", "-1"}, /* cannot be */
        {"0000000000000007_0000000000000007", "-1"}, /* of no life */
        {"o7", "-1"},
    };
    PartLimits limits = {.rows_max = 3, .bytes_max = 1u << 20};

    for (size_t i = 0; i < DS_COUNT(ends); i++) {
        Lane lane;
        Part part;

        make_lane(&lane);
        push(&lane, "-1", "[0,1,2,3,4,5,6]", ends[i][0]);
        for (int64_t done = 3; done <= 6; done += 3) {
            cr_assert(part_compose(&lane, &limits, &part));
            cr_expect_str_eq(part.end.offset, ends[i][1]);
            cr_expect_eq(part.end.skip, done);
            part_committed(&part);
        }
        lane_clear(&lane);
        lane_done(&lane);
    }
}

Test(lane, a_part_that_failed_is_composed_again_with_what_came_meanwhile)
{
    Lane lane;
    Part first;
    Part again;

    make_lane(&lane);
    push(&lane, "o0", "[1]", "o1");
    cr_assert(part_compose(&lane, &plenty, &first));
    push(&lane, "o1", "[2,3]", "o2");
    cr_assert(part_compose(&lane, &plenty, &again));
    cr_expect_eq(again.items, 3);
    part_committed(&first);
    cr_expect_eq(lane.checkpoint.next_seq, 101);
    cr_expect_not(lane_is_empty(&lane));
    lane_done(&lane);
}

Test(lane, every_batch_size_gives_the_same_rows)
{
    for (size_t rows = 1; rows <= 12; rows++) {
        Lane lane;

        make_lane(&lane);
        push(&lane, "o0", "[0,1,2,3,4]", "o1");
        push(&lane, "o1", NULL, "o2");
        push(&lane, "o2", "[5]", "o3");
        push(&lane, "o3", "[6,7,8,9]", "o4");
        cr_expect_geq(drain(&lane, rows), (10 + rows - 1) / rows);
        cr_expect_eq(lane.checkpoint.next_seq, 110);
        cr_expect_str_eq(lane.checkpoint.position.offset, "o4");
        cr_expect_eq(lane.checkpoint.position.skip, 0);
        lane_done(&lane);
    }
}

Test(lane, the_cursor_numbers_what_is_left_of_a_unit_that_was_begun)
{
    Lane lane;
    Part part;
    PartLimits limits = {.rows_max = 2, .bytes_max = 1u << 20};
    int64_t seq = 100;

    make_lane(&lane);
    push(&lane, "o0", "[0,1,2]", "o1");
    push(&lane, "o1", NULL, "o2");
    push(&lane, "o2", "[3,4]", "o3");
    while (part_compose(&lane, &limits, &part)) {
        for (PartCursor at = part_cursor(&part); part_cursor_valid(&at); part_cursor_next(&at)) {
            Str text = unit_item_text(at.unit, at.item);

            cr_expect_eq(at.seq, seq);
            cr_expect_eq(text.ptr[0], (char)('0' + seq - 100));
            seq++;
        }
        part_committed(&part);
    }
    cr_expect_eq(seq, 105);
    lane_done(&lane);
}

Test(lane, an_offset_that_moves_without_a_message_is_committed_too)
{
    Lane lane;
    Part part;

    make_lane(&lane);
    push(&lane, "o0", NULL, "o1");
    cr_assert(part_compose(&lane, &plenty, &part));
    cr_expect_eq(part.items, 0);
    cr_expect_str_eq(part.end.offset, "o1");
    part_committed(&part);
    cr_expect_not(part_compose(&lane, &plenty, &part));
    lane_done(&lane);
}

Test(lane, one_item_above_the_byte_limit_goes_alone)
{
    Lane lane;
    Part part;
    PartLimits limits = {.rows_max = 10, .bytes_max = 4};

    make_lane(&lane);
    push(&lane, "o0", "[\"123456789\",1,2,3]", "o1");
    cr_assert(part_compose(&lane, &limits, &part));
    cr_expect_eq(part.items, 1);
    part_committed(&part);
    cr_assert(part_compose(&lane, &limits, &part));
    cr_expect_eq(part.items, 3);
    lane_done(&lane);
}

Test(lane, bytes_move_seq_and_skip_by_their_length)
{
    size_t length = UNIT_CHUNK_BYTES_MAX + 10;
    char *bytes = calloc(1, length);
    PartLimits limits = {.rows_max = 1, .bytes_max = 1u << 30};
    Lane lane;
    Part part;
    int64_t drop = 0;
    Error err;

    make_lane(&lane);
    Unit *unit = unit_new(UNIT_BYTES, STR("o0"), 7, &unit_limits);
    cr_assert(unit_add_bytes(unit, str_n(bytes, length), &drop, &err));
    unit_end(unit, STR("o1"), 0, true);
    lane_push(&lane, unit, false);
    cr_assert(part_compose(&lane, &limits, &part));
    cr_expect_eq(part.steps, UNIT_CHUNK_BYTES_MAX);
    cr_expect_eq(part.end.skip, 7 + (int64_t)UNIT_CHUNK_BYTES_MAX);
    cr_expect_not(part.closed);
    part_committed(&part);
    cr_assert(part_compose(&lane, &limits, &part));
    cr_expect_eq(part.steps, 10);
    cr_expect(part.closed);
    part_committed(&part);
    cr_expect(lane.checkpoint.closed);
    cr_expect_eq(lane.checkpoint.next_seq, 100 + (int64_t)length);
    free(bytes);
    lane_done(&lane);
}

Test(lane, a_part_ends_before_the_dead_letter_that_is_one_too_many)
{
    Lane lane;
    Part part;
    Buf event;
    Error err;

    make_lane(&lane);
    buf_init(&event, 1u << 16);
    cr_assert(buf_append(&event, STR("[1"), &err));
    for (int i = 0; i < POISON_LETTERS_MAX + 5; i++) {
        cr_assert(buf_append(&event, STR(",\"\\u0000\""), &err));
    }
    cr_assert(buf_append(&event, STR(",2]\0"), &err));
    push(&lane, "o0", buf_cstr(&event), "o1");
    cr_assert(part_compose(&lane, &wide, &part));
    cr_expect(part.blocked);
    cr_expect_eq(part.items, 1 + POISON_LETTERS_MAX);
    cr_expect_eq(part.letters, POISON_LETTERS_MAX);
    cr_expect_eq(part.end.skip, 1 + POISON_LETTERS_MAX);
    part_committed(&part);
    cr_expect_not(part_compose(&lane, &wide, &part));
    cr_expect(part.blocked);
    buf_done(&event);
    lane_done(&lane);
}

Test(lane, a_refused_row_is_remembered_until_it_is_committed)
{
    Lane lane;
    Part part;
    Error why = {.sqlstate = "23514", .text = "a check"};

    make_lane(&lane);
    push(&lane, "o0", "[0,1,2,3]", "o1");
    Unit *unit = STAILQ_FIRST(&lane.units);
    cr_assert(part_compose(&lane, &plenty, &part));
    part_mark_fault(&part, unit, 2, 102, &why);
    part_mark_fault(&part, unit, 0, 100, &why);
    part_mark_fault(&part, unit, 1, 101, &why);
    cr_expect_eq(part.letters, 3);
    cr_assert_not_null(lane_find_fault(&lane, 101));
    cr_expect_str_eq(lane_find_fault(&lane, 101)->sqlstate, "23514");
    cr_expect_null(lane_find_fault(&lane, 103));
    cr_assert(part_compose(&lane, &(PartLimits){.rows_max = 2, .bytes_max = 1000}, &part));
    cr_expect_eq(part.letters, 2);
    part_committed(&part);
    cr_expect_null(lane_find_fault(&lane, 101));
    cr_expect_not_null(lane_find_fault(&lane, 102));
    lane_done(&lane);
}

static void
push_numbers(Lane *lane, int count)
{
    Buf event;
    Error err;

    buf_init(&event, 1u << 16);
    for (int i = 0; i < count; i++) {
        cr_assert(buf_append(&event, i == 0 ? STR("[1") : STR(",1"), &err));
    }
    cr_assert(buf_append_char(&event, ']', &err));
    push(lane, "o0", buf_cstr(&event), "o1");
    buf_done(&event);
}

/* Half of the rows of each part turn out to be bad, in any order. */
Test(lane, half_of_the_rows_may_be_refused)
{
    PartLimits limits = {.rows_max = 700, .bytes_max = 1u << 20};
    Error why = {.sqlstate = "23514", .text = "a check"};
    Lane lane;
    Part part;

    make_lane(&lane);
    push_numbers(&lane, 5000);
    Unit *unit = STAILQ_FIRST(&lane.units);
    for (size_t first = 0; part_compose(&lane, &limits, &part); first += 700) {
        size_t count = part.items;

        for (size_t i = count; i-- > 0;) {
            if (i % 2 == 0) {
                part_mark_fault(&part, unit, first + i, 100 + (int64_t)(first + i), &why);
            }
        }
        cr_assert(part_recount(&part));
        cr_assert_eq(part.letters, (count + 1) / 2);
        part_committed(&part);
    }
    cr_expect(lane_is_empty(&lane));
    cr_expect_eq(lane.checkpoint.next_seq, 5100);
    lane_done(&lane);
}

Test(lane, too_many_refused_rows_cut_the_part_and_then_block_the_lane)
{
    Error why = {.sqlstate = "23514", .text = "a check"};
    Error reason;
    Lane lane;
    Part part;

    make_lane(&lane);
    push_numbers(&lane, POISON_LETTERS_MAX + 8);
    cr_assert(part_compose(&lane, &wide, &part));
    for (size_t i = 0; i < POISON_LETTERS_MAX + 8; i++) {
        part_mark_fault(&part, STAILQ_FIRST(&lane.units), i, 100 + (int64_t)i, &why);
    }
    cr_expect_not(part_recount(&part));
    cr_assert(part_compose(&lane, &wide, &part));
    cr_expect_eq(part.items, POISON_LETTERS_MAX);
    cr_expect_eq(part.letters, POISON_LETTERS_MAX);
    part_committed(&part);
    cr_assert_not(part_compose(&lane, &wide, &part));
    cr_assert(part.blocked);
    lane_blocked(&lane, &reason);
    cr_expect_str_eq(reason.sqlstate, "23514");
    cr_expect_not_null(strstr(reason.text, "nothing from seq 3100 on is loaded"), "%s",
                       reason.text);
    cr_expect_not_null(strstr(reason.text, "a check"), "%s", reason.text);
    lane_done(&lane);
}

/* The first message of the queue is a mark, the others wait for the end of their set. */
static void
stage_all(Lane *lane)
{
    Unit *unit = STAILQ_FIRST(&lane->units);

    for (size_t i = 0; i < unit->count; i++) {
        unit->items[i].is_mark = i == 0;
        unit->items[i].staged = i > 0;
    }
}

Test(lane, what_is_refused_at_the_end_of_one_set_is_not_redeemed_by_what_is_staged_of_the_next)
{
    Lane lane;
    Part part;

    make_lane(&lane);
    for (int set = 0; set < 2; set++) {
        push_numbers(&lane, 2001);
        stage_all(&lane);
        cr_assert(part_compose(&lane, &wide, &part));
        cr_expect_eq(part.rows, 2000);
        part_committed(&part);
        cr_expect_eq(lane.tally.weight, 0);
        push_numbers(&lane, 1);
        stage_all(&lane);
        cr_assert(part_compose(&lane, &wide, &part));
        cr_expect(part_add_sifted(&part, 2000, 0));
        cr_assert(part_recount(&part));
        cr_expect_eq(part_allows_sifted(&part), set == 0);
        cr_expect_eq(part_weight(&part), set == 0 ? 2000 : 4000);
        part_committed(&part);
    }
    cr_expect_eq(lane.tally.weight, 4000);
    lane_done(&lane);
}

Test(lane, what_is_written_at_the_end_of_a_set_redeems_its_letters)
{
    Lane lane;
    Part part;

    make_lane(&lane);
    push_numbers(&lane, 1);
    stage_all(&lane);
    cr_assert(part_compose(&lane, &wide, &part));
    cr_expect(part_add_sifted(&part, 3000, 0));
    cr_expect(part_add_sifted(&part, 3, 1));
    cr_expect_not(part_add_sifted(&part, 1, 0));
    cr_expect(part_add_sifted(&part, 0, 1100));
    cr_assert(part_recount(&part));
    cr_expect(part_allows_sifted(&part));
    cr_expect_eq(part.tally.weight, 0);
    lane_done(&lane);
}

static Sink *
stopping_sink(void)
{
    static const SinkTableColumn columns[] = {{"stream_name", "text", true, false, false},
                                              {"generation", "integer", true, false, false},
                                              {"seq", "bigint", true, false, false},
                                              {"ds_offset", "text", true, false, false},
                                              {"payload", "jsonb", true, false, false}};
    SinkTable table = {columns, DS_COUNT(columns)};
    RouteSpec spec;
    Sink *sink;
    Error err;

    cr_assert(route_spec_parse(&spec,
                               STR("{\"name\":\"r\",\"streams\":[\"a\"],\"table\":\"t\","
                                   "\"as\":\"events\",\"on_error\":\"stop\","
                                   "\"name_prefix\":\"eu/\"}"),
                               &err),
              "%s", err.text);
    cr_assert(sink_new(&spec, &table, &sink, &err), "%s", err.text);
    route_spec_done(&spec);
    return sink;
}

Test(lane, a_route_that_stops_on_errors_loads_what_is_before_the_bad_message)
{
    static const LaneCallbacks callbacks = {0};
    Sink *sink = stopping_sink();
    Error reason;
    Lane lane;
    Part part;

    lane_init(&lane, STR("default"), STR("s"), STR("me"), sink, &callbacks, NULL);
    sink_unref(sink); /* the lane has its own */
    cr_expect_str_eq(lane.row_name, "eu/s");
    push(&lane, "o0", "[1,2,\"\\u0000\",4]", "o1");
    cr_assert(part_compose(&lane, &plenty, &part));
    cr_expect(part.blocked);
    cr_expect_eq(part.items, 2);
    cr_expect_eq(part.letters, 0);
    part_committed(&part);
    cr_assert_not(part_compose(&lane, &plenty, &part));
    cr_assert(part.blocked);
    lane_blocked(&lane, &reason);
    cr_expect_str_eq(reason.sqlstate, "22P05");
    cr_expect_not_null(strstr(reason.text, "seq 2 cannot be loaded"), "%s", reason.text);
    lane_done(&lane);
}

Test(lane, what_is_not_stored_yet_counts_more_than_what_was)
{
    Lane lane;

    make_lane(&lane);
    lane_remember(&lane, true, true);
    cr_expect(lane.from_start);
    cr_expect(lane.gone);
    lane_remember(&lane, false, false);
    cr_expect(lane.from_start, "that was seen");
    cr_expect_not(lane.gone, "somebody decided that it is the same");
    lane.gone = true;
    lane.wants = LANE_WANTS_STATE;
    lane_remember(&lane, false, false);
    cr_expect(lane.gone);
    lane.wants = 0;
    lane.telling = true;
    lane_remember(&lane, false, false);
    cr_expect(lane.gone);
    lane_done(&lane);
}
