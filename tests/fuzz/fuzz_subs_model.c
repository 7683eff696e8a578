/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_subs_model.c -- whatever happens in whatever order: cursors never go back, a
 * generation never comes twice, of two workers with the same lease one is fenced, and what was told
 * to be stored restores the same cursors.
 *
 * Each byte is one thing that happens; its high bits choose the subscription and the stream.
 */
#include "server/subs_model.h"

#include "common/stream_glob.h"

#define SUBSCRIPTIONS 2
#define STREAMS       3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct World {
    SubsModel *model;
    int64_t now_ms;
    uint64_t tails[STREAMS];
    uint64_t ids[STREAMS];
    uint64_t generations[SUBSCRIPTIONS];
    uint64_t next_id;
} World;

static const char *const ids[SUBSCRIPTIONS] = {"hook", "pull"};
static const char *const paths[STREAMS] = {"a", "b", "c"};

static uint32_t
random_half(uint32_t bound)
{
    return bound / 2;
}

static SubsTail
tail_of(const World *world, size_t stream)
{
    return (SubsTail){
        .id = world->ids[stream], .era = world->ids[stream], .tail = world->tails[stream]};
}

static Subscription *
subscription_of(World *world, size_t which)
{
    Subscription *subscription = subs_model_find(world->model, str_c(ids[which]));
    SubsDefinition *definition;
    SubsVerdict verdict;

    if (subscription == NULL) {
        definition = subs_definition_new();
        definition->id = str_dup(str_c(ids[which]));
        definition->type = which == 0 ? SUBS_WEBHOOK : SUBS_PULL_WAKE;
        definition->lease_ms = 1000;
        verdict = subs_model_create(world->model, definition, &subscription);
        DS_ASSERT(verdict == SUBS_OK);
        world->generations[which] = 0;
    }
    return subscription;
}

static void
tell_stream(World *world, size_t which)
{
    SubsStream *stream = subs_model_stream(world->model, str_c(paths[which]));
    SubsTail at = tail_of(world, which);

    if (stream == NULL) {
        return;
    }
    if (world->ids[which] == 0) {
        subs_model_stream_gone(world->model, stream, world->now_ms);
    } else {
        subs_model_stream_is(world->model, stream, &at, world->now_ms);
    }
}

static void
ack(World *world, Subscription *subscription, size_t stream, bool stale, bool done)
{
    char offset[OFFSET_OWN_BYTES + 1];
    SubsAck one = {str_c(paths[stream]), STR_EMPTY};
    const SubsState *state = &subscription->state;
    bool next = false;
    Error err;
    SubsVerdict verdict;

    offset_format((Offset){.era = world->ids[stream], .position = world->tails[stream]}, offset);
    one.offset = str_c(offset);
    verdict = subs_model_ack(world->model, subscription, state->generation - (stale ? 1 : 0),
                             str_c(state->wake_id), &one, 1, done, world->now_ms, &next, &err);
    DS_ASSERT(!stale || verdict == SUBS_FENCED);
}

/* Things that happen to links, streams and the clock. */
static void
happen_outside(World *world, Subscription *subscription, size_t stream, uint8_t byte)
{
    SubsTail at = tail_of(world, stream);
    bool exists = world->ids[stream] != 0;

    switch (byte & 15) {
    case 0:
    case 1:
        (void)subs_model_link(world->model, subscription, str_c(paths[stream]), byte & 1,
                              exists ? &at : NULL, !(byte & 1), world->now_ms, NULL);
        break;
    case 2:
    case 3:
        subs_model_unlink(world->model, subscription, str_c(paths[stream]), byte & 1,
                          world->now_ms);
        break;
    case 4:
        world->tails[stream] += exists;
        tell_stream(world, stream);
        break;
    case 5:
        world->ids[stream] = exists && (byte & 16) ? 0 : ++world->next_id;
        world->tails[stream] = 0;
        tell_stream(world, stream);
        break;
    default:
        world->now_ms += byte & 16 ? 100 : 5000;
        subs_model_tick(world->model, world->now_ms);
        break;
    }
}

