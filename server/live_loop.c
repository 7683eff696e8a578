/* SPDX-License-Identifier: Apache-2.0 */
#include "server/live_loop.h"

#include "common/mem.h"
#include "server/app.h"
#include "server/op_home.h"

typedef struct LiveLoop {
    LIST_HEAD(, LiveEntry) waiting;
    SseFrameCache frames;
    OpHome *op_home;
    ColdReads *cold_reads;
    LoopTimer *expiry_timer; /* the first loop's only */
    LoopTimer *tick_timer;
    NetLoop *net;
    bool draining;
} LiveLoop;

static LiveLoop *
live_loop(NetLoop *net)
{
    return net_loop_slot(net);
}

void
live_join(NetLoop *net, LiveEntry *entry)
{
    LIST_INSERT_HEAD(&live_loop(net)->waiting, entry, entry);
}

void
live_leave(LiveEntry *entry)
{
    LIST_REMOVE(entry, entry);
}

bool
live_is_draining(NetLoop *net)
{
    return live_loop(net)->draining;
}

SseFrameCache *
live_frames(NetLoop *net)
{
    return &live_loop(net)->frames;
}

OpHome *
live_op_home(NetLoop *net)
{
    return live_loop(net)->op_home;
}

ColdReads *
live_cold_reads(NetLoop *net)
{
    return live_loop(net)->cold_reads;
}

static void
expire(void *arg)
{
    App *app = arg;

    expiry_tick(app->expiry);
}

static void
tick(void *arg)
{
    LiveLoop *live = arg;
    int64_t now_ms = loop_now_ms(net_loop_loop(live->net));
    LiveEntry *entry, *next;

    LIST_FOREACH_SAFE (entry, &live->waiting, entry, next) {
        if (entry->on_tick != NULL) {
            entry->on_tick(entry, now_ms);
        }
    }
}

static int64_t
tick_ms(const App *app)
{
    int64_t lifetime_ms = app->config->sse_reconnect_ms;
    int64_t often_ms = lifetime_ms == 0 ? LIVE_TICK_MS_MAX : lifetime_ms / LIVE_TICKS_PER_LIFETIME;

    return DS_MAX(DS_MIN(often_ms, (int64_t)LIVE_TICK_MS_MAX), (int64_t)LIVE_TICK_MS_MIN);
}

void
live_loop_start(NetLoop *net)
{
    LiveLoop *live = mem_zalloc(sizeof(*live));

    live->net = net;
    live->tick_timer = timer_new(net_loop_loop(net), tick, live);
    timer_repeat(live->tick_timer, tick_ms(net_loop_app(net)));
    LIST_INIT(&live->waiting);
    live->op_home = op_home_new(net);
    live->cold_reads = cold_reads_new(net);
    net_loop_set_slot(net, live);
    if (net_loop_index(net) == 0) {
        live->expiry_timer = timer_new(net_loop_loop(net), expire, net_loop_app(net));
        timer_repeat(live->expiry_timer, EXPIRY_TICK_MS);
        subs_loop_start(((App *)net_loop_app(net))->subs, net);
    }
}

void
live_drain(NetLoop *net)
{
    LiveLoop *live = live_loop(net);
    LiveEntry *entry;

    live->draining = true;
    if (net_loop_index(net) == 0) {
        subs_loop_drain(((App *)net_loop_app(net))->subs);
    }
    while ((entry = LIST_FIRST(&live->waiting)) != NULL) {
        entry->on_drain(entry);
        DS_ASSERT(LIST_FIRST(&live->waiting) != entry);
    }
}

void
live_loop_stop(NetLoop *net)
{
    LiveLoop *live = live_loop(net);

    DS_ASSERT(LIST_EMPTY(&live->waiting));
    timer_free(live->expiry_timer);
    timer_free(live->tick_timer);
    if (net_loop_index(net) == 0) {
        subs_loop_stop(((App *)net_loop_app(net))->subs);
    }
    sse_frame_cache_done(&live->frames);
    op_home_drop(live->op_home);
    cold_reads_free(live->cold_reads);
    net_loop_set_slot(net, NULL);
    free(live);
}
