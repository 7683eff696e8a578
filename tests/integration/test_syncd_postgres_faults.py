# SPDX-License-Identifier: Apache-2.0
"""What Postgres may do wrong.  Rows wait in the stream; none is lost or doubled."""
import os
import subprocess

import ds
import pytest
from test_syncd_source_faults import FAST, fake, messages, state_of, wait_rows  # noqa: F401  (a fixture)

STREAM = "pg/faults"


@pytest.fixture
def stream(server):
    server.create(STREAM)
    return STREAM


@pytest.fixture
def own_postgres(folder):
    """A server that a test may stop and break."""
    postgres = ds.Postgres(folder, settings={"fsync": "off"}).start()
    yield postgres
    postgres.stop()


@pytest.fixture
def start_beside(own_postgres, folder):
    """start_beside(server_url, database="postgres", **environment) -> a syncd of it; stopped before Postgres."""
    started = []

    def start(server_url, database="postgres", **environment):
        started.append(ds.Syncd(folder, server_url, own_postgres.url(database), [STREAM],
                                environment={**FAST, **environment}))
        return started[-1]
    yield start
    for process in started:
        process.stop()


def wait_loaded(postgres, expected, syncd):
    """Until the table holds exactly these, asked on a connection of its own: the server may have been away."""
    connection = postgres.connect()
    wait_rows((None, connection), expected, syncd, STREAM)
    connection.close()


def test_postgres_that_is_killed_and_comes_back_gets_every_row_once(own_postgres, server, stream, start_beside):
    server.append(stream, messages(0, 50))
    syncd = start_beside(server.url).wait_ready()
    wait_loaded(own_postgres, messages(0, 50), syncd)
    own_postgres.crash()
    server.append(stream, messages(50, 50))
    ds.wait_until(lambda: "level=warn" in syncd.log_text(), what="a warning")
    own_postgres.start()
    wait_loaded(own_postgres, messages(0, 100), syncd)
    assert syncd.stop() == 0


def test_streams_are_let_go_of_while_postgres_is_out_of_reach_for_long(own_postgres, fake, start_beside):
    """Nobody would take what comes; the server need not keep connections for it."""
    fake.append(messages(0, 5))
    syncd = start_beside(fake.url, SYNCD_IDLE_TIMEOUT="1h", SYNCD_LEASE="5m", SYNCD_POSTGRES_PATIENCE="1s").wait_ready()
    wait_loaded(own_postgres, messages(0, 5), syncd)
    assert fake.connections, "it is read live"
    own_postgres.crash()
    syncd.wait_for(lambda: not fake.connections, "to close its connections")
    fake.append(messages(5, 5))
    own_postgres.start()
    wait_loaded(own_postgres, messages(0, 10), syncd)
    assert syncd.stop() == 0


@pytest.mark.parametrize("closes", [False, True], ids=["open", "closed"])
def test_rows_that_a_failover_lost_are_loaded_again_though_nothing_new_comes(
        closes, own_postgres, folder, server, stream, start_beside):
    server.append(stream, messages(0, 20))
    syncd = start_beside(server.url).wait_ready()
    standby = None
    try:
        connection = own_postgres.connect()
        wait_rows((None, connection), messages(0, 20), syncd, stream)
        standby = ds.Postgres(folder, settings={"fsync": "off"}, name="standby", standby_of=own_postgres)
        server.append(stream, messages(20, 20))
        wait_rows((None, connection), messages(0, 40), syncd, stream)
        if closes:
            ds.http("POST", server.stream_url(stream), headers={"Stream-Closed": "true"})
            syncd.wait_for(lambda: state_of(connection, stream)[0] == "closed", "to end it")
        connection.close()
        own_postgres.crash()
        # From now on the standby is what clients find at the old address; it has 20 rows.
        (standby.folder / "data/standby.signal").unlink()
        standby.port = own_postgres.port
        standby.start()
        wait_loaded(standby, messages(0, 40), syncd)
        assert syncd.stop() == 0
    finally:
        syncd.stop()
        if standby:
            standby.stop()


