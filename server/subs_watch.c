/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_watch.c -- the streams of subscriptions: how far they are, which come and go.
 */
#include "server/subs_internal.h"

#include "common/log.h"
#include "common/mem.h"
#include "common/stream_glob.h"
#include "server/fork.h"

static const LogScope scope = {.name = "server.subscriptions"};

struct SubsWatch {
    Waiter waiter;
    LIST_ENTRY(SubsWatch) entry;
    Subs *subs;
    SubsStream *of;
    Stream *stream;
};

/* ---- one stream ---- */

static bool
look(Stream *stream, SubsTail *out)
{
    StreamInfo info;

    store_stream_info(stream, &info);
    *out = (SubsTail){
        .id = stream->id,
        .era = stream->era,
        .origin = stream->fork_at,
        .tail = info.tail.position,
    };
    return fork_presence(stream) == FORK_ALIVE;
}

static void
watch_end(SubsWatch *watch)
{
    watch->of->watch = NULL;
    wake_leave(&watch->waiter);
    LIST_REMOVE(watch, entry);
    stream_drop(watch->stream);
    free(watch);
}

/* Tells the model; the watch may be gone afterwards. */
static void
watch_look(SubsWatch *watch)
{
    Subs *subs = watch->subs;
    SubsStream *of = watch->of;
    SubsTail at;

    if (look(watch->stream, &at)) {
        subs_model_stream_is(subs->model, of, &at, subs_now_ms());
    } else {
        watch_end(watch);
        subs_model_stream_gone(subs->model, of, subs_now_ms());
    }
}

static void
on_stream(Waiter *waiter)
{
    SubsWatch *watch = DS_CONTAINER_OF(waiter, SubsWatch, waiter);
    Subs *subs = watch->subs;

    watch_look(watch);
    subs_turn_later(subs);
}

/* Takes the reference. */
static SubsWatch *
watch_new(Subs *subs, SubsStream *of, Stream *stream)
{
    SubsWatch *watch = mem_zalloc(sizeof(*watch));

    watch->waiter.on_wake = on_stream;
    watch->subs = subs;
    watch->of = of;
    watch->stream = stream;
    of->watch = watch;
    LIST_INSERT_HEAD(&subs->watches, watch, entry);
    store_wait(stream, atomic_load(&subs->home), &watch->waiter);
    return watch;
}

/* The stream of that path as it is now, which may be another than before. */
static void
watch_find(Subs *subs, SubsStream *of)
{
    Stream *stream = store_find(subs->store, of->path);
    SubsWatch *watch = of->watch;

    if (watch != NULL && watch->stream == stream) {
        stream_drop(stream);
    } else {
        if (watch != NULL) {
            watch_end(watch);
        }
        watch = stream == NULL ? NULL : watch_new(subs, of, stream);
    }
    if (watch != NULL) {
        watch_look(watch);
    } else {
        subs_model_stream_gone(subs->model, of, subs_now_ms());
    }
}

/* ---- links ---- */

/* Takes the reference; NULL: there is no stream. */
static SubsVerdict
link_stream(Subs *subs, Subscription *subscription, Str path, bool is_explicit, Stream *stream,
            bool from_origin)
{
    SubsTail at;
    bool exists = stream != NULL && look(stream, &at);
    SubsLink *link = NULL;
    SubsVerdict verdict;

    if (!exists && !is_explicit) {
        stream_drop(stream);
        return SUBS_OK;
    }
    verdict = subs_model_link(subs->model, subscription, path, is_explicit, exists ? &at : NULL,
                              from_origin, subs_now_ms(), &link);
    if (verdict == SUBS_OK && exists && link->stream->watch == NULL) {
        /* It may have moved on since. */
        watch_look(watch_new(subs, link->stream, stream));
    } else {
        stream_drop(stream);
    }
    return verdict;
}

SubsVerdict
subs_watch_link(Subs *subs, Subscription *subscription, Str path, bool is_explicit)
{
    return link_stream(subs, subscription, path, is_explicit, store_find(subs->store, path), false);
}

void
subs_watch_sweep(Subs *subs, Str path)
{
    SubsStream *stream = subs_model_stream(subs->model, path);

    if (stream != NULL && LIST_EMPTY(&stream->links)) {
        if (stream->watch != NULL) {
            watch_end(stream->watch);
        }
        subs_model_stream_sweep(subs->model, stream);
    }
}

