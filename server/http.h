/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http.h -- the contract between the HTTP engine and what answers requests.
 *
 * The engine reads a whole request (head and body, bounded), then calls a handler on the thread of
 * the connection's loop with an HttpExchange.  The handler either answers at once, or calls
 * exchange_wait and answers later on the same thread.  An exchange is owned by the engine; for the
 * handler it is dead
 *   - when reply_send, reply_problem, stream_end or exchange_abort was called on it, or
 *   - when its on_cancel was called (the client went away, stalled, or the server stops).
 * One of the two happens exactly once.
 *
 * Threads: an exchange, and everything here that takes one, belongs to its loop's thread.  Only
 * net_loop_post and http_hold_take/drop may be called from any thread.
 *
 * The engine adds to every reply: Date, X-Content-Type-Options, Cross-Origin-Resource-Policy, the
 * CORS fields, Content-Length or Transfer-Encoding, Connection.  Handlers add none of these.
 */
#pragma once

#include <stdatomic.h>

#include "common/http_parse.h"
#include "common/loop.h"
#include "common/str.h"

typedef struct HttpExchange HttpExchange;
typedef struct NetLoop NetLoop;

/* ---- the request ---- */

/* Every view is borrowed until the handler returns, even when it answered before; what is needed
 * later is copied.  The body may be taken instead. */
typedef struct HttpRequestView {
    HttpMethod method;
    Str method_text;
    Str path;  /* raw: percent-decoding is the handler's */
    Str query; /* raw, without '?' */
    bool has_query;
    Str host;          /* "" only in HTTP/1.0 */
    Str body;          /* complete, at most DS_LIMITS__MAX_REQUEST_BODY_BYTES */
    Str peer;          /* "127.0.0.1:5555", for logs */
    int minor;         /* HTTP/1.<minor> */
    bool admin;        /* came in on the admin listener */
    bool tls;          /* came in through TLS that ends here */
    uint32_t initials; /* of the fields' names: http_initial */
    size_t field_count;
    const HttpField *fields;
} HttpRequestView;

const HttpRequestView *exchange_request(const HttpExchange *exchange);
/* The first field of that name, case-insensitive; false when absent.  *out_count (may be NULL)
 * tells a repeated field. */
bool exchange_field(const HttpExchange *exchange, const char *name, Str *out, size_t *out_count);
/* The body becomes the caller's: free() it.  Without a copy when it is large.  NULL when empty. */
char *exchange_body_take(HttpExchange *exchange, size_t *out_len);
NetLoop *exchange_loop(const HttpExchange *exchange);

/* ---- bytes that outlive a call ---- */

/* A reference count to embed in what owns bytes: a committed range, an encoded SSE frame.  release
 * is called once, by whoever drops the last reference, on that thread. */
typedef struct HttpHold {
    atomic_uint refs;
    void (*release)(struct HttpHold *hold);
} HttpHold;

static inline void
http_hold_init(HttpHold *hold, void (*release)(HttpHold *hold)) /* with one reference */
{
    atomic_init(&hold->refs, 1);
    hold->release = release;
}
static inline void
http_hold_take(HttpHold *hold)
{
    atomic_fetch_add_explicit(&hold->refs, 1, memory_order_relaxed);
}
static inline void
http_hold_drop(HttpHold *hold)
{
    if (atomic_fetch_sub_explicit(&hold->refs, 1, memory_order_acq_rel) == 1) {
        hold->release(hold);
    }
}

/* A hold with one reference that owns malloc'ed data: for a body made for one reply.  Drop it after
 * reply_send or stream_write. */
HttpHold *http_hold_new(char *data);

/* An open file that pieces lie in; to embed, like a hold. */
typedef struct HttpFile {
    HttpHold hold; /* whose release lets go of the descriptor */
    int fd;
} HttpFile;

/* With one reference; the descriptor is closed with the last. */
HttpFile *http_file_new(int fd);

/* Bytes of a body.  With a hold the engine takes a reference of its own and sends the bytes from
 * where they lie; without one (NULL) it copies them before the call returns: for small parts, "[",
 * a control frame.  With a file, whose hold it is, the bytes lie there: bytes.ptr is NULL; of
 * reply_send only. */
typedef struct HttpPiece {
    Str bytes;
    HttpHold *hold;
    const HttpFile *file;
    uint64_t file_offset;
} HttpPiece;

/* ---- the reply ---- */

/* Status line and the engine's own fields.  Calling it again starts over.  From here to the end of
 * the head (reply_send, reply_problem_send, stream_start) no other exchange of the loop may be
 * answered. */
void reply_start(HttpExchange *exchange, int status);
/* Values are copied; control characters in them are replaced by a space.  A head over
 * HTTP_REPLY_HEAD_BYTES_MAX turns the reply into a 500. */
