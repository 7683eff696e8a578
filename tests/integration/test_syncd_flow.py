# SPDX-License-Identifier: Apache-2.0
"""How much is read, when, and over what: HTTP/2, fairness, where a route starts, TTLs, what comes after."""
import json
import re

import ds
import http2_proxy
import pytest
import routes
from test_syncd_source_faults import FAST, messages, rows, wait_rows

STREAMS = 150                  # more than a connection carries
# Two carry them all; those that begin before the first has said how much it carries open some more,
# up to a dozen on a busy machine.  A read each would be 150.
CONNECTIONS_MAX = STREAMS // 4


@pytest.fixture
def proxy(folder, server):
    running = http2_proxy.Http2Proxy(folder, server.port)
    yield running
    assert running.stop() == 0, running.process.log_end()


def live_readers(server):
    metrics = ds.http("GET", f"{server.admin_url}/metrics")[2].decode()
    return int(re.search(r"^ds_server_live_readers (\d+)", metrics, re.M)[1])


def test_streams_share_connections_where_the_server_offers_http2(database, server, proxy, start_syncd):
    names = [f"h2/{number}" for number in range(STREAMS)]
    for name in names:
        server.create(name)
        server.append(name, messages(0, 2))
    # A slow machine is quiet for a second, too: nobody is to give up reads, and connections with them.
    patient = {**FAST, "SYNCD_IDLE_TIMEOUT": "60s"}
    syncd = start_syncd(names, server_url=proxy.url, SYNCD_DS_CA_FILE=str(proxy.authority.cert), **patient)
    for name in names:
        wait_rows(database, messages(0, 2), syncd, name)
    ds.wait_until(lambda: live_readers(server) >= STREAMS, what=f"{STREAMS} reads at one time")
    ds.wait_until(lambda: 1 <= proxy.connections() <= CONNECTIONS_MAX, what="them to share connections")
    for name in names:
        server.append(name, messages(2, 1))
    for name in names:
        wait_rows(database, messages(0, 3), syncd, name)
    assert syncd.stop() == 0
    ds.wait_until(lambda: len([1 for _, _, method, _ in proxy.requests() if method == "GET"]) >= STREAMS,
                  what="the log of the proxy")
    requests = proxy.requests()
    assert {protocol for protocol, _, _, _ in requests} == {"HTTP/2.0"}
    assert len({connection for _, connection, _, _ in requests}) <= CONNECTIONS_MAX


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


TABLE = "public.flow"


@pytest.fixture
def start_routes(database, server, start_syncd):
    """start_routes(**environment): syncd without streams of its own, and the table of routes."""
    def begin(**environment):
        syncd = start_syncd([], wait=False, **{**FAST, "SYNCD_ADMIN_URLS": f"default={server.admin_url}",
                                               "SYNCD_IDLE_TIMEOUT": "30s", **environment})
        syncd.wait_log("the schema is there")
        cursor = database[1].cursor()
        cursor.execute("SELECT to_regclass(%s)", (TABLE,))
        if cursor.fetchone()[0] is None:
            routes.make_table(database[1], TABLE)
        return syncd
    return begin


def wait_flow(database, stream, expected, syncd):
    syncd.wait_for(lambda: routes.payloads(database[1], TABLE, stream) == expected,
                   f"to have {len(expected)} of {stream}")


def state_of(database, stream, route="r"):
    """(state, reason, offset) in Postgres."""
    cursor = database[1].cursor()
    cursor.execute("SELECT state, coalesce(reason, ''), ds_offset FROM ds_sync.stream"
                   " JOIN ds_sync.stream_offset USING (stream_id) WHERE name = %s AND route = %s",
                   (stream, route))
    return cursor.fetchone() or (None, "", None)


def listed(server, stream):
    for found in json.loads(ds.http("GET", f"{server.admin_url}/admin/streams?prefix={stream}")[2])["streams"]:
        if found["name"] == stream:
            return found
    return None


