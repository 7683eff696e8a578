# SPDX-License-Identifier: Apache-2.0
"""The stack as local processes: real Envoy, real Postgres, our release programs, free ports.

Everything lives in one temporary folder and ends with stop(), by the pid that was started; the
kernel ends what is left if this process is killed.  Use only from the main thread.
"""

import copy
import ctypes
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import lib

ROOT = os.path.dirname(lib.HERE)
ENVOY_YAML = os.path.join(lib.HERE, "envoy.yaml")
LONG_POLL_SECS = 2
START_SECS = 60
STOP_SECS = 20
PR_SET_PDEATHSIG = 1


class StackError(Exception):
    """The stack cannot be started; the text says what to do."""


def free_port():
    """Below the range the kernel gives to outgoing connections, so nobody takes it meanwhile."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise StackError("no free port on 127.0.0.1 between 20000 and 32000")


def find_program(variable, name, places, advice):
    """The program named by an environment variable, else the first that exists in places, else PATH."""
    named = os.environ.get(variable)
    if named:
        if not os.access(named, os.X_OK):
            raise StackError(f"{variable}={named} is not a program that can be run")
        return named
    for place in places:
        path = os.path.join(place, name)
        if os.access(path, os.X_OK):
            return path
    found = shutil.which(name)
    if not found:
        raise StackError(f"{name} was not found in {', '.join(places)} or on PATH: {advice}, or set {variable}")
    return found


def find_envoy():
    places = [os.path.join(ROOT, "build", "tools", "venv", "bin"), os.path.dirname(sys.executable)]
    return find_program("E2E_ENVOY", "envoy", places,
                        "run packaging/install-test-tools")


def find_ours(name):
    folder = os.environ.get("E2E_BIN_DIR") or os.path.join(ROOT, "build", "release", "bin")
    path = os.path.join(folder, name)
    if not os.access(path, os.X_OK):
        raise StackError(f"{path} does not exist: run `make build`, or set E2E_BIN_DIR")
    return path


def find_postgres_folder():
    for major in ("18", "17", "16", "15"):
        folder = f"/usr/lib/postgresql/{major}/bin"
        if os.access(os.path.join(folder, "initdb"), os.X_OK):
            return os.environ.get("E2E_POSTGRES_BIN_DIR") or folder
    return os.path.dirname(find_program("E2E_POSTGRES_INITDB", "initdb", [],
                                        "install the package postgresql-15"))


def postgres_user():
    """PostgreSQL refuses to run as root, so root lends it another user; anyone else is himself."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError("running as root and there is neither a user postgres nor nobody to run Postgres as")


def render_envoy(listener_port, admin_port, upstream):
    """The committed envoy.yaml with three socket addresses replaced, and nothing else."""
    try:
        import yaml
    except ImportError:
        raise StackError("the Python module yaml is missing: install the package python3-yaml") from None
    with open(ENVOY_YAML, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    before = copy.deepcopy(config)
    resources = config["static_resources"]
    endpoint = resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    for holder, host, port in ((config["admin"], "127.0.0.1", admin_port),
                               (resources["listeners"][0], "127.0.0.1", listener_port),
                               (endpoint, *upstream)):
        holder["address"]["socket_address"] = {"address": host, "port_value": port}
    return before, config


def die_with_parent(signal_number):
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal_number)


class Process:
    def __init__(self, name, command, folder, environment=None, user=None, stop_signal=signal.SIGTERM):
        self.name = name
        self.log = os.path.join(folder, f"{name}.log")
        self.stop_signal = stop_signal
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(environment or {})},
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                          start_new_session=True, preexec_fn=die_with_parent(stop_signal),
                                          **options)

    def log_end(self, lines=15):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return "".join("    " + line for line in log.readlines()[-lines:])

    def wait_ready(self, url):
        """Until GET url is 200, or the process has ended, or time is up."""
        def answered():
            if self.child.poll() is not None:
                return True
            try:
                with urllib.request.urlopen(url, timeout=1) as reply:
                    return reply.status == 200
            except (urllib.error.URLError, OSError):
                return False
        answered_in_time = lib.wait_until(answered, START_SECS)
        if self.child.poll() is not None:
            raise StackError(f"{self.name} ended with {self.child.returncode}; the end of its log:\n{self.log_end()}")
        if not answered_in_time:
            raise StackError(f"{self.name} gave no 200 on {url} for {START_SECS} s; the end of its log:\n{self.log_end()}")

    def stop(self):
        """The exit code, or None when it had to be killed."""
        if self.child.poll() is not None:
            return self.child.returncode
        self.child.send_signal(self.stop_signal)
        try:
            return self.child.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return None


