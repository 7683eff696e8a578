/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_writer_turns.c -- whose rows go next: a hot stream among a thousand quiet ones.
 *
 * Counted in transactions, not in time: what a stream waits for is how many go before it.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "common/mem.h"
#include "syncd/writer_internal.h"

#define QUIET    1000
#define ROWS_MAX 101
#define HOT_ROWS 20000

static const UnitLimits unit_limits = {.bytes_max = 8u << 20, .message_bytes_max = 1000};

typedef struct Stage {
    Loop *loop;
    Writer *writer;
    Secret url;
    Lane lanes[QUIET + 1]; /* the last one is hot */
    char names[QUIET + 1][16];
    size_t turn;
    size_t written_in[QUIET + 1]; /* 0: nothing is yet */
} Stage;

static void
push_rows(Stage *stage, size_t number, size_t rows)
{
    Unit *unit = unit_new(UNIT_JSON, STR("o0"), 0, &unit_limits);
    int64_t drop = 0;
    Error err;

    for (size_t i = 0; i < rows; i++) {
        cr_assert(unit_add_json(unit, STR("[1]"), &unit_limits, &drop, &err), "%s", err.text);
    }
    unit_end(unit, STR("o1"), 0, false);
    writer_push(stage->writer, &stage->lanes[number], unit);
}

static void
stage_init(Stage *stage)
{
    static const LaneCallbacks callbacks = {0};

    stage->loop = loop_new();
    stage->writer = writer_new(stage->loop, &(WriterConfig){
                                                .postgres_url = &stage->url,
                                                .application_name = "test",
                                                .rows_max = ROWS_MAX,
                                                .bytes_max = 1 << 20,
                                                .backoff_base_ms = 1,
                                                .backoff_max_ms = 1,
                                                .statement_ms = 30000,
                                                .lease_ms = 15000,
                                            });
    for (size_t i = 0; i <= QUIET; i++) {
        (void)snprintf(stage->names[i], sizeof(stage->names[i]), "s/%zu", i);
        lane_init(&stage->lanes[i], STR("default"), str_c(stage->names[i]), STR("me"),
                  sink_default_events(), &callbacks, NULL);
        stage->lanes[i].checkpoint =
            (Checkpoint){.stream_id = (int64_t)i + 1, .epoch = 1, .generation = 1};
        position_set(&stage->lanes[i].checkpoint.position, STR("o0"), 0);
        stage->lanes[i].loaded = true;
        writer_attach(stage->writer, &stage->lanes[i]);
    }
}

static void
stage_done(Stage *stage)
{
    loop_run(stage->loop); /* picks were put off; without a connection they pick nothing */
    writer_free(stage->writer);
    for (size_t i = 0; i <= QUIET; i++) {
        stage->lanes[i].in_flight = false;
        lane_clear(&stage->lanes[i]);
        lane_done(&stage->lanes[i]);
    }
    loop_run(stage->loop); /* frees what was put off */
    loop_free(stage->loop);
    free(stage);
}

/* One transaction, as if Postgres had taken it. */
static void
take_turn(Stage *stage)
{
    Transaction *transaction = &stage->writer->transaction;

    stage->turn++;
    cr_assert(writer_compose(stage->writer));
    size_t parts = transaction->part_count;
    for (size_t i = 0; i < parts; i++) {
        Lane *lane = transaction->parts[i].lane;

        stage->written_in[lane - stage->lanes] = stage->turn;
        part_committed(&transaction->parts[i]);
        writer_release(stage->writer, &transaction->parts[i]);
    }
    transaction->part_count = 0;
}

Test(writer_turns, a_quiet_stream_waits_for_one_batch_of_a_hot_one_and_for_those_before_it)
{
    Stage *stage = mem_zalloc(sizeof(*stage));

    stage_init(stage);
    push_rows(stage, QUIET, HOT_ROWS); /* it comes first, and has rows for 199 batches */
    for (size_t i = 0; i < QUIET; i++) {
        push_rows(stage, i, 1);
    }
    while (stage->written_in[QUIET - 1] == 0) {
        take_turn(stage);
    }
    for (size_t i = 0; i < QUIET; i++) {
        size_t bound = 2 + i / (DS_MIN(ROWS_MAX - 1, TRANSACTION_PARTS_MAX));

        cr_expect_leq(stage->written_in[i], bound, "number %zu in the queue waited for %zu", i,
                      stage->written_in[i]);
    }
    cr_expect_not(lane_is_empty(&stage->lanes[QUIET]));
    stage_done(stage);
}

