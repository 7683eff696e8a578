# SPDX-License-Identifier: Apache-2.0
"""Routes: how they are declared, checked against the tables, stored and changed."""

import json
import os
import re

import ds
import pytest
import routes as stored
from test_dsctl import AUTH, CONFLICT, Dsctl, NOT_FOUND, USAGE


@pytest.fixture
def db(database):
    """dsctl beside a database with the schema."""
    dsctl = Dsctl(POSTGRES_URL=database[0])
    dsctl("db", "migrate")
    return dsctl


@pytest.fixture
def cursor(database):
    return database[1].cursor()


def one(cursor, statement, *values):
    """The only value of the only row."""
    cursor.execute(statement, values)
    rows = cursor.fetchall()
    assert len(rows) == 1 and len(rows[0]) == 1, rows
    return rows[0][0]


# --- the schema ---

def test_the_migration_keeps_what_is_there(database, cursor):
    cursor.execute((ds.ROOT / "sql/migrations/001_schema.sql").read_text())
    cursor.execute("INSERT INTO ds_sync.stream (source, name) VALUES ('default', 'a'), ('other', 'a') "
                   "RETURNING stream_id")
    for (stream_id,) in cursor.fetchall():
        cursor.execute("INSERT INTO ds_sync.stream_offset (stream_id, ds_offset, next_seq) VALUES (%s, 'x_1', 7)",
                       (stream_id,))
    Dsctl(POSTGRES_URL=database[0])("db", "migrate")
    cursor.execute("SELECT source, name, route, next_seq FROM ds_sync.stream JOIN ds_sync.stream_offset "
                   "USING (stream_id) ORDER BY source")
    assert cursor.fetchall() == [("default", "a", "default", 7), ("other", "a", "default", 7)]


def test_every_change_of_a_route_raises_the_version_that_instances_poll(db, cursor):
    versions = [one(cursor, "SELECT version FROM ds_sync.control")]
    for statement in ("INSERT INTO ds_sync.route (name, spec) VALUES ('a', '{}')",
                      "UPDATE ds_sync.route SET paused = true", "DELETE FROM ds_sync.route"):
        cursor.execute(statement)
        versions.append(one(cursor, "SELECT version FROM ds_sync.control"))
    assert versions == sorted(set(versions))
    cursor.execute("SET ROLE ds_sync_writer")
    assert one(cursor, "SELECT version FROM ds_sync.control") == versions[-1]
    cursor.execute("RESET ROLE")


def test_one_stream_on_two_routes_has_two_positions(db, cursor):
    cursor.execute("INSERT INTO ds_sync.stream (source, name, route) VALUES ('default', 's', 'x'), "
                   "('default', 's', 'y') RETURNING stream_id")
    for at, (stream_id,) in enumerate(cursor.fetchall()):
        cursor.execute("INSERT INTO ds_sync.stream_offset (stream_id, next_seq) VALUES (%s, %s)", (stream_id, at + 5))
        cursor.execute("INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, "
                       "message, payload) VALUES (%s, 's', 1, 0, 'o', 'nul', 'no', 'p')", (stream_id,))
    rows = db.json("sync", "status", "--no-head")["streams"]
    assert [(row["name"], row["route"], row["next_seq"]) for row in rows] == [("s", "x", 5), ("s", "y", 6)]
    rows = db.json("sync", "status", "s", "--no-head", "--route", "y")["streams"]
    assert [(row["route"], row["next_seq"], row["dead_letters"]) for row in rows] == [("y", 6, 1)]
    assert sorted(row["route"] for row in db.json("dlq", "ls")["dead_letters"]) == ["x", "y"]
    assert [row["route"] for row in db.json("dlq", "ls", "--route", "x")["dead_letters"]] == ["x"]
    assert db.json("dlq", "show", "s", "0", "--route", "x")["route"] == "x"
    db.error("dlq", "show", "s", "0", "--route", "z", status=NOT_FOUND)


# --- apply ---

def route(name="chat", **members):
    return {"name": name, "streams": [f"{name}/*"], "table": f"public.{name}_events", **members}


def apply(db, *routes, dry=False, **options):
    """The rows that `dsctl route apply` prints."""
    words = ["--dry-run"] if dry else []
    return json.loads(db("route", "apply", "-f", "-", "-o", "json", *words,
                         stdin=json.dumps({"routes": list(routes)}).encode(), **options))["changes"]


def refuse(db, *routes, status=CONFLICT):
    """What stderr says to routes that cannot be applied."""
    return db.error("route", "apply", "-f", "-", status=status, stdin=json.dumps({"routes": list(routes)}).encode())


def changes(rows, change):
    return [(row["what"], row["from"], row["to"]) for row in rows if row["change"] == change]


def columns_of(cursor, table):
    cursor.execute("SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
                   "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum", (table,))
    return cursor.fetchall()


def leaves_of(cursor, table):
    """{leaf: (its bounds, its replica identity)}"""
    cursor.execute("SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), c.relreplident FROM pg_inherits i "
                   "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass", (table,))
    return {name: (bound, identity) for name, bound, identity in cursor.fetchall()}


def published(cursor):
    cursor.execute("SELECT schemaname || '.' || tablename FROM pg_publication_tables "
                   "WHERE pubname = 'electric_publication_default'")
    return {name for (name,) in cursor.fetchall()}


def test_a_table_is_made_as_the_route_says(db, cursor):
    rows = apply(db, route(columns={"user_id": {"pointer": "/user", "type": "uuid", "required": True},
                                    "Amount": {"pointer": "/amount", "type": "numeric(10,2)"}}))
    assert ("table", None, "public.chat_events") in changes(rows, "add")
    assert columns_of(cursor, "chat_events") == [
        ("stream_name", "text", True), ("generation", "integer", True), ("seq", "bigint", True),
        ("ds_offset", "text", True), ("event_key", "text", False), ("event_type", "text", False),
        ("operation", "text", False), ("user_id", "uuid", True), ("Amount", "numeric(10,2)", False),
        ("payload", "jsonb", True), ("received_at", "timestamp with time zone", True)]
    assert one(cursor, "SELECT relreplident FROM pg_class WHERE oid = 'chat_events'::regclass") == "f"
    assert "public.chat_events" in published(cursor)
    for role, privilege in (("writer", "INSERT"), ("writer", "SELECT"), ("reader", "SELECT")):
        assert one(cursor, "SELECT has_table_privilege(%s, 'chat_events', %s)", f"ds_sync_{role}", privilege)
    assert not one(cursor, "SELECT has_table_privilege('ds_sync_writer', 'chat_events', 'DELETE')")
    cursor.execute("SELECT name, version, paused, spec ->> 'table' FROM ds_sync.route")
    assert cursor.fetchall() == [("chat", 1, False, "public.chat_events")]
    cursor.execute("SELECT action, target, details -> 'before', details #>> '{after,name}', who FROM ds_sync.audit")
    assert cursor.fetchall() == [("route.apply", "chat", None, "chat", "postgres")]


