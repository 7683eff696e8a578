# SPDX-License-Identifier: Apache-2.0
"""A table that takes nothing, or is not what the route says any more: its route is held as a whole, with one
line and a bounded number of dead letters, and goes on where it was, by itself or when it is told to."""
import re

import ds
import pytest
import routes
from test_dsctl import Dsctl
from test_syncd_source_faults import FAST, messages

TABLE = "public.held"
LETTERS_MAX = 5000


@pytest.fixture
def connection(database):
    return database[1]


@pytest.fixture
def dsctl(database):
    dsctl = Dsctl(POSTGRES_URL=database[0])
    dsctl("db", "migrate")
    return dsctl


@pytest.fixture
def start(server, start_syncd):
    def begin(streams=(), **environment):
        return start_syncd(list(streams), wait=False, SYNCD_ADMIN_URLS=f"default={server.admin_url}",
                           **{**FAST, "SYNCD_IDLE_TIMEOUT": "30s", **environment})
    return begin


@pytest.fixture
def started_as_writer(database, dsctl, folder, server):
    """With the rights that syncd has where it is no superuser."""
    role = "writer_" + database[0].rpartition("/")[2]
    database[1].cursor().execute(f"CREATE ROLE {role} LOGIN IN ROLE ds_sync_writer")
    started = []

    def begin(streams=()):
        started.append(ds.Syncd(folder, server.url, database[0].replace("postgres@", f"{role}@"), list(streams), environment={
            **FAST, "SYNCD_IDLE_TIMEOUT": "30s", "SYNCD_MIGRATE": "false",
            "SYNCD_ADMIN_URLS": f"default={server.admin_url}"}))
        return started[-1]
    yield begin
    for syncd in started:
        syncd.stop()
    database[1].cursor().execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def query(connection, statement, *values):
    cursor = connection.cursor()
    cursor.execute(statement, values)
    return cursor.fetchall()


def count(connection, table):
    return query(connection, f"SELECT count(*) FROM {table}")[0][0]


def refuse_all(connection, table):
    connection.cursor().execute(f"ALTER TABLE {table} ADD CONSTRAINT nothing CHECK (seq < 0) NOT VALID")


def take_again(connection, table):
    connection.cursor().execute(f"ALTER TABLE {table} DROP CONSTRAINT nothing")


def wait_state(connection, syncd, route, wanted):
    syncd.wait_for(lambda: (routes.state(connection, route) or [None])[0] == wanted, f"to have {route} {wanted}")
    return routes.state(connection, route)[1]


def wait_loaded(connection, syncd, table, wanted):
    """Rows and letters are all messages, each once."""
    def loaded():
        return count(connection, table) + count(connection, "ds_sync.dead_letter") == wanted
    syncd.wait_for(loaded, f"to load {wanted} (there are {count(connection, table)} rows)")
    assert query(connection, f"SELECT count(*) FROM {table} r JOIN ds_sync.stream s ON s.name = r.stream_name "
                 "JOIN ds_sync.dead_letter d USING (stream_id) WHERE d.seq = r.seq")[0][0] == 0


def listed(dsctl):
    """What `dsctl route ls` says: {route: state}."""
    return {row["name"]: row["state"] for row in dsctl.json("route", "ls")["routes"]}


def lines_of(syncd, event):
    return re.findall(rf"^.*event={re.escape(event)}\b.*$", syncd.log_text(), re.M)


