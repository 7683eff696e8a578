/* SPDX-License-Identifier: Apache-2.0 */
#include "server/producer.h"

#include <criterion/criterion.h>

static ProducerTag
tag(const char *id, uint64_t epoch, uint64_t seq)
{
    return (ProducerTag){.id = str_c(id), .epoch = epoch, .seq = seq};
}

static void
accept(Producers *producers, ProducerTag request, int64_t now_ms)
{
    ProducerState state;

    cr_assert_eq(producers_judge(producers, request, now_ms, &state), PRODUCER_ACCEPT);
    producers_accept(producers, request, now_ms, NULL);
}

Test(producer, an_unknown_one_begins_at_zero)
{
    ProducerState state;

    cr_expect_eq(producers_judge(NULL, tag("a", 3, 0), 0, &state), PRODUCER_ACCEPT);
    cr_expect_eq(producers_judge(NULL, tag("a", 3, 1), 0, &state), PRODUCER_GAP);
    cr_expect_eq(state.expected, 0);
}

Test(producer, judging_changes_nothing)
{
    Producers *producers = producers_new(4);
    ProducerState state;

    cr_expect_eq(producers_judge(producers, tag("a", 0, 0), 0, &state), PRODUCER_ACCEPT);
    cr_expect_eq(producers_judge(producers, tag("a", 0, 0), 0, &state), PRODUCER_ACCEPT);
    cr_expect_eq(producers_count(producers), 0);
    producers_free(producers);
}

Test(producer, a_repeated_request_is_a_duplicate_and_a_hole_a_gap)
{
    Producers *producers = producers_new(4);
    ProducerState state;

    accept(producers, tag("a", 0, 0), 0);
    accept(producers, tag("a", 0, 1), 0);
    accept(producers, tag("a", 0, 2), 0);
    for (uint64_t seq = 0; seq <= 2; seq++) {
        cr_expect_eq(producers_judge(producers, tag("a", 0, seq), 0, &state), PRODUCER_DUPLICATE);
        cr_expect_eq(state.seq, 2, "a duplicate is told the highest accepted");
        cr_expect_eq(state.epoch, 0);
    }
    cr_expect_eq(producers_judge(producers, tag("a", 0, 4), 0, &state), PRODUCER_GAP);
    cr_expect_eq(state.expected, 3);
    producers_free(producers);
}

Test(producer, a_new_epoch_begins_at_zero_and_fences_the_old)
{
    Producers *producers = producers_new(4);
    ProducerState state;

    accept(producers, tag("a", 1, 0), 0);
    accept(producers, tag("a", 1, 1), 0);
    cr_expect_eq(producers_judge(producers, tag("a", 2, 2), 0, &state), PRODUCER_EPOCH_NOT_ZERO);
    accept(producers, tag("a", 2, 0), 0);
    cr_expect_eq(producers_judge(producers, tag("a", 1, 2), 0, &state), PRODUCER_STALE_EPOCH);
    cr_expect_eq(state.epoch, 2);
    cr_expect_eq(producers_judge(producers, tag("a", 1, 0), 0, &state), PRODUCER_STALE_EPOCH);
    producers_free(producers);
}

Test(producer, ids_are_compared_bytewise_and_apart)
{
    Producers *producers = producers_new(4);
    ProducerState state;

    accept(producers, tag("a", 0, 0), 0);
    cr_expect_eq(producers_judge(producers, tag("A", 0, 0), 0, &state), PRODUCER_ACCEPT);
    cr_expect_eq(producers_judge(producers, tag("aa", 0, 0), 0, &state), PRODUCER_ACCEPT);
    producers_free(producers);
}

/* Its first request, repeated, would be written again. */
Test(producer, one_that_wrote_lately_is_not_forgotten_for_a_new_one)
{
    Producers *producers = producers_new(2);
    ProducerState state;

    accept(producers, tag("a", 0, 0), 1);
    accept(producers, tag("b", 0, 0), 2);
    cr_expect_eq(producers_judge(producers, tag("c", 0, 0), 3, &state), PRODUCER_TOO_MANY);
    cr_expect_eq(producers_judge(producers, tag("c", 0, 0), 1 + PRODUCER_KEPT_MS, &state),
                 PRODUCER_TOO_MANY);
    cr_expect_eq(producers_judge(producers, tag("c", 0, 1), 3, &state), PRODUCER_GAP);
    cr_expect_eq(producers_judge(producers, tag("a", 0, 0), 3, &state), PRODUCER_DUPLICATE);
    cr_expect_eq(producers_judge(producers, tag("a", 1, 0), 3, &state), PRODUCER_ACCEPT);
    accept(producers, tag("c", 0, 0), 2 + PRODUCER_KEPT_MS);
    cr_expect_eq(producers_judge(producers, tag("b", 0, 0), 2 + PRODUCER_KEPT_MS, &state),
                 PRODUCER_DUPLICATE);
    producers_free(producers);
}

