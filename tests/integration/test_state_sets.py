# SPDX-License-Identifier: Apache-2.0
"""Whole sets of state: how snapshots and resets are carried out, and what becomes of letters among them."""
import json
import os
import subprocess

import ds
import psycopg2
import pytest
import test_syncd_service
from test_state_sink import STREAM, change, declare, letters, look, mark, replay, wait_seq
from test_syncd_source_faults import state_of

PAGE = 2000


def stage(server, database, syncd, messages, before=0):
    """Loaded in a transaction of its own."""
    server.append(STREAM, messages)
    wait_seq(database, before + len(messages), syncd)
    return before + len(messages)


def log_statements(cursor):
    """Of all that change public.state: how many rows each, and in which transaction."""
    cursor.execute("""
        CREATE TABLE public.statements (id bigint GENERATED ALWAYS AS IDENTITY, op text, rows bigint, tx bigint);
        CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.statements (op, rows, tx)
             SELECT TG_OP, count(*), txid_current() FROM changed; RETURN NULL; END'""")
    for op, table in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
        cursor.execute(f"CREATE TRIGGER note_{op} AFTER {op} ON public.state REFERENCING {table} TABLE AS changed "
                       "FOR EACH STATEMENT EXECUTE FUNCTION public.note()")


def statements(cursor):
    """(largest, {op: rows}, transactions)"""
    cursor.execute("SELECT op, rows, tx FROM public.statements WHERE rows > 0")
    found = cursor.fetchall()
    cursor.execute("TRUNCATE public.statements")
    sums = {}
    for op, count, _ in found:
        sums[op] = sums.get(op, 0) + count
    return max(count for _, count, _ in found), sums, len({tx for *_, tx in found})


def test_a_large_set_is_exchanged_and_emptied_by_small_statements_of_one_transaction(
        database, folder, server, start_syncd):
    """A statement of a million rows would exceed any timeout, again and again."""
    server.create(STREAM)
    cursor = database[1].cursor()
    environment = declare(database, folder, server)
    syncd = start_syncd([], **environment)
    done = stage(server, database, syncd, [change(f"k{number}", "set", 1) for number in range(PAGE * 2 + 100)])
    log_statements(cursor)
    done = stage(server, database, syncd, [mark("snapshot-start")] + [
        change(f"k{number}", "set", 2) for number in range(PAGE, PAGE * 4 + 100)] + [change("", "set", 2, kind="")],
        done)
    assert look(database)[1][("t", "k0")] == (0, 1)
    done = stage(server, database, syncd, [mark("snapshot-end"), change("last", "set", 3)], done)
    largest, sums, transactions = statements(cursor)
    assert largest <= PAGE and transactions == 1
    assert sums == {"DELETE": PAGE, "UPDATE": PAGE + 100, "INSERT": PAGE * 2 + 2}
    rows = look(database)[1]
    assert len(rows) == PAGE * 3 + 102 and rows[("t", "last")] == (done - 1, 3) and ("", "") in rows
    assert {value for _, value in rows.values()} == {2, 3}
    cursor.execute("SELECT count(*) FROM ds_sync.state_staged")
    assert cursor.fetchone() == (0,)

    stage(server, database, syncd, [mark("reset"), change("k5000", "set", 4)], done)
    largest, sums, transactions = statements(cursor)
    assert largest <= PAGE and transactions == 1
    assert set(look(database)[1]) == {("t", "k5000")}


def snapshots_open(syncd):
    """Streams with a snapshot that is open, by the metric; and those of /status."""
    count = test_syncd_service.metric(syncd, "syncd_route_snapshots_open").get('route="state"')
    return count, [stream["name"] for stream in syncd.status()["streams"] if stream["snapshot_open_since"]]


