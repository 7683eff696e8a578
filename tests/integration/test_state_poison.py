# SPDX-License-Identifier: Apache-2.0
"""Changes of state that Postgres cannot hold, or a table refuses, become dead letters; all others are its fold."""
import json

import ds
import pytest
from fake_server import FakeServer
from statement_log import StatementLog
from syncd_work import FAULT_BINARY, need_fault_build, was_hit
from test_state_sink import STREAM, change, declare, letters, look, mark, replay, wait_seq
from test_syncd_poison import wait_position
from test_syncd_source_faults import state_of

PAYLOADS = ["jsonb", "json", "text", "bytea"]
LIMITS = {"SYNCD_MESSAGE_BYTES_MAX": "32KiB"}
NO_CHANGE = ("row_fault", "22023")
DEEP = b"[" * 600 + b"]" * 600
DIGITS = b"7" * 10_000

# JSON of a value, and why a payload cannot hold it: the first for jsonb, the second for the others; None: it can.
VALUES = {
    "nul": (rb'"x\u0000y"', ("nul", "22P05"), None),
    "nul in a name": (rb'{"\u0000": 1}', ("nul", "22P05"), None),
    "half of a pair": (rb'"\ud800"', ("lone_surrogate", "22P02"), None),
    "the other half": (rb'["\udc00x"]', ("lone_surrogate", "22P02"), None),
    "no UTF-8": (b'"\xff\xc3"', ("utf8", "22021"), ("utf8", "22021")),
    "a surrogate as UTF-8": (b'"\xed\xa0\x80"', ("utf8", "22021"), ("utf8", "22021")),
    "1e400": (b"1e400", None, None),
    "1e999999": (b"-1e999999", ("number", "22003"), None),
    "10,000 digits": (DIGITS, ("number", "22003"), None),
    "too deep": (DEEP, ("depth", "54001"), ("depth", "54001")),
    "too large": (b'"' + b"x" * 40_000 + b'"', ("size", None), ("size", None)),
}
# The same in the place of a key or a type.
NAMES = {
    "nul": (rb'"x\u0000y"', ("nul", "22P05"), NO_CHANGE),
    "half of a pair": (rb'"\ud800"', ("lone_surrogate", "22P02"), NO_CHANGE),
    "the other half": (rb'"\udc00x"', ("lone_surrogate", "22P02"), NO_CHANGE),
    "no UTF-8": (b'"\xff\xc3"', ("utf8", "22021"), ("utf8", "22021")),
    "a surrogate as UTF-8": (b'"\xed\xa0\x80"', ("utf8", "22021"), ("utf8", "22021")),
    "1e400": (b"1e400", NO_CHANGE, NO_CHANGE),
    "10,000 digits": (DIGITS, ("number", "22003"), NO_CHANGE),
    "too deep": (DEEP, ("depth", "54001"), ("depth", "54001")),
    "longer than an index takes": (b'"' + b"k" * 1023 + b'"', NO_CHANGE, NO_CHANGE),
    "too large": (b'"' + b"x" * 40_000 + b'"', ("size", None), ("size", None)),
}


@pytest.fixture
def fake():
    """Our own server refuses much of this; another one may not."""
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def statements(postgres_server, database):
    """statements() -> what those who write into tables of state asked of Postgres since the call before."""
    return StatementLog(postgres_server, database, "BEGIN").since


def message(value=b"1", key=b'"k"', kind=b'"t"', operation=b'"set"'):
    return b'{"type": %s, "key": %s, "operation": %s, "value": %s}' % (kind, key, operation, value)


def send(fake, messages):
    fake.append(b"[" + b",".join(messages) + b"]")


def full_letters(database):
    cursor = database[1].cursor()
    cursor.execute("SELECT seq, payload, reason, sqlstate FROM ds_sync.dead_letter ORDER BY seq")
    return [(seq, bytes(payload), reason, state) for seq, payload, reason, state in cursor.fetchall()]


