/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/http_peer.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "common/http_client_internal.h"

TestSuite(http_long, .timeout = 60);

static const char *reply;
static size_t slice;
static bool is_held; /* else the connection closes behind the reply */

static void
serve_reply(Peer *peer, int fd, int index DS_UNUSED)
{
    if (peer_read(peer, fd)) {
        peer_send_slices(fd, str_c(reply), slice);
        if (is_held) {
            peer_hold(peer, fd);
        }
    }
}

static const HttpRequest long_get = {.method = "GET", .url = "/", .is_long = true};

#define HEAD_CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static void
begin(Peer *peer, Outcome *outcome, const char *text, size_t bytes)
{
    reply = text;
    slice = bytes;
    peer_start(peer, serve_reply);
    outcome_init(outcome, NULL);
}

/* The peer sends the text in pieces, and then closes the connection. */
static void
begin_sliced(Peer *peer, Outcome *outcome, const char *text, size_t bytes)
{
    is_held = false;
    begin(peer, outcome, text, bytes);
}

/* The peer says hello, and then nothing for as long as there is a connection. */
static void
begin_held(Peer *peer, Outcome *outcome)
{
    is_held = true;
    begin(peer, outcome, HEAD_CHUNKED "5\r\nhello\r\n", 200);
}

static void
end(Peer *peer, Outcome *outcome)
{
    outcome_done(outcome);
    peer_stop(peer);
}

Test(http_long, a_body_is_the_same_however_it_is_framed_and_cut)
{
    static const char *const replies[] = {
        HEAD_CHUNKED "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 200 OK\r\n\r\nhello world",
        "HTTP/1.0 200 OK\r\n\r\nhello world",
    };

    for (size_t i = 0; i < DS_COUNT(replies); i++) {
        for (size_t bytes = 1; bytes < strlen(replies[i]) + 7; bytes += 7) {
            Peer peer;
            Outcome outcome;

            begin_sliced(&peer, &outcome, replies[i], bytes);
            outcome_start(&outcome, &peer, long_get);
            outcome_wait(&outcome);
            cr_expect_str_eq(outcome.trace, "hbd");
            cr_expect(outcome.result.ok, "reply %zu, %zu bytes: %s", i, bytes,
                      outcome.result.err.text);
            cr_expect_eq(outcome.result.status, 200);
            cr_expect_str_eq(buf_cstr(&outcome.body), "hello world", "reply %zu, %zu bytes: %s", i,
                             bytes, buf_cstr(&outcome.body));
            end(&peer, &outcome);
        }
    }
}

