/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_model.h"

#include <criterion/criterion.h>

#define LEASE_MS 5000
#define BEGIN_MS INT64_C(1000000)

static uint32_t
no_random(uint32_t bound)
{
    return bound / 2; /* the middle: no jitter */
}

static SubsModel *model;
static int64_t now_ms;

static SubsDefinition *
definition_of(const char *id, SubsType type)
{
    SubsDefinition *definition = subs_definition_new();

    definition->id = str_dup(str_c(id));
    definition->type = type;
    definition->origin = str_dup(STR("http://x"));
    definition->lease_ms = LEASE_MS;
    return definition;
}

static Subscription *
add(const char *id, SubsType type)
{
    Subscription *subscription = NULL;

    cr_assert_eq(subs_model_create(model, definition_of(id, type), &subscription), SUBS_OK);
    return subscription;
}

static SubsTail
tail_of(uint64_t id, uint64_t tail)
{
    return (SubsTail){.id = id, .era = id, .tail = tail};
}

static SubsLink *
link_at(Subscription *subscription, const char *path, uint64_t tail)
{
    SubsTail at = tail_of(1, tail);
    SubsLink *link = NULL;

    cr_assert_eq(subs_model_link(model, subscription, str_c(path), true, &at, false, now_ms, &link),
                 SUBS_OK);
    return link;
}

static void
append(const char *path, uint64_t tail)
{
    SubsTail at = tail_of(1, tail);

    subs_model_stream_is(model, subs_model_stream(model, str_c(path)), &at, now_ms);
}

static Subscription *
issue(void)
{
    Subscription *subscription = subs_model_ready(model, true);
    char wake_id[SUBS_WAKE_ID_SIZE];

    cr_assert_not_null(subscription);
    (void)snprintf(wake_id, sizeof(wake_id), "w%d", (int)subscription->state.generation + 1);
    subs_model_issue(model, subscription, wake_id, now_ms);
    return subscription;
}

static SubsVerdict
ack(Subscription *subscription, uint64_t generation, const char *wake_id, const char *path,
    uint64_t position, bool done, bool *out_next)
{
    char offset[OFFSET_OWN_BYTES + 1];
    SubsAck one = {str_c(path), STR_EMPTY};
    bool next = false;
    Error err;
    SubsVerdict verdict;

    offset_format((Offset){.era = 1, .position = position}, offset);
    one.offset = str_c(offset);
    verdict = subs_model_ack(model, subscription, generation, str_c(wake_id), &one,
                             path == NULL ? 0 : 1, done, now_ms, &next, &err);
    if (out_next != NULL) {
        *out_next = next;
    }
    return verdict;
}

static void
pass(int64_t ms)
{
    now_ms += ms;
    subs_model_tick(model, now_ms);
}

static void
setup(void)
{
    SubsLimits limits = {.subscriptions = 10, .streams_per_subscription = 5};

    model = subs_model_new(&limits, no_random);
    now_ms = BEGIN_MS;
}

static void
teardown(void)
{
    subs_model_free(model);
}

TestSuite(subs_model, .init = setup, .fini = teardown);

Test(subs_model, a_new_link_is_at_the_tail_and_wakes_nobody)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);
    SubsLink *link = link_at(subscription, "a", 7);

    cr_expect_eq(link->cursor.position, 7);
    cr_expect_eq(subscription->state.phase, SUBS_IDLE);
    cr_expect_null(subs_model_ready(model, true));
    append("a", 8);
    cr_expect_eq(subscription->state.phase, SUBS_READY);
}

Test(subs_model, a_stream_found_later_is_linked_before_its_first_append)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);
    SubsTail at = {.id = 3, .era = 3, .origin = 2, .tail = 5};
    SubsLink *link = NULL;

    cr_assert_eq(subs_model_link(model, subscription, STR("f"), false, &at, true, now_ms, &link),
                 SUBS_OK);
    cr_expect_eq(link->cursor.position, 2);
    cr_expect(link->pending);
}

Test(subs_model, a_wake_is_issued_once_and_has_the_next_generation)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);

    link_at(subscription, "a", 0);
    append("a", 1);
    cr_expect_eq(issue(), subscription);
    cr_expect_eq(subscription->state.generation, 1);
    append("a", 2);
    cr_expect_null(subs_model_ready(model, true));
}

