/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_state_change.c -- whatever a message is: it is a fault, or each part of it lies
 * in the message and is what the writer relies on.
 */
#include "syncd/state_change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_inside(Str message, Str part, char first)
{
    DS_ASSERT(part.len > 0);
    DS_ASSERT(part.ptr >= message.ptr && part.ptr + part.len <= message.ptr + message.len);
    DS_ASSERT(first == '\0' || part.ptr[0] == first);
}

static void
check_name(Str message, Str name, size_t bytes_max)
{
    Buf text;
    Error err;

    check_inside(message, name, '"');
    DS_ASSERT(name.len <= bytes_max);
    buf_init(&text, bytes_max);
    DS_ASSERT(json_unescape(name, &text, &err));
    DS_ASSERT(text.len == 0 || memchr(text.data, '\0', text.len) == NULL);
    buf_done(&text);
}

static void
check_change(Str message, const StateChange *change)
{
    check_name(message, change->type, STATE_TYPE_BYTES_MAX);
    check_name(message, change->key, STATE_KEY_BYTES_MAX);
    switch (change->op) {
    case STATE_SET:
        check_inside(message, change->value, '\0');
        break;
    case STATE_APPEND_STRING:
        check_inside(message, change->value, '"');
        break;
    case STATE_APPEND_ARRAY:
        check_inside(message, change->value, '[');
        break;
    case STATE_DELETE:
        DS_ASSERT(change->value.ptr == NULL);
        break;
    case STATE_RESET:
    case STATE_SNAPSHOT_START:
    case STATE_SNAPSHOT_END:
        DS_UNREACHABLE("a mark");
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    JsonValue value;
    StateChange change;
    Error err;

    if (!json_scan_value(str_n(data, size), JSON_DEPTH_MAX, &value, &err)) {
        return 0;
    }
    if (!state_change_parse(value.text, &change, &err)) {
        DS_ASSERT(err.code == ERR_INPUT);
    } else if (state_op_is_mark(change.op)) {
        DS_ASSERT(change.type.ptr == NULL && change.key.ptr == NULL && change.value.ptr == NULL);
    } else {
        check_change(value.text, &change);
    }
    return 0;
}
