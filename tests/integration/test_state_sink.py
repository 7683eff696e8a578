# SPDX-License-Identifier: Apache-2.0
"""A table of state is the fold of its stream's messages, at every moment, whatever happens to syncd."""
import json
import os
import random
import subprocess

import ds
import pytest
from state_model import Generator, StateModel
from syncd_work import FAULT_BINARY, need_fault_build, was_hit
from test_syncd_source_faults import FAST, state_of

STREAM = "state/stream"
SEED = int(os.environ.get("DS_STATE_SEED", "0")) or random.randrange(1, 1 << 32)


def declare(database, folder, server, payload="jsonb", **members):
    """The route and its table; the environment of syncd."""
    route = {"name": "state", "streams": [STREAM], "table": "public.state", "as": "state",
             "payload": {"column": "value", "type": payload}, **members}
    path = folder / "routes.json"
    path.write_text(json.dumps({"routes": [route]}))
    for words in (["db", "migrate"], ["route", "apply", "-f", str(path)]):
        subprocess.run([ds.program("dsctl"), *words], env={**os.environ, "POSTGRES_URL": database[0]}, check=True,
                       stdout=subprocess.DEVNULL)
    return {**FAST, "SYNCD_INSTANCE": "state", "SYNCD_LEASE": "3s", "SYNCD_IDLE_TIMEOUT": "30s",
            "SYNCD_ADMIN_URLS": f"default={server.admin_url}"}


def look(database):
    """(next_seq, rows) as one look at Postgres sees them."""
    cursor = database[1].cursor()
    cursor.execute("""
        SELECT coalesce((SELECT o.next_seq FROM ds_sync.stream_offset o JOIN ds_sync.stream s USING (stream_id)
                         WHERE s.name = %s), 0),
               coalesce((SELECT json_agg(json_build_array(type, key, seq, value)) FROM public.state
                         WHERE stream_name = %s), '[]')""", (STREAM, STREAM))
    next_seq, found = cursor.fetchone()
    return next_seq, {(kind, key): (seq, value) for kind, key, seq, value in found}


def wait_seq(database, count, syncd, seconds=ds.HANG_SECONDS):
    def there():
        if not syncd.alive():
            raise ds.StackError(f"syncd ended; its log:\n{syncd.log_end(40)}")
        return look(database)[0] >= count
    ds.wait_until(there, seconds=seconds, what=f"next_seq {count} (it is {look(database)[0]}, "
                  f"{state_of(database[1], STREAM)}); log:\n{syncd.log_end(30)}")


class Prefixes:
    """What the table holds when so many messages are loaded."""

    def __init__(self):
        self.model = StateModel()
        self.known = [{}]
        self.looks = 0

    def add(self, messages):
        for message in messages:
            self.model.add(message)
            self.known.append(self.model.rows())

    def check(self, found):
        next_seq, rows = found
        self.looks += 0 < next_seq < self.model.seq
        assert rows == self.known[next_seq], f"at next_seq {next_seq}; seed {SEED}"


@pytest.mark.parametrize("payload", ["jsonb", "json"])
def test_random_changes_leave_their_fold_and_kills_change_nothing(database, folder, server, start_syncd, payload):
    print(f"seed {SEED}: DS_STATE_SEED={SEED} replays it")
    generator, chance, prefixes = Generator(SEED), random.Random(SEED), Prefixes()
    environment = declare(database, folder, server, payload)
    server.create(STREAM)

    def append(sizes):
        batch = generator.append(chance.choice(sizes))
        prefixes.add(batch)
        server.append(STREAM, batch)
        prefixes.check(look(database))

    syncd = start_syncd([], **environment)
    for _ in range(4):
        for _ in range(8):
            append([1, 1, 3, 40, 200])
        syncd.kill()
        append([1, 300])
        syncd = start_syncd([], **environment)
    wait_seq(database, prefixes.model.seq, syncd)
    prefixes.check(look(database))
    assert prefixes.looks > 0, "every look was at the start or at the end"


