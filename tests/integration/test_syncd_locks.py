# SPDX-License-Identifier: Apache-2.0
"""Somebody locks rows of ds_sync: what is not locked goes on, and all of it does when the lock is gone."""
import re

import ds
import psycopg2
import pytest
import routes
from fleet import fleet_of, partition
from test_syncd_source_faults import FAST, messages, rows, state_of, wait_rows

STREAMS = [f"locks/{number}" for number in range(6)]
LOCKED = partition(STREAMS[0])
OTHERS = [name for name in STREAMS if partition(name) != LOCKED]

fleet = fleet_of(STREAMS)


@pytest.fixture
def locker(database):
    """Another session, in a transaction."""
    connection = psycopg2.connect(database[0])
    yield connection
    connection.close()


def lock(locker, table, condition, *values):
    cursor = locker.cursor()
    cursor.execute(f"SELECT FROM ds_sync.{table} WHERE {condition} FOR UPDATE", values)
    assert cursor.rowcount > 0


def load_first(names, database, server, start_syncd, settings):
    """Three messages of each, by a syncd that is over: their positions are there."""
    for name in names:
        server.create(name)
        server.append(name, messages(0, 3))
    syncd = start_syncd(names, **settings)
    for name in names:
        wait_rows(database, messages(0, 3), syncd, name)
    assert syncd.stop() == 0


def epochs(fleet):
    return dict(fleet.query("SELECT partition_no, epoch FROM ds_sync.work_partition WHERE partition_no <> %s", LOCKED))


def test_a_partition_whose_row_is_locked_costs_no_other_its_lease(fleet, server, database, locker):
    first = fleet.start("a", lease="30s")
    fleet.wait_held({"a": 64})
    before = epochs(fleet)
    lock(locker, "work_partition", "partition_no = %s", LOCKED)
    first.wait_for(lambda: re.search(r"event=lease\.lost.* partitions=1\b", first.log_text()), "to lose that one")
    assert epochs(fleet) == before
    # Another instance joins, and gets its share.
    fleet.start("b", lease="30s")
    ds.wait_until(lambda: fleet.held().get("b", 0) >= 31, what="the other to have its share", seconds=2 * ds.HANG_SECONDS)
    for name in STREAMS:
        server.append(name, messages(0, 20))
    for name in OTHERS:
        wait_rows(database, messages(0, 20), first, name)
    locker.rollback()
    wait_rows(database, messages(0, 20), first, STREAMS[0])


def test_an_instance_joins_and_leaves_though_rows_of_others_are_locked(fleet, server, database, locker):
    first = fleet.start("dead")
    fleet.wait_held({"dead": 64})
    first.kill()
    database[1].cursor().execute("UPDATE ds_sync.instance SET seen_at = seen_at - interval '2 hours'")
    lock(locker, "instance", "instance = 'dead'")
    lock(locker, "work_partition", "partition_no = %s", LOCKED)
    second = fleet.start("alive")
    for name in STREAMS:
        server.append(name, messages(0, 20))
    for name in OTHERS:
        wait_rows(database, messages(0, 20), second, name)
    assert second.stop() == 0
    assert set(fleet.held()) == {"dead"} and fleet.held()["dead"] == 1


def test_a_stream_whose_position_is_locked_holds_up_no_other(database, server, start_syncd, locker):
    settings = {**FAST, "SYNCD_WRITERS": "1", "SYNCD_STATEMENT_TIMEOUT": "1s", "SYNCD_IDLE_TIMEOUT": "30s"}
    load_first(STREAMS, database, server, start_syncd, settings)
    lock(locker, "stream_offset", "stream_id = (SELECT stream_id FROM ds_sync.stream WHERE name = %s)", STREAMS[0])
    syncd = start_syncd(STREAMS, wait=False, **settings)
    for turn in (1, 2):
        for name in STREAMS:
            server.append(name, messages(3 * turn, 3))
        for name in STREAMS[1:]:
            wait_rows(database, messages(0, 3 * turn + 3), syncd, name)
    syncd.wait_for(lambda: re.search(r"event=stream\.stalled.*57014", syncd.log_text()), "to give it up for now")
    assert len(rows(database[1], STREAMS[0])) == 3
    locker.rollback()
    wait_rows(database, messages(0, 9), syncd, STREAMS[0])
    syncd.wait_for(lambda: state_of(database[1], STREAMS[0]) == ("running", None), "to be well again")


def test_streams_whose_positions_are_locked_hold_up_no_other_however_many_they_are(database, server, start_syncd,
                                                                                  locker):
    """Each rests four times as long as it kept the writer waiting: five of them were enough to keep it waiting always."""
    names = [f"locks/many/{number}" for number in range(12)]
    locked, free = names[:10], names[10:]
    settings = {**FAST, "SYNCD_WRITERS": "1", "SYNCD_STATEMENT_TIMEOUT": "1s", "SYNCD_IDLE_TIMEOUT": "30s"}
    load_first(names, database, server, start_syncd, settings)
    lock(locker, "stream_offset", "stream_id IN (SELECT stream_id FROM ds_sync.stream WHERE name = ANY (%s))", locked)
    syncd = start_syncd(names, wait=False, **settings)
    for turn in (1, 2, 3):
        for name in free:
            server.append(name, messages(3 * turn, 3))
        for name in free:
            wait_rows(database, messages(0, 3 * turn + 3), syncd, name)
    locker.rollback()
    for name in locked:
        wait_rows(database, messages(0, 3), syncd, name)
        server.append(name, messages(3, 3))
        wait_rows(database, messages(0, 6), syncd, name)


