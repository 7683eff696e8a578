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
    return str_eq_nocase(media_type(a), media_type(b));
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
        .state.updated_ms = now_ms,
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
    free(stream->state.seq);
    free(stream->state.closer_id);
    free((char *)(uintptr_t)stream->name.ptr);
    pthread_mutex_destroy(&stream->lock);
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
           atomic_load(&stream->closed) == closed;
}

/* ---- appending ---- */

static bool
is_closer(const StreamState *state, const AppendRequest *request)
{
    return request->has_producer && state->closer_id != NULL &&
           request->producer.epoch == state->closer_epoch &&
           request->producer.seq == state->closer_seq &&
           str_eq(request->producer.id, str_n(state->closer_id, state->closer_id_len));
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

    if (atomic_load(&stream->deleted)) {
        return APPEND_DELETED;
    }
    if (atomic_load(&stream->closed)) {
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
    if (request->has_seq && state->seq != NULL &&
        str_cmp(request->seq, str_n(state->seq, state->seq_len)) <= 0) {
        return APPEND_SEQ_CONFLICT;
    }
    if (request->payload.bytes.len > bytes_max ||
        state->bytes > bytes_max - request->payload.bytes.len) {
        return APPEND_STREAM_FULL;
    }
    return APPEND_OK;
}

static void
remember_bytes(char **kept, size_t *kept_len, Str bytes)
{
    *kept = mem_realloc(*kept, DS_MAX(bytes.len, (size_t)1));
    memcpy(*kept, bytes.ptr, bytes.len);
    *kept_len = bytes.len;
}

void
stream_commit_append(Stream *stream, const AppendRequest *request, size_t producers_max,
                     int64_t boot_ms, int64_t wall_ms)
{
    StreamState *state = &stream->state;

    state->bytes += request->payload.bytes.len;
    state->bytes_ever += request->payload.bytes.len;
    state->messages += request->payload.count;
    state->tail +=
        stream->kind == STREAM_JSON ? request->payload.count : request->payload.bytes.len;
    state->updated_ms = wall_ms;
    if (request->has_seq) {
        remember_bytes(&state->seq, &state->seq_len, request->seq);
    }
    if (request->has_producer) {
        if (state->producers == NULL) {
            state->producers = producers_new(producers_max);
        }
        producers_accept(state->producers, request->producer, boot_ms);
    }
    if (request->close) {
        atomic_store(&stream->closed, true);
        if (request->has_producer) {
            remember_bytes(&state->closer_id, &state->closer_id_len, request->producer.id);
            state->closer_epoch = request->producer.epoch;
            state->closer_seq = request->producer.seq;
        }
    }
}
