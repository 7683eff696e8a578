# SPDX-License-Identifier: Apache-2.0
"""The programs as local processes, for tests, e2e, bench and `make run`.

Every process is started here, on a free port, in a folder that its owner names, and ended by the pid
that was started; the kernel ends what is left if this process is killed.  Postgres refuses to run as
root, so root runs it as another user.
"""
import ctypes
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import standby

ROOT = Path(__file__).resolve().parents[2]
HANG_SECONDS = 60              # a guard against hangs, not a goal
STOP_SECONDS = 30
PORT_FIRST, PORT_END = 20000, 32000
PORTS_OF_A_WORKER = 1000       # of pytest -n
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StackError(Exception):
    """Something cannot be started; the text says what to do."""


def wait_until(condition, seconds=HANG_SECONDS, what="the condition", pause=0.02):
    """The first true value of condition(), or StackError when time is up."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise StackError(f"waited {seconds} s in vain for {what}")
        time.sleep(pause)


def port_range():
    """Each worker of pytest -n has its own, so that two never choose the same."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return PORT_FIRST, PORT_END
    first = PORT_FIRST + int(worker.removeprefix("gw")) * PORTS_OF_A_WORKER
    return first, min(first + PORTS_OF_A_WORKER, PORT_END)


def free_port():
    """Below the range the kernel gives to outgoing connections, so nobody takes it meanwhile."""
    first, end = port_range()
    for _ in range(200):
        port = random.randrange(first, end)
        if port_is_free(port):
            return port
    raise StackError(f"no free port on 127.0.0.1 between {first} and {end}")


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def program(name):
    """One of ours: from DS_BIN_DIR, else the release build."""
    path = ROOT / (os.environ.get("DS_BIN_DIR") or "build/release/bin") / name
    if not os.access(path, os.X_OK):
        raise StackError(f"{path} does not exist: run `make build`, or set DS_BIN_DIR")
    return str(path)


def temporary_folder(prefix):
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)        # Postgres runs as another user when we are root
    return folder


def http(method, url, body=None, headers=None, timeout=HANG_SECONDS, tls=None):
    """(status, headers, body); a status above 399 is an answer like any other."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=tls) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def _before_exec(stop_signal):
    return lambda: _libc.prctl(PR_SET_PDEATHSIG, stop_signal)


class Process:
    """A child with its log in folder/<name>.log."""

    def __init__(self, name, command, folder, environment=None, user=None, stop_signal=signal.SIGTERM):
        self.name = name
        self.command = [str(word) for word in command]
        self.log = Path(folder) / f"{name}.log"
        self.environment = environment or {}
        self.user = user
        self.stop_signal = stop_signal
        self.child = None
        self.start()

    def start(self):
        options = ({"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
                   if self.user else {})
        environment = {**os.environ, **self.environment}
        with open(self.log, "ab") as log:
            self.log_start = log.tell()
            self.child = subprocess.Popen(
                self.command, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=_before_exec(self.stop_signal), **options)

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def log_text(self):
        """What it wrote since it was last started."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            log.seek(self.log_start)
            return log.read()

    def log_end(self, lines=20):
        return "".join(f"    {line}\n" for line in self.log_text().splitlines()[-lines:])

    def wait_for(self, condition, what, seconds=HANG_SECONDS):
        """The first true value of condition(); StackError with the log's end when it dies or time is up."""
        def met():
            value = condition()
            if not value and not self.alive():
                raise StackError(f"{self.name} ended with {self.child.returncode} while we waited for it "
                                 f"{what}; the end of its log:\n{self.log_end()}")
            return value
        try:
            return wait_until(met, seconds)
        except StackError as error:
            if "in vain" not in str(error):
                raise
            raise StackError(f"waited {seconds} s in vain for {self.name} {what}; the end of its log:\n"
                             f"{self.log_end()}") from None

    def wait_log(self, text, seconds=HANG_SECONDS):
        """Until its log contains text."""
        self.wait_for(lambda: text in self.log_text(), f"to say {text!r}", seconds)

    def wait_http(self, url, seconds=HANG_SECONDS, tls=None, or_else=b""):
        """Until GET url is 200, or its body begins with or_else, where that is not empty."""
        def answered():
            try:
                status, _, body = http("GET", url, timeout=2, tls=tls)
            except OSError:
                return False
            return status == 200 or (or_else != b"" and body.startswith(or_else))
        self.wait_for(answered, f"to answer {url}", seconds)

    def kill(self):
        """SIGKILL, and reap."""
        if self.alive():
            self.child.kill()
        self.child.wait()

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, seconds=STOP_SECONDS):
        return self.child.wait(seconds)

    def stop(self):
        """The exit status; None when it had to be killed."""
        if self.child is None:
            return 0
        if not self.alive():
            return self.child.returncode
        self.child.send_signal(self.stop_signal)
        try:
            return self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return None


