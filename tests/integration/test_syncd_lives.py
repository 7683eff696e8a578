# SPDX-License-Identifier: Apache-2.0
"""Streams that go, and come again as others: on servers whose offsets say so, and on those whose do not."""
import signal

import ds
import psycopg2
import pytest
import routes
from fake_server import FakeServer
from test_syncd_discovery import TABLE, stream_state, wait_found
from test_syncd_source_faults import FAST, messages, rows, wait_rows

STREAM = "life/1"


class CountingServer(FakeServer):
    """Offsets that look like ours, and begin with a number of messages."""

    def offset(self, number):
        return f"{number:016x}_{number * 100:016x}"

    def _number(self, offset):
        return 0 if offset == "-1" else len(self.events) if offset == "now" else int(offset[:16], 16)


@pytest.fixture(params=[FakeServer, CountingServer], ids=["opaque", "counting"])
def fake(request):
    running = request.param()
    yield running
    running.stop()


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
        routes.make_table(database[1], TABLE)
        return syncd
    return begin


def told(connection, stream=STREAM):
    """(state, reason, gone) in Postgres."""
    cursor = connection.cursor()
    cursor.execute("SELECT state, coalesce(reason, ''), gone FROM ds_sync.stream WHERE name = %s", (stream,))
    return cursor.fetchone() or (None, "", None)


def closed(connection, stream=STREAM):
    """Whether its end is loaded."""
    cursor = connection.cursor()
    cursor.execute("SELECT o.closed FROM ds_sync.stream_offset o JOIN ds_sync.stream s USING (stream_id)"
                   " WHERE s.name = %s", (stream,))
    return cursor.fetchone() == (True,)


