/* SPDX-License-Identifier: Apache-2.0 */
#include "common/loop.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "common/mem.h"

/* Whatever hangs is ended by Criterion; every test here takes milliseconds. */
TestSuite(loop, .timeout = 20);

typedef struct Trace {
    Loop *loop;
    char text[128];
    size_t len;
    int count;
    LoopTimer *timer;
    LoopSignal *signal;
    LoopWake *wake;
    LoopFd *fd;
    int fds[2];
    unsigned events;
} Trace;

static void
trace_char(Trace *trace, char c)
{
    cr_assert_lt(trace->len, sizeof(trace->text) - 1);
    trace->text[trace->len++] = c;
}

static double
cpu_seconds(void)
{
    struct timespec used;

    cr_assert_eq(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void
stop(void *arg)
{
    Trace *trace = arg;

    trace_char(trace, 's');
    loop_stop(trace->loop);
}

static void
put_b(void *arg)
{
    trace_char(arg, 'b');
}

static void
put_a_and_defer_b(void *arg)
{
    Trace *trace = arg;

    trace_char(trace, 'a');
    loop_defer(trace->loop, put_b, trace);
}

static void
put_c(void *arg)
{
    trace_char(arg, 'c');
}

Test(loop, deferred_work_runs_in_order_and_what_it_defers_runs_a_turn_later)
{
    Trace trace = {.loop = loop_new()};

    loop_defer(trace.loop, put_a_and_defer_b, &trace);
    loop_defer(trace.loop, put_c, &trace);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "acb");
    loop_free(trace.loop);
}

static void
defer_from_timer(void *arg)
{
    Trace *trace = arg;

    trace_char(trace, 't');
    loop_defer(trace->loop, put_b, trace);
}

Test(loop, work_deferred_by_a_timer_does_not_wait_for_the_next_event)
{
    Trace trace = {.loop = loop_new()};
    LoopTimer *far = timer_new(trace.loop, put_c, &trace);

    trace.timer = timer_new(trace.loop, defer_from_timer, &trace);
    timer_start(trace.timer, 1);
    timer_start(far, 50);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "tbc");
    timer_free(trace.timer);
    timer_free(far);
    loop_free(trace.loop);
}

Test(loop, the_loop_sleeps_after_deferred_work)
{
    Trace trace = {.loop = loop_new()};
    double before = cpu_seconds();

    trace.timer = timer_new(trace.loop, stop, &trace);
    timer_start(trace.timer, 400);
    loop_defer(trace.loop, put_b, &trace);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "bs");
    cr_expect_lt(cpu_seconds() - before, 0.2, "the loop used %.3f s of CPU while idle",
                 cpu_seconds() - before);
    timer_free(trace.timer);
    loop_free(trace.loop);
}

Test(loop, what_is_deferred_after_the_loop_ended_still_runs_before_loop_free_returns)
{
    Trace trace = {.loop = loop_new()};

    loop_run(trace.loop);
    loop_defer(trace.loop, put_a_and_defer_b, &trace);
    loop_defer_free(trace.loop, mem_alloc(16));
    loop_defer_free(trace.loop, NULL);
    loop_free(trace.loop);
    cr_expect_str_eq(trace.text, "ab");
}

static void
free_own_timer(void *arg)
{
    Trace *trace = arg;

    trace_char(trace, 'f');
    timer_free(trace->timer);
    trace->timer = NULL;
}

Test(loop, a_repeating_timer_may_be_freed_inside_its_own_callback)
{
    Trace trace = {.loop = loop_new()};

    trace.timer = timer_new(trace.loop, free_own_timer, &trace);
    timer_repeat(trace.timer, 1);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "f");
    loop_free(trace.loop);
}

static void
stop_third_time(void *arg)
{
    Trace *trace = arg;

    if (++trace->count == 3) {
        timer_stop(trace->timer);
    }
}

Test(loop, a_repeating_timer_fires_until_stopped_and_a_started_one_fires_once)
{
    Trace trace = {.loop = loop_new()};

    trace.timer = timer_new(trace.loop, stop_third_time, &trace);
    cr_expect_not(timer_active(trace.timer));
    timer_repeat(trace.timer, 1);
    cr_expect(timer_active(trace.timer));
    loop_run(trace.loop);
    cr_expect_eq(trace.count, 3);
    cr_expect_not(timer_active(trace.timer));
    timer_start(trace.timer, -5);
    loop_run(trace.loop);
    cr_expect_eq(trace.count, 4);
    timer_free(trace.timer);
    timer_free(NULL);
    loop_free(trace.loop);
}

