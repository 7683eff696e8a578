# SPDX-License-Identifier: Apache-2.0
"""A disk that can be filled, for tests of what happens without room."""
import os
import subprocess

import pytest

import ds


class SmallDisk:
    """A file system of its own size, in a mount namespace of its own; no root needed."""

    def __init__(self, folder, size_bytes):
        self.path = folder / "disk"
        self.path.mkdir()
        self.holder = subprocess.Popen(
            ["unshare", "-Urm", "sh", "-c",
             f"mount -t tmpfs -o size={size_bytes} tmpfs {self.path} && echo mounted && exec sleep 3600"],
            stdout=subprocess.PIPE)
        if self.holder.stdout.readline() != b"mounted\n":
            self.holder.wait()
            pytest.skip("no user namespaces here")
        self.binary = folder / "ds-server-on-small-disk"
        self.binary.write_text(
            f"#!/bin/sh\nexec nsenter -t {self.holder.pid} -U -m --preserve-credentials "
            f"{ds.program('ds-server')} \"$@\"\n")
        self.binary.chmod(0o700)
        self.seen = f"/proc/{self.holder.pid}/root{self.path}"   # from outside

    def close(self):
        self.holder.kill()
        self.holder.wait()

    def fill(self):
        """Nothing more fits until make_room."""
        with open(f"{self.seen}/ballast", "ab", buffering=0) as ballast:
            for piece in (1 << 16, 1 << 12):
                try:
                    while True:
                        ballast.write(b"b" * piece)
                except OSError:
                    pass

    def make_room(self):
        os.unlink(f"{self.seen}/ballast")
