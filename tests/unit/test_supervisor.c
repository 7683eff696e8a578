/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/supervisor.h"

#include <criterion/criterion.h>

#include "syncd/startup.h"
#include "tests/support/pg_client.h"

#define STREAMS 40

/* A supervisor beside a private Postgres, and stream servers that nobody reaches: sessions load
 * their positions and stay. */
typedef struct Bench {
    Loop *loop;
    SyncdConfig config;
    Metrics *metrics;
    Stats stats;
    Startup *startup;
    Servers *servers;
    Supervisor *supervisor;
    bool stopped;
    char answer[64];
    LoopTimer *look;
    size_t sessions; /* waited for */
} Bench;

TestSuite(supervisor, .timeout = 120);

static void
bench_config(SyncdConfig *config)
{
    char url[512];
    char *argv[] = {(char *)"syncd", NULL};
    Error err;

    (void)snprintf(url, sizeof(url), "POSTGRES_URL=%s", server_url());
    char *variables[] = {url,
                         (char *)"DS_SERVER_URL=http://127.0.0.1:1",
                         (char *)"SYNCD_SERVERS=other=http://127.0.0.1:2",
                         (char *)"SYNCD_MIGRATE=true",
                         (char *)"SYNCD_STREAMS=listed",
                         (char *)"SYNCD_LOG=error",
                         NULL};
    ConfigLoad load = {.argc = 1, .argv = argv, .environ_ = variables};
    cr_assert(syncd_config_load(config, &load, &err), "%s", err.text);
    config_load_done(&load);
}

static void
on_startup(void *arg, const StartupResult *result)
{
    Bench *bench = arg;

    cr_assert(result->ok, "%s", result->err.text);
    loop_stop(bench->loop);
}

static void
on_look(void *arg)
{
    Bench *bench = arg;

    if (supervisor_count(bench->supervisor) == bench->sessions) {
        loop_stop(bench->loop);
    }
}

static void
bench_init(Bench *bench)
{
    *bench = (Bench){.loop = loop_new(), .metrics = metrics_new()};
    bench_config(&bench->config);
    stats_init(&bench->stats, bench->metrics);
    bench->startup = startup_new(bench->loop, &bench->config, on_startup, bench);
    loop_run(bench->loop);
    startup_free(bench->startup);
    bench->servers = servers_new(
        bench->loop, &(ServersConfig){.list = &bench->config.servers, .openings_max = 1});
    bench->supervisor = supervisor_new(bench->loop, &bench->config, &bench->stats);
    bench->look = timer_new(bench->loop, on_look, bench);
}

static void
bench_done(Bench *bench)
{
    timer_free(bench->look);
    supervisor_free(bench->supervisor);
    servers_free(bench->servers);
    loop_free(bench->loop);
    metrics_free(bench->metrics);
    syncd_config_done(&bench->config);
}

static void
wait_sessions(Bench *bench, size_t count)
{
    bench->sessions = count;
    timer_repeat(bench->look, 5);
    loop_run(bench->loop);
    timer_stop(bench->look);
    cr_expect_eq(supervisor_count(bench->supervisor), count);
}

static StreamKey
numbered(char *name, size_t size, int number, const char *route)
{
    (void)snprintf(name, size, "dynamic/%d", number);
    return (StreamKey){.source = STR("default"), .name = str_c(name), .route = str_c(route)};
}

static void
want_all(Bench *bench, Route *route)
{
    char name[32];

    for (int i = 0; i < STREAMS; i++) {
        StreamKey key = numbered(name, sizeof(name), i, route->spec.name);

        supervisor_want(bench->supervisor, &key,
                        &(StreamPlan){.url = "http://127.0.0.1:1/v1/stream/any", .route = route});
    }
}

static void
on_answer(void *arg, const PgReply *reply)
{
    Bench *bench = arg;

    cr_assert(reply->ok, "%s", reply->err.text);
    (void)snprintf(bench->answer, sizeof(bench->answer), "%.*s", STR_ARG(pg_get(reply, 0, 0)));
    loop_stop(bench->loop);
}

static const char *
ask(Bench *bench, const char *sql)
{
    control_link_query(supervisor_control_link(bench->supervisor), sql, NULL, 0, on_answer, bench);
    loop_run(bench->loop);
    return bench->answer;
}

static void
on_stopped(void *arg)
{
    Bench *bench = arg;

    bench->stopped = true;
    loop_stop(bench->loop);
}

/* One test: all of them would be instances of the same fleet. */
Test(supervisor, sessions_begin_and_end_as_streams_are_wanted_and_nothing_is_left_behind)
{
    Bench bench;
    char name[32];

    bench_init(&bench);
    Route *one = route_new_default(NULL, 0, servers_at(bench.servers, 0), ROUTE_RECREATE_STOP);
    Route *other = route_new_default(NULL, 0, servers_at(bench.servers, 1), ROUTE_RECREATE_STOP);
    want_all(&bench, one);
    cr_expect_eq(supervisor_count(bench.supervisor), 0, "nothing is loaded without a lease");
    supervisor_start(bench.supervisor);
    wait_sessions(&bench, STREAMS);
    cr_expect_eq(supervisor_fleet(bench.supervisor).wanted, STREAMS);
    cr_expect_eq(supervisor_fleet(bench.supervisor).held, 64);

    /* Wanted once more: nothing changes.  With another plan: ended, and begun anew. */
    Str first = str_c(supervisor_view(bench.supervisor, 0).name);
    want_all(&bench, one);
    cr_expect_eq(supervisor_view(bench.supervisor, 0).name, first.ptr);
    want_all(&bench, other);
    wait_sessions(&bench, STREAMS);

    StreamKey gone = numbered(name, sizeof(name), 3, one->spec.name);
    supervisor_unwant(bench.supervisor, &gone);
    supervisor_unwant(bench.supervisor, &gone);
    wait_sessions(&bench, STREAMS - 1);
    for (size_t i = 0; i < STREAMS - 1; i++) {
        cr_expect_str_neq(supervisor_view(bench.supervisor, i).name, "dynamic/3");
    }
    supervisor_unwant(bench.supervisor, &gone);
    supervisor_want(bench.supervisor, &gone,
                    &(StreamPlan){.url = "http://127.0.0.1:2/v1/stream/any", .route = other});
    wait_sessions(&bench, STREAMS);
    cr_expect_str_eq(ask(&bench, "SELECT count(*) FROM ds_sync.work_partition WHERE owner IS NOT "
                                 "NULL"),
                     "64");

    supervisor_stop(bench.supervisor, on_stopped, &bench);
    while (!bench.stopped) {
        loop_run(bench.loop);
    }
    cr_expect_eq(supervisor_count(bench.supervisor), 0);
    cr_expect_str_eq(ask(&bench, "SELECT count(*) FROM ds_sync.work_partition WHERE owner IS NOT "
                                 "NULL OR lease_until IS NOT NULL"),
                     "0");
    cr_expect_str_eq(ask(&bench, "SELECT count(*) FROM ds_sync.instance"), "0");
    route_unref(one);
    route_unref(other);
    bench_done(&bench);
}
