/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/source.h"

#include "common/clock.h"
#include "common/ds_proto.h"
#include "common/mem.h"
#include "common/parse.h"
#include "syncd/error_class.h"
#include "syncd/source_internal.h"

#define CONTENT_TYPE_BYTES_MAX 256
#define URL_BYTES_MAX          8192

static void source_on_turn(void *source);

Source *
source_new(const SourceConfig *config, const SourceCallbacks *callbacks, void *arg)
{
    Source *source = mem_zalloc(sizeof(*source));

    source->config = *config;
    source->url = mem_strdup(config->url);
    source->config.url = source->url;
    source->callbacks = callbacks;
    source->arg = arg;
    source->opening = (GateUser){.on_turn = source_on_turn, .arg = source};
    position_set(&source->position, STR(DS_OFFSET_START), 0);
    buf_init(&source->decoded, config->limits.bytes_max);
    buf_init(&source->content_type, CONTENT_TYPE_BYTES_MAX);
    return source;
}

void
source_free(Source *source)
{
    if (source == NULL) {
        return;
    }
    source_close(source);
    sse_free(source->sse);
    buf_done(&source->decoded);
    buf_done(&source->content_type);
    free(source->url);
    free(source);
}

static void
source_forget_unit(Source *source)
{
    unit_free(source->unit);
    source->unit = NULL;
}

static void
source_forget_failure(Source *source)
{
    free(source->failure);
    source->failure = NULL;
}

void
source_close(Source *source)
{
    if (source->transfer != NULL) {
        http_transfer_cancel(source->transfer);
        source->transfer = NULL;
    }
    gate_leave(source->config.gate, &source->opening);
    source_forget_unit(source);
    source_forget_failure(source);
    source->mode = SOURCE_NONE;
    source->paused = false;
    source->up_to_date = false;
}

void
source_seek(Source *source, const Position *position)
{
    DS_ASSERT(source->mode == SOURCE_NONE);
    source->position = *position;
    source->cursor[0] = '\0';
    source->live = false;
}

void
source_set_content_type(Source *source, Str content_type)
{
    Str media;
    Str parameters;

    (void)str_cut(content_type, ';', &media, &parameters); /* without one, media is all of it */
    media = str_trim(media);
    if (str_eq_nocase(media, STR(DS_MEDIA_JSON))) {
        source->content = SOURCE_JSON;
    } else if (str_starts_nocase(media, STR("text/"))) {
        source->content = SOURCE_TEXT;
    } else {
        source->content = SOURCE_BYTES;
    }
}

UnitKind
source_unit_kind(const Source *source)
{
    return source->content == SOURCE_JSON ? UNIT_JSON : UNIT_BYTES;
}

void
source_skip_to(Source *source, Str offset)
{
    DS_ASSERT(source->mode == SOURCE_NONE);
    source->drop = 0;
    source_deliver(source, offset, 0, false);
}

bool
source_is_up_to_date(const Source *source)
{
    return source->up_to_date;
}

bool
source_is_behind(const Source *source)
{
    return (source->mode == SOURCE_SSE || source->mode == SOURCE_POLL) &&
           (!source->up_to_date || source->unit != NULL ||
            (source->mode == SOURCE_SSE && sse_is_partial(source->sse)));
}

void
source_tell_read(Source *source)
{
    if (source->mode == SOURCE_SSE || source->mode == SOURCE_POLL) {
        source->callbacks->on_read(source->arg);
    }
}

const Position *
source_position(const Source *source)
{
    return &source->position;
}

void
source_pause(Source *source)
{
    if (!source->paused && source->mode != SOURCE_NONE) {
        source->paused = true;
        if (source->transfer != NULL) {
            http_transfer_pause(source->transfer);
        }
    }
}

void
source_resume(Source *source)
{
    if (source->paused) {
        source->paused = false;
        if (source->transfer != NULL) {
            http_transfer_resume(source->transfer);
        }
    }
}

Unit *
source_unit(Source *source)
{
    if (source->unit == NULL) {
        source->unit = unit_new(source_unit_kind(source), str_c(source->position.offset),
                                source->position.skip - source->drop, &source->config.limits);
        source->unit->is_text = source->content == SOURCE_TEXT;
    }
    return source->unit;
}

void
source_deliver(Source *source, Str end_offset, int64_t end_skip, bool closed)
{
    Unit *unit = source_unit(source);
    Position before = source->position;

    source->unit = NULL;
    position_set(&source->position, end_offset, end_skip);
    if (unit->count == 0 && !closed && position_equal(&before, &source->position)) {
        unit_free(unit);
        return;
    }
    source->moved = true;
    unit_end(unit, end_offset, end_skip, closed);
    source->callbacks->on_unit(source->arg, unit);
}

