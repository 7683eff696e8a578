/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_state_fold.c -- changes that are folded into transactions, of any length, leave
 * what they leave one by one.
 *
 * A byte is a change of one of four keys, or a mark, or the end of a transaction.  A model of
 * Postgres carries out what the fold says; the other model takes the changes as they come.  An
 * append that does not fit is refused, and the transaction is made again without it, as the writer
 * does it.
 */
#include "syncd/state_fold.h"

#include "common/mem.h"

#define KEYS          4
#define CHANGES_MAX   128
#define MESSAGE_BYTES 96
#define VALUE_BYTES   640

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Row {
    char kind; /* 0: none, 's' string, 'a' array, 'n' number */
    char text[VALUE_BYTES];
    int64_t seq;
} Row;

typedef struct Set {
    Row rows[KEYS];
} Set;

typedef struct Model {
    Set visible;
    Set staged;
    int64_t snapshot_seq;
} Model;

typedef struct Change {
    char message[MESSAGE_BYTES];
    StateChange parsed;
    int key;
    char text[8]; /* of the value: a character, or an element */
    bool refused;
} Change;

typedef struct Run {
    Change *changes;
    size_t count;
    bool *ends; /* a transaction may end behind this change */
    Model plain;
    Model folded;
    StateFold fold;
} Run;

/* --- values --- */

static char
kind_of(Str value)
{
    return value.ptr[0] == '"' ? 's' : value.ptr[0] == '[' ? 'a' : 'n';
}

/* A value of JSON as the models keep it: no quotes, no brackets. */
static void
row_text(Str value, char *out)
{
    Str inner = kind_of(value) == 'n' ? value : str_slice(value, 1, value.len - 1);

    DS_ASSERT(inner.len < VALUE_BYTES);
    memcpy(out, inner.ptr, inner.len);
    out[inner.len] = '\0';
}

/* False: it does not fit. */
static bool
row_append(Row *row, char kind, const char *text)
{
    size_t len = strlen(row->text);

    if (row->kind == 0) {
        row->kind = kind;
        len = 0;
    } else if (row->kind != kind) {
        return false;
    }
    int written = snprintf(row->text + len, VALUE_BYTES - len, "%s%s",
                           kind == 'a' && len > 0 && text[0] != '\0' ? "," : "", text);
    DS_ASSERT(written >= 0 && (size_t)written < VALUE_BYTES - len);
    return true;
}

/* --- one by one --- */

static void
plain_change(Model *model, Change *change, int64_t seq)
{
    Set *set = model->snapshot_seq != STATE_SEQ_NONE ? &model->staged : &model->visible;
    Row *row = &set->rows[change->key];

    switch (change->parsed.op) {
    case STATE_DELETE:
        *row = (Row){0};
        return;
    case STATE_SET:
        row->kind = kind_of(change->parsed.value);
        row_text(change->parsed.value, row->text);
        break;
    default:
        if (!row_append(row, kind_of(change->parsed.value), change->text)) {
            change->refused = true;
            return;
        }
        break;
    }
    row->seq = seq;
}

static void
plain_run(Run *run)
{
    Model *model = &run->plain;

    for (size_t i = 0; i < run->count; i++) {
        StateOp op = run->changes[i].parsed.op;
        StateOp next = i + 1 < run->count ? run->changes[i + 1].parsed.op : STATE_RESET;

        if (op == STATE_RESET && next != STATE_SNAPSHOT_START) {
            model->visible = (Set){0};
            model->snapshot_seq = STATE_SEQ_NONE;
        } else if (op == STATE_SNAPSHOT_START) {
            model->staged = (Set){0};
            model->snapshot_seq = (int64_t)i;
        } else if (op == STATE_SNAPSHOT_END && model->snapshot_seq != STATE_SEQ_NONE) {
            model->visible = model->staged;
            model->snapshot_seq = STATE_SEQ_NONE;
        } else if (!state_op_is_mark(op)) {
            plain_change(model, &run->changes[i], (int64_t)i);
        }
    }
}

/* --- folded --- */

static bool
carry_out_entry(Run *run, const StateEntry *entry, Set *set)
{
    Row *row = &set->rows[entry->key.ptr[0] - 'a'];
    char text[VALUE_BYTES];
    bool ok = true;
    Buf value;
    Error err;

    if (entry->op == STATE_DELETE) {
        *row = (Row){0};
        return true;
    }
    buf_init(&value, VALUE_BYTES);
    DS_ASSERT(state_fold_value(&run->fold, entry, &value, &err));
    row_text(buf_str(&value), text);
    if (entry->op == STATE_SET) {
        row->kind = kind_of(buf_str(&value));
        (void)snprintf(row->text, VALUE_BYTES, "%s", text);
    } else {
        ok = row_append(row, kind_of(buf_str(&value)), text);
    }
    row->seq = entry->seq;
    buf_done(&value);
    return ok;
}

/* False: an append does not fit, and is marked. */
static bool
check_bases(Run *run)
{
    const StateEntry *entry;
    bool ok = true;
    size_t at = 0;

    while ((entry = state_fold_next_base(&run->fold, &at)) != NULL) {
        const Set *set = entry->base_staged ? &run->folded.staged : &run->folded.visible;
        char kind = set->rows[entry->key.ptr[0] - 'a'].kind;

        if (kind != 0 && kind != (entry->base == STATE_APPEND_STRING ? 's' : 'a')) {
            run->changes[entry->base_seq].refused = true;
            ok = false;
        }
    }
    return ok;
}