Test(subs_model, done_acks_the_snapshot_and_not_what_came_later)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);
    SubsLink *link = link_at(subscription, "a", 0);

    append("a", 3);
    issue();
    append("a", 5);
    subs_model_outcome(model, subscription, 1, SUBS_DONE, 0, now_ms);
    cr_expect_eq(link->cursor.position, 3);
    cr_expect_eq(subscription->state.phase, SUBS_READY);
    issue();
    cr_expect_eq(subscription->state.generation, 2);
    subs_model_outcome(model, subscription, 2, SUBS_DONE, 0, now_ms);
    cr_expect_eq(link->cursor.position, 5);
    cr_expect_eq(subscription->state.phase, SUBS_IDLE);
}

Test(subs_model, the_outcome_of_an_old_wake_changes_nothing)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);
    SubsLink *link = link_at(subscription, "a", 0);

    append("a", 1);
    issue();
    subs_model_outcome(model, subscription, 1, SUBS_FAILED, 0, now_ms);
    pass(1000);
    issue();
    subs_model_outcome(model, subscription, 1, SUBS_DONE, 0, now_ms);
    cr_expect_eq(link->cursor.position, 0);
    cr_expect_eq(subscription->state.phase, SUBS_WAKING);
    subs_model_outcome(model, subscription, 1, SUBS_FAILED, 0, now_ms);
    cr_expect_eq(subscription->state.phase, SUBS_WAKING);
}

Test(subs_model, failed_deliveries_wait_from_a_second_to_a_minute)
{
    static const int64_t waits_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    Subscription *subscription = add("s", SUBS_WEBHOOK);

    link_at(subscription, "a", 0);
    append("a", 1);
    for (size_t i = 0; i < DS_COUNT(waits_ms); i++) {
        issue();
        subs_model_outcome(model, subscription, i + 1, SUBS_FAILED, 0, now_ms);
        cr_expect_eq(subscription->state.phase, SUBS_BACKOFF);
        cr_expect(subscription->state.failed);
        cr_expect_eq(subs_model_due(model), now_ms + waits_ms[i], "attempt %zu", i);
        pass(waits_ms[i] - 1);
        cr_expect_null(subs_model_ready(model, true));
        pass(1);
    }
    issue();
    subs_model_outcome(model, subscription, DS_COUNT(waits_ms) + 1, SUBS_DONE, 0, now_ms);
    cr_expect_not(subscription->state.failed);
    cr_expect_eq(subscription->state.attempts, 0);
}

static uint32_t
least(uint32_t bound DS_UNUSED)
{
    return 0;
}

static uint32_t
most(uint32_t bound)
{
    return bound - 1;
}

Test(subs_model, the_jitter_is_a_fifth_both_ways)
{
    cr_expect_eq(subs_retry_ms(1, true, least), 800);
    cr_expect_eq(subs_retry_ms(1, true, most), 1200);
    cr_expect_eq(subs_retry_ms(100, true, least), 48000);
    cr_expect_eq(subs_retry_ms(UINT64_MAX, true, most), 72000);
    cr_expect_eq(subs_retry_ms(0, false, most), 0);
    cr_expect_eq(subs_retry_ms(1, false, most), 0);
    cr_expect_eq(subs_retry_ms(2, false, least), 800);
}

Test(subs_model, what_the_receiver_asks_for_is_the_least_wait_up_to_a_minute)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);

    link_at(subscription, "a", 0);
    append("a", 1);
    issue();
    subs_model_outcome(model, subscription, 1, SUBS_FAILED, 20000, now_ms);
    cr_expect_eq(subs_model_due(model), now_ms + 20000);
    pass(20000);
    issue();
    subs_model_outcome(model, subscription, 2, SUBS_FAILED, 3600000, now_ms);
    cr_expect_eq(subs_model_due(model), now_ms + SUBS_RETRY_MS_MAX);
}

Test(subs_model, a_callback_extends_the_lease_until_it_is_done)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);
    SubsLink *link = link_at(subscription, "a", 0);
    bool next = true;

    append("a", 4);
    issue();
    subs_model_outcome(model, subscription, 1, SUBS_DELIVERED, 0, now_ms);
    pass(LEASE_MS - 1);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 2, false, &next), SUBS_OK);
    cr_expect_not(next);
    pass(LEASE_MS - 1);
    cr_expect_eq(subscription->state.phase, SUBS_LEASED);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 4, true, &next), SUBS_OK);
    cr_expect_not(next);
    cr_expect_eq(link->cursor.position, 4);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 4, true, &next), SUBS_FENCED);
}

