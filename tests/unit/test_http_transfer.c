/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/http_peer.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <time.h>

#include "common/clock.h"
#include "common/http_client_internal.h"

#define LARGE_BYTES (8u << 20)

TestSuite(http_transfer, .timeout = 60);

/* ---- pause and resume ---- */

static void
serve_large(Peer *peer, int fd, int index DS_UNUSED)
{
    static char block[65536];

    memset(block, 'x', sizeof(block));
    if (peer_read(peer, fd)) {
        peer_send(fd, STR("HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n"));
        for (size_t sent = 0; sent < LARGE_BYTES; sent += sizeof(block)) {
            peer_send(fd, str_n(block, sizeof(block)));
        }
    }
}

static void
pause_at_body(Outcome *outcome, char letter)
{
    if (letter == 'b') {
        http_transfer_pause(outcome->transfer);
        loop_stop(outcome->loop);
    }
}

Test(http_transfer, a_paused_transfer_brings_nothing_and_its_idle_time_stands_still)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_large);
    outcome_init(&outcome, NULL);
    outcome.on_first = pause_at_body;
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/", .idle_ms_max = 150});
    loop_run(outcome.loop);
    cr_assert_str_eq(outcome.trace, "hb");
    size_t before = outcome.body.len;
    outcome_run_ms(&outcome, 400);
    cr_expect_eq(outcome.body.len, before);
    cr_expect_eq(outcome.done, 0);
    http_transfer_resume(outcome.transfer);
    cr_expect_gt(outcome.body.len, before, "on_body may be called inside resume");
    outcome_wait(&outcome);
    cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
    cr_expect_eq(outcome.body.len, LARGE_BYTES);
    outcome_done(&outcome);
    peer_stop(&peer);
}

static void
on_body_pause_each_time(void *arg, Str bytes)
{
    Outcome *outcome = arg;
    Error err;

    cr_assert(buf_append(&outcome->body, bytes, &err));
    http_transfer_pause(outcome->transfer);
    loop_stop(outcome->loop);
}

static void
on_done_keep(void *arg, const HttpResult *result)
{
    Outcome *outcome = arg;

    outcome->result = *result;
    outcome->done++;
    loop_stop(outcome->loop);
}

Test(http_transfer, pausing_after_every_piece_loses_and_doubles_nothing)
{
    static const HttpCallbacks callbacks = {.on_body = on_body_pause_each_time,
                                            .on_done = on_done_keep};
    Peer peer;
    Outcome outcome;
    char url[64];

    peer_start(&peer, serve_large);
    outcome_init(&outcome, NULL);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/", peer.port);
    HttpRequest request = {.method = "GET", .url = url};
    outcome.transfer = http_start(outcome.client, &request, &callbacks, &outcome);
    while (outcome.done == 0) {
        loop_run(outcome.loop);
        if (outcome.done == 0) {
            http_transfer_resume(outcome.transfer);
            http_transfer_resume(outcome.transfer); /* twice is once */
        }
    }
    cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
    cr_expect_eq(outcome.body.len, LARGE_BYTES);
    outcome_done(&outcome);
    peer_stop(&peer);
}

static void
pause_and_resume_at_body(Outcome *outcome, char letter)
{
    if (letter == 'b') {
        http_transfer_pause(outcome->transfer);
        http_transfer_resume(outcome->transfer);
        http_transfer_pause(outcome->transfer);
        http_transfer_resume(outcome->transfer);
    }
}

Test(http_transfer, resuming_inside_the_callback_that_paused_goes_on)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_large);
    outcome_init(&outcome, NULL);
    outcome.on_first = pause_and_resume_at_body;
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
    outcome_wait(&outcome);
    cr_expect(outcome.result.ok);
    cr_expect_eq(outcome.body.len, LARGE_BYTES);
    outcome_done(&outcome);
    peer_stop(&peer);
}

Test(http_transfer, a_transfer_may_be_paused_before_it_begins)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_large);
    outcome_init(&outcome, NULL);
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/", .idle_ms_max = 100});
    http_transfer_pause(outcome.transfer);
    outcome_run_ms(&outcome, 250);
    cr_expect_eq(outcome.body.len, 0);
    cr_expect_eq(outcome.done, 0);
    http_transfer_resume(outcome.transfer);
    outcome_wait(&outcome);
    cr_expect_eq(outcome.body.len, LARGE_BYTES);
    outcome_done(&outcome);
    peer_stop(&peer);
}

typedef struct Turns {
    Outcome *outcome;
    size_t seen;
    size_t most;
} Turns;

static void
on_turn(void *arg)
{
    Turns *turns = arg;

    turns->most = DS_MAX(turns->most, turns->outcome->body.len - turns->seen);
    turns->seen = turns->outcome->body.len;
    if (turns->outcome->done == 0) {
        loop_defer(turns->outcome->loop, on_turn, turns);
    }
}

Test(http_transfer, a_fast_transfer_lets_others_on_the_loop_have_their_turn)
{
    Peer peer;
    Outcome outcome;
    Turns turns = {.outcome = &outcome};

    peer_start(&peer, serve_large);
    outcome_init(&outcome, NULL);
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
    on_turn(&turns);
    outcome_wait(&outcome);
    cr_expect_eq(outcome.body.len, LARGE_BYTES);
    cr_expect_leq(turns.most, 2 * HTTP_TURN_BYTES_MAX);
    outcome_done(&outcome);
    peer_stop(&peer);
}

/* ---- limits of time ---- */

