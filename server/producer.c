/* SPDX-License-Identifier: Apache-2.0 */
#include "server/producer.h"

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "common/mem.h"

typedef struct Producer {
    RB_ENTRY(Producer) by_id;
    TAILQ_ENTRY(Producer) by_age;
    int64_t used_ms;
    uint64_t epoch;
    uint64_t seq;
    Str id; /* the bytes stand behind the struct */
} Producer;

typedef RB_HEAD(ProducerTree, Producer) ProducerTree;
typedef TAILQ_HEAD(ProducerList, Producer) ProducerList;

struct Producers {
    ProducerTree tree;
    ProducerList oldest_first;
    size_t count;
    size_t count_max;
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
forget(Producers *producers, Producer *producer)
{
    RB_REMOVE(ProducerTree, &producers->tree, producer);
    TAILQ_REMOVE(&producers->oldest_first, producer, by_age);
    producers->count--;
    free(producer);
}

void
producers_free(Producers *producers)
{
    Producer *producer;

    if (producers == NULL) {
        return;
    }
    while ((producer = TAILQ_FIRST(&producers->oldest_first)) != NULL) {
        forget(producers, producer);
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

void
producers_accept(Producers *producers, ProducerTag tag, int64_t now_ms)
{
    Producer *producer = find(producers, tag.id);
    Producer *oldest = TAILQ_FIRST(&producers->oldest_first);

    if (producer == NULL) {
        if (oldest != NULL && (producers->count >= producers->count_max ||
                               now_ms - oldest->used_ms > PRODUCER_IDLE_MS_MAX)) {
            forget(producers, oldest);
        }
        producer = mem_alloc(sizeof(*producer) + tag.id.len);
        memcpy(producer + 1, tag.id.ptr, tag.id.len);
        producer->id = str_n(producer + 1, tag.id.len);
        RB_INSERT(ProducerTree, &producers->tree, producer);
        producers->count++;
    } else {
        TAILQ_REMOVE(&producers->oldest_first, producer, by_age);
    }
    TAILQ_INSERT_TAIL(&producers->oldest_first, producer, by_age);
    producer->used_ms = now_ms;
    producer->epoch = tag.epoch;
    producer->seq = tag.seq;
}

size_t
producers_count(const Producers *producers)
{
    return producers == NULL ? 0 : producers->count;
}
