# SPDX-License-Identifier: Apache-2.0
"""What dsctl says to somebody who is tired: a wrong name is never an empty list, and nothing is lost silently."""
import subprocess

import ds
import pytest
from test_dsctl import AUTH, db, dsctl, FAILURE, NO_SOURCE, NOT_FOUND  # noqa: F401  (two are fixtures)
from test_routes import cursor, login  # noqa: F401  (fixtures)


@pytest.fixture
def migrated(db):  # noqa: F811
    db("db", "migrate")
    return db


@pytest.mark.parametrize("words", [
    ("sync", "status", "-r", "nope"), ("dlq", "ls", "-r", "nope"), ("dlq", "replay", "-r", "nope"),
    ("dlq", "purge", "--before", "1d", "-r", "nope"), ("sync", "retry", "--all", "-r", "nope")], ids=" ".join)
def test_a_route_that_was_never_declared_is_no_empty_list(migrated, words):
    assert "there is no route nope" in migrated.error(*words, status=NOT_FOUND)


@pytest.mark.parametrize("words", [("dlq", "ls", "nope"), ("dlq", "replay", "nope"),
                                   ("dlq", "purge", "nope", "--before", "1d")], ids=" ".join)
def test_a_stream_that_was_never_seen_is_no_empty_list(migrated, words):
    assert "syncd knows no stream nope" in migrated.error(*words, status=NOT_FOUND)


def test_an_empty_list_says_what_there_is_none_of(migrated, database):
    database[1].cursor().execute("INSERT INTO ds_sync.stream (source, name) VALUES ('default', 'a')")
    for words in (("dlq", "ls"), ("dlq", "ls", "a"), ("dlq", "ls", "-r", "default"), ("dlq", "replay", "--all"),
                  ("dlq", "purge", "--before", "1d")):
        status, stdout, stderr = migrated.run(*words)
        assert (status, stdout) == (0, b"") and "no dead letter" in stderr, words
    assert migrated.json("dlq", "ls")["dead_letters"] == []
    status, stdout, stderr = migrated.run("sync", "status", "-r", "default", "--no-head")
    assert status == 0 and stdout and stderr == ""


def test_streams_that_are_not_there_are_said_to_be_none(dsctl):  # noqa: F811
    status, stdout, stderr = dsctl.run("stream", "ls", "x/")
    assert (status, stdout) == (0, b"") and "no stream begins with x/" in stderr
    assert "there are no streams" in dsctl.run("stream", "ls")[2]


def test_the_built_in_route_is_not_said_to_be_missing(migrated):
    said = migrated.error("route", "pause", "default", status=NOT_FOUND)
    assert "built in" in said and "SYNCD_STREAMS" in said
    assert "built in" in migrated.error("route", "rm", "default", status=NOT_FOUND)
    said = migrated.run("route", "resume", "default")
    assert said[0] == 0 and "default is neither paused nor stopped" in said[2]


def test_who_may_not_is_told_what_it_takes(migrated, login):  # noqa: F811
    nobody = login("pg_monitor")
    for words in (("sync", "status"), ("route", "ls"), ("dlq", "ls"), ("lease", "ls")):
        said = nobody.error(*words, status=AUTH)
        assert "permission denied for schema ds_sync" in said and "SELECT" in said and "ds_sync_owner" in said


def test_the_admin_listener_is_named_where_it_is_not_found(dsctl, server):  # noqa: F811
    assert "--admin" in dsctl.error("stream", "ls", status=NO_SOURCE, DSCTL_ADMIN="http://127.0.0.1:1")
    assert "--admin" in dsctl.error("stream", "ls", status=NOT_FOUND, DSCTL_ADMIN=server.url)


def test_letters_that_are_not_there_are_named_beside_those_that_are(migrated, cursor):  # noqa: F811
    cursor.execute("INSERT INTO ds_sync.stream (source, name) VALUES ('default', 'a') RETURNING stream_id")
    cursor.execute("INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, "
                   "message, payload) VALUES (%s, 'a', 1, 7, '-1', 'nul', 'no', 'x')", cursor.fetchone())
    status, stdout, stderr = migrated.run("dlq", "rm", "a", "7", "8", "9")
    assert status == 0 and stdout and "no dead letter of a has the number 8" in stderr and "the number 9" in stderr
    assert "the number 7" not in stderr


@pytest.mark.parametrize("words", [("sync", "status", "-o", "json"), ("route", "ls", "-o", "json"), ("db", "status"),
                                   ("lease", "ls"), ("stream", "head", "a"), ("version",), ("manual",), ("--help",)], ids=" ".join)
@pytest.mark.parametrize("stdout", [">&-", ">/dev/full"])
def test_what_cannot_be_written_is_a_failure_that_is_said(migrated, server, words, stdout):
    """A closed stdout was the number of the next socket: answers went to Postgres, or the program ended by itself."""
    server.create("a")
    done = subprocess.run(["sh", "-c", f'exec "$0" "$@" {stdout}', ds.program("dsctl"), *words],
                          stderr=subprocess.PIPE, env=migrated.environment, timeout=ds.HANG_SECONDS)
    said = done.stderr.decode()
    assert done.returncode == FAILURE and "cannot write the output" in said, said