void reply_field(HttpExchange *exchange, const char *name, Str value);
void reply_field_u64(HttpExchange *exchange, const char *name, uint64_t value);

/* Ends the exchange with this body; count may be 0.  For HEAD, 204 and 304 no body is sent; for
 * HEAD the length of the pieces becomes Content-Length, and without pieces there is none. */
void reply_send(HttpExchange *exchange, const HttpPiece *pieces, size_t count);

/* A whole reply: application/problem+json {type, title, status, code, detail, instance}.  `code` is
 * upper-case and stable ("NOT_FOUND"); detail may be "".  Fields such as Stream-Closed that belong
 * to the reply: reply_problem_start, reply_field..., reply_problem_send. */
void reply_problem(HttpExchange *exchange, int status, const char *code, const char *detail);
void reply_problem_start(HttpExchange *exchange, int status);
void reply_problem_send(HttpExchange *exchange, const char *code, const char *detail);

/* ---- later answers ---- */

/* Called when the client is gone or the engine gives up on it; the exchange is dead when it
 * returns. No exchange_*, reply_* or stream_* call is legal inside. */
typedef void (*HttpCancelFn)(void *arg);
/* Everything that was written has left for the socket: write more now or later, or end. */
typedef void (*HttpDrainedFn)(void *arg);

/* Must have been called when a handler returns without an answer.  Calling it again replaces the
 * callback (it may be called while streaming, too). */
void exchange_wait(HttpExchange *exchange, HttpCancelFn on_cancel, void *arg);

/* What it waits for comes soon and by itself: a client that closes its sending side meanwhile still
 * gets the answer.  Otherwise that counts as leaving. */
void exchange_outlives_eof(HttpExchange *exchange);

/* After reply_start and reply_field: sends the head and opens a body of unknown length (chunked, or
 * ended by closing for HTTP/1.0).  exchange_wait's on_cancel is in force with the same arg and must
 * have been set before.  on_drained may be NULL. */
void stream_start(HttpExchange *exchange, HttpDrainedFn on_drained);

/* Queues the pieces as one chunk; all that is queued in one loop turn leaves in one write.  Into an
 * empty queue it always goes.  False, and nothing is queued, when more than
 * DS_LIMITS__MAX_SUBSCRIBER_BACKLOG_BYTES would then wait for the client: cut it with
 * exchange_abort, or write less often.  on_drained comes once after stream_start and after one
 * stream_write or more, when the queue is empty; never from inside a call of the handler's. */
DS_MUST_CHECK bool stream_write(HttpExchange *exchange, const HttpPiece *pieces, size_t count);
size_t
stream_backlog(const HttpExchange *exchange); /* bytes queued and not yet taken by the kernel */
void stream_end(HttpExchange *exchange);      /* final chunk; the connection is used again */

/* Closes the connection without the end of the body, so that the client knows it is cut.  on_cancel
 * is not called. */
void exchange_abort(HttpExchange *exchange);

/* ---- loops ---- */

/* Each network thread runs one; main's loop is not one of them. */
Loop *net_loop_loop(NetLoop *loop);           /* for timers */
unsigned net_loop_index(const NetLoop *loop); /* 0 for the first */
void *net_loop_app(const NetLoop *loop);      /* HttpHandlers.app */
void *net_loop_slot(const NetLoop *loop);     /* the handler's own, per loop; NULL at first */
void net_loop_set_slot(NetLoop *loop, void *slot);

/* Run fn(arg) on that loop's thread, in the order of the calls; from any thread, its own included.
 * Wake-ups coalesce.  What is posted while the server stops still runs once, at the latest on the
 * main thread after every loop has stopped (HttpHandlers.loop_stop was called then). */
void net_loop_post(NetLoop *loop, LoopFn fn, void *arg);

/* ---- what the handlers give the engine ---- */

/* ds-server's are app_new (server/app.h), route_request, route_admin (server/route.h),
 * live_loop_start, live_drain, live_loop_stop (server/live_loop.h).  /healthz, /health, /readyz,
 * /metrics and OPTIONS are answered before them. */
typedef struct HttpHandlers {
    void *app;
    void (*request)(HttpExchange *exchange); /* main listener */
    void (*admin)(HttpExchange *exchange);   /* admin listener */
    void (*loop_start)(NetLoop *loop);       /* on its thread, before the first request */
    /* On its thread, when the server begins to stop: answer long-polls, end SSE streams.  Requests
     * already under way on open connections may still come; they should not wait any more. */
    void (*loop_drain)(NetLoop *loop);
    void (*loop_stop)(NetLoop *loop); /* on its thread: every exchange is gone; free timers */
    bool (*ready)(void *app);         /* for /readyz, any thread; NULL: ready once it runs */
} HttpHandlers;