def test_each_kind_and_payload_has_its_table(db, cursor):
    apply(db, route("a", payload={"column": "body", "type": "text"}), route("b", **{"as": "chunks"}),
          route("c", **{"as": "chunks", "payload": {"type": "text"}}), route("d", **{"as": "state"}),
          route("e", payload={"type": "bytea"}), route("f", payload={"type": "json"}, publish=False))
    assert ("body", "text", True) in columns_of(cursor, "a_events")
    assert [name for name, *_ in columns_of(cursor, "b_events")] == ["stream_name", "generation", "seq", "ds_offset",
                                                                    "bytes", "received_at"]
    assert ("bytes", "text", True) in columns_of(cursor, "c_events")
    assert columns_of(cursor, "d_events") == [("stream_name", "text", True), ("type", "text", True),
                                              ("key", "text", True), ("seq", "bigint", True), ("value", "jsonb", False)]
    assert one(cursor, "SELECT has_table_privilege('ds_sync_writer', 'd_events', 'DELETE')")
    assert ("payload", "bytea", True) in columns_of(cursor, "e_events")
    assert {"public.e_events"} == published(cursor) & {"public.e_events", "public.f_events"}
    assert not one(cursor, "SELECT has_table_privilege('ds_sync_reader', 'f_events', 'SELECT')")


def test_a_dry_run_shows_the_diff_and_changes_nothing(db, cursor):
    rows = apply(db, route(), dry=True)
    assert ("streams", None, "chat/*") in changes(rows, "add")
    assert any("CREATE TABLE public.chat_events" in to for _, _, to in changes(rows, "sql"))
    assert one(cursor, "SELECT to_regclass('chat_events')") is None
    assert one(cursor, "SELECT count(*) FROM ds_sync.route") == 0
    apply(db, route())
    assert apply(db, route(), dry=True) == [{"route": "chat", "change": "same", "what": "", "from": None, "to": None}]
    version = one(cursor, "SELECT version FROM ds_sync.control")
    rows = apply(db, route(streams=["chat/*", "talk/*"], ttl="hold"), dry=True)
    assert changes(rows, "change") == [("streams", None, "talk/*"), ("ttl", "respect", "hold")]
    assert one(cursor, "SELECT version FROM ds_sync.control") == version
    apply(db, route(streams=["chat/*", "talk/*"], ttl="hold"))
    assert one(cursor, "SELECT version FROM ds_sync.control") > version
    assert one(cursor, "SELECT version FROM ds_sync.route") == 2
    assert apply(db, route(streams=["chat/*", "talk/*"], ttl="hold"), dry=True)[0]["change"] == "same"


def test_an_applied_route_fits_its_own_table(db):
    routes = [route("a", columns={"u": {"pointer": "/u", "type": "varchar(20)"}}),
              route("b", layout={"hash": 4}), route("c", layout={"list": ["c/"]}), route("d", **{"as": "state"}),
              route("e", **{"as": "chunks", "layout": {"hash": 2}})]
    apply(db, *routes)
    assert {row["change"] for row in apply(db, *routes, dry=True)} == {"same"}
    apply(db, {"name": "own", "streams": ["x/*"], "table": "ds_sync.session_events", "layout": {"hash": 16}},
          {"name": "bytes", "streams": ["y/*"], "table": "ds_sync.stream_chunks", "as": "chunks"})


def test_files_that_are_wrong_are_answered_with_what_is_right(db, folder):
    assert "did you mean \"streams\"?" in refuse(db, {"name": "a", "stream": ["x"]}, status=USAGE)
    assert "two routes are called" in refuse(db, route(), route())
    path = folder / "routes.json"
    path.write_text('{\n  "routes": [\n')
    assert f"{path}: line 3" in db.error("route", "apply", "-f", str(path), status=USAGE)
    assert "cannot read" in db.error("route", "apply", "-f", str(folder / "none"), status=USAGE)
    assert "-f FILE" in db.error("route", "apply", status=USAGE)


def test_routes_must_get_along_with_those_that_are_stored(db, cursor):
    apply(db, route())
    stderr = refuse(db, route("eu", server="eu", table="chat_events"))
    assert "name_prefix" in stderr and "\"chat\"" in stderr
    assert "can match one stream" in refuse(db, route("b", streams=["*/x"], table="chat_events"))
    db("route", "rm", "chat")
    apply(db, route("b", streams=["*/x"], table="chat_events"))     # nothing was ever synced: nothing is in the way
    assert one(cursor, "SELECT array_agg(name) FROM ds_sync.route") == ["b"]


def test_all_mistakes_of_a_file_are_told_at_one_go(db, cursor):
    column = {"pointer": "/u", "type": "uuid"}
    stderr = refuse(
        db, {"name": "a", "stream": ["x"], "tabel": "t", "as": "evnts", "payload": {"type": "xml"},
             "columns": {"u": {"pointer": "u", "typ": "uuid"}, "v": {**column, "required": "yes"}},
             "start": {"offset": "-1"}, "after_sync": "trim", "after_sync_grace": "soon"},
        route("b", on_error="deadletter", layout={"hash": 1}, streams=["b//x", "b**"], server=7),
        route("c", columns={"u": {**column, "type": "uid"}, "v": {**column, "type": "numeric("}}),
        route("d", table="app.x"), route("e"), route("e", **{"as": "state"}), status=USAGE)
    told = stderr.splitlines()
    for text in ('routes[0]: route "a": unknown member "stream"; did you mean "streams"?',
                 'routes[0]: route "a": unknown member "tabel"; did you mean "table"?',
                 'routes[0]: route "a": "streams" is missing', 'routes[0]: route "a": "table" is missing',
                 'route "a": "as": cannot be "evnts"; did you mean "events"?',
                 'route "a": "payload": "type": cannot be "xml"',
                 'route "a": "columns": "u": unknown member "typ"; did you mean "type"?',
                 'route "a": "columns": "u": "pointer" must be a JSON pointer',
                 'route "a": "columns": "u": "type" is missing',
                 'route "a": "columns": "v": "required" must be true or false',
                 'route "a": "start": "offset" must be an offset', 'route "a": "after_sync_grace" must be a duration',
                 'routes[1]: route "b": "on_error": cannot be "deadletter"; did you mean "dead_letter"?',
                 'route "b": "layout": "hash" must be', 'route "b": "streams": "b//x"', 'route "b": "streams": "b**"',
                 'route "b": "server" must be text',
                 'two routes are called "e"', '"as" must be the same in both', "can match one stream"):
        assert sum(text in line for line in told) == 1, (text, stderr)
    assert told[-2:] == ["dsctl: and 3 more", "dsctl: 23 problems; nothing was changed"]
    assert one(cursor, "SELECT count(*) FROM ds_sync.route") == 0
    assert one(cursor, "SELECT to_regclass('e_events')") is None


