/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_name.c -- what is accepted as a name keeps every rule, and has one spelling that
 * is read back as itself; and query parameters, which share the decoder.
 *
 * The first two bytes choose the limits.
 */
#include "server/name.h"

#include "server/query.h"

#define ROOM 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_name(Str name, const NameLimits *limits)
{
    Buf encoded;
    Buf again;
    Error err;
    size_t slashes = 0;

    DS_ASSERT(name.len > 0 && name.len <= limits->bytes_max);
    DS_ASSERT(str_is_utf8(name) && !str_contains_ctl(name));
    buf_init(&encoded, ROOM);
    buf_init(&again, ROOM);
    for (size_t i = 0; i < name.len; i++) {
        slashes += name.ptr[i] == '/';
        DS_ASSERT(name.ptr[i] == '/'
                      ? buf_append_char(&encoded, '/', &err)
                      : buf_printf(&encoded, &err, "%%%02X", (unsigned)(unsigned char)name.ptr[i]));
    }
    DS_ASSERT(slashes < limits->segments_max);
    DS_ASSERT(name_decode(buf_str(&encoded), limits, &again, &err));
    DS_ASSERT(str_eq(buf_str(&again), name));
    buf_done(&encoded);
    buf_done(&again);
}

/* A found value stands in the query behind its key. */
static void
check_query(Str query)
{
    Str key;
    Str rest;
    Str raw;
    size_t count;

    str_cut(query, '=', &key, &rest);
    if (query_find(query, key, &raw, &count)) {
        DS_ASSERT(count > 0 && raw.len <= query.len);
        DS_ASSERT(raw.len == 0 ||
                  (raw.ptr >= query.ptr && raw.ptr + raw.len <= query.ptr + query.len));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    NameLimits limits;
    Str raw;
    Buf name;
    Error err;

    if (size < 2 || size > ROOM / 8) {
        return 0;
    }
    limits = (NameLimits){.bytes_max = 1 + data[0] * 8u, .segments_max = 1 + data[1] % 16};
    raw = str_n(data + 2, size - 2);
    check_query(raw);
    buf_init(&name, ROOM);
    if (name_decode(raw, &limits, &name, &err)) {
        check_name(buf_str(&name), &limits);
    } else {
        DS_ASSERT(err.code == ERR_INPUT && name.len == 0);
    }
    buf_done(&name);
    return 0;
}