def test_a_snapshot_that_stays_open_is_in_the_metrics_also_after_a_restart(database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server)
    syncd = start_syncd([], **environment)
    done = stage(server, database, syncd, [change("k", "set", 1)])
    syncd.wait_for(lambda: snapshots_open(syncd) == (0, []), "to have no snapshot open")
    done = stage(server, database, syncd, [mark("snapshot-start"), change("k", "set", 2)], done)
    syncd.wait_for(lambda: snapshots_open(syncd) == (1, [STREAM]), "to tell that one is open")
    assert syncd.stop() == 0
    syncd = start_syncd([], **environment)
    syncd.wait_for(lambda: snapshots_open(syncd) == (1, [STREAM]), "to tell it again")
    assert 'route="state"' in test_syncd_service.metric(syncd, "syncd_route_snapshot_seconds")
    done = stage(server, database, syncd, [mark("snapshot-start"), change("k", "set", 3)], done)
    assert snapshots_open(syncd) == (1, [STREAM])
    stage(server, database, syncd, [mark("snapshot-end")], done)
    syncd.wait_for(lambda: snapshots_open(syncd) == (0, []), "to tell that it has ended")


def test_a_snapshot_that_a_new_generation_left_behind_is_not_open(database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_recreate="new_generation"))
    done = stage(server, database, syncd, [mark("snapshot-start"), change("k", "set", 1)])
    syncd.wait_for(lambda: snapshots_open(syncd) == (1, [STREAM]), "to tell that one is open")
    ds.http("DELETE", server.stream_url(STREAM))
    server.create(STREAM)
    syncd.wait_for(lambda: snapshots_open(syncd) == (0, []), "to forget it")
    stage(server, database, syncd, [change("k", "set", 2)], done)
    assert snapshots_open(syncd) == (0, [])


def test_a_large_snapshot_that_another_one_replaces_is_dropped_by_small_statements(
        database, folder, server, start_syncd):
    server.create(STREAM)
    cursor = database[1].cursor()
    syncd = start_syncd([], **declare(database, folder, server))
    done = stage(server, database, syncd, [mark("snapshot-start")] + [
        change(f"k{number}", "set", 1) for number in range(PAGE + 5)])
    cursor.execute("""
        CREATE TABLE public.largest (rows bigint); GRANT ALL ON public.largest TO PUBLIC;
        CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.largest SELECT count(*) FROM gone; RETURN NULL; END';
        CREATE TRIGGER note AFTER DELETE ON ds_sync.state_staged REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION public.note()""")
    stage(server, database, syncd, [mark("snapshot-start"), change("k999", "set", 2)], done)
    cursor.execute("SELECT max(rows), sum(rows) FROM public.largest")
    assert cursor.fetchone() == (PAGE, PAGE + 4)    # k999 is taken over
    cursor.execute("SELECT key, seq FROM ds_sync.state_staged")
    assert cursor.fetchall() == [("k999", done + 1)]


COLUMNS = {"name": {"pointer": "/name", "type": "varchar(5)"}}


