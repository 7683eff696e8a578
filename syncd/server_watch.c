/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/server_watch_internal.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "syncd/peer_clock.h"

#define CALM_MS     1000 /* between two answers that came at once and said nothing */
#define VIEW_MS     1000 /* between two looks at subscriptions, a millisecond per stream */
#define VIEW_MS_MAX 5000

static const LogScope scope = {.name = "syncd.directory"};

static const uint32_t watch_edges[WATCH_STATE_COUNT] = {
    [WATCH_IDLE] = DS_BIT(WATCH_LIST) | DS_BIT(WATCH_WAKE),
    [WATCH_LIST] =
        DS_BIT(WATCH_IDLE) | DS_BIT(WATCH_LIST) | DS_BIT(WATCH_FOLLOW) | DS_BIT(WATCH_PAUSE),
    [WATCH_FOLLOW] =
        DS_BIT(WATCH_IDLE) | DS_BIT(WATCH_LIST) | DS_BIT(WATCH_FOLLOW) | DS_BIT(WATCH_PAUSE),
    [WATCH_WAKE] = DS_BIT(WATCH_IDLE) | DS_BIT(WATCH_SUBSCRIBE) | DS_BIT(WATCH_PAUSE),
    [WATCH_SUBSCRIBE] =
        DS_BIT(WATCH_IDLE) | DS_BIT(WATCH_SUBSCRIBE) | DS_BIT(WATCH_VIEW) | DS_BIT(WATCH_PAUSE),
    [WATCH_VIEW] = DS_BIT(WATCH_IDLE) | DS_BIT(WATCH_VIEW) | DS_BIT(WATCH_PAUSE),
    [WATCH_PAUSE] = DS_BIT(WATCH_IDLE) | DS_BIT(WATCH_LIST) | DS_BIT(WATCH_FOLLOW) |
                    DS_BIT(WATCH_WAKE) | DS_BIT(WATCH_VIEW),
};

static void watch_enter(ServerWatch *watch, WatchState state);

/* --- decisions --- */

static void
watch_pause(ServerWatch *watch, int64_t delay_ms, WatchState next)
{
    watch_enter(watch, WATCH_PAUSE);
    watch->next = next;
    timer_start(watch->timer, delay_ms);
}

static void
watch_begin(ServerWatch *watch)
{
    watch->at = 0;
    watch->root_at = 0;
    watch->seen = 0;
    watch->followed = false;
    buf_reset(&watch->listing.next);
    watch->callbacks->begin(watch->arg, watch->config.server);
}

static void
watch_enter(ServerWatch *watch, WatchState state)
{
    DS_ASSERT((watch_edges[watch->state] & DS_BIT(state)) != 0);
    watch->state = state;
    watch->refused = false;
    if (state != WATCH_IDLE && state != WATCH_PAUSE) {
        watch_ask(watch);
    }
}

void
watch_failed(ServerWatch *watch, const Error *err, int64_t floor_ms)
{
    /* What was asked first is asked again: a listing that broke off says nothing about its rest. */
    WatchState next = watch->state;

    if (next == WATCH_SUBSCRIBE || next == WATCH_VIEW) {
        next = WATCH_WAKE;
    }
    int64_t delay_ms = backoff_next_ms(&watch->backoff, floor_ms);
    watch->trouble = *err;
    if (!watch->said) {
        watch->said = true;
        log_warn(&scope, EVENT_DIRECTORY_TROUBLE,
                 LOG_FIELDS(log_str("server", str_c(watch->config.server->name))),
                 "streams that match patterns cannot be looked for: %s; tries again", err->text);
    }
    watch_pause(watch, delay_ms, next);
}

void
watch_refused(ServerWatch *watch)
{
    Error err;

    (void)error_set(&err, ERR_RETRY, "the server answers %d", watch->status);
    watch->callbacks->on_refused(watch->arg);
    bool renewed = watch->token_version != watch->config.server->token_version;
    watch_failed(watch, &err, renewed ? 0 : watch->config.backoff_max_ms);
    watch->refused = true;
}

/* All of what was asked in a row is answered: one page, or one view, that is well says nothing
 * about the others. */
