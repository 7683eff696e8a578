/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/http_internal.h -- the engine's data: server, loops, connections.
 *
 * For the engine's own files.  A HttpServer belongs to the main thread; its atomics are shared.  A
 * NetLoop and its HttpConns belong to the loop's thread.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "common/buf.h"
#include "common/metrics.h"
#include "server/cors.h"
#include "server/http.h"
#include "server/http_out.h"
#include "server/server_config.h"

#define HTTP_INPUT_BYTES_MAX         65536 /* one read, and what a connection keeps unread */
#define HTTP_PIPELINED_BYTES_MAX     16384 /* kept while an exchange is not answered */
#define HTTP_PIPELINED_OUT_BYTES_MAX 65536 /* replies not sent: no further request is looked at */
#define HTTP_REPLY_HEAD_BYTES_MAX    32768 /* of handlers' fields and what the engine begins with */
#define HTTP_REPLY_MORE_BYTES_MAX    4096  /* what the engine ends a head with */
#define HTTP_LINGER_MS               2000
#define HTTP_LINGER_STOPPING_MS      250      /* the same, when the server stops */
#define HTTP_LINGER_BYTES_MAX        33554432 /* read and dropped, so that the reply is seen */
#define HTTP_PEER_BYTES_MAX          56
#define HTTP_LOOPS_MAX               256
#define HTTP_LISTENERS_MAX           2
#define HTTP_ADMIN_CONNECTIONS_KEPT  16 /* for the admin listener, past the limit */

typedef struct HttpConn HttpConn;
typedef struct HttpWarming HttpWarming;
typedef struct HttpServer HttpServer;

typedef enum HttpConnState {
    HTTP_CONN_HANDSHAKE, /* of TLS */
    HTTP_CONN_IDLE,      /* nothing of a request has come */
    HTTP_CONN_HEAD,      /* a head is coming */
    HTTP_CONN_BODY,      /* a body is coming */
    HTTP_CONN_HANDLING,  /* the handler has not answered */
    HTTP_CONN_STREAMING, /* a body of unknown length is being sent */
    HTTP_CONN_CLOSING,   /* sends what is queued, then lingers */
    HTTP_CONN_LINGER,    /* we are done; reads what still comes, so that no reset eats the reply */
    HTTP_CONN_CLOSED,
    HTTP_CONN_STATE_COUNT
} HttpConnState;

struct HttpExchange {
    HttpCancelFn on_cancel;
    HttpDrainedFn on_drained;
    void *arg;
    CorsVerdict cors;
    HttpMethod method;
    int status;
    bool minor; /* HTTP/1.<minor> */
    bool keep_alive;
    bool chunked;
    bool drain_due;    /* on_drained is owed */
    bool outlives_eof; /* answered even to a client that closed its sending side */
};

struct HttpConn {
    NetLoop *loop;
    LoopFd *watch;
    Transport transport;
    HttpConnState state;
    bool admin;
    bool eof;
    bool dirty;   /* in loop->dirty */
    bool blocked; /* the kernel took less than we had */
    HttpBodyKind body_kind;
    uint64_t body_length; /* HTTP_BODY_LENGTH */
    int64_t since_ms;     /* when the state was entered */
    int64_t progress_ms;  /* when the kernel, or the client out of its buffer, last took a byte */
    int64_t handed;       /* bytes the kernel took */
    int64_t taken;        /* of them, the client's at the last look; -1: nobody looked yet */
    int64_t waiting_ms;   /* since when something has waited to be sent; 0: nothing does */
    int64_t waited_taken; /* bytes the client took since then */
    int64_t requests;
    uint64_t discarded;
    size_t scanned;      /* http_parse_head's memory */
    size_t body_counted; /* of server->inflight_body_bytes */
    Buf in;              /* came and was not looked at */
    Buf head;            /* while the body comes */
    Buf body;
    HttpChunks chunks;
    HttpOut out;
    HttpWarming *warming; /* a piece of a file is being brought into memory */
    HttpExchange exchange;
    TAILQ_ENTRY(HttpConn) all;
    TAILQ_ENTRY(HttpConn) dirty_entry;
    char peer[HTTP_PEER_BYTES_MAX];
};

typedef struct NetPost {
    struct NetPost *next;
    LoopFn fn;
    void *arg;
} NetPost;

typedef TAILQ_HEAD(HttpConnList, HttpConn) HttpConnList;

struct NetLoop {
    HttpServer *server;
    Loop *loop;
    LoopTimer *tick;
    LoopWake *wake;
    pthread_t thread;
    unsigned index;
    atomic_int_least64_t connections; /* counted up by main when it hands one over */
    pthread_mutex_t mutex;            /* guards posts */
    NetPost *posts;
    NetPost **posts_tail;
    void *slot;
    HttpConnList conns;
    HttpConnList dirty; /* have something to send at the end of this turn */
    size_t dirty_count;
    bool flush_due;
    bool draining;
    bool empty_said;
    atomic_bool unanswered; /* a ping of main's */
    /* The request that is being handled; views die with it. */
    HttpConn *current;
    HttpRequestHead head;
    HttpRequestView view;
    /* The fields every reply carries, made anew each second. */
    int64_t common_until_ms;
    size_t common_len;
    char common[256];
    /* The head of the reply that is being made: whole, it goes to the connection's queue. */
    HttpExchange *replying;
    size_t reply_len;
    bool reply_overflow;
    char reply[HTTP_REPLY_HEAD_BYTES_MAX + HTTP_REPLY_MORE_BYTES_MAX];
    char input[HTTP_INPUT_BYTES_MAX];
};

typedef struct HttpListener {
    HttpServer *server;
    LoopFd *watch;
    int fd;
    bool admin;
    bool tls;
} HttpListener;

typedef struct HttpServerMetrics {
    Metric *connections_total;
    Metric *connections_refused;
    Metric *connections_open;
    Metric *replies[6]; /* by status / 100 */
    Metric *received_bytes;
    Metric *sent_bytes;
    Metric *timeouts;
    Metric *aborted;
    Metric *handshakes_failed;
    Metric *handshakes_refused;
    Metric *certificate_expires;
    Metric *body_bytes;
} HttpServerMetrics;

struct HttpServer {
    const ServerConfig *config;
    HttpHandlers handlers;
    Cors *cors;
    HttpServerMetrics metrics;
    Metrics *registry;
    Loop *main;
    LoopWake *main_wake;
    LoopTimer *drain_timer;
    LoopTimer *accept_timer;
    HttpListener listeners[HTTP_LISTENERS_MAX];
    size_t listener_count;
    NetLoop *loops[HTTP_LOOPS_MAX];
    unsigned loop_count;
    int64_t connections_max; /* the setting, or what the file limit allows */
    bool stopping;
    bool finishing;
    int64_t full_said_ms; /* 0: never */
    int64_t accept_said_ms;
    int64_t handshakes_said_ms;
    LoopFn on_stopped;
    void *on_stopped_arg;
    SSL_CTX *tls; /* for new connections; NULL: plain */
    LoopTimer *reload_timer;
    atomic_int_least64_t connections;
    atomic_int_least64_t handshakes; /* under way */
    atomic_int_least64_t inflight_body_bytes;
    atomic_uint loops_empty;
};

static inline HttpConn *
conn_of(HttpExchange *exchange)
{
    return DS_CONTAINER_OF(exchange, HttpConn, exchange);
}
static inline const HttpConn *
conn_of_const(const HttpExchange *exchange)
{
    return (const HttpConn *)(const void *)((const char *)exchange - offsetof(HttpConn, exchange));
}
