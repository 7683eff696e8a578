/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/server_watch.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <time.h>

#include "common/clock.h"
#include "syncd/peer_clock.h"
#include "tests/support/http_peer.h"

#define TOLD_MAX 8

/* What was told of a stream last. */
typedef struct Told {
    char name[16];
    int64_t created_ms;
} Told;

typedef struct Bench {
    Peer peer;
    Loop *loop;
    HttpClient *client;
    char url[64];
    Server server;
    ServerWatch *watch;
    Told told[TOLD_MAX];
    size_t told_count;
} Bench;

static Bench bench;
static int64_t backoff_max_ms = 1;
static atomic_bool accepts; /* the peer does, what it refused until then */
static bool renews;         /* whoever is refused finds another token at once */
static atomic_llong wall_ms = 1700000000000;
static _Atomic(const char *) view; /* what the subscriptions of the peer show */

TestSuite(server_watch, .timeout = 60);

static int64_t
real_mono_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int64_t
set_wall_ns(void)
{
    return atomic_load(&wall_ms) * 1000000;
}

static const ClockSource set_clock = {
    .mono_ns = real_mono_ns, .boot_ns = real_mono_ns, .wall_ns = set_wall_ns};

static void
on_begin(void *arg DS_UNUSED, const Server *server DS_UNUSED)
{
}

static Told *
told_of(const char *name)
{
    for (size_t i = 0; i < bench.told_count; i++) {
        if (strcmp(bench.told[i].name, name) == 0) {
            return &bench.told[i];
        }
    }
    return NULL;
}

static void
on_tell(void *arg DS_UNUSED, const Server *server DS_UNUSED, const ListingStream *stream)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "%.*s", STR_ARG(stream->name));
    Told *told = told_of(name);
    if (told == NULL) {
        cr_assert_lt(bench.told_count, (size_t)TOLD_MAX);
        told = &bench.told[bench.told_count++];
        memcpy(told->name, name, sizeof(name));
    }
    told->created_ms = stream->created_ms;
}

static void
on_end(void *arg DS_UNUSED, const Server *server DS_UNUSED)
{
    loop_stop(bench.loop);
}

static void
on_refused(void *arg DS_UNUSED)
{
    if (renews) {
        atomic_store(&accepts, true);
        bench.server.token_version++;
    } else {
        loop_stop(bench.loop);
    }
}

static void
bench_init(PeerFn handler, bool admin)
{
    static const ServerWatchCallbacks callbacks = {
        .begin = on_begin, .tell = on_tell, .end = on_end, .on_refused = on_refused};

    clock_set_source(&set_clock);
    bench = (Bench){.loop = loop_new()};
    peer_start(&bench.peer, handler);
    (void)snprintf(bench.url, sizeof(bench.url), "http://127.0.0.1:%d", bench.peer.port);
    bench.client = http_client_new(bench.loop, &(HttpClientConfig){.user_agent = "test"});
    bench.server = (Server){.name = "default",
                            .url = bench.url,
                            .admin_url = admin ? bench.url : NULL,
                            .client = bench.client,
                            .admin_client = bench.client};
    bench.watch = server_watch_new(bench.loop,
                                   &(ServerWatchConfig){.server = &bench.server,
                                                        .idle_ms_max = 60000,
                                                        .backoff_base_ms = 1,
                                                        .backoff_max_ms = backoff_max_ms},
                                   &callbacks, NULL);
}

static void
bench_done(void)
{
    server_watch_free(bench.watch);
    http_client_free(bench.client);
    loop_run(bench.loop);
    loop_free(bench.loop);
    peer_stop(&bench.peer);
    clock_set_source(NULL);
}

static void
reply(int fd, int status, const char *body)
{
    char text[1024];

    (void)snprintf(text, sizeof(text),
                   "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n%s",
                   status, strlen(body), body);
    peer_send(fd, str_c(text));
}

/* Its clock said 10 s when the answer was made, which took half a second to come. */
static void
serve_late(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        if (strstr(peer->request, "since=") != NULL) {
            peer_hold(peer, fd);
            return;
        }
        atomic_fetch_add(&wall_ms, 500);
        reply(
            fd, 200,
            "{\"streams\":[{\"name\":\"a/1\",\"next_offset\":\"00000000000000ab_0000000000000000\","
            "\"created_at\":\"1970-01-01T00:00:09.900Z\"},{\"name\":\"a/2\"}],\"next\":null,"
            "\"token\":\"0_1\",\"now\":\"1970-01-01T00:00:10.000Z\"}");
    }
}

