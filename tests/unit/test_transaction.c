/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transaction.h"

#include <criterion/criterion.h>

#include "common/mem.h"

static const UnitLimits unit_limits = {.bytes_max = 8u << 20, .message_bytes_max = 1000};
static const PartLimits plenty = {.rows_max = 1000, .bytes_max = 1u << 20};
static Transaction transaction;

static void
make_lane(Lane *lane, const char *name, int64_t stream_id)
{
    static const LaneCallbacks callbacks = {0};

    lane_init(lane, STR("default"), str_c(name), STR("me"), sink_default_events(), &callbacks,
              NULL);
    lane->checkpoint =
        (Checkpoint){.stream_id = stream_id, .epoch = 4, .generation = 2, .next_seq = 10};
    position_set(&lane->checkpoint.position, STR("o0"), 1);
}

static void
push_json(Lane *lane, const char *event)
{
    Unit *unit = unit_new(UNIT_JSON, STR("o0"), 1, &unit_limits);
    int64_t drop = 0;
    Error err;

    cr_assert(unit_add_json(unit, str_c(event), &unit_limits, &drop, &err), "%s", err.text);
    unit_end(unit, STR("o1"), 0, false);
    lane_push(lane, unit, false);
}

static void
push_bytes(Lane *lane, Str bytes)
{
    Unit *unit = unit_new(UNIT_BYTES, STR("o0"), 1, &unit_limits);
    int64_t drop = 0;
    Error err;

    cr_assert(unit_add_bytes(unit, bytes, &drop, &err));
    unit_end(unit, STR("o1"), 0, true);
    lane_push(lane, unit, false);
}

static bool
add(Lane *lane)
{
    bool blocked;

    return transaction_add(&transaction, lane, &plenty, &blocked);
}

static bool
encode_all(Error *err)
{
    transaction_first_slice(&transaction);
    return transaction_next_slice(&transaction, SIZE_MAX, err);
}

static void
expect_array(size_t index, const char *text)
{
    cr_expect_str_eq(buf_cstr(&transaction.arrays[index]), text, "array %zu is %s", index,
                     buf_cstr(&transaction.arrays[index]));
}

/* The COPY text of the newest slice, appended to out. */
static void
add_copy_text(const Transaction *from, Buf *out)
{
    const CopyText *copy = transaction_copy_text(from);
    Error err;

    for (size_t i = 0; i < copy->count; i++) {
        cr_assert(buf_append(out, copy->texts[i], &err));
    }
}

static void
expect_copy_text(const Transaction *from, const char *expected)
{
    Buf text;

    buf_init(&text, 65536);
    add_copy_text(from, &text);
    cr_expect_str_eq(buf_cstr(&text), expected);
    buf_done(&text);
}

Test(transaction, the_guard_holds_old_and_new_of_each_stream_in_order_of_id)
{
    Lane a;
    Lane b;
    Error err;

    transaction_init(&transaction);
    make_lane(&a, "a", 9);
    make_lane(&b, "b", 3);
    push_json(&a, "[1,2]");
    push_json(&b, "[3]");
    cr_assert(add(&a));
    cr_assert(add(&b));
    transaction_sort(&transaction);
    cr_assert(transaction_encode_guard(&transaction, &err));
    expect_array(0, "{3,9}");
    expect_array(1, "{4,4}");
    expect_array(2, "{2,2}");
    expect_array(3, "{\"o0\",\"o0\"}");
    expect_array(4, "{1,1}");
    expect_array(5, "{10,10}");
    expect_array(6, "{\"o1\",\"o1\"}");
    expect_array(7, "{0,0}");
    expect_array(8, "{1,2}");
    expect_array(9, "{\"f\",\"f\"}");
    cr_expect_eq(transaction.array_count, 10);
    cr_expect_eq(transaction_find(&transaction, 9)->lane, &a);
    cr_expect_null(transaction_find(&transaction, 4));
    transaction_done(&transaction);
    lane_done(&a);
    lane_done(&b);
}

