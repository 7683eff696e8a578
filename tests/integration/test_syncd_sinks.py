# SPDX-License-Identifier: Apache-2.0
"""What a route's rows look like: payload types, mapped columns, chunks, and what becomes of bad ones."""
import json
import re
import uuid

import ds
import pytest
from fake_server import FakeServer
from test_dsctl import Dsctl
from test_syncd_source_faults import FAST

STREAM = "sinks/stream"
PAYLOADS = ("jsonb", "json", "text", "bytea")
STATEMENT = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (.*)")


@pytest.fixture
def connection(database):
    return database[1]


@pytest.fixture
def apply(database, folder):
    """apply(route, ...) declares routes, as dsctl does, and makes their tables."""
    dsctl = Dsctl(POSTGRES_URL=database[0])
    dsctl("db", "migrate")

    def declare(*routes):
        file = folder / "routes.json"
        file.write_text(json.dumps({"routes": [{"streams": [STREAM], **route} for route in routes]}))
        dsctl("route", "apply", "-f", str(file))
    return declare


@pytest.fixture
def start(start_syncd):
    def begin(server_url=None, wait=True, **environment):
        """wait=False where all streams fail, perhaps before syncd was ever ready."""
        return start_syncd([], server_url=server_url, wait=wait,
                           **{**FAST, "SYNCD_IDLE_TIMEOUT": "30s", **environment})
    return begin


@pytest.fixture
def fake():
    server = FakeServer()
    yield server
    server.stop()


def query(connection, statement, *values):
    cursor = connection.cursor()
    cursor.execute(statement, values)
    return cursor.fetchall()


def wait_position(connection, syncd, count, route=None, stream=STREAM):
    """Until the stream stands at count on the route, or on all of them."""
    def there():
        found = query(connection, "SELECT next_seq FROM ds_sync.stream JOIN ds_sync.stream_offset USING (stream_id) "
                      "WHERE name = %s AND coalesce(%s, route) = route", stream, route)
        return found and all(next_seq >= count for next_seq, in found)
    syncd.wait_for(there, f"to reach {count} of {stream}")


def wait_failed(connection, syncd, route):
    """The reason why the stream failed."""
    def failed():
        found = query(connection, "SELECT reason FROM ds_sync.stream WHERE route = %s AND state = 'failed'", route)
        return found and found[0][0]
    syncd.wait_for(failed, f"to fail the stream of {route}")
    return failed()


def letters(connection, route):
    found = query(connection, "SELECT d.seq, d.reason, d.sqlstate, d.payload FROM ds_sync.dead_letter d "
                  "JOIN ds_sync.stream s USING (stream_id) WHERE s.route = %s ORDER BY d.seq", route)
    return [(seq, reason, state, bytes(payload)) for seq, reason, state, payload in found]


def of_type(payload, **members):
    return {"name": payload, "table": f"public.as_{payload}", "payload": {"column": "body", "type": payload},
            **members}


def as_bytes(connection, payload):
    """(seq, payload as the column's text says it) in order."""
    column = "convert_from(body, 'UTF8')" if payload == "bytea" else "body::text"
    return query(connection, f"SELECT seq, {column} FROM public.as_{payload} ORDER BY seq")


# --- what a payload type can hold ---

LEGAL = {"nul": r'{"a":"x\u0000y"}', "lone_surrogate": r'{"a":"\ud800"}', "number": '{"a":1e999999}',
         "good": r'{ "b":1.50,"a":"\u00e9\ud83d\ude00",  "a":"last"}'}


