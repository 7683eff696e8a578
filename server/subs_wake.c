/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_wake.c -- the states of a subscription: wakes, leases, acks, retries.
 */
#include <bsd/string.h>

#include "server/subs_model_internal.h"

/* Earlier than the latest time told by more than this, the clock was set back. */
#define CLOCK_BACK_MS 2000

int subs_due_cmp(const Subscription *a, const Subscription *b);

int
subs_due_cmp(const Subscription *a, const Subscription *b)
{
    if (a->due_ms != b->due_ms) {
        return a->due_ms < b->due_ms ? -1 : 1;
    }
    return (a->definition->serial > b->definition->serial) -
           (a->definition->serial < b->definition->serial);
}

RB_GENERATE(SubsByDue, Subscription, by_due, subs_due_cmp)

/* ---- states ---- */

/* DS_BIT of each phase that may follow. */
static const unsigned edges[SUBS_PHASE_COUNT] = {
    [SUBS_IDLE] = DS_BIT(SUBS_READY) | DS_BIT(SUBS_LEASED),
    [SUBS_READY] = DS_BIT(SUBS_IDLE) | DS_BIT(SUBS_WAKING) | DS_BIT(SUBS_LEASED),
    [SUBS_WAKING] =
        DS_BIT(SUBS_IDLE) | DS_BIT(SUBS_READY) | DS_BIT(SUBS_LEASED) | DS_BIT(SUBS_BACKOFF),
    [SUBS_LEASED] = DS_BIT(SUBS_IDLE) | DS_BIT(SUBS_READY) | DS_BIT(SUBS_BACKOFF),
    [SUBS_BACKOFF] =
        DS_BIT(SUBS_IDLE) | DS_BIT(SUBS_READY) | DS_BIT(SUBS_LEASED) | DS_BIT(SUBS_BACKOFF),
};

bool
subs_phase_may_follow(SubsPhase from, SubsPhase to)
{
    return (edges[from] & DS_BIT(to)) != 0;
}

static bool
has_lease(const Subscription *subscription)
{
    SubsPhase phase = subscription->state.phase;

    return phase == SUBS_LEASED ||
           (phase == SUBS_WAKING && subscription->definition->type == SUBS_WEBHOOK);
}

static void
set_due(SubsModel *model, Subscription *subscription)
{
    const SubsState *state = &subscription->state;
    int64_t due_ms = SUBS_NEVER;

    if (has_lease(subscription)) {
        due_ms = state->lease_until_ms;
    } else if (state->phase == SUBS_BACKOFF) {
        due_ms = state->next_attempt_ms;
    }
    if (subscription->due_ms != SUBS_NEVER) {
        RB_REMOVE(SubsByDue, &model->due, subscription);
    }
    subscription->due_ms = due_ms;
    if (due_ms != SUBS_NEVER) {
        RB_INSERT(SubsByDue, &model->due, subscription);
    }
}

static void
enter(SubsModel *model, Subscription *subscription, SubsPhase phase)
{
    struct SubsReady *ready = &model->ready[subscription->definition->type];
    SubsPhase from = subscription->state.phase;

    DS_ASSERT(subs_phase_may_follow(from, phase));
    if (from == SUBS_READY) {
        TAILQ_REMOVE(ready, subscription, in_ready);
    }
    subscription->state.phase = phase;
    if (phase == SUBS_READY) {
        TAILQ_INSERT_TAIL(ready, subscription, in_ready);
    }
    set_due(model, subscription);
    /* Whether there is work is seen again after a restart. */
    if (!(from == SUBS_IDLE && phase == SUBS_READY) &&
        !(from == SUBS_READY && phase == SUBS_IDLE)) {
        subs_note_state(model, subscription);
    }
}

void
subs_forget_wake(SubsModel *model, Subscription *subscription)
{
    if (subscription->state.phase == SUBS_READY) {
        TAILQ_REMOVE(&model->ready[subscription->definition->type], subscription, in_ready);
    }
    if (subscription->due_ms != SUBS_NEVER) {
        RB_REMOVE(SubsByDue, &model->due, subscription);
        subscription->due_ms = SUBS_NEVER;
    }
}

static void
clear_wake(SubsState *state)
{
    state->wake_id[0] = '\0';
    state->holder[0] = '\0';
    state->lease_until_ms = 0;
    state->next_attempt_ms = 0;
    state->progressed = false;
}