Test(transaction, small_rows_carry_columns_and_the_bytes_as_they_came)
{
    Lane lane;
    Error err;

    transaction_init(&transaction);
    make_lane(&lane, "n\"a", 3);
    push_json(&lane, "[{\"key\":\"k\\\"\\\\\",\"type\":\"t\",\"operation\":\"set\"},[1, 2]]");
    cr_assert(add(&lane));
    cr_assert(transaction_is_small(&transaction));
    cr_assert(transaction_encode_small(&transaction, &err));
    cr_expect_eq(transaction.array_count, 18);
    expect_array(10, "{3,3}");
    expect_array(11, "{\"n\\\"a\",\"n\\\"a\"}");
    expect_array(12, "{10,11}");
    expect_array(13, "{\"o0\",\"o0\"}");
    expect_array(14, "{\"k\\\"\\\\\",NULL}");
    expect_array(15, "{\"t\",NULL}");
    expect_array(16, "{\"set\",NULL}");
    expect_array(
        17, "{\"{\\\"key\\\":\\\"k\\\\\\\"\\\\\\\\\\\",\\\"type\\\":\\\"t\\\",\\\"operation\\\":"
            "\\\"set\\\"}\",\"[1, 2]\"}");
    transaction_done(&transaction);
    lane_done(&lane);
}

Test(transaction, null_columns_come_first_too)
{
    Lane lane;
    Error err;

    transaction_init(&transaction);
    make_lane(&lane, "a", 3);
    push_json(&lane, "[1,{\"key\":\"k\"}]");
    cr_assert(add(&lane));
    cr_assert(transaction_encode_small(&transaction, &err));
    expect_array(14, "{NULL,\"k\"}");
    expect_array(15, "{NULL,NULL}");
    transaction_done(&transaction);
    lane_done(&lane);
}

Test(transaction, copy_lines_escape_what_copy_reads_otherwise)
{
    Lane lane;
    Error err;

    transaction_init(&transaction);
    make_lane(&lane, "a\tb", 3);
    push_json(&lane, "[{\"key\":\"x\\ty\\\\\"},{ \"n\":\n1}]");
    cr_assert(add(&lane));
    cr_assert(encode_all(&err));
    cr_assert_eq(transaction.row_count, 2);
    expect_copy_text(&transaction,
                     "a\\tb\t2\t10\to0\tx\\ty\\\\\t\\N\t\\N\t{\"key\":\"x\\\\ty\\\\\\\\\"}\n"
                     "a\\tb\t2\t11\to0\t\\N\t\\N\t\\N\t{ \"n\":\\n1}\n");
    transaction_done(&transaction);
    lane_done(&lane);
}

Test(transaction, slices_of_any_size_hold_the_same_lines)
{
    Lane a;
    Lane b;
    Buf all;
    Error err;

    transaction_init(&transaction);
    make_lane(&a, "a", 1);
    make_lane(&b, "b", 2);
    push_json(&a, "[0,\"\\u0000\",1]");
    push_json(&a, "[2,3,4]");
    push_json(&b, "[5]");
    cr_assert(add(&a));
    cr_assert(add(&b));
    cr_assert(encode_all(&err));
    cr_assert_eq(transaction.row_count, 6);
    buf_init(&all, 4096);
    add_copy_text(&transaction, &all);
    for (size_t rows = 1; rows <= 7; rows++) {
        Buf joined;
        Str before = STR_EMPTY;
        char first = '\0';

        buf_init(&joined, 4096);
        transaction_first_slice(&transaction);
        do {
            cr_assert(transaction_next_slice(&transaction, rows, &err));
            cr_assert_leq(transaction.slice_end - transaction.slice_first, rows);
            cr_expect(before.len == 0 || before.ptr[0] == first, "a slice under way was changed");
            const CopyText *copy = transaction_copy_text(&transaction);
            Str text = copy->count > 0 ? copy->texts[0] : STR_EMPTY;
            cr_assert_leq(copy->count, 1);
            cr_assert(buf_append(&joined, text, &err));
            before = text;
            first = text.len > 0 ? text.ptr[0] : '\0';
        } while (transaction.slice_first < transaction.slice_end);
        cr_expect(str_eq(buf_str(&joined), buf_str(&all)), "slices of %zu: %s", rows,
                  buf_cstr(&joined));
        buf_done(&joined);
    }
    buf_done(&all);
    transaction_done(&transaction);
    lane_done(&a);
    lane_done(&b);
}

Test(transaction, chunks_are_hexadecimal_both_ways)
{
    Lane lane;
    Error err;

    transaction_init(&transaction);
    make_lane(&lane, "a", 3);
    push_bytes(&lane, STR("\x00\xff\\\n"));
    cr_assert(add(&lane));
    cr_assert(transaction_encode_small(&transaction, &err));
    cr_expect_eq(transaction.array_count, 15);
    expect_array(9, "{\"t\"}");
    expect_array(8, "{4}");
    expect_array(14, "{\"\\\\x00ff5c0a\"}");
    cr_assert(encode_all(&err));
    expect_copy_text(&transaction, "a\t2\t10\to0\t\\\\x00ff5c0a\n");
    transaction_done(&transaction);
    lane_done(&lane);
}