Test(producer, past_the_maximum_the_one_silent_for_longest_is_forgotten)
{
    Producers *producers = producers_new(2);
    ProducerState state;
    int64_t later_ms = 4 + PRODUCER_KEPT_MS;

    accept(producers, tag("a", 0, 0), 1);
    accept(producers, tag("b", 0, 0), 2);
    accept(producers, tag("a", 0, 1), 3);
    accept(producers, tag("c", 0, 0), later_ms);
    cr_expect_eq(producers_count(producers), 2);
    cr_expect_eq(producers_judge(producers, tag("a", 0, 1), later_ms, &state), PRODUCER_DUPLICATE);
    cr_expect_eq(producers_judge(producers, tag("b", 0, 1), later_ms, &state), PRODUCER_GAP,
                 "a forgotten producer must not go on unnoticed");
    producers_free(producers);
}

Test(producer, one_silent_for_a_week_is_forgotten)
{
    Producers *producers = producers_new(8);
    ProducerState state;
    int64_t later_ms = PRODUCER_IDLE_MS_MAX + 1;

    accept(producers, tag("a", 5, 0), 0);
    cr_expect_eq(producers_judge(producers, tag("a", 5, 0), later_ms - 1, &state),
                 PRODUCER_DUPLICATE);
    cr_expect_eq(producers_judge(producers, tag("a", 4, 0), later_ms, &state), PRODUCER_ACCEPT);
    accept(producers, tag("b", 0, 0), later_ms);
    cr_expect_eq(producers_count(producers), 1, "its memory goes with the next new producer");
    producers_free(producers);
}

/* ---- undo ---- */

/* What anybody can find out about the producers: the verdict for each, and who is forgotten next.
 */
static void
expect_as_before(Producers *producers)
{
    static const struct {
        const char *id;
        uint64_t epoch;
        uint64_t seq;
    } known[] = {{"a", 0, 0}, {"b", 5, 0}, {"c", 0, 1}};
    ProducerState state;

    cr_expect_eq(producers_count(producers), 3);
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(
            producers_judge(producers, tag(known[i].id, known[i].epoch, known[i].seq), 4, &state),
            PRODUCER_DUPLICATE, "%s", known[i].id);
        cr_expect_eq(state.seq, known[i].seq);
    }
    cr_expect_eq(producers_judge(producers, tag("new", 0, 0), 4, &state), PRODUCER_TOO_MANY);
    cr_expect_eq(producers_judge(producers, tag("new", 0, 0), PRODUCER_KEPT_MS + 1, &state),
                 PRODUCER_TOO_MANY, "the oldest wrote at 1");
    cr_expect_eq(producers_judge(producers, tag("new", 0, 0), PRODUCER_KEPT_MS + 2, &state),
                 PRODUCER_ACCEPT);
}

Test(producer, what_was_accepted_is_undone_without_a_trace)
{
    const ProducerTag batch[] = {tag("c", 0, 2), tag("a", 0, 1), tag("new", 0, 0), tag("a", 1, 0),
                                 tag("b", 0, 0), tag("b", 0, 1), tag("new", 0, 1)};
    enum { BATCH = DS_COUNT(batch) };

    for (size_t count = 1; count <= BATCH; count++) {
        Producers *producers = producers_new(3);
        ProducerUndo undo[BATCH];

        accept(producers, tag("c", 0, 0), 0);
        accept(producers, tag("a", 0, 0), 1);
        accept(producers, tag("b", 5, 0), 2);
        accept(producers, tag("c", 0, 1), 3);
        /* So late that a new one takes the place of the oldest. */
        for (size_t i = 0; i < count; i++) {
            producers_accept(producers, batch[i], PRODUCER_KEPT_MS * 2, &undo[i]);
        }
        for (size_t i = count; i-- > 0;) {
            producers_undo(producers, &undo[i]);
        }
        expect_as_before(producers);
        producers_free(producers);
    }
}

