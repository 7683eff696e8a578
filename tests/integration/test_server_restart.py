# SPDX-License-Identifier: Apache-2.0
"""What the durable modes promise over a restart, orderly or by SIGKILL: every answer is the same
afterwards."""
import base64
import json
import time

import pytest

import ds

DURABLE = ("file-durable", "file-fast", "acid")
ENDS = ("stop", "kill")
TTL_SLACK_SECONDS = 16         # how much longer a TTL may last after a crash, and a little
PAGE_BYTES = "65536"           # of reads, so that large streams take several
SHOWN = ("Content-Type", "Stream-Next-Offset", "Stream-Closed", "Stream-TTL", "Stream-Expires-At",
         "ETag")


@pytest.fixture(params=DURABLE)
def mode(request):
    return request.param


@pytest.fixture
def start_server(folder, mode):
    """start_server(**settings) -> a running DsServer on the one data directory."""
    started = []

    def start(**settings):
        process = ds.DsServer(folder, environment={
            "DS_STORAGE__MODE": mode, "DS_STORAGE__DATA_DIR": str(folder / "data"),
            "DS_LIMITS__READ_PAGE_BYTES": PAGE_BYTES,
            "DS_LIMITS__MAX_STREAM_BYTES": "100MiB", "DS_LIMITS__MAX_MEMORY_BYTES": "1GiB",
            "DS_LIMITS__MAX_CACHE_BYTES": "1MiB", **settings}, name=f"ds-server-{len(started)}")
        started.append(process)
        return process.wait_ready()

    yield start
    for process in started:
        if process.alive():
            assert process.stop() == 0, process.log_end()


def end(server, how):
    if how == "stop":
        assert server.stop() == 0, server.log_end()
    else:
        server.kill()


def request(server, method, name, query="", body=None, headers=None):
    return ds.http(method, server.stream_url(name) + query, body, headers)


def status(*arguments, **keywords):
    return request(*arguments, **keywords)[0]


def create(server, name, content_type="text/plain", body=None, **headers):
    code, reply, text = server.create(name, content_type, body, headers_of(headers))
    assert code == 201, text
    return reply["Stream-Next-Offset"]


def headers_of(keywords):
    return {key.replace("_", "-"): value for key, value in keywords.items()}


def post(server, name, body, content_type="text/plain", **headers):
    code, reply, _ = request(server, "POST", name, body=body,
                             headers={"Content-Type": content_type, **headers_of(headers)})
    return code, reply.get("Stream-Next-Offset")


def producer(identity, epoch, seq):
    return {"Producer_Id": identity, "Producer_Epoch": str(epoch), "Producer_Seq": str(seq)}


def read_all(server, name, offset="-1"):
    """(the bytes, of JSON without brackets; the last offset).  Where pages end is not promised."""
    pieces = []
    while True:
        code, headers, body = request(server, "GET", name, f"?offset={offset}")
        assert code == 200, (name, offset, code, body)
        is_json = headers["Content-Type"] == "application/json"
        if body != b"[]":
            pieces.append(body[1:-1] if is_json else body)
        offset = headers["Stream-Next-Offset"]
        if headers.get("Stream-Up-To-Date") == "true":
            return (b"," if is_json else b"").join(pieces), offset


def listed(server):
    _, _, body = ds.http("GET", f"{server.admin_url}/admin/streams?limit=1000")
    return json.loads(body)["streams"]


def trim(server, name, before):
    code, _, body = ds.http("POST", f"{server.admin_url}/admin/trim",
                            json.dumps({"stream": name, "before": before}).encode())
    assert code == 200, body
    return json.loads(body)


def answers(server, names):
    """All that can be asked without changing anything."""
    seen = {}
    for name in names:
        code, headers, _ = request(server, "HEAD", name)
        seen[name] = {"status": code, **{key: headers.get(key) for key in SHOWN}}
        if code == 200:
            seen[name]["bytes"], seen[name]["end"] = read_all(server, name)
    # What expires is compared by itself, as a TTL may last a little longer after a crash.
    seen["list"] = [{key: value for key, value in stream.items() if key != "expires_at"}
                    for stream in listed(server)]
    return seen


NAMES = ("bytes", "json", "closed", "closed-by", "trimmed", "trimmed-json", "empty", "parent", "fork",
         "grandchild", "gone", "again", "ttl", "expires", "big", "caf%C3%A9/a")


