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
    Str data; /* data lines joined by '\n', no final newline */
    Str id;   /* last seen id of the stream, "" when none */
} SseEvent;

/* Return false, with *err set, to stop the parser. */
typedef bool (*SseEventFn)(void *arg, const SseEvent *event, Error *err);

/* Cannot fail.  The caller owns the parser; release it with sse_free. */
SseParser *sse_new(size_t event_bytes_max, SseEventFn on_event, void *arg);
void sse_free(SseParser *parser); /* accepts NULL; not from inside on_event */
void sse_reset(SseParser *parser); /* as new, for the next connection */

/* ERR_LIMIT once an event outgrows event_bytes_max, and whatever on_event said; then only sse_reset
 * and sse_free are legal. */
DS_MUST_CHECK bool sse_feed(SseParser *parser, Str bytes, Error *err);
/* Bytes of an unfinished event are held: at end of stream they are dropped, never dispatched. */
bool sse_is_partial(const SseParser *parser);

/* Encoder.  name and id must have no line break; each CR, LF or CRLF in data starts a new data
 * line, with no space after the colon.  id may be empty (left out), and stands before the name. */
DS_MUST_CHECK bool sse_encode(Buf *out, Str name, Str id, Str data, Error *err);
DS_MUST_CHECK bool sse_encode_comment(Buf *out, Str text, Error *err);

/* Standard base64 (RFC 4648, padded).  Decoding skips CR and LF, refuses all else that is foreign. */
DS_MUST_CHECK bool base64_encode(Buf *out, Str bytes, Error *err);
DS_MUST_CHECK bool base64_decode(Buf *out, Str text, Error *err);
