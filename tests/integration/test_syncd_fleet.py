# SPDX-License-Identifier: Apache-2.0
"""Several instances: each stream is loaded by exactly one of them, whoever joins, leaves or dies."""
import os
import signal

import ds
import psycopg2
import pytest
from checker import StreamChecker
from fleet import fleet_of, partition, take_over_seconds
from test_dsctl import CONFLICT, Dsctl, USAGE

STREAMS = [f"fleet/{number}" for number in range(20)]
LONG = "5m"                    # a lease that does not end during a test
FAULT_BINARY = str(ds.ROOT / "build/fault/bin/syncd")
REFUSED = 7

fleet = fleet_of(STREAMS)


@pytest.fixture
def load(server):
    return Load(server)


class Load:
    """Messages into all streams, and checkers that know what must have become of them."""

    def __init__(self, server):
        self.server = server
        self.sent = 0
        self.checkers = [StreamChecker(server, name) for name in STREAMS]

    def append(self, count=10):
        for name in STREAMS:
            self.server.append(name, [{"n": number} for number in range(self.sent, self.sent + count)])
        self.sent += count

    def wait_loaded(self, connection, seconds=ds.HANG_SECONDS):
        """Until everything is in Postgres, and it is right."""
        ds.wait_until(lambda: all(checker.caught_up(connection) for checker in self.checkers), seconds,
                      "all instances together to catch up")
        for checker in self.checkers:
            assert checker.check(connection, everything=True), checker.findings


def test_another_number_of_partitions_waits_for_the_instances_to_stop(fleet, load, database):
    """And whoever slept through the change writes nothing by the old number."""
    dsctl = Dsctl(POSTGRES_URL=database[0])
    fleet.start("a", lease=LONG)
    stderr = dsctl.error("lease", "repartition", "7", "--execute", status=CONFLICT)
    assert "instances live: a" in stderr
    dsctl.error("lease", "repartition", "7", status=CONFLICT)
    fleet.wait_held({"a": 64})
    load.append()
    load.wait_loaded(database[1])
    sleeper = fleet.started[-1]
    sleeper.signal(signal.SIGSTOP)
    assert dsctl.run("lease", "release", "a")[0] == 0
    highest = fleet.query("SELECT max(epoch) FROM ds_sync.stream_offset")
    assert dsctl.json("lease", "repartition", "7") == {"schema_version": 1, "before": 64, "after": 7,
                                                       "result": "would be changed"}
    assert dsctl.json("lease", "repartition", "7", "--execute")["result"] == "changed"
    assert fleet.query("SELECT partition_no FROM ds_sync.work_partition ORDER BY 1") == [(n,) for n in range(7)]
    assert fleet.query("SELECT min(epoch) FROM ds_sync.work_partition") > highest
    fleet.start("b", lease=LONG)
    fleet.start("c", lease=LONG)
    ds.wait_until(lambda: sorted(fleet.held().values()) == [3, 4], what="both to have their shares")
    load.append()
    load.wait_loaded(database[1])
    sleeper.signal(signal.SIGCONT)
    assert sleeper.wait(ds.HANG_SECONDS) == REFUSED
    load.append()
    load.wait_loaded(database[1])
    owners = fleet.query("SELECT s.name, o.owner FROM ds_sync.stream s JOIN ds_sync.stream_offset o USING (stream_id)")
    held = dict(fleet.query("SELECT partition_no, owner FROM ds_sync.work_partition"))
    assert dict(owners) == {name: held[partition(name, count=7)] for name in STREAMS}
    assert fleet.query("SELECT details FROM ds_sync.audit WHERE action = 'lease.repartition'") == \
        [({"before": 64, "after": 7},)]


