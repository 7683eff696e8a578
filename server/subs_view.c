/* SPDX-License-Identifier: Apache-2.0 */
#include "server/subs_view.h"

#include <inttypes.h>

#include "common/clock.h"
#include "common/json_scan.h"
#include "common/offset.h"

static bool
put_text(Buf *out, const char *key, Str value, Error *err)
{
    return buf_printf(out, err, "\"%s\":", key) &&
           (value.ptr == NULL ? buf_append(out, STR("null"), err) : json_escape(value, out, err));
}

static bool
put_optional(Buf *out, const char *key, const char *value, Error *err)
{
    return put_text(out, key, value == NULL ? (Str){NULL, 0} : str_c(value), err) &&
           buf_append_char(out, ',', err);
}

static bool
put_offset(Buf *out, const char *key, bool known, uint64_t era, uint64_t position, Error *err)
{
    char text[OFFSET_OWN_BYTES + 1] = "-1"; /* the start of whatever will be there */

    if (known) {
        offset_format((Offset){.era = era, .position = position}, text);
    }
    return buf_printf(out, err, ",\"%s\":\"%s\"", key, text);
}

static bool
put_link(const SubsLink *link, bool with_tail, Buf *out, Error *err)
{
    const SubsCursor *cursor = &link->cursor;
    const SubsStream *stream = link->stream;

    if (!buf_append_char(out, '{', err) || !put_text(out, "path", stream->path, err) ||
        !buf_printf(out, err, ",\"link_type\":\"%s\"", cursor->is_explicit ? "explicit" : "glob") ||
        !put_offset(out, "acked_offset", cursor->placed, cursor->era, cursor->position, err)) {
        return false;
    }
    if (with_tail &&
        (!put_offset(out, "tail_offset", stream->exists, stream->at.era, stream->at.tail, err) ||
         !buf_printf(out, err, ",\"has_pending\":%s", link->pending ? "true" : "false"))) {
        return false;
    }
    return buf_append_char(out, '}', err);
}

/* Those of the list that are, or are not, pending; NULL: all. */
static bool
put_some(Subscription *subscription, const bool *pending, bool with_tail, size_t count_max,
         size_t *count, Buf *out, Error *err)
{
    const SubsLink *link = NULL;

    while ((link = subs_link_next(subscription, link)) != NULL && *count < count_max) {
        if (pending != NULL && link->pending != *pending) {
            continue;
        }
        if ((*count > 0 && !buf_append_char(out, ',', err)) ||
            !put_link(link, with_tail, out, err)) {
            return false;
        }
        (*count)++;
    }
    return true;
}

static bool
put_links(Subscription *subscription, Buf *out, Error *err)
{
    size_t count = 0;

    return buf_append(out, STR("\"streams\":["), err) &&
           put_some(subscription, NULL, false, SIZE_MAX, &count, out, err) &&
           buf_append_char(out, ']', err);
}

/* What there is to do comes first, in the order in which the wake's snapshot took it. */
static bool
put_work(Subscription *subscription, Buf *out, Error *err)
{
    static const bool yes = true;
    static const bool no = false;
    size_t count = 0;

    return buf_append(out, STR("\"streams\":["), err) &&
           put_some(subscription, &yes, true, SUBS_WAKE_STREAMS_MAX, &count, out, err) &&
           put_some(subscription, &no, true, SUBS_WAKE_STREAMS_MAX, &count, out, err) &&
           buf_append_char(out, ']', err);
}

static bool
put_webhook(const SubsDefinition *definition, const SubsPlace *place, Buf *out, Error *err)
{
    Buf jwks_url;
    bool ok;

    if (definition->type != SUBS_WEBHOOK) {
        return buf_append(out, STR("\"webhook\":null,"), err);
    }
    buf_init(&jwks_url, SUBS_VIEW_BYTES_MAX);
    ok = buf_printf(&jwks_url, err, "%.*s%.*s/__ds/jwks.json", STR_ARG(place->origin),
                    STR_ARG(place->base_path)) &&
         buf_append(out, STR("\"webhook\":{"), err) &&
         put_text(out, "url", str_c(definition->url), err) &&
         buf_append(out, STR(",\"signing\":{\"alg\":\"ed25519\","), err) &&
         put_text(out, "kid", place->key_id, err) && buf_append_char(out, ',', err) &&
         put_text(out, "jwks_url", buf_str(&jwks_url), err) && buf_append(out, STR("}},"), err);
    buf_done(&jwks_url);
    return ok;
}

