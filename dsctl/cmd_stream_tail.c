/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl stream tail: follow a stream over SSE, from connection to connection.
 *
 * What came is printed when its control event says where to resume behind it, so a cut connection
 * neither loses nor repeats a line.
 */
#include <jansson.h>

#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/emit.h"
#include "dsctl/options.h"

#include "common/backoff.h"
#include "common/base64.h"
#include "common/ds_proto.h"
#include "common/mem.h"
#include "common/offset.h"
#include "common/sse.h"

#define EVENT_BYTES_MAX (256u << 20)
#define SILENCE_MS_MAX  75000 /* servers send a comment every 15 s; proxies die silently */
#define BACKOFF_BASE_MS 200
#define BACKOFF_MAX_MS  10000

static const char *arg_from = DS_OFFSET_START;
static int64_t arg_count;
static int64_t arg_idle_ms;
static int arg_form;

static const char *const form_names[] = {"ndjson", "raw", NULL};
static const EmitForm forms[] = {EMIT_NDJSON, EMIT_RAW};

const Option stream_tail_options[] = {
    OPT_STRING(0, "from", &arg_from, "OFFSET", "first offset to read, or now (-1, the start)"),
    OPT_INT('n', "count", &arg_count, "COUNT", 1, INT64_MAX, "leave after so many messages"),
    OPT_DURATION(0, "idle-timeout", &arg_idle_ms, "DURATION",
                 "leave after this long without a message"),
    OPT_CHOICE('o', "output", &arg_form, form_names, "form of the output (ndjson)"),
    OPT_END(),
};

const char stream_tail_details[] =
    "One message a line: {\"offset\", \"data\"}, or \"base64\" for bytes that are no text; offset "
    "stands on\n"
    "the last line of what came together, and --from takes it.  A cut connection is resumed by "
    "itself.\n"
    "Leaves with 0 when the stream closes, after --count messages and after --idle-timeout.  Line "
    "ends of\n"
    "text streams may be changed on the way (SSE); read gives the exact bytes.";

typedef struct Tail {
    Call *call;
    SseParser *parser;
    Emit emit;
    LoopTimer *idle;
    char offset[OFFSET_BYTES_MAX + 1];
    bool is_base64;
    bool has_batch;
    Buf batch;       /* a data event whose control event has not come yet */
    uint64_t events; /* in this connection */
    bool closed, idled;
    Error failed; /* from inside a callback */
} Tail;

/* ---- events ---- */

static bool
tail_flush(Tail *tail, Str offset, Error *err)
{
    Str content = buf_str(&tail->batch);
    bool ok = !tail->has_batch || emit_batch(&tail->emit, content, offset, err);

    tail->has_batch = false;
    buf_reset(&tail->batch);
    return ok;
}

static bool
on_data(Tail *tail, Str data, Error *err)
{
    /* Some servers send several data events before a control event: only the last one waits. */
    if (!tail_flush(tail, STR_EMPTY, err)) {
        return false;
    }
    tail->has_batch = true;
    if (arg_idle_ms > 0) {
        timer_start(tail->idle, arg_idle_ms);
    }
    if (!tail->is_base64) {
        return buf_append(&tail->batch, data, err);
    }
    if (!base64_decode(&tail->batch, data, err)) {
        err->code = ERR_PROTOCOL; /* not this program's input */
        return error_wrap(err, "the server sent bad base64");
    }
    return true;
}

static bool
on_control(Tail *tail, Str data, Error *err)
{
    json_t *control = json_loadb(data.ptr, data.len, 0, NULL);
    Str next = str_c(json_string_value(json_object_get(control, "streamNextOffset")));
    bool ok = offset_is_valid(next) ||
              error_set(err, ERR_PROTOCOL, "a control event says no valid offset: %.*s",
                        STR_ARG(str_head(data, 100)));

    ok = ok && tail_flush(tail, next, err);
    if (ok) {
        memcpy(tail->offset, next.ptr, next.len);
        tail->offset[next.len] = '\0';
        tail->closed = json_is_true(json_object_get(control, "streamClosed"));
    }
    json_decref(control);
    return ok;
}

static bool
on_event(void *arg, const SseEvent *event, Error *err)
{
    Tail *tail = arg;
    bool ok = true;

    tail->events++;
    if (str_eq(event->name, STR("data"))) {
        ok = on_data(tail, event->data, err);
    } else if (str_eq(event->name, STR("control"))) {
        ok = on_control(tail, event->data, err);
    }
    if (ok && (tail->closed || tail->emit.count_left == 0)) {
        call_stop(tail->call);
        return error_set(err, ERR_CANCELED, "complete");
    }
    return ok;
}

static void
on_head(void *arg, const CallReply *reply)
{
    Tail *tail = arg;
    Str encoding = call_reply_header(reply, DS_H_SSE_ENCODING);
    Str type = call_reply_header(reply, "Content-Type");

    tail->is_base64 = str_eq_nocase(encoding, STR("base64"));
    if (!str_starts_nocase(type, STR(DS_MEDIA_SSE))) {
        error_set(&tail->failed, ERR_PROTOCOL, "the server answers %.*s instead of an event stream",
                  STR_ARG(str_head(type, 100)));
        call_stop(tail->call);
    }
}

