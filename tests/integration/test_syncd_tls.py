# SPDX-License-Identifier: Apache-2.0
"""syncd towards a server that wants to be sure: TLS, client certificates, tokens; and their renewal."""
import shutil
import signal

import certificates
import ds
import pytest
from fake_server import FakeServer
from test_syncd_source_faults import FAST, messages, wait_rows

STREAM = "tls/stream"


class Stand:
    """A ds-server with TLS that asks for certificates, and who may be trusted."""

    def __init__(self, folder):
        self.folder = folder
        self.ours = certificates.Authority(folder, "ours")
        self.other = certificates.Authority(folder, "other")
        self.test = self.ours.sign("test")
        self.server = ds.DsServer(folder, name="tls-server", tls=self.ours.context(self.test),
                                  environment=certificates.settings(self.ours.sign("server"), self.ours.cert))
        self.server.wait_ready()

    def settings(self, pair, ca=None):
        return {**FAST, "SYNCD_DS_CA_FILE": str(ca or self.ours.cert),
                "SYNCD_DS_CERT_FILE": str(pair.cert), "SYNCD_DS_KEY_FILE": str(pair.key)}


@pytest.fixture
def stand(folder):
    stand = Stand(folder)
    yield stand
    stand.server.stop()


def state(syncd):
    return syncd.status()["streams"][0]


def test_rows_come_over_tls_with_a_client_certificate(stand, database, start_syncd):
    stand.server.create(STREAM)
    stand.server.append(STREAM, messages(0, 3))
    syncd = start_syncd([STREAM], server_url=stand.server.url, **stand.settings(stand.ours.sign("syncd")))
    wait_rows(database, messages(0, 3), syncd, STREAM)
    stand.server.append(STREAM, messages(3, 3))
    wait_rows(database, messages(0, 6), syncd, STREAM)


def test_a_server_that_is_not_trusted_gets_no_request_and_the_log_says_what_to_do(stand, start_syncd):
    syncd = start_syncd([STREAM], server_url=stand.server.url, wait=False,
                        **stand.settings(stand.ours.sign("syncd"), ca=stand.other.cert))
    syncd.wait_log("event=source.refused")
    ds.wait_until(lambda: "certificate" in state(syncd)["reason"], what="the reason in /status")
    assert ds.http("GET", f"{syncd.url}/readyz")[0] == 503
    assert f"/v1/stream/{STREAM}" not in stand.server.log_text()


@pytest.mark.parametrize("first", ["expired", "stranger"])
def test_a_client_certificate_that_is_renewed_in_its_file_is_used_without_a_restart(
        first, stand, database, start_syncd):
    bad = {"expired": lambda: stand.ours.sign("old", days_from=-3, days_to=-1),
           "stranger": lambda: stand.other.sign("stranger")}[first]()
    good = stand.ours.sign("syncd")
    stand.server.create(STREAM)
    stand.server.append(STREAM, messages(0, 3))
    settings = stand.settings(bad)
    syncd = start_syncd([STREAM], server_url=stand.server.url, wait=False, **settings)
    syncd.wait_log("event=source.re")                 # retry or refused, by when the server's alert comes
    shutil.copy(good.cert, bad.cert)
    shutil.copy(good.key, bad.key)
    wait_rows_when_migrated(database, messages(0, 3), syncd)


def test_a_ca_that_is_renewed_in_its_file_is_trusted_without_a_restart(stand, folder, database, start_syncd):
    ca = folder / "ca.pem"
    shutil.copy(stand.other.cert, ca)
    stand.server.create(STREAM)
    stand.server.append(STREAM, messages(0, 3))
    syncd = start_syncd([STREAM], server_url=stand.server.url, wait=False,
                        **stand.settings(stand.ours.sign("syncd"), ca=ca))
    syncd.wait_log("event=source.refused")
    shutil.copy(stand.ours.cert, ca)
    wait_rows_when_migrated(database, messages(0, 3), syncd)


