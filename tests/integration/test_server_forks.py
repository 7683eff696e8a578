# SPDX-License-Identifier: Apache-2.0
"""What ds-server promises of forks beyond the conformance suite: which requests it refuses and how,
tags of a fork's several lives, live readers of what is deleted, trims, and the admin requests."""
import json
import random
import threading
import time
from urllib.parse import quote

import pytest

import ds

TEXT = "text/plain"
ZEROS = "0" * 16 + "_" + "0" * 16
LONG_POLL = "&live=long-poll"
CHAOS_SECONDS = 2
CHAOS_NAMES = 6
CHAOS_COUNT = 10


MODES = ("memory", "file-durable", "file-fast", "acid")


@pytest.fixture(params=MODES)
def start_server(request, folder):
    """start_server(**settings) -> a running DsServer in one of the modes, on what the last one left;
    stopped afterwards, and that must be orderly."""
    started = []

    def start(**settings):
        process = ds.DsServer(folder, environment={
            "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "20s", "DS_SERVER__THREADS": "3",
            "DS_STORAGE__MODE": request.param, "DS_STORAGE__DATA_DIR": str(folder / "data"),
            "DS_STORAGE__CHECKPOINT_INTERVAL": "100ms", **settings}, name=f"ds-server-{len(started)}")
        started.append(process)
        return process.wait_ready()

    start.mode = request.param
    yield start
    for process in started:
        if process.alive():
            assert process.stop() == 0, process.log_end()


@pytest.fixture
def server(start_server):
    return start_server()


def request(server, method, name, query="", body=None, headers=None):
    return ds.http(method, server.stream_url(name) + query, body, headers)


def create(server, name, body=None, content_type=TEXT, headers=None):
    status, reply, text = server.create(name, content_type, body, headers)
    assert status == 201, text
    return reply["Stream-Next-Offset"]


def put_fork(server, name, source, offset=None, sub=None, headers=None, body=None):
    fields = {"Stream-Forked-From": f"/v1/stream/{quote(source)}", **(headers or {})}
    if offset is not None:
        fields["Stream-Fork-Offset"] = offset
    if sub is not None:
        fields["Stream-Fork-Sub-Offset"] = str(sub)
    return request(server, "PUT", name, body=body, headers=fields)


def fork(server, name, source, offset=None, sub=None, headers=None, body=None):
    status, reply, text = put_fork(server, name, source, offset, sub, headers, body)
    assert status == 201, text
    return reply["Stream-Next-Offset"]


def refusal(reply):
    status, _, text = reply
    return status, json.loads(text)["code"]


def read(server, name, offset="-1", live="", headers=None):
    return request(server, "GET", name, f"?offset={offset}{live}", headers=headers)


def admin(server, path, body=None):
    status, _, text = ds.http("POST" if body else "GET", server.admin_url + path,
                              json.dumps(body).encode() if body else None)
    return status, json.loads(text)


def names(server, query=""):
    return [entry["name"] for entry in admin(server, f"/admin/streams?{query}")[1]["streams"]]


def payload_bytes(server):
    text = ds.http("GET", server.admin_url + "/metrics")[2].decode()
    return int(next(line.split()[1] for line in text.splitlines()
                    if line.startswith("ds_server_payload_bytes ")))


def test_an_offset_of_the_source_is_one_of_the_fork(server):
    middle = create(server, "a", b"one")
    tail = server.append("a", b"two", TEXT)["Stream-Next-Offset"]
    assert fork(server, "b", "a") == tail
    after = server.append("b", b"three", TEXT)["Stream-Next-Offset"]
    assert read(server, "b", middle)[2] == b"twothree"
    assert read(server, "b", tail)[2] == b"three"
    status, headers, body = read(server, "b")
    assert (status, body) == (200, b"onetwothree")
    assert headers["Stream-Next-Offset"] == after and headers["Stream-Up-To-Date"] == "true"


def test_an_offset_of_what_is_not_the_forks_is_gone(server):
    middle = create(server, "a", b"one")
    fork(server, "b", "a")
    later = server.append("a", b"two", TEXT)["Stream-Next-Offset"]
    own = server.append("b", b"2222", TEXT)["Stream-Next-Offset"]
    assert own > later > middle
    assert refusal(read(server, "b", later)) == (410, "GONE"), "its parent went on without it"
    assert refusal(read(server, "a", own)) == (410, "GONE")
    request(server, "DELETE", "b")
    fork(server, "b", "a", middle)
    server.append("b", b"other", TEXT)
    assert refusal(read(server, "b", own)) == (410, "GONE"), "of a fork that was"
    assert refusal(put_fork(server, "c", "b", later)) == (400, "INVALID_OFFSET")
    assert read(server, "b", middle)[2] == b"other"


