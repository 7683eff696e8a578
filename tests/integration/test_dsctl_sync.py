# SPDX-License-Identifier: Apache-2.0
"""What an operator does about a stream while syncd runs: try again, read again, go on behind something."""
import json
import threading

import ds
import pytest
from test_dsctl import AUTH, CONFLICT, Dsctl, NOT_FOUND, USAGE
from test_routes import login  # noqa: F401  (a fixture)

STREAM = "mend/stream"
TABLE = "public.mended"


@pytest.fixture
def cursor(database):
    return database[1].cursor()


@pytest.fixture
def db(server, database, cursor):
    """An instance that is gone now has said where the server "default" is."""
    dsctl = Dsctl(DSCTL_SERVER=server.url, POSTGRES_URL=database[0])
    dsctl("db", "migrate")
    say_servers(cursor, "before", default=server.url)
    return dsctl


def say_servers(cursor, instance, **urls):
    """As an instance does, which is not seen any more, and not long enough to be forgotten."""
    cursor.execute("INSERT INTO ds_sync.instance (instance, version, host, pid, seen_at, servers, server_urls) "
                   "VALUES (%s, '0', 'elsewhere', 1, clock_timestamp() - interval '30 minutes', %s, %s)",
                   (instance, list(urls), list(urls.values())))


@pytest.fixture
def apply(db):
    """apply(**members): the route "mend" of the stream, events that stop at an error."""
    def route(**members):
        spec = {"name": "mend", "streams": [STREAM], "table": TABLE, "on_error": "stop", **members}
        db("route", "apply", "-f", "-", stdin=json.dumps({"routes": [spec]}).encode())
    return route


def rows(cursor, table="ds_sync.session_events", stream=STREAM):
    cursor.execute(f"SELECT generation, seq, payload FROM {table} WHERE stream_name = %s ORDER BY seq", (stream,))
    return cursor.fetchall()


def wait_rows(cursor, expected, syncd, table="ds_sync.session_events"):
    try:
        syncd.wait_for(lambda: len(rows(cursor, table)) >= len(expected), f"{len(expected)} rows")
    finally:
        found = rows(cursor, table)
        assert found == expected, found


def place(cursor):
    cursor.execute("SELECT generation, ds_offset, skip, next_seq, state, reason FROM ds_sync.stream_offset "
                   "JOIN ds_sync.stream USING (stream_id) WHERE name = %s", (STREAM,))
    return cursor.fetchone()


def actions(cursor):
    cursor.execute("SELECT action FROM ds_sync.audit WHERE action LIKE 'sync.%' ORDER BY audit_id")
    return [action for action, in cursor.fetchall()]


def state(cursor):
    found = place(cursor)
    return found and found[4]


def numbers(first, count, generation=1, seq=None):
    return [(generation, first + n if seq is None else seq + n, {"n": first + n}) for n in range(count)]


def append(server, first, count):
    server.append(STREAM, [{"n": n} for n in range(first, first + count)])


# ---- retry ----

def test_a_failed_stream_is_tried_again_without_a_restart(db, apply, server, cursor, start_syncd):
    server.create(STREAM)
    apply()
    cursor.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT small CHECK ((payload->>'n')::int < 2)")
    append(server, 0, 4)
    syncd = start_syncd([], SYNCD_INSTANCE="one")
    syncd.wait_for(lambda: state(cursor) == "failed", "to fail")
    assert "dsctl sync retry" in syncd.log_text(), "the line names the command"
    assert rows(cursor, TABLE) == numbers(0, 2)
    before = place(cursor)
    cursor.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT small")
    told = db.json("sync", "retry", STREAM)["streams"]
    assert [(row["stream"], row["route"], row["result"], row["state"]) for row in told] == \
        [(STREAM, "mend", "asked", "failed")]
    assert told[0]["reason"] == before[5]
    wait_rows(cursor, numbers(0, 4), syncd, TABLE)
    syncd.wait_for(lambda: state(cursor) == "running", "to run")
    assert actions(cursor) == ["sync.retry"]


