# SPDX-License-Identifier: Apache-2.0
"""How many streams are opened at a time: after a start, after a server ended all reads, beside some that stall."""
import math

import ds
import pytest
from fake_server import FakeServer
from test_syncd_source_faults import FAST, messages, wait_rows

STREAMS = 40
OPENINGS = 5
NAMES = [f"many/{number}" for number in range(STREAMS)]
# So long that nobody loses its place though the test is slow.
PATIENT = {**FAST, "SYNCD_IDLE_TIMEOUT": "1h", "SYNCD_OPENINGS_MAX": str(OPENINGS)}


class CountingServer(FakeServer):
    """Answers as many GETs as it is allowed to, and knows how many wait.  All streams have the same events."""

    def __init__(self):
        super().__init__()
        self.allowed = math.inf
        self.stalled = ()                      # names whose GET is never answered
        self.unanswered = 0
        self.most_unanswered = 0

    def gets(self, name):
        return sum(method == "GET" and f"/{name}?" in target for method, target in self.requests)

    def allow(self, count):
        with self.changed:
            self.allowed = count
            self.changed.notify_all()

    def _sse(self, connection, number, query):
        def may():
            return self.stopping or (self.allowed > 0 and not query["path"].endswith(self.stalled))
        with self.changed:
            self.unanswered += 1
            self.most_unanswered = max(self.unanswered, self.most_unanswered)
            self.changed.notify_all()
            self.changed.wait_for(may)
            self.allowed -= 1
            self.unanswered -= 1
        return super()._sse(connection, number, query)

    def _head(self, connection, query):
        """Others wait until the stalled ones have all places but this one's, which one of them waits for."""
        if self.stalled and not query["path"].endswith(self.stalled):
            with self.changed:
                self.changed.wait_for(lambda: self.stopping or self.unanswered >= len(self.stalled) - 1)
        return super()._head(connection, query)

    def answer_one_by_one(self, count):
        """The most that waited meanwhile."""
        self.most_unanswered = self.unanswered
        for answered in range(count):
            waiting = min(OPENINGS, count - answered)
            ds.wait_until(lambda: self.unanswered >= waiting, what=f"{waiting} to wait, {answered} answered")
            self.allow(1)
            ds.wait_until(lambda: self.allowed == 0, what="an answer")
        self.allow(math.inf)
        return self.most_unanswered


@pytest.fixture
def counting():
    server = CountingServer()
    yield server
    server.stop()


def test_a_start_opens_only_so_many_streams_at_a_time(database, counting, start_syncd):
    counting.append(messages(0, 2))
    counting.allow(0)
    syncd = start_syncd(NAMES, server_url=counting.url, **PATIENT)
    assert counting.answer_one_by_one(STREAMS) == OPENINGS
    for name in NAMES:
        wait_rows(database, messages(0, 2), syncd, name)
    assert syncd.stop() == 0


def test_streams_whose_reads_ended_all_at_once_come_back_a_few_at_a_time(database, counting, start_syncd):
    counting.append(messages(0, 2))
    syncd = start_syncd(NAMES, server_url=counting.url, **PATIENT)
    for name in NAMES:
        wait_rows(database, messages(0, 2), syncd, name)
    counting.allow(0)
    counting.end_all()
    assert counting.answer_one_by_one(STREAMS) == OPENINGS
    counting.append(messages(2, 1))
    for name in NAMES:
        wait_rows(database, messages(0, 3), syncd, name)
    assert syncd.stop() == 0


def test_streams_that_a_server_leaves_unanswered_keep_no_others_from_being_read(database, counting, start_syncd):
    stalled = [f"a/{number}" for number in range(OPENINGS)]
    counting.append(messages(0, 2))
    counting.stalled = tuple(stalled)
    # All places are theirs before it is the other's turn, until a fifteenth of the longest silence is over.
    syncd = start_syncd([*stalled, "b"], server_url=counting.url, **{**PATIENT, "SYNCD_IDLE_TIMEOUT": "90s"})
    wait_rows(database, messages(0, 2), syncd, "b")
    assert [counting.gets(name) for name in stalled] == [1] * OPENINGS, "given up instead"
    assert syncd.stop() == 0
