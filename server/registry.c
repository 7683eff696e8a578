/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry.h"

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/mem.h"

#define BUCKETS_MIN      16
#define CACHE_LINE_BYTES 64
/* Milliseconds since 1970 in the high bits leave this many for streams created within one. */
#define ERA_COUNTER_BITS 16

typedef RB_HEAD(NameTree, Stream) NameTree;
typedef TAILQ_HEAD(ExpiryQueue, Stream) ExpiryQueue;

typedef struct Shard {
    pthread_mutex_t lock;
    Stream **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    NameTree by_name;
    ExpiryQueue by_expiry; /* those that can expire, the one looked at longest ago first */
} Shard;

struct Registry {
    Journal *journal;
    Shard shards[REGISTRY_SHARDS];
    atomic_uint_fast64_t last_number;
    atomic_uint next_expiry_shard;
};

static int
by_name_cmp(const Stream *a, const Stream *b)
{
    return str_cmp(a->name, b->name);
}

RB_GENERATE_INTERNAL(NameTree, Stream, by_name, by_name_cmp, DS_UNUSED static)

Registry *
registry_new(Journal *journal)
{
    Registry *registry = mem_zalloc(sizeof(*registry));

    registry->journal = journal;
    for (size_t i = 0; i < REGISTRY_SHARDS; i++) {
        Shard *shard = &registry->shards[i];

        pthread_mutex_init(&shard->lock, NULL);
        shard->bucket_count = BUCKETS_MIN;
        shard->buckets = mem_array(shard->bucket_count, sizeof(Stream *));
        RB_INIT(&shard->by_name);
        TAILQ_INIT(&shard->by_expiry);
    }
    /* Nothing is kept over a restart, so the clock is what makes eras rise over one: a server would
     * have to create 32,768 streams in each millisecond of its life to outrun it.  A clock that was
     * set back, or begins at the same moment with each boot, makes eras that do not rise; chance
     * keeps them from being ones that were. */
    atomic_init(&registry->last_number, ((uint64_t)clock_wall_ms() << ERA_COUNTER_BITS) +
                                            arc4random_uniform(1U << (ERA_COUNTER_BITS - 1)));
    return registry;
}

void
registry_free(Registry *registry)
{
    for (size_t i = 0; i < REGISTRY_SHARDS; i++) {
        Shard *shard = &registry->shards[i];
        Stream *stream;

        while ((stream = RB_MIN(NameTree, &shard->by_name)) != NULL) {
            RB_REMOVE(NameTree, &shard->by_name, stream);
            stream_drop(stream);
        }
        free(shard->buckets);
        pthread_mutex_destroy(&shard->lock);
    }
    free(registry);
}

static Shard *
shard_of(Registry *registry, uint64_t hash)
{
    return &registry->shards[hash % REGISTRY_SHARDS];
}

static Stream **
bucket_of(const Shard *shard, uint64_t hash)
{
    return &shard->buckets[(hash / REGISTRY_SHARDS) & (shard->bucket_count - 1)];
}

/* Who looks for a stream is going to look at most of it.  With many streams none of it is in the
 * processor's cache, so all of it is asked for at once, before the name is compared. */
static void
fetch_ahead(const Stream *stream)
{
    for (size_t at = CACHE_LINE_BYTES; at < sizeof(*stream) + CACHE_LINE_BYTES;
         at += CACHE_LINE_BYTES) {
        __builtin_prefetch((const char *)stream + at);
    }
}

static bool
is_named(const Stream *stream, uint64_t hash, Str name)
{
    if (stream->hash != hash) {
        return false;
    }
    fetch_ahead(stream);
    return str_eq(stream->name, name);
}

static Stream *
shard_find(const Shard *shard, uint64_t hash, Str name)
{
    Stream *stream = *bucket_of(shard, hash);

    while (stream != NULL && !is_named(stream, hash, name)) {
        stream = stream->hash_next;
    }
    return stream;
}

static void
shard_grow(Shard *shard)
{
    Stream **old = shard->buckets;
    size_t old_count = shard->bucket_count;

    shard->bucket_count *= 2;
    shard->buckets = mem_array(shard->bucket_count, sizeof(Stream *));
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            Stream *stream = old[i];
            Stream **bucket = bucket_of(shard, stream->hash);

            old[i] = stream->hash_next;
            stream->hash_next = *bucket;
            *bucket = stream;
        }
    }
    free(old);
}