def generations(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT generation, count(*) FROM ds_sync.session_events GROUP BY 1 ORDER BY 1")
    return cursor.fetchall()


def close(server, stream):
    ds.http("POST", server.stream_url(stream), headers={"Stream-Closed": "true"})


# --- what is done of a stream's first event ---

@pytest.mark.parametrize("content", ["application/json", "text/plain"])
def test_what_is_done_of_the_first_event_is_not_passed_over_in_a_stream_that_is_made_anew(
        content, connection, folder, server, start):
    """The place within it is one of this life, though it was read from "-1"."""
    chunks = content != "application/json"
    syncd = start()
    if chunks:
        table = "public.pieces"
        connection.cursor().execute(
            f"CREATE TABLE {table} (stream_name text COLLATE \"C\", generation integer, seq bigint, ds_offset text,"
            " payload text, CONSTRAINT few CHECK (seq = 0), PRIMARY KEY (stream_name, seq))")
        routes.declare(connection, "r", [STREAM], table, on_error="stop", **{"as": "chunks"},
                       payload={"column": "payload", "type": "text"})
    else:
        table = TABLE
        connection.cursor().execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT few CHECK (seq < 2)")
        routes.declare(connection, "r", [STREAM], TABLE, on_error="stop")

    def make(letter):
        server.create(STREAM, content_type=content)
        server.append(STREAM, (letter * 2_500_000).encode() if chunks else [{letter: n} for n in range(5)], content)

    def loaded():
        cursor = connection.cursor()
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchone()[0]
    make("a")
    syncd.wait_for(lambda: told(connection)[0] == "failed", "to meet what is refused")
    before = loaded()
    assert before == (1 if chunks else 2)
    syncd.stop()
    assert ds.http("DELETE", server.stream_url(STREAM))[0] in (200, 204)
    make("b")
    connection.cursor().execute(f"ALTER TABLE {table} DROP CONSTRAINT few")
    syncd.start()
    syncd.wait_for(lambda: told(connection)[0] == "stopped", "to find another stream")
    assert loaded() == before


# --- closed streams that are made anew ---

@pytest.mark.parametrize("admin", [True, False], ids=["admin", "head"])
def test_a_closed_stream_that_is_only_named_is_read_again_when_it_is_made_anew(admin, connection, server, start):
    syncd = start(admin)
    routes.declare(connection, "r", [STREAM], TABLE, on_recreate="new_generation")
    for life in range(3):
        server.create(STREAM)
        server.append(STREAM, messages(2 * life, 2))
        close(server, STREAM)
        wait_found(connection, STREAM, messages(0, 2 * life + 2), syncd)
        syncd.wait_for(lambda: stream_state(connection, STREAM, "r") == "closed", "to end it")
        ds.http("DELETE", server.stream_url(STREAM))
    assert syncd.stop() == 0


def test_a_closed_stream_that_another_run_of_the_server_made_anew_is_stopped(connection, server, start):
    """In memory mode the changes are forgotten: both listings have the stream."""
    syncd = start()
    routes.declare(connection, "r", ["life/*"], TABLE)
    server.create(STREAM)
    server.append(STREAM, messages(0, 2))
    close(server, STREAM)
    syncd.wait_for(lambda: stream_state(connection, STREAM, "r") == "closed", "to end it")
    server.kill()
    server.start()
    server.wait_ready()
    server.create(STREAM)
    server.append(STREAM, messages(5, 2))
    close(server, STREAM)
    syncd.wait_for(lambda: stream_state(connection, STREAM, "r") == "stopped", "to stop it")
    assert routes.payloads(connection, TABLE, STREAM) == messages(0, 2)
    assert syncd.stop() == 0


def test_a_closed_stream_that_stays_is_looked_at_and_stays_closed(connection, fake, start_syncd):
    fake.append(messages(0, 2))
    fake.closed = True
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    syncd.wait_for(lambda: told(connection)[0] == "closed", "to end it")
    seen = len(fake.requests)
    syncd.wait_for(lambda: len(fake.requests) >= seen + 2, "to look at it")
    assert {method for method, _ in fake.requests[seen:]} == {"HEAD"}
    assert told(connection) == ("closed", "", False)
    assert syncd.stop() == 0


def test_a_stream_that_is_closed_while_its_connection_stays_is_done_with(connection, fake, start):
    """Its TTL is held by reading it anew, and then it is not there any more."""
    fake.lingers, fake.ttl = True, 1
    fake.append(messages(0, 2))
    syncd = start(admin=False, SYNCD_SERVERS=f"fake={fake.url}")
    routes.declare(connection, "r", [STREAM], TABLE, server="fake", ttl="hold")
    wait_found(connection, STREAM, messages(0, 2), syncd)
    with fake.changed:
        fake.closed = True
        fake.changed.notify_all()
    syncd.wait_for(lambda: closed(connection), "to load its end")
    fake.missing = True                        # who reads it stays connected
    syncd.wait_for(lambda: told(connection)[2], "to see it gone")
    assert told(connection) == ("closed", "the server no longer has it (404)", True)
    fake.make_anew([messages(0, 2)], closed=True)
    syncd.wait_for(lambda: told(connection)[0] == "stopped", "to find that it may be another one")
    assert routes.payloads(connection, TABLE, STREAM) == messages(0, 2)
    assert syncd.stop() == 0


def test_that_a_closed_stream_is_gone_is_not_lost_at_the_end(connection, database, fake, start_syncd):
    """One connection to Postgres, and a lock before both streams: what one of them knows has to wait in line."""
    streams = [STREAM, "life/2"]
    fake.append(messages(0, 2))
    fake.closed = True
    syncd = start_syncd(streams, server_url=fake.url, SYNCD_WRITERS="1", SYNCD_STOP_TIMEOUT="60s", **FAST)
    for stream in streams:
        syncd.wait_for(lambda: told(connection, stream)[0] == "closed", "to end it")
    locking = psycopg2.connect(database[0])
    try:
        locking.cursor().execute("SELECT FROM ds_sync.stream FOR UPDATE")
        fake.missing = True
        syncd.wait_for(lambda: all("404" in each["reason"] for each in syncd.status()["streams"]), "to see them gone")
        syncd.signal(signal.SIGTERM)
        syncd.wait_log("stopping: ")
    finally:
        locking.close()
    assert syncd.wait() == 0
    assert [told(connection, stream)[2] for stream in streams] == [True, True]


# --- what is known of a stream that was gone, where offsets do not say which life they are of ---

def test_a_stream_that_was_gone_is_not_taken_for_the_same_after_a_restart(connection, database, fake, start_syncd):
    """It is longer than before when it comes again: only who saw it gone can know."""
    fake.append(messages(0, 2))
    syncd = start_syncd([STREAM], server_url=fake.url, SYNCD_ON_RECREATE="new_generation", **FAST)
    wait_rows(database, messages(0, 2), syncd, STREAM)
    fake.delete()
    syncd.wait_for(lambda: told(connection)[2], "to see it gone")
    assert told(connection)[0] == "waiting"
    syncd.kill()
    fake.make_anew([messages(10, 2), messages(12, 2), messages(14, 2)])
    syncd.start()
    wait_rows(database, messages(0, 2) + messages(10, 6), syncd, STREAM)
    assert generations(connection) == [(1, 2), (2, 6)]
    syncd.wait_for(lambda: told(connection) == ("running", "", False), "to forget it")
    assert syncd.stop() == 0


def test_a_stream_that_came_again_is_not_read_twice_though_it_was_never_said_to_run(
        connection, database, fake, start_syncd):
    """What becomes of a stream is told when there is time for it; its rows do not wait for that."""
    fake.append(messages(0, 2))
    syncd = start_syncd([STREAM], server_url=fake.url, SYNCD_ON_RECREATE="new_generation", **FAST)
    wait_rows(database, messages(0, 2), syncd, STREAM)
    connection.cursor().execute(
        "CREATE FUNCTION public.untold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER untold BEFORE UPDATE OF state ON ds_sync.stream FOR EACH ROW"
        " WHEN (old.state = 'waiting' AND new.state = 'running') EXECUTE FUNCTION public.untold()")
    fake.delete()
    syncd.wait_for(lambda: told(connection)[2], "to see it gone")
    fake.make_anew([messages(10, 2), messages(12, 2), messages(14, 2)])
    wait_rows(database, messages(0, 2) + messages(10, 6), syncd, STREAM)
    syncd.kill()
    syncd.start()
    fake.append(messages(16, 2))
    wait_rows(database, messages(0, 2) + messages(10, 8), syncd, STREAM)
    assert generations(connection) == [(1, 2), (2, 8)]
    assert syncd.stop() == 0


def test_a_stream_that_was_gone_is_not_taken_for_the_same_after_its_route_rested(connection, fake, start):
    syncd = start(admin=False, SYNCD_SERVERS=f"fake={fake.url}")
    routes.declare(connection, "r", [STREAM], TABLE, server="fake", on_recreate="new_generation")
    fake.append(messages(0, 2))
    wait_found(connection, STREAM, messages(0, 2), syncd)
    fake.delete()
    syncd.wait_for(lambda: told(connection)[2], "to see it gone")
    routes.pause(connection, "r")
    syncd.wait_for(lambda: syncd.status()["streams"] == [], "to end its session")
    fake.make_anew([messages(10, 2), messages(12, 2), messages(14, 2)])
    routes.pause(connection, "r", False)
    wait_found(connection, STREAM, messages(0, 2) + messages(10, 6), syncd)
    assert syncd.stop() == 0


def test_a_stopped_stream_stays_so_over_a_restart_until_somebody_decides(connection, database, fake, start_syncd):
    fake.append(messages(0, 2))
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_rows(database, messages(0, 2), syncd, STREAM)
    fake.delete()
    syncd.wait_for(lambda: told(connection)[0] == "stopped", "to stop it")
    assert syncd.stop() == 0
    fake.make_anew([messages(0, 2), messages(2, 2)])
    syncd.start()
    syncd.wait_for(lambda: "is there again" in told(connection)[1], "to look at it")
    assert told(connection)[0] == "stopped"
    assert rows(connection, STREAM) == list(enumerate(messages(0, 2)))
    assert syncd.stop() == 0
    # An operator who knows that it is the same.
    connection.cursor().execute("UPDATE ds_sync.stream SET gone = false WHERE name = %s", (STREAM,))
    syncd.start()
    wait_rows(database, messages(0, 4), syncd, STREAM)
    assert syncd.stop() == 0


def test_a_closed_stream_that_was_gone_is_not_taken_for_the_same(connection, database, fake, start_syncd):
    """The other one is closed at the same offset."""
    fake.append(messages(0, 2))
    fake.closed = True
    syncd = start_syncd([STREAM], server_url=fake.url, SYNCD_ON_RECREATE="new_generation", **FAST)
    syncd.wait_for(lambda: told(connection)[0] == "closed", "to end it")
    fake.delete()
    syncd.wait_for(lambda: told(connection)[2], "to see it gone")
    assert told(connection)[0] == "closed"
    syncd.kill()
    fake.make_anew([messages(10, 2)], closed=True)
    syncd.start()
    wait_rows(database, messages(0, 2) + messages(10, 2), syncd, STREAM)
    syncd.wait_for(lambda: told(connection) == ("closed", "", False), "to end it again")
    assert syncd.stop() == 0


# --- start: now ---

@pytest.mark.parametrize("streams", [["life/*"], [STREAM, "life/old"]], ids=["pattern", "named"])
def test_a_route_that_starts_now_reads_all_of_what_was_made_while_nobody_ran(streams, connection, server, start):
    server.create("life/old")
    server.append("life/old", messages(0, 2))
    syncd = start()
    routes.declare(connection, "r", streams, TABLE, start="now")
    syncd.wait_for(lambda: stream_state(connection, "life/old", "r") == "running", "to begin")
    assert syncd.stop() == 0
    server.create(STREAM)
    server.append(STREAM, messages(0, 3))
    server.append("life/old", messages(2, 1))
    syncd.start()
    wait_found(connection, STREAM, messages(0, 3), syncd)
    wait_found(connection, "life/old", messages(2, 1), syncd)
    assert syncd.stop() == 0


def test_a_route_that_starts_now_leaves_out_what_another_route_saw_made_before_it(connection, server, start):
    syncd = start()
    routes.make_table(connection, "public.later")
    routes.declare(connection, "all", ["life/*"], TABLE)
    syncd.wait_for(lambda: routes.state(connection, "all"), "to run the route")
    server.create(STREAM)
    server.append(STREAM, messages(0, 2))
    wait_found(connection, STREAM, messages(0, 2), syncd)
    # Well after it, since what is made within the time of an answer counts as newer.
    routes.declare(connection, "now", ["life/*"], "public.later", applied="1 hour", start="now")
    syncd.wait_for(lambda: stream_state(connection, STREAM, "now") == "running", "to begin")
    server.append(STREAM, messages(2, 1))
    wait_found(connection, STREAM, messages(0, 3), syncd)
    wait_found(connection, STREAM, messages(2, 1), syncd, "public.later")
    assert syncd.stop() == 0


def test_a_404_of_who_stands_before_a_server_makes_no_stream_newer_than_its_list_says(
        connection, server, fake, start_syncd):
    """A proxy that knows its server not yet, say.  The admin listener says that the stream is older."""
    server.create(STREAM)
    fake.missing = True
    syncd = start_syncd([], wait=False, server_url=fake.url, SYNCD_ADMIN_URLS=f"default={server.admin_url}",
                        **{**FAST, "SYNCD_IDLE_TIMEOUT": "30s"})
    syncd.wait_log("the schema is there")
    routes.make_table(connection, TABLE)
    routes.declare(connection, "r", [STREAM], TABLE, applied="1 hour", start="now")
    syncd.wait_for(lambda: stream_state(connection, STREAM, "r") == "waiting", "to look for it in vain")
    fake.make_anew([messages(0, 2)])
    syncd.wait_for(lambda: stream_state(connection, STREAM, "r") == "running", "to begin")
    fake.append(messages(2, 1))
    wait_found(connection, STREAM, messages(2, 1), syncd)
    assert syncd.stop() == 0


class ForgetfulServer(FakeServer):
    """Says what there is, shows it from its start, and no longer has what follows, whatever that is."""

    def _sse(self, connection, number, query):
        if number > 0 and self.forgets:
            return self._status(connection, self.forgets)
        self.begin_sse(connection)
        for event in range(number, len(self.events)):
            self.chunk(connection, self.data(self.events[event]) + self.control(event + 1))
        connection.sendall(b"0\r\n\r\n")
        return False


@pytest.mark.parametrize("forgets", [404, 410])
def test_a_server_that_always_forgets_makes_no_generations_without_pause(forgets, connection, database, start_syncd):
    fake = ForgetfulServer()
    try:
        fake.forgets = forgets
        fake.append(messages(0, 3))
        syncd = start_syncd([STREAM], server_url=fake.url, SYNCD_ON_RECREATE="new_generation",
                            **{**FAST, "SYNCD_BACKOFF_BASE": "500ms", "SYNCD_BACKOFF_MAX": "5s"})
        syncd.wait_for(lambda: told(connection)[0] == "backoff" and "again and again" in told(connection)[1],
                       "to say that it waits, and why")
        fake.forgets = None
        fake.append(messages(3, 3))
        syncd.wait_for(lambda: rows(connection, STREAM)[-1][1] == messages(5, 1)[0], "to go on")
        syncd.wait_for(lambda: told(connection)[0] == "running", "to say so")
        assert syncd.stop() == 0
    finally:
        fake.stop()


def test_other_changes_of_a_route_do_not_move_its_start(connection, server, start):
    syncd = start()
    routes.declare(connection, "r", ["life/*"], TABLE, start="now")
    syncd.wait_for(lambda: routes.state(connection, "r") == ("running", None), "to run the route")
    assert syncd.stop() == 0
    server.create(STREAM)
    server.append(STREAM, messages(0, 2))
    routes.declare(connection, "r", ["life/*"], TABLE, start="now", ttl="hold")
    syncd.start()
    wait_found(connection, STREAM, messages(0, 2), syncd)
    assert syncd.stop() == 0


def test_a_stream_that_there_was_no_room_for_is_as_old_as_it_is_where_servers_do_not_tell(connection, server, start):
    """It is in every view, and so not new when there is room for it."""
    server.create(STREAM)
    server.append(STREAM, messages(0, 2))
    syncd = start(admin=False, SYNCD_DIRECTORY_STREAMS_MAX="1")
    routes.declare(connection, "full", ["other"], TABLE)
    syncd.wait_for(lambda: stream_state(connection, "other", "full") == "waiting", "to take the only place")
    routes.declare(connection, "r", ["life/*"], TABLE, start="now")
    syncd.wait_for(lambda: [each["refused"] for each in syncd.status()["directory"]] == [1], "to refuse it")
    routes.remove(connection, "full")
    syncd.wait_for(lambda: stream_state(connection, STREAM, "r") == "running", "to take it in")
    server.append(STREAM, messages(2, 1))
    wait_found(connection, STREAM, messages(2, 1), syncd)
    assert syncd.stop() == 0


def from_start(connection, stream):
    cursor = connection.cursor()
    cursor.execute("SELECT from_start FROM ds_sync.stream WHERE name = %s", (stream,))
    return cursor.fetchone() == (True,)


@pytest.mark.parametrize("streams", [["life/*"], [STREAM]], ids=["subscription", "named"])
def test_that_a_stream_was_seen_coming_is_remembered_where_servers_do_not_tell(streams, connection, server, start):
    server.create("life/old")
    syncd = start(admin=False)
    routes.declare(connection, "r", streams, TABLE, start="now")
    if "*" in streams[0]:
        syncd.wait_for(lambda: stream_state(connection, "life/old", "r") == "running", "to begin")
        server.create(STREAM)
    syncd.wait_for(lambda: from_start(connection, STREAM), "to note it")
    syncd.kill()
    server.create(STREAM)
    server.append(STREAM, messages(0, 3))
    syncd.start()
    wait_found(connection, STREAM, messages(0, 3), syncd)
    assert syncd.stop() == 0


# --- how much is known ---

def metric(syncd, line):
    return line in ds.http("GET", f"{syncd.url}/metrics")[2].decode().splitlines()


def test_streams_beyond_the_limit_are_taken_in_once_there_is_room(connection, folder, server, start):
    other = ds.DsServer(folder, name="ds-server-eu", environment={
        "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "500ms"}).wait_ready()
    syncd = start(SYNCD_SERVERS=f"eu={other.url}", SYNCD_DIRECTORY_STREAMS_MAX="3",
                  SYNCD_ADMIN_URLS=f"default={server.admin_url},eu={other.admin_url}")
    for number in (1, 2):
        other.create(f"life/{number}", body=b'{"n":1}')
    routes.declare(connection, "there", ["life/*"], TABLE, server="eu", name_prefix="eu/")
    for number in (1, 2):
        wait_found(connection, f"eu/life/{number}", [{"n": 1}], syncd)
    for number in (1, 2, 3):
        server.create(f"life/{number}", body=b'{"n":1}')
    routes.declare(connection, "here", ["life/*"], TABLE)
    wait_found(connection, "life/1", [{"n": 1}], syncd)
    syncd.wait_log("event=directory.full")

    def found():
        status = syncd.status()
        return status["fleet"]["streams_wanted"], [(each["server"], each["streams"], each["refused"])
                                                   for each in status["directory"]]
    syncd.wait_for(lambda: found() == (3, [("default", 1, 2), ("eu", 2, 0)]), "to refuse two")
    assert metric(syncd, 'syncd_directory_streams_refused{server="default"} 2')
    routes.remove(connection, "there")
    for number in (1, 2, 3):
        wait_found(connection, f"life/{number}", [{"n": 1}], syncd)
    syncd.wait_for(lambda: metric(syncd, 'syncd_directory_streams_refused{server="default"} 0'), "to say so")
    assert syncd.log_text().count("event=directory.full") == 1
    assert syncd.stop() == 0
    assert other.stop() == 0


def test_the_status_says_how_streams_are_found(connection, folder, server, start):
    other = ds.DsServer(folder, name="ds-server-eu").wait_ready()
    syncd = start(SYNCD_SERVERS=f"eu={other.url},us=http://127.0.0.1:{ds.free_port()}",
                  SYNCD_ADMIN_URLS=f"default={server.admin_url},us=http://127.0.0.1:{ds.free_port()}")
    server.create(STREAM)
    other.create(STREAM)
    for name, place in (("here", "default"), ("there", "eu"), ("nowhere", "us")):
        routes.declare(connection, name, ["life/*"], TABLE, server=place, name_prefix=f"{place}/")

    def found():
        return {each["server"]: each for each in syncd.status()["directory"]}
    syncd.wait_for(lambda: found()["default"]["streams"] == found()["eu"]["streams"] == 1, "to find them")
    syncd.wait_for(lambda: found()["us"]["reason"], "to fail")
    assert [(name, each["how"]) for name, each in found().items()] == [
        ("default", "listing"), ("eu", "subscription"), ("us", "listing")]
    for name in ("default", "eu"):
        syncd.wait_for(lambda: found()[name]["looked_at"] is not None and found()[name]["reason"] == "", "to look")
        syncd.wait_for(lambda: metric(syncd, f'syncd_directory_ok{{server="{name}"}} 1'), "to count")
        syncd.wait_for(lambda: metric(syncd, f'syncd_directory_streams{{server="{name}"}} 1'), "to count")
    assert found()["us"]["looked_at"] is None
    assert metric(syncd, 'syncd_directory_ok{server="us"} 0')
    assert metric(syncd, 'syncd_directory_looked_at_seconds{server="us"} 0')
    routes.remove(connection, "there")
    syncd.wait_for(lambda: found()["eu"]["how"] == "names" and found()["eu"]["streams"] == 0, "to let go")
    assert syncd.stop() == 0
    assert other.stop() == 0