def test_the_sentinels_say_where_to_fork(server):
    create(server, "a", b"abc")
    fork(server, "start", "a", "-1")
    fork(server, "now", "a", "now")
    fork(server, "zeros", "a", ZEROS, 1)
    assert [read(server, name)[2] for name in ("start", "now", "zeros")] == [b"", b"abc", b"a"]


def test_a_source_is_named_by_its_path_as_a_url_spells_it(server):
    create(server, "caf%C3%A9/a%62", b"x")
    fork(server, "b", "café/ab")
    assert read(server, "b")[2] == b"x"
    for path in ("a", "/v1/streams/a", "/v1/stream/", "/v1/stream/a%2Fb", ""):
        reply = request(server, "PUT", "c", headers={"Stream-Forked-From": path})
        assert refusal(reply) == (400, "BAD_REQUEST"), path


@pytest.mark.parametrize("fields", [
    {"Stream-Fork-Offset": ZEROS}, {"Stream-Fork-Sub-Offset": "0"},
])
def test_a_place_to_fork_needs_something_to_fork(server, fields):
    assert refusal(request(server, "PUT", "a", headers=fields)) == (400, "BAD_REQUEST")


def test_what_cannot_be_forked_is_refused(server):
    tail = create(server, "a", b"abc")
    past = tail[:-1] + "4"
    other_era = "1" * 16 + tail[16:]
    assert refusal(put_fork(server, "b", "none")) == (404, "NOT_FOUND")
    for offset in (past, other_era, "x", ""):
        assert refusal(put_fork(server, "b", "a", offset)) == (400, "INVALID_OFFSET"), offset
    for sub in ("4", "9" * 18):
        assert refusal(put_fork(server, "b", "a", ZEROS, sub)) == (400, "INVALID_OFFSET"), sub
    for sub in ("-1", "01", "x", "", "9" * 30):
        assert refusal(put_fork(server, "b", "a", ZEROS, sub)) == (400, "BAD_REQUEST"), sub
    assert refusal(put_fork(server, "b", "a", headers={"Content-Type": "application/json"},
                            body=b"not JSON")) == (409, "CONTENT_TYPE_MISMATCH")
    assert request(server, "GET", "b")[0] == 404
    assert request(server, "DELETE", "a")[0] == 204
    assert request(server, "GET", "a")[0] == 404, "no refused fork keeps it"


def test_forks_of_forks_end_at_a_depth(server):
    create(server, "0", b"x")
    for depth in range(64):
        fork(server, str(depth + 1), str(depth))
    assert refusal(put_fork(server, "65", "64")) == (409, "FORK_TOO_DEEP")
    server.append("64", b"y", TEXT)
    assert read(server, "64")[2] == b"xy"
    for depth in range(65):
        assert request(server, "DELETE", str(depth))[0] == 204
    ds.wait_until(lambda: names(server, "kept=true") == [], what="the end of the chain")
    assert names(server) == [] and payload_bytes(server) == 0


def test_an_existing_fork_is_compared_with_what_the_request_says(server):
    middle = create(server, "a", b"abc", headers={"Stream-TTL": "60"})
    server.append("a", b"def", TEXT)
    fork(server, "b", "a", middle, 1)
    server.append("a", b"ghi", TEXT)
    assert put_fork(server, "b", "a", middle, 1)[0] == 200
    assert put_fork(server, "b", "a")[0] == 200, "what is left out is as it is"
    request(server, "DELETE", "a")
    assert put_fork(server, "b", "a", middle, 1)[0] == 200, "its source does not matter any more"
    for reply in (put_fork(server, "b", "a", middle), put_fork(server, "b", "a", middle, 2),
                  put_fork(server, "b", "a", middle, 1, {"Stream-TTL": "61"}),
                  put_fork(server, "b", "a", middle, 1, {"Stream-Closed": "true"}),
                  request(server, "PUT", "b", headers={"Content-Type": TEXT, "Stream-TTL": "60"})):
        assert refusal(reply) == (409, "ALREADY_EXISTS")


