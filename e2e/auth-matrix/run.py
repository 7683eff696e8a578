#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who gets in: every line of the list that a stack with auth must pass, and some beside it."""

import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import HANG_GUARD_SECS, Client, check, check_equal, finish, note, request, setting, token, unique_name

URL = setting("E2E_URL")
POLL_SECS = float(setting("E2E_LONG_POLL_SECS"))


def refused_tokens():
    now = int(time.time())
    with tempfile.TemporaryDirectory() as folder:
        stranger = os.path.join(folder, "stranger.pem")
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                        "-out", stranger], check=True, capture_output=True)
        valid = token()
        cases = [
            ("no token", None),
            ("an expired token", token(exp=now - 600, iat=now - 4200)),
            ("a token signed with another key", token(key=stranger)),
            ("a token for another audience", token(aud="someone-else")),
            ("a token without an audience", token(drop=["aud"])),
            ("a token of another issuer", token(iss="https://elsewhere.test")),
            ("a token without exp", token(drop=["exp"])),
            ("a token not valid yet", token(nbf=now + 600)),
            ("alg none", token(algorithm="none")),
            ("HS256 signed with the public key", token(algorithm="HS256")),
            ("RS512 signed with the right key", token(algorithm="RS512")),
            ("PS256 signed with the right key", token(algorithm="PS256")),
            ("a changed signature", valid[:-8] + ("AAAAAAAA" if valid[-8:] != "AAAAAAAA" else "BBBBBBBB")),
            ("not a token at all", "garbage"),
        ]
    name = unique_name("auth")
    path = f"/v1/stream/{name}"
    for what, bearer in cases:
        for method in ("PUT", "GET"):
            where = path if method == "PUT" else path + "?offset=-1"
            reply = request(URL, method, where, bearer=bearer,
                            headers={"Content-Type": "application/json"} if method == "PUT" else None)
            check_equal(reply.status, 401, f"{method} with {what} is 401")
    reply = request(URL, "GET", f"{path}?offset=-1&access_token={valid}")
    check_equal(reply.status, 401, "a valid token in the query is 401")
    reply = request(URL, "GET", f"{path}?offset=-1", headers={"Origin": "https://app.test"})
    check_equal(reply.header("Access-Control-Allow-Origin"), "*", "a browser's script may see a 401")
    reply = Client().call("HEAD", name)
    check_equal(reply.status, 404, "no refused request made a stream")


def open_without_a_token():
    reply = request(URL, "GET", "/healthz")
    check_equal(reply.status, 200, "/healthz is 200 without a token")
    asked = {"Origin": "https://app.test", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization,content-type"}
    reply = request(URL, "OPTIONS", "/v1/stream/any", headers=asked)
    check(reply.status in (200, 204), "a CORS preflight is answered without a token", reply)
    check(reply.header("Access-Control-Allow-Origin"), "a CORS preflight names the allowed origin",
          dict(reply.headers))
    reply = request(URL, "OPTIONS", "/v1/stream/any")
    check_equal(reply.status, 401, "an OPTIONS that is no preflight is 401 without a token")


def denied_paths():
    valid = token()
    denied = ["/admin", "/admin/", "/admin/streams", "/admin/trim", "/metrics", "//admin/streams",
              "/v1/../admin/streams", "/v1/stream/../../admin/streams", "/v1/stream/..%2f..%2fadmin",
              "/v1/stream/%2e%2e/%2e%2e/admin/streams", "/%61dmin/streams", "/ADMIN/streams",
              "/m%65trics", "/v1/stream/__ds", "/v1/stream/__ds/subscriptions/x", "/__ds/x",
              "/v1/stream/a/__ds/x", "/v1/stream/%5f%5fds/subscriptions/x", "/v1/stream/%5F_ds/x",
              "/v1/stream/__%64s/x", "/v1/stream/__d%73/x", "/v1/stream/_%5f%64%73/x",
              "/v1/stream/a%2f__ds/x", "/v1/stream/a%2F..%2F__ds", "/v1/stream/a%5c..%5c__ds",
              "/v1/stream/x/../__ds/x", "/v1/stream//__ds/x", "/readyz", "/", "/v1", "/v1/streams/x"]
    for path in denied:
        reply = request(URL, "GET", path, bearer=valid)
        check(reply.status in (400, 403, 404) and reply.header("X-Envoy-Upstream-Service-Time") is None,
              f"{path} does not reach the server, even with a token", reply)
    for path in ("/admin/streams", "/metrics"):
        reply = request(URL, "POST", path)
        check_equal(reply.status, 403, f"{path} without a token is 403")


def admitted():
    client = Client()
    name = unique_name("auth")
    check_equal(client.create(name).status, 201, "create with a token is 201")
    reply = client.append(name, [{"n": 1}, {"n": 2}])
    check_equal(reply.status, 204, "append with a token is 204")
    reply = client.read(name, "-1")
    check_equal((reply.status, reply.json()), (200, [{"n": 1}, {"n": 2}]), "read is 200 with the messages")
    offset = reply.next_offset
    check_equal(client.append(name, [{"n": 3}]).status, 204, "a second append is 204")
    reply = client.read(name, offset)
    check_equal((reply.status, reply.json()), (200, [{"n": 3}]), "resume by offset is 200 with the rest")
    offset = reply.next_offset

    tail = client.tail(name, offset)
    check_equal(tail.status, 200, "SSE is 200")
    check(tail.next_batch() is not None, "SSE says where it stands at once")
    started = time.monotonic()
    client.append(name, [{"n": 4}])
    batch = tail.next_batch()
    took = time.monotonic() - started
    check(batch and batch[0] == [{"n": 4}], "an SSE event comes while the reply is open", batch)
    note(f"POST to SSE event through Envoy: {took * 1000:.1f} ms")
    check(not tail.ended and took < 5, "it is not held back by a buffer", f"{took:.3f} s")
    if batch:
        offset = batch[1]["streamNextOffset"]
    tail.cut()

    started = time.monotonic()
    reply = client.long_poll(name, offset, timeout=POLL_SECS + HANG_GUARD_SECS)
    took = time.monotonic() - started
    check_equal(reply.status, 204, "a long-poll with nothing new ends with 204")
    check(took >= POLL_SECS * 0.5, "and not before its time", f"{took:.3f} s of {POLL_SECS}")

    check_equal(client.call("DELETE", name).status, 204, "delete is 204")
    check_equal(client.read(name, "-1").status, 404, "a deleted stream is 404")


refused_tokens()
open_without_a_token()
denied_paths()
admitted()
finish()
