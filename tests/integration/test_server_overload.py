# SPDX-License-Identifier: Apache-2.0
"""ds-server at its limits and beyond: nothing is half done, and whoever looks after it can tell."""
import json
import os
import resource
import time

import pytest

import ds
from http_wire import Closed, Wire, get, post

STREAM = "/v1/stream/s"
JSON = "Content-Type: application/json"


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


# ---- connections and descriptors ----

def admitted(port):
    """A connection that was let in; the one before it may not be gone yet."""
    wire = Wire(port)
    try:
        if wire.ask(get("/healthz")).status == 200:
            return wire
    except (Closed, ConnectionError):
        pass
    wire.close()
    return None


def test_the_admin_listener_answers_when_connections_are_at_their_limit(start):
    server = start(DS_LIMITS__MAX_CONNECTIONS="4")
    held = [ds.wait_until(lambda: admitted(server.port)) for _ in range(4)]
    try:
        assert admitted(server.port) is None
        held += [ds.wait_until(lambda: admitted(server.admin_port)) for _ in range(16)]
        assert admitted(server.admin_port) is None
        metrics = held[-1].ask(get("/metrics")).body.decode()
        refused = next(line for line in metrics.splitlines()
                       if line.startswith("ds_http_connections_refused_total "))
        assert int(refused.split()[1]) >= 2
    finally:
        for wire in held:
            wire.close()


def test_without_descriptors_the_log_is_not_flooded_and_it_goes_on_afterwards(start):
    server = start()
    opened = len(os.listdir(f"/proc/{server.pid}/fd"))
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (opened + 2, opened + 2))
    held = [Wire(server.port) for _ in range(6)]
    try:
        server.wait_log("event=server.accept_failed")
        for wire in held[:2]:
            assert wire.ask(get("/healthz")).status == 200
        begin = time.monotonic()
        ds.wait_until(lambda: time.monotonic() - begin > 0.5)   # five more attempts
        assert server.log_text().count("event=server.accept_failed") == 1
    finally:
        for wire in held:
            wire.close()
    ds.wait_until(lambda: ds.http("GET", f"{server.url}/healthz")[0] == 200)


# ---- requests that could be read in two ways ----

@pytest.mark.parametrize("first, second", [
    ("Producer-Seq: 0", "Producer-Seq: 7"), ("Producer-Id: a", "producer-id: b"),
    ("Stream-Closed: false", "Stream-Closed: true"), (JSON, "Content-Type: text/plain"),
    ("Stream-Seq: 1", "Stream-Seq: 2"),
])
def test_a_field_that_is_given_twice_is_refused_and_nothing_written(start, first, second):
    server = start()
    server.create("s")
    fields = {"producer-id": "a", "producer-epoch": "0", "producer-seq": "0", "content-type":
              "application/json"}
    fields.pop(first.split(":")[0].lower(), None)
    others = [f"{name}: {value}" for name, value in fields.items()]
    with Wire(server.port) as wire:
        reply = wire.ask(post(STREAM, "1", *others, first, second))
        assert reply.status == 400 and b"more than once" in reply.body
        assert wire.ask(get(f"{STREAM}?offset=-1")).body == b"[]"


# ---- expiry ----

