# SPDX-License-Identifier: Apache-2.0
"""`syncd --check` says what is wrong with either end, and what mends it, before anything runs."""
import subprocess
import uuid

import certificates
import ds
import pytest
from test_syncd_service import login, run  # noqa: F401  (a fixture)

POSTGRES, SERVER = 7, 6


def check(server, database_url, **environment):
    return run("--check", DS_SERVER_URL=server if isinstance(server, str) else server.url,
               POSTGRES_URL=database_url, SYNCD_STREAMS="check/stream", **environment)


@pytest.fixture
def migrated(database):
    subprocess.run([ds.program("dsctl"), "db", "migrate"], check=True, stdout=subprocess.DEVNULL,
                   env={"POSTGRES_URL": database[0], "PATH": "/usr/bin:/bin"})
    return database


def closed_port():
    return ds.free_port()


# ---- all is well ----

def test_both_ends_are_well(migrated, server):
    code, text = check(server, migrated[0], SYNCD_ADMIN_URLS=f"default={server.admin_url}")
    assert code == 0, text
    assert "postgres: ok, version 1" in text and "schema version " in text
    assert ("stream server default: ok, but it has no stream check/stream yet (404): if it should, correct its URL\n"
            in text)
    assert "admin listener of default: ok\n" in text
    server.create("check/stream")
    assert "stream server default: ok\n" in check(server, migrated[0])[1]


def test_nothing_is_changed(database, server):
    assert check(server, database[0], SYNCD_MIGRATE="true")[0] == POSTGRES
    cursor = database[1].cursor()
    cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'ds_sync'")
    assert cursor.fetchone()[0] == 0


# ---- the settings ----

BAD_SETTINGS = {  # what the line says of each
    "DS_SERVER_URL=127.0.0.1:4437": "DS_SERVER_URL must begin with http:// or https://, like http://host:4437",
    "SYNCD_ADMIN_URLS=http://127.0.0.1:4439": 'SYNCD_ADMIN_URLS: "http://127.0.0.1:4439" is not of the form '
                                              "name=value, like default=",
    "SYNCD_SERVERS=eu=https://eu:4437/v1/stream": "SYNCD_SERVERS must end before /v1/stream",
    "SYNCD_STREAMS=chat//lobby,..": 'SYNCD_STREAMS: "chat//lobby" has an empty',
    "POSTGRES_URL_FILE=/no/such": "POSTGRES_URL_FILE: cannot read the secret file /no/such",
    "SYNCD_DS_TOKEN_FILE=/no/token": "SYNCD_DS_TOKEN_FILE: cannot read the secret file /no/token",
    "SYNCD_DS_CA_FILE=/no/ca": "SYNCD_DS_CA_FILE: /no/ca: No such file",
    "SYNCD_DS_CERT_FILE=/no/cert": "SYNCD_DS_CERT_FILE and SYNCD_DS_KEY_FILE are set both",
    "SYNCD_WRITERS=0": '"0" is not legal; legal: a whole number, 1 to 64',
    "SYNCD_QUEUE_BYTES_MAX=64mb": '"64mb" is not legal; legal: a size such as',
    "SYNCD_ON_RECREATE=newgeneration": "legal: stop or new_generation",
    "SYNCD_BACKOFF_BASE=40s": "SYNCD_BACKOFF_BASE is above SYNCD_BACKOFF_MAX",
    "SYNCD_LISTEN=4438": "it must be ADDRESS:PORT, or off",
    "SYNCD_LOG=info=loud": "SYNCD_LOG: log filter:",
    "ELECTRIC_VERSION=latest": "it must be a version like 1.4.2",
    "a line": ":16: expected NAME=value",
    "SYNCD_WRITER=2": "no setting has this name",
}


@pytest.mark.parametrize("flag", ["--check", "--check-config"])
def test_all_settings_that_are_not_legal_are_said_at_one_go(tmp_path, flag):
    file = tmp_path / "syncd.conf"
    file.write_text("\n".join(BAD_SETTINGS) + "\n")
    code, text = run("--config", str(file), flag)
    assert code == 2
    plain = text.replace('\\"', '"')
    assert [said for said in BAD_SETTINGS.values() if said not in plain] == [], text
    assert '".." has an empty' in plain
    assert text.count("event=config.invalid") == len(BAD_SETTINGS) - 1 + len([".."]) + len(["/no/cert"])


