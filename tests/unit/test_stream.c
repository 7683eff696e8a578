/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stream.h"

#include <criterion/criterion.h>

#include "common/clock.h"
#include "tests/support/fake_clock.h"

#define NO_LIMIT UINT64_MAX

static void
no_free(Stream *stream DS_UNUSED)
{
}

static void
open_stream(Stream *stream, Str content_type)
{
    StreamConfig config = {
        .content_type = content_type,
        .ttl_s = STREAM_NEVER,
        .expires_at_ms = STREAM_NEVER,
    };

    clock_set_source(&fake_clock);
    stream_init(stream, STR("s"), &config, no_free);
}

static AppendRequest
text_request(const char *text)
{
    static uint32_t end;

    end = (uint32_t)strlen(text);
    return (AppendRequest){
        .content_type = STR("text/plain"),
        .payload = {.bytes = str_c(text), .ends = &end, .count = end > 0},
    };
}

static AppendVerdict
append(Stream *stream, AppendRequest request, ProducerState *out)
{
    AppendVerdict verdict = stream_judge_append(stream, &request, NO_LIMIT, boot_ms, out);

    if (verdict == APPEND_OK) {
        stream_apply_append(stream, &request, 16, boot_ms, wall_ms, NULL);
        stream_publish(stream);
    }
    return verdict;
}

static AppendRequest
produced(AppendRequest request, uint64_t epoch, uint64_t seq)
{
    request.has_producer = true;
    request.producer = (ProducerTag){.id = STR("p"), .epoch = epoch, .seq = seq};
    return request;
}

static AppendRequest
sequenced(AppendRequest request, const char *seq)
{
    request.has_seq = true;
    request.seq = str_c(seq);
    return request;
}

static AppendRequest
closing(AppendRequest request)
{
    request.close = true;
    return request;
}

Test(stream, kind_follows_the_media_type)
{
    cr_expect_eq(stream_kind(STR("application/json")), STREAM_JSON);
    cr_expect_eq(stream_kind(STR("Application/JSON; charset=utf-8")), STREAM_JSON);
    cr_expect_eq(stream_kind(STR("application/ndjson")), STREAM_BYTES);
    cr_expect_eq(stream_kind(STR("application/json-patch+json")), STREAM_BYTES);
    cr_expect_eq(stream_kind(STR("TEXT/html")), STREAM_TEXT);
    cr_expect_eq(stream_kind(STR("")), STREAM_BYTES);
}

Test(stream, media_types_are_compared_without_case_and_parameters)
{
    cr_expect(stream_same_media_type(STR("text/plain"), STR("Text/Plain ; charset=utf-8")));
    cr_expect_not(stream_same_media_type(STR("text/plain"), STR("text/plainer")));
    cr_expect_not(stream_same_media_type(STR("text/plain"), STR("")));
}

Test(stream, an_append_moves_the_tail_by_bytes_or_by_messages)
{
    static const uint32_t ends[] = {2, 4};
    AppendRequest json = {
        .content_type = STR("application/json"),
        .payload = {.bytes = STR("1,2,"), .ends = ends, .count = 2},
    };
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect_eq(append(&stream, text_request("hello"), &state), APPEND_OK);
    cr_expect_eq(stream.view.tail, 5);
    cr_expect_eq(stream.view.messages, 1);
    stream_done(&stream);

    open_stream(&stream, STR("application/json"));
    cr_expect_eq(append(&stream, json, &state), APPEND_OK);
    cr_expect_eq(stream.view.tail, 2);
    cr_expect_eq(stream.view.bytes, 4);
    stream_done(&stream);
}

Test(stream, another_content_type_is_refused_but_not_for_closing)
{
    AppendRequest request = text_request("x");
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    request.content_type = STR("text/html");
    cr_expect_eq(append(&stream, request, &state), APPEND_TYPE_MISMATCH);
    cr_expect_eq(stream.view.tail, 0);
    cr_expect_eq(
        append(&stream, closing((AppendRequest){.content_type = STR("text/html")}), &state),
        APPEND_OK);
    stream_done(&stream);
}

