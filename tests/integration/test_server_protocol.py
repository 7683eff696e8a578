# SPDX-License-Identifier: Apache-2.0
"""What ds-server promises beyond the conformance suite: eras, the retained start, Last-Event-ID, the
admin requests, limits, many readers on many loops, slow readers, and an orderly end."""
import base64
import http.client
import json
import re
import socket
import threading
import time
from contextlib import contextmanager

import pytest

import ds

TEXT = {"Content-Type": "text/plain"}
ZEROS = "0" * 16 + "_" + "0" * 16
READ_SECONDS = 30              # a guard against hangs


@pytest.fixture
def start_server(folder):
    """start_server(**settings) -> a running DsServer; stopped afterwards, and that must be orderly."""
    started = []

    def start(**settings):
        process = ds.DsServer(folder, environment={
            "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "500ms",
            "DS_SERVER__THREADS": "3", **settings}, name=f"ds-server-{len(started)}")
        started.append(process)
        return process.wait_ready()

    yield start
    for process in started:
        if process.alive():
            assert process.stop() == 0, process.log_end()


@pytest.fixture
def server(start_server):
    return start_server()


def request(server, method, name, query="", body=None, headers=None):
    return ds.http(method, server.stream_url(name) + query, body, headers)


def create(server, name, content_type="text/plain", body=None, headers=None):
    status, reply, text = server.create(name, content_type, body, headers)
    assert status == 201, text
    return reply["Stream-Next-Offset"]


def append(server, name, body, content_type="text/plain"):
    return server.append(name, body, content_type)["Stream-Next-Offset"]


def read(server, name, offset="-1", headers=None, live=""):
    return request(server, "GET", name, f"?offset={offset}{live}", headers=headers)


def code(text):
    return json.loads(text)["code"]


def admin(server, path, body=None):
    status, _, text = ds.http("POST" if body else "GET", server.admin_url + path,
                              json.dumps(body).encode() if body else None)
    return status, json.loads(text)


def trim(server, name, before):
    return admin(server, "/admin/trim", {"stream": name, "before": before})


def listed(server, name):
    _, reply = admin(server, f"/admin/streams?prefix={name}")
    return reply["streams"][0]


class Sse:
    """One SSE connection; events are (name, id, data)."""

    def __init__(self, server, name, offset="-1", headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=READ_SECONDS)
        self.connection.request("GET", f"/v1/stream/{name}?offset={offset}&live=sse",
                                headers=headers or {})
        self.reply = self.connection.getresponse()
        self.status = self.reply.status

    def next(self):
        """The next event; None at the end of the body."""
        name, ident, data = None, None, []
        while True:
            line = self.reply.readline()
            if not line:
                return None
            line = line.decode().rstrip("\n")
            if line == "" and name:
                return name, ident, "\n".join(data)
            field, _, value = line.partition(":")
            if field == "event":
                name = value.strip()
            elif field == "id":
                assert name is None, "id stands before event"
                ident = value.strip()
            elif field == "data":
                data.append(value)

    def pair(self):
        """(data or None, control) up to the next control event; None at the end."""
        event = self.next()
        if event is None:
            return None
        data = None
        if event[0] == "data":
            data = event[2]
            event = self.next()
        assert event[0] == "control"
        control = json.loads(event[2])
        assert event[1] == control["streamNextOffset"]
        return data, control

    def close(self):
        self.connection.close()


@contextmanager
def sse(server, name, offset="-1", headers=None):
    stream = Sse(server, name, offset, headers)
    try:
        yield stream
    finally:
        stream.close()


# ---- offsets, eras, the retained start ----

def test_an_offset_of_a_deleted_stream_is_gone_in_its_successor(server):
    create(server, "a")
    old = append(server, "a", b"one")
    assert request(server, "DELETE", "a")[0] == 204
    new = create(server, "a", body=b"other")
    assert new > old, "the era rises, so offsets do"
    for live in ("", "&live=long-poll", "&live=sse"):
        status, _, text = read(server, "a", old, live=live)
        assert (status, code(text)) == (410, "GONE")
    assert read(server, "a", ZEROS)[2] == b"other"


def test_offsets_of_an_earlier_run_of_the_server_are_gone(start_server):
    server = start_server()
    old = create(server, "a", body=b"one")
    server.stop()
    server = start_server()
    assert create(server, "a", body=b"one") > old
    assert read(server, "a", old)[0] == 410


