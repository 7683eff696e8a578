# SPDX-License-Identifier: Apache-2.0
"""Operations that the store finishes later, on a thread of its own, and bytes that are not in memory:
ds-server over the store of tests/support/store_delayed.c."""
import json
import random
import signal
import threading
import time

import pytest

import ds
from http_wire import Closed, Wire, get, post

WRITERS = 40
CHAOS_SECONDS = 3
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
        process.open("store", "cold")
    complaints = ds.stop_all(started)
    assert not complaints, complaints + [process.log_end() for process in started]


class Server(ds.DsServer):
    """While a gate is closed, the store finishes no operation ("store"), or no cold read ("cold")."""

    def __init__(self, folder, settings):
        self.gates = {"store": folder / "store-gate", "cold": folder / "cold-gate"}
        self.open("store", "cold")
        super().__init__(folder, binary=ds.program("ds-server-delayed"), environment={
            "DS_TEST_STORE_GATE": str(self.gates["store"]),
            "DS_TEST_COLD_GATE": str(self.gates["cold"]), "DS_SERVER__THREADS": "3", **settings})

    def open(self, *names):
        for name in names:
            self.gates[name].touch()

    def close(self, name):
        self.gates[name].unlink()

    def metric(self, name):
        _, _, text = ds.http("GET", self.admin_url + "/metrics")
        return next(int(line.split()[1]) for line in text.decode().splitlines()
                    if line.startswith(name + " "))

    def wait_metric(self, name, value):
        ds.wait_until(lambda: self.metric(name) == value, what=f"{name} {value}")

    def wait_queued(self, count):
        self.wait_metric("ds_server_operations_queued", count)

    def read(self, name, query="?offset=-1"):
        return ds.http("GET", self.stream_url(name) + query)

    def stored(self, name):
        return self.read(name)[2].decode().count("<")


def append_request(name, body, *fields):
    return post(f"/v1/stream/{name}", body, TEXT, *fields)


def send_appends(server, name):
    """One append from each of many clients, all of them queued."""
    server.create(name, "text/plain")
    server.close("store")
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
    server.open("store")
    server.wait_queued(0)
    assert server.stored("left") == WRITERS


def test_a_client_that_only_stops_sending_is_answered(start):
    server = start()
    server.create("half", "text/plain")
    server.close("store")
    with Wire(server.port) as wire:
        wire.send(append_request("half", "a") + append_request("half", "b"))
        wire.end()
        server.wait_queued(1)
        server.open("store")
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
    text = server.read("large")[2]
    assert sorted(text[at:at + 300_000] for at in range(0, len(text), 300_000)) == bodies


def test_bodies_that_wait_for_the_store_are_limited(start):
    server = start(DS_LIMITS__MAX_INFLIGHT_BODY_BYTES="1048576")
    server.create("waiting", "text/plain")
    server.close("store")
    request = append_request("waiting", "<" + "x" * 99_999)
    wires = [Wire(server.port) for _ in range(10)]
    for wire in wires:
        wire.send(request)
    server.wait_queued(10)
    with Wire(server.port) as wire:
        for _ in range(3):
            refused = wire.ask(request)
            assert (refused.status, refused["Retry-After"]) == (503, "1")
    server.open("store")
    assert {wire.reply().status for wire in wires} == {204}
    assert server.stored("waiting") == 10
    with Wire(server.port) as wire:
        assert wire.ask(append_request("waiting", "<again")).status == 204


def test_sigterm_waits_for_the_answers(start):
    server = start()
    wires = send_appends(server, "drain")
    server.signal(signal.SIGTERM)
    server.wait_log("stopping")
    server.open("store")
    replies = [wire.reply() for wire in wires]
    assert {reply.status for reply in replies} == {204}
    assert len({reply["Stream-Next-Offset"] for reply in replies}) == WRITERS
    assert all(wire.is_closed() for wire in wires)
    assert server.wait() == 0


def test_a_drain_that_takes_too_long_cuts_clients_and_still_ends_well(start):
    server = start(DS_SERVER__DRAIN_TIMEOUT="100ms")
    wires = send_appends(server, "cut")
    server.signal(signal.SIGTERM)
    for wire in wires:
        with pytest.raises((Closed, ConnectionResetError)):
            wire.reply()
    server.open("store")
    assert server.wait() == 0