void
subs_watch_delete(Subs *subs, Subscription *subscription)
{
    SubsLink *link = NULL;

    while ((link = subs_link_next(subscription, link)) != NULL) {
        if (link->stream->watch != NULL &&
            LIST_NEXT(LIST_FIRST(&link->stream->links), by_stream) == NULL) {
            watch_end(link->stream->watch);
        }
    }
    subs_model_delete(subs->model, subscription);
}

void
subs_watch_refresh(Subscription *subscription)
{
    SubsLink *link = subs_link_next(subscription, NULL);

    while (link != NULL) {
        /* A look can take the link away, when its stream is deleted. */
        SubsLink *next = subs_link_next(subscription, link);
        SubsWatch *watch = link->stream->watch;

        if (watch != NULL) {
            watch_look(watch);
        }
        link = next;
    }
}

static bool
wants(const Subscription *subscription, Str path)
{
    const SubsDefinition *definition = subscription->definition;

    return definition->pattern != NULL &&
           (definition->wake_stream == NULL || !str_eq(str_c(definition->wake_stream), path)) &&
           stream_glob_match(str_c(definition->pattern), path);
}

static void
say_full(Subs *subs, Subscription *subscription)
{
    metric_add(subs->metrics.unlinked, 1);
    if (!subscription->link_limit_said) {
        subscription->link_limit_said = true;
        log_warn(&scope, EVENT_SUBS_STREAMS_FULL,
                 LOG_FIELDS(log_str("subscription", str_c(subscription->definition->id)),
                            log_u64("streams", subscription->link_count)),
                 "streams that match the pattern are not followed: there are as many as allowed");
    }
}

/* ---- backfill ---- */

struct SubsBackfill {
    STAILQ_ENTRY(SubsBackfill) entry;
    SubsDefinition *definition; /* a reference */
    bool from_origin;
    Buf after; /* the last name looked at */
    void (*done)(void *arg, SubsBackfillEnd end);
    void *arg;
};

static void
backfill_end(Subs *subs, SubsBackfill *backfill, SubsBackfillEnd end)
{
    STAILQ_REMOVE(&subs->backfills, backfill, SubsBackfill, entry);
    if (backfill->done != NULL) {
        backfill->done(backfill->arg, end);
    }
    buf_done(&backfill->after);
    subs_definition_drop(backfill->definition);
    free(backfill);
}

static SubsVerdict
backfill_streams(Subs *subs, Subscription *subscription, bool from_origin, Stream **streams,
                 size_t count)
{
    SubsVerdict verdict = SUBS_OK;

    for (size_t i = 0; i < count; i++) {
        if (verdict == SUBS_OK && wants(subscription, streams[i]->name)) {
            verdict =
                link_stream(subs, subscription, streams[i]->name, false, streams[i], from_origin);
        } else {
            stream_drop(streams[i]);
        }
    }
    return verdict;
}

/* One page. */
static void
backfill_step(Subs *subs, SubsBackfill *backfill)
{
    Subscription *subscription = subs_find(subs, backfill->definition);
    Stream *streams[SUBS_LIST_PAGE];
    SubsVerdict verdict;
    size_t count;
    Error err;
    bool ok;

    if (subscription == NULL) {
        backfill_end(subs, backfill, SUBS_BACKFILL_GONE);
        return;
    }
    count = registry_list(subs->store->registry, FORK_ALIVE,
                          stream_glob_prefix(str_c(backfill->definition->pattern)),
                          buf_str(&backfill->after), streams, SUBS_LIST_PAGE);
    if (count > 0) {
        buf_reset(&backfill->after);
        ok = buf_append(&backfill->after, streams[count - 1]->name, &err);
        DS_ASSERT(ok);
    }
    verdict = backfill_streams(subs, subscription, backfill->from_origin, streams, count);
    if (verdict != SUBS_OK) {
        if (backfill->done == NULL) {
            say_full(subs, subscription);
        }
        backfill_end(subs, backfill, SUBS_BACKFILL_FULL);
    } else if (count < SUBS_LIST_PAGE) {
        backfill_end(subs, backfill, SUBS_BACKFILL_DONE);
    }
}

static void backfill_later(Subs *subs);

static void
on_backfill(void *arg)
{
    Subs *subs = arg;
    SubsBackfill *first = STAILQ_FIRST(&subs->backfills);

    subs->backfill_posted = false;
    if (subs->stopped || first == NULL) {
        return;
    }
    backfill_step(subs, first);
    backfill_later(subs);
    subs_turn(subs);
}

