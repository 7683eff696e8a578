# SPDX-License-Identifier: Apache-2.0
"""Dead letters are put back once what refused them is mended, or dropped: each once, and nothing is overwritten."""
import json

import ds
import pytest
from test_dsctl import AUTH, NOT_FOUND, OK, PARTIAL, USAGE
from test_dsctl_sync import cursor, db, writer  # noqa: F401  (fixtures)
from test_routes import login  # noqa: F401  (a fixture)

STREAM = "letters/one"
TABLE = "public.letters"


@pytest.fixture
def apply(db):
    def route(**members):
        spec = {"name": "letters", "streams": ["letters/*"], "table": TABLE, "on_error": "dead_letter", **members}
        db("route", "apply", "-f", "-", stdin=json.dumps({"routes": [spec]}).encode())
    return route


def put(cursor, name, letters, route="default", content_type="application/json", generation=1, days=0,
        source="default"):
    """letters: {seq: payload}, of a stream that is loaded past them."""
    cursor.execute("INSERT INTO ds_sync.stream (source, name, route, content_type) VALUES (%s, %s, %s, %s) "
                   "ON CONFLICT (source, name, route) DO UPDATE SET name = excluded.name RETURNING stream_id",
                   (source, name, route, content_type))
    stream_id, = cursor.fetchone()
    cursor.execute("INSERT INTO ds_sync.stream_offset (stream_id, next_seq) VALUES (%s, 1000) ON CONFLICT DO NOTHING",
                   (stream_id,))
    for seq, payload in letters.items():
        cursor.execute("INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, "
                       "message, payload, created_at) VALUES (%s, %s, %s, %s, 'o', 'size', 'was too large', %s, "
                       "clock_timestamp() - make_interval(days => %s))",
                       (stream_id, name, generation, seq, payload, days))
    return stream_id


def letters(cursor):
    cursor.execute("SELECT stream_name, seq, reason, sqlstate FROM ds_sync.dead_letter ORDER BY stream_name, seq")
    return cursor.fetchall()


def replay(db, *words, status=OK):
    rows = db.json("dlq", "replay", *words, status=status)["dead_letters"]
    return [(row["stream"], row["seq"], row["result"]) for row in rows]


def audit(cursor):
    cursor.execute("SELECT action, target FROM ds_sync.audit WHERE action <> 'route.apply' ORDER BY audit_id")
    return cursor.fetchall()


# ---- replay ----

def test_what_the_table_takes_now_becomes_the_row_that_it_would_have_been(db, apply, cursor, server, start_syncd):
    """Against syncd itself: the same messages on a route that never refused them give the same rows."""
    columns = {"n": {"pointer": "/value/n", "type": "integer"}, "a~/b": {"pointer": "/a~0~1b", "type": "text"},
               "at": {"pointer": "/list/1", "type": "jsonb"}, "short": {"pointer": "/s", "type": "varchar(3)"},
               # These lead nowhere in RFC 6901, though Postgres' own paths take them.
               "last": {"pointer": "/list/-1", "type": "text"}, "zero": {"pointer": "/list/01", "type": "text"},
               "blank": {"pointer": "/list/ 1", "type": "text"}, "empty": {"pointer": "/", "type": "text"}}
    apply(columns=columns)
    db("route", "apply", "-f", "-", stdin=json.dumps({"routes": [
        {"name": "wanted", "streams": ["letters/*"], "table": "public.wanted", "columns": columns}]}).encode())
    for table in ("letters", "wanted"):
        cursor.execute(f"ALTER TABLE public.{table} ADD COLUMN IF NOT EXISTS event_key text, "
                       "ADD COLUMN IF NOT EXISTS event_type text, ADD COLUMN IF NOT EXISTS operation text")
    cursor.execute("ALTER TABLE public.letters ADD CONSTRAINT shut CHECK (seq = 3)")
    messages = [{"key": "k", "type": "t", "operation": "set", "value": {"n": 7}, "a~/b": "x\u00e9", "s": "abc", "": 9},
                {"key": 5, "headers": {"operation": "insert"}, "list": [1, {"a": [None, 1.50]}]},
                [1, 2], {"n": 3}, "text", None, {"type": None, "operation": 1, "headers": {"operation": "delete"}}]
    server.create(STREAM)
    server.append(STREAM, messages)
    syncd = start_syncd([], SYNCD_ADMIN_URLS=f"default={server.admin_url}")

    def count(table):
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchone()[0]
    syncd.wait_for(lambda: count("ds_sync.dead_letter") == 6 and count("public.wanted") == 7, "to load what it can")
    assert syncd.stop() == 0
    cursor.execute("""
        ALTER TABLE public.letters DROP CONSTRAINT shut;
        -- As people write them: found by the search_path of whoever writes the row.
        CREATE TABLE public.seen (seq bigint);
        CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO seen VALUES (NEW.seq); RETURN NULL; END';
        CREATE TRIGGER see AFTER INSERT ON public.letters FOR EACH ROW EXECUTE FUNCTION public.see()""")
    assert replay(db, STREAM, "--dry-run") == [(STREAM, seq, "replayed") for seq in (0, 1, 2, 4, 5, 6)]
    assert count("public.letters") == 1 and len(letters(cursor)) == 6
    assert replay(db, STREAM) == [(STREAM, seq, "replayed") for seq in (0, 1, 2, 4, 5, 6)]
    names = 'stream_name, generation, seq, ds_offset, event_key, event_type, operation, n, "a~/b", at, short, ' \
        'last, zero, blank, "empty", payload'
    cursor.execute(f"SELECT {names} FROM public.wanted ORDER BY seq")
    wanted = cursor.fetchall()
    cursor.execute(f"SELECT {names} FROM public.letters ORDER BY seq")
    assert cursor.fetchall() == wanted and wanted[0][4:11] == ("k", "t", "set", 7, "x\u00e9", None, "abc")
    assert letters(cursor) == [] and count("public.seen") == 6
    assert audit(cursor) == [("replay", STREAM)] * 6


