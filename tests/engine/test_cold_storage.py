# SPDX-License-Identifier: Apache-2.0
"""Streams that are too large for memory, in every durable mode: what is read is what was written, by
whatever way it is read, while it is appended to, trimmed and deleted."""
import json
import random
import threading

import pytest

import ds
from http_wire import Closed, Wire, get

BYTES = {"Content-Type": "application/octet-stream"}
PAGE = 1 << 20


@pytest.fixture(params=["file-durable", "file-fast", "acid"])
def server(request, tmp_path):
    process = ds.DsServer(tmp_path, environment={
        "DS_STORAGE__MODE": request.param, "DS_STORAGE__DATA_DIR": str(tmp_path / "data"),
        "DS_STORAGE__CHECKPOINT_INTERVAL": "50ms", "DS_LIMITS__MAX_CACHE_BYTES": "0",
        "DS_LIMITS__MAX_READ_PAGE_BYTES": str(PAGE), "DS_LIMITS__MAX_STREAM_BYTES": "1GiB", "DS_SERVER__THREADS": "3",
        "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "500ms"}).wait_ready()
    yield process
    assert process.stop() == 0, process.log_end()


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def metric(server, name):
    _, _, text = ds.http("GET", server.admin_url + "/metrics")
    return next(int(line.split()[1]) for line in text.decode().splitlines()
                if line.startswith(name + " "))


def fill(server, name, appends, size):
    """The whole content, none of it in memory any more."""
    server.create(name, BYTES["Content-Type"])
    parts = [noise(f"{name}{i}", size) for i in range(appends)]
    for part in parts:
        server.append(name, part, BYTES["Content-Type"])
    make_cold(server, name)
    return b"".join(parts)


def make_cold(server, name):
    def is_cold():
        before = metric(server, "ds_server_cold_reads_total")
        ds.http("GET", server.stream_url(name) + "?offset=-1")
        return metric(server, "ds_server_cold_reads_total") > before
    ds.wait_until(is_cold, what="the checkpoint to empty the memory")


def read_pages(server, name, offset="-1", live=""):
    """(content, pages), following offsets to the tail."""
    content, pages = b"", 0
    while True:
        status, fields, body = ds.http("GET", f"{server.stream_url(name)}?offset={offset}{live}")
        assert status in (200, 204), (status, body)
        content += body
        pages += 1
        offset = fields["Stream-Next-Offset"]
        if fields["Stream-Up-To-Date"] == "true":
            return content, pages


@pytest.mark.parametrize("size", [700, 70_001, 1_500_000])
def test_pages_make_up_the_whole(server, size):
    content = fill(server, "pages", min(500, 6_000_000 // size), size)
    got, pages = read_pages(server, "pages")
    assert got == content
    assert pages >= len(content) // max(PAGE, size)
    got, _ = read_pages(server, "pages", live="&live=long-poll")
    assert got == content


def test_a_read_begins_within_an_append(server):
    content = fill(server, "within", 20, 200_001)
    _, fields, _ = ds.http("HEAD", server.stream_url("within"))
    era = fields["Stream-Next-Offset"].split("_")[0]
    for position in (1, 200_000, 200_001, 200_002, 1_234_567, len(content) - 1, len(content)):
        got, _ = read_pages(server, "within", f"{era}_{position:016x}")
        assert got == content[position:], position


def test_many_slow_readers_get_it_whole(server):
    content = fill(server, "slow", 10, 500_000)
    first = ds.http("GET", server.stream_url("slow") + "?offset=-1")[2]
    wires = [Wire(server.port, receive_buffer=16384) for _ in range(40)]
    for wire in wires:
        wire.send(get("/v1/stream/slow?offset=-1"))
    for wire in wires[::4]:
        wire.take(30_000)
        wire.reset()
    for i, wire in enumerate(wires):
        if i % 4:
            assert wire.reply().body == first
    assert content.startswith(first) and first


def test_sse_goes_on_from_disk_to_memory(server):
    server.create("sse", "application/json")
    messages = [f"{i:05}" + "-" * 2000 for i in range(3000)]
    for at in range(0, 2000, 100):
        server.append("sse", messages[at:at + 100])
    make_cold(server, "sse")
    got, failures = [[] for _ in range(6)], []

    def follow(into):
        try:
            with Wire(server.port) as wire:
                text = wire.ask(get("/v1/stream/sse?offset=-1&live=sse")).body.decode()
            for event in text.split("\n\n"):
                if event.startswith("event: data"):
                    into += json.loads("".join(line[5:] for line in event.split("\n")
                                               if line.startswith("data:")))
        except Exception as failure:   # told below
            failures.append(failure)

    threads = [threading.Thread(target=follow, args=(into,)) for into in got]
    for thread in threads:
        thread.start()
    for at in range(2000, 3000, 10):
        server.append("sse", messages[at:at + 10])
    server.append("sse", ["end"], headers={"Stream-Closed": "true"})
    for thread in threads:
        thread.join()
    assert not failures
    assert [into == [*messages, "end"] for into in got] == [True] * 6


def test_what_is_trimmed_or_deleted_meanwhile_is_never_served_as_something_else(server):
    """Each piece says where it belongs."""
    size, count = 1000, 6000
    server.create("moving", "text/plain")
    for at in range(0, count, 200):
        server.append("moving", b"".join(b"%09d" % i + b"." * (size - 9) for i in range(at, at + 200)),
                      "text/plain")
    make_cold(server, "moving")
    _, fields, _ = ds.http("HEAD", server.stream_url("moving"))
    era = fields["Stream-Next-Offset"].split("_")[0]
    failures, replies, over = [], [], threading.Event()

    def read(seed):
        chance = random.Random(seed)
        while not over.is_set():
            message = chance.randrange(count)
            try:
                with Wire(server.port, receive_buffer=chance.choice([8192, None])) as wire:
                    reply = wire.ask(get(f"/v1/stream/moving?offset={era}_{message * size:016x}"))
            except (Closed, ConnectionResetError) as failure:
                failures.append(failure)
                return
            replies.append(reply.status)
            wanted = b"".join(b"%09d" % i + b"." * (size - 9)
                              for i in range(message, message + len(reply.body) // size))
            if reply.status == 200 and reply.body != wanted:
                at = next(i for i, byte in enumerate(reply.body) if byte != wanted[i])
                failures.append(f"message {message}: at {at} of {len(reply.body)} bytes came "
                                f"{reply.body[at:at + 40]!r}, not {wanted[at:at + 40]!r}")

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for message in range(0, 5000, 250):
        status, _, text = ds.http("POST", server.admin_url + "/admin/trim", json.dumps(
            {"stream": "moving", "before": f"{era}_{message * size:016x}"}).encode())
        assert status == 200, text
    assert ds.http("DELETE", server.stream_url("moving"))[0] == 204
    over.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(replies) <= {200, 404, 410} and 200 in replies