static void
watch_went_well(ServerWatch *watch)
{
    backoff_reset(&watch->backoff);
    watch->trouble = (Error){0};
    if (watch->said) {
        watch->said = false;
        log_info(&scope, LOG_FIELDS(log_str("server", str_c(watch->config.server->name))),
                 "streams that match patterns are looked for again");
    }
}

static void
watch_on_timer(void *arg)
{
    ServerWatch *watch = arg;

    if (watch->next == WATCH_LIST || watch->next == WATCH_WAKE || watch->next == WATCH_VIEW) {
        watch_begin(watch);
    }
    watch_enter(watch, watch->next);
}

/* When a stream was made at the latest, by our clock; 0: nobody knows.  Later than it was is
 * harmless: it counts as newer than routes that were there before, and is read from its start. */
static int64_t
watch_created_ms(const ServerWatch *watch, const ListingStream *stream)
{
    int64_t now_ms = clock_wall_ms();
    PeerClock clock = {
        .asked_ms = watch->asked_wall_ms, .answered_ms = now_ms, .peer_ms = stream->told_ms};

    if (watch->state == WATCH_VIEW) {
        return view_memory_see(&watch->memories[watch->at], stream->name, now_ms);
    }
    /* It was there when it was told of. */
    return stream->created_ms == 0 || stream->told_ms == 0
               ? now_ms
               : peer_clock_latest_ms(&clock, stream->created_ms);
}

static void
watch_on_stream(void *arg, const ListingStream *stream)
{
    ServerWatch *watch = arg;
    ListingStream told = *stream;

    if (str_eq(stream->name, STR(WATCH_WAKE_STREAM))) {
        return; /* ours, whatever matches it */
    }
    watch->seen++;
    told.created_ms = watch_created_ms(watch, stream);
    watch->callbacks->tell(watch->arg, watch->config.server, &told);
}

static bool
watch_expect_200(const ServerWatch *watch, Error *err)
{
    return watch->status == 200 ||
           error_set(err, ERR_RETRY, "the server answers %d%s", watch->status,
                     watch->state == WATCH_LIST
                         ? " to /admin/streams; SYNCD_ADMIN_URLS must name its admin listener"
                         : "");
}

/* Names are sorted: a page that does not go on behind what it was asked for would be asked for
 * without end. */
static bool
watch_read_page(ServerWatch *watch, Error *err)
{
    Listing page;
    bool ok;

    listing_init(&page);
    ok = listing_read_page(buf_str(&watch->body), watch_on_stream, watch, &page, err);
    if (ok && page.next.len > 0 &&
        str_cmp(buf_str(&page.next), buf_str(&watch->listing.next)) <= 0) {
        ok = error_set(err, ERR_PROTOCOL,
                       "the list of streams does not end: its \"next\" is not behind \"after\"");
    }
    if (!ok) {
        listing_done(&page);
        return false;
    }
    listing_done(&watch->listing);
    watch->listing = page;
    return true;
}

static bool
watch_listed(ServerWatch *watch, Error *err)
{
    bool is_first = watch->root_at == 0 && watch->listing.next.len == 0;

    if (!watch_expect_200(watch, err) || !watch_read_page(watch, err)) {
        return false;
    }
    if (is_first) {
        /* Of the first page: what changes while the others come is told again. */
        buf_reset(&watch->token);
        if (watch->listing.token.len == 0 ||
            !buf_append(&watch->token, buf_str(&watch->listing.token), err)) {
            return error_set(err, ERR_PROTOCOL, "the list of streams comes without a token");
        }
    }
    watch->looked_ms = clock_wall_ms();
    if (watch->roots[watch->root_at].exact) {
        buf_reset(&watch->listing.next);
    }
    if (watch->listing.next.len > 0 || ++watch->root_at < watch->root_count) {
        watch_enter(watch, WATCH_LIST);
        return true;
    }
    watch_went_well(watch);
    watch->callbacks->end(watch->arg, watch->config.server); /* that was all */
    watch_enter(watch, WATCH_FOLLOW);
    return true;
}