Test(subs_model, a_callback_before_the_answer_outranks_a_failed_one)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);

    link_at(subscription, "a", 0);
    append("a", 4);
    issue();
    cr_expect_eq(ack(subscription, 1, "w1", NULL, 0, false, NULL), SUBS_OK);
    subs_model_outcome(model, subscription, 1, SUBS_FAILED, 0, now_ms);
    cr_expect_eq(subscription->state.phase, SUBS_LEASED);
}

Test(subs_model, a_worker_that_got_a_failed_delivery_can_still_finish)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);
    bool next = true;

    link_at(subscription, "a", 0);
    append("a", 1);
    issue();
    subs_model_outcome(model, subscription, 1, SUBS_FAILED, 0, now_ms);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 1, true, &next), SUBS_OK);
    cr_expect_not(next);
    cr_expect_eq(subscription->state.phase, SUBS_IDLE);
    cr_expect_eq(subs_model_due(model), SUBS_NEVER);
}

Test(subs_model, an_ended_lease_wakes_again_and_fences_the_worker)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);

    link_at(subscription, "a", 0);
    append("a", 1);
    issue();
    subs_model_outcome(model, subscription, 1, SUBS_DELIVERED, 0, now_ms);
    pass(LEASE_MS);
    cr_expect_eq(subscription->state.phase, SUBS_READY);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 1, true, NULL), SUBS_FENCED);
    issue();
    cr_expect_eq(subscription->state.generation, 2);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 1, true, NULL), SUBS_FENCED);
    cr_expect_eq(ack(subscription, 2, "w1", "a", 1, true, NULL), SUBS_FENCED);
    cr_expect_eq(ack(subscription, 1, "w2", "a", 1, true, NULL), SUBS_FENCED);
    cr_expect_eq(ack(subscription, 2, "w2", "a", 1, true, NULL), SUBS_OK);
}

Test(subs_model, wakes_that_move_no_cursor_slow_down)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);

    link_at(subscription, "a", 0);
    append("a", 1);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(subs_model_claim(model, subscription, STR("w"), "id", now_ms), SUBS_OK);
        cr_assert_eq(subs_model_release(model, subscription, subscription->state.generation,
                                        str_c(subscription->state.wake_id), now_ms),
                     SUBS_OK);
        cr_expect_eq(subscription->state.phase, i == 0 ? SUBS_READY : SUBS_BACKOFF);
    }
    cr_expect_eq(subs_model_due(model), now_ms + 2000);
    cr_expect_not(subscription->state.failed);
}

Test(subs_model, one_worker_claims_and_the_others_are_told_who)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);

    link_at(subscription, "a", 0);
    cr_expect_eq(subs_model_claim(model, subscription, STR("w"), "id", now_ms), SUBS_NO_WORK);
    append("a", 1);
    issue();
    cr_expect_eq(subs_model_claim(model, subscription, STR("one"), "other", now_ms), SUBS_OK);
    cr_expect_str_eq(subscription->state.wake_id, "w1");
    cr_expect_eq(subs_model_claim(model, subscription, STR("two"), "id", now_ms), SUBS_HELD);
    cr_expect_str_eq(subscription->state.holder, "one");
    pass(LEASE_MS);
    cr_expect_eq(subs_model_claim(model, subscription, STR("two"), "id2", now_ms), SUBS_OK);
    cr_expect_eq(subscription->state.generation, 2);
    cr_expect_str_eq(subscription->state.wake_id, "id2");
}

Test(subs_model, a_claim_needs_no_wake_event)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);

    link_at(subscription, "a", 0);
    append("a", 1);
    cr_expect_eq(subs_model_claim(model, subscription, STR("one"), "x", now_ms), SUBS_OK);
    cr_expect_null(subs_model_ready(model, true));
    cr_expect_eq(subscription->state.generation, 1);
}

Test(subs_model, an_event_that_nobody_claims_needs_no_second_one)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);

    link_at(subscription, "a", 0);
    append("a", 1);
    issue();
    subs_model_outcome(model, subscription, 1, SUBS_DELIVERED, 0, now_ms);
    pass(INT64_C(3600000));
    cr_expect_eq(subscription->state.phase, SUBS_WAKING);
    cr_expect_eq(subs_model_due(model), SUBS_NEVER);
}

