/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_call.c -- what each request about subscriptions does, on home's thread.
 */
#include "common/clock.h"
#include "server/subs_internal.h"
#include "server/subs_view.h"

/* ---- answers ---- */

static void
fail(SubsCall *call, int status, const char *code, const char *message)
{
    Error err;
    bool ok;

    call->status = status;
    call->code = code;
    buf_reset(&call->reply);
    ok = subs_view_error(code, message, NULL, 0, &call->reply, &err);
    DS_ASSERT(ok);
}

static void
fail_held(SubsCall *call, const Subscription *subscription)
{
    Error err;
    bool ok;

    call->status = 409;
    call->code = "ALREADY_CLAIMED";
    ok = subs_view_error(call->code, "another worker holds the lease", subscription->state.holder,
                         subscription->state.generation, &call->reply, &err);
    DS_ASSERT(ok);
}

static void
fail_fenced(SubsCall *call)
{
    metric_add(call->subs->metrics.fenced, 1);
    fail(call, 409, "FENCED", "another wake of this subscription has begun, or this one has ended");
}

static void
fail_not_found(SubsCall *call)
{
    fail(call, 404, "SUBSCRIPTION_NOT_FOUND", "there is no subscription of this id");
}

static void
put_view(SubsCall *call, Subscription *subscription, int status)
{
    SubsPlace place = {
        .origin = str_c(call->origin),
        .base_path = call->subs->base_path,
        .key_id = str_c(subs_keys_id(call->subs->keys)),
    };
    Error err;

    buf_reset(&call->reply);
    call->status = status;
    if (!subs_view_subscription(subscription, &place, &call->reply, &err)) {
        fail(call, 500, "INTERNAL_ERROR", err.text);
    }
}

static void
answered(SubsAfter *after, bool stored)
{
    SubsCall *call = DS_CONTAINER_OF(after, SubsCall, after);

    if (!stored && call->changes) {
        fail(call, 507, "INSUFFICIENT_STORAGE",
             "the change could not be stored yet; look before you try again");
    }
    subs_call_answer(call);
}

static void
finish(SubsCall *call)
{
    subs_after(call->subs, &call->after, answered);
    subs_turn(call->subs);
}

/* ---- create ---- */

static char *
dup_text(Str text)
{
    return text.ptr == NULL ? NULL : str_dup(text);
}

static SubsDefinition *
make_definition(const SubsCall *call)
{
    const SubsRequest *request = &call->request;
    SubsDefinition *definition = subs_definition_new();

    definition->id = str_dup(str_c(call->id));
    definition->type = request->type;
    definition->pattern = dup_text(request->pattern);
    definition->url = dup_text(request->url);
    definition->wake_stream = dup_text(request->wake_stream);
    definition->description = dup_text(request->description);
    definition->origin = str_dup(str_c(call->origin));
    definition->lease_ms = request->lease_ms;
    definition->created_ms = clock_wall_ms();
    memcpy(definition->hash, request->hash, sizeof(definition->hash));
    return definition;
}

static void
fail_full(SubsCall *call)
{
    fail(call, 400, "TOO_MANY_STREAMS",
         "the subscription would follow more streams than "
         "DS_LIMITS__MAX_STREAMS_PER_SUBSCRIPTION allows");
}

/* The call waited while existing streams were linked. */
static void
backfilled(void *arg, SubsBackfillEnd end)
{
    SubsCall *call = arg;
    Subscription *subscription = subs_find(call->subs, call->definition);

    if (end == SUBS_BACKFILL_GONE || subscription == NULL) {
        fail_not_found(call);
    } else if (end == SUBS_BACKFILL_FULL) {
        subs_watch_delete(call->subs, subscription);
        fail_full(call);
    } else {
        put_view(call, subscription, 201);
    }
    subs_after(call->subs, &call->after, answered);
}

static void
confirm(SubsCall *call, Subscription *subscription)
{
    if (strcmp(subscription->definition->hash, call->request.hash) == 0) {
        put_view(call, subscription, 200);
    } else {
        fail(call, 409, "SUBSCRIPTION_ALREADY_EXISTS",
             "a subscription of this id exists with another configuration");
    }
}