@pytest.mark.parametrize("live", ["", "&live=long-poll", "&live=sse"])
def test_an_offset_past_the_tail_is_gone(server, live):
    tail = create(server, "a", body=b"12345")
    past = tail[:-1] + "6"
    assert read(server, "a", past, live=live)[0] == 410
    assert read(server, "a", "9" * 16 + "_" + "9" * 16, live=live)[0] == 410


@pytest.mark.parametrize("offset", ["", "0", "x", "-2", "NOW", "1_2", "0" * 33, "0" * 16 + "_" + "A" * 16,
                                    "0" * 16 + "_" + "0" * 17, "%00", "-1%20", ZEROS + "%0a",
                                    "-1&offset=-1"])
def test_a_malformed_offset_is_refused(server, offset):
    create(server, "a")
    assert read(server, "a", offset)[0] == 400


def test_a_trim_moves_the_retained_start(server):
    start = create(server, "a", "application/json")
    offsets = [append(server, "a", json.dumps(n).encode(), "application/json") for n in range(5)]
    status, reply = trim(server, "a", offsets[2])
    assert (status, reply) == (200, {"start_offset": offsets[2], "freed_bytes": 6})
    for gone in (start, ZEROS, offsets[0], offsets[1]):
        assert read(server, "a", gone)[0] == 410
    assert json.loads(read(server, "a", offsets[2])[2]) == [3, 4]
    assert json.loads(read(server, "a")[2]) == [3, 4], "-1 is the start of what there is"
    entry = listed(server, "a")
    assert entry["start_offset"] == offsets[2] and entry["next_offset"] == offsets[4]
    assert entry["messages"] == 2 and entry["bytes"] == 4
    assert trim(server, "a", offsets[0])[1] == {"start_offset": offsets[2], "freed_bytes": 0}
    assert json.loads(read(server, "a", offsets[4])[2]) == []


def test_a_bad_trim_is_refused(server):
    tail = create(server, "a", body=b"abc")
    assert trim(server, "a", tail[:-1] + "4")[0] == 410
    assert trim(server, "a", "1" * 16 + tail[16:])[0] == 410
    assert trim(server, "b", tail)[0] == 404
    assert trim(server, "a", "now")[0] == 400
    assert admin(server, "/admin/trim", {"before": tail})[0] == 400
    assert trim(server, "a" * 20000, tail)[0] == 400
    assert ds.http("POST", server.admin_url + "/admin/trim", b"{")[0] == 400
    assert ds.http("GET", server.admin_url + "/admin/trim")[0] == 405
    assert ds.http("POST", server.url + "/admin/trim", b"{}")[0] == 404, "not on the main port"


def test_a_trim_makes_room_again(start_server):
    server = start_server(DS_LIMITS__MAX_STREAM_BYTES="1000", DS_LIMITS__MAX_MEMORY_BYTES="1500")
    create(server, "a")
    create(server, "b")
    for name in ("a", "b"):
        tail = append(server, name, b"x" * 700)
        status, _, text = request(server, "POST", name, body=b"x" * 301, headers=TEXT)
        assert (status, code(text)) == (413, "PAYLOAD_TOO_LARGE")
    assert trim(server, "b", tail)[1]["freed_bytes"] == 700
    append(server, "a", b"x" * 300)
    append(server, "b", b"x" * 500)
    assert request(server, "POST", "b", body=b"x", headers=TEXT)[0] == 413, "all together are full"
    request(server, "DELETE", "a")
    append(server, "b", b"x" * 500)


def test_nearly_full_is_said_once(start_server):
    server = start_server(DS_LIMITS__MAX_MEMORY_BYTES="1000")
    create(server, "a")
    append(server, "a", b"x" * 790)
    assert "server.store_nearly_full" not in server.log_text()
    append(server, "a", b"x" * 50)
    append(server, "a", b"x" * 50)
    assert server.log_text().count("server.store_nearly_full") == 1


def test_streams_are_limited(start_server):
    server = start_server(DS_LIMITS__MAX_STREAMS="2")
    create(server, "a")
    create(server, "b")
    status, _, text = server.create("c")
    assert (status, code(text)) == (429, "TOO_MANY_STREAMS")
    assert server.create("a", "text/plain")[0] == 200
    request(server, "DELETE", "a")
    create(server, "c")


@pytest.mark.parametrize("field, limit", [("Producer-Id", 256), ("Stream-Seq", 1024)])
def test_fields_of_an_append_are_limited(server, field, limit):
    create(server, "a")
    producer = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
    for length, expected in ((limit, 200), (limit + 1, 400)):
        fields = {**TEXT, **producer, field: "x" * length}
        assert request(server, "POST", "a", body=b"x", headers=fields)[0] == expected


