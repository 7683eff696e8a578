/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/http_transfer.c -- one exchange: its options, its callbacks, its limits, its end.
 */
#include "common/http_client_internal.h"

#include "common/clock.h"
#include "common/mem.h"

#define CA_CACHE_S            5L /* a crowd of connections reads the file once */
#define HEADER_LINE_BYTES_MAX (SECRET_FILE_BYTES_MAX + 64)

/* ---- the end ---- */

static void
head_free(HttpTransfer *transfer)
{
    if (transfer->head != NULL) {
        buf_done(&transfer->head->bytes);
        free(transfer->head);
        transfer->head = NULL;
    }
}

void
http_transfer_fail(HttpTransfer *transfer, const Error *err)
{
    if (transfer->failure == NULL) {
        transfer->failure = mem_alloc(sizeof(*transfer->failure));
    }
    *transfer->failure = *err;
}

/* A header line may hold a token. */
void
http_headers_free(struct curl_slist *list)
{
    for (struct curl_slist *line = list; line != NULL; line = line->next) {
        explicit_bzero(line->data, strlen(line->data));
    }
    curl_slist_free_all(list);
}

void
http_transfer_dispose(HttpTransfer *transfer)
{
    HttpClient *client = transfer->client;

    DS_ASSERT(client->in_curl == 0);
    transfer->state = HTTP_TRANSFER_ENDED;
    LIST_REMOVE(transfer, link);
    if (transfer->in_multi) {
        client->in_curl++;
        (void)curl_multi_remove_handle(client->multi, transfer->easy);
        client->in_curl--;
    }
    http_long_done(transfer);
    curl_easy_cleanup(transfer->easy);
    http_headers_free(transfer->headers);
    timer_free(transfer->timer);
    transfer->timer = NULL;
    head_free(transfer);
    free(transfer->failure);
    loop_defer_free(client->loop, transfer);
}

/* What only the operator can put right; anything else may be better the next time. */
static ErrorCode
error_code_of(CURLcode code)
{
    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_BAD_FUNCTION_ARGUMENT:
        return ERR_CONFIG;
    default:
        return ERR_RETRY;
    }
}

/* In TLS 1.3 a server judges the client's certificate behind the handshake: the connection ends
 * then, at whatever the client does next, and most often before it has read why. */
static bool
may_be_our_certificate(const HttpTransfer *transfer, CURLcode code)
{
    curl_off_t tls_us = 0;

    if (transfer->easy != NULL) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_APPCONNECT_TIME_T, &tls_us);
    }
    return tls_us > 0 && transfer->status == 0 &&
           (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING);
}

static void
result_fill(const HttpTransfer *transfer, CURLcode code, HttpResult *out)
{
    curl_off_t connect_us = 0;
    long system_error = 0;

    *out = (HttpResult){.status = transfer->status,
                        .retry_after_ms = transfer->retry_after_ms,
                        .timed_out = transfer->timed_out};
    if (transfer->easy != NULL) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_CONNECT_TIME_T, &connect_us);
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &system_error);
    }
    out->connected = transfer->status != 0 || connect_us > 0;
    if (transfer->failure != NULL) {
        out->err = *transfer->failure;
    } else if (code == CURLE_COULDNT_CONNECT && transfer->refused) {
        (void)error_set(&out->err, ERR_CONFIG, "the host has an address that is not allowed");
    } else if (code != CURLE_OK) {
        (void)error_set(
            &out->err, error_code_of(code), "%s%s%s",
            transfer->curl_error[0] != '\0' ? transfer->curl_error : curl_easy_strerror(code),
            code == CURLE_COULDNT_CONNECT && system_error != 0 ? ": " : "",
            code == CURLE_COULDNT_CONNECT && system_error != 0 ? strerror((int)system_error) : "");
        if (may_be_our_certificate(transfer, code)) {
            (void)error_set(&out->err, out->err.code,
                            "%s; if it asks for client certificates, ours is missing, has expired "
                            "or is not trusted there",
                            out->err.text);
        }
    } else if (transfer->status == 0) {
        /* To libcurl a connection that ends within the head is a short response. */
        (void)error_set(&out->err, ERR_RETRY, "the connection ended within the response's head");
    } else {
        out->ok = true;
    }
}

void
http_transfer_finish(HttpTransfer *transfer, CURLcode code)
{
    HttpCallbacks callbacks = transfer->callbacks;
    void *arg = transfer->arg;
    HttpResult result;

    result_fill(transfer, code, &result);
    http_transfer_dispose(transfer);
    if (callbacks.on_done != NULL) {
        callbacks.on_done(arg, &result);
    }
}

/* ---- libcurl's callbacks ---- */

