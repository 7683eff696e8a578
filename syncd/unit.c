/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/unit.h"

#include "common/mem.h"

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

static void
unit_add_item(Unit *unit, size_t at, size_t len, PoisonReason poison)
{
    if (unit->count == unit->room) {
        unit->room = DS_MAX(unit->room * 2, (size_t)ITEMS_FIRST);
        unit->items = mem_regrow(unit->items, unit->room, sizeof(*unit->items));
    }
    unit->items[unit->count++] =
        (UnitItem){.at = (uint32_t)at, .len = (uint32_t)len, .poison = (uint8_t)poison};
}

/* Passes a value that is nested too deeply for the scanner, by its brackets alone: it becomes a
 * dead letter and is never used as JSON.  False if it does not end. */
static bool
skip_deep_value(Str text, size_t from, size_t *out_end)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = from; i < text.len; i++) {
        char c = text.ptr[i];

        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if ((c == ']' || c == '}') && --depth == 0) {
            *out_end = i + 1;
            return true;
        }
    }
    return false;
}

/* The scanner stopped before an element that is too deep; moves it behind that element. */
static bool
pass_deep_element(JsonElements *it, JsonValue *out)
{
    size_t at = it->at;
    size_t end;

    while (at < it->text.len && memchr(" \t\r\n,", it->text.ptr[at], 5) != NULL) {
        at++;
    }
    if (!it->is_array || !skip_deep_value(it->text, at, &end)) {
        return false;
    }
    out->text = str_slice(it->text, at, end);
    it->at = end;
    it->started = true;
    return true;
}

/* One element; *out_more as json_elements_next. */
static bool
next_message(JsonElements *it, const UnitLimits *limits, JsonValue *out, PoisonReason *out_poison,
             bool *out_more, Error *err)
{
    if (json_elements_next(it, out, out_more, err)) {
        if (*out_more) {
            *out_poison =
                out->text.len > limits->message_bytes_max ? POISON_SIZE : poison_judge(out->traits);
        }
        return true;
    }
    if (err->code == ERR_LIMIT && pass_deep_element(it, out)) {
        *out_poison = out->text.len > limits->message_bytes_max ? POISON_SIZE : POISON_DEPTH;
        *out_more = true;
        return true;
    }
    return false;
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
        PoisonReason poison = POISON_NONE;

        if (!next_message(&it, limits, &value, &poison, &more, err)) {
            err->code = ERR_PROTOCOL;
            return error_wrap(err, "data event");
        }
        if (more && *drop > 0) {
            (*drop)--;
            unit->start.skip++;
        } else if (more) {
            unit_add_item(unit, (size_t)(value.text.ptr - unit->data.data), value.text.len, poison);
        }
    }
    if (unit->count == count_before) {
        buf_truncate(&unit->data, base);
    }
    return true;
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
            unit_add_item(unit, at, 0, POISON_NONE);
            last = &unit->items[unit->count - 1];
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
prepare_lines(Unit *unit, const RowPlace *first, Error *err)
{
    RowPlace place = *first;
    Buf scratch;
    bool ok = true;

    buf_init(&scratch, UNIT_LINES_BYTES_MAX);
    for (size_t i = 0; i < unit->count && ok; i++) {
        unit->items[i].line_at = (uint32_t)unit->lines.len;
        if (unit->items[i].poison == POISON_NONE) {
            ok = copy_line_event(&unit->lines, &place, unit_item_text(unit, i), &scratch, err);
        }
        place.seq++;
    }
    buf_done(&scratch);
    return ok;
}

void
unit_prepare(Unit *unit, const RowPlace *first)
{
    size_t row_bytes = first->stream_name.len + first->offset.len + LINE_NUMBERS_BYTES;
    size_t guess = unit->data.len + unit->data.len / 8 + unit->count * row_bytes;
    Error err;

    if (unit->kind != UNIT_JSON || guess > UNIT_LINES_BYTES_MAX) {
        return;
    }
    unit->lines_generation = first->generation;
    unit->lines_seq = first->seq;
    if (!buf_reserve(&unit->lines, guess, NULL, &err) || !prepare_lines(unit, first, &err)) {
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
