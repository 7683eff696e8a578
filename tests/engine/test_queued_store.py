# SPDX-License-Identifier: Apache-2.0
"""Operations that the store finishes later, on a thread of its own: ds-server over the store of
tests/support/store_delayed.c."""
import signal

import pytest

import ds
from http_wire import Closed, Wire, get, post

WRITERS = 40
TEXT = "Content-Type: text/plain"


@pytest.fixture
def start(tmp_path):
    """start(**settings) -> a running ds-server-delayed; it must end well."""
    started = []

    def start_server(**settings):
        process = Server(tmp_path, settings)
        started.append(process)
        return process.wait_ready()

    yield start_server
    for process in started:
        process.open_gate()
    complaints = ds.stop_all(started)
    assert not complaints, complaints + [process.log_end() for process in started]


class Server(ds.DsServer):
    """While its gate is closed, the store finishes nothing."""

    def __init__(self, folder, settings):
        self.gate = folder / "gate"
        self.open_gate()
        super().__init__(folder, binary=ds.program("ds-server-delayed"), environment={
            "DS_TEST_STORE_GATE": str(self.gate), "DS_SERVER__THREADS": "3", **settings})

    def open_gate(self):
        self.gate.touch()

    def close_gate(self):
        self.gate.unlink()

    def queued(self):
        _, _, text = ds.http("GET", self.admin_url + "/metrics")
        return next(int(line.split()[1]) for line in text.decode().splitlines()
                    if line.startswith("ds_server_operations_queued "))

    def wait_queued(self, count):
        ds.wait_until(lambda: self.queued() == count, what=f"{count} queued operations")

    def stored(self, name):
        _, _, text = ds.http("GET", self.stream_url(name) + "?offset=-1")
        return text.decode().count("<")


def append_request(name, body, *fields):
    return post(f"/v1/stream/{name}", body, TEXT, *fields)


def send_appends(server, name):
    """One append from each of many clients, all of them queued."""
    server.create(name, "text/plain")
    server.close_gate()
    wires = [Wire(server.port) for _ in range(WRITERS)]
    for i, wire in enumerate(wires):
        wire.send(append_request(name, f"<{i}>"))
    server.wait_queued(WRITERS)
    return wires


def test_what_a_client_asked_for_before_it_left_is_done(start):
    server = start()
    for wire in send_appends(server, "left"):
        wire.reset()
    assert server.stored("left") == 0
    server.open_gate()
    server.wait_queued(0)
    assert server.stored("left") == WRITERS


def test_a_client_that_only_stops_sending_is_answered(start):
    server = start()
    server.create("half", "text/plain")
    server.close_gate()
    with Wire(server.port) as wire:
        wire.send(append_request("half", "a") + append_request("half", "b"))
        wire.end()
        server.wait_queued(1)
        server.open_gate()
        assert [wire.reply().status, wire.reply().status] == [204, 204]
        assert wire.is_closed()


def test_pipelined_requests_of_all_kinds_are_answered_in_order(start):
    server = start()
    path = "/v1/stream/mixed"
    with Wire(server.port) as wire:
        wire.send(post(path, "", TEXT, method="PUT") + append_request("mixed", "one") +
                  get(path + "?offset=-1").encode() + append_request("mixed", "two", "Stream-Closed: true") +
                  append_request("mixed", "three") + get(path, method="DELETE").encode() +
                  get(path).encode())
        replies = [wire.reply() for _ in range(7)]
    assert [reply.status for reply in replies] == [201, 204, 200, 204, 409, 204, 404]
    assert replies[0]["Location"] == "http://h" + path
    assert replies[2].body == b"one"


def test_large_bodies_outlive_their_requests(start):
    server = start()
    server.create("large", "application/octet-stream")
    bodies = [bytes([65 + i]) * 300_000 for i in range(8)]
    wires = [Wire(server.port) for _ in bodies]
    for wire, body in zip(wires, bodies):
        wire.send(post("/v1/stream/large", body, "Content-Type: application/octet-stream"))
    for wire in wires:
        assert wire.reply().status == 204
        wire.close()
    _, _, text = ds.http("GET", server.stream_url("large") + "?offset=-1")
    assert sorted(text[at:at + 300_000] for at in range(0, len(text), 300_000)) == bodies


def test_bodies_that_wait_for_the_store_are_limited(start):
    server = start(DS_LIMITS__MAX_INFLIGHT_BODY_BYTES="1048576")
    server.create("waiting", "text/plain")
    server.close_gate()
    wires = [Wire(server.port) for _ in range(20)]
    for wire in wires:
        wire.send(append_request("waiting", "<" + "x" * 99_999))
    server.wait_queued(10)
    server.open_gate()
    replies = [wire.reply() for wire in wires]
    assert sorted(reply.status for reply in replies) == [204] * 10 + [503] * 10
    assert {reply["Retry-After"] for reply in replies if reply.status == 503} == {"1"}
    assert server.stored("waiting") == 10
    with Wire(server.port) as wire:
        assert wire.ask(append_request("waiting", "<again")).status == 204


def test_sigterm_waits_for_the_answers(start):
    server = start()
    wires = send_appends(server, "drain")
    server.signal(signal.SIGTERM)
    server.wait_log("stopping")
    server.open_gate()
    replies = [wire.reply() for wire in wires]
    assert {reply.status for reply in replies} == {204}
    assert len({reply["Stream-Next-Offset"] for reply in replies}) == WRITERS
    assert all(wire.is_closed() for wire in wires)


def test_a_drain_that_takes_too_long_cuts_clients_and_still_ends_well(start):
    server = start(DS_SERVER__DRAIN_TIMEOUT="100ms")
    wires = send_appends(server, "cut")
    server.signal(signal.SIGTERM)
    for wire in wires:
        with pytest.raises((Closed, ConnectionResetError)):
            wire.reply()
    server.open_gate()
    assert server.wait() == 0
