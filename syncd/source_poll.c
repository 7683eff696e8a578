/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading by GET, then long-poll (protocol 5.6, 5.7): byte-exact.  The position behind a reply is
 * in its head, so pieces of a long reply are handed over while it comes.
 */
#include "syncd/source_internal.h"

#include "common/ds_proto.h"
#include "common/parse.h"

/* Pieces of a long reply to "-1" are positions within it, of this life of the stream only. */
static void
poll_name_start(Source *source, const HttpHead *head)
{
    Str value;
    uint64_t length;

    if (http_head_get(head, "Content-Length", &value) &&
        !http_head_get(head, "Content-Encoding", &(Str){0}) &&
        parse_u64(value, INT64_MAX, &length) && length > UNIT_CHUNK_BYTES_MAX) {
        position_name_start(&source->position, str_c(source->next_offset), (int64_t)length);
    }
}

static void
poll_on_head(void *arg, const HttpHead *head)
{
    Source *source = arg;
    Error err;

    if (!source_head_judge(source, head)) {
        return;
    }
    source_read_head(source, head);
    if (source->next_offset[0] == '\0') {
        (void)error_set(&err, ERR_PROTOCOL, "the answer has no %s that may be resumed from",
                        DS_H_STREAM_NEXT_OFFSET);
        source_fail(source, SOURCE_END_PROTOCOL, &err);
    } else if (offset_went_back(str_c(source->position.offset), str_c(source->next_offset))) {
        (void)error_set(&err, ERR_GONE, "the offset went back from %s to %s",
                        source->position.offset, source->next_offset);
        source_fail(source, SOURCE_END_WENT_BACK, &err);
    } else {
        poll_name_start(source, head);
    }
}

/* A piece of a reply ends between two characters: what has begun goes into the next one. */
static void
source_poll_deliver_piece(Source *source, Unit *unit)
{
    Position position = source->position;
    char tail[3];
    size_t tail_len = unit_take_tail(unit, tail);
    int64_t skip = unit->start.skip + (int64_t)unit->data.len;
    int64_t nothing = 0;
    Error err;

    source_deliver(source, str_c(position.offset), skip, false);
    if (tail_len > 0 &&
        !unit_add_bytes(source_unit(source), str_n(tail, tail_len), &nothing, &err)) {
        source_fail(source, SOURCE_END_PROTOCOL, &err);
    }
}

/* Of a reply without a length it is not known before its end where the stream begins: till then a
 * piece of it would be a place in any life of the stream. */
static bool
poll_goes_in_pieces(const Source *source)
{
    return strcmp(source->position.offset, DS_OFFSET_START) != 0 ||
           !offset_names_life(str_c(source->next_offset));
}

static void
poll_on_body(void *arg, Str bytes)
{
    Source *source = arg;
    Error err;

    if (source->failure != NULL) {
        return; /* the body of an error */
    }
    Unit *unit = source_unit(source);
    if (!unit_add_bytes(unit, bytes, &source->drop, &err)) {
        (void)error_wrap(&err, "a reply without a length is larger than SYNCD_EVENT_BYTES_MAX");
        source_fail(source, SOURCE_END_FATAL, &err);
        return;
    }
    if (!source_check_next(source, str_c(source->next_offset), &err)) {
        source_fail(source, SOURCE_END_PROTOCOL, &err);
        return;
    }
    if (unit->data.len >= UNIT_CHUNK_BYTES_MAX && poll_goes_in_pieces(source)) {
        source_poll_deliver_piece(source, unit);
    }
    source_tell_read(source);
}

void
source_poll_open(Source *source)
{
    static const HttpCallbacks callbacks = {
        .on_head = poll_on_head, .on_body = poll_on_body, .on_done = source_on_done};
    Buf query;
    Error err;

    buf_init(&query, 4096);
    bool built = source_query(source, source->live ? "long-poll" : "", &query, &err);
    DS_ASSERT(built); /* offset and cursor are bounded */
    source_start(source, "GET", buf_str(&query), &callbacks, 0);
    buf_done(&query);
}

void
source_poll_done(Source *source, SourceEnd *end)
{
    bool at_end = source->head_up_to_date || source->closed;

    if (source->drop > 0 && at_end) {
        end->kind = SOURCE_END_WENT_BACK;
        (void)error_set(
            &end->err, ERR_GONE,
            "the stream ends %lld bytes before what is loaded already: it lost its end or "
            "is another one",
            (long long)source->drop);
        return;
    }
    if (source->drop > 0) {
        unit_free(source->unit);
        source->unit = NULL;
        position_set(&source->position, str_c(source->next_offset), source->drop);
        return;
    }
    source->up_to_date = at_end;
    end->waits_next = at_end && !source->live;
    source->live = at_end;
    source_deliver(source, str_c(source->next_offset), 0, source->closed);
    if (source->closed) {
        end->kind = SOURCE_END_CLOSED;
    }
}