Test(server_watch, a_stream_counts_as_made_when_it_was_made_at_the_latest)
{
    static const char *const patterns[] = {"a/*"};

    atomic_store(&wall_ms, 10000); /* as the server's, so that the answer leaves it open */
    bench_init(serve_late, true);
    server_watch_set(bench.watch, patterns, 1);
    loop_run(bench.loop);
    cr_assert_not_null(told_of("a/1"));
    cr_expect_eq(told_of("a/1")->created_ms, 10400 + PEER_CLOCK_GRAIN_MS);
    cr_assert_not_null(told_of("a/2"));
    cr_expect_eq(told_of("a/2")->created_ms, 10500, "of which nothing is said: by now");
    bench_done();
}

static void
serve_view(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        if (strncmp(peer->request, "PUT", 3) == 0) {
            reply(fd, 201, "{}");
        } else {
            reply(fd, 200, atomic_load(&view));
        }
    }
}

/* The next view, as a subscription without the time of anything. */
static void
look(const char *streams)
{
    atomic_fetch_add(&wall_ms, 1000);
    atomic_store(&view, streams);
    loop_run(bench.loop);
}

static void
expect_made(const char *name, int64_t made_ms)
{
    const Told *told = told_of(name);

    cr_assert_not_null(told, "%s was not told", name);
    cr_expect_eq(told->created_ms, made_ms, "%s", name);
}

Test(server_watch, a_stream_that_came_between_two_views_is_new_whatever_patterns_come_and_go)
{
    static const char *const patterns[] = {"a/*", "b/*"};
    static const char one[] = "{\"streams\":[{\"path\":\"a/1\"}]}";
    static const char two[] = "{\"streams\":[{\"path\":\"a/1\"},{\"path\":\"a/2\"}]}";
    static const char three[] =
        "{\"streams\":[{\"path\":\"a/1\"},{\"path\":\"a/2\"},{\"path\":\"a/3\"}]}";

    bench_init(serve_view, false);
    server_watch_set(bench.watch, patterns, 1);
    look(one);
    int64_t second_ms = atomic_load(&wall_ms) + 1000;
    look(two);
    expect_made("a/1", 0);
    expect_made("a/2", second_ms);
    look(two);
    expect_made("a/2", second_ms); /* for who had no room for it */
    server_watch_set(bench.watch, (const char *const[]){patterns[1], patterns[0]}, 2);
    look(three);
    expect_made("a/1", 0);
    expect_made("a/2", second_ms);
    expect_made("a/3", second_ms + 2000);
    bench_done();
}

#define LISTINGS 3
#define CALM_MS  1000 /* that the watch promises between them */

static atomic_int listings;
static _Atomic(int64_t) listed_ns[LISTINGS]; /* when the peer was asked for each */

/* Never knows the token that it gave. */
static void
serve_forgetful(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        if (strstr(peer->request, "since=") != NULL) {
            reply(fd, 410, "{}");
        } else {
            int number = atomic_load(&listings);

            if (number < LISTINGS) {
                atomic_store(&listed_ns[number], real_mono_ns());
            }
            atomic_store(&listings, number + 1);
            reply(fd, 200,
                  "{\"streams\":[],\"next\":null,\"token\":\"0_1\","
                  "\"now\":\"1970-01-01T00:00:10.000Z\"}");
        }
    }
}

Test(server_watch, a_server_that_forgets_at_once_is_not_listed_without_pause)
{
    static const char *const patterns[] = {"a/*"};

    atomic_store(&listings, 0);
    bench_init(serve_forgetful, true);
    server_watch_set(bench.watch, patterns, 1);
    while (atomic_load(&listings) < LISTINGS) {
        loop_run(bench.loop); /* until the end of each list */
    }
    for (int i = 1; i < LISTINGS; i++) {
        int64_t apart_ms = (atomic_load(&listed_ns[i]) - atomic_load(&listed_ns[i - 1])) / 1000000;

        /* Timers count whole milliseconds. */
        cr_expect_geq(apart_ms, CALM_MS - 1, "%lld ms", (long long)apart_ms);
    }
    bench_done();
}

static atomic_int asks; /* that the peer answered */

