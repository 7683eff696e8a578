/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/session.h"

#include <criterion/criterion.h>

#include "tests/support/http_peer.h"

static bool
reaches(SessionState from, SessionState to)
{
    bool seen[SESSION_STATE_COUNT] = {[0] = false};
    bool grows = true;

    seen[from] = true;
    while (grows) {
        grows = false;
        for (int a = 0; a < SESSION_STATE_COUNT; a++) {
            for (int b = 0; b < SESSION_STATE_COUNT; b++) {
                if (seen[a] && !seen[b] &&
                    session_edge_is_legal((SessionState)a, (SessionState)b)) {
                    seen[b] = grows = true;
                }
            }
        }
    }
    return seen[to];
}

Test(session, every_state_is_reached_and_every_one_can_end)
{
    for (int state = 0; state < SESSION_STATE_COUNT; state++) {
        cr_expect(reaches(SESSION_LOAD, (SessionState)state), "state %d is never reached", state);
        cr_expect(reaches((SessionState)state, SESSION_ENDED), "state %d never ends", state);
    }
}

Test(session, nothing_is_read_before_the_position_is_loaded)
{
    for (int state = 0; state < SESSION_STATE_COUNT; state++) {
        if (session_edge_is_legal((SessionState)state, SESSION_STREAM)) {
            cr_expect_eq(state, SESSION_PROBE);
        }
    }
    cr_expect(session_edge_is_legal(SESSION_LOAD, SESSION_PROBE));
}

Test(session, whoever_is_fenced_or_failed_never_writes_again)
{
    static const SessionState over[] = {SESSION_FENCED, SESSION_FAILED};

    for (size_t i = 0; i < DS_COUNT(over); i++) {
        for (int to = 0; to < SESSION_STATE_COUNT; to++) {
            cr_expect(!session_edge_is_legal(over[i], (SessionState)to) || to == SESSION_ENDED,
                      "%d -> %d", (int)over[i], to);
        }
    }
}

Test(session, a_closed_stream_is_only_left_by_loading_its_position_anew)
{
    for (int to = 0; to < SESSION_STATE_COUNT; to++) {
        cr_expect_eq(session_edge_is_legal(SESSION_CLOSED, (SessionState)to),
                     to == SESSION_ENDED || to == SESSION_LOAD, "closed -> %d", to);
    }
}

Test(session, who_waits_for_a_stream_writes_what_is_gathered_before_it_ends)
{
    cr_expect(session_edge_is_legal(SESSION_WAITING, SESSION_DRAIN));
    cr_expect_not(session_edge_is_legal(SESSION_WAITING, SESSION_ENDED));
}

Test(session, the_diagram_names_every_edge)
{
    Buf out;
    Error err;
    size_t lines = 0;
    size_t edges = 0;

    buf_init(&out, 65536);
    cr_assert(session_print_states(&out, &err));
    for (size_t i = 0; i < out.len; i++) {
        lines += out.data[i] == '\n';
    }
    for (int from = 0; from < SESSION_STATE_COUNT; from++) {
        for (int to = 0; to < SESSION_STATE_COUNT; to++) {
            edges += session_edge_is_legal((SessionState)from, (SessionState)to);
        }
    }
    cr_expect_eq(lines, edges);
    cr_expect_null(memmem(out.data, out.len, "(null)", 6));
    buf_done(&out);
}

/* --- sessions with a scripted server, and a writer that does what a test says --- */

typedef struct Bench {
    Peer peer;
    Loop *loop;
    HttpClient *client;
    Server server;
    Metrics *metrics;
    Stats stats;
    SyncdConfig config;
    Budget budget;
    size_t looking;
    SessionShared shared;
    Route *route;
    StreamPlan plan;
    char url[64];
    LoopTimer *look;
    bool (*is_there)(struct Bench *bench); /* what is waited for */
    Session *session;
    Lane *lane;
    Checkpoint checkpoint; /* what is loaded */
    size_t loads;
    bool ended;
} Bench;

static Bench bench;

TestSuite(session, .timeout = 60);

void
writer_attach(Writer *writer DS_UNUSED, Lane *lane)
{
    bench.lane = lane;
}

void
writer_detach(Writer *writer DS_UNUSED, Lane *lane DS_UNUSED)
{
}

void
writer_leave(Writer *writer DS_UNUSED, Lane *lane)
{
    lane->wants = 0;
    lane->callbacks->on_released(lane->arg);
}

void
writer_push(Writer *writer DS_UNUSED, Lane *lane, Unit *unit)
{
    lane_push(lane, unit, false);
}

void
writer_load(Writer *writer DS_UNUSED, Lane *lane)
{
    bench.loads++;
    lane->checkpoint = bench.checkpoint;
    lane_remember(lane, false, false);
    lane->callbacks->on_loaded(lane->arg);
}

