# SPDX-License-Identifier: Apache-2.0
"""A scripted Durable Streams server: well behaved by default, and told by a test how to misbehave.

It holds one JSON stream as a list of data events.  Offsets are "o" and five digits, so nobody can take
them for ours, unless it was given an era.  `faults` is a queue: each GET takes the next one and answers accordingly; with an empty
queue the answer is right.
"""
import collections
import datetime
import json
import socket
import threading
import time

Head = collections.namedtuple("Head", "method target fields at")   # at: seconds of a clock that never goes back


class FakeServer:
    def __init__(self, content_type="application/json"):
        self.content_type = content_type
        self.events = []                       # each a list of messages, or bytes as they are sent
        self.faults = collections.deque()      # names of methods below, without "fault_"
        self.requests = []                     # (method, target) as they came
        self.heads = []                        # the same, each a Head with fields in lower case
        self.closed = False
        self.lingers = False                   # keeps the connection of a closed stream that is read to its end
        self.era = None                        # a number: offsets are those of a ds-server
        self.ttl = None                        # seconds
        self.retry_after = 1                   # seconds
        self.round = 0                         # of live reads; see end_all
        self.missing = False                   # 404 for everything
        self.token = None                      # who does not show it gets 401
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.stopping = False
        self.connections = set()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    # --- for tests ---

    def append(self, messages):
        with self.changed:
            self.events.append(messages)
            self.changed.notify_all()

    def delete(self):
        """As the server would answer without the stream; who reads it is cut off."""
        self.missing = True
        self.cut_all()

    def make_anew(self, events, closed=False):
        """Another stream of the same name."""
        with self.changed:
            self.events = events
            self.closed = closed
            self.missing = False

    def fail_next(self, *faults):
        self.faults.extend(faults)

    def cut_all(self):
        """End every connection, as a restart would."""
        with self.changed:
            for connection in list(self.connections):
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def end_all(self):
        """End every live read in order, as a server does that rotates its connections."""
        with self.changed:
            self.round += 1
            self.changed.notify_all()

    def stop(self):
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
        # Closing alone does not wake a thread in accept.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut_all()

    # --- the server ---

    def offset(self, number):
        return f"o{number:05d}" if self.era is None else f"{self.era:016x}_{number:016x}"

    def _number(self, offset):
        if offset in ("-1", "now"):
            return 0 if offset == "-1" else len(self.events)
        return int(offset[1:]) if self.era is None else int(offset.partition("_")[2], 16)

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with self.changed:
            self.connections.add(connection)
        try:
            file = connection.makefile("rb")
            while self._request(connection, file):
                pass
        except OSError:
            pass
        finally:
            with self.changed:
                self.connections.discard(connection)
            connection.close()

    def _request(self, connection, file):
        line = file.readline().decode()
        if not line:
            return False
        fields = {}
        for field in iter(file.readline, b"\r\n"):
            if not field:
                return False
            name, _, value = field.decode().partition(":")
            fields[name.lower()] = value.strip()
        method, target, _ = line.split()
        file.read(int(fields.get("content-length", 0)))
        self.heads.append(Head(method, target, fields, time.monotonic()))
        self.requests.append((method, target))
        return self._answer(connection, method, target, fields)

    def _answer(self, connection, method, target, fields):
        if self.token and fields.get("authorization") != f"Bearer {self.token}":
            self._reply(connection, 401, {}, b"" if method != "HEAD" else None)
            return True
        if self.missing:
            self._reply(connection, 404, {}, b"" if method != "HEAD" else None)
            return True
        path, _, rest = target.partition("?")
        query = {"path": path, **dict(pair.split("=", 1) for pair in rest.split("&") if "=" in pair)}
        if method == "HEAD":
            return self._head(connection, query)
        if method == "DELETE":
            self.missing = True
            self._reply(connection, 204, {}, None)
            return True
        fault = self.faults.popleft() if self.faults else None
        if fault:
            return getattr(self, f"fault_{fault}")(connection, query)
        return self._sse(connection, self._number(query.get("offset", "-1")), query)

    def _head(self, connection, query):
        self._reply(connection, 200, {"Content-Type": self.content_type,
                                      "Stream-Next-Offset": self.offset(len(self.events)),
                                      **({"Stream-Closed": "true"} if self.closed else {}),
                                      **({"Stream-TTL": self.ttl} if self.ttl else {})}, None)
        return True

    @staticmethod
    def _reply(connection, status, headers, body):
        lines = [f"HTTP/1.1 {status} X"] + [f"{key}: {value}" for key, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        connection.sendall("\r\n".join(lines + ["", ""]).encode() + (body or b""))

    def begin_sse(self, connection):
        self._reply(connection, 200, {"Content-Type": "text/event-stream", "Cache-Control": "no-cache",
                                      "Transfer-Encoding": "chunked"}, None)

    @staticmethod
    def chunk(connection, text):
        body = text.encode(errors="surrogateescape")
        connection.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")

    def control(self, number):
        members = {"streamNextOffset": self.offset(number)}
        if number == len(self.events):
            members["upToDate"] = True
        if self.closed and number == len(self.events):
            members["streamClosed"] = True
        else:
            members["streamCursor"] = "1"
        return f"event: control\ndata:{json.dumps(members)}\n\n"

    @staticmethod
    def data(messages):
        """Messages, or the bytes of a data event, which need be neither JSON nor UTF-8."""
        text = messages.decode(errors="surrogateescape") if isinstance(messages, bytes) else \
            json.dumps(messages)
        return f"event: data\ndata:{text}\n\n"

    def _sse(self, connection, number, query):
        self.begin_sse(connection)
        self.follow(connection, number)
        return False

    @staticmethod
    def _left(connection):
        """Whether the client closed it."""
        try:
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False

    def follow(self, connection, number):
        began = self.round
        if number == len(self.events):
            self.chunk(connection, self.control(number))
        while True:
            with self.changed:
                while (number >= len(self.events) and not self.stopping and not self.closed
                       and began == self.round):
                    self.changed.wait(0.2)
                    if self._left(connection):
                        return
                if self.stopping:
                    return
                messages = self.events[number] if number < len(self.events) else None
            if messages is None:
                if self.closed:
                    self.chunk(connection, self.control(number))
                if self.closed and self.lingers:
                    connection.recv(1)
                    return
                connection.sendall(b"0\r\n\r\n")
                return
            number += 1
            self.chunk(connection, self.data(messages) + self.control(number))

    # --- how it misbehaves ---

    def _status(self, connection, status, headers=None):
        self._reply(connection, status, headers or {}, b"told to")
        return True

    def fault_400(self, connection, query):
        return self._status(connection, 400)

    def fault_401(self, connection, query):
        return self._status(connection, 401)

    def fault_404(self, connection, query):
        return self._status(connection, 404)

    def fault_410(self, connection, query):
        return self._status(connection, 410)

    def fault_500(self, connection, query):
        return self._status(connection, 500)

    def fault_503_retry_after(self, connection, query):
        return self._status(connection, 503, {"Retry-After": str(self.retry_after)})

    def fault_redirect(self, connection, query):
        return self._status(connection, 302, {"Location": "http://127.0.0.1:1/elsewhere"})

    def fault_html(self, connection, query):
        self._reply(connection, 200, {"Content-Type": "text/html"}, b"<html>a login page</html>")
        return True

    def fault_malformed_json(self, connection, query):
        """A data event that is not JSON."""
        number = self._number(query.get("offset", "-1"))
        self.begin_sse(connection)
        self.chunk(connection, "event: data\ndata:[{\"half\": \n\n" + self.control(number + 1))
        return False

    def fault_malformed_sse(self, connection, query):
        """Bytes that are no event stream at all."""
        self.begin_sse(connection)
        self.chunk(connection, "\x00\x01 nonsense: \r\n\r\nevent: \r\ndata\r\n\r\nevent: control\ndata:{]\n\n")
        return False

    def fault_data_without_control(self, connection, query):
        """A data event, and the connection ends."""
        number = self._number(query.get("offset", "-1"))
        self.begin_sse(connection)
        self.chunk(connection, self.data(self.events[number]))
        connection.sendall(b"0\r\n\r\n")
        return False

    def fault_two_data_then_control(self, connection, query):
        """Data events of an older server, that share one control event."""
        number = self._number(query.get("offset", "-1"))
        self.begin_sse(connection)
        self.chunk(connection, self.data(self.events[number]) + self.data(self.events[number + 1]) +
                   self.control(number + 2))
        self.follow(connection, number + 2)
        return False

    def fault_garbled_offset(self, connection, query):
        number = self._number(query.get("offset", "-1"))
        self.begin_sse(connection)
        self.chunk(connection, self.data(self.events[number]) +
                   'event: control\ndata:{"streamNextOffset":"a,b&c=?","streamCursor":"1"}\n\n')
        return False

    def fault_stall(self, connection, query):
        """The head, then not a byte, until the test ends or the client leaves."""
        self.begin_sse(connection)
        connection.settimeout(60)
        try:
            connection.recv(1)
        except TimeoutError:
            pass
        return False

    def fault_cut_inside(self, connection, query):
        """Half a data event, and the connection is reset."""
        number = self._number(query.get("offset", "-1"))
        self.begin_sse(connection)
        whole = self.data(self.events[number])
        self.chunk(connection, whole[:len(whole) // 2])
        return False


class FakeAdmin(FakeServer):
    """An admin listener whose server has no streams that it tells of, and which trims whatever it is told to."""

    def _answer(self, connection, method, target, fields):
        if "since=" in target:
            with self.changed:
                self.changed.wait_for(lambda: self.stopping or self._left(connection), 0.5)
            body = {"changes": [], "token": "0_1"}
        elif method == "GET":
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
            body = {"streams": [], "next": None, "token": "0_1", "now": now.replace("+00:00", "Z")}
        else:
            body = {}
        self._reply(connection, 200, {"Content-Type": "application/json"}, json.dumps(body).encode())
        return True
