/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_http_chunks.c -- chunked bodies against a second decoder that sees all at once,
 * and in pieces of every size.
 *
 * The first byte chooses the size of the pieces.  Any bytes, put into chunks, must come out again.
 */
#include "common/http_parse.h"

#define BODY_BYTES_MAX 65536

typedef struct Outcome {
    HttpParseResult result;
    size_t used;
    size_t body_len;
    char body[BODY_BYTES_MAX];
} Outcome;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
decode(Str in, size_t piece, Outcome *out)
{
    HttpChunks chunks = {0};
    HttpParseFault fault = {0};
    size_t at = 0;

    out->result = HTTP_PARSE_MORE;
    out->body_len = 0;
    while (out->result == HTTP_PARSE_MORE && at < in.len) {
        Str view = str_n(in.ptr + at, DS_MIN(piece, in.len - at));
        size_t len = view.len;
        Str data;

        while ((out->result = http_chunks_next(&chunks, &view, &data, &fault)) == HTTP_PARSE_DATA) {
            DS_ASSERT(data.len > 0 && out->body_len + data.len <= sizeof(out->body));
            memcpy(out->body + out->body_len, data.ptr, data.len);
            out->body_len += data.len;
        }
        DS_ASSERT(out->result != HTTP_PARSE_MORE || view.len == 0);
        DS_ASSERT(out->result != HTTP_PARSE_BAD || fault.status == 400 || fault.status == 431);
        at += len - view.len;
    }
    out->used = at;
}

/* A line that ends with CR LF, without them; false when there is none. */
static bool
take_line(Str *rest, Str *out)
{
    for (size_t i = 0; i + 1 < rest->len; i++) {
        if (rest->ptr[i] == '\r' && rest->ptr[i + 1] == '\n') {
            *out = str_n(rest->ptr, i);
            *rest = str_skip(*rest, i + 2);
            return true;
        }
    }
    return false;
}

static uint64_t
size_of(Str line)
{
    uint64_t size = 0;

    for (size_t i = 0; i < line.len && line.ptr[i] != ';'; i++) {
        const char *digits = "0123456789abcdef";
        int c = line.ptr[i] >= 'A' && line.ptr[i] <= 'F' ? line.ptr[i] + 32 : line.ptr[i];
        const char *found = c != 0 ? strchr(digits, c) : NULL;

        DS_ASSERT(found != NULL);
        size = size * 16 + (uint64_t)(found - digits);
    }
    return size;
}

/* What was accepted must say the same here. */
static void
check_accepted(Str in, const Outcome *got)
{
    Str rest = in;
    size_t body = 0;
    Str line;

    for (;;) {
        DS_ASSERT(take_line(&rest, &line));
        uint64_t size = size_of(line);
        if (size == 0) {
            break;
        }
        DS_ASSERT(size + 2 <= rest.len && body + size <= got->body_len);
        DS_ASSERT(memcmp(got->body + body, rest.ptr, size) == 0);
        DS_ASSERT(rest.ptr[size] == '\r' && rest.ptr[size + 1] == '\n');
        body += size;
        rest = str_skip(rest, size + 2);
    }
    do {
        DS_ASSERT(take_line(&rest, &line));
    } while (line.len > 0);
    DS_ASSERT(body == got->body_len && got->used == in.len - rest.len);
}

/* Any bytes as a body, in chunks of that many. */
static void
check_body(Str body, size_t chunk)
{
    static char wire[4 * BODY_BYTES_MAX];
    static Outcome out;
    size_t len = 0;

    for (size_t at = 0; at < body.len; at += chunk) {
        size_t take = DS_MIN(chunk, body.len - at);

        len += (size_t)snprintf(wire + len, sizeof(wire) - len, "%zX\r\n", take);
        memcpy(wire + len, body.ptr + at, take);
        memcpy(wire + len + take, "\r\n", 2);
        len += take + 2;
    }
    memcpy(wire + len, "0\r\n\r\nGET", 8);
    decode(str_n(wire, len + 8), chunk, &out);
    DS_ASSERT(out.result == HTTP_PARSE_DONE && out.used == len + 5);
    DS_ASSERT(str_eq(str_n(out.body, out.body_len), body));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Outcome whole;
    static Outcome pieces;

    if (size < 1 || size > BODY_BYTES_MAX / 4) {
        return 0;
    }
    Str in = str_n(data + 1, size - 1);
    size_t piece = 1 + data[0] % 64;
    decode(in, SIZE_MAX, &whole);
    decode(in, piece, &pieces);
    DS_ASSERT(whole.result == pieces.result && whole.body_len == pieces.body_len);
    DS_ASSERT(memcmp(whole.body, pieces.body, whole.body_len) == 0);
    if (whole.result == HTTP_PARSE_DONE) {
        DS_ASSERT(whole.used == pieces.used);
        check_accepted(in, &whole);
    }
    check_body(in, piece);
    return 0;
}