def test_what_is_still_broken_fails_again_with_its_reason(db, apply, server, cursor, start_syncd):
    server.create(STREAM)
    apply()
    cursor.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT small CHECK ((payload->>'n')::int < 2)")
    append(server, 0, 4)
    syncd = start_syncd([])
    syncd.wait_for(lambda: state(cursor) == "failed", "to fail")
    before = place(cursor)
    assert db("sync", "retry", "--all").split("\t")[:3] == [STREAM, "asked", "failed"]
    syncd.wait_for(lambda: syncd.log_text().count("event=stream.failed") == 2, "to fail again")
    syncd.wait_for(lambda: state(cursor) == "failed", "to say so")
    assert place(cursor) == before and rows(cursor, TABLE) == numbers(0, 2)


def test_retry_names_what_it_cannot_find_and_says_when_nobody_runs(db, cursor):
    db.error("sync", "retry", status=USAGE)
    db.error("sync", "retry", "--all", "a", status=USAGE)
    assert "none" in db.error("sync", "retry", "none", status=NOT_FOUND)
    assert "no stream is stopped or failed" in db.run("sync", "retry", "--all")[2]
    put(cursor, "a", state="failed")
    put(cursor, "b", state="running")
    put(cursor, "c", state="stopped", route="other")
    status, stdout, stderr = db.run("sync", "retry", "--all", "-o", "ndjson")
    assert status == 0 and "no syncd runs" in stderr
    assert [json.loads(line)["stream"] for line in stdout.splitlines()] == ["a", "c"]
    cursor.execute("SELECT name, state FROM ds_sync.stream ORDER BY name")
    assert cursor.fetchall() == [("a", "new"), ("b", "running"), ("c", "new")]


def test_a_stream_says_what_of_its_route_keeps_it_from_going_on(db, cursor):
    cursor.execute("INSERT INTO ds_sync.route (name, spec, paused) VALUES ('rests', '{}', true), ('ends', '{}', false), "
                   "('opens', '{}', false), ('mended', '{}', false)")
    cursor.execute("INSERT INTO ds_sync.route_state (name, version, state, reason, instance) VALUES "
                   "('ends', 1, 'stopped', 'said so', 'i'), ('mended', 0, 'stopped', 'an older version', 'i')")
    for route in ("rests", "ends", "opens", "mended", "nobody", "default"):
        put(cursor, f"of/{route}", route=route)
    put(cursor, "failed/itself", route="ends", state="failed", reason="its own")
    cursor.execute("INSERT INTO ds_sync.state_stream (stream_id, generation, opened_seq) "
                   "SELECT stream_id, 1, 7 FROM ds_sync.stream WHERE name = 'of/opens'")
    found = {row["name"]: row["reason"] for row in db.json("sync", "status", "--no-head")["streams"]}
    assert found == {
        "of/rests": "its route is paused",
        "of/ends": "its route is stopped, and goes on with dsctl route resume: said so",
        "of/opens": "a snapshot is open since seq 7: until its end the table holds the set of before",
        "of/mended": None, "of/nobody": "its route is removed", "of/default": None, "failed/itself": "its own"}


def test_retry_leaves_streams_alone_whose_route_is_stopped(db, cursor):
    """Nobody would try them before the route is resumed, and their reason would be gone."""
    put(cursor, "a", state="failed", reason="of the route")
    cursor.execute("INSERT INTO ds_sync.route_state (name, version, state, reason, instance) "
                   "VALUES ('default', 0, 'stopped', 'of the route', 'i')")
    for which in ("a", "--all"):
        status, stdout, stderr = db.run("sync", "retry", which, "-o", "ndjson")
        assert status == 0 and "dsctl route resume ROUTE" in stderr
        assert json.loads(stdout)["result"] == "route stopped"
    cursor.execute("SELECT state, reason FROM ds_sync.stream")
    assert cursor.fetchall() == [("failed", "of the route")]
    db("route", "resume", "default")
    assert db.json("sync", "retry", "a")["streams"][0]["result"] == "asked"


def test_all_says_of_no_stream_that_was_gone_that_it_is_the_same(db, cursor):
    """Where offsets carry no life, a stream that was made anew would be read on from the offset of the old one."""
    put(cursor, "a", state="failed")
    put(cursor, "b", state="stopped", gone=True)
    status, stdout, stderr = db.run("sync", "retry", "--all", "-o", "ndjson")
    assert status == 0 and "1 were left alone" in stderr and "sync reset" in stderr
    assert [(row["stream"], row["result"]) for row in map(json.loads, stdout.splitlines())] == \
        [("a", "asked"), ("b", "gone")]
    cursor.execute("SELECT name, state, gone, asked_version IS NULL FROM ds_sync.stream ORDER BY name")
    assert cursor.fetchall() == [("a", "new", False, False), ("b", "stopped", True, True)]
    db("sync", "retry", "b")
    cursor.execute("SELECT state, gone FROM ds_sync.stream WHERE name = 'b'")
    assert cursor.fetchone() == ("new", False)
    cursor.execute("SELECT target, details->>'gone' FROM ds_sync.audit ORDER BY audit_id")
    assert cursor.fetchall() == [("a", "false"), ("b", "true")]


