/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/http_parse.h -- HTTP/1.1 request heads and chunked bodies, strict and bounded (RFC 9112).
 *
 * Pure: bytes in, views and verdicts out; no I/O, no allocation, no clock.  Strict on purpose: what
 * two implementations could read in two ways (bare CR or LF, folded lines, Content-Length beside
 * Transfer-Encoding, repeated framing fields, blanks before a colon) is refused, never repaired, so
 * that a proxy and this parser cannot disagree about where a request ends.
 */
#pragma once

#include "common/str.h"

#define HTTP_HEAD_BYTES_MAX            65536 /* request line and fields, with the empty line */
#define HTTP_TARGET_BYTES_MAX          8192
#define HTTP_METHOD_BYTES_MAX          32
#define HTTP_FIELDS_MAX                100
#define HTTP_CHUNK_LINE_BYTES_MAX      1024  /* one chunk-size line with its extensions */
#define HTTP_CHUNK_EXTENSION_BYTES_MAX 16384 /* all extensions of one body */
#define HTTP_TRAILER_BYTES_MAX         8192  /* read, bounded, dropped */

typedef enum HttpMethod {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_OTHER, /* a token that is none of these: method_text says which */
    HTTP_METHOD_COUNT
} HttpMethod;

typedef struct HttpField {
    Str name;
    Str value; /* without the blanks around it */
} HttpField;

typedef enum HttpBodyKind { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED } HttpBodyKind;

/* All views point into the parsed bytes. */
typedef struct HttpRequestHead {
    HttpMethod method;
    Str method_text;
    Str path;  /* raw, never empty; "/..." or, for OPTIONS only, "*" */
    Str query; /* raw, behind the first '?'; empty without one */
    bool has_query;
    Str host;  /* of the target if it is absolute, else of Host; may be empty */
    int minor; /* HTTP/1.<minor>: 0 or 1 */
    bool keep_alive;
    bool expect_continue;
    HttpBodyKind body_kind;
    uint64_t content_length; /* HTTP_BODY_LENGTH */
    size_t bytes;            /* length of the head: the body begins behind it */
    uint32_t initials;       /* http_initial of every field's name */
    size_t field_count;
    HttpField fields[HTTP_FIELDS_MAX];
} HttpRequestHead;

typedef enum HttpParseResult {
    HTTP_PARSE_MORE, /* all bytes used or kept: come back with more of them */
    HTTP_PARSE_DATA, /* chunks only: *out_data holds decoded bytes */
    HTTP_PARSE_DONE,
    HTTP_PARSE_BAD, /* the fault says what to answer; the connection cannot be read further */
} HttpParseResult;

typedef struct HttpParseFault {
    int status;       /* 400, 414, 417, 431, 501 or 505 */
    const char *text; /* what is wrong; static, without any byte of the request */
} HttpParseFault;

/* `scanned` is the caller's memory between calls for one head: 0 at first, so that a head that
 * comes byte by byte is looked at once.  `out` means something only after HTTP_PARSE_DONE.
 */
DS_MUST_CHECK HttpParseResult http_parse_head(Str bytes, size_t *scanned, HttpRequestHead *out,
                                              HttpParseFault *fault);

/* The bit that stands for names which begin like this one, in either case.  Most fields that are
 * looked for are not there, and so that is known without a look at the fields. */
static inline uint32_t
http_initial(char c)
{
    return UINT32_C(1) << (c & 31);
}

/* The first field of that name (case-insensitive); false when absent.  *out_count, if not NULL, is
 * how many there are. */
bool http_fields_get(const HttpField *fields, size_t count, Str name, Str *out, size_t *out_count);

/* The same of a head: how many there are; *out is the first. */
size_t http_request_field(const HttpRequestHead *head, Str name, Str *out);

typedef enum HttpChunkState {
    HTTP_CHUNK_SIZE_FIRST,
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK_EXTENSION,
    HTTP_CHUNK_SIZE_LF,
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_DATA_CR,
    HTTP_CHUNK_DATA_LF,
    HTTP_CHUNK_TRAILER_START,
    HTTP_CHUNK_TRAILER_NAME,
    HTTP_CHUNK_TRAILER_VALUE,
    HTTP_CHUNK_TRAILER_LF,
    HTTP_CHUNK_END_LF,
    HTTP_CHUNK_DONE,
    HTTP_CHUNK_STATE_COUNT
} HttpChunkState;

/* Zeroed before the first byte of a body. */
typedef struct HttpChunks {
    HttpChunkState state;
    uint64_t left;    /* bytes of this chunk still to come */
    size_t line;      /* bytes of this chunk-size line so far */
    size_t extension; /* bytes of all extensions so far */
    size_t trailer;   /* bytes of all trailer fields so far */
} HttpChunks;

/* Takes bytes from the front of *in.  HTTP_PARSE_DATA: call again; HTTP_PARSE_MORE: *in is used up;
 * HTTP_PARSE_DONE: *in begins behind the body. */
DS_MUST_CHECK HttpParseResult http_chunks_next(HttpChunks *chunks, Str *in, Str *out_data,
                                               HttpParseFault *fault);