def test_a_route_that_starts_now_loads_what_comes_from_then_on(database, server, start_routes):
    server.create("start/old")
    server.append("start/old", messages(0, 3))
    end = listed(server, "start/old")["next_offset"]
    syncd = start_routes()
    routes.declare(database[1], "r", ["start/*"], TABLE, start="now")
    # The place is stored before anything is loaded: a restart does not decide anew.
    syncd.wait_for(lambda: state_of(database, "start/old")[2] == end, "to store where it begins")
    syncd.kill()
    server.append("start/old", messages(3, 2))
    syncd.start()
    wait_flow(database, "start/old", messages(3, 2), syncd)
    # A stream that is made later has no past to leave out.
    server.create("start/new", body=b'[{"n":1}]')
    wait_flow(database, "start/new", [{"n": 1}], syncd)
    assert syncd.stop() == 0


def test_a_route_may_start_at_an_offset(database, server, start_routes):
    server.create("start/offset")
    server.append("start/offset", messages(0, 2))
    offset = listed(server, "start/offset")["next_offset"]
    server.append("start/offset", messages(2, 2))
    syncd = start_routes()
    routes.declare(database[1], "r", ["start/offset"], TABLE, start={"offset": offset})
    wait_flow(database, "start/offset", messages(2, 2), syncd)
    assert syncd.stop() == 0


def test_a_quiet_stream_is_parked_and_may_expire(database, server, start_routes):
    syncd = start_routes()
    routes.declare(database[1], "r", ["ttl/*"], TABLE)
    syncd.wait_for(lambda: routes.state(database[1], "r"), "to run the route")
    server.create("ttl/1", headers={"Stream-TTL": "10"})
    server.append("ttl/1", messages(0, 2))
    wait_flow(database, "ttl/1", messages(0, 2), syncd)
    syncd.wait_for(lambda: state_of(database, "ttl/1")[0] == "stopped", "to see it expire")
    assert "time to live" in state_of(database, "ttl/1")[1]
    assert routes.payloads(database[1], TABLE, "ttl/1") == messages(0, 2)
    assert syncd.stop() == 0


def test_a_stream_that_its_route_holds_outlives_its_ttl(database, server, start_routes):
    """One of the same TTL, which is loaded later and which nobody holds, is over before it."""
    syncd = start_routes()
    routes.declare(database[1], "hold", ["held/*"], TABLE, ttl="hold")
    routes.declare(database[1], "r", ["ttl/*"], TABLE)
    for name in ("held/1", "ttl/3"):
        # Long enough that a busy machine reads twice within it.
        server.create(name, headers={"Stream-TTL": "15"})
        server.append(name, messages(0, 2))
        wait_flow(database, name, messages(0, 2), syncd)
    syncd.wait_for(lambda: state_of(database, "ttl/3")[0] == "stopped", "to see the other expire")
    assert ds.http("HEAD", server.stream_url("ttl/3"))[0] == 404
    assert ds.http("HEAD", server.stream_url("held/1"))[0] == 200      # which renews nothing
    assert state_of(database, "held/1", "hold")[:2] == ("running", "")
    server.append("held/1", messages(2, 1))
    wait_flow(database, "held/1", messages(0, 3), syncd)
    assert syncd.stop() == 0


def test_a_parked_stream_is_read_again_when_something_comes(database, server, start_routes):
    server.create("ttl/2", headers={"Stream-TTL": "20"})
    server.append("ttl/2", messages(0, 1))
    syncd = start_routes()
    routes.declare(database[1], "r", ["ttl/*"], TABLE)
    syncd.wait_for(lambda: "parked" in state_of(database, "ttl/2")[1], "to park it")
    server.append("ttl/2", messages(1, 2))
    wait_flow(database, "ttl/2", messages(0, 3), syncd)
    syncd.wait_for(lambda: "parked" not in state_of(database, "ttl/2")[1], "to say so")
    assert syncd.stop() == 0


