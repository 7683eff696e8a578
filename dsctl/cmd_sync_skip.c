/* SPDX-License-Identifier: Apache-2.0 */
/* dsctl sync skip: go on behind messages that shall not, or cannot, be loaded. */
#include "common/ds_proto.h"
#include "common/json_scan.h"
#include "common/mem.h"
#include "common/offset.h"
#include "dsctl/commands.h"
#include "dsctl/emit.h"
#include "dsctl/lag.h"
#include "dsctl/options.h"
#include "dsctl/sync_place.h"
#include "dsctl/sync_server.h"

#define SHOWN_BYTES_MAX  60
#define WANTED_BYTES_MAX 80
#define SQLSTATE_LEN     5

static const char *arg_to;
static const char *arg_route;
static const char *arg_source;
static bool arg_past_poison;
static bool arg_execute;

const Option sync_skip_options[] = {
    OPT_STRING(0, "to", &arg_to, "OFFSET", "go on at this offset; now is the end of the stream"),
    OPT_FLAG(0, "past-poison", &arg_past_poison,
             "go on behind the message that failed it, which becomes a dead letter"),
    OPT_STRING('r', "route", &arg_route, "NAME", "of this route"),
    OPT_STRING(0, "source", &arg_source, "NAME", "of this server, as syncd calls it"),
    OPT_FLAG(0, "execute", &arg_execute, "do it, instead of saying what it would do"),
    OPT_END(),
};

const char sync_skip_details[] =
    "What lies between is not loaded, and with --to it is nowhere but on the stream server.  "
    "--past-poison is for\n"
    "a stream of JSON messages that failed at its next one, as its reason says, on a route with "
    "\"on_error\":\n"
    "\"stop\": the message is read from the server and put into ds_sync.dead_letter, from where "
    "dsctl dlq replay\n"
    "can load it.  Controls of state are not left out.  Never backwards: that is sync reset.  "
    "--server must be the\n"
    "one that the stream is of: one of the URLs that syncd has for it, or any other together with "
    "--source, which says\n"
    "that it is the same.";

/* ---- --to ---- */

/* *out is the caller's; "" when the server does not say. */
static bool
ask_tail(Call *call, const char *name, char **out, Error *err)
{
    HttpRequest request = {.method = "HEAD"};
    CallReply reply;
    Buf url;

    call_reply_init(&reply);
    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    bool ok = options_name_url(name, &url, err);
    if (ok) {
        request.url = buf_cstr(&url);
        ok = call_http(call, &request, &reply, err);
    }
    if (ok) {
        *out = str_dup(call_reply_header(&reply, DS_H_STREAM_NEXT_OFFSET));
    }
    buf_done(&url);
    call_reply_done(&reply);
    return ok;
}

/* An offset that names no place ahead of where we are, and not behind the end. */
static bool
check_target(const SyncStream *stream, const char *to, const char *tail, Error *err)
{
    const SyncPlace *from = &stream->place;
    bool at_start = strcmp(from->offset, DS_OFFSET_START) == 0;
    int order = strcmp(to, from->offset); /* offsets are ordered bytewise */
    Lag ahead = lag_between(str_c(from->offset), (uint64_t)from->skip, str_c(to));
    Lag rest = lag_between(str_c(to), 0, str_c(tail));

    if (!offset_is_valid(str_c(to))) {
        return error_set(err, ERR_CONFIG, "\"%.100s\" is no offset of a stream", to);
    }
    if (rest.kind == LAG_OTHER_ERA || (rest.kind == LAG_UNKNOWN && strcmp(to, tail) > 0)) {
        return error_set(err, ERR_CONFIG, "%s ends at %s, and %s is no place before it",
                         stream->name, tail, to);
    }
    if (ahead.kind == LAG_OTHER_ERA ||
        (ahead.kind == LAG_UNKNOWN && !at_start && (order < 0 || (order == 0 && from->skip > 0)))) {
        return error_set(err, ERR_CONFLICT,
                         "%s stands at %s, behind %s or in another life of the stream: dsctl sync "
                         "reset reads it from its start",
                         stream->name, from->offset, to);
    }
    return true;
}

/* ---- --past-poison ---- */