def test_a_content_type_is_limited(server):
    assert server.create("a", "text/" + "x" * 251)[0] == 201
    assert server.create("b", "text/" + "x" * 252)[0] == 400


def test_a_json_message_is_limited_in_depth(server):
    create(server, "a", "application/json")
    for depth, expected in ((511, 204), (512, 400)):
        body = b'{"a":' * depth + b"1" + b"}" * depth
        fields = {"Content-Type": "application/json"}
        assert request(server, "POST", "a", body=body, headers=fields)[0] == expected
    assert read(server, "a")[2].count(b"{") == 511


# ---- names ----

@pytest.mark.parametrize("name, why", [
    ("", "empty"), ("a/", "empty segment"), ("a//b", "empty segment"), ("a%2Fb", "slash"),
    ("a/%2e%2e/b", '".."'), ("a%00", "control"), ("a%0A", "control"), ("a%ff", "UTF-8"),
    ("a%4", "hex"), ("a" * 1025, "1024 bytes"), ("a/b/c/d/e/f/g/h/i", "8 segments")])
def test_a_bad_name_is_refused_with_its_reason(server, name, why):
    for method in ("PUT", "GET", "POST", "DELETE"):
        status, _, text = request(server, method, name, body=b"x" if method == "POST" else None)
        problem = json.loads(text)
        assert (status, problem["code"]) == (400, "INVALID_STREAM_NAME")
        assert why in problem["detail"]


def test_two_spellings_are_one_name(server):
    create(server, "caf%C3%A9/a%62", body=b"x")
    assert read(server, "caf%c3%a9/%61b")[2] == b"x"
    assert listed(server, "caf%C3%A9")["name"] == "café/ab"


def test_reserved_names_are_no_streams(server):
    for name in ("__ds", "__ds/x", "__ds/subscriptions/x/y"):
        assert server.create(name, "text/plain")[0] == 404, name
    assert create(server, "__dsx")


# ---- tags, conditions ----

def test_a_tag_changes_with_closing_and_with_the_stream(server):
    create(server, "a", body=b"x")
    tag = read(server, "a")[1]["ETag"]
    assert read(server, "a", headers={"If-None-Match": f'"y", {tag}'})[0] == 304
    assert request(server, "POST", "a", headers={"Stream-Closed": "true"})[0] == 204
    status, headers, _ = read(server, "a", headers={"If-None-Match": tag})
    assert status == 200 and headers["Stream-Closed"] == "true"
    request(server, "DELETE", "a")
    create(server, "a", body=b"y")
    status, headers, body = read(server, "a", headers={"If-None-Match": tag})
    assert (status, body) == (200, b"y")


def test_delete_with_another_era_deletes_nothing(server):
    old = create(server, "a")[:16]
    request(server, "DELETE", "a")
    era = create(server, "a")[:16]
    assert request(server, "DELETE", "a", headers={"If-Match": f'"{old}"'})[0] == 412
    assert request(server, "HEAD", "a")[0] == 200
    assert request(server, "DELETE", "a", headers={"If-Match": f'"{era}"'})[0] == 204
    assert request(server, "DELETE", "a", headers={"If-Match": "*"})[0] == 404


# ---- content ----

def test_json_keeps_its_bytes(server):
    create(server, "a", "application/json")
    append(server, "a", b' [ 12345678901234567890123, {"b" : 1.50, "a":"\\u00e9"} ,[1] ] ',
           "application/json")
    assert read(server, "a")[2] == b'[12345678901234567890123,{"b" : 1.50, "a":"\\u00e9"},[1]]'


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
def test_pages_end_with_a_message_and_only_the_last_is_up_to_date(start_server, content_type):
    server = start_server(DS_LIMITS__MAX_READ_PAGE_BYTES="1024")
    create(server, "a", content_type)
    sent = [json.dumps({"n": n, "pad": "x" * (n * 37 % 500)}).encode() for n in range(200)]
    for message in sent:
        append(server, "a", message, content_type)
    append(server, "a", json.dumps("y" * 5000).encode(), content_type)
    sent.append(json.dumps("y" * 5000).encode())
    got, offset, pages = b"", "-1", 0
    while True:
        status, headers, body = read(server, "a", offset)
        assert status == 200 and (len(body) <= 1024 + 2 or body.count(b"y") == 5000)
        if content_type == "application/json":
            got += b"".join(json.dumps(m).encode() for m in json.loads(body))
        else:
            got += body
        assert headers["Stream-Next-Offset"] > offset
        offset, pages = headers["Stream-Next-Offset"], pages + 1
        if headers["Stream-Up-To-Date"]:
            break
    assert got == b"".join(sent) and pages > 20


