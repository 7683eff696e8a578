# SPDX-License-Identifier: Apache-2.0
"""The main path: a message posted to a stream is a row, once; and bytes stay bytes."""
import os
import urllib.request

import ds
from test_syncd_source_faults import FAST, messages, rows, wait_rows


def test_messages_become_rows_with_key_type_and_operation(database, server, start_syncd):
    server.create("main/a")
    server.append("main/a", [
        {"type": "message", "key": "m1", "operation": "set", "value": 1},
        {"type": "user", "key": "u1", "value": {}, "headers": {"operation": "insert"}},
        {"type": 5, "key": None}, "text", [1, 2]])
    syncd = start_syncd(["main/a"])
    wait = ds.wait_until(lambda: len(rows(database[1], "main/a")) == 5, what="5 rows")
    assert wait
    cursor = database[1].cursor()
    cursor.execute("SELECT event_key, event_type, operation, generation FROM ds_sync.session_events ORDER BY seq")
    assert cursor.fetchall() == [("m1", "message", "set", 1), ("u1", "user", "insert", 1),
                                 (None, None, None, 1), (None, None, None, 1), (None, None, None, 1)]
    assert syncd.stop() == 0


def test_many_streams_are_loaded_side_by_side(database, server, start_syncd):
    names = [f"side/{number}" for number in range(30)]
    for name in names:
        server.create(name)
    syncd = start_syncd(names)
    for turn in range(10):
        for name in names:
            server.append(name, messages(turn * 3, 3))
    for name in names:
        wait_rows(database, messages(0, 30), syncd, name)


def test_reads_that_are_answered_at_once_are_not_begun_twice(database, server, start_syncd):
    """Each on a connection that served a HEAD before, whose socket libcurl may not watch any more."""
    names = [f"once/{number}" for number in range(50)]
    for name in names:
        server.create(name)
        server.append(name, messages(0, 1))
    for _ in range(2):
        syncd = start_syncd(names)
        for name in names:
            wait_rows(database, messages(0, 1), syncd, name)
        syncd.wait_for(lambda: {stream["state"] for stream in syncd.status()["streams"]} == {"running"},
                       "to read all")
        assert syncd.stop() == 0
        assert "source.retry" not in syncd.log_text()


def test_a_row_can_be_found_again_in_the_stream_by_its_offset(database, server, start_syncd):
    server.create("main/offset")
    syncd = start_syncd(["main/offset"])
    for number in range(5):
        server.append("main/offset", messages(number, 1))
    wait_rows(database, messages(0, 5), syncd, "main/offset")
    cursor = database[1].cursor()
    cursor.execute("SELECT seq, ds_offset FROM ds_sync.session_events ORDER BY seq")
    for seq, offset in cursor.fetchall():
        found, _ = server.read_json("main/offset", offset)
        assert messages(seq, 1)[0] in found


def chunks(connection, stream):
    cursor = connection.cursor()
    cursor.execute("SELECT seq, bytes FROM ds_sync.stream_chunks WHERE stream_name = %s ORDER BY seq", (stream,))
    found = [(seq, bytes(piece)) for seq, piece in cursor.fetchall()]
    at = 0
    for seq, piece in found:
        assert seq == at
        at += len(piece)
    return b"".join(piece for _, piece in found)


def wait_bytes(database, stream, expected, syncd):
    ds.wait_until(lambda: len(chunks(database[1], stream)) >= len(expected),
                  what=f"{len(expected)} bytes; log:\n{syncd.log_end()}")
    assert chunks(database[1], stream) == expected


def test_bytes_arrive_as_they_are(database, server, start_syncd):
    server.create("main/bytes", "application/octet-stream")
    syncd = start_syncd(["main/bytes"])
    sent = b""
    for size in (1, 3, 100_000, 0xFF, 2_000_000):
        piece = os.urandom(size)
        server.append("main/bytes", piece, "application/octet-stream")
        sent += piece
    wait_bytes(database, "main/bytes", sent, syncd)


