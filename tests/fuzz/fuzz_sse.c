/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_sse.c -- the parser against a slow and simple one, and against itself with the
 * bytes cut differently; and the encoder against the parser.
 *
 * The first byte chooses the limit, the second how the rest is cut into feeds.
 */
#include "common/sse.h"

#define TRACE_MAX (1u << 24)
#define NO_LIMIT  (1u << 22)
#define BOM       STR("\xef\xbb\xbf")

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Outcome {
    Buf trace; /* the events, unambiguously */
    bool ok;
    bool partial;
} Outcome;

static void
append(Buf *buf, Str bytes)
{
    Error err;

    DS_ASSERT(buf_append(buf, bytes, &err));
}

static bool
trace_event(void *arg, const SseEvent *event, Error *err)
{
    Outcome *out = arg;

    DS_ASSERT(buf_printf(&out->trace, err, "%zu,%zu,%zu:", event->name.len, event->data.len,
                         event->id.len));
    append(&out->trace, event->name);
    append(&out->trace, event->data);
    append(&out->trace, event->id);
    return true;
}

/* feed_max 0: all at once; else feeds of 1 to feed_max bytes. */
static void
run(Str wire, size_t limit, unsigned feed_max, Outcome *out)
{
    SseParser *parser = sse_new(limit, trace_event, out);
    unsigned random = feed_max;
    Error err = {0};

    *out = (Outcome){.ok = true};
    buf_init(&out->trace, TRACE_MAX);
    while (out->ok && wire.len > 0) {
        random = random * 1103515245 + 12345;
        size_t take = feed_max == 0 ? wire.len : 1 + (random >> 16) % feed_max;

        take = DS_MIN(take, wire.len);
        out->ok = sse_feed(parser, str_n(wire.ptr, take), &err);
        wire = str_skip(wire, take);
    }
    DS_ASSERT(out->ok || err.code == ERR_LIMIT);
    out->partial = out->ok && sse_is_partial(parser);
    sse_free(parser);
}

static bool
cut_line(Str *wire, Str *out_line)
{
    for (size_t i = 0; i < wire->len; i++) {
        if (wire->ptr[i] == '\n' || wire->ptr[i] == '\r') {
            bool is_crlf = wire->ptr[i] == '\r' && i + 1 < wire->len && wire->ptr[i + 1] == '\n';

            *out_line = str_n(wire->ptr, i);
            *wire = str_skip(*wire, i + (is_crlf ? 2 : 1));
            return true;
        }
    }
    return false;
}

/* The algorithm of WHATWG HTML, section 9.2.6, word for word. */
static void
reference(Str wire, Outcome *out)
{
    Str name = STR("");
    Str id = STR("");
    Buf data;
    Str line;
    size_t at;
    Error err;

    *out = (Outcome){.ok = true};
    buf_init(&out->trace, TRACE_MAX);
    buf_init(&data, TRACE_MAX);
    wire = str_starts(wire, BOM) ? str_skip(wire, BOM.len) : wire;
    while (cut_line(&wire, &line)) {
        Str field;
        Str value;

        if (line.len == 0) {
            if (data.len > 0) {
                SseEvent event = {.name = name.len > 0 ? name : STR("message"),
                                  .data = str_n(data.data, data.len - 1),
                                  .id = id};

                (void)trace_event(out, &event, &err);
            }
            buf_reset(&data);
            name = STR("");
            continue;
        }
        (void)str_cut(line, ':', &field, &value);
        value = str_starts(value, STR(" ")) ? str_skip(value, 1) : value;
        if (str_eq(field, STR("event"))) {
            name = value;
        } else if (str_eq(field, STR("data"))) {
            append(&data, value);
            append(&data, STR("\n"));
        } else if (str_eq(field, STR("id")) && !str_find(value, '\0', &at)) {
            id = value;
        }
    }
    buf_done(&data);
}

static void
check_same(Outcome *a, Outcome *b, bool with_partial)
{
    DS_ASSERT(a->ok == b->ok);
    DS_ASSERT(!with_partial || a->partial == b->partial);
    DS_ASSERT(str_eq(buf_str(&a->trace), buf_str(&b->trace)));
}

/* Text comes back with each of its line ends as LF. */
static void
check_encoder(Str text)
{
    SseEvent event = {.name = STR("name"), .id = STR("id")};
    Outcome expected = {.ok = true};
    Outcome parsed;
    Buf wire;
    Buf data;
    Error err;

    buf_init(&wire, TRACE_MAX);
    buf_init(&data, TRACE_MAX);
    buf_init(&expected.trace, TRACE_MAX);
    DS_ASSERT(sse_encode_comment(&wire, text, &err));
    DS_ASSERT(sse_encode(&wire, event.name, event.id, text, &err));
    for (size_t i = 0; i < text.len; i++) {
        bool is_crlf = text.ptr[i] == '\r' && i + 1 < text.len && text.ptr[i + 1] == '\n';

        if (!is_crlf) {
            append(&data, text.ptr[i] == '\r' ? STR("\n") : str_n(text.ptr + i, 1));
        }
    }
    event.data = buf_str(&data);
    (void)trace_event(&expected, &event, &err);
    run(buf_str(&wire), TRACE_MAX, 0, &parsed);
    check_same(&expected, &parsed, true);
    buf_done(&expected.trace);
    buf_done(&parsed.trace);
    buf_done(&wire);
    buf_done(&data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Outcome expected;
    Outcome whole;
    Outcome split;

    if (size < 2) {
        return 0;
    }
    size_t small_limit = data[0];
    unsigned feed_max = data[1] % 32 + 1u;
    Str wire = str_n(data + 2, size - 2);

    reference(wire, &expected);
    run(wire, NO_LIMIT, 0, &whole);
    run(wire, NO_LIMIT, feed_max, &split);
    check_same(&expected, &whole, false);
    check_same(&whole, &split, true);
    buf_done(&expected.trace);
    buf_done(&whole.trace);
    buf_done(&split.trace);
    run(wire, small_limit, 0, &whole);
    run(wire, small_limit, feed_max, &split);
    check_same(&whole, &split, true);
    buf_done(&whole.trace);
    buf_done(&split.trace);
    check_encoder(wire);
    return 0;
}
