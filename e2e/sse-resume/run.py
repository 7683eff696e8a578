#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A session over SSE through Envoy: followed, cut, resumed; and the same by long-poll."""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import HANG_GUARD_SECS, Client, check, check_equal, finish, note, setting, unique_name, wait_until

POLL_SECS = float(setting("E2E_LONG_POLL_SECS"))
SSE_SECS = float(setting("E2E_SSE_SECS"))
client = Client()


def event(number):
    return {"type": "chunk", "n": number, "text": f"päckchen {number} \u2028 \"quoted\" \\ 😀"}


def live_and_unbuffered(name):
    tail = client.tail(name, "-1")
    check(tail.headers.get("Content-Type", "").startswith("text/event-stream"), "the reply is an event stream",
          tail.headers.get("Content-Type"))
    first = tail.next_batch()
    check(first is not None and first[0] == [], "an empty stream sends a control event first", first)

    seen, delays, ids = [], [], True
    for number in range(20):
        started = time.monotonic()
        reply = client.append(name, [event(number)])
        if reply.status != 204:
            check(False, f"append {number} is 204", reply)
            break
        batch = tail.next_batch()
        if batch is None:
            check(False, f"event {number} arrives within the hang guard")
            break
        delays.append(time.monotonic() - started)
        seen += batch[0]
        ids = ids and batch[2] == batch[1]["streamNextOffset"]
    check_equal(seen, [event(n) for n in range(20)], "each append arrives before the next is made")
    check(not tail.ended, "all over one reply that is still open")
    check(ids, "each control event carries its offset as SSE id")
    delays.sort()
    if delays:
        note(f"POST to event: median {delays[len(delays) // 2] * 1000:.1f} ms, worst {delays[-1] * 1000:.1f} ms")
    tail.cut()


def cut_and_resume(name, total):
    """A writer goes on while the reader loses its connection again and again."""
    expected = [event(n) for n in range(20)] + [event(n) for n in range(20, 20 + total)]
    problems = []

    def write():
        for number in range(20, 20 + total):
            reply = client.append(name, [event(number)])
            if reply.status != 204:
                problems.append(f"append {number}: {reply}")
                return

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    seen, offset, cuts, cut_after = [], "-1", 0, 1
    deadline = time.monotonic() + 3 * HANG_GUARD_SECS
    while len(seen) < len(expected) and time.monotonic() < deadline and not problems:
        tail = client.tail(name, offset)
        if tail.status != 200:
            problems.append(f"resume from {offset}: status {tail.status}")
            break
        for _ in range(cut_after):
            batch = tail.next_batch()
            if batch is None:
                break
            seen += batch[0]
            offset = batch[1]["streamNextOffset"]
            if len(seen) >= len(expected):
                break
        tail.next_event(0.002)                # often a data event whose control event never comes
        tail.cut()
        cuts += 1
        cut_after = cut_after % 7 + 1
    writer.join(HANG_GUARD_SECS)
    check(not problems, "no append and no resume was refused", problems)
    note(f"{len(seen)} messages over {cuts} connections")
    check(cuts >= 5, "the reader was cut at least five times", cuts)
    numbers = [message["n"] for message in seen]
    check_equal(len(numbers), len(set(numbers)), "no message came twice")
    check_equal(sorted(set(range(20 + total)) - set(numbers)), [], "no message was lost")
    check(seen == expected, "all came in order and unchanged")
    again, tail_offset = client.read_all(name)
    check(again == expected, "a catch-up read tells the same")
    check_equal(offset, tail_offset, "the last control event stands at the tail")
    return offset


def server_side_resume(name, offset):
    tail = client.tail(name, offset)
    batch = tail.next_batch()
    check(batch is not None and batch[0] == [] and batch[1].get("upToDate") is True,
          "resume at the tail brings nothing old and says it is up to date", batch)
    tail.cut()
    tail = client.tail(name, "now")
    batch = tail.next_batch()
    check(batch is not None and batch[0] == [] and batch[1]["streamNextOffset"] == offset,
          "offset=now stands at the same place", batch)
    tail.cut()


def lifetime(name, offset):
    """The server ends each reply after a while; a client goes on where the last control event stood."""
    started = time.monotonic()
    tail = client.tail(name, offset)
    deadline = started + SSE_SECS * 1.15 + HANG_GUARD_SECS
    while not tail.ended and time.monotonic() < deadline:
        tail.next_event(deadline - time.monotonic())
    took = time.monotonic() - started
    check(tail.ended, "an idle SSE reply is ended by the server", f"still open after {took:.1f} s")
    check(SSE_SECS * 0.5 <= took, "and not before its time", f"{took:.1f} s of {SSE_SECS}")
    tail = client.tail(name, offset)
    reply = client.append(name, [{"after": "the end"}])
    batches = [tail.next_batch(), tail.next_batch()]
    got = [message for batch in batches if batch for message in batch[0]]
    check_equal((reply.status, got), (204, [{"after": "the end"}]), "the next one carries on")
    tail.cut()
    return batches[-1][1]["streamNextOffset"] if batches[-1] else offset


def long_poll(name, offset):
    got = []

    def poll():
        got.append((client.long_poll(name, offset), time.monotonic()))

    reader = threading.Thread(target=poll, daemon=True)
    reader.start()
    # There is no sign that the server has parked the request, so it gets a part of its time.
    wait_until(lambda: not reader.is_alive(), min(0.3, POLL_SECS / 4))
    waiting = reader.is_alive()
    started = time.monotonic()
    client.append(name, [{"woken": True}])
    reader.join(HANG_GUARD_SECS)
    check(waiting, "a long-poll at the tail waits", got)
    if not check(bool(got), "an append wakes a long-poll"):
        return
    reply, when = got[0]
    check_equal((reply.status, reply.json()), (200, [{"woken": True}]), "it is 200 with the message")
    note(f"POST to long-poll reply: {(when - started) * 1000:.1f} ms")
    offset = reply.next_offset

    started = time.monotonic()
    reply = client.long_poll(name, offset, reply.header("Stream-Cursor"), POLL_SECS + HANG_GUARD_SECS)
    took = time.monotonic() - started
    check_equal(reply.status, 204, "a long-poll with nothing new is 204")
    check_equal((reply.next_offset, reply.header("Stream-Up-To-Date")), (offset, "true"),
                "it repeats the offset and says up to date")
    check(took >= POLL_SECS * 0.5, "it lasted its time", f"{took:.3f} s")


stream = unique_name("session")
check_equal(client.create(stream).status, 201, "create is 201")
live_and_unbuffered(stream)
last = cut_and_resume(stream, 200)
server_side_resume(stream, last)
last = lifetime(stream, last)
long_poll(stream, last)
check_equal(client.call("DELETE", stream).status, 204, "delete is 204")
finish()
