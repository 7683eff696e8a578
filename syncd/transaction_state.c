/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transaction_state.h"

#include <bsd/string.h>

#include "syncd/array_text.h"

#define CHECK_ARRAYS 7
#define ROWS_ARRAYS  10 /* and those of the sink's values */
#define PAGE_PARAMS  5
#define SIFT_PARAMS  7
#define MARK_ARRAYS  5

/* --- folding --- */

static void
mark_item(Transaction *transaction, Part *part, const PartCursor *at, const Error *why)
{
    part_mark_fault(part, at->unit, at->item, at->seq, why);
    transaction->letters++;
    transaction->marked = true;
}

/* What the mapped columns need is looked at in each message, also in those that others overtake. */
static bool
check_mapped(Transaction *transaction, Str message, Error *err)
{
    const Sink *sink = transaction->sink;
    SinkText texts[SINK_VALUES_MAX];
    Str ignored;

    if (sink->mapped_count == 0) {
        return true;
    }
    if (!sink_texts(sink, &(SinkItem){.text = message}, texts, err)) {
        return false;
    }
    for (size_t i = 0; i + 1 < sink->value_count; i++) {
        if (!texts[i].is_null &&
            !sink_decode(sink, i, &texts[i], &transaction->scratch, &ignored, err)) {
            return false;
        }
    }
    return true;
}

static bool
read_change(Transaction *transaction, Str message, StateChange *out, Error *err)
{
    if (!state_change_parse(message, out, err) ||
        (out->op == STATE_SET && !check_mapped(transaction, message, err))) {
        if (err->sqlstate[0] == '\0') {
            (void)strlcpy(err->sqlstate, STATE_FAULT_SQLSTATE, sizeof(err->sqlstate));
        }
        return false;
    }
    return true;
}

/* What a set holds that began in this very part is written with its end. */
static void
unstage_items(const Part *part, int64_t behind, int64_t before)
{
    for (PartCursor at = part_cursor(part); part_cursor_valid(&at) && at.seq < before;
         part_cursor_next(&at)) {
        if (at.seq > behind) {
            at.unit->items[at.item].staged = false;
        }
    }
}

/* The change was added: whether it is a row, may become one, or is none, so that letters are
 * redeemed by rows only.  open_seq: of the set that was open before it. */
static void
note_item(const Part *part, const PartCursor *at, StateOp op, const StateStream *stream,
          int64_t open_seq)
{
    UnitItem *item = &at->unit->items[at->item];

    item->is_mark = state_op_is_mark(op);
    item->staged = !item->is_mark && stream->snapshot_seq != STATE_SEQ_NONE;
    if (op == STATE_SNAPSHOT_END && open_seq != STATE_SEQ_NONE && !stream->swap &&
        stream->cleared_seq == open_seq) {
        unstage_items(part, open_seq, at->seq);
    }
}

static bool
fold_part(Transaction *transaction, Part *part, StateFold *fold)
{
    const StateStream *stream = &fold->streams[fold->stream_count - 1];

    for (PartCursor at = part_cursor(part); part_cursor_valid(&at); part_cursor_next(&at)) {
        Str message = unit_item_text(at.unit, at.item);
        int64_t open_seq = stream->snapshot_seq;
        StateChange change;
        size_t back;
        Error err = {0};

        fold->offset = str_c(at.unit->start.offset);
        if (at.unit->items[at.item].poison != POISON_NONE) {
            state_fold_end(fold);
        } else if (!read_change(transaction, message, &change, &err)) {
            mark_item(transaction, part, &at, &err);
            state_fold_end(fold);
        } else if (state_fold_add(fold, &change, message, at.seq, &back)) {
            note_item(part, &at, change.op, stream, open_seq);
        } else if (!state_op_is_mark(change.op)) {
            part->lane->sieve = part->items; /* an append that does not fit what is before it */
            return false;
        } else {
            part->lane->narrow = part->items - at.left - back;
            DS_ASSERT(part->lane->narrow > 0);
            return false;
        }
    }
    state_fold_end(fold);
    return true;
}

static bool
is_mark(const PartCursor *at)
{
    StateChange change;
    Error ignored;

    return at->unit->items[at->item].poison == POISON_NONE &&
           state_change_parse(unit_item_text(at->unit, at->item), &change, &ignored) &&
           state_op_is_mark(change.op);
}