def test_text_arrives_byte_for_byte_though_sse_would_change_it(database, server, start_syncd):
    server.create("main/text", "text/plain")
    syncd = start_syncd(["main/text"])
    sent = b""
    for piece in (b"a\rb\r\nc\n", "é".encode()[:1], "é".encode()[1:], b"\r", b"\n", b"data: x\n\nevent: y\n"):
        server.append("main/text", piece, "text/plain")
        sent += piece
    wait_bytes(database, "main/text", sent, syncd)


def test_rows_survive_a_restart_without_a_double(database, server, start_syncd):
    server.create("main/restart")
    for turn in range(4):
        server.append("main/restart", messages(turn * 10, 10))
        syncd = start_syncd(["main/restart"])
        wait_rows(database, messages(0, turn * 10 + 10), syncd, "main/restart")
        assert syncd.stop() == 0


def test_transactions_never_publish_a_multiple_of_100_row_changes(database, server, start_syncd):
    """Electric 1.4.2 loses those: the pad row makes the number another one."""
    server.create("main/hundred")
    server.append("main/hundred", messages(0, 100))
    syncd = start_syncd(["main/hundred"], SYNCD_BATCH_ROWS_MAX="100", ELECTRIC_VERSION="1.4.2")
    wait_rows(database, messages(0, 100), syncd, "main/hundred")
    cursor = database[1].cursor()
    cursor.execute("SELECT xmin::text, count(*) FROM ds_sync.session_events GROUP BY 1")
    counts = dict(cursor.fetchall())
    cursor.execute("SELECT xmin::text, counter FROM ds_sync.electric_pad")
    pad_transaction, counter = cursor.fetchone()
    for transaction, count in counts.items():
        if count % 100 == 0:
            assert transaction == pad_transaction and counter == 1
    assert sum(counts.values()) == 100


def test_the_pad_stays_untouched_where_electric_is_mended(database, server, start_syncd):
    server.create("main/hundred")
    server.append("main/hundred", messages(0, 100))
    syncd = start_syncd(["main/hundred"], SYNCD_BATCH_ROWS_MAX="100", ELECTRIC_VERSION="1.4.3")
    wait_rows(database, messages(0, 100), syncd, "main/hundred")
    cursor = database[1].cursor()
    cursor.execute("SELECT counter FROM ds_sync.electric_pad")
    assert cursor.fetchone()[0] == 0


def test_the_password_is_nowhere_to_be_seen(database, server, start_syncd, folder):
    secret = "hunter2-planted"
    url = database[0].replace("postgres@", f"postgres:{secret}@")
    process = ds.Syncd(folder, server.url, url, ["main/secret"], name="syncd-secret",
                       environment={**FAST, "RUST_LOG": "trace"}).wait_ready()
    try:
        said = process.log_text()
        for path in ("status", "metrics"):
            said += urllib.request.urlopen(f"{process.url}/{path}").read().decode()
        assert secret not in said
        cursor = database[1].cursor()
        cursor.execute("SELECT string_agg(t::text, '') FROM ds_sync.instance t")
        assert secret not in (cursor.fetchone()[0] or "")
    finally:
        process.stop()


def test_ops_endpoints_answer(database, server, start_syncd):
    server.create("main/ops")
    syncd = start_syncd(["main/ops"])
    server.append("main/ops", messages(0, 2))
    wait_rows(database, messages(0, 2), syncd, "main/ops")
    assert ds.http("GET", f"{syncd.url}/livez")[0] == 200
    assert ds.http("GET", f"{syncd.url}/readyz")[0] == 200
    assert b"# TYPE" in ds.http("GET", f"{syncd.url}/metrics")[2]
    stream = syncd.status()["streams"][0]
    assert stream["name"] == "main/ops" and stream["state"] == "running"
    assert ds.http("GET", f"{syncd.url}/nothing")[0] == 404
    assert ds.http("POST", f"{syncd.url}/status", b"x")[0] == 405