static void
rest(SubsModel *model, Subscription *subscription)
{
    SubsState *state = &subscription->state;

    clear_wake(state);
    state->attempts = 0;
    state->failed = false;
    enter(model, subscription, SUBS_IDLE);
}

void
subs_consider(SubsModel *model, Subscription *subscription, int64_t now_ms DS_UNUSED)
{
    SubsPhase phase = subscription->state.phase;

    if (phase == SUBS_IDLE && subscription->pending > 0) {
        enter(model, subscription, SUBS_READY);
    } else if (phase == SUBS_READY && subscription->pending == 0) {
        rest(model, subscription);
    }
}

int64_t
subs_retry_ms(uint64_t attempts, bool failed, uint32_t (*random)(uint32_t bound))
{
    uint64_t doublings = attempts - (failed ? 1 : 2);
    int64_t delay_ms = SUBS_RETRY_MS_MAX;
    int64_t jitter_ms;

    if (attempts == 0 || (!failed && attempts == 1)) {
        return 0;
    }
    if (doublings < 16) {
        delay_ms = DS_MIN(delay_ms, (int64_t)SUBS_RETRY_MS_MIN << doublings);
    }
    jitter_ms = delay_ms * SUBS_RETRY_JITTER / 100;
    return delay_ms - jitter_ms + (int64_t)random((uint32_t)(2 * jitter_ms + 1));
}

/* A wake is over.  One without any ack makes the next wait, so that nobody is woken in a circle. */
static void
wake_over(SubsModel *model, Subscription *subscription, int64_t now_ms)
{
    SubsState *state = &subscription->state;
    int64_t delay_ms;

    state->attempts = state->progressed ? 0 : state->attempts + 1;
    state->failed = false;
    if (subscription->pending == 0) {
        rest(model, subscription);
        return;
    }
    delay_ms = subs_retry_ms(state->attempts, false, model->random);
    clear_wake(state);
    if (delay_ms == 0) {
        enter(model, subscription, SUBS_READY);
    } else {
        state->next_attempt_ms = now_ms + delay_ms;
        enter(model, subscription, SUBS_BACKOFF);
    }
}

/* The wake stays the current one until the next attempt: its worker may have got it all the same.
 */
static void
wake_failed(SubsModel *model, Subscription *subscription, int64_t retry_ms, int64_t now_ms)
{
    SubsState *state = &subscription->state;
    int64_t delay_ms;

    if (subscription->pending == 0) {
        rest(model, subscription);
        return;
    }
    state->attempts++;
    state->failed = true;
    delay_ms = subs_retry_ms(state->attempts, true, model->random);
    state->next_attempt_ms = now_ms + DS_MAX(delay_ms, DS_MIN(retry_ms, SUBS_RETRY_MS_MAX));
    enter(model, subscription, SUBS_BACKOFF);
}

/* ---- time ---- */

int64_t
subs_model_due(const SubsModel *model)
{
    const Subscription *first = RB_MIN(SubsByDue, (struct SubsByDue *)&model->due);

    return first == NULL ? SUBS_NEVER : first->due_ms;
}

static void
clamp(SubsModel *model, Subscription *subscription, int64_t now_ms)
{
    SubsState *state = &subscription->state;
    int64_t retry_ms_max = SUBS_RETRY_MS_MAX * (100 + SUBS_RETRY_JITTER) / 100;

    state->lease_until_ms =
        DS_MIN(state->lease_until_ms, now_ms + subscription->definition->lease_ms);
    state->next_attempt_ms = DS_MIN(state->next_attempt_ms, now_ms + retry_ms_max);
    set_due(model, subscription);
}

/* The clock was set back: nobody waits for longer than he would have. */
static void
clamp_all(SubsModel *model, int64_t now_ms)
{
    Subscription *subscription;

    for (subscription = subs_model_next(model, STR_EMPTY); subscription != NULL;
         subscription = subs_model_next(model, str_c(subscription->definition->id))) {
        clamp(model, subscription, now_ms);
    }
}

static void
come_due(SubsModel *model, Subscription *subscription, int64_t now_ms)
{
    switch (subscription->state.phase) {
    case SUBS_WAKING:
        wake_failed(model, subscription, 0, now_ms);
        break;
    case SUBS_LEASED:
        wake_over(model, subscription, now_ms);
        break;
    case SUBS_BACKOFF:
        if (subscription->pending == 0) {
            rest(model, subscription);
        } else {
            enter(model, subscription, SUBS_READY);
        }
        break;
    case SUBS_IDLE:
    case SUBS_READY:
    case SUBS_PHASE_COUNT:
        DS_ASSERT(false);
    }
}

