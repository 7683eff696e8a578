/* SPDX-License-Identifier: Apache-2.0 */
#include "server/admin.h"

#include <inttypes.h>

#include "common/clock.h"
#include "common/ds_proto.h"
#include "common/json_scan.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/admin_internal.h"
#include "server/op.h"
#include "server/query.h"

void
admin_reply(HttpExchange *exchange, Buf *body)
{
    HttpPiece piece = {.bytes = buf_str(body)};

    reply_start(exchange, 200);
    reply_field(exchange, "Content-Type", STR(DS_MEDIA_JSON));
    reply_field(exchange, "Cache-Control", STR("no-store"));
    reply_send(exchange, &piece, 1);
    buf_done(body);
}

void
admin_put(Buf *out, Str text)
{
    Error err;
    bool ok = buf_append(out, text, &err);

    DS_ASSERT(ok);
}

void
admin_put_string(Buf *out, Str text)
{
    Error err;
    bool ok = json_escape(text, out, &err);

    DS_ASSERT(ok);
}

/* ---- listing ---- */

static void
put_time(Buf *out, Str key, int64_t wall_ms)
{
    char text[CLOCK_RFC3339_SIZE];

    admin_put(out, key);
    if (wall_ms == STREAM_NEVER) {
        admin_put(out, STR("null"));
        return;
    }
    clock_format_rfc3339(wall_ms, text);
    admin_put_string(out, str_c(text));
}

static void
put_offset(Buf *out, Str key, Offset offset)
{
    char text[OFFSET_OWN_BYTES + 1];

    offset_format(offset, text);
    admin_put(out, key);
    admin_put_string(out, str_c(text));
}

static void
put_number(Buf *out, Str key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, value);
    admin_put(out, key);
    admin_put(out, str_c(text));
}

/* A content type is whatever a client said; what is not UTF-8 cannot stand in JSON. */
static Str
printable(Str text)
{
    return str_is_utf8(text) ? text : STR("");
}

static void
put_fork(Buf *out, const Stream *stream)
{
    put_number(out, STR(",\"forks\":"), atomic_load(&stream->forks));
    if (stream->parent == NULL) {
        admin_put(out, STR(",\"forked_from\":null,\"fork_offset\":null"));
        return;
    }
    admin_put(out, STR(",\"forked_from\":"));
    admin_put_string(out, stream->parent->name);
    put_offset(out, STR(",\"fork_offset\":"), stream_offset(stream, stream->fork_at));
}

static void
put_stream(Buf *out, Stream *stream)
{
    StreamInfo info;

    store_stream_info(stream, &info);
    admin_put(out, STR("{\"name\":"));
    admin_put_string(out, stream->name);
    admin_put(out, STR(",\"content_type\":"));
    admin_put_string(out, printable(stream->content_type));
    put_offset(out, STR(",\"next_offset\":"), info.tail);
    put_offset(out, STR(",\"start_offset\":"), info.start);
    admin_put(out, info.closed ? STR(",\"closed\":true") : STR(",\"closed\":false"));
    put_number(out, STR(",\"messages\":"), info.messages);
    put_number(out, STR(",\"bytes\":"), info.bytes);
    put_time(out, STR(",\"created_at\":"), stream->created_ms);
    put_time(out, STR(",\"updated_at\":"), info.updated_ms);
    if (stream->ttl_s == STREAM_NEVER) {
        admin_put(out, STR(",\"ttl_seconds\":null"));
    } else {
        put_number(out, STR(",\"ttl_seconds\":"), (uint64_t)stream->ttl_s);
    }
    put_time(out, STR(",\"expires_at\":"),
             stream_expiry_ms(stream, clock_boot_ms(), clock_wall_ms()));
    put_fork(out, stream);
    admin_put(out, STR("}"));
}

static void
list(App *app, HttpExchange *exchange, ForkPresence which, Str prefix, Str after, size_t limit)
{
    Offset token = journal_token(app->store->journal);
    /* One more tells whether there is more. */
    Stream **streams = mem_array(limit + 1, sizeof(Stream *));
    size_t found = registry_list(app->store->registry, which, prefix, after, streams, limit + 1);
    size_t count = DS_MIN(found, limit);
    Buf out;

    buf_init(&out, ADMIN_REPLY_BYTES_MAX);
    admin_put(&out, STR("{\"streams\":["));
    for (size_t i = 0; i < count; i++) {
        admin_put(&out, i == 0 ? STR("") : STR(","));
        put_stream(&out, streams[i]);
    }
    admin_put(&out, STR("],\"next\":"));
    if (found > limit) {
        admin_put_string(&out, streams[count - 1]->name);
    } else {
        admin_put(&out, STR("null"));
    }
    put_offset(&out, STR(",\"token\":"), token);
    put_time(&out, STR(",\"now\":"), clock_wall_ms());
    admin_put(&out, STR("}"));
    for (size_t i = 0; i < found; i++) {
        stream_drop(streams[i]);
    }
    free(streams);
    admin_reply(exchange, &out);
}

/* A parameter, decoded and appended; empty when absent. */
static bool
take_parameter(HttpExchange *exchange, Str key, Buf *out)
{
    Str raw;
    Error err;

    if (query_find(exchange_request(exchange)->query, key, &raw, NULL) &&
        !percent_decode(raw, out, &err)) {
        op_problem(exchange, 400, "BAD_REQUEST", err.text);
        return false;
    }
    return true;
}