def postgres_folder():
    named = os.environ.get("DS_POSTGRES_BIN_DIR")
    if named:
        return (ROOT / named).resolve()
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"),
                   key=lambda path: int(path.parts[-3]))
    if not found:
        raise StackError("PostgreSQL is not installed: run packaging/install-deps run")
    return found[-1].parent


def postgres_user():
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError("running as root, and there is neither a user postgres nor nobody for Postgres")


def postgres_client(name):
    """A client program; the newer majors from npm come without, and Debian's talks to all of them."""
    own = postgres_folder() / name
    return str(own) if own.exists() else shutil.which(name) or name


class Postgres:
    """A private server: initdb, start, and stop; a database of one's own with create_database.  With
    standby_of another one, it is made as a copy that follows it, until promote."""

    SETTINGS = {
        "wal_level": "logical", "track_commit_timestamp": "on", "max_replication_slots": "10",
        "max_wal_senders": "10", "listen_addresses": "127.0.0.1", "autovacuum_naptime": "5s",
        "max_connections": "100",
    }

    def __init__(self, folder, port=None, settings=None, name="postgres", environment=None,
                 standby_of=None):
        self.name = name
        self.folder = Path(folder) / name
        self.port = port or free_port()
        self.user = postgres_user()
        self.process = None
        self.started = False
        self.settings = {**self.SETTINGS, **(settings or {})}
        self.environment = environment
        self.folder.mkdir()
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        if standby_of and (postgres_folder() / "pg_basebackup").exists():
            self._run("pg_basebackup", "-D", self.folder / "data", "-d", standby_of.url(), "-R",
                      "-X", "stream", "-c", "fast", "--no-sync")
        elif standby_of:
            standby.copy(standby_of, self.folder / "data", self.user)
        else:
            self._run("initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                      "--locale=C.UTF-8", "--no-sync")

    def _run(self, name, *arguments):
        options = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} \
            if self.user else {}
        done = subprocess.run([postgres_client(name), *arguments], cwd=self.folder, **options,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise StackError(f"{name} failed:\n{done.stdout}")

    def start(self):
        """On another port where somebody was faster, as long as nobody knows the first."""
        for last in (False, False, True):
            self._launch()
            try:
                self.wait_ready()
                break
            except StackError:
                if last or self.started or "Address already in use" not in self.process.log_text():
                    raise
                self.port = free_port()
        self.started = True
        return self

    def _launch(self):
        options = [word for key, value in self.settings.items() for word in ("-c", f"{key}={value}")]
        self.process = Process(self.name, [postgres_folder() / "postgres", "-D", self.folder / "data",
                                           "-p", self.port, "-k", self.folder, *options],
                               self.folder.parent, self.environment, user=self.user,
                               stop_signal=signal.SIGINT)

    def wait_ready(self):
        ready = [postgres_client("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        self.process.wait_for(lambda: subprocess.run(ready).returncode == 0, "to accept connections")

    def url(self, database="postgres", user="postgres"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database="postgres", user="postgres"):
        """A psycopg2 connection in autocommit mode."""
        import psycopg2
        connection = psycopg2.connect(self.url(database, user))
        connection.autocommit = True
        return connection

    def create_database(self, name):
        connection = self.connect()
        connection.cursor().execute(f'CREATE DATABASE "{name}" ENCODING \'UTF8\' TEMPLATE template0')
        connection.close()
        return self.url(name)

    def promote(self):
        connection = self.connect()
        connection.cursor().execute("SELECT pg_promote(true, %s)", (HANG_SECONDS,))
        connection.close()

    def stop(self):
        return self.process.stop() if self.process else 0

    def crash(self):
        """An immediate shutdown: nothing is written any more, and the next start recovers."""
        self.process.signal(signal.SIGQUIT)
        self.process.wait()

    def kill(self):
        """SIGKILL to the postmaster; its children notice and leave."""
        self.process.kill()


class PgBouncer:
    """A real PgBouncer in transaction mode before a Postgres, with as few server connections as work."""

    def __init__(self, folder, postgres, pool_size=3, pool_mode="transaction"):
        self.program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        if not os.access(self.program, os.X_OK):
            raise StackError("pgbouncer is not installed: run packaging/install-deps test")
        self.folder = Path(folder) / "pgbouncer"
        self.postgres = postgres
        self.pool_size = pool_size
        self.pool_mode = pool_mode
        self.user = postgres.user  # it refuses to run as root, too
        self.folder.mkdir()

    def start(self):
        """On another port where somebody was faster."""
        for last in (False, False, True):
            self.port = free_port()
            self._launch()
            try:
                self.process.wait_for(self._answers, "to accept connections")
                return self
            except StackError:
                if last or "in use" not in self.process.log_text():
                    raise
        return self

    def _launch(self):
        users = self.folder / "users"
        users.write_text('"postgres" ""\n')
        settings = self.folder / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"* = host=127.0.0.1 port={self.postgres.port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\npool_mode = {self.pool_mode}\n"
            f"default_pool_size = {self.pool_size}\nmax_client_conn = 100\nserver_idle_timeout = 5\n")
        self.process = Process("pgbouncer", [self.program, settings], self.folder.parent, user=self.user)

    def _answers(self):
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, database):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def stop(self):
        return self.process.stop()


class Listener(Process):
    """A process that says in its log where it listens.  Without a port of its own it takes one that the
    kernel gives, so suites that run side by side cannot collide; it keeps it over a restart."""

    def bind(self, variable, message, port=None):
        """The variable that names the address, and the log message that says what became of it."""
        self.bound = getattr(self, "bound", {})
        self.bound[variable] = message
        return {variable: f"127.0.0.1:{port or 0}"}

    def bound_port(self, variable):
        address = self.environment[variable]
        if address.endswith(":0"):
            said = re.compile(rf'"?msg"?[=:]"{self.bound[variable]}",? ?"?addr"?[=:]"?([0-9.]+:[0-9]+)')
            address = self.wait_for(lambda: said.search(self.log_text()),
                                    f"to say {self.bound[variable]!r}").group(1)
            self.environment[variable] = address
        return int(address.rpartition(":")[2])


class DsServer(Listener):
    def __init__(self, folder, port=None, admin_port=None, environment=None, name="ds-server",
                 binary=None, tls=None):
        self.tls = tls             # an ssl.SSLContext to reach it with, where it speaks TLS
        super().__init__(name, [binary or program(os.environ.get("DS_TEST_SERVER", "ds-server"))], folder, {
            **self.bind("DS_SERVER__BIND_ADDRESS", "listening", port),
            **self.bind("DS_ADMIN__LISTEN", "admin listening", admin_port),
            **(environment or {})})

    @property
    def port(self):
        return self.bound_port("DS_SERVER__BIND_ADDRESS")

    @property
    def admin_port(self):
        return self.bound_port("DS_ADMIN__LISTEN")

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.admin_port}"

    def wait_ready(self):
        self.wait_http(f"{self.url}/healthz", tls=self.tls)
        return self

    def stream_url(self, name):
        return f"{self.url}/v1/stream/{name}"

    def create(self, name, content_type="application/json", body=None, headers=None):
        return http("PUT", self.stream_url(name), body,
                    {"Content-Type": content_type, **(headers or {})}, tls=self.tls)

    def append(self, name, messages, content_type="application/json", headers=None):
        """messages: a list (sent as one JSON array) or bytes as they are."""
        body = messages if isinstance(messages, bytes) else json.dumps(messages).encode()
        status, reply, text = http("POST", self.stream_url(name), body,
                                   {"Content-Type": content_type, **(headers or {})}, tls=self.tls)
        if status not in (200, 204):
            raise StackError(f"append to {name}: {status} {text!r}")
        return reply

    def read_json(self, name, offset="-1"):
        """(all messages from offset on, the next offset), following pages to the tail."""
        messages = []
        while True:
            status, headers, body = http("GET", f"{self.stream_url(name)}?offset={offset}",
                                         tls=self.tls)
            if status != 200:
                raise StackError(f"read of {name} at {offset}: {status} {body!r}")
            messages += json.loads(body)
            offset = headers["Stream-Next-Offset"]
            if headers.get("Stream-Up-To-Date") == "true":
                return messages, offset


