/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transaction.h"

#include "common/mem.h"
#include "syncd/array_text.h"

#define ROWS_FIRST      256
#define BUFFER_KEEP_MAX (16u << 20) /* memory kept between transactions, per array */

void
transaction_init(Transaction *transaction)
{
    *transaction = (Transaction){0};
    for (size_t i = 0; i < TRANSACTION_ARRAYS_MAX; i++) {
        buf_init(&transaction->arrays[i], TRANSACTION_TEXT_BYTES_MAX);
    }
    copy_text_init(&transaction->copy[0], TRANSACTION_TEXT_BYTES_MAX);
    copy_text_init(&transaction->copy[1], TRANSACTION_TEXT_BYTES_MAX);
    buf_init(&transaction->scratch, TRANSACTION_TEXT_BYTES_MAX);
}

void
transaction_done(Transaction *transaction)
{
    for (size_t i = 0; i < TRANSACTION_ARRAYS_MAX; i++) {
        buf_done(&transaction->arrays[i]);
    }
    copy_text_done(&transaction->copy[0]);
    copy_text_done(&transaction->copy[1]);
    buf_done(&transaction->scratch);
    free(transaction->rows);
}

void
transaction_begin_arrays(Transaction *transaction, size_t count)
{
    DS_ASSERT(count <= TRANSACTION_ARRAYS_MAX);
    transaction->array_count = count;
    for (size_t i = 0; i < TRANSACTION_ARRAYS_MAX; i++) {
        buf_reset(&transaction->arrays[i]);
        buf_shrink(&transaction->arrays[i], BUFFER_KEEP_MAX);
    }
}

bool
transaction_end_arrays(Transaction *transaction, Error *err)
{
    for (size_t i = 0; i < transaction->array_count; i++) {
        if (!array_end(&transaction->arrays[i], err)) {
            return false;
        }
    }
    return true;
}

void
transaction_reset(Transaction *transaction)
{
    transaction->part_count = 0;
    transaction->items = 0;
    transaction->letters = 0;
    transaction->marked = false;
    transaction->bytes = 0;
    transaction_first_slice(transaction);
    transaction_begin_arrays(transaction, 0);
}

bool
transaction_add(Transaction *transaction, Lane *lane, const PartLimits *limits, bool *out_blocked)
{
    PartLimits left = {
        .rows_max = limits->rows_max - DS_MIN(transaction->items, limits->rows_max),
        .bytes_max = limits->bytes_max - DS_MIN(transaction->bytes, limits->bytes_max),
    };
    Part *part = &transaction->parts[transaction->part_count];

    *out_blocked = false;
    if (transaction->part_count == TRANSACTION_PARTS_MAX || lane_is_empty(lane) ||
        (transaction->part_count > 0 &&
         (left.bytes_max == 0 || lane_sink(lane) != transaction->sink))) {
        return false;
    }
    const Sink *sink = lane_sink(lane);
    if (!part_compose(lane, &left, part)) {
        *out_blocked = part->blocked;
        return false;
    }
    transaction->sink = sink;
    transaction->part_count++;
    transaction->items += part->items;
    transaction->letters += part->letters;
    transaction->bytes += part->bytes;
    return true;
}

static int
part_order(const void *a, const void *b)
{
    int64_t id_a = ((const Part *)a)->lane->checkpoint.stream_id;
    int64_t id_b = ((const Part *)b)->lane->checkpoint.stream_id;

    return (id_a > id_b) - (id_a < id_b);
}

void
transaction_sort(Transaction *transaction)
{
    qsort(transaction->parts, transaction->part_count, sizeof(Part), part_order);
}

bool
transaction_is_small(const Transaction *transaction)
{
    return transaction->items <= TRANSACTION_SMALL_ROWS_MAX && transaction->letters == 0 &&
           transaction->bytes <= TRANSACTION_SMALL_BYTES_MAX;
}

const char *
transaction_small_sql(const Transaction *transaction)
{
    bool is_one = transaction->part_count == 1 && transaction->items == 1;

    return is_one ? transaction->sink->one_sql : transaction->sink->small_sql;
}

Checkpoint
part_after(const Part *part)
{
    Checkpoint after = part->lane->checkpoint;

    after.position = part->end;
    after.next_seq += part->steps;
    after.closed = after.closed || part->closed;
    return after;
}

Part *
transaction_find(Transaction *transaction, int64_t stream_id)
{
    for (size_t i = 0; i < transaction->part_count; i++) {
        if (transaction->parts[i].lane->checkpoint.stream_id == stream_id) {
            return &transaction->parts[i];
        }
    }
    return NULL;
}

