/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_internal.h"

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

#define TIMER_MS_MAX 60000 /* the wall clock may be set meanwhile */

static const LogScope scope = {.name = "server.subscriptions"};

int64_t
subs_now_ms(void)
{
    return clock_wall_ms();
}

void
subs_make_wake_id(char out[SUBS_WAKE_ID_SIZE])
{
    uint32_t words[4];

    arc4random_buf(words, sizeof(words));
    (void)snprintf(out, SUBS_WAKE_ID_SIZE, "w_%08x%08x%08x%08x", words[0], words[1], words[2],
                   words[3]);
}

Subscription *
subs_find(Subs *subs, const SubsDefinition *definition)
{
    Subscription *subscription = subs_model_find(subs->model, str_c(definition->id));

    return subscription != NULL && subscription->definition == definition ? subscription : NULL;
}

bool
subs_post_home(Subs *subs, LoopFn fn, void *arg)
{
    NetLoop *home;
    bool posted = false;

    pthread_mutex_lock(&subs->mutex);
    home = atomic_load(&subs->home);
    if (home != NULL && !subs->stopped) {
        net_loop_post(home, fn, arg);
        posted = true;
    }
    pthread_mutex_unlock(&subs->mutex);
    return posted;
}

/* ---- storing ---- */

void
subs_after(Subs *subs, SubsAfter *after, void (*run)(SubsAfter *after, bool stored))
{
    bool unsaved = subs_model_unsaved(subs->model) > 0 || subs->keys_changed;

    after->run = run;
    after->batch = subs->batches_begun + (unsaved ? 1 : 0);
    STAILQ_INSERT_TAIL(&subs->after, after, entry);
}

static void
commit_work(void *arg)
{
    Subs *subs = arg;

    subs->commit_ok =
        subs_store_commit(subs->storage, &subs->committing,
                          subs->commit_keys ? &subs->keys_dump : NULL, &subs->commit_err);
}

/* What is not known to be on the disk must not be acted upon, nor can it be undone. */
static void
stop_process(const Error *err)
{
    log_error(&scope, EVENT_SUBS_STORE_FAILED, LOG_FIELDS(log_str("reason", str_c(err->text))),
              "subscriptions cannot be stored; the server stops");
    abort();
}

/* What waits is told now that it is not stored; the batch itself is tried again. */
static void
commit_refused(Subs *subs)
{
    if (!subs->stuck) {
        log_error(&scope, EVENT_SUBS_STORE_REFUSED,
                  LOG_FIELDS(log_str("reason", str_c(subs->commit_err.text))),
                  "subscriptions cannot be stored now; wakes and changes wait");
    }
    subs->stuck = true;
}

static void
end_keys(Subs *subs)
{
    subs->commit_keys = false;
    explicit_bzero(&subs->keys_dump, sizeof(subs->keys_dump));
}

static void
commit_done(void *arg)
{
    Subs *subs = arg;

    subs->commit_running = false;
    if (subs->commit_ok) {
        subs_changes_done(&subs->committing);
        end_keys(subs);
        subs->batches_done = subs->batches_begun;
        subs->stuck = false;
        metric_add(subs->metrics.commits, 1);
    } else if (subs->commit_err.code == ERR_FULL || subs->commit_err.code == ERR_RETRY) {
        commit_refused(subs);
    } else {
        stop_process(&subs->commit_err);
    }
    if (subs->stopped) {
        return; /* subs_free stores what is left */
    }
    subs_turn(subs);
}

static bool
take_batch(Subs *subs)
{
    if (subs_model_unsaved(subs->model) == 0 && !subs->keys_changed) {
        return false;
    }
    subs_model_changes(subs->model, &subs->committing);
    if (subs->keys_changed) {
        subs_keys_dump(subs->keys, &subs->keys_dump);
        subs->commit_keys = true;
        subs->keys_changed = false;
    }
    subs->batches_begun++;
    return true;
}

static void
begin_commit(Subs *subs)
{
    subs->commit_running = true;
    loop_work(subs->loop, commit_work, commit_done, subs);
}

static void
flush(Subs *subs)
{
    if (subs->commit_running || subs->stuck || !take_batch(subs)) {
        return;
    }
    if (subs->storage != NULL) {
        begin_commit(subs);
        return;
    }
    subs_changes_done(&subs->committing);
    end_keys(subs);
    subs->batches_done = subs->batches_begun;
}

static void
run_after(Subs *subs)
{
    SubsAfter *after;

    while ((after = STAILQ_FIRST(&subs->after)) != NULL &&
           (after->batch <= subs->batches_done || subs->stuck)) {
        STAILQ_REMOVE_HEAD(&subs->after, entry);
        after->run(after, after->batch <= subs->batches_done);
    }
}