def test_each_payload_type_refuses_only_what_it_cannot_hold(connection, apply, server, start):
    """Legal JSON goes into json, text and bytea byte for byte; jsonb refuses three kinds of it."""
    apply(*(of_type(payload) for payload in PAYLOADS))
    # As a foreign server may send them: ours would keep the bytes, too.
    server.create(STREAM)
    server.append(STREAM, ("[" + ",".join(LEGAL.values()) + "]").encode())
    syncd = start()
    for payload in PAYLOADS:
        wait_position(connection, syncd, len(LEGAL), payload)
    for payload in ("json", "text", "bytea"):
        assert as_bytes(connection, payload) == list(enumerate(LEGAL.values()))
        assert letters(connection, payload) == []
    assert [(seq, reason, body.decode()) for seq, reason, _, body in letters(connection, "jsonb")] == \
        [(seq, reason, LEGAL[reason]) for seq, reason in enumerate(("nul", "lone_surrogate", "number"))]
    assert as_bytes(connection, "jsonb") == [(3, '{"a": "last", "b": 1.50}')]
    assert syncd.stop() == 0


def test_what_is_no_message_at_all_is_a_dead_letter_for_every_payload_type(connection, apply, fake, start):
    """Too deep, too large, or not UTF-8; legal ones in between arrive."""
    deep = b'{"deep":' + b"[" * 600 + b"]" * 600 + b"}"
    large = b'{"large":"' + b"x" * 40_000 + b'"}'
    broken = b'{"broken":"\xc3\x28"}'
    apply(*(of_type(payload) for payload in PAYLOADS))
    fake.append(b"[1," + deep + b",2," + large + b",3," + broken + b",4]")
    syncd = start(fake.url, SYNCD_MESSAGE_BYTES_MAX="32KiB")
    for payload in PAYLOADS:
        wait_position(connection, syncd, 7, payload)
        assert [(seq, reason, body) for seq, reason, _, body in letters(connection, payload)] == \
            [(1, "depth", deep), (3, "size", large), (5, "utf8", broken)], payload
        assert as_bytes(connection, payload) == [(0, "1"), (2, "2"), (4, "3"), (6, "4")], payload
    assert syncd.stop() == 0


# --- mapped columns ---

MAPPED = {"name": "mapped", "table": "public.Mapped Rows", "payload": {"column": "select", "type": "json"},
          "columns": {"user": {"pointer": "/value/user", "type": "uuid", "required": True},
                      "amount": {"pointer": "/value/amount", "type": "numeric(10,2)"},
                      "at": {"pointer": "/value/at", "type": "timestamp with time zone"},
                      "tags": {"pointer": "/value/tags", "type": "jsonb"},
                      "first tag": {"pointer": "/value/tags/0", "type": "text"},
                      "a/b~c": {"pointer": "/a~1b~0c", "type": "boolean"}}}
USER = str(uuid.UUID(int=7))


def mapped_rows(connection):
    return query(connection, 'SELECT seq, "user"::text, amount::text, extract(epoch from "at")::int, tags::text, '
                 '"first tag", "a/b~c", event_key, "select"::text FROM public."Mapped Rows" ORDER BY seq')


def test_columns_get_what_their_pointers_find(connection, apply, server, start):
    apply(MAPPED)
    full = {"key": "k1", "a/b~c": True,
            "value": {"user": USER, "amount": "12.345", "at": "1970-01-01T00:01:00Z", "tags": ["é\n\t\\", 1]}}
    bare = {"value": {"user": USER, "amount": 1e2, "tags": None}}
    server.create(STREAM)
    server.append(STREAM, [full, bare])
    syncd = start()
    wait_position(connection, syncd, 2)
    assert mapped_rows(connection) == [
        (0, USER, "12.35", 60, json.dumps(["é\n\t\\", 1], ensure_ascii=False), "é\n\t\\", True, "k1",
         json.dumps(full)),
        (1, USER, "100.00", None, None, None, None, None, json.dumps(bare))]
    assert syncd.stop() == 0


BAD_MAPPED = [({"user": "no uuid"}, "22P02"), ({}, "23502"), ({"user": None}, "23502"),
              ({"user": USER, "amount": 1e9}, "22003"), ({"user": USER, "amount": "x"}, "22P02"),
              ({"user": USER, "at": "no time"}, "22007"), ({"user": USER, "tags": ["\0"]}, "22P05"),
              ({"user": USER, "tags": ["\ud800"]}, "22P02")]