Test(stream, sequences_must_rise_bytewise)
{
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect_eq(append(&stream, sequenced(text_request("a"), "10"), &state), APPEND_OK);
    cr_expect_eq(append(&stream, sequenced(text_request("b"), "2"), &state), APPEND_OK);
    cr_expect_eq(append(&stream, sequenced(text_request("c"), "10"), &state), APPEND_SEQ_CONFLICT);
    cr_expect_eq(append(&stream, sequenced(text_request("c"), "2"), &state), APPEND_SEQ_CONFLICT);
    cr_expect_eq(append(&stream, sequenced(text_request("c"), ""), &state), APPEND_SEQ_CONFLICT);
    cr_expect_eq(append(&stream, text_request("without one is fine"), &state), APPEND_OK);
    cr_expect_eq(append(&stream, sequenced(text_request("c"), "20"), &state), APPEND_OK);
    stream_done(&stream);
}

Test(stream, a_duplicate_is_found_before_its_old_sequence)
{
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect_eq(append(&stream, sequenced(produced(text_request("a"), 0, 0), "1"), &state),
                 APPEND_OK);
    cr_expect_eq(append(&stream, sequenced(produced(text_request("a"), 0, 0), "1"), &state),
                 APPEND_DUPLICATE);
    cr_expect_eq(stream.view.tail, 1);
    stream_done(&stream);
}

Test(stream, a_refused_append_leaves_the_producer_where_it_was)
{
    AppendRequest wrong_type = produced(text_request("a"), 0, 0);
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect_eq(append(&stream, sequenced(text_request("x"), "5"), &state), APPEND_OK);
    wrong_type.content_type = STR("image/png");
    cr_expect_eq(append(&stream, wrong_type, &state), APPEND_TYPE_MISMATCH);
    cr_expect_eq(append(&stream, sequenced(produced(text_request("a"), 0, 0), "4"), &state),
                 APPEND_SEQ_CONFLICT);
    cr_expect_eq(append(&stream, produced(text_request("a"), 0, 0), &state), APPEND_OK);
    stream_done(&stream);
}

Test(stream, a_closed_one_takes_nothing_but_may_be_closed_again)
{
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect_eq(append(&stream, closing(text_request("last")), &state), APPEND_OK);
    cr_expect_eq(stream.view.tail, 4, "append and close are one step");
    cr_expect_eq(append(&stream, text_request("x"), &state), APPEND_CLOSED);
    cr_expect_eq(append(&stream, closing(text_request("x")), &state), APPEND_CLOSED);
    cr_expect_eq(append(&stream, closing((AppendRequest){0}), &state), APPEND_DUPLICATE);
    cr_expect_eq(stream.view.tail, 4);
    stream_done(&stream);
}

Test(stream, only_the_request_that_closed_it_is_a_duplicate)
{
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect_eq(append(&stream, produced(text_request("a"), 2, 0), &state), APPEND_OK);
    cr_expect_eq(append(&stream, closing(produced(text_request("b"), 2, 1)), &state), APPEND_OK);
    cr_expect_eq(append(&stream, closing(produced(text_request("other body"), 2, 1)), &state),
                 APPEND_DUPLICATE);
    cr_expect_eq(state.epoch, 2);
    cr_expect_eq(state.seq, 1);
    cr_expect_eq(append(&stream, closing(produced(text_request("b"), 2, 2)), &state),
                 APPEND_CLOSED);
    cr_expect_eq(append(&stream, produced((AppendRequest){.close = true}, 1, 0), &state),
                 APPEND_CLOSED);
    stream_done(&stream);
}

Test(stream, a_full_one_refuses_what_does_not_fit)
{
    AppendRequest request = text_request("12345");
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect_eq(stream_judge_append(&stream, &request, 4, boot_ms, &state), APPEND_STREAM_FULL);
    cr_expect_eq(stream_judge_append(&stream, &request, 5, boot_ms, &state), APPEND_OK);
    cr_expect_eq(append(&stream, request, &state), APPEND_OK);
    cr_expect_eq(stream_judge_append(&stream, &request, 9, boot_ms, &state), APPEND_STREAM_FULL);
    cr_expect_eq(stream_judge_append(&stream, &request, 10, boot_ms, &state), APPEND_OK);
    request = closing((AppendRequest){0});
    cr_expect_eq(stream_judge_append(&stream, &request, 5, boot_ms, &state), APPEND_OK,
                 "a full stream can still be closed");
    stream_done(&stream);
}

