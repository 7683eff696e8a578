/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/fork.h -- streams that begin with what another holds (protocol 4.2), in every mode.
 *
 * Up to fork_at a fork has its parent's offsets and bytes, behind it its own, which are all that it
 * stores.  Its era is its own, too, so that what its parent, or an earlier fork of its name, had
 * behind that is not taken for its.  It holds a reference to its parent, and the parent knows
 * its forks: while there are any, deleting it is soft.  Then it is only there for them, under its
 * name, until the last one goes; then it goes, too, and so on upwards.  Of bytes that a trim or a
 * soft delete leaves behind, those that a fork reads stay.
 *
 * How many forks a stream has is never stored: who loads streams links them again.
 *
 * Locks: all here is done under the lock of the stream that is asked; linking and unlinking take
 * the parent's, so no other may be held.  A fork is linked before it is committed, so that a delete
 * of its parent that comes later is soft; if it is not committed after all, it is unlinked.
 */
#pragma once

#include "server/stream.h"

#define FORK_DEPTH_MAX 64 /* forks of forks of ... */

typedef struct ForkRequest {
    Stream *parent;  /* NULL: not a fork */
    bool has_offset; /* else at the tail */
    Offset offset;   /* all zeros: the start */
    uint64_t sub;    /* so many messages or bytes behind it */
} ForkRequest;

typedef enum ForkVerdict {
    FORK_OK,
    FORK_NOT_FOUND, /* the parent was deleted, or expired, meanwhile */
    FORK_GONE,      /* it is soft-deleted */
    FORK_TYPE_MISMATCH,
    FORK_BAD_OFFSET, /* not one of the parent's, trimmed, or past its tail */
    FORK_TOO_DEEP,
} ForkVerdict;

/* No lock held; fork is a new stream that nobody else knows.  On FORK_OK it has its parent,
 * fork_at and positions, state and view alike, and counts as a fork of it. */
ForkVerdict fork_link(Stream *fork, const ForkRequest *request);
/* The same for a stream that was loaded, whose parent, fork_at and start are already there. */
void fork_link_loaded(Stream *fork);
/* No lock held: the fork is gone, or never came to be.  Its parent, which store_release looks
 * after, or NULL when it is no fork; borrowed from the fork. */
Stream *fork_unlink(Stream *fork);

/* Lock held: the stream was created by such a request. */
bool fork_matches(const Stream *stream, const ForkRequest *request);

typedef enum DeleteVerdict {
    DELETE_WHOLE, /* judged deleted */
    DELETE_SOFT,  /* judged soft-deleted: it has forks */
    DELETE_NOT_FOUND,
    DELETE_GONE, /* it is soft-deleted */
} DeleteVerdict;

/* Lock held, by who commits to the stream. */
DeleteVerdict fork_judge_delete(Stream *stream);
/* No lock held: judges an expired one deleted; false when it has forks, or somebody else was first.
 */
bool fork_claim_expired(Stream *stream);

typedef enum ReleaseVerdict {
    RELEASE_NOTHING,
    RELEASE_BASE,  /* its state's base can move to fork_base */
    RELEASE_WHOLE, /* judged deleted: it was soft-deleted, and the last fork has gone */
} ReleaseVerdict;

/* Lock held, by who commits to the stream, when a fork of it went or was trimmed. */
ReleaseVerdict fork_judge_release(Stream *stream);

/* Lock held: the first position of its own that somebody needs, by its state; never less than the
 * state's base. */
uint64_t fork_base(const Stream *stream);
/* Lock held, after a trim, a delete or a release was published: tells the parent, in effect, from
 * where on it is read.  True: it has something to release. */
bool fork_settle(Stream *stream);

/* What a request finds under a name. */
typedef enum ForkPresence {
    FORK_ALIVE,
    FORK_KEPT,   /* soft-deleted, or expired with forks: 410 */
    FORK_ABSENT, /* deleted, or expired */
} ForkPresence;

ForkPresence fork_presence(const Stream *stream);
