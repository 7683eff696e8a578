# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of ds-server: webhooks against receivers of every temper, pull-wake, restarts.

Signatures are verified, and service tokens signed, by the openssl program.
"""
import base64
import http.server
import json
import queue
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import ds
import pytest

OPEN = {"DS_HTTP__ALLOW_INSECURE_WEBHOOKS": "true", "DS_HTTP__ALLOW_UNAUTHENTICATED_CLAIMS": "true"}
JSON = {"Content-Type": "application/json"}
DURABLE = ["file-durable", "acid"]


class HookServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256       # many webhooks come at once


class Receiver:
    """A webhook receiver.  answers: callables (handler, notification), one per request, the last for
    all that follow; requests: what came."""

    def __init__(self, *answers, tls=None):
        self.answers = list(answers) or [accept]
        self.requests = queue.Queue()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                came = {"body": json.loads(body), "raw": body, "time": time.monotonic(),
                        "signature": self.headers["Webhook-Signature"], "headers": self.headers}
                receiver.requests.put(came)
                act = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                try:
                    act(self, came)
                except OSError:
                    pass                      # the server did not wait

            def log_message(self, *_):
                pass

        self.server = HookServer(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}/hook"

    def next(self, seconds=ds.HANG_SECONDS):
        return self.requests.get(timeout=seconds)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def answer(status, body=b"", headers=()):
    def act(handler, _):
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    return act


accept = answer(200, b"{}")
done = answer(200, b'{"done": true}')
fail = answer(500)


def stall(handler, _):
    """Until the server gives up."""
    handler.connection.settimeout(ds.HANG_SECONDS)
    handler.connection.recv(1)


@pytest.fixture
def receiver():
    made = []

    def make(*answers, **options):
        made.append(Receiver(*answers, **options))
        return made[-1]
    yield make
    for one in made:
        one.close()


@pytest.fixture
def start(folder):
    started = []

    def begin(**environment):
        process = ds.DsServer(folder, environment={**OPEN, **environment},
                              name=f"ds-server-{len(started)}").wait_ready()
        started.append(process)
        return process
    yield begin
    for process in started:
        if process.alive():
            assert process.stop() == 0, process.log_end()


def call(server, method, path, body=None, token=None, url=None):
    headers = {**JSON, **({"Authorization": f"Bearer {token}"} if token else {})}
    status, _, text = ds.http(method, url or server.stream_url(f"__ds/{path}"),
                              None if body is None else json.dumps(body).encode(), headers)
    return status, json.loads(text) if text else None


def subscribe(server, name, status=201, **fields):
    got, view = call(server, "PUT", f"subscriptions/{name}", fields)
    assert got == status, view
    return view


def webhook(server, name, receiver, **fields):
    return subscribe(server, name, type="webhook", webhook={"url": receiver.url}, **fields)


def view(server, name):
    status, body = call(server, "GET", f"subscriptions/{name}")
    assert status == 200
    return body


def cursors(server, name):
    return {link["path"]: link["acked_offset"] for link in view(server, name)["streams"]}


def tail_of(server, name):
    status, headers, _ = ds.http("HEAD", server.stream_url(name))
    assert status == 200
    return headers["Stream-Next-Offset"]


def acked(server, name, path):
    return cursors(server, name).get(path) == tail_of(server, path)


def claim(server, name, worker="w", token=None):
    return call(server, "POST", f"subscriptions/{name}/claim", {"worker": worker}, token)


def ack(server, name, wake, offset=None, path=None, finished=True, action="ack", token=None):
    body = {"wake_id": wake["wake_id"], "generation": wake["generation"]}
    if action != "release":
        body["done"] = finished
        if path:
            body["acks"] = [{"stream": path, "offset": offset}]
    return call(server, "POST", f"subscriptions/{name}/{action}", body,
                token or wake.get("token") or wake.get("callback_token"))


def unpack(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pack(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def verify(came, jwks, folder):
    """Whether openssl finds the signature good."""
    parts = dict(part.split("=", 1) for part in came["signature"].split(","))
    assert abs(int(parts["t"]) - time.time()) < 60
    x = next(key["x"] for key in jwks["keys"] if key["kid"] == parts["kid"])
    # SubjectPublicKeyInfo of Ed25519 is a fixed head and the key.
    (folder / "key.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + unpack(x))
    (folder / "signed").write_bytes(parts["t"].encode() + b"." + came["raw"])
    (folder / "signature").write_bytes(unpack(parts["ed25519"]))
    return subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", folder / "key.der",
         "-rawin", "-in", folder / "signed", "-sigfile", folder / "signature"],
        capture_output=True).returncode == 0


def jwks_of(server):
    return call(server, "GET", "jwks.json")[1]


def metric(server, series):
    text = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                if line.startswith(series + " "))


# ---- webhooks ----

def test_a_webhook_is_signed_and_done_acks_what_it_told(start, receiver, folder):
    server, hook = start(), receiver(done)
    webhook(server, "s", hook, pattern="in/*")
    server.create("in/a", body=b'{"n": 1}')
    came = hook.next()
    assert verify(came, jwks_of(server), folder)
    assert not verify({**came, "raw": came["raw"] + b" "}, jwks_of(server), folder)
    link = came["body"]["streams"][0]
    assert (link["path"], link["link_type"], link["has_pending"]) == ("in/a", "glob", True)
    assert link["tail_offset"] == tail_of(server, "in/a")
    assert came["body"]["callback_url"] == server.stream_url("__ds/subscriptions/s/callback")
    assert came["body"]["generation"] == 1
    ds.wait_until(lambda: acked(server, "s", "in/a"))
    server.append("in/a", [2])
    assert hook.next()["body"]["generation"] == 2
    ds.wait_until(lambda: acked(server, "s", "in/a"))


def test_streams_that_exist_are_followed_from_their_end_and_new_ones_from_their_beginning(start, receiver):
    server, hook = start(), receiver(done)
    server.create("in/old", body=b"[1, 2]")
    webhook(server, "s", hook, pattern="in/**", streams=["named"])
    assert cursors(server, "s") == {"in/old": tail_of(server, "in/old"), "named": "-1"}
    server.create("named", body=b"[1]")
    told = [(link["path"], link["has_pending"]) for link in hook.next()["body"]["streams"]]
    assert told == [("named", True), ("in/old", False)]
    server.create("in/deep/new", body=b"[1]")
    ds.wait_until(lambda: acked(server, "s", "in/deep/new") and acked(server, "s", "named"))
    assert ds.http("DELETE", server.stream_url("in/deep/new"))[0] == 204
    ds.wait_until(lambda: "in/deep/new" not in cursors(server, "s"))
    assert ds.http("DELETE", server.stream_url("named"))[0] == 204
    ds.wait_until(lambda: cursors(server, "s")["named"] == "-1")


def test_a_failing_receiver_is_tried_again_with_the_next_generation(start, receiver):
    server, hook = start(), receiver(fail, answer(404), done)
    webhook(server, "s", hook, pattern="in/*")
    server.create("in/a", body=b"[1]")
    first = hook.next()
    ds.wait_until(lambda: view(server, "s")["status"] == "failed")
    second, third = hook.next(), hook.next()
    assert [one["body"]["generation"] for one in (first, second, third)] == [1, 2, 3]
    assert second["time"] - first["time"] > 0.7 and third["time"] - first["time"] > 2
    ds.wait_until(lambda: acked(server, "s", "in/a"))
    assert view(server, "s")["status"] == "active"
    assert server.log_text().count("subscription.webhook_failed") == 1
    assert metric(server, 'ds_server_webhooks_total{outcome="failed"}') == 2


def test_a_receiver_that_stalls_is_given_up_with_its_lease_and_fenced_by_the_next_wake(start, receiver):
    server, hook = start(), receiver(stall, accept)
    webhook(server, "s", hook, pattern="in/*", lease_ttl_ms=1000)
    server.create("in/a", body=b"[1]")
    first, second = hook.next()["body"], hook.next()["body"]
    status, body = ack(server, "s", first, action="callback")
    assert (status, body["error"]["code"]) == (409, "FENCED")
    offset = second["streams"][0]["tail_offset"]
    assert ack(server, "s", second, offset, "in/a", action="callback") == (
        200, {"ok": True, "next_wake": False})
    assert acked(server, "s", "in/a")


def test_redirects_are_not_followed(start, receiver):
    target = receiver(done)
    for status in (301, 307, 308):
        hook = receiver(answer(status, headers=[("Location", target.url)]))
        server = start()
        webhook(server, "s", hook, pattern="in/*")
        server.create("in/a", body=b"[1]")
        hook.next()
        ds.wait_until(lambda: view(server, "s")["status"] == "failed")
        assert server.stop() == 0
    assert target.requests.empty()


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b'{"done": "true"}', b"[" * 60000])
def test_garbage_with_a_good_status_is_an_answer_and_no_more(start, receiver, body):
    server, hook = start(), receiver(answer(200, body))
    webhook(server, "s", hook, pattern="in/*")
    server.create("in/a", body=b"[1]")
    came = hook.next()["body"]
    assert not acked(server, "s", "in/a")
    assert ack(server, "s", came, finished=False, action="callback")[0] == 200
    assert view(server, "s")["status"] == "active"


def test_an_endless_answer_counts_as_a_failure(start, receiver):
    server, hook = start(), receiver(answer(200, b" " * 1000000 + b'{"done": true}'), done)
    webhook(server, "s", hook, pattern="in/*")
    server.create("in/a", body=b"[1]")
    hook.next()
    assert hook.next()["body"]["generation"] == 2
    assert "too long" in server.log_text()


def test_a_receiver_that_is_not_there_is_found_when_it_comes(start, receiver):
    server, hook = start(), receiver(done)
    port = ds.free_port()
    subscribe(server, "s", type="webhook", pattern="in/*",
              webhook={"url": f"http://127.0.0.1:{port}/hook"})
    server.create("in/a", body=b"[1]")
    ds.wait_until(lambda: view(server, "s")["status"] == "failed")
    late = HookServer(("127.0.0.1", port), hook.server.RequestHandlerClass)
    threading.Thread(target=late.serve_forever, daemon=True).start()
    hook.next()
    ds.wait_until(lambda: acked(server, "s", "in/a"))
    late.shutdown()
    late.server_close()


def test_https_webhooks_go_only_to_whom_the_certificates_vouch_for(start, receiver, folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "1",
                    "-subj", "/CN=hook", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    hook = receiver(done, tls=context)
    server = start()
    webhook(server, "s", hook, pattern="in/*")
    server.create("in/a", body=b"[1]")
    ds.wait_until(lambda: view(server, "s")["status"] == "failed")
    assert hook.requests.empty()
    server = start(DS_SUBSCRIPTIONS__WEBHOOK_CA_PATH=str(folder / "cert.pem"))
    webhook(server, "s", hook, pattern="in/*")
    server.create("in/a", body=b"[1]")
    hook.next()
    ds.wait_until(lambda: acked(server, "s", "in/a"))


def test_a_deleted_subscription_takes_no_callback_and_its_tokens_are_not_the_next_ones(start, receiver):
    server, hook = start(), receiver(accept)
    webhook(server, "s", hook, pattern="in/*")
    server.create("in/a", body=b"[1]")
    came = hook.next()["body"]
    assert call(server, "DELETE", "subscriptions/s")[0] == 204
    status, body = ack(server, "s", came, action="callback")
    assert (status, body["error"]["code"]) == (404, "SUBSCRIPTION_NOT_FOUND")
    webhook(server, "s", hook, pattern="in/*")
    server.append("in/a", [2])
    hook.next()
    status, body = ack(server, "s", came, action="callback")
    assert (status, body["error"]["code"]) == (401, "TOKEN_INVALID")


def test_addresses_inside_are_refused_when_the_switch_is_off(start):
    server = start(DS_HTTP__ALLOW_INSECURE_WEBHOOKS="false")
    for url in ["http://10.0.0.1/hook", "http://127.0.0.1/", "https://127.0.0.1/", "https://[::1]/",
                "https://169.254.169.254/", "https://0x7f000001/", "https://localhost/",
                "https://[::ffff:10.0.0.1]/", "http://example.com/", "https://a:b@example.com/"]:
        status, body = call(server, "PUT", "subscriptions/s",
                            {"type": "webhook", "pattern": "in/*", "webhook": {"url": url}})
        assert (status, body["error"]["code"]) == (400, "WEBHOOK_URL_REJECTED"), url


def test_a_name_that_leads_inside_is_refused_at_every_delivery(start):
    """The machine's own name: harmless by its text."""
    name = socket.gethostname()
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}
    except OSError:
        found = set()
    if not found or name == "localhost":
        pytest.skip("the machine's name does not resolve")
    server = start(DS_HTTP__ALLOW_INSECURE_WEBHOOKS="false")
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        listener.settimeout(0)
        subscribe(server, "s", type="webhook", pattern="in/*",
                  webhook={"url": f"https://{name}:{listener.getsockname()[1]}/"})
        server.create("in/a", body=b"[1]")
        ds.wait_until(lambda: metric(server, 'ds_server_webhooks_total{outcome="address_refused"}') >= 2)
        with pytest.raises(BlockingIOError):
            listener.accept()