# ---- Postgres ----

def test_a_postgres_whose_name_is_unknown(server):
    code, text = check(server, "postgresql://postgres@no-such-host.invalid/db")
    assert code == POSTGRES and 'postgres: Postgres host "no-such-host.invalid": ' in text


def test_a_postgres_that_is_not_there(server):
    code, text = check(server, f"postgresql://postgres@127.0.0.1:{closed_port()}/db")
    assert code == POSTGRES and "Connection refused" in text
    assert "correct host, port and sslmode in POSTGRES_URL" in text


def test_a_postgres_without_the_tls_that_is_asked_for(server, database):
    code, text = check(server, f"{database[0]}?sslmode=require")
    assert code == POSTGRES and "server does not support SSL" in text and "sslmode" in text


def test_a_postgres_that_refuses_the_password(server, database, login):  # noqa: F811
    name, set_password = login
    set_password("right")
    code, text = check(server, database[0].replace("postgres@", f"{name}:wrong-planted@"))
    assert code == POSTGRES and "SQLSTATE 28P01: correct role and password" in text
    assert "wrong-planted" not in text


def test_a_database_that_does_not_exist(server, postgres_server):
    code, text = check(server, postgres_server.url("no_such_database"))
    assert code == POSTGRES
    assert 'database "no_such_database" does not exist' in text and "SQLSTATE 3D000" in text
    assert "correct the database in POSTGRES_URL" in text


def test_a_schema_that_is_missing(server, database):
    code, text = check(server, database[0])
    assert code == POSTGRES and "has no schema ds_sync: run `dsctl db migrate`" in text


@pytest.fixture
def role(migrated):
    name = f"role_{uuid.uuid4().hex[:12]}"
    cursor = migrated[1].cursor()
    cursor.execute(f"CREATE ROLE {name} LOGIN")
    yield name, migrated[0].replace("postgres@", f"{name}@"), cursor
    cursor.execute(f"DROP OWNED BY {name}")
    cursor.execute(f"DROP ROLE {name}")


def test_a_role_without_any_right(server, role):
    code, text = check(server, role[1])
    assert code == POSTGRES and "permission denied" in text and "SQLSTATE 42501" in text
    assert "GRANT ds_sync_writer TO" in text


def test_a_role_that_lacks_some_rights(server, role):
    name, url, cursor = role
    cursor.execute(f"GRANT USAGE ON SCHEMA ds_sync TO {name}")
    cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA ds_sync TO {name}")
    code, text = check(server, url)
    assert code == POSTGRES and f'the role "{name}" lacks ' in text
    assert "INSERT on ds_sync.session_events" in text and "SELECT" not in text
    cursor.execute(f"GRANT ds_sync_writer TO {name}")
    assert check(server, url)[0] == 0


def test_a_table_of_a_route_that_is_missing_or_may_not_be_written(server, role):
    name, url, cursor = role
    cursor.execute(f"GRANT ds_sync_writer TO {name}")
    cursor.execute("CREATE TABLE public.rows_of_route (n integer)")
    cursor.execute("INSERT INTO ds_sync.route (name, spec) VALUES"
                   """ ('here', '{"table": "public.rows_of_route", "as": "state"}'),"""
                   """ ('there', '{"table": "public.no_such_table", "as": "events"}')""")
    code, text = check(server, url)
    assert code == POSTGRES
    assert f'the role "{name}" lacks DELETE, INSERT, SELECT, UPDATE on rows_of_route: GRANT' in text
    assert "there is no table public.no_such_table of the route there: apply the routes again" in text


def test_the_table_of_a_route_is_called_as_it_stands(server, role):
    name, url, cursor = role
    cursor.execute(f"GRANT ds_sync_writer TO {name}")
    cursor.execute('CREATE TABLE public."Rows of \'x" (n integer)')
    cursor.execute("""INSERT INTO ds_sync.route (name, spec) VALUES ('odd', '{"table": "public.Rows of ''x", "as": "events"}')""")
    code, text = check(server, url)
    assert code == POSTGRES and """lacks INSERT, SELECT on "Rows of 'x": GRANT""" in text


def test_a_database_of_another_encoding(server, postgres_server):
    name = f"latin_{uuid.uuid4().hex[:12]}"
    cursor = postgres_server.connect().cursor()
    cursor.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        code, text = check(server, postgres_server.url(name))
        assert code == POSTGRES and f'the database "{name}" has the encoding LATIN1' in text
        assert "UTF8" in text
    finally:
        cursor.execute(f"DROP DATABASE {name}")


