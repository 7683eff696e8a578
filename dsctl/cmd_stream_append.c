/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl stream append: one body as it is, or lines of JSON in batches. */
#include <errno.h>

#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/emit.h"
#include "dsctl/headers.h"
#include "dsctl/input.h"
#include "dsctl/options.h"
#include "dsctl/output.h"

#include "common/ds_proto.h"
#include "common/json_scan.h"
#include "common/mem.h"
#include "common/parse.h"

#define BODY_BYTES_MAX  (256u << 20)
#define BATCH_BYTES_MAX (4u << 20) /* a batch is sent when it reaches this */
#define LINE_BYTES_MAX  (64u << 20)

static const char *arg_content_type;
static const char *arg_file;
static bool arg_json_lines;
static int64_t arg_batch = 1000;
static const char *arg_producer_id;
static int64_t arg_producer_epoch = 0;
static int64_t arg_producer_seq = 0;
static const char *arg_stream_seq;
static bool arg_close;

const Option stream_append_options[] = {
    OPT_STRING('t', "content-type", &arg_content_type, "TYPE",
               "content type of the body (the stream's own, which costs a HEAD)"),
    OPT_STRING('f', "file", &arg_file, "FILE", "read the body from a file, - is stdin"),
    OPT_FLAG(0, "json-lines", &arg_json_lines, "each line is one JSON message; sent in batches"),
    OPT_INT(0, "batch", &arg_batch, "LINES", 1, 100000, "lines in a batch at most (1000)"),
    OPT_STRING(0, "producer-id", &arg_producer_id, "ID", "idempotent producer: its name"),
    OPT_INT(0, "producer-epoch", &arg_producer_epoch, "N", 0, DS_PRODUCER_NUMBER_MAX,
            "its epoch (0)"),
    OPT_INT(0, "producer-seq", &arg_producer_seq, "N", 0, DS_PRODUCER_NUMBER_MAX,
            "number of the first request (0); each batch counts one"),
    OPT_STRING(0, "stream-seq", &arg_stream_seq, "TEXT",
               "Stream-Seq: must be greater than the last one"),
    OPT_FLAG(0, "close", &arg_close, "close the stream with the last request"),
    OPT_END(),
};

const char stream_append_details[] =
    "BODY - or no BODY reads stdin.  To a JSON stream a body that is an array appends its "
    "elements,\n"
    "one level deep; with --json-lines each line is one message, arrays too.\n"
    "With a producer the same request may be repeated: the server appends it once, and the result\n"
    "says \"duplicate\".";