def test_a_row_that_is_refused_only_when_its_snapshot_ends_becomes_a_letter(database, folder, server, start_syncd):
    server.create(STREAM)
    cursor = database[1].cursor()
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=COLUMNS))
    cursor.execute("""
        ALTER TABLE public.state ADD CONSTRAINT fits CHECK (value::text <> '"ab"');
        CREATE FUNCTION public.raise() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''not this one''; END';
        CREATE TRIGGER raise BEFORE INSERT ON public.state FOR EACH ROW WHEN (NEW.key = 'raised')
            EXECUTE FUNCTION public.raise();
        -- As people write them: found by the search_path of whoever writes the row.
        CREATE TABLE public.seen (key text);
        CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO seen VALUES (NEW.key); RETURN NULL; END';
        CREATE TRIGGER see AFTER INSERT ON public.state FOR EACH ROW EXECUTE FUNCTION public.see()""")
    old = [change("long", "set", "old"), change("absent", "set", "old"), change("good", "set", "old")]
    done = stage(server, database, syncd, old)
    long = {**change("long", "set", {"x": [1, "\u00e9"]}), "name": "longer"}
    snapshot = [mark("snapshot-start"), long, {**change("good", "set", "new"), "name": "12345"},
                change("grown", "set", "a")]
    done = stage(server, database, syncd, snapshot, done)
    done = stage(server, database, syncd, [change("grown", "append", "b"), change("other", "set", 1),
                                              change("raised", "set", 1)], done)
    server.append(STREAM, [mark("snapshot-end"), change("behind", "set", 1)])
    wait_seq(database, done + 2, syncd)
    assert [(seq, reason, state) for seq, reason, state, _ in letters(database)] == [
        (4, "row_fault", "22001"), (7, "row_fault", "23514"), (9, "row_fault", "P0001")]
    assert look(database)[1] == {("t", "good"): (5, "new"), ("t", "other"): (8, 1), ("t", "behind"): (11, 1)}
    cursor.execute("SELECT convert_from(payload, 'UTF8')::json, ds_offset FROM ds_sync.dead_letter ORDER BY seq")
    (message, first_offset), (grown, second_offset), _ = cursor.fetchall()
    assert message == long and first_offset < second_offset
    assert grown == change("grown", "set", "ab")
    assert state_of(database[1], STREAM)[0] == "running"
    cursor.execute("ALTER TABLE public.state DROP CONSTRAINT fits, ALTER COLUMN name TYPE varchar(6)")
    assert [replay(database, seq) for seq in (4, 7)] == ["replayed", "replayed"]
    assert look(database)[1][("t", "grown")] == (7, "ab")
    cursor.execute("SELECT name FROM public.state WHERE key = 'long'")
    assert cursor.fetchone() == ("longer",)
    cursor.execute("SELECT DISTINCT key FROM public.seen ORDER BY 1")
    assert [key for key, in cursor.fetchall()] == ["absent", "behind", "good", "grown", "long", "other"]


def test_a_row_that_is_refused_only_at_the_commit_of_a_snapshot_becomes_a_letter(
        database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=COLUMNS))
    database[1].cursor().execute("ALTER TABLE public.state ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED")
    done = stage(server, database, syncd, [mark("snapshot-start")] + [
        {**change(key, "set", 1), "name": name} for key, name in (("a", "x"), ("b", "y"), ("c", "x"))])
    server.append(STREAM, [mark("snapshot-end")])
    wait_seq(database, done + 1, syncd)
    assert [(seq, state) for seq, _, state, _ in letters(database)] == [(3, "23505")]
    assert look(database)[1] == {("t", "a"): (1, 1), ("t", "b"): (2, 1)}


@pytest.mark.parametrize("on_error,bad,count", [("stop", 1, 10), ("dead_letter", 3500, 3500)])
def test_a_snapshot_that_may_not_lose_rows_stops_its_stream_and_leaves_the_old_set(
        on_error, bad, count, database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error=on_error, columns=COLUMNS))
    done = stage(server, database, syncd, [change("old", "set", 1)])
    done = stage(server, database, syncd, [mark("snapshot-start")] + [
        {**change(f"k{number}", "set", 1), "name": "longer" if number < bad else ""} for number in range(count)], done)
    server.append(STREAM, [mark("snapshot-end")])
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert "22001" in state_of(database[1], STREAM)[1]
    assert ("the table refuses" in state_of(database[1], STREAM)[1]) == (on_error == "dead_letter")
    assert look(database) == (done, {("t", "old"): (0, 1)}) and letters(database) == []


