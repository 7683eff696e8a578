# SPDX-License-Identifier: Apache-2.0
"""What becomes of an open snapshot when the columns of its route change: no value lands where it does not belong."""
import json

import pytest
from test_dsctl import Dsctl
from test_state_sets import BROKEN, mend, stage
from test_state_sink import STREAM, change, declare, letters, look, mark, replay, wait_seq
from test_syncd_source_faults import state_of


def text(pointer, **more):
    return {"pointer": pointer, "type": "text", **more}


def add(database, columns):
    database[1].cursor().execute("".join(f"ALTER TABLE public.state ADD COLUMN {name};" for name in columns))


def take(database, folder, server, syncd, **members):
    """The route is another one now, and syncd runs it."""
    declare(database, folder, server, **members)
    cursor = database[1].cursor()

    def taken():
        cursor.execute("""SELECT count(*) FROM ds_sync.route r JOIN ds_sync.route_instance s USING (name, version)
                          WHERE s.state = 'running'""")
        return cursor.fetchone() == (1,)
    syncd.wait_for(taken, "the route to be taken")


def rows(database, columns):
    cursor = database[1].cursor()
    cursor.execute(f"SELECT key, {columns} FROM public.state ORDER BY key")
    return cursor.fetchall()


def full(key, operation="set", value="v", **members):
    return {**change(key, operation, value), **{name: f"{name}-{key}" for name in ("a", "b", "c")}, **members}


FIRST = {"a": text("/a"), "b": text("/b")}
SECOND = {"b": text("/b"), "c": text("/c"), "a": text("/a")}
THIRD = {"a": text("/b"), "b": text("/a")}


def test_columns_that_change_within_a_snapshot_get_what_the_messages_have_for_them(
        database, folder, server, start_syncd):
    """The routes change back and forth, as where an instance hears of another one later than its neighbour."""
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=FIRST))
    done = stage(server, database, syncd, [mark("snapshot-start"), full("k0"), full("k1"), full("k2"), BROKEN,
                                           full("g0", value="x"), full("g1", "append", "x")])
    add(database, ["c text"])
    take(database, folder, server, syncd, on_error="dead_letter", columns=SECOND)
    done = stage(server, database, syncd, [full("k1", value="w"), full("k3"), full("g0", "append", "y", a="later"),
                                           full("g2", "append", ["x"])], done)
    mend(database, 4, full("replayed"))
    assert replay(database, 4) == "replayed"
    take(database, folder, server, syncd, on_error="dead_letter", columns=THIRD)
    done = stage(server, database, syncd, [full("k4"), full("g1", "append", "y"), full("g2", "append", ["y"])], done)
    take(database, folder, server, syncd, on_error="dead_letter", columns=SECOND)
    stage(server, database, syncd, [mark("snapshot-end"), full("behind")], done)
    keys = ["behind", "g0", "g1", "g2", "k0", "k1", "k2", "k3", "k4", "replayed"]
    assert rows(database, "a, b, c") == [(key, f"a-{key}", f"b-{key}", f"c-{key}") for key in keys]
    values = {key: value for (_, key), (_, value) in look(database)[1].items()}
    assert values == {**dict.fromkeys(keys, "v"), "g0": "xy", "g1": "xy", "g2": ["x", "y"], "k1": "w"}
    assert letters(database) == []


@pytest.mark.parametrize("before,after", [("jsonb", "bytea"), ("bytea", "text"), ("text", "jsonb")])
def test_values_whose_type_changes_within_a_snapshot_stay_what_they_are(
        before, after, database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, before))
    done = stage(server, database, syncd, [mark("snapshot-start"), change("k", "set", {"s": "a\"\\é"}),
                                           change("g", "append", "x\\\n")])
    to_text = "convert_from(value, 'UTF8')" if before == "bytea" else "value::text"
    cast = f"convert_to({to_text}, 'UTF8')" if after == "bytea" else f"{to_text}::{after}"
    database[1].cursor().execute(f"ALTER TABLE public.state ALTER COLUMN value TYPE {after} USING {cast}")
    take(database, folder, server, syncd, payload=after)
    stage(server, database, syncd, [change("g", "append", "\\y"), mark("snapshot-end"), change("m", "set", 1)], done)
    shown = "convert_from(value, 'UTF8')" if after == "bytea" else "value::text"
    assert {key: json.loads(value) for key, value in rows(database, shown)} == {
        "g": "x\\\n\\y", "k": {"s": "a\"\\é"}, "m": 1}