Test(http_long, a_body_that_is_cut_or_garbled_is_not_ok_and_may_be_tried_again)
{
    static const char *const replies[] = {
        HEAD_CHUNKED "5\r\nhello\r\n",
        HEAD_CHUNKED "5\r\nhel",
        HEAD_CHUNKED "5\r\nhello\r\nxyz\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    };

    for (size_t i = 0; i < DS_COUNT(replies); i++) {
        for (size_t bytes = 1; bytes < 200; bytes += 50) {
            Peer peer;
            Outcome outcome;

            begin_sliced(&peer, &outcome, replies[i], bytes);
            outcome_start(&outcome, &peer, long_get);
            outcome_wait(&outcome);
            cr_expect_not(outcome.result.ok, "reply %zu", i);
            cr_expect_eq(outcome.result.err.code, ERR_RETRY, "reply %zu: %s", i,
                         outcome.result.err.text);
            cr_expect_neq(outcome.result.err.text[0], '\0');
            end(&peer, &outcome);
        }
    }
}

static bool
body_is(const Outcome *outcome, const char *text)
{
    return str_eq(buf_str(&outcome->body), str_c(text));
}

static void
run_until_body(Outcome *outcome, const char *text)
{
    for (int turns = 0; turns < 100000 && !body_is(outcome, text); turns++) {
        (void)uv_run(loop_uv(outcome->loop), UV_RUN_ONCE);
    }
    cr_assert(body_is(outcome, text), "%s", buf_cstr(&outcome->body));
}

Test(http_long, a_read_that_waits_holds_nothing_of_libcurl)
{
    Peer peer;
    Outcome outcome;

    begin_held(&peer, &outcome);
    outcome_start(&outcome, &peer, long_get);
    run_until_body(&outcome, "hello");
    for (int turns = 0; turns < 1000 && outcome.transfer->easy != NULL; turns++) {
        (void)uv_run(loop_uv(outcome.loop), UV_RUN_NOWAIT);
    }
    cr_expect_null(outcome.transfer->easy);
    cr_expect_null(outcome.transfer->head);
    http_transfer_cancel(outcome.transfer);
    end(&peer, &outcome);
    cr_expect_eq(outcome.done, 0);
}

Test(http_long, silence_ends_it_when_its_time_is_up)
{
    HttpRequest request = long_get;
    Peer peer;
    Outcome outcome;

    request.idle_ms_max = 100;
    begin_held(&peer, &outcome);
    outcome_start(&outcome, &peer, request);
    outcome_wait(&outcome);
    cr_expect_str_eq(outcome.trace, "hbd");
    cr_expect_not(outcome.result.ok);
    cr_expect(outcome.result.timed_out);
    end(&peer, &outcome);
}

#define LARGE_BYTES (4u << 20)

static void
serve_large(Peer *peer, int fd, int index DS_UNUSED)
{
    static char block[65536];

    memset(block, 'x', sizeof(block));
    if (peer_read(peer, fd)) {
        peer_send(fd, STR(HEAD_CHUNKED));
        for (size_t sent = 0; sent < LARGE_BYTES; sent += sizeof(block)) {
            peer_send(fd, STR("10000\r\n"));
            peer_send(fd, str_n(block, sizeof(block)));
            peer_send(fd, STR("\r\n"));
        }
        peer_send(fd, STR("0\r\n\r\n"));
    }
}

static void
pause_first(Outcome *outcome, char letter)
{
    if (letter == 'b') {
        http_transfer_pause(outcome->transfer);
    }
}

Test(http_long, a_paused_read_stops_and_goes_on_where_it_was)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_large);
    outcome_init(&outcome, NULL);
    outcome.on_first = pause_first;
    outcome_start(&outcome, &peer, long_get);
    for (int turns = 0; turns < 100000 && outcome.body.len == 0; turns++) {
        (void)uv_run(loop_uv(outcome.loop), UV_RUN_ONCE);
    }
    size_t early = outcome.body.len;
    for (int turns = 0; turns < 1000; turns++) {
        (void)uv_run(loop_uv(outcome.loop), UV_RUN_NOWAIT);
    }
    cr_expect_eq(outcome.body.len, early, "it is paused");
    cr_expect_lt(early, LARGE_BYTES);
    http_transfer_resume(outcome.transfer);
    outcome_wait(&outcome);
    cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
    cr_expect_eq(outcome.body.len, LARGE_BYTES);
    end(&peer, &outcome);
}

static void
pause_at_head(Outcome *outcome, char letter)
{
    if (letter == 'h') {
        http_transfer_pause(outcome->transfer);
    }
}

/* Until libcurl has it no more, or it is done. */
static void
run_until_paused(Outcome *outcome)
{
    while (outcome->done == 0 && outcome->transfer->easy != NULL) {
        (void)uv_run(loop_uv(outcome->loop), UV_RUN_ONCE);
    }
}

/* What libcurl holds it walks over for every request: a thousand reads that wait for their turn
 * would make each of them a thousand steps dearer. */
