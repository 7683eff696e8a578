# SPDX-License-Identifier: Apache-2.0
"""ds-server as a process: its settings, listeners, live reads on the wire, slow readers, its end.

The HTTP engine by itself is tested in tests/engine.
"""
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

import ds
from http_wire import Wire, get, post

STREAM = "/v1/stream/s"
SECURITY = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "cross-origin"}


@pytest.fixture
def start(folder):
    """start(**settings) -> a running ds-server, which must end well."""
    started = []

    def one(**environment):
        started.append(ds.DsServer(folder, environment=environment,
                                   name=f"ds-server-{len(started)}").wait_ready())
        return started[-1]

    yield one
    complaints = ds.stop_all(started)
    assert not complaints, f"{complaints}\n" + "".join(server.log_end() for server in started)


def connect(server, **options):
    return Wire(server.port, **options)


def run(*arguments, **environment):
    return subprocess.run([ds.program("ds-server"), *arguments], capture_output=True, text=True,
                          timeout=ds.HANG_SECONDS, env={**os.environ, **environment})


# ---- requests on one connection ----

def test_pipelined_operations_are_done_and_answered_in_order(start):
    server = start()
    with connect(server) as wire:
        appends = [post(STREAM, f"{number},", "Content-Type: text/plain") for number in range(200)]
        wire.send(get(STREAM, "Content-Type: text/plain", method="PUT").encode() + b"".join(appends)
                  + get(STREAM).encode() + get(STREAM, method="HEAD").encode())
        assert wire.reply().status == 201
        assert [wire.reply().status for _ in appends] == [204] * 200
        assert wire.reply().body == "".join(f"{number}," for number in range(200)).encode()
        assert wire.reply("HEAD").status == 200


def test_head_204_and_304_leave_the_connection_usable(start):
    server = start()
    with connect(server) as wire:
        assert wire.ask(post(STREAM, "x", "Content-Type: text/plain", method="PUT")).status == 201
        tag = wire.ask(get(STREAM))["ETag"]
        wire.send(get(STREAM, f"If-None-Match: {tag}") + get(STREAM, method="HEAD")
                  + get("/absent", method="HEAD"))
        wire.send(post(STREAM, "y", "Content-Type: text/plain"))
        wire.send(get(STREAM))
        assert [wire.reply().status, wire.reply("HEAD").status, wire.reply("HEAD").status,
                wire.reply().status] == [304, 200, 404, 204]
        assert wire.reply().body == b"xy"


def test_an_append_may_come_in_chunks(start):
    server = start()
    server.create("s", "application/json")
    with connect(server) as wire:
        wire.send(get(STREAM, "Content-Type: application/json", "Transfer-Encoding: chunked",
                      method="POST") + '4\r\n[1,2\r\n3\r\n,3]\r\n0\r\n\r\n')
        assert wire.reply().status == 204
        assert json.loads(wire.ask(get(STREAM)).body) == [1, 2, 3]


def test_a_body_over_the_limit_changes_nothing(start):
    server = start(DS_LIMITS__MAX_REQUEST_BODY_BYTES="1000")
    server.create("s", "text/plain")
    with connect(server) as wire:
        assert wire.ask(post(STREAM, "x" * 1001, "Content-Type: text/plain")).status == 413
    with connect(server) as wire:
        assert wire.ask(post(STREAM, "x" * 1000, "Content-Type: text/plain")).status == 204
        assert wire.ask(get(STREAM)).body == b"x" * 1000


def test_every_reply_carries_the_security_and_cors_fields(start):
    server = start()
    server.create("s")
    for request in (get(STREAM), get("/v1/stream/absent"), get("/elsewhere"), get(STREAM + "?offset=x"),
                    get(STREAM, method="PATCH"), get("/healthz"), get(STREAM, method="OPTIONS"),
                    get(STREAM + "?offset=-1&live=sse")):
        with connect(server) as wire:
            wire.send(request)
            reply = wire.head()
            for name, value in SECURITY.items():
                assert reply[name] == value, request
            assert reply["Access-Control-Allow-Origin"] == "*", request


