# SPDX-License-Identifier: Apache-2.0
"""The HTTP engine on the wire: framing, order, limits, slow and vanishing clients, its end."""
import json
import os
import signal
import socket
import subprocess
import time

import pytest

import ds
from http_wire import Closed, Wire, get, post


def connect(server, **options):
    return Wire(server.port, tls=server.tls, **options)


def waiting(server):
    with connect(server) as wire:
        reply = wire.ask(get("/waiting"))
        return int(reply["X-Waiting"]), int(reply["X-Left"])


# ---- requests ----

def test_a_request_is_understood_in_whatever_pieces_it_comes(shared):
    request = post("/echo?q", "hello", "Connection: close")
    for size in (1, 2, 3, 7, 20, len(request)):
        with connect(shared) as wire:
            for at in range(0, len(request), size):
                wire.send(request[at:at + size])
            reply = wire.reply()
            assert (reply.status, reply.body, reply["X-Query"]) == (200, b"hello", "q"), size


def test_pipelined_requests_are_answered_in_order(shared):
    bodies = [os.urandom(number * 13 % 400) for number in range(300)]
    with connect(shared) as wire:
        wire.send(b"".join(post(f"/echo?{number}", body) for number, body in enumerate(bodies)))
        for number, body in enumerate(bodies):
            reply = wire.reply()
            assert (reply["X-Query"], reply.body) == (str(number), body)


def test_what_follows_a_waiting_request_waits_too(probe):
    server = probe()
    with connect(server) as wire, connect(server) as other:
        wire.send(get("/wait") + get("/echo?after"))
        ds.wait_until(lambda: waiting(server)[0] == 1)
        assert other.ask(get("/release")).status == 204
        assert wire.reply().status == 404
        assert wire.reply()["X-Query"] == "after"


def test_more_pipelined_than_is_kept_is_still_answered(probe):
    server = probe()
    with connect(server) as wire, connect(server) as other:
        wire.send(get("/wait"))
        ds.wait_until(lambda: waiting(server)[0] == 1)
        bodies = [bytes([65 + number % 26]) * 1000 for number in range(100)]
        wire.send(b"".join(post("/echo", body) for body in bodies))
        other.ask(get("/release"))
        assert wire.reply().status == 404
        assert [wire.reply().body for _ in bodies] == bodies


def test_replies_that_nobody_takes_stop_the_reading_of_requests(probe):
    server = probe()
    with connect(server, receive_buffer=4096) as wire:
        count = 40
        wire.send(b"".join(get(f"/big?{100000}").encode() for _ in range(count)))
        for _ in range(count):
            assert len(wire.reply().body) == 200003


def test_a_chunked_body_is_put_together(shared):
    with connect(shared) as wire:
        wire.send(get("/echo", "Transfer-Encoding: chunked", method="POST"))
        wire.send("5;ext=1\r\nhello\r\n1\r\n,\r\n00006\r\n world\r\n0\r\nTrailer: x\r\n\r\n")
        wire.send(get("/echo?next"))
        assert wire.reply().body == b"hello, world"
        assert wire.reply()["X-Query"] == "next"


def test_a_chunked_body_may_come_byte_by_byte(shared):
    with connect(shared) as wire:
        request = get("/echo", "Transfer-Encoding: chunked", method="PUT") + "3\r\nabc\r\n0\r\n\r\n"
        for byte in request:
            wire.send(byte)
        assert wire.reply().body == b"abc"


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1 << 20, 10 * 1024 * 1024])
def test_bodies_of_every_size_arrive_whole(shared, size):
    body = os.urandom(size)
    with connect(shared) as wire:
        assert wire.ask(post("/echo", body)).body == body
        assert wire.ask(get("/echo?alive"))["X-Query"] == "alive"