Test(transaction, messages_and_chunks_never_share_one)
{
    Lane json;
    Lane bytes;

    transaction_init(&transaction);
    make_lane(&json, "a", 1);
    make_lane(&bytes, "b", 2);
    push_json(&json, "[1]");
    push_bytes(&bytes, STR("x"));
    cr_assert(add(&bytes));
    cr_expect_not(add(&json));
    transaction_reset(&transaction);
    cr_assert(add(&json));
    cr_expect_not(add(&bytes));
    transaction_done(&transaction);
    lane_done(&json);
    lane_done(&bytes);
}

Test(transaction, dead_letters_leave_the_rows_and_keep_their_bytes_and_reason)
{
    Lane lane;
    Error err;
    Error why = {.sqlstate = "23514", .text = "no \"thirteen\""};

    transaction_init(&transaction);
    make_lane(&lane, "a", 3);
    push_json(&lane, "[1,\"\\u0000\",13,2]");
    cr_assert(add(&lane));
    cr_assert(encode_all(&err));
    cr_assert_eq(transaction.row_count, 3);
    transaction_mark(&transaction, 1, &why);
    cr_expect(transaction_allows_letters(&transaction));
    cr_expect_eq(transaction.letters, 2);
    cr_expect_not(transaction_is_small(&transaction));
    cr_assert(encode_all(&err));
    cr_expect_eq(transaction.row_count, 2);
    cr_expect_eq(transaction.rows[1].seq, 13);
    cr_assert(transaction_encode_letters(&transaction, &err));
    cr_expect_eq(transaction.array_count, 9);
    expect_array(0, "{3,3}");
    expect_array(3, "{11,12}");
    expect_array(5, "{\"nul\",\"row_fault\"}");
    expect_array(6, "{\"22P05\",\"23514\"}");
    expect_array(8, "{\"\\\\x225c753030303022\",\"\\\\x3133\"}");
    cr_expect_not_null(strstr(buf_cstr(&transaction.arrays[7]), "no \\\"thirteen\\\""));
    transaction_done(&transaction);
    lane_done(&lane);
}

/* jsonb takes it, the column event_key does not. */
static void
push_faulty(Lane *lane, bool has_to_wait)
{
    Unit *unit = unit_new(UNIT_JSON, STR("o0"), 1, &unit_limits);
    int64_t drop = 0;
    Error err;

    cr_assert(unit_add_json(unit, STR("[1,{\"key\":\"\\u0000\"},3]"), &unit_limits, &drop, &err));
    unit_end(unit, STR("o1"), 0, false);
    unit->traits = 0; /* as if the payload were of type json */
    lane_push(lane, unit, has_to_wait);
}

Test(transaction, a_sieve_of_any_size_holds_each_row_once)
{
    for (size_t rows = 1; rows <= 6; rows++) {
        Lane a;
        Lane b;
        Error err;
        int64_t sum = 0;
        size_t seen = 0;

        transaction_init(&transaction);
        make_lane(&a, "a", 1);
        make_lane(&b, "b", 2);
        push_json(&a, "[0,\"\\u0000\",1,2]");
        push_json(&b, "[3,4]");
        cr_assert(add(&a));
        cr_assert(add(&b));
        transaction_first_slice(&transaction);
        do {
            cr_assert(transaction_next_sieve(&transaction, rows, &err), "%s", err.text);
            cr_assert_leq(transaction.slice_end - transaction.slice_first, rows);
            for (size_t i = transaction.slice_first; i < transaction.slice_end; i++) {
                sum += transaction.rows[i].seq;
                seen++;
            }
        } while (transaction.slice_first < transaction.slice_end);
        expect_array(2, "{}");
        cr_expect_eq(seen, 5, "sieves of %zu", rows);
        cr_expect_eq(sum, 10 + 12 + 13 + 10 + 11);
        transaction_done(&transaction);
        lane_done(&a);
        lane_done(&b);
    }
}