@pytest.mark.parametrize("payload", ["jsonb", "json", "text", "bytea"])
def test_each_type_of_payload_holds_the_message(db, apply, cursor, payload):
    apply(payload={"column": "body", "type": payload}, name_prefix="p/")
    message = b'{"a":  [1.50, "\\u00e9"]}'
    put(cursor, STREAM, {4: message}, route="letters")
    assert replay(db, STREAM, "4") == [(STREAM, 4, "replayed")]
    cursor.execute("SELECT stream_name, generation, seq, ds_offset, body FROM public.letters")
    *place, body = cursor.fetchone()
    assert place == ["p/" + STREAM, 1, 4, "o"]
    wanted = json.loads(message)
    assert {"jsonb": body, "json": body}.get(payload) == wanted if payload.startswith("json") else \
        (bytes(body) if payload == "bytea" else body.encode()) == message


def test_streams_of_syncd_streams_and_chunks_go_back_into_their_tables(db, apply, cursor):
    apply(**{"as": "chunks", "payload": {"column": "piece", "type": "text"}})
    put(cursor, "json", {1: b'{"key":"k"}'})
    put(cursor, "bytes", {7: b"\x00\xff"}, content_type="application/octet-stream")
    put(cursor, STREAM, {0: b"caf\xc3\xa9", 9: b"\xff"}, route="letters", content_type="text/plain")
    assert sorted(replay(db, "--all", status=PARTIAL)) == [
        ("bytes", 7, "replayed"), ("json", 1, "replayed"), (STREAM, 0, "replayed"), (STREAM, 9, "failed")]
    cursor.execute("SELECT stream_name, seq, event_key, payload FROM ds_sync.session_events")
    assert cursor.fetchall() == [("json", 1, "k", {"key": "k"})]
    cursor.execute("SELECT stream_name, seq, bytes FROM ds_sync.stream_chunks")
    assert [(name, seq, bytes(piece)) for name, seq, piece in cursor.fetchall()] == [("bytes", 7, b"\x00\xff")]
    cursor.execute("SELECT stream_name, seq, piece FROM public.letters")
    assert cursor.fetchall() == [(STREAM, 0, "caf\u00e9")]
    assert letters(cursor) == [(STREAM, 9, "row_fault", "22021")]


