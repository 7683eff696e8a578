# SPDX-License-Identifier: Apache-2.0
"""What syncd asks of the server once all of it is loaded, and when."""
import pytest
import routes
from fake_server import FakeAdmin, FakeServer
from test_syncd_flow import TABLE, listed, start_routes, wait_flow  # noqa: F401 (a fixture)
from test_syncd_source_faults import messages

ERA = 0xabc123


@pytest.fixture
def fake():
    server, admin = FakeServer(), FakeAdmin()
    server.era = ERA
    yield server, admin
    server.stop()
    admin.stop()


def test_a_closed_stream_is_deleted_only_in_the_life_that_was_loaded(database, fake, start_routes):
    """One that was made anew meanwhile is not: If-Match says which of them is meant."""
    server, admin = fake
    server.append(messages(0, 2))
    server.closed = True
    syncd = start_routes(SYNCD_SERVERS=f"fake={server.url}", SYNCD_ADMIN_URLS=f"fake={admin.url}")
    routes.declare(database[1], "r", ["after/1"], TABLE, server="fake", after_sync="delete_closed",
                   after_sync_grace="1s")
    wait_flow(database, "after/1", messages(0, 2), syncd)
    syncd.wait_for(lambda: server.missing, "to delete it")
    deletes = [head for head in server.heads if head.method == "DELETE"]
    assert [head.target for head in deletes] == ["/v1/stream/after/1"]
    assert deletes[0].fields.get("if-match") == f'"{ERA:016x}"'
    assert syncd.stop() == 0


def test_nothing_is_trimmed_before_the_grace_is_over(database, server, start_routes):
    """Others, loaded later, whose grace is short, are trimmed again and again meanwhile."""
    for name in ("late/1", "soon/1"):
        server.create(name)
    syncd = start_routes()
    for name, grace in (("late", "1h"), ("soon", "1s")):
        routes.declare(database[1], name, [f"{name}/*"], TABLE, after_sync="trim", after_sync_grace=grace)
    for turn in range(3):
        for name in ("late/1", "soon/1"):
            server.append(name, messages(2 * turn, 2))
            wait_flow(database, name, messages(0, 2 * turn + 2), syncd)

        def trimmed():
            stream = listed(server, "soon/1")
            return stream["start_offset"] == stream["next_offset"]
        syncd.wait_for(trimmed, "to trim the other")
    assert server.read_json("late/1")[0] == messages(0, 6)
    assert syncd.stop() == 0
