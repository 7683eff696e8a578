/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/http_client_internal.h -- what http_client.c (the multi handle on the loop) and
 * http_transfer.c (one exchange) share.
 *
 * libcurl forbids most of its calls inside its own callbacks, and ours run there.  So whatever
 * adds, removes or frees is put off to the end of the turn, and in_curl tells when that matters.
 */
#pragma once

#include <bsd/sys/queue.h>
#include <curl/curl.h>

#include "common/http_client.h"
#include "common/http_parse.h"

#define HTTP_CONNECT_MS_DEFAULT 10000
#define HTTP_TURN_BYTES_MAX     131072 /* of a body, before others on the loop have their turn */
#define HTTP_RETRY_AFTER_MS_MAX (24 * 3600 * INT64_C(1000)) /* longer waits are cut to this */

typedef enum HttpTransferState {
    HTTP_TRANSFER_WAITING, /* started at the end of this turn */
    HTTP_TRANSFER_ACTIVE,
    HTTP_TRANSFER_ENDED, /* done or cancelled: no callback comes any more */
} HttpTransferState;

/* Where a header line lies in the bytes kept. */
typedef struct HttpHeaderSpan {
    size_t name_at, name_len;
    size_t value_at, value_len;
} HttpHeaderSpan;

/* How the end of a body is told (RFC 9112 6.3). */
typedef enum HttpFraming {
    HTTP_FRAMING_CHUNKS,
    HTTP_FRAMING_LENGTH,
    HTTP_FRAMING_CLOSE
} HttpFraming;

/* A long read's connection, once it is ours. */
typedef struct HttpLong {
    bool wanted;   /* by the request, and possible */
    bool raw;      /* the body comes to us as it is sent */
    bool adopting; /* at the end of this turn */
    int fd;        /* while libcurl has it, too; then only ours */
    LoopFd *watch;
    HttpFraming framing;
    HttpChunks chunks;
    uint64_t left; /* HTTP_FRAMING_LENGTH */
    Buf held;      /* the first bytes, of a read that was paused when they came */
} HttpLong;

typedef struct HttpHeadStore {
    Buf bytes;
    HttpHeaderSpan spans[HTTP_CLIENT_HEADERS_MAX];
    size_t count;
    int status;
    bool done;
} HttpHeadStore;

struct HttpTransfer {
    LIST_ENTRY(HttpTransfer) link;
    HttpClient *client;
    HttpTransferState state;
    CURL *easy; /* NULL: a long read that does without */
    bool in_multi;
    struct curl_slist *headers;
    HttpCallbacks callbacks;
    void *arg;
    HttpAllowFn allow;
    bool refused; /* by it, at least one address */

    HttpHeadStore *head; /* until its last line was told: a long read does not need it any more */
    int status;          /* 0 before that */
    int64_t retry_after_ms;
    HttpLong read;
    bool paused;      /* the caller wants no bytes */
    bool curl_paused; /* libcurl was told so, and must be told to go on */
    size_t turn_bytes;

    LoopTimer *timer; /* at the earlier of the two limits */
    int64_t idle_ms_max;
    int64_t total_ms_max;
    int64_t started_ms;
    int64_t last_byte_ms;
    curl_off_t uploaded; /* bytes, when last looked at */

    Error *failure; /* ours, or NULL; outranks libcurl's account */
    bool timed_out;
    char curl_error[CURL_ERROR_SIZE];
};

typedef struct HttpSocket {
    LIST_ENTRY(HttpSocket) link;
    HttpClient *client;
    curl_socket_t fd;
    LoopFd *watch;
} HttpSocket;

struct HttpClient {
    Loop *loop;
    CURLM *multi;
    LoopTimer *timer;
    LIST_HEAD(, HttpTransfer) transfers;
    LIST_HEAD(, HttpSocket) sockets;
    char *user_agent;
    char *ca_file;
    char *cert_file;
    char *key_file;
    const Secret *bearer;
    int64_t connect_ms_max;
    bool has_proxy;    /* perhaps: a setting of curl's environment names one */
    bool keeps;        /* the next socket that libcurl closes is to stay open */
    int kept_fd;       /* that one; -1: it closed none */
    char *long_buffer; /* of all long reads */
    int in_curl;       /* depth of calls into libcurl that may call us back */
    bool closing;
};

/* Curl's word on how a transfer ended, to on_done; the transfer is disposed of. */
void http_transfer_finish(HttpTransfer *transfer, CURLcode code);
/* Without callbacks; not inside a callback of libcurl. */
void http_transfer_dispose(HttpTransfer *transfer);
void http_headers_free(struct curl_slist *list);                   /* forgets what they say */
int http_client_on_close_socket(void *client, curl_socket_t fd);   /* CURLOPT_CLOSESOCKETFUNCTION */
void http_transfer_fail(HttpTransfer *transfer, const Error *err); /* the result says so */

/* http_long.c */
void http_long_init(HttpTransfer *transfer, const HttpRequest *request);
/* The head is complete: whether the connection may become ours, and how the body ends. */
void http_long_head(HttpTransfer *transfer, const HttpHead *head);
/* The first bytes of a raw body, inside libcurl's callback: what the callback returns. */
size_t http_long_first(HttpTransfer *transfer, Str bytes);
void http_long_pause(HttpTransfer *transfer); /* or goes on, as transfer->paused says */
void http_long_done(HttpTransfer *transfer);
/* False with err set if the response breaks a limit of ours.  *out_complete: a final head is there.
 */
DS_MUST_CHECK bool http_head_add(HttpHeadStore *store, Str line, int status, bool *out_complete,
                                 Error *err);
void http_head_view(const HttpHeadStore *store, HttpHead *out);
/* Seconds or an HTTP date; 0 when neither. */
int64_t http_retry_after_ms(Str value, int64_t wall_ms);
