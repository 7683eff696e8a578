/* SPDX-License-Identifier: Apache-2.0 */
#include "server/producer.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "common/mem.h"

struct Producer {
    RB_ENTRY(Producer) by_id;
    TAILQ_ENTRY(Producer) by_age;
    int64_t used_ms;
    uint64_t epoch;
    uint64_t seq;
    uint64_t turn;
    Str id; /* the bytes stand behind the struct */
};

typedef RB_HEAD(ProducerTree, Producer) ProducerTree;
typedef TAILQ_HEAD(ProducerList, Producer) ProducerList;

struct Producers {
    ProducerTree tree;
    ProducerList oldest_first;
    size_t count;
    size_t count_max;
    uint64_t last_turn;
};

static int
producer_cmp(const Producer *a, const Producer *b)
{
    return str_cmp(a->id, b->id);
}

RB_GENERATE_INTERNAL(ProducerTree, Producer, by_id, producer_cmp, DS_UNUSED static)

Producers *
producers_new(size_t count_max)
{
    Producers *producers = mem_zalloc(sizeof(*producers));

    DS_ASSERT(count_max > 0);
    RB_INIT(&producers->tree);
    TAILQ_INIT(&producers->oldest_first);
    producers->count_max = count_max;
    return producers;
}

static void
unlink_producer(Producers *producers, Producer *producer)
{
    RB_REMOVE(ProducerTree, &producers->tree, producer);
    TAILQ_REMOVE(&producers->oldest_first, producer, by_age);
    producers->count--;
}

static void
link_newest(Producers *producers, Producer *producer)
{
    RB_INSERT(ProducerTree, &producers->tree, producer);
    TAILQ_INSERT_TAIL(&producers->oldest_first, producer, by_age);
    producers->count++;
}

void
producers_free(Producers *producers)
{
    Producer *producer;

    if (producers == NULL) {
        return;
    }
    while ((producer = TAILQ_FIRST(&producers->oldest_first)) != NULL) {
        unlink_producer(producers, producer);
        free(producer);
    }
    free(producers);
}

static Producer *
find(const Producers *producers, Str id)
{
    Producer key = {.id = id};

    /* RB_FIND only reads, but its declaration does not say so. */
    return RB_FIND(ProducerTree, (ProducerTree *)(uintptr_t)&producers->tree, &key);
}

static bool
has_place(const Producers *producers, int64_t now_ms)
{
    return producers == NULL || producers->count < producers->count_max ||
           now_ms - TAILQ_FIRST(&producers->oldest_first)->used_ms > PRODUCER_KEPT_MS;
}

ProducerVerdict
producers_judge(const Producers *producers, ProducerTag tag, int64_t now_ms, ProducerState *out)
{
    const Producer *kept = producers == NULL ? NULL : find(producers, tag.id);
    const Producer *known = kept;

    if (known != NULL && now_ms - known->used_ms > PRODUCER_IDLE_MS_MAX) {
        known = NULL;
    }
    *out = (ProducerState){.epoch = known == NULL ? tag.epoch : known->epoch};
    if (known != NULL && tag.epoch < known->epoch) {
        return PRODUCER_STALE_EPOCH;
    }
    if (known != NULL && tag.epoch > known->epoch) {
        return tag.seq == 0 ? PRODUCER_ACCEPT : PRODUCER_EPOCH_NOT_ZERO;
    }
    if (known != NULL && tag.seq <= known->seq) {
        out->seq = known->seq;
        return PRODUCER_DUPLICATE;
    }
    out->expected = known == NULL ? 0 : known->seq + 1;
    if (tag.seq != out->expected) {
        return PRODUCER_GAP;
    }
    return kept != NULL || has_place(producers, now_ms) ? PRODUCER_ACCEPT : PRODUCER_TOO_MANY;
}

static Producer *
producer_new(Str id)
{
    Producer *producer = mem_alloc(sizeof(*producer) + id.len);

    memcpy(producer + 1, id.ptr, id.len);
    producer->id = str_n(producer + 1, id.len);
    return producer;
}

/* The one that makes place for another, taken out, or NULL. */
static Producer *
take_forgotten(Producers *producers, int64_t now_ms)
{
    Producer *oldest = TAILQ_FIRST(&producers->oldest_first);

    if (oldest == NULL || (producers->count < producers->count_max &&
                           now_ms - oldest->used_ms <= PRODUCER_IDLE_MS_MAX)) {
        return NULL;
    }
    unlink_producer(producers, oldest);
    return oldest;
}

