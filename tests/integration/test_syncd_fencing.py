# SPDX-License-Identifier: Apache-2.0
"""Two instances at once: whoever was replaced cannot commit, however late it wakes up."""
import os
import signal
import threading

import ds
import psycopg2
import pytest
import syncd_work
from test_syncd_source_faults import FAST, messages, rows, wait_rows

STREAM = "fence/stream"
FAULT_BINARY = str(ds.ROOT / "build/fault/bin/syncd")


@pytest.fixture
def start_fault(folder, database, server):
    """start_fault(fault) -> a syncd of the fault build."""
    if not os.access(FAULT_BINARY, os.X_OK):
        pytest.fail("build/fault/bin/syncd does not exist: cmake --preset fault && cmake --build build/fault")
    started = []

    def start(fault=None, wait=True, **environment):
        number = len(started)
        log = folder / f"faults-{number}"
        process = ds.Syncd(folder, server.url, database[0], [STREAM], binary=FAULT_BINARY,
                           name=f"fault-syncd-{number}", environment={
                               **FAST, **environment, "SYNCD_INSTANCE": f"instance-{number}",
                               **({"DS_FAULT": fault, "DS_FAULT_LOG": str(log)} if fault else {})})
        process.fault_log = log
        started.append(process)
        return process.wait_ready() if wait else process

    yield start
    for process in started:
        if process.alive():
            process.signal(signal.SIGCONT)
        process.kill()