@pytest.mark.parametrize("moment", ["1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59Z",
                                    "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_a_stream_that_expired_before_1970_does_not_live_for_ever(start, moment):
    server = start()
    assert server.create("s", headers={"Stream-Expires-At": moment})[0] == 201
    assert ds.http("GET", server.stream_url("s"))[0] == 404


# ---- producers ----

def test_a_producer_pushed_out_by_others_cannot_write_its_first_request_twice(start):
    server = start(DS_LIMITS__MAX_PRODUCERS_PER_STREAM="2")
    server.create("s")

    def write(producer, seq=0):
        return ds.http("POST", server.stream_url("s"), json.dumps(producer).encode(), {
            "Content-Type": "application/json", "Producer-Id": producer, "Producer-Epoch": "0",
            "Producer-Seq": str(seq)})

    assert [write("a")[0], write("b")[0]] == [200, 200]
    status, _, body = write("c")
    assert status == 429 and json.loads(body)["code"] == "TOO_MANY_PRODUCERS"
    assert [write("a")[0], write("b")[0], write("a", 1)[0]] == [204, 204, 200]
    status, headers, _ = write("c", 1)      # as one that was forgotten
    assert (status, headers["Producer-Expected-Seq"]) == (409, "0")
    assert server.read_json("s")[0] == ["a", "b", "a"]


# ---- what is refused leaves nothing behind ----

def test_a_refusal_for_room_writes_closes_and_remembers_nothing(start):
    server = start(DS_LIMITS__MAX_MEMORY_BYTES="1000", DS_LIMITS__MAX_STREAM_BYTES="600",
                   DS_LIMITS__MAX_STREAMS="2")
    fields = {"Content-Type": "application/json", "Producer-Id": "p", "Producer-Epoch": "0",
              "Producer-Seq": "0", "Stream-Seq": "5"}
    large = json.dumps("x" * 580).encode()

    def append(name, body, more=None):
        return ds.http("POST", server.stream_url(name), body, {**fields, **(more or {})})[0]

    server.create("a")
    server.append("a", ["x" * 580])
    assert append("a", large, {"Stream-Closed": "true"}) == 413
    assert append("a", b"1") == 200, "neither closed, nor a duplicate, nor a used Stream-Seq"
    assert server.create("b", body=large)[0] == 413
    assert ds.http("HEAD", server.stream_url("b"))[0] == 404
    assert server.create("b")[0] == 201
    assert server.create("c", body=b"[1]")[0] == 429
    assert server.create("b")[0] == 200, "what exists needs no new place"
    assert [change["name"] for change in changes(server)] == ["a", "b"]
    assert gauge(server, "ds_server_payload_bytes") == 585 and gauge(server, "ds_server_streams") == 2


def changes(server):
    listing = json.loads(ds.http("GET", f"{server.admin_url}/admin/streams")[2])
    token = listing["token"][:17] + "0" * 16
    return json.loads(ds.http("GET", f"{server.admin_url}/admin/streams?since={token}")[2])["changes"]


def gauge(server, name):
    text = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def test_counts_are_exact_after_readers_and_streams_came_and_went(start):
    server = start(DS_SERVER__THREADS="3", DS_LIMITS__MAX_STREAM_BYTES="2000")
    for turn in range(3):
        names = [f"s{turn}-{number}" for number in range(20)]
        readers = []
        for name in names:
            server.create(name, headers={"Stream-TTL": "2"} if name in names[5:] else None)
            tail = server.append(name, ["x" * 100] * 3)["Stream-Next-Offset"]
            for live in ("sse", "long-poll"):
                readers.append(Wire(server.port))
                readers[-1].send(get(f"/v1/stream/{name}?offset={tail}&live={live}"))
            era, position = tail.split("_")
            assert ds.http("POST", f"{server.admin_url}/admin/trim", json.dumps(
                {"stream": name, "before": f"{era}_{int(position, 16) - 1:016x}"}).encode())[0] == 200
        for number, wire in enumerate(readers):
            if number % 3 == 0:
                wire.reset()
        for name in names[::2]:
            assert ds.http("DELETE", server.stream_url(name))[0] in (204, 404)
        for wire in readers:
            wire.close()
        for name in names[1:5:2]:
            assert ds.http("DELETE", server.stream_url(name))[0] == 204
    ds.wait_until(lambda: gauge(server, "ds_server_streams") == 0)      # the others expire
    ds.wait_until(lambda: gauge(server, "ds_server_live_readers") == 0)
    assert gauge(server, "ds_server_payload_bytes") == 0
    assert gauge(server, "ds_http_inflight_body_bytes") == 0