Test(producer, what_is_not_undone_stays)
{
    Producers *producers = producers_new(1);
    ProducerState state;
    ProducerUndo undo;

    accept(producers, tag("a", 0, 0), 0);
    producers_accept(producers, tag("b", 0, 0), PRODUCER_KEPT_MS + 1, &undo);
    producer_undo_done(&undo);
    cr_expect_eq(producers_count(producers), 1);
    cr_expect_eq(producers_judge(producers, tag("b", 0, 0), PRODUCER_KEPT_MS + 1, &state),
                 PRODUCER_DUPLICATE);
    producers_free(producers);
}

/* ---- kept over a restart ---- */

Test(producer, what_is_exported_and_restored_judges_alike)
{
    Producers *producers = producers_new(3);
    Producers *again = producers_new(3);
    ProducerRecord records[3];
    ProducerState state;

    accept(producers, tag("a", 0, 0), 1);
    accept(producers, tag("b", 7, 0), 2);
    accept(producers, tag("a", 0, 1), 3);
    cr_assert_eq(producers_export(producers, 0, records, DS_COUNT(records)), 2);
    cr_expect(str_eq(records[0].id, STR("b")), "the oldest first");
    for (size_t i = 0; i < 2; i++) {
        producers_restore(again, &records[i]);
    }
    cr_expect_eq(producers_count(again), 2);
    cr_expect_eq(producers_judge(again, tag("a", 0, 1), 4, &state), PRODUCER_DUPLICATE);
    cr_expect_eq(producers_judge(again, tag("a", 0, 2), 4, &state), PRODUCER_ACCEPT);
    cr_expect_eq(producers_judge(again, tag("b", 6, 0), 4, &state), PRODUCER_STALE_EPOCH);
    cr_expect_eq(producers_judge(again, tag("b", 7, 1), 3 + PRODUCER_IDLE_MS_MAX, &state),
                 PRODUCER_GAP, "its age is kept, too");
    producers_free(producers);
    producers_free(again);
}

Test(producer, only_those_accepted_since_a_turn_are_exported)
{
    Producers *producers = producers_new(4);
    ProducerRecord records[2];
    uint64_t turn;

    cr_expect_eq(producers_export(NULL, 0, NULL, 0), 0);
    accept(producers, tag("a", 0, 0), 0);
    accept(producers, tag("b", 0, 0), 0);
    turn = producers_last_turn(producers);
    cr_expect_eq(producers_export(producers, turn, records, DS_COUNT(records)), 0);
    accept(producers, tag("c", 0, 0), 0);
    accept(producers, tag("a", 0, 1), 0);
    cr_assert_eq(producers_export(producers, turn, records, DS_COUNT(records)), 2);
    cr_expect(str_eq(records[0].id, STR("c")));
    cr_expect(str_eq(records[1].id, STR("a")));
    cr_expect_eq(producers_export(producers, 0, records, DS_COUNT(records)), 3, "more than fit");
    cr_expect(str_eq(records[0].id, STR("c")), "then those used last");
    producers_free(producers);
}

Test(producer, an_accept_that_is_undone_leaves_the_turn_that_was)
{
    Producers *producers = producers_new(4);
    ProducerUndo undo;
    ProducerRecord record;

    accept(producers, tag("a", 0, 0), 0);
    accept(producers, tag("b", 0, 0), 0);
    producers_accept(producers, tag("a", 0, 1), 1, &undo);
    producers_undo(producers, &undo);
    cr_expect_eq(producers_first_turn(producers), 1);
    cr_expect_eq(producers_export(producers, 1, &record, 1), 1);
    cr_expect(str_eq(record.id, STR("b")));
    producers_free(producers);
}

Test(producer, who_is_forgotten_has_a_smaller_turn_than_the_first)
{
    Producers *producers = producers_new(2);
    ProducerRecord records[3];

    cr_expect_eq(producers_first_turn(NULL), 1);
    accept(producers, tag("a", 0, 0), 0);
    accept(producers, tag("b", 0, 0), 0);
    cr_expect_eq(producers_first_turn(producers), 1);
    accept(producers, tag("c", 0, 0), PRODUCER_KEPT_MS + 1);
    cr_expect_eq(producers_first_turn(producers), 2, "a is forgotten");
    producers_free(producers);

    producers = producers_new(2);
    for (size_t i = 0; i < DS_COUNT(records); i++) {
        records[i] = (ProducerRecord){.id = str_n(&"xyz"[i], 1), .turn = 10 + i};
        producers_restore(producers, &records[i]);
    }
    cr_expect_eq(producers_count(producers), 2, "the maximum is smaller than it was");
    cr_expect_eq(producers_first_turn(producers), 11);
    cr_expect_eq(producers_last_turn(producers), 12);
    producers_free(producers);
}