void
writer_new_generation(Writer *writer DS_UNUSED, Lane *lane DS_UNUSED)
{
    cr_assert_fail("no stream of these tests is read anew");
}

/* Remains to be done. */
void
writer_set_state(Writer *writer DS_UNUSED, Lane *lane, Str state, Str reason DS_UNUSED,
                 Str content_type DS_UNUSED)
{
    lane->state = state;
    lane->wants |= LANE_WANTS_STATE;
}

bool
writer_is_up(const Writer *writer DS_UNUSED)
{
    return true;
}

static void
state_is_written(void)
{
    bench.lane->wants = 0;
    bench.lane->telling = false;
    bench.lane->callbacks->on_released(bench.lane->arg);
}

static void
on_ended(void *owner DS_UNUSED)
{
    bench.ended = true;
    session_free(bench.session);
    bench.session = NULL;
}

static void
on_look(void *arg DS_UNUSED)
{
    if (bench.is_there(&bench)) {
        timer_stop(bench.look);
        loop_stop(bench.loop);
    }
}

static void
bench_wait(bool (*is_there)(Bench *bench))
{
    bench.is_there = is_there;
    timer_repeat(bench.look, 2);
    loop_run(bench.loop);
}

static void
bench_stop(void *arg DS_UNUSED)
{
    loop_stop(bench.loop);
}

/* Until what is scheduled now was done. */
static void
bench_turn(void)
{
    loop_defer(bench.loop, bench_stop, NULL);
    loop_run(bench.loop);
}

/* The server tells what it makes anew: closed streams are not looked at. */
static void
bench_init(PeerFn handler)
{
    static char *const streams[] = {(char *)"s"};
    static const StreamKey key = {
        .source = STR("default"), .name = STR("s"), .route = STR("default")};

    bench = (Bench){.loop = loop_new(), .metrics = metrics_new()};
    peer_start(&bench.peer, handler);
    (void)snprintf(bench.url, sizeof(bench.url), "http://127.0.0.1:%d/s", bench.peer.port);
    bench.client = http_client_new(bench.loop, &(HttpClientConfig){.user_agent = "test"});
    bench.server = (Server){.name = "default",
                            .admin_url = "http://127.0.0.1:1",
                            .client = bench.client,
                            .gate = gate_new(bench.loop, 1, 1000),
                            .outage = outage_new(1000)};
    stats_init(&bench.stats, bench.metrics);
    bench.config = (SyncdConfig){.instance = (char *)"me",
                                 .timeouts = {.backoff_base_ms = 1, .backoff_max_ms = 1},
                                 .limits = {.event_bytes = 1 << 20, .message_bytes = 1 << 20}};
    budget_init(&bench.budget, 1 << 20, 1 << 20, session_resume);
    bench.shared = (SessionShared){.loop = bench.loop,
                                   .budget = &bench.budget,
                                   .config = &bench.config,
                                   .stats = &bench.stats,
                                   .looking = &bench.looking,
                                   .on_ended = on_ended};
    bench.route = route_new_default(streams, 1, &bench.server, ROUTE_RECREATE_STOP);
    bench.plan = (StreamPlan){.url = bench.url, .route = bench.route};
    bench.checkpoint = (Checkpoint){.stream_id = 1, .epoch = 1, .generation = 1};
    position_set(&bench.checkpoint.position, STR("-1"), 0);
    bench.look = timer_new(bench.loop, on_look, NULL);
    bench.session = session_new(
        &bench.shared, &(SessionConfig){.key = &key, .plan = &bench.plan, .lease_epoch = 1}, NULL);
}

static bool
has_ended(Bench *unused DS_UNUSED)
{
    return bench.ended;
}

static void
bench_done(void)
{
    if (!bench.ended) {
        state_is_written();
        session_end(bench.session);
        bench_wait(has_ended);
    }
    route_unref(bench.route);
    http_client_free(bench.client);
    gate_free(bench.server.gate);
    outage_free(bench.server.outage);
    timer_free(bench.look);
    loop_run(bench.loop);
    loop_free(bench.loop);
    metrics_free(bench.metrics);
    peer_stop(&bench.peer);
}

static void
load_closed(void)
{
    position_set(&bench.checkpoint.position, STR("o1"), 0);
    bench.checkpoint.next_seq = 1;
    bench.checkpoint.closed = true;
    session_start(bench.session);
}

static bool
is_closed(Bench *unused DS_UNUSED)
{
    return session_view(bench.session).state == SESSION_CLOSED;
}

static bool
is_waiting(Bench *unused DS_UNUSED)
{
    return session_view(bench.session).state == SESSION_WAITING;
}

