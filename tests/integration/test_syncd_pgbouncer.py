# SPDX-License-Identifier: Apache-2.0
"""Everything that syncd does works behind PgBouncer in transaction mode, where the next statement of a
connection may run in another session of Postgres."""
import re

import ds
import psycopg2
import pytest
from checker import StreamChecker
from fleet import Fleet, take_over_seconds

STREAMS = [f"pooled/{number}" for number in range(8)]
BYTES = "pooled/bytes"
POISON = '"poison": true, "text": "\\u0000"'


@pytest.fixture
def pgbouncer(folder, postgres_server):
    process = ds.PgBouncer(folder, postgres_server).start()
    yield process
    process.stop()


@pytest.fixture
def fleet(folder, database, server, pgbouncer):
    for name in STREAMS:
        server.create(name)
    server.create(BYTES, content_type="application/octet-stream")
    url = pgbouncer.url(database[0].rpartition("/")[2])
    several = Fleet(folder, server.url, url, database[1], [*STREAMS, BYTES])
    yield several
    several.stop_all()


def test_two_instances_load_everything_through_a_pool_smaller_than_they_are(
        fleet, server, database, pgbouncer):
    """Migration, leases, small statements, COPY, dead letters and take-over; three sessions of Postgres
    serve six connections."""
    checkers = [*(StreamChecker(server, name) for name in STREAMS), StreamChecker(server, BYTES, False)]

    def loaded(seconds=ds.HANG_SECONDS):
        ds.wait_until(lambda: all(checker.caught_up(database[1]) for checker in checkers), seconds,
                      f"everything to arrive through the pool\n{fleet.started[-1].log_end()}")
        for checker in checkers:
            assert checker.check(database[1], everything=True), checker.findings

    victim = fleet.start("a")
    second = fleet.start("b")
    fleet.wait_held({"a": 32, "b": 32})
    for name in STREAMS:
        server.append(name, [{"n": number} for number in range(3)])
    server.append(BYTES, b"\0\1\2 bytes", content_type="application/octet-stream")
    loaded()
    many = [{"n": number, "text": "x" * 200} for number in range(600)]
    for name in STREAMS:
        server.append(name, many)
        server.append(name, f'[{{"n": 1}}, {{{POISON}}}, {{"n": 2}}]'.encode())
    server.append(BYTES, b"x" * 300000, content_type="application/octet-stream")
    loaded()
    victim.kill()
    for name in STREAMS:
        server.append(name, many)
    loaded(take_over_seconds(3))
    fleet.wait_held({"b": 64})
    pooled = psycopg2.connect(pgbouncer.url(database[0].rpartition("/")[2]))
    cursor = pooled.cursor()
    cursor.execute("SHOW statement_timeout")
    assert cursor.fetchone() == ("0",), "a limit was left in a session that others use as well"
    pooled.close()
    sessions = fleet.query("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'syncd%%' "
                           "AND datname = current_database() AND pid <> pg_backend_pid()")[0][0]
    assert 1 <= sessions <= pgbouncer.pool_size
    assert second.stop() == 0
    assert fleet.held() == {}


@pytest.fixture
def locker(database):
    """Another session, in a transaction."""
    connection = psycopg2.connect(database[0])
    yield connection
    connection.close()


def lock_position(locker, name):
    cursor = locker.cursor()
    cursor.execute("SELECT FROM ds_sync.stream_offset WHERE stream_id = (SELECT stream_id FROM ds_sync.stream "
                   "WHERE name = %s) FOR UPDATE", (name,))
    assert cursor.rowcount == 1


def waits_for_lock(fleet, word):
    return fleet.query("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
                       "AND query LIKE %s", f"%{word}%")


def test_who_asks_what_became_of_a_transaction_waits_for_a_lock_no_longer_than_a_statement_may_take(
        fleet, server, database, locker):
    """The session is the pool's, and knows no limit of ours: each try would leave one behind that waits on."""
    name = STREAMS[0]
    syncd = fleet.start("a", SYNCD_STATEMENT_TIMEOUT="1s", SYNCD_WRITERS="1")
    server.append(name, [{"n": 0}])
    checker = StreamChecker(server, name)
    ds.wait_until(lambda: checker.caught_up(database[1]), what="the first row")
    lock_position(locker, name)
    server.append(name, [{"n": 1}])
    ds.wait_until(lambda: waits_for_lock(fleet, "wanted"), what="the statement to wait")
    fleet.query("SELECT pg_terminate_backend(%s)", waits_for_lock(fleet, "wanted")[0][0])
    syncd.wait_log("lock timeout")
    assert len(waits_for_lock(fleet, "lock_timeout")) <= 1
    locker.rollback()
    ds.wait_until(lambda: checker.caught_up(database[1]), what="the second row")
    assert checker.check(database[1], everything=True), checker.findings


def test_a_stream_whose_position_is_locked_holds_up_no_other(fleet, server, database, locker):
    first = fleet.start("a")
    for name in STREAMS:
        server.append(name, [{"n": 0}])
    checkers = [StreamChecker(server, name) for name in STREAMS]
    ds.wait_until(lambda: all(checker.caught_up(database[1]) for checker in checkers), what="the first rows")
    assert first.stop() == 0
    lock_position(locker, STREAMS[0])
    second = fleet.start("b", wait=False, SYNCD_STATEMENT_TIMEOUT="1s", SYNCD_WRITERS="1")
    for name in STREAMS:
        server.append(name, [{"n": 1}])
    ds.wait_until(lambda: all(checker.caught_up(database[1]) for checker in checkers[1:]), what="the other streams")
    second.wait_for(lambda: re.search(r"event=stream\.stalled.*55P03", second.log_text()), "to give it up for now")
    locker.rollback()
    ds.wait_until(lambda: checkers[0].caught_up(database[1]), what="the stream that was locked")


def test_the_pool_is_restarted_while_work_is_in_flight(fleet, server, database, pgbouncer):
    checkers = [StreamChecker(server, name) for name in STREAMS]
    fleet.start("a")
    for turn in range(2):
        for name in STREAMS:
            server.append(name, [{"n": number} for number in range(300)])
        pgbouncer.process.kill()
        pgbouncer.process.start()
        ds.wait_until(lambda: all(checker.caught_up(database[1]) for checker in checkers),
                      what="everything to arrive after the pool came back")
    for checker in checkers:
        assert checker.check(database[1], everything=True), checker.findings
