# SPDX-License-Identifier: Apache-2.0
"""No secret is ever shown: a password and a token are planted, and everything that comes out is searched."""
import http.server
import signal
import subprocess
import threading
import urllib.parse
import uuid
from pathlib import Path

import ds
import pytest
import routes
from fake_server import FakeAdmin, FakeServer
from test_syncd_service import run
from test_syncd_source_faults import FAST, messages, wait_rows

STREAM = "secret/stream"
TABLE = "public.other"
PASSWORD = "pl4nted:p@ss/w0rd"
TOKEN = "pl4nted-t0ken.abc"
OTHER_TOKEN = "pl4nted-0ther.def"
NEEDLES = ("pl4nted", urllib.parse.quote(PASSWORD, safe=""), "p@ss", "w0rd", "t0ken", "0ther")


def clean(text, what):
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    for needle in NEEDLES:
        at = text.find(needle)
        assert at < 0, f"{what} shows {needle}: ...{text[max(0, at - 200):at + 60]}..."
    return text


def dsctl(*words, **environment):
    """All that it says, whatever it thinks of it."""
    done = subprocess.run([ds.program("dsctl"), *words], stdin=subprocess.DEVNULL, timeout=ds.HANG_SECONDS,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={"PATH": "/usr/bin:/bin", **environment})
    return clean(done.stdout, f"dsctl {' '.join(words)}")


@pytest.fixture
def secret_url(postgres_server, database):
    """The database's URL with a login that must show the planted password."""
    name = f"login_{uuid.uuid4().hex[:12]}"
    rules = postgres_server.folder / "data/pg_hba.conf"
    before = rules.read_text()
    cursor = database[1].cursor()
    cursor.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD %s", (PASSWORD,))
    rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{before}")
    cursor.execute("SELECT pg_reload_conf()")
    yield database[0].replace("postgres@", f"{name}:{urllib.parse.quote(PASSWORD, safe='')}@")
    rules.write_text(before)
    cursor.execute("SELECT pg_reload_conf()")
    cursor.execute(f"REASSIGN OWNED BY {name} TO postgres")
    cursor.execute(f"DROP OWNED BY {name}")
    cursor.execute(f"DROP ROLE {name}")


@pytest.fixture
def token_file(folder):
    path = folder / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def other_token_file(folder):
    path = folder / "other-token"
    path.write_text(OTHER_TOKEN + "\n")
    return path


def tables(connection):
    """Every row of every table of ours, and what other sessions of the server see of us."""
    cursor = connection.cursor()
    cursor.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p')"
                   " AND relnamespace = 'ds_sync'::regnamespace")
    text = []
    for name, in cursor.fetchall():
        cursor.execute(f"SELECT t::text FROM {name} AS t")
        text += [row[0] for row in cursor.fetchall()]
    cursor.execute("SELECT a::text FROM pg_stat_activity AS a")
    return "\n".join(text + [row[0] for row in cursor.fetchall()])


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_nothing_that_a_working_instance_says_or_stores_holds_a_secret(
        form, folder, database, postgres_server, server, secret_url, token_file, other_token_file):
    url_file = folder / "postgres-url"
    url_file.write_text(secret_url + "\n")
    server.create(STREAM)
    other = FakeServer()
    other.token = OTHER_TOKEN
    other.append(messages(0, 3))
    settings = {"POSTGRES_URL_FILE": str(url_file), "SYNCD_DS_TOKEN_FILE": str(token_file),
                "SYNCD_SERVERS": f"other={other.url}", "SYNCD_SERVER_TOKEN_FILES": f"other={other_token_file}",
                "SYNCD_LOG": "trace", "SYNCD_LOG_FORMAT": form, **FAST}
    syncd = ds.Syncd(folder, server.url, "", [STREAM], name="syncd-secret", environment=settings)
    try:
        syncd.wait_ready()
        server.append(STREAM, messages(0, 3) + [{"bad": "\x00"}])
        wait_rows(database, messages(0, 3), syncd, STREAM)
        routes.make_table(database[1], TABLE)
        routes.declare(database[1], "other", [STREAM], TABLE, server="other", name_prefix="other/")
        syncd.wait_for(lambda: len(routes.payloads(database[1], TABLE, f"other/{STREAM}")) == 3,
                       "to load from the other server")
        clean(Path(f"/proc/{syncd.pid}/cmdline").read_bytes(), "the command line")
        syncd.signal(signal.SIGHUP)
        syncd.wait_log("SIGHUP")
        database[1].cursor().execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                     " WHERE application_name LIKE 'syncd/%' AND datname = current_database()")
        syncd.wait_log("postgres.down")
        syncd.wait_ready()
        for path in ("livez", "readyz", "status", "metrics", "nothing"):
            clean(ds.http("GET", f"{syncd.url}/{path}")[2], f"/{path}")
        clean(tables(database[1]), "a table")
        environment = {"POSTGRES_URL_FILE": str(url_file), "DS_SERVER_URL": server.url,
                       "DSCTL_TOKEN_FILE": str(token_file), "DSCTL_ADMIN": server.admin_url}
        for words in (["sync", "status"], ["sync", "status", "-o", "json"], ["dlq", "ls"],
                      ["dlq", "show", STREAM, "3"], ["db", "status"], ["stream", "head", STREAM],
                      ["stream", "ls"], ["route", "ls"], ["lease", "ls"]):
            dsctl(*words, **environment)
    finally:
        syncd.stop()
        other.stop()
    clean(syncd.log_text(), "the log")
    clean(postgres_server.process.log_text(), "the log of Postgres")
    for flag in ("--print-config", "--check", "--check-config", "--help"):
        clean(run(flag, DS_SERVER_URL=server.url, SYNCD_LISTEN="127.0.0.1:0",
                  **{name: settings[name] for name in settings if not name.startswith("SYNCD_LOG")})[1], flag)