static bool
take_limit(HttpExchange *exchange, size_t *out)
{
    uint64_t limit = ADMIN_LIST_DEFAULT;
    Str raw;

    if (query_find(exchange_request(exchange)->query, STR("limit"), &raw, NULL) &&
        (!parse_u64(raw, ADMIN_LIST_MAX, &limit) || limit == 0)) {
        op_problem(exchange, 400, "BAD_REQUEST", "limit must be 1 to 1000");
        return false;
    }
    *out = (size_t)limit;
    return true;
}

static bool
take_kept(HttpExchange *exchange, ForkPresence *out)
{
    Str raw;

    *out = FORK_ALIVE;
    if (query_find(exchange_request(exchange)->query, STR("kept"), &raw, NULL)) {
        if (!str_eq(raw, STR("true")) && !str_eq(raw, STR("false"))) {
            op_problem(exchange, 400, "BAD_REQUEST", "kept must be true or false");
            return false;
        }
        *out = str_eq(raw, STR("true")) ? FORK_KEPT : FORK_ALIVE;
    }
    return true;
}

void
admin_streams(App *app, HttpExchange *exchange)
{
    ForkPresence which;
    Str since;
    size_t limit;
    Buf prefix;
    Buf after;

    if (!take_limit(exchange, &limit) || !take_kept(exchange, &which)) {
        return;
    }
    if (query_find(exchange_request(exchange)->query, STR("since"), &since, NULL)) {
        admin_changes(app, exchange, since, limit);
        return;
    }
    buf_init(&prefix, HTTP_TARGET_BYTES_MAX);
    buf_init(&after, HTTP_TARGET_BYTES_MAX);
    if (take_parameter(exchange, STR("prefix"), &prefix) &&
        take_parameter(exchange, STR("after"), &after)) {
        list(app, exchange, which, buf_str(&prefix), buf_str(&after), limit);
    }
    buf_done(&prefix);
    buf_done(&after);
}

/* ---- trim ---- */

typedef struct TrimRequest {
    Buf name;
    Offset before;
} TrimRequest;

static bool
parse_trim(Str body, TrimRequest *out, Error *err)
{
    JsonValue document;
    JsonValue value;
    Buf before;
    bool ok = false;

    buf_init(&before, OFFSET_BYTES_MAX);
    if (body.len > ADMIN_BODY_BYTES_MAX) {
        error_set(err, ERR_INPUT, "the body is longer than %zu bytes", ADMIN_BODY_BYTES_MAX);
    } else if (!json_scan_value(body, JSON_DEPTH_MAX, &document, err)) {
        error_wrap(err, "the body");
    } else if (!json_member(document.text, STR("stream"), &value) ||
               value.type != JSON_TYPE_STRING || !json_unescape(value.text, &out->name, err)) {
        error_set(err, ERR_INPUT, "\"stream\" must be the name of a stream");
    } else if (!json_member(document.text, STR("before"), &value) ||
               value.type != JSON_TYPE_STRING || !json_unescape(value.text, &before, err) ||
               !offset_parse(buf_str(&before), &out->before)) {
        error_set(err, ERR_INPUT, "\"before\" must be an offset of the stream");
    } else {
        ok = true;
    }
    buf_done(&before);
    return ok;
}

static void
trimmed(StoreOp *store_op)
{
    Op *op = DS_CONTAINER_OF(store_op, Op, store);
    const StoreResult *result = &store_op->result;
    Buf out;

    if (result->verdict == STORE_DONE) {
        buf_init(&out, ADMIN_REPLY_BYTES_MAX);
        put_offset(&out, STR("{\"start_offset\":"), result->start);
        put_number(&out, STR(",\"freed_bytes\":"), result->freed_bytes);
        admin_put(&out, STR("}"));
        admin_reply(op->exchange, &out);
    } else if (result->verdict == STORE_PAST_TAIL) {
        op_problem(op->exchange, 410, "GONE", "\"before\" lies past the end of the stream");
    } else if (result->verdict == STORE_GONE) {
        op_problem_gone(op->exchange);
    } else if (result->verdict == STORE_NOT_FOUND) {
        op_problem(op->exchange, 404, "NOT_FOUND", "there is no stream of this name");
    } else {
        op_problem_storage(op->exchange, result->verdict);
    }
    op_free(op);
}

static void
trim(App *app, HttpExchange *exchange, Str name, Offset before)
{
    Stream *stream = op_find(app, exchange, name);
    Op *op;

    if (stream == NULL) {
        return;
    }
    if (!stream_has_offset(stream, before) && (before.era != 0 || before.position != 0)) {
        op_problem(exchange, 410, "GONE", "\"before\" is of an earlier stream of this name");
        stream_drop(stream);
        return;
    }
    op = op_new(app, exchange, STORE_TRIM, stream, trimmed);
    op->store.position = before.position;
    op_submit(op);
}

void
admin_trim(App *app, HttpExchange *exchange)
{
    TrimRequest request;
    Error err;

    buf_init(&request.name, ADMIN_BODY_BYTES_MAX);
    if (parse_trim(exchange_request(exchange)->body, &request, &err)) {
        trim(app, exchange, buf_str(&request.name), request.before);
    } else {
        op_problem(exchange, 400, "BAD_REQUEST", err.text);
    }
    buf_done(&request.name);
}