def test_the_client_that_asks_is_told_to_continue(shared):
    with connect(shared) as wire:
        wire.send(get("/echo", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        assert wire.reply().status == 100
        wire.send("hello")
        assert wire.reply().body == b"hello"


def test_nobody_is_told_to_continue_who_sent_the_body_or_sends_too_much(shared):
    with connect(shared) as wire:
        assert wire.ask(post("/echo", "hello", "Expect: 100-continue")).status == 200
        wire.send(get("/echo", "Content-Length: 99999999", "Expect: 100-continue", method="POST"))
        assert wire.reply().status == 413


def test_an_absolute_target_names_the_host(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("http://other:1/echo?q"))
        assert (reply["X-Path"], reply["X-Host"]) == ("/echo", "other:1")


# ---- replies ----

@pytest.mark.parametrize("request_, method", [
    (get("/status?204"), "GET"), (get("/status?304"), "GET"), (get("/echo", method="HEAD"), "HEAD"),
    (get("/problem", method="HEAD"), "HEAD"), (get("/status?204", method="HEAD"), "HEAD")])
def test_a_reply_without_a_body_has_none(shared, request_, method):
    with connect(shared) as wire:
        wire.send(request_ + get("/echo?next"))
        reply = wire.reply(method)
        if reply.status in (204, 304):
            assert reply["Content-Length"] is None and reply["Transfer-Encoding"] is None
        assert wire.reply()["X-Query"] == "next"


@pytest.mark.parametrize("version, field, kept", [
    ("1.1", "X: y", True), ("1.1", "Connection: close", False), ("1.0", "X: y", False),
    ("1.0", "Connection: keep-alive", True)])
def test_a_connection_is_kept_when_both_want_it(shared, version, field, kept):
    with connect(shared) as wire:
        reply = wire.ask(get("/echo", field, version=version))
        assert reply.status == 200
        assert reply["Connection"] == (None if version == "1.1" and kept else
                                       "keep-alive" if kept else "close")
        if kept:
            assert wire.ask(get("/echo?again"))["X-Query"] == "again"
        else:
            assert wire.is_closed()


def test_a_connection_ends_with_the_last_request_it_may_carry(probe):
    server = probe(DS_LIMITS__MAX_REQUESTS_PER_CONNECTION="3")
    with connect(server) as wire:
        wire.send(get("/echo?x") * 5)
        assert [wire.reply()["Connection"] for _ in range(3)] == [None, None, "close"]
        assert wire.is_closed()


def test_every_reply_carries_the_security_fields(shared):
    requests = [get("/echo"), get("/absent"), get("/status?204"), get("/healthz"), "GET / HTTP/1.1\r\n\r\n",
                get("/", "Transfer-Encoding: x"), get("/x", method="OPTIONS"), get("/late")]
    for request in requests:
        with connect(shared) as wire:
            reply = wire.ask(request)
            assert reply["X-Content-Type-Options"] == "nosniff", request
            assert reply["Cross-Origin-Resource-Policy"] == "cross-origin", request
            assert reply["Date"].endswith(" GMT"), request


def test_a_problem_is_json_whatever_its_texts_hold(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("/problem"))
        assert (reply.status, reply["Content-Type"]) == (409, "application/problem+json")
        assert json.loads(reply.body) == {
            "type": "about:blank", "title": "Conflict", "status": 409, "code": "CODE",
            "detail": 'a "quoted"\n? detail', "instance": "/problem"}


def test_a_value_cannot_start_a_new_field(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("/inject?a%0d%0aSet-Cookie:b"))
        assert reply["X-Value"] == "a  Set-Cookie:b"
        assert reply["Set-Cookie"] is None


def test_a_large_reply_survives_a_slow_reader(shared):
    with connect(shared, receive_buffer=4096) as wire:
        size = 1500000
        body = wire.ask(get(f"/big?{size}")).body
        assert len(body) == 2 * size + 3
        assert body[:3] == b"[ab" and body[size:size + 5] == bytes([97 + (size - 1) % 26]) + b",abc"


# ---- streams and late answers ----

def test_a_stream_comes_in_chunks_and_the_connection_is_used_again(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("/stream?200"))
        assert [len(chunk) for chunk in reply.chunks] == [1000] * 200
        assert reply["Content-Length"] is None
        assert wire.ask(get("/echo?after"))["X-Query"] == "after"


def test_a_stream_to_http_1_0_ends_with_the_connection(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("/stream?3", "Connection: keep-alive", version="1.0"))
        assert reply["Transfer-Encoding"] is None
        assert len(reply.body) == 3000


def test_a_cut_stream_does_not_look_whole(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("/cut"))
        assert reply.body == b"some" and not reply.whole
    with connect(shared) as wire, pytest.raises(ConnectionResetError):
        wire.ask(get("/cut", version="1.0"))


def test_a_stream_is_stopped_at_the_backlog_limit(probe):
    server = probe(DS_LIMITS__MAX_SUBSCRIBER_BACKLOG_BYTES="1MiB")
    with connect(server) as wire, pytest.raises((Closed, ConnectionResetError)):
        wire.ask(get("/flood"))


def test_a_late_answer_arrives(shared):
    with connect(shared) as wire:
        for _ in range(3):
            reply = wire.ask(get("/late"))
            assert (reply.status, json.loads(reply.body)["code"]) == (404, "LATE")


@pytest.mark.parametrize("target", ["/wait", "/live"])
@pytest.mark.parametrize("leave", [Wire.close, Wire.reset, Wire.end])
def test_a_client_that_leaves_is_noticed(probe, target, leave):
    server = probe()
    wire = connect(server)
    wire.send(get(target))
    ds.wait_until(lambda: waiting(server)[0] == 1)
    leave(wire)
    ds.wait_until(lambda: waiting(server) == (0, 1))
    wire.close()


def test_a_client_that_only_stops_sending_gets_its_replies(shared):
    with connect(shared) as wire:
        wire.send(get("/echo?1") + get("/big?1000000") + get("/echo?2"))
        wire.end()
        assert wire.reply()["X-Query"] == "1"
        assert len(wire.reply().body) == 2000003
        assert wire.reply()["X-Query"] == "2"
        assert wire.is_closed()


# ---- limits ----

@pytest.mark.parametrize("request_, status", [
    (get("/echo", "A: " + "x" * 65536), 431),
    (get("/echo", *(f"A{number}: 1" for number in range(101))), 431),
    (get("/" + "x" * 8192), 414),
    (get("/echo", method="X" * 33), 400),
    ("x" * 70000, 414),
    (get("/echo", f"Content-Length: {10 * 1024 * 1024 + 1}", method="POST"), 413),
    (get("/echo", "Transfer-Encoding: gzip", method="POST"), 501),
    (get("/echo", version="2.0"), 505),
    (get("/echo", "Expect: x"), 417),
    ("GET /echo HTTP/1.1\r\n\r\n", 400),
    ("GET /echo HTTP/1.1\nHost: h\n\n", 400),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (get("/echo", "Transfer-Encoding: chunked", method="POST") + "x\r\n", 400),
    (get("/echo", "Transfer-Encoding: chunked", method="POST") + "1;" + "x" * 2000, 431)])
def test_what_is_too_much_or_wrong_is_refused_and_the_connection_ends(shared, request_, status):
    with connect(shared) as wire:
        reply = wire.ask(request_)
        assert (reply.status, reply["Connection"]) == (status, "close")
        assert json.loads(reply.body)["status"] == status
        assert wire.is_closed()


@pytest.mark.parametrize("fields", [
    ("Content-Length: 30", "Transfer-Encoding: chunked"),
    ("Content-Length: 30", "Content-Length: 0"),
    ("Transfer-Encoding : chunked",),
    ("Content-Length: 30", "Transfer-Encoding:\x0bchunked")])
def test_a_request_smuggled_behind_another_is_not_answered(shared, fields):
    with connect(shared) as wire:
        wire.send(get("/echo", *fields, method="POST") + "0\r\n\r\n" + get("/echo?smuggled"))
        assert wire.reply().status == 400
        assert wire.is_closed()


def test_the_refusal_of_a_body_is_seen_by_a_client_that_keeps_sending(shared):
    size = 20 * 1024 * 1024
    with connect(shared) as wire:
        wire.send(get("/echo", f"Content-Length: {size}", method="POST"))
        for _ in range(size // 65536):
            wire.send(b"x" * 65536)
        assert wire.reply().status == 413


def test_a_reply_head_over_its_limit_is_a_500_and_the_connection_goes_on(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("/echo", host="h" * 33000))
        assert reply.status == 500 and b"header fields are too long" in reply.body
        assert wire.ask(get("/echo")).status == 200


def test_a_client_that_never_stops_sending_a_refused_body_is_cut(shared):
    size = 1024 * 1024 * 1024
    with connect(shared) as wire:
        wire.send(get("/echo", f"Content-Length: {size}", method="POST"))
        assert wire.reply().status == 413
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(size // 65536):
                wire.send(b"x" * 65536)


def test_a_chunked_body_is_refused_when_it_grows_too_large(probe):
    server = probe(DS_LIMITS__MAX_REQUEST_BODY_BYTES="100000")
    with connect(server) as wire:
        wire.send(get("/echo", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(2):
            wire.send(b"c350\r\n" + b"x" * 50000 + b"\r\n")
        wire.send("0\r\n\r\n")
        assert len(wire.reply().body) == 100000
        wire.send(get("/echo", "Transfer-Encoding: chunked", method="POST"))
        wire.send(b"186a1\r\n" + b"x" * 100001)
        assert wire.reply().status == 413


def test_bodies_that_come_at_once_share_a_limit(probe):
    server = probe(DS_LIMITS__MAX_INFLIGHT_BODY_BYTES="1MiB")
    with connect(server) as first, connect(server) as second:
        first.send(post("/echo", b"x" * 900000)[:-1])
        ds.wait_until(lambda: inflight(server) >= 900000)
        second.send(post("/echo", b"x" * 900000))
        reply = second.reply()
        assert (reply.status, reply["Retry-After"]) == (503, "1")
        first.send("x")
        assert first.reply().status == 200
        ds.wait_until(lambda: inflight(server) == 0)


def metric(server, name):
    text = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
    return next(int(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def inflight(server):
    return metric(server, "ds_http_inflight_body_bytes")


def test_connections_over_the_limit_are_told_so(probe):
    server = probe(DS_LIMITS__MAX_CONNECTIONS="3")
    wires = [ds.wait_until(lambda: admitted(server)) for _ in range(3)]
    if server.tls:
        with pytest.raises(OSError):
            connect(server)
    else:
        with connect(server) as extra:
            reply = extra.reply()
            assert (reply.status, reply["Retry-After"]) == (503, "1")
            assert extra.is_closed()
    assert wires[0].ask(get("/echo")).status == 200
    for wire in wires:
        wire.close()
    again = ds.wait_until(lambda: admitted(server))
    again.close()
    assert "server.connections_full" in server.log_text()


def admitted(server):
    """A connection that was let in; the one before it may not be gone yet."""
    try:
        wire = connect(server)
    except OSError:
        return None
    if wire.ask(get("/echo")).status == 200:
        return wire
    wire.close()
    return None


# ---- slow clients ----

def test_a_head_that_does_not_come_is_408(probe):
    server = probe(DS_HTTP__HEAD_TIMEOUT="1s")
    with connect(server) as wire:
        wire.send("GET /echo HT")
        reply = wire.reply()
        assert (reply.status, reply["Connection"]) == (408, "close")
        assert wire.is_closed()


def test_a_head_that_drips_is_408(probe):
    server = probe(DS_HTTP__HEAD_TIMEOUT="1s")
    with connect(server) as wire:
        wire.socket.settimeout(0.02)
        wire.send("GET /echo HTTP/1.1\r\nX: ")
        end = time.monotonic() + ds.HANG_SECONDS
        while time.monotonic() < end:
            wire.send("x")                   # always something new, never the end
            try:
                wire._more()
                break
            except TimeoutError:
                continue
        wire.socket.settimeout(20)
        assert wire.reply().status == 408


@pytest.mark.parametrize("start", [
    post("/echo", b"x" * 100)[:-50],
    get("/echo", "Transfer-Encoding: chunked", method="POST") + "5\r\nhel"])
def test_a_body_that_does_not_come_is_408(probe, start):
    server = probe(DS_HTTP__BODY_TIMEOUT="1s")
    with connect(server) as wire:
        assert wire.ask(start).status == 408
        assert wire.is_closed()


def test_an_idle_connection_is_closed(probe):
    server = probe(DS_HTTP__IDLE_TIMEOUT="1s")
    with connect(server) as fresh, connect(server) as used:
        assert used.ask(get("/echo")).status == 200
        assert used.is_closed() and fresh.is_closed()


@pytest.mark.parametrize("target", ["/big?20000000", "/stream?100000"])
def test_a_client_that_takes_nothing_is_cut(probe, target):
    server = probe(DS_HTTP__WRITE_STALL_TIMEOUT="300ms", DS_HTTP__IDLE_TIMEOUT="60s")
    with connect(server, receive_buffer=4096) as wire:
        wire.send(get(target))
        wire.head()                          # and nothing more
        ds.wait_until(lambda: metric(server, "ds_http_timeouts_total") == 1)
        if target.startswith("/stream"):
            assert waiting(server) == (0, 1)


@pytest.mark.parametrize("target", ["/big?20000000", "/stream?100000"])
def test_a_client_that_takes_a_little_now_and_then_is_cut(probe, target):
    server = probe(DS_HTTP__WRITE_STALL_TIMEOUT="500ms", DS_HTTP__SEND_RATE="100MiB")
    with connect(server, receive_buffer=4096) as wire:
        wire.send(get(target))
        wire.head()
        wire.socket.settimeout(0.02)

        def sip():
            """Enough for the kernel to take more of the reply each time."""
            try:
                wire._receive(4096)
            except (TimeoutError, ConnectionResetError):
                pass
            return metric(server, "ds_http_timeouts_total") == 1
        ds.wait_until(sip)


@pytest.mark.parametrize("start, piece", [
    (get("/echo", "Content-Length: 100000", method="POST"), "x"),
    (get("/echo", "Transfer-Encoding: chunked", method="POST"), "1\r\nx\r\n"),
    (get("/echo", "Transfer-Encoding: chunked", method="POST") + "1;", "x"),
    (get("/echo", "Transfer-Encoding: chunked", method="POST") + "0\r\nX: ", "x")])
def test_a_body_that_trickles_is_408(probe, start, piece):
    server = probe(DS_HTTP__BODY_TIMEOUT="1s")
    with connect(server) as wire:
        wire.send(start)
        wire.socket.settimeout(0.01)
        end = time.monotonic() + ds.HANG_SECONDS
        while time.monotonic() < end:
            wire.send(piece)                 # always something new, never the end
            try:
                wire._more()
                break
            except TimeoutError:
                continue
        wire.socket.settimeout(20)
        assert wire.reply().status == 408


def test_a_client_that_reads_at_a_fair_rate_is_not_cut(probe):
    server = probe(DS_HTTP__WRITE_STALL_TIMEOUT="2s", DS_HTTP__SEND_RATE="64KiB")
    with connect(server, receive_buffer=65536) as wire:
        wire.send(get("/big?5000000"))
        taken = 0
        while taken < 10000003:
            data = wire._receive(65536)
            assert data, f"cut after {taken} bytes"
            taken += len(data)
            time.sleep(0.01)                 # longer than the timeout, all in all
    assert metric(server, "ds_http_timeouts_total") == 0


def test_a_client_is_not_cut_for_what_the_kernel_holds_for_it(probe):
    """The kernel takes nothing new until a third of its megabytes is free."""
    server = probe(DS_HTTP__WRITE_STALL_TIMEOUT="2s", DS_HTTP__SEND_RATE="16KiB")
    with connect(server) as wire:
        wire.send(get("/big?20000000"))
        end = time.monotonic() + 6
        while time.monotonic() < end:
            assert wire._receive(32768), "cut"
            time.sleep(0.1)                  # 320 KiB a second: slow, and allowed
    assert metric(server, "ds_http_timeouts_total") == 0


def test_a_long_wait_is_no_timeout(probe):
    server = probe(DS_HTTP__HEAD_TIMEOUT="1s", DS_HTTP__BODY_TIMEOUT="1s",
                   DS_HTTP__IDLE_TIMEOUT="1s", DS_HTTP__WRITE_STALL_TIMEOUT="1s")
    with connect(server) as wire:
        wire.send(get("/wait"))
        ds.wait_until(lambda: waiting(server)[0] == 1)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert waiting(server) == (1, 0)
        with connect(server) as other:
            other.send(get("/release"))
            assert wire.reply().status == 404


# ---- CORS ----

def test_any_origin_may_read_by_default(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("/echo"))
        assert reply["Access-Control-Allow-Origin"] == "*" and reply["Vary"] is None
        exposed = reply["Access-Control-Expose-Headers"].lower().split(", ")
        for name in ("stream-next-offset", "stream-sse-data-encoding", "stream-ttl",
                     "stream-expires-at", "etag", "location"):
            assert name in exposed
        assert wire.ask(post("/echo", "x"))["Access-Control-Allow-Origin"] == "*"
        reply = wire.ask(post("/echo", "x", "Origin: https://a"))
        assert "Stream-Next-Offset" in reply["Access-Control-Expose-Headers"]


def test_only_listed_origins_may_read(probe):
    server = probe(DS_HTTP__CORS_ORIGINS="https://a.example, http://localhost:3000")
    with connect(server) as wire:
        for origin in ("https://a.example", "http://localhost:3000"):
            reply = wire.ask(get("/echo", f"Origin: {origin}"))
            assert (reply["Access-Control-Allow-Origin"], reply["Vary"]) == (origin, "Origin")
        for field in ("Origin: https://a.example.evil", "Origin: https://A.example", "X: y"):
            reply = wire.ask(get("/echo", field))
            assert (reply["Access-Control-Allow-Origin"], reply["Vary"]) == (None, "Origin")


def test_a_preflight_is_answered_for_every_path(shared):
    with connect(shared) as wire:
        reply = wire.ask(get("/any/path", "Origin: https://a", "Access-Control-Request-Method: PUT",
                             method="OPTIONS"))
        assert reply.status == 204
        assert reply["Access-Control-Allow-Methods"] == "GET, POST, PUT, DELETE, HEAD, OPTIONS"
        allowed = reply["Access-Control-Allow-Headers"].lower().split(", ")
        for name in ("if-none-match", "content-type", "stream-seq", "producer-id", "stream-closed"):
            assert name in allowed
        assert int(reply["Access-Control-Max-Age"]) > 0


# ---- the engine's own pages ----

@pytest.mark.parametrize("path", ["/healthz", "/health", "/readyz"])
def test_health_is_on_both_listeners(shared, path):
    for port, tls in ((shared.port, shared.tls), (shared.admin_port, None)):
        with Wire(port, tls=tls) as wire:
            assert wire.ask(get(path)).status == 200
            assert wire.ask(get(path, method="HEAD"), "HEAD").status == 200
            assert wire.ask(get(path, method="POST")).status == 405


def test_metrics_are_on_the_admin_listener_only(shared):
    with Wire(shared.admin_port) as wire:
        reply = wire.ask(get("/metrics"))
        assert reply["Content-Type"].startswith("text/plain; version=0.0.4")
        assert b"\nds_http_connections_total " in reply.body
    with connect(shared) as wire:
        assert wire.ask(get("/metrics")).status == 404


def test_the_admin_listener_is_not_for_browsers(shared):
    with Wire(shared.admin_port) as wire:
        for path in ("/metrics", "/echo"):
            reply = wire.ask(get(path, "Origin: http://127.0.0.1:4439"))
            assert (reply.status, reply["Access-Control-Allow-Origin"]) == (403, None)
        assert wire.ask(get("/echo"))["Access-Control-Allow-Origin"] is None


# ---- the end ----

def test_sigterm_ends_streams_and_idle_connections_and_finishes_requests(probe):
    server = probe()
    with connect(server) as idle, connect(server) as live, connect(server) as slow:
        assert idle.ask(get("/echo")).status == 200
        live.send(get("/live"))
        slow.send(post("/echo", "hello")[:-1])
        ds.wait_until(lambda: waiting(server)[0] == 1 and inflight(server) > 0)
        server.signal(signal.SIGTERM)
        assert idle.is_closed()
        reply = live.reply()
        assert reply.whole and live.is_closed()
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        assert server.alive()
        slow.send("o")
        reply = slow.reply()
        assert (reply.body, reply["Connection"]) == (b"hello", "close")
    assert server.wait() == 0


def test_sigterm_does_not_wait_longer_than_it_may(probe):
    server = probe(DS_SERVER__DRAIN_TIMEOUT="200ms")
    with connect(server) as wire:
        wire.send(get("/wait"))
        ds.wait_until(lambda: waiting(server)[0] == 1)
        server.signal(signal.SIGTERM)
        assert wire.is_closed()
    assert server.wait() == 0
    assert "server.drain_timeout" in server.log_text()


def test_a_second_sigterm_waits_for_nobody(probe):
    server = probe()
    with connect(server) as wire:
        wire.send(get("/wait"))
        ds.wait_until(lambda: waiting(server)[0] == 1)
        server.signal(signal.SIGTERM)
        server.wait_log('msg="stopping"')
        server.signal(signal.SIGTERM)
        assert wire.is_closed()
    assert server.wait() == 0


# ---- starting ----

def test_a_port_in_use_is_an_error_not_a_share(shared):
    child = subprocess.run([ds.program("http_probe")], capture_output=True, text=True, timeout=60, env={
        **os.environ, "DS_SERVER__BIND_ADDRESS": f"127.0.0.1:{shared.port}", "DS_ADMIN__LISTEN": "off"})
    assert child.returncode == 1
    assert "DS_SERVER__BIND_ADDRESS" in child.stderr and "in use" in child.stderr


def test_sockets_may_be_inherited():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    # LISTEN_PID must be the pid of the program itself, so a shell sets it and becomes it.
    script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "{ds.program("http_probe")}"'
    child = subprocess.Popen(["bash", "-c", script], pass_fds=[listener.fileno()],
                             stdout=subprocess.DEVNULL,
                             env={**os.environ, "DS_ADMIN__LISTEN": "off"})
    listener.close()
    try:
        with Wire(port) as wire:
            assert wire.ask(get("/echo?inherited"))["X-Query"] == "inherited"
    finally:
        child.terminate()
        assert child.wait(ds.STOP_SECONDS) == 0