def cannot_load(seq):
    return f"23514: the message of seq {seq} cannot be loaded, and the route's on_error is stop: no"


def put(cursor, name, state="running", route="default", source="default", ds_offset="-1", skip=0, next_seq=0,
        content_type="application/json", reason=None, gone=False):
    cursor.execute("INSERT INTO ds_sync.stream (source, name, route, state, content_type, reason, gone) "
                   "VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING stream_id",
                   (source, name, route, state, content_type, reason, gone))
    cursor.execute("INSERT INTO ds_sync.stream_offset (stream_id, ds_offset, skip, next_seq) VALUES (%s, %s, %s, %s)",
                   (cursor.fetchone()[0], ds_offset, skip, next_seq))


# ---- reset ----

def test_a_quiet_stream_is_read_again_as_the_next_generation(db, server, cursor, start_syncd):
    server.create(STREAM)
    append(server, 0, 3)
    syncd = start_syncd([STREAM])
    wait_rows(cursor, numbers(0, 3), syncd)
    before = place(cursor)
    row, = db.json("sync", "reset", STREAM)["streams"]
    assert (row["result"], row["generation_before"], row["generation_after"], row["offset_before"],
            row["offset_after"], row["next_seq_after"]) == ("would be reset", 1, 2, before[1], "-1", 3)
    assert place(cursor) == before and actions(cursor) == []
    assert db("sync", "reset", STREAM, "--execute").split("\t")[1] == "reset"
    wait_rows(cursor, numbers(0, 3) + numbers(0, 3, generation=2, seq=3), syncd)
    append(server, 3, 1)
    wait_rows(cursor, numbers(0, 3) + numbers(0, 4, generation=2, seq=3), syncd)
    assert actions(cursor) == ["sync.reset"]


def test_a_reset_under_load_loses_and_doubles_nothing(db, server, cursor, start_syncd):
    """What was on its way from the old place cannot be committed any more."""
    server.create(STREAM)
    syncd = start_syncd([STREAM], SYNCD_BATCH_ROWS_MAX="7")
    done = threading.Event()

    def produce():
        for n in range(200):
            append(server, n * 3, 3)
        done.set()
    producer = threading.Thread(target=produce)
    producer.start()
    resets = 0
    while not done.is_set() or resets == 0:
        syncd.wait_for(lambda: rows(cursor)[-1:] and rows(cursor)[-1][0] == resets + 1, "to load something")
        db("sync", "reset", STREAM, "--execute")
        resets += 1
    producer.join()
    syncd.wait_for(lambda: rows(cursor)[-1][::2] == (resets + 1, {"n": 599}), "to read all of it again")
    found = rows(cursor)
    assert [seq for _, seq, _ in found] == list(range(len(found)))
    for generation in range(1, resets + 2):
        loaded = [payload["n"] for number, _, payload in found if number == generation]
        assert loaded == list(range(len(loaded))), f"generation {generation}"
    assert "the table already" not in syncd.log_text()


def test_a_stream_that_was_made_anew_goes_on_after_a_reset(db, server, cursor, start_syncd):
    server.create(STREAM)
    append(server, 0, 2)
    syncd = start_syncd([STREAM])
    wait_rows(cursor, numbers(0, 2), syncd)
    ds.http("DELETE", server.stream_url(STREAM))
    server.create(STREAM)
    append(server, 7, 2)
    syncd.wait_for(lambda: state(cursor) == "stopped", "to stop")
    assert "dsctl sync reset" in syncd.log_text(), "the line names the command"
    db("sync", "reset", STREAM, "--execute")
    wait_rows(cursor, numbers(0, 2) + numbers(7, 2, generation=2, seq=2), syncd)


