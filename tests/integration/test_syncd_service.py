# SPDX-License-Identifier: Apache-2.0
"""syncd as a service: its settings, what it tells systemd, its health, and secrets that change."""
import json
import os
import re
import signal
import socket
import subprocess
import uuid

import ds
import pytest
from test_syncd_source_faults import FAST, messages, state_of, wait_rows

STREAM = "service/stream"


def run(*flags, **environment):
    """(exit status, output) of syncd, with nothing of ours in the environment but this."""
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith(("SYNCD_", "POSTGRES_", "DS_SERVER_URL"))}
    done = subprocess.run([ds.program("syncd"), *flags], env={**clean, **environment}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=ds.HANG_SECONDS)
    return done.returncode, done.stdout


# ---- settings ----

def test_a_setting_comes_from_the_file_the_environment_or_a_flag_and_the_later_one_wins(tmp_path):
    file = tmp_path / "syncd.conf"
    file.write_text("SYNCD_WRITERS=3\nSYNCD_STREAMS=from/file\nSYNCD_LOG=warn\n")
    code, text = run("--config", str(file), "--streams", "from/flag", "--print-config", SYNCD_LOG="debug")
    assert code == 0
    assert "# file\nSYNCD_WRITERS=3\n" in text
    assert "# environment\nSYNCD_LOG=debug\n" in text
    assert "# flag\nSYNCD_STREAMS=from/flag\n" in text
    assert "# default\nSYNCD_MIGRATE=false\n" in text


def test_what_is_printed_can_be_read_back(tmp_path):
    _, first = run("--print-config", SYNCD_STREAMS="a,b", SYNCD_IDLE_TIMEOUT="90s")
    file = tmp_path / "printed.conf"
    file.write_text(first)
    code, second = run("--config", str(file), "--print-config")
    values = [line for line in first.splitlines() if not line.startswith("#")]
    assert (code, [line for line in second.splitlines() if not line.startswith("#")]) == (0, values)


def test_a_check_of_the_settings_names_what_is_wrong_and_what_is_unknown(tmp_path):
    assert run("--check-config") == (0, "the settings are good\n")
    code, text = run("--check-config", SYNCD_WRITERS="many")
    assert code == 2 and "SYNCD_WRITERS (environment)" in text and "1 to 64" in text
    code, text = run("--check-config", SYNCD_STREAM="typo")
    assert code == 0 and "event=config.unknown" in text and "name=SYNCD_STREAM\n" in text
    code, text = run("--check-config", SYNCD_LISTEN="here")
    assert code == 2 and "SYNCD_LISTEN" in text and "ADDRESS:PORT" in text
    code, text = run("--check-config", SYNCD_DS_CA_FILE="/does/not/exist")
    assert code == 2 and "SYNCD_DS_CA_FILE: /does/not/exist: No such file" in text


def test_of_connection_string_and_file_the_later_place_wins_and_at_one_place_both_are_refused(tmp_path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://from-file/db\n")
    config = tmp_path / "syncd.conf"
    config.write_text(f"POSTGRES_URL_FILE={secret}\n")
    code, text = run("--config", str(config), "--print-config", POSTGRES_URL="postgresql://from-env/db")
    assert code == 0
    assert "# environment\nPOSTGRES_URL=***\n# default\nPOSTGRES_URL_FILE=\n" in text
    config.write_text("POSTGRES_URL=postgresql://from-config/db\n")
    code, text = run("--config", str(config), "--print-config", POSTGRES_URL_FILE=str(secret))
    assert code == 0
    assert f"# environment\nPOSTGRES_URL=***\n# environment\nPOSTGRES_URL_FILE={secret}\n" in text
    code, text = run("--print-config", POSTGRES_URL="postgresql://x/db", POSTGRES_URL_FILE=str(secret))
    assert code == 2
    assert "POSTGRES_URL and POSTGRES_URL_FILE are both set (environment): remove one of them" in text


def test_a_secret_is_not_taken_from_the_command_line():
    code, text = run("--set", "POSTGRES_URL=postgresql://u:planted@h/db")
    assert code == 2 and "whoever lists processes would see it" in text and "planted" not in text


# ---- systemd ----

class Manager:
    """Hears what a service says."""

    def __init__(self, folder):
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(ds.HANG_SECONDS)

    def hear(self):
        return self.socket.recv(4096).decode()


@pytest.fixture
def manager(folder):
    listener = Manager(folder)
    yield listener
    listener.socket.close()


def test_the_manager_is_told_of_start_reload_and_stop(manager, start_syncd):
    syncd = start_syncd([STREAM], wait=False, NOTIFY_SOCKET=str(manager.path))
    assert manager.hear() == "READY=1"
    syncd.signal(signal.SIGHUP)
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.hear())
    assert manager.hear() == "READY=1"
    syncd.signal(signal.SIGTERM)
    assert manager.hear() == "STOPPING=1"
    assert syncd.wait() == 0


def test_the_watchdog_is_fed_while_the_loop_turns(manager, start_syncd):
    start_syncd([STREAM], wait=False, NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="100000")
    assert [manager.hear() for _ in range(4)] == ["READY=1"] + ["WATCHDOG=1"] * 3