Test(subs_model, acks_are_all_or_none_and_never_go_back)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);
    SubsLink *a = link_at(subscription, "a", 0);
    SubsLink *b = link_at(subscription, "b", 0);
    char good[OFFSET_OWN_BYTES + 1];
    char bad[OFFSET_OWN_BYTES + 1];
    bool next;
    Error err;

    append("a", 5);
    append("b", 5);
    cr_assert_eq(subs_model_claim(model, subscription, STR("w"), "w1", now_ms), SUBS_OK);
    offset_format((Offset){.era = 1, .position = 3}, good);
    offset_format((Offset){.era = 1, .position = 6}, bad);
    SubsAck acks[] = {{STR("a"), str_c(good)}, {STR("b"), str_c(bad)}};
    cr_expect_eq(
        subs_model_ack(model, subscription, 1, STR("w1"), acks, 2, true, now_ms, &next, &err),
        SUBS_BAD_OFFSET);
    cr_expect_eq(a->cursor.position, 0);
    cr_expect_eq(b->cursor.position, 0);
    cr_expect_eq(subscription->state.phase, SUBS_LEASED);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 4, false, NULL), SUBS_OK);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 3, false, NULL), SUBS_OK);
    cr_expect_eq(a->cursor.position, 4);
    cr_expect_eq(ack(subscription, 1, "w1", "c", 0, false, NULL), SUBS_BAD_OFFSET);
}

Test(subs_model, acks_of_another_stream_of_that_name_are_refused)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);
    SubsLink *link = link_at(subscription, "a", 3);
    SubsTail anew = tail_of(2, 9);

    subs_model_stream_is(model, link->stream, &anew, now_ms);
    cr_expect_eq(link->cursor.position, 0);
    cr_expect_eq(link->cursor.era, 2);
    cr_assert_eq(subs_model_claim(model, subscription, STR("w"), "w1", now_ms), SUBS_OK);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 3, false, NULL), SUBS_BAD_OFFSET);
}

Test(subs_model, a_fork_takes_its_parents_offsets_up_to_where_it_begins)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);
    SubsTail at = {.id = 3, .era = 3, .origin = 2, .tail = 5};
    SubsLink *link = NULL;

    cr_assert_eq(subs_model_link(model, subscription, STR("a"), true, &at, true, now_ms, &link),
                 SUBS_OK);
    cr_assert_eq(subs_model_claim(model, subscription, STR("w"), "w1", now_ms), SUBS_OK);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 2, false, NULL), SUBS_OK);
    cr_expect_eq(ack(subscription, 1, "w1", "a", 3, false, NULL), SUBS_BAD_OFFSET);
    cr_expect_eq(link->cursor.position, 2);
}

Test(subs_model, the_same_stream_with_new_offsets_keeps_its_cursor_within_them)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);
    SubsLink *link = link_at(subscription, "a", 8);
    SubsTail lost = {.id = 1, .era = 9, .tail = 6};

    subs_model_stream_is(model, link->stream, &lost, now_ms);
    cr_expect_eq(link->cursor.position, 6);
    cr_expect_eq(link->cursor.era, 9);
    cr_expect_not(link->pending);
}

Test(subs_model, a_deleted_stream_ends_glob_links_and_resets_explicit_ones)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);
    SubsTail at = tail_of(1, 5);
    SubsLink *link;

    link_at(subscription, "e", 2);
    cr_assert_eq(subs_model_link(model, subscription, STR("g"), false, &at, true, now_ms, NULL),
                 SUBS_OK);
    cr_expect_eq(subscription->state.phase, SUBS_READY);
    subs_model_stream_gone(model, subs_model_stream(model, STR("g")), now_ms);
    cr_expect_eq(subscription->state.phase, SUBS_IDLE);
    cr_expect_null(subs_link_find(subscription, STR("g")));
    cr_expect_null(subs_model_stream(model, STR("g")));
    subs_model_stream_gone(model, subs_model_stream(model, STR("e")), now_ms);
    link = subs_link_find(subscription, STR("e"));
    cr_assert_not_null(link);
    cr_expect_not(link->cursor.placed);
    at = tail_of(7, 4);
    subs_model_stream_is(model, link->stream, &at, now_ms);
    cr_expect_eq(link->cursor.position, 0);
    cr_expect(link->pending);
}