def run_dsctl(database, server, *words):
    done = subprocess.run([ds.program("dsctl"), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={
        **os.environ, "POSTGRES_URL": database[0], "DSCTL_SERVER": server.url, "DSCTL_ADMIN": server.admin_url})
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("way", ["mend", "skip"])
def test_out_of_a_set_that_is_refused_whole_there_are_two_ways(way, database, folder, server, start_syncd):
    """The table is mended, and the set is there; or it is left out: the old one stays until the next one ends."""
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=COLUMNS))
    done = stage(server, database, syncd, [change("old", "set", 1), change("gone", "set", 1)])
    server.append(STREAM, refused_set("bad", 3500))
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    server.append(STREAM, [change("gone", "remove"), change("new", "set", 2)])
    cursor = database[1].cursor()

    def stopped():
        cursor.execute("SELECT FROM ds_sync.route_state WHERE name = 'state' AND state = 'stopped'")
        return cursor.rowcount
    syncd.wait_for(stopped, "the route to stop, since it is its only stream")
    if way == "mend":
        cursor.execute("ALTER TABLE public.state ALTER COLUMN name TYPE text")
        run_dsctl(database, server, "route", "resume", "state")
        wait_seq(database, done + 3504, syncd)
        assert look(database)[1] == {
            **{("t", f"bad{number}"): (done + 1 + number, 1) for number in range(3500)}, ("t", "new"): (done + 3503, 2)}
        return
    run_dsctl(database, server, "sync", "skip", STREAM, "--to", "now", "--execute")
    run_dsctl(database, server, "route", "resume", "state")
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "running", "to go on")
    done = look(database)[0]
    server.append(STREAM, [change("newer", "set", 3)])
    wait_seq(database, done + 1, syncd)
    assert {key for _, key in look(database)[1]} == {"old", "gone"}, "the set whose end was left out is still open"
    server.append(STREAM, [mark("snapshot-start"), change("set", "set", 4), mark("snapshot-end")])
    syncd.wait_for(lambda: {key for _, key in look(database)[1]} == {"set"}, "to load the next set")


def refused_set(name, count, good=0):
    return [mark("snapshot-start")] + [
        {**change(f"{name}{number}", "set", 1), "name": "longer" if number < count else ""}
        for number in range(count + good)] + [mark("snapshot-end")]


def test_sets_that_are_refused_row_by_row_stop_their_stream_after_3000_letters(database, folder, server, start_syncd):
    """What was staged of the next set is no row yet, and redeems nothing."""
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=COLUMNS))
    done = stage(server, database, syncd, refused_set("a", 1800))
    server.append(STREAM, refused_set("b", 1800)[:-1])
    wait_seq(database, done + 1801, syncd)
    server.append(STREAM, [mark("snapshot-end")])
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    reason = state_of(database[1], STREAM)[1]
    assert "dead letters" in reason and "the table refuses 1800 of 1800 rows" in reason and "22001" in reason, reason
    assert look(database)[0] == done + 1801 and len(letters(database)) == 1800
    syncd.wait_for(lambda: "event=route.stopped" in syncd.log_text(), "to stop the route, whose only stream it is")


def test_letters_of_ends_of_sets_count_for_their_route(database, folder, server, start_syncd):
    names = [f"sets/{number}" for number in range(5)]
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=COLUMNS,
                                      streams=["sets/*"]))
    for name in names:
        server.create(name)
        server.append(name, refused_set("a", 1400)[:-1])
    cursor = database[1].cursor()

    def staged():
        cursor.execute("SELECT count(*) FROM ds_sync.state_staged")
        return cursor.fetchone()[0]
    syncd.wait_for(lambda: staged() == 5 * 1400, "to stage all sets")
    for name in names:
        server.append(name, [mark("snapshot-end")])
    syncd.wait_for(lambda: "event=route.stopped" in syncd.log_text(), "the route to stop")
    assert syncd.stop() == 0
    assert len(letters(database)) == 3 * 1400 and staged() == 2 * 1400
    cursor.execute("SELECT state, reason FROM ds_sync.route_state")
    state, reason = cursor.fetchone()
    assert state == "stopped" and "22001" in reason and "too long" in reason, reason


def test_a_set_may_have_more_bad_messages_than_the_limit_where_most_are_good(database, folder, server, start_syncd):
    """While it is staged, and also where its end refuses some of it."""
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=COLUMNS))
    bad = {"no": "change"}
    batch = [mark("snapshot-start")]
    for number in range(4000):
        batch += [{**change(f"k{number}", "set", 1), "name": "" if number else "longer"}, bad]
    done = 0
    for first in range(0, len(batch), 2000):
        part = batch[first:first + 2000]
        server.append(STREAM, part)
        done += len(part)
    wait_seq(database, done, syncd, seconds=ds.HANG_SECONDS * 2)
    stage(server, database, syncd, [mark("snapshot-end"), change("behind", "set", 1)], done)
    assert len(letters(database)) == 4001 and len(look(database)[1]) == 4000
    assert state_of(database[1], STREAM)[0] == "running"


