/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/state_fold.h"

#include "common/mem.h"

#define ROOM_FIRST      256
#define NAMES_BYTES_MAX ((size_t)1 << 30) /* shorter than the messages that they come from */

void
state_fold_init(StateFold *fold)
{
    *fold = (StateFold){.entry_count = 1, .piece_count = 1};
    arena_init(&fold->names, NAMES_BYTES_MAX);
}

void
state_fold_done(StateFold *fold)
{
    free(fold->streams);
    free(fold->entries);
    free(fold->pieces);
    free(fold->buckets);
    arena_done(&fold->names);
}

void
state_fold_reset(StateFold *fold)
{
    fold->stream_count = 0;
    fold->entry_count = 1;
    fold->piece_count = 1;
    fold->rounds = 0;
    fold->apart = false;
    fold->offset = STR_EMPTY;
    for (size_t i = 0; i < fold->bucket_count; i++) {
        fold->buckets[i] = 0;
    }
    arena_reset(&fold->names);
}

static StateStream *
current(StateFold *fold)
{
    DS_ASSERT(fold->stream_count > 0);
    return &fold->streams[fold->stream_count - 1];
}

static void
drop_visible(StateFold *fold, StateStream *stream, int64_t seq)
{
    stream->drop_staged = stream->drop_staged || stream->swap; /* it stays behind, unwanted */
    stream->swap = false;
    stream->drop_visible = true;
    stream->cleared_seq = seq;
    stream->opened_seq = STATE_SEQ_NONE;
    stream->visible_round = fold->rounds++;
}

static void
drop_staged(StateFold *fold, StateStream *stream)
{
    stream->drop_staged = stream->drop_staged || stream->staged_in_table;
    stream->staged_in_table = false;
    stream->snapshot_seq = STATE_SEQ_NONE;
    stream->staged_round = fold->rounds++;
}

void
state_fold_stream(StateFold *fold, int64_t snapshot_seq, int64_t opened_seq,
                  bool first_of_generation, int64_t first_seq)
{
    StateStream *stream;

    if (fold->stream_count == fold->stream_room) {
        fold->stream_room = DS_MAX(fold->stream_room * 2, (size_t)ROOM_FIRST);
        fold->streams = mem_regrow(fold->streams, fold->stream_room, sizeof(*fold->streams));
    }
    stream = &fold->streams[fold->stream_count++];
    *stream = (StateStream){
        .cleared_seq = STATE_SEQ_NONE,
        .snapshot_seq = snapshot_seq,
        .opened_seq = opened_seq,
        .reset_seq = STATE_SEQ_NONE,
        .staged_in_table = snapshot_seq != STATE_SEQ_NONE,
        .visible_round = fold->rounds,
        .staged_round = fold->rounds + 1,
    };
    fold->rounds += 2;
    if (first_of_generation) {
        drop_staged(fold, stream);
        drop_visible(fold, stream, first_seq - 1);
    }
}

/* The reset that waited to see what follows it. */
static void
settle_reset(StateFold *fold, StateStream *stream)
{
    int64_t seq = stream->reset_seq;

    if (seq != STATE_SEQ_NONE) {
        stream->reset_seq = STATE_SEQ_NONE;
        drop_staged(fold, stream);
        drop_visible(fold, stream, seq);
    }
}

static void
end_snapshot(StateFold *fold, StateStream *stream)
{
    if (stream->snapshot_seq == STATE_SEQ_NONE) {
        return;
    }
    stream->swap = stream->staged_in_table;
    stream->drop_visible = !stream->swap;
    stream->cleared_seq = stream->snapshot_seq;
    stream->visible_round = stream->staged_round;
    stream->staged_in_table = false;
    stream->snapshot_seq = STATE_SEQ_NONE;
    stream->opened_seq = STATE_SEQ_NONE;
    stream->staged_round = fold->rounds++;
}

static bool
add_mark(StateFold *fold, StateStream *stream, StateOp op, int64_t seq, size_t *out_back)
{
    if (op == STATE_SNAPSHOT_START) {
        if (stream->swap) {
            *out_back = stream->reset_seq != STATE_SEQ_NONE ? 1 : 0;
            return false; /* Postgres holds one staged set of a stream, and that one is in use */
        }
        stream->reset_seq = STATE_SEQ_NONE;
        drop_staged(fold, stream);
        stream->snapshot_seq = seq;
        if (stream->opened_seq == STATE_SEQ_NONE) {
            stream->opened_seq = seq;
        }
        return true;
    }
    settle_reset(fold, stream);
    if (op == STATE_RESET) {
        stream->reset_seq = seq;
    } else {
        end_snapshot(fold, stream);
    }
    return true;
}