static void
run_create(SubsCall *call)
{
    Subs *subs = call->subs;
    const SubsRequest *request = &call->request;
    Subscription *subscription = subs_model_find(subs->model, str_c(call->id));
    SubsDefinition *definition;

    if (subscription != NULL) {
        confirm(call, subscription);
        finish(call);
        return;
    }
    definition = make_definition(call);
    if (subs_model_create(subs->model, definition, &subscription) != SUBS_OK) {
        subs_definition_drop(definition);
        fail(call, 429, "TOO_MANY_SUBSCRIPTIONS",
             "there are as many subscriptions as DS_LIMITS__MAX_SUBSCRIPTIONS allows");
        finish(call);
        return;
    }
    subs_watch_follow(subs);
    for (size_t i = 0; i < request->stream_count; i++) {
        if (subs_watch_link(subs, subscription, request->streams[i], true) != SUBS_OK) {
            subs_watch_delete(subs, subscription);
            fail_full(call);
            finish(call);
            return;
        }
    }
    if (request->pattern.ptr != NULL) {
        call->definition = subs_definition_take(definition);
        subs_watch_backfill(subs, subscription, false, backfilled, call);
        subs_turn(subs);
        return;
    }
    put_view(call, subscription, 201);
    finish(call);
}

/* ---- streams ---- */

static void
run_link(SubsCall *call, Subscription *subscription)
{
    const SubsRequest *request = &call->request;
    const char *wake_stream = subscription->definition->wake_stream;

    call->status = 204;
    for (size_t i = 0; i < request->stream_count; i++) {
        if (wake_stream != NULL && str_eq(request->streams[i], str_c(wake_stream))) {
            fail(call, 400, "INVALID_REQUEST", "a subscription cannot follow its own wake_stream");
            return;
        }
    }
    for (size_t i = 0; i < request->stream_count; i++) {
        if (subs_watch_link(call->subs, subscription, request->streams[i], true) != SUBS_OK) {
            fail_full(call);
            return;
        }
    }
}

static void
run_unlink(SubsCall *call, Subscription *subscription)
{
    call->status = 204;
    subs_model_unlink(call->subs->model, subscription, str_c(call->path), true, subs_now_ms());
    subs_watch_sweep(call->subs, str_c(call->path));
}

/* ---- wakes ---- */

/* Whether the token is of the wake that is valid now; answers otherwise. */
static bool
check_token(SubsCall *call, const Subscription *subscription)
{
    const SubsDefinition *definition = subscription->definition;
    SubsToken expected = {
        .subscription = str_c(definition->id),
        .serial = definition->serial,
        .generation = subscription->state.generation,
        .wake_id = str_c(subscription->state.wake_id),
    };

    switch (subs_token_check(call->subs->keys, str_c(call->bearer), &expected, subs_now_ms())) {
    case SUBS_TOKEN_GOOD:
        return true;
    case SUBS_TOKEN_STALE:
        fail_fenced(call);
        break;
    case SUBS_TOKEN_EXPIRED:
        fail(call, 401, "TOKEN_EXPIRED", "the token has expired");
        break;
    case SUBS_TOKEN_INVALID:
        fail(call, 401, "TOKEN_INVALID", "the request needs the token of its wake");
        break;
    }
    return false;
}

static bool
check_type(SubsCall *call, const Subscription *subscription, SubsType type)
{
    if (subscription->definition->type == type) {
        return true;
    }
    fail(call, 400, "INVALID_REQUEST",
         type == SUBS_WEBHOOK ? "the subscription is not of type webhook"
                              : "the subscription is not of type pull-wake");
    return false;
}

static void
run_ack(SubsCall *call, Subscription *subscription)
{
    const SubsRequest *request = &call->request;
    bool next = false;
    Error err;

    if (!check_type(call, subscription,
                    call->kind == SUBS_CALL_CALLBACK ? SUBS_WEBHOOK : SUBS_PULL_WAKE) ||
        !check_token(call, subscription)) {
        return;
    }
    subs_watch_refresh(subscription);
    switch (subs_model_ack(call->subs->model, subscription, request->generation, request->wake_id,
                           request->acks, request->ack_count, request->done, subs_now_ms(), &next,
                           &err)) {
    case SUBS_OK:
        call->status = 200;
        if (!buf_append(&call->reply,
                        next ? STR("{\"ok\":true,\"next_wake\":true}")
                             : STR("{\"ok\":true,\"next_wake\":false}"),
                        &err)) {
            fail(call, 500, "INTERNAL_ERROR", err.text);
        }
        break;
    case SUBS_BAD_OFFSET:
        fail(call, 409, "INVALID_OFFSET", err.text);
        break;
    case SUBS_FENCED:
    case SUBS_TOO_MANY:
    case SUBS_HELD:
    case SUBS_NO_WORK:
        fail_fenced(call);
        break;
    }
}