def test_a_deleted_source_is_gone_and_its_name_taken_until_the_last_fork_goes(server):
    create(server, "a", b"abc")
    fork(server, "b", "a")
    assert request(server, "DELETE", "a")[0] == 204
    for method in ("GET", "POST", "DELETE"):
        reply = request(server, method, "a", body=b"x" if method == "POST" else None,
                        headers={"Content-Type": TEXT})
        assert refusal(reply) == (410, "GONE"), method
    assert request(server, "HEAD", "a")[0] == 410
    assert refusal(request(server, "PUT", "a")) == (409, "PATH_BLOCKED")
    assert refusal(put_fork(server, "c", "a")) == (409, "FORK_FROM_TOMBSTONE")
    status, _ = admin(server, "/admin/trim", {"stream": "a", "before": ZEROS})
    assert status == 410
    assert names(server) == ["b"] and names(server, "kept=true") == ["a"]
    assert request(server, "DELETE", "b")[0] == 204
    ds.wait_until(lambda: request(server, "HEAD", "a")[0] == 404, what="the end of the source")
    create(server, "a", b"new")
    assert read(server, "a")[2] == b"new"


def test_a_fork_in_its_next_life_has_other_tags(server):
    create(server, "a", b"abc")
    fork(server, "b", "a")
    server.append("b", b"1", TEXT)
    first = read(server, "b")[1]["ETag"]
    life = admin(server, "/admin/streams?prefix=b")[1]
    request(server, "DELETE", "b")
    fork(server, "b", "a")
    server.append("b", b"2", TEXT)
    status, headers, body = read(server, "b", headers={"If-None-Match": first})
    assert (status, body) == (200, b"abc2") and headers["ETag"] != first
    changes = admin(server, f"/admin/streams?since={life['token']}")[1]["changes"]
    assert [change["change"] for change in changes] == ["deleted", "created"]
    old, new = (change["era"] for change in changes)
    assert old != new
    assert request(server, "DELETE", "b", headers={"If-Match": f'"{old}"'})[0] == 412
    assert request(server, "DELETE", "b", headers={"If-Match": f'"{new}"'})[0] == 204


def in_background(function, *arguments, **settings):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(function(*arguments, **settings)))
    thread.start()

    def result():
        thread.join(ds.HANG_SECONDS)
        assert answers, "no answer"
        return answers[0]

    return result


def live_readers(server):
    text = ds.http("GET", server.admin_url + "/metrics")[2].decode()
    return int(next(line.split()[1] for line in text.splitlines()
                    if line.startswith("ds_server_live_readers ")))


def test_who_waits_at_a_source_learns_of_its_soft_delete(server):
    tail = create(server, "a", b"abc")
    fork(server, "b", "a")
    source = in_background(read, server, "a", tail, LONG_POLL)
    other = in_background(read, server, "b", tail, LONG_POLL)
    ds.wait_until(lambda: live_readers(server) == 2, what="two readers that wait")
    request(server, "DELETE", "a")
    assert source()[0] == 410
    server.append("b", b"own", TEXT)
    assert other()[2] == b"own"


def test_a_long_poll_of_a_fork_gives_what_it_inherits_at_once(server):
    create(server, "a", b"abc")
    tail = fork(server, "b", "a")
    waiting = in_background(read, server, "b", tail, LONG_POLL)
    ds.wait_until(lambda: live_readers(server) == 1, what="a reader that waits")
    assert read(server, "b", ZEROS[:33], LONG_POLL)[2] == b"abc"
    server.append("a", b"not for the fork", TEXT)
    server.append("b", b"own", TEXT)
    assert waiting()[2] == b"own"


def test_sse_of_a_fork_goes_over_from_what_it_inherits_to_its_own(server):
    create(server, "a", b"[1,2]", "application/json")
    fork(server, "b", "a")
    server.append("b", b"3", "application/json")
    request(server, "POST", "b", headers={"Stream-Closed": "true"})
    text = read(server, "b", live="&live=sse")[2].decode()
    events = [line[len("data:"):] for line in text.splitlines() if line.startswith("data:[")]
    assert [n for event in events for n in json.loads(event)] == [1, 2, 3]
    assert '"streamClosed":true' in text