/* What is tried one by one is tried without marks: a part of both ends where the other begins. */
static bool
fold_apart(Part *part, StateFold *fold)
{
    PartCursor at = part_cursor(part);
    size_t run = 0;

    if (part->lane->sieve == 0 || !part_cursor_valid(&at)) {
        return true;
    }
    fold->apart = !is_mark(&at);
    for (; part_cursor_valid(&at) && is_mark(&at) != fold->apart; part_cursor_next(&at)) {
        run++;
    }
    if (run < part->items) {
        part->lane->run = run;
        return false;
    }
    return true;
}

bool
transaction_fold(Transaction *transaction, const StateSets *sets, StateFold *fold)
{
    state_fold_reset(fold);
    if (!fold_apart(&transaction->parts[0], fold)) {
        return false;
    }
    for (size_t i = 0; i < transaction->part_count; i++) {
        Part *part = &transaction->parts[i];
        const Checkpoint *at = &part->lane->checkpoint;

        state_fold_stream(fold, sets[i].snapshot_seq, sets[i].opened_seq,
                          sets[i].generation < at->generation, at->next_seq);
        if (!fold_part(transaction, part, fold)) {
            return false;
        }
    }
    transaction->marked = true; /* which items are rows is known only now */
    return true;
}

/* False: there is no such message. */
static bool
mark_seq(Transaction *transaction, Part *part, int64_t seq, const Error *why)
{
    for (PartCursor at = part_cursor(part); part_cursor_valid(&at); part_cursor_next(&at)) {
        if (at.seq == seq) {
            mark_item(transaction, part, &at, why);
            return true;
        }
    }
    return false;
}

bool
transaction_mark_append(Transaction *transaction, int64_t stream_id, int64_t seq, Str kind,
                        Str found)
{
    Part *part = transaction_find(transaction, stream_id);
    Error why = {0};

    (void)error_set(&why, ERR_INPUT, "the value that is there is of kind %.*s: no %.*s fits it",
                    STR_ARG(str_head(found, 16)), STR_ARG(str_head(kind, 16)));
    (void)strlcpy(why.sqlstate, STATE_FAULT_SQLSTATE, sizeof(why.sqlstate));
    return part != NULL && mark_seq(transaction, part, seq, &why);
}

bool
transaction_mark_entry(Transaction *transaction, const StateFold *fold, uint64_t number,
                       const Error *why)
{
    DS_ASSERT(fold->apart);
    if (number == 0 || number >= fold->entry_count) {
        return false;
    }
    const StateEntry *entry = &fold->entries[number];
    return mark_seq(transaction, &transaction->parts[entry->stream], entry->seq, why);
}

bool
transaction_sieve(Transaction *transaction)
{
    const Part *part = &transaction->parts[0];

    DS_ASSERT(transaction->part_count == 1);
    if (part->items <= 1 || part->lane->sieve > 0) {
        return false;
    }
    part->lane->sieve = part->items;
    return true;
}

bool
transaction_narrow(Transaction *transaction, const Error *why)
{
    Part *part = &transaction->parts[0];
    PartCursor at = part_cursor(part);
    StateChange change;
    Error ignored;

    DS_ASSERT(transaction->part_count == 1);
    if (part->items > 1 && part->lane->narrow != 1) {
        part->lane->narrow = part->items / 2;
        return true;
    }
    if (!part_cursor_valid(&at) || part->items > 1 ||
        at.unit->items[at.item].poison != POISON_NONE ||
        !state_change_parse(unit_item_text(at.unit, at.item), &change, &ignored) ||
        state_op_is_mark(change.op)) {
        return false;
    }
    mark_item(transaction, part, &at, why);
    return true;
}

/* --- parameters --- */

bool
transaction_encode_state_open(Transaction *transaction, Error *err)
{
    Buf *a = transaction->arrays;

    transaction_begin_arrays(transaction, 2);
    for (size_t i = 0; i < transaction->part_count; i++) {
        const Checkpoint *at = &transaction->parts[i].lane->checkpoint;

        if (!array_add_number(&a[0], at->stream_id, err) ||
            !array_add_number(&a[1], at->generation, err)) {
            return false;
        }
    }
    return transaction_end_arrays(transaction, err);
}