def build(server):
    """Streams in every state there is."""
    create(server, "bytes", "application/octet-stream")
    for i in range(20):
        assert post(server, "bytes", bytes([i]) * (i + 1), "application/octet-stream")[0] == 204
    create(server, "json", "application/json", b'[1, {"a": 1e400}, "x"]')
    post(server, "json", b'[[2], [3, 4]]', "application/json", Stream_Seq="b")
    for seq in range(3):
        assert post(server, "json", f'{{"seq": {seq}}}'.encode(), "application/json",
                    **producer("p", 4, seq))[0] in (200, 204)
    assert post(server, "json", b'5', "application/json", **producer("q", 0, 0))[0] in (200, 204)
    create(server, "closed", body=b"all of it", Stream_Closed="true")
    create(server, "closed-by")
    post(server, "closed-by", b"last", Stream_Closed="true", **producer("closer", 1, 0))
    for name, kind, message in (("trimmed", "text/plain", b"0123456789"),
                                ("trimmed-json", "application/json", b'["a", "b", "c"]')):
        create(server, name, kind)
        offsets = [post(server, name, message, kind)[1] for _ in range(10)]
        trim(server, name, offsets[4])
    create(server, "empty")
    create(server, "parent", "application/json", b'["p1", "p2", "p3"]')
    middle = request(server, "HEAD", "parent")[1]["Stream-Next-Offset"]
    post(server, "parent", b'["p4"]', "application/json")
    create(server, "fork", "application/json", Stream_Forked_From="/v1/stream/parent",
           Stream_Fork_Offset=middle)
    post(server, "fork", b'["f1"]', "application/json")
    create(server, "grandchild", "application/json", Stream_Forked_From="/v1/stream/fork")
    post(server, "grandchild", b'["g1", "g2"]', "application/json")
    assert status(server, "DELETE", "parent") == 204
    assert status(server, "HEAD", "parent") == 410
    create(server, "gone", body=b"never seen again")
    assert status(server, "DELETE", "gone") == 204
    create(server, "again", body=b"a former life")
    assert status(server, "DELETE", "again") == 204
    create(server, "again", body=b"this one")
    create(server, "ttl", body=b"sliding", Stream_TTL="3600")
    create(server, "expires", body=b"fixed", Stream_Expires_At="2099-01-01T00:00:00Z")
    create(server, "big", "application/octet-stream")
    for i in range(30):
        assert post(server, "big", bytes([65 + i]) * 50_000, "application/octet-stream")[0] == 204
    create(server, "caf%C3%A9/a", "text/plain; charset=utf-8", "é".encode())


def check_rules(server):
    """What is remembered for judging."""
    assert post(server, "json", b'{"seq": 2}', "application/json", **producer("p", 4, 2))[0] == 204
    assert post(server, "json", b'{"seq": 4}', "application/json", **producer("p", 4, 4))[0] == 409
    assert post(server, "json", b'{"seq": 0}', "application/json", **producer("p", 3, 0))[0] == 403
    assert post(server, "json", b'6', "application/json", **producer("q", 0, 1))[0] in (200, 204)
    assert post(server, "json", b'7', "application/json", Stream_Seq="a")[0] == 409
    assert post(server, "json", b'7', "application/json", Stream_Seq="c")[0] == 204
    assert post(server, "closed", b"more")[0] == 409
    assert post(server, "closed-by", b"more", **producer("closer", 1, 1))[0] == 409
    assert post(server, "closed-by", b"last", Stream_Closed="true",
                **producer("closer", 1, 0))[0] == 204
    assert status(server, "GET", "trimmed", f"?offset={'0' * 16}_{'0' * 16}") == 410
    assert server.create("parent", "application/json")[0] == 409
    assert server.create("ttl", "text/plain", headers={"Stream-TTL": "3600"})[0] == 200
    assert server.create("ttl", "text/plain")[0] == 409
    assert read_all(server, "fork")[0] == b'"p1","p2","p3","f1"'
    assert read_all(server, "grandchild")[0] == b'"p1","p2","p3","f1","g1","g2"'


def expiry(server, name):
    text = next(stream for stream in listed(server) if stream["name"] == name)["expires_at"]
    return time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


@pytest.mark.parametrize("how", ENDS)
def test_every_answer_is_the_same_after_a_restart(start_server, how):
    server = start_server()
    build(server)
    before = answers(server, NAMES)
    ttl = expiry(server, "ttl")
    end(server, how)
    server = start_server()
    assert answers(server, NAMES) == before
    assert -1 <= expiry(server, "ttl") - ttl <= TTL_SLACK_SECONDS
    check_rules(server)
    # And once more, now with what recovery had made of it.
    before = answers(server, NAMES)
    end(server, how)
    server = start_server()
    assert answers(server, NAMES) == before