def test_one_of_several_is_named(db, cursor):
    put(cursor, "a")
    put(cursor, "a", route="other")
    assert "--route default or --route other" in db.error("sync", "reset", "a", status=USAGE)
    put(cursor, "b")
    put(cursor, "b", source="eu")
    assert "--source default or --source eu" in db.error("sync", "skip", "b", "--to", "now", status=USAGE)
    db("sync", "reset", "a", "--route", "other", "--execute")
    db("sync", "reset", "b", "--source", "eu", "--execute")
    cursor.execute("SELECT name, route, source FROM ds_sync.stream JOIN ds_sync.stream_offset USING (stream_id) "
                   "WHERE generation = 2 ORDER BY name")
    assert cursor.fetchall() == [("a", "other", "default"), ("b", "default", "eu")]
    db.error("sync", "reset", "none", status=NOT_FOUND)


@pytest.fixture
def writer(database, cursor, postgres_server):
    """A transaction that moves the stream; writer(dsctl) waits until that waits for it, does what is to be done then,
    and commits."""
    other = postgres_server.connect(database[0].rpartition("/")[2])
    other.autocommit = False

    def commit(process, then=None):
        def waits():
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dsctl' "
                           "AND datname = current_database() AND wait_event_type = 'Lock'")
            return cursor.fetchone() == (1,)
        ds.wait_until(waits, what="dsctl to wait for the writer")
        if then is not None:
            other.cursor().execute(then)
        other.commit()
        _, stderr = process.communicate(timeout=ds.HANG_SECONDS)
        return process.returncode, stderr.decode()
    commit.cursor = other.cursor()
    yield commit
    other.close()


def test_a_reset_waits_for_what_is_being_committed_and_counts_on_behind_it(db, cursor, writer):
    put(cursor, STREAM)
    writer.cursor.execute("UPDATE ds_sync.stream_offset SET next_seq = 5, skip = 5")
    assert writer(db.start("sync", "reset", STREAM, "--execute"))[0] == 0
    assert place(cursor)[:4] == (2, "-1", 0, 5)


def test_a_reset_and_a_syncd_that_loads_the_stream_do_not_wait_for_each_other(db, cursor, writer):
    put(cursor, STREAM)
    writer.cursor.execute("UPDATE ds_sync.stream SET from_start = from_start")
    status, stderr = writer(db.start("sync", "reset", STREAM, "--execute"),
                            then="UPDATE ds_sync.stream_offset SET epoch = epoch + 1")
    assert status == 0, stderr
    assert place(cursor)[:1] == (2,)


def test_a_message_that_was_loaded_meanwhile_is_not_put_aside(db, cursor, server, writer):
    server.create(STREAM, body=b'[{"n":0},{"n":1}]')
    put(cursor, STREAM, state="failed", reason=cannot_load(0))
    writer.cursor.execute("UPDATE ds_sync.stream_offset SET next_seq = 1, skip = 1")
    status, stderr = writer(db.start("sync", "skip", STREAM, "--past-poison", "--execute"))
    assert status == CONFLICT and "moved on meanwhile" in stderr
    assert place(cursor)[:4] == (1, "-1", 1, 1) and actions(cursor) == []
    cursor.execute("SELECT count(*) FROM ds_sync.dead_letter")
    assert cursor.fetchone() == (0,)


def test_the_owner_of_the_schema_may_and_the_writer_may_not(db, cursor, login):  # noqa: F811
    put(cursor, STREAM, state="failed")
    writer = login("ds_sync_writer")
    for words in (("retry", STREAM), ("reset", STREAM, "--execute")):
        writer.error("sync", *words, status=AUTH)
    owner = login("ds_sync_owner")
    owner("sync", "retry", STREAM)
    owner("sync", "reset", STREAM, "--execute")
    assert actions(cursor) == ["sync.retry", "sync.reset"]


# ---- skip ----

def test_a_stream_goes_on_at_its_end(db, server, cursor, start_syncd):
    server.create(STREAM)
    append(server, 0, 3)
    syncd = start_syncd([STREAM])
    wait_rows(cursor, numbers(0, 3), syncd)
    assert syncd.stop() == 0
    append(server, 3, 4)
    tail = server.read_json(STREAM)[1]
    before = place(cursor)
    row, = db.json("sync", "skip", STREAM, "--to", "now")["streams"]
    assert (row["result"], row["offset_before"], row["offset_after"]) == ("would be skipped", before[1], tail)
    assert place(cursor) == before
    db("sync", "skip", STREAM, "--to", "now", "--execute")
    append(server, 7, 2)
    wait_rows(cursor, numbers(0, 3) + numbers(7, 2, seq=3), start_syncd([STREAM]))
    assert actions(cursor) == ["sync.skip"]


