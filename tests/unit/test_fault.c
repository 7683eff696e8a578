/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fault.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/str.h"

/* Criterion runs each test in a process of its own, so each has an environment of its own too. */
static void
arm(const char *name, const char *value)
{
    cr_assert_eq(setenv(name, value, 1), 0);
}

static void
make_log(char path[32])
{
    memcpy(path, "/tmp/fault-test-XXXXXX", sizeof("/tmp/fault-test-XXXXXX"));
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    (void)close(fd);
    arm("DS_FAULT_LOG", path);
}

static void
expect_log(const char *path, const char *expected)
{
    char text[256] = "";
    int fd = open(path, O_RDONLY);

    cr_assert_geq(fd, 0);
    ssize_t length = read(fd, text, sizeof(text) - 1);
    cr_expect_geq(length, 0);
    cr_expect_str_eq(text, expected);
    (void)close(fd);
    (void)unlink(path);
}

Test(fault, nothing_happens_where_nothing_is_armed)
{
    cr_assert_eq(unsetenv("DS_FAULT"), 0);
    cr_assert_eq(unsetenv("DS_MUTANT"), 0);
    for (int i = 0; i < 10; i++) {
        cr_expect_not(FAULT("here"));
        cr_expect_not(MUTANT("here"));
    }
}

Test(fault, fail_hits_the_named_passage_of_the_named_point_and_no_other)
{
    char path[32];

    make_log(path);
    arm("DS_FAULT", "writer.guard:fail:3");
    for (int i = 1; i <= 10; i++) {
        cr_expect_not(FAULT("writer.guar"));
        cr_expect_not(FAULT("writer.guard2"));
        cr_expect_eq(FAULT("writer.guard"), i == 3, "passage %d", i);
    }
    expect_log(path, "writer.guard fail\n");
}

Test(fault, kill_ends_the_process_at_once, .signal = SIGKILL)
{
    arm("DS_FAULT", "here:kill:2");
    cr_assert_not(FAULT("here"));
    (void)FAULT("here");
}

Test(fault, the_log_is_written_before_the_kill)
{
    char path[32];
    int status = 0;

    make_log(path);
    arm("DS_FAULT", "here:kill:1");
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        (void)FAULT("here");
        _exit(0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    expect_log(path, "here kill\n");
}

static int stall_pipe[2];

static void
say_signal(int number)
{
    (void)number;
    ssize_t written = write(stall_pipe[1], "s", 1);
    (void)written;
}

/* The child says "s" when a signal came and "w" when it woke. */
static void
stall_in_child(void)
{
    struct sigaction action = {.sa_handler = say_signal};

    (void)sigaction(SIGUSR1, &action, NULL);
    (void)raise(SIGUSR1);
    (void)FAULT("here");
    ssize_t written = write(stall_pipe[1], "w", 1);
    (void)written;
    _exit(0);
}

static bool
child_says(char c, int timeout_ms)
{
    struct pollfd ready = {.fd = stall_pipe[0], .events = POLLIN};
    char said = '\0';

    return poll(&ready, 1, timeout_ms) == 1 && read(stall_pipe[0], &said, 1) == 1 && said == c;
}

Test(fault, a_stall_outlives_the_signals_that_the_program_handles, .timeout = 30)
{
    int status = 0;

    arm("DS_FAULT", "here:stall:1");
    cr_assert_eq(pipe(stall_pipe), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        stall_in_child();
    }
    cr_expect(child_says('s', 10000), "started");
    for (int i = 0; i < 5; i++) {
        (void)kill(child, SIGUSR1);
        cr_expect(child_says('s', 10000), "heard the signal");
    }
    cr_expect_not(child_says('w', 50), "and woke");
    (void)kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFSIGNALED(status));
}

Test(fault, a_stop_goes_on_as_if_nothing_had_been_when_it_is_continued, .timeout = 30)
{
    int status = 0;

    arm("DS_FAULT", "here:stop:1");
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        _exit(FAULT("here") ? 1 : 7);
    }
    cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
    cr_expect(WIFSTOPPED(status));
    (void)kill(child, SIGCONT);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

Test(fault, a_mutant_is_on_when_it_is_named_exactly)
{
    arm("DS_MUTANT", "no_epoch_check");
    cr_expect(MUTANT("no_epoch_check"));
    cr_expect_not(MUTANT("no_epoch"));
    cr_expect_not(MUTANT("no_epoch_check2"));
}

/* A typing error in a test's environment must not look like a fault that was never reached. */
Test(fault, a_plan_that_cannot_be_read_stops_the_program)
{
    static const char *const bad[] = {
        "here",        "here:kill",  "here:kill:", "here:kill:0",
        "here:kill:x", "here:kil:1", "here::1",    ":",
    };

    for (size_t i = 0; i < DS_COUNT(bad); i++) {
        int status = 0;

        arm("DS_FAULT", bad[i]);
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) {
            int quiet = open("/dev/null", O_WRONLY);

            (void)dup2(quiet, STDERR_FILENO);
            (void)FAULT("here");
            _exit(0);
        }
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "\"%s\"", bad[i]);
    }
}
