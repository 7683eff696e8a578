# SPDX-License-Identifier: Apache-2.0
"""The stack as local processes: real Envoy, real Postgres, our release programs, free ports.

What a process is and how it ends is tests/support/ds.py; here is what makes them a stack: Envoy with
the committed envoy.yaml, passwords, and the order that compose.yaml gives.
"""

import copy
import json
import os
import secrets
import shutil
import subprocess
import sys

import lib

sys.path.insert(0, os.path.join(os.path.dirname(lib.HERE), "tests", "support"))
import ds
from ds import StackError

ROOT = os.path.dirname(lib.HERE)
ENVOY_YAML = os.path.join(lib.HERE, "envoy.yaml")
LONG_POLL_SECS = 2                                # shorter than in life, so that a run does not wait
SSE_SECS = 4
SERVER_TIMES = {"DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": str(LONG_POLL_SECS),
                "DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS": str(SSE_SECS)}
SYNCD_TIMES = {"SYNCD_BACKOFF_MAX": "1s"}          # also how often it asks for a stream that is not there
SCENARIO_TIMES = {"E2E_LONG_POLL_SECS": str(LONG_POLL_SECS), "E2E_SSE_SECS": str(SSE_SECS)}
LOG_LINES = 30


def find_envoy():
    named = os.environ.get("E2E_ENVOY")
    installed = os.path.join(ROOT, "build", "tools", "venv", "bin", "envoy")
    for path in (named, installed) if named else (installed, shutil.which("envoy") or installed):
        if os.access(path, os.X_OK):
            return path
        if path == named:
            raise StackError(f"E2E_ENVOY={named} is not a program that can be run")
    raise StackError(f"{installed} does not exist: run packaging/install-test-tools, or set E2E_ENVOY")


def envoy_command(*arguments):
    """Envoy takes the JWKS by a path relative to where it starts."""
    return ["env", "-C", ROOT, find_envoy(), *arguments]


def render_envoy(listener_port, admin_port, upstream):
    """The committed envoy.yaml, and the same with three socket addresses replaced."""
    try:
        import yaml
    except ImportError:
        raise StackError("the Python module yaml is missing: run packaging/install-deps test") from None
    with open(ENVOY_YAML, encoding="utf-8") as file:
        before = yaml.safe_load(file)
    after = copy.deepcopy(before)
    resources = after["static_resources"]
    endpoint = resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    for holder, host, port in ((after["admin"], "127.0.0.1", admin_port),
                               (resources["listeners"][0], "127.0.0.1", listener_port),
                               (endpoint, *upstream)):
        holder["address"]["socket_address"] = {"address": host, "port_value": port}
    return before, after


def read_upstream(server_url):
    host, _, port = server_url.removeprefix("http://").rstrip("/").partition(":")
    if not host or not port.isdigit():
        raise StackError(f"--server-url {server_url}: give it as http://host:port")
    return host, int(port)


class LocalStack:
    name = "local"

    def __init__(self, profile, run_id, server_url=None):
        self.profile = profile
        self.run_id = run_id
        self.server_url = server_url
        self.running = []                         # in the order of their start; each has stop()
        self.folder = None

    def start(self):
        """What the scenarios get as environment."""
        self.folder = ds.temporary_folder("ds-e2e-")
        environment = dict(SCENARIO_TIMES)
        upstream = read_upstream(self.server_url) if self.server_url else self._start_server()
        environment.update(self._start_envoy(upstream))
        if self.profile == "sync":
            environment.update(self._start_sync(upstream))
        return environment

    def stop(self):
        """Lines about what did not end as it should."""
        complaints = ds.stop_all(self.running)
        if complaints:
            complaints.append(self.logs())
        self.running.clear()
        if self.folder:
            ds.remove_folder(self.folder)
        return complaints

    def logs(self):
        return "".join(f"--- {process.name}\n{process.log_end(LOG_LINES)}" for process in self.running)

    def _keep(self, process):
        self.running.append(process)
        return process

    def _start_server(self):
        server = self._keep(ds.DsServer(self.folder, environment={
            "DS_STORAGE__MODE": "memory",
            **SERVER_TIMES}))
        server.wait_ready()
        return "127.0.0.1", server.port

    def _start_envoy(self, upstream):
        listener, admin = ds.free_port(), ds.free_port()
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(render_envoy(listener, admin, upstream)[1]), encoding="utf-8")
        envoy = self._keep(ds.Process("envoy", envoy_command("-c", config, "--disable-hot-restart", "--concurrency", "2",
                                                             "--log-level", "warning"), self.folder))
        envoy.wait_http(f"http://127.0.0.1:{admin}/ready")
        return {"E2E_URL": f"http://127.0.0.1:{listener}"}

    def _start_sync(self, upstream):
        """As compose does it: logins, migration by the superuser, then syncd with its few rights."""
        admin_url, syncd_url = self._start_postgres()
        migrated = subprocess.run([ds.program("dsctl"), "db", "migrate"], stdin=subprocess.DEVNULL,
                                  env={**os.environ, "POSTGRES_URL": admin_url}, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, check=False, timeout=ds.HANG_SECONDS)
        if migrated.returncode != 0:
            raise StackError(f"`dsctl db migrate` ended with {migrated.returncode}:\n{migrated.stdout}")
        streams = [f"e2e-{self.run_id}-{kind}" for kind in ("single", "batch", "late")]
        syncd = self._keep(ds.Syncd(self.folder, f"http://{upstream[0]}:{upstream[1]}", syncd_url, streams,
                                    environment={"SYNCD_MIGRATE": "false", **SYNCD_TIMES}))
        syncd.wait_http(f"{syncd.url}/livez")     # not /readyz: the streams do not exist yet
        return {"E2E_POSTGRES_URL": admin_url, "E2E_SYNC_STREAMS": ",".join(streams)}

    def _start_postgres(self):
        """The URLs of the superuser and of syncd, who both need their password."""
        server = ds.Postgres(self.folder)
        (server.folder / "data" / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8")
        try:
            server.start()
        finally:
            if server.process:
                self._keep(server.process)
        passwords = {name: secrets.token_hex(16) for name in ("POSTGRES_PASSWORD", "SYNCD_DB_PASSWORD",
                                                              "ELECTRIC_DB_PASSWORD")}
        script = ("\\getenv password POSTGRES_PASSWORD\n"
                  "ALTER ROLE postgres PASSWORD :'password';\n"
                  f"\\i '{lib.HERE}/postgres-init.sql'\n")
        made = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", server.folder, "-p", str(server.port),
                               "-U", "postgres"], input=script, env={**os.environ, **passwords},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode != 0:
            raise StackError(f"e2e/postgres-init.sql failed:\n{made.stdout}")
        place = f"127.0.0.1:{server.port}/postgres"
        return (f"postgresql://postgres:{passwords['POSTGRES_PASSWORD']}@{place}",
                f"postgresql://syncd:{passwords['SYNCD_DB_PASSWORD']}@{place}")