Test(stream, a_ttl_is_renewed_by_touching_and_an_expiry_is_not)
{
    StreamConfig ttl = {.content_type = STR("a/b"), .ttl_s = 10, .expires_at_ms = STREAM_NEVER};
    StreamConfig until = {
        .content_type = STR("a/b"),
        .ttl_s = STREAM_NEVER,
        .expires_at_ms = wall_ms + 10000,
    };
    Stream a;
    Stream b;

    clock_set_source(&fake_clock);
    stream_init(&a, STR("a"), &ttl, no_free);
    stream_init(&b, STR("b"), &until, no_free);
    boot_ms += 9999;
    wall_ms += 9999;
    cr_expect_not(stream_is_expired(&a, boot_ms, wall_ms));
    cr_expect_not(stream_is_expired(&b, boot_ms, wall_ms));
    cr_expect_eq(stream_expiry_ms(&a, boot_ms, wall_ms), wall_ms + 1);
    stream_touch(&a);
    stream_touch(&b);
    cr_expect_eq(stream_expiry_ms(&a, boot_ms, wall_ms), wall_ms + 10000);
    cr_expect_eq(stream_expiry_ms(&b, boot_ms, wall_ms), until.expires_at_ms);
    boot_ms += 1;
    wall_ms += 1;
    cr_expect_not(stream_is_expired(&a, boot_ms, wall_ms));
    cr_expect(stream_is_expired(&b, boot_ms, wall_ms));
    boot_ms += 9999;
    cr_expect(stream_is_expired(&a, boot_ms, wall_ms));
    stream_done(&a);
    stream_done(&b);
}

Test(stream, the_longest_ttl_does_not_overflow)
{
    StreamConfig ttl = {
        .content_type = STR("a/b"),
        .ttl_s = STREAM_TTL_S_MAX,
        .expires_at_ms = STREAM_NEVER,
    };
    Stream stream;

    clock_set_source(&fake_clock);
    stream_init(&stream, STR("a"), &ttl, no_free);
    cr_expect_not(stream_is_expired(&stream, boot_ms, wall_ms));
    cr_expect_gt(stream_expiry_ms(&stream, boot_ms, wall_ms), wall_ms);
    stream_done(&stream);
}

Test(stream, matches_the_same_configuration_only)
{
    StreamConfig same = {
        .content_type = STR("TEXT/plain"),
        .ttl_s = STREAM_NEVER,
        .expires_at_ms = STREAM_NEVER,
    };
    StreamConfig other = same;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect(stream_matches(&stream, &same, false));
    cr_expect_not(stream_matches(&stream, &same, true));
    other.ttl_s = 1;
    cr_expect_not(stream_matches(&stream, &other, false));
    other = same;
    other.content_type = STR("text/html");
    cr_expect_not(stream_matches(&stream, &other, false));
    stream_done(&stream);
}

/* ---- judged and published ---- */

static StreamUndo
apply(Stream *stream, AppendRequest request)
{
    StreamUndo undo;
    ProducerState state;

    cr_assert_eq(stream_judge_append(stream, &request, NO_LIMIT, boot_ms, &state), APPEND_OK);
    stream_apply_append(stream, &request, 16, boot_ms, wall_ms, &undo);
    return undo;
}

Test(stream, what_is_applied_is_judged_by_and_not_seen_before_it_is_published)
{
    AppendRequest last = closing(text_request("abc"));
    ProducerState state;
    StreamUndo undo;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    wall_ms += 5;
    undo = apply(&stream, last);
    cr_expect_eq(stream_judge_append(&stream, &last, NO_LIMIT, boot_ms, &state), APPEND_CLOSED);
    cr_expect_eq(stream.view.tail, 0);
    cr_expect_eq(stream.view.bytes, 0);
    cr_expect_lt(stream.view.updated_ms, wall_ms);
    cr_expect_not(atomic_load(&stream.closed));
    stream_undo_done(&undo);
    stream_publish(&stream);
    cr_expect_eq(stream.view.tail, 3);
    cr_expect_eq(stream.view.bytes, 3);
    cr_expect_eq(stream.view.messages, 1);
    cr_expect_eq(stream.view.updated_ms, wall_ms);
    cr_expect(atomic_load(&stream.closed));
    stream_done(&stream);
}