/* The first four of each statement about rows: where they are. */
static bool
add_place(Transaction *transaction, const StateEntry *entry, Error *err)
{
    Buf *a = transaction->arrays;
    const Lane *lane = transaction->parts[entry->stream].lane;

    return array_add_text(&a[0], str_c(lane->row_name), err) &&
           array_add_number(&a[1], lane->checkpoint.stream_id, err) &&
           array_add_text(&a[2], entry->type, err) && array_add_text(&a[3], entry->key, err);
}

bool
transaction_encode_state_check(Transaction *transaction, const StateFold *fold, bool *out_needed,
                               Error *err)
{
    Buf *a = transaction->arrays;
    const StateEntry *entry;
    size_t at = 0;

    *out_needed = false;
    transaction_begin_arrays(transaction, CHECK_ARRAYS);
    while ((entry = state_fold_next_base(fold, &at)) != NULL) {
        *out_needed = true;
        if (!add_place(transaction, entry, err) || !array_add_number(&a[4], entry->base_seq, err) ||
            !array_add_text(
                &a[5], entry->base == STATE_APPEND_STRING ? STR("string") : STR("array"), err) ||
            !array_add_text(&a[6], entry->base_staged ? STR("t") : STR("f"), err)) {
            return false;
        }
    }
    return transaction_end_arrays(transaction, err);
}

/* Of an append the columns are used only where there is no row yet, so nothing is required: each
 * gets what the message has for it. */
static bool
add_mapped(Transaction *transaction, const StateEntry *entry, Error *err)
{
    const Sink *sink = transaction->sink;
    Buf *a = transaction->arrays + ROWS_ARRAYS;
    SinkText texts[SINK_VALUES_MAX];
    bool deletes = entry->op == STATE_DELETE;
    Error ignored;

    if (!deletes) {
        sink_texts_there(sink, &(SinkItem){.text = entry->message}, texts);
    }
    for (size_t i = 0; i + 1 < sink->value_count; i++) {
        Str text;

        if (deletes || texts[i].is_null ||
            !sink_decode(sink, i, &texts[i], &transaction->scratch, &text, &ignored)) {
            if (!array_add_null(&a[i], err)) {
                return false;
            }
        } else if (!array_add_text(&a[i], text, err)) {
            return false;
        }
    }
    return true;
}

static bool
add_payload(Transaction *transaction, const StateFold *fold, const StateEntry *entry, Error *err)
{
    const Sink *sink = transaction->sink;
    Buf *array = &transaction->arrays[ROWS_ARRAYS + sink->value_count - 1];
    Buf *scratch = &transaction->scratch;

    if (entry->op == STATE_DELETE) {
        return array_add_null(array, err);
    }
    buf_reset(scratch);
    if (!state_fold_value(fold, entry, scratch, err)) {
        return false;
    }
    return sink->payload == ROUTE_PAYLOAD_BYTEA ? array_add_bytes(array, buf_str(scratch), err)
                                                : array_add_text(array, buf_str(scratch), err);
}

/* A letter of this transaction is not in its table yet: the deletion cannot see it. */
static Str
op_letter(const Transaction *transaction, const StateEntry *entry)
{
    switch (entry->op) {
    case STATE_DELETE:
        return transaction->parts[entry->stream].letters > 0 ? STR("b") : STR("d");
    case STATE_APPEND_STRING:
    case STATE_APPEND_ARRAY:
        return STR("a");
    case STATE_SET:
    case STATE_RESET:
    case STATE_SNAPSHOT_START:
    case STATE_SNAPSHOT_END:
        break;
    }
    return STR("s");
}

/* What a letter needs, should the table refuse the row when its snapshot ends, and what the columns
 * are read from, should they be others by then.  A row without mapped columns tells its message
 * itself. */
static bool
add_origin(Transaction *transaction, const StateFold *fold, const StateEntry *entry, Error *err)
{
    Buf *a = transaction->arrays;

    return array_add_text(&a[7], entry->offset, err) &&
           (transaction->sink->mapped_count > 0 && entry->op != STATE_DELETE
                ? array_add_bytes(&a[8], entry->message, err)
                : array_add_null(&a[8], err)) &&
           array_add_text(&a[9], state_fold_is_of_one(fold, entry) ? STR("f") : STR("t"), err);
}

