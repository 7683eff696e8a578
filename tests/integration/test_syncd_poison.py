# SPDX-License-Identifier: Apache-2.0
"""What Postgres cannot hold becomes a dead letter with its bytes, in the transaction of its offset."""
import json

import ds
import pytest
from fake_server import FakeServer
from statement_log import StatementLog
from test_syncd_source_faults import FAST, messages, rows, state_of, wait_rows

STREAM = "poison/stream"
DEEP = "[" * 600 + "]" * 600


@pytest.fixture
def fake():
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def statements(postgres_server, database):
    """statements() -> what those who copy rows asked of Postgres since the call before."""
    return StatementLog(postgres_server, database, "COPY").since


def letters(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT seq, payload, reason, sqlstate FROM ds_sync.dead_letter ORDER BY seq")
    return [(seq, bytes(payload).decode(), reason, state) for seq, payload, reason, state in cursor.fetchall()]


def wait_position(database, count, syncd):
    cursor = database[1].cursor()

    def there():
        cursor.execute("SELECT next_seq FROM ds_sync.stream_offset")
        row = cursor.fetchone()
        return row is not None and row[0] >= count
    ds.wait_until(there, what=f"next_seq {count}; log:\n{syncd.log_end(30)}")


def test_each_kind_of_value_that_jsonb_refuses_is_a_dead_letter_with_its_bytes(database, server, start_syncd):
    poison = ['{"a":"x\\u0000y"}', '{"a":"\\ud800"}', '{"a":1e999999}', '{"\\u0000":1}']
    good = '{"a":1}'
    server.create(STREAM)
    server.append(STREAM, ("[" + ",".join(good + "," + bad for bad in poison) + "]").encode())
    syncd = start_syncd([STREAM], **FAST)
    wait_position(database, 2 * len(poison), syncd)
    found = letters(database[1])
    assert [(seq, payload) for seq, payload, _, _ in found] == \
        [(2 * number + 1, bad) for number, bad in enumerate(poison)]
    assert len({reason for _, _, reason, _ in found}) >= 3
    assert [seq for seq, _ in rows(database[1], STREAM)] == [0, 2, 4, 6]


def test_bytes_of_legal_numbers_and_unicode_survive(database, server, start_syncd):
    legal = ["12345678901234567890123", "1.10", "-0.5e10", '"\\u00e9 \\ud83d\\ude00 \\\\u0000"', "null",
             "true", "[]", "{}", '[1,[2,[3]]]', '"tab\\tquote\\"slash\\/"', '"\\u2028"']
    server.create(STREAM)
    server.append(STREAM, ("[" + ",".join(legal) + "]").encode())
    syncd = start_syncd([STREAM], **FAST)
    wait_position(database, len(legal), syncd)
    cursor = database[1].cursor()
    cursor.execute("SELECT payload = (%s::jsonb -> seq::int) FROM ds_sync.session_events ORDER BY seq",
                   ("[" + ",".join(legal) + "]",))
    assert cursor.fetchall() == [(True,)] * len(legal)
    assert letters(database[1]) == []


def test_a_row_that_a_check_refuses_is_found_among_many(database, server, start_syncd):
    """By the short way and by COPY: the bad ones are dead letters, their neighbours are rows."""
    server.create(STREAM)
    syncd = start_syncd([STREAM], **FAST)
    server.append(STREAM, messages(0, 1))
    wait_rows(database, messages(0, 1), syncd, STREAM)
    database[1].cursor().execute(
        "ALTER TABLE ds_sync.session_events ADD CONSTRAINT no_thirteen CHECK (payload->>'n' NOT IN ('13', '777'))")
    server.append(STREAM, messages(1, 20))
    server.append(STREAM, messages(21, 1000))
    wait_position(database, 1021, syncd)
    found = letters(database[1])
    assert [(seq, state) for seq, _, _, state in found] == [(13, "23514"), (777, "23514")]
    assert [json.loads(payload)["n"] for _, payload, _, _ in found] == [13, 777]
    assert [seq for seq, _ in rows(database[1], STREAM)] == \
        [number for number in range(1021) if number not in (13, 777)]


def test_a_table_that_refuses_everything_stops_the_stream(database, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([STREAM], **FAST)
    server.append(STREAM, messages(0, 1))
    wait_rows(database, messages(0, 1), syncd, STREAM)
    database[1].cursor().execute(
        "ALTER TABLE ds_sync.session_events ADD CONSTRAINT nothing CHECK (seq < 1) NOT VALID")
    for first in range(1, 9001, 3000):
        server.append(STREAM, messages(first, 3000))
    ds.wait_until(lambda: state_of(database[1], STREAM)[0] in ("stopped", "failed"), seconds=120,
                  what="the stream to stop")
    reason = state_of(database[1], STREAM)[1]
    assert "dead letters" in reason and "23514" in reason and "nothing" in reason, reason
    assert len(letters(database[1])) == 3000, "the limit of dead letters was not kept"
    cursor = database[1].cursor()
    cursor.execute("SELECT next_seq FROM ds_sync.stream_offset")
    assert cursor.fetchone()[0] == 1 + len(letters(database[1]))


BAD_AMONG_5000 = {
    "one": [3777],
    "three": [0, 2500, 4999],
    "every other one": range(0, 5000, 2),
    "a run of 2500": range(1000, 3500),
    "the first 2500": range(2500),
    "the last 2500": range(2500, 5000),
    "three of four": [number for number in range(5000) if number % 4],
}


@pytest.mark.parametrize("which", BAD_AMONG_5000)
def test_any_number_of_bad_rows_costs_a_few_statements(which, database, fake, start_syncd, statements):
    """The bad ones are dead letters, all others are rows, and the table is not asked row by row."""
    bad = set(BAD_AMONG_5000[which])
    fake.append([{"n": "first"}])
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_position(database, 1, syncd)
    database[1].cursor().execute(
        "ALTER TABLE ds_sync.session_events ADD CONSTRAINT no_bad CHECK (NOT payload ? 'bad')")
    statements()
    fake.append([{"n": number, **({"bad": True} if number in bad else {})} for number in range(5000)])
    wait_position(database, 5001, syncd)
    found = letters(database[1])
    assert [(seq - 1, reason, state) for seq, _, reason, state in found] == \
        [(number, "row_fault", "23514") for number in sorted(bad)]
    assert all(json.loads(payload) == {"n": seq - 1, "bad": True} for seq, payload, _, _ in found)
    assert [(seq - 1, payload) for seq, payload in rows(database[1], STREAM)[1:]] == \
        [(number, {"n": number}) for number in range(5000) if number not in bad]
    asked = statements()
    assert any(statement.startswith("COPY") for statement in asked)
    assert len(asked) <= 60, "\n".join(asked)


def test_a_unique_index_of_the_operator_makes_dead_letters_too(database, fake, start_syncd):
    """23505 is ours only when it is the sink's primary key."""
    fake.append([{"key": "first"}])
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_position(database, 1, syncd)
    database[1].cursor().execute("CREATE UNIQUE INDEX one_key ON ds_sync.session_events (stream_name, event_key)")
    fake.append([{"key": str(number % 150)} for number in range(200)])
    wait_position(database, 201, syncd)
    assert [(seq, state) for seq, _, _, state in letters(database[1])] == \
        [(number, "23505") for number in range(151, 201)]
    fake.append([{"key": "7"}])
    wait_position(database, 202, syncd)
    assert [seq for seq, _, _, _ in letters(database[1])][-1] == 201


def test_a_message_deeper_than_the_limit_is_a_dead_letter(database, fake, start_syncd):
    """Our own server refuses such a message; another one may not."""
    fake.append([{"n": 0}, json.loads(DEEP), {"n": 2}])
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_position(database, 3, syncd)
    assert [(seq, payload.replace(" ", "")) for seq, payload, _, _ in letters(database[1])] == [(1, DEEP)]
    assert [seq for seq, _ in rows(database[1], STREAM)] == [0, 2]


def test_a_message_that_is_not_utf8_is_a_dead_letter_with_its_bytes(database, fake, start_syncd):
    """Our own server refuses such a message; another one may not."""
    fake.append(b'[{"n":0},{"n":"a\xff\xc3"},{"n":2},"\xed\xa0\x80"]')
    syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
    wait_position(database, 4, syncd)
    cursor = database[1].cursor()
    cursor.execute("SELECT seq, payload, reason, sqlstate FROM ds_sync.dead_letter ORDER BY seq")
    assert [(seq, bytes(payload), reason, state) for seq, payload, reason, state in cursor.fetchall()] == \
        [(1, b'{"n":"a\xff\xc3"}', "utf8", "22021"), (3, b'"\xed\xa0\x80"', "utf8", "22021")]
    assert rows(database[1], STREAM) == [(0, {"n": 0}), (2, {"n": 2})]


def test_a_message_beyond_the_size_limit_is_a_dead_letter(database, server, start_syncd):
    server.create(STREAM)
    big = {"n": 1, "text": "x" * 40_000}
    server.append(STREAM, [{"n": 0}, big, {"n": 2}])
    syncd = start_syncd([STREAM], SYNCD_MESSAGE_BYTES_MAX="32KiB", **FAST)
    wait_position(database, 3, syncd)
    assert [(seq, json.loads(payload)) for seq, payload, _, _ in letters(database[1])] == [(1, big)]
    assert rows(database[1], STREAM) == [(0, {"n": 0}), (2, {"n": 2})]
