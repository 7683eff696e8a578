/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transaction_state.h"

#include <criterion/criterion.h>

static const UnitLimits unit_limits = {.bytes_max = 8u << 20, .message_bytes_max = 1000};
static Transaction transaction;
static StateFold fold;
static Sink *sink;
static StateSets sets[2] = {{2, STATE_SEQ_NONE, STATE_SEQ_NONE},
                            {2, STATE_SEQ_NONE, STATE_SEQ_NONE}};

static void
make_sink(const char *route)
{
    static const SinkTableColumn columns[] = {
        {"stream_name", "text", true, false, false}, {"type", "text", true, false, false},
        {"key", "text", true, false, false},         {"seq", "bigint", true, false, false},
        {"owner", "uuid", false, false, false},      {"value", "jsonb", true, false, false},
        {"place", "text", false, false, false},
    };
    SinkTable table = {columns, DS_COUNT(columns)};
    RouteSpec spec;
    Error err;

    cr_assert(route_spec_parse(&spec, str_c(route), &err), "%s", err.text);
    cr_assert(sink_new(&spec, &table, &sink, &err), "%s", err.text);
    route_spec_done(&spec);
}

#define ROUTE_START                                                                                \
    "{\"name\":\"s\",\"streams\":[\"a\"],\"table\":\"public.s\",\"as\":\"state\","                 \
    "\"payload\":{\"column\":\"value\",\"type\":\"jsonb\"},\"on_error\":\"dead_letter\""

static void
plain_sink(void)
{
    make_sink(ROUTE_START "}");
}

static void
make_lane(Lane *lane, const char *name, int64_t stream_id, const char *event)
{
    static const LaneCallbacks callbacks = {0};
    Unit *unit = unit_new(UNIT_JSON, STR("o0"), 1, &unit_limits);
    int64_t drop = 0;
    Error err;

    lane_init(lane, STR("default"), str_c(name), STR("me"), sink, &callbacks, NULL);
    lane->checkpoint =
        (Checkpoint){.stream_id = stream_id, .epoch = 4, .generation = 2, .next_seq = 10};
    position_set(&lane->checkpoint.position, STR("o0"), 1);
    cr_assert(unit_add_json(unit, str_c(event), &unit_limits, &drop, &err), "%s", err.text);
    unit_end(unit, STR("o1"), 0, false);
    lane_push(lane, unit, false);
}

static void
begin(void)
{
    transaction_init(&transaction);
    state_fold_init(&fold);
}

static bool
add(Lane *lane, size_t rows_max)
{
    PartLimits limits = {.rows_max = rows_max, .bytes_max = 1u << 20};
    bool blocked;

    return transaction_add(&transaction, lane, &limits, &blocked);
}

static void
end(Lane *lane)
{
    state_fold_done(&fold);
    transaction_done(&transaction);
    lane_done(lane);
    sink_unref(sink);
}

static void
expect_array(size_t index, const char *text)
{
    cr_expect_str_eq(buf_cstr(&transaction.arrays[index]), text, "array %zu is %s", index,
                     buf_cstr(&transaction.arrays[index]));
}

#define CHANGE(key, op, value)                                                                     \
    "{\"type\":\"t\",\"key\":\"" key "\",\"operation\":\"" op "\",\"value\":" value "}"
#define MARK(control) "{\"headers\":{\"control\":\"" control "\"}}"