/* The head is complete: what is asked for later is kept, the rest told and forgotten. */
static void
transfer_tell_head(HttpTransfer *transfer)
{
    HttpHead head;
    Str retry_after;

    http_head_view(transfer->head, &head);
    transfer->status = head.status;
    if (http_head_get(&head, "retry-after", &retry_after)) {
        transfer->retry_after_ms = http_retry_after_ms(retry_after, clock_wall_ms());
    }
    http_long_head(transfer, &head);
    if (transfer->callbacks.on_head != NULL) {
        transfer->callbacks.on_head(transfer->arg, &head);
    }
    head_free(transfer);
}

static size_t
on_header(char *data, size_t size, size_t count, void *arg)
{
    HttpTransfer *transfer = arg;
    long status = 0;
    bool complete;
    Error err;

    if (transfer->state == HTTP_TRANSFER_ENDED) {
        return 0;
    }
    transfer->last_byte_ms = loop_now_ms(transfer->client->loop);
    if (transfer->head == NULL) {
        return size * count; /* a trailer */
    }
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!http_head_add(transfer->head, str_n(data, size * count), (int)status, &complete, &err)) {
        http_transfer_fail(transfer, &err);
        return 0;
    }
    if (complete) {
        transfer_tell_head(transfer);
    }
    return transfer->state == HTTP_TRANSFER_ENDED ? 0 : size * count;
}

