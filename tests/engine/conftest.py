# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the engine with the probe's handler, one process per test that asks for settings."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ds  # noqa: E402  (the path above comes first)


def start_probe(folder, **environment):
    return ds.DsServer(folder, binary=ds.program("http_probe"), name="http_probe",
                       environment=environment).wait_ready()


@pytest.fixture
def probe():
    """probe(**settings) -> a running probe; stopped afterwards, and it must end well."""
    started = []
    folder = ds.temporary_folder("ds-test-engine-")

    def start(**environment):
        started.append(start_probe(folder, **environment))
        return started[-1]

    yield start
    complaints = ds.stop_all(started)
    logs = "".join(process.log_end() for process in started)
    ds.remove_folder(folder)
    assert not complaints, f"{complaints}\n{logs}"


@pytest.fixture(scope="session")
def shared():
    """One probe with the settings of a plain start, for tests that leave nothing behind."""
    folder = ds.temporary_folder("ds-test-engine-")
    process = start_probe(folder)
    yield process
    status = process.stop()
    log = process.log_end(60)
    ds.remove_folder(folder)
    assert status == 0, log
