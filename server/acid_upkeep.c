/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that moves what the shards wrote from SQLite's logs to the files. */
#include "common/log.h"
#include "common/mem.h"
#include "server/store_acid_internal.h"

struct AcidUpkeep {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    STAILQ_HEAD(, AcidBackend) wanting;
    const AcidBackend *busy_with;
    bool stopping;
};

static const LogScope scope = {.name = "server.store"};

_Noreturn void
acid_fail(const AcidBackend *backend, const Error *err)
{
    log_error(
        &scope, EVENT_SERVER_STORE_BROKEN,
        LOG_FIELDS(log_str("file", str_c(backend->path)), log_str("reason", str_c(err->text))),
        "the storage failed, and what is on the disk is not known any more");
    abort();
}

/* What there is no room for now stays in the log; the next one takes it along. */
static void
make_checkpoint(AcidBackend *backend)
{
    AcidReader *reader;
    uint64_t left;
    Error err;
    bool ok = acid_reader_take(&backend->readers, &reader, &err);

    if (ok) {
        ok = sqlite_checkpoint(reader->db, &left, &err);
        atomic_store(&backend->reserve.is_lost, true);
        acid_reader_return(&backend->readers, reader);
    }
    if (!ok && err.code == ERR_FATAL) {
        acid_fail(backend, &err);
    }
    if (!ok) {
        log_debug(&scope, LOG_FIELDS(log_str("reason", str_c(err.text))), "no checkpoint");
    }
}

static void *
run(void *arg)
{
    AcidUpkeep *upkeep = arg;

    pthread_mutex_lock(&upkeep->lock);
    while (!upkeep->stopping) {
        AcidBackend *backend = STAILQ_FIRST(&upkeep->wanting);

        if (backend == NULL) {
            pthread_cond_wait(&upkeep->changed, &upkeep->lock);
            continue;
        }
        STAILQ_REMOVE_HEAD(&upkeep->wanting, next_wanting);
        backend->wants_checkpoint = false;
        upkeep->busy_with = backend;
        pthread_mutex_unlock(&upkeep->lock);
        make_checkpoint(backend);
        pthread_mutex_lock(&upkeep->lock);
        upkeep->busy_with = NULL;
        pthread_cond_broadcast(&upkeep->changed);
    }
    pthread_mutex_unlock(&upkeep->lock);
    return NULL;
}

AcidUpkeep *
acid_upkeep_start(void)
{
    AcidUpkeep *upkeep = mem_zalloc(sizeof(*upkeep));

    pthread_mutex_init(&upkeep->lock, NULL);
    pthread_cond_init(&upkeep->changed, NULL);
    STAILQ_INIT(&upkeep->wanting);
    DS_ASSERT(pthread_create(&upkeep->thread, NULL, run, upkeep) == 0);
    (void)pthread_setname_np(upkeep->thread, "acid-upkeep");
    return upkeep;
}

void
acid_upkeep_stop(AcidUpkeep *upkeep)
{
    if (upkeep == NULL) {
        return;
    }
    pthread_mutex_lock(&upkeep->lock);
    upkeep->stopping = true;
    pthread_cond_broadcast(&upkeep->changed);
    pthread_mutex_unlock(&upkeep->lock);
    pthread_join(upkeep->thread, NULL);
    pthread_cond_destroy(&upkeep->changed);
    pthread_mutex_destroy(&upkeep->lock);
    free(upkeep);
}

void
acid_upkeep_want(AcidUpkeep *upkeep, AcidBackend *backend)
{
    pthread_mutex_lock(&upkeep->lock);
    if (!backend->wants_checkpoint && upkeep->busy_with != backend) {
        backend->wants_checkpoint = true;
        STAILQ_INSERT_TAIL(&upkeep->wanting, backend, next_wanting);
        pthread_cond_broadcast(&upkeep->changed);
    }
    pthread_mutex_unlock(&upkeep->lock);
}

void
acid_upkeep_forget(AcidUpkeep *upkeep, AcidBackend *backend)
{
    pthread_mutex_lock(&upkeep->lock);
    if (backend->wants_checkpoint) {
        STAILQ_REMOVE(&upkeep->wanting, backend, AcidBackend, next_wanting);
        backend->wants_checkpoint = false;
    }
    while (upkeep->busy_with == backend) {
        pthread_cond_wait(&upkeep->changed, &upkeep->lock);
    }
    pthread_mutex_unlock(&upkeep->lock);
}
