/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/fd_cache.h -- keeps the files that were used last open, up to a cap.
 *
 * A file is pinned while it is used, and stays open as long as anybody pins it.  When all that are
 * open are pinned, one more is opened above the cap and closed at its unpin: nobody waits, so
 * nobody deadlocks, and the descriptors in use are at most open_max and one for each pin.
 *
 * Thread safe; a file is opened under no lock but its own.
 */
#pragma once

#include "common/error.h"

#define FD_CACHE_OPEN_MIN 8

typedef struct FdCache FdCache;
typedef struct FdEntry FdEntry;

typedef struct FdPin {
    int fd;
    FdEntry *entry;
} FdPin;

/* Opens the file of a key; create: makes it when it is not there.  ERR_NOT_FOUND when it is not
 * there.  On any thread that pins. */
typedef bool (*FdOpenFn)(void *arg, uint64_t key, bool create, int *out_fd, Error *err);

/* open_max below FD_CACHE_OPEN_MIN becomes that. */
FdCache *fd_cache_new(size_t open_max, FdOpenFn open_fn, void *arg);
void fd_cache_free(FdCache *cache); /* accepts NULL; nobody pins any more */

DS_MUST_CHECK bool fd_cache_pin(FdCache *cache, uint64_t key, bool create, FdPin *out, Error *err);
void fd_cache_unpin(FdCache *cache, FdPin *pin);

/* Whether somebody else has it pinned, too. */
bool fd_cache_is_shared(FdCache *cache, const FdPin *pin);

/* Forgets a file: closed when nobody pins it any more; the next pin opens it anew. */
void fd_cache_forget(FdCache *cache, uint64_t key);

size_t fd_cache_open_count(FdCache *cache);