def test_a_table_that_refuses_everything_stops_its_route_however_many_streams_it_has(
        connection, dsctl, server, start):
    names = [f"held/{number}" for number in range(40)]
    routes.make_table(connection, TABLE)
    routes.make_table(connection, "public.other")
    refuse_all(connection, TABLE)
    for name in names:
        server.create(name)
        server.append(name, messages(0, 400))
    server.create("other/1")
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter")
    routes.declare(connection, "other", ["other/*"], "public.other", on_error="dead_letter")
    syncd = start()
    reason = wait_state(connection, syncd, "held", "stopped")
    assert "23514" in reason and '"nothing"' in reason and "dsctl route resume" in reason, reason
    assert count(connection, "ds_sync.dead_letter") <= LETTERS_MAX
    assert len(lines_of(syncd, "route.stopped")) == 1 and lines_of(syncd, "stream.failed") == []
    # Other routes go on.
    server.append("other/1", messages(0, 3))
    syncd.wait_for(lambda: count(connection, "public.other") == 3, "to load the other route")
    assert syncd.stop() == 0
    letters = count(connection, "ds_sync.dead_letter")
    assert letters <= LETTERS_MAX and count(connection, TABLE) == 0
    assert listed(dsctl)["held"] == "stopped"
    # A new start, or another instance, is no reason to begin again.
    syncd = start()
    server.append("other/1", messages(3, 3))
    syncd.wait_for(lambda: count(connection, "public.other") == 6, "to load the other route")
    syncd.wait_for(lambda: len(lines_of(syncd, "route.stopped")) == 1, "to say that one is stopped")
    assert (count(connection, "ds_sync.dead_letter"), count(connection, TABLE)) == (letters, 0)
    # Mended, it goes on behind the letters.
    take_again(connection, TABLE)
    dsctl("route", "resume", "held")
    wait_state(connection, syncd, "held", "running")
    wait_loaded(connection, syncd, TABLE, 40 * 400)
    assert count(connection, "ds_sync.dead_letter") == letters
    assert syncd.stop() == 0


def test_a_route_that_is_resumed_unmended_stops_again_and_the_letters_stay_bounded(connection, dsctl, server, start):
    server.create("held/1")
    for first in range(0, 9000, 3000):
        server.append("held/1", messages(first, 3000))
    routes.make_table(connection, TABLE)
    refuse_all(connection, TABLE)
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter")
    syncd = start()
    wait_state(connection, syncd, "held", "stopped")
    assert count(connection, "ds_sync.dead_letter") <= LETTERS_MAX
    first = count(connection, "ds_sync.dead_letter")
    dsctl("route", "resume", "held")
    syncd.wait_for(lambda: len(lines_of(syncd, "route.stopped")) == 2, "to stop it again")
    wait_state(connection, syncd, "held", "stopped")
    assert first < count(connection, "ds_sync.dead_letter") <= 2 * LETTERS_MAX
    # Another version of the route is another try, too.
    take_again(connection, TABLE)
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter", ttl="hold")
    wait_loaded(connection, syncd, TABLE, 9000)
    assert syncd.stop() == 0


def test_what_a_check_made_letters_of_is_loaded_once_it_is_dropped(connection, dsctl, server, start):
    """The table has rows, so the first refusals may be the messages' own fault: they are letters, up to the limits."""
    routes.make_table(connection, TABLE)
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter",
                   payload={"column": "payload", "type": "jsonb"})
    server.create("held/1")
    server.append("held/1", messages(0, 10))
    syncd = start()
    wait_loaded(connection, syncd, TABLE, 10)
    refuse_all(connection, TABLE)
    for first in (10, 2010):
        server.append("held/1", messages(first, 2000))
    assert "23514" in wait_state(connection, syncd, "held", "stopped")
    letters = count(connection, "ds_sync.dead_letter")
    assert 0 < letters <= LETTERS_MAX and count(connection, TABLE) == 10
    take_again(connection, TABLE)
    dsctl("route", "resume", "held")
    wait_loaded(connection, syncd, TABLE, 4010)
    dsctl("dlq", "replay", "--route", "held", "--all")
    assert count(connection, "ds_sync.dead_letter") == 0
    assert routes.payloads(connection, TABLE, "held/1") == messages(0, 4010)
    assert syncd.stop() == 0


def test_another_instance_ends_a_route_that_is_stopped(connection, dsctl, server, start):
    routes.make_table(connection, TABLE)
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter")
    refuse_all(connection, TABLE)
    server.create("held/1")
    both = [start(SYNCD_INSTANCE=name) for name in ("one", "two")]
    for syncd in both:
        syncd.wait_ready()
    for first in range(0, 9000, 3000):
        server.append("held/1", messages(first, 3000))
    for syncd in both:
        syncd.wait_for(lambda: len(lines_of(syncd, "route.stopped")) == 1, "to say that the route is stopped")
    take_again(connection, TABLE)
    dsctl("route", "resume", "held")
    wait_loaded(connection, both[0], TABLE, 9000)
    assert [syncd.stop() for syncd in both] == [0, 0]


