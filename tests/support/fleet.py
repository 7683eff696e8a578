# SPDX-License-Identifier: Apache-2.0
"""Several syncd beside one Postgres, and who of them holds what."""
import signal

import ds
import pytest

PARTITIONS = 64
STATEMENT_SECONDS = 30         # statement_timeout of a writer
# Instances find each other within a second; nothing here is a goal.
FAST = {"SYNCD_IDLE_TIMEOUT": "1s", "SYNCD_BACKOFF_BASE": "20ms", "SYNCD_BACKOFF_MAX": "200ms"}


def partition(name, source="default", count=PARTITIONS):
    """fnv1a-64, written for this file."""
    value = 0xcbf29ce484222325
    for byte in source.encode() + b"\0" + name.encode():
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return value % count


def take_over_seconds(lease):
    """From the death of an instance until its streams are loaded by others: what is promised."""
    return lease + STATEMENT_SECONDS + 2


class Fleet:
    """start() as often as instances are wanted; stop_all() at the end."""

    def __init__(self, folder, server_url, postgres_url, connection, streams, binary=None):
        self.folder = folder
        self.server_url = server_url
        self.postgres_url = postgres_url
        self.connection = connection
        self.streams = streams
        self.binary = binary
        self.started = []

    def start(self, name, lease="3s", wait=True, binary=None, streams=None, **environment):
        number = len(self.started)
        process = ds.Syncd(self.folder, self.server_url, self.postgres_url, streams or self.streams,
                           binary=binary or self.binary, name=f"{name}-{number}",
                           environment={**FAST, "SYNCD_LEASE": lease, "SYNCD_INSTANCE": name,
                                        **environment})
        self.started.append(process)
        return process.wait_ready() if wait else process

    def stop_all(self):
        for process in self.started:
            if process.alive():
                process.signal(signal.SIGCONT)
            process.stop()

    def query(self, sql, *parameters):
        cursor = self.connection.cursor()
        cursor.execute(sql, parameters)
        return cursor.fetchall()

    def held(self):
        """{instance: partitions}"""
        return dict(self.query("SELECT owner, count(*) FROM ds_sync.work_partition "
                               "WHERE owner IS NOT NULL GROUP BY owner"))

    def epochs(self, name):
        """{partition: epoch} of what an instance holds."""
        return dict(self.query("SELECT partition_no, epoch FROM ds_sync.work_partition WHERE owner = %s",
                               name))

    def wait_shared(self, names):
        """Until these instances hold all partitions, and none more than its share."""
        share = -(-PARTITIONS // len(names))

        def fair():
            held = self.held()
            return set(held) == names and sum(held.values()) == PARTITIONS and max(held.values()) <= share
        self._wait(fair, f"fair shares of {sorted(names)}")

    def wait_held(self, expected):
        """Until each of these instances, and no other, holds so many partitions."""
        self._wait(lambda: self.held() == expected, expected)

    def _wait(self, condition, what, seconds=ds.HANG_SECONDS):
        try:
            ds.wait_until(condition, seconds)
        except ds.StackError:
            logs = "".join(f"{process.name}:\n{process.log_end(8)}" for process in self.started)
            raise ds.StackError(f"{seconds} s did not lead to {what}; it is {self.held()}\n{logs}") \
                from None

    def wait_loaded_by_owners(self):
        """Until each stream was loaded by the owner of its partition, with the partition's epoch."""
        def matches():
            owners = {number: (owner, epoch) for number, owner, epoch in
                      self.query("SELECT partition_no, owner, epoch FROM ds_sync.work_partition")}
            loaded = {name: (owner, epoch) for name, owner, epoch in
                      self.query("SELECT s.name, o.owner, o.epoch FROM ds_sync.stream s "
                                 "JOIN ds_sync.stream_offset o USING (stream_id)")}
            return all(loaded.get(name) == owners[partition(name)] for name in self.streams)
        ds.wait_until(matches, what="every stream to be loaded by the owner of its partition")


def fleet_of(streams):
    """A fixture: a Fleet beside the fixture `server`, which has these streams."""
    @pytest.fixture
    def fleet(folder, database, server):
        for name in streams:
            server.create(name)
        several = Fleet(folder, server.url, database[0], database[1], streams)
        yield several
        several.stop_all()
    return fleet
