# SPDX-License-Identifier: Apache-2.0
"""The connection is gone while a command is under way: what became of it is looked up, never guessed."""
import os

import ds
import psycopg2
import pytest
from test_syncd_source_faults import FAST, messages, rows, wait_rows

STREAM = "lost/answer"
FAULT_BINARY = str(ds.ROOT / "build/fault/bin/syncd")


@pytest.fixture
def faulty(folder, database, server):
    """faulty(point): a syncd in which something happens at that point."""
    if not os.access(FAULT_BINARY, os.X_OK):
        pytest.fail("build/fault/bin/syncd does not exist: cmake --preset fault && cmake --build build/fault")
    started = []

    def start(point, **environment):
        started.append(ds.Syncd(folder, server.url, database[0], [STREAM], binary=FAULT_BINARY, environment={
            **FAST, "DS_FAULT": point, "DS_FAULT_LOG": str(folder / "faults"), **environment}))
        return started[-1]
    yield start
    for syncd in started:
        syncd.stop()


@pytest.mark.parametrize("point, size", [
    ("writer.small_sent", 3), ("writer.copy_sent", 400), ("writer.commit_sent", 400)])
def test_an_answer_that_never_came_costs_and_doubles_nothing(point, size, folder, database, server, faulty):
    """The fault point drops the connection right behind the command, which Postgres may still run."""
    server.create(STREAM)
    syncd = faulty(f"{point}:fail:3").wait_ready()
    for turn in range(8):
        server.append(STREAM, messages(turn * size, size))
        wait_rows(database, messages(0, (turn + 1) * size), syncd, STREAM)
    assert (folder / "faults").read_text().startswith(point), "the fault point was not passed"
    assert "event=postgres.down" in syncd.log_text()
    assert "event=stream" not in syncd.log_text(), "the stream itself had no trouble"
    assert rows(database[1], STREAM) == list(enumerate(messages(0, 8 * size)))
    assert syncd.stop() == 0


@pytest.fixture
def locker(database):
    """Another session, in a transaction."""
    connection = psycopg2.connect(database[0])
    yield connection
    connection.close()


@pytest.mark.parametrize("point", ["writer.load_silent", "writer.small_silent"])
def test_a_stream_does_not_rest_since_a_connection_is_silent(point, database, server, faulty, start_syncd, locker):
    """What takes too long, Postgres itself ends.  Where it says nothing at all, the connection is to blame, and
    behind another one the stream goes on at once."""
    server.create(STREAM)
    server.append(STREAM, messages(0, 3))
    if point == "writer.load_silent":
        first = start_syncd([STREAM], **FAST)
        wait_rows(database, messages(0, 3), first, STREAM)
        assert first.stop() == 0
    else:
        syncd = faulty(f"{point}:fail:2").wait_ready()
        wait_rows(database, messages(0, 3), syncd, STREAM)
    # So there is no answer while the fault point's patience lasts.
    locker.cursor().execute("SELECT FROM ds_sync.stream_offset FOR UPDATE")
    server.append(STREAM, messages(3, 3))
    if point == "writer.load_silent":
        syncd = faulty(f"{point}:fail:1")
    syncd.wait_log("no answer within")
    locker.rollback()
    wait_rows(database, messages(0, 6), syncd, STREAM)
    assert "event=stream" not in syncd.log_text(), "the stream itself had no trouble"
