# SPDX-License-Identifier: Apache-2.0
"""Which streams are loaded: patterns, streams that come and go, several servers, routes that change."""
import ds
import pytest
import routes
from test_dsctl import Dsctl
from test_syncd_service import metric
from test_syncd_source_faults import FAST, messages

TABLE = "public.found"
GONE_SECONDS = 30                # for so long a stream that is not there any more is still looked for


@pytest.fixture
def connection(database):
    return database[1]


@pytest.fixture
def start(database, server, start_syncd):
    """start(admin=True, **environment): syncd without streams of its own, and the table of routes."""
    def begin(admin=True, **environment):
        if admin:
            environment.setdefault("SYNCD_ADMIN_URLS", f"default={server.admin_url}")
        syncd = start_syncd([], wait=False, **{**FAST, "SYNCD_IDLE_TIMEOUT": "30s", **environment})
        syncd.wait_log("the schema is there")
        cursor = database[1].cursor()
        cursor.execute("SELECT to_regclass(%s)", (TABLE,))
        if cursor.fetchone()[0] is None:
            routes.make_table(database[1], TABLE)
        return syncd
    return begin


def wait_found(connection, stream, expected, syncd, table=TABLE):
    syncd.wait_for(lambda: routes.payloads(connection, table, stream) == expected,
                   f"to have {len(expected)} of {stream}")


def stream_state(connection, stream, route):
    cursor = connection.cursor()
    cursor.execute("SELECT state FROM ds_sync.stream WHERE name = %s AND route = %s", (stream, route))
    row = cursor.fetchone()
    return row and row[0]


@pytest.mark.parametrize("admin", [True, False], ids=["admin", "subscription"])
def test_a_pattern_finds_what_is_there_and_what_is_made_later(admin, connection, server, start):
    server.create("chat/1")
    server.append("chat/1", messages(0, 2))
    server.create("other/1")
    server.append("other/1", messages(0, 1))
    syncd = start(admin)
    routes.declare(connection, "chat", ["chat/*"], TABLE)
    wait_found(connection, "chat/1", messages(0, 2), syncd)
    for number in range(2, 5):
        server.create(f"chat/{number}")
        server.append(f"chat/{number}", messages(0, number))
    for number in range(2, 5):
        wait_found(connection, f"chat/{number}", messages(0, number), syncd)
    server.append("chat/1", messages(2, 1))
    wait_found(connection, "chat/1", messages(0, 3), syncd)
    assert routes.payloads(connection, TABLE, "other/1") == []
    syncd.wait_for(lambda: routes.state(connection, "chat") == ("running", None), "to say so")
    assert syncd.stop() == 0


def test_many_streams_take_several_pages(connection, server, start):
    for number in range(1100):
        server.create(f"page/{number:04}", body=b'{"n":1}')
    syncd = start()
    routes.declare(connection, "page", ["page/**"], TABLE)

    def found():
        cursor = connection.cursor()
        cursor.execute(f"SELECT count(*) FROM {TABLE}")
        return cursor.fetchone()[0]
    syncd.wait_for(lambda: found() == 1100, "to have all 1100")
    assert syncd.stop() == 0


def test_a_closed_stream_ends_and_a_deleted_one_is_let_go_of(connection, server, start):
    syncd = start()
    routes.declare(connection, "chat", ["chat/*"], TABLE, on_recreate="new_generation")
    server.create("chat/closed")
    server.append("chat/closed", messages(0, 2))
    ds.http("POST", server.stream_url("chat/closed"), headers={"Stream-Closed": "true"})
    syncd.wait_for(lambda: stream_state(connection, "chat/closed", "chat") == "closed", "to end it")
    assert routes.payloads(connection, TABLE, "chat/closed") == messages(0, 2)
    server.create("chat/again")
    server.append("chat/again", messages(0, 2))
    wait_found(connection, "chat/again", messages(0, 2), syncd)
    ds.http("DELETE", server.stream_url("chat/again"))
    server.create("chat/again")
    server.append("chat/again", messages(2, 1))
    wait_found(connection, "chat/again", messages(0, 3), syncd)
    assert syncd.stop() == 0


def sync_status(database, server):
    """{stream: (state, reason, what dsctl says of its tail)}"""
    rows = Dsctl(POSTGRES_URL=database[0], STREAM_URL=server.url).json("sync", "status")["streams"]
    return {row["name"]: (row["state"], row["reason"], row["lag_state"]) for row in rows}


def kept(syncd):
    """{stream: state} of what this instance has in memory."""
    return {each["name"]: each["state"] for each in syncd.status()["streams"]}