/* Things that are done with wakes. */
static void
happen_inside(World *world, Subscription *subscription, size_t stream, uint8_t byte)
{
    switch (byte & 15) {
    case 7:
        if ((subscription = subs_model_ready(world->model, byte & 16)) != NULL) {
            subs_model_issue(world->model, subscription, "w_issued", world->now_ms);
        }
        break;
    case 8:
    case 9:
    case 10:
        subs_model_outcome(world->model, subscription, subscription->state.generation,
                           (SubsOutcome)((byte & 15) - 8), 0, world->now_ms);
        break;
    case 11:
        (void)subs_model_claim(world->model, subscription, STR("worker"), "w_claimed",
                               world->now_ms);
        break;
    case 12:
    case 13:
        ack(world, subscription, stream, byte & 1, byte & 16);
        break;
    case 14:
        (void)subs_model_release(world->model, subscription, subscription->state.generation,
                                 str_c(subscription->state.wake_id), world->now_ms);
        break;
    default:
        if (byte & 16) {
            subs_model_delete(world->model, subscription);
        }
        break;
    }
}

static void
happen(World *world, uint8_t byte)
{
    Subscription *subscription = subscription_of(world, (byte >> 7) & 1);
    size_t stream = ((byte >> 5) & 3) % STREAMS;

    if ((byte & 15) <= 6) {
        happen_outside(world, subscription, stream, byte);
    } else {
        happen_inside(world, subscription, stream, byte);
    }
}

static void
check_link(const SubsLink *link)
{
    const SubsStream *stream = link->stream;

    DS_ASSERT(link->cursor.is_explicit || link->cursor.is_glob);
    DS_ASSERT(!stream->exists || !link->cursor.placed ||
              (link->cursor.era == stream->at.era && link->cursor.position <= stream->at.tail));
    DS_ASSERT(link->pending ==
              (stream->exists && link->cursor.placed && stream->at.tail > link->cursor.position));
}

static void
check(World *world)
{
    for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
        Subscription *subscription = subs_model_find(world->model, str_c(ids[i]));
        SubsLink *link = NULL;
        size_t pending = 0;

        if (subscription == NULL) {
            continue;
        }
        while ((link = subs_link_next(subscription, link)) != NULL) {
            check_link(link);
            pending += link->pending;
        }
        DS_ASSERT(pending == subscription->pending);
        DS_ASSERT(subscription->state.phase != SUBS_IDLE || pending == 0);
        DS_ASSERT(subscription->state.phase != SUBS_READY || pending > 0);
        DS_ASSERT(subscription->state.generation >= world->generations[i]);
        world->generations[i] = subscription->state.generation;
    }
}

/* The cursors that the changes leave, against those of the model. */
static void
check_stored(World *world)
{
    SubsChanges changes;
    size_t links = 0;

    subs_model_changes(world->model, &changes);
    for (size_t i = 0; i < SUBSCRIPTIONS; i++) {
        Subscription *subscription = subs_model_find(world->model, str_c(ids[i]));
        SubsLink *link = NULL;

        while (subscription != NULL && (link = subs_link_next(subscription, link)) != NULL) {
            const SubsChange *last = NULL;

            links++;
            for (size_t k = 0; k < changes.count; k++) {
                const SubsChange *change = &changes.items[k];

                if (change->definition == subscription->definition && change->path != NULL &&
                    str_eq(str_c(change->path), link->stream->path)) {
                    last = change;
                }
            }
            DS_ASSERT(last != NULL && last->kind == SUBS_CHANGE_LINK &&
                      last->cursor.position == link->cursor.position &&
                      last->cursor.is_explicit == link->cursor.is_explicit &&
                      last->cursor.placed == link->cursor.placed);
        }
    }
    DS_ASSERT(links == subs_model_links(world->model));
    subs_changes_done(&changes);
}

/* What a pattern matches begins with its prefix; a name matches itself. */
static void
check_glob(Str text)
{
    Str pattern;
    Str path;
    Error err;

    (void)str_cut(text, '\n', &pattern, &path);
    if (stream_glob_check(pattern, &err)) {
        if (stream_glob_match(pattern, path)) {
            DS_ASSERT(str_starts(path, stream_glob_prefix(pattern)));
        }
        DS_ASSERT(stream_glob_match(pattern, pattern));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SubsLimits limits = {.subscriptions = SUBSCRIPTIONS, .streams_per_subscription = 2};
    World world = {.now_ms = 1000000};

    if (size > 4096) {
        return 0;
    }
    check_glob(str_n(data, size));
    world.model = subs_model_new(&limits, random_half);
    for (size_t i = 0; i < size; i++) {
        happen(&world, data[i]);
        check(&world);
    }
    check_stored(&world);
    subs_model_free(world.model);
    return 0;
}
