/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/registry.h -- every stream by its name.
 *
 * Sharded: a hash table to find, a tree to list in order, a queue to expire, and one lock per
 * shard. An expired stream is as good as absent from the moment it expires, unless it has forks;
 * its memory goes with the next sweep, or when its name is created again.  A shard's lock is taken
 * before a stream's, never after.
 *
 * Creations and removals are told to the journal under the shard's lock, so that it has those of
 * one name in the order in which they happened.
 */
#pragma once

#include "server/fork.h"
#include "server/journal.h"

#define REGISTRY_SHARDS 64

typedef struct Registry Registry;

Registry *registry_new(Journal *journal); /* borrowed */
void registry_free(Registry *registry);   /* drops its references */

/* With a reference for the caller, or NULL.  It may be kept for its forks alone: fork_presence. */
Stream *registry_find(Registry *registry, Str name);

/* The same, whatever has become of it, as long as it was not taken out: for who takes out. */
Stream *registry_look(Registry *registry, Str name);

/* A number never given before, for the era or the id of a stream. */
uint64_t registry_draw(Registry *registry);
/* Numbers given from now on are greater: for what was found on disk. */
void registry_raise(Registry *registry, uint64_t number);

/* Takes the stream in, with a reference of its own; that is when others can find it.  One without
 * an era is given the next one, one without an id its era.  False when the name is taken:
 * *out_other is that stream, with a reference.  An expired stream of that name without forks is
 * judged deleted and taken out first: *out_expired, whose reference is the caller's. */
DS_MUST_CHECK bool registry_insert(Registry *registry, Stream *stream, Stream **out_other,
                                   Stream **out_expired);
/* The expired stream of that name without forks, judged deleted and taken out, or NULL.  Its
 * reference is the caller's. */
Stream *registry_remove_expired(Registry *registry, Str name);
/* False when it was not there any more.  The registry's reference is the caller's from now on. */
bool registry_remove(Registry *registry, Stream *stream);

/* A stream was soft-deleted: those who follow the changes learn it now, not when it is removed. */
void registry_tell_deleted(Registry *registry, const Stream *stream);

/* Those alive, or those kept for their forks, in bytewise order: at most `limit` names that begin
 * with prefix and are greater than after; each with a reference.  limit > 0.  Returns how many. */
size_t registry_list(Registry *registry, ForkPresence which, Str prefix, Str after, Stream **out,
                     size_t limit);

/* Looks at up to scan_max streams that can expire, from where the last call ended, and returns
 * those that did, at most `limit`, each with a reference; they stay in.  *out_scanned: how many it
 * saw. */
size_t registry_find_expired(Registry *registry, size_t scan_max, Stream **out, size_t limit,
                             size_t *out_scanned);