def test_mistakes_of_a_file_and_what_is_wrong_with_the_tables_are_told_together(db, cursor):
    cursor.execute("CREATE TABLE chat_events (stream_name text, seq integer)")
    column = {"pointer": "/u", "type": "uuid"}
    stderr = refuse(
        db, route("a", on_error="deadletter"), route(columns={"u": column}, publish=False),
        route("c", columns={"u": {**column, "type": "uid"}, "v": {**column, "type": "numeric("}, "w": column}),
        route("d", table="app.x"), status=USAGE)
    for text in ('routes[0]: route "a": "on_error": cannot be "deadletter"',
                 'route "chat", table public.chat_events: column u is missing',
                 'route "chat", table public.chat_events: column seq is integer',
                 'route "c", table public.c_events: column u: Postgres has no type uid',
                 'route "c", table public.c_events: column v: Postgres has no type "numeric("',
                 'route "d", table app.x: there is no schema app'):
        assert stderr.count(text) == 1, (text, stderr)
    assert "column w" not in stderr
    assert one(cursor, "SELECT count(*) FROM ds_sync.route") == 0


def test_of_many_mistakes_the_first_are_told_and_the_others_counted(db, cursor):
    many = [{"name": f"a{at}", "table": f"t{at}"} for at in range(25)]
    stderr = refuse(db, *many, status=USAGE)
    assert len(stderr.splitlines()) == 22 and 'routes[19]: route "a19"' in stderr and "a20" not in stderr
    assert stderr.endswith("dsctl: and 5 more\ndsctl: 25 problems; nothing was changed\n")
    stderr = refuse(db, *(route(f"a{at}", table=f"app.t{at}") for at in range(25)))
    assert stderr.count("there is no schema app") == 20 == stderr.count("    mend: ")
    assert stderr.endswith("dsctl: and 5 more\ndsctl: 25 problems; nothing was changed\n")


def test_mistakes_of_a_file_are_told_without_postgres(folder):
    unreachable = Dsctl(POSTGRES_URL="postgresql://127.0.0.1:1/nobody")
    stderr = refuse(unreachable, {"name": "a", "stream": ["x"]}, status=USAGE)
    assert '"streams" is missing' in stderr and '"table" is missing' in stderr
    assert "the tables were not all looked at" in stderr and "3 problems; nothing was changed" in stderr


def test_a_route_with_a_mistake_takes_the_place_of_what_is_stored_under_its_name(db):
    apply(db, route(), route("talk"))
    wrong, heir = route(on_error="deadletter"), route("heir", streams=["chat/*"], table="chat_events")
    assert "can match one stream" not in refuse(db, wrong, heir, status=USAGE)
    stderr = refuse(db, wrong, {**heir, "streams": ["talk/*"], "table": "talk_events"}, status=USAGE)
    assert "deadletter" in stderr and 'can match one stream, and both go into public.talk_events' in stderr


# --- the catalogue ---

GOOD = """CREATE TABLE chat_events (stream_name text NOT NULL, generation integer NOT NULL, seq bigint NOT NULL,
    ds_offset text NOT NULL, payload jsonb NOT NULL, user_id uuid, PRIMARY KEY (stream_name, seq));
ALTER TABLE chat_events REPLICA IDENTITY FULL; GRANT SELECT, INSERT ON chat_events TO ds_sync_writer;
GRANT SELECT ON chat_events TO ds_sync_reader; ALTER PUBLICATION electric_publication_default ADD TABLE chat_events"""
WITH_USER = route(columns={"user_id": {"pointer": "/user", "type": "uuid"}})


def test_a_table_that_is_there_and_fits_is_taken(db, cursor):
    cursor.execute(GOOD)
    assert not changes(apply(db, WITH_USER), "sql")


@pytest.mark.parametrize("spoil, problem, mend", [
    ("ALTER TABLE chat_events DROP COLUMN user_id", "column user_id is missing", "ADD COLUMN user_id uuid"),
    ("ALTER TABLE chat_events DROP COLUMN ds_offset", "column ds_offset is missing", "ADD COLUMN ds_offset text NOT"),
    ("ALTER TABLE chat_events ALTER user_id TYPE text", "column user_id is text, and the route writes uuid",
     'set its "type" in the route to "text", or ALTER TABLE public.chat_events ALTER COLUMN user_id TYPE uuid'),
    ("ALTER TABLE chat_events ALTER payload TYPE json", "column payload is json", "TYPE jsonb"),
    ("ALTER TABLE chat_events ALTER seq TYPE integer", "column seq is integer", "TYPE bigint"),
    ("ALTER TABLE chat_events ALTER user_id SET NOT NULL", "column user_id is NOT NULL", '"required" to true'),
    ("ALTER TABLE chat_events ADD extra text NOT NULL", "column extra is NOT NULL without a default", "SET DEFAULT"),
    ("ALTER TABLE chat_events DROP user_id; ALTER TABLE chat_events ADD user_id uuid GENERATED ALWAYS AS "
     "(gen_random_uuid_at(seq)) STORED", "column user_id is generated", "DROP EXPRESSION"),
    ("ALTER TABLE chat_events DROP CONSTRAINT chat_events_pkey", "the primary key is missing",
     "ADD PRIMARY KEY (stream_name, seq)"),
    ("ALTER TABLE chat_events DROP CONSTRAINT chat_events_pkey; ALTER TABLE chat_events ADD PRIMARY KEY (seq)",
     "the primary key is (seq)", "ADD PRIMARY KEY (stream_name, seq)"),
    ("ALTER TABLE chat_events DROP CONSTRAINT chat_events_pkey; ALTER TABLE chat_events ADD PRIMARY KEY "
     "(stream_name, seq) DEFERRABLE", "checked at once", "ADD PRIMARY KEY"),
    ("ALTER TABLE chat_events REPLICA IDENTITY DEFAULT", "has not REPLICA IDENTITY FULL", "REPLICA IDENTITY FULL"),
    ("ALTER PUBLICATION electric_publication_default DROP TABLE chat_events", "it is not published", "ADD TABLE"),
    ("DROP PUBLICATION electric_publication_default", "there is no publication", "publish_via_partition_root"),
    ("REVOKE INSERT ON chat_events FROM ds_sync_writer", "ds_sync_writer may not INSERT it", "GRANT INSERT ON"),
    ("REVOKE SELECT ON chat_events FROM ds_sync_reader", "ds_sync_reader may not SELECT it", "GRANT SELECT ON"),
    ("ALTER PUBLICATION electric_publication_default DROP TABLE chat_events; ALTER TABLE chat_events SET UNLOGGED",
     "not logged", "SET LOGGED"),
])
def test_a_table_that_does_not_fit_is_left_alone_and_the_mend_is_said(db, cursor, spoil, problem, mend):
    cursor.execute("CREATE FUNCTION gen_random_uuid_at(bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS "
                   "'SELECT md5($1::text)::uuid'")
    cursor.execute(GOOD)
    cursor.execute(spoil)
    before = columns_of(cursor, "chat_events")
    stderr = refuse(db, WITH_USER)
    assert problem in stderr and mend in stderr and "nothing was changed" in stderr
    assert columns_of(cursor, "chat_events") == before
    assert one(cursor, "SELECT count(*) FROM ds_sync.route") == 0


