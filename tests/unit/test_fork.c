/* SPDX-License-Identifier: Apache-2.0 */
#include "server/fork.h"

#include <criterion/criterion.h>

#include "common/clock.h"
#include "common/mem.h"
#include "tests/support/fake_clock.h"

#define ERA 9

static unsigned alive;

static void
free_stream(Stream *stream)
{
    stream_done(stream);
    free(stream);
    alive--;
}

static Stream *
new_stream(Str content_type, int64_t ttl_s)
{
    StreamConfig config = {
        .content_type = content_type,
        .ttl_s = ttl_s,
        .expires_at_ms = STREAM_NEVER,
    };
    Stream *stream = mem_zalloc(sizeof(*stream));

    clock_set_source(&fake_clock);
    stream_init(stream, STR("s"), &config, free_stream);
    alive++;
    return stream;
}

/* A root that holds what lies between two positions. */
static Stream *
new_root(uint64_t start, uint64_t tail)
{
    Stream *root = new_stream(STR("text/plain"), STREAM_NEVER);

    root->era = ERA;
    root->state.at.start = root->state.at.base = start;
    root->state.at.tail = tail;
    stream_publish(root);
    return root;
}

static ForkRequest
at(Stream *parent, uint64_t position)
{
    return (ForkRequest){
        .parent = parent,
        .has_offset = true,
        .offset = stream_offset(parent, position),
    };
}

static Stream *
fork_at(Stream *parent, uint64_t position)
{
    Stream *fork = new_stream(STR("text/plain"), STREAM_NEVER);
    ForkRequest request = at(parent, position);

    cr_assert_eq(fork_link(fork, &request), FORK_OK);
    return fork;
}

static ForkVerdict
refused(ForkRequest request)
{
    Stream *fork = new_stream(STR("text/plain"), STREAM_NEVER);
    unsigned forks = atomic_load(&request.parent->forks);
    ForkVerdict verdict = fork_link(fork, &request);

    cr_assert_neq(verdict, FORK_OK);
    cr_expect_eq(atomic_load(&request.parent->forks), forks, "a refused one leaves no trace");
    cr_expect_null(fork->parent);
    stream_drop(fork);
    return verdict;
}

static void
unlink_and_drop(Stream *fork)
{
    (void)fork_unlink(fork);
    stream_drop(fork);
}

Test(fork, begins_where_it_is_asked_to)
{
    Stream *root = new_root(10, 50);
    Stream *fork = fork_at(root, 30);
    ForkRequest tail = {.parent = root};
    ForkRequest start = {.parent = root, .has_offset = true, .sub = 2};
    Stream *other;

    cr_expect_eq(fork->fork_at, 30);
    cr_expect_eq(fork->view.start, 10);
    cr_expect_eq(fork->view.base, 30);
    cr_expect_eq(fork->view.tail, 30);
    cr_expect_eq(fork->state.at.tail, 30);
    cr_expect_eq(fork->view.bytes, 0, "what it inherits is its parent's to count");
    cr_expect_eq(atomic_load(&root->forks), 1);
    unlink_and_drop(fork);
    cr_expect_eq(atomic_load(&root->forks), 0);

    other = new_stream(STR("text/plain"), STREAM_NEVER);
    cr_expect_eq(fork_link(other, &tail), FORK_OK);
    cr_expect_eq(other->fork_at, 50);
    unlink_and_drop(other);
    other = new_stream(STR("text/plain"), STREAM_NEVER);
    cr_expect_eq(fork_link(other, &start), FORK_OK);
    cr_expect_eq(other->fork_at, 12, "all zeros is the start, wherever it is");
    unlink_and_drop(other);
    stream_drop(root);
    cr_expect_eq(alive, 0);
}

Test(fork, of_messages_has_them_to_count)
{
    Stream *root = new_stream(STR("application/json"), STREAM_NEVER);
    Stream *fork = new_stream(STR("Application/JSON; charset=utf-8"), STREAM_NEVER);
    ForkRequest request = {.parent = root};

    root->state.at.start = root->state.at.base = 3;
    root->state.at.tail = 8;
    stream_publish(root);
    cr_expect_eq(fork_link(fork, &request), FORK_OK);
    cr_expect_eq(fork->view.messages, 5);
    unlink_and_drop(fork);
    stream_drop(root);
}