def test_a_running_syncd_goes_on_where_it_is_told(db, apply, server, cursor, start_syncd):
    server.create(STREAM)
    apply()
    cursor.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT small CHECK ((payload->>'n')::int NOT IN (2, 3))")
    append(server, 0, 4)
    offset = server.read_json(STREAM)[1]
    append(server, 4, 2)
    syncd = start_syncd([])
    syncd.wait_for(lambda: state(cursor) == "failed", "to fail")
    db("sync", "skip", STREAM, "--to", offset, "--execute")
    wait_rows(cursor, numbers(0, 2) + numbers(4, 2, seq=2), syncd, TABLE)


def test_the_message_that_fails_a_stream_is_put_aside_with_its_bytes(db, apply, server, cursor, start_syncd):
    server.create(STREAM)
    apply()
    cursor.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT small CHECK ((payload->>'n')::int IS DISTINCT FROM 2)")
    server.append(STREAM, b'[{"n":0},{"n":1},{"n": 2,  "odd": "\\u00e9"},{"n":3}]')
    syncd = start_syncd([])
    syncd.wait_for(lambda: state(cursor) == "failed", "to fail")
    before = place(cursor)
    assert "--past-poison" in syncd.log_text(), "the line names the command"
    row, = db.json("sync", "skip", STREAM, "--past-poison")["streams"]
    assert (row["result"], row["next_seq_before"], row["next_seq_after"]) == ("would be skipped", 2, 3)
    assert place(cursor) == before
    status, _, stderr = db.run("sync", "skip", STREAM, "--past-poison", "--execute")
    assert status == 0 and 'seq 2: {"n": 2,' in stderr
    wait_rows(cursor, [*numbers(0, 2), (1, 3, {"n": 3})], syncd, TABLE)
    cursor.execute("SELECT seq, reason, message, payload FROM ds_sync.dead_letter")
    seq, reason, message, payload = cursor.fetchone()
    assert (seq, reason, bytes(payload)) == (2, "skipped", b'{"n": 2,  "odd": "\\u00e9"}')
    assert message == before[5]
    syncd.wait_for(lambda: state(cursor) == "running", "to run")


def test_skip_goes_neither_back_nor_to_places_that_are_none(db, server, cursor):
    server.create("a", body=b'[{"n":0},{"n":1},{"n":2}]')
    messages, tail = server.read_json("a")
    era, _, position = tail.partition("_")
    put(cursor, "a", ds_offset=f"{era}_{2:016x}", next_seq=2)
    assert "in another life" in db.error("sync", "skip", "a", "--to", f"{era}_{1:016x}", "--execute", status=CONFLICT)
    for target in (f"{era}_{4:016x}", f"{'0' * 15}1_{2:016x}", "a,b", "-1"):
        assert db.run("sync", "skip", "a", "--to", target, "--execute")[0] == USAGE, target
    db.error("sync", "skip", "a", status=USAGE)
    db.error("sync", "skip", "a", "--to", "now", "--past-poison", status=USAGE)
    assert "not failed" in db.error("sync", "skip", "a", "--past-poison", status=CONFLICT)
    cursor.execute("UPDATE ds_sync.stream SET state = 'failed', reason = %s", (cannot_load(2),))
    cursor.execute("UPDATE ds_sync.stream_offset SET ds_offset = %s", (tail,))
    assert "no message behind" in db.error("sync", "skip", "a", "--past-poison", "--execute", status=CONFLICT)
    put(cursor, "gone")
    db.error("sync", "skip", "gone", "--to", "now", status=NOT_FOUND)
    put(cursor, "bytes", state="failed", content_type="text/plain", reason=cannot_load(0))
    assert "no stream of JSON" in db.error("sync", "skip", "bytes", "--past-poison", status=CONFLICT)
    assert actions(cursor) == []


@pytest.mark.parametrize("reason", [
    None, "42501: permission denied for table mended", cannot_load(3), cannot_load(10),
    "there are 3000 dead letters more than 3 for each row; nothing from seq 1 on is loaded, which was refused, too: "
    "the message of seq 1 cannot be loaded"])
