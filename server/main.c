/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server/main.c -- ds-server: settings, wiring, signals, an orderly end.
 */
#include <signal.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/metrics.h"
#include "common/notify.h"
#include "common/standard_fds.h"
#include "server/app.h"
#include "server/check.h"
#include "server/cold_read.h"
#include "server/http_server.h"
#include "server/live_loop.h"
#include "server/manifest.h"
#include "server/route.h"
#include "server/server_config.h"

#define EXIT_CONFIG 2 /* a setting is wrong: starting again will not help */

static const LogScope scope = {.name = "server"};

typedef struct Program {
    ServerConfig config;
    Loop *loop;
    LoopSignal *terminate;
    LoopSignal *interrupt;
    LoopSignal *hangup;
    LoopTimer *watchdog;
    Metrics *metrics;
    App *app;
    HttpServer *server;
} Program;

static void
on_signal(void *arg)
{
    Program *program = arg;

    if (program->server != NULL) {
        notify_send("STOPPING=1");
        http_server_stop(program->server);
    }
}

static void
on_hangup(void *arg)
{
    Program *program = arg;

    if (program->server != NULL) {
        notify_reloading();
        http_server_reload(program->server);
        notify_send("READY=1");
    }
}

static void
on_watchdog(void *arg)
{
    Program *program = arg;

    if (http_server_is_alive(program->server)) {
        notify_send("WATCHDOG=1");
    }
}

static void
say_ready(Program *program)
{
    int64_t watchdog_ms = notify_watchdog_ms();

    if (watchdog_ms > 0) {
        program->watchdog = timer_new(program->loop, on_watchdog, program);
        timer_repeat(program->watchdog, watchdog_ms);
    }
    notify_send("READY=1");
}

/* Nobody may end us while the data is put in order, nor in the moments after it. */
static void
free_signals(Program *program)
{
    signal_free(program->terminate);
    signal_free(program->interrupt);
    signal_free(program->hangup);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
}

static void
on_stopped(void *arg)
{
    Program *program = arg;

    timer_free(program->watchdog);
    http_server_free(program->server);
    program->server = NULL;
    loop_stop(program->loop);
}

static bool
start(Program *program, Error *err)
{
    HttpServerOptions options = {
        .config = &program->config,
        .metrics = program->metrics,
        .main = program->loop,
        .on_stopped = on_stopped,
        .on_stopped_arg = program,
        .handlers =
            {
                .request = route_request,
                .admin = route_admin,
                .loop_start = live_loop_start,
                .loop_drain = live_drain,
                .loop_stop = live_loop_stop,
            },
    };

    /* Before anybody can know that we are there, and acted upon when the loop runs. */
    program->hangup = signal_new(program->loop, SIGHUP, on_hangup, program);
    if (!app_new(&program->config, program->metrics, &program->app, err)) {
        return false;
    }
    options.handlers.app = program->app;
    program->terminate = signal_new(program->loop, SIGTERM, on_signal, program);
    program->interrupt = signal_new(program->loop, SIGINT, on_signal, program);
    return http_server_new(&options, &program->server, err);
}

static int
run(Program *program)
{
    Error err;
    int status = EXIT_SUCCESS;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is a full disk to us */
    /* Read by libuv when the first work comes; whoever set it knows better. */
    (void)setenv("UV_THREADPOOL_SIZE", COLD_POOL_THREADS, 0);
    program->loop = loop_new();
    program->metrics = metrics_new();
    if (start(program, &err)) {
        say_ready(program);
        loop_run(program->loop);
        log_info(&scope, LOG_FIELDS(), "stopped");
    } else {
        log_error(&scope, EVENT_START_FAILED, LOG_FIELDS(log_str("reason", str_c(err.text))),
                  "cannot start");
        status = EXIT_FAILURE;
    }
    app_free(program->app);
    free_signals(program);
    metrics_free(program->metrics);
    loop_free(program->loop);
    return status;
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

static bool
start_log(const ServerConfig *config, Error *err)
{
    LogConfig log = {
        .program = "ds-server",
        .json = config->log_format == 1,
        .fd = config->log_output == 1 ? STDERR_FILENO : STDOUT_FILENO,
        .filter = config->log_filter,
    };

    return log_init(&log, err);
}

/* --upgrade-data: says what there was to do. */
static int
upgrade_data(const ServerConfig *config)
{
    uint64_t from;
    Error err;

    if (!data_dir_upgrade(config->storage.data_dir, &from, &err)) {
        log_error(&scope, EVENT_START_FAILED, LOG_FIELDS(log_str("reason", str_c(err.text))),
                  "cannot upgrade the data");
        return EXIT_FAILURE;
    }
    log_info(&scope, LOG_FIELDS(log_u64("from", from), log_u64("to", MANIFEST_FORMAT_VERSION)),
             from == MANIFEST_FORMAT_VERSION ? "there is nothing to upgrade"
                                             : "the data is upgraded");
    return EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
    Program program = {0};
    ConfigLoad load = {.argc = argc, .argv = argv, .environ_ = environ};
    Error err = {0};
    int status = EXIT_CONFIG;

    standard_fds_hold();
    if (!server_config_load(&program.config, &load, &err)) {
        config_each_line(&load.unknown, say_unknown); /* most often one of them was meant */
        config_each_line(&load.problems, say_illegal);
    } else if (!start_log(&program.config, &err)) {
        say_illegal(str_c(err.text));
    } else if (load.help || load.version || load.print_config || load.check_config) {
        if (load.check_config) {
            config_each_line(&load.unknown, say_unknown);
        }
        if (load.check_config && !check_config(&program.config, &err)) {
            say_illegal(str_c(err.text));
        } else {
            status = config_answer(&server_config_table, &program.config, &load, &err)
                         ? EXIT_SUCCESS
                         : EXIT_FAILURE;
        }
    } else {
        config_each_line(&load.unknown, say_unknown);
        status =
            program.config.storage.upgrade_data ? upgrade_data(&program.config) : run(&program);
    }
    config_load_done(&load);
    server_config_done(&program.config);
    return status;
}