Test(transaction_state, rows_of_all_streams_are_the_parameters)
{
    Lane a;
    Lane b;
    bool needed;
    Error err;

    plain_sink();
    begin();
    make_lane(&a, "a", 9, "[" CHANGE("k", "set", "1") "," CHANGE("k", "set", "2") "]");
    make_lane(&b, "b", 3, "[" MARK("reset") "," CHANGE("x", "remove", "0") "]");
    cr_assert(add(&a, 100) && add(&b, 100));
    cr_assert(transaction_fold(&transaction, sets, &fold));
    cr_assert(transaction_encode_state_open(&transaction, &err));
    expect_array(0, "{9,3}");
    expect_array(1, "{2,2}");
    cr_assert(transaction_encode_state_rows(&transaction, &fold, false, &needed, &err));
    cr_expect(needed);
    expect_array(0, "{\"a\",\"b\"}");
    expect_array(1, "{9,3}");
    expect_array(2, "{\"t\",\"t\"}");
    expect_array(3, "{\"k\",\"x\"}");
    expect_array(4, "{11,11}");
    expect_array(5, "{\"s\",\"d\"}");
    expect_array(6, "{\"b\"}");
    expect_array(10, "{\"2\",NULL}");
    cr_assert(transaction_encode_state_rows(&transaction, &fold, true, &needed, &err));
    cr_expect(!needed);
    cr_assert(transaction_encode_state_check(&transaction, &fold, &needed, &err));
    cr_expect(!needed);
    cr_assert(transaction_encode_state_mark(&transaction, sets, &fold, &needed, &err));
    cr_expect(needed);
    expect_array(0, "{3}");
    expect_array(2, "{-1}");
    expect_array(3, "{10}");
    lane_done(&b);
    end(&a);
}

Test(transaction_state, what_appends_need_is_asked_for)
{
    Lane lane;
    bool needed;
    Error err;

    plain_sink();
    begin();
    make_lane(&lane, "a", 9, "[" CHANGE("k", "append", "[1]") "," CHANGE("k", "set", "2") "]");
    cr_assert(add(&lane, 100));
    cr_assert(transaction_fold(&transaction, sets, &fold));
    cr_assert(transaction_encode_state_check(&transaction, &fold, &needed, &err));
    cr_expect(needed);
    expect_array(4, "{10}");
    expect_array(5, "{\"array\"}");
    expect_array(6, "{\"f\"}");
    cr_expect(!transaction_mark_append(&transaction, 8, 10, STR("array"), STR("number")));
    cr_expect(!transaction_mark_append(&transaction, 9, 12, STR("array"), STR("number")));
    cr_assert(transaction_mark_append(&transaction, 9, 10, STR("array"), STR("number")));
    cr_expect_eq(transaction.letters, 1);
    const RowFault *fault = lane_find_fault(&lane, 10);
    cr_assert_not_null(fault);
    cr_expect_str_eq(fault->sqlstate, STATE_FAULT_SQLSTATE);
    end(&lane);
}

Test(transaction_state, a_message_that_is_no_change_is_marked_and_buries_deletions)
{
    Lane lane;
    bool needed;
    Error err;

    plain_sink();
    begin();
    make_lane(&lane, "a", 9, "[{\"n\":1}," CHANGE("k", "remove", "0") "]");
    cr_assert(add(&lane, 100));
    cr_assert(transaction_fold(&transaction, sets, &fold));
    cr_expect_eq(transaction.letters, 1);
    cr_expect_not_null(lane_find_fault(&lane, 10));
    cr_assert(transaction_encode_state_rows(&transaction, &fold, false, &needed, &err));
    expect_array(5, "{\"b\"}");
    end(&lane);
}

Test(transaction_state, mapped_columns_come_from_the_message_that_sets)
{
    Lane lane;
    bool needed;
    Error err;

    make_sink(ROUTE_START ",\"columns\":{\"owner\":{\"pointer\":\"/value/o\",\"type\":\"uuid\","
                          "\"required\":true}}}");
    begin();
    make_lane(&lane, "a", 9,
              "[" CHANGE("k", "set", "{\"o\":\"u1\"}") "," CHANGE("k", "set", "{}") "," CHANGE(
                  "l", "append", "[1]") "]");
    cr_assert(add(&lane, 100));
    cr_assert(transaction_fold(&transaction, sets, &fold));
    cr_expect_eq(transaction.letters, 1);
    const RowFault *fault = lane_find_fault(&lane, 11);
    cr_assert_not_null(fault, "the column is required");
    cr_expect_str_eq(fault->sqlstate, "23502");
    cr_assert(transaction_encode_state_rows(&transaction, &fold, false, &needed, &err));
    expect_array(10, "{\"u1\",NULL}");
    expect_array(11, "{\"{\\\"o\\\":\\\"u1\\\"}\",\"[1]\"}");
    end(&lane);
}