class EchoServer(http.server.ThreadingHTTPServer):
    """Refuses everybody, and shows what it was asked in its head and body, as debugging proxies do."""

    def __init__(self, status):
        outer = self
        self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                said = self.headers.get("Authorization", "")
                outer.seen.append(said)
                self.send_response(status, f"refused {said}")
                self.send_header("WWW-Authenticate", f'Bearer error="{said}"')
                self.send_header("Location", f"http://127.0.0.1/?token={said}")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said.encode())

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *unused):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = True
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()

    def stop(self):
        self.shutdown()
        self.thread.join()
        self.server_close()


@pytest.mark.parametrize("status", [302, 401, 403, 418, 500])
def test_no_error_of_a_server_that_echoes_the_token_holds_it(
        status, folder, database, token_file, other_token_file):
    echo, other = EchoServer(status), EchoServer(status)
    url = f"http://127.0.0.1:{echo.server_port}"
    syncd = ds.Syncd(folder, url, database[0], [STREAM], name="syncd-echo", environment={
        **FAST, "SYNCD_DS_TOKEN_FILE": str(token_file), "SYNCD_SERVERS": f"other=http://127.0.0.1:{other.server_port}",
        "SYNCD_SERVER_TOKEN_FILES": f"other={other_token_file}", "SYNCD_LOG": "trace"})
    try:
        syncd.wait_log("event=s")                     # source.retry, source.refused or stream.failed
        ds.wait_until(lambda: f"Bearer {TOKEN}" in echo.seen, what="the token to arrive")
        routes.make_table(database[1], TABLE)
        routes.declare(database[1], "other", [STREAM], TABLE, server="other", name_prefix="other/")
        ds.wait_until(lambda: f"Bearer {OTHER_TOKEN}" in other.seen, what="the other token to arrive")
        syncd.wait_for(lambda: any(stream["server"] == "other" and stream["reason"]
                                   for stream in syncd.status()["streams"]), "to tell the refusal")
        for path in ("readyz", "status", "metrics"):
            clean(ds.http("GET", f"{syncd.url}/{path}")[2], f"/{path}")
        clean(tables(database[1]), "a table")
        clean(run("--check", DS_SERVER_URL=url, POSTGRES_URL=database[0],
                  SYNCD_DS_TOKEN_FILE=str(token_file))[1], "--check")
        for words in (["stream", "head", STREAM], ["stream", "tail", STREAM], ["stream", "create", STREAM]):
            dsctl(*words, DS_SERVER_URL=url, DSCTL_TOKEN_FILE=str(token_file))
            dsctl(*words, DS_SERVER_URL=url, STREAM_AUTH=f"Bearer {TOKEN}")
            dsctl(*words, DS_SERVER_URL=url, DSCTL_TOKEN_FILE=TOKEN)
    finally:
        syncd.stop()
        echo.stop()
        other.stop()
    clean(syncd.log_text(), "the log")


def shown(server):
    """What it was asked with."""
    return {head.fields.get("authorization") for head in server.heads}


