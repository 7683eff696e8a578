# SPDX-License-Identifier: Apache-2.0
"""What every scenario needs: settings, checks, waiting, tokens, HTTP and SSE by hand.

Nothing here is shared with the programs under test: a mistake in common/ must not hide itself.
Python's standard library and the openssl command, no more.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.parse
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
PRIVATE_KEY = os.path.join(HERE, "fixtures", "test-only-private-key.pem")
JWKS = os.path.join(HERE, "fixtures", "jwks.json")
ISSUER = "https://issuer.test"
AUDIENCE = "durable-streams"
KEY_ID = "test-only-1"

# Hang guards, far above what a healthy stack takes: goals are reported, never tested here.
HANG_GUARD_SECS = float(os.environ.get("E2E_HANG_GUARD_SECS", "20"))

_failed = 0


def setting(name):
    """A value the launcher passes by environment."""
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set: start scenarios with e2e/run.py, not by hand")
    return value


def check(condition, text, detail=""):
    """One line per check; the runner counts them."""
    global _failed
    if condition:
        print(f"ok {text}", flush=True)
    else:
        _failed += 1
        print(f"not ok {text}" + (f": {detail}" if detail != "" else ""), flush=True)
    return bool(condition)


def check_equal(actual, expected, text):
    return check(actual == expected, text, f"expected {expected!r}, got {actual!r}")


def finish():
    sys.exit(1 if _failed else 0)


def note(text):
    print(f"# {text}", flush=True)


def wait_until(condition, deadline_secs, pause_secs=0.02):
    """The first true value of condition(), or the last false one when the deadline has passed."""
    deadline = time.monotonic() + deadline_secs
    while True:
        value = condition()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(pause_secs)


def unique_name(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


# ---------------------------------------------------------------- tokens


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(arguments, data=b""):
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


def public_key_pem():
    return _openssl(["pkey", "-in", PRIVATE_KEY, "-pubout"])


def _signature(algorithm, signed, key):
    if algorithm == "none":
        return b""
    if algorithm == "HS256":
        return hmac.new(public_key_pem(), signed, hashlib.sha256).digest()
    arguments = ["dgst", f"-sha{algorithm[2:]}", "-sign", key]
    if algorithm.startswith("PS"):
        arguments += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    return _openssl(arguments, signed)


def token(algorithm="RS256", key=PRIVATE_KEY, drop=(), **claims):
    """A JWT that is valid unless the arguments spoil it."""
    now = int(time.time())
    body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user-1", "iat": now, "exp": now + 3600}
    body.update(claims)
    for name in drop:
        del body[name]
    head = {"alg": algorithm, "typ": "JWT", "kid": KEY_ID}
    signed = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(body).encode())}"
    return f"{signed}.{_b64(_signature(algorithm, signed.encode(), key))}"


# ---------------------------------------------------------------- HTTP


class Reply:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def header(self, name):
        return self.headers.get(name)

    def json(self):
        return json.loads(self.body)

    @property
    def next_offset(self):
        return self.header("Stream-Next-Offset")

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


def _connect(base_url, timeout):
    url = urllib.parse.urlsplit(base_url)
    return http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)


def request(base_url, method, path, bearer=None, headers=None, body=None, timeout=HANG_GUARD_SECS):
    """One request on a connection of its own.  The path goes out exactly as given."""
    connection = _connect(base_url, timeout)
    try:
        head = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        head.update(headers or {})
        connection.request(method, path, body=body, headers=head)
        response = connection.getresponse()
        return Reply(response, response.read())
    finally:
        connection.close()


class Client:
    """The stack's front door with one token."""

    def __init__(self, base_url=None, bearer=None):
        self.base_url = base_url or setting("E2E_URL")
        self.bearer = bearer or token()

    def _path(self, name, query=None):
        path = f"/v1/stream/{name}"
        return path + ("?" + urllib.parse.urlencode(query) if query else "")

    def call(self, method, name, query=None, **options):
        return request(self.base_url, method, self._path(name, query), bearer=self.bearer, **options)

    def create(self, name, content_type="application/json"):
        return self.call("PUT", name, headers={"Content-Type": content_type})

    def append(self, name, messages):
        """A list becomes one POST of that many messages."""
        return self.call("POST", name, headers={"Content-Type": "application/json"},
                         body=json.dumps(messages, ensure_ascii=False).encode())

    def read(self, name, offset):
        return self.call("GET", name, {"offset": offset})

    def read_all(self, name):
        """Every message from the start, over as many pages as the server likes."""
        messages, offset = [], "-1"
        while True:
            reply = self.read(name, offset)
            if reply.status != 200:
                raise RuntimeError(f"catch-up read of {name} from {offset}: {reply}")
            messages += reply.json()
            offset = reply.next_offset
            if reply.header("Stream-Up-To-Date") == "true":
                return messages, offset

    def long_poll(self, name, offset, cursor=None, timeout=HANG_GUARD_SECS):
        query = {"offset": offset, "live": "long-poll"}
        if cursor:
            query["cursor"] = cursor
        return self.call("GET", name, query, timeout=timeout)

    def tail(self, name, offset):
        return Tail(self.base_url, self._path(name, {"offset": offset, "live": "sse"}), self.bearer)


class Tail:
    """An open SSE reply.  No thread: a read waits, with the hang guard as its limit."""

    def __init__(self, base_url, path, bearer):
        self._connection = _connect(base_url, HANG_GUARD_SECS)
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {bearer}",
                                                       "Accept": "text/event-stream"})
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers
        self.ended = False
        self._bytes = b""

    def next_event(self, deadline_secs=HANG_GUARD_SECS):
        """(name, id, data), or None when the deadline or the end of the reply came first."""
        deadline = time.monotonic() + deadline_secs
        while True:
            frame, found, rest = self._bytes.partition(b"\n\n")
            if found:
                self._bytes = rest
                event = self._parse(frame)
                if event:
                    return event
                continue                              # a comment, the keep-alive
            left = deadline - time.monotonic()
            if left <= 0 or self.ended:
                return None
            if self._connection.sock:
                self._connection.sock.settimeout(left)
            try:
                more = self._response.read1(65536)
            except TimeoutError:
                return None
            if not more:
                self.ended = True
            self._bytes += more.replace(b"\r\n", b"\n")

    @staticmethod
    def _parse(frame):
        name, event_id, data = "message", None, []
        for line in frame.decode().split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "id":
                event_id = value
            elif field == "data":
                data.append(value)
        return (name, event_id, "\n".join(data)) if data else None

    def next_batch(self, deadline_secs=HANG_GUARD_SECS):
        """(messages, control, id) up to and with the next control event; None if none came."""
        deadline = time.monotonic() + deadline_secs
        messages = []
        while True:
            event = self.next_event(max(0.0, deadline - time.monotonic()))
            if event is None:
                return None
            name, event_id, data = event
            if name == "data":
                messages += json.loads(data)
            elif name == "control":
                return messages, json.loads(data), event_id

    def cut(self):
        """Drops the connection in the middle, as a lost network does."""
        self._response.close()
        self._connection.close()
