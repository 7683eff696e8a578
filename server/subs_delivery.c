/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/subs_delivery.c -- webhooks: signed, sent once the wake is stored, and judged by the
 * answer (protocol 7.1).
 *
 * A wake has one request.  What goes wrong is for the state machine to try again, as a new wake.
 * Redirects are not followed; each connection is new, and its address judged before it is opened.
 */
#include "server/subs_internal.h"

#include "common/log.h"
#include "common/mem.h"
#include "server/subs_address.h"
#include "server/subs_view.h"

#define SIGNATURE_BYTES_MAX 512

static const LogScope scope = {.name = "server.subscriptions"};

struct SubsDelivery {
    SubsAfter after; /* first member */
    LIST_ENTRY(SubsDelivery) entry;
    Subs *subs;
    SubsDefinition *definition; /* a reference */
    uint64_t generation;
    Buf body;
    Buf answer;
    bool too_long;
    HttpTransfer *transfer; /* NULL: not begun, or done */
};

static void
delivery_free(SubsDelivery *delivery)
{
    LIST_REMOVE(delivery, entry);
    delivery->subs->delivery_count--;
    subs_definition_drop(delivery->definition);
    buf_done(&delivery->body);
    buf_done(&delivery->answer);
    free(delivery);
}

static void
say_outcome(const SubsDelivery *delivery, const Subscription *subscription, bool was_failed,
            const char *reason)
{
    Str id = str_c(delivery->definition->id);

    if (reason != NULL && !was_failed) {
        log_warn(&scope, EVENT_SUBS_WEBHOOK_FAILED,
                 LOG_FIELDS(log_str("subscription", id), log_str("reason", str_c(reason)),
                            log_u64("generation", delivery->generation)),
                 "a webhook failed; it is tried again until it succeeds");
    } else if (reason == NULL && was_failed && !subscription->state.failed) {
        log_info(&scope, LOG_FIELDS(log_str("subscription", id)), "the webhook succeeds again");
    }
}

/* reason: NULL when it was accepted. */
static void
conclude(SubsDelivery *delivery, SubsOutcome outcome, int64_t retry_ms, const char *reason)
{
    Subs *subs = delivery->subs;
    Subscription *subscription = subs_find(subs, delivery->definition);

    metric_add(outcome == SUBS_FAILED ? subs->metrics.failed : subs->metrics.delivered, 1);
    if (subscription != NULL) {
        bool was_failed = subscription->was_failing;

        subs_model_outcome(subs->model, subscription, delivery->generation, outcome, retry_ms,
                           subs_now_ms());
        subscription->was_failing = reason != NULL;
        say_outcome(delivery, subscription, was_failed, reason);
    }
    delivery_free(delivery);
    subs_turn(subs);
}

static void
on_answer(void *arg, Str bytes)
{
    SubsDelivery *delivery = arg;
    Error err;

    if (!delivery->too_long && !buf_append(&delivery->answer, bytes, &err)) {
        delivery->too_long = true;
        http_transfer_cancel(delivery->transfer);
        delivery->transfer = NULL;
        conclude(delivery, SUBS_FAILED, 0, "the answer is too long");
    }
}

static void
on_done(void *arg, const HttpResult *result)
{
    SubsDelivery *delivery = arg;
    char reason[64];

    delivery->transfer = NULL;
    if (!result->ok) {
        if (result->err.code == ERR_CONFIG) {
            metric_add(delivery->subs->metrics.refused, 1);
        }
        conclude(delivery, SUBS_FAILED, result->retry_after_ms, result->err.text);
    } else if (result->status < 200 || result->status > 299) {
        (void)snprintf(reason, sizeof(reason), "it was answered with status %d", result->status);
        conclude(delivery, SUBS_FAILED, result->retry_after_ms, reason);
    } else {
        conclude(delivery,
                 subs_answer_is_done(buf_str(&delivery->answer)) ? SUBS_DONE : SUBS_DELIVERED, 0,
                 NULL);
    }
}

static bool
allow(void *arg, const struct sockaddr *address)
{
    const SubsDelivery *delivery = arg;

    return subs_address_allowed(address,
                                str_starts_nocase(str_c(delivery->definition->url), STR("https:")),
                                delivery->subs->config->subscriptions.allow_insecure_webhooks);
}