Test(subs_model, an_explicit_link_outranks_and_outlives_a_glob_link)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);
    SubsTail at = tail_of(1, 5);
    SubsLink *link = link_at(subscription, "a", 5);

    subs_model_link(model, subscription, STR("a"), false, &at, true, now_ms, NULL);
    cr_expect_eq(subscription->link_count, 1);
    subs_model_unlink(model, subscription, STR("a"), true, now_ms);
    cr_expect_eq(subs_link_find(subscription, STR("a")), link);
    cr_expect_not(link->cursor.is_explicit);
    subs_model_unlink(model, subscription, STR("a"), true, now_ms);
    cr_expect_eq(subs_link_find(subscription, STR("a")), link);
    subs_model_unlink(model, subscription, STR("a"), false, now_ms);
    cr_expect_null(subs_link_find(subscription, STR("a")));
}

Test(subs_model, limits_hold_for_subscriptions_and_for_streams)
{
    Subscription *subscription = NULL;
    SubsDefinition *one_more = definition_of("more", SUBS_WEBHOOK);
    SubsTail at = tail_of(1, 0);
    char text[16];

    for (int i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof(text), "s%d", i);
        subscription = add(text, SUBS_WEBHOOK);
    }
    cr_expect_eq(subs_model_create(model, one_more, &subscription), SUBS_TOO_MANY);
    subs_definition_drop(one_more);
    subscription = subs_model_find(model, STR("s3"));
    for (int i = 0; i < 5; i++) {
        (void)snprintf(text, sizeof(text), "p%d", i);
        link_at(subscription, text, 0);
    }
    cr_expect_eq(subs_model_link(model, subscription, STR("more"), true, &at, false, now_ms, NULL),
                 SUBS_TOO_MANY);
    cr_expect_eq(subs_model_link(model, subscription, STR("p1"), true, &at, false, now_ms, NULL),
                 SUBS_OK);
}

Test(subs_model, a_clock_set_back_does_not_prolong_leases_and_waits)
{
    Subscription *leased = add("l", SUBS_PULL_WAKE);
    Subscription *waiting = add("w", SUBS_WEBHOOK);

    link_at(leased, "a", 0);
    link_at(waiting, "a", 0);
    append("a", 1);
    cr_assert_eq(subs_model_claim(model, leased, STR("w"), "w1", now_ms), SUBS_OK);
    issue();
    subs_model_outcome(model, waiting, 1, SUBS_FAILED, 0, now_ms);
    pass(0);
    pass(-500000);
    cr_expect_eq(leased->state.lease_until_ms, now_ms + LEASE_MS);
    cr_expect_leq(waiting->state.next_attempt_ms, now_ms + 72000);
}

Test(subs_model, pull_wakes_do_not_wait_for_room_for_webhooks)
{
    Subscription *webhook = add("a", SUBS_WEBHOOK);
    Subscription *pull = add("b", SUBS_PULL_WAKE);

    link_at(webhook, "x", 0);
    cr_expect_null(subs_model_ready(model, false));
    append("x", 1);
    cr_expect_null(subs_model_ready(model, false));
    link_at(pull, "x", 0);
    append("x", 2);
    cr_expect_eq(subs_model_ready(model, false), pull);
    cr_expect_eq(subs_model_ready(model, true), pull);
}