@pytest.mark.parametrize("count", [1, 40], ids=["small", "copied"])
def test_a_value_that_its_column_refuses_is_a_fault_of_the_row(count, connection, apply, server, start):
    """By one statement and by COPY: each bad message is a dead letter, and its neighbours are rows."""
    apply(MAPPED)
    server.create(STREAM)
    good = {"value": {"user": USER}}
    sent = [message for bad, _ in BAD_MAPPED for message in [{"value": bad}] + [good] * count]
    server.append(STREAM, sent)
    syncd = start()
    wait_position(connection, syncd, len(sent))
    assert [(seq, state) for seq, _, state, _ in letters(connection, "mapped")] == \
        [(number * (count + 1), state) for number, (_, state) in enumerate(BAD_MAPPED)]
    assert [row[0] for row in mapped_rows(connection)] == \
        [number for number in range(len(sent)) if number % (count + 1)]
    assert syncd.stop() == 0


@pytest.mark.parametrize("count", [1, 120], ids=["small", "copied"])
def test_a_value_that_is_too_long_for_its_column_is_not_cut(count, connection, apply, server, start):
    connection.cursor().execute("CREATE DOMAIN public.short AS varchar(3)")
    apply(of_type("text", columns={name: {"pointer": f"/{name}", "type": kind} for name, kind in
                                   (("v", "varchar(5)"), ("c", "char(2)"), ("b", "bit(3)"), ("d", "public.short"))}))
    server.create(STREAM)
    full = {"v": "12345", "c": "ab", "b": "101", "d": "123"}
    bad = [{"v": "123456"}, {"c": "abc"}, {"b": "1010"}, {"d": "1234"}]
    server.append(STREAM, bad + [full] * count)
    syncd = start()
    wait_position(connection, syncd, len(bad) + count)
    assert [(seq, state) for seq, _, state, _ in letters(connection, "text")] == \
        [(0, "22001"), (1, "22001"), (2, "22026"), (3, "22001")]
    assert query(connection, "SELECT DISTINCT v, c, b::text, d, count(*) OVER () FROM public.as_text") == \
        [("12345", "ab", "101", "123", count)]
    assert syncd.stop() == 0


def test_half_of_5000_rows_may_have_a_bad_value(postgres_server, database, apply, fake, start):
    """The writer does not ask for them one by one."""
    connection = database[1]
    apply(MAPPED)
    connection.cursor().execute(f"ALTER DATABASE {database[0].rsplit('/', 1)[1]} SET log_statement = 'all'")
    begin = len(postgres_server.process.log_text())
    fake.append([{"value": {"user": USER if number % 2 else "bad"}} for number in range(5000)])
    syncd = start(fake.url)
    wait_position(connection, syncd, 5000)
    assert [seq for seq, _, state, _ in letters(connection, "mapped") if state == "22P02"] == list(range(0, 5000, 2))
    assert [row[0] for row in mapped_rows(connection)] == list(range(1, 5000, 2))
    found = STATEMENT.findall(postgres_server.process.log_text()[begin:])
    writers = {pid for pid, statement in found if statement.startswith("COPY")}
    asked = [statement for pid, statement in found if pid in writers]
    assert 0 < len(asked) <= 80, "\n".join(asked)
    assert syncd.stop() == 0


# --- who is at fault ---

def test_without_the_row_that_electric_needs_the_stream_stops(connection, apply, server, start):
    """Electric would lose a transaction of 200 rows; nothing of it is committed."""
    apply(of_type("json"))
    connection.cursor().execute("DELETE FROM ds_sync.electric_pad")
    server.create(STREAM)
    server.append(STREAM, list(range(200)))
    syncd = start(wait=False)
    assert "electric_pad" in wait_failed(connection, syncd, "json")
    assert as_bytes(connection, "json") == []
    assert syncd.stop() == 0