static bool
encode_guard(Transaction *transaction, Error *err)
{
    Buf *a = transaction->arrays;

    for (size_t i = 0; i < transaction->part_count; i++) {
        const Part *part = &transaction->parts[i];
        const Checkpoint *at = &part->lane->checkpoint;

        if (!array_add_number(&a[0], at->stream_id, err) ||
            !array_add_number(&a[1], at->epoch, err) ||
            !array_add_number(&a[2], at->generation, err) ||
            !array_add_text(&a[3], str_c(at->position.offset), err) ||
            !array_add_number(&a[4], at->position.skip, err) ||
            !array_add_number(&a[5], at->next_seq, err) ||
            !array_add_text(&a[6], str_c(part->end.offset), err) ||
            !array_add_number(&a[7], part->end.skip, err) ||
            !array_add_number(&a[8], part->steps, err) ||
            !array_add_text(&a[9], part->closed ? STR("t") : STR("f"), err)) {
            return false;
        }
    }
    return true;
}

bool
transaction_encode_guard(Transaction *transaction, Error *err)
{
    transaction_begin_arrays(transaction, 10);
    return encode_guard(transaction, err) && transaction_end_arrays(transaction, err);
}

bool
transaction_encode_ids(Transaction *transaction, Error *err)
{
    transaction_begin_arrays(transaction, 1);
    for (size_t i = 0; i < transaction->part_count; i++) {
        if (!array_add_number(&transaction->arrays[0],
                              transaction->parts[i].lane->checkpoint.stream_id, err)) {
            return false;
        }
    }
    return transaction_end_arrays(transaction, err);
}

/* What is behind the place of a row, into as many arrays. */
static bool
add_values(Transaction *transaction, Buf *arrays, const PartCursor *at, Error *err)
{
    const Sink *sink = transaction->sink;
    SinkText texts[SINK_VALUES_MAX];
    SinkItem item = unit_item_view(at->unit, at->item);
    bool ok = sink_texts(sink, &item, texts, err);

    for (size_t i = 0; i < sink->value_count && ok; i++) {
        Str text;

        if (texts[i].is_null) {
            ok = array_add_null(&arrays[i], err);
        } else if (texts[i].is_bytes) {
            ok = array_add_bytes(&arrays[i], texts[i].text, err);
        } else {
            ok = sink_decode(sink, i, &texts[i], &transaction->scratch, &text, err) &&
                 array_add_text(&arrays[i], text, err);
        }
    }
    return ok;
}

static bool
encode_small_row(Transaction *transaction, const Part *part, const PartCursor *at, Error *err)
{
    Buf *a = transaction->arrays + 10;

    return array_add_number(&a[0], part->lane->checkpoint.stream_id, err) &&
           array_add_text(&a[1], str_c(part->lane->row_name), err) &&
           array_add_number(&a[2], at->seq, err) &&
           array_add_text(&a[3], str_c(at->unit->start.offset), err) &&
           add_values(transaction, &a[4], at, err);
}

bool
transaction_encode_small(Transaction *transaction, Error *err)
{
    DS_ASSERT(transaction->letters == 0);
    transaction_begin_arrays(transaction, 14 + transaction->sink->value_count);
    if (!encode_guard(transaction, err)) {
        return false;
    }
    for (size_t i = 0; i < transaction->part_count; i++) {
        const Part *part = &transaction->parts[i];

        for (PartCursor at = part_cursor(part); part_cursor_valid(&at); part_cursor_next(&at)) {
            if (!encode_small_row(transaction, part, &at, err)) {
                return false;
            }
        }
    }
    return transaction_end_arrays(transaction, err);
}

static bool
add_letter_cause(Transaction *transaction, const Part *part, const PartCursor *at, Error *err)
{
    Buf *a = transaction->arrays;
    PoisonReason reason = at->unit->items[at->item].poison;
    const char *sqlstate = poison_sqlstate(reason);
    const char *message = poison_message(reason);
    const RowFault *fault =
        reason == POISON_ROW_FAULT ? lane_find_fault(part->lane, at->seq) : NULL;

    if (fault != NULL) {
        sqlstate = fault->sqlstate;
        message = fault->message;
    }
    return array_add_text(&a[5], str_c(poison_name(reason)), err) &&
           (sqlstate != NULL ? array_add_text(&a[6], str_c(sqlstate), err)
                             : array_add_null(&a[6], err)) &&
           array_add_text(&a[7], str_c(message), err);
}

