/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of the statements that carry a fold out: arrays, or plain values of a page. */
#include "syncd/transaction_state.h"

#include "syncd/array_text.h"

#define CHECK_ARRAYS 7
#define ROWS_ARRAYS  10 /* and those of the sink's values */
#define PUT_ARRAYS   4  /* likewise */
#define PAGE_PARAMS  5
#define SIFT_PARAMS  7
#define MARK_ARRAYS  5

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
add_mapped(Transaction *transaction, size_t first, const StateEntry *entry, Error *err)
{
    const Sink *sink = transaction->sink;
    Buf *a = transaction->arrays + first;
    SinkText texts[SINK_VALUES_MAX];
    bool deletes = entry->op == STATE_DELETE;
    Error ignored;

    if (sink->mapped_count == 0) {
        return true;
    }
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
add_payload(Transaction *transaction, size_t first, const StateFold *fold, const StateEntry *entry,
            Error *err)
{
    const Sink *sink = transaction->sink;
    Buf *array = &transaction->arrays[first + sink->value_count - 1];
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
            !add_mapped(transaction, ROWS_ARRAYS, entry, err) ||
            !add_payload(transaction, ROWS_ARRAYS, fold, entry, err)) {
            return false;
        }
    }
    return add_dropped(transaction, fold, staged, out_needed, err) &&
           transaction_end_arrays(transaction, err);
}

bool
transaction_only_sets(const StateFold *fold)
{
    const StateEntry *entry;
    size_t at = 0;

    for (size_t i = 0; i < fold->stream_count; i++) {
        if (fold->streams[i].drop_visible) {
            return false;
        }
    }
    while ((entry = state_fold_next(fold, false, &at)) != NULL) {
        if (entry->op != STATE_SET) {
            return false;
        }
    }
    return true;
}

/* What all rows have in common: Postgres need not be told of each. */
typedef struct Alike {
    bool stream;
    bool type;
    bool seq; /* it rises by one */
} Alike;

static Alike
rows_alike(const StateFold *fold)
{
    Alike alike = {true, true, true};
    const StateEntry *first = NULL;
    const StateEntry *entry;
    size_t at = 0;

    for (int64_t row = 0; (entry = state_fold_next(fold, false, &at)) != NULL; row++) {
        first = first == NULL ? entry : first;
        alike.stream = alike.stream && entry->stream == first->stream;
        alike.type = alike.type && str_eq(entry->type, first->type);
        alike.seq = alike.seq && entry->seq == first->seq + row;
    }
    return alike;
}

bool
transaction_encode_state_put(Transaction *transaction, const StateFold *fold, size_t *out_rows,
                             Error *err)
{
    Buf *a = transaction->arrays;
    Alike alike = rows_alike(fold);
    const StateEntry *entry;
    size_t rows = 0;
    size_t at = 0;

    transaction_begin_arrays(transaction, PUT_ARRAYS + transaction->sink->value_count);
    for (; (entry = state_fold_next(fold, false, &at)) != NULL; rows++) {
        const Lane *lane = transaction->parts[entry->stream].lane;

        if (((rows == 0 || !alike.stream) && !array_add_text(&a[0], str_c(lane->row_name), err)) ||
            ((rows == 0 || !alike.type) && !array_add_text(&a[1], entry->type, err)) ||
            ((rows == 0 || !alike.seq) && !array_add_number(&a[2], entry->seq, err)) ||
            !array_add_text(&a[3], entry->key, err) ||
            !add_mapped(transaction, PUT_ARRAYS, entry, err) ||
            !add_payload(transaction, PUT_ARRAYS, fold, entry, err)) {
            return false;
        }
    }
    *out_rows = rows;
    return transaction_end_arrays(transaction, err);
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