def test_postgres_that_is_down_at_the_start_is_awaited(own_postgres, server, stream, start_beside):
    server.append(stream, messages(0, 5))
    own_postgres.stop()
    syncd = start_beside(server.url)
    ds.wait_until(lambda: "level=warn" in syncd.log_text(), what="a warning")
    assert syncd.alive()
    own_postgres.start()
    syncd.wait_ready()
    wait_loaded(own_postgres, messages(0, 5), syncd)


def test_a_read_only_postgres_is_retried_until_it_is_not(database, postgres_server, server, stream, start_syncd):
    syncd = start_syncd([stream], **FAST)
    server.append(stream, messages(0, 3))
    wait_rows(database, messages(0, 3), syncd, stream)
    name = database[0].rsplit("/", 1)[1]
    cursor = database[1].cursor()
    cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                   "WHERE datname = current_database() AND pid <> pg_backend_pid()")
    server.append(stream, messages(3, 3))
    ds.wait_until(lambda: "25006" in syncd.log_text(), what="25006 in the log")
    cursor.execute("SET default_transaction_read_only = off")
    cursor.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                   "WHERE datname = current_database() AND pid <> pg_backend_pid()")
    wait_rows(database, messages(0, 6), syncd, stream)


def test_a_dropped_table_stops_loading_and_says_so(database, server, stream, start_syncd):
    syncd = start_syncd([stream], **FAST)
    server.append(stream, messages(0, 3))
    wait_rows(database, messages(0, 3), syncd, stream)
    cursor = database[1].cursor()
    cursor.execute("ALTER TABLE ds_sync.session_events RENAME TO session_events_away")
    server.append(stream, messages(3, 3))
    ds.wait_until(lambda: "42P01" in syncd.log_text(), what="42P01 in the log")
    ds.wait_until(lambda: state_of(database[1], stream)[0] == "failed", what="state failed")
    assert "session_events" in state_of(database[1], stream)[1]
    cursor.execute("SELECT next_seq FROM ds_sync.stream_offset")
    assert cursor.fetchone()[0] == 3, "the offset moved without rows"
    cursor.execute("ALTER TABLE ds_sync.session_events_away RENAME TO session_events")
    wait_rows(database, messages(0, 6), syncd, stream)


def test_a_schema_that_was_never_migrated_is_refused_with_the_mend(database, server, stream, start_syncd):
    syncd = start_syncd([stream], wait=False, SYNCD_MIGRATE="false", **FAST)
    ds.wait_until(lambda: "dsctl db migrate" in syncd.log_text(), what="the mend in the log")


@pytest.fixture
def small_disk(folder):
    """A file system of 24 MiB that belongs to Postgres's user."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs takes root")
    path = folder / "small"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)],
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted: {done.stderr.strip()}")
    user = ds.postgres_user()
    os.chown(path, user.pw_uid, user.pw_gid)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_retried_until_there_is_room(small_disk, own_postgres, server, stream, start_beside):
    connection = own_postgres.connect()
    cursor = connection.cursor()
    cursor.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    cursor.execute("CREATE DATABASE app ENCODING 'UTF8' TEMPLATE template0 TABLESPACE small")
    connection.close()
    syncd = start_beside(server.url, "app").wait_ready()
    connection = own_postgres.connect("app")
    try:
        server.append(stream, messages(0, 3))
        wait_rows((None, connection), messages(0, 3), syncd, stream)
        filler = small_disk / "filler"
        with open(filler, "wb") as file:
            try:
                while True:
                    file.write(b"x" * 65536)
                    file.flush()
            except OSError:
                pass
        expected = messages(0, 3)
        for number in range(3, 40):
            more = [{"n": number, "text": os.urandom(20_000).hex()}]
            expected += more
            server.append(stream, more)
        ds.wait_until(lambda: "53100" in syncd.log_text(), what="53100 in the log")
        assert state_of(connection, stream)[0] in ("backoff", "running")
        filler.unlink()
        wait_rows((None, connection), expected, syncd, stream)
    finally:
        connection.close()
        syncd.stop()
        own_postgres.stop()      # before its disk goes
