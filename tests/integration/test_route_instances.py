# SPDX-License-Identifier: Apache-2.0
"""What became of a route where instances differ: in the servers that they have."""
import ds
import pytest
import routes
from fleet import Fleet
from test_dsctl import Dsctl

NEEDY = "eu/*"
RUNNING, REFUSED = ("running", "has"), ("failed", "lacks")


@pytest.fixture
def dsctl(database):
    return Dsctl(POSTGRES_URL=database[0])


@pytest.fixture
def fleet(folder, database, server, dsctl):
    """A route that needs a server, and as many instances as are wanted; only "has" has that server."""
    dsctl("db", "migrate")
    connection = database[1]
    routes.make_table(connection, "public.chosen")
    routes.declare(connection, "chosen", [NEEDY], "public.chosen", server="eu")
    fleet = Fleet(folder, server.url, database[0], connection, [])
    yield fleet
    fleet.stop_all()


def has(fleet, **options):
    return fleet.start("has", SYNCD_SERVERS="eu=http://127.0.0.1:1", **options)


def said(fleet):
    return dict(fleet.query("SELECT instance, state FROM ds_sync.route_instance WHERE name = 'chosen'"))


def wait_said(fleet, **expected):
    ds.wait_until(lambda: said(fleet) == expected, what=f"instances to say {expected}")


def listed(dsctl):
    row, = dsctl.json("route", "ls")["routes"]
    return row["state"], row["instance"]


@pytest.mark.parametrize("first", ["has", "lacks"])
def test_what_one_instance_cannot_run_is_seen_whoever_spoke_last(fleet, dsctl, first):
    for name in (first, "lacks" if first == "has" else "has"):
        has(fleet, wait=False) if name == "has" else fleet.start(name, wait=False)
        ds.wait_until(lambda: name in said(fleet), what=f"{name} to say what became of the route")
    assert said(fleet) == {"has": "running", "lacks": "failed"}
    assert listed(dsctl) == REFUSED
    line, = dsctl("route", "ls").splitlines()
    assert "SYNCD_SERVERS" in line and "lacks" in line.split("\t")
    row, = dsctl.json("route", "ls")["routes"]
    assert (row["instances"], row["agreeing"]) == (2, 1) and "SYNCD_SERVERS" in row["reason"]
    assert "failed, says lacks (1 of 2 instances): " in dsctl.run("route", "show", "chosen")[2]


def test_what_an_instance_said_goes_with_it(fleet, dsctl):
    has(fleet)
    lacks = fleet.start("lacks")
    wait_said(fleet, has="running", lacks="failed")
    assert lacks.stop() == 0
    assert said(fleet) == {"has": "running"} and listed(dsctl) == RUNNING
    dead = fleet.start("lacks")
    wait_said(fleet, has="running", lacks="failed")
    dead.kill()
    dsctl("lease", "release", "lacks")
    assert said(fleet) == {"has": "running"} and listed(dsctl) == RUNNING


def test_an_instance_that_was_forgotten_says_it_again(fleet, dsctl):
    has(fleet)
    wait_said(fleet, has="running")
    fleet.query("DELETE FROM ds_sync.instance RETURNING instance")
    wait_said(fleet, has="running")
    fleet.query("DELETE FROM ds_sync.route WHERE name = 'chosen' RETURNING name")
    assert said(fleet) == {}


def test_what_a_program_of_before_said_is_listed_until_its_instance_says_it_itself(fleet, dsctl):
    fleet.query("INSERT INTO ds_sync.instance (instance, version, host, pid) VALUES ('has', '0', 'h', 1) RETURNING 1")
    fleet.query("INSERT INTO ds_sync.route_state (name, version, state, reason, instance) "
                "SELECT name, version, 'failed', 'no', 'has' FROM ds_sync.route RETURNING 1")
    assert listed(dsctl) == ("failed", "has")
    fleet.query("DELETE FROM ds_sync.instance RETURNING 1")
    assert listed(dsctl) == ("on", None)
    has(fleet)
    wait_said(fleet, has="running")
    assert listed(dsctl) == RUNNING


def test_a_stop_of_another_version_is_not_there_any_more(fleet, dsctl, database):
    fleet.query("INSERT INTO ds_sync.route_state (name, version, state, reason, instance) "
                "SELECT name, version, 'stopped', 'no', 'has' FROM ds_sync.route RETURNING 1")
    assert listed(dsctl) == ("stopped", "has")
    fleet.query("UPDATE ds_sync.route SET version = version + 1 RETURNING 1")
    assert fleet.query("SELECT name FROM ds_sync.route_state") == []


def test_routes_are_followed_though_nothing_can_be_said_of_them(fleet, database, server):
    fleet.start("has", wait=False)
    wait_said(fleet, has="failed")
    cursor = database[1].cursor()
    cursor.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$")
    cursor.execute("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON ds_sync.route_instance"
                   " FOR EACH ROW EXECUTE FUNCTION refuse()")
    for name in ("first", "second"):        # the second is found after the first could not be told
        server.create(f"{name}/s")
        server.append(f"{name}/s", [1])
        routes.make_table(database[1], f"public.{name}")
        routes.declare(database[1], name, [f"{name}/*"], f"public.{name}")
        ds.wait_until(lambda: routes.payloads(database[1], f"public.{name}", f"{name}/s") == [1],
                      what=f"the rows of {name}")
