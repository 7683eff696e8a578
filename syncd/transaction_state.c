/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transaction_state.h"

#include <bsd/string.h>

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
        part->snapshot_open = fold->streams[i].snapshot_seq != STATE_SEQ_NONE;
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