Test(transaction_state, what_cannot_be_in_one_transaction_makes_the_next_part_shorter)
{
    static const StateSets open[] = {{2, 5, 5}};
    Lane lane;

    plain_sink();
    begin();
    make_lane(&lane, "a", 9,
              "[" CHANGE("k", "set", "1") "," MARK("snapshot-end") "," MARK("snapshot-start") "]");
    cr_assert(add(&lane, 100));
    cr_assert(!transaction_fold(&transaction, open, &fold));
    cr_expect_eq(lane.narrow, 2);
    transaction_reset(&transaction);
    cr_assert(add(&lane, 100));
    cr_expect_eq(transaction.items, 2);
    cr_assert(transaction_fold(&transaction, open, &fold));
    part_committed(&transaction.parts[0]);
    cr_expect_eq(lane.narrow, 4, "it grows again");
    end(&lane);
}

/* What the sieve gets of the next part, and that it ends where it should. */
static void
expect_sieve(Lane *lane, size_t items, const char *keys, const char *ops)
{
    bool needed;
    Error err;

    transaction_reset(&transaction);
    cr_assert(add(lane, 100));
    if (!transaction_fold(&transaction, sets, &fold)) {
        transaction_reset(&transaction);
        cr_assert(add(lane, 100));
        cr_assert(transaction_fold(&transaction, sets, &fold), "it is short enough now");
    }
    cr_assert_eq(transaction.items, items, "%zu", transaction.items);
    cr_expect_eq(fold.apart, *keys != '\0');
    if (fold.apart) {
        cr_assert(transaction_encode_state_rows(&transaction, &fold, false, &needed, &err));
        expect_array(3, keys);
        expect_array(5, ops);
    }
}

Test(transaction_state, an_append_that_does_not_fit_has_its_neighbours_tried_one_by_one)
{
    Lane lane;

    plain_sink();
    begin();
    make_lane(
        &lane, "a", 9,
        "[" CHANGE("k", "set", "1") "," CHANGE("j", "set", "1") "," CHANGE("k", "append", "\"x\"") "," MARK(
            "reset") "," MARK("snapshot-start") "," MARK("snapshot-end") "," CHANGE("k", "remove",
                                                                                    "0") "," CHANGE("k",
                                                                                                    "append",
                                                                                                    "[1]") "]");
    cr_assert(add(&lane, 100));
    cr_assert(!transaction_fold(&transaction, sets, &fold));
    cr_expect_eq(lane.sieve, 8);
    expect_sieve(&lane, 3, "{\"k\",\"j\",\"k\"}", "{\"s\",\"s\",\"a\"}");
    part_committed(&transaction.parts[0]);
    expect_sieve(&lane, 3, "", "");
    part_committed(&transaction.parts[0]);
    expect_sieve(&lane, 2, "{\"k\",\"k\"}", "{\"d\",\"a\"}");
    part_committed(&transaction.parts[0]);
    cr_expect_eq(lane.sieve, 0, "what comes now is folded again");
    end(&lane);
}

Test(transaction_state, what_the_sieve_refuses_is_marked_by_its_number)
{
    Lane lane;
    Error why = {0};

    plain_sink();
    begin();
    make_lane(&lane, "a", 9, "[" CHANGE("k", "set", "1") ",{\"n\":1}," CHANGE("k", "set", "2") "]");
    (void)error_set(&why, ERR_INPUT, "no");
    cr_assert(add(&lane, 100));
    cr_assert(transaction_sieve(&transaction));
    cr_expect(!transaction_sieve(&transaction), "it is tried one by one already");
    cr_assert(transaction_fold(&transaction, sets, &fold));
    cr_assert(transaction_mark_entry(&transaction, &fold, 2, &why));
    cr_expect(!transaction_mark_entry(&transaction, &fold, 0, &why));
    cr_expect(!transaction_mark_entry(&transaction, &fold, 3, &why));
    cr_expect_eq(transaction.letters, 2);
    cr_expect_str_eq(lane_find_fault(&lane, 12)->message, "no");
    end(&lane);
}

