/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/http_client.h -- HTTP requests on the loop, by libcurl's multi socket interface.
 *
 * For long SSE reads and for short calls alike.  Redirects are never followed (a redirect is the
 * caller's error to report), proxies come from curl's environment, TLS verification is on, and over
 * TLS requests share connections by HTTP/2 where the server offers it.
 * Callbacks come from the loop; inside any of them http_transfer_cancel is legal.  Connections are
 * pooled.
 */
#pragma once

#include <sys/socket.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/loop.h"
#include "common/secret.h"
#include "common/str.h"

#define HTTP_CLIENT_HEADERS_MAX    64 /* header lines kept of a response */
#define HTTP_CLIENT_HEAD_BYTES_MAX 65536
#define HTTP_READ_BYTES_MAX        65536 /* of a body, read at a time */

typedef struct HttpClient HttpClient;
typedef struct HttpTransfer HttpTransfer;

typedef struct HttpClientConfig {
    const char *user_agent;
    const char *ca_file;   /* NULL: the system's */
    const char *cert_file; /* client certificate, NULL: none */
    const char *key_file;
    const Secret *bearer;   /* Authorization: Bearer ..., or NULL; borrowed */
    int64_t connect_ms_max; /* default 10 s */
    long connections_max;   /* total, 0 = no limit of ours */
} HttpClientConfig;

typedef struct HttpHead {
    int status;
    size_t count;
    Str names[HTTP_CLIENT_HEADERS_MAX]; /* borrowed until the callback returns */
    Str values[HTTP_CLIENT_HEADERS_MAX];
} HttpHead;

/* The last header of that name, case-insensitive; false when absent. */
bool http_head_get(const HttpHead *head, const char *name, Str *out);

typedef struct HttpResult {
    bool ok;    /* the exchange completed; status says how */
    int status; /* 0 when no head came */
    Error err;  /* when !ok: ERR_RETRY (network), ERR_CONFIG (URL, TLS trust), ERR_CANCELED,
                   ERR_LIMIT */
    int64_t retry_after_ms; /* from Retry-After, 0 when absent */
    bool timed_out;         /* idle_ms_max or total_ms_max struck */
    bool connected;         /* somebody listens there; TLS may have failed all the same */
} HttpResult;

typedef struct HttpCallbacks {
    /* May be NULL.  Once per response, before any body byte (1xx are skipped). */
    void (*on_head)(void *arg, const HttpHead *head);
    /* May be NULL: the body is dropped.  Bytes are borrowed.  All of them are taken. */
    void (*on_body)(void *arg, Str bytes);
    /* Exactly once, unless cancelled; the transfer is gone when it returns. */
    void (*on_done)(void *arg, const HttpResult *result);
} HttpCallbacks;

/* Judges an address right before a connection to it is opened; that very address is connected to.
 */
typedef bool (*HttpAllowFn)(void *arg, const struct sockaddr *address);

typedef struct HttpRequest {
    const char *method;
    const char *url;            /* copied */
    const char *const *headers; /* "Name: value" lines, NULL-terminated, copied; or NULL */
    Str body;                   /* copied; sent when len > 0 or has_body */
    bool has_body;
    int64_t idle_ms_max;  /* no byte for this long ends it (0 = none); time paused does not count */
    int64_t total_ms_max; /* 0 = none */
    /* A read that lasts, like SSE: over plain HTTP it keeps its connection for itself and does
     * without what libcurl holds for each transfer, 12 KB. */
    bool is_long;
    /* NULL: any address.  Else a connection of its own and without proxies; ERR_CONFIG when no
     * address of the host is allowed.  Called with the callbacks' arg. */
    HttpAllowFn allow;
} HttpRequest;

HttpClient *http_client_new(Loop *loop, const HttpClientConfig *config);
void http_client_free(HttpClient *client); /* cancels what is left, without callbacks */

/* Never fails at once: errors come through on_done, in a later turn. */
HttpTransfer *http_start(HttpClient *client, const HttpRequest *request,
                         const HttpCallbacks *callbacks, void *arg);
void http_transfer_cancel(HttpTransfer *transfer); /* no callback comes any more */
/* Back-pressure.  What was read in one go with the bytes that led to it still comes: at most
 * HTTP_READ_BYTES_MAX, to be counted by whoever counts. */
void http_transfer_pause(HttpTransfer *transfer);
void http_transfer_resume(HttpTransfer *transfer); /* on_body may be called from inside this call */

/* Percent-encode everything but RFC 3986 unreserved characters and those in `keep` (e.g. "/"). */
DS_MUST_CHECK bool http_url_encode(Buf *out, Str text, const char *keep, Error *err);
