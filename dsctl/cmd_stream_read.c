/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl stream read: page after page until the tail. */
#include "dsctl/call.h"
#include "dsctl/commands.h"
#include "dsctl/emit.h"
#include "dsctl/options.h"

#include "common/ds_proto.h"
#include "common/offset.h"

static const char *arg_from = DS_OFFSET_START;
static int64_t arg_count;
static int arg_form = EMIT_RAW;

const Option stream_read_options[] = {
    OPT_STRING(0, "from", &arg_from, "OFFSET", "first offset to read (-1, the start)"),
    OPT_INT('n', "count", &arg_count, "COUNT", 1, INT64_MAX, "at most so many messages"),
    OPT_CHOICE('o', "output", &arg_form, emit_form_names, "form of the output (raw)"),
    OPT_END(),
};

const char stream_read_details[] =
    "raw: the bytes as they are; of a JSON stream one message a line.  ndjson: {\"offset\", "
    "\"data\"}\n"
    "a line, or \"base64\" for bytes that are no text; offset stands on the last line of each page "
    "and\n"
    "is where to resume.  json: one array of all messages, JSON streams only.";

static bool
read_url(const char *name, const char *offset, Buf *out, Error *err)
{
    return options_stream_url(name, out, err) && buf_append(out, STR("?offset="), err) &&
           http_url_encode(out, str_c(offset), "", err);
}

static bool
read_page(Call *call, const char *name, const char *offset, CallReply *reply, Error *err)
{
    HttpRequest request = {.method = "GET"};
    Buf url;

    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    bool ok = read_url(name, offset, &url, err);
    if (ok) {
        request.url = buf_cstr(&url);
        ok = call_http(call, &request, reply, err);
    }
    buf_done(&url);
    return ok;
}

static bool
read_is_last(const CallReply *reply)
{
    return str_eq_nocase(call_reply_header(reply, DS_H_STREAM_UP_TO_DATE), STR("true")) ||
           str_eq_nocase(call_reply_header(reply, DS_H_STREAM_CLOSED), STR("true"));
}

static bool
run_read(Call *call, const CliCall *cli, Error *err)
{
    Emit emit = {.form = (EmitForm)arg_form,
                 .count_left = arg_count > 0 ? (uint64_t)arg_count : UINT64_MAX};
    char *offset = str_dup(str_c(arg_from));
    bool ok = true;
    bool last = false;

    for (bool first = true; ok && !last && emit.count_left > 0; first = false) {
        CallReply reply;
        call_reply_init(&reply);
        ok = read_page(call, cli->args[0], offset, &reply, err);
        if (ok && first) {
            emit.is_json = emit_is_json(call_reply_header(&reply, "Content-Type"));
            ok = emit_begin(&emit, err);
        }
        Str next = call_reply_header(&reply, DS_H_STREAM_NEXT_OFFSET);
        ok = ok && emit_batch(&emit, buf_str(&reply.body), next, err);
        last = read_is_last(&reply);
        if (ok && !last && (!offset_is_valid(next) || str_eq(next, str_c(offset)))) {
            ok = error_set(err, ERR_PROTOCOL,
                           "the server says that there is more, but not where to go on");
        }
        free(offset);
        offset = str_dup(next);
        call_reply_done(&reply);
    }
    free(offset);
    return ok && emit_end(&emit, err);
}

int
cmd_stream_read(const CliCall *cli)
{
    return call_main(run_read, cli);
}
