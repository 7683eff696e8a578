/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/unit.h"

#include "common/mem.h"
#include "syncd/state_change.h"

#define ITEMS_FIRST        16
#define LINE_NUMBERS_BYTES 64 /* generation, seq, tabs and the like */

Unit *
unit_new(UnitKind kind, Str start_offset, int64_t start_skip, const UnitLimits *limits)
{
    Unit *unit = mem_zalloc(sizeof(*unit));

    DS_ASSERT(limits->bytes_max <= UINT32_MAX);
    unit->kind = kind;
    position_set(&unit->start, start_offset, start_skip);
    buf_init(&unit->data, limits->bytes_max);
    buf_init(&unit->lines, UNIT_LINES_BYTES_MAX);
    return unit;
}

void
unit_free(Unit *unit)
{
    if (unit != NULL) {
        buf_done(&unit->data);
        buf_done(&unit->lines);
        free(unit->items);
        free(unit);
    }
}

static UnitItem *
unit_add_item(Unit *unit, size_t at, size_t len, PoisonReason poison, unsigned traits)
{
    if (unit->count == unit->room) {
        unit->room = DS_MAX(unit->room * 2, (size_t)ITEMS_FIRST);
        unit->items = mem_regrow(unit->items, unit->room, sizeof(*unit->items));
    }
    unit->items[unit->count++] = (UnitItem){.at = (uint32_t)at,
                                            .len = (uint32_t)len,
                                            .poison = (uint8_t)poison,
                                            .traits = (uint8_t)traits};
    unit->traits |= traits;
    return &unit->items[unit->count - 1];
}

static UnitSpan
unit_span(const Unit *unit, Str text)
{
    return text.ptr == NULL
               ? (UnitSpan){0, 0}
               : (UnitSpan){(uint32_t)(text.ptr - unit->data.data), (uint32_t)text.len};
}

static void
unit_add_message(Unit *unit, const JsonValue *value, PoisonReason poison,
                 const JsonWatched *watched)
{
    UnitItem *item = unit_add_item(unit, (size_t)(value->text.ptr - unit->data.data),
                                   value->text.len, poison, value->traits);

    if (poison == POISON_NONE) {
        EventColumns columns = event_columns_watched(value->text, watched);

        item->columns[0] = unit_span(unit, columns.key);
        item->columns[1] = unit_span(unit, columns.type);
        item->columns[2] = unit_span(unit, columns.operation);
        item->has_columns = true;
    }
}

/* Passes a string or a container that the scanner refuses, by its quotes and brackets alone: it
 * becomes a dead letter and is never used as JSON.  False if it is neither, or does not end. */
static bool
skip_value(Str text, size_t from, size_t *out_end)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = from; i < text.len; i++) {
        char c = text.ptr[i];
        bool ended = false;

        if (in_string && c == '\\') {
            i++;
        } else if (c == '"') {
            in_string = !in_string;
            ended = !in_string;
        } else if (!in_string && (c == '[' || c == '{')) {
            depth++;
        } else if (!in_string && depth > 0 && (c == ']' || c == '}')) {
            depth--;
            ended = true;
        } else if (!in_string && depth == 0) {
            return false;
        }
        if (ended && depth == 0) {
            *out_end = i + 1;
            return true;
        }
    }
    return false;
}

/* The scanner stopped before an element that it refuses; moves it behind that element. */
static bool
pass_element(JsonElements *it, JsonValue *out)
{
    size_t at = it->at;
    size_t end;

    while (at < it->text.len && memchr(" \t\r\n,", it->text.ptr[at], 5) != NULL) {
        at++;
    }
    if (!it->is_array || !skip_value(it->text, at, &end)) {
        return false;
    }
    out->text = str_slice(it->text, at, end);
    it->at = end;
    out->traits = 0;
    it->started = true;
    return true;
}

/* One element; *out_more as json_elements_next.  One that is too deep, or not UTF-8, is poison and
 * does not spoil its neighbours; anything else that is no JSON is the server's fault. */
static bool
next_message(JsonElements *it, const UnitLimits *limits, JsonValue *out, JsonWatched *watched,
             PoisonReason *out_poison, bool *out_more, Error *err)
{
    if (json_elements_watch(it, &event_watch, out, watched, out_more, err)) {
        if (*out_more) {
            *out_poison = out->text.len > limits->message_bytes_max ? POISON_SIZE : POISON_NONE;
        }
        return true;
    }
    JsonElements rest = *it;
    bool too_deep = err->code == ERR_LIMIT;
    if (!pass_element(&rest, out) || (!too_deep && str_is_utf8(out->text))) {
        return false;
    }
    *it = rest;
    *out_poison = too_deep ? POISON_DEPTH : POISON_UTF8;
    if (out->text.len > limits->message_bytes_max) {
        *out_poison = POISON_SIZE;
    }
    *out_more = true;
    return true;
}