void
producers_accept(Producers *producers, ProducerTag tag, int64_t now_ms, ProducerUndo *undo)
{
    Producer *producer = find(producers, tag.id);
    Producer *forgotten = NULL;
    bool is_new = producer == NULL;

    if (is_new) {
        forgotten = take_forgotten(producers, now_ms);
        producer = producer_new(tag.id);
        link_newest(producers, producer);
    }
    if (undo == NULL) {
        free(forgotten);
    } else {
        *undo = (ProducerUndo){.accepted = producer, .forgotten = forgotten, .is_new = is_new};
        if (!is_new) {
            undo->before = TAILQ_PREV(producer, ProducerList, by_age);
            undo->used_ms = producer->used_ms;
            undo->epoch = producer->epoch;
            undo->seq = producer->seq;
            undo->turn = producer->turn;
        }
    }
    if (!is_new) {
        TAILQ_REMOVE(&producers->oldest_first, producer, by_age);
        TAILQ_INSERT_TAIL(&producers->oldest_first, producer, by_age);
    }
    producer->used_ms = now_ms;
    producer->epoch = tag.epoch;
    producer->seq = tag.seq;
    producer->turn = ++producers->last_turn;
}

/* Undone last first, all stand as they did right after the accept: so `before` is still there. */
void
producers_undo(Producers *producers, ProducerUndo *undo)
{
    Producer *producer = undo->accepted;

    if (undo->is_new) {
        unlink_producer(producers, producer);
        free(producer);
    } else {
        TAILQ_REMOVE(&producers->oldest_first, producer, by_age);
        if (undo->before == NULL) {
            TAILQ_INSERT_HEAD(&producers->oldest_first, producer, by_age);
        } else {
            TAILQ_INSERT_AFTER(&producers->oldest_first, undo->before, producer, by_age);
        }
        producer->used_ms = undo->used_ms;
        producer->epoch = undo->epoch;
        producer->seq = undo->seq;
        producer->turn = undo->turn;
    }
    if (undo->forgotten != NULL) {
        RB_INSERT(ProducerTree, &producers->tree, undo->forgotten);
        TAILQ_INSERT_HEAD(&producers->oldest_first, undo->forgotten, by_age);
        producers->count++;
    }
    *undo = (ProducerUndo){0};
}

void
producer_undo_done(ProducerUndo *undo)
{
    free(undo->forgotten);
    *undo = (ProducerUndo){0};
}

size_t
producers_count(const Producers *producers)
{
    return producers == NULL ? 0 : producers->count;
}

/* ---- to keep them over a restart ---- */

size_t
producers_export(const Producers *producers, uint64_t after_turn, ProducerRecord *out, size_t room)
{
    const Producer *producer;
    size_t count = 0;

    if (producers == NULL) {
        return 0;
    }
    TAILQ_FOREACH_REVERSE(producer, &producers->oldest_first, ProducerList, by_age)
    {
        if (producer->turn <= after_turn) {
            break;
        }
        if (count < room) {
            out[room - 1 - count] = (ProducerRecord){.id = producer->id,
                                                     .epoch = producer->epoch,
                                                     .seq = producer->seq,
                                                     .used_ms = producer->used_ms,
                                                     .turn = producer->turn};
        }
        count++;
    }
    if (count < room) {
        memmove(out, out + room - count, count * sizeof(*out));
    }
    return count;
}

uint64_t
producers_first_turn(const Producers *producers)
{
    const Producer *oldest = producers == NULL ? NULL : TAILQ_FIRST(&producers->oldest_first);

    return oldest == NULL ? producers_last_turn(producers) + 1 : oldest->turn;
}

uint64_t
producers_last_turn(const Producers *producers)
{
    return producers == NULL ? 0 : producers->last_turn;
}

void
producers_restore(Producers *producers, const ProducerRecord *record)
{
    Producer *producer;

    DS_ASSERT(record->turn > producers->last_turn && find(producers, record->id) == NULL);
    if (producers->count == producers->count_max) {
        Producer *oldest = TAILQ_FIRST(&producers->oldest_first);

        unlink_producer(producers, oldest);
        free(oldest);
    }
    producer = producer_new(record->id);
    producer->used_ms = record->used_ms;
    producer->epoch = record->epoch;
    producer->seq = record->seq;
    producer->turn = record->turn;
    producers->last_turn = record->turn;
    link_newest(producers, producer);
}
