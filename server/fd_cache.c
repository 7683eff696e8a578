/* SPDX-License-Identifier: Apache-2.0 */
#include "server/fd_cache.h"

#include <bsd/sys/queue.h>
#include <pthread.h>
#include <unistd.h>

#include "common/mem.h"

#define BUCKETS_MIN 64

struct FdEntry {
    uint64_t key;
    int fd;
    unsigned pins;
    bool opening;   /* by the first that pinned it; others wait */
    bool forgotten; /* no longer in the table */
    LIST_ENTRY(FdEntry) same_bucket;
    TAILQ_ENTRY(FdEntry) by_use; /* only without pins */
};

typedef LIST_HEAD(FdBucket, FdEntry) FdBucket;

struct FdCache {
    size_t open_max;
    FdOpenFn open_fn;
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t opened;
    size_t open_count;              /* those being opened and those forgotten but pinned included */
    TAILQ_HEAD(, FdEntry) unpinned; /* least recently used first */
    FdBucket *buckets;
    size_t buckets_count; /* a power of two */
};

FdCache *
fd_cache_new(size_t open_max, FdOpenFn open_fn, void *arg)
{
    FdCache *cache = mem_zalloc(sizeof(*cache));

    cache->open_max = DS_MAX(open_max, FD_CACHE_OPEN_MIN);
    cache->open_fn = open_fn;
    cache->arg = arg;
    cache->buckets_count = BUCKETS_MIN;
    while (cache->buckets_count < cache->open_max) {
        cache->buckets_count *= 2;
    }
    cache->buckets = mem_array(cache->buckets_count, sizeof(*cache->buckets));
    TAILQ_INIT(&cache->unpinned);
    (void)pthread_mutex_init(&cache->lock, NULL);
    (void)pthread_cond_init(&cache->opened, NULL);
    return cache;
}

/* Everything below up to the public part: lock held. */

static FdBucket *
bucket_of(const FdCache *cache, uint64_t key)
{
    uint64_t mixed = key * 0x9e3779b97f4a7c15u; /* keys are counted up: spread them */

    return &cache->buckets[(mixed >> 32) & (cache->buckets_count - 1)];
}

static FdEntry *
entry_find(const FdCache *cache, uint64_t key)
{
    FdEntry *entry;

    LIST_FOREACH (entry, bucket_of(cache, key), same_bucket) {
        if (entry->key == key) {
            return entry;
        }
    }
    return NULL;
}

static void
entry_unlink(FdEntry *entry)
{
    if (!entry->forgotten) {
        entry->forgotten = true;
        LIST_REMOVE(entry, same_bucket);
    }
}

/* Nobody pins it, and it is not in `unpinned`. */
static void
entry_close(FdCache *cache, FdEntry *entry)
{
    entry_unlink(entry);
    if (entry->fd >= 0) {
        (void)close(entry->fd);
    }
    cache->open_count--;
    free(entry);
}

static void
evict_down_to(FdCache *cache, size_t count)
{
    FdEntry *entry;

    while (cache->open_count > count && (entry = TAILQ_FIRST(&cache->unpinned)) != NULL) {
        TAILQ_REMOVE(&cache->unpinned, entry, by_use);
        entry_close(cache, entry);
    }
}

static FdEntry *
entry_new(FdCache *cache, uint64_t key)
{
    FdEntry *entry = mem_zalloc(sizeof(*entry));

    evict_down_to(cache, cache->open_max - 1);
    entry->key = key;
    entry->fd = -1;
    entry->pins = 1;
    entry->opening = true;
    LIST_INSERT_HEAD(bucket_of(cache, key), entry, same_bucket);
    cache->open_count++;
    return entry;
}

static bool
entry_open(FdCache *cache, FdEntry *entry, bool create, Error *err)
{
    int fd = -1;

    (void)pthread_mutex_unlock(&cache->lock);
    bool ok = cache->open_fn(cache->arg, entry->key, create, &fd, err);

    (void)pthread_mutex_lock(&cache->lock);
    entry->opening = false;
    entry->fd = fd;
    (void)pthread_cond_broadcast(&cache->opened);
    return ok;
}

/* ---- public ---- */

bool
fd_cache_pin(FdCache *cache, uint64_t key, bool create, FdPin *out, Error *err)
{
    FdEntry *entry;
    bool ok = true;

    (void)pthread_mutex_lock(&cache->lock);
    while ((entry = entry_find(cache, key)) != NULL && entry->opening) {
        (void)pthread_cond_wait(&cache->opened, &cache->lock);
    }
    if (entry == NULL) {
        entry = entry_new(cache, key);
        ok = entry_open(cache, entry, create, err);
    } else {
        if (entry->pins == 0) {
            TAILQ_REMOVE(&cache->unpinned, entry, by_use);
        }
        entry->pins++;
    }
    if (ok) {
        *out = (FdPin){.fd = entry->fd, .entry = entry};
    } else {
        entry_close(cache, entry);
    }
    (void)pthread_mutex_unlock(&cache->lock);
    return ok;
}

void
fd_cache_unpin(FdCache *cache, FdPin *pin)
{
    FdEntry *entry = pin->entry;

    (void)pthread_mutex_lock(&cache->lock);
    DS_ASSERT(entry->pins > 0);
    if (--entry->pins == 0) {
        if (entry->forgotten || cache->open_count > cache->open_max) {
            entry_close(cache, entry);
        } else {
            TAILQ_INSERT_TAIL(&cache->unpinned, entry, by_use);
        }
    }
    (void)pthread_mutex_unlock(&cache->lock);
    *pin = (FdPin){.fd = -1};
}

bool
fd_cache_is_shared(FdCache *cache, const FdPin *pin)
{
    (void)pthread_mutex_lock(&cache->lock);
    bool shared = pin->entry->pins > 1;

    (void)pthread_mutex_unlock(&cache->lock);
    return shared;
}

void
fd_cache_forget(FdCache *cache, uint64_t key)
{
    (void)pthread_mutex_lock(&cache->lock);
    FdEntry *entry = entry_find(cache, key);

    if (entry != NULL && entry->pins > 0) {
        entry_unlink(entry);
    } else if (entry != NULL) {
        TAILQ_REMOVE(&cache->unpinned, entry, by_use);
        entry_close(cache, entry);
    }
    (void)pthread_mutex_unlock(&cache->lock);
}

size_t
fd_cache_open_count(FdCache *cache)
{
    (void)pthread_mutex_lock(&cache->lock);
    size_t count = cache->open_count;

    (void)pthread_mutex_unlock(&cache->lock);
    return count;
}

void
fd_cache_free(FdCache *cache)
{
    if (cache == NULL) {
        return;
    }
    evict_down_to(cache, 0);
    DS_ASSERT(cache->open_count == 0);
    (void)pthread_cond_destroy(&cache->opened);
    (void)pthread_mutex_destroy(&cache->lock);
    free(cache->buckets);
    free(cache);
}