def test_a_transaction_of_which_nobody_can_say_what_became_holds_up_no_other(database, server, start_syncd, locker):
    """Its connection is lost, and its stream's position locked: so it is neither yes nor no, for hours perhaps."""
    for name in STREAMS:
        server.create(name)
        server.append(name, messages(0, 3))
    syncd = start_syncd(STREAMS, SYNCD_WRITERS="1", SYNCD_STATEMENT_TIMEOUT="5s",
                        **{**FAST, "SYNCD_IDLE_TIMEOUT": "30s"})
    for name in STREAMS:
        wait_rows(database, messages(0, 3), syncd, name)
    lock(locker, "stream_offset", "stream_id = (SELECT stream_id FROM ds_sync.stream WHERE name = %s)", STREAMS[0])
    server.append(STREAMS[0], messages(3, 3))
    cursor = database[1].cursor()

    def cut_off():
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND "
                       "wait_event_type = 'Lock' AND query LIKE '%wanted%' AND pid <> pg_backend_pid()")
        return cursor.rowcount
    ds.wait_until(cut_off, what="the transaction to wait, and its connection to be cut")
    for turn in (1, 2):
        for name in STREAMS[1:]:
            server.append(name, messages(3 * turn, 3))
        for name in STREAMS[1:]:
            wait_rows(database, messages(0, 3 * turn + 3), syncd, name)
    assert len(rows(database[1], STREAMS[0])) == 3
    locker.rollback()
    wait_rows(database, messages(0, 6), syncd, STREAMS[0])


def test_a_state_that_cannot_be_stored_holds_up_no_rows(database, server, start_syncd, locker):
    for name in STREAMS:
        server.create(name)
    syncd = start_syncd(STREAMS, SYNCD_WRITERS="1", SYNCD_STATEMENT_TIMEOUT="1s", **FAST)
    syncd.wait_for(lambda: state_of(database[1], STREAMS[0])[0] == "running", "to run")
    lock(locker, "stream", "name = %s", STREAMS[0])
    assert ds.http("DELETE", server.stream_url(STREAMS[0]))[0] in (200, 204)
    syncd.wait_for(lambda: "event=stream.stopped" in syncd.log_text(), "to have a state to store")
    for turn in range(3):
        server.append(STREAMS[1], messages(3 * turn, 3))
        wait_rows(database, messages(0, 3 * turn + 3), syncd, STREAMS[1])
    assert state_of(database[1], STREAMS[0])[0] == "running"
    locker.rollback()
    syncd.wait_for(lambda: state_of(database[1], STREAMS[0])[0] == "stopped", "to store it")


def test_a_server_that_was_not_asked_is_not_said_to_be_silent(database, server, start_syncd, locker):
    """A stream waits for its locked position, so it asks nobody."""
    settings = {**FAST, "SYNCD_STATEMENT_TIMEOUT": "1s"}
    load_first(STREAMS[:1], database, server, start_syncd, settings)
    lock(locker, "stream_offset", "true")
    syncd = start_syncd(STREAMS[:1], wait=False, **settings)
    ds.wait_until(lambda: [stream["state"] for stream in syncd.status()["streams"]] == ["backoff"], what="it to rest")
    assert syncd.status()["readiness"] == "positions are being loaded"


@pytest.mark.parametrize("parts", ["", " PARTITION BY HASH (stream_name)"], ids=["table", "partition"])
def test_a_route_whose_table_is_locked_keeps_no_other_from_running(parts, database, server, start_syncd, locker):
    """As VACUUM FULL does, for hours: what a route is has to be known without waiting for its table."""
    connection = database[1]
    connection.cursor().execute(f'CREATE TABLE public.locked (stream_name text COLLATE "C" NOT NULL, generation integer'
                                f' NOT NULL, seq bigint NOT NULL, ds_offset text COLLATE "C" NOT NULL, payload jsonb'
                                f' NOT NULL, PRIMARY KEY (stream_name, seq)){parts}')
    locked = "locked"
    if parts:
        locked = "locked_0"
        connection.cursor().execute("CREATE TABLE public.locked_0 PARTITION OF public.locked "
                                    "FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    routes.make_table(connection, "public.other")
    for name in ("locked", "other"):
        server.create(f"{name}/1")
    locker.cursor().execute(f"LOCK TABLE public.{locked} IN ACCESS EXCLUSIVE MODE")
    syncd = start_syncd([], **FAST)
    for name in ("locked", "other"):
        routes.declare(connection, name, [f"{name}/1"], f"public.{name}")
    server.append("other/1", messages(0, 2))
    syncd.wait_for(lambda: routes.payloads(connection, "public.other", "other/1") == messages(0, 2),
                   "to load the other route")
    locker.rollback()
    server.append("locked/1", messages(0, 2))
    syncd.wait_for(lambda: routes.payloads(connection, "public.locked", "locked/1") == messages(0, 2),
                   "to load the route whose table was locked")
