/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/source_internal.h -- what source.c (requests, their ends), source_sse.c and source_poll.c
 * share.
 */
#pragma once

#include "common/sse.h"
#include "syncd/control.h"
#include "syncd/source.h"

typedef enum SourceMode {
    SOURCE_NONE, /* nothing runs */
    SOURCE_HEAD,
    SOURCE_SSE,
    SOURCE_POLL,
} SourceMode;

typedef enum SourceContent {
    SOURCE_JSON,  /* SSE, messages */
    SOURCE_BYTES, /* SSE, base64 */
    SOURCE_TEXT,  /* GET and long-poll */
} SourceContent;

struct Source {
    SourceConfig config;
    char *url;
    const SourceCallbacks *callbacks;
    void *arg;
    SourceMode mode;
    SourceContent content;
    GateUser opening;       /* until the head of the answer is there */
    HttpTransfer *transfer; /* NULL while it stands in line */
    SseParser *sse;
    bool paused;
    bool up_to_date;

    Position position; /* offset to ask for, and how much behind it is handed over already */
    int64_t drop;      /* of that, still to be passed over on this connection */
    Unit *unit;        /* being gathered */
    char cursor[CONTROL_CURSOR_BYTES_MAX + 1];
    bool live; /* polls: the end was reached, wait there */

    int64_t opened_ms;
    bool moved;
    bool answered;      /* a head with a status to read on */
    SourceEnd *failure; /* what the head says; NULL: nothing bad */
    Buf decoded;        /* base64 */

    /* Of a poll's head, or of a HEAD. */
    char next_offset[OFFSET_BYTES_MAX + 1];
    Buf content_type;
    bool closed;
    bool head_up_to_date;
    int64_t ttl_s;
};

/* source.c */
void source_tell_read(Source *source); /* unless the read is over */
/* Ends this read before the server does; from inside a callback of the transfer. */
void source_cut(Source *source, const SourceEnd *end);
/* The same, for an error of the server's doing. */
void source_fail(Source *source, SourceEndKind kind, const Error *err);
void source_finish(Source *source,
                   const SourceEnd *end); /* nothing runs any more; tells the session */
Unit *source_unit(Source *source);        /* the one being gathered */
/* Hands the unit over, ended by a position; an empty one that moves nothing is dropped. */
void source_deliver(Source *source, Str end_offset, int64_t end_skip, bool closed);
DS_MUST_CHECK bool source_check_next(Source *source, Str next, Error *err);
void source_start(Source *source, const char *method, Str query, const HttpCallbacks *callbacks,
                  int64_t total_ms_max);
/* The position's query, e.g. "offset=-1&live=sse"; mode "" for a plain GET. */
DS_MUST_CHECK bool source_query(Source *source, const char *live, Buf *out, Error *err);
bool source_head_judge(Source *source, const HttpHead *head); /* false: source->failure says why */
void source_read_head(Source *source, const HttpHead *head);  /* fills next_offset, closed, ... */
void source_on_done(void *arg, const HttpResult *result);

/* source_sse.c */
void source_sse_open(Source *source);
void source_sse_done(Source *source, SourceEnd *end); /* the reply ended in order: judge it */

/* source_poll.c */
void source_poll_open(Source *source);
void source_poll_done(Source *source, SourceEnd *end);
