# SPDX-License-Identifier: Apache-2.0
"""The stack by docker compose: the same compose.yaml a user starts, on ports and a name of its own."""

import os
import shutil
import subprocess
import urllib.error
import urllib.request

import lib
from local import ROOT, SCENARIO_TIMES, SERVER_TIMES, SYNCD_TIMES, StackError, ds

UP_SECS = 900                                     # the first run builds the images
READY_SECS = 120
DATABASE_PASSWORD = "dev-only-password"           # the default that compose.yaml declares


class ComposeStack:
    name = "compose"

    def __init__(self, profile, run_id):
        self.profile = profile
        self.project = f"ds-e2e-{run_id}"
        self.streams = ",".join(f"e2e-{run_id}-{kind}" for kind in ("single", "batch", "late"))
        self.ports = {}

    def _compose(self, *arguments, timeout=UP_SECS):
        command = ["docker", "compose", "--project-name", self.project, "--project-directory", ROOT,
                   "-f", os.path.join(ROOT, "compose.yaml")]
        if self.profile == "sync":
            command += ["--profile", "sync"]
        environment = {**os.environ, **self.ports, "SYNCD_STREAMS": self.streams,
                       "POSTGRES_PASSWORD": DATABASE_PASSWORD, **SERVER_TIMES, **SYNCD_TIMES}
        return subprocess.run([*command, *arguments], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              timeout=timeout)

    def start(self):
        if not shutil.which("docker"):
            raise StackError("docker was not found: install it, or use --launcher local")
        if self._compose("version").returncode != 0:
            raise StackError("`docker compose` does not work here: install the compose plugin (v2.24 or newer), "
                             "or use --launcher local")
        self.ports = {name: str(ds.free_port())
                      for name in ("ENVOY_PORT", "ENVOY_ADMIN_PORT", "POSTGRES_PORT", "ELECTRIC_PORT")}
        # Not --wait: it takes the one-shot migration, which ends, for a service that failed.
        up = self._compose("up", "--detach", "--build")
        if up.returncode != 0:
            raise StackError(f"docker compose up failed with {up.returncode}:\n{up.stdout[-4000:]}\n{self.logs()}")
        url = f"http://127.0.0.1:{self.ports['ENVOY_PORT']}"
        self._wait_ready(f"{url}/healthz")
        environment = {"E2E_URL": url, **SCENARIO_TIMES}
        if self.profile == "sync":
            environment["E2E_SYNC_STREAMS"] = self.streams
            environment["E2E_POSTGRES_URL"] = (f"postgresql://postgres:{DATABASE_PASSWORD}"
                                               f"@127.0.0.1:{self.ports['POSTGRES_PORT']}/ds_sync")
        return environment

    def _wait_ready(self, url):
        def answered():
            try:
                with urllib.request.urlopen(url, timeout=2) as reply:
                    return reply.status == 200
            except (urllib.error.URLError, OSError):
                return False
        if not lib.wait_until(answered, READY_SECS, 0.2):
            raise StackError(f"no 200 on {url} for {READY_SECS} s:\n{self.logs()}")

    def logs(self):
        if not self.ports:
            return ""
        return self._compose("logs", "--no-color", "--tail", "30", timeout=60).stdout

    def stop(self):
        """Lines about what did not end as it should.  Removes this project's volumes, no other's."""
        if not self.ports:
            return []
        down = self._compose("down", "--volumes", "--remove-orphans", "--timeout", "30", timeout=180)
        return [] if down.returncode == 0 else [f"docker compose down failed with {down.returncode}: {down.stdout}"]