# ---- pull-wake ----

def pull(server, name="p", create=True, **fields):
    if create:
        server.create(f"wake/{name}")
    return subscribe(server, name, type="pull-wake", **{"pattern": "in/*", **fields},
                     wake_stream=f"wake/{name}")


def events(server, name="p"):
    return [event["generation"] for event in server.read_json(f"wake/{name}")[0]]


def test_a_wake_event_says_which_subscription_and_stream(start):
    server = start()
    pull(server)
    server.create("in/a", body=b"[1]")
    ds.wait_until(lambda: events(server))
    event = server.read_json("wake/p")[0][0]
    assert {key: event[key] for key in ("type", "subscription_id", "stream", "generation")} == {
        "type": "wake", "subscription_id": "p", "stream": "in/a", "generation": 1}
    assert abs(event["ts"] / 1000 - time.time()) < 60


def test_of_many_workers_one_gets_the_work(start):
    server = start()
    pull(server)
    server.create("in/a", body=b"[1]")
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda n: claim(server, "p", f"w{n}"), range(64)))
    winners = [body for status, body in results if status == 200]
    assert len(winners) == 1
    losers = [body["error"] for status, body in results if status == 409]
    assert len(losers) == 63
    assert all(one["code"] == "ALREADY_CLAIMED" and one["generation"] == winners[0]["generation"]
               and one["current_holder"].startswith("w") for one in losers)