def test_the_built_in_route_is_stopped_and_resumed_like_any_other(connection, dsctl, server, start):
    server.create("mine")
    for first in range(0, 9000, 3000):
        server.append("mine", messages(first, 3000))
    refuse_all(connection, "ds_sync.session_events")
    syncd = start(["mine"])
    wait_state(connection, syncd, "default", "stopped")
    assert syncd.stop() == 0
    syncd = start(["mine"])
    syncd.wait_for(lambda: len(lines_of(syncd, "route.stopped")) == 1, "to say so again")
    letters = count(connection, "ds_sync.dead_letter")
    assert letters <= LETTERS_MAX and count(connection, "ds_sync.session_events") == 0
    assert listed(dsctl) == {"default": "stopped"}
    take_again(connection, "ds_sync.session_events")
    dsctl("route", "resume", "default")
    wait_loaded(connection, syncd, "ds_sync.session_events", 9000)
    assert count(connection, "ds_sync.dead_letter") == letters
    assert routes.state(connection, "default") is None and listed(dsctl) == {}
    assert syncd.stop() == 0


def test_a_table_that_never_took_a_row_stops_its_route_before_it_makes_letters(connection, dsctl, server, start):
    """Fewer messages than any limit of letters, over streams of ten each."""
    routes.make_table(connection, TABLE)
    refuse_all(connection, TABLE)
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter")
    for number in range(30):
        server.create(f"held/{number}")
        server.append(f"held/{number}", messages(0, 10))
    syncd = start()
    reason = wait_state(connection, syncd, "held", "stopped")
    assert "23514" in reason and '"nothing"' in reason and "dsctl route resume" in reason, reason
    letters = count(connection, "ds_sync.dead_letter")
    assert letters < 64 and count(connection, TABLE) == 0
    # Whoever resumes it as it is wants the letters.
    dsctl("route", "resume", "held")
    syncd.wait_for(lambda: count(connection, "ds_sync.dead_letter") == 300, "to make letters of all")
    wait_state(connection, syncd, "held", "running")
    take_again(connection, TABLE)
    server.append("held/1", messages(10, 1))
    wait_loaded(connection, syncd, TABLE, 301)
    assert syncd.stop() == 0


@pytest.mark.parametrize("good", ["before", "after", "before a restart"])
def test_bad_messages_beside_a_good_one_are_letters_however_many_they_are(good, connection, dsctl, server, start):
    routes.make_table(connection, TABLE)
    connection.cursor().execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT no_bad CHECK (NOT payload ? 'bad')")
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter")
    server.create("held/1")
    bad = [{"bad": number} for number in range(2500)]
    if good == "after":
        server.append("held/1", bad + [{"n": 1}])
        syncd = start()
    else:
        server.append("held/1", [{"n": 1}])
        syncd = start()
        wait_loaded(connection, syncd, TABLE, 1)
        if good == "before a restart":
            assert syncd.stop() == 0
            connection.cursor().execute(f"TRUNCATE {TABLE}")
            syncd = start()
            syncd.wait_ready()
        server.append("held/1", bad)
    syncd.wait_for(lambda: count(connection, "ds_sync.dead_letter") == 2500, "to make letters of all")
    wait_state(connection, syncd, "held", "running")
    assert syncd.stop() == 0


def test_bad_messages_stop_no_built_in_route_whose_tables_took_rows_before(connection, dsctl, server, start):
    """Though this instance loads none of the streams that they are of."""
    server.create("old")
    server.append("old", messages(0, 1))
    syncd = start(["old"])
    wait_loaded(connection, syncd, "ds_sync.session_events", 1)
    assert syncd.stop() == 0
    connection.cursor().execute("ALTER TABLE ds_sync.session_events ADD CONSTRAINT no_bad CHECK (NOT payload ? 'bad')")
    server.create("new")
    server.append("new", [{"bad": number} for number in range(200)])
    syncd = start(["new"])
    syncd.wait_for(lambda: count(connection, "ds_sync.dead_letter") == 200 or
                   routes.state(connection, "default") is not None, "to make letters of all")
    assert routes.state(connection, "default") is None
    assert syncd.stop() == 0