void
transaction_first_letter(const Transaction *transaction, Error *out)
{
    for (size_t i = 0; i < transaction->part_count; i++) {
        const Part *part = &transaction->parts[i];

        for (PartCursor at = part_cursor(part); part_cursor_valid(&at); part_cursor_next(&at)) {
            if (at.unit->items[at.item].poison != POISON_NONE) {
                lane_letter_cause(part->lane, at.unit, at.item, at.seq, out);
                return;
            }
        }
    }
    DS_UNREACHABLE("a transaction without letters");
}

bool
transaction_letters_are_alike(const Transaction *transaction, Error *out)
{
    Error first;

    transaction_first_letter(transaction, &first);
    for (size_t i = 0; i < transaction->part_count; i++) {
        const Part *part = &transaction->parts[i];

        for (PartCursor at = part_cursor(part); part_cursor_valid(&at); part_cursor_next(&at)) {
            const UnitItem *item = &at.unit->items[at.item];
            const RowFault *fault;

            if (item->poison == POISON_NONE) {
                continue;
            }
            fault = lane_find_fault(part->lane, at.seq);
            if (item->poison != POISON_ROW_FAULT || fault == NULL ||
                strcmp(fault->sqlstate, first.sqlstate) != 0 ||
                strcmp(fault->message, first.text) != 0) {
                return false;
            }
        }
    }
    *out = first;
    return true;
}

bool
transaction_encode_letters(Transaction *transaction, Error *err)
{
    Buf *a = transaction->arrays;

    transaction_begin_arrays(transaction, 9);
    for (size_t i = 0; i < transaction->part_count; i++) {
        const Part *part = &transaction->parts[i];
        const Checkpoint *checkpoint = &part->lane->checkpoint;

        for (PartCursor at = part_cursor(part); part_cursor_valid(&at); part_cursor_next(&at)) {
            if (at.unit->items[at.item].poison == POISON_NONE) {
                continue;
            }
            if (!array_add_number(&a[0], checkpoint->stream_id, err) ||
                !array_add_text(&a[1], part->lane->name, err) ||
                !array_add_number(&a[2], checkpoint->generation, err) ||
                !array_add_number(&a[3], at.seq, err) ||
                !array_add_text(&a[4], str_c(at.unit->start.offset), err) ||
                !add_letter_cause(transaction, part, &at, err) ||
                !array_add_bytes(&a[8], unit_item_text(at.unit, at.item), err)) {
                return false;
            }
        }
    }
    return transaction_end_arrays(transaction, err);
}

/* The line is there already when the unit had to wait. */
static bool
encode_copy_row(Transaction *transaction, const Part *part, Error *err)
{
    CopyText *copy = &transaction->copy[transaction->copy_now];
    const PartCursor *at = &transaction->next_item;
    RowPlace place = {.generation = part->lane->checkpoint.generation, .seq = at->seq};
    Str line;
    Buf *out;

    if (unit_prepared_line(at->unit, at->item, &place, &line)) {
        return copy_text_ahead(copy, line, err);
    }
    if (!copy_text_open(copy, &out, err)) {
        return false;
    }
    size_t before = out->len;
    place.stream_name = str_c(part->lane->row_name);
    place.offset = str_c(at->unit->start.offset);
    SinkItem item = unit_item_view(at->unit, at->item);
    if (!copy_line(out, transaction->sink, &place, &item, &transaction->scratch, err)) {
        buf_truncate(out, before);
        return false;
    }
    return true;
}

static void
transaction_add_row(Transaction *transaction, Part *part, const PartCursor *at)
{
    if (transaction->row_count == transaction->row_room) {
        transaction->row_room = DS_MAX(transaction->row_room * 2, (size_t)ROWS_FIRST);
        transaction->rows =
            mem_regrow(transaction->rows, transaction->row_room, sizeof(*transaction->rows));
    }
    transaction->rows[transaction->row_count++] = (TransactionRow){
        .part = part,
        .unit = at->unit,
        .item = at->item,
        .seq = at->seq,
    };
}

void
transaction_first_slice(Transaction *transaction)
{
    for (size_t i = 0; i < DS_COUNT(transaction->copy); i++) {
        copy_text_reset(&transaction->copy[i]);
    }
    transaction->row_count = 0;
    transaction->slice_first = 0;
    transaction->slice_end = 0;
    transaction->next_part = 0;
    if (transaction->part_count > 0) {
        transaction->next_item = part_cursor(&transaction->parts[0]);
    }
}