/* The streams whose set begins anew, as the statement names them. */
static bool
add_dropped(Transaction *transaction, const StateFold *fold, bool staged, bool *out_needed,
            Error *err)
{
    Buf *array = &transaction->arrays[6];

    for (size_t i = 0; i < fold->stream_count; i++) {
        const Lane *lane = transaction->parts[i].lane;

        if (!(staged ? fold->streams[i].drop_staged : fold->streams[i].drop_visible)) {
            continue;
        }
        *out_needed = true;
        if (!(staged ? array_add_number(array, lane->checkpoint.stream_id, err)
                     : array_add_text(array, str_c(lane->row_name), err))) {
            return false;
        }
    }
    return true;
}

bool
transaction_encode_state_rows(Transaction *transaction, const StateFold *fold, bool staged,
                              bool *out_needed, Error *err)
{
    Buf *a = transaction->arrays;
    const StateEntry *entry;
    size_t at = 0;

    *out_needed = false;
    transaction_begin_arrays(transaction, ROWS_ARRAYS + transaction->sink->value_count);
    while ((entry = state_fold_next(fold, staged, &at)) != NULL) {
        *out_needed = true;
        if (!add_place(transaction, entry, err) || !array_add_number(&a[4], entry->seq, err) ||
            !array_add_text(&a[5], op_letter(transaction, entry), err) ||
            (staged && !add_origin(transaction, fold, entry, err)) ||
            !add_mapped(transaction, entry, err) || !add_payload(transaction, fold, entry, err)) {
            return false;
        }
    }
    return add_dropped(transaction, fold, staged, out_needed, err) &&
           transaction_end_arrays(transaction, err);
}

/* Plain values, each a parameter of its own. */
static bool
add_plain(Transaction *transaction, size_t index, Str text, Error *err)
{
    return buf_append(&transaction->arrays[index], text, err);
}

static bool
add_plain_number(Transaction *transaction, size_t index, int64_t number, Error *err)
{
    return buf_printf(&transaction->arrays[index], err, "%lld", (long long)number);
}

bool
transaction_encode_state_page(Transaction *transaction, const StatePage *page, bool sift,
                              Error *err)
{
    const Lane *lane = transaction->parts[page->part].lane;

    transaction_begin_arrays(transaction, sift ? SIFT_PARAMS : PAGE_PARAMS);
    return add_plain(transaction, 0, str_c(lane->row_name), err) &&
           add_plain_number(transaction, 1, lane->checkpoint.stream_id, err) &&
           (!page->begun || (add_plain(transaction, 2, buf_str(&page->type), err) &&
                             add_plain(transaction, 3, buf_str(&page->key), err))) &&
           add_plain_number(transaction, 4, STATE_PAGE_ROWS, err) &&
           (!sift || (add_plain_number(transaction, 5, lane->checkpoint.generation, err) &&
                      add_plain(transaction, 6, lane->name, err)));
}

bool
transaction_encode_state_mark(Transaction *transaction, const StateSets *sets,
                              const StateFold *fold, bool *out_needed, Error *err)
{
    Buf *a = transaction->arrays;

    *out_needed = false;
    transaction_begin_arrays(transaction, MARK_ARRAYS);
    for (size_t i = 0; i < fold->stream_count; i++) {
        const StateStream *stream = &fold->streams[i];
        const Checkpoint *at = &transaction->parts[i].lane->checkpoint;

        if (stream->cleared_seq == STATE_SEQ_NONE && at->generation == sets[i].generation &&
            stream->snapshot_seq == sets[i].snapshot_seq &&
            stream->opened_seq == sets[i].opened_seq) {
            continue;
        }
        *out_needed = true;
        if (!array_add_number(&a[0], at->stream_id, err) ||
            !array_add_number(&a[1], at->generation, err) ||
            !array_add_number(&a[2], stream->snapshot_seq, err) ||
            !array_add_number(&a[3], stream->cleared_seq, err) ||
            !array_add_number(&a[4], stream->opened_seq, err)) {
            return false;
        }
    }
    return transaction_end_arrays(transaction, err);
}
