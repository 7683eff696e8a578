# SPDX-License-Identifier: Apache-2.0
"""COMMIT: an answer that is none, and one that says something else."""
import ds
import pytest
from test_syncd_source_faults import FAST, messages, rows, state_of, wait_rows

STREAM = "commit/stream"


def test_a_commit_that_answers_rollback_is_not_taken_for_one(database, server, start_syncd):
    """A deferred constraint trigger that fails at COMMIT gives an error; a transaction that was aborted
    before gives success with the tag ROLLBACK.  The second is made by a trigger that ends the
    transaction's health behind syncd's back: a batch whose rows do not count."""
    cursor = database[1].cursor()
    server.create(STREAM)
    syncd = start_syncd([STREAM], **FAST)
    server.append(STREAM, messages(0, 3))
    wait_rows(database, messages(0, 3), syncd, STREAM)
    cursor.execute("""
        CREATE TABLE public.refuse (yes boolean);
        INSERT INTO public.refuse VALUES (true);
        CREATE FUNCTION public.refuse_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT yes FROM public.refuse) THEN
                RAISE EXCEPTION 'not now' USING ERRCODE = '40001';
            END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON ds_sync.session_events
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.refuse_at_commit();
        GRANT SELECT ON public.refuse TO PUBLIC""")
    server.append(STREAM, messages(3, 200))
    ds.wait_until(lambda: "40001" in syncd.log_text(), what="40001 in the log")
    cursor.execute("SELECT next_seq FROM ds_sync.stream_offset")
    assert cursor.fetchone()[0] == 3
    assert rows(database[1], STREAM) == list(enumerate(messages(0, 3)))
    cursor.execute("UPDATE public.refuse SET yes = false")
    wait_rows(database, messages(0, 203), syncd, STREAM)


@pytest.mark.parametrize("count", [3, 400])
def test_a_backend_that_dies_under_a_commit_leaves_every_row_once(count, database, server, start_syncd):
    """Kills the backends again and again while rows go in, by the short and by the long way."""
    cursor = database[1].cursor()
    server.create(STREAM)
    syncd = start_syncd([STREAM], **FAST)
    for turn in range(20):
        server.append(STREAM, messages(turn * count, count))
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                       "application_name LIKE 'syncd%' AND datname = current_database()")
    wait_rows(database, messages(0, 20 * count), syncd, STREAM)
    assert state_of(database[1], STREAM)[0] in ("running", "backoff")


@pytest.mark.parametrize("stop", ["SIGTERM", "SIGINT"])
def test_a_stop_finishes_the_commit_in_flight_and_loses_nothing(stop, database, server, start_syncd):
    import signal
    server.create(STREAM)
    server.append(STREAM, messages(0, 5000))
    for _ in range(5):
        syncd = start_syncd([STREAM], SYNCD_BATCH_ROWS_MAX="300", **FAST)
        syncd.signal(getattr(signal, stop))
        assert syncd.wait() == 0, syncd.log_end()
        held = rows(database[1], STREAM)
        cursor = database[1].cursor()
        cursor.execute("SELECT next_seq FROM ds_sync.stream_offset")
        assert held == list(enumerate(messages(0, 5000)))[:cursor.fetchone()[0]]
    syncd = start_syncd([STREAM], **FAST)
    wait_rows(database, messages(0, 5000), syncd, STREAM)