def test_a_key_of_any_name_that_is_taken_stops_the_stream(connection, apply, server, start):
    """Somebody else's rows in the way are no fault of the messages: nothing becomes a dead letter."""
    apply(of_type("text", layout={"hash": 3}))
    connection.cursor().execute("""DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT c.conname || ' ON ' || t.relname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
                    WHERE contype = 'p' AND t.relname LIKE 'as_text%' LOOP
            EXECUTE format('ALTER TABLE public.%I RENAME CONSTRAINT %I TO %I', split_part(name, ' ON ', 2),
                           split_part(name, ' ON ', 1), 'the key of ' || split_part(name, ' ON ', 2));
        END LOOP;
        INSERT INTO public.as_text (stream_name, generation, seq, ds_offset, body)
        VALUES ('sinks/stream', 1, 2, 'x', 'in the way'); END $$""")
    server.create(STREAM)
    server.append(STREAM, [0, 1, 2, 3])
    syncd = start(wait=False)
    assert "are in the table already" in wait_failed(connection, syncd, "text")
    assert letters(connection, "text") == []
    assert as_bytes(connection, "text") == [(2, "in the way")]
    assert syncd.stop() == 0


def test_on_error_stop_loads_what_is_before_the_bad_message_and_goes_on_when_it_is_mended(
        connection, apply, server, start):
    apply(of_type("jsonb", on_error="stop"))
    connection.cursor().execute("ALTER TABLE public.as_jsonb ADD CONSTRAINT no_seven CHECK (body <> '7')")
    server.create(STREAM)
    server.append(STREAM, list(range(200)))
    syncd = start(wait=False)
    reason = wait_failed(connection, syncd, "jsonb")
    assert "seq 7 cannot be loaded" in reason and "no_seven" in reason and "23514" in reason
    assert as_bytes(connection, "jsonb") == [(number, str(number)) for number in range(7)]
    assert letters(connection, "jsonb") == []
    assert syncd.stop() == 0
    connection.cursor().execute("ALTER TABLE public.as_jsonb DROP CONSTRAINT no_seven")
    syncd = start()
    wait_position(connection, syncd, 200)
    assert as_bytes(connection, "jsonb") == [(number, str(number)) for number in range(200)]
    assert syncd.stop() == 0


def test_on_error_stop_stops_at_poison_too(connection, apply, server, start):
    apply(of_type("jsonb", on_error="stop"))
    server.create(STREAM)
    server.append(STREAM, ["good", "bad \0", "good"])
    syncd = start(wait=False)
    reason = wait_failed(connection, syncd, "jsonb")
    assert "seq 1 cannot be loaded" in reason and "22P05" in reason
    assert as_bytes(connection, "jsonb") == [(0, '"good"')]
    assert syncd.stop() == 0


def test_a_check_that_refuses_everything_stops_its_route_and_no_other(connection, apply, server, start):
    apply(of_type("jsonb"), of_type("text"))
    connection.cursor().execute("ALTER TABLE public.as_jsonb ADD CONSTRAINT nothing CHECK (seq < 0)")
    server.create(STREAM)
    server.append(STREAM, list(range(4000)))
    syncd = start()
    reason = wait_failed(connection, syncd, "jsonb")
    assert "dead letters" in reason and "the table or the route is at fault" in reason and '"nothing"' in reason
    assert len(letters(connection, "jsonb")) < 64
    wait_position(connection, syncd, 4000, "text")
    assert len(as_bytes(connection, "text")) == 4000
    assert syncd.stop() == 0


# --- chunks, and what does not suit ---

def chunk_route(payload, **members):
    return {"name": f"chunks-{payload}", "table": f"public.chunks_{payload}", "as": "chunks",
            "payload": {"column": "bytes", "type": payload}, **members}


