/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http_out.h"

#include "common/mem.h"
#include "server/http_file.h"

#define SEGMENTS_FIRST    4
#define COPIED_DROP_BYTES 65536 /* sent bytes in front of copied that are worth a memmove */

/* Bytes copied into memory of their own. */
typedef struct OwnedBytes {
    HttpHold hold;
    char bytes[];
} OwnedBytes;

void
http_out_init(HttpOut *out)
{
    *out = (HttpOut){0};
    buf_init(&out->copied, HTTP_OUT_COPIED_BYTES_MAX);
}

static void
forget_memory(HttpOut *out)
{
    free(out->segments);
    buf_done(&out->copied);
    out->segments = NULL;
    out->first = out->count = out->cap = 0;
    out->copied_base = 0;
}

void
http_out_done(HttpOut *out)
{
    for (size_t i = out->first; i < out->count; i++) {
        if (out->segments[i].hold != NULL) {
            http_hold_drop(out->segments[i].hold);
        }
    }
    forget_memory(out);
    out->bytes = 0;
}

static void
add_segment(HttpOut *out, HttpSegment segment)
{
    if (out->count == out->cap && out->first > out->cap / 2) {
        memmove(out->segments, out->segments + out->first,
                (out->count - out->first) * sizeof(*out->segments));
        out->count -= out->first;
        out->first = 0;
    }
    if (out->count == out->cap) {
        out->cap = out->cap == 0 ? SEGMENTS_FIRST : out->cap * 2;
        out->segments = mem_regrow(out->segments, out->cap, sizeof(*out->segments));
    }
    out->segments[out->count++] = segment;
    out->bytes += segment.len;
}

static void
release_owned(HttpHold *hold)
{
    free(DS_CONTAINER_OF(hold, OwnedBytes, hold));
}

/* Takes over the caller's reference. */
static void
add_owned_copy(HttpOut *out, Str bytes)
{
    OwnedBytes *owned = mem_alloc(sizeof(*owned) + bytes.len);

    http_hold_init(&owned->hold, release_owned);
    memcpy(owned->bytes, bytes.ptr, bytes.len);
    add_segment(out, (HttpSegment){.ptr = owned->bytes, .len = bytes.len, .hold = &owned->hold});
}

void
http_out_copy(HttpOut *out, Str bytes)
{
    HttpSegment *last = out->count > out->first ? &out->segments[out->count - 1] : NULL;
    uint64_t place = out->copied_base + out->copied.len;
    Error err;

    if (bytes.len == 0) {
        return;
    }
    if (!buf_append(&out->copied, bytes, &err)) {
        add_owned_copy(out, bytes);
        return;
    }
    if (last != NULL && last->ptr == NULL && last->file == NULL &&
        last->place + last->len == place) {
        last->len += bytes.len;
        out->bytes += bytes.len;
    } else {
        add_segment(out, (HttpSegment){.place = place, .len = bytes.len});
    }
}

void
http_out_piece(HttpOut *out, const HttpPiece *piece)
{
    if (piece->bytes.len == 0) {
        return;
    }
    if (piece->hold == NULL ||
        (piece->file == NULL && piece->bytes.len <= HTTP_OUT_COPIED_PIECE_BYTES_MAX)) {
        http_out_copy(out, piece->bytes);
        return;
    }
    http_hold_take(piece->hold);
    add_segment(out, (HttpSegment){.ptr = piece->bytes.ptr,
                                   .place = piece->file_offset,
                                   .len = piece->bytes.len,
                                   .hold = piece->hold,
                                   .file = piece->file});
}

static const char *
segment_ptr(const HttpOut *out, const HttpSegment *segment)
{
    return segment->ptr != NULL ? segment->ptr
                                : out->copied.data + (segment->place - out->copied_base);
}

/* n bytes left for the kernel. */
static void
advance(HttpOut *out, size_t n)
{
    out->bytes -= n;
    while (n > 0) {
        HttpSegment *segment = &out->segments[out->first];
        size_t take = DS_MIN(n, segment->len);

        segment->len -= take;
        segment->place += take;
        segment->ptr = segment->ptr != NULL ? segment->ptr + take : NULL;
        n -= take;
        if (segment->len == 0) {
            if (segment->hold != NULL) {
                http_hold_drop(segment->hold);
            }
            out->first++;
        }
    }
    if (out->bytes == 0) {
        forget_memory(out);
        return;
    }
    const HttpSegment *next = &out->segments[out->first];
    if (next->ptr == NULL && next->file == NULL &&
        next->place - out->copied_base >= COPIED_DROP_BYTES) {
        size_t sent = (size_t)(next->place - out->copied_base);

        buf_consume(&out->copied, sent);
        out->copied_base += sent;
    }
}

static TransportResult
send_some(HttpOut *out, Transport *transport, size_t *out_n)
{
    struct iovec vectors[HTTP_OUT_VECTORS_MAX];
    size_t count_max = DS_MIN(out->count - out->first, (size_t)HTTP_OUT_VECTORS_MAX);
    size_t count = 0;

    for (; count < count_max && out->segments[out->first + count].file == NULL; count++) {
        const HttpSegment *segment = &out->segments[out->first + count];

        vectors[count].iov_base = (void *)(uintptr_t)segment_ptr(out, segment);
        vectors[count].iov_len = segment->len;
    }
    return transport_send(transport, vectors, count, out_n);
}

const HttpSegment *
http_out_next_file(const HttpOut *out)
{
    return &out->segments[out->first];
}

static HttpFileResult
file_result(TransportResult result)
{
    if (result == TRANSPORT_OK) {
        return HTTP_FILE_SENT;
    }
    return result == TRANSPORT_AGAIN ? HTTP_FILE_BLOCKED : HTTP_FILE_BROKEN;
}

/* TLS needs the bytes where it can see them.  What it did not take is read again. */
static HttpFileResult
send_file_in_tls(const HttpSegment *segment, Transport *transport, size_t *out_n)
{
    char room[TRANSPORT_RECORD_BYTES_MAX];
    struct iovec vector = {room, DS_MIN(segment->len, sizeof(room))};
    HttpFileResult read = http_file_read(segment->file, segment->place, room, vector.iov_len);

    if (read != HTTP_FILE_SENT) {
        return read;
    }
    return file_result(transport_send(transport, &vector, 1, out_n));
}

static HttpFileResult
send_next(HttpOut *out, Transport *transport, size_t *out_n)
{
    const HttpSegment *next = &out->segments[out->first];

    if (next->file != NULL && transport->tls != NULL) {
        return send_file_in_tls(next, transport, out_n);
    }
    if (next->file != NULL) {
        return http_file_send(next->file, next->place, next->len, transport->fd, out_n);
    }
    return file_result(send_some(out, transport, out_n));
}

HttpOutResult
http_out_send(HttpOut *out, Transport *transport, uint64_t *out_sent)
{
    size_t turn = 0;

    while (out->bytes > 0 && turn < HTTP_OUT_TURN_BYTES_MAX) {
        size_t n = 0;

        switch (send_next(out, transport, &n)) {
        case HTTP_FILE_SENT:
            break;
        case HTTP_FILE_BLOCKED:
            return HTTP_OUT_BLOCKED;
        case HTTP_FILE_COLD:
            return HTTP_OUT_COLD;
        case HTTP_FILE_BROKEN:
            return HTTP_OUT_BROKEN;
        }
        turn += n;
        *out_sent += n;
        advance(out, n);
    }
    return out->bytes > 0 ? HTTP_OUT_BLOCKED : HTTP_OUT_EMPTY;
}
