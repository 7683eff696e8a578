# SPDX-License-Identifier: Apache-2.0
"""What the faults are injected into: 50 streams of an acid ds-server, syncd, Postgres under a clock that
can be set, a proxy in front of both, producers that never stop, and a checker for each stream."""
import json
import os
import signal
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import ds
import load
import syncd_work
from checker import REFUSED_MARK, StateChecker, StreamChecker
from proxy import Proxy

EVENT_STREAMS = {**{f"fault/json-{number}": load.JSON for number in range(24)},
                 **{f"fault/bytes-{number}": load.BYTES for number in range(11)},
                 **{f"fault/text-{number}": load.TEXT for number in range(7)}}
STATE_STREAMS = {f"state/{number}": load.STATE for number in range(8)}
STREAMS = {**EVENT_STREAMS, **STATE_STREAMS}
STATE_TABLE = "public.fault_state"
STATE_ROUTE = {"name": "state", "streams": ["state/*"], "table": STATE_TABLE, "as": "state",
               "on_error": "dead_letter", "payload": {"column": "value", "type": "jsonb"}}
LOAD_THREADS, LOAD_PAUSE = 5, 0.04
POISON = (*load.POISON, load.REFUSED)
REFUSED_SHARE = 0.1            # of messages, while syncd is to try rows one by one
BATCH_ROWS_MAX = 400           # of syncd: larger appends are committed in parts
CUT_SIZES = ((1.0, BATCH_ROWS_MAX + 1, BATCH_ROWS_MAX + 200),)
CHECK_THREADS = 4              # they wait for answers most of the time
RECOVER_SECONDS = 120          # hang guard: all is loaded again within
RECOVER_SECONDS_MUTANT = 30    # then what is there is looked at
LOOK_SECONDS = 1               # a mutant that would never load it is found meanwhile
NOTICE_SECONDS = 20            # hang guard: syncd says what it found within
NOTICE_SECONDS_MUTANT = 3      # a mutant finds nothing
SERVER_SETTINGS = {
    "DS_STORAGE__MODE": "acid", "DS_STORAGE__ACID_SHARD_COUNT": "2", "DS_LIMITS__MAX_CACHE_BYTES": "8MiB",
    "DS_SERVER__LONG_POLL_TIMEOUT_SECS": "1",
    # What takes longer on a slow machine is sent more meanwhile.
    "DS_LIMITS__MAX_MEMORY_BYTES": "4GiB", "DS_LIMITS__MAX_STREAM_BYTES": "1GiB",
}
SYNCD_SETTINGS = {
    "SYNCD_BACKOFF_BASE": "20ms", "SYNCD_BACKOFF_MAX": "500ms", "SYNCD_IDLE_TIMEOUT": "3s",
    "SYNCD_POSTGRES_PATIENCE": "2s", "SYNCD_BATCH_ROWS_MAX": str(BATCH_ROWS_MAX), "SYNCD_LEASE": "3s",
}
# Some sessions wait for a lock on purpose: let it be over soon.
POSTGRES_SETTINGS = {"fsync": "off", "deadlock_timeout": "300ms", "restart_after_crash": "on"}
STATEMENT_TIMEOUT_MS = 2000
LOCK_ALL = "SELECT 1 FROM ds_sync.stream_offset ORDER BY stream_id FOR UPDATE"
CLOCK_LIBRARY = ds.ROOT / "build/fault/lib/libshift_clock.so"


class Difference(ds.StackError):
    """What is there is not what should be; all else may be a broken or a slow machine."""


