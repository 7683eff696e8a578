/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/http_peer.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

TestSuite(http_client, .timeout = 60);

static const char plain_reply[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                  "Content-Length: 5\r\n\r\nhello";

static void
serve_plain(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        peer_send(fd, str_c(plain_reply));
    }
}

Test(http_client, an_exchange_brings_head_then_body_then_done)
{
    Peer peer;
    Outcome outcome;
    Secret bearer = {NULL};
    const char *const headers[] = {"X-Mine: yes", NULL};

    secret_set(&bearer, STR("t0ken"));
    peer_start(&peer, serve_plain);
    outcome_init(&outcome, &bearer);
    outcome_start(&outcome, &peer,
                  (HttpRequest){.method = "GET", .url = "/a?b=c", .headers = headers});
    cr_expect_str_eq(outcome.trace, "", "no callback inside http_start");
    outcome_wait(&outcome);
    cr_expect_str_eq(outcome.trace, "hbd");
    cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
    cr_expect_eq(outcome.result.status, 200);
    cr_expect_eq(outcome.status, 200);
    cr_expect_str_eq(outcome.content_type, "text/plain");
    cr_expect_str_eq(buf_cstr(&outcome.body), "hello");
    outcome_done(&outcome);
    peer_stop(&peer);
    cr_expect_eq(strncmp(peer.request, "GET /a?b=c HTTP/1.1\r\n", 21), 0);
    cr_expect_not_null(strstr(peer.request, "\r\nAuthorization: Bearer t0ken\r\n"));
    cr_expect_not_null(strstr(peer.request, "\r\nUser-Agent: ds-test/1\r\n"));
    cr_expect_not_null(strstr(peer.request, "\r\nX-Mine: yes\r\n"));
    cr_expect_null(strcasestr(peer.request, "Accept-Encoding"));
    secret_done(&bearer);
}

static void
serve_bytes_one_by_one(Peer *peer, int fd, int index DS_UNUSED)
{
    static const char reply[] =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
        "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n";

    if (peer_read(peer, fd)) {
        peer_send_slices(fd, str_c(reply), 1);
    }
}

Test(http_client, slices_interim_heads_and_trailers_change_nothing)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_bytes_one_by_one);
    outcome_init(&outcome, NULL);
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
    outcome_wait(&outcome);
    cr_expect_str_eq(outcome.trace, "hbd");
    cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
    cr_expect_str_eq(outcome.content_type, "text/event-stream");
    cr_expect_str_eq(buf_cstr(&outcome.body), "hello world");
    outcome_done(&outcome);
    peer_stop(&peer);
}

static void
serve_redirect(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        peer_send(fd, STR("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nRetry-After: 7\r\n"
                          "Content-Length: 0\r\n\r\n"));
    }
}

Test(http_client, a_redirect_is_reported_and_not_followed)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_redirect);
    outcome_init(&outcome, NULL);
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/first"});
    outcome_wait(&outcome);
    cr_expect(outcome.result.ok);
    cr_expect_eq(outcome.result.status, 302);
    cr_expect_eq(outcome.result.retry_after_ms, 7000);
    outcome_done(&outcome);
    peer_stop(&peer);
    cr_expect_not_null(strstr(peer.request, "/first"));
}

Test(http_client, bodies_are_sent_with_their_length_and_nothing_of_curls_own)
{
    static const struct {
        HttpRequest request;
        const char *line;
        const char *ending;
    } cases[] = {
        {{.method = "POST", .url = "/", .body = STR("[1]")},
         "Content-Length: 3\r\n",
         "\r\n\r\n[1]"},
        {{.method = "POST", .url = "/"}, "Content-Length: 0\r\n", "\r\n\r\n"},
        {{.method = "PUT", .url = "/"}, "Content-Length: 0\r\n", "\r\n\r\n"},
        {{.method = "PUT", .url = "/", .has_body = true}, "Content-Length: 0\r\n", "\r\n\r\n"},
        {{.method = "DELETE", .url = "/"}, "DELETE / HTTP/1.1\r\n", "\r\n\r\n"},
    };
    static char large[50000];
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_plain);
    outcome_init(&outcome, NULL);
    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        outcome_start(&outcome, &peer, cases[i].request);
        outcome_wait(&outcome);
        cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
        cr_expect_not_null(strstr(peer.request, cases[i].line), "%s", peer.request);
        cr_expect(str_ends(str_c(peer.request), str_c(cases[i].ending)), "%s", peer.request);
        cr_expect_null(strcasestr(peer.request, "Content-Type"), "%s", peer.request);
        cr_expect_null(strcasestr(peer.request, "Expect"), "%s", peer.request);
    }
    cr_expect_null(strcasestr(peer.request, "Content-Length"), "DELETE has no body");
    memset(large, 'x', sizeof(large));
    outcome_start(&outcome, &peer,
                  (HttpRequest){.method = "POST",
                                .url = "/",
                                .headers = (const char *const[]){"Content-Type: a/b", NULL},
                                .body = str_n(large, sizeof(large))});
    memset(large, 'y', sizeof(large)); /* the body was copied */
    outcome_wait(&outcome);
    cr_expect_not_null(strstr(peer.request, "Content-Type: a/b\r\n"));
    cr_expect_null(strcasestr(peer.request, "Expect"));
    cr_expect_null(strstr(peer.request, "yyyy"));
    outcome_done(&outcome);
    peer_stop(&peer);
    cr_expect_eq(peer.connections, 1, "connections are kept and used again");
}

