/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syncd: loads Durable Streams into Postgres, exactly once.  Wires up, runs until a signal, ends.
 */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "common/notify.h"
#include "common/standard_fds.h"
#include "syncd/check.h"
#include "syncd/discovery.h"
#include "syncd/error_class.h"
#include "syncd/startup.h"
#include "syncd/status.h"
#include "syncd/supervisor.h"

extern char **environ;

static const LogScope scope = {.name = "syncd"};

typedef struct Program {
    SyncdConfig config;
    Loop *loop;
    Metrics *metrics;
    Stats stats;
    Startup *startup;
    Supervisor *supervisor;
    Discovery *discovery;
    Status *status;
    LoopSignal *signals[3];
    LoopTimer *watchdog;
    bool stopping;
    ExitCode exit_code;
} Program;

static void
program_stopped(void *arg)
{
    Program *program = arg;

    loop_stop(program->loop);
}

static void
program_stop(Program *program)
{
    program->stopping = true;
    notify_send("STOPPING=1");
    discovery_free(program->discovery); /* nothing new begins */
    program->discovery = NULL;
    supervisor_stop(program->supervisor, program_stopped, program);
}

static void
program_on_refused(void *arg, const Error *err)
{
    Program *program = arg;

    log_error(&scope, EVENT_LEASE_REFUSED, LOG_FIELDS(), "%s", err->text);
    program->exit_code = EXIT_POSTGRES;
    if (!program->stopping) {
        program_stop(program);
    }
}

static void
program_on_signal(void *arg)
{
    Program *program = arg;

    if (program->stopping) {
        _exit(EXIT_RUNTIME); /* the second one: whoever asks twice does not want to wait */
    }
    log_info(&scope, LOG_FIELDS(), "stopping: finishing what is gathered");
    program_stop(program);
}

static void
program_on_hangup(void *arg)
{
    Program *program = arg;

    notify_reloading();
    supervisor_reload_secrets(program->supervisor);
    log_info(&scope, LOG_FIELDS(),
             "SIGHUP: the files with secrets were read again; other settings need a restart");
    notify_send("READY=1");
}

/* Each stream holds a connection. */
static void
raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* the old limit may do as well */
    }
}

static void
program_on_watchdog(void *arg)
{
    (void)arg; /* that this runs is the message */
    notify_send("WATCHDOG=1");
}

static void
program_on_startup(void *arg, const StartupResult *result)
{
    Program *program = arg;

    startup_free(program->startup);
    program->startup = NULL;
    if (program->stopping) {
        return;
    }
    if (!result->ok) {
        log_error(&scope, EVENT_POSTGRES_SCHEMA,
                  LOG_FIELDS(log_str("sqlstate", str_c(result->err.sqlstate))), "%s",
                  result->err.text);
        program->exit_code = EXIT_POSTGRES;
        program_stop(program);
        return;
    }
    discovery_start(program->discovery);
}

static void
program_start_parts(Program *program)
{
    int64_t watchdog_ms = notify_watchdog_ms();

    program->signals[0] = signal_new(program->loop, SIGTERM, program_on_signal, program);
    program->signals[1] = signal_new(program->loop, SIGINT, program_on_signal, program);
    program->signals[2] = signal_new(program->loop, SIGHUP, program_on_hangup, program);
    if (watchdog_ms > 0) {
        program->watchdog = timer_new(program->loop, program_on_watchdog, program);
        timer_repeat(program->watchdog, watchdog_ms);
    }
    program->startup = startup_new(program->loop, &program->config, program_on_startup, program);
    notify_send("READY=1");
}

static ExitCode
program_run(Program *program)
{
    Error err;

    (void)signal(SIGPIPE, SIG_IGN); /* a peer that left is an error of its write */
    raise_file_limit();
    program->loop = loop_new();
    program->metrics = metrics_new();
    stats_init(&program->stats, program->metrics);
    program->supervisor = supervisor_new(program->loop, &program->config, &program->stats);
    supervisor_on_refused(program->supervisor, program_on_refused, program);
    program->discovery = discovery_new(program->loop, &program->config, program->supervisor);
    if (strcmp(program->config.listen, "off") != 0) {
        program->status = status_new(program->loop,
                                     &(StatusConfig){
                                         .listen = program->config.listen,
                                         .supervisor = program->supervisor,
                                         .discovery = &program->discovery,
                                         .metrics = program->metrics,
                                         .instance = program->config.instance,
                                     },
                                     &err);
        if (program->status == NULL) {
            log_error(&scope, EVENT_START_FAILED, LOG_FIELDS(), "%s", err.text);
            program->exit_code = EXIT_USAGE;
        }
    }
    if (program->exit_code == EXIT_OK) {
        log_info(&scope,
                 LOG_FIELDS(log_str("version", STR(DS_VERSION)),
                            log_str("instance", str_c(program->config.instance)),
                            log_u64("streams", program->config.stream_count)),
                 "started");
        program_start_parts(program);
        loop_run(program->loop);
        log_info(&scope, LOG_FIELDS(), "stopped");
    }
    startup_free(program->startup);
    status_free(program->status);
    discovery_free(program->discovery);
    supervisor_free(program->supervisor);
    for (size_t i = 0; i < DS_COUNT(program->signals); i++) {
        signal_free(program->signals[i]);
    }
    timer_free(program->watchdog);
    loop_free(program->loop);
    metrics_free(program->metrics);
    return program->exit_code;
}

