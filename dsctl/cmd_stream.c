/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl stream: ls, create, head, close, rm.  The others have files of their own. */
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/headers.h"
#include "dsctl/options.h"
#include "dsctl/output.h"

#include "common/ds_proto.h"

#define LS_PAGE        "1000"
#define PATH_BYTES_MAX 8192

static int64_t arg_limit = 1000000;
static const char *arg_content_type;
static int64_t arg_ttl_ms = -1;
static const char *arg_expires_at;
static bool arg_closed;
static bool arg_if_exists;

/* ---- ls ---- */

static const Option ls_options[] = {
    OPT_INT('n', "limit", &arg_limit, "COUNT", 1, 1000000, "at most so many streams"),
    OPT_END(),
};

static const OutputColumn ls_columns[] = {
    {"name", "NAME", COLUMN_TEXT, NULL},
    {"content_type", "CONTENT-TYPE", COLUMN_TEXT, NULL},
    {"messages", "MESSAGES", COLUMN_NUMBER, NULL},
    {"bytes", "BYTES", COLUMN_NUMBER, NULL},
    {"closed", "CLOSED", COLUMN_TEXT, NULL},
    {"next_offset", "NEXT-OFFSET", COLUMN_TEXT, NULL},
    {"start_offset", NULL, COLUMN_TEXT, NULL},
    {"updated_at", "UPDATED", COLUMN_TEXT, NULL},
    {"created_at", NULL, COLUMN_TEXT, NULL},
    {"ttl_seconds", NULL, COLUMN_NUMBER, NULL},
    {"expires_at", NULL, COLUMN_TEXT, NULL},
    {"forks", NULL, COLUMN_NUMBER, NULL},
    {"forked_from", NULL, COLUMN_TEXT, NULL},
    {"fork_offset", NULL, COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static bool
ls_path(const char *prefix, const char *after, Buf *out, Error *err)
{
    return buf_append(out, STR("/admin/streams?limit=" LS_PAGE "&prefix="), err) &&
           http_url_encode(out, str_c(prefix), "/", err) &&
           (after == NULL ||
            (buf_append(out, STR("&after="), err) && http_url_encode(out, str_c(after), "", err)));
}

/* One page into rows; *out_next is the token of the next one or NULL, and the caller's. */
static bool
ls_page(Call *call, const char *prefix, const char *after, json_t *rows, json_t **out_next,
        Error *err)
{
    HttpRequest request = {.method = "GET"};
    CallReply reply;
    json_t *page = NULL;
    Buf path;
    Buf url;
    bool ok = false;

    call_reply_init(&reply);
    buf_init(&path, PATH_BYTES_MAX);
    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    if (!ls_path(prefix, after, &path, err) || !options_admin_url(buf_cstr(&path), &url, err)) {
        goto done;
    }
    request.url = buf_cstr(&url);
    if (!call_http(call, &request, &reply, err)) {
        (void)error_wrap(err, "the admin listener (--admin, DSCTL_ADMIN)");
        goto done;
    }
    page = json_loadb(reply.body.data, reply.body.len, 0, NULL);
    const json_t *streams = json_object_get(page, "streams");
    if (!json_is_array(streams)) {
        error_set(err, ERR_PROTOCOL,
                  "%s: the answer is no list of streams; is this the admin "
                  "listener?",
                  request.url);
        goto done;
    }
    json_array_extend(rows, (json_t *)(uintptr_t)streams); /* only counted up */
    json_t *next = json_object_get(page, "next");
    *out_next = json_is_string(next) ? json_incref(next) : NULL;
    ok = true;

done:
    json_decref(page);
    buf_done(&path);
    buf_done(&url);
    call_reply_done(&reply);
    return ok;
}

static bool
run_ls(Call *call, const CliCall *cli, Error *err)
{
    const char *prefix = cli->count > 0 ? cli->args[0] : "";
    json_t *rows = json_array();
    json_t *after = NULL;
    bool ok = true;
    bool more = true;

    while (ok && more && (int64_t)json_array_size(rows) < arg_limit) {
        json_t *next = NULL;
        ok = ls_page(call, prefix, json_string_value(after), rows, &next, err);
        json_decref(after);
        after = next;
        more = after != NULL;
    }
    while ((int64_t)json_array_size(rows) > arg_limit) {
        json_array_remove(rows, json_array_size(rows) - 1);
        more = true;
    }
    ok = ok && output_rows("streams", ls_columns, rows, err);
    if (ok && json_array_size(rows) == 0 && *prefix == '\0') {
        call_note("there are no streams");
    } else if (ok && json_array_size(rows) == 0) {
        call_note("no stream begins with %s", prefix);
    }
    if (ok && more) {
        call_note("there are more streams than --limit %lld", (long long)arg_limit);
    }
    json_decref(after);
    json_decref(rows);
    return ok;
}

static int
cmd_ls(const CliCall *cli)
{
    return call_main(run_ls, cli);
}

/* ---- one stream ---- */

static const OutputColumn head_columns[] = {
    {"name", "name", COLUMN_TEXT, NULL},
    {"result", NULL, COLUMN_TEXT, NULL},
    {"content_type", "content type", COLUMN_TEXT, NULL},
    {"next_offset", "next offset", COLUMN_TEXT, NULL},
    {"closed", "closed", COLUMN_TEXT, NULL},
    {"ttl_seconds", "ttl (s)", COLUMN_NUMBER, NULL},
    {"expires_at", "expires at", COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static const OutputColumn change_columns[] = {
    {"result", "RESULT", COLUMN_TEXT, NULL},
    {"name", "NAME", COLUMN_TEXT, NULL},
    {"next_offset", "NEXT-OFFSET", COLUMN_TEXT, NULL},
    {NULL, NULL, COLUMN_TEXT, NULL},
};

static json_t *
header_text(const CallReply *reply, const char *name)
{
    Str value = call_reply_header(reply, name);

    return value.len > 0 ? json_stringn(value.ptr, value.len) : json_null();
}

static json_t *
header_integer(const CallReply *reply, const char *name)
{
    json_t *value = header_text(reply, name);
    json_t *number =
        json_is_string(value) ? json_loads(json_string_value(value), JSON_DECODE_ANY, NULL) : NULL;

    if (!json_is_integer(number)) {
        json_decref(number);
        return value;
    }
    json_decref(value);
    return number;
}

static json_t *
describe(const char *name, const CallReply *reply)
{
    bool closed = str_eq_nocase(call_reply_header(reply, DS_H_STREAM_CLOSED), STR("true"));
    json_t *record = json_object();

    json_object_set_new(record, "name", json_string(name));
    json_object_set_new(record, "content_type", header_text(reply, "Content-Type"));
    json_object_set_new(record, "next_offset", header_text(reply, DS_H_STREAM_NEXT_OFFSET));
    json_object_set_new(record, "closed", json_boolean(closed));
    json_object_set_new(record, "ttl_seconds", header_integer(reply, DS_H_STREAM_TTL));
    json_object_set_new(record, "expires_at", header_text(reply, DS_H_STREAM_EXPIRES_AT));
    return record;
}

/* A request without a body about one stream. */
static bool
stream_request(Call *call, const char *method, const char *name, const char *const *headers,
               CallReply *reply, Error *err)
{
    HttpRequest request = {.method = method, .headers = headers};
    Buf url;

    /* A body of no bytes still has a length to say, or some proxies wait for it. */
    request.has_body = strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0;
    request.body = STR_EMPTY;
    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    bool ok = options_stream_url(name, &url, err);
    if (ok) {
        request.url = buf_cstr(&url);
        ok = call_http(call, &request, reply, err);
    }
    buf_done(&url);
    return ok;
}

static bool
run_head(Call *call, const CliCall *cli, Error *err)
{
    CallReply reply;

    call_reply_init(&reply);
    bool ok = stream_request(call, "HEAD", cli->args[0], NULL, &reply, err);
    if (ok) {
        json_t *record = describe(cli->args[0], &reply);
        ok = output_record(head_columns, record, err);
        json_decref(record);
    }
    call_reply_done(&reply);
    return ok;
}

static int
cmd_head(const CliCall *cli)
{
    return call_main(run_head, cli);
}

/* ---- create ---- */

static const Option create_options[] = {
    OPT_STRING('t', "content-type", &arg_content_type, "TYPE",
               "content type of the stream (application/octet-stream)"),
    OPT_DURATION(0, "ttl", &arg_ttl_ms, "DURATION",
                 "delete it after so long without reads or writes; whole seconds"),
    OPT_STRING(0, "expires-at", &arg_expires_at, "TIME", "delete it then: 2026-12-31T23:59:59Z"),
    OPT_FLAG(0, "closed", &arg_closed, "create it closed: it stays empty"),
    OPT_END(),
};

static bool
create_headers(Headers *headers, Error *err)
{
    const char *type = arg_content_type != NULL ? arg_content_type : DS_MEDIA_BYTES;

    if (arg_ttl_ms >= 0 && arg_ttl_ms % 1000 != 0) {
        return error_set(err, ERR_CONFIG, "--ttl counts whole seconds");
    }
    return headers_add(headers, "Content-Type", type, err) &&
           (arg_ttl_ms < 0 ||
            headers_add_number(headers, DS_H_STREAM_TTL, arg_ttl_ms / 1000, err)) &&
           (arg_expires_at == NULL ||
            headers_add(headers, DS_H_STREAM_EXPIRES_AT, arg_expires_at, err)) &&
           (!arg_closed || headers_add(headers, DS_H_STREAM_CLOSED, "true", err));
}

/* Several names: the first that fails ends it, and what was printed is done. */
static bool
change_each(Call *call, const CliCall *cli, const char *method, const char *const *headers,
            const char *(*result)(const CallReply *reply), Error *err)
{
    json_t *rows = json_array();
    bool ok = true;

    for (size_t i = 0; ok && i < cli->count; i++) {
        CallReply reply;
        call_reply_init(&reply);
        ok = stream_request(call, method, cli->args[i], headers, &reply, err);
        bool missing = !ok && arg_if_exists && err->code == ERR_NOT_FOUND;
        if (ok || missing) {
            json_t *record = describe(cli->args[i], &reply);
            json_object_set_new(record, "result", json_string(missing ? "absent" : result(&reply)));
            json_array_append_new(rows, record);
            ok = true;
        }
        call_reply_done(&reply);
    }
    if (ok || json_array_size(rows) > 0) {
        Error print = {0};
        if (!output_rows("streams", change_columns, rows, &print) && ok) {
            *err = print;
            ok = false;
        }
    }
    json_decref(rows);
    return ok;
}

static const char *
create_result(const CallReply *reply)
{
    return reply->status == 201 ? "created" : "exists";
}

static bool
run_create(Call *call, const CliCall *cli, Error *err)
{
    Headers headers = {.count = 0};
    bool ok = create_headers(&headers, err) &&
              change_each(call, cli, "PUT", (const char *const *)headers.lines, create_result, err);

    headers_done(&headers);
    return ok;
}

static int
cmd_create(const CliCall *cli)
{
    return call_main(run_create, cli);
}

/* ---- close and rm ---- */

static const Option rm_options[] = {
    OPT_FLAG(0, "if-exists", &arg_if_exists, "a stream that is not there is no failure"),
    OPT_END(),
};

static const char *
close_result(const CallReply *reply)
{
    (void)reply;
    return "closed";
}

static const char *
rm_result(const CallReply *reply)
{
    (void)reply;
    return "deleted";
}

static bool
run_close(Call *call, const CliCall *cli, Error *err)
{
    static const char *const headers[] = {DS_H_STREAM_CLOSED ": true", NULL};

    return change_each(call, cli, "POST", headers, close_result, err);
}

static int
cmd_close(const CliCall *cli)
{
    return call_main(run_close, cli);
}

static bool
run_rm(Call *call, const CliCall *cli, Error *err)
{
    return change_each(call, cli, "DELETE", NULL, rm_result, err);
}

static int
cmd_rm(const CliCall *cli)
{
    return call_main(run_rm, cli);
}

const Command stream_commands[] = {
    {.name = "ls",
     .args = "[PREFIX]",
     .args_max = 1,
     .options = ls_options,
     .run = cmd_ls,
     .help = "list streams (asks the admin listener)"},
    {.name = "create",
     .args = "STREAM...",
     .args_min = 1,
     .args_max = 64,
     .options = create_options,
     .run = cmd_create,
     .help = "create streams; one that exists unchanged is no failure"},
    {.name = "append",
     .args = "STREAM [BODY]",
     .args_min = 1,
     .args_max = 2,
     .options = stream_append_options,
     .run = cmd_stream_append,
     .help = "append a body, or each line of a file as a message",
     .details = stream_append_details},
    {.name = "read",
     .args = "STREAM",
     .args_min = 1,
     .args_max = 1,
     .options = stream_read_options,
     .run = cmd_stream_read,
     .help = "print what is in a stream now",
     .details = stream_read_details},
    {.name = "tail",
     .args = "STREAM",
     .args_min = 1,
     .args_max = 1,
     .options = stream_tail_options,
     .run = cmd_stream_tail,
     .help = "follow a stream over SSE until it closes",
     .details = stream_tail_details},
    {.name = "head",
     .args = "STREAM",
     .args_min = 1,
     .args_max = 1,
     .run = cmd_head,
     .help = "show a stream's type, tail offset and state (does not renew its TTL)"},
    {.name = "close",
     .args = "STREAM...",
     .args_min = 1,
     .args_max = 64,
     .run = cmd_close,
     .help = "close streams: no more appends, for good"},
    {.name = "rm",
     .args = "STREAM...",
     .args_min = 1,
     .args_max = 64,
     .options = rm_options,
     .run = cmd_rm,
     .help = "delete streams and what is in them"},
    {.name = NULL},
};