Test(loop, starting_a_running_timer_moves_its_end)
{
    Trace trace = {.loop = loop_new()};
    LoopTimer *moved = timer_new(trace.loop, put_b, &trace);
    LoopTimer *fixed = timer_new(trace.loop, put_c, &trace);
    int64_t start = loop_now_ms(trace.loop);

    timer_start(moved, 1);
    timer_start(fixed, 20);
    timer_start(moved, 40);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "cb");
    cr_expect_geq(loop_now_ms(trace.loop) - start, 40);
    timer_free(moved);
    timer_free(fixed);
    loop_free(trace.loop);
}

static void
on_usr1(void *arg)
{
    Trace *trace = arg;

    trace_char(trace, 'u');
    signal_free(trace->signal);
}

Test(loop, a_signal_reaches_its_watch_which_may_free_itself)
{
    Trace trace = {.loop = loop_new()};

    trace.signal = signal_new(trace.loop, SIGUSR1, on_usr1, &trace);
    cr_assert_eq(raise(SIGUSR1), 0);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "u");
    signal_free(NULL);
    loop_free(trace.loop);
}

static void
on_wake_once(void *arg)
{
    Trace *trace = arg;

    trace->count++;
    wake_free(trace->wake);
}

static void *
send_wakes(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        loop_wake_send(arg);
    }
    return NULL;
}

Test(loop, wakes_from_another_thread_coalesce_and_the_wake_may_free_itself)
{
    Trace trace = {.loop = loop_new()};
    pthread_t thread;

    trace.wake = wake_new(trace.loop, on_wake_once, &trace);
    cr_assert_eq(pthread_create(&thread, NULL, send_wakes, trace.wake), 0);
    /* All sends come first: a wake that frees itself must not be sent again. */
    cr_assert_eq(pthread_join(thread, NULL), 0);
    loop_run(trace.loop);
    cr_expect_eq(trace.count, 1);
    wake_free(NULL);
    loop_free(trace.loop);
}

static void
on_readable(void *arg, unsigned events)
{
    Trace *trace = arg;
    char c;

    trace->events |= events;
    if (events & LOOP_READABLE) {
        cr_assert_eq(read(trace->fds[0], &c, 1), 1);
        trace_char(trace, c);
        fd_free(trace->fd);
        trace->fd = NULL;
    }
}

Test(loop, a_descriptor_that_is_readable_calls_its_watch_which_may_free_itself)
{
    Trace trace = {.loop = loop_new()};

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, trace.fds), 0);
    trace.fd = fd_new(trace.loop, trace.fds[0], on_readable, &trace);
    fd_watch(trace.fd, LOOP_READABLE);
    cr_assert_eq(write(trace.fds[1], "x", 1), 1);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "x");
    cr_expect_eq(trace.events, LOOP_READABLE);
    /* The number may be watched again at once, as libpq and curl reuse descriptors. */
    trace.fd = fd_new(trace.loop, trace.fds[0], on_readable, &trace);
    fd_watch(trace.fd, LOOP_READABLE);
    cr_assert_eq(write(trace.fds[1], "y", 1), 1);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "xy");
    close(trace.fds[0]);
    close(trace.fds[1]);
    loop_free(trace.loop);
}

Test(loop, a_paused_watch_is_silent_until_it_watches_again)
{
    Trace trace = {.loop = loop_new()};

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, trace.fds), 0);
    trace.fd = fd_new(trace.loop, trace.fds[0], on_readable, &trace);
    cr_assert_eq(write(trace.fds[1], "x", 1), 1);
    fd_watch(trace.fd, LOOP_READABLE);
    fd_watch(trace.fd, 0);
    loop_run(trace.loop); /* returns: a paused watch keeps nothing alive */
    cr_expect_str_eq(trace.text, "");
    fd_watch(trace.fd, LOOP_READABLE);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "x");
    close(trace.fds[0]);
    close(trace.fds[1]);
    loop_free(trace.loop);
}

static void
on_error_condition(void *arg, unsigned events)
{
    Trace *trace = arg;

    trace->events = events;
    if (++trace->count == 2) {
        fd_free(trace->fd);
    }
}