def wait_rows_when_migrated(database, expected, syncd):
    syncd.wait_ready()
    wait_rows(database, expected, syncd, STREAM)


def test_a_token_is_shown_and_one_that_is_renewed_in_its_file_is_read_without_a_restart(
        folder, database, start_syncd):
    file = folder / "token"
    file.write_text("first\n")
    fake = FakeServer()
    fake.token = "first"
    fake.append(messages(0, 2))
    try:
        syncd = start_syncd(["faulty/stream"], server_url=fake.url, SYNCD_DS_TOKEN_FILE=str(file), **FAST)
        wait_rows(database, messages(0, 2), syncd)
        fake.token = "second"
        fake.cut_all()
        syncd.wait_log("event=source.refused")
        file.write_text("second\n")
        fake.append(messages(2, 2))
        wait_rows(database, messages(0, 4), syncd)
    finally:
        fake.stop()


NAMES = [f"faulty/{number}" for number in range(8)]
# Who waits for SYNCD_BACKOFF_MAX waits for longer than the test.
PATIENT = {**FAST, "SYNCD_IDLE_TIMEOUT": "1h", "SYNCD_BACKOFF_MAX": "1h"}


class RefusingServer(FakeServer):
    """Tells who it refuses, before it does."""

    def __init__(self, on_refused=lambda refused: None):
        super().__init__()
        self.on_refused = on_refused
        self.refused = set()
        self.token = "second"
        self.append(messages(0, 2))

    def _answer(self, connection, method, target, fields):
        if fields.get("authorization") != f"Bearer {self.token}":
            with self.changed:
                self.refused.add(target)
                self.on_refused(self.refused)
        return super()._answer(connection, method, target, fields)


def test_a_token_that_is_renewed_is_shown_for_every_stream_at_once_after_a_hangup(folder, database, start_syncd):
    file = folder / "token"
    file.write_text("first\n")
    server = RefusingServer()
    try:
        syncd = start_syncd(NAMES, server_url=server.url, wait=False, SYNCD_DS_TOKEN_FILE=str(file), **PATIENT)
        ds.wait_until(lambda: len(server.refused) == len(NAMES), what="every stream to be refused")
        file.write_text("second\n")
        syncd.signal(signal.SIGHUP)
        for name in NAMES:
            wait_rows(database, messages(0, 2), syncd, name)
    finally:
        server.stop()


def test_a_token_that_one_stream_finds_renewed_is_shown_for_every_stream_at_once(folder, database, start_syncd):
    file = folder / "token"
    file.write_text("first\n")
    server = RefusingServer(lambda refused: len(refused) == len(NAMES) and file.write_text("second\n"))
    try:
        syncd = start_syncd(NAMES, server_url=server.url, wait=False, SYNCD_DS_TOKEN_FILE=str(file), **PATIENT).wait_ready()
        for name in NAMES:
            wait_rows(database, messages(0, 2), syncd, name)
    finally:
        server.stop()


def test_a_token_that_cannot_be_read_is_told_once_and_not_by_each_stream(folder, database, start_syncd):
    file = folder / "token"
    file.write_text("first\n")
    server = RefusingServer(lambda refused: file.unlink(missing_ok=True))
    try:
        syncd = start_syncd(NAMES, server_url=server.url, wait=False, SYNCD_DS_TOKEN_FILE=str(file),
                            **{**PATIENT, "SYNCD_BACKOFF_MAX": "200ms"})
        for name in NAMES:
            ds.wait_until(lambda: sum(name in target for _, target in list(server.requests)) >= 3,
                          what=f"{name} to be refused again and again")
        assert syncd.log_text().count("event=secret.unreadable") == 1
        syncd.signal(signal.SIGHUP)
        ds.wait_until(lambda: syncd.log_text().count("event=secret.unreadable") == 2, what="who asked to be told")
        with server.changed:
            server.on_refused = lambda refused: None
        file.write_text("second\n")
        for name in NAMES:
            wait_rows(database, messages(0, 2), syncd, name)
    finally:
        server.stop()
