# SPDX-License-Identifier: Apache-2.0
"""The connection is gone while a command is under way: what became of it is looked up, never guessed."""
import os

import ds
import pytest
from test_syncd_source_faults import FAST, messages, rows, wait_rows

STREAM = "lost/answer"
FAULT_BINARY = str(ds.ROOT / "build/fault/bin/syncd")


@pytest.mark.parametrize("point, size", [
    ("writer.small_sent", 3), ("writer.copy_sent", 400), ("writer.commit_sent", 400)])
def test_an_answer_that_never_came_costs_and_doubles_nothing(point, size, folder, database, server):
    """The fault point drops the connection right behind the command, which Postgres may still run."""
    if not os.access(FAULT_BINARY, os.X_OK):
        pytest.fail("build/fault/bin/syncd does not exist: cmake --preset fault && cmake --build build/fault")
    log = folder / "faults"
    server.create(STREAM)
    syncd = ds.Syncd(folder, server.url, database[0], [STREAM], binary=FAULT_BINARY, environment={
        **FAST, "DS_FAULT": f"{point}:fail:3", "DS_FAULT_LOG": str(log)}).wait_ready()
    try:
        for turn in range(8):
            server.append(STREAM, messages(turn * size, size))
            wait_rows(database, messages(0, (turn + 1) * size), syncd, STREAM)
        assert log.read_text().startswith(point), "the fault point was not passed"
        assert "event=postgres.down" in syncd.log_text()
        assert "event=stream" not in syncd.log_text(), "the stream itself had no trouble"
        assert rows(database[1], STREAM) == list(enumerate(messages(0, 8 * size)))
    finally:
        assert syncd.stop() == 0