def test_a_release_wakes_again_and_an_ended_lease_too(start):
    server = start()
    pull(server, lease_ttl_ms=1000)
    server.create("in/a", body=b"[1]")
    first = claim(server, "p")[1]
    assert ack(server, "p", first, action="release")[0] == 204
    assert ack(server, "p", first, action="release")[0] == 409
    ds.wait_until(lambda: max(events(server), default=0) > first["generation"])
    second = claim(server, "p")[1]
    ds.wait_until(lambda: max(events(server)) > second["generation"])
    status, body = ack(server, "p", second, action="ack")
    assert (status, body["error"]["code"]) == (409, "FENCED")


def test_acks_extend_the_lease_and_move_cursors_all_or_none(start):
    server = start()
    pull(server, lease_ttl_ms=2000)
    server.create("in/a", body=b"[1, 2]")
    server.create("in/b", body=b"[1]")
    ds.wait_until(lambda: len(cursors(server, "p")) == 2)
    wake = claim(server, "p")[1]
    before = cursors(server, "p")
    body = {"wake_id": wake["wake_id"], "generation": wake["generation"], "acks": [
        {"stream": "in/a", "offset": tail_of(server, "in/a")},
        {"stream": "in/b", "offset": tail_of(server, "in/b")[:-1] + "9"}]}
    status, reply = call(server, "POST", "subscriptions/p/ack", body, wake["token"])
    assert (status, reply["error"]["code"]) == (409, "INVALID_OFFSET")
    assert cursors(server, "p") == before
    end = time.monotonic() + 3               # longer than the lease

    def renewed_long_enough():
        assert ack(server, "p", wake, tail_of(server, "in/a"), "in/a", finished=False)[0] == 200
        return time.monotonic() >= end
    ds.wait_until(renewed_long_enough, what="the lease to have ended but for its renewals", pause=0.3)
    assert ack(server, "p", wake) == (200, {"ok": True, "next_wake": True})
    again = claim(server, "p")[1]
    assert [link["path"] for link in again["streams"] if link["has_pending"]] == ["in/b"]