def test_every_problem_is_listed_at_once(db, cursor):
    cursor.execute("CREATE TABLE chat_events (stream_name text, seq integer)")
    stderr = refuse(db, WITH_USER)
    for text in ("column generation is missing", "column payload is missing", "column seq is integer",
                 "the primary key is missing", "REPLICA IDENTITY", "not published", "ds_sync_writer may not INSERT, SELECT"):
        assert text in stderr
    lines = stderr.splitlines()[:-1]                # the last one counts them
    assert all(("mend: " in line) == (at % 2 == 1) for at, line in enumerate(lines)), stderr


def test_what_is_mended_as_said_fits(db, cursor):
    cursor.execute("CREATE TABLE chat_events (stream_name text, seq integer)")
    for line in refuse(db, WITH_USER).splitlines():
        _, found, mend = line.partition("mend: ")
        if found:
            cursor.execute(mend.split(", or set ")[0])
    apply(db, WITH_USER)


def test_types_and_schemas_that_are_not_there_are_named(db, cursor):
    stderr = refuse(db, route(columns={"u": {"pointer": "/u", "type": "uid"}}))
    assert "column u: Postgres has no type uid" in stderr
    assert "no type anyarray" in refuse(db, route(columns={"u": {"pointer": "/u", "type": "anyarray"}}))
    stderr = refuse(db, route(table="app.x"))
    assert "there is no schema app" in stderr and "CREATE SCHEMA app; GRANT USAGE" in stderr
    cursor.execute("CREATE VIEW v AS SELECT 1")
    assert "is no table" in refuse(db, route(table="v"))
    cursor.execute("CREATE SCHEMA app")
    apply(db, route(table="app.x"))
    assert one(cursor, "SELECT has_schema_privilege('ds_sync_reader', 'app', 'USAGE')")


def test_two_servers_into_one_table_need_a_prefix_each(db):
    us = route("us", streams=["chat/*"], table="t", name_prefix="us/")
    eu = route("eu", streams=["chat/*"], table="t", server="eu")
    assert "\"name_prefix\" of its own" in refuse(db, us, eu)
    apply(db, us, {**eu, "name_prefix": "eu/"})


def test_a_table_of_several_routes_has_the_columns_of_each(db, cursor):
    def column(required):
        return {"pointer": "/x", "type": "integer", "required": required}
    routes = [route("a", table="t", columns={"both": column(True), "one": column(True), "some": column(True)}),
              route("b", table="t", columns={"both": column(True), "some": column(False), "other": column(True)})]
    apply(db, *routes)
    found = {name: not_null for name, _, not_null in columns_of(cursor, "t")}
    assert {name: found.get(name) for name in ("both", "one", "some", "other")} == \
        {"both": True, "one": False, "some": False, "other": False}
    assert {row["change"] for row in apply(db, *routes, dry=True)} == {"same"}


# --- layouts ---

def test_leaves_have_full_replica_identity_and_are_attached(db, cursor):
    apply(db, route("h", layout={"hash": 4}), route("l", streams=["l/*", "m/**"],
                                                    layout={"list": ["l/", "m"]}))
    assert leaves_of(cursor, "h_events") == {
        f"h_events_p0{n}": (f"FOR VALUES WITH (modulus 4, remainder {n})", "f") for n in range(4)}
    assert sorted(leaves_of(cursor, "l_events").values()) == [("FOR VALUES FROM ('l/') TO ('l0')", "f"),
                                                              ("FOR VALUES FROM ('m') TO ('n')", "f")]
    for table in ("h_events", "l_events"):
        assert one(cursor, "SELECT relreplident FROM pg_class WHERE oid = %s::regclass", table) == "f"
        for leaf in leaves_of(cursor, table):
            cursor.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'", (leaf,))
            assert cursor.fetchall() == []
            assert one(cursor, "SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND indisprimary", leaf) == 1
    assert {"public.h_events", "public.l_events"} < published(cursor)
    assert not {name for name in published(cursor) if "_p0" in name}
    cursor.execute("INSERT INTO l_events SELECT name, 1, 0, 'o', NULL, NULL, NULL, '{}' FROM unnest(ARRAY["
                   "'l/', 'l/\U0010ffff', 'm', 'm/x/y', 'm\u00e4']) AS name")


def test_the_leaves_of_many_partitions_sort_as_their_numbers(db, cursor):
    apply(db, route(layout={"hash": 101}))
    leaves = leaves_of(cursor, "chat_events")
    assert len(leaves) == 101 and "chat_events_p100" in leaves and "chat_events_p007" in leaves


def test_partitions_are_added_to_a_list(db, cursor):
    members = {"streams": ["chat/*", "talk/*"], "layout": {"list": ["chat/", "talk/"]}}
    apply(db, route(layout={"list": ["chat/"]}))
    cursor.execute("INSERT INTO chat_events (stream_name, generation, seq, ds_offset, payload) "
                   "VALUES ('chat/1', 1, 0, 'o', '{}')")
    before = set(leaves_of(cursor, "chat_events"))
    assert len(changes(apply(db, route(**members), dry=True), "sql")) == 6
    apply(db, route(**members))
    assert len(set(leaves_of(cursor, "chat_events")) - before) == 1
    assert one(cursor, "SELECT count(*) FROM chat_events") == 1
    apply(db, route(streams=["chat/*"], layout={"list": ["chat/"]}))        # a partition too many does no harm
    assert len(leaves_of(cursor, "chat_events")) == 2


