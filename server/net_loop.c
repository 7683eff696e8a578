/* SPDX-License-Identifier: Apache-2.0 */
#include "server/net_loop.h"

#include <time.h>

#include <bsd/sys/queue.h>

#include "common/clock.h"
#include "common/mem.h"
#include "server/http_conn.h"

/* ---- mailbox ---- */

void
net_loop_post(NetLoop *loop, LoopFn fn, void *arg)
{
    NetPost *post = mem_alloc(sizeof(*post));

    *post = (NetPost){NULL, fn, arg};
    pthread_mutex_lock(&loop->mutex);
    bool first = loop->posts == NULL;
    *loop->posts_tail = post;
    loop->posts_tail = &post->next;
    /* Under the lock, so that the loop cannot have ended and closed its wake in between. */
    if (first && loop->wake != NULL) {
        loop_wake_send(loop->wake);
    }
    pthread_mutex_unlock(&loop->mutex);
}

static void
run_posts(void *arg)
{
    NetLoop *loop = arg;

    pthread_mutex_lock(&loop->mutex);
    NetPost *post = loop->posts;
    loop->posts = NULL;
    loop->posts_tail = &loop->posts;
    pthread_mutex_unlock(&loop->mutex);
    while (post != NULL) {
        NetPost *next = post->next;

        post->fn(post->arg);
        free(post);
        post = next;
    }
}

static void
answer_ping(void *arg)
{
    NetLoop *loop = arg;

    atomic_store(&loop->unanswered, false);
}

bool
net_loop_ping(NetLoop *loop)
{
    if (atomic_exchange(&loop->unanswered, true)) {
        return false;
    }
    net_loop_post(loop, answer_ping, loop);
    return true;
}

/* ---- connections ---- */

static void
flush_dirty(void *arg)
{
    NetLoop *loop = arg;
    size_t count = loop->dirty_count;

    loop->flush_due = false;
    /* Whoever is marked again meanwhile waits for the next turn. */
    while (count-- > 0 && !TAILQ_EMPTY(&loop->dirty)) {
        http_conn_flush(TAILQ_FIRST(&loop->dirty));
    }
    if (!TAILQ_EMPTY(&loop->dirty) && !loop->flush_due) {
        loop->flush_due = true;
        loop_defer(loop->loop, flush_dirty, loop);
    }
}

void
net_loop_flush_later(NetLoop *loop, HttpConn *conn)
{
    TAILQ_INSERT_TAIL(&loop->dirty, conn, dirty_entry);
    loop->dirty_count++;
    if (!loop->flush_due) {
        loop->flush_due = true;
        loop_defer(loop->loop, flush_dirty, loop);
    }
}

void
net_loop_flush_done(NetLoop *loop, HttpConn *conn)
{
    TAILQ_REMOVE(&loop->dirty, conn, dirty_entry);
    loop->dirty_count--;
}

/* Main is told once that the last connection of a stopping loop is gone. */
static void
say_when_empty(NetLoop *loop)
{
    if (loop->draining && !loop->empty_said && TAILQ_EMPTY(&loop->conns)) {
        loop->empty_said = true;
        atomic_fetch_add(&loop->server->loops_empty, 1);
        loop_wake_send(loop->server->main_wake);
    }
}

void
net_loop_uncount(NetLoop *loop)
{
    atomic_fetch_sub_explicit(&loop->connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&loop->server->connections, 1, memory_order_relaxed);
}

void
net_loop_forget(NetLoop *loop, HttpConn *conn)
{
    TAILQ_REMOVE(&loop->conns, conn, all);
    net_loop_uncount(loop);
    say_when_empty(loop);
}

static void
on_tick(void *arg)
{
    NetLoop *loop = arg;
    int64_t now_ms = loop_now_ms(loop->loop);
    HttpConn *conn, *next;

    TAILQ_FOREACH_SAFE (conn, &loop->conns, all, next) {
        http_conn_check_time(conn, now_ms);
    }
}

/* Often enough that the shortest timeout is met within a quarter of itself. */
static int64_t
tick_ms(const ServerTimeouts *timeouts)
{
    int64_t shortest = DS_MIN(DS_MIN(timeouts->head_ms, timeouts->body_ms),
                              DS_MIN(timeouts->idle_ms, timeouts->write_stall_ms));

    return DS_MAX(DS_MIN(shortest / 4, (int64_t)NET_LOOP_TICK_MS_MAX),
                  (int64_t)NET_LOOP_TICK_MS_MIN);
}