def test_a_column_of_another_type_is_read_from_the_message_anew(database, folder, server, start_syncd):
    server.create(STREAM)
    columns = {"n": {"pointer": "/n", "type": "integer"}}
    syncd = start_syncd([], **declare(database, folder, server, columns=columns))
    done = stage(server, database, syncd, [mark("snapshot-start"), full("k", n="0010")])
    database[1].cursor().execute("ALTER TABLE public.state ALTER COLUMN n TYPE text")
    take(database, folder, server, syncd, columns={"n": text("/n")})
    stage(server, database, syncd, [mark("snapshot-end"), full("l", n="0011")], done)
    assert rows(database, "n") == [("k", "0010"), ("l", "0011")]


def test_rows_without_what_a_new_column_requires_become_letters_at_the_end(database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=FIRST))
    done = stage(server, database, syncd, [mark("snapshot-start"), full("good"), full("bad", c=None)])
    add(database, ["c text"])
    columns = {**FIRST, "c": text("/c", required=True)}
    take(database, folder, server, syncd, on_error="dead_letter", columns=columns)
    stage(server, database, syncd, [full("made", "append", "x", c=None), mark("snapshot-end")], done)
    assert [(seq, reason, state) for seq, reason, state, _ in letters(database)] == [(2, "row_fault", "23502")]
    assert rows(database, "a, b, c") == [("good", "a-good", "b-good", "c-good"), ("made", "a-made", "b-made", None)]


def test_changes_that_are_tried_one_by_one_say_of_which_columns_they_are(database, folder, server, start_syncd):
    server.create(STREAM)
    number = {"pointer": "/n", "type": "integer"}
    members = {"on_error": "dead_letter"}
    syncd = start_syncd([], **declare(database, folder, server, **members, columns={"n": number, **FIRST}))
    done = stage(server, database, syncd, [mark("snapshot-start"), full("k", n=1), full("g", value="x", n=2),
                                           full("bad", n="no"), full("l", n=3)])
    add(database, ["c text"])
    take(database, folder, server, syncd, **members, columns={**SECOND, "n": number})
    stage(server, database, syncd, [full("bad", n="no"), full("g", "append", "y", n=9), full("m", n=4),
                                    full("h", "append", "x", n=5), mark("snapshot-end")], done)
    assert [(seq, state) for seq, _, state, _ in letters(database)] == [(3, "22P02"), (5, "22P02")]
    keys = {"g": 2, "h": 5, "k": 1, "l": 3, "m": 4}
    assert rows(database, "n, a, b, c") == [(key, n, f"a-{key}", f"b-{key}", f"c-{key}") for key, n in keys.items()]
    assert look(database)[1]["t", "g"][1] == "xy"


def test_columns_within_the_value_are_found_in_rows_that_had_none(database, folder, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server))
    done = stage(server, database, syncd, [mark("snapshot-start"), change("k", "set", {"n": {"m": "deep"}})])
    add(database, ["m text", "k text"])
    columns = {"m": text("/value/n/m"), "k": text("/key")}
    take(database, folder, server, syncd, columns=columns)
    stage(server, database, syncd, [mark("snapshot-end")], done)
    assert rows(database, "m, k") == [("k", "deep", "k")]


LOST = [full("k"), change("g", "set", ["x"]), change("g", "append", ["y"])]


