# SPDX-License-Identifier: Apache-2.0
"""Storage mode acid from outside: its files, what an operator may do with them, no room, and damage.
What all durable modes promise is in test_server_restart.py."""
import json
import os
import resource
import shutil
import sqlite3

import pytest

import ds
from small_disk import SmallDisk

SHARDS = 4
BODY = b"x" * 20_000
RLIMIT_NONE = resource.RLIM_INFINITY


class Acid:
    """A server on one data directory, that can be started again."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"
        self.count = 0
        self.server = None

    def start(self, wait=True, binary=None, **settings):
        self.count += 1
        self.server = ds.DsServer(self.folder, binary=binary, environment={
            "DS_STORAGE__MODE": "acid", "DS_STORAGE__DATA_DIR": str(self.data),
            "DS_STORAGE__ACID_SHARD_COUNT": str(SHARDS), "DS_LIMITS__MAX_STREAM_BYTES": "100MiB",
            "DS_LIMITS__MAX_MEMORY_BYTES": "1GiB", "DS_LIMITS__MAX_CACHE_BYTES": "0", **settings},
            name=f"ds-server-{self.count}")
        return self.server.wait_ready() if wait else self.server

    def stop(self):
        assert self.server.stop() == 0, self.server.log_end()

    def files(self):
        return sorted((self.data / "acid").glob("shard_*.sqlite"))

    def bytes(self):
        return sum(path.stat().st_size for path in self.files())

    def file_of(self, name):
        """The shard that holds a stream."""
        return next(path for path in self.files() if rows(path, "SELECT 1 FROM stream WHERE name = ?",
                                                          name))


@pytest.fixture
def acid(folder):
    acid = Acid(folder)
    yield acid
    if acid.server and acid.server.alive():
        acid.stop()


@pytest.fixture
def disk(folder):
    disk = SmallDisk(folder, 8 << 20)
    yield disk
    disk.close()


def rows(path, statement, *values):
    """As an operator would look, while the server runs or not."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return database.execute(statement, values).fetchall()


def append(server, name, body=BODY, **headers):
    return ds.http("POST", server.stream_url(name), body,
                   {"Content-Type": "application/octet-stream",
                    **{key.replace("_", "-"): value for key, value in headers.items()}})


def create(server, name, body=None):
    status, _, text = server.create(name, "application/octet-stream", body)
    assert status == 201, text


def read(server, name):
    pieces, offset = [], "-1"
    while True:
        status, headers, body = ds.http("GET", f"{server.stream_url(name)}?offset={offset}")
        assert status == 200, body
        pieces.append(body)
        offset = headers["Stream-Next-Offset"]
        if headers.get("Stream-Up-To-Date") == "true":
            return b"".join(pieces)


def trim(server, name, before):
    status, _, body = ds.http("POST", f"{server.admin_url}/admin/trim",
                              json.dumps({"stream": name, "before": before}).encode())
    assert status == 200, body


def refused(acid, *texts):
    server = acid.start(wait=False)
    assert server.wait() == 1, server.log_end()
    for text in ("start.failed", *texts):
        assert text in server.log_text()


def test_an_operator_can_look_in_while_the_server_runs(acid):
    server = acid.start()
    for i in range(20):
        create(server, f"s/{i}", b"abc")
    append(server, "s/7", b"defg", Producer_Id="p", Producer_Epoch="3", Producer_Seq="0")
    path = acid.file_of("s/7")
    assert rows(path, "SELECT tail, bytes, messages, closed FROM stream WHERE name = 's/7'") == [
        (7, 7, 2, 0)]
    assert rows(path, "SELECT p.id, p.epoch, p.seq FROM producer p JOIN stream s ON s.id = p.stream_id "
                "WHERE s.name = 's/7'") == [("p", 3, 0)]
    assert sum(len(rows(path, "SELECT 1 FROM stream")) for path in acid.files()) == 20
    assert append(server, "s/7", b"h")[0] == 204


def test_names_that_are_alike_spread_over_the_shards(acid):
    server = acid.start()
    for i in range(100):
        create(server, f"s/{i}")
    counts = [rows(path, "SELECT count(*) FROM stream")[0][0] for path in acid.files()]
    assert sum(counts) == 100
    assert min(counts) >= 10


def test_a_copy_made_while_the_server_runs_can_be_served(acid, folder):
    server = acid.start()
    for i in range(20):
        create(server, f"s/{i}", b"%d" % i * 1000)
    copy = folder / "copy"
    (copy / "acid").mkdir(parents=True)
    for path in acid.files():
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as source, \
                sqlite3.connect(copy / "acid" / path.name) as target:
            source.backup(target)
    shutil.copy(acid.data / "MANIFEST", copy)
    append(server, "s/3", b"later")
    acid.stop()
    acid.data = copy
    server = acid.start()
    for i in range(20):
        assert read(server, f"s/{i}") == b"%d" % i * 1000