@pytest.mark.parametrize("admin", [True, False], ids=["admin", "subscription"])
def test_a_deleted_stream_leaves_nothing_but_its_row_and_its_policy_holds_when_it_comes_again(
        admin, database, connection, server, start):
    """GONE_SECONDS after its server said so: nobody looks for it any more, and what it had in memory is free."""
    lost = ["stop/loaded", "anew/loaded", "anew/closed", "anew/empty"]
    syncd = start(admin)
    for name, policy in (("stop", "stop"), ("anew", "new_generation"), ("keep", "stop")):
        routes.declare(connection, name, [f"{name}/*"], TABLE, on_recreate=policy)
    routes.declare(connection, "named", ["named/1"], TABLE, on_recreate="new_generation")
    for name in (*lost, "keep/1", "named/1"):
        server.create(name)
        if name != "anew/empty":
            server.append(name, messages(0, 2))
            wait_found(connection, name, messages(0, 2), syncd)
    ds.http("POST", server.stream_url("anew/closed"), headers={"Stream-Closed": "true"})
    syncd.wait_for(lambda: stream_state(connection, "anew/closed", "anew") == "closed"
                   and stream_state(connection, "anew/empty", "anew") == "running", "to be done with what there is")
    for name in (*lost, "named/1"):
        ds.http("DELETE", server.stream_url(name))

    syncd.wait_for(lambda: set(kept(syncd)) == {"keep/1", "named/1"}, "to let go", GONE_SECONDS + ds.HANG_SECONDS)
    syncd.wait_for(lambda: kept(syncd)["named/1"] == "waiting", "to wait for the one that is named")
    assert metric(syncd, "syncd_streams_wanted") == {"": 2}
    assert metric(syncd, "syncd_directory_streams") == {'server="default"': 2}
    assert sum(metric(syncd, "syncd_streams").values()) == 2
    assert {labels: count for labels, count in metric(syncd, "syncd_route_streams").items() if count > 0} == {
        'route="keep"': 1, 'route="named"': 1}
    for gauge in ("syncd_route_streams_dead", "syncd_route_queue_bytes"):
        assert set(metric(syncd, gauge).values()) == {0}, gauge
    assert metric(syncd, "syncd_queue_bytes") == {"": 0}
    said = sync_status(database, server)
    absent = {name: (state, lag) for name, (state, _, lag) in said.items()}
    assert absent == {"stop/loaded": ("stopped", "absent"), "anew/loaded": ("waiting", "absent"),
                      "anew/closed": ("closed", "absent"), "anew/empty": ("waiting", "absent"),
                      "named/1": ("waiting", "absent"), "keep/1": ("running", "caught up")}
    assert "deleted" in said["stop/loaded"][1] and "gone (404)" in said["anew/loaded"][1], said
    Dsctl(POSTGRES_URL=database[0], STREAM_URL=server.url)("sync", "status", "anew/closed", "--max-lag", "0")
    # What is closed and loaded is looked at only where the server does not tell that it makes it anew.
    assert admin or "no longer has it" in said["anew/closed"][1], said

    for name in (*lost, "named/1"):
        server.create(name)
        server.append(name, messages(5, 1))
    for name in ("anew/loaded", "anew/closed", "named/1"):
        wait_found(connection, name, messages(0, 2) + messages(5, 1), syncd)
    wait_found(connection, "anew/empty", messages(5, 1), syncd)
    syncd.wait_for(lambda: kept(syncd).get("stop/loaded") == "stopped", "to stop at another stream")
    server.append("keep/1", messages(2, 1))
    wait_found(connection, "keep/1", messages(0, 3), syncd)
    assert routes.payloads(connection, TABLE, "stop/loaded") == messages(0, 2)
    assert syncd.stop() == 0


def test_a_closed_stream_that_is_made_anew_at_once_is_read_again(connection, server, start):
    syncd = start()
    routes.declare(connection, "chat", ["chat/*"], TABLE, on_recreate="new_generation")
    for life in range(3):
        server.create("chat/reused")
        server.append("chat/reused", messages(2 * life, 2))
        ds.http("POST", server.stream_url("chat/reused"), headers={"Stream-Closed": "true"})
        wait_found(connection, "chat/reused", messages(0, 2 * life + 2), syncd)
        syncd.wait_for(lambda: stream_state(connection, "chat/reused", "chat") == "closed", "to end it")
        ds.http("DELETE", server.stream_url("chat/reused"))
    assert syncd.stop() == 0


def test_a_stream_that_is_made_anew_stops_where_the_route_says_so(connection, server, start):
    syncd = start()
    routes.declare(connection, "chat", ["chat/*"], TABLE)
    server.create("chat/1")
    server.append("chat/1", messages(0, 2))
    wait_found(connection, "chat/1", messages(0, 2), syncd)
    ds.http("DELETE", server.stream_url("chat/1"))
    server.create("chat/1")
    server.append("chat/1", messages(5, 2))
    syncd.wait_for(lambda: stream_state(connection, "chat/1", "chat") == "stopped", "to stop it")
    assert routes.payloads(connection, TABLE, "chat/1") == messages(0, 2)
    assert syncd.stop() == 0


def test_a_server_that_forgot_its_changes_is_listed_again(connection, server, start):
    syncd = start()
    routes.declare(connection, "chat", ["chat/*"], TABLE, on_recreate="new_generation")
    server.create("chat/1")
    server.append("chat/1", messages(0, 1))
    wait_found(connection, "chat/1", messages(0, 1), syncd)
    # In memory mode another run knows nothing of this one's tokens.
    assert server.stop() == 0
    server.start()
    server.wait_ready()
    server.create("chat/2")
    server.append("chat/2", messages(0, 2))
    wait_found(connection, "chat/2", messages(0, 2), syncd)
    assert syncd.stop() == 0