def test_a_postgres_that_takes_no_writes(server, migrated):
    code, text = check(server, migrated[0] + "?options=-cdefault_transaction_read_only%3Don")
    assert code == POSTGRES and "it takes no writes" in text and "primary" in text


@pytest.mark.parametrize("mode, options", [("statement", ""), ("transaction", "?options=-cstatement_timeout%3D9999")])
def test_a_pooler_that_syncd_cannot_work_through(folder, migrated, postgres_server, server, mode, options):
    pooler = ds.PgBouncer(folder, postgres_server, pool_mode=mode).start()
    try:
        code, text = check(server, pooler.url(migrated[0].rpartition("/")[2]) + options)
        assert code == POSTGRES and "SQLSTATE 08P01: through a pooler: pool_mode transaction or session" in text
    finally:
        pooler.stop()


def test_a_wal_level_that_electric_cannot_use(folder, server):
    postgres = ds.Postgres(folder, settings={"wal_level": "replica", "fsync": "off"}).start()
    try:
        url = postgres.create_database("app")
        subprocess.run([ds.program("dsctl"), "db", "migrate"], check=True, stdout=subprocess.DEVNULL,
                       env={"POSTGRES_URL": url, "PATH": "/usr/bin:/bin"})
        code, text = check(server, url)
        assert code == 0 and "note: wal_level is replica" in text
        code, text = check(server, url, ELECTRIC_VERSION="1.4.2")
        assert code == POSTGRES and "wal_level is replica: Electric (ELECTRIC_VERSION) needs logical" in text
    finally:
        postgres.stop()


# ---- the stream server ----

def test_a_server_whose_name_is_unknown(migrated):
    code, text = check("http://no-such-host.invalid:4437", migrated[0])
    assert code == SERVER and "stream server default: Could not resolve host: no-such-host.invalid" in text


def test_a_server_that_is_not_there(migrated):
    code, text = check(f"http://127.0.0.1:{closed_port()}", migrated[0])
    assert code == SERVER and "Connection refused" in text


def test_a_server_that_refuses_our_token(migrated, refusing_proxy):
    code, text = check(refusing_proxy, migrated[0])
    assert code == SERVER and "it answers 401: it does not accept our credentials" in text


@pytest.fixture
def refusing_proxy():
    """A server that answers everybody with 401."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(401)
            self.end_headers()

        def log_message(self, *unused):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_something_else_than_a_stream_server(migrated, server):
    code, text = check(server, migrated[0], SYNCD_ADMIN_URLS=f"default={server.url}")
    assert code == SERVER and "admin listener of default: it answers 404: correct SYNCD_ADMIN_URLS" in text


def test_a_server_with_tls_that_we_do_not_trust_or_that_does_not_trust_us(folder, migrated):
    ours, other = certificates.Authority(folder, "ours"), certificates.Authority(folder, "other")
    client, stranger = ours.sign("syncd"), other.sign("stranger")
    server = ds.DsServer(folder, environment=certificates.settings(ours.sign("server"), ours.cert),
                         name="tls-server", tls=ours.context(client)).wait_ready()
    try:
        url = f"https://127.0.0.1:{server.port}"
        own = {"SYNCD_DS_CA_FILE": str(ours.cert)}
        mine = {"SYNCD_DS_CERT_FILE": str(client.cert), "SYNCD_DS_KEY_FILE": str(client.key)}
        assert check(url, migrated[0], **own, **mine)[0] == 0
        code, text = check(url, migrated[0], **mine)
        assert code == SERVER and "certificate" in text and "SYNCD_DS_CA_FILE" in text
        code, text = check(url, migrated[0], **own)
        assert code == SERVER and "it must trust that of SYNCD_DS_CERT_FILE" in text
        code, text = check(url, migrated[0], **own, SYNCD_DS_CERT_FILE=str(stranger.cert),
                           SYNCD_DS_KEY_FILE=str(stranger.key))
        assert code == SERVER and "it must trust that of SYNCD_DS_CERT_FILE" in text
        code, text = check(url.replace("https", "http"), migrated[0], **own)
        assert code == SERVER and "is this a stream server? correct its URL" in text
    finally:
        server.stop()
