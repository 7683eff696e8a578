# SPDX-License-Identifier: Apache-2.0
"""TLS: who is let in, with what, and what becomes of those who do not go on.

That the engine behaves the same with and without TLS is test_http_engine.py, which runs with both.
"""
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import certificates
import ds
from http_wire import Closed, Wire, get

CUT = (ssl.SSLError, ConnectionResetError, BrokenPipeError, Closed)


@pytest.fixture(scope="module")
def pair(authority):
    return authority.sign("tls")


@pytest.fixture
def serve():
    """serve(settings, tls) -> ds-server itself; stopped afterwards, and it must end well."""
    started = []
    folder = ds.temporary_folder("ds-test-tls-")

    def start(settings, tls):
        started.append(ds.DsServer(folder, environment=settings, tls=tls))
        started[-1].wait_http(f"{started[-1].admin_url}/healthz")
        return started[-1]

    yield start
    complaints = ds.stop_all(started)
    logs = "".join(process.log_end() for process in started)
    ds.remove_folder(folder)
    assert not complaints, f"{complaints}\n{logs}"


def health(server, tls=None):
    with Wire(server.port, tls=tls or server.tls) as wire:
        return wire.ask(get("/healthz")).status


def metric(server, name):
    text = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
    return next(int(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def start_fails(**settings):
    """The exit status and the last log line of a server that must not start."""
    done = subprocess.run([ds.program("ds-server"), "--listen", "127.0.0.1:0", "--admin-listen", "off"],
                          env={**os.environ, **settings}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines()[-1]


# ---- who believes whom ----

def test_a_client_that_does_not_know_the_authority_refuses_the_server(serve, authority, pair, tmp_path):
    server = serve(certificates.settings(pair), authority.context())
    assert health(server) == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        health(server, certificates.Authority(tmp_path, "stranger").context())
    assert health(server) == 200


def test_an_expired_certificate_is_warned_of_and_refused_by_clients(serve, authority):
    server = serve(certificates.settings(authority.sign("old", -10, -1)), authority.context())
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        health(server)
    server.wait_log("server.certificate_expires")
    assert metric(server, "ds_tls_certificate_expires_seconds") < time.time()


def test_a_certificate_that_lasts_is_not_warned_of(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    assert health(server) == 200
    assert "server.certificate" not in server.log_text()
    left = metric(server, "ds_tls_certificate_expires_seconds") - time.time()
    assert 29 * 86400 < left < 31 * 86400


def test_only_clients_of_the_client_authority_are_served(serve, authority, pair, tmp_path):
    clients = certificates.Authority(tmp_path, "clients")
    server = serve(certificates.settings(pair, clients.cert), authority.context())
    assert health(server, authority.context(clients.sign("good"))) == 200
    for stranger in (None, authority.sign("other"), clients.sign("late", -10, -1),
                     clients.sign("early", 1, 2)):
        with pytest.raises(CUT):
            health(server, authority.context(stranger))
    assert metric(server, "ds_tls_handshakes_failed_total") == 4
    assert health(server, authority.context(clients.sign("again"))) == 200


@pytest.mark.parametrize("minimum, maximum, client, welcome", [
    ("1.2", "1.3", ssl.TLSVersion.TLSv1_2, True), ("1.2", "1.3", ssl.TLSVersion.TLSv1_3, True),
    ("1.3", "1.3", ssl.TLSVersion.TLSv1_2, False), ("1.2", "1.2", ssl.TLSVersion.TLSv1_3, False)])
def test_only_the_versions_asked_for_are_spoken(serve, authority, pair, minimum, maximum, client, welcome):
    server = serve({**certificates.settings(pair), "DS_TLS__MIN_VERSION": minimum,
                    "DS_TRANSPORT__TLS__MAX_VERSION": maximum}, authority.context())
    context = authority.context()
    context.minimum_version = context.maximum_version = client
    if welcome:
        assert health(server, context) == 200
    else:
        with pytest.raises(CUT):
            health(server, context)


def test_http_1_1_is_chosen_and_a_client_that_wants_other_things_is_refused(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    for offered in (["http/1.1"], ["h2", "http/1.1"]):
        context = authority.context()
        context.set_alpn_protocols(offered)
        with Wire(server.port, tls=context) as wire:
            assert wire.socket.selected_alpn_protocol() == "http/1.1"
    context.set_alpn_protocols(["h2"])
    with pytest.raises(CUT):
        health(server, context)


# ---- the connection ----

def test_a_plain_client_is_told_what_is_wrong(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    with Wire(server.port) as wire:
        reply = wire.ask(get("/healthz"))
        assert (reply.status, reply.body) == (400, b"this port speaks https only\n")
        assert wire.is_closed()


def test_the_admin_listener_stays_plain(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    with Wire(server.admin_port) as wire:
        assert wire.ask(get("/metrics")).status == 200


@pytest.mark.parametrize("last", ["/status?204", "/echo", "/stream?3", "/absent"])
def test_a_whole_reply_ends_with_a_goodbye(probe, last):
    server = probe()
    with Wire(server.port, tls=server.tls) as wire:
        wire.ask(get(last, "Connection: close"))
        assert wire.socket.recv(1) == b""        # raises when TLS does not say that it ends


def test_idle_connections_are_told_goodbye_when_the_server_stops(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    with Wire(server.port, tls=server.tls) as wire:
        assert wire.ask(get("/healthz")).status == 200
        server.signal(signal.SIGTERM)
        assert wire.socket.recv(1) == b""


def test_the_location_of_a_new_stream_is_https_unless_a_proxy_says_otherwise(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    for number, (said, scheme) in enumerate([
            (None, "https"), ("http", "http"), ("https, http", "https"), ("http,https", "http"),
            ("HTTPS", "https"), ("gopher", "https"), ("", "https")]):
        fields = [] if said is None else [f"X-Forwarded-Proto: {said}"]
        with Wire(server.port, tls=server.tls) as wire:
            reply = wire.ask(get(f"/v1/stream/{number}", *fields, method="PUT"))
            assert reply["Location"] == f"{scheme}://h/v1/stream/{number}", said


def session_of(server, context, session=None):
    """A session to resume with, and whether this one was resumed."""
    with socket.create_connection(("127.0.0.1", server.port), ds.HANG_SECONDS) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as tls:
            tls.sendall(get("/healthz").encode())
            assert tls.recv(100).startswith(b"HTTP/1.1 200")
            return tls.session, tls.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_until_the_certificate_is_loaded_anew(serve, authority, pair, version):
    server = serve(certificates.settings(pair), authority.context())
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    session, resumed = session_of(server, context)
    assert not resumed
    session, resumed = session_of(server, context, session)
    assert resumed
    server.signal(signal.SIGHUP)
    server.wait_log("was loaded anew")
    assert not session_of(server, context, session)[1]


def s_client(server, authority, version, script):
    """What openssl s_client prints when the lines of script are typed."""
    child = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", authority.cert,
         f"-{version}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = b""
    try:
        for line, answer in script:
            child.stdin.write(line.encode())
            child.stdin.flush()
            end = time.monotonic() + ds.HANG_SECONDS
            while answer not in out and time.monotonic() < end:
                data = os.read(child.stdout.fileno(), 65536)
                if not data:
                    break
                out += data
            assert answer in out, out.decode(errors="replace")
    finally:
        child.kill()
        child.communicate()
    return out


def test_a_client_may_change_its_keys(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    request = "GET /healthz HTTP/1.1\nHost: h\n\n".replace("\n", "\r\n")
    s_client(server, authority, "tls1_3", [("", b"Verify return code: 0"), ("K\n", b"KEYUPDATE"),
                                           (request, b"HTTP/1.1 200 OK")])


def test_a_client_may_not_negotiate_again(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    s_client(server, authority, "tls1_2", [("", b"Verify return code: 0"), ("R\n", b"no renegotiation")])
    assert health(server) == 200


@pytest.mark.parametrize("mode", ["file-durable", "acid"])
def test_what_lies_on_disk_comes_through_tls_as_it_is(serve, authority, pair, tmp_path, mode):
    server = serve({**certificates.settings(pair), "DS_STORAGE__MODE": mode,
                    "DS_STORAGE__DATA_DIR": str(tmp_path / "data"), "DS_LIMITS__MAX_CACHE_BYTES": "0",
                    "DS_STORAGE__CHECKPOINT_INTERVAL": "10ms"}, authority.context())
    chance = random.Random(4439)
    payload = chance.randbytes(3000000)
    server.create("disk", "application/octet-stream")
    for at in range(0, len(payload), 100000):
        server.append("disk", payload[at:at + 100000], "application/octet-stream")
    server.stop()
    server.start()                               # nothing of it is in memory any more
    server.wait_ready()
    for buffer in (None, 65536):
        with Wire(server.port, tls=server.tls, receive_buffer=buffer) as wire:
            got, offset = b"", "-1"
            while len(got) < len(payload):
                reply = wire.ask(get(f"/v1/stream/disk?offset={offset}"))
                got, offset = got + reply.body, reply["Stream-Next-Offset"]
            assert got == payload


# ---- clients that do not go on, or send what is not TLS ----

def client_hello(context):
    inbound, outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(inbound, outbound, server_hostname="127.0.0.1").do_handshake()
    return outbound.read()


def test_a_handshake_that_does_not_end_in_time_is_cut(serve, authority, pair):
    server = serve({**certificates.settings(pair), "DS_TLS__HANDSHAKE_TIMEOUT": "300ms"},
                   authority.context())
    hello = client_hello(authority.context())
    with Wire(server.port) as silent, Wire(server.port) as half, Wire(server.port) as dripping:
        half.send(hello[:100])
        end = time.monotonic() + ds.HANG_SECONDS
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for byte in hello * 100:
                dripping.send(bytes([byte]))
                time.sleep(0.01)                 # the trickle itself
                assert time.monotonic() < end
        assert silent.is_closed() and half.is_closed()
    assert metric(server, "ds_tls_handshakes_failed_total") == 3
    assert health(server) == 200


def test_handshakes_under_way_are_bounded(serve, authority, pair):
    server = serve({**certificates.settings(pair), "DS_LIMITS__MAX_TLS_HANDSHAKES": "3"},
                   authority.context())
    waiting = [Wire(server.port) for _ in range(3)]
    ds.wait_until(lambda: metric(server, "ds_http_connections ") >= 3)
    with Wire(server.port) as extra:
        assert extra.is_closed()
    assert metric(server, "ds_tls_handshakes_refused_total") == 1
    server.wait_log("server.handshakes_full")
    for wire in waiting:
        wire.close()
    ds.wait_until(lambda: serves(server))


def serves(server):
    try:
        return health(server) == 200
    except CUT:
        return False


def test_bytes_that_are_not_quite_tls_harm_nobody(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    hello = client_hello(authority.context())
    chance = random.Random(4437)
    for _ in range(300):
        broken = bytearray(hello)
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        broken = broken[:chance.randrange(1, len(broken) + 1)] + chance.randbytes(chance.randrange(40))
        with Wire(server.port) as wire:
            try:
                wire.send(bytes(broken))
                wire.end()
                wire.rest()
            except OSError:                      # it was cut, at whatever point
                pass
    assert health(server) == 200


def test_broken_records_behind_the_handshake_end_only_their_connection(serve, authority, pair):
    server = serve(certificates.settings(pair), authority.context())
    chance = random.Random(4438)
    for round_ in range(60):
        with Wire(server.port, tls=authority.context()) as wire:
            wire.send(get("/healthz")[:chance.randrange(20)] or "G")
            junk = chance.randbytes(chance.randrange(1, 200))
            if round_ % 2:                       # a record of the right shape that nobody encrypted
                junk = b"\x17\x03\x03" + len(junk).to_bytes(2, "big") + junk
            try:
                os.write(wire.socket.fileno(), junk)
                wire.end()
                while os.read(wire.socket.fileno(), 65536):
                    pass
            except OSError:
                pass
    assert health(server) == 200


# ---- loading anew ----

def copy(pair, to):
    shutil.copy(pair.cert, to.cert)
    shutil.copy(pair.key, to.key)


def served_certificate(server):
    with Wire(server.port, tls=server.tls) as wire:
        return dict(part[0] for part in wire.socket.getpeercert()["subject"])["commonName"]


def test_a_certificate_is_loaded_anew_under_load_without_a_failed_request(serve, authority, pair, tmp_path):
    used = certificates.Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    copy(pair, used)
    server = serve(certificates.settings(used), authority.context())
    ended = threading.Event()
    failures, counts = [], [0] * 4

    def load(index):
        """Old connections and new ones by turns."""
        try:
            while not ended.is_set():
                with Wire(server.port, tls=authority.context()) as wire:
                    for _ in range(5):
                        assert wire.ask(get("/healthz")).status == 200
                        counts[index] += 1
        except Exception as error:               # every one is a finding
            failures.append(repr(error))

    threads = [threading.Thread(target=load, args=(index,)) for index in range(len(counts))]
    for thread in threads:
        thread.start()
    with Wire(server.port, tls=server.tls) as old:
        for number in range(5):
            copy(authority.sign(f"new{number}"), used)
            server.signal(signal.SIGHUP)
            ds.wait_until(lambda: served_certificate(server) == f"new{number}")
            before = sum(counts)
            ds.wait_until(lambda: failures or sum(counts) > before + 20)
        assert old.ask(get("/healthz")).status == 200
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("spoil", ["cert", "key", "mixed", "gone"])
def test_a_bad_file_keeps_the_old_certificate(serve, authority, pair, tmp_path, spoil):
    used = certificates.Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    copy(pair, used)
    server = serve(certificates.settings(used), authority.context())
    if spoil == "mixed":
        shutil.copy(authority.sign("else").key, used.key)
    elif spoil == "gone":
        used.cert.unlink()
    else:
        (used.cert if spoil == "cert" else used.key).write_text("nonsense\n")
    server.signal(signal.SIGHUP)
    server.wait_log("server.certificate_invalid")
    assert served_certificate(server) == "tls"
    copy(authority.sign("mended"), used)
    server.signal(signal.SIGHUP)
    ds.wait_until(lambda: served_certificate(server) == "mended")


def test_sighup_without_tls_is_no_reason_to_end(serve):
    server = serve({}, None)
    server.signal(signal.SIGHUP)
    for _ in range(3):
        assert health(server) == 200


# ---- starting ----

def test_a_start_with_unusable_files_says_which_and_why(authority, pair, tmp_path):
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense\n")
    secret = tmp_path / "secret.key"
    certificates.openssl("ec", "-in", pair.key, "-aes256", "-passout", "pass:x", "-out", secret)
    other = authority.sign("other-key")
    cases = [
        ({"DS_TLS__CERT_PATH": str(pair.cert)}, 2, "DS_TLS__KEY_PATH is not"),
        ({"DS_TLS__KEY_PATH": str(pair.key)}, 2, "DS_TLS__CERT_PATH is not"),
        ({"DS_TLS__CLIENT_CA_PATH": str(pair.cert)}, 2, "without DS_TLS__CERT_PATH"),
        ({"DS_TRANSPORT__MODE": "tls"}, 2, "set DS_TLS__CERT_PATH"),
        ({**certificates.settings(pair), "DS_TRANSPORT__MODE": "mtls"}, 2, "set DS_TLS__CLIENT_CA_PATH"),
        ({**certificates.settings(pair), "DS_TRANSPORT__MODE": "http"}, 2, "remove one"),
        ({**certificates.settings(pair, authority.cert), "DS_TRANSPORT__MODE": "tls"}, 2, "mtls"),
        ({**certificates.settings(pair), "DS_TLS__MIN_VERSION": "1.3", "DS_TLS__MAX_VERSION": "1.2"}, 2,
         "above"),
        ({**certificates.settings(pair), "DS_TLS__MIN_VERSION": "1.1"}, 2, "1.2 or 1.3"),
        (certificates.settings(certificates.Pair("/nonexistent", pair.key)), 1, "No such file"),
        (certificates.settings(certificates.Pair(nonsense, pair.key)), 1, "no start line"),
        (certificates.settings(certificates.Pair(pair.cert, nonsense)), 1, str(nonsense)),
        (certificates.settings(certificates.Pair(pair.cert, secret)), 1, str(secret)),
        (certificates.settings(certificates.Pair(pair.cert, other.key)), 1, "key values mismatch"),
        (certificates.settings(pair, nonsense), 1, "client CA"),
    ]
    for settings, status, text in cases:
        returned, line = start_fails(**settings)
        assert (returned, text in line) == (status, True), f"{settings}: {returned} {line}"


@pytest.mark.parametrize("mode, warned", [(0o600, False), (0o640, False), (0o644, True), (0o620, True)])
def test_a_key_that_others_can_read_is_warned_of(serve, authority, pair, tmp_path, mode, warned):
    used = certificates.Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    copy(pair, used)
    used.key.chmod(mode)
    server = serve(certificates.settings(used), authority.context())
    assert ("server.key_exposed" in server.log_text()) == warned