READERS = 40
COLD_BODY = b"x" * 100_000


def ask_cold(server, query="?offset=-1"):
    """One read from each of many clients, none of them answered."""
    server.create("cold", "text/plain", COLD_BODY)
    server.close("cold")
    before = server.metric("ds_server_cold_reads_total")
    wires = [Wire(server.port) for _ in range(READERS)]
    for wire in wires:
        wire.send(get("/v1/stream/cold" + query))
    server.wait_metric("ds_server_cold_reads_total", before + READERS)
    return wires


@pytest.mark.parametrize("query", ["?offset=-1", "?offset=-1&live=long-poll"])
def test_cold_reads_are_answered_and_those_whose_clients_left_are_not(start, query):
    server = start()
    wires = ask_cold(server, query)
    for wire in wires[::2]:
        wire.reset()
    server.open("cold")
    for wire in wires[1::2]:
        reply = wire.reply()
        assert (reply.status, reply.body) == (200, COLD_BODY)
        assert reply["Stream-Up-To-Date"] == "true"


def test_a_cold_read_is_not_sent_again_to_who_has_it(start):
    server = start()
    server.create("cold", "text/plain", COLD_BODY)
    tag = server.read("cold")[1]["ETag"]
    with Wire(server.port) as wire:
        assert wire.ask(get("/v1/stream/cold?offset=-1", f"If-None-Match: {tag}")).status == 304


def test_what_is_in_memory_is_read_while_all_cold_reads_wait(start):
    server = start()
    server.create("hot", "text/plain", b"warm")
    wires = ask_cold(server)
    for _ in range(6):
        assert server.read("hot")[2] == b"warm"
    server.append("hot", b"er", "text/plain")
    assert server.read("hot")[2] == b"warmer"
    server.open("cold")
    assert {wire.reply().status for wire in wires} == {200}


def test_cold_files_are_sent_whole_and_to_many_at_once(start, monkeypatch):
    monkeypatch.setenv("DS_TEST_COLD_FILES", "1")
    server = start()
    body = bytes(range(256)) * 12_000
    server.create("cold/large", "application/octet-stream", body)
    wires = [Wire(server.port, receive_buffer=16384) for _ in range(12)]
    for wire in wires:
        wire.send(get("/v1/stream/cold/large?offset=-1") * 2)
    for wire in wires[::3]:
        wire.take(50_000)
        wire.reset()
    for wire in wires[1::3] + wires[2::3]:
        assert [wire.reply().body == body for _ in range(2)] == [True, True]
        wire.close()


def read_events(wire, name):
    """The data of the events of that name, until the other side ends the stream."""
    text = wire.reply().body.decode()
    events = [event.split("\n") for event in text.split("\n\n")]
    return [line[len("data:"):] for lines in events if f"event: {name}" in lines
            for line in lines if line.startswith("data:")]


def test_an_sse_reader_far_behind_gets_every_message_once_and_in_order(start):
    server = start()
    server.create("cold/behind", "application/json")
    wires = [Wire(server.port) for _ in range(5)]
    numbers = [f"{number:04}" + "." * 9000 for number in range(200)]
    for at in range(0, 100, 10):
        server.append("cold/behind", numbers[at:at + 10])
    for wire in wires:
        wire.send(get("/v1/stream/cold/behind?offset=-1&live=sse"))
    for at in range(100, 200):
        server.append("cold/behind", numbers[at:at + 1])
    server.append("cold/behind", ["end"], headers={"Stream-Closed": "true"})
    for wire in wires:
        events = [json.loads(data) for data in read_events(wire, "data")]
        assert [message for event in events for message in event] == [*numbers, "end"]
        wire.close()


@pytest.mark.parametrize("query", ["?offset=-1", "?offset=-1&live=long-poll"])
def test_bytes_that_cannot_be_read_are_an_error_and_named_in_the_log(start, query):
    server = start()
    server.create("unreadable", "text/plain", b"lost")
    status, fields, text = server.read("unreadable", query)
    assert (status, fields["Content-Type"]) == (500, "application/problem+json")
    assert json.loads(text)["code"] == "INTERNAL_ERROR"
    server.wait_log("event=server.read_failed")
    lines = [line for line in server.log_text().splitlines() if "read_failed" in line]
    assert len(lines) == 1 and "stream=unreadable" in lines[0]