def test_pages_of_a_fork_run_over_the_place_of_the_fork(start_server):
    server = start_server(DS_LIMITS__MAX_READ_PAGE_BYTES="4096")
    create(server, "a", None, "application/json")
    messages = [f"{n:0500}" for n in range(60)]
    for n in range(40):
        server.append("a", json.dumps(messages[n]).encode(), "application/json")
    fork(server, "b", "a")
    for n in range(40, 60):
        server.append("b", json.dumps(messages[n]).encode(), "application/json")
    seen, offset, pages = [], "-1", 0
    while True:
        _, headers, body = read(server, "b", offset)
        assert len(body) <= 4096 + 1
        seen += json.loads(body)
        offset = headers["Stream-Next-Offset"]
        pages += 1
        if headers.get("Stream-Up-To-Date"):
            break
    assert seen == messages and pages > 5


def test_a_trim_frees_what_neither_readers_nor_forks_need(server):
    create(server, "a", b"abcd")
    tail = server.append("a", b"efgh", TEXT)["Stream-Next-Offset"]
    middle = tail[:-1] + "4"
    fork(server, "b", "a")
    assert admin(server, "/admin/trim", {"stream": "a", "before": middle}) == (
        200, {"start_offset": middle, "freed_bytes": 0})
    assert refusal(read(server, "a", tail[:-1] + "3")) == (410, "GONE")
    assert read(server, "b")[2] == b"abcdefgh" and payload_bytes(server) == 8
    assert admin(server, "/admin/trim", {"stream": "b", "before": middle})[0] == 200
    ds.wait_until(lambda: payload_bytes(server) == 4, what="the room that nobody needs")
    assert read(server, "b")[2] == b"efgh"
    fork(server, "c", "a", ZEROS, 1)
    assert read(server, "c")[2] == b"e", "all zeros is the start of what there is"
    assert refusal(put_fork(server, "d", "a", tail[:-1] + "3")) == (400, "INVALID_OFFSET")


def test_forks_are_listed_with_their_origin(server):
    tail = create(server, "a", b"abc")
    fork(server, "b", "a", tail, headers={"Stream-TTL": "5"})
    entries = {entry["name"]: entry for entry in admin(server, "/admin/streams")[1]["streams"]}
    assert entries["a"]["forks"] == 1 and entries["a"]["forked_from"] is None
    assert entries["a"]["fork_offset"] is None
    assert entries["b"]["forks"] == 0 and entries["b"]["forked_from"] == "a"
    assert entries["b"]["fork_offset"] == tail and entries["b"]["bytes"] == 0
    assert entries["b"]["ttl_seconds"] == 5
    assert admin(server, "/admin/streams?kept=x")[0] == 400


def test_an_expired_source_is_gone_and_one_without_forks_not_there(server):
    create(server, "a", b"abc", headers={"Stream-TTL": "3"})
    create(server, "x", b"abc", headers={"Stream-TTL": "3"})
    fork(server, "b", "a", headers={"Stream-TTL": "3600"})
    ds.wait_until(lambda: request(server, "HEAD", "x")[0] == 404, what="its time is over")
    assert request(server, "HEAD", "a")[0] == 410
    assert refusal(request(server, "PUT", "a")) == (409, "PATH_BLOCKED")
    assert read(server, "b")[2] == b"abc"
    ds.wait_until(lambda: names(server, "kept=true") == ["a"], what="the sweep")
    request(server, "DELETE", "b")
    ds.wait_until(lambda: request(server, "HEAD", "a")[0] == 404, what="the end of the source")


def test_forks_are_there_after_a_restart_with_all_that_they_need(start_server):
    if start_server.mode == "memory":
        return                         # nothing is
    server = start_server()
    tail = create(server, "root", b"abcd")
    fork(server, "middle", "root", tail[:-1] + "3")
    server.append("middle", b"XYZ", TEXT)
    fork(server, "leaf", "middle")
    own = server.append("leaf", b"!", TEXT)["Stream-Next-Offset"]
    fork(server, "other", "root")
    request(server, "DELETE", "middle")
    request(server, "DELETE", "root")
    admin(server, "/admin/trim", {"stream": "leaf", "before": tail[:-1] + "1"})
    for _ in range(2):
        server.stop()
        server = start_server()
        assert names(server) == ["leaf", "other"] and names(server, "kept=true") == ["middle", "root"]
        assert read(server, "leaf")[2] == b"bcXYZ!" and read(server, "other")[2] == b"abcd"
        assert read(server, "leaf", own)[0] == 200 and read(server, "other", own)[0] == 410
        assert put_fork(server, "leaf", "middle")[0] == 200
        assert refusal(request(server, "PUT", "root")) == (409, "PATH_BLOCKED")
    request(server, "DELETE", "other")
    ds.wait_until(lambda: payload_bytes(server) == 3 + 3 + 1, what="what only the other one read")
    server.stop()
    server = start_server()
    assert read(server, "leaf")[2] == b"bcXYZ!" and payload_bytes(server) == 3 + 3 + 1
    request(server, "DELETE", "leaf")
    ds.wait_until(lambda: names(server, "kept=true") == [], what="the end of all of them")
    server.stop()
    server = start_server()
    assert names(server) == [] and names(server, "kept=true") == [] and payload_bytes(server) == 0
    create(server, "root", b"new")