def test_kills_in_every_part_of_a_transaction_change_nothing(database, folder, server, start_syncd):
    need_fault_build()
    print(f"seed {SEED}: DS_STATE_SEED={SEED} replays it")
    generator, chance, prefixes = Generator(SEED + 1), random.Random(SEED), Prefixes()
    environment = declare(database, folder, server)
    log = folder / "faults"
    server.create(STREAM)
    for point in ("writer.begin_done", "writer.guard_done", "writer.state_changed", "writer.state_changed",
                  "writer.rows_done", "writer.commit_sent", "writer.commit_done", "writer.acked"):
        syncd = ds.Syncd(folder, server.url, database[0], [], binary=FAULT_BINARY, name="syncd-faulty",
                         environment={**environment, "DS_FAULT": f"{point}:kill:{chance.randint(1, 3)}",
                                      "DS_FAULT_LOG": str(log)})

        def killed():
            if syncd.alive():
                batch = generator.append(chance.choice([1, 20]))
                prefixes.add(batch)
                server.append(STREAM, batch)
                prefixes.check(look(database))
            return not syncd.alive()
        try:
            ds.wait_until(killed, what=f"syncd to die at {point}; log:\n{syncd.log_end(20)}")
        finally:
            syncd.kill()
        assert was_hit(log, point)
        log.unlink()
        prefixes.check(look(database))
    syncd = start_syncd([], **environment)
    wait_seq(database, prefixes.model.seq, syncd)
    prefixes.check(look(database))


def change(key, operation, value=None, kind="t"):
    message = {"type": kind, "key": key, "operation": operation}
    return message if operation == "remove" else {**message, "value": value}


def mark(control):
    return {"headers": {"control": control}}


def letters(database):
    cursor = database[1].cursor()
    cursor.execute("SELECT seq, reason, sqlstate, message FROM ds_sync.dead_letter ORDER BY seq")
    return cursor.fetchall()


@pytest.mark.parametrize("payload", ["jsonb", "json", "text", "bytea"])
def test_appends_join_what_is_there_in_every_type_of_value(database, folder, server, start_syncd, payload):
    """One append to a transaction, so that Postgres does what the fold does within one."""
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, payload))
    messages = [change("s", "append", "a\"\\"), change("s", "append", ""), change("s", "append", "é\n"),
                change("a", "append", []), change("a", "append", [1, "x"]), change("a", "append", []),
                change("a", "append", [[2], {"n": 1.50}]), change("gone", "set", "x"), change("gone", "remove"),
                change("gone", "append", [3])]
    for number, message in enumerate(messages):
        server.append(STREAM, [message])
        wait_seq(database, number + 1, syncd)
    cursor = database[1].cursor()
    text = "convert_from(value, 'UTF8')" if payload == "bytea" else "value::text"
    cursor.execute(f"SELECT key, {text}, seq FROM public.state")
    assert {key: (json.loads(value), seq) for key, value, seq in cursor.fetchall()} == {
        "s": ("a\"\\é\n", 2), "a": ([1, "x", [2], {"n": 1.5}], 6), "gone": ([3], 9)}


def test_a_message_that_is_no_change_stops_the_stream_behind_all_that_are(database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server))
    server.append(STREAM, [change("a", "set", 1), change("b", "set", [1]), change("b", "append", "x"),
                           change("a", "set", 2)])
    ds.wait_until(lambda: state_of(database[1], STREAM)[0] in ("stopped", "failed"), what="the stream to stop")
    assert look(database) == (2, {("t", "a"): (0, 1), ("t", "b"): (1, [1])})
    assert "array" in state_of(database[1], STREAM)[1], state_of(database[1], STREAM)
    assert letters(database) == []
    syncd.stop()


def test_messages_that_are_no_changes_become_dead_letters_where_the_route_says_so(database, folder, server, start_syncd):
    print(f"seed {SEED}: DS_STATE_SEED={SEED} replays it")
    generator = Generator(SEED, refused=0.02)
    prefixes = Prefixes()
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter"))
    for _ in range(12):
        batch = generator.append(100)
        prefixes.add(batch)
        server.append(STREAM, batch)
        prefixes.check(look(database))
    bad = [{"n": 1}, {"type": "t", "key": 5, "operation": "remove"}, change("k", "merge", 1), mark("up-to-date")]
    server.append(STREAM, bad + [change("last", "set", 1)])
    wait_seq(database, prefixes.model.seq + 5, syncd)
    found = letters(database)
    assert [seq for seq, *_ in found] == prefixes.model.refused + [prefixes.model.seq + n for n in range(4)]
    assert {(reason, sqlstate) for _, reason, sqlstate, _ in found} == {("row_fault", "22023")}
    assert "key is not a string" in found[-3][3] and "up-to-date" in found[-1][3]
    rows = look(database)[1]
    if prefixes.model.staged is None:
        assert rows.pop(("t", "last")) == (prefixes.model.seq + 4, 1)
    assert rows == prefixes.model.rows()