static curl_socket_t
on_open_socket(void *arg, curlsocktype purpose DS_UNUSED, struct curl_sockaddr *address)
{
    HttpTransfer *transfer = arg;

    if (!transfer->allow(transfer->arg, &address->addr)) {
        transfer->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void on_resume(void *arg);

static size_t
on_write(char *data, size_t size, size_t count, void *arg)
{
    HttpTransfer *transfer = arg;

    if (transfer->state == HTTP_TRANSFER_ENDED) {
        return 0;
    }
    if (transfer->paused && !transfer->read.raw) {
        /* libcurl keeps these bytes, and brings them again when it is told to go on. */
        transfer->curl_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    transfer->last_byte_ms = loop_now_ms(transfer->client->loop);
    if (transfer->read.raw) {
        return http_long_first(transfer, str_n(data, size * count));
    }
    if (transfer->turn_bytes >= HTTP_TURN_BYTES_MAX) {
        /* libcurl reads a hundred times in a row while there is something to read; a connection to
         * Postgres would starve meanwhile. */
        transfer->turn_bytes = 0;
        transfer->curl_paused = true;
        loop_defer(transfer->client->loop, on_resume, transfer);
        return CURL_WRITEFUNC_PAUSE;
    }
    transfer->turn_bytes += size * count;
    if (transfer->callbacks.on_body != NULL) {
        transfer->callbacks.on_body(transfer->arg, str_n(data, size * count));
    }
    return transfer->state == HTTP_TRANSFER_ENDED ? 0 : size * count;
}

/* ---- limits of time ---- */

static void
transfer_arm(HttpTransfer *transfer)
{
    int64_t now = loop_now_ms(transfer->client->loop);
    int64_t due = INT64_MAX;

    if (transfer->total_ms_max > 0) {
        due = transfer->started_ms + transfer->total_ms_max;
    }
    if (transfer->idle_ms_max > 0 && !transfer->paused) {
        due = DS_MIN(due, transfer->last_byte_ms + transfer->idle_ms_max);
    }
    if (due == INT64_MAX) {
        timer_stop(transfer->timer);
    } else {
        timer_start(transfer->timer, due - now);
    }
}

/* Bytes of ours that the peer took are signs of life too, but no callback tells of them. */
static void
transfer_note_upload(HttpTransfer *transfer)
{
    curl_off_t uploaded = 0;

    if (transfer->easy == NULL) {
        return;
    }
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    if (uploaded != transfer->uploaded) {
        transfer->uploaded = uploaded;
        transfer->last_byte_ms = loop_now_ms(transfer->client->loop);
    }
}

static void
on_time(void *arg)
{
    HttpTransfer *transfer = arg;
    int64_t now = loop_now_ms(transfer->client->loop);
    Error err;

    transfer_note_upload(transfer);
    if (transfer->total_ms_max > 0 && now - transfer->started_ms >= transfer->total_ms_max) {
        (void)error_set(&err, ERR_RETRY, "the exchange took longer than %lld ms",
                        (long long)transfer->total_ms_max);
    } else if (transfer->idle_ms_max > 0 && !transfer->paused &&
               now - transfer->last_byte_ms >= transfer->idle_ms_max) {
        (void)error_set(&err, ERR_RETRY, "no byte came for %lld ms",
                        (long long)transfer->idle_ms_max);
    } else {
        transfer_arm(transfer);
        return;
    }
    transfer->timed_out = true;
    http_transfer_fail(transfer, &err);
    http_transfer_finish(transfer, CURLE_OPERATION_TIMEDOUT);
}

/* ---- options ---- */

static bool
headers_add(HttpTransfer *transfer, const char *line, Error *err)
{
    if (str_contains_ctl(str_c(line))) {
        return error_set(err, ERR_CONFIG, "a request header contains a control character");
    }
    struct curl_slist *list = curl_slist_append(transfer->headers, line);
    DS_ASSERT(list != NULL);
    transfer->headers = list;
    return true;
}

static bool
headers_add_bearer(HttpTransfer *transfer, Error *err)
{
    const Secret *bearer = transfer->client->bearer;
    Buf line;
    bool ok;

    if (bearer == NULL || !secret_is_set(bearer)) {
        return true;
    }
    buf_init(&line, HEADER_LINE_BYTES_MAX);
    ok = buf_append(&line, STR("Authorization: Bearer "), err) &&
         buf_append(&line, str_c(secret_reveal(bearer)), err) &&
         headers_add(transfer, buf_cstr(&line), err);
    if (line.data != NULL) {
        explicit_bzero(line.data, line.cap);
    }
    buf_done(&line);
    return ok;
}

static bool
headers_have(const HttpRequest *request, Str name)
{
    for (size_t i = 0; request->headers != NULL && request->headers[i] != NULL; i++) {
        Str line_name, value;

        if (str_cut(str_c(request->headers[i]), ':', &line_name, &value) &&
            str_eq_nocase(line_name, name)) {
            return true;
        }
    }
    return false;
}

static bool
request_has_body(const HttpRequest *request)
{
    Str method = str_c(request->method);

    return request->body.len > 0 || request->has_body || str_eq(method, STR("POST")) ||
           str_eq(method, STR("PUT")) || str_eq(method, STR("PATCH"));
}

static bool
set_headers(HttpTransfer *transfer, const HttpRequest *request, Error *err)
{
    bool has_body = request_has_body(request);

    for (size_t i = 0; request->headers != NULL && request->headers[i] != NULL; i++) {
        if (!headers_add(transfer, request->headers[i], err)) {
            return false;
        }
    }
    /* libcurl's own additions: a form's media type, and a wait of a second before large bodies. */
    if (has_body && !headers_have(request, STR("Content-Type")) &&
        !headers_add(transfer, "Content-Type:", err)) {
        return false;
    }
    if (has_body && !headers_add(transfer, "Expect:", err)) {
        return false;
    }
    return headers_have(request, STR("Authorization")) || headers_add_bearer(transfer, err);
}

static bool
url_is_http(const char *url)
{
    return str_starts_nocase(str_c(url), STR("http://")) ||
           str_starts_nocase(str_c(url), STR("https://"));
}

static CURLcode
set_method(CURL *easy, const HttpRequest *request)
{
    CURLcode code;

    if (strcmp(request->method, "HEAD") == 0) {
        return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    if (request_has_body(request)) {
        /* The size first: the bytes are copied by it. */
        code = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        if (code == CURLE_OK) {
            code = curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS,
                                    request->body.len > 0 ? request->body.ptr : "");
        }
        if (code != CURLE_OK) {
            return code;
        }
    }
    if (strcmp(request->method, "GET") == 0 && !request_has_body(request)) {
        return CURLE_OK; /* what libcurl does by itself */
    }
    return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

/* Options that can only fail for want of memory, or because libcurl was built without them. */
static void
set_fixed_options(HttpTransfer *transfer)
{
    HttpClient *client = transfer->client;
    CURL *easy = transfer->easy;

    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_error);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_ms_max);
    /* Ending a transfer must not wait for a resolver thread that hangs. */
    (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, client->user_agent);
    if (client->ca_file != NULL) {
        /* Else some builds of libcurl go on with what was in the file a day ago. */
        (void)curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
    }
    /* Of all: a connection may serve a short request first, and a long one then. */
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, http_client_on_close_socket);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, client);
}

/* Somebody else chose the URL: what was judged once is not trusted for another request. */
static void
set_guard(HttpTransfer *transfer)
{
    CURL *easy = transfer->easy;

    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
}

/* A NULL keeps libcurl's default. */
static CURLcode
set_text(CURL *easy, CURLoption option, const char *text)
{
    return text == NULL ? CURLE_OK : curl_easy_setopt(easy, option, text);
}

