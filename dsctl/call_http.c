/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: one exchange at a time, and what a bad status means. */
#include "dsctl/call_internal.h"

#include <jansson.h>

#include "dsctl/options.h"
#include "dsctl/output.h"

#define HEAD_BYTES_MAX   (2 * HTTP_CLIENT_HEAD_BYTES_MAX)
#define DETAIL_BYTES_MAX 1024

void
call_reply_init(CallReply *reply)
{
    *reply = (CallReply){.status = 0};
    arena_init(&reply->arena, HEAD_BYTES_MAX);
    buf_init(&reply->body, CALL_BODY_BYTES_MAX);
}

void
call_reply_done(CallReply *reply)
{
    arena_done(&reply->arena);
    buf_done(&reply->body);
}

Str
call_reply_header(const CallReply *reply, const char *name)
{
    Str value = STR_EMPTY;

    return http_head_get(&reply->head, name, &value) ? value : STR_EMPTY;
}

typedef struct Exchange {
    Call *call;
    CallReply *reply;
    const CallStream *stream;
    HttpTransfer *transfer;
    HttpResult result;
    Error failed; /* ours: the reply is too large */
    bool finished;
} Exchange;

static void
exchange_fail(Exchange *exchange, const Error *err)
{
    exchange->failed = *err;
    call_finish_wait(exchange->call);
}

static void
on_head(void *arg, const HttpHead *head)
{
    Exchange *exchange = arg;
    CallReply *reply = exchange->reply;
    Error err = {0};

    reply->status = head->status;
    reply->head.status = head->status;
    for (size_t i = 0; i < head->count; i++) {
        if (!arena_copy(&reply->arena, head->names[i], &reply->head.names[i], &err) ||
            !arena_copy(&reply->arena, head->values[i], &reply->head.values[i], &err)) {
            exchange_fail(exchange, &err);
            return;
        }
        reply->head.count = i + 1;
    }
    if (exchange->stream != NULL && head->status < 300 && exchange->stream->on_head != NULL) {
        exchange->stream->on_head(exchange->stream->arg, reply);
    }
}

static void
on_body(void *arg, Str bytes)
{
    Exchange *exchange = arg;
    Error err = {0};

    if (exchange->call->done) {
        return; /* stopped or failed inside this turn */
    }
    if (exchange->stream != NULL && exchange->reply->status < 300) {
        exchange->stream->on_body(exchange->stream->arg, bytes);
    } else if (!buf_append(&exchange->reply->body, bytes, &err)) {
        exchange_fail(exchange, &err);
    }
}

static void
on_done(void *arg, const HttpResult *result)
{
    Exchange *exchange = arg;

    exchange->result = *result;
    exchange->finished = true;
    call_finish_wait(exchange->call);
}

static bool
call_http_client(Call *call, Error *err)
{
    if (call->http != NULL) {
        return true;
    }
    if (!options_token(&call->token, err)) {
        return false;
    }
    HttpClientConfig config = {
        .user_agent = "dsctl/" DS_VERSION,
        .ca_file = options_ca_file(),
        .bearer = secret_is_set(&call->token) ? &call->token : NULL,
        .connect_ms_max = DS_MIN((int64_t)CALL_CONNECT_MS_MAX, options_timeout_ms()),
    };
    call->http = http_client_new(call->loop, &config);
    return true;
}

static ErrorCode
status_code(int status)
{
    switch (status) {
    case 400:
    case 415:
    case 422:
        return ERR_INPUT;
    case 401:
    case 403:
        return ERR_AUTH;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
    case 412:
        return ERR_CONFLICT;
    case 410:
        return ERR_GONE;
    case 413:
    case 507:
        return ERR_LIMIT;
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
        return ERR_RETRY;
    default:
        return ERR_PROTOCOL;
    }
}

/* What the server says about it: problem+json's detail or title, or the start of a text.  One that
 * repeats what it was asked may show our token. */