void
transaction_mark(Transaction *transaction, size_t row, const Error *err)
{
    const TransactionRow *bad = &transaction->rows[row];

    part_mark_fault(bad->part, bad->unit, bad->item, bad->seq, err);
    transaction->letters++;
    transaction->marked = true;
}

bool
transaction_allows_letters(Transaction *transaction)
{
    for (size_t i = 0; i < transaction->part_count && transaction->marked; i++) {
        Part *part = &transaction->parts[i];
        bool matters = part->letters > 0 || part->lane->tally.weight > 0 ||
                       part->lane->tally.lent > 0 || part->sifted > 0;

        if (matters && !part_recount(part)) {
            return false;
        }
    }
    return true;
}

/* The newest row is at fault, and not in the slice. */
static void
drop_row(Transaction *transaction, const Error *err)
{
    transaction_mark(transaction, transaction->row_count - 1, err);
    transaction->row_count--;
}

/* Of the row that next_item stands on. */
typedef bool (*RowEncoder)(Transaction *transaction, const Part *part, Error *err);

/* Rows of one part, until it or the room in the slice ends. */
static bool
encode_slice_part(Transaction *transaction, Part *part, size_t rows_end, RowEncoder encode,
                  Error *err)
{
    PartCursor *at = &transaction->next_item;

    for (; transaction->row_count < rows_end && part_cursor_valid(at); part_cursor_next(at)) {
        if (at->unit->items[at->item].poison != POISON_NONE) {
            continue;
        }
        transaction_add_row(transaction, part, at);
        if (!encode(transaction, part, err)) {
            if (err->code != ERR_INPUT) {
                return false;
            }
            drop_row(transaction, err);
        }
    }
    return true;
}

static bool
next_slice(Transaction *transaction, size_t rows_max, RowEncoder encode, Error *err)
{
    size_t rows_end = transaction->row_count + DS_MIN(rows_max, transaction->items);

    transaction->slice_first = transaction->row_count;
    while (transaction->next_part < transaction->part_count && transaction->row_count < rows_end) {
        if (!encode_slice_part(transaction, &transaction->parts[transaction->next_part], rows_end,
                               encode, err)) {
            return false;
        }
        if (!part_cursor_valid(&transaction->next_item) &&
            ++transaction->next_part < transaction->part_count) {
            transaction->next_item = part_cursor(&transaction->parts[transaction->next_part]);
        }
    }
    transaction->slice_end = transaction->row_count;
    return true;
}

bool
transaction_next_slice(Transaction *transaction, size_t rows_max, Error *err)
{
    transaction->copy_now ^= 1;
    copy_text_reset(&transaction->copy[transaction->copy_now]);
    return next_slice(transaction, rows_max, encode_copy_row, err) &&
           copy_text_end(&transaction->copy[transaction->copy_now], err);
}

static bool
encode_sieve_row(Transaction *transaction, const Part *part, Error *err)
{
    const PartCursor *at = &transaction->next_item;
    Buf *a = transaction->arrays;
    size_t before[TRANSACTION_ARRAYS_MAX];
    bool ok;

    for (size_t i = 0; i < transaction->array_count; i++) {
        before[i] = a[i].len;
    }
    ok = array_add_number(&a[0], part->lane->checkpoint.generation, err) &&
         array_add_text(&a[1], str_c(part->lane->row_name), err) &&
         array_add_number(&a[2], at->seq, err) &&
         array_add_text(&a[3], str_c(at->unit->start.offset), err) &&
         add_values(transaction, &a[4], at, err);
    for (size_t i = 0; i < transaction->array_count && !ok; i++) {
        buf_truncate(&a[i], before[i]);
    }
    return ok;
}

bool
transaction_next_sieve(Transaction *transaction, size_t rows_max, Error *err)
{
    transaction_begin_arrays(transaction, 4 + transaction->sink->value_count);
    return next_slice(transaction, rows_max, encode_sieve_row, err) &&
           transaction_end_arrays(transaction, err);
}

const CopyText *
transaction_copy_text(const Transaction *transaction)
{
    return &transaction->copy[transaction->copy_now];
}

void
transaction_params(Transaction *transaction, PgParam *out)
{
    for (size_t i = 0; i < transaction->array_count; i++) {
        out[i] = (PgParam){.value = buf_cstr(&transaction->arrays[i])};
    }
}