def test_more_partitions_than_before_and_numbers_that_cannot_be(fleet, load, database):
    dsctl = Dsctl(POSTGRES_URL=database[0])
    dsctl("db", "migrate")
    for number in ("0", "4097", "x", "-1"):
        assert dsctl.run("lease", "repartition", "--execute", "--", number)[0] == USAGE
    dsctl("lease", "repartition", "100", "--execute")
    fleet.start("a", lease=LONG)
    fleet.wait_held({"a": 100})
    load.append()
    load.wait_loaded(database[1])


def test_two_and_three_instances_share_the_streams(fleet, load, database):
    fleet.start("a")
    fleet.start("b")
    fleet.wait_held({"a": 32, "b": 32})
    load.append()
    load.wait_loaded(database[1])
    fleet.start("c")
    fleet.wait_shared({"a", "b", "c"})
    fleet.wait_loaded_by_owners()
    assert {owner for (owner,) in fleet.query("SELECT DISTINCT owner FROM ds_sync.stream_offset")} == \
        {"a", "b", "c"}
    load.append()
    load.wait_loaded(database[1])


def test_who_joins_takes_no_more_than_its_share_and_the_others_keep_the_rest(fleet, load, database):
    fleet.start("a", lease=LONG)
    fleet.wait_held({"a": 64})
    before = fleet.epochs("a")
    load.append()
    fleet.start("b", lease=LONG)
    load.append()
    fleet.wait_held({"a": 32, "b": 32})
    kept = fleet.epochs("a")
    assert all(before[number] == epoch for number, epoch in kept.items()), "what stays changes no epoch"
    load.append()
    load.wait_loaded(database[1])
    assert "fenced" not in "".join(process.log_text() for process in fleet.started), \
        "a stream that moves in order is not fenced"


def test_what_is_given_back_while_others_are_being_released_is_not_forgotten(fleet, load, database):
    """Sessions that end while Postgres is at the release of those that ended before."""
    giver = fleet.start("a", lease=LONG)
    load.append()
    load.wait_loaded(database[1])
    gate, rows = (psycopg2.connect(database[0]) for _ in range(2))
    gate.cursor().execute("SELECT pg_advisory_lock(42)")
    database[1].cursor().execute("""
        CREATE FUNCTION public.gate() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
            IF NEW.owner IS NULL THEN
                PERFORM pg_advisory_xact_lock(42);
            END IF;
            RETURN NEW;
        END $body$;
        CREATE TRIGGER gate BEFORE UPDATE ON ds_sync.work_partition FOR EACH ROW EXECUTE FUNCTION public.gate()""")
    rows.cursor().execute("SELECT FROM ds_sync.stream_offset FOR UPDATE")
    load.append()
    ds.wait_until(lambda: all(stream["queue_bytes"] > 0 for stream in giver.status()["streams"]),
                  what="each stream to have something that cannot be written")
    fleet.start("b", lease=LONG, wait=False)
    ds.wait_until(lambda: fleet.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'"
                                      " AND datname = current_database()"), what="the release to wait")
    rows.rollback()
    # A stream that ended shows no more; those that stay have nothing left to write.
    ds.wait_until(lambda: len(giver.status()["streams"]) < len(STREAMS) and
                  all(stream["queue_bytes"] == 0 for stream in giver.status()["streams"]), what="sessions to end")
    gate.cursor().execute("SELECT pg_advisory_unlock(42)")
    fleet.wait_held({"a": 32, "b": 32})
    load.wait_loaded(database[1])
    for connection in (gate, rows):
        connection.close()


def test_who_is_killed_is_taken_over_within_the_bound_and_no_row_is_lost_or_doubled(fleet, load, database):
    lease = 3
    victim = fleet.start("a", lease=f"{lease}s")
    fleet.start("b", lease=f"{lease}s")
    fleet.start("c", lease=f"{lease}s")
    fleet.wait_shared({"a", "b", "c"})
    load.append(200)
    victim.kill()
    load.append(50)
    load.wait_loaded(database[1], take_over_seconds(lease))
    fleet.wait_held({"b": 32, "c": 32})


