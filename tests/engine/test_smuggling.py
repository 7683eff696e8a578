# SPDX-License-Identifier: Apache-2.0
"""Requests that two programs could read in two ways, against ds-server itself.

Behind each stands a second request that makes a stream.  Every case is refused, once, and the connection
is closed; the second request is not served, however the bytes come.  What looks like these and is legal
is served, and so is what follows it.
"""
import re

import pytest

import ds
from http_wire import Wire, get

HOST = "Host: h\r\n"


@pytest.fixture(scope="module")
def server():
    folder = ds.temporary_folder("ds-test-smuggling-")
    process = ds.DsServer(folder).wait_ready()
    process.create("target", "text/plain", b"")
    yield process
    status = process.stop()
    log = process.log_end(60)
    ds.remove_folder(folder)
    assert status == 0, log


def post(*fields, body="", line="POST /v1/stream/target HTTP/1.1"):
    """A POST with exactly these bytes; every field carries its own line end."""
    return f"{line}\r\n{HOST}Content-Type: text/plain\r\n{''.join(fields)}\r\n{body}"


CHUNKED = "Transfer-Encoding: chunked\r\n"
FOUR = "Content-Length: 4\r\n"
END = "0\r\n\r\n"

# name: (status, request)
REFUSED = {
    # two framings
    "cl-then-te": (400, post(FOUR, CHUNKED, body=END)),
    "te-then-cl": (400, post(CHUNKED, FOUR, body=END)),
    "cl-zero-and-te": (400, post("Content-Length: 0\r\n", CHUNKED, body=END)),
    "te-and-bad-cl": (400, post(CHUNKED, "Content-Length: x\r\n", body=END)),
    "te-in-http-1.0": (400, post(CHUNKED, body=END, line="POST /v1/stream/target HTTP/1.0")),
    # Content-Length
    "cl-twice-same": (400, post(FOUR, FOUR, body="abcd")),
    "cl-twice-other": (400, post(FOUR, "Content-Length: 0\r\n", body="abcd")),
    "cl-list-same": (400, post("Content-Length: 4, 4\r\n", body="abcd")),
    "cl-list-other": (400, post("Content-Length: 4,0\r\n", body="abcd")),
    "cl-plus": (400, post("Content-Length: +4\r\n", body="abcd")),
    "cl-minus": (400, post("Content-Length: -4\r\n", body="abcd")),
    "cl-hex": (400, post("Content-Length: 0x4\r\n", body="abcd")),
    "cl-blank-inside": (400, post("Content-Length: 4 0\r\n", body="abcd")),
    "cl-fraction": (400, post("Content-Length: 4.0\r\n", body="abcd")),
    "cl-empty": (400, post("Content-Length:\r\n", body="abcd")),
    "cl-blank": (400, post("Content-Length:  \r\n", body="abcd")),
    "cl-beyond-64-bits": (400, post("Content-Length: 18446744073709551620\r\n", body="abcd")),
    "cl-many-zeros": (400, post("Content-Length: 00000000000000000004\r\n", body="abcd")),
    "cl-other-digits": (400, post("Content-Length: \xb2\r\n", body="abcd")),
    "cl-quoted": (400, post('Content-Length: "4"\r\n', body="abcd")),
    "cl-other-case-twice": (400, post(FOUR, "cOnTent-LENGTH: 3\r\n", body="abcd")),
    "cl-underscore": (400, post("Content-Length : 4\r\n", body="abcd")),
    # Transfer-Encoding
    "te-twice": (400, post(CHUNKED, CHUNKED, body=END)),
    "te-list-twice": (501, post("Transfer-Encoding: chunked, chunked\r\n", body=END)),
    "te-identity": (501, post("Transfer-Encoding: identity\r\n", body=END)),
    "te-gzip-chunked": (501, post("Transfer-Encoding: gzip, chunked\r\n", body=END)),
    "te-chunked-gzip": (501, post("Transfer-Encoding: chunked, gzip\r\n", body=END)),
    "te-chunked-then-identity": (400, post(CHUNKED, "Transfer-Encoding: identity\r\n", body=END)),
    "te-xchunked": (501, post("Transfer-Encoding: xchunked\r\n", body=END)),
    "te-chunkedx": (501, post("Transfer-Encoding: chunkedx\r\n", body=END)),
    "te-parameter": (501, post("Transfer-Encoding: chunked;a=b\r\n", body=END)),
    "te-quoted": (501, post('Transfer-Encoding: "chunked"\r\n', body=END)),
    "te-comma": (501, post("Transfer-Encoding: ,chunked\r\n", body=END)),
    "te-empty": (501, post("Transfer-Encoding:\r\n", body=END)),
    "te-vertical-tab": (400, post("Transfer-Encoding: \x0bchunked\r\n", body=END)),
    "te-form-feed": (400, post("Transfer-Encoding: chunked\x0c\r\n", body=END)),
    "te-nul": (400, post("Transfer-Encoding: chunked\0\r\n", body=END)),
    "te-no-break-blank": (501, post("Transfer-Encoding: \xa0chunked\r\n", body=END)),
    # fields
    "blank-before-colon": (400, post("Transfer-Encoding : chunked\r\n", body=END)),
    "tab-before-colon": (400, post("Transfer-Encoding\t: chunked\r\n", body=END)),
    "nul-in-name": (400, post("Transfer-Encoding\0: chunked\r\n", body=END)),
    "blank-first": (400, post(" Transfer-Encoding: chunked\r\n", body=END)),
    "folded": (400, post("X: y\r\n Transfer-Encoding: chunked\r\n", body=END)),
    "folded-tab": (400, post("X: y\r\n\tTransfer-Encoding: chunked\r\n", body=END)),
    "folded-value": (400, post("Transfer-Encoding:\r\n chunked\r\n", body=END)),
    "folded-behind-the-line": (400, f"POST /v1/stream/target HTTP/1.1\r\n X: y\r\n{HOST}\r\n"),
    "empty-name": (400, post(": chunked\r\n", body=END)),
    "no-colon": (400, post("Transfer-Encoding chunked\r\n", body=END)),
    "bare-cr-in-value": (400, post("X: y\rTransfer-Encoding: chunked\r\n", body=END)),
    "bare-cr-ends-line": (400, post("X: y\r", body=END)),
    "bare-lf-in-head": (400, post("X: y\nTransfer-Encoding: chunked\r\n", body=END)),
    "bare-lf-everywhere": (400, post(CHUNKED, body=END).replace("\r\n", "\n")),
    "bare-lf-ends-head": (400, f"POST /v1/stream/target HTTP/1.1\r\n{HOST}\n"),
    "cr-cr-lf": (400, post("X: y\r\r\n", body=END)),
    "nul-in-value": (400, post("X: a\0b\r\n", body=END)),
    "delete-in-value": (400, post("X: a\x7fb\r\n", body=END)),
    "too-many-fields": (431, post(*(f"A{number}: b\r\n" for number in range(101)))),
    "field-too-long": (431, post("A: " + "b" * 70000 + "\r\n")),
    # request line
    "no-version": (400, "POST /v1/stream/target\r\n\r\n"),
    "two-blanks": (400, post(FOUR, body="abcd", line="POST  /v1/stream/target HTTP/1.1")),
    "tab-between": (400, post(FOUR, body="abcd", line="POST\t/v1/stream/target\tHTTP/1.1")),
    "blank-behind": (400, post(FOUR, body="abcd", line="POST /v1/stream/target HTTP/1.1 ")),
    "blank-in-target": (400, post(FOUR, body="abcd", line="POST /v1/stream/target x HTTP/1.1")),
    "nul-in-target": (400, post(FOUR, body="abcd", line="POST /v1/stream/tar\0get HTTP/1.1")),
    "fragment": (400, post(FOUR, body="abcd", line="POST /v1/stream/target#x HTTP/1.1")),
    "high-byte-in-target": (400, post(FOUR, body="abcd", line="POST /v1/stream/t\xe4rget HTTP/1.1")),
    "lower-case-version": (400, post(FOUR, body="abcd", line="POST /v1/stream/target http/1.1")),
    "version-1.10": (400, post(FOUR, body="abcd", line="POST /v1/stream/target HTTP/1.10")),
    "version-2": (505, post(FOUR, body="abcd", line="POST /v1/stream/target HTTP/2.0")),
    "version-0.9": (505, post(FOUR, body="abcd", line="GET /v1/stream/target HTTP/0.9")),
    "http-2-preface": (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "method-with-colon": (400, post(FOUR, body="abcd", line="PO:ST /v1/stream/target HTTP/1.1")),
    "two-empty-lines-first": (400, "\r\n\r\n" + post(FOUR, body="abcd")),
    "star-for-post": (400, post(FOUR, body="abcd", line="POST * HTTP/1.1")),
    "authority-form": (400, post(FOUR, body="abcd", line="POST h:80 HTTP/1.1")),
    "absolute-without-host": (400, post(FOUR, body="abcd", line="POST http:///v1 HTTP/1.1")),
    "absolute-user-info": (400, post(FOUR, body="abcd", line="POST http://a@b/v1 HTTP/1.1")),
    "absolute-other-scheme": (400, post(FOUR, body="abcd", line="POST ftp://h/v1 HTTP/1.1")),
    # Host
    "no-host": (400, "POST /v1/stream/target HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"),
    "two-hosts": (400, post(HOST, FOUR, body="abcd")),
    "host-with-slash": (400, post(FOUR, body="abcd").replace(HOST, "Host: a/b\r\n")),
    "host-with-user": (400, post(FOUR, body="abcd").replace(HOST, "Host: a@b\r\n")),
    "host-with-blank": (400, post(FOUR, body="abcd").replace(HOST, "Host: a b\r\n")),
    # chunks
    "chunk-without-size": (400, post(CHUNKED, body="\r\n" + END)),
    "chunk-size-blank-first": (400, post(CHUNKED, body=" 1\r\na\r\n" + END)),
    "chunk-size-blank-behind": (400, post(CHUNKED, body="1 \r\na\r\n" + END)),
    "chunk-size-plus": (400, post(CHUNKED, body="+1\r\na\r\n" + END)),
    "chunk-size-minus": (400, post(CHUNKED, body="-1\r\na\r\n" + END)),
    "chunk-size-0x": (400, post(CHUNKED, body="0x1\r\na\r\n" + END)),
    "chunk-size-beyond-64-bits": (400, post(CHUNKED, body="10000000000000001\r\na\r\n" + END)),
    "chunk-size-all-ones": (400, post(CHUNKED, body="ffffffffffffffffff\r\na\r\n" + END)),
    "chunk-size-huge": (413, post(CHUNKED, body="fffffffffffffff\r\n" + "a" * 11000000)),
    "chunk-size-bare-lf": (400, post(CHUNKED, body="1\na\r\n" + END)),
    "chunk-size-bare-cr": (400, post(CHUNKED, body="1\ra\r\n" + END)),
    "chunk-data-bare-lf": (400, post(CHUNKED, body="1\r\na\n" + END)),
    "chunk-data-too-long": (400, post(CHUNKED, body="1\r\nab\r\n" + END)),
    "chunk-data-too-short": (400, post(CHUNKED, body="3\r\na\r\n" + END)),
    "chunk-extension-bare-lf": (400, post(CHUNKED, body="1;a\nb\r\na\r\n" + END)),
    "chunk-extension-nul": (400, post(CHUNKED, body="1;a\0b\r\na\r\n" + END)),
    "chunk-extension-flood": (431, post(CHUNKED, body="1;" + "x" * 2000 + "\r\na\r\n" + END)),
    "chunk-extensions-flood": (431, post(CHUNKED, body=("1;" + "x" * 900 + "\r\na\r\n") * 20 + END)),
    "chunk-zeros-flood": (431, post(CHUNKED, body="0" * 2000 + "1\r\na\r\n" + END)),
    "last-chunk-bare-lf": (400, post(CHUNKED, body="0\n\n")),
    "trailer-bare-lf": (400, post(CHUNKED, body="0\r\nX: y\n\r\n")),
    "trailer-folded": (400, post(CHUNKED, body="0\r\n X: y\r\n\r\n")),
    "trailer-no-colon": (400, post(CHUNKED, body="0\r\nGET / HTTP/1.1\r\n\r\n")),
    "trailer-blank-before-colon": (400, post(CHUNKED, body="0\r\nX : y\r\n\r\n")),
    "trailer-nul": (400, post(CHUNKED, body="0\r\nX: \0\r\n\r\n")),
    "trailer-flood": (431, post(CHUNKED, body="0\r\n" + "X: y\r\n" * 2000 + "\r\n")),
    # not HTTP at all
    "tls-hello": (400, "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"),
    "nul": (400, "\0" + post(FOUR, body="abcd")),
    "line-flood": (414, "G" * 70000),
    "byte-order-mark": (400, "\xef\xbb\xbf" + post(FOUR, body="abcd")),
}

# name: (status, request)
SERVED = {
    "chunk-extensions": (204, post(CHUNKED, body='1;a;b=c;d="e;f"\r\na\r\n0;x\r\n\r\n')),
    "chunk-size-zeros": (204, post(CHUNKED, body="0001\r\na\r\n000\r\n\r\n")),
    "chunk-size-upper-case": (204, post(CHUNKED, body="A\r\n0123456789\r\n" + END)),
    "trailers": (204, post(CHUNKED, body="1\r\na\r\n0\r\nContent-Length: 7\r\nHost: x\r\n\r\n")),
    "te-other-case": (204, post("tRANSFER-eNCODING: CHUNKED\r\n", body="1\r\na\r\n" + END)),
    "te-blanks-around": (204, post("Transfer-Encoding: \t chunked \t \r\n", body="1\r\na\r\n" + END)),
    "cl-blanks-around": (204, post("Content-Length:   4\t\r\n", body="abcd")),
    "cl-leading-zeros": (204, post("Content-Length: 0004\r\n", body="abcd")),
    "one-empty-line-first": (204, "\r\n" + post(FOUR, body="abcd")),
    "absolute-form": (204, post(FOUR, body="abcd", line="POST http://h/v1/stream/target HTTP/1.1")),
    "absolute-form-wins-over-host": (
        204, post(FOUR, body="abcd", line="POST http://other:1/v1/stream/target HTTP/1.1")),
    "a-request-as-payload": (204, post("Content-Length: 23\r\n", body="GET /x HTTP/1.1\r\n\r\nabcd")),
    "get-with-a-body": (200, f"GET /v1/stream/target HTTP/1.1\r\n{HOST}{FOUR}\r\nGET "),
    "head-with-chunks": (200, f"HEAD /v1/stream/target HTTP/1.1\r\n{HOST}{CHUNKED}\r\n3\r\nGET\r\n{END}"),
}

WAYS = ["at once", "byte by byte"]


def send(wire, data, way):
    """What is not taken any more was refused before."""
    data = data.encode("latin-1")
    try:
        if way == "at once":
            wire.send(data)
        else:
            for at in range(len(data)):
                wire.send(data[at:at + 1])
    except (BrokenPipeError, ConnectionResetError):
        pass


def smuggled(name, way):
    stream = re.sub(r"\W", "-", f"{name}-{way}")
    return stream, get(f"/v1/stream/{stream}", method="PUT")


@pytest.mark.parametrize("name, way", [
    (name, way) for name, (_, request) in REFUSED.items() for way in WAYS
    if way == "at once" or len(request) < 5000])
def test_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection(server, name, way):
    status, request = REFUSED[name]
    stream, second = smuggled(name, way)
    with Wire(server.port) as wire:
        send(wire, request + second, way)
        reply = wire.reply()
        assert (reply.status, reply["Connection"]) == (status, "close")
        assert wire.rest() == b""                # nothing is answered twice
    assert ds.http("GET", server.stream_url(stream))[0] == 404


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SERVED)
def test_what_only_looks_strange_is_served_and_so_is_what_follows(server, name, way):
    status, request = SERVED[name]
    stream, second = smuggled(name, way)
    with Wire(server.port) as wire:
        send(wire, request + second, way)
        assert wire.reply(request.split(" ", 1)[0]).status == status
        assert wire.reply().status == 201
    assert ds.http("GET", server.stream_url(stream))[0] == 200


def test_the_server_is_as_it_was(server):
    """Last in the file: no case left a connection or memory behind."""
    def metric(name):
        text = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
        return int(re.search(rf"^{name} (\d+)", text, re.M)[1])

    ds.wait_until(lambda: metric("ds_http_connections") == 1)
    assert metric("ds_http_inflight_body_bytes") == 0