static bool
watch_followed(ServerWatch *watch, Error *err)
{
    if (watch->status == 410 || watch->status == 400) {
        /* One that never knows its token would be listed without end. */
        watch_pause(watch, watch->followed ? 0 : CALM_MS, WATCH_LIST);
        return true;
    }
    watch->seen = 0;
    if (!watch_expect_200(watch, err) ||
        !listing_read_changes(buf_str(&watch->body), watch_on_stream, watch, &watch->listing,
                              err)) {
        return false;
    }
    if (watch->listing.token.len == 0) {
        return error_set(err, ERR_PROTOCOL, "changes come without a token");
    }
    if (watch->seen > 0 && str_eq(buf_str(&watch->listing.token), buf_str(&watch->token))) {
        return error_set(err, ERR_PROTOCOL,
                         "changes came, and the token behind them is the one before them");
    }
    buf_reset(&watch->token);
    if (!buf_append(&watch->token, buf_str(&watch->listing.token), err)) {
        return false;
    }
    watch->looked_ms = clock_wall_ms();
    watch_went_well(watch);
    watch->followed = true;
    if (watch->seen == 0 && clock_mono_ms() - watch->asked_ms < CALM_MS) {
        watch_pause(watch, CALM_MS, WATCH_FOLLOW);
    } else {
        watch_enter(watch, WATCH_FOLLOW);
    }
    return true;
}

static bool
watch_made(ServerWatch *watch, Error *err)
{
    bool is_wake = watch->state == WATCH_WAKE;

    if (watch->status != 200 && watch->status != 201) {
        return error_set(err, ERR_RETRY,
                         "the server answers %d where %s is made; set SYNCD_ADMIN_URLS if it has "
                         "an admin listener, or name the streams one by one",
                         watch->status,
                         is_wake ? "the stream " WATCH_WAKE_STREAM : "a subscription");
    }
    if (!is_wake && ++watch->at == watch->pattern_count) {
        watch->at = 0;
        watch_enter(watch, WATCH_VIEW);
    } else {
        watch_enter(watch, WATCH_SUBSCRIBE);
    }
    return true;
}

static bool
watch_viewed(ServerWatch *watch, Error *err)
{
    view_memory_begin(&watch->memories[watch->at]);
    if (!watch_expect_200(watch, err) ||
        !listing_read_subscription(buf_str(&watch->body), watch_on_stream, watch, err)) {
        return false;
    }
    view_memory_end(&watch->memories[watch->at]);
    watch->looked_ms = clock_wall_ms();
    if (++watch->at < watch->pattern_count) {
        watch_enter(watch, WATCH_VIEW);
        return true;
    }
    watch_went_well(watch);
    watch->callbacks->end(watch->arg, watch->config.server); /* that was all */
    watch_pause(watch, DS_MIN(DS_MAX((int64_t)watch->seen, (int64_t)VIEW_MS), (int64_t)VIEW_MS_MAX),
                WATCH_VIEW);
    return true;
}

void
watch_answered(ServerWatch *watch)
{
    Error err;
    bool ok = true;

    switch (watch->state) {
    case WATCH_LIST:
        ok = watch_listed(watch, &err);
        break;
    case WATCH_FOLLOW:
        ok = watch_followed(watch, &err);
        break;
    case WATCH_WAKE:
    case WATCH_SUBSCRIBE:
        ok = watch_made(watch, &err);
        break;
    case WATCH_VIEW:
        ok = watch_viewed(watch, &err);
        break;
    case WATCH_IDLE:
    case WATCH_PAUSE:
    case WATCH_STATE_COUNT:
        DS_UNREACHABLE("an answer without a question");
    }
    if (!ok) {
        watch_failed(watch, &err, 0);
    }
}

/* --- life --- */

ServerWatch *
server_watch_new(Loop *loop, const ServerWatchConfig *config, const ServerWatchCallbacks *callbacks,
                 void *arg)
{
    ServerWatch *watch = mem_zalloc(sizeof(*watch));

    watch->loop = loop;
    watch->config = *config;
    watch->callbacks = callbacks;
    watch->arg = arg;
    watch->timer = timer_new(loop, watch_on_timer, watch);
    backoff_init(&watch->backoff, config->backoff_base_ms, config->backoff_max_ms);
    buf_init(&watch->body, LISTING_BYTES_MAX);
    buf_init(&watch->token, LISTING_TOKEN_BYTES_MAX);
    listing_init(&watch->listing);
    return watch;
}

