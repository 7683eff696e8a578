# SPDX-License-Identifier: Apache-2.0
"""The file modes from outside: a disk without room, damage, many streams with few descriptors.
What all durable modes promise is in test_server_restart.py."""
import http.client
import json
import os
import subprocess
import time

import pytest

import ds
from small_disk import SmallDisk

BODY = b"x" * 20_000
DISK_BYTES = 8 << 20
SECONDS = 30
MODES = ("file-durable", "file-fast")


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def start(folder, mode):
    """start(binary=..., **settings): a server on this test's directory; ends with the test."""
    started = []

    def begin(data=None, binary=None, wait=True, **settings):
        server = ds.DsServer(folder, binary=binary, name=f"ds-server-{len(started)}", environment={
            "DS_STORAGE__MODE": mode, "DS_STORAGE__DATA_DIR": str(data or folder / "data"),
            "DS_STORAGE__WAL_SHARD_COUNT": "1", "DS_STORAGE__WAL_SEGMENT_BYTES": "64KiB",
            "DS_STORAGE__CHECKPOINT_INTERVAL": "50ms", "DS_LIMITS__MAX_STREAM_BYTES": "100MiB",
            "DS_LIMITS__MAX_MEMORY_BYTES": "1GiB", "DS_LIMITS__MAX_CACHE_BYTES": "0", **settings})
        started.append(server)
        return server.wait_ready() if wait else server

    yield begin
    for server in started:
        if server.alive():
            server.kill()


@pytest.fixture
def disk(folder):
    disk = SmallDisk(folder, DISK_BYTES)
    yield disk
    disk.close()


def create(server, name):
    status, _, text = server.create(name, "application/octet-stream")
    assert status == 201, text


def append(server, name, seq, body=BODY):
    return ds.http("POST", server.stream_url(name), body,
                   {"Content-Type": "application/octet-stream", "Producer-Id": "p",
                    "Producer-Epoch": "0", "Producer-Seq": str(seq)})


def read(server, name):
    pieces, offset = [], "-1"
    while True:
        status, headers, body = ds.http("GET", f"{server.stream_url(name)}?offset={offset}")
        assert status == 200, body
        pieces.append(body)
        offset = headers["Stream-Next-Offset"]
        if headers.get("Stream-Up-To-Date") == "true":
            return b"".join(pieces)


def metric(server, name):
    text = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def numbered(seq):
    return b"%06d" % seq * 3000


def append_until_full(server, name, seq=0):
    """The sequence number of the first append that found no room."""
    deadline = time.monotonic() + SECONDS
    while True:
        status, _, text = append(server, name, seq, numbered(seq))
        if status == 507:
            assert json.loads(text)["code"] == "INSUFFICIENT_STORAGE"
            return seq
        assert status == 200 and time.monotonic() < deadline, text
        seq += 1


def wait_for_room(server, name, seq):
    def stored():
        status, _, text = append(server, name, seq, numbered(seq))
        assert status in (200, 507), text
        return status == 200
    server.wait_for(stored, "room", SECONDS)


def test_without_room_appends_are_refused_whole_and_go_on_by_themselves(start, disk):
    server = start(disk.path / "data", disk.binary)
    create(server, "name")
    assert append(server, "name", 0, numbered(0))[0] == 200
    disk.fill()
    seq = append_until_full(server, "name", 1)
    before = read(server, "name")
    assert before == b"".join(numbered(i) for i in range(seq))
    for _ in range(3):
        assert append(server, "name", seq, numbered(seq))[0] == 507
    assert read(server, "name") == before
    server.wait_for(lambda: "server.checkpoint_failed" in server.log_text(), "the warning")
    assert metric(server, "ds_server_checkpoints_failed_total") > 0
    disk.make_room()
    wait_for_room(server, "name", seq)
    server.wait_for(lambda: metric(server, "ds_server_log_bytes") < 65536, "the end of a checkpoint")
    assert server.log_text().count("server.checkpoint_failed") == 1
    server.kill()
    server = start(disk.path / "data", disk.binary)
    assert read(server, "name") == before + numbered(seq)
    assert append(server, "name", seq, numbered(seq))[0] == 204
    assert server.stop() == 0


def test_a_server_killed_without_room_has_all_it_acknowledged(start, disk):
    server = start(disk.path / "data", disk.binary)
    create(server, "name")
    disk.fill()
    seq = append_until_full(server, "name")
    server.kill()
    disk.make_room()
    server = start(disk.path / "data", disk.binary)
    assert read(server, "name") == b"".join(numbered(i) for i in range(seq))
    wait_for_room(server, "name", seq)
    assert server.stop() == 0


def test_deleting_makes_room(start, disk):
    server = start(disk.path / "data", disk.binary)
    create(server, "large")
    create(server, "small")
    append_until_full(server, "large")
    status, _, text = ds.http("DELETE", server.stream_url("large"))
    assert status == 204, text
    wait_for_room(server, "small", 0)
    assert read(server, "small") == numbered(0)
    server.kill()
    server = start(disk.path / "data", disk.binary)
    assert ds.http("GET", server.stream_url("large"))[0] == 404
    assert read(server, "small") == numbered(0)
    assert server.stop() == 0


# ---- the format on the disk ----

def upgrade(data):
    return subprocess.run([ds.program("ds-server"), "--upgrade-data", "--data-dir", str(data)],
                          capture_output=True, text=True, timeout=SECONDS)