def test_bytes_over_sse_from_within_an_append_are_complete(server):
    create(server, "a", "application/octet-stream", bytes(range(256)))
    offset = read(server, "a")[1]["Stream-Next-Offset"][:17] + "0000000000000003"
    with sse(server, "a", offset) as stream:
        assert stream.reply.headers["Stream-SSE-Data-Encoding"] == "base64"
        assert base64.b64decode(stream.pair()[0]) == bytes(range(3, 256))


# ---- live reads ----

def test_a_long_poll_ends_when_its_stream_does(start_server):
    server = start_server(DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS="60s")
    for name, end, status in (("a", {"method": "DELETE"}, 404),
                              ("b", {"method": "POST", "headers": {"Stream-Closed": "true"}}, 204)):
        tail = create(server, name)
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(read(server, name, tail, live="&live=long-poll")))
        thread.start()
        ds.wait_until(lambda: b"ds_server_live_readers 1" in metrics(server))
        request(server, name=name, **end)
        thread.join(READ_SECONDS)
        assert answers[0][0] == status
        if status == 204:
            assert answers[0][1]["Stream-Closed"] == "true"
        ds.wait_until(lambda: b"ds_server_live_readers 0" in metrics(server))


def metrics(server):
    return ds.http("GET", server.admin_url + "/metrics")[2]


def test_readers_on_every_loop_get_every_message_in_order(server):
    readers, messages = 40, 300
    create(server, "a", "application/json")
    failures = []

    def follow():
        try:
            got, last = [], ""
            with sse(server, "a") as stream:
                while (pair := stream.pair()) is not None:
                    data, control = pair
                    got += json.loads(data) if data else []
                    assert control["streamNextOffset"] > last or data is None
                    last = control["streamNextOffset"]
                    if control.get("streamClosed"):
                        assert "streamCursor" not in control and control["upToDate"]
                        break
                    assert re.fullmatch(r"\d+", control["streamCursor"])
                assert got == list(range(messages)), got
                assert stream.next() is None, "the body ends with the stream"
                # The connection is usable again.
                stream.connection.request("GET", "/healthz")
                assert stream.connection.getresponse().status == 200
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=follow) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for n in range(messages):
        append(server, "a", json.dumps(n).encode(), "application/json")
    request(server, "POST", "a", headers={"Stream-Closed": "true"})
    for thread in threads:
        thread.join(READ_SECONDS)
    assert not failures, failures[0]
    ds.wait_until(lambda: b"ds_server_live_readers 0" in metrics(server))


def test_many_writers_and_readers_agree(server):
    """Writers on many connections; an SSE reader, a long-poll reader and a final read see the same."""
    create(server, "a", "application/json")
    writers, each = 6, 100
    seen = {"sse": [], "poll": []}

    def write(mark):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=READ_SECONDS)
        for n in range(each):
            connection.request("POST", "/v1/stream/a", json.dumps([mark, n]).encode()
                               if n % 2 else json.dumps([[mark, n]]).encode(),
                               {"Content-Type": "application/json"})
            reply = connection.getresponse()
            reply.read()
            assert reply.status == 204
        connection.close()

    def follow_sse():
        with sse(server, "a") as stream:
            while (pair := stream.pair()) is not None:
                seen["sse"] += json.loads(pair[0]) if pair[0] else []
                if pair[1].get("streamClosed"):
                    return

    def follow_poll():
        offset = "-1"
        while True:
            status, headers, body = read(server, "a", offset, live="&live=long-poll")
            seen["poll"] += json.loads(body) if status == 200 else []
            offset = headers["Stream-Next-Offset"]
            if headers["Stream-Closed"]:
                return

    readers = [threading.Thread(target=f) for f in (follow_sse, follow_poll)]
    threads = [threading.Thread(target=write, args=(mark,)) for mark in range(writers)]
    for thread in readers + threads:
        thread.start()
    for thread in threads:
        thread.join(READ_SECONDS)
    request(server, "POST", "a", headers={"Stream-Closed": "true"})
    for thread in readers:
        thread.join(READ_SECONDS)
    stored = json.loads(read(server, "a")[2])
    assert seen["sse"] == stored and seen["poll"] == stored
    flat = [m for m in stored if isinstance(m, list)]
    numbers = [m for m in stored if not isinstance(m, list)]
    assert len(flat) == writers * each // 2 and len(numbers) == writers * each