/* An offset that stands still behind data would make the next read load it twice. */
bool
source_check_next(Source *source, Str next, Error *err)
{
    Str ours = str_c(source->position.offset);
    bool has_data =
        source->unit != NULL && (source->unit->count > 0 || source->unit->start.skip > 0);

    if (has_data && str_eq(next, ours)) {
        return error_set(err, ERR_PROTOCOL, "data came, and the offset behind it is still %s",
                         source->position.offset);
    }
    return true;
}

void
source_finish(Source *source, const SourceEnd *end)
{
    SourceEnd ended = *end;

    ended.open_ms = clock_mono_ms() - source->opened_ms;
    ended.moved = source->moved;
    source->transfer = NULL;
    gate_leave(source->config.gate, &source->opening);
    source_forget_unit(source);
    source->mode = SOURCE_NONE;
    source->paused = false;
    if (end->kind != SOURCE_END_CYCLE && end->kind != SOURCE_END_CLOSED) {
        source->up_to_date = false;
    }
    source->callbacks->on_end(source->arg, &ended);
}

void
source_cut(Source *source, const SourceEnd *end)
{
    http_transfer_cancel(source->transfer);
    source_finish(source, end);
}

void
source_fail(Source *source, SourceEndKind kind, const Error *err)
{
    source_cut(source, &(SourceEnd){.kind = kind, .err = *err});
}

static SourceEndKind
end_of_status(int status)
{
    switch (error_class_of_status(status)) {
    case ERROR_CLASS_SOURCE_MISSING:
        return SOURCE_END_MISSING;
    case ERROR_CLASS_SOURCE_GONE:
        return SOURCE_END_GONE;
    case ERROR_CLASS_SOURCE_REFUSED:
        return SOURCE_END_AUTH;
    case ERROR_CLASS_SOURCE_RETRY:
        return SOURCE_END_RETRY;
    case ERROR_CLASS_NONE: /* an answer that was not asked for */
        return SOURCE_END_PROTOCOL;
    default:
        return SOURCE_END_FATAL;
    }
}

bool
source_head_judge(Source *source, const HttpHead *head)
{
    gate_leave(source->config.gate, &source->opening);
    if (head->status == 200 || (head->status == 204 && source->mode == SOURCE_POLL)) {
        source->answered = true;
        source_tell_read(source);
        return true;
    }
    source->failure = mem_zalloc(sizeof(*source->failure));
    source->failure->kind = end_of_status(head->status);
    (void)error_set(&source->failure->err, ERR_RETRY, "the server answers %d%s", head->status,
                    head->status >= 300 && head->status < 400
                        ? ", a redirect; DS_SERVER_URL must name "
                          "the server itself"
                        : "");
    return false;
}

void
source_read_head(Source *source, const HttpHead *head)
{
    Str value;
    Error err;

    source->next_offset[0] = '\0';
    buf_reset(&source->content_type);
    if (http_head_get(head, DS_H_STREAM_NEXT_OFFSET, &value) && offset_is_valid(value)) {
        memcpy(source->next_offset, value.ptr, value.len);
        source->next_offset[value.len] = '\0';
    }
    if (http_head_get(head, "Content-Type", &value) &&
        !buf_append(&source->content_type, value, &err)) {
        buf_reset(&source->content_type); /* no media type is that long */
    }
    if (!http_head_get(head, DS_H_STREAM_TTL, &value) || !parse_i64(value, &source->ttl_s) ||
        source->ttl_s < 0) {
        source->ttl_s = 0;
    }
    source->closed =
        http_head_get(head, DS_H_STREAM_CLOSED, &value) && str_eq_nocase(value, STR("true"));
    source->head_up_to_date =
        http_head_get(head, DS_H_STREAM_UP_TO_DATE, &value) && str_eq_nocase(value, STR("true"));
    if (http_head_get(head, DS_H_STREAM_CURSOR, &value) && value.len <= CONTROL_CURSOR_BYTES_MAX) {
        memcpy(source->cursor, value.ptr, value.len);
        source->cursor[value.len] = '\0';
    }
}

bool
source_query(Source *source, const char *live, Buf *out, Error *err)
{
    if (!buf_append(out, STR("offset="), err) ||
        !http_url_encode(out, str_c(source->position.offset), "", err)) {
        return false;
    }
    if (live[0] != '\0' && !buf_printf(out, err, "&live=%s", live)) {
        return false;
    }
    return live[0] == '\0' || source->cursor[0] == '\0' ||
           (buf_append(out, STR("&cursor="), err) &&
            http_url_encode(out, str_c(source->cursor), "", err));
}