# ---- health ----

def readiness(syncd):
    status, _, body = ds.http("GET", f"{syncd.url}/readyz")
    return status, body.decode().strip()


def test_an_instance_whose_every_stream_is_stopped_is_not_ready(database, server, start_syncd):
    for name in ("service/a", "service/b", "service/closed"):
        server.create(name)
        server.append(name, messages(0, 1))
    ds.http("POST", server.stream_url("service/closed"), headers={"Stream-Closed": "true"})
    syncd = start_syncd(["service/a", "service/b", "service/closed"], **FAST)
    for name in ("service/a", "service/b", "service/closed"):
        wait_rows(database, messages(0, 1), syncd, name)
    ds.wait_until(lambda: state_of(database[1], "service/closed")[0] == "closed", what="the end")
    ds.http("DELETE", server.stream_url("service/a"))
    ds.wait_until(lambda: state_of(database[1], "service/a")[0] == "stopped", what="the first to stop")
    assert readiness(syncd) == (200, "ok")
    ds.http("DELETE", server.stream_url("service/b"))
    ds.wait_until(lambda: state_of(database[1], "service/b")[0] == "stopped", what="the second to stop")
    assert readiness(syncd) == (503, "every stream that is not closed is stopped, failed or fenced")
    assert ds.http("GET", f"{syncd.url}/livez")[0] == 200
    assert b"\nsyncd_ready 0\n" in ds.http("GET", f"{syncd.url}/metrics")[2]


def test_an_instance_whose_every_route_is_down_is_not_ready(database, server, start_syncd):
    """Their streams are in nobody's hands then: no stream tells of it."""
    server.create(STREAM)
    syncd = start_syncd([STREAM], **FAST)
    assert readiness(syncd) == (200, "ok")
    cursor = database[1].cursor()
    cursor.execute("ALTER TABLE ds_sync.session_events RENAME COLUMN payload TO other")
    server.append(STREAM, messages(0, 1))
    ds.wait_until(lambda: readiness(syncd) == (503, "every route is stopped or failed"), what="it to say so")
    assert b"\nsyncd_ready 0\n" in ds.http("GET", f"{syncd.url}/metrics")[2]
    status = json.loads(ds.http("GET", f"{syncd.url}/status")[2])
    assert (status["ready"], status["readiness"]) == (False, "every route is stopped or failed")
    cursor.execute("ALTER TABLE ds_sync.session_events RENAME COLUMN other TO payload")
    ds.wait_until(lambda: readiness(syncd) == (200, "ok"), what="the route to be tried again")
    wait_rows(database, messages(0, 1), syncd, STREAM)


def test_a_stream_that_is_awaited_does_not_make_up_for_a_server_that_is_down(database, server, start_syncd):
    """It keeps what the server said of it when it was last asked."""
    server.create(STREAM)
    syncd = start_syncd([STREAM, "service/awaited"], SYNCD_ADMIN_URLS=f"default={server.admin_url}", **FAST)
    ds.wait_until(lambda: (state_of(database[1], "service/awaited") or [None])[0] == "waiting", what="one to be awaited")
    assert readiness(syncd) == (200, "ok")
    server.stop()
    ds.wait_until(lambda: readiness(syncd) == (503, "the stream server does not answer, or refuses us"),
                  what="it to say so")


def metric(syncd, name):
    """{labels: value} of a metric's series."""
    text = ds.http("GET", f"{syncd.url}/metrics")[2].decode()
    return {labels: int(value) for labels, value in re.findall(rf"^{name}(?:{{(.*)}})? (\d+)$", text, re.M)}


def test_metrics_and_status_say_route_and_partition(database, server, start_syncd):
    names = ["service/a", "service/b", "service/never"]
    for number, name in enumerate(names[:2], 1):
        server.create(name)
        server.append(name, messages(0, number) + [{"bad": "\x00"}])
    syncd = start_syncd(names, **FAST)
    for number, name in enumerate(names[:2], 1):
        wait_rows(database, messages(0, number), syncd, name)
    ds.wait_until(lambda: sum(stream["up_to_date"] for stream in syncd.status()["streams"]) == 2,
                  what="the tails")
    status = syncd.status()
    cursor = database[1].cursor()
    cursor.execute("SELECT partition_count FROM ds_sync.work_partitioning")
    count = cursor.fetchone()[0]
    assert status["fleet"] == {"instances": 1, "partitions_held": count, "streams_wanted": 3}
    assert {(stream["server"], stream["route"]) for stream in status["streams"]} == {("default", "default")}
    assert all(0 <= stream["partition"] < count for stream in status["streams"])
    route = 'route="default"'
    assert metric(syncd, "syncd_route_rows_total") == {route: 3} and metric(syncd, "syncd_rows_total") == {"": 3}
    assert metric(syncd, "syncd_route_dead_letters_total") == {route: 2}
    assert metric(syncd, "syncd_route_streams") == {route: 3}
    assert metric(syncd, "syncd_route_streams_behind") == {route: 1}
    assert metric(syncd, "syncd_route_streams_dead") == {route: 0}
    assert metric(syncd, "syncd_route_queue_bytes") == {route: 0}
    assert metric(syncd, "syncd_partitions_held") == {"": count}
    assert sum(metric(syncd, "syncd_partition_streams").values()) == 3
    assert sum(metric(syncd, "syncd_partition_rows_total").values()) == 3
    of_streams = {f'partition="{stream["partition"]}"' for stream in status["streams"]}
    assert set(metric(syncd, "syncd_partition_streams")) == of_streams
    ds.http("DELETE", server.stream_url("service/a"))
    ds.wait_until(lambda: metric(syncd, "syncd_route_streams_dead") == {route: 1}, what="the first to stop")