Test(transaction_state, shorter_parts_find_the_message_that_is_refused)
{
    Lane lane;
    Error why = {0};

    plain_sink();
    begin();
    make_lane(
        &lane, "a", 9,
        "[" CHANGE("k", "set", "1") "," CHANGE("l", "set", "1") "," CHANGE("m", "set", "1") "]");
    (void)error_set(&why, ERR_INPUT, "no");
    cr_assert(add(&lane, 100));
    cr_expect(transaction_narrow(&transaction, &why));
    cr_expect_eq(lane.narrow, 1);
    transaction_reset(&transaction);
    cr_assert(add(&lane, 100));
    cr_expect_eq(transaction.items, 1);
    cr_expect(transaction_narrow(&transaction, &why));
    cr_expect_not_null(lane_find_fault(&lane, 10));
    end(&lane);
}

Test(transaction_state, a_mark_is_never_left_out)
{
    Lane lane;
    Error why = {0};

    plain_sink();
    begin();
    make_lane(&lane, "a", 9, "[" MARK("reset") "," MARK("snapshot-start") "]");
    (void)error_set(&why, ERR_INPUT, "no");
    cr_assert(add(&lane, 1));
    cr_expect_eq(transaction.items, 2, "the two belong together");
    cr_expect(transaction_narrow(&transaction, &why));
    transaction_reset(&transaction);
    cr_assert(add(&lane, 100));
    cr_expect_eq(transaction.items, 2);
    cr_expect(!transaction_narrow(&transaction, &why));
    end(&lane);
}

Test(transaction_state, a_snapshot_that_was_staged_is_swapped)
{
    StateSets open[1] = {{1, 5, 3}};
    Lane lane;
    bool needed;
    Error err;

    plain_sink();
    begin();
    make_lane(&lane, "a", 9, "[" MARK("snapshot-end") "]");
    open[0].generation = 2;
    cr_assert(add(&lane, 100));
    cr_assert(transaction_fold(&transaction, open, &fold));
    cr_expect(fold.streams[0].swap);
    cr_assert(transaction_encode_state_mark(&transaction, open, &fold, &needed, &err));
    expect_array(3, "{5}");
    expect_array(4, "{-1}");
    open[0].generation = 1;
    cr_assert(transaction_fold(&transaction, open, &fold));
    cr_expect(!fold.streams[0].swap, "it was of a stream that is no more");
    end(&lane);
}

Test(transaction_state, a_page_begins_behind_the_row_before_it)
{
    StatePage page = {0};
    Lane lane;
    Error err;

    plain_sink();
    begin();
    make_lane(&lane, "a", 9, "[" MARK("snapshot-end") "]");
    cr_assert(add(&lane, 100));
    cr_assert(transaction_encode_state_page(&transaction, &page, false, &err));
    cr_expect_eq(transaction.array_count, 5);
    expect_array(0, "a");
    expect_array(1, "9");
    expect_array(2, "");
    buf_init(&page.type, 10);
    buf_init(&page.key, 10);
    page.begun = true;
    cr_assert(buf_append(&page.type, STR("t"), &err) && buf_append(&page.key, STR("{k"), &err));
    cr_assert(transaction_encode_state_page(&transaction, &page, true, &err));
    cr_expect_eq(transaction.array_count, 7);
    expect_array(2, "t");
    expect_array(3, "{k");
    expect_array(5, "2");
    expect_array(6, "a");
    buf_done(&page.type);
    buf_done(&page.key);
    end(&lane);
}

Test(transaction_state, an_append_that_may_create_its_row_keeps_the_columns_that_it_has)
{
    Lane lane;
    bool needed;
    Error err;

    make_sink(ROUTE_START ",\"columns\":{\"owner\":{\"pointer\":\"/o\",\"type\":\"uuid\"},"
                          "\"place\":{\"pointer\":\"/p\",\"type\":\"text\",\"required\":true}}}");
    begin();
    make_lane(
        &lane, "a", 9,
        "[{\"type\":\"t\",\"key\":\"k\",\"operation\":\"append\",\"value\":[1],\"o\":\"u1\"}]");
    cr_assert(add(&lane, 100));
    cr_assert(transaction_fold(&transaction, sets, &fold));
    cr_expect_eq(transaction.letters, 0);
    cr_assert(transaction_encode_state_rows(&transaction, &fold, false, &needed, &err));
    expect_array(10, "{\"u1\"}");
    expect_array(11, "{NULL}");
    expect_array(12, "{\"[1]\"}");
    end(&lane);
}

