# SPDX-License-Identifier: Apache-2.0
"""ds-server as a service: the sockets it is given, what it tells systemd; and how the units shut both in."""
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

import ds
from http_wire import Wire, get

UNITS = ds.ROOT / "packaging/systemd"


class Manager:
    """What systemd is to a service: starts it with sockets, and hears what it says."""

    def __init__(self, folder, sockets=0, **environment):
        self.heard = []
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(folder / "notify"))
        self.notices.settimeout(ds.HANG_SECONDS)
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(sockets)]
        self.ports = [listener.getsockname()[1] for listener in self.listeners]
        # LISTEN_PID must be the pid of the program itself, so a shell sets it and becomes it.
        moves = " ".join(f"{3 + at}<&{listener.fileno() + 100}" for at, listener in enumerate(self.listeners))
        for listener in self.listeners:
            os.dup2(listener.fileno(), listener.fileno() + 100)
        script = f'exec {moves}\nLISTEN_PID=$$ LISTEN_FDS={sockets} exec "{ds.program("ds-server")}"'
        self.log = open(folder / "log", "w+", encoding="utf-8")
        self.child = subprocess.Popen(
            ["bash", "-c", script], stdout=self.log, stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno() + 100 for listener in self.listeners],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify"),
                 "DS_SERVER__BIND_ADDRESS": "127.0.0.1:0", "DS_ADMIN__LISTEN": "127.0.0.1:0", **environment})
        for listener in self.listeners:
            os.close(listener.fileno() + 100)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.child.poll() is None:
            self.child.terminate()
            assert self.child.wait(ds.STOP_SECONDS) == 0
        self.notices.close()
        self.log.close()
        for listener in self.listeners:
            listener.close()

    def hear(self):
        return self.notices.recv(4096).decode()


def test_both_listeners_may_be_inherited(tmp_path):
    with Manager(tmp_path, sockets=2) as manager:
        main, admin = manager.ports
        with Wire(main) as wire:
            assert wire.ask(get("/metrics")).status == 404
        with Wire(admin) as wire:
            assert wire.ask(get("/metrics")).status == 200


def test_who_connects_before_the_server_is_up_is_served(tmp_path):
    with Manager(tmp_path, sockets=2) as manager:
        with Wire(manager.ports[0]) as wire:     # the socket is there whoever serves it
            assert wire.ask(get("/healthz")).status == 200


def test_the_manager_is_told_of_start_reload_and_stop(tmp_path):
    with Manager(tmp_path, sockets=2) as manager:
        assert manager.hear() == "READY=1"
        with Wire(manager.ports[0]) as wire:
            assert wire.ask(get("/readyz")).status == 200
        manager.child.send_signal(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.hear())
        assert manager.hear() == "READY=1"
        manager.child.terminate()
        assert manager.hear() == "STOPPING=1"
        assert manager.child.wait(ds.STOP_SECONDS) == 0


def test_the_watchdog_is_fed_while_the_server_works(tmp_path):
    with Manager(tmp_path, WATCHDOG_USEC="100000") as manager:
        assert [manager.hear() for _ in range(4)] == ["READY=1"] + ["WATCHDOG=1"] * 3


def test_a_second_signal_at_the_very_end_does_not_kill(tmp_path):
    with Manager(tmp_path) as manager:
        assert manager.hear() == "READY=1"
        while manager.child.poll() is None:      # from the first one to the last moment
            manager.child.terminate()
        assert manager.child.returncode == 0


def test_a_start_that_fails_is_not_announced(tmp_path):
    with Manager(tmp_path, DS_TLS__CERT_PATH="/nonexistent", DS_TLS__KEY_PATH="/nonexistent") as manager:
        assert manager.child.wait(ds.HANG_SECONDS) == 1
        manager.notices.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.hear()


# ---- the units ----

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@needs_analyze
@pytest.mark.parametrize("name", ["ds-server", "syncd"])
def test_the_service_is_shut_in_tightly(name):
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25",
                           str(UNITS / f"{name}.service")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@needs_analyze
def test_systemd_understands_every_line_of_the_units(tmp_path):
    for unit in UNITS.iterdir():
        text = re.sub(r"/usr/local/bin/([\w-]+)", lambda found: ds.program(found[1]), unit.read_text())
        (tmp_path / unit.name).write_text(text)
    for unit in UNITS.iterdir():
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
                              capture_output=True, text=True,
                              env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:/usr/lib/systemd/system"})
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("name, setting", [("ds-server", "DS_SERVER__DRAIN_TIMEOUT"),
                                           ("syncd", "SYNCD_STOP_TIMEOUT")])
def test_the_unit_gives_the_program_the_time_it_may_take(name, setting):
    unit = (UNITS / f"{name}.service").read_text()
    settings = subprocess.run([ds.program(name), "--print-config"], capture_output=True, text=True,
                              check=True).stdout
    drain = re.search(rf"^{setting}=(\d+)s$", settings, re.M)[1]
    stop = re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.M)[1]
    assert int(stop) >= int(drain) + 10
