/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading over SSE (protocol 5.8): data events, then a control event that says where they end.
 */
#include "syncd/source_internal.h"

#include "common/base64.h"
#include "common/ds_proto.h"

/* Bytes of an event beyond its data: field names, and four for three in base64. */
static size_t
event_bytes_max(const Source *source)
{
    return source->config.limits.bytes_max / 3 * 4 + 4096;
}

static bool
sse_data(Source *source, Str data, Error *err)
{
    Unit *unit = source_unit(source);

    if (source->content == SOURCE_JSON) {
        return unit_add_json(unit, data, &source->config.limits, &source->drop, err);
    }
    buf_reset(&source->decoded);
    if (!base64_decode(&source->decoded, data, err)) {
        err->code = ERR_PROTOCOL;
        return error_wrap(err, "data event");
    }
    return unit_add_bytes(unit, buf_str(&source->decoded), &source->drop, err);
}

/* The place was reached, but what is committed reaches further: nothing to hand over yet. */
static bool
sse_control_short(Source *source, const Control *control, Error *err)
{
    if (control->up_to_date || control->closed) {
        return error_set(
            err, ERR_GONE,
            "the stream ends %lld before what is loaded already: it lost its end or is "
            "another one",
            (long long)source->drop);
    }
    unit_free(source->unit);
    source->unit = NULL;
    position_set(&source->position, control->offset, source->drop);
    return true;
}

static bool
sse_control(Source *source, Str data, Error *err)
{
    Control control;

    if (!control_parse(data, &control, err) || !source_check_next(source, control.offset, err)) {
        return false;
    }
    if (offset_went_back(str_c(source->position.offset), control.offset)) {
        return error_set(err, ERR_GONE, "the offset went back from %s to %.*s",
                         source->position.offset, STR_ARG(control.offset));
    }
    memcpy(source->cursor, control.cursor.ptr, control.cursor.len);
    source->cursor[control.cursor.len] = '\0';
    if (source->drop > 0) {
        return sse_control_short(source, &control, err);
    }
    source->up_to_date = control.up_to_date;
    source->closed = source->closed || control.closed;
    source_deliver(source, control.offset, 0, control.closed);
    return true;
}

static bool
sse_on_event(void *arg, const SseEvent *event, Error *err)
{
    Source *source = arg;

    if (source->closed) {
        return !str_eq(event->name, STR("data")) ||
               error_set(err, ERR_PROTOCOL, "data behind the end of a closed stream");
    }
    if (str_eq(event->name, STR("data"))) {
        source->up_to_date = false;
        return sse_data(source, event->data, err);
    }
    if (str_eq(event->name, STR("control"))) {
        return sse_control(source, event->data, err);
    }
    return true; /* events of later versions are not ours to judge */
}

static void
sse_on_body(void *arg, Str bytes)
{
    Source *source = arg;
    Error err;

    if (source->failure != NULL) {
        return; /* the body of an error */
    }
    if (sse_feed(source->sse, bytes, &err)) {
        if (source->closed) { /* all was said, however long the connection stays */
            source_cut(source, &(SourceEnd){.kind = SOURCE_END_CLOSED});
            return;
        }
        if (source->up_to_date) {
            sse_rest(source->sse);
            buf_reset(&source->decoded);
            buf_shrink(&source->decoded, 0);
        }
        source_tell_read(source);
        return;
    }
    switch (err.code) {
    case ERR_GONE:
        source_fail(source, SOURCE_END_WENT_BACK, &err);
        break;
    case ERR_LIMIT:
        (void)error_wrap(&err, "an event is larger than SYNCD_EVENT_BYTES_MAX");
        source_fail(source, SOURCE_END_FATAL, &err);
        break;
    default:
        source_fail(source, SOURCE_END_PROTOCOL, &err);
        break;
    }
}

static void
sse_on_head(void *arg, const HttpHead *head)
{
    Source *source = arg;
    Str type = STR_EMPTY;
    Str encoding;
    Error err;

    if (!source_head_judge(source, head)) {
        return;
    }
    if (!http_head_get(head, "Content-Type", &type) ||
        !str_starts_nocase(type, STR(DS_MEDIA_SSE))) {
        (void)error_set(&err, ERR_PROTOCOL, "asked for %s, the answer is \"%.*s\"", DS_MEDIA_SSE,
                        STR_ARG(str_head(type, 64)));
        source_fail(source, SOURCE_END_PROTOCOL, &err);
        return;
    }
    bool is_base64 =
        http_head_get(head, DS_H_SSE_ENCODING, &encoding) && str_eq_nocase(encoding, STR("base64"));
    if (is_base64 != (source->content == SOURCE_BYTES)) {
        (void)error_set(&err, ERR_PROTOCOL, "the answer to SSE is %sin base64",
                        is_base64 ? "" : "not ");
        source_fail(source, SOURCE_END_PROTOCOL, &err);
    }
}

void
source_sse_open(Source *source)
{
    static const HttpCallbacks callbacks = {
        .on_head = sse_on_head, .on_body = sse_on_body, .on_done = source_on_done};
    Buf query;
    Error err;

    if (source->sse == NULL) {
        source->sse = sse_new(event_bytes_max(source), sse_on_event, source);
    } else {
        sse_reset(source->sse);
    }
    source->closed = false;
    buf_init(&query, 4096);
    bool built = source_query(source, "sse", &query, &err);
    DS_ASSERT(built); /* offset and cursor are bounded */
    source_start(source, "GET", buf_str(&query), &callbacks, 0);
    buf_done(&query);
}

void
source_sse_done(Source *source, SourceEnd *end)
{
    if (source->unit != NULL || sse_is_partial(source->sse)) {
        end->kind = SOURCE_END_PROTOCOL;
        (void)error_set(&end->err, ERR_PROTOCOL, "the stream ended inside %s",
                        source->unit != NULL ? "a data event without its control event"
                                             : "an unfinished event");
    }
}
