/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/call.h"

#include <signal.h>

#include <criterion/criterion.h>

#define HANG_MS 60000

static int signal_number;
static bool waited_well;

static void
end_the_wait_and_be_signalled(void *arg)
{
    call_stop(arg);
    (void)raise(signal_number);
}

/* Where the turn of the loop has looked at what came in already. */
static void
at_the_end_of_the_turn(void *arg)
{
    loop_defer(call_loop(arg), end_the_wait_and_be_signalled, arg);
}

static void
be_signalled(void *arg DS_UNUSED)
{
    (void)raise(signal_number);
}

static bool
wait_for(Call *call, LoopFn fn, Error *err)
{
    LoopTimer *timer = timer_new(call_loop(call), fn, call);

    timer_start(timer, 1);
    waited_well = call_sleep(call, HANG_MS, err);
    timer_free(timer);
    return waited_well;
}

static bool
answered_and_signalled(Call *call, const CliCall *cli DS_UNUSED, Error *err)
{
    return wait_for(call, at_the_end_of_the_turn, err);
}

static bool
signalled(Call *call, const CliCall *cli DS_UNUSED, Error *err)
{
    return wait_for(call, be_signalled, err);
}

static int
run_with(int number, CallRun run)
{
    CliCall cli = {0};

    signal_number = number;
    return call_main(run, &cli);
}

Test(dsctl_call, a_signal_ends_the_wait)
{
    cr_expect_eq(run_with(SIGINT, signalled), DSCTL_INTERRUPTED);
    cr_expect_eq(run_with(SIGTERM, signalled), DSCTL_INTERRUPTED);
    cr_expect_not(waited_well);
}

Test(dsctl_call, a_signal_that_comes_with_the_answer_is_not_lost)
{
    cr_expect_eq(run_with(SIGINT, answered_and_signalled), DSCTL_INTERRUPTED);
    cr_expect_not(waited_well);
}

/* Programs in the background of a script are begun with an interrupt that is ignored. */
Test(dsctl_call, signals_are_as_before_when_nothing_is_waited_for)
{
    static void (*const handlers[])(int) = {SIG_DFL, SIG_IGN};
    struct sigaction action;

    for (size_t i = 0; i < DS_COUNT(handlers); i++) {
        cr_assert(signal(SIGINT, handlers[i]) != SIG_ERR);
        cr_expect_eq(run_with(SIGINT, signalled), DSCTL_INTERRUPTED);
        cr_expect_eq(sigaction(SIGINT, NULL, &action), 0);
        cr_expect(action.sa_handler == handlers[i], "handler %zu", i);
    }
}