def test_who_ends_in_order_gives_its_streams_away_at_once(fleet, load, database):
    """The leases are longer than the test: nobody waits for one to end."""
    leaver = fleet.start("a", lease=LONG)
    fleet.start("b", lease=LONG)
    fleet.wait_held({"a": 32, "b": 32})
    load.append()
    assert leaver.stop() == 0
    assert fleet.query("SELECT count(*) FROM ds_sync.instance WHERE instance = 'a'") == [(0,)]
    fleet.wait_held({"b": 64})
    load.append()
    load.wait_loaded(database[1])


@pytest.mark.parametrize("trouble", ["RAISE EXCEPTION 'not now'",
                                     "PERFORM pg_terminate_backend(pg_backend_pid())"],
                         ids=["refused", "cut"])
def test_who_ends_in_order_gives_its_streams_away_although_the_first_try_fails(trouble, fleet, load, database):
    leaving = fleet.start("a", lease=LONG, SYNCD_STOP_TIMEOUT=f"{ds.STOP_SECONDS - 5}s")
    load.append()
    load.wait_loaded(database[1])
    # A sequence keeps its count when the transaction fails: the first two tries do, the third does not.
    database[1].cursor().execute(f"""
        CREATE SEQUENCE public.tries;
        GRANT USAGE ON SEQUENCE public.tries TO PUBLIC;
        CREATE FUNCTION public.not_yet() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $body$
        BEGIN
            IF nextval('public.tries') <= 2 THEN
                {trouble};
            END IF;
            RETURN OLD;
        END $body$;
        CREATE TRIGGER not_yet BEFORE DELETE ON ds_sync.instance
            FOR EACH ROW EXECUTE FUNCTION public.not_yet()""")
    assert leaving.stop() == 0
    assert fleet.query("SELECT last_value >= 3 FROM public.tries") == [(True,)]
    assert fleet.held() == {}
    assert fleet.query("SELECT instance FROM ds_sync.instance") == []


def test_who_is_killed_and_started_again_on_its_machine_does_not_wait_for_its_lease(fleet, load, database):
    for number in range(3):
        instance = fleet.start(f"a-{number}", lease=LONG)
        load.append()
        load.wait_loaded(database[1])
        instance.kill()
    assert len(fleet.query("SELECT 1 FROM ds_sync.instance")) == 1, "the dead are cleared away"


def test_a_lease_that_ends_far_in_the_future_holds_up_nobody(fleet, load, database):
    """It was written before Postgres's clock was set back; whoever wrote it is dead, on another machine."""
    victim = fleet.start("a", lease=LONG)
    load.append()
    load.wait_loaded(database[1])
    fleet.wait_held({"a": 64})
    victim.kill()
    fleet.query("UPDATE ds_sync.instance SET host = 'elsewhere' RETURNING 1")
    fleet.query("UPDATE ds_sync.work_partition SET lease_until = now() + interval '1 day' RETURNING 1")
    fleet.start("b", wait=False)
    fleet.wait_held({"b": 64})
    load.append()
    load.wait_loaded(database[1])


def test_who_slept_past_its_lease_inside_a_transaction_cannot_commit_and_serves_again(
        fleet, load, database, folder):
    if not os.access(FAULT_BINARY, os.X_OK):
        pytest.fail("build/fault/bin/syncd does not exist: cmake --preset fault && cmake --build build/fault")
    log = folder / "fault"
    load.append(500)
    sleeper = fleet.start("a", binary=FAULT_BINARY, wait=False, DS_FAULT="writer.guard_done:stop:1",
                          DS_FAULT_LOG=str(log))
    ds.wait_until(log.exists, what="the first to stop inside its transaction")
    fleet.start("b", wait=False)
    fleet.wait_held({"b": 64})
    load.wait_loaded(database[1])
    sleeper.signal(signal.SIGCONT)
    sleeper.wait_log("fenced")
    fleet.wait_held({"a": 32, "b": 32})
    fleet.wait_loaded_by_owners()
    load.append()
    load.wait_loaded(database[1])