def position(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT epoch, ds_offset, skip, next_seq FROM ds_sync.stream_offset")
    return cursor.fetchone()


def hit(process):
    return process.fault_log.exists()


def waits_for_a_lock(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                   "AND datname = current_database()")
    return cursor.fetchone()[0] > 0


def test_an_instance_that_was_replaced_before_its_transaction_cannot_commit(database, server, start_fault):
    """The first holds a batch and sleeps; the second takes over and commits nothing."""
    server.create(STREAM)
    old = start_fault(SYNCD_LEASE="5m")    # it must get as far as the guard: its own clock is not to stop it
    server.append(STREAM, messages(0, 3))
    wait_rows(database, messages(0, 3), old, STREAM)
    old.signal(signal.SIGSTOP)
    syncd_work.release_leases(database[1])
    new = start_fault("checkpoint.loaded:stall:1", wait=False)
    ds.wait_until(lambda: hit(new), what="the new instance to take the epoch")
    before = position(database[1])
    server.append(STREAM, messages(3, 3))
    old.signal(signal.SIGCONT)
    ds.wait_until(lambda: "event=stream.fenced" in old.log_text() or position(database[1]) != before,
                  what="the old instance to notice")
    assert position(database[1]) == before, "an instance with an older epoch committed"
    assert rows(database[1], STREAM) == list(enumerate(messages(0, 3)))


def test_an_instance_that_wakes_up_inside_its_transaction_does_not_double_rows(
        database, server, start_fault):
    """The first stops between guard and rows, and the second waits for its lock: they never both commit
    the same rows."""
    server.create(STREAM)
    many = messages(0, 500)
    server.append(STREAM, many)
    old = start_fault("writer.guard_done:stall:1", wait=False)
    ds.wait_until(lambda: hit(old), what="the old instance to hold its transaction")
    syncd_work.release_leases(database[1])
    new = start_fault(wait=False)
    ds.wait_until(lambda: waits_for_a_lock(database[1]), what="the new instance to wait for the row lock")
    old.kill()
    wait_rows(database, many, new, STREAM)


def test_an_offset_that_moved_under_an_instance_is_noticed_before_rows_are_written(
        database, server, start_fault):
    """The offset is not where the instance believes it is: with rows gone and the offset moved, its
    next batch must not be numbered from its own memory."""
    server.create(STREAM)
    syncd = start_fault()
    server.append(STREAM, messages(0, 4))
    wait_rows(database, messages(0, 4), syncd, STREAM)
    syncd.signal(signal.SIGSTOP)
    cursor = database[1].cursor()
    # An operator rewinds the stream by hand, rows and offset together, and forgets the epoch.
    cursor.execute("BEGIN")
    cursor.execute("DELETE FROM ds_sync.session_events")
    cursor.execute("UPDATE ds_sync.stream_offset SET ds_offset = '-1', skip = 0, next_seq = 0")
    cursor.execute("COMMIT")
    server.append(STREAM, messages(4, 4))
    syncd.signal(signal.SIGCONT)
    wait_rows(database, messages(0, 8), syncd, STREAM)


def test_each_load_of_a_position_raises_the_epoch(database, server, start_fault):
    server.create(STREAM)
    server.append(STREAM, messages(0, 1))
    for turn in range(1, 4):
        syncd = start_fault()
        wait_rows(database, messages(0, 1), syncd, STREAM)
        assert position(database[1])[0] == turn
        assert syncd.stop() == 0


class FrozenCopy(threading.Thread):
    """A session that sends COPY's rows no further, as that of a syncd which was stopped there."""

    def __init__(self, url, table, first):
        super().__init__(daemon=True)
        self.cursor = psycopg2.connect(url).cursor()
        self.cursor.execute(first)
        self.table = table
        self.thawed = threading.Event()
        self.error = None
        self.start()

    def read(self, _size):
        self.thawed.wait()
        return ""

    def run(self):
        try:
            self.cursor.copy_expert(f"COPY {self.table} FROM STDIN", self)
        except psycopg2.Error as error:
            self.error = error

    def thaw(self):
        self.thawed.set()
        self.join(ds.HANG_SECONDS)
        return self.error


def test_an_instance_that_is_frozen_inside_copy_does_not_hold_its_streams_for_good(database, server, start_fault):
    """Postgres ends nothing that waits for its client inside COPY, by no timeout.  Who copies something else is
    left alone."""
    server.create(STREAM)
    server.append(STREAM, messages(0, 3))
    first = start_fault()
    wait_rows(database, messages(0, 3), first, STREAM)
    assert first.stop() == 0
    database[1].cursor().execute("CREATE TABLE public.mine (a text)")
    other = FrozenCopy(database[0], "public.mine", "SELECT 1")
    frozen = FrozenCopy(database[0], "ds_sync.session_events", "SELECT FROM ds_sync.stream_offset FOR UPDATE")
    server.append(STREAM, messages(3, 3))
    second = start_fault(wait=False, SYNCD_STATEMENT_TIMEOUT="2s")
    try:
        wait_rows(database, messages(0, 6), second, STREAM)
        assert "lease.frozen_ended" in second.log_text()
    finally:
        errors = frozen.thaw(), other.thaw()
    assert errors[0] is not None and errors[1] is None


def test_whoever_comes_late_with_an_older_epoch_does_not_lower_that_of_a_position(database, server, start_fault):
    """It has its lease, and before it comes to load the position somebody else does so, with a later one."""
    server.create(STREAM)
    server.append(STREAM, messages(0, 3))
    first = start_fault()
    wait_rows(database, messages(0, 3), first, STREAM)
    assert first.stop() == 0
    cursor = database[1].cursor()
    cursor.execute("""
        CREATE TABLE public.lowered (old_epoch bigint, new_epoch bigint);
        CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.lowered VALUES (OLD.epoch, NEW.epoch); RETURN NULL; END';
        CREATE TRIGGER note AFTER UPDATE ON ds_sync.stream_offset FOR EACH ROW WHEN (NEW.epoch < OLD.epoch)
            EXECUTE FUNCTION public.note()""")
    other = psycopg2.connect(database[0])
    try:
        other.cursor().execute("SELECT FROM ds_sync.stream_offset FOR UPDATE")
        late = start_fault(wait=False)
        ds.wait_until(lambda: waits_for_a_lock(database[1]), what="the late one to load the position")
        other.cursor().execute("UPDATE ds_sync.stream_offset SET epoch = epoch + 1000")
        other.commit()
    finally:
        other.close()
    late.wait_for(lambda: "event=stream.fenced" in late.log_text(), "it to notice")
    # Nobody holds the partition, so it gets a lease that is later than all, and goes on.
    server.append(STREAM, messages(3, 3))
    wait_rows(database, messages(0, 6), late, STREAM)
    assert position(database[1])[0] > 1000
    cursor.execute("SELECT * FROM public.lowered")
    assert cursor.fetchall() == []