Test(http_long, a_read_that_is_paused_before_its_first_byte_holds_nothing_of_libcurl)
{
    HttpRequest request = long_get;
    Peer peer;
    Outcome outcome;

    request.total_ms_max = 30000; /* else it would wait for good, should it fail */
    begin_held(&peer, &outcome);
    outcome.on_first = pause_at_head;
    outcome_start(&outcome, &peer, request);
    run_until_paused(&outcome);
    cr_assert_eq(outcome.done, 0, "libcurl has it to its end");
    cr_expect_eq(outcome.body.len, 0, "it is paused");
    http_transfer_resume(outcome.transfer);
    http_transfer_pause(outcome.transfer);
    for (int turns = 0; turns < 100; turns++) {
        (void)uv_run(loop_uv(outcome.loop), UV_RUN_NOWAIT);
    }
    cr_expect_eq(outcome.body.len, 0, "it is paused again");
    http_transfer_resume(outcome.transfer);
    run_until_body(&outcome, "hello");
    http_transfer_cancel(outcome.transfer);
    end(&peer, &outcome);
}

Test(http_long, a_body_that_came_while_it_was_paused_is_the_same_however_it_is_framed_and_cut)
{
    static const char *const replies[] = {
        HEAD_CHUNKED "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 200 OK\r\n\r\nhello world",
    };

    for (size_t i = 0; i < DS_COUNT(replies); i++) {
        for (size_t bytes = 1; bytes < strlen(replies[i]) + 19; bytes += 19) {
            HttpRequest request = long_get;
            Peer peer;
            Outcome outcome;

            request.total_ms_max = 30000;
            begin_sliced(&peer, &outcome, replies[i], bytes);
            outcome.on_first = pause_at_head;
            outcome_start(&outcome, &peer, request);
            run_until_paused(&outcome);
            cr_assert_eq(outcome.done, 0, "reply %zu, %zu bytes", i, bytes);
            http_transfer_resume(outcome.transfer);
            outcome_wait(&outcome);
            cr_expect(outcome.result.ok, "reply %zu, %zu bytes: %s", i, bytes,
                      outcome.result.err.text);
            cr_expect_str_eq(buf_cstr(&outcome.body), "hello world", "reply %zu, %zu bytes", i,
                             bytes);
            end(&peer, &outcome);
        }
    }
}

static char cancel_at;

static void
cancel_first(Outcome *outcome, char letter)
{
    if (letter == cancel_at) {
        http_transfer_cancel(outcome->transfer);
        loop_stop(outcome->loop);
    }
}

Test(http_long, it_may_be_cancelled_inside_any_callback)
{
    for (size_t i = 0; i < 2; i++) {
        for (size_t bytes = 1; bytes < 200; bytes += 50) {
            Peer peer;
            Outcome outcome;

            cancel_at = "hb"[i];
            begin_sliced(&peer, &outcome, HEAD_CHUNKED "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
                         bytes);
            outcome.on_first = cancel_first;
            outcome_start(&outcome, &peer, long_get);
            loop_run(outcome.loop);
            end(&peer, &outcome);
            cr_expect_eq(outcome.done, 0);
        }
    }
}

static void
serve_head_then_long(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        if (str_starts(str_c(peer->request), STR("HEAD"))) {
            peer_send(fd, STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
        } else {
            peer_send(fd, STR(HEAD_CHUNKED "5\r\nhello\r\n"));
            peer_send(fd, STR("0\r\n\r\n"));
        }
    }
}

Test(http_long, a_pooled_connection_becomes_ours_and_the_next_request_has_another)
{
    static const char *const methods[] = {"HEAD", "GET", "HEAD", "GET"};
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_head_then_long);
    outcome_init(&outcome, NULL);
    for (size_t i = 0; i < DS_COUNT(methods); i++) {
        HttpRequest request = long_get;

        request.method = methods[i];
        request.is_long = i % 2 == 1;
        outcome_start(&outcome, &peer, request);
        outcome_wait(&outcome);
        cr_expect(outcome.result.ok, "%zu: %s", i, outcome.result.err.text);
    }
    cr_expect_str_eq(buf_cstr(&outcome.body), "hellohello");
    end(&peer, &outcome);
    cr_expect_leq(peer.connections, 2);
}