Test(fork, has_its_parents_offsets_up_to_where_it_begins)
{
    Stream *root = new_root(0, 50);
    Stream *middle = fork_at(root, 30);
    Stream *leaf;

    middle->era = ERA + 1;
    middle->state.at.tail = 40;
    stream_publish(middle);
    leaf = new_stream(STR("text/plain"), STREAM_NEVER);
    cr_expect_eq(
        fork_link(leaf,
                  &(ForkRequest){.parent = middle, .has_offset = true, .offset = {ERA + 1, 35}}),
        FORK_OK);
    leaf->era = ERA + 2;
    for (uint64_t position = 0; position < 60; position++) {
        uint64_t era = position <= 30 ? ERA : position <= 35 ? ERA + 1 : ERA + 2;

        cr_expect_eq(stream_offset(leaf, position).era, era);
        cr_expect_eq(stream_has_offset(leaf, (Offset){ERA, position}), position <= 30);
        cr_expect_eq(stream_has_offset(leaf, (Offset){ERA + 1, position}), position <= 35);
        cr_expect(stream_has_offset(leaf, (Offset){ERA + 2, position}));
        cr_expect_not(stream_has_offset(leaf, (Offset){ERA + 3, position}));
    }
    cr_expect_not(stream_has_offset(root, (Offset){ERA + 1, 3}));
    unlink_and_drop(leaf);
    unlink_and_drop(middle);
    stream_drop(root);
}

Test(fork, is_refused_outside_of_what_the_parent_holds)
{
    Stream *root = new_root(10, 50);
    ForkRequest request = at(root, 50);

    cr_expect_eq(refused(at(root, 9)), FORK_BAD_OFFSET);
    cr_expect_eq(refused(at(root, 51)), FORK_BAD_OFFSET);
    request.sub = 1;
    cr_expect_eq(refused(request), FORK_BAD_OFFSET);
    request.sub = UINT64_MAX;
    cr_expect_eq(refused(request), FORK_BAD_OFFSET);
    request = at(root, 20);
    request.offset.era++;
    cr_expect_eq(refused(request), FORK_BAD_OFFSET);
    stream_drop(root);
}

Test(fork, is_made_of_what_is_committed)
{
    Stream *root = new_root(0, 50);

    root->state.at.tail = 60; /* an append under way, and a trim */
    root->state.at.start = 20;
    cr_expect_eq(refused(at(root, 55)), FORK_BAD_OFFSET);
    cr_expect_eq(refused(at(root, 10)), FORK_BAD_OFFSET);
    stream_drop(root);
}

Test(fork, of_another_type_or_of_what_is_gone_is_refused)
{
    Stream *root = new_root(0, 5);
    Stream *json = new_stream(STR("application/json"), STREAM_NEVER);
    ForkRequest request = {.parent = root};
    Stream *fork;

    cr_expect_eq(fork_link(json, &request), FORK_TYPE_MISMATCH);
    stream_drop(json);

    fork = fork_at(root, 5);
    cr_expect_eq(fork_judge_delete(root), DELETE_SOFT);
    cr_expect_eq(refused(request), FORK_GONE, "judged is enough");
    unlink_and_drop(fork);
    stream_undo(root, NULL);
    cr_expect_eq(fork_judge_delete(root), DELETE_WHOLE);
    cr_expect_eq(refused(request), FORK_NOT_FOUND);
    stream_drop(root);
}

Test(fork, of_an_expired_stream_is_refused)
{
    Stream *root = new_stream(STR("text/plain"), 10);
    ForkRequest request = {.parent = root};
    Stream *fork = new_stream(STR("text/plain"), STREAM_NEVER);

    cr_expect_eq(fork_link(fork, &request), FORK_OK);
    boot_ms += 10000;
    cr_expect_eq(fork_presence(root), FORK_KEPT);
    cr_expect_eq(refused(request), FORK_GONE);
    cr_expect_not(fork_claim_expired(root), "its fork lives");
    unlink_and_drop(fork);
    cr_expect_eq(fork_presence(root), FORK_ABSENT);
    cr_expect_eq(refused(request), FORK_NOT_FOUND);
    cr_expect(fork_claim_expired(root));
    cr_expect_not(fork_claim_expired(root), "only once");
    stream_drop(root);
}

Test(fork, of_forks_ends_at_a_depth)
{
    Stream *chain[FORK_DEPTH_MAX + 1];
    ForkRequest request = {0};

    chain[0] = new_root(0, 5);
    for (size_t i = 1; i <= FORK_DEPTH_MAX; i++) {
        chain[i] = fork_at(chain[i - 1], 5);
    }
    request.parent = chain[FORK_DEPTH_MAX];
    cr_expect_eq(refused(request), FORK_TOO_DEEP);
    for (size_t i = FORK_DEPTH_MAX; i > 0; i--) {
        unlink_and_drop(chain[i]);
    }
    stream_drop(chain[0]);
    cr_expect_eq(alive, 0);
}

