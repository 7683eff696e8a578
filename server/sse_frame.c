/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sse_frame.h"

#include <inttypes.h>

#include "common/base64.h"
#include "common/mem.h"

#define HEAD STR("event: data\ndata:")
#define LINE STR("\ndata:")
#define TAIL STR("\n\n")
/* At worst each byte is a line break. */
#define FRAME_BYTES_MAX(payload_bytes) (64 + (payload_bytes) * sizeof("\ndata:"))

static void
frame_release(HttpHold *hold)
{
    SseFrame *frame = DS_CONTAINER_OF(hold, SseFrame, hold);

    free((char *)(uintptr_t)frame->bytes.ptr);
    free(frame);
}

/* The maximum of the Bufs here is what can come out at worst. */
static void
put(Buf *out, Str bytes)
{
    Error err;
    bool ok = buf_append(out, bytes, &err);

    DS_ASSERT(ok);
}

/* Each CRLF, CR or LF starts a new data line; a CRLF may be cut by the end of a part. */
static void
put_lines(Buf *out, Str bytes, bool *after_cr)
{
    size_t begin = 0;

    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.ptr[i];

        if (c != '\n' && c != '\r') {
            *after_cr = false;
            continue;
        }
        put(out, str_slice(bytes, begin, i));
        begin = i + 1;
        if (c == '\r' || !*after_cr) {
            put(out, LINE);
        }
        *after_cr = c == '\r';
    }
    put(out, str_skip(bytes, begin));
}

static void
put_json(Buf *out, const Range *range)
{
    bool after_cr = false;

    put(out, STR("["));
    for (size_t i = 0; i < range->count; i++) {
        Str bytes = range->parts[i].bytes;

        /* Not the comma behind the last message. */
        put_lines(out, str_slice(bytes, 0, bytes.len - (i + 1 == range->count)), &after_cr);
    }
    put(out, STR("]"));
}

static void
put_text(Buf *out, const Range *range)
{
    bool after_cr = false;

    for (size_t i = 0; i < range->count; i++) {
        put_lines(out, range->parts[i].bytes, &after_cr);
    }
}

static void
put_base64(Buf *out, const Range *range)
{
    Buf whole;
    Error err;
    bool ok;

    if (range->count == 1) {
        ok = base64_encode(out, range->parts[0].bytes, &err);
        DS_ASSERT(ok);
        return;
    }
    buf_init(&whole, range->bytes);
    for (size_t i = 0; i < range->count; i++) {
        put(&whole, range->parts[i].bytes);
    }
    ok = base64_encode(out, buf_str(&whole), &err);
    DS_ASSERT(ok);
    buf_done(&whole);
}

SseFrame *
sse_frame_new(StreamKind kind, const Range *range)
{
    SseFrame *frame = mem_alloc(sizeof(*frame));
    Buf out;

    DS_ASSERT(range->count > 0);
    buf_init(&out, FRAME_BYTES_MAX(range->bytes));
    put(&out, HEAD);
    switch (kind) {
    case STREAM_JSON:
        put_json(&out, range);
        break;
    case STREAM_TEXT:
        put_text(&out, range);
        break;
    case STREAM_BYTES:
        put_base64(&out, range);
        break;
    }
    put(&out, TAIL);
    http_hold_init(&frame->hold, frame_release);
    frame->bytes.len = out.len;
    frame->bytes.ptr = buf_take(&out);
    return frame;
}

SseFrame *
sse_frame_get(SseFrameCache *cache, const Stream *stream, const Range *range)
{
    SseFrame *frame;

    for (size_t i = 0; i < SSE_FRAMES_CACHED; i++) {
        if (cache->slots[i].frame != NULL && cache->slots[i].serial == stream->serial &&
            cache->slots[i].from == range->from && cache->slots[i].to == range->to) {
            http_hold_take(&cache->slots[i].frame->hold);
            return cache->slots[i].frame;
        }
    }
    frame = sse_frame_new(stream->kind, range);
    if (frame->bytes.len <= SSE_FRAME_CACHED_BYTES_MAX) {
        unsigned at = cache->next++ % SSE_FRAMES_CACHED;

        if (cache->slots[at].frame != NULL) {
            http_hold_drop(&cache->slots[at].frame->hold);
        }
        http_hold_take(&frame->hold);
        cache->slots[at].serial = stream->serial;
        cache->slots[at].from = range->from;
        cache->slots[at].to = range->to;
        cache->slots[at].frame = frame;
    }
    return frame;
}

void
sse_frame_cache_done(SseFrameCache *cache)
{
    for (size_t i = 0; i < SSE_FRAMES_CACHED; i++) {
        if (cache->slots[i].frame != NULL) {
            http_hold_drop(&cache->slots[i].frame->hold);
            cache->slots[i].frame = NULL;
        }
    }
}

size_t
sse_control_format(const SseControl *control, char out[SSE_CONTROL_BYTES_MAX])
{
    char next[OFFSET_OWN_BYTES + 1];
    char cursor[48] = "";
    int len;

    offset_format(control->next, next);
    if (!control->closed) {
        snprintf(cursor, sizeof(cursor), ",\"streamCursor\":\"%" PRIu64 "\"", control->cursor);
    }
    len = snprintf(out, SSE_CONTROL_BYTES_MAX,
                   "id: %s\nevent: control\ndata:{\"streamNextOffset\":\"%s\"%s%s%s}\n\n", next,
                   next, cursor, control->up_to_date ? ",\"upToDate\":true" : "",
                   control->closed ? ",\"streamClosed\":true" : "");
    DS_ASSERT(len > 0 && len < SSE_CONTROL_BYTES_MAX);
    return (size_t)len;
}