class Gardener(threading.Thread):
    """A client that plants forks of whatever there is, and cuts down, in any order."""

    def __init__(self, server, seed, is_over):
        super().__init__(daemon=True)
        self.server, self.is_over = server, is_over
        self.random = random.Random(seed)
        self.counts = dict.fromkeys(("forked", "read", "deleted", "trimmed"), 0)
        self.failure = None

    def run(self):
        try:
            while not self.is_over():
                self.act()
        except Exception as failure:   # told by the test
            self.failure = failure

    def name(self):
        return f"n{self.random.randrange(CHAOS_NAMES)}"

    def act(self):
        choice = self.random.randrange(100)
        name = self.name()
        if choice < 15:
            assert request(self.server, "PUT", name, body=b"<root>",
                           headers={"Content-Type": TEXT})[0] in (200, 201, 409)
        elif choice < 35:
            assert request(self.server, "POST", name, body=b"<more>",
                           headers={"Content-Type": TEXT})[0] in (204, 404, 410)
        elif choice < 70:
            self.fork(name)
        elif choice < 85:
            self.counts["deleted"] += request(self.server, "DELETE", name)[0] == 204
        elif choice < 90:
            assert read(self.server, name, "now", "&live=long-poll")[0] in (200, 204, 404, 410)
        else:
            self.trim(name)

    def fork(self, name):
        """Forks at the end of what it just read; nobody may trim that away, but all may delete."""
        source = self.name()
        status, headers, text = read(self.server, source)
        if status != 200:
            return
        status = put_fork(self.server, name, source, headers["Stream-Next-Offset"],
                          body=b"<own>", headers={"Content-Type": TEXT})[0]
        assert status in (200, 201, 400, 404, 409)
        if status != 201:
            return
        self.counts["forked"] += 1
        status, _, seen = read(self.server, name)
        assert status in (200, 404, 410)
        if status == 200:
            self.counts["read"] += 1
            assert set(seen.split(b">")) <= {b"<root", b"<more", b"<own", b""}, seen

    def trim(self, name):
        status, headers, _ = request(self.server, "HEAD", name)
        if status == 200:
            offset = headers["Stream-Next-Offset"]
            status, _ = admin(self.server, "/admin/trim", {"stream": name, "before": offset})
            assert status in (200, 404, 410)
            self.counts["trimmed"] += status == 200


def test_clients_that_fork_and_delete_in_any_order_leave_nothing_behind(start_server):
    server = start_server(DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS="20ms")
    start = time.monotonic()
    gardeners = []

    def is_over():
        """After a while, if everything was done often enough; a slow machine takes longer."""
        seconds = time.monotonic() - start
        enough = all(sum(gardener.counts[what] for gardener in gardeners) > CHAOS_COUNT
                     for what in gardeners[0].counts)
        return seconds > (CHAOS_SECONDS if enough else ds.HANG_SECONDS)

    gardeners += [Gardener(server, seed, is_over) for seed in range(12)]
    for gardener in gardeners:
        gardener.start()
    for gardener in gardeners:
        gardener.join()
    assert [gardener.failure for gardener in gardeners if gardener.failure] == []
    for what in gardeners[0].counts:
        assert sum(gardener.counts[what] for gardener in gardeners) > CHAOS_COUNT, what
    for n in range(CHAOS_NAMES):
        request(server, "DELETE", f"n{n}")
    ds.wait_until(lambda: payload_bytes(server) == 0, what="no payload")
    assert names(server) == []
    ds.wait_until(lambda: names(server, "kept=true") == [], what="no stream that is kept for its forks")
