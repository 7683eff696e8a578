/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/loop.c -- libuv with plain lifetimes.
 *
 * Deferred work runs in the check phase, which follows the poll in every turn.  An idle handle is
 * active exactly while work waits: it keeps the poll from blocking and the loop from ending, and
 * costs nothing otherwise.  Handles close at the end of the turn, so memory goes back there too.
 */
#include "common/loop.h"

#include <signal.h>
#include <uv.h>

#include "common/mem.h"

#define LOOP_DEFERRED_MAX    (1u << 22) /* calls waiting at once; more is a bug of ours */
#define LOOP_FREE_ROUNDS_MAX 1000       /* deferred work that defers more work, at loop_free */

typedef struct Deferred {
    LoopFn fn;
    void *arg;
} Deferred;

typedef struct DeferredList {
    Deferred *items;
    size_t count;
    size_t cap;
} DeferredList;

struct Loop {
    uv_loop_t uv;
    uv_check_t check;
    uv_idle_t idle;
    DeferredList waiting;
    DeferredList running; /* what this turn runs, so that new work goes to the next turn */
    size_t live;          /* timers, signals, wakes and watches not freed yet */
    size_t working;       /* loop_work whose done has not come */
};

typedef struct LoopWork {
    uv_work_t uv;
    Loop *loop;
    LoopFn work;
    LoopFn done;
    void *arg;
} LoopWork;

struct LoopTimer {
    uv_timer_t uv;
    Loop *loop;
    LoopFn fn;
    void *arg;
};

struct LoopSignal {
    uv_signal_t uv;
    Loop *loop;
    LoopFn fn;
    void *arg;
};

struct LoopWake {
    uv_async_t uv;
    Loop *loop;
    LoopFn fn;
    void *arg;
};

struct LoopFd {
    uv_poll_t uv;
    Loop *loop;
    LoopFdFn fn;
    void *arg;
    unsigned wanted;
};

static void
loop_run_deferred(Loop *loop)
{
    DeferredList batch = loop->waiting;

    loop->waiting = loop->running;
    loop->running = batch;
    for (size_t i = 0; i < batch.count; i++) {
        batch.items[i].fn(batch.items[i].arg);
    }
    loop->running.count = 0;
}

static void
on_check(uv_check_t *check)
{
    Loop *loop = check->data;

    if (loop->waiting.count == 0) {
        return;
    }
    loop_run_deferred(loop);
    if (loop->waiting.count == 0) {
        (void)uv_idle_stop(&loop->idle);
    }
}

/* Its being active is what counts. */
static void
on_idle(uv_idle_t *idle DS_UNUSED)
{
}

Loop *
loop_new(void)
{
    Loop *loop = mem_zalloc(sizeof(*loop));

    /* A peer that left is an error of a write; neither libuv nor OpenSSL keeps the signal away. */
    DS_ASSERT(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    DS_ASSERT(uv_loop_init(&loop->uv) == 0);
    DS_ASSERT(uv_check_init(&loop->uv, &loop->check) == 0);
    DS_ASSERT(uv_idle_init(&loop->uv, &loop->idle) == 0);
    loop->check.data = loop;
    DS_ASSERT(uv_check_start(&loop->check, on_check) == 0);
    uv_unref((uv_handle_t *)&loop->check);
    return loop;
}

void
loop_free(Loop *loop)
{
    int rounds = 0;

    while (loop->working > 0) {
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    }
    while (loop->waiting.count > 0) {
        DS_ASSERT(rounds++ < LOOP_FREE_ROUNDS_MAX);
        loop_run_deferred(loop);
    }
    DS_ASSERT(loop->live == 0);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    /* Handles that are closing still hold memory. */
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0) {
    }
    DS_ASSERT(loop->waiting.count == 0);
    DS_ASSERT(uv_loop_close(&loop->uv) == 0);
    free(loop->waiting.items);
    free(loop->running.items);
    free(loop);
}

uv_loop_t *
loop_uv(Loop *loop)
{
    return &loop->uv;
}