void
subs_model_tick(SubsModel *model, int64_t now_ms)
{
    Subscription *subscription;

    if (now_ms < model->last_ms - CLOCK_BACK_MS) {
        clamp_all(model, now_ms);
        model->last_ms = now_ms;
    }
    model->last_ms = DS_MAX(model->last_ms, now_ms);
    while ((subscription = RB_MIN(SubsByDue, &model->due)) != NULL &&
           subscription->due_ms <= now_ms) {
        come_due(model, subscription, now_ms);
    }
}

static void
resume(SubsModel *model, Subscription *subscription, int64_t now_ms)
{
    clamp(model, subscription, now_ms);
    subs_consider(model, subscription, now_ms);
}

void
subs_model_start(SubsModel *model, int64_t now_ms)
{
    Subscription *subscription;

    for (subscription = subs_model_next(model, STR_EMPTY); subscription != NULL;
         subscription = subs_model_next(model, str_c(subscription->definition->id))) {
        resume(model, subscription, now_ms);
    }
    subs_model_tick(model, now_ms);
}

/* ---- wakes ---- */

Subscription *
subs_model_ready(SubsModel *model, bool webhooks)
{
    Subscription *first = TAILQ_FIRST(&model->ready[SUBS_PULL_WAKE]);

    return first == NULL && webhooks ? TAILQ_FIRST(&model->ready[SUBS_WEBHOOK]) : first;
}

static void
begin_wake(Subscription *subscription, const char *wake_id, int64_t now_ms)
{
    SubsState *state = &subscription->state;

    clear_wake(state);
    state->generation++;
    (void)strlcpy(state->wake_id, wake_id, sizeof(state->wake_id));
    state->lease_until_ms = now_ms + subscription->definition->lease_ms;
}

void
subs_model_issue(SubsModel *model, Subscription *subscription, const char *wake_id, int64_t now_ms)
{
    SubsLink *link = NULL;
    size_t count = 0;

    begin_wake(subscription, wake_id, now_ms);
    while ((link = subs_link_next(subscription, link)) != NULL) {
        link->in_snapshot = link->pending && count++ < SUBS_WAKE_STREAMS_MAX;
        link->snapshot_era = link->stream->at.era;
        link->snapshot = link->stream->at.tail;
    }
    enter(model, subscription, SUBS_WAKING);
}

static void
move_cursor(SubsModel *model, SubsLink *link, uint64_t position)
{
    if (position > link->cursor.position) {
        link->cursor.position = position;
        link->subscription->state.progressed = true;
        subs_link_refresh(link);
        subs_note_link(model, link);
    }
}

static void
ack_snapshot(SubsModel *model, Subscription *subscription)
{
    SubsLink *link = NULL;

    while ((link = subs_link_next(subscription, link)) != NULL) {
        if (link->in_snapshot && link->cursor.placed && link->cursor.era == link->snapshot_era) {
            move_cursor(model, link, link->snapshot);
        }
    }
}

void
subs_model_outcome(SubsModel *model, Subscription *subscription, uint64_t generation,
                   SubsOutcome outcome, int64_t retry_ms, int64_t now_ms)
{
    SubsState *state = &subscription->state;

    if (generation != state->generation ||
        (state->phase != SUBS_WAKING && state->phase != SUBS_LEASED)) {
        return;
    }
    if (outcome == SUBS_DONE) {
        ack_snapshot(model, subscription);
        wake_over(model, subscription, now_ms);
    } else if (state->phase == SUBS_LEASED) {
        return; /* the worker has called back meanwhile */
    } else if (outcome == SUBS_FAILED) {
        wake_failed(model, subscription, retry_ms, now_ms);
    } else if (subscription->definition->type == SUBS_WEBHOOK) {
        state->failed = false;
        enter(model, subscription, SUBS_LEASED);
    }
}