def test_two_servers_fill_one_table_under_their_prefixes(connection, folder, server, start):
    other = ds.DsServer(folder, name="ds-server-eu", environment={
        "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "500ms"}).wait_ready()
    syncd = start(SYNCD_SERVERS=f"eu={other.url}",
                  SYNCD_ADMIN_URLS=f"default={server.admin_url},eu={other.admin_url}")
    routes.declare(connection, "here", ["chat/*"], TABLE, name_prefix="us/")
    routes.declare(connection, "there", ["chat/*"], TABLE, server="eu", name_prefix="eu/")
    for place, first in ((server, 0), (other, 10)):
        place.create("chat/1")
        place.append("chat/1", messages(first, 2))
    wait_found(connection, "us/chat/1", messages(0, 2), syncd)
    wait_found(connection, "eu/chat/1", messages(10, 2), syncd)
    assert syncd.stop() == 0
    assert other.stop() == 0


def test_a_bad_route_is_reported_and_stops_no_other(connection, server, start):
    server.create("chat/1")
    server.append("chat/1", messages(0, 2))
    syncd = start()
    routes.declare(connection, "no_table", ["chat/*"], "public.missing")
    routes.declare(connection, "no_server", ["chat/*"], TABLE, server="nowhere", name_prefix="x/")
    routes.declare(connection, "no_sense", ["chat/*"], TABLE, name_prefix="y/", colour="blue")
    routes.declare(connection, "good", ["chat/*"], TABLE)
    wait_found(connection, "chat/1", messages(0, 2), syncd)
    for name, word in (("no_table", "missing"), ("no_server", "SYNCD_SERVERS"), ("no_sense", "colour")):
        syncd.wait_for(lambda: routes.state(connection, name), f"to report {name}")
        state, reason = routes.state(connection, name)
        assert state == "failed" and word in reason
        syncd.wait_log(f"route={name}")
        assert {"name": name, "state": state, "reason": reason} in syncd.status()["routes"]
    assert metric(syncd, "syncd_route_down") == {
        'route="no_table"': 1, 'route="no_server"': 1, 'route="no_sense"': 1, 'route="good"': 0, 'route="default"': 0}
    syncd.wait_for(lambda: routes.state(connection, "good") == ("running", None), "to say so")
    routes.make_table(connection, "public.missing")
    wait_found(connection, "chat/1", messages(0, 2), syncd, "public.missing")
    syncd.wait_for(lambda: routes.state(connection, "no_table") == ("running", None), "to say so")
    assert metric(syncd, "syncd_route_down")['route="no_table"'] == 0
    assert syncd.stop() == 0


@pytest.mark.parametrize("after_sync", ["trim", "delete_closed"])
def test_a_route_that_lets_go_of_streams_needs_the_admin_listener(after_sync, connection, server, start):
    server.create("chat/1")
    syncd = start(admin=False)
    routes.declare(connection, "r", ["chat/1"], TABLE, after_sync=after_sync)
    syncd.wait_for(lambda: routes.state(connection, "r"), "to report it")
    state, reason = routes.state(connection, "r")
    assert state == "failed" and "SYNCD_ADMIN_URLS" in reason
    assert syncd.stop() == 0


def test_routes_change_while_syncd_runs(connection, server, start):
    for name in ("chat/1", "talk/1"):
        server.create(name)
        server.append(name, messages(0, 2))
    syncd = start()
    routes.declare(connection, "r", ["chat/*"], TABLE)
    wait_found(connection, "chat/1", messages(0, 2), syncd)
    routes.declare(connection, "r", ["chat/*", "talk/1"], TABLE)
    wait_found(connection, "talk/1", messages(0, 2), syncd)
    routes.pause(connection, "r")
    syncd.wait_for(lambda: routes.state(connection, "r") == ("paused", None), "to pause it")
    syncd.wait_for(lambda: syncd.status()["streams"] == [], "to end its sessions")
    server.append("chat/1", messages(2, 1))
    routes.pause(connection, "r", False)
    wait_found(connection, "chat/1", messages(0, 3), syncd)
    routes.remove(connection, "r")
    syncd.wait_for(lambda: syncd.status()["streams"] == [], "to end its sessions")
    assert syncd.stop() == 0


def test_named_streams_go_on_while_their_server_cannot_be_listed(connection, server, start):
    server.create("chat/1")
    server.append("chat/1", messages(0, 1))
    # A port where nobody answers: patterns find nothing, names work.
    syncd = start(SYNCD_ADMIN_URLS=f"default=http://127.0.0.1:{ds.free_port()}")
    routes.declare(connection, "r", ["chat/1", "talk/*"], TABLE)
    wait_found(connection, "chat/1", messages(0, 1), syncd)
    syncd.wait_log("directory.trouble")
    assert syncd.stop() == 0