def test_text_is_cut_between_characters(connection, apply, server, start):
    """Three bytes a character, shifted, over several chunks and pieces of a reply."""
    apply(chunk_route("text"), chunk_route("bytea"))
    text = "x" + "€" * 1_500_000 + "end"
    server.create(STREAM, content_type="text/plain")
    body = text.encode()
    for at in range(0, len(body), 3_000_001):
        server.append(STREAM, body[at:at + 3_000_001], content_type="text/plain")
    syncd = start()
    wait_position(connection, syncd, len(body))
    found = query(connection, "SELECT seq, bytes FROM public.chunks_text ORDER BY seq")
    # The appends themselves end inside characters: those pieces of characters are dead letters.
    pieces = sorted([(seq, chunk.encode()) for seq, chunk in found] +
                    [(seq, piece) for seq, _, _, piece in letters(connection, "chunks-text")])
    assert b"".join(piece for _, piece in pieces) == body
    assert [seq for seq, _ in pieces] == [sum(len(piece) for _, piece in pieces[:at]) for at in range(len(pieces))]
    found = query(connection, "SELECT bytes FROM public.chunks_bytea ORDER BY seq")
    assert b"".join(bytes(chunk) for chunk, in found) == body
    assert syncd.stop() == 0


def test_a_chunk_that_is_no_text_is_a_dead_letter(connection, apply, server, start):
    apply(chunk_route("text"), chunk_route("bytea"))
    server.create(STREAM, content_type="application/octet-stream")
    syncd = start()
    at = 0
    for body in (b"good", b"a zero\0 byte", b"\xff\xfe", "gr\u00fc\u00df".encode()):
        server.append(STREAM, body, content_type="application/octet-stream")
        at += len(body)
        wait_position(connection, syncd, at)
    assert query(connection, "SELECT seq, bytes FROM public.chunks_text ORDER BY seq") == \
        [(0, "good"), (18, "gr\u00fc\u00df")]
    assert letters(connection, "chunks-text") == [(4, "nul", "22P05", b"a zero\0 byte"),
                                                  (16, "utf8", "22021", b"\xff\xfe")]
    assert letters(connection, "chunks-bytea") == []
    assert syncd.stop() == 0


def test_a_stream_that_does_not_suit_its_route_fails_and_says_why(connection, apply, server, start):
    apply(of_type("jsonb", streams=["sinks/text"]), chunk_route("bytea", streams=["sinks/json"]))
    server.create("sinks/text", content_type="text/plain")
    server.create("sinks/json")
    syncd = start(wait=False)
    assert "use as: chunks; its content type is text/plain" in wait_failed(connection, syncd, "jsonb")
    assert "this one holds JSON; its content type is application/json" in \
        wait_failed(connection, syncd, "chunks-bytea")
    assert syncd.stop() == 0


def test_rows_of_several_sinks_share_one_writer(connection, apply, server, start):
    """None waits for another, whatever the order in which they fill."""
    apply(*(of_type(payload, streams=[f"sinks/{payload}/*"], name_prefix="eu/") for payload in PAYLOADS))
    names = [f"sinks/{payload}/{number}" for payload in PAYLOADS for number in range(5)]
    for name in names:
        server.create(name)
    syncd = start(SYNCD_WRITERS="1", SYNCD_ADMIN_URLS=f"default={server.admin_url}")
    for turn in range(4):
        for name in names:
            server.append(name, list(range(turn * 50, turn * 50 + 50)))
    for name in names:
        wait_position(connection, syncd, 200, stream=name)
    for payload in PAYLOADS:
        assert query(connection, f"SELECT stream_name, count(*), max(seq) FROM public.as_{payload} GROUP BY 1 "
                     "ORDER BY 1") == [(f"eu/sinks/{payload}/{number}", 200, 199) for number in range(5)]
    assert syncd.stop() == 0
