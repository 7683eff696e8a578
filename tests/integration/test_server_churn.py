# SPDX-License-Identifier: Apache-2.0
"""Many clients do everything at once to a durable mode whose log is tiny and whose cache is empty: what is
acknowledged is there once, before and after a crash. Under the thread sanitizer: without a race."""
import http.client
import json
import random
import threading
import time

import pytest

import ds

SECONDS = 2
CLIENTS = 12
KEPT = 6          # streams that are only appended to
CHURNED = 8       # streams that are created, forked, trimmed and deleted
EXPECTED = {"PUT": {200, 201, 404, 409, 410}, "POST": {200, 204, 404, 409, 410}, "HEAD": {200, 404, 410},
            "GET": {200, 404, 410}, "DELETE": {204, 404, 410}}
TEXT = {"Content-Type": "text/plain"}


class Client(threading.Thread):
    def __init__(self, server, seed, until):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.seed, self.until = seed, until
        self.main = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.admin = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=60)
        self.acknowledged = []        # (stream, message)
        self.wrong = []

    def ask(self, connection, method, path, body=None, headers=None):
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        text = reply.read()
        if reply.status not in EXPECTED[method]:
            self.wrong.append((method, path, reply.status, text[:200]))
        return reply

    def run(self):
        try:
            while time.monotonic() < self.until and not self.wrong:
                self.append() if self.random.random() < 0.5 else self.churn()
        except Exception as failure:  # told by the test
            self.wrong.append(repr(failure))

    def append(self):
        stream = f"kept-{self.random.randrange(KEPT)}"
        message = f"<{self.seed}.{len(self.acknowledged)}{'x' * self.random.choice([0, 200, 5000])}>"
        reply = self.ask(self.main, "POST", f"/v1/stream/{stream}", message.encode(), TEXT)
        if reply.status == 204:
            self.acknowledged.append((stream, message))
        else:
            self.wrong.append((stream, reply.status))

    def churn(self):
        path = f"/v1/stream/churned-{self.random.randrange(CHURNED)}"
        fork = f"/v1/stream/fork-{self.random.randrange(CHURNED)}"
        ttl = {"Stream-TTL": "60"} if self.random.random() < 0.5 else {}
        choice = self.random.randrange(8)
        if choice == 0:
            self.ask(self.main, "PUT", path, b"begin", {**TEXT, **ttl})
        elif choice == 1:
            self.ask(self.main, "DELETE", self.random.choice([path, fork]))
        elif choice == 2:
            self.ask(self.main, "PUT", fork, None, {**TEXT, "Stream-Forked-From": path})
        elif choice == 3:
            reply = self.ask(self.main, "HEAD", path)
            if reply.status == 200:
                self.ask(self.admin, "POST", "/admin/trim", json.dumps(
                    {"stream": path.rpartition("/")[2], "before": reply.headers["Stream-Next-Offset"]}))
        elif choice < 6:
            self.ask(self.main, "POST", self.random.choice([path, fork]), b"y" * 3000, TEXT)
        else:
            self.ask(self.main, "GET", self.random.choice([path, fork]))


def start(folder, mode, run):
    return ds.DsServer(folder, name=f"ds-server-{run}", environment={
        "DS_STORAGE__MODE": mode, "DS_STORAGE__DATA_DIR": str(folder / "data"),
        "DS_STORAGE__ACID_SHARD_COUNT": "2", "DS_STORAGE__WAL_SEGMENT_BYTES": "64KiB",
        "DS_STORAGE__CHECKPOINT_INTERVAL": "20ms", "DS_LIMITS__MAX_CACHE_BYTES": "0",
        "DS_LIMITS__MAX_MEMORY_BYTES": "1GiB", "DS_LIMITS__MAX_STREAM_BYTES": "1GiB"}).wait_ready()


def read(server, name):
    pieces, offset = [], "-1"
    while True:
        status, headers, body = ds.http("GET", f"{server.stream_url(name)}?offset={offset}")
        assert status == 200, body
        pieces.append(body)
        offset = headers["Stream-Next-Offset"]
        if headers.get("Stream-Up-To-Date") == "true":
            return b"".join(pieces).decode()


def check(server, acknowledged):
    for number in range(KEPT):
        name = f"kept-{number}"
        stored = [f"<{part}" for part in read(server, name).split("<")[1:]]
        assert len(stored) == len(set(stored)), "something is there twice"
        missing = {message for stream, message in acknowledged if stream == name} - set(stored)
        assert not missing, f"{len(missing)} acknowledged messages of {name} are gone"


@pytest.mark.parametrize("mode", ["file-durable", "file-fast", "acid"])
def test_everything_at_once_loses_nothing_over_two_crashes(folder, mode):
    acknowledged = []
    server = start(folder, mode, 0)
    for number in range(KEPT):
        assert server.create(f"kept-{number}", "text/plain")[0] == 201
    for run in range(1, 4):
        clients = [Client(server, 100 * run + number, time.monotonic() + SECONDS)
                   for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
            assert not client.wrong, (client.wrong[:3], server.log_end())
            acknowledged += client.acknowledged
        check(server, acknowledged)
        if run < 3:
            server.kill()
        else:
            assert server.stop() == 0, server.log_end()
        server = start(folder, mode, run)
        check(server, acknowledged)
    assert server.stop() == 0, server.log_end()
    assert len(acknowledged) > 100