def test_last_event_id_leads_further_than_the_url(server):
    create(server, "a", "application/json")
    offsets = [append(server, "a", json.dumps(n).encode(), "application/json") for n in range(4)]

    def first(offset, event_id):
        with sse(server, "a", offset, {"Last-Event-ID": event_id}) as stream:
            data, _ = stream.pair()
            return data, stream.reply.headers["Cache-Control"]

    resumed = ("[2,3]", "private, no-store")
    assert first("-1", offsets[1]) == resumed
    assert first("now", offsets[1]) == resumed
    assert first(offsets[0], offsets[1]) == resumed
    assert first(offsets[2], offsets[1]) == ("[3]", "no-cache"), "never back"
    assert first("-1", "1" * 16 + offsets[1][16:]) == ("[0,1,2,3]", "no-cache"), "another era"
    assert first("-1", "nonsense") == ("[0,1,2,3]", "no-cache")
    assert request(server, "GET", "a", "?live=sse", headers={"Last-Event-ID": offsets[1]})[0] == 400


def test_an_sse_connection_ends_after_its_lifetime_and_is_used_again(start_server):
    server = start_server(DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS="1s")
    create(server, "a", "application/json", b"[1]")
    with sse(server, "a") as stream:
        started = time.monotonic()
        assert stream.pair()[0] == "[1]"
        assert stream.pair() is None
        assert 0.8 <= time.monotonic() - started < 10
        stream.connection.request("GET", "/v1/stream/a?offset=-1")
        assert stream.connection.getresponse().read() == b"[1]"


def test_an_idle_sse_connection_is_kept_alive_by_a_comment(server):
    create(server, "a")
    with sse(server, "a") as stream:
        stream.pair()
        started = time.monotonic()
        assert stream.reply.readline() == b":\n"
        assert 14 < time.monotonic() - started < READ_SECONDS
        append(server, "a", b"x")
        assert stream.pair()[0] == "x"


def test_an_sse_event_is_no_larger_than_its_limit(server):
    create(server, "a", "application/json")
    for _ in range(10):
        append(server, "a", json.dumps(["x" * 1000] * 100).encode(), "application/json")
    count = 0
    with sse(server, "a") as stream:
        up_to_date = False
        while not up_to_date:
            data, control = stream.pair()
            assert len(data) < 256 * 1024 + 10
            count += len(json.loads(data))
            up_to_date = control.get("upToDate", False)
    assert count == 1000


def test_a_message_larger_than_the_backlog_limit_arrives(start_server):
    server = start_server(DS_LIMITS__MAX_SUBSCRIBER_BACKLOG_BYTES="4096")
    create(server, "a")
    append(server, "a", b"x" * 3_000_000)
    append(server, "a", b"small")
    got = ""
    with sse(server, "a") as stream:
        while len(got) < 3_000_005:
            got += stream.pair()[0] or ""
    assert got == "x" * 3_000_000 + "small"