def stored(database, payload):
    """{(type, key): (seq, JSON text)}"""
    text = "convert_from(value, 'UTF8')" if payload == "bytea" else "value::text"
    cursor = database[1].cursor()
    cursor.execute(f"SELECT type, key, seq, {text} FROM public.state")
    return {(kind, key): (seq, value) for kind, key, seq, value in cursor.fetchall()}


def why_of(case, payload):
    return case[1] if payload == "jsonb" else case[2]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_values_that_cannot_be_held_leave_the_older_value_and_their_neighbours(
        payload, database, folder, server, fake, start_syncd):
    """Each once for a key that has a value, and once for a new one."""
    syncd = start_syncd([], server_url=fake.url, **declare(
        database, folder, server, payload=payload, on_error="dead_letter"), **LIMITS)
    names = list(VALUES)
    send(fake, [message(b'"old"', b'"kept %d"' % number) for number in range(len(names))])
    wait_position(database, len(names), syncd)
    expected = {("t", f"kept {number}"): (number, b'"old"') for number in range(len(names))}
    bad, batch = [], []
    for number, name in enumerate(names):
        value = VALUES[name][0]
        for key in (f"kept {number}", f"new {number}", f"good {number}"):
            seq = len(names) + len(batch)
            batch.append(message(b"1" if key.startswith("good") else value, json.dumps(key).encode()))
            why = None if key.startswith("good") else why_of(VALUES[name], payload)
            if why is not None:
                bad.append((seq, batch[-1], *why))
            else:
                expected["t", key] = (seq, b"1" if key.startswith("good") else value)
    send(fake, batch)
    wait_position(database, len(names) + len(batch), syncd)
    assert full_letters(database) == bad
    found = stored(database, payload)
    assert {place: seq for place, (seq, _) in found.items()} == {place: seq for place, (seq, _) in expected.items()}
    for place, (_, value) in expected.items():
        text = found[place][1]
        if payload == "jsonb" and value == b"1e400":    # what the number is, not how it was written
            assert text == "1" + "0" * 400
        else:
            assert text.encode() == value, place
    send(fake, [message(b'"newer"', b'"kept 0"')])
    wait_position(database, len(names) + len(batch) + 1, syncd)
    assert stored(database, payload)["t", "kept 0"] == (len(names) + len(batch), '"newer"')