static void
shard_link(Registry *registry, Shard *shard, Stream *stream)
{
    Stream **bucket;

    if (shard->count >= shard->bucket_count) {
        shard_grow(shard);
    }
    bucket = bucket_of(shard, stream->hash);
    stream->hash_next = *bucket;
    *bucket = stream;
    RB_INSERT(NameTree, &shard->by_name, stream);
    if (stream_can_expire(stream)) {
        TAILQ_INSERT_TAIL(&shard->by_expiry, stream, by_expiry);
    }
    shard->count++;
    journal_add(registry->journal, JOURNAL_CREATED, stream->name, stream->era);
}

void
registry_tell_deleted(Registry *registry, const Stream *stream)
{
    journal_add(registry->journal, JOURNAL_DELETED, stream->name, stream->era);
}

static void
shard_unlink(Registry *registry, Shard *shard, Stream *stream)
{
    Stream **link = bucket_of(shard, stream->hash);

    while (*link != stream) {
        link = &(*link)->hash_next;
    }
    *link = stream->hash_next;
    RB_REMOVE(NameTree, &shard->by_name, stream);
    if (stream_can_expire(stream)) {
        TAILQ_REMOVE(&shard->by_expiry, stream, by_expiry);
    }
    shard->count--;
    if (!atomic_load(&stream->soft_deleted)) {
        registry_tell_deleted(registry, stream);
    }
}

Stream *
registry_look(Registry *registry, Str name)
{
    uint64_t hash = str_hash(name);
    Shard *shard = shard_of(registry, hash);
    Stream *stream;

    pthread_mutex_lock(&shard->lock);
    stream = shard_find(shard, hash, name);
    if (stream != NULL) {
        stream_take(stream);
    }
    pthread_mutex_unlock(&shard->lock);
    return stream;
}

Stream *
registry_find(Registry *registry, Str name)
{
    uint64_t hash = str_hash(name);
    Shard *shard = shard_of(registry, hash);
    Stream *stream;

    pthread_mutex_lock(&shard->lock);
    stream = shard_find(shard, hash, name);
    if (stream != NULL && fork_presence(stream) == FORK_ABSENT) {
        stream = NULL;
    }
    if (stream != NULL) {
        stream_take(stream);
    }
    pthread_mutex_unlock(&shard->lock);
    return stream;
}

uint64_t
registry_draw(Registry *registry)
{
    return atomic_fetch_add(&registry->last_number, 1) + 1;
}

void
registry_raise(Registry *registry, uint64_t number)
{
    uint_fast64_t last = atomic_load(&registry->last_number);

    while (last < number && !atomic_compare_exchange_weak(&registry->last_number, &last, number)) {
    }
}

bool
registry_insert(Registry *registry, Stream *stream, Stream **out_other, Stream **out_expired)
{
    uint64_t hash = str_hash(stream->name);
    Shard *shard = shard_of(registry, hash);
    Stream *other;

    *out_other = NULL;
    *out_expired = NULL;
    pthread_mutex_lock(&shard->lock);
    other = shard_find(shard, hash, stream->name);
    if (other != NULL && atomic_load(&other->deleted)) {
        /* Who deleted it is about to take it out, and will find that done. */
        shard_unlink(registry, shard, other);
        stream_drop(other);
        other = NULL;
    } else if (other != NULL && fork_claim_expired(other)) {
        shard_unlink(registry, shard, other);
        *out_expired = other;
        other = NULL;
    }
    if (other != NULL) {
        stream_take(other);
        *out_other = other;
    } else {
        /* Under the shard's lock, so that eras of one name rise in the order of its creations. */
        if (stream->era == 0) {
            stream->era = registry_draw(registry);
        }
        if (stream->id == 0) {
            stream->id = stream->era;
        }
        stream->hash = hash;
        stream_take(stream);
        shard_link(registry, shard, stream);
    }
    pthread_mutex_unlock(&shard->lock);
    return other == NULL;
}

Stream *
registry_remove_expired(Registry *registry, Str name)
{
    uint64_t hash = str_hash(name);
    Shard *shard = shard_of(registry, hash);
    Stream *stream;

    pthread_mutex_lock(&shard->lock);
    stream = shard_find(shard, hash, name);
    if (stream != NULL && fork_claim_expired(stream)) {
        shard_unlink(registry, shard, stream);
    } else {
        stream = NULL;
    }
    pthread_mutex_unlock(&shard->lock);
    return stream;
}