static const OutputColumn columns[] = {
    {"result", "RESULT", COLUMN_TEXT, NULL},
    {"name", "NAME", COLUMN_TEXT, NULL},
    {"requests", "REQUESTS", COLUMN_NUMBER, NULL},
    {"messages", "MESSAGES", COLUMN_NUMBER, NULL},
    {"bytes", "BYTES", COLUMN_NUMBER, NULL},
    {"next_offset", "NEXT-OFFSET", COLUMN_TEXT, NULL},
    {"producer_seq", NULL, COLUMN_NUMBER, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

typedef struct Append {
    Call *call;
    const char *name;
    Buf url;
    char *content_type;
    int64_t seq; /* of the producer's next request */
    uint64_t requests, duplicates, messages, bytes;
    char next_offset[OPTIONS_URL_BYTES_MAX];
} Append;

/* ---- one request ---- */

static bool
append_headers(const Append *append, bool last, Headers *headers, Error *err)
{
    if (!headers_add(headers, "Content-Type", append->content_type, err)) {
        return false;
    }
    if (arg_producer_id != NULL &&
        (!headers_add(headers, DS_H_PRODUCER_ID, arg_producer_id, err) ||
         !headers_add_number(headers, DS_H_PRODUCER_EPOCH, arg_producer_epoch, err) ||
         !headers_add_number(headers, DS_H_PRODUCER_SEQ, append->seq, err))) {
        return false;
    }
    if (arg_stream_seq != NULL && !headers_add(headers, DS_H_STREAM_SEQ, arg_stream_seq, err)) {
        return false;
    }
    return !arg_close || !last || headers_add(headers, DS_H_STREAM_CLOSED, "true", err);
}

static bool
append_send(Append *append, Str body, bool last, Error *err)
{
    Headers headers = {.count = 0};
    HttpRequest request = {.method = "POST", .body = body, .has_body = true};
    CallReply reply;
    bool ok = false;

    call_reply_init(&reply);
    if (append_headers(append, last, &headers, err)) {
        request.url = buf_cstr(&append->url);
        request.headers = (const char *const *)headers.lines;
        ok = call_http(append->call, &request, &reply, err);
    }
    if (ok) {
        Str offset = call_reply_header(&reply, DS_H_STREAM_NEXT_OFFSET);
        bool duplicate = arg_producer_id != NULL && reply.status == 204 && body.len > 0;

        append->requests++;
        append->duplicates += duplicate ? 1 : 0;
        append->bytes += body.len;
        append->seq++;
        (void)snprintf(append->next_offset, sizeof(append->next_offset), "%.*s",
                       STR_ARG(str_head(offset, sizeof(append->next_offset) - 1)));
    } else if (append->requests > 0) {
        error_wrap(err, "after %llu messages in %llu requests were appended",
                   (unsigned long long)append->messages, (unsigned long long)append->requests);
    }
    headers_done(&headers);
    call_reply_done(&reply);
    return ok;
}

/* The body's content type must be the stream's: asked for unless given. */
static bool
append_begin(Append *append, Error *err)
{
    HttpRequest request = {.method = "HEAD"};
    CallReply reply;

    if (!options_stream_url(append->name, &append->url, err)) {
        return false;
    }
    if (arg_content_type != NULL) {
        append->content_type = mem_strdup(arg_content_type);
        return true;
    }
    call_reply_init(&reply);
    request.url = buf_cstr(&append->url);
    bool ok = call_http(append->call, &request, &reply, err);
    if (ok) {
        append->content_type = str_dup(call_reply_header(&reply, "Content-Type"));
    }
    call_reply_done(&reply);
    return ok;
}

/* ---- the body ---- */

/* Batches are arrays around the lines, because the server takes one level of array apart. */
typedef struct Batch {
    Buf body;
    int64_t lines;
} Batch;

static bool
batch_send(Append *append, Batch *batch, bool last, Error *err)
{
    if (!buf_append_char(&batch->body, ']', err) ||
        !append_send(append, buf_str(&batch->body), last, err)) {
        return false;
    }
    append->messages += (uint64_t)batch->lines;
    buf_reset(&batch->body);
    batch->lines = 0;
    return true;
}

/* A full batch goes only when another line comes, so that --close is on the last one. */
static bool
batch_add(Append *append, Batch *batch, Str line, uint64_t number, Error *err)
{
    JsonValue value;

    if (!json_scan_value(line, JSON_DEPTH_MAX, &value, err)) {
        return error_wrap(err, "line %llu", (unsigned long long)number);
    }
    if ((batch->lines >= arg_batch ||
         (batch->lines > 0 && batch->body.len + value.text.len > BATCH_BYTES_MAX)) &&
        !batch_send(append, batch, false, err)) {
        return false;
    }
    batch->lines++;
    return buf_append_char(&batch->body, batch->lines == 1 ? '[' : ',', err) &&
           buf_append(&batch->body, value.text, err);
}

static bool
append_lines(Append *append, FILE *file, Error *err)
{
    Batch batch = {.lines = 0};
    char *line = NULL;
    size_t size = 0;
    ssize_t n = 0;
    bool ok = true;

    buf_init(&batch.body, LINE_BYTES_MAX + BATCH_BYTES_MAX);
    for (uint64_t number = 1; ok && (n = getline(&line, &size, file)) >= 0; number++) {
        Str text = str_n(line, (size_t)n);
        while (text.len > 0 && strchr(" \t\r\n", text.ptr[text.len - 1]) != NULL) {
            text.len--;
        }
        if (text.len > LINE_BYTES_MAX) {
            ok = error_set(err, ERR_LIMIT, "line %llu is longer than %u bytes",
                           (unsigned long long)number, LINE_BYTES_MAX);
        } else if (text.len > 0) {
            ok = batch_add(append, &batch, text, number, err);
        }
    }
    if (ok && ferror(file) != 0) {
        ok = error_set(err, ERR_CONFIG, "cannot read the lines: %s", strerror(errno));
    }
    if (ok && batch.lines > 0) {
        ok = batch_send(append, &batch, true, err);
    } else if (ok && arg_close) {
        ok = append_send(append, STR_EMPTY, true, err);
    }
    free(line);
    buf_done(&batch.body);
    return ok;
}

static bool
append_body(Append *append, const CliCall *cli, Error *err)
{
    bool is_text = cli->count == 2 && strcmp(cli->args[1], "-") != 0;
    FILE *file = NULL;
    bool ok = false;
    Buf body;

    if (is_text && arg_file != NULL) {
        return error_set(err, ERR_CONFIG, "give BODY or --file, not both");
    }
    if (is_text && arg_json_lines) {
        return error_set(err, ERR_CONFIG, "--json-lines reads a file or stdin, not BODY");
    }
    if (is_text) {
        return append_send(append, str_c(cli->args[1]), true, err);
    }
    file = input_open(arg_file, err);
    if (file == NULL) {
        return false;
    }
    buf_init(&body, BODY_BYTES_MAX);
    if (arg_json_lines) {
        ok = append_lines(append, file, err);
    } else if (!input_read(file, &body, err)) {
        error_wrap(err, "the body");
    } else {
        ok = append_send(append, buf_str(&body), true, err);
    }
    buf_done(&body);
    input_close(file);
    return ok;
}

static bool
append_report(const Append *append, Error *err)
{
    bool all_duplicates = append->requests > 0 && append->duplicates == append->requests;
    json_t *record = json_object();
    json_t *rows = json_array();

    json_object_set_new(record, "result", json_string(all_duplicates ? "duplicate" : "appended"));
    json_object_set_new(record, "name", json_string(append->name));
    json_object_set_new(record, "requests", json_integer((json_int_t)append->requests));
    json_object_set_new(record, "duplicates", json_integer((json_int_t)append->duplicates));
    if (arg_json_lines) {
        json_object_set_new(record, "messages", json_integer((json_int_t)append->messages));
    }
    json_object_set_new(record, "bytes", json_integer((json_int_t)append->bytes));
    json_object_set_new(record, "next_offset",
                        append->next_offset[0] != '\0' ? json_string(append->next_offset)
                                                       : json_null());
    if (arg_producer_id != NULL) {
        json_object_set_new(record, "producer_seq", json_integer((json_int_t)append->seq - 1));
    }
    json_array_append_new(rows, record);
    bool ok = output_rows("appends", columns, rows, err);
    json_decref(rows);
    return ok;
}

static bool
run_append(Call *call, const CliCall *cli, Error *err)
{
    Append *append = mem_zalloc(sizeof(*append));

    append->call = call;
    append->name = cli->args[0];
    append->seq = arg_producer_seq;
    buf_init(&append->url, OPTIONS_URL_BYTES_MAX);
    bool ok = append_begin(append, err);
    if (ok && arg_json_lines && !emit_is_json(str_c(append->content_type))) {
        ok = error_set(err, ERR_CONFIG, "--json-lines wants a stream of application/json, not %s",
                       append->content_type);
    }
    ok = ok && append_body(append, cli, err) && append_report(append, err);
    buf_done(&append->url);
    free(append->content_type);
    free(append);
    return ok;
}

int
cmd_stream_append(const CliCall *cli)
{
    return call_main(run_append, cli);
}
