/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_payload.c -- a body that is taken as JSON messages reads back, between brackets,
 * as an array of the same messages.
 */
#include "server/payload.h"

#include "common/json_scan.h"

#define ROOM (1u << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
append(Buf *buf, Str bytes)
{
    Error err;

    DS_ASSERT(buf_append(buf, bytes, &err));
}

/* Both walks give the same values, and each ends where the payload says. */
static void
check_same(Str body, const LogPayload *stored)
{
    JsonElements ours;
    JsonElements theirs;
    JsonValue a;
    JsonValue b;
    bool more = true;
    size_t count = 0;
    size_t end = 0;
    Buf array;
    Error err;

    buf_init(&array, ROOM);
    append(&array, STR("["));
    append(&array, str_slice(stored->bytes, 0, stored->bytes.len - (stored->count > 0)));
    append(&array, STR("]"));
    DS_ASSERT(json_elements_init(&ours, buf_str(&array), JSON_DEPTH_MAX, &err));
    DS_ASSERT(json_elements_init(&theirs, body, JSON_DEPTH_MAX, &err));
    while (true) {
        bool more_ours;

        DS_ASSERT(json_elements_next(&theirs, &a, &more, &err));
        DS_ASSERT(json_elements_next(&ours, &b, &more_ours, &err));
        DS_ASSERT(more == more_ours);
        if (!more) {
            break;
        }
        DS_ASSERT(str_eq(a.text, b.text) && a.type == b.type);
        end += a.text.len + 1;
        DS_ASSERT(stored->ends[count++] == end);
    }
    DS_ASSERT(count == stored->count && end == stored->bytes.len);
    buf_done(&array);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Str body = str_n(data, size);
    Payload payload;
    JsonValue value;
    Error err;

    if (size == 0 || size > ROOM / 2) {
        return 0;
    }
    payload_init(&payload);
    if (payload_set_json(&payload, body, &err)) {
        DS_ASSERT(json_scan_value(body, JSON_DEPTH_MAX, &value, &err));
        check_same(body, &payload.view);
    } else {
        DS_ASSERT(payload.view.count == 0);
        DS_ASSERT(!json_scan_value(body, JSON_DEPTH_MAX, &value, &err) ||
                  (value.type != JSON_TYPE_ARRAY &&
                   !json_scan_value(body, JSON_DEPTH_MAX - 1, &value, &err)));
    }
    payload_done(&payload);
    return 0;
}