Test(transaction_state, a_staged_row_keeps_the_message_that_its_columns_are_of)
{
    static const StateSets open[] = {{2, 5, 5}};
    Lane lane;
    bool needed;
    Error err;

    make_sink(ROUTE_START ",\"columns\":{\"owner\":{\"pointer\":\"/o\",\"type\":\"uuid\"}}}");
    begin();
    make_lane(&lane, "a", 9,
              "[" CHANGE("k", "set", "[]") "," CHANGE("k", "append", "[1]") "," CHANGE(
                  "l", "append", "[2]") "," CHANGE("m", "remove", "0") "]");
    cr_assert(add(&lane, 100));
    cr_assert(transaction_fold(&transaction, open, &fold));
    cr_assert(transaction_encode_state_rows(&transaction, &fold, true, &needed, &err));
    expect_array(3, "{\"k\",\"l\",\"m\"}");
    Str messages = buf_str(&transaction.arrays[8]);
    cr_expect(str_starts(messages, STR("{\"\\\\x7b22")), "%s", buf_cstr(&transaction.arrays[8]));
    cr_expect(str_ends(messages, STR("\",NULL}")), "of a deletion there is none");
    expect_array(9, "{\"t\",\"f\",\"t\"}");
    end(&lane);
}

Test(transaction_state, sets_alone_are_told_as_short_as_they_can_be)
{
    Lane a;
    Lane b;
    size_t rows;
    Error err;

    plain_sink();
    begin();
    make_lane(&a, "a", 3, "[" CHANGE("k", "set", "1") "," CHANGE("l", "set", "\"x\"") "]");
    make_lane(&b, "b", 9,
              "[" CHANGE("k", "set", "1") "," CHANGE("k", "set", "2") "," CHANGE(
                  "l", "append", "[3]") "," CHANGE("l", "set", "4") "]");
    cr_assert(add(&a, 100));
    cr_assert(transaction_fold(&transaction, sets, &fold));
    cr_assert(transaction_only_sets(&fold));
    cr_assert(transaction_encode_state_put(&transaction, &fold, &rows, &err));
    cr_expect_eq(rows, 2);
    expect_array(0, "{\"a\"}");
    expect_array(1, "{\"t\"}");
    expect_array(2, "{10}");
    expect_array(3, "{\"k\",\"l\"}");
    expect_array(4, "{\"1\",\"\\\"x\\\"\"}");
    cr_assert(add(&b, 100));
    cr_assert(transaction_fold(&transaction, sets, &fold));
    cr_assert(transaction_only_sets(&fold));
    cr_assert(transaction_encode_state_put(&transaction, &fold, &rows, &err));
    cr_expect_eq(rows, 4);
    expect_array(0, "{\"a\",\"a\",\"b\",\"b\"}");
    expect_array(1, "{\"t\"}");
    expect_array(2, "{10,11,11,13}");
    lane_done(&b);
    end(&a);
}

Test(transaction_state, sets_with_anything_else_are_not_told_so)
{
    static const char *const others[] = {
        "[" CHANGE("k", "set", "1") "," CHANGE("l", "remove", "0") "]",
        "[" CHANGE("k", "set", "1") "," CHANGE("l", "append", "[1]") "]",
        "[" MARK("reset") "," CHANGE("k", "set", "1") "]",
    };

    for (size_t i = 0; i < DS_COUNT(others); i++) {
        Lane lane;

        plain_sink();
        begin();
        make_lane(&lane, "a", 9, others[i]);
        cr_assert(add(&lane, 100));
        cr_assert(transaction_fold(&transaction, sets, &fold));
        cr_expect(!transaction_only_sets(&fold), "%s", others[i]);
        end(&lane);
    }
}
