/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_base64.c -- any bytes survive, and a text that decodes is the only one of its
 * value, line breaks aside.
 */
#include "common/base64.h"

#define BYTES_MAX (1u << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_bytes(Str bytes)
{
    Buf text;
    Buf again;
    Error err;

    buf_init(&text, BYTES_MAX);
    buf_init(&again, bytes.len);
    DS_ASSERT(base64_encode(&text, bytes, &err));
    DS_ASSERT(text.len == (bytes.len + 2) / 3 * 4);
    DS_ASSERT(base64_decode(&again, buf_str(&text), &err));
    DS_ASSERT(str_eq(buf_str(&again), bytes));
    buf_done(&text);
    buf_done(&again);
}

static void
check_text(Str text)
{
    Buf bytes;
    Buf again;
    Buf plain;
    Error err;

    buf_init(&bytes, BYTES_MAX);
    buf_init(&again, BYTES_MAX);
    buf_init(&plain, BYTES_MAX);
    if (base64_decode(&bytes, text, &err)) {
        for (size_t i = 0; i < text.len; i++) {
            if (text.ptr[i] != '\r' && text.ptr[i] != '\n') {
                DS_ASSERT(buf_append_char(&plain, text.ptr[i], &err));
            }
        }
        DS_ASSERT(base64_encode(&again, buf_str(&bytes), &err));
        DS_ASSERT(str_eq(buf_str(&again), buf_str(&plain)));
    } else {
        DS_ASSERT(err.code == ERR_INPUT && bytes.len == 0);
    }
    buf_done(&bytes);
    buf_done(&again);
    buf_done(&plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_bytes(str_n(data, size));
    check_text(str_n(data, size));
    return 0;
}