static void
serve_closed(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        peer_send(fd, STR("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                          "Stream-Next-Offset: o1\r\nStream-Closed: true\r\n\r\n"));
    }
}

static void
serve_none(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        peer_send(fd, STR("HTTP/1.1 404 Not Found\r\n\r\n"));
    }
}

Test(session, that_a_closed_stream_was_made_anew_is_not_forgotten_for_trouble_of_the_same_turn)
{
    Error err;

    (void)error_set(&err, ERR_CONFIG, "refused");
    bench_init(serve_closed);
    load_closed();
    bench_wait(is_closed);
    cr_expect_eq(bench.loads, (size_t)1);
    bench.lane->callbacks->on_trouble(bench.lane->arg, LANE_REFUSED, &err);
    session_made_anew(bench.session);
    bench_turn();
    cr_expect_eq(bench.loads, (size_t)2, "it is looked at");
    bench_wait(is_closed);
    bench_done();
}

Test(session, that_a_closed_stream_is_gone_is_stored_before_its_session_ends)
{
    bench_init(serve_none);
    load_closed();
    bench_wait(is_closed);
    cr_assert(bench.lane->gone);
    session_end(bench.session);
    bench_turn();
    cr_expect_not(bench.ended, "who comes next must know it");
    bench.lane->wants = 0;
    bench.lane->telling = true; /* on its way, and may be lost with the connection */
    session_end(bench.session);
    bench_turn();
    cr_expect_not(bench.ended);
    bench_done();
}

Test(session, that_a_stream_was_not_there_is_stored_before_its_session_ends)
{
    bench_init(serve_none);
    bench.server.admin_url = NULL;
    session_start(bench.session);
    bench_wait(is_waiting);
    cr_assert(bench.lane->from_start);
    session_end(bench.session);
    bench_turn();
    cr_expect_not(bench.ended, "else it is taken for an old one when it comes meanwhile");
    bench_done();
}

Test(session, whose_lease_is_lost_ends_whatever_is_not_stored)
{
    bench_init(serve_none);
    load_closed();
    bench_wait(is_closed);
    session_revoke(bench.session);
    bench_turn();
    cr_expect(bench.ended);
    bench_done();
}

static void
serve_gone(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        peer_send(fd, STR("HTTP/1.1 410 Gone\r\n\r\n"));
    }
}

Test(session, what_comes_where_a_stream_was_deleted_is_new)
{
    bench_init(serve_gone);
    bench.server.admin_url = NULL;
    bench.route->spec.on_recreate = ROUTE_RECREATE_NEW_GENERATION;
    session_start(bench.session);
    bench_wait(is_waiting);
    cr_expect(bench.lane->from_start, "`start: now` leaves out nothing of it");
    bench_done();
}

Test(session, what_is_new_is_for_the_list_of_a_server_to_say)
{
    bench_init(serve_gone);
    bench.route->spec.on_recreate = ROUTE_RECREATE_NEW_GENERATION;
    session_start(bench.session);
    bench_wait(is_waiting);
    cr_expect_not(bench.lane->from_start, "the 410 may be of who stands before it");
    bench_done();
}

/* Gone when it is looked at first, then there and longer than what is loaded. */
static void
serve_gone_then_longer(Peer *peer, int fd, int index)
{
    bool is_gone = index == 0;

    while (peer_read(peer, fd)) {
        peer_send(fd, is_gone ? STR("HTTP/1.1 404 Not Found\r\n\r\n")
                              : STR("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                    "Stream-Next-Offset: o9\r\n\r\n"));
        is_gone = false;
    }
}

static bool
is_judged(Bench *unused DS_UNUSED)
{
    SessionState state = session_view(bench.session).state;

    return state == SESSION_DRAIN || state == SESSION_STREAM;
}

Test(session, a_stream_that_was_gone_is_another_one_until_its_generation_has_begun)
{
    bench_init(serve_gone_then_longer);
    bench.route->spec.on_recreate = ROUTE_RECREATE_NEW_GENERATION;
    position_set(&bench.checkpoint.position, STR("o1"), 0);
    bench.checkpoint.next_seq = 1;
    session_start(bench.session);
    bench.lane->in_flight = true; /* the generation has to wait for it */
    bench_wait(is_judged);
    cr_assert_eq(session_view(bench.session).state, SESSION_DRAIN);
    bench.lane->callbacks->on_down(bench.lane->arg); /* and Postgres does not know of all that */
    bench_turn();
    cr_assert_eq(bench.loads, (size_t)2);
    bench_wait(is_judged);
    cr_expect_eq(session_view(bench.session).state, SESSION_DRAIN,
                 "else the first messages of the new one are passed over");
    bench.lane->in_flight = false;
    bench_done();
}
