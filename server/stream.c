/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stream.h"

#include "common/clock.h"
#include "common/ds_proto.h"
#include "common/mem.h"

static Str
media_type(Str content_type)
{
    Str media;
    Str parameters;

    str_cut(content_type, ';', &media, &parameters);
    return str_trim(media);
}

StreamKind
stream_kind(Str content_type)
{
    Str media = media_type(content_type);

    if (str_eq_nocase(media, STR(DS_MEDIA_JSON))) {
        return STREAM_JSON;
    }
    return str_starts_nocase(media, STR("text/")) ? STREAM_TEXT : STREAM_BYTES;
}

bool
stream_same_media_type(Str a, Str b)
{
    return str_eq(a, b) || str_eq_nocase(media_type(a), media_type(b));
}

void
stream_init(Stream *stream, Str name, const StreamConfig *config, void (*free_fn)(Stream *))
{
    static atomic_uint_fast64_t last_serial;
    char *text = mem_alloc(name.len + config->content_type.len + 1);
    int64_t now_ms = clock_wall_ms();

    memcpy(text, name.ptr, name.len);
    memcpy(text + name.len, config->content_type.ptr, config->content_type.len);
    *stream = (Stream){
        .name = str_n(text, name.len),
        .content_type = str_n(text + name.len, config->content_type.len),
        .kind = stream_kind(config->content_type),
        .ttl_s = config->ttl_s,
        .expires_at_ms = config->expires_at_ms,
        .created_ms = now_ms,
        .serial = atomic_fetch_add(&last_serial, 1) + 1,
        .free_fn = free_fn,
        .state.at.updated_ms = now_ms,
        .view.updated_ms = now_ms,
    };
    atomic_init(&stream->refs, 1);
    atomic_init(&stream->touched_ms, clock_boot_ms());
    pthread_mutex_init(&stream->lock, NULL);
}

void
stream_done(Stream *stream)
{
    wake_source_done(&stream->wake);
    producers_free(stream->state.producers);
    free(stream->state.seq.ptr);
    free(stream->state.closer_id.ptr);
    free((char *)(uintptr_t)stream->name.ptr);
    pthread_mutex_destroy(&stream->lock);
    stream_drop(stream->parent);
}

void
stream_take(Stream *stream)
{
    atomic_fetch_add_explicit(&stream->refs, 1, memory_order_relaxed);
}

void
stream_drop(Stream *stream)
{
    if (stream != NULL && atomic_fetch_sub_explicit(&stream->refs, 1, memory_order_acq_rel) == 1) {
        stream->free_fn(stream);
    }
}

bool
stream_is_expired(const Stream *stream, int64_t boot_ms, int64_t wall_ms)
{
    if (stream->ttl_s != STREAM_NEVER) {
        return boot_ms - atomic_load_explicit(&stream->touched_ms, memory_order_relaxed) >=
               stream->ttl_s * 1000;
    }
    return stream->expires_at_ms != STREAM_NEVER && wall_ms >= stream->expires_at_ms;
}

void
stream_touch(Stream *stream)
{
    if (stream->ttl_s != STREAM_NEVER) {
        atomic_store_explicit(&stream->touched_ms, clock_boot_ms(), memory_order_relaxed);
    }
}

int64_t
stream_expiry_ms(const Stream *stream, int64_t boot_ms, int64_t wall_ms)
{
    if (stream->ttl_s == STREAM_NEVER) {
        return stream->expires_at_ms;
    }
    return wall_ms - boot_ms + stream->ttl_s * 1000 +
           atomic_load_explicit(&stream->touched_ms, memory_order_relaxed);
}

bool
stream_matches(const Stream *stream, const StreamConfig *config, bool closed)
{
    return stream_same_media_type(stream->content_type, config->content_type) &&
           stream->ttl_s == config->ttl_s && stream->expires_at_ms == config->expires_at_ms &&
           stream->state.closed == closed;
}

/* ---- appending ---- */

static Str
note_str(const StreamNote *note)
{
    return str_n(note->ptr, note->len);
}

static bool
is_closer(const StreamState *state, const AppendRequest *request)
{
    return request->has_producer && state->closer_id.ptr != NULL &&
           request->producer.epoch == state->closer_epoch &&
           request->producer.seq == state->closer_seq &&
           str_eq(request->producer.id, note_str(&state->closer_id));
}

static AppendVerdict
judge_closed(const StreamState *state, const AppendRequest *request, ProducerState *out)
{
    if (is_closer(state, request)) {
        *out = (ProducerState){.epoch = state->closer_epoch, .seq = state->closer_seq};
        return APPEND_DUPLICATE;
    }
    /* Closing again is fine (protocol 5.3), for who does not count its requests. */
    if (request->payload.count == 0 && !request->has_producer) {
        return APPEND_DUPLICATE;
    }
    return APPEND_CLOSED;
}

static AppendVerdict
judge_producer(const StreamState *state, const AppendRequest *request, int64_t boot_ms,
               ProducerState *out)
{
    switch (producers_judge(state->producers, request->producer, boot_ms, out)) {
    case PRODUCER_ACCEPT:
        *out = (ProducerState){.epoch = request->producer.epoch, .seq = request->producer.seq};
        return APPEND_OK;
    case PRODUCER_DUPLICATE:
        return APPEND_DUPLICATE;
    case PRODUCER_STALE_EPOCH:
        return APPEND_STALE_EPOCH;
    case PRODUCER_EPOCH_NOT_ZERO:
        return APPEND_EPOCH_NOT_ZERO;
    case PRODUCER_TOO_MANY:
        return APPEND_TOO_MANY_PRODUCERS;
    case PRODUCER_GAP:
        break;
    }
    return APPEND_GAP;
}