@pytest.mark.parametrize("there, wanted, problem, mend", [
    ("none", {"hash": 4}, "its layout is not partitioned, and the route says {\"hash\": 4}", 'set "layout" to "none"'),
    ({"hash": 4}, "none", "HASH (stream_name) in 4 partitions, and the route says \"none\"", '{"hash": 4}'),
    ({"hash": 4}, {"hash": 8}, "in 4 partitions, and the route says {\"hash\": 8}", 'set "layout" to {"hash": 4}'),
    ({"hash": 4}, {"list": ["chat/"]}, "HASH (stream_name)", "cannot be changed in place"),
    ({"list": ["chat/"]}, {"hash": 2}, "RANGE (stream_name) in 1 partitions", "prefixes of its partitions"),
])
def test_another_layout_is_refused_with_what_to_do(db, there, wanted, problem, mend):
    apply(db, route(layout=there))
    stderr = refuse(db, route(layout=wanted))
    assert problem in stderr and mend in stderr


def test_a_leaf_without_full_replica_identity_is_found(db, cursor):
    apply(db, route(layout={"hash": 2}))
    cursor.execute("ALTER TABLE chat_events_p01 REPLICA IDENTITY DEFAULT")
    stderr = refuse(db, route(layout={"hash": 2}))
    assert "mend: ALTER TABLE chat_events_p01 REPLICA IDENTITY FULL" in stderr
    cursor.execute("ALTER TABLE chat_events_p01 REPLICA IDENTITY FULL; ALTER TABLE chat_events DETACH PARTITION "
                   "chat_events_p00")
    assert "in 1 partitions" in refuse(db, route(layout={"hash": 2}))