static void
serve_silence(Peer *peer, int fd, int index)
{
    if (peer_read(peer, fd)) {
        if (index > 0) {
            peer_send(fd, STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"));
        }
        peer_hold(peer, fd);
    }
}

Test(http_transfer, silence_ends_a_transfer_before_and_after_its_head)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_silence);
    outcome_init(&outcome, NULL);
    for (int i = 0; i < 2; i++) {
        int64_t start = clock_mono_ms();

        outcome_start(&outcome, &peer,
                      (HttpRequest){.method = "GET", .url = "/", .idle_ms_max = 150});
        outcome_wait(&outcome);
        cr_expect_not(outcome.result.ok);
        cr_expect(outcome.result.timed_out);
        cr_expect_eq(outcome.result.err.code, ERR_RETRY);
        cr_expect_eq(outcome.result.status, i == 0 ? 0 : 200);
        cr_expect_geq(clock_mono_ms() - start, 145);
    }
    outcome_done(&outcome);
    peer_stop(&peer);
}

static void
serve_drops(Peer *peer, int fd, int index DS_UNUSED)
{
    if (!peer_read(peer, fd)) {
        return;
    }
    peer_send(fd, STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (;;) {
        struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
        char byte;

        peer_send(fd, STR("1\r\nx\r\n"));
        (void)nanosleep(&pause, NULL);
        if (recv(fd, &byte, 1, MSG_DONTWAIT) == 0) {
            return;
        }
    }
}

Test(http_transfer, bytes_that_keep_coming_hold_off_the_idle_limit_but_not_the_total)
{
    Peer peer;
    Outcome outcome;
    int64_t start = clock_mono_ms();

    peer_start(&peer, serve_drops);
    outcome_init(&outcome, NULL);
    outcome_start(
        &outcome, &peer,
        (HttpRequest){.method = "GET", .url = "/", .idle_ms_max = 2000, .total_ms_max = 500});
    outcome_wait(&outcome);
    cr_expect(outcome.result.timed_out);
    cr_expect_not_null(strstr(outcome.result.err.text, "500 ms"), "%s", outcome.result.err.text);
    cr_expect_geq(clock_mono_ms() - start, 495);
    cr_expect_gt(outcome.body.len, 1);
    outcome_done(&outcome);
    peer_stop(&peer);
}

/* ---- limits of size ---- */

static void
serve_too_much_head(Peer *peer, int fd, int index)
{
    static char value[HTTP_CLIENT_HEAD_BYTES_MAX + 1];

    if (!peer_read(peer, fd)) {
        return;
    }
    peer_send(fd, STR("HTTP/1.1 200 OK\r\n"));
    if (index == 0) {
        for (int i = 0; i <= HTTP_CLIENT_HEADERS_MAX; i++) {
            peer_send(fd, STR("a: b\r\n"));
        }
    } else {
        memset(value, 'x', sizeof(value));
        peer_send(fd, STR("a: "));
        peer_send(fd, str_n(value, sizeof(value)));
        peer_send(fd, STR("\r\n"));
    }
    peer_send(fd, STR("Content-Length: 0\r\n\r\n"));
}

Test(http_transfer, a_head_beyond_the_limits_is_refused)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_too_much_head);
    outcome_init(&outcome, NULL);
    for (int i = 0; i < 2; i++) {
        outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
        outcome_wait(&outcome);
        cr_expect_not(outcome.result.ok);
        cr_expect_eq(outcome.result.err.code, ERR_LIMIT, "%s", outcome.result.err.text);
    }
    outcome_done(&outcome);
    peer_stop(&peer);
}

/* ---- cancelling ---- */

static char cancel_at;

static void
cancel(Outcome *outcome, char letter)
{
    if (letter == cancel_at) {
        http_transfer_cancel(outcome->transfer);
        http_transfer_cancel(outcome->transfer); /* twice is once */
        http_transfer_pause(outcome->transfer);
        http_transfer_resume(outcome->transfer);
    }
}

Test(http_transfer, cancelling_is_legal_inside_every_callback_and_ends_them)
{
    static const char *const traces[] = {"h", "hb", "hbd"};

    for (size_t i = 0; i < DS_COUNT(traces); i++) {
        Peer peer;
        Outcome outcome;

        cancel_at = "hbd"[i];
        peer_start(&peer, serve_large);
        outcome_init(&outcome, NULL);
        outcome.on_first = cancel;
        outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
        /* Returns when nothing is left: a cancelled transfer keeps no socket and no timer. */
        loop_run(outcome.loop);
        cr_expect_str_eq(outcome.trace, traces[i]);
        cr_expect_eq(outcome.done, cancel_at == 'd' ? 1 : 0);
        outcome_done(&outcome);
        peer_stop(&peer);
    }
}

Test(http_transfer, a_transfer_cancelled_before_it_begins_never_connects)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_large);
    outcome_init(&outcome, NULL);
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
    http_transfer_cancel(outcome.transfer);
    loop_run(outcome.loop);
    cr_expect_str_eq(outcome.trace, "");
    outcome_done(&outcome);
    peer_stop(&peer);
    cr_expect_eq(peer.connections, 0);
}

Test(http_transfer, cancelling_a_lookup_does_not_wait_for_it)
{
    Outcome outcome;
    HttpRequest request = {.method = "GET", .url = "http://no-such-host.invalid/"};

    outcome_init(&outcome, NULL);
    HttpTransfer *transfer = http_start(outcome.client, &request, &outcome_callbacks, &outcome);
    outcome_run_ms(&outcome, 1);
    if (outcome.done == 0) {
        http_transfer_cancel(transfer);
    }
    outcome_done(&outcome);
    cr_expect_leq(outcome.done, 1);
}