void
source_start(Source *source, const char *method, Str query, const HttpCallbacks *callbacks,
             int64_t total_ms_max)
{
    Buf url;
    Error err;

    buf_init(&url, URL_BYTES_MAX);
    /* The stream's name and offset are bounded: it always fits. */
    bool built =
        buf_append(&url, str_c(source->url), &err) &&
        (query.len == 0 || (buf_append_char(&url, '?', &err) && buf_append(&url, query, &err)));
    DS_ASSERT(built);
    source->answered = false;
    source->moved = false;
    source_forget_failure(source);
    source->opened_ms = clock_mono_ms();
    source->transfer = http_start(source->config.client,
                                  &(HttpRequest){
                                      .method = method,
                                      .url = buf_cstr(&url),
                                      .idle_ms_max = source->config.idle_ms_max,
                                      .total_ms_max = total_ms_max,
                                      .is_long = source->mode == SOURCE_SSE,
                                  },
                                  callbacks, source);
    buf_done(&url);
}

static void
head_on_head(void *arg, const HttpHead *head)
{
    Source *source = arg;

    if (source_head_judge(source, head)) {
        source_read_head(source, head);
    }
}

static void
source_probed(Source *source)
{
    SourceProbe probe = {.content_type = buf_str(&source->content_type),
                         .next_offset = str_c(source->next_offset),
                         .closed = source->closed,
                         .ttl_s = source->ttl_s};

    source->transfer = NULL;
    source->mode = SOURCE_NONE;
    source->callbacks->on_probe(source->arg, &probe);
    buf_reset(&source->content_type);
    buf_shrink(&source->content_type, 0);
}

void
source_on_done(void *arg, const HttpResult *result)
{
    Source *source = arg;
    SourceEnd end = {.kind = SOURCE_END_CYCLE};

    source->transfer = NULL;
    if (source->failure != NULL) {
        end = *source->failure;
        source_forget_failure(source);
    }
    end.retry_after_ms = result->retry_after_ms;
    if (end.kind == SOURCE_END_CYCLE && !result->ok) {
        /* A certificate may be renewed: slowly, as with credentials. */
        end.kind = result->err.code == ERR_CONFIG ? SOURCE_END_AUTH : SOURCE_END_RETRY;
        if (result->err.code == ERR_LIMIT || (result->timed_out && source->unit != NULL)) {
            end.kind = SOURCE_END_PROTOCOL;
        }
        end.err = result->err;
    } else if (end.kind == SOURCE_END_CYCLE) {
        switch (source->mode) {
        case SOURCE_HEAD:
            source_probed(source);
            return;
        case SOURCE_SSE:
            source_sse_done(source, &end);
            break;
        case SOURCE_POLL:
            source_poll_done(source, &end);
            break;
        case SOURCE_NONE:
            DS_UNREACHABLE("an answer without a request");
            break;
        }
    }
    source_finish(source, &end);
}

static void
source_begin(Source *source)
{
    static const HttpCallbacks callbacks = {.on_head = head_on_head, .on_done = source_on_done};

    switch (source->mode) {
    case SOURCE_HEAD:
        source_start(source, "HEAD", STR_EMPTY, &callbacks, source->config.request_ms_max);
        break;
    case SOURCE_SSE:
        source_sse_open(source);
        break;
    case SOURCE_POLL:
        source_poll_open(source);
        break;
    case SOURCE_NONE:
        DS_UNREACHABLE("a turn that nobody waits for");
    }
    if (source->paused) {
        http_transfer_pause(source->transfer);
    }
}

static void
source_on_turn(void *arg)
{
    source_begin(arg);
}

static void
source_line_up(Source *source)
{
    if (gate_enter(source->config.gate, &source->opening)) {
        source_begin(source);
    }
}

void
source_probe(Source *source)
{
    DS_ASSERT(source->mode == SOURCE_NONE);
    source->mode = SOURCE_HEAD;
    source_line_up(source);
}

void
source_open(Source *source)
{
    DS_ASSERT(source->mode == SOURCE_NONE);
    source->drop = source->position.skip;
    source->mode = source->content == SOURCE_TEXT ? SOURCE_POLL : SOURCE_SSE;
    if (source->mode == SOURCE_POLL && source->live) {
        source_begin(source); /* is answered when something comes, and was let in before */
    } else {
        source_line_up(source);
    }
}