def test_an_event_waits_for_its_wake_stream(start):
    server = start()
    pull(server, create=False)
    server.create("in/a", body=b"[1]")
    ds.wait_until(lambda: "subscription.event_failed" in server.log_text())
    server.create("wake/p")
    ds.wait_until(lambda: events(server))


def test_a_subscription_does_not_wake_itself_through_its_wake_stream(start):
    server = start()
    pull(server, pattern="**")
    server.create("in/a", body=b"[1]")
    ds.wait_until(lambda: events(server))
    wake = claim(server, "p")[1]
    assert [link["path"] for link in wake["streams"]] == ["in/a"]
    assert ack(server, "p", wake, tail_of(server, "in/a"), "in/a") == (
        200, {"ok": True, "next_wake": False})
    assert claim(server, "p")[1]["error"]["code"] == "NO_PENDING_WORK"
    status, _ = call(server, "POST", "subscriptions/p/streams", {"streams": ["wake/p"]})
    assert status == 400


# ---- service tokens ----

@pytest.fixture
def signer(folder):
    """sign(claims, header) -> token by a key whose JWK Set lies in folder/jwks.json."""
    key = folder / "service.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"],
                            check=True, capture_output=True).stdout
    (folder / "jwks.json").write_text(json.dumps({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "service", "use": "sig", "x": pack(public[-32:])}]}))

    def sign(claims, header=None):
        head = header or {"alg": "EdDSA", "kid": "service"}
        text = f"{pack(json.dumps(head).encode())}.{pack(json.dumps(claims).encode())}"
        (folder / "text").write_text(text)
        signature = subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in",
                                    folder / "text"], check=True, capture_output=True).stdout
        return f"{text}.{pack(signature)}"
    return sign


