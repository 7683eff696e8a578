# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the engine with the probe's handler, one process per test that asks for settings."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import certificates  # noqa: E402  (the path above comes first)
import ds  # noqa: E402


@pytest.fixture(scope="session")
def authority():
    folder = ds.temporary_folder("ds-test-ca-")
    yield certificates.Authority(folder)
    ds.remove_folder(folder)


@pytest.fixture(scope="session", params=["plain", "tls"])
def transport(request, authority):
    """How the main listener is spoken to: settings for the server, and a context for its clients."""
    if request.param == "plain":
        return {}, None
    return certificates.settings(authority.sign("server")), authority.context()


def start_probe(folder, transport, **environment):
    settings, tls = transport
    return ds.DsServer(folder, binary=ds.program("http_probe"), name="http_probe",
                       environment={**settings, **environment}, tls=tls).wait_ready()


@pytest.fixture
def probe(transport):
    """probe(**settings) -> a running probe; stopped afterwards, and it must end well."""
    started = []
    folder = ds.temporary_folder("ds-test-engine-")

    def start(**environment):
        started.append(start_probe(folder, transport, **environment))
        return started[-1]

    yield start
    complaints = ds.stop_all(started)
    logs = "".join(process.log_end() for process in started)
    ds.remove_folder(folder)
    assert not complaints, f"{complaints}\n{logs}"


@pytest.fixture(scope="session")
def shared(transport):
    """One probe with the settings of a plain start, for tests that leave nothing behind."""
    folder = ds.temporary_folder("ds-test-engine-")
    process = start_probe(folder, transport)
    yield process
    status = process.stop()
    log = process.log_end(60)
    ds.remove_folder(folder)
    assert status == 0, log