def test_who_cannot_renew_stops_by_its_own_clock_although_it_could_still_write(fleet, load, database):
    """Its heartbeat hangs at a lock; the writers' connections are well."""
    instance = fleet.start("a")
    load.append()
    load.wait_loaded(database[1])
    cursor = database[1].cursor()
    cursor.execute("BEGIN")
    cursor.execute("LOCK TABLE ds_sync.instance IN ACCESS EXCLUSIVE MODE")
    instance.wait_log("event=lease.lost")
    ds.wait_until(lambda: instance.status()["streams"] == [], what="its sessions to end")
    load.append()
    cursor.execute("COMMIT")
    load.wait_loaded(database[1])


def test_of_two_instances_of_one_name_only_the_later_one_loads(fleet, load, database):
    first = fleet.start("a")
    second = fleet.start("a", wait=False)
    first.wait_log("event=lease.name_taken")
    ds.wait_until(lambda: second.status()["fleet"]["partitions_held"] == 64, what="the second to hold all")
    load.append()
    load.wait_loaded(database[1])
    second.kill()
    load.append()
    load.wait_loaded(database[1], take_over_seconds(3))


def test_a_released_partition_is_fenced_and_taken_again(fleet, load, database):
    """What an operator does by hand, or an instance of an older version: nobody stays fenced for good."""
    instance = fleet.start("a", lease="3s")
    load.append()
    load.wait_loaded(database[1])
    fleet.query("UPDATE ds_sync.stream_offset SET epoch = epoch + 1000 RETURNING 1")
    load.append()
    load.wait_loaded(database[1])
    assert "event=stream.fenced" in instance.log_text()
    assert fleet.query("SELECT min(epoch) > 1000 FROM ds_sync.stream_offset") == [(True,)]


@pytest.mark.parametrize("change", ["UPDATE ds_sync.work_partitioning SET hash = 'other' RETURNING 1",
                                    "UPDATE ds_sync.work_partitioning SET partition_count = 32 RETURNING 1",
                                    "DELETE FROM ds_sync.work_partition WHERE partition_no = 7 RETURNING 1"])
def test_other_partitions_than_ours_refuse_the_start(fleet, change):
    fleet.start("a").stop()
    fleet.query(change)
    instance = fleet.start("a", wait=False)
    assert instance.wait() == REFUSED
    assert "event=lease.refused" in instance.log_text()


def test_partitions_that_change_while_it_runs_end_it(fleet):
    instance = fleet.start("a")
    fleet.query("UPDATE ds_sync.work_partitioning SET partition_count = 32 RETURNING 1")
    assert instance.wait() == REFUSED
    assert "event=lease.refused" in instance.log_text()
    assert fleet.held() == {}


def test_streams_that_are_found_are_shared_and_taken_over_like_those_that_are_named(
        fleet, server, database):
    """Each instance finds all of them, and loads those of its partitions."""
    names = [f"found/{number}" for number in range(20)]
    checkers = [StreamChecker(server, name) for name in names]
    environment = {"streams": ["found/**"], "SYNCD_ADMIN_URLS": f"default={server.admin_url}"}

    def loaded(seconds=ds.HANG_SECONDS):
        ds.wait_until(lambda: all(checker.caught_up(database[1]) for checker in checkers), seconds,
                      "both instances to load what they find")
        for checker in checkers:
            assert checker.check(database[1], everything=True), checker.findings

    victim = fleet.start("a", **environment)
    fleet.start("b", **environment)
    fleet.wait_held({"a": 32, "b": 32})
    for name in names:
        server.create(name)
        server.append(name, [{"n": number} for number in range(20)])
    loaded()
    assert dict(fleet.query("SELECT owner, count(*) > 0 FROM ds_sync.stream_offset GROUP BY owner")) == \
        {"a": True, "b": True}
    for name in names:
        server.append(name, [{"n": number} for number in range(20, 150)])
    victim.kill()
    loaded(take_over_seconds(3))