def test_rows_that_wait_for_those_of_others_are_letters_from_the_first_on(connection, dsctl, server, start):
    connection.cursor().execute("CREATE TABLE public.others (n integer PRIMARY KEY)")
    routes.make_table(connection, TABLE, columns="n integer REFERENCES public.others (n),")
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter",
                   columns={"n": {"pointer": "/n", "type": "integer"}})
    server.create("held/1")
    server.append("held/1", messages(0, 200))
    syncd = start()
    syncd.wait_for(lambda: count(connection, "ds_sync.dead_letter") == 200, "to make letters of all")
    assert syncd.stop() == 0


@pytest.mark.parametrize("batch", [5, 500], ids=["few", "many"])
def test_a_column_that_the_route_does_not_fill_holds_it_and_makes_no_letters(batch, connection, dsctl, server, start):
    routes.make_table(connection, TABLE)
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter")
    for name in ("held/1", "held/2"):
        server.create(name)
        server.append(name, messages(0, 3))
    syncd = start()
    wait_loaded(connection, syncd, TABLE, 6)
    connection.cursor().execute(f"ALTER TABLE {TABLE} ADD added integer NOT NULL DEFAULT 1; "
                                f"ALTER TABLE {TABLE} ALTER added DROP DEFAULT")
    for name in ("held/1", "held/2"):
        server.append(name, messages(3, batch))
    reason = wait_state(connection, syncd, "held", "failed")
    assert "added" in reason, reason
    syncd.wait_for(lambda: "NOT NULL without a default" in routes.state(connection, "held")[1], "to look at the table")
    assert count(connection, "ds_sync.dead_letter") == 0
    connection.cursor().execute(f"ALTER TABLE {TABLE} ALTER added SET DEFAULT 2")
    dsctl("route", "resume", "held")
    wait_loaded(connection, syncd, TABLE, 2 * (3 + batch))
    assert count(connection, "ds_sync.dead_letter") == 0
    assert syncd.stop() == 0


def test_a_trigger_that_lacks_a_value_of_another_table_makes_letters(connection, dsctl, server, start):
    """The catalogue has no such column of the route's table."""
    routes.make_table(connection, TABLE)
    connection.cursor().execute(f"""
        CREATE TABLE public.log (note text NOT NULL); GRANT ALL ON public.log TO PUBLIC;
        CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.log VALUES (NEW.payload->>''note''); RETURN NEW; END';
        CREATE TRIGGER note BEFORE INSERT ON {TABLE} FOR EACH ROW EXECUTE FUNCTION public.note()""")
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter")
    server.create("held/1")
    server.append("held/1", [{"note": "a"}, {"n": 1}, {"note": "b"}])
    syncd = start()
    wait_state(connection, syncd, "held", "failed")
    dsctl("route", "resume", "held")
    wait_loaded(connection, syncd, TABLE, 3)
    assert count(connection, "ds_sync.dead_letter") == 1 and count(connection, "public.log") == 2
    assert syncd.stop() == 0


def refusals(postgres_server, begin, table):
    return postgres_server.process.log_text()[begin:].count(f"permission denied for table {table}")


def test_a_table_that_refuses_its_route_again_and_again_is_said_now_and_then(
        connection, dsctl, server, started_as_writer, postgres_server):
    routes.make_table(connection, TABLE)
    connection.cursor().execute(f"GRANT SELECT, INSERT ON {TABLE} TO ds_sync_writer")
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter")
    server.create("held/1")
    syncd = started_as_writer()
    wait_state(connection, syncd, "held", "running")
    connection.cursor().execute(f"REVOKE INSERT ON {TABLE} FROM ds_sync_writer")
    begin = len(postgres_server.process.log_text())
    server.append("held/1", messages(0, 3))
    for tries in range(1, 6):
        syncd.wait_for(lambda: refusals(postgres_server, begin, "held") >= tries, f"to be refused {tries} times")
        wait_state(connection, syncd, "held", "failed")
        dsctl("route", "resume", "held")
    assert 0 < len(lines_of(syncd, "route.failed")) < refusals(postgres_server, begin, "held")
    connection.cursor().execute(f"GRANT INSERT ON {TABLE} TO ds_sync_writer")
    wait_loaded(connection, syncd, TABLE, 3)

    def told():
        return re.findall(r'event=route.failed|msg="running" route=held', syncd.log_text())[-1].startswith("msg")
    syncd.wait_for(told, "to say that it is well again")
    assert syncd.stop() == 0