def test_a_change_that_the_table_refuses_is_found_among_many(database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server, on_error="dead_letter")
    database[1].cursor().execute("ALTER TABLE public.state ADD CHECK (value::text <> '13')")
    messages = [change(f"k{number}", "set", number) for number in range(300)] + \
        [change("k13", "append", "x"), change("k14", "append", [1]), change("k15", "set", [1])]
    server.append(STREAM, messages)
    syncd = start_syncd([], **environment)
    wait_seq(database, len(messages), syncd)
    assert [(seq, sqlstate) for seq, _, sqlstate, _ in letters(database)] == [(13, "23514"), (301, "22023")]
    rows = look(database)[1]
    assert rows[("t", "k13")] == (300, "x") and rows[("t", "k14")] == (14, 14) and rows[("t", "k15")] == (302, [1])
    assert len(rows) == 300


def test_a_snapshot_larger_than_a_transaction_is_seen_whole_or_not_at_all(database, folder, server, start_syncd):
    """Killed in the middle of it, again and again."""
    environment = {**declare(database, folder, server), "SYNCD_BATCH_ROWS_MAX": "100"}
    server.create(STREAM)
    old = {("t", f"k{number}"): (number, "old") for number in range(50)}
    server.append(STREAM, [change(key, "set", "old") for _, key in old])
    syncd = start_syncd([], **environment)
    wait_seq(database, 50, syncd)
    count = 3000
    snapshot = [mark("reset"), mark("snapshot-start")] + \
        [change(f"k{number}", "set", {"n": number}) for number in range(count)]
    new = {("t", f"k{number}"): (52 + number, {"n": number}) for number in range(count)}
    middle = 0
    for first in range(0, len(snapshot), 600):
        server.append(STREAM, snapshot[first:first + 600])
        ds.wait_until(lambda: look(database)[0] > 50 + first, what="some of it")
        syncd.kill()
        next_seq, rows = look(database)
        middle += 52 < next_seq < 52 + count
        assert rows == old
        syncd = start_syncd([], **environment)
    wait_seq(database, 50 + len(snapshot), syncd)
    assert look(database)[1] == old and middle > 0
    server.append(STREAM, [change("k0", "remove"), mark("snapshot-end"),
                           change("last", "set", 1)])
    wait_seq(database, 50 + len(snapshot) + 3, syncd)
    del new[("t", "k0")]
    assert look(database)[1] == {**new, ("t", "last"): (52 + count + 2, 1)}
    cursor = database[1].cursor()
    cursor.execute("SELECT count(*) FROM ds_sync.state_staged")
    assert cursor.fetchone() == (0,)


def replay(database, seq):
    cursor = database[1].cursor()
    cursor.execute("SELECT ds_sync.state_replay(stream_id, generation, seq) FROM ds_sync.dead_letter WHERE seq = %s",
                   (seq,))
    return cursor.fetchone()[0]


def test_a_letter_that_is_replayed_overwrites_nothing_that_is_newer(database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server, on_error="dead_letter")
    refuse = "ALTER TABLE public.state ADD CONSTRAINT refuse CHECK (value::text NOT IN ('\"no\"', '[\"no\"]'))"
    database[1].cursor().execute(refuse)
    messages = [change("newer", "set", "no"), change("newer", "set", 1),
                change("alone", "set", "no"),
                change("removed", "set", "no"), change("removed", "remove"),
                change("older", "set", 5), change("older", "set", "no"),
                change("list", "append", ["no"]), change("list", "append", ["yes"])]
    syncd = start_syncd([], **environment)
    for number, message in enumerate(messages):     # alone, or what is overtaken would never be tried
        server.append(STREAM, [message])
        wait_seq(database, number + 1, syncd)
    assert [seq for seq, *_ in letters(database)] == [0, 2, 3, 6, 7]
    before = look(database)[1]
    database[1].cursor().execute("ALTER TABLE public.state DROP CONSTRAINT refuse")
    assert [replay(database, seq) for seq in (0, 3, 7)] == ["overtaken"] * 3
    assert look(database)[1] == before and len(letters(database)) == 5
    assert [replay(database, seq) for seq in (2, 6)] == ["replayed"] * 2
    assert look(database)[1] == {**before, ("t", "alone"): (2, "no"), ("t", "older"): (6, "no")}
    assert [seq for seq, *_ in letters(database)] == [0, 3, 7]
    server.append(STREAM, [mark("reset"), change("after", "set", 1)])
    wait_seq(database, len(messages) + 2, syncd)
    assert {replay(database, seq) for seq in (0, 3, 7)} == {"overtaken"}
    assert look(database)[1] == {("t", "after"): (len(messages) + 1, 1)}


