/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/startup.h"

#include "common/backoff.h"
#include "common/log.h"
#include "common/mem.h"
#include "sql/migrate.h"
#include "syncd/error_class.h"

static const LogScope scope = {.name = "syncd.startup"};

struct Startup {
    Loop *loop;
    SyncdConfig *config;
    StartupFn fn;
    void *arg;
    Pg *pg;
    Migrate *migrate;
    LoopTimer *retry;
    Backoff backoff;
};

static void
startup_finish(Startup *startup, const StartupResult *result)
{
    pg_disconnect(startup->pg);
    startup->fn(startup->arg, result);
}

/* Not there yet: says so, and tries again. */
static void
startup_retry(Startup *startup, EventId event, const Error *err, const char *next)
{
    int64_t delay_ms = backoff_next_ms(&startup->backoff, 0);
    bool act = event == EVENT_POSTGRES_SCHEMA || event == EVENT_POSTGRES_REFUSED;
    log_write(act ? LOG_ERROR : LOG_WARN, &scope, event,
              LOG_FIELDS(log_str("sqlstate", str_c(err->sqlstate)), log_i64("retry_ms", delay_ms)),
              "Postgres: %s; %s", err->text, next);
    pg_disconnect(startup->pg);
    timer_start(startup->retry, delay_ms);
}

static void
startup_applied(void *arg, int version, const char *name)
{
    (void)arg; /* the line says it all */
    log_info(&scope, LOG_FIELDS(log_i64("version", version), log_str("name", str_c(name))),
             "migration applied");
}

static void
startup_reported(void *arg, const SchemaReport *report)
{
    Startup *startup = arg;

    startup->migrate = NULL;
    if (report->ok) {
        StartupResult result = {.ok = true, .schema_version = report->version};

        log_info(&scope, LOG_FIELDS(log_i64("version", report->version)), "the schema is there");
        startup_finish(startup, &result);
    } else if (report->err.code == ERR_RETRY) {
        startup_retry(startup, EVENT_POSTGRES_DOWN, &report->err, "tries again");
    } else if (report->version == 0) {
        startup_retry(startup, EVENT_POSTGRES_SCHEMA, &report->err,
                      strcmp(report->err.sqlstate, "42501") == 0
                          ? "grant ds_sync_writer to this role; tries again"
                          : "tries again");
    } else {
        StartupResult result = {.err = report->err};

        startup_finish(startup, &result);
    }
}

static void
startup_connected(void *arg, const PgReply *reply)
{
    static const MigrateOptions options = {.on_applied = startup_applied};
    Startup *startup = arg;

    if (!reply->ok) {
        ErrorClass class = error_class_of_postgres(reply->error_class, reply->err.sqlstate);
        Error err;

        if (class == ERROR_CLASS_POSTGRES_REFUSED &&
            !syncd_config_read_postgres_url(startup->config, &err)) {
            log_warn(&scope, EVENT_SECRET_UNREADABLE, LOG_FIELDS(), "%s", err.text);
        }
        startup_retry(startup, error_class_info(class)->event, &reply->err,
                      "tries again; nothing is read until it answers");
    } else if (startup->config->migrate) {
        startup->migrate = migrate_start(startup->pg, &options, startup_reported, startup);
    } else {
        startup->migrate = schema_check_start(startup->pg, startup_reported, startup);
    }
}

static void
startup_try(void *arg)
{
    Startup *startup = arg;

    pg_connect(startup->pg, startup_connected, startup);
}

Startup *
startup_new(Loop *loop, SyncdConfig *config, StartupFn fn, void *arg)
{
    Startup *startup = mem_zalloc(sizeof(*startup));

    startup->loop = loop;
    startup->config = config;
    startup->fn = fn;
    startup->arg = arg;
    startup->pg = pg_new(loop, &(PgConfig){
                                   .url = &config->postgres_url,
                                   .application_name = "syncd/startup",
                                   .connect_ms_max = 10000,
                               });
    startup->retry = timer_new(loop, startup_try, startup);
    backoff_init(&startup->backoff, config->timeouts.backoff_base_ms,
                 config->timeouts.backoff_max_ms);
    timer_start(startup->retry, 0);
    return startup;
}

void
startup_free(Startup *startup)
{
    if (startup == NULL) {
        return;
    }
    migrate_cancel(startup->migrate);
    pg_free(startup->pg);
    timer_free(startup->retry);
    loop_defer_free(startup->loop, startup);
}