def test_a_slow_reader_is_cut_and_resumes_without_loss(start_server):
    server = start_server(DS_LIMITS__MAX_SUBSCRIBER_BACKLOG_BYTES="1MiB",
                          DS_LIMITS__MAX_STREAM_BYTES="100MiB")
    offset = create(server, "a", "application/json")
    slow = socket.create_connection(("127.0.0.1", server.port), timeout=READ_SECONDS)
    slow.sendall(f"GET /v1/stream/a?offset={offset}&live=sse HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    ds.wait_until(lambda: b"ds_server_live_readers 1" in metrics(server))

    sent = 0

    def is_cut():
        nonlocal sent
        append(server, "a", json.dumps([{"n": sent, "pad": "x" * 60_000}]).encode(),
               "application/json")
        sent += 1
        return b"ds_server_slow_readers_cut_total 1" in metrics(server)

    ds.wait_until(is_cut, what="the slow reader to be cut", pause=0)
    ds.wait_until(lambda: b"ds_server_live_readers 0" in metrics(server))
    received = b""
    try:
        while part := slow.recv(1 << 20):
            received += part
    except ConnectionResetError:
        pass
    slow.close()
    assert not received.endswith(b"0\r\n\r\n"), "a cut body must not look whole"

    # What came whole ends with a control event; from its offset on nothing is missing.
    controls = re.findall(rb"event: control\ndata:(\{[^}]+\})\n\n", received)
    last = json.loads(controls[-1])["streamNextOffset"]
    first_part = len(re.findall(rb'"n": ?\d+', received[:received.rindex(controls[-1])]))
    rest = []
    while True:
        _, headers, body = read(server, "a", last)
        rest += [m["n"] for m in json.loads(body)]
        last = headers["Stream-Next-Offset"]
        if headers["Stream-Up-To-Date"]:
            break
    assert rest == list(range(first_part, sent))


def test_sigterm_ends_live_reads_in_order(start_server):
    server = start_server(DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS="60s")
    tail = create(server, "a", "application/json")
    answers = []
    streams = [Sse(server, "a") for _ in range(6)]
    for stream in streams:
        assert stream.pair()[1]["upToDate"]
    polls = [threading.Thread(
        target=lambda: answers.append(read(server, "a", tail, live="&live=long-poll")))
        for _ in range(6)]
    for poll in polls:
        poll.start()
    ds.wait_until(lambda: b"ds_server_live_readers 12" in metrics(server))
    assert server.stop() == 0
    for poll in polls:
        poll.join(READ_SECONDS)
    assert [answer[0] for answer in answers] == [204] * 6
    for stream in streams:
        assert stream.next() is None, "ended with the final chunk, not cut"
        stream.close()


# ---- admin ----

def test_streams_are_listed_in_pages(server):
    for n in range(25):
        create(server, f"p/{n:02}", "application/json", b"[1,2]")
    create(server, "q", headers={"Stream-TTL": "3600"})
    names, after = [], ""
    while True:
        status, reply = admin(server, f"/admin/streams?prefix=p/&limit=10&after={after}")
        assert status == 200 and len(reply["streams"]) <= 10
        names += [entry["name"] for entry in reply["streams"]]
        if reply["next"] is None:
            break
        after = reply["next"]
    assert names == [f"p/{n:02}" for n in range(25)]
    entry = listed(server, "p/07")
    assert set(entry) == {"name", "content_type", "next_offset", "start_offset", "closed", "messages",
                          "bytes", "created_at", "updated_at", "ttl_seconds", "expires_at",
                          "forks", "forked_from", "fork_offset"}
    assert entry["messages"] == 2 and entry["content_type"] == "application/json"
    assert entry["ttl_seconds"] is None and entry["expires_at"] is None and not entry["closed"]
    entry = listed(server, "q")
    assert entry["ttl_seconds"] == 3600 and entry["expires_at"] > entry["created_at"]
    assert admin(server, "/admin/streams?limit=0")[0] == 400
    assert admin(server, "/admin/streams?limit=1001")[0] == 400
    assert admin(server, "/admin/streams?prefix=%zz")[0] == 400


def test_changes_are_told_to_who_waits(start_server):
    server = start_server(DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS="60s")
    create(server, "old")
    token = admin(server, "/admin/streams")[1]["token"]
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(admin(server, f"/admin/streams?since={token}")))
    waiting.start()
    era = create(server, "a")[:16]
    waiting.join(READ_SECONDS)
    status, reply = answers[0]
    assert (status, reply["changes"]) == (200, [{"change": "created", "name": "a", "era": era}])
    request(server, "POST", "a", headers={"Stream-Closed": "true"})
    request(server, "DELETE", "a")
    changes = admin(server, f"/admin/streams?since={token}")[1]["changes"]
    assert [change["change"] for change in changes] == ["created", "closed", "deleted"]


def test_a_follower_waits_no_longer_than_a_long_poll_and_not_for_old_tokens(server):
    token = admin(server, "/admin/streams")[1]["token"]
    assert admin(server, f"/admin/streams?since={token}")[1] == {"changes": [], "token": token}
    assert admin(server, "/admin/streams?since=" + "1" * 16 + "_" + "0" * 16)[0] == 410
    assert admin(server, "/admin/streams?since=x")[0] == 400


def test_an_expired_stream_is_removed_and_told(server):
    create(server, "a", body=b"x" * 100, headers={"Stream-TTL": "3"})
    token = admin(server, "/admin/streams")[1]["token"]
    ds.wait_until(lambda: request(server, "HEAD", "a")[0] == 404)
    ds.wait_until(lambda: b"ds_server_payload_bytes 0\n" in metrics(server))
    changes = admin(server, f"/admin/streams?since={token}")[1]["changes"]
    assert [(change["change"], change["name"]) for change in changes] == [("deleted", "a")]