/* Its first page goes on behind "a/1", and so does the page behind it. */
static void
serve_stuck(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        (void)atomic_fetch_add(&asks, 1);
        reply(fd, 200,
              "{\"streams\":[{\"name\":\"a/1\"}],\"next\":\"a/1\",\"token\":\"0_1\","
              "\"now\":\"1970-01-01T00:00:10.000Z\"}");
    }
}

#define LISTINGS_SEEN 6

typedef struct Watching {
    bool in_trouble;
    int ended; /* how often trouble went away by itself */
} Watching;

static void
watch_for_trouble(void *arg)
{
    Watching *watching = arg;
    bool in_trouble = server_watch_view(bench.watch).reason[0] != '\0';

    watching->ended += watching->in_trouble && !in_trouble;
    watching->in_trouble = in_trouble;
    if (in_trouble && atomic_load(&asks) >= 2 * LISTINGS_SEEN) {
        loop_stop(bench.loop);
    }
}

Test(server_watch, a_list_that_never_comes_to_its_end_is_trouble_until_it_does)
{
    static const char *const patterns[] = {"a/*"};
    Watching watching = {0};

    atomic_store(&asks, 0);
    bench_init(serve_stuck, true);
    LoopTimer *timer = timer_new(bench.loop, watch_for_trouble, &watching);
    timer_repeat(timer, 1);
    server_watch_set(bench.watch, patterns, 1);
    loop_run(bench.loop);
    ServerWatchView view_now = server_watch_view(bench.watch);
    cr_expect_not_null(strstr(view_now.reason, "does not end"), "%s", view_now.reason);
    cr_expect_eq(watching.ended, 0, "a first page that is well says nothing about the rest");
    timer_free(timer);
    bench_done();
}

/* Tells the same change behind the same token, and does not wait. */
static void
serve_repeating(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        if (strstr(peer->request, "since=") != NULL) {
            (void)atomic_fetch_add(&asks, 1);
            reply(fd, 200,
                  "{\"changes\":[{\"change\":\"created\",\"name\":\"a/1\",\"era\":"
                  "\"00000000000000ab\"}],\"token\":\"0_1\"}");
        } else {
            reply(fd, 200,
                  "{\"streams\":[],\"next\":null,\"token\":\"0_1\","
                  "\"now\":\"1970-01-01T00:00:10.000Z\"}");
        }
    }
}

Test(server_watch, changes_that_come_again_and_again_are_trouble)
{
    static const char *const patterns[] = {"a/*"};
    Watching watching = {0};

    atomic_store(&asks, 0);
    bench_init(serve_repeating, true);
    LoopTimer *timer = timer_new(bench.loop, watch_for_trouble, &watching);
    timer_repeat(timer, 1);
    server_watch_set(bench.watch, patterns, 1);
    do {
        loop_run(bench.loop); /* the end of the list stops it, too */
    } while (!watching.in_trouble);
    cr_expect_not_null(strstr(server_watch_view(bench.watch).reason, "token"));
    timer_free(timer);
    bench_done();
}

static void
serve_refusing(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        if (strstr(peer->request, "since=") != NULL) {
            peer_hold(peer, fd);
            return;
        }
        if (atomic_load(&accepts)) {
            reply(fd, 200, "{\"streams\":[{\"name\":\"a/1\"}],\"next\":null,\"token\":\"0_1\"}");
        } else {
            reply(fd, 401, "{}");
        }
    }
}

static void
refuse(bool renewed)
{
    static const char *const patterns[] = {"a/*"};

    backoff_max_ms = 3600000; /* longer than any test waits */
    renews = renewed;
    bench_init(serve_refusing, true);
    server_watch_set(bench.watch, patterns, 1);
    loop_run(bench.loop);
}

Test(server_watch, whoever_was_refused_asks_again_when_there_is_another_token)
{
    refuse(false);
    cr_assert_null(told_of("a/1"));
    atomic_store(&accepts, true);
    bench.server.token_version++;
    server_watch_sweep(bench.watch);
    loop_run(bench.loop);
    cr_expect_not_null(told_of("a/1"));
    bench_done();
}

Test(server_watch, whoever_was_refused_with_a_token_that_is_renewed_by_then_asks_again)
{
    refuse(true);
    cr_expect_not_null(told_of("a/1"));
    bench_done();
}