def test_claims_need_a_token_of_the_service(start, signer, folder):
    server = start(DS_HTTP__ALLOW_UNAUTHENTICATED_CLAIMS="false",
                   DS_SUBSCRIPTIONS__SERVICE_JWKS_PATH=str(folder / "jwks.json"),
                   DS_SUBSCRIPTIONS__SERVICE_AUDIENCE="workers")
    pull(server)
    server.create("in/a", body=b"[1]")
    later = int(time.time()) + 60
    good = {"aud": "workers", "exp": later}
    parts = signer(good).split(".")
    none = pack(b'{"alg":"none"}')
    for token, code in [
            (None, "TOKEN_INVALID"), ("", "TOKEN_INVALID"), ("a.b.c", "TOKEN_INVALID"),
            (f"{none}.{parts[1]}.", "TOKEN_INVALID"), (f"{none}.{parts[1]}.{parts[2]}", "TOKEN_INVALID"),
            (signer({"aud": "workers"}), "TOKEN_INVALID"),
            (signer({"aud": "others", "exp": later}), "TOKEN_INVALID"),
            (signer({"exp": later}), "TOKEN_INVALID"),
            (signer(good, {"alg": "HS256", "kid": "service"}), "TOKEN_INVALID"),
            (signer(good, {"alg": "EdDSA", "kid": "other"}), "TOKEN_INVALID"),
            (signer({"aud": "workers", "exp": later - 120}), "TOKEN_EXPIRED")]:
        status, body = claim(server, "p", token=token)
        assert (status, body["error"]["code"]) == (401, code), token
    status, wake = claim(server, "p", token=signer(good))
    assert status == 200
    # What the service signed is no wake's token.
    assert ack(server, "p", wake, token=signer(good))[0] == 401
    assert ack(server, "p", wake)[0] == 200


