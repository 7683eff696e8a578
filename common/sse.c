/* SPDX-License-Identifier: Apache-2.0 */
#include "common/sse.h"

#include "common/mem.h"

#define BOM       "\xef\xbb\xbf"
#define BOM_BYTES 3

/* What one large event leaves allocated for the next. */
#define KEPT_BYTES_MAX (1u << 20)

struct SseParser {
    SseEventFn on_event;
    void *arg;
    Buf text; /* data of the event so far; behind data_end, the beginning of an unfinished line */
    size_t data_at;
    size_t data_end;
    Buf name;
    Buf id;
    size_t event_bytes; /* of the event's finished lines, comments and line ends aside */
    size_t event_bytes_max;
    unsigned bom_seen; /* bytes of a byte order mark at the start; BOM_BYTES: past it */
    bool has_data;
    bool in_comment; /* the unfinished line is one; its bytes are not kept */
    bool skip_lf;    /* the last line ended with CR: an LF now belongs to it */
    bool in_callback;
    bool failed;
};

/* Where the next CR and LF are, so that no byte is searched twice for the same. */
typedef struct LineEnds {
    const char *end;
    const char *cr;
    const char *lf;
} LineEnds;

SseParser *
sse_new(size_t event_bytes_max, SseEventFn on_event, void *arg)
{
    SseParser *parser = mem_zalloc(sizeof(*parser));

    parser->on_event = on_event;
    parser->arg = arg;
    parser->event_bytes_max = event_bytes_max;
    buf_init(&parser->text, event_bytes_max);
    buf_init(&parser->name, event_bytes_max);
    buf_init(&parser->id, event_bytes_max);
    return parser;
}

void
sse_free(SseParser *parser)
{
    if (parser == NULL) {
        return;
    }
    DS_ASSERT(!parser->in_callback);
    buf_done(&parser->text);
    buf_done(&parser->name);
    buf_done(&parser->id);
    free(parser);
}

/* Ready for the next event of the same stream. */
static void
event_clear(SseParser *parser)
{
    buf_reset(&parser->text);
    buf_shrink(&parser->text, KEPT_BYTES_MAX);
    buf_reset(&parser->name);
    parser->data_at = 0;
    parser->data_end = 0;
    parser->event_bytes = 0;
    parser->has_data = false;
}

void
sse_rest(SseParser *parser)
{
    DS_ASSERT(!parser->in_callback);
    buf_shrink(&parser->text, 0);
    buf_shrink(&parser->name, 0);
    buf_shrink(&parser->id, 0);
}

void
sse_reset(SseParser *parser)
{
    DS_ASSERT(!parser->in_callback);
    event_clear(parser);
    buf_reset(&parser->id);
    parser->bom_seen = 0;
    parser->in_comment = false;
    parser->skip_lf = false;
    parser->failed = false;
}

bool
sse_is_partial(const SseParser *parser)
{
    return parser->event_bytes > 0 || parser->text.len > 0;
}

static bool
event_dispatch(SseParser *parser, Error *err)
{
    SseEvent event = {
        .name = parser->name.len > 0 ? buf_str(&parser->name) : STR("message"),
        .data = str_slice(buf_str(&parser->text), parser->data_at, parser->data_end),
        .id = buf_str(&parser->id),
    };
    bool ok = true;

    if (parser->has_data) {
        parser->in_callback = true;
        ok = parser->on_event(parser->arg, &event, err);
        parser->in_callback = false;
    }
    event_clear(parser);
    return ok;
}

/* Counts the same whether a line comes whole or in pieces. */
static bool
check_limit(const SseParser *parser, size_t line_bytes, Error *err)
{
    return line_bytes <= parser->event_bytes_max - parser->event_bytes ||
           error_set(err, ERR_LIMIT, "SSE: an event is larger than %zu bytes",
                     parser->event_bytes_max);
}

static bool
set_field(Buf *field, Str value, Error *err)
{
    buf_reset(field);
    return buf_append(field, value, err);
}

/* The value may lie in parser->text itself, behind data_end: the event's first one stays there. */
static bool
add_data(SseParser *parser, Str value, bool is_held, Error *err)
{
    if (is_held && !parser->has_data) {
        parser->data_at = parser->text.len - value.len;
        parser->data_end = parser->text.len;
        parser->has_data = true;
        return true;
    }
    buf_truncate(&parser->text, parser->data_end);
    if (parser->has_data && !buf_append_char(&parser->text, '\n', err)) {
        return false;
    }
    char *room;
    if (!buf_reserve(&parser->text, value.len, &room, err)) {
        return false;
    }
    if (value.len > 0) {
        memmove(room, value.ptr, value.len);
    }
    buf_commit(&parser->text, value.len);
    parser->data_end = parser->text.len;
    parser->has_data = true;
    return true;
}

/* One whole line, without its end; one that is held is the end of parser->text. */
static bool
take_line(SseParser *parser, Str line, bool is_held, Error *err)
{
    Str field;
    Str value;
    size_t nul;

    if (line.len == 0) {
        return event_dispatch(parser, err);
    }
    if (line.ptr[0] == ':') {
        return true;
    }
    if (!check_limit(parser, line.len, err)) {
        return false;
    }
    parser->event_bytes += line.len;
    (void)str_cut(line, ':', &field, &value);
    if (str_starts(value, STR(" "))) {
        value = str_skip(value, 1);
    }
    if (str_eq(field, STR("data"))) {
        return add_data(parser, value, is_held, err);
    }
    if (str_eq(field, STR("event"))) {
        return set_field(&parser->name, value, err);
    }
    if (str_eq(field, STR("id")) && !str_find(value, '\0', &nul)) {
        return set_field(&parser->id, value, err);
    }
    return true;
}