def test_what_is_refused_again_stays_with_its_new_reason_and_holds_up_nothing(db, apply, cursor):
    apply(columns={"n": {"pointer": "/n", "type": "integer", "required": True}})
    cursor.execute("ALTER TABLE public.letters ADD CONSTRAINT small CHECK (n < 5)")
    cursor.execute("CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS "
                   "$$ BEGIN IF NEW.n = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$; "
                   "CREATE TRIGGER drops BEFORE INSERT ON public.letters FOR EACH ROW EXECUTE FUNCTION drop_row()")
    put(cursor, STREAM, {0: b'{"n":1}', 1: b'{"n":9}', 2: b'{"n":"x"}', 3: b"{}", 4: b'{"n":1,"s":"\\u0000"}',
                         5: b"no json", 6: b'{"n":3}', 7: b'{"n":2}'}, route="letters")
    before = letters(cursor)
    rows = db.json("dlq", "replay", STREAM, "--dry-run", status=PARTIAL)["dead_letters"]
    assert letters(cursor) == before, "a dry run changes no reason either"
    assert rows == db.json("dlq", "replay", STREAM, status=PARTIAL)["dead_letters"]
    assert [(row["seq"], row["result"], row["sqlstate"]) for row in rows] == [
        (0, "replayed", None), (1, "failed", "23514"), (2, "failed", "22P02"), (3, "failed", "23502"),
        (4, "failed", "22P05"), (5, "failed", "22P02"), (6, "failed", "P0001"), (7, "replayed", None)]
    assert "small" in rows[1]["message"]
    assert letters(cursor) == [(STREAM, seq, "row_fault", code) for seq, code in (
        (1, "23514"), (2, "22P02"), (3, "23502"), (4, "22P05"), (5, "22P02"), (6, "P0001"))]
    cursor.execute("SELECT seq FROM public.letters ORDER BY seq")
    assert cursor.fetchall() == [(0,), (7,)]
    assert "6 of 6 stay" in db.run("dlq", "replay", STREAM)[2]


@pytest.mark.parametrize("kind", ["events", "state"])
def test_what_a_trigger_raises_holds_up_no_other_letter(db, apply, cursor, kind):
    """Whatever syncd makes a letter of, replaying leaves one of."""
    apply(**{"as": kind})
    codes = ["APP01", "P0002", "44000", "P0004", "54000", "P0001"]
    value = "value" if kind == "state" else "payload"
    cursor.execute(f"CREATE FUNCTION raise_code() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE code text := "
                   f"to_jsonb(NEW)->'{value}'#>>'{{{'' if kind == 'state' else 'value'}}}'; "
                   "BEGIN IF code <> 'good' THEN RAISE EXCEPTION 'no %', code USING ERRCODE = code; END IF; "
                   "RETURN NEW; END $$; CREATE TRIGGER raises BEFORE INSERT ON public.letters "
                   "FOR EACH ROW EXECUTE FUNCTION raise_code()")
    put(cursor, STREAM, {seq: json.dumps({"type": "t", "key": str(seq), "operation": "set", "value": code}).encode()
                         for seq, code in enumerate([*codes, "good", "42501"])}, route="letters")
    status, stdout, stderr = db.run("dlq", "replay", STREAM, "-o", "ndjson")
    assert status == AUTH and f"{STREAM} 7: no 42501" in stderr, "that is no fault of the message"
    assert [(row["result"], row["sqlstate"]) for row in map(json.loads, stdout.splitlines())] == \
        [("failed", code) for code in codes] + [("replayed", None)]
    assert letters(cursor) == [(STREAM, seq, "row_fault", code) for seq, code in enumerate(codes)] + \
        [(STREAM, 7, "size", None)]
    cursor.execute("SELECT seq FROM public.letters")
    assert cursor.fetchall() == [(6,)]


def test_a_row_of_that_number_is_never_overwritten(db, apply, cursor):
    apply()
    put(cursor, STREAM, {0: b'{"n":1}'}, route="letters")
    cursor.execute("INSERT INTO public.letters (stream_name, generation, seq, ds_offset, payload) "
                   "VALUES (%s, 1, 0, 'o', '{\"by\": \"hand\"}')", (STREAM,))
    assert replay(db, STREAM, status=PARTIAL) == [(STREAM, 0, "present")]
    cursor.execute("SELECT payload FROM public.letters")
    assert cursor.fetchall() == [({"by": "hand"},)] and letters(cursor) == [(STREAM, 0, "size", None)]


