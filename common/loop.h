/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/loop.h -- the event loop: timers, signals, wake-ups from other threads, deferred frees.
 *
 * A thin layer over libuv so that lifetimes are plain: x_free may be called at any time, even
 * inside the object's own callback, and memory goes back at the end of the loop turn.  One thread
 * per loop; only loop_wake_send may be called from another thread, and loop_work's work runs on
 * one.  loop_uv gives the uv_loop_t for what has no wrapper here.
 */
#pragma once

#include "common/error.h"

typedef struct uv_loop_s uv_loop_t;
typedef struct Loop Loop;
typedef struct LoopTimer LoopTimer;
typedef struct LoopSignal LoopSignal;
typedef struct LoopWake LoopWake;
typedef struct LoopFd LoopFd;
typedef void (*LoopFn)(void *arg);

/* Aborts when the system has no file descriptor left.  The process ignores SIGPIPE from now on: a
 * write to a peer that left fails with EPIPE. */
Loop *loop_new(void);
/* After loop_run returned and every object was freed; asserts on leaks. */
void loop_free(Loop *loop);
uv_loop_t *loop_uv(Loop *loop);

void loop_run(Loop *loop); /* until loop_stop, or nothing is left to wait for */
void loop_stop(Loop *loop);
int64_t loop_now_ms(Loop *loop); /* monotonic, cached once a turn */

/* Run fn(arg) at the end of this turn, once, in order. */
void loop_defer(Loop *loop, LoopFn fn, void *arg);
/* free(ptr) at the end of this turn: the way to free an object from inside its own callback. */
void loop_defer_free(Loop *loop, void *ptr);

/* Runs work(arg) on a thread of libuv's pool, which all loops share (4 threads, or
 * UV_THREADPOOL_SIZE), then done(arg) on the loop's thread: for what may block.  Nothing takes it
 * back: done comes once, and knows itself whether anybody still wants the result.  loop_free waits
 * for it, and calls done on its own thread then.  Callers bound how much they start at once. */
void loop_work(Loop *loop, LoopFn work, LoopFn done, void *arg);

LoopTimer *timer_new(Loop *loop, LoopFn fn, void *arg);
void timer_start(LoopTimer *timer, int64_t delay_ms); /* once; restarts a running one */
void timer_repeat(LoopTimer *timer, int64_t every_ms);
void timer_stop(LoopTimer *timer);
bool timer_active(const LoopTimer *timer);
void timer_free(LoopTimer *timer); /* accepts NULL */

LoopSignal *signal_new(Loop *loop, int signum, LoopFn fn, void *arg);
void signal_free(LoopSignal *watch);

LoopWake *wake_new(Loop *loop, LoopFn fn, void *arg);
void loop_wake_send(LoopWake *wake); /* any thread, also a signal handler; calls coalesce */
void wake_free(LoopWake *wake);

#define LOOP_READABLE 1u
#define LOOP_WRITABLE 2u
typedef void (*LoopFdFn)(void *arg, unsigned events);
/* Watches a descriptor that somebody else owns (libpq, curl). */
LoopFd *fd_new(Loop *loop, int fd, LoopFdFn fn, void *arg);
void fd_watch(LoopFd *watch, unsigned events); /* 0 pauses */
void fd_free(LoopFd *watch);                   /* before the descriptor is closed */