static bool
set_options(HttpTransfer *transfer, const HttpRequest *request, Error *err)
{
    HttpClient *client = transfer->client;
    CURL *easy = transfer->easy;
    CURLcode code;

    if (!url_is_http(request->url)) {
        return error_set(err, ERR_CONFIG, "a URL must begin with http:// or https://");
    }
    set_fixed_options(transfer);
    if (request->allow != NULL) {
        set_guard(transfer);
    } else if (str_starts_nocase(str_c(request->url), STR("https:"))) {
        /* HTTP/2 is agreed upon in the handshake: who comes meanwhile waits for it, else a crowd
         * that starts at once gets a connection each. */
        (void)curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    }
    if ((code = curl_easy_setopt(easy, CURLOPT_URL, request->url)) != CURLE_OK ||
        (code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https")) != CURLE_OK ||
        (code = set_method(easy, request)) != CURLE_OK ||
        (code = set_text(easy, CURLOPT_CAINFO, client->ca_file)) != CURLE_OK ||
        (code = set_text(easy, CURLOPT_SSLCERT, client->cert_file)) != CURLE_OK ||
        (code = set_text(easy, CURLOPT_SSLKEY, client->key_file)) != CURLE_OK) {
        return error_set(err, ERR_CONFIG, "%s", curl_easy_strerror(code));
    }
    return set_headers(transfer, request, err) &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
}

/* ---- the beginning ---- */

static void
on_begin(void *arg)
{
    HttpTransfer *transfer = arg;
    HttpClient *client = transfer->client;

    if (transfer->state != HTTP_TRANSFER_WAITING) {
        return; /* cancelled meanwhile */
    }
    transfer->state = HTTP_TRANSFER_ACTIVE;
    if (transfer->failure != NULL) {
        http_transfer_finish(transfer, CURLE_FAILED_INIT);
        return;
    }
    client->in_curl++;
    CURLMcode code = curl_multi_add_handle(client->multi, transfer->easy);
    client->in_curl--;
    DS_ASSERT(code == CURLM_OK);
    transfer->in_multi = true;
    transfer->started_ms = loop_now_ms(client->loop);
    transfer->last_byte_ms = transfer->started_ms;
    transfer_arm(transfer);
}

HttpTransfer *
http_start(HttpClient *client, const HttpRequest *request, const HttpCallbacks *callbacks,
           void *arg)
{
    HttpTransfer *transfer = mem_zalloc(sizeof(*transfer));
    Error err = {0};

    DS_ASSERT(!client->closing);
    transfer->client = client;
    transfer->callbacks = *callbacks;
    transfer->arg = arg;
    transfer->allow = request->allow;
    transfer->idle_ms_max = request->idle_ms_max;
    transfer->total_ms_max = request->total_ms_max;
    transfer->timer = timer_new(client->loop, on_time, transfer);
    http_long_init(transfer, request);
    transfer->head = mem_zalloc(sizeof(*transfer->head));
    buf_init(&transfer->head->bytes, HTTP_CLIENT_HEAD_BYTES_MAX);
    LIST_INSERT_HEAD(&client->transfers, transfer, link);
    transfer->easy = curl_easy_init();
    DS_ASSERT(transfer->easy != NULL);
    if (!set_options(transfer, request, &err)) {
        DS_ASSERT(err.code != ERR_NONE);
        http_transfer_fail(transfer, &err);
    }
    loop_defer(client->loop, on_begin, transfer);
    return transfer;
}

/* ---- what the caller may do meanwhile ---- */

static void
on_cancelled(void *arg)
{
    http_transfer_dispose(arg);
}

void
http_transfer_cancel(HttpTransfer *transfer)
{
    if (transfer->state == HTTP_TRANSFER_ENDED) {
        return; /* in its own on_done */
    }
    transfer->state = HTTP_TRANSFER_ENDED;
    timer_stop(transfer->timer);
    loop_defer(transfer->client->loop, on_cancelled, transfer);
}

void
http_transfer_pause(HttpTransfer *transfer)
{
    if (transfer->state != HTTP_TRANSFER_ENDED && !transfer->paused) {
        transfer->paused = true;
        http_long_pause(transfer);
        if (transfer->state == HTTP_TRANSFER_ACTIVE) {
            transfer_arm(transfer);
        }
    }
}

/* Tells libcurl to go on, unless the caller changed its mind. */
static void
on_resume(void *arg)
{
    HttpTransfer *transfer = arg;
    HttpClient *client = transfer->client;

    if (transfer->state != HTTP_TRANSFER_ACTIVE || transfer->paused || !transfer->curl_paused) {
        return;
    }
    transfer->curl_paused = false;
    client->in_curl++;
    (void)curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
    client->in_curl--;
}

void
http_transfer_resume(HttpTransfer *transfer)
{
    if (transfer->state == HTTP_TRANSFER_ENDED || !transfer->paused) {
        return;
    }
    transfer->paused = false;
    http_long_pause(transfer);
    if (transfer->state == HTTP_TRANSFER_ACTIVE) {
        transfer->last_byte_ms = loop_now_ms(transfer->client->loop);
        transfer_arm(transfer);
    }
    if (transfer->client->in_curl > 0) {
        loop_defer(transfer->client->loop, on_resume, transfer);
    } else {
        on_resume(transfer);
    }
}