def test_a_deletion_in_the_transaction_of_a_letter_is_remembered(database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server, on_error="dead_letter")
    server.append(STREAM, [change("k", "set", 1), {"type": "t", "key": "k", "operation": "set"},
                           change("k", "remove"), change("l", "set", 1)])
    syncd = start_syncd([], **environment)
    wait_seq(database, 4, syncd)
    assert [seq for seq, *_ in letters(database)] == [1]
    cursor = database[1].cursor()
    cursor.execute("""UPDATE ds_sync.dead_letter
                      SET payload = '{"type": "t", "key": "k", "operation": "set", "value": 2}'""")
    assert replay(database, 1) == "overtaken"
    assert look(database)[1] == {("t", "l"): (3, 1)}


def test_letters_of_an_open_snapshot_are_replayed_into_it(database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server, on_error="dead_letter")
    broken = {"type": "t", "key": "k", "operation": "set"}
    server.append(STREAM, [change("old", "set", 1), broken, mark("snapshot-start"), change("a", "append", ["x"]),
                           broken, {**broken, "key": "a"}])
    syncd = start_syncd([], **environment)
    wait_seq(database, 6, syncd)
    cursor = database[1].cursor()
    for seq, message in ((1, change("k", "set", "before")), (4, change("k", "set", "within")),
                         (5, change("a", "append", ["y"]))):
        cursor.execute("UPDATE ds_sync.dead_letter SET payload = %s WHERE seq = %s",
                       (json.dumps(message).encode(), seq))
        assert replay(database, seq) == "replayed"
    assert look(database)[1] == {("t", "old"): (0, 1), ("t", "k"): (1, "before")}
    server.append(STREAM, [mark("snapshot-end")])
    wait_seq(database, 7, syncd)
    assert look(database)[1] == {("t", "a"): (5, ["x", "y"]), ("t", "k"): (4, "within")}


def test_a_letter_is_replayed_by_the_rules_of_its_route(database, folder, server, start_syncd):
    """Into its own table, neither cut nor without what is required."""
    server.create(STREAM)
    columns = {"name": {"pointer": "/value/name", "type": "varchar(5)", "required": True},
               "blank": {"pointer": "/", "type": "text"}}
    environment = declare(database, folder, server, on_error="dead_letter", table="public.State", columns=columns)
    cursor = database[1].cursor()
    cursor.execute('ALTER TABLE public."State" ALTER COLUMN name DROP NOT NULL')
    cursor.execute('CREATE TABLE public.state (LIKE public."State" INCLUDING ALL)')     # what look() sees
    good = change("good", "set", {"name": "12345"})
    server.append(STREAM, [change("long", "set", {"name": "123456"}), change("none", "set", {}),
                           {**good, "key": "mended", "": "b", "value": {"name": "longer"}}, good])
    syncd = start_syncd([], **environment)
    wait_seq(database, 4, syncd)
    assert [(seq, state) for seq, _, state, _ in letters(database)] == [(0, "22001"), (1, "23502"), (2, "22001")]
    for seq, what in ((0, "too long"), (1, "required")):
        with pytest.raises(Exception, match=what):
            replay(database, seq)
    cursor.execute('ALTER TABLE public."State" ALTER COLUMN name TYPE varchar(6)')
    assert replay(database, 2) == "replayed"
    cursor.execute('SELECT key, seq, name, blank FROM public."State" ORDER BY seq')
    assert cursor.fetchall() == [("mended", 2, "longer", "b"), ("good", 3, "12345", None)]
    assert look(database)[1] == {}


def test_mapped_columns_follow_the_change_that_set_the_value(database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server, on_error="dead_letter", columns={
        "n": {"pointer": "/value/n", "type": "integer"}, "by": {"pointer": "/by", "type": "text", "required": True}})
    messages = [{**change("a", "set", {"n": 7}), "by": "me"}, {**change("b", "set", ["x"]), "by": "you"},
                change("c", "set", 1), {**change("d", "set", {"n": "x"}), "by": "me"}]
    server.append(STREAM, messages)
    syncd = start_syncd([], **environment)
    wait_seq(database, 4, syncd)
    server.append(STREAM, [change("b", "append", ["y"])])
    server.append(STREAM, [mark("snapshot-start"), {**change("e", "set", {"n": 8}), "by": "us"}])
    wait_seq(database, 7, syncd)
    server.append(STREAM, [{**change("f", "set", {"n": "x"}), "by": "us"}])
    wait_seq(database, 8, syncd)
    cursor = database[1].cursor()
    cursor.execute("SELECT key, n, by, value FROM public.state ORDER BY key")
    assert cursor.fetchall() == [("a", 7, "me", {"n": 7}), ("b", None, "you", ["x", "y"])]
    assert [(seq, state) for seq, _, state, _ in letters(database)] == [(2, "23502"), (3, "22P02"), (7, "22P02")]
    server.append(STREAM, [mark("snapshot-end")])
    wait_seq(database, 9, syncd)
    cursor.execute("SELECT key, n, by, value, seq FROM public.state")
    assert cursor.fetchall() == [("e", 8, "us", {"n": 8}, 6)]