def test_what_is_loaded_is_trimmed_where_the_route_says_so(database, server, start_routes):
    server.create("after/1")
    server.append("after/1", messages(0, 3))
    syncd = start_routes()
    routes.declare(database[1], "r", ["after/*"], TABLE, after_sync="trim", after_sync_grace="1s")
    wait_flow(database, "after/1", messages(0, 3), syncd)

    def trimmed():
        stream = listed(server, "after/1")
        return stream["start_offset"] == stream["next_offset"]
    syncd.wait_for(trimmed, "to trim it")
    server.append("after/1", messages(3, 2))
    wait_flow(database, "after/1", messages(0, 5), syncd)
    syncd.wait_for(trimmed, "to trim it again")
    assert syncd.stop() == 0


def test_a_closed_stream_is_deleted_once_all_routes_have_all_of_it(database, server, start_routes):
    server.create("after/2")
    server.append("after/2", messages(0, 2))
    syncd = start_routes()
    routes.make_table(database[1], "public.other")
    routes.declare(database[1], "slow", ["after/*"], "public.other", paused=True)
    routes.declare(database[1], "r", ["after/*"], TABLE, after_sync="delete_closed",
                   after_sync_grace="1s")
    ds.http("POST", server.stream_url("after/2"), headers={"Stream-Closed": "true"})
    syncd.wait_for(lambda: state_of(database, "after/2")[0] == "closed", "to end it")
    syncd.wait_log("event=stream.held")
    assert listed(server, "after/2") is not None, "the paused route has none of it"
    routes.pause(database[1], "slow", False)
    syncd.wait_for(lambda: listed(server, "after/2") is None, "to delete it")
    for table in (TABLE, "public.other"):
        assert routes.payloads(database[1], table, "after/2") == messages(0, 2)
    assert syncd.stop() == 0


@pytest.mark.parametrize("change", ["removed", "other_patterns"])
def test_a_route_that_has_no_more_to_do_with_a_stream_does_not_hold_it(change, database, server, start_routes):
    server.create("after/3")
    server.append("after/3", messages(0, 2))
    syncd = start_routes()
    routes.make_table(database[1], "public.other")
    routes.declare(database[1], "slow", ["after/*"], "public.other")
    syncd.wait_for(lambda: routes.payloads(database[1], "public.other", "after/3") == messages(0, 2),
                   "to load it on the other route")
    routes.pause(database[1], "slow")
    syncd.wait_for(lambda: routes.state(database[1], "slow") == ("paused", None), "to pause it")
    server.append("after/3", messages(2, 2))
    routes.declare(database[1], "r", ["after/*"], TABLE, after_sync="trim", after_sync_grace="1s")
    syncd.wait_log("event=stream.held")
    held = [stream["held"] for stream in syncd.status()["streams"] if stream["name"] == "after/3"]
    assert held == ["slow: is not as far"]
    assert listed(server, "after/3")["start_offset"] != listed(server, "after/3")["next_offset"]
    if change == "removed":
        routes.remove(database[1], "slow")
    else:
        routes.declare(database[1], "slow", ["elsewhere/*"], "public.other", paused=True)

    def trimmed():
        stream = listed(server, "after/3")
        return stream["start_offset"] == stream["next_offset"]
    syncd.wait_for(trimmed, "to trim it")
    syncd.wait_for(lambda: all(stream["held"] == "" for stream in syncd.status()["streams"]), "to say so")
    assert syncd.stop() == 0


def test_a_backlog_of_many_streams_is_read_within_the_budget(database, server, start_syncd):
    names = [f"deep/{number}" for number in range(100)]
    backlog = [{"n": number, "text": "x" * 200} for number in range(1500)]
    for name in names:
        server.create(name)
        server.append(name, backlog)
    cursor = database[1].cursor()
    most = 0

    def loaded():
        nonlocal most
        most = max(most, sum(stream["queue_bytes"] for stream in syncd.status()["streams"]))
        cursor.execute("SELECT coalesce(sum(next_seq), 0) FROM ds_sync.stream_offset")
        return cursor.fetchone()[0] == len(names) * len(backlog)
    syncd = start_syncd(names, SYNCD_QUEUE_BYTES_MAX="4MiB")
    syncd.wait_for(loaded, "to load all")
    # Eight may read at a time, and each may bring half a MiB more than it was lent.  All of them have 77 MiB.
    assert 0 < most <= 12 << 20, "it took what all of them had at once"
    assert syncd.stop() == 0