def test_letters_of_state_go_through_the_rules_of_state(db, apply, cursor):
    apply(**{"as": "state"})
    change = {"type": "t", "key": "k", "operation": "set", "value": 1}
    put(cursor, STREAM, {3: json.dumps(change).encode(), 5: json.dumps({**change, "value": 2}).encode(),
                         6: b'{"type":"t"}'}, route="letters")
    cursor.execute("INSERT INTO public.letters (stream_name, type, key, seq, value) VALUES (%s, 't', 'k', 4, '0')",
                   (STREAM,))
    assert replay(db, STREAM, status=PARTIAL) == [
        (STREAM, 3, "overtaken"), (STREAM, 5, "replayed"), (STREAM, 6, "failed")]
    cursor.execute("SELECT seq FROM public.letters")
    assert cursor.fetchall() == [(5,)]
    assert [seq for _, seq, _, _ in letters(cursor)] == [3, 6]


def test_letters_are_chosen_by_stream_number_route_and_generation(db, apply, cursor):
    apply()
    put(cursor, STREAM, {0: b"1", 1: b"2"}, route="letters")
    put(cursor, STREAM, {2: b"3"}, route="letters", generation=2)
    put(cursor, "gone", {0: b"1"}, route="gone")
    for words in ((), (STREAM, "x"), (STREAM, "1", "2")):
        db.error("dlq", "replay", *words, status=USAGE)
    db.error("dlq", "replay", STREAM, "9", status=NOT_FOUND)
    db.error("dlq", "replay", "none", status=NOT_FOUND)
    assert replay(db, STREAM, "1") == [(STREAM, 1, "replayed")]
    assert replay(db, STREAM, "--generation", "2") == [(STREAM, 2, "replayed")]
    assert replay(db, "--route", "gone", status=PARTIAL) == [("gone", 0, "no_route")]
    assert replay(db, "--all", status=PARTIAL) == [(STREAM, 0, "replayed"), ("gone", 0, "no_route")]


def test_more_than_a_page_is_replayed_up_to_the_limit(db, apply, cursor):
    apply()
    put(cursor, STREAM, {seq: str(seq).encode() for seq in range(1203)}, route="letters")
    status, stdout, stderr = db.run("dlq", "replay", STREAM, "--limit", "501", "-o", "ndjson")
    assert status == OK and "--limit 501" in stderr
    assert [json.loads(line)["seq"] for line in stdout.splitlines()] == list(range(501))
    assert len(replay(db, STREAM)) == 702 and letters(cursor) == []
    cursor.execute("SELECT count(*) FROM public.letters WHERE payload = to_jsonb(seq)")
    assert cursor.fetchone() == (1203,)


def test_two_who_replay_at_once_make_one_row_of_each(db, apply, cursor):
    apply()
    put(cursor, STREAM, {seq: str(seq).encode() for seq in range(100)}, route="letters")
    processes = [db.start("dlq", "replay", "--all", "-o", "ndjson") for _ in range(3)]
    results = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=ds.HANG_SECONDS)
        assert process.returncode == OK, stderr
        results += [(row["seq"], row["result"]) for row in map(json.loads, stdout.splitlines())]
    assert sorted(seq for seq, result in results if result == "replayed") == list(range(100))
    assert {result for _, result in results} <= {"replayed", "gone"}


# ---- rm and purge ----

def test_a_database_of_the_first_release_replays_letters_once_it_is_migrated(db, apply, cursor):
    """It has schema 5 as it was then; and the dsctl of then still finds what it calls."""
    db("db", "migrate")
    cursor.execute("DROP FUNCTION ds_sync.letter_replay(bigint, integer, bigint, text)")
    cursor.execute("CREATE OR REPLACE FUNCTION ds_sync.letter_replay(p_stream_id bigint, p_generation integer, "
                   "p_seq bigint, OUT result text, OUT code text, OUT message text) LANGUAGE plpgsql "
                   "SET search_path = pg_catalog, pg_temp AS $$ BEGIN result := 'of then'; END $$")
    cursor.execute("DELETE FROM ds_sync.schema_version WHERE version >= 13")
    db("db", "migrate")
    apply()
    stream_id = put(cursor, STREAM, {1: b"[1]", 2: b"[2]"}, route="letters")
    assert replay(db, STREAM, "1") == [(STREAM, 1, "replayed")]
    cursor.execute("SELECT result FROM ds_sync.letter_replay(%s, 1, 2)", (stream_id,))
    assert cursor.fetchone() == ("replayed",)