class Stack:
    def __init__(self, seed, mutant):
        self.seed = seed
        self.mutant = mutant
        self.recover_seconds = RECOVER_SECONDS_MUTANT if mutant else RECOVER_SECONDS
        self.notice_seconds = NOTICE_SECONDS_MUTANT if mutant else NOTICE_SECONDS
        self.folder = ds.temporary_folder("ds-fault-")
        self.fault_log = self.folder / "faults"
        self.clock = self.folder / "clock"
        self.processes = []
        self.proxies = []
        self.loads = []
        self.postgres_count = self.syncd_count = self.kills = 0
        self.server = self.postgres = self.syncd = self.connection = None

    def start(self):
        self.clock_ahead = 0
        self.set_clock(0)
        self.postgres = self.new_postgres().start()
        self.server = ds.DsServer(self.folder, environment={
            **SERVER_SETTINGS, "DS_STORAGE__DATA_DIR": str(self.folder / "data")})
        self.processes.append(self.server)
        self.server.wait_ready()
        self.source_proxy = Proxy(self.server.port, f"{self.seed}/source")
        self.proxies.append(self.source_proxy)
        self.postgres_proxy = Proxy(self.postgres.port, f"{self.seed}/postgres")
        self.proxies.append(self.postgres_proxy)
        self.connection = self.postgres.connect()
        self.producers, self.loads = load.start(self.server, STREAMS, self.seed, LOAD_PAUSE, LOAD_THREADS,
                                                load.QUIET, POISON)
        self.checkers = [self._checker(producer) for producer in self.producers]
        self._declare_state()
        self.execute(f"ALTER TABLE ds_sync.session_events ADD CHECK (NOT payload ? '{REFUSED_MARK}')")
        self.syncd = self.new_syncd().wait_ready()
        self.wait_loaded()

    def _checker(self, producer):
        if producer.kind == load.STATE:
            return StateChecker(self.server, producer.name, STATE_TABLE, producer=producer)
        return StreamChecker(self.server, producer.name, producer.is_json, producer=producer)

    def _declare_state(self):
        """As an operator does."""
        routes = self.folder / "routes.json"
        routes.write_text(json.dumps({"routes": [STATE_ROUTE]}))
        for words in (["db", "migrate"], ["route", "apply", "-f", routes]):
            done = subprocess.run([ds.program("dsctl"), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, env={**os.environ, "POSTGRES_URL": self.postgres.url()})
            if done.returncode != 0:
                raise ds.StackError(f"dsctl {words[0]} {words[1]} ended with {done.returncode}:\n{done.stdout}")

    # -- Postgres --

    def new_postgres(self, standby_of=None):
        self.postgres_count += 1
        environment = {"LD_PRELOAD": str(CLOCK_LIBRARY), "DS_CLOCK_FILE": str(self.clock)}
        postgres = ds.Postgres(self.folder, settings=POSTGRES_SETTINGS, environment=environment,
                               name=f"postgres-{self.postgres_count}", standby_of=standby_of)
        self.processes.append(postgres)
        return postgres

    def set_clock(self, seconds):
        """By how much Postgres's clock is ahead."""
        with open(self.clock, "r+b" if self.clock.exists() else "wb") as file:   # it is mapped
            file.write(struct.pack("q", seconds))

    def reconnect(self):
        self.connection = self.postgres.connect()

    def session(self):
        """Another session of the checker's, not in autocommit."""
        connection = self.postgres.connect()
        connection.autocommit = False
        return connection

    def query(self, sql, parameters=()):
        cursor = self.connection.cursor()
        cursor.execute(sql, parameters)
        return cursor.fetchall()

    def execute(self, sql, parameters=()):
        self.connection.cursor().execute(sql, parameters)

    def positions(self):
        """name -> next_seq"""
        return dict(self.query("SELECT s.name, o.next_seq FROM ds_sync.stream s "
                               "JOIN ds_sync.stream_offset o USING (stream_id)"))

    def behind(self):
        """Names of streams of which something is acknowledged and not yet in Postgres."""
        marks = {producer.name: producer.acknowledged[0] for producer in self.producers}
        there = self.positions()
        return [name for name, mark in marks.items() if there.get(name, 0) < mark]

    def sessions(self):
        """Of syncd, for who has to find out what went on."""
        return "\n".join(map(str, self.query(
            "SELECT application_name, pid, state, wait_event_type, wait_event, backend_xid, "
            "clock_timestamp() - xact_start, pg_blocking_pids(pid), left(query, 60) "
            "FROM pg_stat_activity WHERE application_name LIKE 'syncd%'")))

    # -- syncd --

    def new_syncd(self, fault=None, instance=None, source_port=None):
        """Another instance, unless it is given the name of one that has ended."""
        self.syncd_count += 1
        binary = syncd_work.FAULT_BINARY if fault or self.mutant else ds.program("syncd")
        url = (f"postgresql://postgres@127.0.0.1:{self.postgres_proxy.port}/postgres"
               f"?options=-c%20statement_timeout%3D{STATEMENT_TIMEOUT_MS}")
        instance = instance or f"{self.syncd_count:04}"
        process = ds.Syncd(
            self.folder, f"http://127.0.0.1:{source_port or self.source_proxy.port}", url, EVENT_STREAMS,
            name=f"syncd-{self.syncd_count}", binary=binary, environment={
                **SYNCD_SETTINGS, "SYNCD_INSTANCE": instance,
                "SYNCD_ADMIN_URLS": f"default={self.server.admin_url}",
                **({"DS_MUTANT": self.mutant} if self.mutant else {}), **(fault or {})})
        process.instance = instance
        self.processes.append(process)
        return process

    def restart_syncd(self):
        """Stopped as an operator does; it must end well."""
        self.end_syncd(self.syncd)
        self.syncd = self.new_syncd()

    def end_syncd(self, process):
        process.signal(signal.SIGCONT)
        status = process.stop()
        self.processes.remove(process)
        if status != 0:
            raise ds.StackError(f"{process.name} ended with {status} on SIGTERM:\n{process.log_end()}")

    def kill_syncd(self, process):
        process.kill()
        self.processes.remove(process)

    def stop_in_transaction(self, **how):
        """(backend's pid, what it did); syncd stands still until it is told to go on."""
        return syncd_work.stop_in_transaction(self.syncd, self.connection, f"syncd/{self.syncd.instance}", **how)

    def go_on(self):
        self.syncd.signal(signal.SIGCONT)

    # -- looking --

    def wait_loaded(self, at_rest=False):
        """Until all is in Postgres that was acknowledged when this was called.  At rest, nothing new comes
        meanwhile: syncd must find out by itself what is missing."""
        load.rest(self.loads, at_rest)
        try:
            self._wait_loaded()
        finally:
            load.rest(self.loads, False)

    def not_committed(self):
        """Streams of which syncd believes that more is committed than Postgres has."""
        believed = {stream["name"]: stream["next_seq"] for stream in self.syncd.status()["streams"]}
        there = self.positions()       # looked at later: it can only be ahead
        return [f"{name}: syncd has seen {seq} committed, Postgres has {there.get(name, 0)}"
                for name, seq in believed.items() if seq > there.get(name, 0)]

    def _wait_loaded(self):
        marks = {producer.name: producer.acknowledged[0] for producer in self.producers}
        looked = time.monotonic()

        def loaded():
            nonlocal looked
            load.complain(self.loads)
            if not self.syncd.alive():
                raise ds.StackError(f"{self.syncd.name} ended with {self.syncd.child.returncode} by itself:\n"
                                    f"{self.syncd.log_end()}")
            if self.mutant and time.monotonic() > looked + LOOK_SECONDS:
                looked = time.monotonic()
                wrong = self.not_committed()
                if wrong:
                    raise Difference(", ".join(wrong[:5]))
            there = self.positions()
            return all(there.get(name, 0) >= mark for name, mark in marks.items())
        try:
            ds.wait_until(loaded, self.recover_seconds)
        except ds.StackError as error:
            if "in vain" not in str(error):
                raise
            there = self.positions()
            late = [f"{name} stands at {there.get(name)} and has {mark}" for name, mark in marks.items()
                    if there.get(name, 0) < mark]
            raise ds.StackError(f"not loaded {self.recover_seconds} s after the fault: {', '.join(late[:5])}, "
                                f"{len(late)} in all\n{self.syncd.log_end(40)}") from None

    def check(self, everything=False):
        """Findings, over all streams."""
        findings = []
        with ThreadPoolExecutor(CHECK_THREADS) as pool:
            slices = [self.checkers[number::CHECK_THREADS] for number in range(CHECK_THREADS)]
            list(pool.map(lambda checkers: self._check(checkers, everything), slices))
        for checker in self.checkers:
            findings += checker.findings
            checker.findings.clear()
        for producer, checker in zip(self.producers, self.checkers):
            producer.allow(checker.good)
        return findings

    def _check(self, checkers, everything):
        connection = self.postgres.connect()
        try:
            for checker in checkers:
                checker.check(connection, everything)
        finally:
            connection.close()

    def finish(self):
        """No more faults: everything must arrive.  Findings."""
        load.stop(self.loads)
        self.wait_loaded()
        ds.wait_until(lambda: all(checker.caught_up(self.connection) for checker in self.checkers),
                      RECOVER_SECONDS, "all streams to be loaded to their ends")
        self.end_syncd(self.syncd)
        return self.check(everything=True)

    def stop(self):
        for producer in self.loads:
            producer.stopping.set()
        for process in self.processes:
            if isinstance(process, ds.Syncd):
                process.kill()
        for proxy in self.proxies:
            proxy.stop()
        complaints = ds.stop_all([process for process in self.processes if not isinstance(process, ds.Syncd)])
        ds.remove_folder(self.folder)
        return complaints


def in_thread(function, *arguments):
    """A thread that runs it and keeps what it raised."""
    thread = threading.Thread(target=lambda: _keep(thread, function, arguments), daemon=True)
    thread.error = None
    thread.start()
    return thread


def _keep(thread, function, arguments):
    try:
        function(*arguments)
    except Exception as error:          # shown by whoever joins us
        thread.error = error


def join(thread):
    thread.join(ds.HANG_SECONDS)
    if thread.is_alive():
        raise ds.StackError("a session of the checker's hangs")
    if thread.error:
        raise thread.error


def is_root():
    return os.geteuid() == 0