def test_without_keys_no_claim_is_accepted(start):
    server = start(DS_HTTP__ALLOW_UNAUTHENTICATED_CLAIMS="false")
    pull(server)
    assert claim(server, "p", token="x")[0] == 401


# ---- restarts ----

def durable(start, folder, mode, **environment):
    return start(DS_STORAGE__MODE=mode, DS_STORAGE__DATA_DIR=str(folder / "data"), **environment)


@pytest.mark.parametrize("mode", DURABLE)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_everything_is_as_it_was_after_a_restart(start, receiver, folder, mode, end):
    server, hook = durable(start, folder, mode), receiver(done)
    webhook(server, "s", hook, pattern="in/*", description="d")
    server.create("in/a", body=b"[1]")
    hook.next()
    ds.wait_until(lambda: acked(server, "s", "in/a"))
    pull(server, lease_ttl_ms=60000)
    server.append("in/a", [2])
    hook.next()
    ds.wait_until(lambda: acked(server, "s", "in/a"))
    wake = claim(server, "p", "holder")[1]
    before = {**view(server, "s"), **{"webhook": hook.url}}, cursors(server, "p"), jwks_of(server)
    server.signal(end)
    server.wait()
    server = durable(start, folder, mode)
    after = {**view(server, "s"), **{"webhook": hook.url}}, cursors(server, "p"), jwks_of(server)
    assert after == before
    status, body = claim(server, "p", "other")
    assert (status, body["error"]["current_holder"]) == (409, "holder")
    assert ack(server, "p", wake, tail_of(server, "in/a"), "in/a")[0] == 200
    server.append("in/a", [3])
    came = hook.next()
    assert came["body"]["generation"] == 3
    assert verify(came, before[2], folder)
    mode_bits = stat.S_IMODE((folder / "data/subscriptions.sqlite").stat().st_mode)
    assert mode_bits == 0o600


@pytest.mark.parametrize("mode", DURABLE)
def test_a_retry_keeps_its_time_over_a_restart_and_no_generation_comes_twice(start, receiver, folder, mode):
    server, hook = durable(start, folder, mode), receiver(fail)
    webhook(server, "s", hook, pattern="in/*")
    server.create("in/a", body=b"[1]")
    seen = [hook.next() for _ in range(3)]      # the next one is due 3.2 to 4.8 s from now
    ds.wait_until(lambda: view(server, "s")["status"] == "failed")
    server.signal(signal.SIGKILL)
    server.wait()
    server = durable(start, folder, mode)
    assert view(server, "s")["status"] == "failed"
    seen.append(hook.next())
    assert [one["body"]["generation"] for one in seen] == [1, 2, 3, 4]
    assert seen[3]["time"] - seen[2]["time"] > 3


@pytest.mark.parametrize("mode", DURABLE)
def test_kills_at_any_moment_lose_no_work_and_no_cursor_goes_back(start, receiver, folder, mode):
    hook = receiver(done)
    server = durable(start, folder, mode)
    webhook(server, "s", hook, pattern="in/*", lease_ttl_ms=1000)
    server.create("in/a")
    generations, last = [], ""
    for n in range(5):
        for m in range(5):
            server.append("in/a", [n * 10 + m])
        time.sleep(0.03 * n)
        server.signal(signal.SIGKILL)
        server.wait()
        server = durable(start, folder, mode)
        now = cursors(server, "s")["in/a"]
        assert now >= last
        last = now
    ds.wait_until(lambda: acked(server, "s", "in/a"))
    while not hook.requests.empty():
        generations.append(hook.next()["body"]["generation"])
    assert generations == sorted(set(generations))