def test_data_of_this_release_needs_no_upgrade_and_newer_data_is_refused(start, folder):
    server = start()
    create(server, "name")
    assert append(server, "name", 0)[0] == 200
    in_use = upgrade(folder / "data")
    assert in_use.returncode == 1 and "another ds-server" in in_use.stdout
    assert server.stop() == 0
    done = upgrade(folder / "data")
    assert done.returncode == 0 and "nothing to upgrade" in done.stdout
    manifest = folder / "data/MANIFEST"
    newer = json.loads(manifest.read_text()) | {"format_version": 2}
    text = manifest.read_text()
    manifest.write_text(json.dumps(newer))
    assert "version 2" in upgrade(folder / "data").stdout
    server = start(wait=False)
    assert server.wait() == 1 and "version 2" in server.log_text()
    manifest.write_text(text)
    server = start()
    assert read(server, "name") == BODY
    assert server.stop() == 0


def test_an_upgrade_makes_no_data_directory(folder):
    done = upgrade(folder / "nothing")
    assert done.returncode == 1 and not (folder / "nothing").exists()


# ---- a crash of the machine ----

def tail(server, name):
    status, headers, _ = ds.http("HEAD", server.stream_url(name))
    assert status == 200
    return headers["Stream-Next-Offset"]


def test_after_a_crash_of_the_machine_open_streams_have_another_era_where_it_may_have_cost(
        start, folder, mode):
    server = start()
    for name in ("open", "closed"):
        create(server, name)
        assert append(server, name, 0)[0] == 200
    assert ds.http("POST", server.stream_url("closed"), b"", {"Stream-Closed": "true"})[0] == 204
    offsets = {name: tail(server, name) for name in ("open", "closed")}
    server.kill()
    manifest = folder / "data/MANIFEST"
    other_boot = json.loads(manifest.read_text()) | {"boot_id": "00000000-0000-0000-0000-000000000000"}
    manifest.write_text(json.dumps(other_boot))
    for _ in range(2):                 # and it stays the same from then on
        server = start()
        lost = mode == "file-fast"
        assert (tail(server, "open") != offsets["open"]) == lost
        assert tail(server, "closed") == offsets["closed"]
        assert ds.http("GET", f"{server.stream_url('open')}?offset={offsets['open']}")[0] == (
            410 if lost else 200)
        assert read(server, "open") == read(server, "closed") == BODY
        assert append(server, "open", 0)[0] == 204
        now = tail(server, "open")
        server.kill()
    server = start()
    assert tail(server, "open") == now
    assert append(server, "open", 1)[0] == 200
    assert server.stop() == 0


# ---- damage, and limits ----

def files(folder, suffix):
    return sorted((folder / "data/streams").glob(f"*/*.{suffix}"))


def test_damaged_bytes_are_not_served_and_other_streams_are(start, folder):
    server = start()
    for name in ("first", "second"):
        create(server, name)
        for seq in range(3):
            assert append(server, name, seq, numbered(seq))[0] == 200
    assert server.stop() == 0
    path = files(folder, "data")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    server = start()
    statuses = [ds.http("GET", f"{server.stream_url(name)}?offset=-1")[0] for name in ("first", "second")]
    assert sorted(statuses) == [200, 500]
    assert "server.read_failed" in server.log_text()
    assert server.stop() == 0


def test_a_stream_whose_file_is_gone_is_said_and_the_others_are_served(start, folder):
    server = start()
    for name in ("first", "second"):
        create(server, name)
        assert append(server, name, 0)[0] == 200
    assert server.stop() == 0
    files(folder, "data")[0].unlink()
    for _ in range(2):
        server = start()
        statuses = [ds.http("GET", server.stream_url(name))[0] for name in ("first", "second")]
        assert sorted(statuses) == [200, 500]
        assert "server.read_failed" in server.log_text()
        server.kill()
    assert "server.stream_damaged" in server.log_text()    # an unclean start looks at every file


def test_files_of_no_stream_are_removed_after_a_crash(start, folder):
    server = start()
    create(server, "name")
    assert append(server, "name", 0)[0] == 200
    server.kill()
    shelf = folder / "data/streams/ab"
    shelf.mkdir(exist_ok=True)
    for suffix in ("data", "idx"):
        (shelf / f"00000000000000ab.{suffix}").write_bytes(b"left over")
    server = start()
    assert not list(shelf.glob("00000000000000ab.*"))
    assert read(server, "name") == BODY
    assert server.stop() == 0


def test_many_more_streams_than_descriptors(start, folder, mode):
    count, descriptors = 1500, 300
    wrapper = folder / "ds-server-with-few-files"
    wrapper.write_text(f"#!/bin/sh\nulimit -n {descriptors}\nexec {ds.program('ds-server')} \"$@\"\n")
    wrapper.chmod(0o700)
    server = start(binary=wrapper)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)

    def ask(method, number, body=None):
        connection.request(method, f"/v1/stream/s{number}", body, {"Content-Type": "text/plain"})
        reply = connection.getresponse()
        return reply.status, reply.read()

    for number in range(count):
        assert ask("PUT", number, f"<{number}>".encode())[0] == 201
    for number in range(count):
        assert ask("POST", number, b"more")[0] == 204
    server.wait_for(lambda: len(files(folder, "data")) == count, "a checkpoint of all")
    for number in range(count):
        assert ask("GET", number) == (200, f"<{number}>more".encode())
    assert len(os.listdir(f"/proc/{server.pid}/fd")) <= descriptors
    assert "server.read_failed" not in server.log_text()
    assert "server.checkpoint_failed" not in server.log_text()
    assert server.stop() == 0
