/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/store_delayed.c -- memory mode that behaves like a durable one at its worst.
 *
 * Linked into ds-server-delayed with --wrap=store_memory_new.  Operations are queued; a thread
 * finishes a few of them at a time, after a random delay.  Half of all reads find their bytes cold,
 * and get them late.  For tests that need it to the point: nothing is finished while the file
 * DS_TEST_STORE_GATE is missing, nothing cold is read while DS_TEST_COLD_GATE is; streams whose
 * names begin with "hot" are never cold, with "cold" always, with "unreadable" they are damaged.
 *
 * ds-server-delayed is ds-server otherwise: what passes against ds-server has to pass against it.
 */
#include <bsd/stdlib.h>
#include <bsd/sys/queue.h>
#include <fcntl.h>
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

/* Not before the file that the variable names, if it is set, exists. */
static void
delay(const char *gate_variable)
{
    const char *gate = getenv(gate_variable);

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

/* ---- reads ---- */

/* In a file of their own, of which the kernel keeps nothing in memory if it can. */
static void
add_file(char *bytes, size_t len, Range *out)
{
    char path[] = "/var/tmp/ds-delayed-XXXXXX";
    int fd = mkstemp(path);
    HttpFile *file;

    DS_ASSERT(fd >= 0 && unlink(path) == 0);
    DS_ASSERT(pwrite(fd, "before", 6, 0) == 6);
    DS_ASSERT(pwrite(fd, bytes, len, 6) == (ssize_t)len);
    if (getenv("DS_TEST_COLD_FILES") != NULL) {
        DS_ASSERT(fdatasync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    }
    file = http_file_new(fd);
    range_add_file(out, file, 6, len);
    http_hold_drop(&file->hold);
    free(bytes);
}

/* A copy of their own, as from a disk. */
static void
flatten(const Range *from, Range *out)
{
    char *bytes = mem_alloc(from->bytes + 1);
    HttpHold *hold;
    size_t len = 0;

    for (size_t i = 0; i < from->count; i++) {
        memcpy(bytes + len, from->parts[i].bytes.ptr, from->parts[i].bytes.len);
        len += from->parts[i].bytes.len;
    }
    out->to = from->to;
    if (out->takes_files) {
        add_file(bytes, len, out);
        return;
    }
    hold = http_hold_new(bytes);
    range_add(out, str_n(bytes, len), hold);
    http_hold_drop(hold);
}

/* The lock is let go of meanwhile, so the stream may lose the bytes. */
static ReadPart
read_cold(Store *store, Stream *stream, uint64_t from, uint64_t to, size_t bytes_max, Range *out,
          Error *err)
{
    size_t room = bytes_max > out->bytes ? bytes_max - out->bytes : 0;
    Range range;

    pthread_mutex_unlock(&stream->lock);
    delay("DS_TEST_COLD_GATE");
    pthread_mutex_lock(&stream->lock);
    if (atomic_load(&stream->deleted) || from < stream->view.base ||
        str_starts(stream->name, STR("unreadable"))) {
        (void)error_set(err, ERR_CORRUPT, "this cannot be read");
        return READ_PART_FAILED;
    }
    range_init(&range, from);
    DS_ASSERT(delayed.memory->read(store, stream, from, to, room, true, &range, err) ==
              READ_PART_OK);
    if (out->bytes == 0 || range.bytes <= room) { /* a range of its own has one message at least */
        flatten(&range, out);
    }
    range_done(&range);
    return READ_PART_OK;
}

static bool
is_cold(Str name)
{
    if (str_starts(name, STR("cold")) || str_starts(name, STR("unreadable"))) {
        return true;
    }
    return !str_starts(name, STR("hot")) && arc4random_uniform(2) == 0;
}

static ReadPart
read_part(Store *store, Stream *stream, uint64_t from, uint64_t to, size_t bytes_max,
          bool may_block, Range *out, Error *err)
{
    if (may_block) {
        return read_cold(store, stream, from, to, bytes_max, out, err);
    }
    if (is_cold(stream->name)) {
        return READ_PART_COLD;
    }
    return delayed.memory->read(store, stream, from, to, bytes_max, false, out, err);
}

/* ---- operations ---- */

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
        delay("DS_TEST_STORE_GATE");
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
    delayed.table.read = read_part;
    delayed.table.stop = stop;
    store->table = &delayed.table;
    delayed.store = store;
    DS_ASSERT(pthread_create(&delayed.thread, NULL, run, NULL) == 0);
    return store;
}