def test_the_built_in_route_says_why_it_cannot_run(connection, dsctl, server, started_as_writer):
    server.create("mine")
    syncd = started_as_writer(["mine"])
    server.append("mine", messages(0, 3))
    wait_loaded(connection, syncd, "ds_sync.session_events", 3)
    connection.cursor().execute("REVOKE INSERT ON ds_sync.session_events FROM ds_sync_writer")
    server.append("mine", messages(3, 3))
    syncd.wait_for(lambda: listed(dsctl) == {"default": "failed"}, "to be listed as failed")
    row, = dsctl.json("route", "ls")["routes"]
    assert "42501" in row["reason"] and "permission denied" in row["reason"], row
    connection.cursor().execute("GRANT INSERT ON ds_sync.session_events TO ds_sync_writer")
    dsctl("route", "resume", "default")
    wait_loaded(connection, syncd, "ds_sync.session_events", 6)
    syncd.wait_for(lambda: listed(dsctl) == {}, "to be well again")
    assert count(connection, "ds_sync.dead_letter") == 0
    assert syncd.stop() == 0


# What is done to the table, what mends it, and what the reason says.
CHANGES = {
    "type": ("ALTER TABLE {t} ALTER n TYPE uuid USING NULL", "ALTER TABLE {t} ALTER n TYPE integer USING NULL", "n"),
    "dropped column": ("ALTER TABLE {t} DROP n", "ALTER TABLE {t} ADD n integer", "n"),
    "renamed column": ("ALTER TABLE {t} RENAME n TO m", "ALTER TABLE {t} RENAME m TO n", "n"),
    "renamed table": ("ALTER TABLE {t} RENAME TO away", "ALTER TABLE public.away RENAME TO held", "held"),
    "revoked": ("REVOKE INSERT ON {t} FROM ds_sync_writer", "GRANT INSERT ON {t} TO ds_sync_writer", "permission"),
}


@pytest.mark.parametrize("batch", [5, 500], ids=["few", "many"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_is_changed_under_its_route_holds_it_until_it_is_mended(
        change, batch, connection, database, dsctl, folder, server):
    """Nothing is lost, nothing is a dead letter, and no stream is failed for good."""
    breaks, mends, said = (text.replace("{t}", TABLE) for text in CHANGES[change])
    names = ["held/1", "held/2", "held/3"]
    routes.make_table(connection, TABLE, columns="n integer,")
    role = "writer_" + database[0].rpartition("/")[2]
    cursor = connection.cursor()
    cursor.execute(f"GRANT SELECT, INSERT ON {TABLE} TO ds_sync_writer; "
                   f"CREATE ROLE {role} LOGIN IN ROLE ds_sync_writer")
    routes.declare(connection, "held", ["held/*"], TABLE, on_error="dead_letter",
                   columns={"n": {"pointer": "/n", "type": "integer"}})
    for name in names:
        server.create(name)
        server.append(name, messages(0, 3))
    syncd = ds.Syncd(folder, server.url, database[0].replace("postgres@", f"{role}@"), [], environment={
        **FAST, "SYNCD_IDLE_TIMEOUT": "30s", "SYNCD_MIGRATE": "false",
        "SYNCD_ADMIN_URLS": f"default={server.admin_url}"})
    try:
        wait_loaded(connection, syncd, TABLE, 9)
        cursor.execute(breaks)
        for name in names:
            server.append(name, messages(3, batch))
        reason = wait_state(connection, syncd, "held", "failed")
        assert said in reason, reason
        server.append(names[0], messages(3 + batch, 1))
        cursor.execute(mends)
        if batch == 5:
            dsctl("route", "resume", "held")   # else by itself, ten seconds later
        wait_loaded(connection, syncd, TABLE, 9 + 3 * batch + 1)
        assert count(connection, "ds_sync.dead_letter") == 0
        for name, wanted in zip(names, (4 + batch, 3 + batch, 3 + batch)):
            assert routes.payloads(connection, TABLE, name) == messages(0, wanted)
        wait_state(connection, syncd, "held", "running")
        assert lines_of(syncd, "stream.failed") == []
        assert syncd.stop() == 0
    finally:
        syncd.stop()
        cursor.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