bool
unit_add_json(Unit *unit, Str event, const UnitLimits *limits, int64_t *drop, Error *err)
{
    size_t base = unit->data.len;
    size_t count_before = unit->count;
    JsonElements it;
    bool more = true;

    DS_ASSERT(unit->kind == UNIT_JSON);
    if (!buf_append(&unit->data, event, err)) {
        return error_wrap(err, "data event of %zu bytes", event.len);
    }
    Str text = str_n(unit->data.data + base, event.len);
    if (!json_elements_init(&it, text, JSON_DEPTH_MAX, err)) {
        err->code = ERR_PROTOCOL;
        return error_wrap(err, "data event");
    }
    while (more) {
        JsonValue value;
        JsonWatched watched;
        PoisonReason poison = POISON_NONE;

        if (!next_message(&it, limits, &value, &watched, &poison, &more, err)) {
            err->code = ERR_PROTOCOL;
            return error_wrap(err, "data event");
        }
        if (more && *drop > 0) {
            (*drop)--;
            unit->start.skip++;
        } else if (more) {
            unit_add_message(unit, &value, poison, &watched);
        }
    }
    if (unit->count == count_before) {
        buf_truncate(&unit->data, base);
    }
    return true;
}

/* How many bytes before `at` begin a character that is not whole there, but may go on. */
static size_t
begun_character(const Unit *unit, size_t at)
{
    for (size_t back = 1; back <= DS_MIN(at, (size_t)3); back++) {
        unsigned char c = (unsigned char)unit->data.data[at - back];

        if (c >= 0xc0) {
            size_t length = c >= 0xf0 ? 4 : (c >= 0xe0 ? 3 : 2);

            return back < length ? back : 0;
        }
        if (c < 0x80) {
            return 0;
        }
    }
    return 0;
}

void
unit_resume_start(const Unit *unit, Position *out)
{
    *out = unit->start;
    if (unit->end.skip == 0) {
        position_name_start(out, str_c(unit->end.offset), unit->start.skip + unit_steps(unit));
    }
}

size_t
unit_take_tail(Unit *unit, char out[3])
{
    size_t count = begun_character(unit, unit->data.len);
    UnitItem *last = unit->count > 0 ? &unit->items[unit->count - 1] : NULL;

    if (count == 0 || last == NULL || last->len <= count) {
        return 0;
    }
    last->len -= (uint32_t)count;
    memcpy(out, unit->data.data + unit->data.len - count, count);
    buf_truncate(&unit->data, unit->data.len - count);
    return count;
}

void
unit_judge(Unit *unit, const Sink *sink)
{
    bool chunks = unit->kind == UNIT_BYTES;

    if (chunks ? sink->payload == ROUTE_PAYLOAD_BYTEA : (unit->traits & sink->poison_traits) == 0) {
        return; /* the usual case */
    }
    for (size_t i = 0; i < unit->count; i++) {
        UnitItem *item = &unit->items[i];

        if (item->poison == POISON_NONE) {
            item->poison = (uint8_t)(chunks ? sink_judge_chunk(sink, unit_item_text(unit, i))
                                            : sink_judge(sink, item->traits));
        }
    }
}

static bool
item_is(const Unit *unit, size_t item, StateOp op)
{
    StateChange change;
    Error ignored;

    return unit->items[item].poison == POISON_NONE &&
           state_change_parse(unit_item_text(unit, item), &change, &ignored) && change.op == op;
}

void
unit_pair(Unit *unit)
{
    for (size_t i = 0; i + 1 < unit->count; i++) {
        Str text = unit_item_text(unit, i);

        unit->items[i].pairs = memmem(text.ptr, text.len, "\"reset\"", 7) != NULL &&
                               item_is(unit, i, STATE_RESET) &&
                               item_is(unit, i + 1, STATE_SNAPSHOT_START);
    }
}