# ---- logs ----

def test_every_warning_has_a_stable_id_and_every_line_about_a_stream_its_place(database, server, start_syncd):
    known = set(re.findall(r"^\| `([a-z_.]+)` \|", (ds.ROOT / "docs/events.md").read_text(), re.M))
    server.create("service/log")
    server.append("service/log", messages(0, 2) + [{"bad": "\x00"}])
    syncd = start_syncd(["service/log", "service/never"], SYNCD_LOG="debug", SYNCD_LOG_FORMAT="json", **FAST)
    wait_rows(database, messages(0, 2), syncd, "service/log")
    database[1].cursor().execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                 " WHERE application_name LIKE 'syncd/%' AND datname = current_database()")
    syncd.wait_log("postgres.down")
    syncd.wait_ready()
    ds.http("DELETE", server.stream_url("service/log"))
    ds.wait_until(lambda: state_of(database[1], "service/log")[0] == "stopped", what="the end")
    syncd.stop()
    lines = [json.loads(line) for line in syncd.log_text().splitlines()]
    warnings = [line for line in lines if line["level"] in ("warn", "error")]
    assert {"postgres.down", "stream.dead_letters", "stream.stopped"} <= {line.get("event") for line in warnings}
    assert [line for line in warnings if line.get("event") not in known] == []
    about = [line for line in lines if line["scope"] == "syncd.session" or "stream" in line]
    assert {line.get("stream") for line in about} == {"service/log", "service/never"}
    assert [line for line in about if "offset" not in line or "epoch" not in line] == []
    stopped = next(line for line in lines if line.get("event") == "stream.stopped")
    assert (stopped["stream"], stopped["epoch"] > 0, stopped["offset"] != "-1") == ("service/log", True, True)


# ---- secrets that change ----

@pytest.fixture
def login(postgres_server, database):
    """(name, set_password) of a role in ds_sync_writer that must show a password."""
    name = f"login_{uuid.uuid4().hex[:12]}"
    rules = postgres_server.folder / "data/pg_hba.conf"
    before = rules.read_text()
    cursor = database[1].cursor()
    cursor.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
    rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{before}")
    cursor.execute("SELECT pg_reload_conf()")
    yield name, lambda password: cursor.execute(f"ALTER ROLE {name} PASSWORD '{password}'")
    rules.write_text(before)
    cursor.execute("SELECT pg_reload_conf()")
    cursor.execute(f"REASSIGN OWNED BY {name} TO postgres")
    cursor.execute(f"DROP OWNED BY {name}")
    cursor.execute(f"DROP ROLE {name}")


def start_with_file(folder, server, file, **environment):
    """Not through the fixture: POSTGRES_URL must stay unset."""
    return ds.Syncd(folder, server.url, "", [STREAM], name="syncd-file",
                    environment={**FAST, "POSTGRES_URL_FILE": str(file), **environment})


def test_a_password_that_was_changed_is_read_from_its_file_when_the_old_one_is_refused(
        folder, database, server, login):
    name, set_password = login
    file = folder / "postgres-url"

    def write(password):
        file.write_text(database[0].replace("postgres@", f"{name}:{password}@") + "\n")

    set_password("first-password")
    write("first-password")
    server.create(STREAM)
    server.append(STREAM, messages(0, 2))
    syncd = start_with_file(folder, server, file)
    try:
        syncd.wait_ready()
        wait_rows(database, messages(0, 2), syncd, STREAM)
        set_password("second-password")
        database[1].cursor().execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                     " WHERE application_name LIKE 'syncd/%' AND datname = current_database()")
        syncd.wait_log("event=postgres.refused")
        write("second-password")
        server.append(STREAM, messages(2, 2))
        wait_rows(database, messages(0, 4), syncd, STREAM)
        assert "first-password" not in syncd.log_text() and "second-password" not in syncd.log_text()
    finally:
        syncd.stop()


def test_a_file_with_a_secret_that_is_gone_is_a_warning_and_the_old_one_stays(folder, database, server):
    file = folder / "postgres-url"
    file.write_text(database[0] + "\n")
    server.create(STREAM)
    syncd = start_with_file(folder, server, file)
    try:
        syncd.wait_ready()
        file.unlink()
        syncd.signal(signal.SIGHUP)
        syncd.wait_log("event=secret.unreadable")
        server.append(STREAM, messages(0, 2))
        wait_rows(database, messages(0, 2), syncd, STREAM)
    finally:
        syncd.stop()