def test_each_server_is_shown_its_own_token_and_an_admin_listener_none(
        folder, database, token_file, other_token_file):
    listeners = {"default": FakeServer(), "other": FakeServer(), "open": FakeServer(),
                 "default admin": FakeAdmin(), "other admin": FakeAdmin()}
    for listener in listeners.values():
        listener.era = 1
        listener.append(messages(0, 2))
    url = {name: listener.url for name, listener in listeners.items()}
    syncd = ds.Syncd(folder, url["default"], database[0], [], environment={
        **FAST, "SYNCD_DS_TOKEN_FILE": str(token_file), "SYNCD_SERVER_TOKEN_FILES": f"other={other_token_file}",
        "SYNCD_SERVERS": f"other={url['other']},open={url['open']}",
        "SYNCD_ADMIN_URLS": f"default={url['default admin']},other={url['other admin']}"})
    try:
        syncd.wait_log("the schema is there")
        routes.make_table(database[1], TABLE)
        for name in ("default", "other", "open"):
            trims = {} if name == "open" else {"after_sync": "trim", "after_sync_grace": "1s"}
            routes.declare(database[1], f"of_{name}", [STREAM], TABLE, server=name, name_prefix=f"{name}/", **trims)
        for name in ("default", "other", "open"):
            syncd.wait_for(lambda: routes.payloads(database[1], TABLE, f"{name}/{STREAM}") == messages(0, 2),
                           f"to load from {name}")
        for name in ("default admin", "other admin"):
            syncd.wait_for(lambda: {head.method for head in listeners[name].heads} == {"GET", "POST"},
                           "to list and to trim")
        assert {name: shown(listener) for name, listener in listeners.items()} == {
            "default": {f"Bearer {TOKEN}"}, "other": {f"Bearer {OTHER_TOKEN}"}, "open": {None},
            "default admin": {None}, "other admin": {None}}
        assert syncd.stop() == 0
    finally:
        syncd.stop()
        for listener in listeners.values():
            listener.stop()


BROKEN_URLS = [
    "postgresql://user:{}@127.0.0.1:1/db",                    # right, and nobody there
    "postgresql://user:{}@no-such-host.invalid/db",
    "postgresql://user:{}@127.0.0.1:1/db?bogus=1",
    "postgresql://user:{}@127.0.0.1:notaport/db",
    "postgresql://user:{}@@127.0.0.1:1/db",
    "postgresql://user:{}@[127.0.0.1/db",
    "postgresql//user:{}@127.0.0.1/db",
    "postgresql://user@127.0.0.1:1/db?password={}",
    "postgresql://user@127.0.0.1:1/db?password={}&bogus=1",
    "host=127.0.0.1 port=1 user=u password={}",
    "host=127.0.0.1 port=1 user=u password='{}",
    "host=127.0.0.1 port=1 user=u password={} bogus=1",
    "host=127.0.0.1 port=1 user=u password = '{}' sslmode=perhaps",
    "{}",
]


@pytest.mark.parametrize("form", BROKEN_URLS)
def test_no_error_about_a_connection_string_holds_the_password(form, folder, server):
    url = form.format(PASSWORD)
    environment = {"DS_SERVER_URL": server.url, "POSTGRES_URL": url}
    for flag in ("--check", "--print-config", "--check-config"):
        clean(run(flag, **environment)[1], flag)
    dsctl("sync", "status", **environment)
    dsctl("db", "status", **environment)
    dsctl("db", "status", "--pg", url)
    syncd = ds.Syncd(folder, server.url, url, [STREAM], name="syncd-broken",
                     environment={**FAST, "SYNCD_LOG": "trace"})
    try:
        syncd.wait_log("event=postgres.")
        clean(ds.http("GET", f"{syncd.url}/status")[2], "/status")
    finally:
        syncd.stop()
    clean(syncd.log_text(), "the log")


@pytest.mark.parametrize("settings", [
    {"DS_SERVER_URL": f"http://user:{PASSWORD}@127.0.0.1:1"},
    {"DS_SERVER_URL": f"http://127.0.0.1:1/?token={TOKEN}"},
    {"SYNCD_SERVERS": f"other=http://user:{PASSWORD}@127.0.0.1:1"},
    {"SYNCD_ADMIN_URLS": f"default=http://user:{PASSWORD}@127.0.0.1:1"},
])
def test_a_secret_in_a_url_of_a_server_is_refused_and_not_repeated(settings):
    for flag in ("--check-config", "--print-config", "--check"):
        code, text = run(flag, **settings)
        clean(text, flag)
        assert code == 2


def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path):
    file = tmp_path / "syncd.conf"
    for line in (f"POSTGRES_URL postgresql://u:{PASSWORD}@h/db", f"POSTGRES_URI=postgresql://u:{PASSWORD}@h/db",
                 f"SYNCD_DS_TOKEN={TOKEN}", f"postgresql://u:{PASSWORD}@h/db"):
        file.write_text(line + "\n")
        clean(run("--config", str(file), "--check-config")[1], line.split()[0][:14])
    for name, value in (("SYNCD_DS_TOKEN", TOKEN), ("SYNCD_DS_TOKEN_FILE", TOKEN),
                        ("POSTGRES_URL_FILE", f"postgresql://u:{PASSWORD}@h/db")):
        for flag in ("--check-config", "--print-config"):
            clean(run(flag, **{name: value})[1], f"{name} in the environment")
    for argument in (f"postgresql://u:{PASSWORD}@h/db", f"--postgres-url=postgresql://u:{PASSWORD}@h/db"):
        code, text = run(argument)
        assert code == 2
        clean(text, "an argument")