# ---- live reads ----

def read_sse(wire, count):
    """The texts of the next so many events."""
    text = ""
    while text.count("\n\n") < count:
        text += wire.chunk().decode()
    return text


def test_an_sse_stream_ends_with_its_last_chunk_and_the_connection_is_used_again(start):
    server = start(DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS="300ms")
    server.create("s")
    server.append("s", [1])
    with connect(server) as wire:
        reply = wire.ask(get(STREAM + "?offset=-1&live=sse"))
        assert reply.whole and reply["Content-Type"] == "text/event-stream"
        assert wire.ask(get(STREAM)).status == 200


def test_a_subscriber_of_http_1_0_gets_plain_bytes(start):
    server = start(DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS="300ms")
    server.create("s")
    server.append("s", [1])
    with connect(server) as wire:
        reply = wire.ask(get(STREAM + "?offset=-1&live=sse", version="1.0"))
        assert reply["Transfer-Encoding"] is None
        assert b"event: data\n" in reply.body and b"event: control\n" in reply.body


def test_subscribers_on_every_network_thread_get_every_append(start):
    server = start(DS_SERVER__THREADS="4")
    server.create("s")
    wires = [connect(server) for _ in range(20)]
    for wire in wires:
        wire.send(get(STREAM + "?offset=-1&live=sse"))
        assert wire.head().status == 200
    writers = [threading.Thread(target=lambda: [server.append("s", [number]) for number in range(25)])
               for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for wire in wires:
        seen = []
        while len(seen) < 100:
            for event in wire.chunk().decode().split("\n\n"):
                if event.startswith("event: data\n"):
                    seen += json.loads("".join(line[5:] for line in event.split("\n")[1:]))
        assert sorted(seen) == sorted(list(range(25)) * 4)
        wire.close()


def test_a_subscriber_that_takes_nothing_is_cut_and_holds_nobody_up(start):
    server = start()
    server.create("s", "text/plain")
    with connect(server, receive_buffer=4096) as stuck, connect(server) as good:
        for wire in (stuck, good):
            wire.send(get(STREAM + "?offset=-1&live=sse"))
            assert wire.head().status == 200
        received = 0
        for number in range(1, 101):
            server.append("s", b"x" * 100000, "text/plain")
            while received < number * 100000:
                received += good.chunk().count(b"x")
        ds.wait_until(lambda: metric(server, "ds_http_aborted_total") == 1)


def metric(server, name):
    text = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
    return next(int(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


# ---- the end ----

def test_sigterm_answers_long_polls_and_ends_sse(start):
    server = start()
    server.create("s")
    server.append("s", [1])
    tail = ds.http("HEAD", server.stream_url("s"))[1]["Stream-Next-Offset"]
    with connect(server) as poll, connect(server) as sse, connect(server) as idle:
        assert idle.ask(get("/healthz")).status == 200
        poll.send(get(f"{STREAM}?offset={tail}&live=long-poll"))
        sse.send(get(f"{STREAM}?offset=-1&live=sse"))
        assert sse.head().status == 200
        read_sse(sse, 2)
        ds.wait_until(lambda: metric(server, "ds_server_live_readers") >= 2)
        server.signal(signal.SIGTERM)
        reply = poll.reply()
        assert (reply.status, reply["Stream-Next-Offset"]) == (204, tail)
        while sse.chunk():
            pass
        assert sse.is_closed() and poll.is_closed() and idle.is_closed()
    assert server.wait() == 0


def test_sigterm_does_not_wait_for_subscribers_to_close_and_loses_nothing_queued(start):
    server = start(DS_SERVER__THREADS="2")
    server.create("s", "text/plain")
    subscribers = [connect(server) for _ in range(20)]
    try:
        for wire in subscribers:
            wire.send(get(f"{STREAM}?offset=-1&live=sse"))
            assert wire.head().status == 200
        for number in range(20):
            server.append("s", b"%04d" % number + 996 * b".", "text/plain")
        ds.wait_until(lambda: metric(server, "ds_server_read_bytes_total") >= 20 * 20 * 1000)
        begin = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - begin < 1.5
        for wire in subscribers:
            text = b""
            while chunk := wire.chunk():
                text += chunk
            assert [text.count(b"%04d." % number) for number in range(20)] == [1] * 20
            assert wire.is_closed()
    finally:
        for wire in subscribers:
            wire.close()


def test_sigint_ends_it_too(start):
    server = start()
    server.signal(signal.SIGINT)
    assert server.wait() == 0


# ---- settings ----

def test_check_config_only_checks():
    assert run("--check-config").returncode == 0
    assert run("--check-config", "--set", "DS_LIMITS__MAX_STREAMS=x").returncode == 2


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen"])
@pytest.mark.parametrize("address", ["garbage", "127.0.0.1:99999", "127.0.0.1", "::1:80", ":80"])
def test_an_address_that_is_none_is_a_setting_that_is_not_legal(flag, address):
    done = run("--check-config", flag, address)
    assert done.returncode == 2 and "is not an address" in done.stderr


def test_check_config_names_settings_that_do_not_exist(tmp_path):
    settings = tmp_path / "settings"
    settings.write_text("DS_SERVER__PORT=4500\nDS_LIMITS__MAX_STREAMZ=3\n")
    done = run("--check-config", "--config", settings, DS_LIMITS__MAX_STREAMY="1")
    assert done.returncode == 0
    assert "name=DS_LIMITS__MAX_STREAMZ" in done.stdout and "name=DS_LIMITS__MAX_STREAMY" in done.stdout


def test_print_config_says_what_is_in_force_and_from_where():
    done = run("--print-config", DS_LIMITS__MAX_STREAM_BYTES="1MiB")
    lines = done.stdout.splitlines()
    at = lines.index("DS_LIMITS__MAX_STREAM_BYTES=1MiB")
    assert done.returncode == 0 and lines[at - 1] == "# environment"


def test_help_and_version_are_on_stdout():
    assert "DS_SERVER__BIND_ADDRESS" in run("--help").stdout
    assert run("--version").stdout.startswith("ds-server ")


def test_an_unknown_variable_is_a_warning(start):
    server = start(DS_LIMITS__MAX_STREAM_BITES="1")
    server.wait_log("config.unknown")
    assert "DS_LIMITS__MAX_STREAM_BITES" in server.log_text()


def test_requests_are_logged_when_asked_for(start):
    server = start(DS_LOG__RUST_LOG="info,server.http=debug")
    with connect(server) as wire:
        wire.ask(get("/v1/stream/absent?offset=-1"))
    server.wait_log("path=/v1/stream/absent")
    line = next(line for line in server.log_text().splitlines() if "path=/v1/stream/absent" in line)
    assert "status=404" in line and "method=GET" in line and "offset" not in line


def test_the_ready_line_names_the_real_port(folder):
    server = ds.Process("ds-server", [ds.program("ds-server")], folder, {
        "DS_SERVER__BIND_ADDRESS": "127.0.0.1:0", "DS_ADMIN__LISTEN": "off"})
    try:
        server.wait_log('msg="listening" addr=127.0.0.1:')
        port = int(server.log_text().split('msg="listening" addr=127.0.0.1:')[1].split()[0])
        with Wire(port) as wire:
            assert wire.ask(get("/readyz")).status == 200
        assert "admin listening" not in server.log_text()
    finally:
        assert server.stop() == 0


def test_a_port_in_use_stops_the_start():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(DS_SERVER__BIND_ADDRESS=f"127.0.0.1:{taken.getsockname()[1]}", DS_ADMIN__LISTEN="off")
    assert done.returncode == 1
    assert "event=start.failed" in done.stdout and "in use" in done.stdout


def test_the_log_may_go_to_stderr_as_json():
    done = run("--log-output", "stderr", "--log-format", "json", DS_SERVER__BIND_ADDRESS="256.0.0.1:1",
               DS_ADMIN__LISTEN="off")
    assert done.returncode == 1 and done.stdout == ""
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "start.failed"