/* --- entries --- */

static Str
decode(StateFold *fold, Str json)
{
    Str inner = str_slice(json, 1, json.len - 1);
    Buf text;
    Str out = inner;
    size_t at;
    Error err;

    if (!str_find(inner, '\\', &at)) {
        return inner;
    }
    buf_init(&text, inner.len);
    /* state_change_parse has seen that it can be decoded; what comes out is shorter. */
    bool ok =
        json_unescape(json, &text, &err) && arena_copy(&fold->names, buf_str(&text), &out, &err);
    DS_ASSERT(ok);
    buf_done(&text);
    return out;
}

/* Buckets are chosen by the low bits, so all of round and type must reach them. */
static size_t
hash_of(uint32_t round, Str type, Str key)
{
    uint64_t hash = str_hash(key) + str_hash(type) * UINT64_C(0x9e3779b97f4a7c15) +
                    (round + UINT64_C(1)) * UINT64_C(0xff51afd7ed558ccd);

    hash = (hash ^ (hash >> 32)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return (size_t)(hash ^ (hash >> 29));
}

static void
link_entry(StateFold *fold, size_t index)
{
    StateEntry *entry = &fold->entries[index];
    size_t bucket = hash_of(entry->round, entry->type, entry->key) & (fold->bucket_count - 1);

    entry->next = fold->buckets[bucket];
    fold->buckets[bucket] = (uint32_t)index;
}

static void
grow_entries(StateFold *fold)
{
    fold->entry_room = DS_MAX(fold->entry_room * 2, (size_t)ROOM_FIRST);
    fold->entries = mem_regrow(fold->entries, fold->entry_room, sizeof(*fold->entries));
    free(fold->buckets);
    fold->bucket_count = fold->entry_room * 2;
    fold->buckets = mem_array(fold->bucket_count, sizeof(*fold->buckets));
    for (size_t i = 1; i < fold->entry_count; i++) {
        link_entry(fold, i);
    }
}

static StateEntry *
find_entry(StateFold *fold, uint32_t round, Str type, Str key)
{
    uint32_t at = 0;

    if (fold->bucket_count > 0) {
        at = fold->buckets[hash_of(round, type, key) & (fold->bucket_count - 1)];
    }
    for (; at != 0; at = fold->entries[at].next) {
        StateEntry *entry = &fold->entries[at];

        if (entry->round == round && str_eq(entry->key, key) && str_eq(entry->type, type)) {
            return entry;
        }
    }
    return NULL;
}

static StateEntry *
new_entry(StateFold *fold, uint32_t round, Str type, Str key)
{
    if (fold->entry_count >= fold->entry_room) {
        grow_entries(fold);
    }
    StateEntry *entry = &fold->entries[fold->entry_count];
    *entry = (StateEntry){
        .type = type,
        .key = key,
        .base_seq = STATE_SEQ_NONE,
        .stream = (uint32_t)(fold->stream_count - 1),
        .round = round,
    };
    link_entry(fold, fold->entry_count++);
    return entry;
}

static uint32_t
new_piece(StateFold *fold, Str text)
{
    if (fold->piece_count >= fold->piece_room) {
        fold->piece_room = DS_MAX(fold->piece_room * 2, (size_t)ROOM_FIRST);
        fold->pieces = mem_regrow(fold->pieces, fold->piece_room, sizeof(*fold->pieces));
    }
    fold->pieces[fold->piece_count] = (StatePiece){.text = text};
    return (uint32_t)fold->piece_count++;
}

static void
entry_set(StateFold *fold, StateEntry *entry, StateOp op, Str value)
{
    entry->op = op;
    entry->first_piece = new_piece(fold, value);
    entry->last_piece = entry->first_piece;
}

/* False: the value that is known is neither a string nor an array, or the other of them. */
static bool
entry_append(StateFold *fold, StateEntry *entry, Str value)
{
    if (fold->pieces[entry->first_piece].text.ptr[0] != value.ptr[0]) {
        return false;
    }
    uint32_t piece = new_piece(fold, value);
    fold->pieces[entry->last_piece].next = piece;
    entry->last_piece = piece;
    return true;
}

static bool
add_change(StateFold *fold, StateStream *stream, const StateChange *change, Str message,
           int64_t seq)
{
    bool staged = stream->snapshot_seq != STATE_SEQ_NONE;
    bool empty = staged ? !stream->staged_in_table : stream->drop_visible;
    uint32_t round = staged ? stream->staged_round : stream->visible_round;
    bool appends = change->op == STATE_APPEND_STRING || change->op == STATE_APPEND_ARRAY;
    Str type = decode(fold, change->type);
    Str key = decode(fold, change->key);
    StateEntry *entry = fold->apart ? NULL : find_entry(fold, round, type, key);

    if (appends && entry != NULL && entry->op != STATE_DELETE) {
        if (!entry_append(fold, entry, change->value)) {
            return false;
        }
        entry->offset = fold->offset;
        entry->seq = seq;
        return true;
    }
    bool known = !fold->apart && (entry != NULL || empty); /* then nothing is there to append to */
    if (entry == NULL) {
        entry = new_entry(fold, round, type, key);
    }
    entry->message = message;
    entry->offset = fold->offset;
    entry->seq = seq;
    if (change->op == STATE_DELETE) {
        entry->op = STATE_DELETE;
    } else {
        entry_set(fold, entry, appends && known ? STATE_SET : change->op, change->value);
    }
    if (appends && !known && !fold->apart) {
        entry->base = change->op;
        entry->base_seq = seq;
        entry->base_staged = staged || stream->swap;
    }
    return true;
}

bool
state_fold_add(StateFold *fold, const StateChange *change, Str message, int64_t seq,
               size_t *out_back)
{
    StateStream *stream = current(fold);

    *out_back = 0;
    if (state_op_is_mark(change->op)) {
        return add_mark(fold, stream, change->op, seq, out_back);
    }
    settle_reset(fold, stream);
    return add_change(fold, stream, change, message, seq);
}

void
state_fold_end(StateFold *fold)
{
    settle_reset(fold, current(fold));
}

/* --- the outcome --- */

const StateEntry *
state_fold_next_base(const StateFold *fold, size_t *at)
{
    while (++*at < fold->entry_count) {
        if (fold->entries[*at].base_seq != STATE_SEQ_NONE) {
            return &fold->entries[*at];
        }
    }
    return NULL;
}

const StateEntry *
state_fold_next(const StateFold *fold, bool staged, size_t *at)
{
    while (++*at < fold->entry_count) {
        const StateEntry *entry = &fold->entries[*at];
        const StateStream *stream = &fold->streams[entry->stream];
        bool is_visible = entry->round == stream->visible_round;
        bool is_staged = entry->round == stream->staged_round || (is_visible && stream->swap);

        if (staged ? is_staged : is_visible && !stream->swap) {
            return entry;
        }
    }
    return NULL;
}

/* What is between the quotes or the brackets, without white space at the ends. */
static Str
inner_text(Str value)
{
    Str inner = str_slice(value, 1, value.len - 1);

    if (value.ptr[0] == '"') {
        return inner;
    }
    while (inner.len > 0 && memchr(" \t\r\n", inner.ptr[0], 4) != NULL) {
        inner = str_skip(inner, 1);
    }
    while (inner.len > 0 && memchr(" \t\r\n", inner.ptr[inner.len - 1], 4) != NULL) {
        inner.len--;
    }
    return inner;
}

bool
state_fold_is_of_one(const StateFold *fold, const StateEntry *entry)
{
    return entry->op != STATE_DELETE && fold->pieces[entry->first_piece].next == 0;
}

bool
state_fold_value(const StateFold *fold, const StateEntry *entry, Buf *out, Error *err)
{
    const StatePiece *piece = &fold->pieces[entry->first_piece];
    bool is_string = piece->text.ptr[0] == '"';
    bool first = true;

    DS_ASSERT(entry->op != STATE_DELETE);
    if (piece->next == 0) {
        return buf_append(out, piece->text, err);
    }
    DS_ASSERT(is_string || piece->text.ptr[0] == '[');
    if (!buf_append_char(out, is_string ? '"' : '[', err)) {
        return false;
    }
    for (;; piece = &fold->pieces[piece->next]) {
        Str inner = inner_text(piece->text);

        if (inner.len > 0) {
            if ((!first && !is_string && !buf_append_char(out, ',', err)) ||
                !buf_append(out, inner, err)) {
                return false;
            }
            first = false;
        }
        if (piece->next == 0) {
            break;
        }
    }
    return buf_append_char(out, is_string ? '"' : ']', err);
}