Test(loop, an_error_condition_is_reported_again_until_the_owner_acts)
{
    Trace trace = {.loop = loop_new()};

    /* The write end of a pipe whose reader is gone reports an error, and nothing else. */
    cr_assert_eq(pipe(trace.fds), 0);
    close(trace.fds[0]);
    trace.fd = fd_new(trace.loop, trace.fds[1], on_error_condition, &trace);
    fd_watch(trace.fd, LOOP_WRITABLE);
    loop_run(trace.loop);
    cr_expect_eq(trace.count, 2);
    cr_expect_eq(trace.events, LOOP_WRITABLE);
    close(trace.fds[1]);
    loop_free(trace.loop);
}

Test(loop, stopping_ends_the_run_and_running_again_goes_on)
{
    Trace trace = {.loop = loop_new()};
    LoopTimer *first = timer_new(trace.loop, stop, &trace);
    LoopTimer *second = timer_new(trace.loop, put_b, &trace);

    timer_start(first, 1);
    timer_start(second, 30);
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "s");
    loop_run(trace.loop);
    cr_expect_str_eq(trace.text, "sb");
    timer_free(first);
    timer_free(second);
    loop_stop(trace.loop); /* outside a run: must not keep loop_free from its work */
    loop_free(trace.loop);
}

Test(loop, writing_to_a_peer_that_left_is_an_error_and_no_signal)
{
    int fds[2];
    Loop *loop = loop_new();

    cr_assert_eq(pipe(fds), 0);
    close(fds[0]);
    cr_expect_eq(write(fds[1], "x", 1), -1);
    cr_expect_eq(errno, EPIPE);
    close(fds[1]);
    loop_free(loop);
}

typedef struct Job {
    Loop *loop;
    pthread_t starter;
    pthread_t worker;
    bool gate_open; /* under mutex */
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    int worked;
    int done;
    int deferred;
} Job;

#define JOB_INIT(loop_)                                                                            \
    {                                                                                              \
        .loop = (loop_), .starter = pthread_self(), .mutex = PTHREAD_MUTEX_INITIALIZER,            \
        .opened = PTHREAD_COND_INITIALIZER                                                         \
    }

static void
job_work(void *arg)
{
    Job *job = arg;

    pthread_mutex_lock(&job->mutex);
    while (!job->gate_open) {
        pthread_cond_wait(&job->opened, &job->mutex);
    }
    pthread_mutex_unlock(&job->mutex);
    job->worker = pthread_self();
    job->worked++;
}

static void
job_open(void *arg)
{
    Job *job = arg;

    pthread_mutex_lock(&job->mutex);
    job->gate_open = true;
    pthread_cond_signal(&job->opened);
    pthread_mutex_unlock(&job->mutex);
}

static void
job_deferred(void *arg)
{
    Job *job = arg;

    job->deferred++;
}

static void
job_done(void *arg)
{
    Job *job = arg;

    cr_expect(pthread_equal(pthread_self(), job->starter));
    cr_expect_eq(job->worked, 1);
    job->done++;
    loop_defer(job->loop, job_deferred, job);
}

Test(loop, work_runs_on_another_thread_while_the_loop_goes_on)
{
    Loop *loop = loop_new();
    Job job = JOB_INIT(loop);

    loop_work(loop, job_work, job_done, &job);
    /* Would hang if the loop's own thread worked. */
    loop_defer(loop, job_open, &job);
    loop_run(loop);
    cr_expect_eq(job.done, 1);
    cr_expect_eq(job.deferred, 1);
    cr_expect_not(pthread_equal(job.worker, job.starter));
    loop_free(loop);
}

Test(loop, loop_free_waits_for_work_and_for_what_its_end_defers)
{
    Loop *loop = loop_new();
    Job job = JOB_INIT(loop);
    Trace trace = {.loop = loop};

    loop_work(loop, job_work, job_done, &job);
    loop_defer(loop, stop, &trace);
    loop_run(loop);
    cr_assert_eq(job.done, 0);
    job_open(&job);
    loop_free(loop);
    cr_expect_eq(job.done, 1);
    cr_expect_eq(job.deferred, 1);
}

Test(loop, loop_free_aborts_when_an_object_was_not_freed, .signal = SIGABRT)
{
    Trace trace = {.loop = loop_new()};

    trace.timer = timer_new(trace.loop, stop, &trace);
    loop_free(trace.loop);
}