Test(stream, an_undone_close_leaves_it_open_and_its_numbers_as_published)
{
    ProducerState state;
    StreamUndo undo;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    cr_expect_eq(append(&stream, text_request("ab"), &state), APPEND_OK);
    undo = apply(&stream, closing(text_request("cde")));
    stream_undo(&stream, &undo);
    cr_expect_eq(memcmp(&stream.state.at, &stream.view, sizeof(stream.view)), 0);
    cr_expect_eq(stream.state.at.tail, 2);
    cr_expect_not(stream.state.closed);
    cr_expect_eq(append(&stream, text_request("x"), &state), APPEND_OK);
    stream_done(&stream);
}

Test(stream, an_undone_stream_seq_counts_for_nothing)
{
    AppendRequest request;
    ProducerState state;
    StreamUndo undo[3];
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    undo[0] = apply(&stream, sequenced(text_request("a"), "b"));
    stream_undo(&stream, &undo[0]);
    cr_expect_null(stream.state.seq.ptr);
    cr_expect_eq(append(&stream, sequenced(text_request("a"), "a"), &state), APPEND_OK);
    undo[0] = apply(&stream, sequenced(text_request("a"), "long"));
    undo[1] = apply(&stream, text_request("none"));
    undo[2] = apply(&stream, sequenced(text_request("a"), "much longer"));
    for (size_t i = 3; i-- > 0;) {
        stream_undo(&stream, &undo[i]);
    }
    request = sequenced(text_request("a"), "a");
    cr_expect_eq(stream_judge_append(&stream, &request, NO_LIMIT, boot_ms, &state),
                 APPEND_SEQ_CONFLICT);
    request = sequenced(text_request("a"), "b");
    cr_expect_eq(stream_judge_append(&stream, &request, NO_LIMIT, boot_ms, &state), APPEND_OK);
    stream_done(&stream);
}

Test(stream, an_undone_producer_may_send_the_same_again)
{
    AppendRequest again;
    ProducerState state;
    StreamUndo undo[2];
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    undo[0] = apply(&stream, produced(text_request("a"), 0, 0));
    stream_undo(&stream, &undo[0]);
    cr_expect_eq(producers_count(stream.state.producers), 0);
    cr_expect_eq(append(&stream, produced(text_request("a"), 3, 0), &state), APPEND_OK);
    undo[0] = apply(&stream, produced(text_request("b"), 3, 1));
    undo[1] = apply(&stream, produced(text_request("c"), 4, 0));
    stream_undo(&stream, &undo[1]);
    stream_undo(&stream, &undo[0]);
    again = produced(text_request("a"), 3, 0);
    cr_expect_eq(stream_judge_append(&stream, &again, NO_LIMIT, boot_ms, &state), APPEND_DUPLICATE);
    cr_expect_eq(append(&stream, produced(text_request("b"), 3, 1), &state), APPEND_OK);
    stream_done(&stream);
}

Test(stream, an_undone_closer_is_forgotten)
{
    AppendRequest last = closing(produced(text_request("a"), 0, 0));
    ProducerState state;
    StreamUndo undo;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    undo = apply(&stream, last);
    stream_undo(&stream, &undo);
    cr_expect_null(stream.state.closer_id.ptr);
    cr_expect_eq(append(&stream, closing(text_request("z")), &state), APPEND_OK);
    cr_expect_eq(stream_judge_append(&stream, &last, NO_LIMIT, boot_ms, &state), APPEND_CLOSED,
                 "somebody else closed it");
    stream_done(&stream);
}

Test(stream, an_undone_delete_lets_it_live)
{
    AppendRequest request = text_request("a");
    ProducerState state;
    Stream stream;

    open_stream(&stream, STR("text/plain"));
    stream.state.deleted = true;
    cr_expect_eq(stream_judge_append(&stream, &request, NO_LIMIT, boot_ms, &state), APPEND_DELETED);
    stream_undo(&stream, NULL);
    stream.state.soft_deleted = true;
    cr_expect_eq(stream_judge_append(&stream, &request, NO_LIMIT, boot_ms, &state), APPEND_GONE);
    stream_undo(&stream, NULL);
    cr_expect_eq(stream_judge_append(&stream, &request, NO_LIMIT, boot_ms, &state), APPEND_OK);
    stream_done(&stream);
}