AppendVerdict
stream_judge_append(const Stream *stream, const AppendRequest *request, uint64_t bytes_max,
                    int64_t boot_ms, ProducerState *out)
{
    const StreamState *state = &stream->state;

    if (state->deleted) {
        return APPEND_DELETED;
    }
    if (state->soft_deleted) {
        return APPEND_GONE;
    }
    if (state->closed) {
        return judge_closed(state, request, out);
    }
    if (request->payload.count > 0 &&
        !stream_same_media_type(stream->content_type, request->content_type)) {
        return APPEND_TYPE_MISMATCH;
    }
    if (request->has_producer) {
        AppendVerdict verdict = judge_producer(state, request, boot_ms, out);

        if (verdict != APPEND_OK) {
            return verdict;
        }
    }
    if (request->has_seq && state->seq.ptr != NULL &&
        str_cmp(request->seq, note_str(&state->seq)) <= 0) {
        return APPEND_SEQ_CONFLICT;
    }
    if (request->payload.bytes.len > bytes_max ||
        state->at.bytes > bytes_max - request->payload.bytes.len) {
        return APPEND_STREAM_FULL;
    }
    return APPEND_OK;
}

/* The old bytes are freed, or go to *old. */
static void
note_set(StreamNote *note, Str bytes, StreamNote *old)
{
    if (old != NULL) {
        *old = *note;
        note->ptr = NULL;
    }
    note->ptr = mem_realloc(note->ptr, DS_MAX(bytes.len, (size_t)1));
    memcpy(note->ptr, bytes.ptr, bytes.len);
    note->len = bytes.len;
}

static void
note_restore(StreamNote *note, const StreamNote *old)
{
    free(note->ptr);
    *note = *old;
}

static void
apply_close(StreamState *state, const AppendRequest *request, StreamUndo *undo)
{
    state->closed = true;
    if (!request->has_producer) {
        return;
    }
    if (undo != NULL) {
        undo->has_closer = true;
        undo->closer_epoch = state->closer_epoch;
        undo->closer_seq = state->closer_seq;
    }
    note_set(&state->closer_id, request->producer.id, undo == NULL ? NULL : &undo->closer_id);
    state->closer_epoch = request->producer.epoch;
    state->closer_seq = request->producer.seq;
}

void
stream_apply_append(Stream *stream, const AppendRequest *request, size_t producers_max,
                    int64_t boot_ms, int64_t wall_ms, StreamUndo *undo)
{
    StreamState *state = &stream->state;

    if (undo != NULL) {
        *undo = (StreamUndo){.has_seq = request->has_seq, .has_producer = request->has_producer};
    }
    state->at.bytes += request->payload.bytes.len;
    state->at.bytes_ever += request->payload.bytes.len;
    state->at.messages += request->payload.count;
    state->at.tail +=
        stream->kind == STREAM_JSON ? request->payload.count : request->payload.bytes.len;
    state->at.updated_ms = wall_ms;
    if (request->has_seq) {
        note_set(&state->seq, request->seq, undo == NULL ? NULL : &undo->seq);
    }
    if (request->has_producer) {
        if (state->producers == NULL) {
            state->producers = producers_new(producers_max);
        }
        producers_accept(state->producers, request->producer, boot_ms,
                         undo == NULL ? NULL : &undo->producer);
    }
    if (request->close) {
        apply_close(state, request, undo);
    }
}

/* None of these ever turns false again. */
static void
publish_flag(atomic_bool *published, bool judged)
{
    if (judged) {
        atomic_store(published, true);
    }
}

void
stream_publish(Stream *stream)
{
    const StreamState *state = &stream->state;

    stream->view = state->at;
    publish_flag(&stream->closed, state->closed);
    publish_flag(&stream->soft_deleted, state->soft_deleted);
    publish_flag(&stream->deleted, state->deleted);
}

void
stream_undo(Stream *stream, StreamUndo *undo)
{
    StreamState *state = &stream->state;

    state->at = stream->view;
    state->closed = atomic_load(&stream->closed);
    state->soft_deleted = atomic_load(&stream->soft_deleted);
    state->deleted = atomic_load(&stream->deleted);
    if (undo == NULL) {
        return;
    }
    if (undo->has_producer) {
        producers_undo(state->producers, &undo->producer);
    }
    if (undo->has_seq) {
        note_restore(&state->seq, &undo->seq);
    }
    if (undo->has_closer) {
        note_restore(&state->closer_id, &undo->closer_id);
        state->closer_epoch = undo->closer_epoch;
        state->closer_seq = undo->closer_seq;
    }
    *undo = (StreamUndo){0};
}

void
stream_undo_done(StreamUndo *undo)
{
    producer_undo_done(&undo->producer);
    free(undo->seq.ptr);
    free(undo->closer_id.ptr);
    *undo = (StreamUndo){0};
}

/* ---- offsets ---- */

Offset
stream_offset(const Stream *stream, uint64_t position)
{
    while (stream->parent != NULL && position <= stream->fork_at) {
        stream = stream->parent;
    }
    return (Offset){.era = stream->era, .position = position};
}

bool
stream_has_offset(const Stream *stream, Offset offset)
{
    while (offset.era != stream->era) {
        if (stream->parent == NULL || offset.position > stream->fork_at) {
            return false;
        }
        stream = stream->parent;
    }
    return true;
}
