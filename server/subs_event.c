/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_event.c -- a pull-wake's event, appended to its wake stream like anybody's message
 * (protocol 7.2).
 */
#include "common/ds_proto.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/payload.h"
#include "server/subs_internal.h"
#include "server/subs_view.h"

#define EVENT_BYTES_MAX 65536

static const LogScope scope = {.name = "server.subscriptions"};

typedef struct SubsEvent {
    SubsAfter after;
    StoreOp op;
    Subs *subs;
    SubsDefinition *definition; /* a reference */
    uint64_t generation;
    Buf text;
    Payload payload;
} SubsEvent;

static void
event_free(SubsEvent *event)
{
    stream_drop(event->op.stream);
    payload_done(&event->payload);
    buf_done(&event->text);
    subs_definition_drop(event->definition);
    free(event);
}

static const char *
problem_of(const SubsEvent *event)
{
    const StoreResult *result = &event->op.result;

    if (event->op.stream == NULL) {
        return "the wake stream does not exist";
    }
    if (result->verdict == STORE_DONE) {
        return NULL;
    }
    if (result->verdict == STORE_NO_SPACE) {
        return "the disk is full";
    }
    if (result->verdict != STORE_REFUSED) {
        return "the wake stream was deleted";
    }
    switch (result->append) {
    case APPEND_CLOSED:
        return "the wake stream is closed";
    case APPEND_TYPE_MISMATCH:
        return "the wake stream is not application/json";
    case APPEND_STREAM_FULL:
    case APPEND_STORE_FULL:
        return "the wake stream would grow over a limit";
    default:
        return "the wake stream takes no events";
    }
}

/* On home's thread. */
static void
finished(void *arg)
{
    SubsEvent *event = arg;
    Subs *subs = event->subs;
    Subscription *subscription = subs_find(subs, event->definition);
    const char *problem = problem_of(event);

    metric_add(problem == NULL ? subs->metrics.events : subs->metrics.events_failed, 1);
    if (subscription != NULL) {
        if (problem != NULL && !subscription->was_failing) {
            log_warn(&scope, EVENT_SUBS_EVENT_FAILED,
                     LOG_FIELDS(log_str("subscription", str_c(event->definition->id)),
                                log_str("stream", str_c(event->definition->wake_stream)),
                                log_str("reason", str_c(problem))),
                     "a wake event cannot be written; it is tried again until it can");
        }
        subscription->was_failing = problem != NULL;
        subs_model_outcome(subs->model, subscription, event->generation,
                           problem == NULL ? SUBS_DELIVERED : SUBS_FAILED, 0, subs_now_ms());
    }
    event_free(event);
    subs_turn(subs);
}

/* On a thread of the store's. */
static void
appended(StoreOp *op)
{
    SubsEvent *event = DS_CONTAINER_OF(op, SubsEvent, op);

    if (!subs_post_home(event->subs, finished, event)) {
        event_free(event);
    }
}

static void
write_event(SubsEvent *event)
{
    event->op.stream = store_find(event->subs->store, str_c(event->definition->wake_stream));
    if (event->op.stream == NULL) {
        appended(&event->op);
        return;
    }
    event->op.kind = STORE_APPEND;
    event->op.done = appended;
    event->op.append.content_type = STR(DS_MEDIA_JSON);
    event->op.append.payload = event->payload.view;
    store_submit(event->subs->store, &event->op);
}

static void
stored(SubsAfter *after, bool is_stored)
{
    SubsEvent *event = DS_CONTAINER_OF(after, SubsEvent, after);

    if (is_stored) {
        write_event(event);
        return;
    }
    /* Nobody would claim what nobody heard of. */
    Subscription *subscription = subs_find(event->subs, event->definition);
    if (subscription != NULL) {
        subs_model_outcome(event->subs->model, subscription, event->generation, SUBS_FAILED, 0,
                           subs_now_ms());
    }
    event_free(event);
}

void
subs_write_event(Subs *subs, Subscription *subscription)
{
    SubsEvent *event = mem_zalloc(sizeof(*event));
    Error err;
    bool ok;

    event->subs = subs;
    event->definition = subs_definition_take(subscription->definition);
    event->generation = subscription->state.generation;
    buf_init(&event->text, EVENT_BYTES_MAX);
    payload_init(&event->payload);
    /* Bounded by the limits of names. */
    ok = subs_view_event(subscription, subs_now_ms(), &event->text, &err) &&
         payload_set_json(&event->payload, buf_str(&event->text), &err);
    DS_ASSERT(ok);
    subs_after(subs, &event->after, stored);
}