bool
subs_view_subscription(Subscription *subscription, const SubsPlace *place, Buf *out, Error *err)
{
    const SubsDefinition *definition = subscription->definition;
    char created[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(definition->created_ms, created);
    return buf_append_char(out, '{', err) && put_optional(out, "id", definition->id, err) &&
           put_optional(out, "subscription_id", definition->id, err) &&
           put_optional(out, "type", definition->type == SUBS_WEBHOOK ? "webhook" : "pull-wake",
                        err) &&
           put_optional(out, "pattern", definition->pattern, err) &&
           put_links(subscription, out, err) && buf_append_char(out, ',', err) &&
           put_webhook(definition, place, out, err) &&
           put_optional(out, "wake_stream", definition->wake_stream, err) &&
           buf_printf(out, err, "\"lease_ttl_ms\":%" PRId64 ",", definition->lease_ms) &&
           put_optional(out, "created_at", created, err) &&
           put_optional(out, "status", subscription->state.failed ? "failed" : "active", err) &&
           put_text(out, "description",
                    definition->description == NULL ? (Str){NULL, 0}
                                                    : str_c(definition->description),
                    err) &&
           buf_append_char(out, '}', err);
}

/* What a wake is, to whoever is to do its work. */
static bool
put_wake(Subscription *subscription, Buf *out, Error *err)
{
    return put_text(out, "wake_id", str_c(subscription->state.wake_id), err) &&
           buf_printf(out, err, ",\"generation\":%" PRIu64 ",", subscription->state.generation) &&
           put_work(subscription, out, err);
}

bool
subs_view_claim(Subscription *subscription, Str token, Buf *out, Error *err)
{
    return buf_append_char(out, '{', err) && put_wake(subscription, out, err) &&
           buf_append_char(out, ',', err) && put_text(out, "token", token, err) &&
           buf_printf(out, err, ",\"lease_ttl_ms\":%" PRId64 "}",
                      subscription->definition->lease_ms);
}

/* A path segment of a URL: all but the unreserved characters encoded. */
static bool
put_segment(Str text, Buf *out, Error *err)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool ok = memchr(plain, c, sizeof(plain) - 1) != NULL ? buf_append_char(out, (char)c, err)
                                                              : buf_printf(out, err, "%%%02X", c);

        if (!ok) {
            return false;
        }
    }
    return true;
}

bool
subs_view_notification(Subscription *subscription, const SubsPlace *place, Str token, Buf *out,
                       Error *err)
{
    Str id = str_c(subscription->definition->id);
    Buf url;
    bool ok;

    buf_init(&url, SUBS_VIEW_BYTES_MAX);
    ok = buf_printf(&url, err, "%.*s%.*s/__ds/subscriptions/", STR_ARG(place->origin),
                    STR_ARG(place->base_path)) &&
         put_segment(id, &url, err) && buf_append(&url, STR("/callback"), err) &&
         buf_append_char(out, '{', err) && put_text(out, "subscription_id", id, err) &&
         buf_append_char(out, ',', err) && put_wake(subscription, out, err) &&
         buf_append_char(out, ',', err) && put_text(out, "callback_url", buf_str(&url), err) &&
         buf_append_char(out, ',', err) && put_text(out, "callback_token", token, err) &&
         buf_append_char(out, '}', err);
    buf_done(&url);
    return ok;
}

bool
subs_view_event(Subscription *subscription, int64_t now_ms, Buf *out, Error *err)
{
    const SubsLink *link = NULL;

    while ((link = subs_link_next(subscription, link)) != NULL && !link->pending) {
    }
    return buf_append(out, STR("{\"type\":\"wake\","), err) &&
           put_text(out, "subscription_id", str_c(subscription->definition->id), err) &&
           buf_append_char(out, ',', err) &&
           put_text(out, "stream", link == NULL ? (Str){NULL, 0} : link->stream->path, err) &&
           buf_printf(out, err, ",\"generation\":%" PRIu64 ",\"ts\":%" PRId64 "}",
                      subscription->state.generation, now_ms);
}

bool
subs_view_error(const char *code, const char *message, const char *holder, uint64_t generation,
                Buf *out, Error *err)
{
    return buf_printf(out, err, "{\"error\":{\"code\":\"%s\",", code) &&
           (holder == NULL || (put_text(out, "current_holder", str_c(holder), err) &&
                               buf_printf(out, err, ",\"generation\":%" PRIu64 ",", generation))) &&
           put_text(out, "message", str_is_utf8(str_c(message)) ? str_c(message) : STR(""), err) &&
           buf_append(out, STR("}}"), err);
}
