/* SPDX-License-Identifier: Apache-2.0 */
#include "server/fork.h"

#include "common/clock.h"

static bool
is_expired(const Stream *stream)
{
    return stream_can_expire(stream) && stream_is_expired(stream, clock_boot_ms(), clock_wall_ms());
}

ForkPresence
fork_presence(const Stream *stream)
{
    if (atomic_load(&stream->deleted)) {
        return FORK_ABSENT;
    }
    if (atomic_load(&stream->soft_deleted)) {
        return FORK_KEPT;
    }
    if (is_expired(stream)) {
        return atomic_load(&stream->forks) > 0 ? FORK_KEPT : FORK_ABSENT;
    }
    return FORK_ALIVE;
}

/* ---- making one ---- */

static unsigned
depth_of(const Stream *stream)
{
    unsigned depth = 0;

    for (const Stream *parent = stream->parent; parent != NULL; parent = parent->parent) {
        depth++;
    }
    return depth;
}

static bool
is_start(Offset offset)
{
    return offset.era == 0 && offset.position == 0;
}

/* Parent's lock held.  What is judged and not committed counts against the fork: of a start that
 * moves the greater, of a tail the smaller. */
static bool
resolve(const Stream *parent, const ForkRequest *request, uint64_t start, uint64_t *out)
{
    uint64_t tail = parent->view.tail;
    uint64_t anchor = tail;

    if (request->has_offset && is_start(request->offset)) {
        anchor = start;
    } else if (request->has_offset) {
        anchor = request->offset.position;
        if (!stream_has_offset(parent, request->offset)) {
            return false;
        }
    }
    if (anchor < start || anchor > tail || request->sub > tail - anchor) {
        return false;
    }
    *out = anchor + request->sub;
    return true;
}

/* Parent's lock held. */
static void
link_to(Stream *fork, Stream *parent)
{
    atomic_store(&fork->needs, fork->view.start);
    LIST_INSERT_HEAD(&parent->fork_list, fork, by_parent);
    atomic_fetch_add(&parent->forks, 1);
}

static void
begin_at(Stream *fork, Stream *parent, uint64_t start, uint64_t position)
{
    StreamView *at = &fork->state.at;

    stream_take(parent);
    fork->parent = parent;
    fork->fork_at = position;
    at->start = start;
    at->tail = at->base = position;
    at->messages = fork->kind == STREAM_JSON ? position - start : 0;
    fork->view = *at;
    link_to(fork, parent);
}

ForkVerdict
fork_link(Stream *fork, const ForkRequest *request)
{
    Stream *parent = request->parent;
    ForkVerdict verdict = FORK_OK;
    uint64_t position = 0;
    uint64_t start;

    if (!stream_same_media_type(fork->content_type, parent->content_type)) {
        return FORK_TYPE_MISMATCH;
    }
    if (depth_of(parent) + 1 > FORK_DEPTH_MAX) {
        return FORK_TOO_DEEP;
    }
    pthread_mutex_lock(&parent->lock);
    start = DS_MAX(parent->view.start, parent->state.at.start);
    if (parent->state.deleted || fork_presence(parent) == FORK_ABSENT) {
        verdict = FORK_NOT_FOUND;
    } else if (parent->state.soft_deleted || fork_presence(parent) == FORK_KEPT) {
        verdict = FORK_GONE;
    } else if (!resolve(parent, request, start, &position)) {
        verdict = FORK_BAD_OFFSET;
    } else {
        begin_at(fork, parent, start, position);
    }
    pthread_mutex_unlock(&parent->lock);
    return verdict;
}

void
fork_link_loaded(Stream *fork)
{
    Stream *parent = fork->parent;

    pthread_mutex_lock(&parent->lock);
    link_to(fork, parent);
    pthread_mutex_unlock(&parent->lock);
}

Stream *
fork_unlink(Stream *fork)
{
    Stream *parent = fork->parent;

    if (parent != NULL) {
        pthread_mutex_lock(&parent->lock);
        LIST_REMOVE(fork, by_parent);
        atomic_fetch_sub(&parent->forks, 1);
        pthread_mutex_unlock(&parent->lock);
    }
    return parent;
}

bool
fork_matches(const Stream *stream, const ForkRequest *request)
{
    const Stream *parent = stream->parent;
    uint64_t position = request->offset.position;

    if (request->parent == NULL || parent != request->parent) {
        return parent == request->parent;
    }
    if (!request->has_offset) {
        return request->sub == 0; /* behind the tail there was nothing to fork */
    }
    if (is_start(request->offset)) {
        position = stream->state.at.start;
        return stream->fork_at == request->sub || stream->fork_at == position + request->sub;
    }
    return stream_has_offset(parent, request->offset) && stream->fork_at == position + request->sub;
}

/* ---- the end of one ---- */

DeleteVerdict
fork_judge_delete(Stream *stream)
{
    StreamState *state = &stream->state;

    if (state->deleted) {
        return DELETE_NOT_FOUND;
    }
    if (state->soft_deleted) {
        return DELETE_GONE;
    }
    if (atomic_load(&stream->forks) > 0) {
        state->soft_deleted = true;
        return DELETE_SOFT;
    }
    state->deleted = true;
    return DELETE_WHOLE;
}

bool
fork_claim_expired(Stream *stream)
{
    bool claimed;

    if (!is_expired(stream)) {
        return false;
    }
    pthread_mutex_lock(&stream->lock);
    claimed = !stream->state.deleted && atomic_load(&stream->forks) == 0;
    if (claimed) {
        stream->state.deleted = true;
    }
    pthread_mutex_unlock(&stream->lock);
    return claimed;
}

/* ---- what is kept for forks ---- */

/* The first position that somebody reads: its own readers from start on, or a fork through it.
 * Who is content with `least` or less needs no closer look. */
static uint64_t
first_needed(const Stream *stream, bool has_readers, uint64_t start, uint64_t least)
{
    uint64_t first = has_readers ? start : stream->view.tail;
    const Stream *fork;

    LIST_FOREACH (fork, &stream->fork_list, by_parent) {
        uint64_t needs = atomic_load(&fork->needs);

        if (first <= least) {
            break;
        }
        if (needs < fork->fork_at) {
            first = DS_MIN(first, needs);
        }
    }
    return first;
}

uint64_t
fork_base(const Stream *stream)
{
    const StreamState *state = &stream->state;

    return DS_MAX(state->at.base,
                  first_needed(stream, !state->soft_deleted, state->at.start, state->at.base));
}

ReleaseVerdict
fork_judge_release(Stream *stream)
{
    StreamState *state = &stream->state;

    if (state->deleted) {
        return RELEASE_NOTHING;
    }
    if (state->soft_deleted && atomic_load(&stream->forks) == 0) {
        state->deleted = true;
        return RELEASE_WHOLE;
    }
    return fork_base(stream) > state->at.base ? RELEASE_BASE : RELEASE_NOTHING;
}

bool
fork_settle(Stream *stream)
{
    uint64_t before = atomic_load(&stream->needs);
    uint64_t now;

    if (stream->parent == NULL || before >= stream->fork_at) {
        return false;
    }
    now = first_needed(stream, !atomic_load(&stream->soft_deleted), stream->view.start, before);
    if (now <= before) {
        return false;
    }
    atomic_store(&stream->needs, now);
    return true;
}