static void
backfill_later(Subs *subs)
{
    if (!STAILQ_EMPTY(&subs->backfills) && !subs->backfill_posted) {
        subs->backfill_posted = subs_post_home(subs, on_backfill, subs);
    }
}

void
subs_watch_backfill(Subs *subs, Subscription *subscription, bool from_origin,
                    void (*done)(void *arg, SubsBackfillEnd end), void *arg)
{
    SubsBackfill *backfill = mem_zalloc(sizeof(*backfill));

    DS_ASSERT(subscription->definition->pattern != NULL);
    backfill->definition = subs_definition_take(subscription->definition);
    backfill->from_origin = from_origin;
    buf_init(&backfill->after, HTTP_TARGET_BYTES_MAX);
    backfill->done = done;
    backfill->arg = arg;
    STAILQ_INSERT_TAIL(&subs->backfills, backfill, entry);
    backfill_later(subs);
}

/* ---- streams that come ---- */

static void
created(Subs *subs, Str path)
{
    SubsStream *known = subs_model_stream(subs->model, path);
    Subscription *subscription = subs_model_next(subs->model, STR_EMPTY);

    if (known != NULL) {
        watch_find(subs, known);
    }
    for (; subscription != NULL; subscription = subs_model_following(subscription)) {
        Stream *stream;

        if (!wants(subscription, path) || (stream = store_find(subs->store, path)) == NULL) {
            continue;
        }
        if (link_stream(subs, subscription, path, false, stream, true) != SUBS_OK) {
            say_full(subs, subscription);
        }
    }
}

/* Too much has happened to follow: everything is looked at again. */
static void
look_at_all(Subs *subs)
{
    Subscription *subscription = subs_model_next(subs->model, STR_EMPTY);
    Buf after;
    SubsStream *stream;
    Error err;
    bool ok;

    buf_init(&after, HTTP_TARGET_BYTES_MAX);
    while ((stream = subs_model_next_stream(subs->model, buf_str(&after))) != NULL) {
        buf_reset(&after);
        ok = buf_append(&after, stream->path, &err);
        DS_ASSERT(ok);
        watch_find(subs, stream);
    }
    buf_done(&after);
    for (; subscription != NULL; subscription = subs_model_following(subscription)) {
        if (subscription->definition->pattern != NULL) {
            subs_watch_backfill(subs, subscription, true, NULL, NULL);
        }
    }
}

static void
read_journal(Subs *subs)
{
    JournalEntry entries[64];
    size_t count = 0;
    Error err;

    do {
        if (!journal_read(subs->store->journal, subs->journal_token, entries, DS_COUNT(entries),
                          &count, &subs->journal_token, &err)) {
            subs->journal_token = journal_token(subs->store->journal);
            look_at_all(subs);
            return;
        }
        for (size_t i = 0; i < count; i++) {
            if (entries[i].kind == JOURNAL_CREATED) {
                created(subs, str_n(entries[i].name, entries[i].name_len));
            }
            free(entries[i].name);
        }
    } while (count == DS_COUNT(entries));
}

static void
on_journal(Waiter *waiter)
{
    Subs *subs = DS_CONTAINER_OF(waiter, Subs, journal_waiter);

    if (subs_model_count(subs->model) == 0) {
        wake_leave(&subs->journal_waiter);
        return;
    }
    read_journal(subs);
    subs_turn_later(subs);
}

void
subs_watch_follow(Subs *subs)
{
    if (subs->journal_waiter.group == NULL) {
        subs->journal_waiter.on_wake = on_journal;
        journal_wait(subs->store->journal, atomic_load(&subs->home), &subs->journal_waiter);
        subs->journal_token = journal_token(subs->store->journal);
    }
}

void
subs_watch_start(Subs *subs)
{
    if (subs_model_count(subs->model) > 0) {
        subs_watch_follow(subs);
        look_at_all(subs);
    }
}

void
subs_watch_stop(Subs *subs)
{
    SubsWatch *watch;
    SubsBackfill *backfill;

    wake_leave(&subs->journal_waiter);
    while ((watch = LIST_FIRST(&subs->watches)) != NULL) {
        watch_end(watch);
    }
    while ((backfill = STAILQ_FIRST(&subs->backfills)) != NULL) {
        backfill_end(subs, backfill, SUBS_BACKFILL_GONE);
    }
}