static ExitCode
print_buffer(bool made, Buf *text, const Error *err)
{
    if (!made) {
        (void)fprintf(stderr, "syncd: %s\n", err->text);
    } else {
        (void)fwrite(text->data, 1, text->len, stdout); /* who closed stdout does not want it */
    }
    buf_done(text);
    return made ? EXIT_OK : EXIT_RUNTIME;
}

static ExitCode
print_states(void)
{
    Buf out;
    Error err;

    buf_init(&out, 65536);
    bool made = buf_append(&out, STR("stateDiagram-v2\n    state session {\n"), &err) &&
                session_print_states(&out, &err) &&
                buf_append(&out, STR("    }\n    state writer {\n"), &err) &&
                writer_print_states(&out, &err) && buf_append(&out, STR("    }\n"), &err);
    return print_buffer(made, &out, &err);
}

static ExitCode
print_errors(void)
{
    Buf out;
    Error err;

    buf_init(&out, 65536);
    return print_buffer(error_class_markdown(&out, &err), &out, &err);
}

/* Ours beside the standard flags; taken out of argv. */
static bool
take_flag(int *argc, char **argv, const char *flag)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], flag) == 0) {
            memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof(*argv));
            (*argc)--;
            return true;
        }
    }
    return false;
}

static void
say_unknown(Str name)
{
    log_warn(&scope, EVENT_CONFIG_UNKNOWN, LOG_FIELDS(log_str("name", name)),
             "no setting has this name");
}

static void
say_illegal(Str reason)
{
    log_error(&scope, EVENT_CONFIG_INVALID, LOG_FIELDS(log_str("reason", reason)),
              "the settings are not legal");
}

static ExitCode
answer(const SyncdConfig *config, const ConfigLoad *load)
{
    Error err;

    if (config_answer(&syncd_config_table, config, load, &err)) {
        return EXIT_OK;
    }
    (void)fprintf(stderr, "syncd: %s\n", err.text);
    return EXIT_RUNTIME;
}

static ExitCode
run_loaded(Program *program, ConfigLoad *load, bool check)
{
    const SyncdConfig *config = &program->config;
    LogConfig log = {
        .program = "syncd",
        .json = config->log_format == 1,
        .fd = config->log_output == 1 ? STDERR_FILENO : STDOUT_FILENO,
        .filter = check ? "warn" : config->log_filter, /* --check says its own lines */
    };
    Error err;

    if (check || load->check_config) {
        check_settings(config, load); /* a start finds these out by itself */
    }
    if (load->problems.len == 0 && !log_init(&log, &err)) {
        config_note(load, false, &err);
    }
    config_each_line(&load->unknown, say_unknown); /* most often one of them was meant */
    if (load->problems.len > 0) {
        config_each_line(&load->problems, say_illegal);
        return EXIT_USAGE;
    }
    if (load->check_config) {
        return answer(config, load);
    }
    return check ? check_run(&program->config) : program_run(program);
}

int
main(int argc, char **argv)
{
    static Program program; /* large, and there is one */

    standard_fds_hold();
    bool states = take_flag(&argc, argv, "--print-states");
    bool errors = take_flag(&argc, argv, "--print-errors");
    bool check = take_flag(&argc, argv, "--check");
    ConfigLoad load = {.argc = argc, .argv = argv, .environ_ = environ};
    ExitCode code;
    Error err;

    if (states) {
        return (int)print_states();
    }
    if (errors) {
        return (int)print_errors();
    }
    bool good = syncd_config_load(&program.config, &load, &err);
    if (good && (load.help || load.version || load.print_config)) {
        code = answer(&program.config, &load);
    } else {
        code = run_loaded(&program, &load, check);
    }
    syncd_config_done(&program.config);
    config_load_done(&load);
    return (int)code;
}