Test(subs_model, changes_are_told_once_in_order_and_restore_what_was)
{
    Subscription *subscription = add("s", SUBS_PULL_WAKE);
    SubsLimits limits = {.subscriptions = 10, .streams_per_subscription = 5};
    SubsModel *other = subs_model_new(&limits, no_random);
    Subscription *restored = NULL;
    SubsChanges changes;
    SubsTail at = tail_of(1, 6);

    link_at(subscription, "a", 2);
    append("a", 6);
    cr_assert_eq(subs_model_claim(model, subscription, STR("w"), "w1", now_ms), SUBS_OK);
    cr_assert_eq(ack(subscription, 1, "w1", "a", 4, false, NULL), SUBS_OK);
    subs_model_changes(model, &changes);
    cr_expect_eq(subs_model_unsaved(model), 0);
    cr_assert_gt(changes.count, 3);
    cr_expect_eq(changes.items[0].kind, SUBS_CHANGE_CREATE);
    const SubsChange *last_state = NULL;
    const SubsChange *last_link = NULL;
    for (size_t i = 0; i < changes.count; i++) {
        last_state = changes.items[i].kind == SUBS_CHANGE_STATE ? &changes.items[i] : last_state;
        last_link = changes.items[i].kind == SUBS_CHANGE_LINK ? &changes.items[i] : last_link;
    }
    restored = subs_model_restore(other, definition_of("s", SUBS_PULL_WAKE), &last_state->state);
    subs_model_link_restore(other, restored, str_c(last_link->path), &last_link->cursor);
    subs_changes_done(&changes);
    subs_model_stream_is(other, subs_model_stream(other, STR("a")), &at, now_ms);
    subs_model_start(other, now_ms);
    cr_expect_eq(restored->state.phase, SUBS_LEASED);
    cr_expect_eq(subs_link_find(restored, STR("a"))->cursor.position, 4);
    cr_expect_eq(restored->pending, 1);
    subs_model_tick(other, now_ms + LEASE_MS);
    cr_expect_eq(restored->state.phase, SUBS_READY);
    subs_model_free(other);
}

Test(subs_model, after_a_restart_a_retry_keeps_its_time_and_an_unsure_event_comes_again)
{
    SubsState waiting = {.phase = SUBS_BACKOFF,
                         .generation = 3,
                         .attempts = 2,
                         .failed = true,
                         .next_attempt_ms = BEGIN_MS + 1500};
    SubsState unsure = {.phase = SUBS_WAKING, .generation = 8};
    SubsCursor cursor = {.is_explicit = true, .placed = true, .id = 1, .era = 1};
    Subscription *w = subs_model_restore(model, definition_of("w", SUBS_WEBHOOK), &waiting);
    Subscription *p = subs_model_restore(model, definition_of("p", SUBS_PULL_WAKE), &unsure);

    subs_model_link_restore(model, w, STR("a"), &cursor);
    subs_model_link_restore(model, p, STR("a"), &cursor);
    append("a", 1);
    subs_model_start(model, now_ms);
    cr_expect_eq(w->state.phase, SUBS_BACKOFF);
    cr_expect_eq(subs_model_due(model), BEGIN_MS + 1500);
    cr_expect_eq(subs_model_ready(model, true), p);
    issue();
    cr_expect_eq(p->state.generation, 9);
}

Test(subs_model, no_phase_leads_to_itself_but_a_wait)
{
    for (int from = 0; from < SUBS_PHASE_COUNT; from++) {
        cr_expect_eq(subs_phase_may_follow((SubsPhase)from, (SubsPhase)from), from == SUBS_BACKOFF);
    }
    cr_expect_not(subs_phase_may_follow(SUBS_IDLE, SUBS_WAKING));
    cr_expect_not(subs_phase_may_follow(SUBS_LEASED, SUBS_WAKING));
}

Test(subs_model, a_deleted_subscription_leaves_nothing)
{
    Subscription *subscription = add("s", SUBS_WEBHOOK);

    link_at(subscription, "a", 0);
    append("a", 1);
    subs_model_delete(model, subscription);
    cr_expect_null(subs_model_find(model, STR("s")));
    cr_expect_null(subs_model_stream(model, STR("a")));
    cr_expect_null(subs_model_ready(model, true));
    cr_expect_eq(subs_model_links(model), 0);
    cr_expect_eq(add("s", SUBS_WEBHOOK)->definition->serial, 2);
}

Test(subs_model, a_wake_is_of_a_thousand_streams_and_the_next_one_of_the_rest)
{
    SubsLimits limits = {.subscriptions = 1, .streams_per_subscription = 2000};
    Subscription *subscription;
    char path[16];

    subs_model_free(model);
    model = subs_model_new(&limits, no_random);
    subscription = add("s", SUBS_WEBHOOK);
    for (int i = 0; i < SUBS_WAKE_STREAMS_MAX + 1; i++) {
        (void)snprintf(path, sizeof(path), "%05d", i);
        link_at(subscription, path, 0);
        append(path, 1);
    }
    issue();
    subs_model_outcome(model, subscription, 1, SUBS_DONE, 0, now_ms);
    cr_expect_eq(subscription->pending, 1);
    issue();
    subs_model_outcome(model, subscription, 2, SUBS_DONE, 0, now_ms);
    cr_expect_eq(subscription->pending, 0);
}
