/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_http_parse.c -- any bytes as a request, whole and in two pieces.
 *
 * Besides memory errors it looks for a parser whose answer depends on how the bytes arrive: the
 * first byte of the input chooses where they are cut.
 */
#include "common/http_parse.h"

#define SAME(condition) DS_ASSERT(condition)

typedef struct Outcome {
    HttpParseResult head;
    HttpParseResult body;
    int status;
    size_t head_bytes;
    uint64_t body_bytes;
    uint64_t body_hash;
} Outcome;

static HttpParseResult
run_chunks(HttpChunks *chunks, Str in, Outcome *out)
{
    HttpParseFault fault;
    HttpParseResult result;
    Str data;

    while ((result = http_chunks_next(chunks, &in, &data, &fault)) == HTTP_PARSE_DATA) {
        SAME(data.len > 0);
        for (size_t i = 0; i < data.len; i++) {
            out->body_hash = out->body_hash * 31 + (unsigned char)data.ptr[i];
        }
        out->body_bytes += data.len;
    }
    if (result == HTTP_PARSE_BAD) {
        out->status = fault.status;
    }
    return result;
}

static Outcome
run(Str bytes, size_t cut)
{
    static HttpRequestHead head;
    HttpParseFault fault = {0};
    Outcome out = {0};
    size_t scanned = 0;

    out.head = http_parse_head(str_n(bytes.ptr, cut), &scanned, &head, &fault);
    if (out.head == HTTP_PARSE_MORE) {
        out.head = http_parse_head(bytes, &scanned, &head, &fault);
    }
    out.status = fault.status;
    if (out.head != HTTP_PARSE_DONE) {
        return out;
    }
    SAME(head.bytes <= bytes.len && head.path.len > 0 && head.field_count <= HTTP_FIELDS_MAX);
    out.head_bytes = head.bytes;
    if (head.body_kind == HTTP_BODY_CHUNKED) {
        HttpChunks chunks = {0};
        size_t middle = DS_MAX(cut, head.bytes);

        out.body = run_chunks(&chunks, str_n(bytes.ptr + head.bytes, middle - head.bytes), &out);
        if (out.body == HTTP_PARSE_MORE) {
            out.body = run_chunks(&chunks, str_n(bytes.ptr + middle, bytes.len - middle), &out);
        }
    }
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    Str bytes = str_n(data + 1, size - 1);
    size_t cut = bytes.len * data[0] / 255;
    Outcome whole = run(bytes, bytes.len);
    Outcome split = run(bytes, cut);

    SAME(whole.head == split.head && whole.status == split.status);
    SAME(whole.head_bytes == split.head_bytes && whole.body == split.body);
    SAME(whole.body_bytes == split.body_bytes && whole.body_hash == split.body_hash);
    return 0;
}
