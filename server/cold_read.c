/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cold_read.h"

#include <bsd/sys/queue.h>

#include "common/mem.h"

struct ColdReads {
    NetLoop *net;
    TAILQ_HEAD(, ColdRead) line;
    size_t running;
    bool orphaned; /* the loop's handlers have ended: the last read frees this */
};

struct ColdRead {
    TAILQ_ENTRY(ColdRead) entry; /* in the line, while it is not running */
    ColdReads *reads;
    Store *store;
    Stream *stream;
    StoreRead read;
    ReadVerdict verdict;
    ColdReadFn done;
    void *arg;
    bool running;
    bool canceled;
};

ColdReads *
cold_reads_new(NetLoop *net)
{
    ColdReads *reads = mem_zalloc(sizeof(*reads));

    reads->net = net;
    TAILQ_INIT(&reads->line);
    return reads;
}

void
cold_reads_free(ColdReads *reads)
{
    DS_ASSERT(TAILQ_EMPTY(&reads->line));
    if (reads->running > 0) {
        reads->orphaned = true;
    } else {
        free(reads);
    }
}

static void
read_free(ColdRead *read)
{
    stream_drop(read->stream);
    free(read);
}

/* On a thread of the pool. */
static void
work(void *arg)
{
    ColdRead *read = arg;

    read->verdict = store_read(read->store, read->stream, &read->read);
    DS_ASSERT(read->verdict != READ_COLD);
}

static void start_next(ColdReads *reads);

static void
worked(void *arg)
{
    ColdRead *read = arg;
    ColdReads *reads = read->reads;

    reads->running--;
    if (!read->canceled) {
        read->done(read->arg, read->verdict, &read->read);
    }
    if (read->verdict == READ_OK) {
        range_done(&read->read.range);
    }
    read_free(read);
    if (!reads->orphaned) {
        start_next(reads);
    } else if (reads->running == 0) {
        free(reads);
    }
}

static void
start_next(ColdReads *reads)
{
    while (reads->running < COLD_READS_MAX && !TAILQ_EMPTY(&reads->line)) {
        ColdRead *read = TAILQ_FIRST(&reads->line);

        TAILQ_REMOVE(&reads->line, read, entry);
        read->running = true;
        reads->running++;
        loop_work(net_loop_loop(reads->net), work, worked, read);
    }
}

ColdRead *
cold_read_start(ColdReads *reads, App *app, Stream *stream, const StoreRead *wanted,
                ColdReadFn done, void *arg)
{
    ColdRead *read = mem_zalloc(sizeof(*read));

    read->reads = reads;
    read->store = app->store;
    stream_take(stream);
    read->stream = stream;
    read->read.from = wanted->from;
    read->read.from_start = wanted->from_start;
    read->read.bytes_max = wanted->bytes_max;
    read->read.takes_files = wanted->takes_files;
    read->read.may_block = true;
    read->done = done;
    read->arg = arg;
    TAILQ_INSERT_TAIL(&reads->line, read, entry);
    metric_add(app->metrics.cold_reads, 1);
    start_next(reads);
    return read;
}

void
cold_read_cancel(ColdRead *read)
{
    if (read == NULL) {
        return;
    }
    if (read->running) {
        read->canceled = true;
    } else {
        TAILQ_REMOVE(&read->reads->line, read, entry);
        read_free(read);
    }
}
