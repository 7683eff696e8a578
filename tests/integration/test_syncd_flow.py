# SPDX-License-Identifier: Apache-2.0
"""How much is read, when, and over what: HTTP/2, fairness, where a route starts, TTLs, what comes after."""
import ds
import http2_proxy
import pytest
from test_syncd_source_faults import FAST, messages, rows, wait_rows

STREAMS = 150                  # more than a connection carries


@pytest.fixture
def proxy(folder, server):
    if http2_proxy.program() is None:
        pytest.skip("nginx is not installed")
    running = http2_proxy.Http2Proxy(folder, server.port)
    yield running
    assert running.stop() == 0, running.process.log_end()


def test_streams_share_connections_where_the_server_offers_http2(database, server, proxy, start_syncd):
    names = [f"h2/{number}" for number in range(STREAMS)]
    for name in names:
        server.create(name)
        server.append(name, messages(0, 2))
    syncd = start_syncd(names, server_url=proxy.url, SYNCD_DS_CA_FILE=str(proxy.authority.cert), **FAST)
    for name in names:
        wait_rows(database, messages(0, 2), syncd, name)
    for name in names:
        server.append(name, messages(2, 1))
    for name in names:
        wait_rows(database, messages(0, 3), syncd, name)
    assert syncd.stop() == 0
    ds.wait_until(lambda: len([1 for _, _, method, _ in proxy.requests() if method == "GET"]) >= STREAMS,
                  what="the log of the proxy")
    requests = proxy.requests()
    assert {protocol for protocol, _, _, _ in requests} == {"HTTP/2.0"}
    assert len({connection for _, connection, _, _ in requests}) <= 8, "one each would be 150"


def test_a_paused_stream_holds_up_no_other_of_its_connection(database, server, proxy, start_syncd):
    server.create("h2/hot")
    server.create("h2/quiet")
    for turn in range(60):
        server.append("h2/hot", [{"key": f"k{turn}", "value": "x" * 100_000}])
    server.append("h2/quiet", messages(0, 1))
    syncd = start_syncd(["h2/hot", "h2/quiet"], server_url=proxy.url,
                        SYNCD_DS_CA_FILE=str(proxy.authority.cert),
                        SYNCD_QUEUE_BYTES_MAX="1MiB", SYNCD_STREAM_QUEUE_BYTES_MAX="64KiB", **FAST)
    wait_rows(database, messages(0, 1), syncd, "h2/quiet")
    ds.wait_until(lambda: len(rows(database[1], "h2/hot")) == 60, what="all of the hot stream")
    assert syncd.stop() == 0
