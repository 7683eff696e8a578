# SPDX-License-Identifier: Apache-2.0
"""What the log says while a server fails: the fact once for all streams, and a stream that fails alone by its name."""
import ds
import pytest
from fake_server import FakeServer
from test_syncd_source_faults import FAST, messages, wait_rows

STREAMS = 40
NAMES = [f"many/{number:02}" for number in range(STREAMS)]
# A quiet read is not one that failed.
PATIENT = {**FAST, "SYNCD_IDLE_TIMEOUT": "1h"}


class MoodyServer(FakeServer):
    """Answers whatever is asked of some streams with a status of its own."""

    def __init__(self):
        super().__init__()
        self.status = {}                       # by the end of the path

    def asked(self, name):
        return sum(name in target for _, target in list(self.requests))

    def _answer(self, connection, method, target, fields):
        path = target.partition("?")[0]
        for name, status in list(self.status.items()):
            if path.endswith(name):
                self._reply(connection, status, {}, b"" if method != "HEAD" else None)
                return True
        return super()._answer(connection, method, target, fields)


@pytest.fixture
def moody():
    server = MoodyServer()
    yield server
    server.stop()


def warnings(syncd, *texts):
    return [line for line in syncd.log_text().splitlines()
            if " level=warn " in line and all(text in line for text in texts)]


@pytest.mark.parametrize("status, event", [(500, "source.retry"), (401, "source.refused")])
def test_a_server_that_fails_for_all_streams_is_told_of_once_and_not_by_each_stream(
        status, event, database, moody, start_syncd):
    moody.append(messages(0, 2))
    moody.status = {name: status for name in NAMES}
    syncd = start_syncd(NAMES, server_url=moody.url, wait=False, **PATIENT)
    for name in NAMES:
        ds.wait_until(lambda: moody.asked(name) >= 5, what=f"{name} to be tried again and again")
    ds.wait_until(lambda: warnings(syncd, f"event={event}", "server=default", f"streams={STREAMS} ", f"answers {status}"),
                  what="all of them to be told of")
    assert len(warnings(syncd, f"event={event}", " stream=", f"answers {status}")) == 1, syncd.log_end(60)
    moody.status = {}
    for name in NAMES:
        wait_rows(database, messages(0, 2), syncd, name)
    syncd.wait_log("the server answers again")
    assert [line for line in syncd.log_text().splitlines()
            if "the server answers again" in line and f"streams={STREAMS} " in line]


def test_a_stream_that_fails_alone_is_named_and_again_when_the_reason_changes(database, moody, start_syncd):
    moody.append(messages(0, 2))
    bad, *good = NAMES[:5]
    moody.status = {bad: 500}
    syncd = start_syncd(NAMES[:5], server_url=moody.url, **PATIENT)
    for name in good:
        wait_rows(database, messages(0, 2), syncd, name)
    ds.wait_until(lambda: moody.asked(bad) >= 20, what="it to be tried again and again")
    assert len(warnings(syncd, "event=source.retry", f" stream={bad} ", "answers 500")) == 1, syncd.log_end(60)
    moody.status = {bad: 503}
    ds.wait_until(lambda: warnings(syncd, "event=source.retry", f" stream={bad} ", "answers 503"),
                  what="the other reason to be told")
    moody.status = {}
    wait_rows(database, messages(0, 2), syncd, bad)
    syncd.wait_log("the server answers again")