bool
registry_remove(Registry *registry, Stream *stream)
{
    Shard *shard = shard_of(registry, stream->hash);
    bool there;

    pthread_mutex_lock(&shard->lock);
    there = shard_find(shard, stream->hash, stream->name) == stream;
    if (there) {
        shard_unlink(registry, shard, stream);
    }
    pthread_mutex_unlock(&shard->lock);
    return there;
}

/* Those before `bound` (NULL: all), in order. */
static size_t
shard_list(Shard *shard, ForkPresence which, Str prefix, Str after, const Stream *bound,
           Stream **out, size_t limit)
{
    Stream key = {.name = str_cmp(prefix, after) > 0 ? prefix : after};
    size_t count = 0;

    pthread_mutex_lock(&shard->lock);
    for (Stream *stream = RB_NFIND(NameTree, &shard->by_name, &key);
         stream != NULL && count < limit; stream = RB_NEXT(NameTree, &shard->by_name, stream)) {
        if (!str_starts(stream->name, prefix) ||
            (bound != NULL && by_name_cmp(stream, bound) > 0)) {
            break;
        }
        if (str_eq(stream->name, after) || fork_presence(stream) != which) {
            continue;
        }
        stream_take(stream);
        out[count++] = stream;
    }
    pthread_mutex_unlock(&shard->lock);
    return count;
}

/* The first `limit` of two ordered lists; the references to the others are dropped. */
static size_t
merge(Stream **a, size_t a_count, Stream **b, size_t b_count, Stream **out, size_t limit)
{
    size_t count = 0;
    size_t i = 0;
    size_t j = 0;

    while (count < limit && (i < a_count || j < b_count)) {
        bool from_a = j == b_count || (i < a_count && by_name_cmp(a[i], b[j]) < 0);

        out[count++] = from_a ? a[i++] : b[j++];
    }
    while (i < a_count) {
        stream_drop(a[i++]);
    }
    while (j < b_count) {
        stream_drop(b[j++]);
    }
    return count;
}

size_t
registry_list(Registry *registry, ForkPresence which, Str prefix, Str after, Stream **out,
              size_t limit)
{
    Stream **found = mem_array(2 * limit, sizeof(Stream *));
    Stream **best = found;
    Stream **spare = found + limit;
    size_t count = 0;

    DS_ASSERT(limit > 0);
    /* After each shard the smallest names so far stay; of the later ones little is looked at. */
    for (size_t i = 0; i < REGISTRY_SHARDS; i++) {
        const Stream *bound = count == limit ? best[count - 1] : NULL;
        size_t more = shard_list(&registry->shards[i], which, prefix, after, bound, out, limit);
        Stream **merged = spare;

        if (more > 0) {
            count = merge(best, count, out, more, merged, limit);
            spare = best;
            best = merged;
        }
    }
    memcpy(out, best, count * sizeof(*best));
    free(found);
    return count;
}

static size_t
shard_find_expired(Shard *shard, size_t scan_max, Stream **out, size_t limit, size_t *scanned)
{
    int64_t boot_ms = clock_boot_ms();
    int64_t wall_ms = clock_wall_ms();
    Stream *first = NULL;
    Stream *stream;
    size_t count = 0;

    pthread_mutex_lock(&shard->lock);
    while (*scanned < scan_max && count < limit &&
           (stream = TAILQ_FIRST(&shard->by_expiry)) != NULL && stream != first) {
        first = first == NULL ? stream : first;
        TAILQ_REMOVE(&shard->by_expiry, stream, by_expiry);
        TAILQ_INSERT_TAIL(&shard->by_expiry, stream, by_expiry);
        ++*scanned;
        if (stream_is_expired(stream, boot_ms, wall_ms) && !atomic_load(&stream->soft_deleted)) {
            stream_take(stream);
            out[count++] = stream;
        }
    }
    pthread_mutex_unlock(&shard->lock);
    return count;
}

size_t
registry_find_expired(Registry *registry, size_t scan_max, Stream **out, size_t limit,
                      size_t *out_scanned)
{
    size_t scanned = 0;
    size_t count = 0;

    for (size_t i = 0; i < REGISTRY_SHARDS && scanned < scan_max && count < limit; i++) {
        unsigned at = atomic_fetch_add(&registry->next_expiry_shard, 1) % REGISTRY_SHARDS;

        count += shard_find_expired(&registry->shards[at], scan_max, out + count, limit - count,
                                    &scanned);
    }
    *out_scanned = scanned;
    return count;
}