/* A piece of a line whose end has not come. */
static bool
hold_piece(SseParser *parser, Str piece, Error *err)
{
    size_t held = parser->text.len - parser->data_end;

    if (parser->in_comment || piece.len == 0) {
        return true;
    }
    if (held == 0 && piece.ptr[0] == ':') {
        parser->in_comment = true;
        return true;
    }
    return check_limit(parser, held + piece.len, err) && buf_append(&parser->text, piece, err);
}

/* The last piece of a line. */
static bool
finish_line(SseParser *parser, Str piece, Error *err)
{
    if (parser->in_comment) {
        parser->in_comment = false;
        return true;
    }
    if (parser->text.len == parser->data_end) {
        return take_line(parser, piece, false, err);
    }
    if (!hold_piece(parser, piece, err) ||
        !take_line(parser, str_skip(buf_str(&parser->text), parser->data_end), true, err)) {
        return false;
    }
    buf_truncate(&parser->text, parser->data_end);
    return true;
}

/* Past a byte order mark at the stream's very start; what only began like one is text. */
static bool
skip_bom(SseParser *parser, Str *bytes, Error *err)
{
    while (parser->bom_seen < BOM_BYTES && bytes->len > 0) {
        if (bytes->ptr[0] != BOM[parser->bom_seen]) {
            Str seen = str_n(BOM, parser->bom_seen);

            parser->bom_seen = BOM_BYTES;
            return hold_piece(parser, seen, err);
        }
        parser->bom_seen++;
        *bytes = str_skip(*bytes, 1);
    }
    return true;
}

static const char *
find_from(const char *known, const char *at, const char *end, char c)
{
    if (known != NULL && known >= at) {
        return known;
    }
    const char *found = memchr(at, c, (size_t)(end - at));
    return found != NULL ? found : end;
}

/* The CR or LF that ends the line at `at`, or the end of the bytes. */
static const char *
line_end(LineEnds *ends, const char *at)
{
    ends->lf = find_from(ends->lf, at, ends->end, '\n');
    ends->cr = find_from(ends->cr, at, ends->end, '\r');
    return DS_MIN(ends->lf, ends->cr);
}

static bool
feed_lines(SseParser *parser, Str bytes, Error *err)
{
    const char *at = bytes.ptr;
    LineEnds ends = {.end = bytes.ptr + bytes.len};

    while (at < ends.end) {
        bool is_tail_of_crlf = parser->skip_lf && *at == '\n';

        parser->skip_lf = false;
        if (is_tail_of_crlf) {
            at++;
            continue;
        }
        const char *stop = line_end(&ends, at);
        Str piece = str_n(at, (size_t)(stop - at));
        if (stop == ends.end) {
            return hold_piece(parser, piece, err);
        }
        if (!finish_line(parser, piece, err)) {
            return false;
        }
        parser->skip_lf = *stop == '\r';
        at = stop + 1;
    }
    return true;
}

bool
sse_feed(SseParser *parser, Str bytes, Error *err)
{
    DS_ASSERT(!parser->failed && !parser->in_callback);
    if (!skip_bom(parser, &bytes, err) || (bytes.len > 0 && !feed_lines(parser, bytes, err))) {
        parser->failed = true;
        return false;
    }
    return true;
}

static bool
has_line_break(Str s)
{
    size_t at;

    return str_find(s, '\n', &at) || str_find(s, '\r', &at);
}

/* "prefix" value "\n", or nothing for an empty value. */
static bool
encode_field(Buf *out, Str prefix, Str value, Error *err)
{
    if (value.len == 0) {
        return true;
    }
    if (has_line_break(value)) {
        return error_set(err, ERR_INPUT, "SSE: a line break in \"%.*s\"", STR_ARG(prefix));
    }
    return buf_append(out, prefix, err) && buf_append(out, value, err) &&
           buf_append_char(out, '\n', err);
}

/* Each line of `text` behind `prefix`. */
static bool
encode_lines(Buf *out, Str prefix, Str text, Error *err)
{
    const char *at = text.ptr;
    LineEnds ends = {.end = text.len > 0 ? text.ptr + text.len : text.ptr};

    for (;;) {
        const char *stop = at < ends.end ? line_end(&ends, at) : ends.end;

        /* Parsers take one space away, so a line that begins with one gets another. */
        if (!buf_append(out, prefix, err) ||
            (at < stop && *at == ' ' && !buf_append_char(out, ' ', err)) ||
            !buf_append(out, str_n(at, (size_t)(stop - at)), err) ||
            !buf_append_char(out, '\n', err)) {
            return false;
        }
        if (stop == ends.end) {
            return true;
        }
        bool is_crlf = *stop == '\r' && stop + 1 < ends.end && stop[1] == '\n';
        at = stop + (is_crlf ? 2 : 1);
    }
}

bool
sse_encode(Buf *out, Str name, Str id, Str data, Error *err)
{
    size_t before = out->len;
    bool ok = encode_field(out, STR("id: "), id, err) &&
              encode_field(out, STR("event: "), name, err) &&
              encode_lines(out, STR("data:"), data, err) && buf_append_char(out, '\n', err);

    if (!ok) {
        buf_truncate(out, before);
    }
    return ok;
}

bool
sse_encode_comment(Buf *out, Str text, Error *err)
{
    size_t before = out->len;
    bool ok = encode_lines(out, STR(":"), text, err) && buf_append_char(out, '\n', err);

    if (!ok) {
        buf_truncate(out, before);
    }
    return ok;
}