def test_bad_messages_of_sets_that_never_end_are_not_redeemed_by_the_good_ones(database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter"))
    for _ in range(5):
        server.append(STREAM, [mark("snapshot-start")] + [change(f"k{number}", "set", 1) for number in range(500)] +
                      [{"no": "change"}] * 1200 + [change(f"l{number}", "set", 1) for number in range(500)])
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert "dead letters" in state_of(database[1], STREAM)[1]
    assert len(letters(database)) == 3000 + 3 * 500 and look(database)[1] == {}


def mend(database, seq, message):
    database[1].cursor().execute("UPDATE ds_sync.dead_letter SET payload = %s WHERE seq = %s",
                                 (json.dumps(message).encode(), seq))


BROKEN = {"type": "t", "key": "k", "operation": "set"}


def test_a_letter_of_a_snapshot_that_never_ended_is_overtaken(database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter"))
    first = [BROKEN, change("live", "set", 1), mark("snapshot-start"), {**BROKEN, "key": "given up"}]
    done = stage(server, database, syncd, first)
    done = stage(server, database, syncd, [mark("reset"), mark("snapshot-start"), {**BROKEN, "key": "given up"}], done)
    done = stage(server, database, syncd, [mark("snapshot-start"), {**BROKEN, "key": "staged"}], done)
    assert [seq for seq, *_ in letters(database)] == [0, 3, 6, 8]
    for seq, key in ((0, "k"), (3, "given up"), (6, "given up"), (8, "staged")):
        mend(database, seq, change(key, "set", seq))
    assert [replay(database, seq) for seq in (0, 3, 6, 8)] == ["replayed", "overtaken", "overtaken", "replayed"]
    assert look(database)[1] == {("t", "live"): (1, 1), ("t", "k"): (0, 0)}
    stage(server, database, syncd, [mark("snapshot-end")], done)
    assert look(database)[1] == {("t", "staged"): (8, 8)}
    assert [replay(database, seq) for seq in (3, 6)] == ["overtaken"] * 2


POINTERS = {"blank": "/", "last": "/list/-1", "padded": "/list/01", "spaced": "/list/ 1",
            "second": "/list/1", "escaped": "/a~1b/~01", "twice": "/twice/x", "within": "/key/0"}


def test_a_replayed_letter_has_the_columns_that_syncd_would_have_written(database, folder, server, start_syncd):
    server.create(STREAM)
    columns = {name: {"pointer": pointer, "type": "text"} for name, pointer in POINTERS.items()}
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=columns))
    more = ('"": "blank", "list": ["a", "b"], "a/b": {"~1": 1.50}, "twice": {"x": 1}, "twice": {"y": 2}, '
            '"operation": "set", "value": 1}')
    direct, letter = (f'{{"type": "t", "key": "{key}", {more}' for key in ("direct", "letter"))
    status, _, _ = ds.http("POST", server.stream_url(STREAM), f"[{direct}, {json.dumps(BROKEN)}]".encode(),
                           {"Content-Type": "application/json"})
    assert status in (200, 204)
    wait_seq(database, 2, syncd)
    cursor = database[1].cursor()
    cursor.execute("UPDATE ds_sync.dead_letter SET payload = %s", (letter.encode(),))
    assert replay(database, 1) == "replayed"
    cursor.execute(f"SELECT {', '.join(POINTERS)} FROM public.state ORDER BY key")
    rows = cursor.fetchall()
    assert dict(zip(POINTERS, rows[0])) == {"blank": "blank", "last": None, "padded": None, "spaced": None, "second": "b",
                       "escaped": "1.50", "twice": None, "within": None}
    assert rows[0] == rows[1]


@pytest.mark.parametrize("message", [
    {**change("k", "set", 1), "headers": {"operation": "delete"}}, {**change("k", "set", 1), "key": 5},
    {**change("k", "set", 1), "type": ["t"]}, {**change("k", "set", 1), "key": "k" * 1023},
    {**change("k", "set", 1), "headers": {"control": "reset"}}, {**change("k", "set", 1), "operation": "merge"},
    {**change("k", "set", 1), "headers": {"operation": "merge"}}, mark("reset"), [1]],
    ids=lambda message: json.dumps(message)[:70])
