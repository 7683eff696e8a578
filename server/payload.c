/* SPDX-License-Identifier: Apache-2.0 */
#include "server/payload.h"

#include "common/json_scan.h"
#include "common/mem.h"

void
payload_init(Payload *payload)
{
    payload->view = (LogPayload){.bytes = STR_EMPTY};
    payload->bytes = payload->bytes_inline;
    payload->ends = payload->ends_inline;
    payload->ends_cap = PAYLOAD_ENDS_INLINE;
}

void
payload_done(Payload *payload)
{
    if (payload->bytes != payload->bytes_inline) {
        free(payload->bytes);
    }
    if (payload->ends != payload->ends_inline) {
        free(payload->ends);
    }
}

static void
push_end(Payload *payload, size_t end)
{
    if (payload->view.count == payload->ends_cap) {
        bool was_inline = payload->ends == payload->ends_inline;

        payload->ends_cap *= 2;
        payload->ends = mem_regrow(was_inline ? NULL : payload->ends, payload->ends_cap,
                                   sizeof(*payload->ends));
        if (was_inline) {
            memcpy(payload->ends, payload->ends_inline, sizeof(payload->ends_inline));
        }
    }
    payload->ends[payload->view.count++] = (uint32_t)end;
}

void
payload_set_bytes(Payload *payload, Str body)
{
    if (body.len > 0) {
        payload->view.bytes = body;
        push_end(payload, body.len);
        payload->view.ends = payload->ends;
    }
}

bool
payload_set_json(Payload *payload, Str body, Error *err)
{
    JsonElements it;
    JsonValue value;
    bool more = true;
    size_t len = 0;

    DS_ASSERT(body.len < CHUNK_APPEND_BYTES_MAX);
    /* Elements and commas never take more than the body, but for the comma of a lone value. */
    if (body.len + 1 > PAYLOAD_BYTES_INLINE) {
        payload->bytes = mem_alloc(body.len + 1);
    }
    if (!json_elements_init(&it, body, JSON_DEPTH_MAX, err)) {
        return false;
    }
    /* Whoever reads it back finds it in an array. */
    it.depth_max = it.is_array ? JSON_DEPTH_MAX : JSON_DEPTH_MAX - 1;
    while (true) {
        if (!json_elements_next(&it, &value, &more, err)) {
            payload->view.count = 0;
            return false;
        }
        if (!more) {
            break;
        }
        memcpy(payload->bytes + len, value.text.ptr, value.text.len);
        len += value.text.len;
        payload->bytes[len++] = ',';
        push_end(payload, len);
    }
    payload->view.bytes = str_n(payload->bytes, len);
    payload->view.ends = payload->ends;
    return true;
}