def test_a_new_key_signs_after_a_rotation_and_the_old_one_is_published(start, receiver, folder):
    server, hook = durable(start, folder, "file-durable"), receiver(done)
    old = webhook(server, "s", hook, pattern="in/*")["webhook"]["signing"]["kid"]
    status, _, body = ds.http("POST", f"{server.admin_url}/admin/subscriptions/rotate-key")
    assert status == 200
    kids = [key["kid"] for key in json.loads(body)["keys"]]
    assert kids[0] == old and len(kids) == 2
    assert server.stop() == 0
    server = durable(start, folder, "file-durable")
    assert [key["kid"] for key in jwks_of(server)["keys"]] == kids
    server.create("in/a", body=b"[1]")
    came = hook.next()
    assert f"kid={kids[1]}," in came["signature"]
    assert verify(came, jwks_of(server), folder)


# ---- the API ----

def test_the_same_configuration_is_confirmed_and_another_is_not(start, receiver):
    server, hook = start(), receiver()
    webhook(server, "s", hook, streams=["b", "a"])
    subscribe(server, "s", status=200, type="webhook", webhook={"url": hook.url},
              streams=["a", "b", "a"], lease_ttl_ms=30000)
    status, body = call(server, "PUT", "subscriptions/s",
                        {"type": "webhook", "webhook": {"url": hook.url}, "streams": ["a"]})
    assert (status, body["error"]["code"]) == (409, "SUBSCRIPTION_ALREADY_EXISTS")


def test_streams_are_linked_and_unlinked_by_name(start):
    server = start()
    pull(server, pattern="in/*")
    server.create("in/a")
    ds.wait_until(lambda: "in/a" in cursors(server, "p"))
    body = {"streams": ["in/a", "x/ö y"]}
    for _ in range(2):
        assert call(server, "POST", "subscriptions/p/streams", body)[0] == 204
    kinds = {link["path"]: link["link_type"] for link in view(server, "p")["streams"]}
    assert kinds == {"in/a": "explicit", "x/ö y": "explicit"}
    for path in [quote("x/ö y", safe=""), "in/a", "in%2Fa", "absent"]:
        assert call(server, "DELETE", f"subscriptions/p/streams/{path}")[0] == 204
    kinds = {link["path"]: link["link_type"] for link in view(server, "p")["streams"]}
    assert kinds == {"in/a": "glob"}


def test_what_does_not_exist_or_is_malformed_is_told_apart(start):
    server = start()
    subscribe(server, "a%20b-c", type="pull-wake", streams=["x"], wake_stream="w")
    for method, path, body, status, code in [
            ("GET", "subscriptions/none", None, 404, "SUBSCRIPTION_NOT_FOUND"),
            ("DELETE", "subscriptions/none", None, 404, "SUBSCRIPTION_NOT_FOUND"),
            ("POST", "subscriptions/none/claim", {"worker": "w"}, 404, "SUBSCRIPTION_NOT_FOUND"),
            ("GET", "nothing", None, 404, "NOT_FOUND"),
            ("GET", "subscriptions/s/nothing", None, 404, "NOT_FOUND"),
            ("PATCH", "subscriptions/s", None, 405, "METHOD_NOT_ALLOWED"),
            ("POST", "jwks.json", None, 405, "METHOD_NOT_ALLOWED"),
            ("PUT", "subscriptions/a%2Fb", {}, 400, "INVALID_REQUEST"),
            ("PUT", "subscriptions/", {}, 400, "INVALID_REQUEST"),
            ("PUT", "subscriptions/s", [], 400, "INVALID_REQUEST"),
            ("POST", "subscriptions/s/claim", {}, 400, "INVALID_REQUEST")]:
        got, reply = call(server, method, path, body)
        assert (got, reply["error"]["code"]) == (status, code), (method, path)
    assert server.create("__ds/x")[0] in (404, 405)
    assert call(server, "GET", "subscriptions/a%20b-c")[0] == 200


