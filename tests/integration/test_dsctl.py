# SPDX-License-Identifier: Apache-2.0
"""dsctl as an operator and a script use it: the real program, its output and its exit status."""
import base64
import json
import os
import re
import signal
import socket
import subprocess
import threading

import ds
import fake_server
import pytest

OK, FAILURE, USAGE, NOT_FOUND, AUTH, CONFLICT, NO_SOURCE, NO_POSTGRES, PARTIAL, WARNING, FENCED = range(11)
INTERRUPTED = 130
NOBODY = "http://127.0.0.1:1"          # nothing listens there
OURS = ("DSCTL_SERVER", "DSCTL_ADMIN", "DSCTL_TOKEN_FILE", "DSCTL_CA_FILE", "STREAM_URL", "STREAM_AUTH",
        "DS_SERVER_URL", "POSTGRES_URL", "POSTGRES_URL_FILE", "http_proxy", "HTTP_PROXY", "all_proxy")


def environment(**values):
    return {**{key: value for key, value in os.environ.items() if key not in OURS}, **values}


class Dsctl:
    """dsctl with the servers of one test; a call gives (status, stdout, stderr)."""

    def __init__(self, **values):
        self.environment = environment(**values)

    def run(self, *words, stdin=b"", **values):
        done = subprocess.run([ds.program("dsctl"), *words], input=stdin, capture_output=True,
                              env={**self.environment, **values}, timeout=ds.HANG_SECONDS)
        return done.returncode, done.stdout, done.stderr.decode()

    def __call__(self, *words, status=OK, **options):
        """stdout as text of a call that must end with `status`."""
        got, stdout, stderr = self.run(*words, **options)
        assert got == status, f"dsctl {' '.join(words)}: {got} instead of {status}: {stdout!r} {stderr}"
        return stdout.decode()

    def error(self, *words, status, **options):
        """stderr of a call that must end with `status`, and print no data."""
        got, stdout, stderr = self.run(*words, **options)
        assert got == status, f"dsctl {' '.join(words)}: {got} instead of {status}: {stderr}"
        assert stdout == b""
        return stderr

    def json(self, *words, **options):
        return json.loads(self(*words, "-o", "json", **options))

    def lines(self, *words, **options):
        return [json.loads(line) for line in self(*words, **options).splitlines()]

    def start(self, *words, stdin=b""):
        process = subprocess.Popen([ds.program("dsctl"), *words], env=self.environment, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None           # so that communicate() leaves it alone
        return process


@pytest.fixture
def dsctl(server):
    return Dsctl(DSCTL_SERVER=server.url, DSCTL_ADMIN=server.admin_url)


@pytest.fixture
def db(server, database):
    return Dsctl(DSCTL_SERVER=server.url, POSTGRES_URL=database[0])


@pytest.fixture
def fake():
    server = fake_server.FakeServer()
    yield server
    server.stop()


# --- streams ---

def test_create_says_created_then_exists_then_conflict(dsctl):
    first = dsctl.json("stream", "create", "t/a", "-t", "application/json")["streams"][0]
    assert (first["result"], first["content_type"], first["closed"]) == ("created", "application/json", False)
    assert dsctl.json("stream", "create", "t/a", "-t", "application/json")["streams"][0]["result"] == "exists"
    assert "409" in dsctl.error("stream", "create", "t/a", "-t", "text/plain", status=CONFLICT)


def test_create_sets_ttl_expiry_and_closed(dsctl):
    dsctl("stream", "create", "t/ttl", "--ttl", "2h")
    assert dsctl.json("stream", "head", "t/ttl")["ttl_seconds"] == 7200
    dsctl("stream", "create", "t/end", "--expires-at", "2099-01-01T00:00:00Z", "--closed")
    head = dsctl.json("stream", "head", "t/end")
    assert head["expires_at"].startswith("2099-01-01T00:00:00") and head["closed"] is True
    dsctl.error("stream", "create", "t/x", "--ttl", "1500ms", status=USAGE)
    dsctl.error("stream", "create", "t/x", "--expires-at", "a\nX-Evil: 1", status=USAGE)


def test_a_json_stream_is_appended_and_read_message_by_message(dsctl):
    dsctl("stream", "create", "t/json", "-t", "application/json")
    dsctl("stream", "append", "t/json", '{"n": 1.0}')
    dsctl("stream", "append", "t/json", stdin=b'[{"n":2},\n [3]]')
    dsctl("stream", "append", "t/json", "-", stdin=b'"four"')
    assert dsctl("stream", "read", "t/json") == '{"n": 1.0}\n{"n":2}\n[3]\n"four"\n'
    assert json.loads(dsctl("stream", "read", "t/json", "-o", "json")) == [{"n": 1.0}, {"n": 2}, [3], "four"]
    lines = dsctl.lines("stream", "read", "t/json", "-o", "ndjson")
    assert [line["data"] for line in lines] == [{"n": 1.0}, {"n": 2}, [3], "four"]
    assert "offset" in lines[-1] and not any("offset" in line for line in lines[:-1])
    assert dsctl("stream", "read", "t/json", "--from", lines[-1]["offset"]) == ""
    assert dsctl("stream", "read", "t/json", "-n", "2") == '{"n": 1.0}\n{"n":2}\n'


def test_lines_become_messages_in_batches(dsctl, folder, server):
    dsctl("stream", "create", "t/lines", "-t", "application/json")
    path = folder / "lines"
    path.write_text("".join(f'{{"n":{n}}}\n' for n in range(250)) + "\n  [1,2] \r\n" + '"no line feed"')
    row = dsctl.json("stream", "append", "t/lines", "--json-lines", "-f", str(path), "--batch", "100", "--close")
    assert (row["appends"][0]["requests"], row["appends"][0]["messages"]) == (3, 252)
    messages, _ = server.read_json("t/lines")
    assert messages == [{"n": n} for n in range(250)] + [[1, 2], "no line feed"]
    assert dsctl.json("stream", "head", "t/lines")["closed"] is True


def test_a_bad_line_is_named_and_nothing_after_it_is_sent(dsctl, server):
    dsctl("stream", "create", "t/bad", "-t", "application/json")
    stderr = dsctl.error("stream", "append", "t/bad", "--json-lines", "--batch", "1", status=USAGE,
                         stdin=b"1\n2\n{bad\n4\n")
    assert "line 3" in stderr
    assert server.read_json("t/bad")[0] == [1]      # 2 waits for the next line to know whether it is the last
    dsctl("stream", "create", "t/text", "-t", "text/plain")
    dsctl.error("stream", "append", "t/text", "--json-lines", status=USAGE, stdin=b"1\n")
    dsctl.error("stream", "append", "t/bad", "1", "--json-lines", status=USAGE)
    dsctl.error("stream", "append", "t/bad", "1", "-f", "/dev/null", status=USAGE)
    dsctl.error("stream", "append", "t/bad", "-f", "/nowhere", status=USAGE)


def test_bytes_come_back_as_they_were(dsctl, folder):
    content = os.urandom(100_000)
    path = folder / "bytes"
    path.write_bytes(content)
    dsctl("stream", "create", "t/bytes")
    dsctl("stream", "append", "t/bytes", "--file", str(path))
    assert dsctl.run("stream", "read", "t/bytes")[1] == content
    assert dsctl.run("stream", "tail", "t/bytes", "-o", "raw", "-n", "1")[1] == content
    line = dsctl.lines("stream", "tail", "t/bytes", "-n", "1")[0]
    assert base64.b64decode(line["base64"]) == content
    dsctl.error("stream", "read", "t/bytes", "-o", "json", status=USAGE)


def test_text_is_shown_as_text(dsctl):
    dsctl("stream", "create", "t/text", "-t", "text/plain; charset=utf-8")
    dsctl("stream", "append", "t/text", 'grüß "dich"\r\n')
    assert dsctl.run("stream", "read", "t/text")[1].decode() == 'grüß "dich"\r\n'
    assert dsctl.lines("stream", "read", "t/text", "-o", "ndjson")[0]["data"] == 'grüß "dich"\r\n'


def test_a_producer_may_repeat_itself_and_a_newer_one_fences_it(dsctl, server):
    dsctl("stream", "create", "t/p", "-t", "application/json")
    words = ("stream", "append", "t/p", '{"n":1}', "--producer-id", "p")
    assert dsctl.json(*words)["appends"][0]["result"] == "appended"
    assert dsctl.json(*words)["appends"][0]["result"] == "duplicate"
    assert server.read_json("t/p")[0] == [{"n": 1}]
    dsctl.error(*words, "--producer-seq", "7", status=CONFLICT)
    dsctl(*words, "--producer-epoch", "1")
    dsctl.error(*words, "--producer-epoch", "0", status=FENCED)


def test_batches_of_a_producer_count_on(dsctl, server):
    dsctl("stream", "create", "t/pl", "-t", "application/json")
    words = ("stream", "append", "t/pl", "--json-lines", "--batch", "2", "--producer-id", "p")
    for _ in range(2):
        dsctl(*words, stdin=b"1\n2\n3\n4\n5\n")
    row = dsctl.json(*words, stdin=b"6\n")["appends"][0]
    assert row["result"] == "duplicate"     # seq 0 again: the server has it, whatever the body says
    assert server.read_json("t/pl")[0] == [1, 2, 3, 4, 5]


def test_close_and_rm_end_a_stream(dsctl):
    dsctl("stream", "create", "t/c", "t/d")
    assert dsctl("stream", "close", "t/c").startswith("closed\tt/c\t")
    dsctl.error("stream", "append", "t/c", "x", status=CONFLICT)
    dsctl("stream", "rm", "t/c", "t/d")
    assert "404" in dsctl.error("stream", "head", "t/c", status=NOT_FOUND)
    dsctl.error("stream", "rm", "t/c", status=NOT_FOUND)
    assert dsctl("stream", "rm", "--if-exists", "t/c") == "absent\tt/c\t-\n"


def test_rm_says_what_it_did_before_it_failed(dsctl):
    dsctl("stream", "create", "t/c")
    status, stdout, stderr = dsctl.run("stream", "rm", "t/c", "t/nope", "t/other")
    assert (status, stdout) == (NOT_FOUND, b"deleted\tt/c\t-\n")
    assert "t/nope" in stderr


def test_ls_lists_by_prefix_in_every_form(dsctl):
    for name in ("ls/b", "ls/a", "other"):
        dsctl("stream", "create", name, "-t", "application/json")
    dsctl("stream", "append", "ls/a", "[1,2,3]")
    rows = dsctl.json("stream", "ls", "ls/")["streams"]
    assert [(row["name"], row["messages"]) for row in rows] == [("ls/a", 3), ("ls/b", 0)]
    assert [row["name"] for row in dsctl.lines("stream", "ls", "-o", "ndjson")] == ["ls/a", "ls/b", "other"]
    csv = dsctl("stream", "ls", "ls/", "-o", "csv").splitlines()
    assert csv[0].startswith("name,content_type,messages,bytes,") and csv[1].startswith("ls/a,application/json,3,")
    assert [line.split("\t")[0] for line in dsctl("stream", "ls", "ls/").splitlines()] == ["ls/a", "ls/b"]
    assert dsctl("stream", "ls", "nothing/") == ""
    status, stdout, stderr = dsctl.run("stream", "ls", "--limit", "1")
    assert (status, stdout.count(b"\n")) == (OK, 1) and "--limit" in stderr


def test_ls_follows_pages(dsctl, server):
    for number in range(1005):
        server.create(f"page/{number:04}")
    rows = dsctl.json("stream", "ls", "page/")["streams"]
    assert [row["name"] for row in rows] == [f"page/{number:04}" for number in range(1005)]


def test_a_terminal_gets_titles_and_aligned_columns(dsctl):
    dsctl("stream", "create", "tty/é", "tty/longer")
    command = f"{ds.program('dsctl')} stream ls tty/"
    done = subprocess.run(["script", "-qec", command, "/dev/null"], env=dsctl.environment, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=ds.HANG_SECONDS)
    title, first, second = done.stdout.decode().replace("\r", "").splitlines()[:3]
    assert title.startswith("NAME        CONTENT-TYPE")
    assert (first.index("application"), second.index("application")) == (12, 12)
    assert "\x1b" not in done.stdout.decode()


# --- tail ---

def test_tail_follows_until_the_stream_closes(dsctl, server):
    server.create("t/tail")
    server.append("t/tail", [1, 2])
    tail = dsctl.start("stream", "tail", "t/tail")
    assert json.loads(tail.stdout.readline())["data"] == 1
    assert json.loads(tail.stdout.readline())["data"] == 2
    server.append("t/tail", [3])
    line = json.loads(tail.stdout.readline())
    assert (line["data"], line["offset"]) == (3, dsctl.json("stream", "head", "t/tail")["next_offset"])
    dsctl("stream", "close", "t/tail")
    assert tail.wait(ds.HANG_SECONDS) == OK
    assert (tail.stdout.read(), tail.stderr.read()) == (b"", b"")


def test_tail_from_now_or_an_offset_leaves_out_what_was_before(dsctl, server):
    server.create("t/from")
    offset = server.append("t/from", [1])["Stream-Next-Offset"]
    server.append("t/from", [2])
    assert dsctl("stream", "tail", "t/from", "--from", offset, "-n", "1", "-o", "raw") == "2\n"
    assert dsctl("stream", "tail", "t/from", "--from", "now", "--idle-timeout", "200ms") == ""


def test_tail_ends_by_itself_when_idle_or_complete(dsctl, server):
    server.create("t/idle")
    server.append("t/idle", [1, 2, 3])
    assert len(dsctl.lines("stream", "tail", "t/idle", "--idle-timeout", "300ms")) == 3
    assert dsctl.lines("stream", "tail", "t/idle", "-n", "2") == [{"data": 1}, {"data": 2}]


@pytest.mark.parametrize("fault", ["cut_inside", "data_without_control", "503_retry_after", "500"])
def test_tail_resumes_after_a_cut_without_loss_or_repetition(fake, fault):
    fake.append([1, 2])
    fake.append([3])
    tail = Dsctl(DSCTL_SERVER=fake.url).start("stream", "tail", "x", "-o", "raw")
    assert [tail.stdout.readline() for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]
    fake.fail_next(fault)
    fake.append([4])
    fake.cut_all()
    assert tail.stdout.readline() == b"4\n"
    with fake.changed:
        fake.closed = True
        fake.changed.notify_all()
    assert tail.wait(ds.HANG_SECONDS) == OK
    assert tail.stdout.read() == b""
    tail.stderr.close()


def test_tail_prints_all_of_several_data_events_before_one_control_event(fake):
    fake.append([1])
    fake.append([2])
    fake.fail_next("two_data_then_control")
    assert Dsctl(DSCTL_SERVER=fake.url)("stream", "tail", "x", "-o", "raw", "-n", "2") == "1\n2\n"


@pytest.mark.parametrize("fault, status, text", [
    ("404", NOT_FOUND, "404"), ("410", NOT_FOUND, "410"), ("401", AUTH, "401"), ("400", USAGE, "400"),
    ("redirect", FAILURE, "not followed"), ("html", FAILURE, "instead of an event stream"),
    ("malformed_json", FAILURE, "bad JSON"), ("garbled_offset", FAILURE, "no valid offset"),
    ("500", NO_SOURCE, "500")])
def test_tail_gives_up_on_what_waiting_does_not_mend(fake, fault, status, text):
    fake.append([1])
    fake.fail_next(fault)
    assert text in Dsctl(DSCTL_SERVER=fake.url).error("stream", "tail", "x", status=status)


def test_interrupt_ends_with_130_and_quietly(dsctl, server):
    server.create("t/int")
    server.append("t/int", [1])
    tail = dsctl.start("stream", "tail", "t/int")
    tail.stdout.readline()
    tail.send_signal(signal.SIGINT)
    assert tail.wait(ds.HANG_SECONDS) == INTERRUPTED
    assert (tail.stdout.read(), tail.stderr.read()) == (b"", b"")


def test_interrupt_ends_a_command_that_reads_stdin(dsctl, server):
    server.create("t/stdin")
    # Whoever runs the tests in the background has them ignore it, and all that they start.
    process = subprocess.Popen([ds.program("dsctl"), "stream", "append", "t/stdin", "--json-lines", "--batch", "1"],
                               env=dsctl.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    process.stdin.write(b"1\n2\n")
    process.stdin.flush()
    ds.wait_until(lambda: server.read_json("t/stdin")[0] == [1], what="the first batch")
    process.send_signal(signal.SIGINT)
    assert process.wait(ds.HANG_SECONDS) in (-signal.SIGINT, INTERRUPTED)
    process.stdin.close()


def test_a_reader_that_leaves_ends_it_quietly(dsctl, server):
    server.create("t/pipe")
    server.append("t/pipe", [{"n": n, "filler": "x" * 1000} for n in range(2000)])
    for words in (("stream", "read", "t/pipe"), ("stream", "tail", "t/pipe")):
        process = dsctl.start(*words)
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(ds.HANG_SECONDS) == OK
        assert process.stderr.read() == b""


def test_a_full_disk_is_a_failure(dsctl, server):
    server.create("t/full")
    server.append("t/full", [1])
    with open("/dev/full", "wb") as full:
        done = subprocess.run([ds.program("dsctl"), "stream", "read", "t/full"], env=dsctl.environment, stdout=full,
                              stderr=subprocess.PIPE, timeout=ds.HANG_SECONDS)
    assert done.returncode == FAILURE and b"No space left" in done.stderr


# --- where things are, and secrets ---

def test_the_server_is_taken_from_the_first_that_says(server):
    server.create("t/where")
    good, bad = server.url, NOBODY
    plain = Dsctl()
    plain("stream", "head", "t/where", DS_SERVER_URL=good)
    plain("stream", "head", "t/where", STREAM_URL=good, DS_SERVER_URL=bad)
    plain("stream", "head", "t/where", DSCTL_SERVER=good, STREAM_URL=bad)
    plain("stream", "head", "t/where", "--server", good, DSCTL_SERVER=bad)
    plain("stream", "head", server.stream_url("t/where"), DSCTL_SERVER=bad)


class Recorder:
    """One HTTP exchange: what came, answered with the given bytes."""

    def __init__(self, answer):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.request = b""
        self.answer = answer
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        connection, _ = self.listener.accept()
        self.request = connection.recv(65536)
        connection.sendall(self.answer)
        connection.close()
        self.listener.close()


def test_the_token_goes_into_the_header_and_nowhere_else(folder):
    path = folder / "token"
    path.write_text("from-file\n")
    for words, values, wanted in ((("--token-file", str(path)), {"STREAM_AUTH": "x"}, b"Bearer from-file"),
                                  ((), {"STREAM_AUTH": "from-env"}, b"Bearer from-env"),
                                  ((), {"STREAM_AUTH": "Bearer from-env"}, b"Bearer from-env")):
        recorder = Recorder(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n")
        stderr = Dsctl(DSCTL_SERVER=recorder.url, **values).error("stream", "head", "x", *words, status=AUTH)
        recorder.thread.join(ds.HANG_SECONDS)
        assert b"Authorization: " + wanted + b"\r\n" in recorder.request
        assert "from-" not in stderr
    assert "STREAM_AUTH" in Dsctl(DSCTL_SERVER=NOBODY, STREAM_AUTH="Basic abc").error("stream", "head", "x",
                                                                                     status=USAGE)


def test_an_error_of_the_server_cannot_draw_on_the_terminal():
    body = b'{"title":"x","detail":"no \\u001b[31mred"}'
    recorder = Recorder(b"HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    stderr = Dsctl(DSCTL_SERVER=recorder.url).error("stream", "read", "x", status=USAGE)
    assert "\\x1b[31mred" in stderr and "\x1b" not in stderr


def test_what_cannot_be_reached_has_a_status_of_its_own():
    assert NOBODY in Dsctl(DSCTL_SERVER=NOBODY).error("stream", "head", "x", status=NO_SOURCE)
    Dsctl(DSCTL_SERVER=NOBODY, DSCTL_ADMIN=NOBODY).error("stream", "ls", status=NO_SOURCE)
    Dsctl(DSCTL_SERVER=NOBODY).error("stream", "tail", "x", status=NO_SOURCE)
    Dsctl(POSTGRES_URL="postgresql://u:hush@127.0.0.1:1/x").error("db", "status", status=NO_POSTGRES)
    Dsctl(POSTGRES_URL="host=127.0.0.1 nonsense=1").error("db", "status", status=USAGE)


def test_a_server_that_does_not_answer_runs_into_the_timeout(fake):
    fake.fail_next("stall")
    stderr = Dsctl(DSCTL_SERVER=fake.url).error("stream", "read", "x", "--timeout", "300ms", status=NO_SOURCE)
    assert stderr


def test_a_password_in_argv_is_warned_of_and_never_printed(postgres_server):
    url = postgres_server.url("no_such_database").replace("postgres@", "postgres:hush@")
    stderr = Dsctl().error("db", "status", "--pg", url, status=NOT_FOUND)
    assert "visible to everybody" in stderr and "hush" not in stderr


def test_wrong_command_lines_end_with_2_and_name_the_mend(dsctl):
    assert 'did you mean "stream"?' in dsctl.error("strem", "ls", status=USAGE)
    assert "dsctl stream tail --help" in dsctl.error("stream", "tail", "--bogus", status=USAGE)
    assert "STREAM" in dsctl.error("stream", "read", status=USAGE)
    assert "table, json, ndjson, csv" in dsctl.error("stream", "ls", "-o", "yaml", status=USAGE)
    dsctl.error("stream", "head", "", status=USAGE)
    dsctl.error("stream", "read", "x", "--from", "a,b", status=USAGE)


# --- the schema ---

MIGRATIONS = sorted(path.stem for path in (ds.ROOT / "sql/migrations").glob("*.sql"))


def test_migrate_is_done_once_and_status_follows(db):
    names = [(int(number), name) for number, name in (stem.split("_", 1) for stem in MIGRATIONS)]
    assert db("db", "status", status=CONFLICT) == "".join(f"{number}\t{name}\tpending\t-\t-\n"
                                                          for number, name in names)
    assert db("db", "migrate").startswith("1\tschema\tapplied")
    assert "nothing to do" in db.run("db", "migrate")[2]
    rows = db.json("db", "status")["migrations"]
    assert [(row["version"], row["name"], row["state"], row["applied_by"]) for row in rows] == \
        [(number, name, "applied", "postgres") for number, name in names]


def test_two_who_migrate_at_once_do_it_once(db):
    started = [db.start("db", "migrate") for _ in range(4)]
    outputs = [process.communicate(timeout=ds.HANG_SECONDS) for process in started]
    assert [process.returncode for process in started] == [OK] * 4, outputs
    done = sorted(line.split(b"\t")[0] for stdout, _ in outputs for line in stdout.splitlines())
    assert done == sorted(str(at + 1).encode() for at in range(len(MIGRATIONS)))


def test_a_lock_that_is_held_gives_up_in_time(db, database):
    cursor = database[1].cursor()
    cursor.execute("SELECT pg_advisory_lock(hashtextextended('ds_sync.migrate', 0))")
    stderr = db.error("db", "migrate", "--lock-timeout", "200ms", status=CONFLICT)
    assert "waiting for another migration" in stderr
    cursor.execute("SELECT pg_advisory_unlock_all()")
    db("db", "migrate")


def test_a_migration_that_fails_leaves_nothing(db, database):
    cursor = database[1].cursor()
    cursor.execute("CREATE PUBLICATION electric_publication_default")      # in the way of 001's last lines
    assert "001_schema" in db.error("db", "migrate", status=FAILURE)
    cursor.execute("SELECT to_regnamespace('ds_sync')")
    assert cursor.fetchone() == (None,)
    cursor.execute("DROP PUBLICATION electric_publication_default")
    db("db", "migrate")


def test_a_newer_schema_is_used_while_it_says_that_it_is_compatible(db, database):
    db("db", "migrate")
    cursor = database[1].cursor()
    ours = len(MIGRATIONS)
    add = "INSERT INTO ds_sync.schema_version (version, min_compatible, name) VALUES (%s, %s, %s)"
    cursor.execute(add, (ours + 1, ours, "expand"))
    assert len(db.json("db", "status")["migrations"]) == ours + 1
    db("db", "migrate")
    cursor.execute(add, (ours + 2, ours + 1, "contract"))
    for words in (("db", "migrate"), ("db", "status")):
        status, _, stderr = db.run(*words)
        assert status == CONFLICT and "upgrade" in stderr and f"version {ours + 1} or newer" in stderr


def test_rights_that_are_missing_are_a_matter_of_credentials(db, database):
    db("db", "migrate")
    user = f"dsctl_limited_{os.getpid()}"
    cursor = database[1].cursor()
    cursor.execute(f"CREATE ROLE {user} LOGIN")
    try:
        url = re.sub("postgres@", f"{user}@", database[0])
        for words in (("sync", "status"), ("dlq", "ls"), ("db", "status"), ("db", "migrate")):
            db.error(*words, "--pg", url, status=AUTH)
    finally:
        cursor.execute(f"DROP ROLE {user}")


def test_commands_that_need_the_schema_name_the_mend(db):
    for words in (("sync", "status"), ("dlq", "ls"), ("dlq", "show", "x", "1")):
        assert "dsctl db migrate" in db.error(*words, status=CONFLICT)


# --- sync and dead letters ---

def put_stream(cursor, name, ds_offset, next_seq, skip=0, content_type="application/json"):
    cursor.execute("INSERT INTO ds_sync.stream (source, name, content_type, state) "
                   "VALUES ('default', %s, %s, 'running') RETURNING stream_id", (name, content_type))
    stream_id = cursor.fetchone()[0]
    cursor.execute("INSERT INTO ds_sync.stream_offset (stream_id, ds_offset, skip, next_seq, epoch, owner, updated_at) "
                   "VALUES (%s, %s, %s, %s, 3, 'host:1', clock_timestamp() - interval '90 s')",
                   (stream_id, ds_offset, skip, next_seq))
    return stream_id


def put_letter(cursor, stream_id, name, seq, payload, generation=1, message="no"):
    cursor.execute("INSERT INTO ds_sync.dead_letter (stream_id, stream_name, generation, seq, ds_offset, reason, "
                   "sqlstate, message, payload) VALUES (%s, %s, %s, %s, 'o', 'nul', '22P05', %s, %s)",
                   (stream_id, name, generation, seq, message, payload))


def test_sync_status_says_state_rows_lag_age_and_owner(db, database, server):
    db("db", "migrate")
    cursor = database[1].cursor()
    for name in ("s/behind", "s/done", "s/bytes"):
        server.create(name, "application/octet-stream" if name == "s/bytes" else "application/json")
    middle = server.append("s/behind", [1, 2])["Stream-Next-Offset"]
    server.append("s/behind", [3, 4, 5, 6])
    tail = server.append("s/done", [1, 2, 3])["Stream-Next-Offset"]
    server.append("s/bytes", b"12345678", "application/octet-stream")
    stream_id = put_stream(cursor, "s/behind", middle, 3, skip=1)
    put_letter(cursor, stream_id, "s/behind", 0, b"x")
    put_stream(cursor, "s/done", tail, 3)
    put_stream(cursor, "s/bytes", "-1", 5, skip=5, content_type="application/octet-stream")
    put_stream(cursor, "s/absent", "-1", 0)
    put_stream(cursor, "s/other-era", "0000000000000001_0000000000000009", 9)
    server.create("s/other-era")

    rows = {row["name"]: row for row in db.json("sync", "status")["streams"]}
    assert {name: (row["lag"], row["lag_state"]) for name, row in rows.items()} == {
        "s/behind": (3, "behind"), "s/done": (0, "caught up"), "s/bytes": (3, "behind"),
        "s/absent": (None, "absent"), "s/other-era": (None, "new era")}
    behind = rows["s/behind"]
    assert (behind["rows"], behind["dead_letters"], behind["owner"], behind["state"]) == (2, 1, "host:1", "running")
    assert 90_000 <= behind["age_ms"] < 90_000 + ds.HANG_SECONDS * 1000
    assert (rows["s/bytes"]["rows"], rows["s/bytes"]["bytes"]) == (None, 5)

    assert db("sync", "status", "s/done").split("\t")[:6] == ["s/done", "running", tail, "3", "0", "0"]
    db.error("sync", "status", "s/done", "s/unknown", status=NOT_FOUND)
    db("sync", "status", "--max-lag", "3", "s/done", "s/behind")
    db("sync", "status", "--max-lag", "2", "s/done", "s/behind", status=WARNING)
    db("sync", "status", "--max-lag", "3", "s/absent", status=WARNING)
    cursor.execute("UPDATE ds_sync.stream SET route = 'removed' WHERE name = 's/absent'")
    db("sync", "status", "--max-lag", "3", "s/absent")
    assert [row["removed"] for row in db.json("sync", "status", "s/absent", "s/done")["streams"]] == [True, False]


def test_a_stream_that_was_deleted_when_all_of_it_was_loaded_is_behind_of_nothing(db, database, server):
    """--max-lag ended with 9 for ever once after_sync, or anybody, deleted a stream that was closed."""
    db("db", "migrate")
    cursor = database[1].cursor()
    stream_id = put_stream(cursor, "s/over", "0000000000000001_0000000000000003", 3)
    put_stream(cursor, "s/lost", "0000000000000001_0000000000000003", 3)
    cursor.execute("UPDATE ds_sync.stream_offset SET closed = true WHERE stream_id = %s", (stream_id,))
    rows = db.json("sync", "status", "s/over", "--max-lag", "0")["streams"]
    assert [(row["lag"], row["lag_state"]) for row in rows] == [(None, "absent")]
    db("sync", "status", "s/lost", "--max-lag", "0", status=WARNING)
    server.create("s/over")
    db("sync", "status", "s/over", "--max-lag", "0", status=WARNING)     # another one, and nothing of it is loaded


def test_sync_status_without_the_server_says_what_postgres_knows(db, database):
    db("db", "migrate")
    put_stream(database[1].cursor(), "s/x", "-1", 0)
    status, stdout, stderr = db.run("sync", "status", "-o", "json", "--server", NOBODY)
    assert status == PARTIAL and "no lag" in stderr
    assert json.loads(stdout)["streams"][0]["lag_state"] == "unknown"
    assert db.run("sync", "status", "--no-head", "--server", NOBODY)[0::2] == (OK, "")


def test_sync_status_shows_what_syncd_did(db, server, start_syncd):
    server.create("s/real")
    tail = server.append("s/real", [{"type": "message"}] * 7)["Stream-Next-Offset"]
    start_syncd(["s/real"])

    def loaded():
        status, stdout, _ = db.run("sync", "status", "s/real", "-o", "json")
        rows = json.loads(stdout)["streams"] if status == OK else []
        return rows if rows and rows[0]["rows"] == 7 else None

    row = ds.wait_until(loaded, what="7 rows in `dsctl sync status`")[0]
    assert (row["offset"], row["lag"], row["lag_state"], row["dead_letters"]) == (tail, 0, "caught up", 0)
    assert row["owner"]


def test_dead_letters_are_listed_newest_first_and_shown_safely(db, database):
    db("db", "migrate")
    cursor = database[1].cursor()
    stream_id = put_stream(cursor, "d/a", "-1", 9)
    other_id = put_stream(cursor, "d/b", "-1", 9)
    payload = b'{"a":"\\u0000"}\n\x1b[31m\x00\xff'
    put_letter(cursor, stream_id, "d/a", 2, b"old", generation=1)
    put_letter(cursor, stream_id, "d/a", 2, payload, generation=2, message="bad \x1b[0m thing")
    put_letter(cursor, other_id, "d/b", 4, b"other")

    assert [(row["stream"], row["generation"]) for row in db.json("dlq", "ls")["dead_letters"]] == [
        ("d/b", 1), ("d/a", 2), ("d/a", 1)]
    assert len(db("dlq", "ls", "d/a").splitlines()) == 2
    assert "--limit" in db.run("dlq", "ls", "--limit", "1")[2]
    assert "\x1b" not in db("dlq", "ls")

    shown = db("dlq", "show", "d/a", "2")
    assert "\x1b" not in shown and "\x00" not in shown and '{"a":"\\u0000"}' in shown
    letter = db.json("dlq", "show", "d/a", "2")
    assert bytes.fromhex(letter["payload_hex"]) == payload
    assert (letter["reason"], letter["sqlstate"], letter["bytes"]) == ("nul", "22P05", len(payload))
    assert db.run("dlq", "show", "d/a", "2", "--payload")[1] == payload
    assert db.run("dlq", "show", "d/a", "2", "-g", "1", "--payload")[1] == b"old"
    db.error("dlq", "show", "d/a", "3", status=NOT_FOUND)
    db.error("dlq", "show", "d/a", "two", status=USAGE)


# --- the program itself ---

def test_version_help_and_completion_need_no_server():
    plain = Dsctl()
    assert re.fullmatch(r"dsctl \d+\.\d+\.\d+\n", plain("version"))
    assert plain("--version") == plain("version")
    assert plain.json("version")["database_schema"] == len(MIGRATIONS)
    assert "exit status:" in plain("--help")
    assert "usage: dsctl stream tail STREAM" in plain("help", "stream", "tail")
    for shell in ("bash", "zsh", "fish"):
        assert "dsctl" in plain("completion", shell)
    plain.error("completion", "tcsh", status=USAGE)


def test_the_documentation_is_what_the_program_says():
    page = (ds.ROOT / "docs/dsctl.md").read_text()
    assert page.endswith(Dsctl()("manual")), "docs/dsctl.md does not end with the output of `dsctl manual`"


def test_every_exit_status_is_documented():
    header = (ds.ROOT / "dsctl/exit_codes.h").read_text()
    codes = re.findall(r"X\(DSCTL_\w+, (\d+), ", header)
    help_page = Dsctl()("--help")
    assert len(codes) == 12 and all(re.search(rf"^  {code}\s", help_page, re.M) for code in codes)


def test_lease_ls_shows_instances_what_they_hold_and_what_is_free(db, database, start_syncd):
    db("db", "migrate")
    assert db.json("lease", "ls")["instances"] == [{
        "instance": None, "host": None, "pid": None, "version": None, "partitions": 64, "streams": 0,
        "lease_left_ms": None, "seen_age_ms": None, "started_at": None}]
    syncd = start_syncd(["s/leased"], SYNCD_INSTANCE="one", SYNCD_LEASE="5m")
    database[1].cursor().execute("UPDATE ds_sync.work_partition SET owner = 'ghost', epoch = 7 "
                                 "WHERE partition_no = 63")
    rows = {row["instance"]: row for row in db.json("lease", "ls")["instances"]}
    assert set(rows) == {"one", "ghost"}
    assert (rows["one"]["partitions"], rows["one"]["streams"], rows["one"]["pid"]) == (63, 1, syncd.pid)
    assert 0 < rows["one"]["lease_left_ms"] <= 300_000
    assert 0 <= rows["one"]["seen_age_ms"] < ds.HANG_SECONDS * 1000
    assert (rows["ghost"]["partitions"], rows["ghost"]["host"]) == (1, None)
    partitions = db.json("lease", "ls", "--partitions")["partitions"]
    assert [row["partition"] for row in partitions] == list(range(64))
    assert (partitions[63]["instance"], partitions[63]["epoch"]) == ("ghost", 7)
    lines = db("lease", "ls", "-o", "ndjson").splitlines()
    assert sorted(json.loads(line)["instance"] for line in lines) == ["ghost", "one"]
    assert db("lease", "ls").splitlines()[1].split("\t")[:1] == ["one"]


def test_lease_release_frees_what_an_instance_holds_and_one_that_lives_comes_back(db, database, start_syncd):
    syncd = start_syncd(["s/leased"], SYNCD_INSTANCE="one", SYNCD_LEASE="3s")
    cursor = database[1].cursor()
    cursor.execute("UPDATE ds_sync.work_partition SET owner = 'ghost', epoch = epoch + 1, "
                   "lease_until = clock_timestamp() + interval '5 min' WHERE partition_no < 3")
    status, _, stderr = db.run("lease", "release", "ghost")
    assert (status, stderr) == (OK, "dsctl: ghost: 3 partitions are free\n")
    db.error("lease", "release", "ghost", status=NOT_FOUND)
    db.error("lease", "release", status=USAGE)
    db.error("lease", "release", "--all", "one", status=USAGE)

    def held():
        cursor.execute("SELECT count(*) FROM ds_sync.work_partition WHERE owner = 'one'")
        return cursor.fetchone()[0]
    ds.wait_until(lambda: held() == 64, what="the living instance to hold all")
    assert db.run("lease", "release", "--all")[0] == OK
    syncd.wait_log("event=lease.lost")
    ds.wait_until(lambda: held() == 64, what="the living instance to come back")
    cursor.execute("SELECT target FROM ds_sync.audit WHERE action = 'lease.release' ORDER BY audit_id")
    assert cursor.fetchall() == [("ghost",), ("one",)]