static void
watch_stop(ServerWatch *watch)
{
    if (watch->transfer != NULL) {
        http_transfer_cancel(watch->transfer);
        watch->transfer = NULL;
    }
    timer_stop(watch->timer);
}

/* What the memory of the same pattern was, so that it need not begin again. */
static void
memory_take(ViewMemory *out, const char *pattern, ServerWatch *watch)
{
    view_memory_init(out);
    for (size_t i = 0; i < watch->pattern_count; i++) {
        if (strcmp(watch->patterns[i], pattern) == 0) {
            *out = watch->memories[i];
            view_memory_init(&watch->memories[i]);
            return;
        }
    }
}

/* These patterns instead of those. */
static void
watch_take_patterns(ServerWatch *watch, const char *const *patterns, size_t count)
{
    char **taken = mem_array(DS_MAX(count, (size_t)1), sizeof(char *));
    ViewMemory *memories = mem_array(DS_MAX(count, (size_t)1), sizeof(ViewMemory));

    for (size_t i = 0; i < count; i++) {
        taken[i] = mem_strdup(patterns[i]);
        memory_take(&memories[i], patterns[i], watch);
    }
    for (size_t i = 0; i < watch->pattern_count; i++) {
        free(watch->patterns[i]);
        view_memory_done(&watch->memories[i]);
    }
    free(watch->patterns);
    free(watch->memories);
    free(watch->roots);
    watch->patterns = taken;
    watch->memories = memories;
    watch->pattern_count = count;
    watch->roots = NULL;
}

void
server_watch_free(ServerWatch *watch)
{
    if (watch == NULL) {
        return;
    }
    watch_stop(watch);
    watch_take_patterns(watch, NULL, 0);
    free(watch->patterns);
    free(watch->memories);
    timer_free(watch->timer);
    buf_done(&watch->body);
    buf_done(&watch->token);
    listing_done(&watch->listing);
    loop_defer_free(watch->loop, watch);
}

static bool
watch_looks_for(const ServerWatch *watch, const char *const *patterns, size_t count)
{
    bool same = count == watch->pattern_count;

    for (size_t i = 0; i < count && same; i++) {
        same = strcmp(patterns[i], watch->patterns[i]) == 0;
    }
    return same;
}

void
server_watch_set(ServerWatch *watch, const char *const *patterns, size_t count)
{
    if (watch_looks_for(watch, patterns, count)) {
        return;
    }
    watch_stop(watch);
    watch_take_patterns(watch, patterns, count);
    if (watch->state != WATCH_IDLE) {
        watch_enter(watch, WATCH_IDLE);
    }
    if (count == 0) {
        return;
    }
    watch->roots = listing_roots_new((const char *const *)watch->patterns, watch->pattern_count,
                                     &watch->root_count);
    watch_begin(watch);
    watch_enter(watch, watch->config.server->admin_url != NULL ? WATCH_LIST : WATCH_WAKE);
}

void
server_watch_again(ServerWatch *watch)
{
    bool follows = watch->state == WATCH_FOLLOW ||
                   (watch->state == WATCH_PAUSE && watch->next == WATCH_FOLLOW);

    if (follows) {
        watch_stop(watch);
        watch_begin(watch);
        watch_enter(watch, WATCH_LIST);
    }
}

void
server_watch_sweep(ServerWatch *watch)
{
    if (watch->refused && watch->token_version != watch->config.server->token_version) {
        watch->refused = false;
        backoff_reset(&watch->backoff);
        timer_start(watch->timer, backoff_next_ms(&watch->backoff, 0));
    }
}

ServerWatchView
server_watch_view(const ServerWatch *watch)
{
    return (ServerWatchView){
        .how = watch->pattern_count == 0                 ? "names"
               : watch->config.server->admin_url != NULL ? "listing"
                                                         : "subscription",
        .looked_ms = watch->looked_ms,
        .reason = watch->trouble.text,
    };
}