def test_limits_hold(start, receiver):
    server, hook = start(DS_LIMITS__MAX_SUBSCRIPTIONS="2", DS_LIMITS__MAX_STREAMS_PER_SUBSCRIPTION="2"), receiver()
    for name in ("in/a", "in/b", "in/c"):
        server.create(name)
    fields = {"type": "webhook", "webhook": {"url": hook.url}}
    for more in ({"pattern": "in/*"}, {"streams": ["x", "y", "z"]}):
        status, body = call(server, "PUT", "subscriptions/s", {**fields, **more})
        assert (status, body["error"]["code"]) == (400, "TOO_MANY_STREAMS")
        assert call(server, "GET", "subscriptions/s")[0] == 404
    webhook(server, "1", hook, pattern="other/*")
    webhook(server, "2", hook, streams=["x"])
    status, body = call(server, "PUT", "subscriptions/3", {**fields, "streams": ["x"]})
    assert (status, body["error"]["code"]) == (429, "TOO_MANY_SUBSCRIPTIONS")
    for n in range(4):
        server.create(f"other/{n}")
    ds.wait_until(lambda: "subscription.streams_full" in server.log_text())
    assert len(cursors(server, "1")) == 2
    big = {**fields, "description": "x" * 2000000, "streams": ["x"]}
    assert call(server, "PUT", "subscriptions/4", big)[0] == 400


def test_a_pattern_finds_thousands_of_streams_and_wakes_tell_a_thousand_at_once(start, receiver):
    server, hook = start(), receiver(done)
    names = [f"in/{n}" for n in range(1500)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(server.create, names))
        assert len(webhook(server, "s", hook, pattern="in/*")["streams"]) == 1500
        assert len(webhook(server, "t", hook, pattern="in/7*")["streams"]) == 111
        assert metric(server, "ds_server_subscription_streams") == 1611
        assert call(server, "DELETE", "subscriptions/t")[0] == 204
        list(pool.map(lambda name: server.append(name, [1]), names))
    tails = {name: tail_of(server, name) for name in names}
    ds.wait_until(lambda: cursors(server, "s") == tails, 2 * ds.HANG_SECONDS)
    while not hook.requests.empty():
        assert len(hook.next()["body"]["streams"]) == 1000


def test_while_the_database_is_locked_changes_get_507_and_nothing_is_lost(start, receiver, folder):
    server, hook = durable(start, folder, "file-durable"), receiver(done)
    webhook(server, "s", hook, pattern="in/*")
    other = sqlite3.connect(folder / "data/subscriptions.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    status, body = call(server, "PUT", "subscriptions/t", {
        "type": "webhook", "webhook": {"url": hook.url}, "streams": ["x"]})
    assert (status, body["error"]["code"]) == (507, "INSUFFICIENT_STORAGE")
    server.create("in/a", body=b"[1]")
    assert call(server, "GET", "subscriptions/s")[0] == 200
    assert call(server, "DELETE", "subscriptions/s")[0] == 507
    assert hook.requests.empty()
    other.execute("ROLLBACK")
    other.close()
    hook.next()
    ds.wait_until(lambda: acked(server, "s", "in/a"))
    webhook_again = {"type": "webhook", "webhook": {"url": hook.url}, "streams": ["x"]}
    assert call(server, "PUT", "subscriptions/t", webhook_again)[0] == 200
    server.signal(signal.SIGKILL)
    server.wait()
    server = durable(start, folder, "file-durable")
    assert call(server, "GET", "subscriptions/t")[0] == 200
    assert acked(server, "s", "in/a")


def test_two_hundred_subscriptions_are_all_delivered(start, receiver):
    server, hook = start(), receiver(done)
    for n in range(200):
        webhook(server, f"s{n}", hook, streams=["in/a"])
    server.create("in/a", body=b"[1]")
    assert len({hook.next()["body"]["subscription_id"] for _ in range(200)}) == 200
    ds.wait_until(lambda: acked(server, "s199", "in/a"))