def test_a_message_that_is_not_what_failed_the_stream_is_not_put_aside(db, server, cursor, reason):
    server.create(STREAM, body=b'[{"n":0},{"n":1}]')
    put(cursor, STREAM, state="failed", skip=1, next_seq=1, reason=reason)
    before = place(cursor)
    said = db.error("sync", "skip", STREAM, "--past-poison", "--execute", status=CONFLICT)
    assert "did not fail at its next message, seq 1" in said and f"dsctl sync retry {STREAM}" in said
    assert place(cursor) == before and actions(cursor) == []
    cursor.execute("UPDATE ds_sync.stream SET reason = %s", (cannot_load(1).partition(": ")[2],))
    db("sync", "skip", STREAM, "--past-poison", "--execute")


OTHER = "http://eu.example:4437"


@pytest.mark.parametrize("how", [("--to", "now"), ("--past-poison",)])
def test_what_another_server_has_under_the_name_is_not_skipped(db, server, cursor, how):
    server.create(STREAM, body=b'[{"n":0},{"n":1}]')
    put(cursor, STREAM, source="eu", state="failed", reason=cannot_load(0))
    say_servers(cursor, "one", eu=OTHER)
    before = place(cursor)
    for words in ((), ("--source", "eu")):
        said = db.error("sync", "skip", STREAM, *how, *words, "--execute", status=CONFLICT)
        assert f'{server.url} is the server "default"' in said and f"--server {OTHER}" in said
    assert place(cursor) == before and actions(cursor) == []


@pytest.mark.parametrize("how", [("--to", "now"), ("--past-poison",)])
@pytest.mark.parametrize("urls", [{}, {"eu": OTHER}])
def test_of_an_address_that_nobody_knows_the_operator_says_whose_it_is(db, server, cursor, how, urls):
    server.create(STREAM, body=b'[{"n":0},{"n":1}]')
    put(cursor, STREAM, source="eu", state="failed", reason=cannot_load(0))
    cursor.execute("DELETE FROM ds_sync.instance")
    say_servers(cursor, "one", **urls)
    before = place(cursor)
    said = db.error("sync", "skip", STREAM, *how, "--execute", status=CONFLICT)
    assert server.url in said and "--source eu" in said and (OTHER in said) == bool(urls)
    assert place(cursor) == before
    db("sync", "skip", STREAM, *how, "--source", "eu", "--execute")
    assert actions(cursor) == ["sync.skip"]


def test_instances_say_where_their_servers_are(db, server, cursor, start_syncd):
    start_syncd([], SYNCD_INSTANCE="one", SYNCD_SERVERS=f"eu={OTHER}/")
    cursor.execute("SELECT servers, server_urls FROM ds_sync.instance WHERE instance = 'one'")
    assert cursor.fetchone() == (["default", "eu"], [server.url, OTHER])


def test_a_stream_of_another_server_has_no_lag_on_this_one(db, server, cursor):
    for name in ("a", "b"):
        server.create(name, body=b'[{"n":0},{"n":1}]')
    put(cursor, "a")
    put(cursor, "b", source="eu")
    say_servers(cursor, "one", eu=OTHER)
    found = {row["name"]: (row["lag"], row["lag_state"]) for row in db.json("sync", "status")["streams"]}
    assert found == {"a": (2, "behind"), "b": (None, "other server")}


@pytest.mark.parametrize("control", ["snapshot-start", "snapshot-end", "reset"])
def test_a_control_of_state_is_not_put_aside(db, apply, server, cursor, control):
    apply(**{"as": "state"})
    server.create(STREAM, body=json.dumps([{"headers": {"control": control}}, {"headers": {"control": "odd"}}]).encode())
    put(cursor, STREAM, state="failed", route="mend", reason=cannot_load(0))
    before = place(cursor)
    said = db.error("sync", "skip", STREAM, "--past-poison", "--execute", status=CONFLICT)
    assert f'a control of its state, "{control}"' in said and f"dsctl sync reset {STREAM}" in said
    assert place(cursor) == before
    cursor.execute("UPDATE ds_sync.stream SET reason = %s", (cannot_load(1),))
    cursor.execute("UPDATE ds_sync.stream_offset SET skip = 1, next_seq = 1")
    db("sync", "skip", STREAM, "--past-poison", "--execute")
    # For a route of events it is a message like any other.
    put(cursor, STREAM, state="failed", route="events", reason=cannot_load(0))
    db("sync", "skip", STREAM, "--route", "events", "--past-poison", "--execute")
