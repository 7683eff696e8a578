/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sse_frame.h"

#include <criterion/criterion.h>

static void
no_release(HttpHold *hold DS_UNUSED)
{
}

/* The bytes as one part, then cut into two at every point. */
static void
expect_frame(StreamKind kind, Str bytes, const char *wire)
{
    HttpHold hold;

    http_hold_init(&hold, no_release);
    for (size_t cut = 0; cut < bytes.len; cut++) {
        Range range;
        SseFrame *frame;

        range_init(&range, 0);
        if (cut > 0) {
            range_add(&range, str_n(bytes.ptr, cut), &hold);
        }
        range_add(&range, str_skip(bytes, cut), &hold);
        frame = sse_frame_new(kind, &range);
        cr_expect(str_eq(frame->bytes, str_c(wire)), "cut at %zu: %.*s", cut,
                  STR_ARG(frame->bytes));
        http_hold_drop(&frame->hold);
        range_done(&range);
    }
}

Test(sse_frame, json_messages_become_one_array)
{
    expect_frame(STREAM_JSON, STR("1,"), "event: data\ndata:[1]\n\n");
    expect_frame(STREAM_JSON, STR("{\"a\":1},[2],"), "event: data\ndata:[{\"a\":1},[2]]\n\n");
    expect_frame(STREAM_JSON, STR("{\n\"a\":1\r\n},"),
                 "event: data\ndata:[{\ndata:\"a\":1\ndata:}]\n\n");
}

Test(sse_frame, each_line_break_in_text_begins_a_data_line)
{
    expect_frame(STREAM_TEXT, STR("plain"), "event: data\ndata:plain\n\n");
    expect_frame(STREAM_TEXT, STR("a\nb\r\nc\rd"),
                 "event: data\ndata:a\ndata:b\ndata:c\ndata:d\n\n");
    expect_frame(STREAM_TEXT, STR("a\r\r\n\n"), "event: data\ndata:a\ndata:\ndata:\ndata:\n\n");
    expect_frame(STREAM_TEXT, STR("x\n\nevent: control\ndata:{}"),
                 "event: data\ndata:x\ndata:\ndata:event: control\ndata:data:{}\n\n");
}

Test(sse_frame, other_bytes_are_base64)
{
    expect_frame(STREAM_BYTES, STR("\x00\n\xff"), "event: data\ndata:AAr/\n\n");
    expect_frame(STREAM_BYTES, STR("ab"), "event: data\ndata:YWI=\n\n");
}

Test(sse_frame, a_control_event_carries_its_id_before_its_name)
{
    SseControl control = {.next = {.era = 1, .position = 0x2f}, .cursor = 42, .up_to_date = true};
    char text[SSE_CONTROL_BYTES_MAX];
    size_t len = sse_control_format(&control, text);

    cr_expect(str_eq(str_n(text, len),
                     STR("id: 0000000000000001_000000000000002f\n"
                         "event: control\n"
                         "data:{\"streamNextOffset\":\"0000000000000001_000000000000002f\","
                         "\"streamCursor\":\"42\",\"upToDate\":true}\n\n")),
              "%.*s", (int)len, text);
}

Test(sse_frame, the_last_control_event_has_no_cursor)
{
    SseControl control = {.next = {.era = 1}, .cursor = 42, .up_to_date = true, .closed = true};
    char text[SSE_CONTROL_BYTES_MAX];
    size_t len = sse_control_format(&control, text);

    cr_expect(str_ends(str_n(text, len),
                       STR("0000000000000000\",\"upToDate\":true,\"streamClosed\":true}\n\n")),
              "%.*s", (int)len, text);
}

Test(sse_frame, the_longest_control_event_fits)
{
    SseControl control = {
        .next = {.era = UINT64_MAX, .position = UINT64_MAX},
        .cursor = UINT64_MAX,
        .up_to_date = true,
    };
    char text[SSE_CONTROL_BYTES_MAX];

    cr_expect_lt(sse_control_format(&control, text), SSE_CONTROL_BYTES_MAX);
}

Test(sse_frame, readers_of_the_same_range_share_a_frame)
{
    SseFrameCache cache = {0};
    Stream stream = {.serial = 1, .kind = STREAM_TEXT};
    Stream other = {.serial = 2, .kind = STREAM_TEXT};
    HttpHold hold;
    Range range;
    SseFrame *first;
    SseFrame *again;
    SseFrame *foreign;

    http_hold_init(&hold, no_release);
    range_init(&range, 0);
    range_add(&range, STR("x"), &hold);
    range.to = 1;
    first = sse_frame_get(&cache, &stream, &range);
    again = sse_frame_get(&cache, &stream, &range);
    foreign = sse_frame_get(&cache, &other, &range);
    cr_expect_eq(first, again);
    cr_expect_neq(first, foreign, "another stream of the same positions");
    http_hold_drop(&first->hold);
    http_hold_drop(&again->hold);
    http_hold_drop(&foreign->hold);
    for (uint64_t i = 1; i < 4 * SSE_FRAMES_CACHED; i++) {
        SseFrame *frame;

        range.from = i;
        range.to = i + 1;
        frame = sse_frame_get(&cache, &stream, &range);
        http_hold_drop(&frame->hold);
    }
    sse_frame_cache_done(&cache);
    range_done(&range);
}