/* False: Postgres refuses it, and holds what it held. */
static bool
carry_out(Run *run)
{
    Model *after = mem_alloc(sizeof(*after));
    StateStream *stream = &run->fold.streams[0];
    const StateEntry *entry;
    bool ok = check_bases(run);
    size_t at = 0;

    *after = run->folded;
    after->staged = stream->drop_staged ? (Set){0} : after->staged;
    while (ok && (entry = state_fold_next(&run->fold, true, &at)) != NULL) {
        ok = carry_out_entry(run, entry, &after->staged);
    }
    if (stream->swap) {
        after->visible = after->staged;
        after->staged = (Set){0};
    }
    after->visible = stream->drop_visible ? (Set){0} : after->visible;
    at = 0;
    while (ok && (entry = state_fold_next(&run->fold, false, &at)) != NULL) {
        ok = carry_out_entry(run, entry, &after->visible);
    }
    after->snapshot_seq = stream->snapshot_seq;
    if (ok) {
        run->folded = *after;
    }
    free(after);
    return ok;
}

/* Tries messages first .. end - 1.  False: *end says how many are worth a try. */
static bool
try_transaction(Run *run, size_t first, size_t *end)
{
    state_fold_reset(&run->fold);
    state_fold_stream(&run->fold, run->folded.snapshot_seq, run->folded.snapshot_seq, false,
                      (int64_t)first);
    for (size_t i = first; i < *end; i++) {
        Change *change = &run->changes[i];
        size_t back;

        if (change->refused) {
            state_fold_end(&run->fold);
        } else if (!state_fold_add(&run->fold, &change->parsed, str_c(change->message), (int64_t)i,
                                   &back)) {
            *end = i - back;
            DS_ASSERT(*end > first);
            return false;
        }
    }
    state_fold_end(&run->fold);
    return carry_out(run);
}

/* A reset and the snapshot-start that follows it belong together. */
static bool
between_pair(const Run *run, size_t at)
{
    return at < run->count && run->changes[at - 1].parsed.op == STATE_RESET &&
           run->changes[at].parsed.op == STATE_SNAPSHOT_START;
}

static void
folded_run(Run *run)
{
    size_t first = 0;

    while (first < run->count) {
        size_t end = first + 1;

        while (end < run->count && !run->ends[end - 1]) {
            end++;
        }
        for (;;) {
            if (between_pair(run, end)) {
                end = end - 1 > first ? end - 1 : end + 1;
            }
            if (try_transaction(run, first, &end)) {
                break;
            }
        }
        first = end;
    }
}

/* --- what a byte means --- */

static void
make_change(Change *change, uint8_t byte, size_t number)
{
    static const char *const marks[] = {"reset", "snapshot-start", "snapshot-end"};
    static const char *const opens[] = {"\"", "[", ""};
    static const char *const closes[] = {"\"", "]", ""};
    unsigned what = (byte >> 2) & 7;
    char value[16];
    Error err;

    change->key = byte & 3;
    (void)snprintf(change->text, sizeof(change->text), "%zu", number);
    if (what >= 6) {
        (void)snprintf(change->message, MESSAGE_BYTES, "{\"headers\":{\"control\":\"%s\"}}",
                       marks[byte % 3]);
    } else {
        (void)snprintf(value, sizeof(value), "%s%s%s", opens[what % 3], change->text,
                       closes[what % 3]);
        (void)snprintf(change->message, MESSAGE_BYTES,
                       "{\"type\":\"t\",\"key\":\"%c\",\"operation\":\"%s\",\"value\":%s}",
                       'a' + change->key,
                       what == 5   ? "remove"
                       : what >= 3 ? "append"
                                   : "set",
                       value);
    }
    DS_ASSERT(state_change_parse(str_c(change->message), &change->parsed, &err));
}

static void
check_same(const Run *run)
{
    DS_ASSERT(run->plain.snapshot_seq == run->folded.snapshot_seq);
    for (int key = 0; key < KEYS; key++) {
        const Row *plain = &run->plain.visible.rows[key];
        const Row *folded = &run->folded.visible.rows[key];

        DS_ASSERT(plain->kind == folded->kind);
        DS_ASSERT(plain->kind == 0 ||
                  (strcmp(plain->text, folded->text) == 0 && plain->seq == folded->seq));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run run = {.plain.snapshot_seq = STATE_SEQ_NONE, .folded.snapshot_seq = STATE_SEQ_NONE};
    bool *refused;

    run.changes = mem_array(CHANGES_MAX, sizeof(*run.changes));
    run.ends = mem_array(CHANGES_MAX, sizeof(*run.ends));
    refused = mem_array(CHANGES_MAX, sizeof(*refused));
    state_fold_init(&run.fold);
    for (size_t i = 0; i < size && run.count < CHANGES_MAX; i++) {
        make_change(&run.changes[run.count], data[i], run.count);
        run.ends[run.count++] = (data[i] & 0x60) == 0x20;
    }
    plain_run(&run);
    for (size_t i = 0; i < run.count; i++) {
        refused[i] = run.changes[i].refused;
        run.changes[i].refused = false;
    }
    folded_run(&run);
    for (size_t i = 0; i < run.count; i++) {
        DS_ASSERT(refused[i] == run.changes[i].refused);
    }
    check_same(&run);
    state_fold_done(&run.fold);
    free(run.changes);
    free(run.ends);
    free(refused);
    return 0;
}