static void
serve_head_only(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        peer_send(fd, STR("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"));
    }
}

Test(http_client, a_head_request_waits_for_no_body)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_head_only);
    outcome_init(&outcome, NULL);
    outcome_start(&outcome, &peer, (HttpRequest){.method = "HEAD", .url = "/"});
    outcome_wait(&outcome);
    cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
    cr_expect_str_eq(outcome.trace, "hd");
    outcome_done(&outcome);
    peer_stop(&peer);
}

static void
serve_cut(Peer *peer, int fd, int index)
{
    static const char *const replies[] = {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
        "garbage that is no HTTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n",
    };

    if (peer_read(peer, fd)) {
        peer_send(fd, str_c(replies[index]));
    }
}

Test(http_client, a_response_that_is_cut_or_garbled_is_not_ok_and_may_be_tried_again)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_cut);
    outcome_init(&outcome, NULL);
    for (int i = 0; i < 7; i++) {
        outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
        outcome_wait(&outcome);
        cr_expect_not(outcome.result.ok, "reply %d", i);
        cr_expect_eq(outcome.result.err.code, ERR_RETRY, "reply %d: %s", i,
                     outcome.result.err.text);
        cr_expect_neq(outcome.result.err.text[0], '\0');
        cr_expect_not(outcome.result.timed_out);
    }
    outcome_done(&outcome);
    peer_stop(&peer);
}

Test(http_client, errors_say_who_must_act_and_hide_the_token)
{
    static const struct {
        const char *url;
        ErrorCode code;
    } cases[] = {
        {"http://127.0.0.1:1/", ERR_RETRY},
        {"http://no-such-host.invalid/", ERR_RETRY},
        {"ftp://127.0.0.1/", ERR_CONFIG},
        {"file:///etc/passwd", ERR_CONFIG},
        {"http://127.0.0.1:99999/", ERR_CONFIG},
        {"127.0.0.1", ERR_CONFIG},
        {"http://[bad/", ERR_CONFIG},
        {"http://a b/", ERR_CONFIG},
    };
    Outcome outcome;
    Secret bearer = {NULL};

    secret_set(&bearer, STR("s3cret"));
    outcome_init(&outcome, &bearer);
    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        HttpRequest request = {.method = "GET", .url = cases[i].url};

        (void)http_start(outcome.client, &request, &outcome_callbacks, &outcome);
        outcome_wait(&outcome);
        cr_expect_not(outcome.result.ok, "%s", cases[i].url);
        cr_expect_eq(outcome.result.err.code, cases[i].code, "%s: %s", cases[i].url,
                     outcome.result.err.text);
        cr_expect_eq(outcome.result.status, 0);
        cr_expect_null(strstr(outcome.result.err.text, "s3cret"));
    }
    outcome_done(&outcome);
    secret_done(&bearer);
}

Test(http_client, a_header_that_could_forge_another_is_refused)
{
    static const char *const headers[] = {"X-A: 1\r\nX-B: 2", NULL};
    Peer peer;
    Outcome outcome;
    Secret bearer = {NULL};

    peer_start(&peer, serve_plain);
    outcome_init(&outcome, NULL);
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/", .headers = headers});
    outcome_wait(&outcome);
    cr_expect_eq(outcome.result.err.code, ERR_CONFIG);
    outcome_done(&outcome);
    secret_set(&bearer, STR("a\nb"));
    outcome_init(&outcome, &bearer);
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
    outcome_wait(&outcome);
    cr_expect_eq(outcome.result.err.code, ERR_CONFIG);
    outcome_done(&outcome);
    secret_done(&bearer);
    peer_stop(&peer);
    cr_expect_eq(peer.connections, 0);
}