def test_without_room_appends_are_refused_whole_and_go_on_when_there_is_some(acid):
    server = acid.start()
    create(server, "name")
    for seq in range(3):
        assert append(server, "name", Producer_Id="p", Producer_Epoch="0",
                      Producer_Seq=str(seq))[0] == 200
    before = read(server, "name")
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (8192, RLIMIT_NONE))
    statuses = [append(server, "name", Producer_Id="p", Producer_Epoch="0", Producer_Seq="3")[0]
                for _ in range(3)]
    assert statuses == [507] * 3
    assert json.loads(append(server, "name")[2])["code"] == "INSUFFICIENT_STORAGE"
    assert read(server, "name") == before
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (RLIMIT_NONE, RLIMIT_NONE))
    assert append(server, "name", Producer_Id="p", Producer_Epoch="0", Producer_Seq="3")[0] == 200
    assert read(server, "name") == before + BODY
    server.kill()
    server = acid.start()
    assert read(server, "name") == before + BODY
    assert append(server, "name", Producer_Id="p", Producer_Epoch="0", Producer_Seq="3")[0] == 204


def test_a_full_disk_is_left_by_deleting(disk, acid):
    acid.data = disk.path / "data"
    settings = {"binary": disk.binary, "DS_STORAGE__ACID_SHARD_COUNT": "1"}
    server = acid.start(**settings)
    names = [f"s/{i}" for i in range(6)]
    for name in names:
        create(server, name)
    kept = {name: b"" for name in names}
    full = 0
    while full < 30:
        for name in names:
            status = append(server, name)[0]
            assert status in (204, 507)
            full += status == 507
            kept[name] += BODY if status == 204 else b""
    disk.fill()
    assert {name: read(server, name) for name in names} == kept
    for name in names[1:]:
        assert ds.http("DELETE", server.stream_url(name))[0] == 204
    ds.wait_until(lambda: append(server, names[0])[0] == 204)
    kept[names[0]] += BODY
    assert read(server, names[0]) == kept[names[0]]
    server.kill()
    disk.make_room()           # the start writes the manifest
    server = acid.start(**settings)
    assert read(server, names[0]) == kept[names[0]]
    assert ds.http("GET", server.stream_url(names[1]))[0] == 404


def test_a_stream_that_is_written_and_trimmed_for_ever_takes_no_more_room(acid):
    server = acid.start()
    create(server, "name")
    sizes = []
    for _ in range(6):
        for _ in range(100):
            status, headers, _ = append(server, "name")
            assert status == 204
        trim(server, "name", headers["Stream-Next-Offset"])
        acid.stop()
        sizes.append(acid.bytes())
        server = acid.start()
    assert sizes[-1] <= 2 * sizes[0]


def test_space_of_deleted_streams_is_given_back(acid):
    server = acid.start()
    create(server, "kept", BODY)
    for i in range(8):
        create(server, f"s/{i}", b"x" * 4_000_000)
    acid.stop()
    full = acid.bytes()
    server = acid.start()
    for i in range(8):
        assert ds.http("DELETE", server.stream_url(f"s/{i}"))[0] == 204
    ds.wait_until(lambda: all(rows(path, "SELECT count(*) FROM garbage") == [(0,)]
                              and rows(path, "PRAGMA freelist_count")[0][0] < 1500
                              for path in acid.files()))
    acid.stop()
    assert acid.bytes() < full - 8_000_000
    server = acid.start()
    assert read(server, "kept") == BODY


def test_a_damaged_row_of_payload_is_never_served(acid):
    server = acid.start()
    create(server, "good", BODY)
    create(server, "bad", b"first")
    append(server, "bad", b"second")
    acid.stop()
    path = acid.file_of("bad")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE append SET bytes = replace(bytes, 'second', 'sEcond') WHERE stream_id "
                         "= (SELECT id FROM stream WHERE name = 'bad')")
    server = acid.start()
    status, headers, body = ds.http("GET", server.stream_url("bad") + "?offset=-1")
    assert (status, body) == (200, b"first")
    status, _, body = ds.http(
        "GET", f"{server.stream_url('bad')}?offset={headers['Stream-Next-Offset']}")
    assert status == 500 and b"second" not in body and b"sEcond" not in body
    assert "server.read_failed" in server.log_text()
    assert read(server, "good") == BODY


def test_damaged_files_and_missing_ones_end_the_start(acid):
    server = acid.start()
    for i in range(20):
        create(server, f"s/{i}", b"abc")
    acid.stop()
    path = acid.file_of("s/0")
    good = path.read_bytes()

    path.unlink()
    refused(acid, f"{path.name} is missing")
    path.write_bytes(b"not a database" * 100 + good[1400:])
    refused(acid, path.name)
    # The number of the page that is the root of the table of streams, which is page 1's business.
    root = [page for page in range(1, len(good) // 4096)
            if b"s/0" in good[page * 4096:(page + 1) * 4096]][0]
    path.write_bytes(good[:root * 4096] + os.urandom(4096) + good[(root + 1) * 4096:])
    refused(acid, path.name)
    path.write_bytes(good)
    server = acid.start()
    assert read(server, "s/0") == b"abc"
    acid.stop()
    shutil.rmtree(acid.data / "acid")
    refused(acid, "shard_00.sqlite is missing")