def test_what_is_no_change_to_syncd_is_none_when_it_is_replayed(message, database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter"))
    done = stage(server, database, syncd, [BROKEN])
    mend(database, 0, message)
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="no change of state"):
        replay(database, 0)
    if message != mark("reset"):    # the table of messages that syncd refuses is the same
        stage(server, database, syncd, [message] if isinstance(message, dict) else [[message]], done)
        assert look(database)[1] == {} and len(letters(database)) == 2
    mend(database, 0, {**change("k", "set", 1), "headers": {"operation": "upsert"}})
    assert replay(database, 0) == "replayed"
    assert look(database)[1] == {("t", "k"): (0, 1)}


def test_an_append_that_makes_the_row_keeps_what_it_has_of_the_columns(database, folder, server, start_syncd):
    server.create(STREAM)
    columns = {"owner": {"pointer": "/owner", "type": "text"},
               "place": {"pointer": "/place", "type": "text", "required": True}}
    environment = declare(database, folder, server, on_error="dead_letter", columns=columns)
    cursor = database[1].cursor()
    cursor.execute("ALTER TABLE public.state ALTER COLUMN place DROP NOT NULL")
    syncd = start_syncd([], **environment)
    stage(server, database, syncd, [{**change("k", "append", ["x"]), "owner": "me"}])
    cursor.execute("SELECT owner, place, value FROM public.state")
    assert cursor.fetchall() == [("me", None, ["x"])]


@pytest.mark.parametrize("operation,value", [("set", 2), ("append", ["x"]), ("remove", None)])
def test_rows_that_are_newer_than_the_stream_are_never_overwritten(
        operation, value, database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server)
    database[1].cursor().execute("INSERT INTO public.state VALUES (%s, 't', 'k', 99, '[]')", (STREAM,))
    syncd = start_syncd([], **environment)
    server.append(STREAM, [change("k", operation, value)])
    syncd.wait_for(lambda: look(database)[0] > 0 or state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert look(database) == (0, {("t", "k"): (99, [])})


def test_deletions_are_counted_for_electric(database, folder, server, start_syncd):
    """100 rows of a transaction that only deletes are a multiple of 100, too."""
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server), ELECTRIC_VERSION="1.4.2")
    done = stage(server, database, syncd, [change(f"k{number}", "set", 1) for number in range(201)])
    cursor = database[1].cursor()
    cursor.execute("SELECT counter FROM ds_sync.electric_pad")
    before = cursor.fetchone()[0]
    done = stage(server, database, syncd, [change(f"k{number}", "remove") for number in range(100)], done)
    cursor.execute("SELECT counter FROM ds_sync.electric_pad")
    assert cursor.fetchone()[0] == before + 1
    stage(server, database, syncd, [mark("snapshot-start"), change("k100", "set", 1), mark("snapshot-end")], done)
    cursor.execute("SELECT counter FROM ds_sync.electric_pad")
    assert cursor.fetchone()[0] == before + 1, "101 rows changed"


def test_a_reason_that_could_not_be_stored_at_once_is_not_forgotten(database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server)
    cursor = database[1].cursor()
    cursor.execute("""
        CREATE SEQUENCE public.tries; GRANT USAGE ON public.tries TO PUBLIC;
        CREATE FUNCTION public.fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.state = 'failed' AND nextval('public.tries') <= 2 THEN
                RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure';
            END IF;
            RETURN NEW;
        END $$""")
    syncd = start_syncd([], **environment)
    stage(server, database, syncd, [change("k", "set", 1)])
    cursor.execute("CREATE TRIGGER fail_twice BEFORE UPDATE ON ds_sync.stream FOR EACH ROW "
                   "EXECUTE FUNCTION public.fail_twice()")
    server.append(STREAM, [{"no": "change"}])
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert "there is no operation" in (state_of(database[1], STREAM)[1] or "")
    cursor.execute("SELECT content_type FROM ds_sync.stream")
    assert cursor.fetchone() == ("application/json",)
