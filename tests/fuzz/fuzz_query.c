/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_query.c -- parameters are found where a second reader finds them, and what was
 * percent-encoded comes back.
 *
 * The bytes up to the first zero are the key, the rest the query.
 */
#include "server/query.h"

#define ROOM 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_find(Str query, Str key)
{
    Str found = STR_EMPTY;
    Str first = STR_EMPTY;
    size_t count = 0;
    size_t expected = 0;
    size_t begin = 0;

    for (size_t i = 0; i <= query.len; i++) {
        if (i < query.len && query.ptr[i] != '&') {
            continue;
        }
        Str pair = str_n(query.ptr + begin, i - begin);
        bool bare = pair.len == key.len;
        /* A query that ends with '&' has no parameter behind it. */
        if ((i < query.len || begin < query.len) && pair.len >= key.len &&
            memcmp(pair.ptr, key.ptr, key.len) == 0 && (bare || pair.ptr[key.len] == '=')) {
            Str value = bare ? STR_EMPTY : str_skip(pair, key.len + 1);

            first = expected++ == 0 ? value : first;
        }
        begin = i + 1;
    }
    bool ok = query_find(query, key, &found, &count);
    DS_ASSERT(ok == (expected > 0) && count == expected);
    DS_ASSERT(!ok || str_eq(found, first));
}

static void
check_decode(Str raw)
{
    Buf out;
    Error err = {0};
    size_t percents = 0;

    for (size_t i = 0; i < raw.len; i++) {
        percents += raw.ptr[i] == '%';
    }
    buf_init(&out, ROOM);
    DS_ASSERT(buf_append(&out, STR("kept"), &err));
    if (percent_decode(raw, &out, &err)) {
        DS_ASSERT(out.len == 4 + raw.len - 2 * percents);
    } else {
        DS_ASSERT(err.code == ERR_INPUT && percents > 0 && out.len == 4);
    }
    buf_done(&out);
}

static void
check_encoded(Str bytes)
{
    Buf encoded;
    Buf out;
    Error err;

    buf_init(&encoded, ROOM);
    buf_init(&out, ROOM);
    for (size_t i = 0; i < bytes.len; i++) {
        DS_ASSERT(buf_printf(&encoded, &err, i % 2 != 0 ? "%%%02X" : "%%%02x",
                             (unsigned char)bytes.ptr[i]));
    }
    DS_ASSERT(percent_decode(buf_str(&encoded), &out, &err));
    DS_ASSERT(str_eq(buf_str(&out), bytes));
    buf_done(&encoded);
    buf_done(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Str all = str_n(data, size);
    Str key;
    Str query;

    if (size > ROOM / 4) {
        return 0;
    }
    /* A key is a word of ours: never with a separator in it. */
    if (str_cut(all, '\0', &key, &query) && memchr(key.ptr, '&', key.len) == NULL &&
        memchr(key.ptr, '=', key.len) == NULL && key.len > 0) {
        check_find(query, key);
    }
    check_decode(all);
    check_encoded(all);
    return 0;
}