class LocalStack:
    name = "local"

    def __init__(self, profile, run_id, server_url=None):
        self.profile = profile
        self.run_id = run_id
        self.server_url = server_url
        self.processes = []
        self.folder = None

    def start(self):
        """What the scenarios get as environment."""
        self.folder = tempfile.mkdtemp(prefix="ds-e2e-")
        os.chmod(self.folder, 0o755)              # Postgres runs as another user when we are root
        environment = {"E2E_LONG_POLL_SECS": str(LONG_POLL_SECS)}
        if self.server_url:
            upstream = self._external_server()
        else:
            upstream = self._start_server()
        environment.update(self._start_envoy(upstream))
        if self.profile == "sync":
            environment.update(self._start_sync(upstream))
        return environment

    def stop(self):
        """Lines about what did not end as it should."""
        complaints = []
        for process in reversed(self.processes):
            code = process.stop()
            if code is None:
                complaints.append(f"{process.name} did not stop within {STOP_SECS} s and was killed")
            elif code != 0:
                complaints.append(f"{process.name} ended with {code}; the end of its log:\n{process.log_end()}")
        self.processes.clear()
        if self.folder and not os.environ.get("E2E_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
        return complaints

    def logs(self):
        return "".join(f"--- {process.name}\n{process.log_end(30)}" for process in self.processes)

    def _start(self, *arguments, **options):
        process = Process(*arguments, **options)
        self.processes.append(process)
        return process

    def _external_server(self):
        host, _, port = self.server_url.removeprefix("http://").rstrip("/").partition(":")
        if not port.isdigit():
            raise StackError(f"--server-url {self.server_url}: give it as http://host:port")
        return host, int(port)

    def _start_server(self):
        port = free_port()
        server = self._start("ds-server", [find_ours("ds-server")], self.folder, {
            "DS_SERVER__BIND_ADDRESS": f"127.0.0.1:{port}",
            "DS_ADMIN__LISTEN": f"127.0.0.1:{free_port()}",
            "DS_STORAGE__MODE": "memory",
            "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": str(LONG_POLL_SECS),
        })
        server.wait_ready(f"http://127.0.0.1:{port}/healthz")
        return "127.0.0.1", port

    def _start_envoy(self, upstream):
        import json
        listener, admin = free_port(), free_port()
        config = os.path.join(self.folder, "envoy.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(render_envoy(listener, admin, upstream)[1], file)
        envoy = self._start("envoy", [find_envoy(), "-c", config, "--disable-hot-restart",
                                      "--concurrency", "2", "--log-level", "warning"], self.folder)
        envoy.wait_ready(f"http://127.0.0.1:{admin}/ready")
        return {"E2E_URL": f"http://127.0.0.1:{listener}"}

    def _start_sync(self, upstream):
        """As compose does it: roles, migration by the superuser, then syncd with its few rights."""
        admin, syncd = self._start_postgres()
        migrated = subprocess.run([find_ours("dsctl"), "db", "migrate"], env={**os.environ, "POSTGRES_URL": admin},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, check=False, timeout=START_SECS)
        if migrated.returncode != 0:
            raise StackError(f"`dsctl db migrate` ended with {migrated.returncode}:\n{migrated.stdout}")
        streams = ",".join(f"e2e-{self.run_id}-{kind}" for kind in ("single", "batch", "late"))
        listen = f"127.0.0.1:{free_port()}"
        self._start("syncd", [find_ours("syncd")], self.folder, {
            "DS_SERVER_URL": f"http://{upstream[0]}:{upstream[1]}",
            "POSTGRES_URL": syncd,
            "SYNCD_STREAMS": streams,
            "SYNCD_LISTEN": listen,
        }).wait_ready(f"http://{listen}/livez")
        return {"E2E_POSTGRES_URL": admin, "E2E_SYNC_STREAMS": streams}

    def _start_postgres(self):
        """The URLs of the superuser and of syncd."""
        binaries, user = find_postgres_folder(), postgres_user()
        home = os.path.join(self.folder, "postgres")
        os.mkdir(home, 0o700)
        password, password_file = secrets.token_hex(16), os.path.join(home, "password")
        with open(password_file, "w", encoding="utf-8") as file:
            file.write(password)
        options = {}
        if user:
            for path in (home, password_file):
                os.chown(path, user.pw_uid, user.pw_gid)
            options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data = os.path.join(home, "data")
        made = subprocess.run([os.path.join(binaries, "initdb"), "-D", data, "-U", "postgres", "-E", "UTF8",
                               "--locale=C", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync"],
                              cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, **options)
        if made.returncode != 0:
            raise StackError(f"initdb failed:\n{made.stdout}")
        port = free_port()
        flags = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": home,
                 "wal_level": "logical", "max_replication_slots": 10, "max_wal_senders": 10,
                 "track_commit_timestamp": "on"}
        command = [os.path.join(binaries, "postgres"), "-D", data]
        for key, value in flags.items():
            command += ["-c", f"{key}={value}"]
        postgres = self._start("postgres", command, self.folder, user=user, stop_signal=signal.SIGINT)
        syncd_password = secrets.token_hex(16)
        psql = ["psql", "-X", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-qAt"]
        environment = {**os.environ, "PGPASSWORD": password, "SYNCD_DB_PASSWORD": syncd_password,
                       "ELECTRIC_DB_PASSWORD": secrets.token_hex(16)}

        def answers():
            if postgres.child.poll() is not None:
                return True
            return subprocess.run([*psql, "-c", "SELECT 1"], env=environment, capture_output=True,
                                  check=False).returncode == 0
        if not lib.wait_until(answers, START_SECS, 0.1) or postgres.child.poll() is not None:
            raise StackError(f"Postgres did not start; the end of its log:\n{postgres.log_end()}")
        roles = subprocess.run([*psql, "-f", os.path.join(lib.HERE, "postgres-init.sql")], env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if roles.returncode != 0:
            raise StackError(f"e2e/postgres-init.sql failed:\n{roles.stdout}")
        place = f"127.0.0.1:{port}/postgres"
        return f"postgresql://postgres:{password}@{place}", f"postgresql://syncd:{syncd_password}@{place}"