Test(transaction, a_row_at_fault_is_found_while_it_is_encoded)
{
    static const char lines[] = "a\t2\t10\to0\t\\N\t\\N\t\\N\t1\n"
                                "a\t2\t12\to0\t\\N\t\\N\t\\N\t3\n";
    Error err = {0};

    for (unsigned way = 0; way < 3; way++) {
        Lane lane;

        transaction_init(&transaction);
        make_lane(&lane, "a", 3);
        push_faulty(&lane, way == 1);
        cr_assert(add(&lane));
        cr_expect_not(transaction_encode_small(&transaction, &err));
        cr_expect_eq(err.code, ERR_INPUT);
        if (way == 2) {
            transaction_first_slice(&transaction);
            cr_assert(transaction_next_sieve(&transaction, SIZE_MAX, &err), "%s", err.text);
            expect_array(0, "{2,2}");
            expect_array(1, "{\"a\",\"a\"}");
            expect_array(2, "{10,12}");
            expect_array(3, "{\"o0\",\"o0\"}");
            expect_array(4, "{NULL,NULL}");
            expect_array(7, "{\"1\",\"3\"}");
            cr_expect_eq(transaction.rows[1].seq, 12);
        } else {
            cr_assert(encode_all(&err), "%s", err.text);
            expect_copy_text(&transaction, lines);
        }
        cr_expect_eq(transaction.row_count, 2);
        cr_expect_eq(transaction.letters, 1);
        cr_expect(transaction_allows_letters(&transaction));
        cr_expect_str_eq(lane_find_fault(&lane, 11)->sqlstate, "22P05");
        transaction_done(&transaction);
        lane_done(&lane);
    }
}

Test(transaction, a_single_row_has_a_statement_of_its_own)
{
    static const struct {
        const char *first;
        const char *second; /* of another stream; NULL: there is none */
        bool is_one;
    } cases[] = {
        {"[1]", NULL, true}, {"[1,2]", NULL, false}, {"[]", NULL, false}, {"[1]", "[2]", false}};

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        Lane lanes[2];

        transaction_init(&transaction);
        make_lane(&lanes[0], "a", 3);
        make_lane(&lanes[1], "b", 4);
        push_json(&lanes[0], cases[i].first);
        cr_assert(add(&lanes[0]));
        if (cases[i].second != NULL) {
            push_json(&lanes[1], cases[i].second);
            cr_assert(add(&lanes[1]));
        }
        const Sink *sink = transaction.sink;
        cr_expect_eq(transaction_small_sql(&transaction),
                     cases[i].is_one ? sink->one_sql : sink->small_sql, "case %zu", i);
        transaction_done(&transaction);
        lane_done(&lanes[0]);
        lane_done(&lanes[1]);
    }
}

Test(transaction, a_hundred_rows_are_not_small)
{
    Lane lane;
    Buf event;
    Error err;

    buf_init(&event, 4096);
    cr_assert(buf_append(&event, STR("[0"), &err));
    for (int i = 1; i < 99; i++) {
        cr_assert(buf_append(&event, STR(",0"), &err));
    }
    cr_assert(buf_append(&event, STR("]"), &err));
    transaction_init(&transaction);
    make_lane(&lane, "a", 3);
    push_json(&lane, buf_cstr(&event));
    cr_assert(add(&lane));
    cr_expect(transaction_is_small(&transaction));
    transaction_reset(&transaction);
    push_json(&lane, "[1]");
    cr_assert(add(&lane));
    cr_expect_eq(transaction.items, 100);
    cr_expect_not(transaction_is_small(&transaction));
    transaction_done(&transaction);
    lane_done(&lane);
    buf_done(&event);
}

typedef struct Fixture {
    Lane lane;
    Transaction *transaction;
} Fixture;

static void
setup(Fixture *fixture)
{
    lane_init(&fixture->lane, STR("default"), STR("s"), STR("me"), sink_default_events(), NULL,
              NULL);
    fixture->lane.checkpoint =
        (Checkpoint){.stream_id = 1, .epoch = 1, .generation = 3, .next_seq = 7};
    position_set(&fixture->lane.checkpoint.position, STR("0_0"), 0);
    fixture->lane.loaded = true;
    fixture->transaction = mem_zalloc(sizeof(*fixture->transaction));
    transaction_init(fixture->transaction);
}

static void
teardown(Fixture *fixture)
{
    transaction_done(fixture->transaction);
    free(fixture->transaction);
    lane_done(&fixture->lane);
}