/* ---- turns ---- */

static void
issue_wakes(Subs *subs)
{
    int64_t now_ms = subs_now_ms();
    char wake_id[SUBS_WAKE_ID_SIZE];

    for (int i = 0; i < SUBS_ISSUE_MAX && !subs->draining && !subs->stuck; i++) {
        Subscription *subscription =
            subs_model_ready(subs->model, subs->delivery_count < SUBS_DELIVERIES_MAX);

        if (subscription == NULL) {
            return;
        }
        subs_make_wake_id(wake_id);
        subs_model_issue(subs->model, subscription, wake_id, now_ms);
        metric_add(subs->metrics.wakes, 1);
        if (subscription->definition->type == SUBS_WEBHOOK) {
            subs_deliver(subs, subscription);
        } else {
            subs_write_event(subs, subscription);
        }
    }
}

static void
set_timer(Subs *subs)
{
    int64_t due_ms = subs_model_due(subs->model);
    int64_t wait_ms = TIMER_MS_MAX;
    bool more = !subs->draining && !subs->stuck &&
                subs_model_ready(subs->model, subs->delivery_count < SUBS_DELIVERIES_MAX) != NULL;

    if (more) {
        wait_ms = 1;
    } else if (due_ms != SUBS_NEVER) {
        wait_ms = DS_MAX(DS_MIN(due_ms - subs_now_ms(), (int64_t)TIMER_MS_MAX), INT64_C(1));
    }
    if (subs->stuck) {
        wait_ms = SUBS_STORE_RETRY_MS;
    }
    timer_start(subs->timer, wait_ms);
}

void
subs_turn(Subs *subs)
{
    if (subs->stopped) {
        return;
    }
    subs->turn_due = true;
    if (subs->in_turn) {
        return;
    }
    subs->in_turn = true;
    while (subs->turn_due) {
        subs->turn_due = false;
        subs_model_tick(subs->model, subs_now_ms());
        issue_wakes(subs);
        flush(subs);
        run_after(subs);
    }
    set_timer(subs);
    metric_set(subs->metrics.subscriptions, (int64_t)subs_model_count(subs->model));
    metric_set(subs->metrics.links, (int64_t)subs_model_links(subs->model));
    subs->in_turn = false;
}

static void
deferred_turn(void *arg)
{
    Subs *subs = arg;

    subs->turn_deferred = false;
    subs_turn(subs);
}

void
subs_turn_later(Subs *subs)
{
    if (!subs->turn_deferred) {
        subs->turn_deferred = true;
        loop_defer(subs->loop, deferred_turn, subs);
    }
}

static void
on_timer(void *arg)
{
    Subs *subs = arg;

    if (subs->stuck && !subs->commit_running) {
        begin_commit(subs);
    }
    subs_turn(subs);
}

/* ---- life ---- */

static void
make_metrics(SubsMetrics *out, Metrics *metrics)
{
    out->subscriptions =
        metrics_gauge(metrics, "ds_server_subscriptions", NULL, "Subscriptions that exist.");
    out->links = metrics_gauge(metrics, "ds_server_subscription_streams", NULL,
                               "Cursors of all subscriptions: one for each stream of each.");
    out->wakes = metrics_counter(metrics, "ds_server_subscription_wakes_total", NULL,
                                 "Wakes begun by the server, tries again included.");
    out->delivered = metrics_counter(metrics, "ds_server_webhooks_total", "outcome=\"accepted\"",
                                     "Webhooks by outcome.");
    out->failed = metrics_counter(metrics, "ds_server_webhooks_total", "outcome=\"failed\"", "");
    out->refused =
        metrics_counter(metrics, "ds_server_webhooks_total", "outcome=\"address_refused\"", "");
    out->events = metrics_counter(metrics, "ds_server_wake_events_total", "outcome=\"written\"",
                                  "Events for wake streams by outcome.");
    out->events_failed =
        metrics_counter(metrics, "ds_server_wake_events_total", "outcome=\"failed\"", "");
    out->claims = metrics_counter(metrics, "ds_server_subscription_claims_total", NULL,
                                  "Claims that were granted.");
    out->fenced = metrics_counter(metrics, "ds_server_subscription_fenced_total", NULL,
                                  "Callbacks, acks and releases of wakes that are over.");
    out->unlinked = metrics_counter(
        metrics, "ds_server_subscription_streams_refused_total", NULL,
        "New streams that match a pattern but go over DS_LIMITS__MAX_STREAMS_PER_SUBSCRIPTION.");
    out->commits = metrics_counter(metrics, "ds_server_subscription_commits_total", NULL,
                                   "Transactions that stored changes of subscriptions.");
}