static void
start_again(Outcome *outcome, char letter)
{
    if (letter == 'd') {
        HttpRequest request = {.method = "GET", .url = "http://127.0.0.1:1/"};

        (void)http_start(outcome->client, &request, &outcome_callbacks, outcome);
    }
}

Test(http_client, the_next_exchange_may_start_inside_on_done)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_plain);
    outcome_init(&outcome, NULL);
    outcome.on_first = start_again;
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
    outcome_wait(&outcome);
    cr_expect(outcome.result.ok);
    outcome_wait(&outcome);
    cr_expect_not(outcome.result.ok);
    cr_expect_eq(outcome.done, 2);
    outcome_done(&outcome);
    peer_stop(&peer);
}

static char free_at;

static void
free_client(Outcome *outcome, char letter)
{
    if (letter == free_at) {
        http_client_free(outcome->client);
        outcome->client = NULL;
        loop_stop(outcome->loop);
    }
}

Test(http_client, the_client_may_be_freed_inside_any_callback)
{
    static const char *const traces[] = {"h", "hb", "hbd"};

    for (size_t i = 0; i < DS_COUNT(traces); i++) {
        Peer peer;
        Outcome outcome;

        free_at = "hbd"[i];
        peer_start(&peer, serve_plain);
        outcome_init(&outcome, NULL);
        outcome.on_first = free_client;
        outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"});
        loop_run(outcome.loop);
        cr_expect_str_eq(outcome.trace, traces[i]);
        outcome_done(&outcome);
        cr_expect_eq(outcome.done, free_at == 'd' ? 1 : 0);
        peer_stop(&peer);
    }
}

static void
serve_endless(Peer *peer, int fd, int index DS_UNUSED)
{
    if (peer_read(peer, fd)) {
        peer_send(fd, STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"));
        peer_hold(peer, fd);
    }
}

static void
stop_at_body(Outcome *outcome, char letter)
{
    if (letter == 'b') {
        loop_stop(outcome->loop);
    }
}

Test(http_client, freeing_the_client_ends_what_runs_without_callbacks)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_endless);
    outcome_init(&outcome, NULL);
    outcome.on_first = stop_at_body;
    outcome_start(&outcome, &peer,
                  (HttpRequest){.method = "GET", .url = "/", .idle_ms_max = 60000});
    loop_run(outcome.loop);
    cr_expect_str_eq(outcome.trace, "hb");
    outcome_start(&outcome, &peer, (HttpRequest){.method = "GET", .url = "/"}); /* not begun yet */
    outcome_done(&outcome);
    cr_expect_eq(outcome.done, 0);
    peer_stop(&peer);
    http_client_free(NULL);
}

/* ---- addresses that somebody else chose ---- */

static int judged;

static bool
refuse_all(void *arg DS_UNUSED, const struct sockaddr *address)
{
    cr_expect_eq(address->sa_family, AF_INET);
    judged++;
    return false;
}

static bool
allow_all(void *arg DS_UNUSED, const struct sockaddr *address DS_UNUSED)
{
    judged++;
    return true;
}

static void
serve_nothing(Peer *peer, int fd, int index DS_UNUSED)
{
    while (peer_read(peer, fd)) {
        peer_send(fd, STR("HTTP/1.1 204 No Content\r\n\r\n"));
    }
}

Test(http_client, an_address_that_is_not_allowed_is_never_connected_to)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_nothing);
    outcome_init(&outcome, NULL);
    outcome_start(&outcome, &peer,
                  (HttpRequest){.method = "POST", .url = "/", .allow = refuse_all});
    outcome_wait(&outcome);
    cr_expect_not(outcome.result.ok);
    cr_expect_eq(outcome.result.err.code, ERR_CONFIG, "%s", outcome.result.err.text);
    cr_expect_eq(judged, 1);
    outcome_done(&outcome);
    peer_stop(&peer);
    cr_expect_eq(peer.connections, 0);
}

Test(http_client, every_request_with_a_judge_is_judged_on_a_connection_of_its_own)
{
    Peer peer;
    Outcome outcome;

    peer_start(&peer, serve_nothing);
    outcome_init(&outcome, NULL);
    for (int i = 1; i <= 3; i++) {
        outcome.done = 0;
        outcome_start(&outcome, &peer,
                      (HttpRequest){.method = "POST", .url = "/", .allow = allow_all});
        outcome_wait(&outcome);
        cr_expect(outcome.result.ok, "%s", outcome.result.err.text);
        cr_expect_eq(judged, i);
    }
    outcome_done(&outcome);
    peer_stop(&peer);
    cr_expect_eq(peer.connections, 3);
}