static void
push(Fixture *fixture, const char *start, const char *event, const char *end, bool has_to_wait)
{
    Unit *unit = unit_new(UNIT_JSON, str_c(start), 0, &unit_limits);
    int64_t drop = 0;
    Error err = {0};

    cr_assert(unit_add_json(unit, str_c(event), &unit_limits, &drop, &err), "%s", err.text);
    unit_end(unit, str_c(end), 0, false);
    lane_push(&fixture->lane, unit, has_to_wait);
}

static void
push_all(Fixture *fixture, unsigned waiting)
{
    push(fixture, "0_0", "[{\"key\":\"a\"},\"\\u0000\",2]", "0_3", (waiting & 1) != 0);
    push(fixture, "0_3", "[3]", "0_4", (waiting & 2) != 0);
    push(fixture, "0_4", "[4,{\"type\":\"t\"}]", "0_6", (waiting & 4) != 0);
}

/* Commits all that is queued, at most rows_max at a time, and gathers the text of COPY. */
static void
drain(Fixture *fixture, size_t rows_max, Buf *out)
{
    PartLimits limits = {.rows_max = rows_max, .bytes_max = 1u << 20};
    bool blocked;
    Error err = {0};

    while (!lane_is_empty(&fixture->lane)) {
        transaction_reset(fixture->transaction);
        cr_assert(transaction_add(fixture->transaction, &fixture->lane, &limits, &blocked));
        transaction_first_slice(fixture->transaction);
        cr_assert(transaction_next_slice(fixture->transaction, SIZE_MAX, &err), "%s", err.text);
        add_copy_text(fixture->transaction, out);
        part_committed(&fixture->transaction->parts[0]);
    }
}

Test(transaction, copies_the_same_lines_whichever_units_had_to_wait)
{
    static const char expected[] = "s\t3\t7\t0_0\ta\t\\N\t\\N\t{\"key\":\"a\"}\n"
                                   "s\t3\t9\t0_0\t\\N\t\\N\t\\N\t2\n"
                                   "s\t3\t10\t0_3\t\\N\t\\N\t\\N\t3\n"
                                   "s\t3\t11\t0_4\t\\N\t\\N\t\\N\t4\n"
                                   "s\t3\t12\t0_4\t\\N\tt\t\\N\t{\"type\":\"t\"}\n";

    for (unsigned waiting = 0; waiting < 8; waiting++) {
        for (size_t rows_max = 1; rows_max <= 7; rows_max++) {
            Fixture fixture;
            Buf out;

            setup(&fixture);
            buf_init(&out, 4096);
            push_all(&fixture, waiting);
            drain(&fixture, rows_max, &out);
            cr_expect_str_eq(buf_cstr(&out), expected, "waiting %u, %zu rows", waiting, rows_max);
            buf_done(&out);
            teardown(&fixture);
        }
    }
}

Test(transaction, numbers_go_on_behind_what_was_committed_while_units_came)
{
    Fixture fixture;
    PartLimits limits = {.rows_max = 100, .bytes_max = 1u << 20};
    bool blocked;
    Buf out;

    setup(&fixture);
    buf_init(&out, 4096);
    push(&fixture, "0_0", "[1,2]", "0_2", false);
    cr_assert(transaction_add(fixture.transaction, &fixture.lane, &limits, &blocked));
    push(&fixture, "0_2", "[3]", "0_3", true); /* comes while the first is under way */
    part_committed(&fixture.transaction->parts[0]);
    push(&fixture, "0_3", "[4]", "0_4", true);
    drain(&fixture, 100, &out);
    cr_expect_str_eq(buf_cstr(&out), "s\t3\t9\t0_2\t\\N\t\\N\t\\N\t3\n"
                                     "s\t3\t10\t0_3\t\\N\t\\N\t\\N\t4\n");
    push(&fixture, "0_4", "[5]", "0_5", true); /* the queue was empty */
    buf_reset(&out);
    drain(&fixture, 100, &out);
    cr_expect_str_eq(buf_cstr(&out), "s\t3\t11\t0_4\t\\N\t\\N\t\\N\t5\n");
    buf_done(&out);
    teardown(&fixture);
}

Test(transaction, lines_of_an_older_generation_are_made_anew)
{
    Fixture fixture;
    Buf out;

    setup(&fixture);
    buf_init(&out, 4096);
    push(&fixture, "0_0", "[1]", "0_1", true);
    fixture.lane.checkpoint.generation = 4;
    drain(&fixture, 100, &out);
    cr_expect_str_eq(buf_cstr(&out), "s\t4\t7\t0_0\t\\N\t\\N\t\\N\t1\n");
    buf_done(&out);
    teardown(&fixture);
}
