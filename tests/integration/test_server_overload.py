# SPDX-License-Identifier: Apache-2.0
"""ds-server at its limits and beyond: nothing is half done, and whoever looks after it can tell."""
import json
import os
import resource
import time

import pytest

import ds
from http_wire import Wire, get, post

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

def test_the_admin_listener_answers_when_connections_are_at_their_limit(start):
    server = start(DS_LIMITS__MAX_CONNECTIONS="4")
    held = [Wire(server.port) for _ in range(4)]
    try:
        for wire in held:
            assert wire.ask(get("/healthz")).status == 200
        assert ds.http("GET", f"{server.url}/healthz")[0] == 503
        for _ in range(16):
            held.append(Wire(server.admin_port))
            assert held[-1].ask(get("/healthz")).status == 200
        assert ds.http("GET", f"{server.admin_url}/healthz")[0] == 503
        held.pop().close()
        ds.wait_until(lambda: ds.http("GET", f"{server.admin_url}/healthz")[0] == 200)
        metrics = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
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