static void
warn_insecure(const ServerSubscriptions *config)
{
    if (config->allow_insecure_webhooks || config->allow_unauthenticated_claims) {
        log_warn(&scope, EVENT_SUBS_INSECURE, LOG_FIELDS(), "%s%s%s: for development only",
                 config->allow_insecure_webhooks ? "webhooks may go to loopback addresses" : "",
                 config->allow_insecure_webhooks && config->allow_unauthenticated_claims ? ", "
                                                                                         : "",
                 config->allow_unauthenticated_claims ? "claims need no token" : "");
    }
}

static bool
open_storage(Subs *subs, Error *err)
{
    const ServerConfig *config = subs->config;

    if (config->storage_mode == STORAGE_MEMORY) {
        subs->keys = subs_keys_new();
        return true;
    }
    return subs_store_open(config->storage.data_dir, config->storage_mode != STORAGE_FILE_FAST,
                           &subs->storage, err) &&
           subs_store_load(subs->storage, subs->model, &subs->keys, &subs->keys_changed, err);
}

bool
subs_new(const ServerConfig *config, Store *store, Metrics *metrics, Subs **out, Error *err)
{
    SubsLimits limits = {
        .subscriptions = (size_t)config->limits.subscriptions,
        .streams_per_subscription = (size_t)config->limits.streams_per_subscription,
    };
    Subs *subs = mem_zalloc(sizeof(*subs));

    subs->config = config;
    subs->store = store;
    subs->base_path = str_c(config->stream_base_path);
    subs->names = (NameLimits){
        .bytes_max = (size_t)config->limits.stream_name_bytes,
        .segments_max = (size_t)config->limits.stream_name_segments,
    };
    pthread_mutex_init(&subs->mutex, NULL);
    LIST_INIT(&subs->watches);
    LIST_INIT(&subs->deliveries);
    STAILQ_INIT(&subs->backfills);
    STAILQ_INIT(&subs->after);
    make_metrics(&subs->metrics, metrics);
    subs->model = subs_model_new(&limits, arc4random_uniform);
    if ((config->subscriptions.jwks_path != NULL &&
         !jwt_keys_load(config->subscriptions.jwks_path, &subs->service_keys, err)) ||
        !open_storage(subs, err)) {
        subs_free(subs);
        return false;
    }
    warn_insecure(&config->subscriptions);
    *out = subs;
    return true;
}

void
subs_loop_start(Subs *subs, NetLoop *net)
{
    subs->loop = net_loop_loop(net);
    subs->timer = timer_new(subs->loop, on_timer, subs);
    atomic_store(&subs->home, net);
    subs_watch_start(subs);
    subs_model_start(subs->model, subs_now_ms());
    subs_turn(subs);
}

void
subs_loop_drain(Subs *subs)
{
    subs->draining = true;
}

void
subs_loop_stop(Subs *subs)
{
    SubsAfter *after;

    pthread_mutex_lock(&subs->mutex);
    subs->stopped = true;
    pthread_mutex_unlock(&subs->mutex);
    subs_watch_stop(subs);
    subs_delivery_stop(subs);
    while ((after = STAILQ_FIRST(&subs->after)) != NULL) {
        STAILQ_REMOVE_HEAD(&subs->after, entry);
        after->run(after, false);
    }
    http_client_free(subs->client);
    timer_free(subs->timer);
}

/* Nobody waits for it; it saves a wake or a lease from being done again after the next start. */
static void
store_rest(Subs *subs)
{
    while (subs->committing.count > 0 || subs->commit_keys || take_batch(subs)) {
        commit_work(subs);
        if (!subs->commit_ok) {
            log_error(&scope, EVENT_SUBS_STORE_REFUSED,
                      LOG_FIELDS(log_str("reason", str_c(subs->commit_err.text))),
                      "the last changes of subscriptions are not stored");
            return;
        }
        subs_changes_done(&subs->committing);
        end_keys(subs);
    }
}

void
subs_close(Subs *subs)
{
    if (subs != NULL && subs->storage != NULL) {
        if (subs->keys != NULL) {
            store_rest(subs);
        }
        subs_store_close(subs->storage);
        subs->storage = NULL;
    }
}

void
subs_free(Subs *subs)
{
    if (subs == NULL) {
        return;
    }
    subs_close(subs);
    subs_changes_done(&subs->committing);
    subs_model_free(subs->model);
    subs_keys_free(subs->keys);
    jwt_keys_free(subs->service_keys);
    pthread_mutex_destroy(&subs->mutex);
    free(subs);
}