@pytest.mark.parametrize("way", ["back", "reset"])
@pytest.mark.parametrize("on_error", ["stop", "dead_letter"])
def test_a_snapshot_whose_rows_lack_a_new_column_stops_its_stream_and_says_what_to_do(
        way, on_error, database, folder, server, start_syncd):
    """The messages were not kept: neither a guess nor NULL is what they said."""
    server.create(STREAM)
    members = {"on_error": on_error}
    syncd = start_syncd([], **declare(database, folder, server, **members))
    done = stage(server, database, syncd, [full("old"), mark("snapshot-start")] + LOST[:2])
    done = stage(server, database, syncd, LOST[2:], done)
    add(database, ["a text"])
    take(database, folder, server, syncd, **members, columns={"a": text("/a")})
    server.append(STREAM, [mark("snapshot-end")])
    dsctl = Dsctl(POSTGRES_URL=database[0])
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert "dsctl sync reset" in state_of(database[1], STREAM)[1], state_of(database[1], STREAM)
    assert look(database)[0] == done and [key for key, _ in rows(database, "a")] == ["old"]
    assert letters(database) == []
    if way == "back":
        take(database, folder, server, syncd, **members)
        dsctl("sync", "retry", STREAM)
        wait_seq(database, done + 1, syncd)
        assert rows(database, "a") == [("g", None), ("k", None)]
    else:
        dsctl("sync", "reset", STREAM, "--execute")
        wait_seq(database, done + done + 1, syncd)
        assert rows(database, "a") == [("g", None), ("k", "a-k")]
    assert look(database)[1]["t", "g"][1] == ["x", "y"]


def test_a_row_that_an_older_program_staged_is_read_from_its_message_or_not_at_all(
        database, folder, server, start_syncd):
    """It did not say which columns it meant."""
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, columns=FIRST))
    done = stage(server, database, syncd, [mark("snapshot-start"), full("k"), full("l")])
    cursor = database[1].cursor()
    cursor.execute("UPDATE ds_sync.state_staged SET shape = NULL, fields = ARRAY['old', 'order', fields[3]]")
    cursor.execute("UPDATE ds_sync.state_staged SET message = NULL WHERE key = 'l'")
    server.append(STREAM, [mark("snapshot-end")])
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "the stream to fail")
    assert look(database)[1] == {}
    cursor.execute("DELETE FROM ds_sync.state_staged WHERE key = 'l'")
    Dsctl(POSTGRES_URL=database[0])("sync", "retry", STREAM)
    wait_seq(database, done + 1, syncd)
    assert rows(database, "a, b") == [("k", "a-k", "b-k")]


def test_the_letter_that_an_older_program_makes_of_a_row_that_grew_holds_all_of_it(
        database, folder, server, start_syncd):
    """It knows of one message at most, and takes it for the row; going back, or an instance of it, ends the snapshot."""
    server.create(STREAM)
    syncd = start_syncd([], **declare(database, folder, server, on_error="dead_letter", columns=FIRST))
    done = stage(server, database, syncd, [mark("snapshot-start"), full("g", value="x"), full("k")])
    stage(server, database, syncd, [full("g", "append", "y")], done)
    assert syncd.stop() == 0
    cursor = database[1].cursor()
    cursor.execute("ALTER TABLE public.state ADD CHECK (a = '') NOT VALID")
    cursor.execute("""SELECT looked, last_key, f.letters FROM ds_sync.stream s, ds_sync.state_sift(
                          s.name, s.stream_id, NULL, NULL, 1000, 0, s.name, 'public.state', '{a,b,value}', '^57') f""")
    assert cursor.fetchall() == [(2, "k", 2)]
    cursor.execute("SELECT convert_from(payload, 'UTF8')::json FROM ds_sync.dead_letter ORDER BY seq DESC")
    (grown,), (alone,) = cursor.fetchall()
    assert (grown["key"], grown["value"]) == ("g", "xy") and alone == full("k")
    cursor.execute("SELECT count(*) FROM ds_sync.state_staged")
    assert cursor.fetchone() == (0,)