Test(writer_turns, a_hot_stream_goes_on_however_many_quiet_ones_there_are)
{
    Stage *stage = mem_zalloc(sizeof(*stage));
    size_t hot_turns = 0;

    stage_init(stage);
    push_rows(stage, QUIET, HOT_ROWS);
    for (size_t i = 0; i < QUIET; i++) {
        push_rows(stage, i, 1);
    }
    for (size_t turn = 0; turn < 60; turn++) {
        take_turn(stage);
        hot_turns += stage->written_in[QUIET] == stage->turn;
        for (size_t i = 0; i < QUIET; i++) {
            if (stage->written_in[i] == stage->turn) {
                push_rows(stage, i, 1); /* each of them has something again at once */
            }
        }
    }
    cr_expect_geq(hot_turns, 60 / (QUIET / DS_MIN(ROWS_MAX - 1, TRANSACTION_PARTS_MAX) + 2));
    stage_done(stage);
}

Test(writer_turns, a_stream_that_took_too_long_shares_no_transaction_with_others)
{
    Stage *stage = mem_zalloc(sizeof(*stage));
    Writer *writer;
    Transaction *transaction;

    stage_init(stage);
    writer = stage->writer;
    transaction = &writer->transaction;
    for (size_t i = 0; i < 3; i++) {
        push_rows(stage, i, 8);
    }
    cr_assert(writer_compose(writer));
    cr_expect_eq(transaction->part_count, 3);
    cr_expect(writer_split_stalled(writer));
    for (size_t i = 0; i < 3; i++) {
        cr_expect(transaction->parts[i].lane->alone, "each is tried alone");
    }
    for (size_t i = 0; i < 3; i++) {
        writer_release(writer, &transaction->parts[i]);
    }
    cr_assert(writer_compose(writer));
    cr_expect_eq(transaction->part_count, 1);
    Lane *slow = transaction->parts[0].lane;
    for (size_t items = 8; items > 1; items = transaction->items) {
        cr_expect(writer_split_stalled(writer), "%zu", items);
        writer_release(writer, &transaction->parts[0]);
        do {
            cr_assert(writer_compose(writer));
            if (transaction->parts[0].lane != slow) {
                cr_expect_eq(transaction->part_count, 1, "whose fault it is, is not known yet");
                writer_release(writer, &transaction->parts[0]);
            }
        } while (transaction->parts[0].lane != slow);
        cr_expect_eq(transaction->part_count, 1);
        cr_expect_lt(transaction->items, items);
    }
    cr_expect_not(writer_split_stalled(writer), "a single message is as small as it can be");
    while (slow->alone) {
        part_committed(&transaction->parts[0]);
        writer_release(writer, &transaction->parts[0]);
        push_rows(stage, (size_t)(slow - stage->lanes), LANE_NARROW_MAX);
        do {
            cr_assert(writer_compose(writer));
        } while (transaction->parts[0].lane != slow);
    }
    cr_expect_eq(slow->narrow, 0, "it is back among the others once it is as fast as they");
    stage_done(stage);
}

Test(writer_turns, streams_that_failed_together_are_tried_alone_whoever_came_before_them)
{
    Stage *stage = mem_zalloc(sizeof(*stage));
    Transaction *transaction;

    stage_init(stage);
    transaction = &stage->writer->transaction;
    for (size_t i = 0; i < 5; i++) {
        push_rows(stage, i, 1);
    }
    cr_assert(writer_compose(stage->writer));
    cr_assert_eq(transaction->part_count, 5);
    for (size_t i = 5; i < QUIET; i++) {
        push_rows(stage, i, 1); /* while those were under way */
    }
    cr_assert(writer_split_stalled(stage->writer));
    for (size_t i = 0; i < 5; i++) {
        writer_release(stage->writer, &transaction->parts[i]);
    }
    for (size_t done = 0; done < 5;) {
        cr_assert(writer_compose(stage->writer));
        size_t parts = transaction->part_count;
        for (size_t i = 0; i < parts; i++) {
            if (transaction->parts[i].lane < &stage->lanes[5]) {
                cr_expect_eq(parts, 1, "it is not known yet whose fault it was");
                done++;
            }
            part_committed(&transaction->parts[i]);
            writer_release(stage->writer, &transaction->parts[i]);
        }
        transaction->part_count = 0;
    }
    for (size_t i = 0; i < 5; i++) {
        cr_expect_not(stage->lanes[i].alone, "it was not its fault");
    }
    stage_done(stage);
}
