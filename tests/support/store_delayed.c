/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/store_delayed.c -- memory mode that behaves like a durable one at its worst.
 *
 * Linked into ds-server-delayed with --wrap=store_memory_new.  Operations are queued; a thread
 * finishes a few of them at a time, after a random delay and not before the file
 * DS_TEST_STORE_GATE, if it is set, exists.
 *
 * ds-server-delayed is ds-server otherwise: what passes against ds-server has to pass against it.
 */
#include <bsd/stdlib.h>
#include <bsd/sys/queue.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "common/mem.h"
#include "server/store_memory.h"

#define DELAY_US_MAX 2000
#define GATE_POLL_US 1000
#define BATCH_MAX    16

Store *__real_store_memory_new(const StoreLimits *limits, Metrics *metrics);
Store *__wrap_store_memory_new(const StoreLimits *limits, Metrics *metrics);

typedef struct Queued {
    STAILQ_ENTRY(Queued) entry;
    StoreOp *op;
} Queued;

STAILQ_HEAD(Queue, Queued);

/* One store per process. */
static struct {
    const StoreTable *memory;
    StoreTable table;
    Store *store;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct Queue queue;
    bool stopping;
} delayed = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .queue = STAILQ_HEAD_INITIALIZER(delayed.queue),
};

static void
sleep_us(long us)
{
    struct timespec pause = {.tv_nsec = us * 1000};

    (void)nanosleep(&pause, NULL);
}

static void
delay(void)
{
    const char *gate = getenv("DS_TEST_STORE_GATE");

    sleep_us((long)arc4random_uniform(DELAY_US_MAX));
    while (gate != NULL && access(gate, F_OK) != 0) {
        sleep_us(GATE_POLL_US);
    }
}

static void
submit(Store *store DS_UNUSED, StoreOp *op)
{
    Queued *queued = mem_zalloc(sizeof(*queued));

    queued->op = op;
    pthread_mutex_lock(&delayed.mutex);
    STAILQ_INSERT_TAIL(&delayed.queue, queued, entry);
    pthread_cond_signal(&delayed.changed);
    pthread_mutex_unlock(&delayed.mutex);
}

/* Takes up to BATCH_MAX; false when there will never be more. */
static bool
take_batch(struct Queue *batch)
{
    STAILQ_INIT(batch);
    pthread_mutex_lock(&delayed.mutex);
    while (STAILQ_EMPTY(&delayed.queue) && !delayed.stopping) {
        pthread_cond_wait(&delayed.changed, &delayed.mutex);
    }
    for (int i = 0; i < BATCH_MAX && !STAILQ_EMPTY(&delayed.queue); i++) {
        Queued *queued = STAILQ_FIRST(&delayed.queue);

        STAILQ_REMOVE_HEAD(&delayed.queue, entry);
        STAILQ_INSERT_TAIL(batch, queued, entry);
    }
    pthread_mutex_unlock(&delayed.mutex);
    return !STAILQ_EMPTY(batch);
}

static void *
run(void *arg DS_UNUSED)
{
    struct Queue batch;

    while (take_batch(&batch)) {
        delay();
        while (!STAILQ_EMPTY(&batch)) {
            Queued *queued = STAILQ_FIRST(&batch);

            STAILQ_REMOVE_HEAD(&batch, entry);
            delayed.memory->submit(delayed.store, queued->op);
            free(queued);
        }
    }
    return NULL;
}

static void
stop(Store *store DS_UNUSED)
{
    pthread_mutex_lock(&delayed.mutex);
    delayed.stopping = true;
    pthread_cond_signal(&delayed.changed);
    pthread_mutex_unlock(&delayed.mutex);
    DS_ASSERT(pthread_join(delayed.thread, NULL) == 0);
}

Store *
__wrap_store_memory_new(const StoreLimits *limits, Metrics *metrics)
{
    Store *store = __real_store_memory_new(limits, metrics);

    delayed.memory = store->table;
    delayed.table = *store->table;
    delayed.table.queued = true;
    delayed.table.submit = submit;
    delayed.table.stop = stop;
    store->table = &delayed.table;
    delayed.store = store;
    DS_ASSERT(pthread_create(&delayed.thread, NULL, run, NULL) == 0);
    return store;
}