static void
reply_detail(const Call *call, CallReply *reply, Buf *out)
{
    secret_mask(&call->token, reply->body.data, reply->body.len);
    json_t *problem = json_loadb(reply->body.data, reply->body.len, 0, NULL);
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    Error full = {0};
    Str text = buf_str(&reply->body);

    detail = detail != NULL ? detail : json_string_value(json_object_get(problem, "title"));
    detail = detail != NULL ? detail : json_string_value(json_object_get(problem, "error"));
    if (detail != NULL) {
        text = str_c(detail);
    } else if (text.len == 0 && (reply->status == 404 || reply->status == 410)) {
        text = reply->status == 404 ? STR("it does not exist") : STR("it is gone"); /* HEAD */
    } else if (text.len > 0 && text.ptr[0] == '<') {
        text = STR_EMPTY; /* a proxy's page */
    }
    if (text.len > 0 && (!buf_append(out, STR(": "), &full) ||
                         !output_escape(out, str_head(text, 200), false, &full))) {
        buf_reset(out);
    }
    json_decref(problem);
}

static bool
reply_error(Call *call, const HttpRequest *request, CallReply *reply, Error *err)
{
    char *url = secret_redact_url(str_c(request->url));
    char *location = str_dup(call_reply_header(reply, "Location"));
    Buf detail;

    buf_init(&detail, DETAIL_BYTES_MAX);
    if (reply->status < 400) {
        secret_mask(&call->token, location, strlen(location));
        error_set(err, ERR_PROTOCOL, "%s %s: redirected to \"%.200s\", which is not followed",
                  request->method, url, location);
    } else {
        reply_detail(call, reply, &detail);
        error_set(err, status_code(reply->status), "%s %s: %d%s", request->method, url,
                  reply->status, buf_cstr(&detail));
    }
    /* A producer of a newer epoch; other servers' 403 without the header is about credentials. */
    if (reply->status == 403 && call_reply_header(reply, "Producer-Epoch").len > 0) {
        call->failed_exit = DSCTL_FENCED;
        err->code = ERR_CONFLICT;
    }
    buf_done(&detail);
    free(location);
    free(url);
    return false;
}

static bool
exchange_run(Exchange *exchange, const HttpRequest *request, Error *err)
{
    static const HttpCallbacks callbacks = {on_head, on_body, on_done};
    Call *call = exchange->call;

    if (!call_http_client(call, err)) {
        return false;
    }
    call->postgres_failed = false;
    call->failed_exit = DSCTL_OK;
    call_begin_wait(call);
    exchange->transfer = http_start(call->http, request, &callbacks, exchange);
    bool ok = call_wait(call, 0, err);
    if (!exchange->finished) {
        http_transfer_cancel(exchange->transfer);
    }
    return ok;
}

bool
call_http_stream(Call *call, const HttpRequest *request, const CallStream *stream, CallReply *reply,
                 Error *err)
{
    Exchange exchange = {.call = call, .reply = reply, .stream = stream};

    if (!exchange_run(&exchange, request, err)) {
        return false;
    }
    if (exchange.failed.code != ERR_NONE) {
        *err = exchange.failed;
        return false;
    }
    reply->retry_after_ms = exchange.result.retry_after_ms;
    reply->timed_out = exchange.result.timed_out;
    if (exchange.finished && !exchange.result.ok) {
        char *url = secret_redact_url(str_c(request->url));
        *err = exchange.result.err;
        error_wrap(err, "%s %s", request->method, url);
        free(url);
        return false;
    }
    return reply->status < 300 || reply_error(call, request, reply, err);
}

bool
call_http(Call *call, const HttpRequest *request, CallReply *reply, Error *err)
{
    HttpRequest limited = *request;

    if (limited.total_ms_max == 0) {
        limited.total_ms_max = options_timeout_ms();
    }
    return call_http_stream(call, &limited, NULL, reply, err);
}