void
loop_run(Loop *loop)
{
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void
loop_stop(Loop *loop)
{
    uv_stop(&loop->uv);
}

int64_t
loop_now_ms(Loop *loop)
{
    return (int64_t)uv_now(&loop->uv);
}

void
loop_defer(Loop *loop, LoopFn fn, void *arg)
{
    DeferredList *list = &loop->waiting;

    DS_ASSERT(list->count < LOOP_DEFERRED_MAX);
    if (list->count == list->cap) {
        list->cap = DS_MAX(list->cap * 2, (size_t)16);
        list->items = mem_regrow(list->items, list->cap, sizeof(*list->items));
    }
    list->items[list->count++] = (Deferred){fn, arg};
    if (!uv_is_closing((uv_handle_t *)&loop->idle)) {
        (void)uv_idle_start(&loop->idle, on_idle);
    }
}

void
loop_defer_free(Loop *loop, void *ptr)
{
    if (ptr != NULL) {
        loop_defer(loop, free, ptr);
    }
}

/* On a thread of the pool. */
static void
run_work(uv_work_t *uv)
{
    LoopWork *work = (LoopWork *)uv;

    work->work(work->arg);
}

static void
after_work(uv_work_t *uv, int status)
{
    LoopWork *work = (LoopWork *)uv;

    DS_ASSERT(status == 0); /* nobody cancels */
    work->loop->working--;
    work->done(work->arg);
    free(work);
}

void
loop_work(Loop *loop, LoopFn work_fn, LoopFn done, void *arg)
{
    LoopWork *work = mem_alloc(sizeof(*work));

    *work = (LoopWork){.loop = loop, .work = work_fn, .done = done, .arg = arg};
    loop->working++;
    DS_ASSERT(uv_queue_work(&loop->uv, &work->uv, run_work, after_work) == 0);
}

/* Every wrapper starts with its uv handle, so the handle's address is what was allocated. */
static void
on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void
object_free(Loop *loop, void *object)
{
    uv_handle_t *handle = object;

    DS_ASSERT(!uv_is_closing(handle));
    DS_ASSERT(loop->live > 0);
    loop->live--;
    uv_close(handle, on_closed);
}

static void
on_timer(uv_timer_t *uv)
{
    LoopTimer *timer = (LoopTimer *)uv;

    timer->fn(timer->arg);
}

LoopTimer *
timer_new(Loop *loop, LoopFn fn, void *arg)
{
    LoopTimer *timer = mem_zalloc(sizeof(*timer));

    timer->loop = loop;
    timer->fn = fn;
    timer->arg = arg;
    DS_ASSERT(uv_timer_init(&loop->uv, &timer->uv) == 0);
    loop->live++;
    return timer;
}

void
timer_start(LoopTimer *timer, int64_t delay_ms)
{
    DS_ASSERT(!uv_is_closing((uv_handle_t *)&timer->uv));
    DS_ASSERT(uv_timer_start(&timer->uv, on_timer, (uint64_t)DS_MAX(delay_ms, (int64_t)0), 0) == 0);
}

void
timer_repeat(LoopTimer *timer, int64_t every_ms)
{
    DS_ASSERT(every_ms > 0);
    DS_ASSERT(!uv_is_closing((uv_handle_t *)&timer->uv));
    DS_ASSERT(uv_timer_start(&timer->uv, on_timer, (uint64_t)every_ms, (uint64_t)every_ms) == 0);
}

void
timer_stop(LoopTimer *timer)
{
    (void)uv_timer_stop(&timer->uv);
}

bool
timer_active(const LoopTimer *timer)
{
    return uv_is_active((const uv_handle_t *)&timer->uv) != 0;
}

void
timer_free(LoopTimer *timer)
{
    if (timer != NULL) {
        object_free(timer->loop, timer);
    }
}

static void
on_signal(uv_signal_t *uv, int signum DS_UNUSED)
{
    LoopSignal *watch = (LoopSignal *)uv;

    watch->fn(watch->arg);
}

LoopSignal *
signal_new(Loop *loop, int signum, LoopFn fn, void *arg)
{
    LoopSignal *watch = mem_zalloc(sizeof(*watch));

    watch->loop = loop;
    watch->fn = fn;
    watch->arg = arg;
    DS_ASSERT(uv_signal_init(&loop->uv, &watch->uv) == 0);
    DS_ASSERT(uv_signal_start(&watch->uv, on_signal, signum) == 0);
    loop->live++;
    return watch;
}

void
signal_free(LoopSignal *watch)
{
    if (watch != NULL) {
        object_free(watch->loop, watch);
    }
}

static void
on_wake(uv_async_t *uv)
{
    LoopWake *wake = (LoopWake *)uv;

    wake->fn(wake->arg);
}

LoopWake *
wake_new(Loop *loop, LoopFn fn, void *arg)
{
    LoopWake *wake = mem_zalloc(sizeof(*wake));

    wake->loop = loop;
    wake->fn = fn;
    wake->arg = arg;
    DS_ASSERT(uv_async_init(&loop->uv, &wake->uv, on_wake) == 0);
    loop->live++;
    return wake;
}

void
loop_wake_send(LoopWake *wake)
{
    DS_ASSERT(uv_async_send(&wake->uv) == 0);
}

void
wake_free(LoopWake *wake)
{
    if (wake != NULL) {
        object_free(wake->loop, wake);
    }
}

static void on_fd(uv_poll_t *uv, int status, int events);

static void
fd_apply(LoopFd *watch)
{
    int events = 0;

    if (watch->wanted & LOOP_READABLE) {
        events |= UV_READABLE;
    }
    if (watch->wanted & LOOP_WRITABLE) {
        events |= UV_WRITABLE;
    }
    if (events == 0) {
        (void)uv_poll_stop(&watch->uv);
    } else {
        DS_ASSERT(uv_poll_start(&watch->uv, events, on_fd) == 0);
    }
}

static void
on_fd(uv_poll_t *uv, int status, int events)
{
    LoopFd *watch = (LoopFd *)uv;
    unsigned seen = 0;

    if (status < 0) {
        /* libuv stops a watch on an error condition.  Its owner learns the error by reading or
         * writing, and until it does the condition stands: level-triggered, like all else. */
        watch->fn(watch->arg, watch->wanted);
        if (!uv_is_closing((uv_handle_t *)uv) && !uv_is_active((uv_handle_t *)uv)) {
            fd_apply(watch);
        }
        return;
    }
    if (events & UV_READABLE) {
        seen |= LOOP_READABLE;
    }
    if (events & UV_WRITABLE) {
        seen |= LOOP_WRITABLE;
    }
    watch->fn(watch->arg, seen);
}

LoopFd *
fd_new(Loop *loop, int fd, LoopFdFn fn, void *arg)
{
    LoopFd *watch = mem_zalloc(sizeof(*watch));

    watch->loop = loop;
    watch->fn = fn;
    watch->arg = arg;
    DS_ASSERT(uv_poll_init(&loop->uv, &watch->uv, fd) == 0);
    loop->live++;
    return watch;
}

void
fd_watch(LoopFd *watch, unsigned events)
{
    DS_ASSERT(!uv_is_closing((uv_handle_t *)&watch->uv));
    if (events == watch->wanted && (events == 0 || uv_is_active((uv_handle_t *)&watch->uv))) {
        return;
    }
    watch->wanted = events;
    fd_apply(watch);
}

void
fd_free(LoopFd *watch)
{
    if (watch != NULL) {
        object_free(watch->loop, watch);
    }
}
