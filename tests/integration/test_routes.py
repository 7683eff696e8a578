# SPDX-License-Identifier: Apache-2.0
"""Routes: how they are declared, checked against the tables, stored and changed."""

import ds
import pytest
from test_dsctl import CONFLICT, Dsctl, NOT_FOUND, USAGE


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