def test_rows_that_somebody_else_made_newer_stop_the_stream(database, folder, server, start_syncd):
    server.create(STREAM)
    environment = declare(database, folder, server)
    database[1].cursor().execute("INSERT INTO public.state VALUES (%s, 't', 'k', 99, '1')", (STREAM,))
    server.append(STREAM, [change("k", "set", 2)])
    syncd = start_syncd([], **environment)
    ds.wait_until(lambda: state_of(database[1], STREAM)[0] in ("stopped", "failed"), what="the stream to stop")
    assert look(database) == (0, {("t", "k"): (99, 1)})
    syncd.wait_ready()  # nor does who asks only now wait for ever


def test_a_stream_that_is_made_anew_takes_the_rows_of_the_old_one_away(database, folder, server, start_syncd):
    environment = declare(database, folder, server, on_recreate="new_generation")
    server.create(STREAM)
    server.append(STREAM, [change("a", "set", 1), change("b", "set", 1), mark("snapshot-start"), change("c", "set", 1)])
    syncd = start_syncd([], **environment)
    wait_seq(database, 4, syncd)
    assert ds.http("DELETE", server.stream_url(STREAM))[0] in (200, 204)
    server.create(STREAM)
    server.append(STREAM, [change("b", "append", "x")])
    wait_seq(database, 5, syncd)
    assert look(database) == (5, {("t", "b"): (4, "x")})


def test_the_rights_of_the_writer_are_enough(database, folder, server, start_syncd):
    """All statements: a snapshot over two transactions, appends, deletions, letters, a reset."""
    environment = declare(database, folder, server, on_error="dead_letter")
    cursor = database[1].cursor()
    role = "writer_" + database[0].rpartition("/")[2]
    cursor.execute(f"CREATE ROLE {role} LOGIN IN ROLE ds_sync_writer")
    server.create(STREAM)
    url = database[0].replace("postgres@", f"{role}@")
    syncd = ds.Syncd(folder, server.url, url, [], environment={
        **environment, "SYNCD_MIGRATE": "false"}, name="syncd-writer").wait_ready()
    try:
        batches = [[change("a", "append", "x"), {"n": 1}], [change("a", "append", "y"), change("b", "remove")],
                   [mark("snapshot-start"), change("c", "append", [1])],
                   [change("c", "append", [2]), change("d", "remove")],
                   [mark("snapshot-end"), change("e", "set", 1), change("c", "append", [3])],
                   [mark("reset")], [change("f", "set", 1)]]
        seen = []
        for batch in batches:
            server.append(STREAM, batch)
            wait_seq(database, sum(map(len, batches[:len(seen) + 1])), syncd)
            seen.append({key: value for (_, key), (_, value) in look(database)[1].items()})
        assert seen == [{"a": "x"}, {"a": "xy"}, {"a": "xy"}, {"a": "xy"}, {"c": [1, 2, 3], "e": 1}, {}, {"f": 1}]
        cursor.execute("ALTER TABLE public.state ADD CONSTRAINT no_bad CHECK (value::text <> '\"bad\"')")
        batch = [change("f", "append", "x"), change("f", "append", [2]), change("g", "set", "bad"), change("f", "remove"),
                 change("h", "append", "y")]
        server.append(STREAM, batch)
        wait_seq(database, sum(map(len, batches)) + len(batch), syncd)
        assert {key: value for (_, key), (_, value) in look(database)[1].items()} == {"h": "y"}
        server.append(STREAM, [mark("snapshot-start"), change("h", "append", "y"), change("h", "append", [2]),
                               change("h", "append", "z")])
        server.append(STREAM, [mark("snapshot-end")])
        wait_seq(database, sum(map(len, batches)) + len(batch) + 5, syncd)
        assert {key: value for (_, key), (_, value) in look(database)[1].items()} == {"h": "yz"}
    finally:
        syncd.stop()
        cursor.execute(f"DROP ROLE {role}")