def test_partitions_below_partitions_are_refused(db, cursor):
    apply(db, route(streams=["chat/*"], layout={"list": ["chat/"]}))
    cursor.execute("CREATE TABLE below PARTITION OF chat_events FOR VALUES FROM ('x') TO ('y') "
                   "PARTITION BY HASH (stream_name); CREATE TABLE below0 PARTITION OF below "
                   "FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    assert "partition of a partition" in refuse(db, route(streams=["chat/*"], layout={"list": ["chat/"]}))


def test_a_lock_is_waited_for_with_pauses_and_writers_are_not_held_up(db, database, cursor, postgres_server):
    apply(db, route(layout={"list": ["chat/"]}))
    more = json.dumps({"routes": [route(streams=["chat/*", "talk/*"], layout={"list": ["chat/", "talk/"]})]})
    holder = postgres_server.connect(database[0].rsplit("/", 1)[1])
    holder.autocommit = False
    holder.cursor().execute("LOCK TABLE chat_events IN SHARE UPDATE EXCLUSIVE MODE")
    process = db.start("route", "apply", "-f", "-", "--lock-timeout", "100ms", stdin=more.encode())
    said = []
    while not any("try 2" in line for line in said):
        said.append(process.stderr.readline().decode())
        assert said[-1], said
        cursor.execute("INSERT INTO chat_events (stream_name, generation, seq, ds_offset, payload) "
                       "VALUES ('chat/1', 1, (SELECT count(*) FROM chat_events), 'o', '{}')")
    assert one(cursor, "SELECT count(*) FROM ds_sync.audit") == 1
    holder.rollback()
    holder.close()
    _, stderr = process.communicate(timeout=ds.HANG_SECONDS)
    assert process.returncode == 0, stderr
    assert len(leaves_of(cursor, "chat_events")) == 2


def test_two_who_apply_at_once_leave_one_consistent_result(db, cursor):
    files = [json.dumps({"routes": [route(layout={"hash": 4}, ttl=ttl)]}).encode() for ttl in ("hold", "respect") * 2]
    started = [db.start("route", "apply", "-f", "-", stdin=text) for text in files]
    outputs = [process.communicate(timeout=ds.HANG_SECONDS) for process in started]
    assert any(process.returncode == 0 for process in started), outputs
    assert one(cursor, "SELECT count(*) FROM ds_sync.route") == 1
    assert one(cursor, "SELECT version FROM ds_sync.route") == \
        one(cursor, "SELECT count(*) FROM ds_sync.audit WHERE action = 'route.apply'")
    assert len(leaves_of(cursor, "chat_events")) == 4
    apply(db, route(layout={"hash": 4}))


# --- the life of a route ---

def put_stream(cursor, name, route_name, next_seq=3):
    cursor.execute("INSERT INTO ds_sync.stream (source, name, route) VALUES ('default', %s, %s) RETURNING stream_id",
                   (name, route_name))
    stream_id = cursor.fetchone()[0]
    cursor.execute("INSERT INTO ds_sync.stream_offset (stream_id, next_seq) VALUES (%s, %s)", (stream_id, next_seq))
    cursor.execute("INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, "
                   "message, payload) VALUES (%s, %s, 1, 0, 'o', 'nul', 'no', 'p')", (stream_id, name))


def test_what_is_shown_can_be_applied(db):
    apply(db, route(columns={"u": {"pointer": "/u", "type": "uuid"}}, layout={"hash": 2}))
    text = db("route", "show", "chat")
    assert {row["change"] for row in apply(db, *json.loads(text)["routes"], dry=True)} == {"same"}
    assert list(json.loads(text)["routes"][0])[:5] == ["name", "server", "streams", "table", "as"]
    db.error("route", "show", "none", status=NOT_FOUND)


def test_routes_are_listed_with_what_became_of_them(db, cursor):
    assert "SYNCD_STREAMS" in db.run("route", "ls")[2]
    apply(db, route("a"), route("b", **{"as": "state"}))
    put_stream(cursor, "a/1", "a")
    put_stream(cursor, "a/2", "a")
    cursor.execute("UPDATE ds_sync.stream SET state = 'failed' WHERE name = 'a/2'")
    rows = db.json("route", "ls")["routes"]
    assert [(row["name"], row["state"], row["as"], row["streams"], row["stopped"]) for row in rows] == \
        [("a", "on", "events", 2, 1), ("b", "on", "state", 0, 0)]


def test_a_route_that_an_instance_refuses_is_listed_with_the_reason(db, database, cursor, server, start_syncd):
    """Until somebody says otherwise of the version that is declared now."""
    apply(db, route("good", streams=["g/*"]), route("bad", streams=["b/*"], table="spoilt"))
    cursor.execute("ALTER TABLE spoilt DROP COLUMN payload")
    syncd = start_syncd([], wait=False, SYNCD_INSTANCE="one")
    syncd.wait_for(lambda: (stored.state(database[1], "bad") or [""])[0] == "failed" and
                   stored.state(database[1], "good") is not None, "to look at the routes")
    rows = {row["name"]: row for row in db.json("route", "ls")["routes"]}
    assert (rows["good"]["state"], rows["good"]["reason"], rows["good"]["instance"]) == ("running", None, "one")
    assert rows["bad"]["state"] == "failed" and "no column payload" in rows["bad"]["reason"]
    assert rows["bad"]["seen_version"] == rows["bad"]["version"]
    line = next(line for line in db("route", "ls").splitlines() if line.startswith("bad\t"))
    assert line.split("\t")[1] == "failed" and "no column payload" in line
    status, stdout, stderr = db.run("route", "show", "bad")
    assert status == 0 and json.loads(stdout)["routes"][0]["name"] == "bad"
    assert "failed, says one: " in stderr and "no column payload" in stderr
    assert db.json("route", "show", "bad")["state"] == "failed"
    syncd.stop()
    cursor.execute("DELETE FROM ds_sync.instance")      # in case it had no time to
    rows = {row["name"]: row for row in db.json("route", "ls")["routes"]}
    assert [rows[name]["state"] for name in ("good", "bad")] == ["on", "on"], "nobody lives who could run them"


def test_what_was_said_of_another_version_is_of_the_past(db, cursor):
    apply(db, route("a"))
    version = one(cursor, "SELECT version FROM ds_sync.route")
    cursor.execute("INSERT INTO ds_sync.instance (instance, version, host, pid) VALUES ('one', '1', 'h', 1)")
    cursor.execute("INSERT INTO ds_sync.route_instance (name, version, state, reason, instance) "
                   "VALUES ('a', %s, 'failed', 'no', 'one')", (version,))
    assert db.json("route", "ls")["routes"][0]["state"] == "failed"
    apply(db, route("a", ttl="hold"))
    row, = db.json("route", "ls")["routes"]
    assert (row["state"], row["seen_state"], row["seen_version"]) == ("on", "failed", version)


def test_resume_says_of_a_failed_route_that_it_is_looked_at_again(db, cursor):
    apply(db, route("a"))
    assert "neither paused nor stopped" in db.run("route", "resume", "a")[2]
    cursor.execute("INSERT INTO ds_sync.instance (instance, version, host, pid) VALUES ('one', '1', 'h', 1)")
    cursor.execute("INSERT INTO ds_sync.route_instance (name, version, state, reason, instance) "
                   "SELECT 'a', version, 'failed', 'no', 'one' FROM ds_sync.route")
    version = one(cursor, "SELECT version FROM ds_sync.control")
    said = db.run("route", "resume", "a")[2]
    assert "a failed; it is looked at again" in said and "neither" not in said
    assert one(cursor, "SELECT version FROM ds_sync.control") > version, "which instances notice"
    assert "stopped" in db("route", "ls", "--help").partition("STATE is")[2].partition("STOPPED counts")[0]
    assert "stopped" in db("route", "resume", "--help")


def test_the_built_in_route_is_shown_while_it_is_listed(db, cursor):
    db.error("route", "show", "default", status=NOT_FOUND)
    cursor.execute("INSERT INTO ds_sync.route_state (name, version, state, reason, instance) "
                   "VALUES ('default', 0, 'stopped', 'no', 'one')")
    assert [row["name"] for row in db.json("route", "ls")["routes"]] == ["default"]
    assert db.json("route", "show", "default")["state"] == "stopped"
    status, stdout, stderr = db.run("route", "show", "default")
    assert (status, stdout) == (0, b"") and "stopped, says one: no" in stderr and "SYNCD_STREAMS" in stderr


def test_a_server_that_no_instance_has_is_refused_with_those_that_there_are(db, cursor, start_syncd):
    apply(db, route("eu", server="eu", streams=["e/*"]))         # nobody lives who could know
    db("route", "rm", "eu")
    syncd = start_syncd([], wait=False, SYNCD_INSTANCE="one", SYNCD_SERVERS="us=http://127.0.0.1:1")
    syncd.wait_log("joined")
    stderr = refuse(db, route(server="uss"))
    assert 'no instance of syncd has a server "uss"; there is default, us' in stderr and "SYNCD_SERVERS" in stderr
    assert one(cursor, "SELECT count(*) FROM ds_sync.route") == 0
    apply(db, route(server="us"))
    cursor.execute("INSERT INTO ds_sync.instance (instance, version, host, pid, servers) "
                   "VALUES ('two', '1', 'h', 1, '{default}'), ('old', '1', 'h', 2, NULL)")
    status, _, stderr = db.run("route", "apply", "-f", "-", stdin=json.dumps(
        {"routes": [route(server="us", ttl="hold")]}).encode())
    assert status == 0 and 'the instance two has no server "us"' in stderr and "old" not in stderr


def test_pause_and_resume_are_seen_by_instances_and_noted(db, cursor):
    apply(db, route())
    version = one(cursor, "SELECT version FROM ds_sync.control")
    db("route", "pause", "chat")
    assert one(cursor, "SELECT paused FROM ds_sync.route")
    assert one(cursor, "SELECT version FROM ds_sync.control") > version
    assert "already" in db.run("route", "pause", "chat")[2]
    apply(db, route(ttl="hold"))
    assert one(cursor, "SELECT paused FROM ds_sync.route"), "apply does not resume"
    assert db.json("route", "ls")["routes"][0]["state"] == "paused"
    db("route", "resume", "chat")
    assert not one(cursor, "SELECT paused FROM ds_sync.route")
    cursor.execute("SELECT action FROM ds_sync.audit WHERE action <> 'route.apply' ORDER BY audit_id")
    assert [action for (action,) in cursor.fetchall()] == ["route.pause", "route.resume"]
    for words in (("route", "pause", "none"), ("route", "resume", "none"), ("route", "rm", "none")):
        db.error(*words, status=NOT_FOUND)


def test_a_route_that_was_removed_goes_on_where_it_was(db, cursor):
    apply(db, route())
    put_stream(cursor, "chat/1", "chat", next_seq=7)
    db("route", "rm", "chat")
    assert db.json("route", "ls")["routes"] == []
    assert [row["state"] for row in db.json("route", "ls", "--removed")["routes"]] == ["removed"]
    assert "\"table\" cannot change" in refuse(db, route(table="other"))
    assert "can match one stream" in refuse(db, route("b", streams=["chat/1"], table="chat_events"))
    apply(db, route(ttl="hold"))
    assert one(cursor, "SELECT next_seq FROM ds_sync.stream_offset") == 7
    assert db.json("route", "ls", "--removed")["routes"][0]["state"] == "on"


def test_positions_are_dropped_only_on_demand(db, cursor):
    apply(db, route())
    put_stream(cursor, "chat/1", "chat")
    put_stream(cursor, "chat/1", "default")
    assert "was not removed" in db.error("route", "rm", "chat", "--forget", status=NOT_FOUND)
    db("route", "rm", "chat")
    assert "1 positions and 1 dead letters to drop" in db.run("route", "rm", "chat", "--forget")[2]
    assert one(cursor, "SELECT count(*) FROM ds_sync.stream_offset") == 2
    db.error("route", "rm", "chat", "--execute", status=USAGE)
    db("route", "rm", "chat", "--forget", "--execute")
    assert one(cursor, "SELECT array_agg(route) FROM ds_sync.stream") == ["default"]
    assert one(cursor, "SELECT count(*) FROM ds_sync.dead_letter") == 1
    cursor.execute("SELECT details - 'before' FROM ds_sync.audit WHERE action = 'route.forget'")
    assert cursor.fetchall() == [({"streams": 1, "positions": 1, "dead_letters": 1},)]
    apply(db, route("b", streams=["chat/1"], table="chat_events"))


@pytest.mark.parametrize("member, other", [
    ("table", {"table": "other"}), ("server", {"server": "eu"}), ("name_prefix", {"name_prefix": "x/"}),
    ("as", {"as": "chunks", "table": "chat_events"}),
])
def test_what_positions_were_made_with_cannot_change(db, cursor, member, other):
    apply(db, route())
    apply(db, route(start="now"))
    put_stream(cursor, "chat/1", "chat")
    assert f"\"{member}\" cannot change while positions of 1 streams" in refuse(db, route(**other))
    done = db.run("route", "apply", "-f", "-", stdin=json.dumps({"routes": [route()]}).encode())
    assert done[0] == 0 and "\"start\" is for streams that come" in done[2]


def test_a_route_does_not_write_what_syncd_streams_wrote(db, cursor):
    put_stream(cursor, "chat/1", "default")
    own = {"name": "own", "table": "ds_sync.session_events", "layout": {"hash": 16}}
    assert "SYNCD_STREAMS has brought \"chat/1\"" in refuse(db, {**own, "streams": ["chat/*"]})
    apply(db, {**own, "streams": ["talk/*"]})


def test_names_with_quotes_and_other_letters_go_through(db, cursor):
    cursor.execute('CREATE SCHEMA "Täg"')
    apply(db, {"name": "q", "streams": ["it's/ä/*"], "table": "Täg.O'Hara x", "layout": {"list": ["it's/ä/"]},
               "columns": {"it's {a}, \\b": {"pointer": "/a b", "type": "text"}},
               "payload": {"column": "select", "type": "jsonb"}})
    cursor.execute("""INSERT INTO "Täg"."O'Hara x" (stream_name, generation, seq, ds_offset, "select") """
                   """VALUES ('it''s/ä/1', 1, 0, 'o', '{}')""")
    assert {row["change"] for row in apply(db, *json.loads(db("route", "show", "q"))["routes"], dry=True)} == {"same"}


def test_a_route_that_comes_again_has_a_greater_version(db, cursor):
    apply(db, route())
    apply(db, route(ttl="hold"))
    version = one(cursor, "SELECT version FROM ds_sync.route")
    db("route", "rm", "chat")
    apply(db, route())
    assert one(cursor, "SELECT version FROM ds_sync.route") > version


def test_a_running_instance_follows_what_is_declared(db, database, cursor, server, start_syncd):
    server.create("chat/1")
    server.append("chat/1", [{"n": 1}])
    syncd = start_syncd([], wait=False, SYNCD_ADMIN_URLS=f"default={server.admin_url}")
    syncd.wait_log("the schema is there")
    apply(db, route(columns={"n": {"pointer": "/n", "type": "integer"}}, layout={"hash": 2}))

    def wait_rows(expected):
        def rows():
            cursor.execute("SELECT stream_name, seq, n FROM chat_events ORDER BY stream_name, seq")
            return cursor.fetchall()
        syncd.wait_for(lambda: rows() == expected, f"to have {expected}")

    wait_rows([("chat/1", 0, 1)])
    db("route", "pause", "chat")
    syncd.wait_for(lambda: stored.state(database[1], "chat") == ("paused", None), "to pause")
    server.append("chat/1", [{"n": 2}])
    db("route", "resume", "chat")
    wait_rows([("chat/1", 0, 1), ("chat/1", 1, 2)])
    db("route", "rm", "chat")
    syncd.wait_for(lambda: stored.state(database[1], "chat") is None, "to let go")
    server.append("chat/1", [{"n": 3}])
    apply(db, route(columns={"n": {"pointer": "/n", "type": "integer"}}, layout={"hash": 2}))
    wait_rows([("chat/1", 0, 1), ("chat/1", 1, 2), ("chat/1", 2, 3)])


@pytest.fixture
def login(cursor, database):
    """login(role) -> dsctl as a user who is a member of that role, and nothing else."""
    made = []

    def make(role):
        user = f"dsctl_{role}_{os.getpid()}"
        cursor.execute(f"CREATE ROLE {user} LOGIN IN ROLE {role}")
        made.append(user)
        return Dsctl(POSTGRES_URL=database[0].replace("postgres@", f"{user}@"))

    yield make
    for user in made:
        cursor.execute(f"DROP OWNED BY {user}; DROP ROLE {user}")


def test_the_owner_of_the_schema_needs_no_superuser(db, cursor, login):
    owner = login("ds_sync_owner")
    owner.error("route", "apply", "-f", "-", status=AUTH, stdin=json.dumps({"routes": [route()]}).encode())
    assert one(cursor, "SELECT count(*) FROM ds_sync.route") == 0
    cursor.execute("GRANT CREATE ON SCHEMA public TO ds_sync_owner")
    apply(owner, route(layout={"hash": 2}))
    apply(owner, route(layout={"hash": 2}, ttl="hold"))
    put_stream(cursor, "chat/1", "chat")
    put_rows(cursor, "chat_events", "chat/1", [40])
    assert prune(owner, "--before", "30d", "--table", "public.chat_events", "--execute") == {"public.chat_events": 1}
    owner("route", "pause", "chat")
    owner("route", "rm", "chat")
    owner("route", "rm", "chat", "--forget", "--execute")


def test_the_writer_can_look_and_not_change(db, cursor, login):
    apply(db, route())
    writer = login("ds_sync_writer")
    for words in (("route", "pause", "chat"), ("route", "rm", "chat"), ("db", "prune", "--before", "1d", "--execute")):
        writer.error(*words, status=AUTH)
    cursor.execute("SET ROLE ds_sync_writer; INSERT INTO chat_events (stream_name, generation, seq, ds_offset, payload) "
                   "VALUES ('chat/1', 1, 0, 'o', '{}'); SELECT * FROM ds_sync.route; RESET ROLE")


# --- prune ---

def put_rows(cursor, table, name, ages, payload="payload"):
    """A row for each age in days, numbered from 0."""
    cursor.execute(f"INSERT INTO {table} (stream_name, generation, seq, ds_offset, {payload}, received_at) "
                   "SELECT %s, 1, at - 1, 'o', '1', clock_timestamp() - make_interval(days => age) "
                   "FROM unnest(%s) WITH ORDINALITY AS a (age, at)", (name, ages))


def prune(db, *words):
    return {row["table"]: row["rows"] for row in db.json("db", "prune", *words)["tables"]}


def test_prune_counts_first_and_deletes_what_is_older_on_demand(db, cursor):
    apply(db, route(layout={"hash": 4}), route("b", **{"as": "chunks"}), route("s", **{"as": "state"}))
    for name in ("chat/1", "chat/2", "chat/3"):
        put_rows(cursor, "chat_events", name, [40, 40, 31, 29, 0])
    put_rows(cursor, "ds_sync.session_events", "x", [40, 0])
    put_rows(cursor, "b_events", "y", [40], "bytes")
    wanted = {"ds_sync.session_events": 1, "ds_sync.stream_chunks": 0, "public.b_events": 1, "public.chat_events": 9}
    assert prune(db, "--before", "30d") == wanted
    assert "--execute" in db.run("db", "prune", "--before", "30d")[2]
    assert one(cursor, "SELECT count(*) FROM chat_events") == 15
    assert prune(db, "--before", "30d", "--execute") == wanted
    cursor.execute("SELECT stream_name, array_agg(seq ORDER BY seq) FROM chat_events GROUP BY 1 ORDER BY 1")
    assert cursor.fetchall() == [("chat/1", [3, 4]), ("chat/2", [3, 4]), ("chat/3", [3, 4])]
    assert set(prune(db, "--before", "30d", "--execute").values()) == {0}
    cursor.execute("SELECT target, details -> 'rows' FROM ds_sync.audit WHERE action = 'db.prune' "
                   "ORDER BY audit_id LIMIT 4")
    assert dict(cursor.fetchall()) == wanted


def test_prune_takes_one_table_and_a_point_in_time(db, cursor):
    apply(db, route())
    put_rows(cursor, "chat_events", "chat/1", [400, 40, 0])
    put_rows(cursor, "ds_sync.session_events", "x", [400])
    moment = one(cursor, "SELECT to_char(clock_timestamp() - interval '100 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    assert prune(db, "--before", moment, "--table", "public.chat_events", "--execute") == {"public.chat_events": 1}
    assert one(cursor, "SELECT count(*) FROM ds_sync.session_events") == 1
    for words, status in ((("--before", "1d", "--table", "public.other"), NOT_FOUND), ((), USAGE),
                          (("--before", "soon"), USAGE), (("--before", "2999-01-01T00:00:00Z"), USAGE)):
        db.error("db", "prune", *words, status=status)


def test_prune_deletes_in_small_batches_that_electric_gets_whole(db, cursor):
    apply(db, route())
    cursor.execute("ALTER TABLE chat_events SET (autovacuum_enabled = off)")
    put_rows(cursor, "chat_events", "chat/1", [40] * 30_000)
    cursor.execute("CREATE TABLE batches (rows bigint); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
                   "'BEGIN INSERT INTO batches SELECT count(*) FROM gone; RETURN NULL; END'; "
                   "CREATE TRIGGER note AFTER DELETE ON chat_events REFERENCING OLD TABLE AS gone "
                   "FOR EACH STATEMENT EXECUTE FUNCTION note()")
    assert prune(db, "--before", "30d", "--table", "public.chat_events", "--execute") == {"public.chat_events": 30_000}
    cursor.execute("SELECT rows FROM batches")
    batches = [rows for (rows,) in cursor.fetchall()]
    assert sum(batches) == 30_000 and max(batches) <= 7_500 and len(batches) > 2
    pads = one(cursor, "SELECT counter FROM ds_sync.electric_pad")
    assert pads == sum(rows > 0 and rows % 100 == 0 for rows in batches)


def test_a_hundred_rows_are_deleted_with_a_change_more(db, cursor):
    put_rows(cursor, "ds_sync.stream_chunks", "y", [40] * 100, "bytes")
    assert prune(db, "--before", "30d", "--table", "ds_sync.stream_chunks", "--execute") == {"ds_sync.stream_chunks": 100}
    assert one(cursor, "SELECT counter FROM ds_sync.electric_pad") == 1


def test_a_stream_goes_on_counting_behind_rows_that_were_pruned(db, cursor, server, start_syncd):
    server.create("s")
    server.append("s", [1, 2, 3])
    start_syncd(["s"])
    ds.wait_until(lambda: one(cursor, "SELECT count(*) FROM ds_sync.session_events") == 3)
    cursor.execute("UPDATE ds_sync.session_events SET received_at = received_at - interval '40 days'")
    assert prune(db, "--before", "30d", "--execute")["ds_sync.session_events"] == 3
    server.append("s", [4, 5])
    ds.wait_until(lambda: one(cursor, "SELECT count(*) FROM ds_sync.session_events") == 2)
    cursor.execute("SELECT seq, payload FROM ds_sync.session_events ORDER BY seq")
    assert cursor.fetchall() == [(3, 4), (4, 5)]
    assert one(cursor, "SELECT next_seq FROM ds_sync.stream_offset") == 5


# --- docs/routes.md ---

def test_the_example_of_the_page_is_applied(db, cursor):
    page = (ds.ROOT / "docs/routes.md").read_text()
    text = re.search(r"\$ cat routes.json\n(.*?)\n    \$", page, re.S)[1]
    db("route", "apply", "-f", "-", stdin=text.encode())
    assert len(leaves_of(cursor, "chat_events")) == 16


def test_the_page_has_every_member_and_no_other():
    page = (ds.ROOT / "docs/routes.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", page.partition("## Members")[2].partition("## Several")[0], re.M)
    source = re.search(r"route_members\[\] = \{(.*?)\}", (ds.ROOT / "common/route_spec.c").read_text(), re.S)[1]
    assert sorted(listed) == sorted(re.findall(r'"(\w+)"', source))