static void
make_common_fields(NetLoop *loop, int64_t now_ms)
{
    int64_t wall_ms = clock_wall_ms();
    time_t now = (time_t)(wall_ms / 1000);
    struct tm utc;

    (void)gmtime_r(&now, &utc);
    loop->common_len = strftime(loop->common, sizeof(loop->common),
                                "Date: %a, %d %b %Y %H:%M:%S GMT\r\n"
                                "X-Content-Type-Options: nosniff\r\n"
                                "Cross-Origin-Resource-Policy: cross-origin\r\n",
                                &utc);
    loop->common_until_ms = now_ms + 1000 - wall_ms % 1000;
}

Str
net_loop_common_fields(NetLoop *loop)
{
    int64_t now_ms = loop_now_ms(loop->loop);

    if (loop->common_len == 0 || now_ms >= loop->common_until_ms) {
        make_common_fields(loop, now_ms);
    }
    return str_n(loop->common, loop->common_len);
}

/* ---- stopping ---- */

void
net_loop_begin_drain(void *arg)
{
    NetLoop *loop = arg;
    HttpConn *conn, *next;

    loop->draining = true;
    if (loop->server->handlers.loop_drain != NULL) {
        loop->server->handlers.loop_drain(loop);
    }
    TAILQ_FOREACH_SAFE (conn, &loop->conns, all, next) {
        http_conn_drain(conn);
    }
    say_when_empty(loop);
    /* Connections that only linger are what the end waits for. */
    timer_repeat(loop->tick, NET_LOOP_TICK_MS_STOPPING);
}

void
net_loop_force_close(void *arg)
{
    NetLoop *loop = arg;

    while (!TAILQ_EMPTY(&loop->conns)) {
        http_conn_close(TAILQ_FIRST(&loop->conns));
    }
}

void
net_loop_finish(void *arg)
{
    NetLoop *loop = arg;

    DS_ASSERT(TAILQ_EMPTY(&loop->conns));
    if (loop->server->handlers.loop_stop != NULL) {
        loop->server->handlers.loop_stop(loop);
    }
    timer_free(loop->tick);
    pthread_mutex_lock(&loop->mutex);
    wake_free(loop->wake);
    loop->wake = NULL;
    pthread_mutex_unlock(&loop->mutex);
    loop_stop(loop->loop);
}

/* ---- the thread ---- */

static void *
run_thread(void *arg)
{
    NetLoop *loop = arg;

    timer_repeat(loop->tick, tick_ms(&loop->server->config->timeouts));
    if (loop->server->handlers.loop_start != NULL) {
        loop->server->handlers.loop_start(loop);
    }
    loop_run(loop->loop);
    return NULL;
}

NetLoop *
net_loop_new(HttpServer *server, unsigned index)
{
    NetLoop *loop = mem_zalloc(sizeof(*loop));
    char name[16];

    loop->server = server;
    loop->index = index;
    loop->loop = loop_new();
    loop->tick = timer_new(loop->loop, on_tick, loop);
    loop->wake = wake_new(loop->loop, run_posts, loop);
    loop->posts_tail = &loop->posts;
    TAILQ_INIT(&loop->conns);
    TAILQ_INIT(&loop->dirty);
    DS_ASSERT(pthread_mutex_init(&loop->mutex, NULL) == 0);
    DS_ASSERT(pthread_create(&loop->thread, NULL, run_thread, loop) == 0);
    (void)snprintf(name, sizeof(name), "net-%u", index);
    (void)pthread_setname_np(loop->thread, name);
    return loop;
}

void
net_loop_join(NetLoop *loop)
{
    DS_ASSERT(pthread_join(loop->thread, NULL) == 0);
}

void
net_loop_run_leftovers(NetLoop *loop)
{
    run_posts(loop);
}

void
net_loop_free(NetLoop *loop)
{
    DS_ASSERT(loop->posts == NULL);
    loop_free(loop->loop);
    (void)pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

/* ---- for handlers ---- */

Loop *
net_loop_loop(NetLoop *loop)
{
    return loop->loop;
}

unsigned
net_loop_index(const NetLoop *loop)
{
    return loop->index;
}

void *
net_loop_app(const NetLoop *loop)
{
    return loop->server->handlers.app;
}

void *
net_loop_slot(const NetLoop *loop)
{
    return loop->slot;
}

void
net_loop_set_slot(NetLoop *loop, void *slot)
{
    loop->slot = slot;
}
