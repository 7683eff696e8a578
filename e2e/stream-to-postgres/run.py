#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is posted through Envoy is a row in Postgres: each message once, in order, unchanged.

The oracle is what was posted: the streams are read back over HTTP, and both compared with the table.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import HANG_GUARD_SECS, Client, check, check_equal, finish, note, setting, wait_until

try:
    import psycopg2
except ImportError:
    sys.exit("psycopg2 is missing: install the package python3-psycopg2")

client = Client()
database = psycopg2.connect(setting("E2E_POSTGRES_URL"))
database.autocommit = True
one_by_one, in_batches, late = setting("E2E_SYNC_STREAMS").split(",")
posted = {}                                       # stream -> every message, in order

AWKWARD = [
    {}, [], [[]], {"": ""}, None, True, False, 0, -1, 1.5, "", "text",
    {"text": "ä \u2028 😀 \"quoted\" \\ back / slash \t tab \n line"},
    {"copy": "\\N \\. \\x41 \\\\ \t\n\r"},
    {"big": 123456789012345678901234567890, "deep": [[[[[[[[[[{"x": [1, {"y": None}]}]]]]]]]]]]},
    {"long": "x" * 70000},
    {"nested": {"type": "message", "key": "k", "headers": {"operation": "insert"}}},
]


def rows(query, *arguments):
    with database.cursor() as cursor:
        cursor.execute(query, arguments)
        return cursor.fetchall()


def count(stream):
    return rows("SELECT count(*) FROM ds_sync.session_events WHERE stream_name = %s", stream)[0][0]


def canonical(values):
    """As text, since Python takes True for 1 and 0 for False."""
    return [json.dumps(value, sort_keys=True) for value in values]


def append(stream, messages):
    reply = client.append(stream, messages)
    if reply.status != 204:
        check(False, f"append to {stream} is 204", reply)
    posted.setdefault(stream, []).extend(messages)


def wait_for_rows(stream, expected):
    arrived = wait_until(lambda: count(stream) >= expected, HANG_GUARD_SECS * 2)
    check(arrived, f"{stream}: {expected} rows arrive", f"only {count(stream)} did")


def first_difference(ours, theirs):
    return next(((n, one, other) for n, (one, other) in enumerate(zip(ours, theirs)) if one != other), None)


def compare(stream):
    """What was posted, what the stream tells, and what is in the table."""
    messages, tail = client.read_all(stream)
    told, expected = canonical(messages), canonical(posted[stream])
    check(told == expected, f"{stream}: a read over HTTP gives what was posted", first_difference(told, expected))
    table = rows("SELECT seq, payload::text, ds_offset, generation FROM ds_sync.session_events"
                 " WHERE stream_name = %s ORDER BY seq", stream)
    check_equal(len(table), len(messages), f"{stream}: as many rows as messages")
    numbers = [row[0] for row in table]
    check(numbers == list(range(len(table))), f"{stream}: seq has no gap and no double",
          first_difference(numbers, range(len(table))))
    payloads = canonical(json.loads(row[1]) for row in table)
    check(payloads == told, f"{stream}: payloads are the messages, in their order", first_difference(payloads, told))
    offsets = [row[2] for row in table]
    check(offsets == sorted(offsets), f"{stream}: offsets never go back")
    check_equal({row[3] for row in table}, {1}, f"{stream}: all rows are of the first generation")
    dead = rows("SELECT count(*) FROM ds_sync.dead_letter d JOIN ds_sync.stream s USING (stream_id)"
                " WHERE s.name = %s", stream)[0][0]
    check_equal(dead, 0, f"{stream}: nothing in the dead letters")

    def position():
        found = rows("SELECT o.ds_offset, o.next_seq FROM ds_sync.stream_offset o"
                     " JOIN ds_sync.stream s USING (stream_id) WHERE s.name = %s", stream)
        return found[0] if found else None
    wait_until(lambda: position() and position()[0] == tail, HANG_GUARD_SECS)
    check_equal(position(), (tail, len(messages)), f"{stream}: the stored position is the stream's tail")


def latency(stream):
    started = time.monotonic()
    before = count(stream)
    append(stream, [{"type": "presence", "probe": True}])
    if check(wait_until(lambda: count(stream) > before, HANG_GUARD_SECS, 0.002), f"{stream}: a lone event is loaded"):
        note(f"POST to visible row: {(time.monotonic() - started) * 1000:.1f} ms")


def main():
    for stream in (one_by_one, in_batches):
        check_equal(client.create(stream).status, 201, f"{stream}: create is 201")

    # An array in a POST is that many messages, so an array as a message is wrapped once more.
    for message in AWKWARD:
        append(one_by_one, [message])
    for number in range(200):
        append(one_by_one, [{"type": "chunk", "n": number}])
    for batch in range(20):
        append(in_batches, [{"type": "message", "batch": batch, "n": n} for n in range(250)])
    wait_for_rows(one_by_one, len(AWKWARD) + 200)
    wait_for_rows(in_batches, 5000)
    latency(one_by_one)

    # syncd has been asking for this one since it started.
    check_equal(client.create(late).status, 201, f"{late}: create, long after syncd began to wait for it")
    append(late, [{"type": "late", "n": n} for n in range(100)])
    wait_for_rows(late, 100)

    # Load again after a pause: the position is carried on, not started anew.
    append(in_batches, [{"type": "message", "batch": "last", "n": n} for n in range(7)])
    wait_for_rows(in_batches, 5007)
    for stream in (one_by_one, in_batches, late):
        compare(stream)
    finish()


main()