def test_sse_is_cut_where_bytes_cannot_be_read(start):
    server = start()
    server.create("unreadable", "text/plain", b"lost")
    with Wire(server.port) as wire:
        wire.send(get("/v1/stream/unreadable?offset=-1&live=sse"))
        reply = wire.reply()
        assert (reply.status, reply.whole, reply.body) == (200, False, b"")


def test_sigterm_waits_for_cold_reads(start):
    server = start()
    wires = ask_cold(server)
    server.signal(signal.SIGTERM)
    server.wait_log("stopping")
    server.open("cold")
    assert {wire.reply().body for wire in wires} == {COLD_BODY}
    assert server.wait() == 0


def test_cold_reads_outlive_their_loops(start):
    server = start(DS_SERVER__DRAIN_TIMEOUT="100ms")
    wires = ask_cold(server)
    with Wire(server.port) as subscriber:
        subscriber.send(get("/v1/stream/cold?offset=-1&live=sse"))
        assert subscriber.head().status == 200
        server.signal(signal.SIGTERM)
        for wire in wires:
            with pytest.raises((Closed, ConnectionResetError)):
                wire.reply()
    server.open("cold")
    assert server.wait() == 0


class Visitor(threading.Thread):
    """A client that does anything, in any order, and leaves at any moment."""

    def __init__(self, server, seed, until):
        super().__init__(daemon=True)
        self.server, self.until = server, until
        self.random = random.Random(seed)
        self.acknowledged = []         # (stream, message)
        self.count = 0
        self.seed = seed
        self.failure = None

    def run(self):
        try:
            while time.monotonic() < self.until:
                with Wire(self.server.port) as wire:
                    for _ in range(self.random.randrange(1, 12)):
                        if not self.act(wire):
                            break
        except Exception as failure:   # told by the test
            self.failure = failure

    def act(self, wire):
        """False: this connection is at its end."""
        stream = f"{self.random.choice(['hot', 'cold', 'any'])}/{self.random.randrange(3)}"
        path = f"/v1/stream/{stream}"
        choice = self.random.randrange(100)
        live = self.random.choice(["", "", "&live=long-poll", "&live=sse"])
        self.count += 1
        message = f"<{self.seed}.{self.count}>"
        if choice < 10:
            wire.send(get(f"{path}?offset=-1{live}"))
            wire.reset()
            return False
        if choice < 20:
            wire.send(append_request(f"gone/{stream}", message) * 3)
            wire.reset()
            return False
        if choice < 30:
            temporary = f"/v1/stream/temporary/{self.random.randrange(3)}"
            wire.send(post(temporary, "", TEXT, method="PUT") + get(temporary, method="DELETE").encode())
            assert wire.reply().status in (200, 201, 409)
            assert wire.reply().status in (204, 404)
            return True
        if choice < 65:
            assert wire.ask(append_request(stream, message)).status == 204
            self.acknowledged.append((stream, message))
            return True
        if live == "&live=sse":
            wire.send(get(f"{path}?offset=-1{live}"))
            assert wire.head().status == 200
            if self.acknowledged:
                wire.chunk()
            wire.reset()
            return False
        assert wire.ask(get(f"{path}?offset=-1{live}")).status in (200, 204)
        return True


def test_clients_that_do_anything_lose_nothing_that_was_acknowledged(start):
    server = start(DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS="20ms")
    names = [f"{kind}/{i}" for kind in ("hot", "cold", "any") for i in range(3)]
    for name in [*names, *(f"gone/{name}" for name in names)]:
        server.create(name, "text/plain", b"<start>")
    until = time.monotonic() + CHAOS_SECONDS
    visitors = [Visitor(server, seed, until) for seed in range(24)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert [visitor.failure for visitor in visitors if visitor.failure] == []
    server.wait_queued(0)
    texts = {name: server.read(name)[2].decode() for name in names}
    acknowledged = [pair for visitor in visitors for pair in visitor.acknowledged]
    assert len(acknowledged) > 100
    assert [pair for pair in acknowledged if texts[pair[0]].count(pair[1]) != 1] == []
