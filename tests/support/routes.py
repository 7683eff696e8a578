# SPDX-License-Identifier: Apache-2.0
"""Routes and their tables, made by hand: for tests of who runs routes, not of who declares them."""
import json


def make_table(connection, table, columns="", payload="jsonb"):
    """A table for events; columns: more of them, each ending with a comma."""
    connection.cursor().execute(
        f'CREATE TABLE {table} (stream_name text COLLATE "C" NOT NULL, generation integer NOT NULL,'
        f' seq bigint NOT NULL, ds_offset text COLLATE "C" NOT NULL, {columns}'
        f' payload {payload} NOT NULL, PRIMARY KEY (stream_name, seq))')


def declare(connection, name, streams, table, paused=False, applied="0 s", **members):
    """Store a route, or another version of it; a new one as if it had been applied so much later."""
    spec = {"name": name, "streams": streams, "table": table, "as": "events", **members}
    connection.cursor().execute(
        "INSERT INTO ds_sync.route AS r (name, spec, paused, applied_at)"
        " VALUES (%s, %s, %s, clock_timestamp() + %s::interval)"
        " ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, paused = excluded.paused,"
        " version = r.version + 1", (name, json.dumps(spec), paused, applied))


def pause(connection, name, paused=True):
    connection.cursor().execute(
        "UPDATE ds_sync.route SET paused = %s, version = version + 1 WHERE name = %s", (paused, name))


def remove(connection, name):
    connection.cursor().execute("DELETE FROM ds_sync.route WHERE name = %s", (name,))


def payloads(connection, table, stream):
    """What the table holds of a stream, in order."""
    cursor = connection.cursor()
    cursor.execute(f"SELECT payload FROM {table} WHERE stream_name = %s ORDER BY seq", (stream,))
    return [row[0] for row in cursor.fetchall()]


def state(connection, name):
    """(state, reason): that it is stopped, or what the one instance said, or None."""
    cursor = connection.cursor()
    for place in ("route_state", "route_instance"):
        cursor.execute(f"SELECT state, reason FROM ds_sync.{place} WHERE name = %s", (name,))
        found = cursor.fetchone()
        if found is not None:
            break
    return found
