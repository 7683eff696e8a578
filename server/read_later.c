/* SPDX-License-Identifier: Apache-2.0 */
#include "server/read_later.h"

#include "common/mem.h"
#include "server/live_loop.h"
#include "server/read_reply.h"

typedef struct LaterRead {
    App *app;
    HttpExchange *exchange;
    Stream *stream; /* with a reference */
    ColdRead *cold;
    bool is_poll;
    uint64_t cursor;
    size_t known_tags_len;
    char known_tags[];
} LaterRead;

static void
later_free(LaterRead *later)
{
    stream_drop(later->stream);
    free(later);
}

static void
answer(void *arg, ReadVerdict verdict, StoreRead *read)
{
    LaterRead *later = arg;
    Str known_tags = str_n(later->known_tags, later->known_tags_len);

    if (verdict != READ_OK) {
        read_reply_refused(later->exchange, verdict);
    } else if (later->is_poll && read->range.bytes == 0) {
        /* Trimmed to its tail meanwhile. */
        read_reply_nothing(later->exchange, later->stream, read->from, read->closed, later->cursor);
    } else {
        read_reply_range(later->app, later->exchange, later->stream, read, known_tags,
                         later->is_poll ? &later->cursor : NULL);
    }
    later_free(later);
}

static void
canceled(void *arg)
{
    LaterRead *later = arg;

    cold_read_cancel(later->cold);
    later_free(later);
}

void
read_later(App *app, HttpExchange *exchange, Stream *stream, const StoreRead *read, Str known_tags,
           const uint64_t *cursor)
{
    ColdReads *reads = live_cold_reads(exchange_loop(exchange));
    LaterRead *later = mem_zalloc(sizeof(*later) + known_tags.len);
    StoreRead wanted = {
        .from = read->from,
        .from_start = read->from_start,
        .bytes_max = read->bytes_max,
        .takes_files = true,
    };

    later->app = app;
    later->exchange = exchange;
    stream_take(stream);
    later->stream = stream;
    later->is_poll = cursor != NULL;
    later->cursor = cursor != NULL ? *cursor : 0;
    later->known_tags_len = known_tags.len;
    if (known_tags.len > 0) {
        memcpy(later->known_tags, known_tags.ptr, known_tags.len);
    }
    exchange_wait(exchange, canceled, later);
    exchange_outlives_eof(exchange);
    later->cold = cold_read_start(reads, app, stream, &wanted, answer, later);
}
