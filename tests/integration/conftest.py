# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one Postgres per run, a database and a ds-server of one's own per test."""
import os
import re
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ds  # noqa: E402  (the path above comes first)


@pytest.fixture(scope="session")
def postgres_server():
    folder = ds.temporary_folder("ds-test-postgres-")
    server = ds.Postgres(folder, settings={"fsync": "off"}).start()
    yield server
    server.stop()
    ds.remove_folder(folder)


@pytest.fixture(scope="session")
def sanitizer_folder():
    """Where programs built with sanitizers leave their reports, also those that are killed afterwards."""
    folder = ds.temporary_folder("ds-test-sanitizer-")
    for variable in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
        given = os.environ.get(variable)
        os.environ[variable] = f"{given + ':' if given else ''}log_path={folder}/report"
    yield folder
    ds.remove_folder(folder)


@pytest.fixture(autouse=True)
def no_sanitizer_reports(sanitizer_folder):
    """Most tests do not look at how a program ended: a report fails the test all the same."""
    yield
    for report in sorted(sanitizer_folder.glob("report.*")):
        text = report.read_text(errors="replace")
        report.unlink()
        pytest.fail(f"a sanitizer reports:\n{text}")


def lines_without_place(path):
    """What syncd said about a stream, whatever the test was about, and not where that stands.  Of one for which
    there was no room nobody knows."""
    return [line for log in sorted(path.glob("*.log")) for line in log.read_text(errors="replace").splitlines(True)
            if line.endswith("\n") and re.search(r'\bscope("?[:=]"?)syncd\b.*[ "]stream\1', line)
            and "directory.full" not in line and not re.search(r'[ "]offset"?[:=].*[ "]epoch"?[:=]', line)]


@pytest.fixture
def folder():
    path = ds.temporary_folder("ds-test-")
    yield path
    found = lines_without_place(path)
    ds.remove_folder(path)
    assert found == []


@pytest.fixture
def database(postgres_server):
    """(url, psycopg2 connection) of an empty database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = postgres_server.create_database(name)
    connection = postgres_server.connect(name)
    yield url, connection
    connection.close()
    admin = postgres_server.connect()
    admin.cursor().execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.close()


@pytest.fixture
def server(folder):
    """A ds-server in memory mode with a short long-poll."""
    process = ds.DsServer(folder, environment={
        "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "500ms"}).wait_ready()
    yield process
    assert process.stop() == 0, process.log_end()


@pytest.fixture
def start_syncd(folder, database, server):
    """start_syncd(streams, **environment) -> a running Syncd; all are stopped afterwards."""
    started = []

    def start(streams, server_url=None, wait=True, **environment):
        process = ds.Syncd(folder, server_url or server.url, database[0], streams,
                           environment=environment, name=f"syncd-{len(started)}")
        started.append(process)
        return process.wait_ready() if wait else process

    yield start
    for process in started:
        process.stop()