static bool
read_page(Call *call, const char *name, const char *offset, CallReply *reply, Error *err)
{
    HttpRequest request = {.method = "GET"};
    Buf url;

    buf_init(&url, OPTIONS_URL_BYTES_MAX);
    bool ok = options_name_url(name, &url, err) && buf_append(&url, STR("?offset="), err) &&
              http_url_encode(&url, str_c(offset), "", err);
    if (ok) {
        request.url = buf_cstr(&url);
        ok = call_http(call, &request, reply, err);
    }
    buf_done(&url);
    return ok;
}

/* The message number *left of the array, or *left less those that there are. */
static bool
pick_message(Str array, int64_t *left, Buf *out, bool *out_found, Error *err)
{
    JsonElements elements;
    JsonValue value;
    bool more = array.len > 0;

    *out_found = false;
    if (!more) {
        return true;
    }
    if (!json_elements_init(&elements, array, JSON_DEPTH_MAX, err)) {
        return error_wrap(err, "the server sent bad JSON");
    }
    while (!*out_found) {
        if (!json_elements_next(&elements, &value, &more, err)) {
            return error_wrap(err, "the server sent bad JSON");
        }
        if (!more) {
            return true;
        }
        *out_found = *left == 0;
        *left -= 1;
    }
    return buf_append(out, value.text, err);
}

/* The next message that syncd would load. */
static bool
read_next(Call *call, const SyncStream *stream, Buf *out, Error *err)
{
    char *offset = mem_strdup(stream->place.offset);
    int64_t left = stream->place.skip;
    bool found = false;
    bool ok = true;

    while (ok && !found) {
        CallReply reply;

        call_reply_init(&reply);
        ok = read_page(call, stream->name, offset, &reply, err) &&
             pick_message(buf_str(&reply.body), &left, out, &found, err);
        Str next = call_reply_header(&reply, DS_H_STREAM_NEXT_OFFSET);
        if (ok && !found && (!offset_is_valid(next) || str_eq(next, str_c(offset)))) {
            ok = error_set(err, ERR_CONFLICT, "the stream has no message behind %s (skip %lld)",
                           stream->place.offset, (long long)stream->place.skip);
        }
        free(offset);
        offset = str_dup(next);
        call_reply_done(&reply);
    }
    free(offset);
    return ok;
}

/* As lane_blocked says it; behind a SQLSTATE when Postgres refused the message. */
static bool
is_message_fault(const SyncStream *stream)
{
    Str reason = str_c(stream->reason == NULL ? "" : stream->reason);
    char wanted[WANTED_BYTES_MAX];

    (void)snprintf(wanted, sizeof(wanted), "the message of seq %lld cannot be loaded",
                   (long long)stream->place.next_seq);
    if (reason.len > SQLSTATE_LEN + 2 && memcmp(reason.ptr + SQLSTATE_LEN, ": ", 2) == 0) {
        Str rest = str_n(reason.ptr + SQLSTATE_LEN + 2, reason.len - SQLSTATE_LEN - 2);

        reason = str_starts(rest, str_c(wanted)) ? rest : reason;
    }
    return str_starts(reason, str_c(wanted));
}

static bool
check_poison(const SyncStream *stream, Error *err)
{
    if (strcmp(stream->state, "failed") != 0) {
        return error_set(err, ERR_CONFLICT,
                         "%s is %s, not failed: there is no message that failed it", stream->name,
                         stream->state);
    }
    if (stream->content_type == NULL || !emit_is_json(str_c(stream->content_type))) {
        return error_set(err, ERR_CONFLICT, "%s is no stream of JSON messages: give --to an offset",
                         stream->name);
    }
    return is_message_fault(stream) ||
           error_set(err, ERR_CONFLICT,
                     "%s did not fail at its next message, seq %lld, but: %.300s; mend that, then "
                     "dsctl sync retry %s",
                     stream->name, (long long)stream->place.next_seq,
                     stream->reason == NULL ? "no reason is stored" : stream->reason, stream->name);
}