static void
run_release(SubsCall *call, Subscription *subscription)
{
    const SubsRequest *request = &call->request;

    if (!check_type(call, subscription, SUBS_PULL_WAKE) || !check_token(call, subscription)) {
        return;
    }
    call->status = 204;
    if (subs_model_release(call->subs->model, subscription, request->generation, request->wake_id,
                           subs_now_ms()) != SUBS_OK) {
        fail_fenced(call);
    }
}

static void
put_claim(SubsCall *call, Subscription *subscription)
{
    SubsToken token = {
        .subscription = str_c(call->id),
        .serial = subscription->definition->serial,
        .generation = subscription->state.generation,
        .wake_id = str_c(subscription->state.wake_id),
    };
    Buf text;
    Error err;

    buf_init(&text, SUBS_TOKEN_BYTES_MAX);
    call->status = 200;
    metric_add(call->subs->metrics.claims, 1);
    if (!subs_token_make(call->subs->keys, &token, subs_now_ms(), &text, &err) ||
        !subs_view_claim(subscription, buf_str(&text), &call->reply, &err)) {
        fail(call, 500, "INTERNAL_ERROR", err.text);
    }
    buf_done(&text);
}

static void
run_claim(SubsCall *call, Subscription *subscription)
{
    char wake_id[SUBS_WAKE_ID_SIZE];

    if (!check_type(call, subscription, SUBS_PULL_WAKE)) {
        return;
    }
    /* What was appended a moment ago counts, though nobody was woken for it yet. */
    subs_watch_refresh(subscription);
    subs_make_wake_id(wake_id);
    switch (subs_model_claim(call->subs->model, subscription, call->request.worker, wake_id,
                             subs_now_ms())) {
    case SUBS_OK:
        put_claim(call, subscription);
        break;
    case SUBS_HELD:
        fail_held(call, subscription);
        break;
    case SUBS_NO_WORK:
    case SUBS_TOO_MANY:
    case SUBS_FENCED:
    case SUBS_BAD_OFFSET:
        fail(call, 409, "NO_PENDING_WORK", "every stream is acked up to its end");
        break;
    }
}

/* ---- all ---- */

static void
run_on_subscription(SubsCall *call)
{
    Subscription *subscription = subs_model_find(call->subs->model, str_c(call->id));

    if (subscription == NULL) {
        fail_not_found(call);
        return;
    }
    switch (call->kind) {
    case SUBS_CALL_READ:
        put_view(call, subscription, 200);
        break;
    case SUBS_CALL_DELETE:
        call->status = 204;
        subs_watch_delete(call->subs, subscription);
        break;
    case SUBS_CALL_LINK:
        run_link(call, subscription);
        break;
    case SUBS_CALL_UNLINK:
        run_unlink(call, subscription);
        break;
    case SUBS_CALL_CALLBACK:
    case SUBS_CALL_ACK:
        run_ack(call, subscription);
        break;
    case SUBS_CALL_CLAIM:
        run_claim(call, subscription);
        break;
    case SUBS_CALL_RELEASE:
        run_release(call, subscription);
        break;
    case SUBS_CALL_CREATE:
    case SUBS_CALL_JWKS:
    case SUBS_CALL_ROTATE:
    case SUBS_CALL_COUNT:
        DS_ASSERT(false);
    }
}

static void
run_keys(SubsCall *call)
{
    Subs *subs = call->subs;
    Error err;

    if (call->kind == SUBS_CALL_ROTATE) {
        subs_keys_rotate(subs->keys, subs_now_ms());
        subs->keys_changed = true;
    }
    call->status = 200;
    if (!subs_keys_jwks(subs->keys, subs_now_ms(), &call->reply, &err)) {
        fail(call, 500, "INTERNAL_ERROR", err.text);
    }
}

void
subs_call_run(void *arg)
{
    SubsCall *call = arg;
    Subs *subs = call->subs;

    if (subs->stopped) {
        subs_call_answer(call);
        return;
    }
    call->changes = call->kind != SUBS_CALL_READ && call->kind != SUBS_CALL_JWKS;
    subs_model_tick(subs->model, subs_now_ms());
    if (call->changes && subs->stuck) {
        fail(call, 507, "INSUFFICIENT_STORAGE", "subscriptions cannot be stored now");
        subs_call_answer(call);
        return;
    }
    if (call->kind == SUBS_CALL_CREATE) {
        run_create(call);
        return;
    }
    if (call->kind == SUBS_CALL_JWKS || call->kind == SUBS_CALL_ROTATE) {
        run_keys(call);
    } else {
        run_on_subscription(call);
    }
    finish(call);
}
