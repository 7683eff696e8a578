/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/sse.h -- turn the bytes of a text/event-stream into events, and back.
 *
 * A push parser: feed it whatever the socket gave, it calls back once per complete event.
 * No I/O, no logging, no clock: unit tests, the fuzzer, syncd and dsctl drive the same code.
 * (WHATWG HTML, "server-sent events"; Durable Streams protocol, section 5.8.)
 */
#pragma once

#include "common/buf.h"

typedef struct SseParser SseParser;

/* Views are borrowed: they die when the callback returns. */
typedef struct SseEvent {
    Str name; /* "message" when the stream named none */
    Str data; /* data lines joined by '\n', no final newline; its UTF-8 is not checked */
    Str id;   /* last seen id of the stream, "" when none */
} SseEvent;

/* Return false, with *err set, to stop the parser. */
typedef bool (*SseEventFn)(void *arg, const SseEvent *event, Error *err);

/* Cannot fail.  The caller owns the parser; release it with sse_free. */
SseParser *sse_new(size_t event_bytes_max, SseEventFn on_event, void *arg);
void sse_free(SseParser *parser);  /* accepts NULL; not from inside on_event */
void sse_reset(SseParser *parser); /* as new, for the next connection; not from inside on_event */

/* Gives back memory that is not in use, when no event is expected soon; not from inside on_event.
 */
void sse_rest(SseParser *parser);

/* ERR_LIMIT once the lines of an event (line ends and comments aside) outgrow event_bytes_max, and
 * whatever on_event said; then only sse_reset and sse_free are legal.  How the bytes are cut into
 * feeds changes nothing.  Not from inside on_event. */
DS_MUST_CHECK bool sse_feed(SseParser *parser, Str bytes, Error *err);
/* Bytes of an unfinished event are held: at end of stream they are dropped, never dispatched. */
bool sse_is_partial(const SseParser *parser);

/* Encoder.  Both append to out, and leave it as it was when they fail.
 *
 * name and id may be empty (left out) and must have no line break (ERR_INPUT); the id stands before
 * the name.  Each CR, LF or CRLF in data starts a new data line, with no space after the colon,
 * except where a line itself begins with a space: parsers would take that one away. */
DS_MUST_CHECK bool sse_encode(Buf *out, Str name, Str id, Str data, Error *err);
/* Comment lines and a blank line. */
DS_MUST_CHECK bool sse_encode_comment(Buf *out, Str text, Error *err);