/* libcurl takes memory as soon as there is a client, and most servers send no webhook. */
static HttpClient *
client_of(Subs *subs)
{
    if (subs->client == NULL) {
        HttpClientConfig config = {
            .user_agent = "ds-server/" DS_VERSION,
            .ca_file = subs->config->subscriptions.webhook_ca_path,
            .connect_ms_max = SUBS_CONNECT_MS_MAX,
        };

        subs->client = http_client_new(subs->loop, &config);
    }
    return subs->client;
}

static void
begin(SubsDelivery *delivery)
{
    static const HttpCallbacks callbacks = {.on_body = on_answer, .on_done = on_done};
    Subs *subs = delivery->subs;
    Buf signature;
    const char *headers[] = {"Content-Type: application/json", NULL, NULL};
    HttpRequest request = {
        .method = "POST",
        .url = delivery->definition->url,
        .headers = headers,
        .body = buf_str(&delivery->body),
        .has_body = true,
        .total_ms_max = DS_MIN((int64_t)SUBS_ANSWER_MS_MAX, delivery->definition->lease_ms),
        .allow = allow,
    };
    Error err;
    bool ok;

    buf_init(&signature, SIGNATURE_BYTES_MAX);
    ok = buf_append(&signature, STR("Webhook-Signature: "), &err) &&
         subs_keys_sign(subs->keys, buf_str(&delivery->body), subs_now_ms() / 1000, &signature,
                        &err);
    DS_ASSERT(ok);
    headers[1] = buf_cstr(&signature);
    delivery->transfer = http_start(client_of(subs), &request, &callbacks, delivery);
    buf_done(&signature);
}

static void
stored(SubsAfter *after, bool is_stored)
{
    SubsDelivery *delivery = DS_CONTAINER_OF(after, SubsDelivery, after);
    Subscription *subscription = subs_find(delivery->subs, delivery->definition);

    /* Whoever got the wake by then, or nobody: it comes again when its lease ends. */
    if (!is_stored || subscription == NULL ||
        subscription->state.generation != delivery->generation ||
        subscription->state.phase != SUBS_WAKING) {
        delivery_free(delivery);
    } else {
        begin(delivery);
    }
}

static bool
make_body(Subs *subs, Subscription *subscription, Buf *out, Error *err)
{
    const SubsDefinition *definition = subscription->definition;
    SubsPlace place = {.origin = str_c(definition->origin), .base_path = subs->base_path};
    SubsToken token = {
        .subscription = str_c(definition->id),
        .serial = definition->serial,
        .generation = subscription->state.generation,
        .wake_id = str_c(subscription->state.wake_id),
    };
    Buf text;
    bool ok;

    buf_init(&text, SUBS_TOKEN_BYTES_MAX);
    ok = subs_token_make(subs->keys, &token, subs_now_ms(), &text, err) &&
         subs_view_notification(subscription, &place, buf_str(&text), out, err);
    buf_done(&text);
    return ok;
}

void
subs_deliver(Subs *subs, Subscription *subscription)
{
    SubsDelivery *delivery = mem_zalloc(sizeof(*delivery));
    Error err;
    bool ok;

    delivery->subs = subs;
    delivery->definition = subs_definition_take(subscription->definition);
    delivery->generation = subscription->state.generation;
    buf_init(&delivery->body, SUBS_VIEW_BYTES_MAX);
    buf_init(&delivery->answer, SUBS_ANSWER_BYTES_MAX);
    LIST_INSERT_HEAD(&subs->deliveries, delivery, entry);
    subs->delivery_count++;
    /* Bounded by the limits of streams and names. */
    ok = make_body(subs, subscription, &delivery->body, &err);
    DS_ASSERT(ok);
    subs_after(subs, &delivery->after, stored);
}

void
subs_delivery_stop(Subs *subs)
{
    SubsDelivery *delivery;
    SubsDelivery *next;

    LIST_FOREACH_SAFE (delivery, &subs->deliveries, entry, next) {
        if (delivery->transfer != NULL) {
            http_transfer_cancel(delivery->transfer);
            delivery_free(delivery);
        }
    }
}