bool
unit_add_bytes(Unit *unit, Str bytes, int64_t *drop, Error *err)
{
    size_t dropped = (size_t)DS_MIN((uint64_t)*drop, (uint64_t)bytes.len);
    Str rest = str_skip(bytes, dropped);
    size_t at = unit->data.len;

    DS_ASSERT(unit->kind == UNIT_BYTES);
    if (!buf_append(&unit->data, rest, err)) {
        return error_wrap(err, "%zu more bytes", rest.len);
    }
    *drop -= (int64_t)dropped;
    unit->start.skip += (int64_t)dropped;
    while (at < unit->data.len) {
        UnitItem *last = unit->count > 0 ? &unit->items[unit->count - 1] : NULL;

        if (last == NULL || last->len == UNIT_CHUNK_BYTES_MAX) {
            size_t back = last != NULL && unit->is_text ? begun_character(unit, at) : 0;

            if (back > 0) { /* the chunk before ends with the character before */
                last->len -= (uint32_t)back;
                at -= back;
            }
            last = unit_add_item(unit, at, 0, POISON_NONE, 0);
        }
        size_t taken = DS_MIN(unit->data.len - at, (size_t)UNIT_CHUNK_BYTES_MAX - last->len);
        last->len += (uint32_t)taken;
        at += taken;
    }
    return true;
}

void
unit_end(Unit *unit, Str end_offset, int64_t end_skip, bool closed)
{
    position_set(&unit->end, end_offset, end_skip);
    unit->closed = closed;
}

static bool
prepare_lines(Unit *unit, const Sink *sink, const RowPlace *first, Error *err)
{
    CopyPlace place;
    Buf scratch;
    bool ok = true;

    if (!copy_place_init(&place, first, err)) {
        return false;
    }
    buf_init(&scratch, UNIT_LINES_BYTES_MAX);
    for (size_t i = 0; i < unit->count && ok; i++) {
        SinkItem item = unit_item_view(unit, i);
        size_t line_at = unit->lines.len;

        unit->items[i].line_at = (uint32_t)line_at;
        if (unit->items[i].poison == POISON_NONE &&
            !copy_line_at(&unit->lines, sink, &place, first->seq + (int64_t)i, &item, &scratch,
                          err)) {
            ok = err->code == ERR_INPUT; /* its fault is found again, where it can be noted */
            buf_truncate(&unit->lines, line_at);
        }
    }
    buf_done(&scratch);
    copy_place_done(&place);
    return ok;
}

void
unit_prepare(Unit *unit, const Sink *sink, const RowPlace *first)
{
    size_t row_bytes = first->stream_name.len + first->offset.len + LINE_NUMBERS_BYTES;
    size_t guess = unit->data.len + unit->data.len / 8 + unit->count * row_bytes;
    Error err;

    if (unit->kind != UNIT_JSON || sink->copy_sql == NULL || guess > UNIT_LINES_BYTES_MAX) {
        return;
    }
    unit->lines_generation = first->generation;
    unit->lines_seq = first->seq;
    if (!buf_reserve(&unit->lines, guess, NULL, &err) || !prepare_lines(unit, sink, first, &err)) {
        buf_done(&unit->lines); /* they are made when they are sent */
    }
}

bool
unit_prepared_line(const Unit *unit, size_t item, const RowPlace *place, Str *out)
{
    DS_ASSERT(item < unit->count);
    if (unit->lines.len == 0 || unit->lines_generation != place->generation ||
        unit->lines_seq + (int64_t)item != place->seq) {
        return false;
    }
    size_t end = item + 1 < unit->count ? unit->items[item + 1].line_at : unit->lines.len;
    *out = str_slice(buf_str(&unit->lines), unit->items[item].line_at, end);
    return out->len > 0;
}

Str
unit_item_text(const Unit *unit, size_t item)
{
    DS_ASSERT(item < unit->count);
    return str_n(unit->data.data + unit->items[item].at, unit->items[item].len);
}

static Str
span_text(const Unit *unit, UnitSpan span)
{
    return span.len == 0 ? (Str){NULL, 0} : str_n(unit->data.data + span.at, span.len);
}

SinkItem
unit_item_view(const Unit *unit, size_t item)
{
    const UnitItem *at = &unit->items[item];

    return (SinkItem){
        .text = unit_item_text(unit, item),
        .has_columns = at->has_columns,
        .columns = {.key = span_text(unit, at->columns[0]),
                    .type = span_text(unit, at->columns[1]),
                    .operation = span_text(unit, at->columns[2])},
    };
}

int64_t
unit_item_step(const Unit *unit, size_t item)
{
    DS_ASSERT(item < unit->count);
    return unit->kind == UNIT_JSON ? 1 : (int64_t)unit->items[item].len;
}

int64_t
unit_steps(const Unit *unit)
{
    return unit->kind == UNIT_JSON ? (int64_t)unit->count : (int64_t)unit->data.len;
}

size_t
unit_memory(const Unit *unit)
{
    return sizeof(*unit) + unit->data.cap + unit->lines.cap + unit->room * sizeof(*unit->items);
}