class Syncd(Listener):
    ALL_DEAD = b"every "           # stream, or route, is stopped or failed

    def __init__(self, folder, server_url, postgres_url, streams, port=None, environment=None,
                 name="syncd", binary=None, arguments=()):
        super().__init__(name, [binary or program("syncd"), *arguments], folder, {
            "DS_SERVER_URL": server_url, "POSTGRES_URL": postgres_url,
            "SYNCD_STREAMS": ",".join(streams), "SYNCD_MIGRATE": "true",
            **self.bind("SYNCD_LISTEN", "listening", port), **(environment or {})})

    @property
    def port(self):
        return self.bound_port("SYNCD_LISTEN")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self):
        """Until it is ready, or would never be: a stream may fail before anybody has asked."""
        self.wait_http(f"{self.url}/readyz", or_else=self.ALL_DEAD)
        return self

    def status(self):
        return json.loads(http("GET", f"{self.url}/status")[2])


def stop_all(processes):
    """Stop in reverse order; a list of complaints about what did not end as it should."""
    complaints = []
    for process in reversed(processes):
        status = process.stop()
        if status is None:
            complaints.append(f"{process.name} did not stop within {STOP_SECONDS} s and was killed")
        elif status != 0:
            complaints.append(f"{process.name} ended with {status}")
    return complaints


def remove_folder(folder):
    if not os.environ.get("DS_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