Test(fork, matches_the_request_that_made_it)
{
    Stream *root = new_root(0, 50);
    Stream *other = new_root(0, 50);
    Stream *fork = fork_at(root, 30);
    ForkRequest request = {0};

    cr_expect(fork_matches(root, &request));
    cr_expect_not(fork_matches(fork, &request), "a PUT that does not fork");
    request.parent = root;
    cr_expect_not(fork_matches(root, &request));
    cr_expect(fork_matches(fork, &request), "an offset that is left out");
    request.sub = 3;
    cr_expect_not(fork_matches(fork, &request));
    request = at(root, 30);
    cr_expect(fork_matches(fork, &request));
    request.sub = 1;
    cr_expect_not(fork_matches(fork, &request));
    request.offset.position = 29;
    cr_expect(fork_matches(fork, &request));
    request.offset.era++;
    cr_expect_not(fork_matches(fork, &request));
    request = (ForkRequest){.parent = root, .has_offset = true, .sub = 30};
    cr_expect(fork_matches(fork, &request), "from the start");
    request = at(other, 30);
    cr_expect_not(fork_matches(fork, &request));
    unlink_and_drop(fork);
    stream_drop(root);
    stream_drop(other);
}

Test(fork, keeps_its_parent_until_it_goes)
{
    Stream *root = new_root(0, 50);
    Stream *fork = fork_at(root, 30);

    cr_expect_eq(fork_presence(root), FORK_ALIVE);
    cr_expect_eq(fork_judge_delete(root), DELETE_SOFT);
    stream_publish(root);
    cr_expect_eq(fork_presence(root), FORK_KEPT);
    cr_expect_eq(fork_judge_delete(root), DELETE_GONE);
    cr_expect_eq(fork_judge_release(root), RELEASE_NOTHING, "the fork reads from 0 on");
    cr_expect_eq(fork_unlink(fork), root);
    cr_expect_eq(fork_judge_release(root), RELEASE_WHOLE);
    stream_publish(root);
    cr_expect_eq(fork_presence(root), FORK_ABSENT);
    cr_expect_eq(fork_judge_release(root), RELEASE_NOTHING, "it is deleted already");
    cr_expect_eq(fork_judge_delete(root), DELETE_NOT_FOUND);
    stream_drop(fork);
    stream_drop(root);
}

static void
trim(Stream *stream, uint64_t position)
{
    stream->state.at.start = position;
    stream->state.at.base = fork_base(stream);
    stream_publish(stream);
}

Test(fork, holds_back_what_a_trim_frees)
{
    Stream *root = new_root(0, 50);
    Stream *fork = fork_at(root, 30);
    Stream *late;

    trim(root, 20);
    cr_expect_eq(root->view.start, 20);
    cr_expect_eq(root->view.base, 0, "the fork reads from 0 on");
    late = fork_at(root, 25);
    cr_expect_eq(late->view.start, 20);

    trim(fork, 10);
    cr_expect(fork_settle(fork));
    cr_expect_not(fork_settle(fork), "it was told");
    cr_expect_eq(fork_judge_release(root), RELEASE_BASE);
    cr_expect_eq(fork_base(root), 10);
    trim(root, 40);
    trim(fork, 30);
    cr_expect(fork_settle(fork));
    cr_expect_eq(fork_base(root), 20, "the late one reads from there");
    unlink_and_drop(late);
    cr_expect_eq(fork_base(root), 40);
    trim(fork, 45);
    cr_expect_not(fork_settle(fork), "it needed nothing of its parent before");
    unlink_and_drop(fork);
    stream_drop(root);
}

Test(fork, of_a_fork_is_fed_through_it)
{
    Stream *root = new_root(0, 50);
    Stream *middle = fork_at(root, 30);
    Stream *leaf;

    middle->state.at.tail = 40;
    stream_publish(middle);
    leaf = fork_at(middle, 35);

    trim(middle, 38);
    cr_expect_not(fork_settle(middle), "the leaf still reads from 0 on");
    cr_expect_eq(middle->view.base, 30);
    trim(leaf, 12);
    cr_expect(fork_settle(leaf));
    cr_expect_eq(fork_judge_release(middle), RELEASE_NOTHING, "of its own bytes");
    cr_expect(fork_settle(middle));
    trim(root, 50);
    cr_expect_eq(root->view.base, 12);

    cr_expect_eq(fork_judge_delete(middle), DELETE_SOFT);
    stream_publish(middle);
    cr_expect_eq(fork_base(middle), 30);
    trim(leaf, 33);
    cr_expect(fork_settle(leaf));
    cr_expect_eq(fork_base(middle), 33);
    cr_expect(fork_settle(middle));
    cr_expect_eq(fork_base(root), 50);
    unlink_and_drop(leaf);
    unlink_and_drop(middle);
    stream_drop(root);
    cr_expect_eq(alive, 0);
}

Test(fork, that_was_loaded_counts_again)
{
    Stream *root = new_root(0, 50);
    Stream *fork = new_stream(STR("text/plain"), STREAM_NEVER);

    stream_take(root);
    fork->parent = root;
    fork->fork_at = 30;
    fork->state.at.start = 10;
    stream_publish(fork);
    fork_link_loaded(fork);
    cr_expect_eq(fork_judge_delete(root), DELETE_SOFT);
    stream_publish(root);
    cr_expect_eq(fork_base(root), 10);
    unlink_and_drop(fork);
    stream_drop(root);
}