@pytest.mark.parametrize("member", ["key", "kind"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_keys_and_types_that_cannot_be_held_leave_their_neighbours(
        payload, member, database, folder, server, fake, start_syncd):
    syncd = start_syncd([], server_url=fake.url, **declare(
        database, folder, server, payload=payload, on_error="dead_letter"), **LIMITS)
    batch, bad, good = [], [], {}
    for number, (name, operation) in enumerate((n, o) for n in NAMES for o in (b'"set"', b'"append"', b'"remove"')):
        value = b'"v"' if operation == b'"append"' else b"1"
        bad.append((len(batch), message(value, operation=operation, **{member: NAMES[name][0]}),
                    *why_of(NAMES[name], payload)))
        good["t", f"good {number}"] = (len(batch) + 1, "1")
        batch += [bad[-1][1], message(key=b'"good %d"' % number)]
    batch.append(message(key=rb'"\ud83d\ude00\u00e9\\u0000"'))
    good["t", "\U0001f600\u00e9\\u0000"] = (len(batch) - 1, "1")
    send(fake, batch)
    wait_seq(database, len(batch), syncd)
    assert full_letters(database) == bad
    assert stored(database, payload) == good


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_cannot_be_appended_leaves_what_is_there(payload, database, folder, server, fake, start_syncd):
    syncd = start_syncd([], server_url=fake.url, **declare(
        database, folder, server, payload=payload, on_error="dead_letter"), **LIMITS)
    append = b'"append"'
    send(fake, [message(b'"a"', b'"s"'), message(b"[1]", b'"l"')])
    wait_seq(database, 2, syncd)
    batch = [message(b'"\xff"', b'"s"', operation=append), message(b"[1e400, " + DEEP + b"]", b'"l"', operation=append),
             message(DIGITS, b'"l"', operation=append), message(b'"b"', b'"s"', operation=append),
             message(b"[2]", b'"l"', operation=append), message(b'"' + b"x" * 40_000 + b'"', b'"s"', operation=append)]
    send(fake, batch)
    wait_seq(database, 8, syncd)
    digits = ("number", "22003") if payload == "jsonb" else NO_CHANGE
    assert full_letters(database) == [(2, batch[0], "utf8", "22021"), (3, batch[1], "depth", "54001"),
                                      (4, batch[2], *digits), (7, batch[5], "size", None)]
    found = stored(database, payload)
    assert {key: (seq, json.loads(text)) for (_, key), (seq, text) in found.items()} == \
        {"s": (5, "ab"), "l": (6, [1, 2])}


STOPS = [("jsonb", "value", name) for name in VALUES if VALUES[name][1] is not None] + \
    [("jsonb", "key", name) for name in NAMES] + \
    [("text", "value", "no UTF-8"), ("text", "key", "nul"), ("json", "value", "too deep"), ("json", "key", "no UTF-8"),
     ("bytea", "value", "too large"), ("bytea", "key", "half of a pair")]


@pytest.mark.parametrize("payload,member,name", STOPS)
def test_what_cannot_be_held_stops_the_stream_behind_all_that_can(
        payload, member, name, database, folder, server, fake, start_syncd):
    syncd = start_syncd([], server_url=fake.url, **declare(database, folder, server, payload=payload), **LIMITS)
    poison = (VALUES if member == "value" else NAMES)[name][0]
    send(fake, [message(key=b'"a"'), message(key=b'"b"'), message(**{"key": b'"a"', member: poison}),
                message(b"2", key=b'"b"')])
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert "seq 2" in state_of(database[1], STREAM)[1], state_of(database[1], STREAM)
    assert stored(database, payload) == {("t", "a"): (0, "1"), ("t", "b"): (1, "1")}
    assert full_letters(database) == []


def test_a_number_that_a_column_cannot_hold_leaves_the_older_row(database, folder, server, fake, start_syncd):
    """The value of the row could be held."""
    columns = {"n": {"pointer": "/value", "type": "double precision"}}
    syncd = start_syncd([], server_url=fake.url, **declare(
        database, folder, server, payload="text", on_error="dead_letter", columns=columns), **LIMITS)
    batch = [message(b"1"), message(b"2", b'"l"'), message(b"1e400"), message(DIGITS), message(b"-1e999999", b'"new"'),
             message(b"3", b'"m"')]
    send(fake, batch)
    wait_seq(database, len(batch), syncd)
    assert full_letters(database) == [(seq, batch[seq], "row_fault", "22003") for seq in (2, 3, 4)]
    assert stored(database, "text") == {("t", "k"): (0, "1"), ("t", "l"): (1, "2"), ("t", "m"): (5, "3")}


BAD_AMONG_5000 = {
    "one": [3777],
    "three": [0, 2500, 4999],
    "every other one": range(0, 5000, 2),
    "a run of 2500": range(1000, 3500),
    "three of four": [number for number in range(5000) if number % 4],
}
STATEMENTS_MAX = 100


def refuse_bad(database):
    database[1].cursor().execute(
        "ALTER TABLE public.state ADD CONSTRAINT no_bad CHECK (NOT (jsonb_typeof(value) = 'object' AND value ? 'bad'))")


@pytest.mark.parametrize("which", BAD_AMONG_5000)
def test_any_number_of_bad_changes_costs_a_few_statements(
        which, database, folder, server, fake, start_syncd, statements):
    """The bad ones are dead letters, all others are rows, and the table is not asked row by row."""
    bad = set(BAD_AMONG_5000[which])
    syncd = start_syncd([], server_url=fake.url, **declare(database, folder, server, on_error="dead_letter"))
    fake.append([change("first", "set", 1)])
    wait_seq(database, 1, syncd)
    refuse_bad(database)
    statements()
    batch = [change(f"k{number}", "set", {"n": number, **({"bad": True} if number in bad else {})})
             for number in range(5000)]
    fake.append(batch)
    wait_seq(database, 5001, syncd, seconds=ds.HANG_SECONDS * 2)
    found = full_letters(database)
    assert [(seq - 1, reason, state) for seq, _, reason, state in found] == \
        [(number, "row_fault", "23514") for number in sorted(bad)]
    assert all(json.loads(payload) == batch[seq - 1] for seq, payload, _, _ in found)
    assert look(database)[1] == {("t", "first"): (0, 1), **{
        ("t", f"k{number}"): (number + 1, {"n": number}) for number in range(5000) if number not in bad}}
    asked = statements()
    assert 0 < len(asked) <= STATEMENTS_MAX, "\n".join(asked)
    assert state_of(database[1], STREAM)[0] == "running"


def test_each_version_of_a_key_is_tried_where_the_table_refuses_some(database, folder, server, fake, start_syncd):
    """The newest that the table takes stays; 2,500 versions cost no more than as many keys."""
    syncd = start_syncd([], server_url=fake.url, **declare(database, folder, server, on_error="dead_letter"))
    fake.append([change("first", "set", 1)])
    wait_seq(database, 1, syncd)
    refuse_bad(database)
    bad = {"bad": 1}
    batch = [change("kept", "set", 1), change("kept", "set", bad), change("newer", "set", bad), change("newer", "set", 2),
             change("gone", "set", 3), change("gone", "remove"), change("gone", "set", bad),
             change("list", "append", ["x"]), change("list", "append", "no"), change("list", "append", ["y"]),
             change("first", "append", [1]), change("", "set", 4, kind="")]
    fake.append(batch)
    wait_seq(database, 1 + len(batch), syncd)
    assert [(seq, state) for seq, _, state, _ in letters(database)] == [
        (2, "23514"), (3, "23514"), (7, "23514"), (9, "22023"), (11, "22023")]
    assert look(database)[1] == {("t", "first"): (0, 1), ("t", "kept"): (1, 1), ("t", "newer"): (4, 2),
                                 ("t", "list"): (10, ["x", "y"]), ("", ""): (12, 4)}


@pytest.mark.parametrize("what", ["versions of one key", "appends to one key", "appends behind a set"])
def test_a_run_of_bad_changes_of_few_keys_costs_a_few_statements(
        what, database, folder, server, fake, start_syncd, statements):
    syncd = start_syncd([], server_url=fake.url, **declare(database, folder, server, on_error="dead_letter"))
    fake.append([change("k", "set", 1)])
    wait_seq(database, 1, syncd)
    refuse_bad(database)
    statements()
    batch = [change(f"l{number}", "set", number) for number in range(2500)]
    bad = []
    for number in range(1250):
        if what == "versions of one key":
            more = [change("k", "set", {"bad": number})]
        elif what == "appends to one key":
            more = [change("k", "append", ["x"])]
        else:
            more = [change(f"m{number}", "set", number), change(f"m{number}", "append", "x")]
        bad.append(1 + len(batch) + len(more) - 1)
        batch += more
    batch += [change(f"n{number}", "set", number) for number in range(1250)]
    fake.append(batch)
    wait_seq(database, 1 + len(batch), syncd, seconds=ds.HANG_SECONDS * 2)
    assert [seq for seq, *_ in letters(database)] == bad
    rows = {("t", "k"): (0, 1)}
    for seq, one in enumerate(batch, 1):
        if seq not in set(bad):
            rows["t", one["key"]] = (seq, one["value"])
    assert look(database)[1] == rows
    asked = statements()
    assert 0 < len(asked) <= STATEMENTS_MAX, "\n".join(asked)


def test_a_run_of_bad_changes_around_whole_sets_costs_a_few_statements(
        database, folder, server, fake, start_syncd, statements):
    """Nobody sees the set empty between a reset and the snapshot that follows it."""
    columns = {"n": {"pointer": "/value/n", "type": "integer"}}
    syncd = start_syncd([], server_url=fake.url, **declare(
        database, folder, server, on_error="dead_letter", columns=columns))
    fake.append([change("old", "set", {"n": 1})])
    wait_seq(database, 1, syncd)
    database[1].cursor().execute("""
        CREATE TABLE public.emptied (at timestamptz); GRANT ALL ON public.emptied TO PUBLIC;
        CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.emptied SELECT now() WHERE NOT EXISTS (SELECT FROM public.state); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER note AFTER DELETE ON public.state DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION public.note()""")
    statements()

    def changes(name, bad):
        return [change(f"{name}{number}", "set", {"n": "x" if number in bad else number}) for number in range(1500)]
    batch = changes("a", range(100, 900)) + [mark("reset"), mark("snapshot-start")] + changes("b", range(700, 1500)) + \
        [change("b0", "remove"), mark("snapshot-end")] + changes("c", range(0, 1500, 2))
    fake.append(batch)
    wait_seq(database, 1 + len(batch), syncd, seconds=ds.HANG_SECONDS * 2)
    bad = [seq for seq, one in enumerate(batch, 1) if one.get("value", {}).get("n") == "x"]
    assert [(seq, state) for seq, _, state, _ in letters(database)] == [(seq, "22P02") for seq in bad]
    start = 1 + batch.index(mark("snapshot-start"))
    assert look(database)[1] == {
        (one["type"], one["key"]): (seq, one["value"]) for seq, one in enumerate(batch, 1)
        if seq > start and seq not in set(bad) and "value" in one and one["key"] != "b0"}
    cursor = database[1].cursor()
    cursor.execute("SELECT (SELECT count(*) FROM public.emptied), (SELECT count(*) FROM ds_sync.state_staged)")
    assert cursor.fetchone() == (0, 0)
    asked = statements()
    assert 0 < len(asked) <= 2 * STATEMENTS_MAX, "\n".join(asked)


def test_a_change_that_is_refused_only_at_the_commit_is_found_among_many(database, folder, server, fake, start_syncd):
    columns = {"name": {"pointer": "/value", "type": "text"}}
    syncd = start_syncd([], server_url=fake.url, **declare(
        database, folder, server, on_error="dead_letter", columns=columns))
    database[1].cursor().execute("ALTER TABLE public.state ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED")
    fake.append([change(f"k{number}", "set", f"v{number % 150}") for number in range(200)])
    wait_seq(database, 200, syncd)
    assert [(seq, state) for seq, _, state, _ in letters(database)] == [(seq, "23505") for seq in range(150, 200)]
    assert look(database)[1] == {("t", f"k{number}"): (number, f"v{number}") for number in range(150)}


@pytest.mark.parametrize("operation,value", [("set", 2), ("append", ["x"]), ("remove", None)])
def test_rows_that_are_newer_are_found_among_bad_changes(operation, value, database, folder, server, fake, start_syncd):
    """Tried one by one, too, nothing newer is overwritten."""
    syncd = start_syncd([], server_url=fake.url, **declare(database, folder, server, on_error="dead_letter"))
    fake.append([change("first", "set", 1)])
    wait_seq(database, 1, syncd)
    refuse_bad(database)
    database[1].cursor().execute("INSERT INTO public.state VALUES (%s, 't', 'newer', 99, '[]')", (STREAM,))
    fake.append([change("bad", "set", {"bad": 1}), change("newer", operation, value)])
    syncd.wait_for(lambda: look(database)[0] > 1 or state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert look(database) == (1, {("t", "first"): (0, 1), ("t", "newer"): (99, [])})


def test_bad_changes_stop_the_stream_at_the_first_of_them(database, folder, server, fake, start_syncd):
    syncd = start_syncd([], server_url=fake.url, **declare(database, folder, server))
    fake.append([change("first", "set", 1)])
    wait_seq(database, 1, syncd)
    refuse_bad(database)
    fake.append([change(f"k{number}", "set", {"n": number, **({"bad": 1} if number in (700, 900) else {})})
                 for number in range(2000)])
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert "no_bad" in state_of(database[1], STREAM)[1] and "seq 701" in state_of(database[1], STREAM)[1]
    next_seq, rows = look(database)
    assert next_seq == 701 and len(rows) == 701 and letters(database) == []


def test_the_first_changes_of_a_generation_are_tried_without_the_rows_of_the_old_one(
        database, folder, server, start_syncd):
    environment = declare(database, folder, server, on_error="dead_letter", on_recreate="new_generation")
    server.create(STREAM)
    server.append(STREAM, [change("a", "append", ["old"]), change("b", "set", 1), mark("snapshot-start"),
                           change("c", "set", 1)])
    syncd = start_syncd([], **environment)
    wait_seq(database, 4, syncd)
    refuse_bad(database)
    assert ds.http("DELETE", server.stream_url(STREAM))[0] in (200, 204)
    server.create(STREAM)
    server.append(STREAM, [change("a", "append", "x"), change("a", "append", "y"), change("c", "set", {"bad": 1}),
                           change("d", "set", 2)])
    wait_seq(database, 8, syncd)
    assert [(seq, state) for seq, _, state, _ in letters(database)] == [(6, "23514")]
    assert look(database) == (8, {("t", "a"): (5, "xy"), ("t", "d"): (7, 2)})
    cursor = database[1].cursor()
    cursor.execute("SELECT count(*) FROM ds_sync.state_staged")
    assert cursor.fetchone() == (0,)


def test_kills_while_changes_are_tried_one_by_one_change_nothing(database, folder, server, start_syncd):
    need_fault_build()
    environment = declare(database, folder, server, on_error="dead_letter")
    refuse_bad(database)
    server.create(STREAM)
    batch = [change(f"k{number % 900}", "set", {"n": number, **({"bad": 1} if number % 3 else {})})
             for number in range(3000)]
    server.append(STREAM, batch)
    log = folder / "faults"
    for number in (1, 2, 3):
        syncd = ds.Syncd(folder, server.url, database[0], [], binary=FAULT_BINARY, name="syncd-faulty", environment={
            **environment, "DS_FAULT": f"writer.state_sieved:kill:{1 if number == 1 else 2}", "DS_FAULT_LOG": str(log)})
        try:
            ds.wait_until(lambda: not syncd.alive() or look(database)[0] == 3000,
                          what=f"syncd to die; log:\n{syncd.log_end(20)}")
        finally:
            syncd.kill()
        next_seq = look(database)[0]
        assert was_hit(log, "writer.state_sieved") and next_seq == (number - 1) * 1000
        log.unlink()
        assert [seq for seq, *_ in letters(database)] == [seq for seq in range(next_seq) if seq % 3]
    syncd = start_syncd([], **environment)
    wait_seq(database, 3000, syncd)
    assert [seq for seq, *_ in letters(database)] == [seq for seq in range(3000) if seq % 3]
    assert look(database)[1] == {("t", batch[seq]["key"]): (seq, batch[seq]["value"]) for seq in range(0, 3000, 3)}


def test_a_deletion_behind_a_bad_change_is_remembered(database, folder, server, fake, start_syncd):
    """Both in one transaction: a letter that is mended and replayed later brings nothing back."""
    syncd = start_syncd([], server_url=fake.url, **declare(database, folder, server, on_error="dead_letter"))
    fake.append([change("first", "set", 1)])
    wait_seq(database, 1, syncd)
    refuse_bad(database)
    fake.append([change("k", "set", {"bad": 1}), change("k", "remove"), change("l", "set", {"bad": 1})])
    wait_seq(database, 4, syncd)
    assert [seq for seq, *_ in letters(database)] == [1, 3]
    database[1].cursor().execute("ALTER TABLE public.state DROP CONSTRAINT no_bad")
    assert [replay(database, seq) for seq in (1, 3)] == ["overtaken", "replayed"]
    assert look(database)[1] == {("t", "first"): (0, 1), ("t", "l"): (3, {"bad": 1})}
