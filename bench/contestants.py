# SPDX-License-Identifier: Apache-2.0
"""The servers that bench/run compares, and how the peers among them are installed.

A contestant is started anew for each measurement, in a folder of its own and on a free port.  Peers come from their registries by name and version, into build/bench, with low
priority; what cannot be installed is left out, and said.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tests/support"))
import ds  # noqa: E402  (found only now)

CORES = sorted(os.sched_getaffinity(0))
SCRATCH = ROOT / "build/bench"
NODE_INSTALL_SECONDS = 90
CARGO_INSTALL_SECONDS = 1800
CRATES = {"durable-streams": "0.1.5", "durable-streams-server": "0.3.0"}

# A measurement must not end at a limit.
ROOMY = {"DS_LIMITS__MAX_MEMORY_BYTES": str(16 << 30), "DS_LIMITS__MAX_STREAM_BYTES": str(16 << 30)}

NGINX_CONF = """\
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 204; }}
        location /file {{ root {folder}; default_type application/octet-stream; }}
    }}
}}
"""


def pinned(core, command):
    """On one core, if there is another."""
    return command if len(CORES) < 2 else ["taskset", "-c", str(CORES[core]), *command]


class Contestant:
    """name; start(folder) sets process and port.  It runs on the first core and its load on the second,
    unless all_cores is set."""
    streams = True             # has streams, that have to be made first
    all_cores = False

    def __init__(self, name):
        self.name = name

    def run(self, folder, program, command, environment=None):
        self.process = ds.Process(program, command if self.all_cores else pinned(0, command), folder,
                                  environment)
        self.process.wait_for(lambda: not ds.port_is_free(self.port), "to listen")

    def stop(self):
        self.process.stop()

    def load(self, command):
        """The command that loads it."""
        return command if self.all_cores else pinned(1, command)

    def cpu_seconds(self):
        """Time on a core of all threads, kernel included."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:    # a thread that just ended
                pass
        return total / 1e9

    def private_kilobytes(self):
        """Memory that nobody shares, and what of it is no file's."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
        return sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Anonymous"]


class Ours(Contestant):
    def __init__(self, mode, **settings):
        super().__init__(f"ds-server, {mode}")
        self.mode = mode
        self.settings = settings

    def start(self, folder):
        self.port = ds.free_port()
        self.run(folder, "ds-server", [ds.program("ds-server")], {
            "DS_SERVER__BIND_ADDRESS": f"127.0.0.1:{self.port}", "DS_ADMIN__LISTEN": "off",
            "DS_STORAGE__MODE": self.mode, "DS_STORAGE__DATA_DIR": str(folder / "data"),
            **ROOMY, **self.settings})


class Nginx(Contestant):
    streams = False

    def __init__(self):
        super().__init__("nginx")

    def start(self, folder):
        self.port = ds.free_port()
        conf = folder / "nginx.conf"
        conf.write_text(NGINX_CONF.format(folder=folder, port=self.port))
        folder.chmod(0o755)    # its worker is another user
        self.run(folder, "nginx", ["nginx", "-c", conf])


class SyncLoop(Contestant):
    streams = False

    def __init__(self):
        super().__init__("bare loop, one fdatasync a turn")

    def start(self, folder):
        self.port = ds.free_port()
        self.run(folder, "sync-loop",
                 [ds.program("bench-sync-loop"), self.port, folder / "sync-loop.data"])


class NodeServer(Contestant):
    def __init__(self, file):
        super().__init__(f"Node @durable-streams/server, {'file' if file else 'memory'}")
        self.file = file

    def start(self, folder):
        self.port = ds.free_port()
        data = [folder / "data"] if self.file else []
        self.run(folder, "node", ["node", SCRATCH / "node/peer_server.mjs", self.port, *data])


def crate_program(crate):
    return SCRATCH / crate / "bin/durable-streams-server"


class RustServer(Contestant):
    """Crate durable-streams; mode memory or wal."""

    def __init__(self, mode):
        super().__init__(f"Rust durable-streams, {mode}")
        self.mode = mode

    def start(self, folder):
        self.port = ds.free_port()
        self.run(folder, "rust", [crate_program("durable-streams"), "--host", "127.0.0.1", "--port",
                                  self.port, "--data-dir", folder / "data", "--durability", self.mode])


class RustAxumServer(Contestant):
    """Crate durable-streams-server; mode memory, file-durable or acid."""

    def __init__(self, mode):
        super().__init__(f"Rust durable-streams-server, {mode}")
        self.mode = mode

    def start(self, folder):
        self.port = ds.free_port()
        self.run(folder, "rust-axum", [crate_program("durable-streams-server")], {
            "DS_SERVER__BIND_ADDRESS": f"127.0.0.1:{self.port}", "DS_STORAGE__MODE": self.mode,
            "DS_STORAGE__DATA_DIR": str(folder / "data"), "DS_LOG__RUST_LOG": "warn", **ROOMY})


# ---- installing ----

def install(command, seconds, **options):
    """None, or why it failed."""
    try:
        done = subprocess.run(["nice", "-n", "10", *command], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, **options)
    except subprocess.TimeoutExpired:
        return f"{' '.join(command[:3])} took longer than {seconds} s"
    return None if done.returncode == 0 else f"{' '.join(command[:3])} failed:\n{done.stdout[-500:]}"


def install_node():
    folder = SCRATCH / "node"
    tools = ROOT / "build/tools/venv/bin"     # the test tools' Node, where it is installed
    os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    if not shutil.which("npm"):
        return "npm is not installed: run packaging/install-test-tools"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc", "peer_server.mjs", "node_sync.mjs"):
        shutil.copy(HERE / name, folder / name)
    if all((folder / "node_modules" / name).exists() for name in ("@durable-streams/server", "pg")):
        return None
    return install(["npm", "ci", "--no-audit", "--no-fund"], NODE_INSTALL_SECONDS, cwd=folder)


def install_crate(crate):
    if crate_program(crate).exists():
        return None
    if not shutil.which("cargo"):
        return f"cargo is not installed, so the crate {crate} is not built"
    print(f"bench: building the crate {crate} {CRATES[crate]}, once; this takes minutes", flush=True)
    return install(["cargo", "install", "--locked", "-j1", "--root", str(SCRATCH / crate), "--version",
                    CRATES[crate], crate], CARGO_INSTALL_SECONDS,
                   env={**os.environ, "CARGO_TARGET_DIR": str(SCRATCH / "target")})


class Field:
    """Which peers there are.  A part asks for those it wants, and gets the ones that are here."""

    def __init__(self, report):
        self.report = report
        self.asked = {}

    def has(self, what):
        if what not in self.asked:
            reason = self.install(what)
            self.asked[what] = reason is None
            if reason is not None:
                self.report.missing(reason)
        return self.asked[what]

    def install(self, what):
        if what == "nginx":
            return None if shutil.which("nginx") else (
                "nginx is not installed: run packaging/install-deps full")
        return install_node() if what == "node" else install_crate(what)

    def nginx(self):
        return [Nginx()] if self.has("nginx") else []

    def node(self, file):
        return [NodeServer(file)] if self.has("node") else []

    def rust(self, mode):
        return [RustServer(mode)] if self.has("durable-streams") else []

    def rust_axum(self, mode):
        return [RustAxumServer(mode)] if self.has("durable-streams-server") else []