SubsVerdict
subs_model_claim(SubsModel *model, Subscription *subscription, Str worker, const char *wake_id,
                 int64_t now_ms)
{
    SubsState *state = &subscription->state;

    if (state->phase == SUBS_LEASED) {
        return SUBS_HELD;
    }
    if (subscription->pending == 0) {
        if (state->phase == SUBS_WAKING) {
            rest(model, subscription);
        }
        return SUBS_NO_WORK;
    }
    if (state->phase != SUBS_WAKING) {
        begin_wake(subscription, wake_id, now_ms);
    }
    DS_ASSERT(worker.len <= SUBS_HOLDER_BYTES_MAX);
    memcpy(state->holder, worker.ptr, worker.len);
    state->holder[worker.len] = '\0';
    state->lease_until_ms = now_ms + subscription->definition->lease_ms;
    state->failed = false;
    enter(model, subscription, SUBS_LEASED);
    return SUBS_OK;
}

/* ---- acks ---- */

static bool
is_current(const Subscription *subscription, uint64_t generation, Str wake_id)
{
    const SubsState *state = &subscription->state;
    bool held = state->phase == SUBS_LEASED ||
                (subscription->definition->type == SUBS_WEBHOOK &&
                 (state->phase == SUBS_WAKING || state->phase == SUBS_BACKOFF));

    return held && state->wake_id[0] != '\0' && generation == state->generation &&
           str_eq(wake_id, str_c(state->wake_id));
}

/* Up to where it was forked, the stream has offsets of its parent, too. */
static bool
is_of_stream(const SubsLink *link, Offset offset)
{
    const SubsTail *at = &link->stream->at;

    return offset.era == link->cursor.era || (at->origin > 0 && offset.position <= at->origin);
}

/* The position to move to; sentinels and the era-less start move nothing. */
static bool
judge_ack(Subscription *subscription, const SubsAck *ack, SubsLink **out_link, uint64_t *out,
          Error *err)
{
    SubsLink *link = subs_link_find(subscription, ack->path);
    Offset offset = {0};

    if (link == NULL || !link->cursor.placed || !link->stream->exists) {
        return error_set(err, ERR_INPUT, "the stream \"%.*s\" is not linked, or does not exist",
                         (int)DS_MIN(ack->path.len, (size_t)200), ack->path.ptr);
    }
    if (!str_eq(ack->offset, STR("-1")) && !offset_parse(ack->offset, &offset)) {
        return error_set(err, ERR_INPUT, "an ack's offset is not one of the stream's");
    }
    if (offset.era == 0 && offset.position == 0) {
        *out = 0;
    } else if (!is_of_stream(link, offset) || offset.position > link->stream->at.tail) {
        return error_set(err, ERR_INPUT,
                         "an ack's offset lies past the end of the stream, or is "
                         "of an earlier stream of that name");
    } else {
        *out = offset.position;
    }
    *out_link = link;
    return true;
}

static bool
apply_acks(SubsModel *model, Subscription *subscription, const SubsAck *acks, size_t count,
           Error *err)
{
    SubsLink *link = NULL;
    uint64_t position = 0;

    for (size_t i = 0; i < count; i++) {
        if (!judge_ack(subscription, &acks[i], &link, &position, err)) {
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        bool ok = judge_ack(subscription, &acks[i], &link, &position, err);

        DS_ASSERT(ok);
        move_cursor(model, link, position);
    }
    return true;
}

SubsVerdict
subs_model_ack(SubsModel *model, Subscription *subscription, uint64_t generation, Str wake_id,
               const SubsAck *acks, size_t count, bool done, int64_t now_ms, bool *out_next,
               Error *err)
{
    SubsState *state = &subscription->state;

    if (!is_current(subscription, generation, wake_id)) {
        return SUBS_FENCED;
    }
    if (!apply_acks(model, subscription, acks, count, err)) {
        return SUBS_BAD_OFFSET;
    }
    *out_next = done && subscription->pending > 0;
    if (done) {
        wake_over(model, subscription, now_ms);
        return SUBS_OK;
    }
    state->lease_until_ms = now_ms + subscription->definition->lease_ms;
    state->failed = false;
    if (state->phase == SUBS_LEASED) {
        set_due(model, subscription);
        subs_note_state(model, subscription);
    } else {
        enter(model, subscription, SUBS_LEASED);
    }
    return SUBS_OK;
}

SubsVerdict
subs_model_release(SubsModel *model, Subscription *subscription, uint64_t generation, Str wake_id,
                   int64_t now_ms)
{
    if (!is_current(subscription, generation, wake_id)) {
        return SUBS_FENCED;
    }
    wake_over(model, subscription, now_ms);
    return SUBS_OK;
}
