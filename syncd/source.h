/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd/source.h -- reads one Durable Stream and hands over units, each with the position behind
 * it.
 *
 * JSON streams and byte streams come over SSE, text streams by GET and long-poll: SSE is not
 * byte-exact for text (a CR, a character cut in two).  A data event counts only with its control
 * event; what was committed of an event is read again and dropped.  The source keeps its place in
 * memory between connections; it decides nothing: how a read ended goes to the session, which opens
 * it again or not.  A request, but for a long-poll, waits for its turn at the server's gate.
 */
#pragma once

#include "common/http_client.h"
#include "syncd/gate.h"
#include "syncd/unit.h"

typedef struct Source Source;

typedef struct SourceConfig {
    const char *url; /* of the stream, without a query; copied */
    HttpClient *client;
    Gate *gate;             /* of the server; outlives the source */
    int64_t idle_ms_max;    /* a connection without a byte for this long is dead */
    int64_t request_ms_max; /* of a HEAD */
    UnitLimits limits;
} SourceConfig;

typedef enum SourceEndKind {
    SOURCE_END_CYCLE,     /* the server ended the read in order: open again */
    SOURCE_END_CLOSED,    /* the stream is closed, and read to its end */
    SOURCE_END_MISSING,   /* 404 */
    SOURCE_END_GONE,      /* 410 */
    SOURCE_END_WENT_BACK, /* its end is before what we have: another stream, or one that lost data
                           */
    SOURCE_END_RETRY,     /* network, 5xx and the like */
    SOURCE_END_AUTH,      /* 401, 403 */
    SOURCE_END_PROTOCOL,  /* the server does not follow the protocol */
    SOURCE_END_FATAL,     /* no retry can mend it */
} SourceEndKind;

typedef struct SourceEnd {
    SourceEndKind kind;
    Error err;              /* for all but CYCLE and CLOSED */
    int64_t retry_after_ms; /* 0: not asked for */
    int64_t open_ms;        /* how long this read took */
    bool moved;             /* the position moved during it */
    bool waits_next;        /* the next read will wait at the server: open it at once */
} SourceEnd;

typedef struct SourceProbe {
    Str content_type; /* borrowed until the callback returns */
    Str next_offset;  /* "" when absent */
    bool closed;
    int64_t ttl_s; /* 0: none */
} SourceProbe;

typedef struct SourceCallbacks {
    void (*on_probe)(void *arg, const SourceProbe *probe); /* HEAD was answered with 200 */
    void (*on_unit)(void *arg, Unit *unit);                /* the unit is the callee's */
    void (*on_read)(void *arg); /* an answer to GET began, or a piece of it came: time to pause */
    /* Once per source_probe or source_open, unless on_probe came or it was closed; nothing runs
     * then. */
    void (*on_end)(void *arg, const SourceEnd *end);
} SourceCallbacks;

Source *source_new(const SourceConfig *config, const SourceCallbacks *callbacks, void *arg);
void source_free(Source *source); /* accepts NULL */

void source_probe(Source *source);                          /* HEAD */
void source_seek(Source *source, const Position *position); /* where the next open begins */
/* Passes over what is before the offset, which must be valid: hands over an empty unit that ends
 * there.  After source_set_content_type. */
void source_skip_to(Source *source, Str offset);
void source_set_content_type(Source *source, Str content_type); /* decides how it is read */
UnitKind source_unit_kind(const Source *source);                /* as the content type says */
void source_open(Source *source);
void source_close(Source *source); /* no callback comes; the place is kept, half a unit is not */

void source_pause(Source *source); /* back-pressure; what is under way may still come */
void source_resume(Source *source);

bool source_is_up_to_date(const Source *source);
bool source_is_behind(const Source *source); /* it reads, and more is known to come */
const Position *source_position(const Source *source);