def test_letters_are_dropped_on_demand_and_counted_before(db, cursor):
    stream_id = put(cursor, "a", {0: b"1", 1: b"2", 2: b"3"})
    put(cursor, "b", {0: b"1"})
    cursor.execute("INSERT INTO ds_sync.state_tombstone VALUES (%s, 't', 'k', 9)", (stream_id,))
    line = db("dlq", "rm", "a", "0", "2").split("\t")
    assert line[:4] == ["a", "default", "2", "would be dropped\n"] and len(letters(cursor)) == 4
    assert "--execute" in db.run("dlq", "rm", "a", "0")[2]
    db("dlq", "rm", "a", "0", "2", "--execute")
    assert [row[:2] for row in letters(cursor)] == [("a", 1), ("b", 0)]
    cursor.execute("SELECT count(*) FROM ds_sync.state_tombstone")
    assert cursor.fetchone() == (1,), "a letter is left that it decides about"
    db.error("dlq", "rm", "a", "0", "--execute", status=NOT_FOUND)
    db.error("dlq", "rm", "a", "x", "--execute", status=USAGE)
    db("dlq", "rm", "a", "1", "--execute")
    cursor.execute("SELECT count(*) FROM ds_sync.state_tombstone")
    assert cursor.fetchone() == (0,)
    assert audit(cursor) == [("dlq.rm", "a")] * 3


def test_old_letters_are_purged_in_batches(db, cursor):
    put(cursor, "a", {seq: b"1" for seq in range(1100)}, days=40)
    put(cursor, "b", {0: b"1"}, days=40)
    put(cursor, "a", {2000: b"1"})
    db.error("dlq", "purge", status=USAGE)
    db.error("dlq", "purge", "--before", "2999-01-01T00:00:00Z", "--execute", status=USAGE)
    assert [(row["stream"], row["letters"], row["result"]) for row in
            db.json("dlq", "purge", "--before", "30d")["streams"]] == [
        ("a", 1100, "would be dropped"), ("b", 1, "would be dropped")]
    assert len(letters(cursor)) == 1102
    db("dlq", "purge", "a", "--before", "30d", "--execute")
    assert [row[:2] for row in letters(cursor)] == [("a", 2000), ("b", 0)]
    cursor.execute("SELECT sum((details->>'letters')::int), max((details->>'letters')::int) FROM ds_sync.audit")
    total, largest = cursor.fetchone()
    assert total == 1100 and largest <= 500


def test_what_a_letter_that_comes_meanwhile_needs_is_kept(db, cursor, writer):  # noqa: F811
    """A transaction of syncd puts aside an older change of a key, and one that deletes the key."""
    stream_id = put(cursor, "a", {3: b"1"})
    cursor.execute("INSERT INTO ds_sync.state_tombstone VALUES (%s, 't', 'k', 5)", (stream_id,))
    writer.cursor.execute("UPDATE ds_sync.stream_offset SET next_seq = 2000")
    writer.cursor.execute("UPDATE ds_sync.state_tombstone SET seq = 11")
    writer.cursor.execute("INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, "
                          "message, payload) VALUES (%s, 'a', 1, 10, 'o', 'size', 'was too large', '1')", (stream_id,))
    status, stderr = writer(db.start("dlq", "rm", "a", "3", "--execute"))
    assert status == OK, stderr
    assert [row[:2] for row in letters(cursor)] == [("a", 10)]
    cursor.execute("SELECT key, seq FROM ds_sync.state_tombstone")
    assert cursor.fetchall() == [("k", 11)]


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def test_dropping_a_page_reads_the_other_letters_once_at_most(db, cursor):
    stream_id = put(cursor, "a", {})
    other = put(cursor, "b", {0: b"1"})
    cursor.execute("INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, message, "
                   "payload) SELECT %s, 'a', 1, n, 'o', 'size', 'was too large', '1' FROM generate_series(1, 20000) AS n",
                   (stream_id,))
    cursor.execute("INSERT INTO ds_sync.state_tombstone SELECT s, 't', 'k' || n, n FROM generate_series(1, 2000) AS n, "
                   "unnest(%s::bigint[]) AS s", ([stream_id, other],))
    cursor.execute("ANALYZE ds_sync.dead_letter, ds_sync.state_tombstone")
    arrays = "'{%s}', '{%s}', '{%s}'" % (",".join([str(stream_id)] * 500), ",".join(["1"] * 500),
                                        ",".join(map(str, range(1, 501))))
    for name, values, most in (("delete", arrays, 20001), ("tidy", arrays.partition(", ")[0], 1)):
        query = ds.ROOT / f"sql/queries/dlq_{name}.sql"
        cursor.execute(f"PREPARE {name} AS {query.read_text()}")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name} ({values})")
        plan = cursor.fetchone()[0][0]["Plan"]
        read = sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
                   for node in nodes(plan) if node.get("Relation Name") == "dead_letter" and "Scan" in node["Node Type"])
        assert 0 < read <= most, (name, plan)