static void
on_body(void *arg, Str bytes)
{
    Tail *tail = arg;
    Error err = {0};

    if (tail->failed.code == ERR_NONE && !sse_feed(tail->parser, bytes, &err)) {
        tail->failed = err;
        call_stop(tail->call);
    }
}

static void
on_idle(void *arg)
{
    Tail *tail = arg;

    tail->idled = true;
    call_stop(tail->call);
}

/* ---- connections ---- */

static bool
tail_url(const Tail *tail, const char *name, Buf *out, Error *err)
{
    return options_stream_url(name, out, err) && buf_append(out, STR("?offset="), err) &&
           http_url_encode(out, str_c(tail->offset), "", err) &&
           buf_append(out, STR("&live=sse"), err);
}

static bool
tail_is_over(const Tail *tail)
{
    return tail->closed || tail->idled || tail->emit.count_left == 0;
}

/* One connection, until it ends in whatever way. */
static bool
tail_connect(Tail *tail, const char *name, int64_t *retry_after_ms, Error *err)
{
    static const char *const headers[] = {"Accept: " DS_MEDIA_SSE, NULL};
    const CallStream stream = {on_head, on_body, tail};
    HttpRequest request = {.method = "GET", .headers = headers, .idle_ms_max = SILENCE_MS_MAX};
    CallReply reply;
    bool ok = false;
    Buf url;

    sse_reset(tail->parser);
    tail->events = 0;
    tail->has_batch = false;
    buf_reset(&tail->batch);
    call_reply_init(&reply);
    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    if (tail_url(tail, name, &url, err)) {
        request.url = buf_cstr(&url);
        ok = call_http_stream(tail->call, &request, &stream, &reply, err);
    }
    *retry_after_ms = reply.retry_after_ms;
    if (tail->failed.code != ERR_NONE) {
        ok = tail->failed.code == ERR_CANCELED && tail_is_over(tail);
        *err = tail->failed;
    }
    buf_done(&url);
    call_reply_done(&reply);
    return ok;
}

/* A cut or a busy server is waited out, once the stream was seen; what only gets worse is not. */
static bool
tail_follow(Tail *tail, const char *name, Error *err)
{
    Backoff backoff;
    bool seen = false;

    backoff_init(&backoff, BACKOFF_BASE_MS, BACKOFF_MAX_MS);
    while (!tail_is_over(tail)) {
        int64_t retry_after_ms = 0;
        bool ok = tail_connect(tail, name, &retry_after_ms, err);

        if (!ok && (err->code != ERR_RETRY || !(seen || tail->events > 0))) {
            return false;
        }
        seen = seen || tail->events > 0;
        if (tail->events > 0) {
            backoff_reset(&backoff);
        }
        if (ok && tail->events > 0) {
            continue; /* servers end a connection about once a minute */
        }
        if (!ok) {
            call_note("%s; trying again", err->text);
        }
        if (!call_sleep(tail->call, backoff_next_ms(&backoff, retry_after_ms), err)) {
            return false;
        }
    }
    return true;
}

/* SSE does not say what the stream holds. */
static bool
tail_begin(Tail *tail, const char *name, Error *err)
{
    HttpRequest request = {.method = "HEAD"};
    CallReply reply;
    bool ok = false;
    Buf url;

    if (strlen(arg_from) > OFFSET_BYTES_MAX) {
        return error_set(err, ERR_CONFIG, "--from: an offset has at most %d bytes",
                         OFFSET_BYTES_MAX);
    }
    memcpy(tail->offset, arg_from, strlen(arg_from) + 1);
    call_reply_init(&reply);
    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    if (options_stream_url(name, &url, err)) {
        request.url = buf_cstr(&url);
        ok = call_http(tail->call, &request, &reply, err);
    }
    if (ok) {
        tail->emit.is_json = emit_is_json(call_reply_header(&reply, "Content-Type"));
        ok = emit_begin(&tail->emit, err);
    }
    buf_done(&url);
    call_reply_done(&reply);
    return ok;
}

static bool
run_tail(Call *call, const CliCall *cli, Error *err)
{
    Tail *tail = mem_zalloc(sizeof(*tail));

    tail->call = call;
    tail->emit.form = forms[arg_form];
    tail->emit.count_left = arg_count > 0 ? (uint64_t)arg_count : UINT64_MAX;
    tail->parser = sse_new(EVENT_BYTES_MAX, on_event, tail);
    buf_init(&tail->batch, EVENT_BYTES_MAX);
    tail->idle = timer_new(call_loop(call), on_idle, tail);
    if (arg_idle_ms > 0) {
        timer_start(tail->idle, arg_idle_ms);
    }
    call_watch_reader(call);
    bool ok = tail_begin(tail, cli->args[0], err) && tail_follow(tail, cli->args[0], err) &&
              emit_end(&tail->emit, err);
    timer_free(tail->idle);
    buf_done(&tail->batch);
    sse_free(tail->parser);
    free(tail);
    return ok;
}

int
cmd_stream_tail(const CliCall *cli)
{
    return call_main(run_tail, cli);
}
