/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of a shard that read beside its writer, and make its checkpoints. */
#include "common/mem.h"
#include "server/store_acid.h"
#include "server/store_acid_internal.h"

#define READER_CACHE_KIB 128

void
acid_readers_init(AcidReaders *readers, const char *path, bool sync)
{
    *readers = (AcidReaders){.path = path, .sync = sync};
    pthread_mutex_init(&readers->lock, NULL);
    pthread_cond_init(&readers->returned, NULL);
    SLIST_INIT(&readers->idle);
}

static void
reader_free(AcidReader *reader)
{
    sqlite3_finalize(reader->range);
    sqlite3_finalize(reader->last_before);
    sqlite_close(reader->db);
    free(reader);
}

void
acid_readers_done(AcidReaders *readers)
{
    AcidReader *reader;

    DS_ASSERT(readers->count == readers->idle_count);
    while ((reader = SLIST_FIRST(&readers->idle)) != NULL) {
        SLIST_REMOVE_HEAD(&readers->idle, next);
        reader_free(reader);
    }
    pthread_cond_destroy(&readers->returned);
    pthread_mutex_destroy(&readers->lock);
}

static bool
reader_open(const AcidReaders *readers, AcidReader **out, Error *err)
{
    SqliteOptions options = {.path = readers->path,
                             .sync = readers->sync,
                             .query_only = true,
                             .cache_kib = READER_CACHE_KIB};
    AcidReader *reader = mem_zalloc(sizeof(*reader));

    if (!sqlite_open(&options, &reader->db, err) ||
        !sqlite_prepare(reader->db, acid_range_sql, &reader->range, err) ||
        !sqlite_prepare(reader->db, acid_last_before_sql, &reader->last_before, err)) {
        reader_free(reader);
        return false;
    }
    *out = reader;
    return true;
}

static void
give_back_place(AcidReaders *readers)
{
    pthread_mutex_lock(&readers->lock);
    readers->count--;
    pthread_cond_signal(&readers->returned);
    pthread_mutex_unlock(&readers->lock);
}

bool
acid_reader_take(AcidReaders *readers, AcidReader **out, Error *err)
{
    AcidReader *reader;

    pthread_mutex_lock(&readers->lock);
    while (SLIST_EMPTY(&readers->idle) && readers->count == ACID_READERS_MAX) {
        pthread_cond_wait(&readers->returned, &readers->lock);
    }
    reader = SLIST_FIRST(&readers->idle);
    if (reader != NULL) {
        SLIST_REMOVE_HEAD(&readers->idle, next);
        readers->idle_count--;
    } else {
        readers->count++;
    }
    pthread_mutex_unlock(&readers->lock);

    if (reader == NULL && !reader_open(readers, &reader, err)) {
        give_back_place(readers);
        return false;
    }
    *out = reader;
    return true;
}

void
acid_reader_return(AcidReaders *readers, AcidReader *reader)
{
    bool keep;

    pthread_mutex_lock(&readers->lock);
    keep = readers->idle_count < ACID_READERS_IDLE_MAX;
    if (keep) {
        SLIST_INSERT_HEAD(&readers->idle, reader, next);
        readers->idle_count++;
        pthread_cond_signal(&readers->returned);
    }
    pthread_mutex_unlock(&readers->lock);
    if (!keep) {
        reader_free(reader);
        give_back_place(readers);
    }
}