/* Without one of these, all that belongs to its set would go wrong. */
static bool
check_control(const SyncStream *stream, Str message, Error *err)
{
    static const Str controls[] = {
        {"\"snapshot-start\"", 16}, {"\"snapshot-end\"", 14}, {"\"reset\"", 7}};
    JsonValue headers;
    JsonValue control;

    if (stream->as == NULL || strcmp(stream->as, "state") != 0 ||
        !json_member(message, STR("headers"), &headers) ||
        !json_member(headers.text, STR("control"), &control)) {
        return true;
    }
    for (size_t i = 0; i < DS_COUNT(controls); i++) {
        if (str_eq(control.text, controls[i])) {
            return error_set(err, ERR_CONFLICT,
                             "seq %lld of %s is a control of its state, %.*s, which cannot be left "
                             "out: mend what the reason says, then dsctl sync retry %s; or dsctl "
                             "sync reset %s reads all of it again",
                             (long long)stream->place.next_seq, stream->name, STR_ARG(control.text),
                             stream->name, stream->name);
        }
    }
    return true;
}

/* ---- both ---- */

static void
show(const SyncStream *stream, const SyncPlace *to, json_t *out)
{
    json_array_append_new(out,
                          sync_move_row(stream, to, arg_execute ? "skipped" : "would be skipped"));
}

static bool
skip_to(Call *call, const SyncWanted *wanted, CallRows *rows, SyncStream *stream, json_t *out,
        Error *err)
{
    char *tail = NULL;

    if (!ask_tail(call, stream->name, &tail, err)) {
        return error_wrap(err, "%s", stream->name);
    }
    const char *offset = strcmp(arg_to, DS_OFFSET_NOW) == 0 ? tail : arg_to;
    bool ok = !arg_execute || sync_hold(call, wanted, rows, stream, err);
    SyncPlace to = stream->place;
    to.offset = offset;
    to.skip = 0;
    if (ok) {
        ok = check_target(stream, offset, tail, err);
        ok = arg_execute
                 ? sync_release(call, ok && sync_move(call, "sync.skip", stream, &to, NULL, err),
                                err)
                 : ok;
    }
    if (ok) {
        show(stream, &to, out);
    }
    free(tail);
    return ok;
}

static bool
skip_poison(Call *call, const SyncStream *stream, json_t *out, Error *err)
{
    SyncPlace to = stream->place;
    bool ok;
    Buf message;

    buf_init(&message, CALL_BODY_BYTES_MAX);
    ok = check_poison(stream, err) && read_next(call, stream, &message, err) &&
         check_control(stream, buf_str(&message), err);
    if (ok) {
        SyncLetter letter = {.payload = buf_str(&message),
                             .why = stream->reason == NULL ? "skipped" : stream->reason};

        to.skip++;
        to.next_seq++;
        ok = !arg_execute || sync_move(call, "sync.skip", stream, &to, &letter, err);
        if (ok) {
            call_note("seq %lld: %.*s", (long long)stream->place.next_seq,
                      STR_ARG(str_head(letter.payload, SHOWN_BYTES_MAX)));
            show(stream, &to, out);
        }
    }
    buf_done(&message);
    return ok;
}

static bool
run_skip(Call *call, const CliCall *cli, Error *err)
{
    SyncWanted wanted = {.names = cli->args, .count = 1, .route = arg_route, .source = arg_source};
    json_t *out = json_array();
    CallRows rows = {0};
    SyncStream stream;
    bool ok = false;

    if ((arg_to != NULL) == arg_past_poison) {
        error_set(err, ERR_CONFIG, "where to? --to OFFSET, --to now, or --past-poison");
    } else {
        ok = sync_find_one(call, &wanted, &rows, &stream, err) &&
             sync_server_check(call, stream.name, stream.source, arg_source != NULL, err) &&
             (arg_past_poison ? skip_poison(call, &stream, out, err)
                              : skip_to(call, &wanted, &rows, &stream, out, err)) &&
             output_rows("streams", sync_move_columns, out, err);
    }
    if (ok && !arg_execute) {
        call_note("nothing was changed; --execute does it");
    } else if (ok) {
        ok = sync_note_nobody(call, err);
    }
    json_decref(out);
    call_rows_done(&rows);
    return ok;
}

int
cmd_sync_skip(const CliCall *cli)
{
    return call_main(run_skip, cli);
}
