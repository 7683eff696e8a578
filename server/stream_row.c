/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stream_row.h"

#include "common/mem.h"

static int64_t
wall_of(int64_t boot_ms, StreamRowTime now)
{
    return boot_ms + (now.wall_ms - now.boot_ms);
}

/* Nothing was used later than now, whatever the wall clock did meanwhile. */
static int64_t
boot_of(int64_t wall_ms, StreamRowTime now)
{
    return DS_MIN(wall_ms - (now.wall_ms - now.boot_ms), now.boot_ms);
}

static Str
note_str(const StreamNote *note)
{
    return (Str){.ptr = note->ptr, .len = note->len};
}

static StreamNote
note_of(Str bytes)
{
    StreamNote note = {.len = bytes.len};

    if (bytes.ptr != NULL) {
        note.ptr = mem_alloc(DS_MAX(bytes.len, (size_t)1));
        memcpy(note.ptr, bytes.ptr, bytes.len);
    }
    return note;
}

/* Copies what a view shows to *at, moves the view there and *at behind it. */
static void
own(Str *view, char **at)
{
    if (view->ptr != NULL) {
        memcpy(*at, view->ptr, view->len);
        view->ptr = *at;
        *at += view->len;
    }
}

/* The row's views point into the stream; copies what can change. */
static void
own_all(StreamRow *row)
{
    size_t bytes = row->seq.len + row->closer_id.len + 1;
    char *at;

    for (size_t i = 0; i < row->producers_count; i++) {
        bytes += row->producers[i].id.len;
    }
    row->memory = at = mem_alloc(bytes);
    own(&row->seq, &at);
    own(&row->closer_id, &at);
    for (size_t i = 0; i < row->producers_count; i++) {
        own(&row->producers[i].id, &at);
    }
}

void
stream_row_of(const Stream *stream, uint64_t producers_after, StreamRowTime now, StreamRow *out)
{
    const StreamState *state = &stream->state;
    size_t producers = producers_export(state->producers, producers_after, NULL, 0);

    *out = (StreamRow){
        .id = stream->id,
        .name = stream->name,
        .content_type = stream->content_type,
        .ttl_s = stream->ttl_s,
        .expires_at_ms = stream->expires_at_ms,
        .created_ms = stream->created_ms,
        .era = stream->era,
        .parent_id = stream->parent == NULL ? 0 : stream->parent->id,
        .fork_at = stream->fork_at,
        .at = state->at,
        .closed = state->closed,
        .soft_deleted = state->soft_deleted,
        .seq = note_str(&state->seq),
        .closer_id = note_str(&state->closer_id),
        .closer_epoch = state->closer_epoch,
        .closer_seq = state->closer_seq,
        .touched_ms = wall_of(atomic_load_explicit(&stream->touched_ms, memory_order_relaxed), now),
        .producers_count = producers,
        .producers_after = producers_after,
        .producers_first_turn = producers_first_turn(state->producers),
        .producers_last_turn = producers_last_turn(state->producers),
    };
    if (producers > 0) {
        out->producers = mem_array(producers, sizeof(*out->producers));
        (void)producers_export(state->producers, producers_after, out->producers, producers);
        for (size_t i = 0; i < producers; i++) {
            out->producers[i].used_ms = wall_of(out->producers[i].used_ms, now);
        }
    }
    own_all(out);
}

void
stream_row_done(StreamRow *row)
{
    free(row->producers);
    free(row->memory);
    *row = (StreamRow){0};
}

void
stream_row_restore(const StreamRow *row, StreamRowTime now, int64_t touch_slack_ms,
                   size_t producers_max, Stream *stream)
{
    StreamState *state = &stream->state;

    stream->id = row->id;
    stream->era = row->era;
    stream->created_ms = row->created_ms;
    stream->fork_at = row->fork_at;
    atomic_store(&stream->touched_ms,
                 DS_MIN(boot_of(row->touched_ms, now) + touch_slack_ms, now.boot_ms));
    state->at = row->at;
    state->closed = row->closed;
    state->soft_deleted = row->soft_deleted;
    state->seq = note_of(row->seq);
    state->closer_id = note_of(row->closer_id);
    state->closer_epoch = row->closer_epoch;
    state->closer_seq = row->closer_seq;
    if (row->producers_count > 0) {
        state->producers = producers_new(producers_max);
    }
    for (size_t i = 0; i < row->producers_count; i++) {
        ProducerRecord record = row->producers[i];

        record.used_ms = boot_of(record.used_ms, now);
        producers_restore(state->producers, &record);
    }
    stream_publish(stream);
}