def test_the_letter_of_one_of_several_streams_is_named(db, cursor):
    put(cursor, "a", {0: b"1", 1: b"1"})
    put(cursor, "a", {0: b"1"}, route="other")
    put(cursor, "b", {0: b"1"})
    put(cursor, "b", {0: b"1"}, source="eu")
    before = letters(cursor)
    assert "--route default or --route other" in db.error("dlq", "rm", "a", "1", "0", "--execute", status=USAGE)
    assert "--source default or --source eu" in db.error("dlq", "rm", "b", "0", status=USAGE)
    assert letters(cursor) == before, "not even those that are clear"
    db("dlq", "rm", "a", "1", "--execute")
    db("dlq", "rm", "a", "0", "--route", "other", "--execute")
    db("dlq", "rm", "b", "0", "--source", "eu", "--execute")
    cursor.execute("SELECT name, route, source FROM ds_sync.dead_letter JOIN ds_sync.stream USING (stream_id) "
                   "ORDER BY name")
    assert cursor.fetchall() == [("a", "default", "default"), ("b", "default", "default")]


def test_letters_of_one_server_are_replayed_and_purged(db, cursor):
    put(cursor, "a", {0: b"1"}, days=40)
    put(cursor, "a", {5: b"1"}, source="eu", days=40)
    put(cursor, "b", {5: b"1"}, source="eu", days=40)
    assert replay(db, "a", "--source", "eu") == [("a", 5, "replayed")]
    db("dlq", "purge", "--before", "30d", "--source", "eu", "--execute")
    assert [row[:2] for row in letters(cursor)] == [("a", 0)]


def test_a_number_that_is_given_twice_counts_once(db, cursor):
    put(cursor, "a", {0: b"1", 1: b"2"})
    for words, result in (((), "would be dropped"), (("--execute",), "dropped")):
        row, = db.json("dlq", "rm", "a", "0", "1", "0", *words)["streams"]
        assert (row["letters"], row["result"]) == (2, result)


def test_what_was_dropped_before_a_failure_is_said(db, cursor):
    put(cursor, "a", {seq: b"1" for seq in range(1100)}, days=40)
    cursor.execute("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS "
                   "$$ BEGIN RAISE EXCEPTION 'this one stays'; END $$; CREATE TRIGGER keeps BEFORE DELETE "
                   "ON ds_sync.dead_letter FOR EACH ROW WHEN (old.seq = 1050) EXECUTE FUNCTION keep()")
    status, stdout, stderr = db.run("dlq", "purge", "--before", "30d", "--execute", "-o", "ndjson")
    assert status != OK and "this one stays" in stderr
    row, = map(json.loads, stdout.splitlines())
    assert (row["stream"], row["letters"], row["result"]) == ("a", 1000, "dropped")
    assert len(letters(cursor)) == 100


def test_the_owner_may_and_the_writer_may_not(db, cursor, login):  # noqa: F811
    put(cursor, "a", {0: b"1", 1: b"2"})
    writer = login("ds_sync_writer")
    for words in (("replay", "a"), ("rm", "a", "0", "--execute")):
        writer.error("dlq", *words, status=AUTH)
    owner = login("ds_sync_owner")
    assert replay(owner, "a", "0") == [("a", 0, "replayed")]
    owner("dlq", "rm", "a", "1", "--execute")
    assert letters(cursor) == []