@pytest.mark.parametrize("how", ENDS)
def test_soft_deleted_streams_go_with_their_last_fork_after_a_restart(start_server, how):
    server = start_server()
    create(server, "parent", body=b"from the parent")
    create(server, "fork", Stream_Forked_From="/v1/stream/parent")
    create(server, "grandchild", Stream_Forked_From="/v1/stream/fork")
    assert status(server, "DELETE", "parent") == 204
    assert status(server, "DELETE", "fork") == 204
    end(server, how)
    server = start_server()
    assert status(server, "HEAD", "parent") == status(server, "HEAD", "fork") == 410
    assert read_all(server, "grandchild")[0] == b"from the parent"
    assert status(server, "DELETE", "grandchild") == 204
    ds.wait_until(lambda: status(server, "HEAD", "parent") == status(server, "HEAD", "fork") == 404)
    end(server, how)
    server = start_server()
    assert listed(server) == []


@pytest.mark.parametrize("how", ENDS)
def test_what_expires_while_the_server_is_down_is_gone(start_server, how):
    server = start_server()
    at = time.time() + 2
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03}Z"
    create(server, "short", body=b"x", Stream_Expires_At=text)
    create(server, "long", body=b"x", Stream_TTL="1000")
    end(server, how)
    ds.wait_until(lambda: time.time() > at)
    server = start_server()
    assert status(server, "HEAD", "short") == 404
    assert status(server, "HEAD", "long") == 200
    create(server, "short", body=b"another life")
    assert read_all(server, "short")[0] == b"another life"


@pytest.mark.parametrize("how", ENDS)
def test_offsets_of_a_life_that_ended_are_never_served_again(start_server, how):
    server = start_server()
    offsets = []
    for life in range(3):
        offsets.append(create(server, "name", body=b"x" * (life + 1)))
        assert status(server, "DELETE", "name") == 204
        end(server, how)
        server = start_server()
    now = create(server, "name", body=b"yyyyyy")
    assert sorted([*offsets, now]) == [*offsets, now]
    for offset in offsets:
        assert status(server, "GET", "name", f"?offset={offset}") == 410


def test_another_mode_or_shard_count_is_refused(start_server, folder, mode):
    server = start_server()
    create(server, "name", body=b"x")
    end(server, "stop")
    other = "acid" if mode != "acid" else "file-durable"
    count = "DS_STORAGE__ACID_SHARD_COUNT" if mode == "acid" else "DS_STORAGE__WAL_SHARD_COUNT"
    for settings in ({"DS_STORAGE__MODE": other}, {count: "8"}):
        refused = ds.DsServer(folder, environment={
            "DS_STORAGE__MODE": mode, "DS_STORAGE__DATA_DIR": str(folder / "data"), **settings},
            name="refused")
        assert refused.wait() != 0
        assert "start.failed" in refused.log_text() or "config" in refused.log_text()
    server = start_server()
    assert read_all(server, "name")[0] == b"x"


def test_data_keeps_its_shard_count_when_the_setting_is_gone(start_server, mode):
    if mode == "acid":
        pytest.skip("has a number of its own by default")
    server = start_server(DS_STORAGE__WAL_SHARD_COUNT="8")
    create(server, "name", body=b"x")
    end(server, "stop")
    server = start_server()
    assert read_all(server, "name")[0] == b"x"


def test_many_streams_come_back(start_server):
    server = start_server()
    for i in range(300):
        create(server, f"many/{i}", body=f"stream {i}".encode())
    before = listed(server)
    end(server, "kill")
    server = start_server()
    assert listed(server) == before
    for i in (0, 150, 299):
        assert read_all(server, f"many/{i}")[0] == f"stream {i}".encode()


def test_sse_of_base64_goes_on_over_a_restart(start_server):
    """A reader that resumes by its offset neither misses nor repeats a byte."""
    server = start_server()
    create(server, "bytes", "application/octet-stream", body=b"\x00\x01")
    _, offset = read_all(server, "bytes")
    end(server, "kill")
    server = start_server()
    post(server, "bytes", b"\x02\x03", "application/octet-stream", Stream_Closed="true")
    _, _, body = request(server, "GET", "bytes", f"?offset={offset}&live=sse")
    assert base64.b64encode(b"\x02\x03") in body
    assert base64.b64encode(b"\x00\x01") not in body
