# SPDX-License-Identifier: Apache-2.0
"""What each kind of Postgres's errors does to the rows around the one that it is about.

A trigger raises them, since most can hardly be provoked otherwise; those that can are."""
import json
import os

import ds
import pytest
from fake_server import FakeServer
from test_state_sink import declare as declare_state
from test_state_sink import STREAM as STATE_STREAM
from test_state_sink import wait_seq as wait_state
from test_syncd_poison import letters, wait_position
from test_syncd_source_faults import FAST, messages, rows, state_of, wait_rows

STREAM = "sqlstates/stream"


@pytest.fixture
def fake():
    server = FakeServer()
    yield server
    server.stop()


def raise_for(connection, condition, sqlstate, table="ds_sync.session_events", deferred=False):
    """A trigger that raises it (an SQL expression) for the rows of which the condition holds."""
    kind = "CONSTRAINT TRIGGER refuse AFTER" if deferred else "TRIGGER refuse BEFORE"
    later = "DEFERRABLE INITIALLY DEFERRED" if deferred else ""
    connection.cursor().execute(
        f"CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN RAISE EXCEPTION 'no %', new.seq USING ERRCODE = {sqlstate}; END IF; RETURN new; "
        f"END $$; CREATE {kind} INSERT ON {table} {later} FOR EACH ROW EXECUTE FUNCTION public.refuse()")


def mend(connection, table="ds_sync.session_events"):
    connection.cursor().execute(f"DROP TRIGGER refuse ON {table}")


# 57014 is a statement timeout: another matter.
ROW_FAULTS = ["P0001", "P0002", "P0004", "54000", "54001", "22012", "23503", "23514", "20000", "21000", "27000",
              "44000", "09000", "APP01"]


def test_what_a_trigger_raises_for_one_row_is_a_dead_letter_and_its_neighbours_are_rows(
        database, fake, start_syncd):
    """Whether few rows go in one statement or many by COPY."""
    fake.append(messages(0, 1))
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_rows(database, messages(0, 1), syncd, STREAM)
    raise_for(database[1], "new.payload ? 'raise'", "new.payload ->> 'raise'")
    bad = {}
    for batch in (10, 500):
        for sqlstate in ROW_FAULTS:
            fake.append([{"n": number, **({"raise": sqlstate} if number == batch // 2 else {})}
                         for number in range(batch)])
        first = 1 if batch == 10 else 1 + 10 * len(ROW_FAULTS)
        for number, sqlstate in enumerate(ROW_FAULTS):
            bad[first + number * batch + batch // 2] = sqlstate
        wait_position(database, first + batch * len(ROW_FAULTS), syncd)
    assert {seq: state for seq, _, reason, state in letters(database[1]) if reason == "row_fault"} == bad
    assert [seq for seq, _ in rows(database[1], STREAM)] == \
        [seq for seq in range(1 + 510 * len(ROW_FAULTS)) if seq not in bad]


def test_what_a_deferred_trigger_raises_at_the_commit_is_a_dead_letter(database, fake, start_syncd):
    fake.append(messages(0, 1))
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_rows(database, messages(0, 1), syncd, STREAM)
    raise_for(database[1], "new.seq % 7 = 3", "'P0001'", deferred=True)
    fake.append(messages(1, 99))
    wait_position(database, 100, syncd)
    assert [(seq, state) for seq, _, _, state in letters(database[1])] == \
        [(seq, "P0001") for seq in range(100) if seq % 7 == 3]


def test_a_row_that_is_too_large_for_an_index_is_a_dead_letter(database, fake, start_syncd):
    """54000, of Postgres's own."""
    fake.append(messages(0, 1))
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_rows(database, messages(0, 1), syncd, STREAM)
    database[1].cursor().execute("CREATE INDEX by_text ON ds_sync.session_events ((payload ->> 'text'))")
    fake.append([{"n": number, "text": os.urandom(4000).hex() if number == 77 else "short"}
                 for number in range(1, 200)])
    wait_position(database, 200, syncd)
    assert [(seq, reason, state) for seq, _, reason, state in letters(database[1])] == [(77, "row_fault", "54000")]
    assert len(rows(database[1], STREAM)) == 199


@pytest.mark.parametrize("sqlstate", ["P0001", "APP01"])
def test_what_a_trigger_of_a_table_of_state_raises_is_a_dead_letter(
        sqlstate, database, folder, server, start_syncd):
    environment = declare_state(database, folder, server, on_error="dead_letter")
    server.create(STATE_STREAM)
    raise_for(database[1], "new.key = 'bad'", f"'{sqlstate}'", table="public.state")
    changes = [{"type": "t", "key": key, "value": number, "headers": {"operation": "upsert"}}
               for number, key in enumerate(["a", "bad", "b", "c", "bad", "d"])]
    server.append(STATE_STREAM, changes)
    syncd = start_syncd([], **environment)
    wait_state(database, len(changes), syncd)
    assert [(seq, state, json.loads(payload)["key"]) for seq, payload, _, state in letters(database[1])] == \
        [(1, sqlstate, "bad"), (4, sqlstate, "bad")]
    cursor = database[1].cursor()
    cursor.execute("SELECT key, value::text FROM public.state ORDER BY key")
    assert cursor.fetchall() == [("a", "0"), ("b", "2"), ("c", "3"), ("d", "5")]


PASSING = ["40P01", "53200", "26000", "25006"]


@pytest.mark.parametrize("sqlstate", PASSING)
def test_what_passes_is_tried_until_it_has_and_makes_no_letter(sqlstate, database, fake, start_syncd):
    fake.append(messages(0, 1))
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_rows(database, messages(0, 1), syncd, STREAM)
    raise_for(database[1], "new.seq = 5", f"'{sqlstate}'")
    fake.append(messages(1, 300))

    def tried():
        return syncd.log_text().count(f"sqlstate={sqlstate}") > 10
    syncd.wait_for(tried, "to have tried more often than an unknown error would be")
    assert state_of(database[1], STREAM)[0] == "running"
    mend(database[1])
    wait_rows(database, messages(0, 301), syncd, STREAM)
    assert letters(database[1]) == []


def test_damaged_data_fails_the_stream_at_once(database, fake, start_syncd):
    """XX001 and XX002: trying again writes into what is broken."""
    fake.append(messages(0, 1))
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_rows(database, messages(0, 1), syncd, STREAM)
    raise_for(database[1], "new.seq = 5", "'XX002'")
    fake.append(messages(1, 9))
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "to fail the stream")
    assert "XX002" in state_of(database[1], STREAM)[1]
    assert "event=stream.trouble" not in syncd.log_text(), "it was tried again"
    assert len(rows(database[1], STREAM)) == 1 and letters(database[1]) == []


def test_an_error_that_nobody_knows_is_tried_ten_times_and_fails_the_stream(database, fake, start_syncd):
    fake.append(messages(0, 1))
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_rows(database, messages(0, 1), syncd, STREAM)
    raise_for(database[1], "new.seq = 5", "'XX000'")
    fake.append(messages(1, 9))
    syncd.wait_for(lambda: state_of(database[1], STREAM)[0] == "failed", "to fail the stream")
    assert syncd.log_text().count("event=stream.trouble") == 9
    assert len(rows(database[1], STREAM)) == 1 and letters(database[1]) == []
