/* SPDX-License-Identifier: Apache-2.0 */
/* A command's life: waiting, signals, and the status it ends with. */
#include "dsctl/call_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "dsctl/output.h"

#define NOTE_BYTES_MAX  2048
#define READER_CHECK_MS 200

/* ---- waiting ---- */

void
call_finish_wait(Call *call)
{
    call->done = true;
    loop_stop(call->loop);
}

/* The wait that a signal ends, while its handler is set. */
static LoopWake *volatile signal_wake;
static volatile sig_atomic_t signal_came;

static void
on_signal(int number DS_UNUSED)
{
    int saved = errno;

    signal_came = 1;
    loop_wake_send(signal_wake);
    errno = saved;
}

static void
on_signal_wake(void *arg)
{
    Call *call = arg;

    loop_stop(call->loop);
}

static void
on_timer(void *arg)
{
    Call *call = arg;

    call->expired = true;
    call_finish_wait(call);
}

/* Signals are caught only while the loop runs: a command that reads stdin or writes to a full pipe
 * is ended by them as any other program.  A signal that comes when the wait is over already counts
 * as well: nobody sends it a second time. */
static void
call_run_loop(Call *call)
{
    static const int numbers[CALL_SIGNALS] = {SIGINT, SIGTERM};
    struct sigaction ours = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction before[CALL_SIGNALS];

    (void)sigemptyset(&ours.sa_mask);
    signal_came = 0;
    signal_wake = wake_new(call->loop, on_signal_wake, call);
    for (size_t i = 0; i < CALL_SIGNALS; i++) {
        (void)sigaction(numbers[i], &ours, &before[i]);
    }
    while (!call->done && signal_came == 0 && !call->reader_left) {
        loop_run(call->loop);
    }
    for (size_t i = 0; i < CALL_SIGNALS; i++) {
        (void)sigaction(numbers[i], &before[i], NULL);
    }
    wake_free(signal_wake);
    signal_wake = NULL;
    call->interrupted = call->interrupted || signal_came != 0;
}

bool
call_wait(Call *call, int64_t limit_ms, Error *err)
{
    if (limit_ms > 0) {
        timer_start(call->timer, limit_ms);
    }
    call_run_loop(call);
    timer_stop(call->timer);
    if (call->reader_left) {
        return error_set(err, ERR_CANCELED, "the reader of the output left");
    }
    return !call->interrupted || error_set(err, ERR_CANCELED, "interrupted");
}

void
call_begin_wait(Call *call)
{
    call->done = false;
    call->expired = false;
}

void
call_stop(Call *call)
{
    call_finish_wait(call);
}

Loop *
call_loop(Call *call)
{
    return call->loop;
}

bool
call_sleep(Call *call, int64_t ms, Error *err)
{
    call_begin_wait(call);
    return call_wait(call, DS_MAX(ms, (int64_t)1), err);
}

/* ---- a command's life ---- */

void
call_set_exit(Call *call, ExitCode code)
{
    call->exit = code;
}

/* Looked at from time to time: a watch of the loop would make stdout non-blocking, for every
 * process that shares it. */
static void
on_reader_timer(void *arg)
{
    Call *call = arg;
    struct pollfd output = {.fd = STDOUT_FILENO, .events = 0};

    if (poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0) {
        call->reader_left = true;
        loop_stop(call->loop);
    }
}

void
call_watch_reader(Call *call)
{
    struct stat info;

    if (call->reader == NULL && fstat(STDOUT_FILENO, &info) == 0 && S_ISFIFO(info.st_mode)) {
        call->reader = timer_new(call->loop, on_reader_timer, call);
        timer_repeat(call->reader, READER_CHECK_MS);
    }
}

void
call_note(const char *fmt, ...)
{
    Error full = {0};
    char text[NOTE_BYTES_MAX];
    va_list args;
    Buf shown;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut: it is for people */
    va_end(args);
    /* Servers, Postgres and the network have a say in these texts. */
    buf_init(&shown, sizeof(text) * 4);
    if (output_escape(&shown, str_c(text), false, &full)) {
        (void)fprintf(stderr, "dsctl: %s\n", buf_cstr(&shown));
    }
    buf_done(&shown);
}

static Call *
call_new(void)
{
    Call *call = mem_zalloc(sizeof(*call));

    /* A peer or reader that goes away is an error to handle, not an end by signal. */
    (void)signal(SIGPIPE, SIG_IGN);
    call->loop = loop_new();
    call->timer = timer_new(call->loop, on_timer, call);
    return call;
}

static void
call_free(Call *call)
{
    if (call->http != NULL) {
        http_client_free(call->http);
    }
    if (call->pg != NULL) {
        pg_free(call->pg);
    }
    timer_free(call->reader);
    timer_free(call->timer);
    loop_free(call->loop);
    secret_done(&call->token);
    secret_done(&call->pg_url);
    free(call);
}

/* 42P01 no such table, 42703 no such column, 3F000 no such schema. */
bool
call_is_no_schema(const Error *err)
{
    Str state = str_c(err->sqlstate);

    return str_eq(state, STR("42P01")) || str_eq(state, STR("42703")) ||
           str_eq(state, STR("3F000"));
}

/* Postgres's SQLSTATE says more than the code: 28 and 42501 are about rights, 55 about
 * locks, 3D about the database. */
static ExitCode
postgres_exit(const Error *err)
{
    Str state = str_c(err->sqlstate);

    if (str_starts(state, STR("28")) || str_eq(state, STR("42501"))) {
        return DSCTL_AUTH;
    }
    if (str_starts(state, STR("55")) || call_is_no_schema(err)) {
        return DSCTL_CONFLICT;
    }
    if (state.len == 0 && err->code == ERR_CONFIG) {
        return DSCTL_USAGE; /* the connection string */
    }
    if (str_starts(state, STR("3D"))) {
        return DSCTL_NOT_FOUND;
    }
    return err->code == ERR_RETRY ? DSCTL_NO_POSTGRES : DSCTL_FAILURE;
}

static ExitCode
error_exit(const Call *call, const Error *err)
{
    if (call->interrupted) {
        return DSCTL_INTERRUPTED;
    }
    if (call->failed_exit != DSCTL_OK) {
        return call->failed_exit;
    }
    if (call->postgres_failed) {
        return postgres_exit(err);
    }
    switch (err->code) {
    case ERR_CANCELED:
        return DSCTL_OK; /* the reader of the output left */
    case ERR_CONFIG:
    case ERR_INPUT:
        return DSCTL_USAGE;
    case ERR_NOT_FOUND:
    case ERR_GONE:
        return DSCTL_NOT_FOUND;
    case ERR_AUTH:
        return DSCTL_AUTH;
    case ERR_CONFLICT:
        return DSCTL_CONFLICT;
    case ERR_RETRY:
        return DSCTL_NO_SOURCE;
    case ERR_NONE:
    case ERR_PROTOCOL:
    case ERR_LIMIT:
    case ERR_FULL:
    case ERR_CORRUPT:
    case ERR_FATAL:
    case ERR_COUNT:
        break;
    }
    return DSCTL_FAILURE;
}

int
call_main(CallRun run, const CliCall *cli)
{
    Call *call = call_new();
    Error err = {0};
    ExitCode code = DSCTL_OK;

    if (run(call, cli, &err) && output_flush(&err)) {
        code = call->exit;
    } else {
        code = error_exit(call, &err);
        if (err.code != ERR_CANCELED) {
            call_note("%s", err.text);
        }
    }
    call_free(call);
    return (int)code;
}
