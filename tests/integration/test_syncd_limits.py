# SPDX-License-Identifier: Apache-2.0
"""Where syncd has to hold back, or to give up one stream and not the others."""
import ds
import pytest
from fake_server import FakeServer
from test_syncd_poison import letters, wait_position
from test_syncd_source_faults import FAST, messages, rows, state_of, wait_rows

STREAM = "limits/stream"
OTHER = "limits/other"


def position(connection, stream=STREAM):
    cursor = connection.cursor()
    cursor.execute("SELECT epoch, next_seq FROM ds_sync.stream_offset JOIN ds_sync.stream USING (stream_id) "
                   "WHERE name = %s", (stream,))
    return cursor.fetchone()


def wait_state(database, state, syncd, stream=STREAM):
    ds.wait_until(lambda: state_of(database[1], stream)[0] == state,
                  what=f"state {state}; log:\n{syncd.log_end(30)}")
    return state_of(database[1], stream)[1]


def resident_mib(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def trigger(database, when, body, kind="TRIGGER"):
    database[1].cursor().execute(f"""
        CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
        CREATE {kind} meddle {when} FOR EACH ROW EXECUTE FUNCTION public.meddle()""")


@pytest.fixture
def large_server(folder):
    process = ds.DsServer(folder, name="ds-server-large", environment={
        "DS_LIMITS__MAX_MEMORY_BYTES": "200MiB", "DS_LIMITS__MAX_STREAM_BYTES": "200MiB"}).wait_ready()
    yield process
    assert process.stop() == 0, process.log_end()


@pytest.mark.parametrize("count", [3, 300])
def test_a_trigger_that_drops_rows_fails_the_stream_and_moves_no_offset(count, database, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([STREAM], **FAST)
    trigger(database, "BEFORE INSERT ON ds_sync.session_events",
            "IF NEW.payload->>'n' = '2' THEN RETURN NULL; END IF; RETURN NEW;")
    server.append(STREAM, messages(0, count))
    assert "drops" in wait_state(database, "failed", syncd)
    assert position(database[1])[1] == 0
    assert rows(database[1], STREAM) == []


def test_rows_that_are_there_already_fail_the_stream_and_are_not_doubled(database, server, start_syncd):
    """The table was restored, or written by somebody else, and the offset stands before its rows."""
    server.create(STREAM)
    server.create(OTHER)
    syncd = start_syncd([STREAM, OTHER], **FAST)
    for stream in (STREAM, OTHER):
        server.append(stream, messages(0, 3))
        wait_rows(database, messages(0, 3), syncd, stream)
    database[1].cursor().execute(
        "INSERT INTO ds_sync.session_events (stream_name, generation, seq, ds_offset, payload) "
        "VALUES (%s, 1, 4, 'x', '0')", (STREAM,))
    server.append(STREAM, messages(3, 3))
    server.append(OTHER, messages(3, 3))
    assert "already" in wait_state(database, "failed", syncd)
    assert position(database[1])[1] == 3
    wait_rows(database, messages(0, 6), syncd, OTHER)


def test_an_error_of_no_known_kind_fails_only_the_stream_that_has_it(database, server, start_syncd):
    server.create(STREAM)
    server.create(OTHER)
    syncd = start_syncd([STREAM, OTHER], SYNCD_WRITERS="1", **FAST)
    trigger(database, "BEFORE INSERT ON ds_sync.session_events",
            f"IF NEW.stream_name = '{STREAM}' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = 'XX000'; END IF; "
            "RETURN NEW;")
    server.append(STREAM, messages(0, 3))
    server.append(OTHER, messages(0, 300))
    reason = wait_state(database, "failed", syncd)
    assert "XX000" in reason and "not this one" in reason
    wait_rows(database, messages(0, 300), syncd, OTHER)
    server.append(OTHER, messages(300, 3))
    wait_rows(database, messages(0, 303), syncd, OTHER)
    assert position(database[1])[1] == 0


def test_a_row_that_a_deferred_constraint_refuses_is_a_dead_letter(database, server, start_syncd):
    """It speaks up at COMMIT, where no line is named."""
    server.create(STREAM)
    syncd = start_syncd([STREAM], **FAST)
    trigger(database, "AFTER INSERT ON ds_sync.session_events DEFERRABLE INITIALLY DEFERRED",
            "IF NEW.payload->>'n' = '7' THEN RAISE EXCEPTION 'no seven' USING ERRCODE = '23514'; END IF; "
            "RETURN NULL;", "CONSTRAINT TRIGGER")
    server.append(STREAM, messages(0, 200))
    wait_position(database, 200, syncd)
    assert [(seq, state) for seq, _, _, state in letters(database[1])] == [(7, "23514")]
    assert [seq for seq, _ in rows(database[1], STREAM)] == [n for n in range(200) if n != 7]


def test_many_bad_rows_in_a_batch_are_found_without_a_try_for_each(database, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([STREAM], **FAST)
    database[1].cursor().execute("ALTER TABLE ds_sync.session_events ADD CONSTRAINT no_fifties "
                                 "CHECK ((payload->>'n')::int % 50 <> 0)")
    server.append(STREAM, messages(0, 4000))
    wait_position(database, 4000, syncd)
    bad = list(range(0, 4000, 50))
    assert [seq for seq, _, _, _ in letters(database[1])] == bad
    assert [seq for seq, _ in rows(database[1], STREAM)] == [n for n in range(4000) if n % 50]


def test_memory_stays_bounded_while_postgres_takes_nothing(database, large_server, start_syncd):
    """60 MB are there to be read, 4 MiB may be held."""
    server = large_server
    server.create(STREAM)
    server.append(STREAM, messages(0, 1))
    syncd = start_syncd([STREAM], server_url=server.url, SYNCD_QUEUE_BYTES_MAX="4MiB", SYNCD_STREAM_QUEUE_BYTES_MAX="4MiB", **FAST)
    wait_rows(database, messages(0, 1), syncd, STREAM)
    before = resident_mib(syncd)
    cursor = database[1].cursor()
    cursor.execute("BEGIN")
    cursor.execute("LOCK TABLE ds_sync.session_events IN SHARE MODE")
    for number in range(60):
        server.append(STREAM, [{"n": number * 10 + i, "text": "x" * 16_000} for i in range(62)])
    ds.wait_until(lambda: syncd.status()["streams"][0]["queue_bytes"] > 3_000_000, what="a full queue")
    held = resident_mib(syncd) - before
    cursor.execute("COMMIT")
    wait_position(database, 1 + 60 * 62, syncd)
    assert held < 40, f"{held:.0f} MiB more than before"
    cursor.execute("SELECT count(*), count(DISTINCT seq) FROM ds_sync.session_events")
    assert cursor.fetchone() == (1 + 60 * 62, 1 + 60 * 62)


def test_a_postgres_that_restarts_while_nothing_is_written_changes_nothing(database, server, start_syncd):
    server.create(STREAM)
    syncd = start_syncd([STREAM], SYNCD_POSTGRES_PATIENCE="500ms", **FAST)
    server.append(STREAM, messages(0, 3))
    wait_rows(database, messages(0, 3), syncd, STREAM)
    cursor = database[1].cursor()
    cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                   "application_name LIKE 'syncd%' AND datname = current_database()")
    ds.wait_until(lambda: "event=postgres.down" in syncd.log_text(), what="the lost connection in the log")
    syncd.wait_ready()
    server.append(STREAM, messages(3, 3))
    wait_rows(database, messages(0, 6), syncd, STREAM)
    assert position(database[1]) == (1, 6), "the position was loaded again"


def test_a_header_that_is_not_utf8_does_not_keep_the_state_from_postgres(database, start_syncd):
    fake = FakeServer(content_type="application/json; charset=\xff\xfe")
    try:
        fake.append(messages(0, 3))
        syncd = start_syncd([STREAM], server_url=fake.url, **FAST)
        wait_rows(database, messages(0, 3), syncd, STREAM)
        wait_state(database, "running", syncd)
    finally:
        fake.stop()
