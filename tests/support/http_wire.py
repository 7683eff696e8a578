# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on a bare socket: sends exactly the bytes it is given, reads replies one by one."""
import socket
import ssl

TIMEOUT_SECONDS = 20           # a guard against hangs


class Closed(Exception):
    """The other side ended the connection before a whole reply."""


class Reply:
    def __init__(self, version, status, fields):
        self.version = version
        self.status = status
        self.fields = fields               # [(lower-case name, value)]
        self.body = b""
        self.chunks = []
        self.whole = True                  # the body's end was seen

    def __getitem__(self, name):
        """The only value of that field, or None."""
        values = [value for key, value in self.fields if key == name.lower()]
        assert len(values) <= 1, f"{name} is repeated: {values}"
        return values[0] if values else None


class Wire:
    def __init__(self, port, receive_buffer=None, tls=None):
        """tls: the ssl.SSLContext to speak it with."""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", port))
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1",
                                          suppress_ragged_eofs=False)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        except ssl.SSLEOFError as error:
            raise BrokenPipeError(str(error)) from error

    def end(self):
        """No more will be sent; replies can still be read."""
        socket.socket.shutdown(self.socket, socket.SHUT_WR)    # no word of it in TLS

    def _receive(self, size):
        """TLS that ends without a goodbye is a cut, as a reset is."""
        try:
            return self.socket.recv(size)
        except ssl.SSLEOFError as error:
            raise ConnectionResetError(str(error)) from error

    def _more(self):
        data = self._receive(65536)
        if not data:
            raise Closed(f"{len(self.buffer)} bytes came before: {bytes(self.buffer[:100])!r}")
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self._more()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line = self.take(self.buffer.index(b"\r\n") + 2)
        return line[:-2].decode("latin-1")

    def head(self):
        version, status, _ = self.line().split(" ", 2)
        fields = []
        while line := self.line():
            name, value = line.split(": ", 1)
            fields.append((name.lower(), value))
        return Reply(version, int(status), fields)

    def chunk(self):
        """The bytes of the next chunk; empty for the last one."""
        size = int(self.line(), 16)
        data = self.take(size)
        assert self.line() == ""
        return data

    def reply(self, method="GET"):
        reply = self.head()
        if method == "HEAD" or reply.status in (100, 204, 304):
            return reply
        if reply["Transfer-Encoding"] == "chunked":
            try:
                while data := self.chunk():
                    reply.chunks.append(data)
            except (Closed, ConnectionResetError):
                reply.whole = False
            reply.body = b"".join(reply.chunks)
        elif reply["Content-Length"] is not None:
            reply.body = self.take(int(reply["Content-Length"]))
        else:
            reply.body = self.rest()
        return reply

    def rest(self):
        """Everything until the other side ends the connection; raises ConnectionResetError on RST."""
        try:
            while True:
                self._more()
        except Closed:
            pass
        return self.take(len(self.buffer))

    def is_closed(self):
        """Waits until the other side ends the connection; false if it sends something first."""
        if self.buffer:
            return False
        try:
            return self._receive(1) == b""
        except ConnectionResetError:
            return True

    def ask(self, request, method="GET"):
        self.send(request)
        return self.reply(method)


def get(target, *fields, method="GET", host="h", version="1.1"):
    """The bytes of a request without a body."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *fields]
    return "\r\n".join(lines) + "\r\n\r\n"


def post(target, body, *fields, method="POST"):
    body = body if isinstance(body, bytes) else body.encode()
    return get(target, f"Content-Length: {len(body)}", *fields, method=method).encode() + body
