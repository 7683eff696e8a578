# SPDX-License-Identifier: Apache-2.0
"""The faults.  Each one takes the stack and a source of chance, injects itself while work is in flight
(or raises Missed), cleans up behind itself, and returns what it hit.  Skipped: it cannot be done here."""
import contextlib
import os
import random
import shutil
import signal
import subprocess

import ds
import instances
import load
import psycopg2
import stack as stacks
import syncd_work
from moments import pass_time, reading, until
from syncd_work import Missed

CLOCK_JUMPS = (-86400, -3600, -5, 5, 3600, 10 * 86400)
TABLES = ("ds_sync.session_events", "ds_sync.stream_chunks", stacks.STATE_TABLE)
DISK_BYTES, DISK_SPARE_BYTES = 1 << 30, 64 << 10
TRIES_MAX = 5
STALL_SECONDS = (0.3, 4.0)     # SYNCD_IDLE_TIMEOUT lies between


class Skipped(Exception):
    """The text says why."""


# ---- kill -9 ----

def kill_syncd(stack, choose):
    _, doing = stack.stop_in_transaction()
    stack.kill_syncd(stack.syncd)
    stack.syncd = stack.new_syncd(instance=choose.choice((None, stack.syncd.instance)))
    return f"in {doing}"


def kill_in_event(stack, choose):
    """With a part of an append committed and the rest of it not: only skip tells them apart."""
    def between():
        stack.syncd.signal(signal.SIGSTOP)
        cut = stack.query("SELECT count(*) FROM ds_sync.stream_offset WHERE skip > 0")[0][0]
        if not cut:
            stack.go_on()
        return cut
    big = choose.sample([producer for producer in stack.producers if producer.is_json], 10)
    for producer in big:
        producer.sizes = stacks.CUT_SIZES
    try:
        until(between, "an append that is committed in part")
    finally:
        for producer in big:
            producer.sizes = load.QUIET
    stack.kill_syncd(stack.syncd)
    stack.syncd = stack.new_syncd()
    return "between two parts of an append"


def _armed_syncd(stack, choose, action, points):
    point = choose.choice(points)
    stack.end_syncd(stack.syncd)
    stack.syncd = stack.new_syncd(syncd_work.fault_at(point, action, stack.fault_log, choose))
    return point


def kill_syncd_at_point(stack, choose):
    # In turn, not by chance: a long campaign is to come to each of them.
    points = syncd_work.STATE_POINTS
    stack.kills += 1
    return _kill_at(stack, choose, points[(2 * stack.seed + stack.kills) % len(points)])


def kill_in_sieve(stack, choose):
    """With changes of state tried one by one, some of them refused, and nothing of it committed."""
    return _kill_at(stack, choose, syncd_work.SIEVED)


def kill_in_event_sieve(stack, choose):
    """The same with rows of events, of which COPY found too many bad ones."""
    bad = choose.sample([producer for producer in stack.producers if producer.kind == load.JSON], 10)
    for producer in bad:
        producer.poison, producer.poison_share = (load.REFUSED,), stacks.REFUSED_SHARE
    try:
        return _kill_at(stack, choose, syncd_work.EVENTS_SIEVED)
    finally:
        for producer in bad:
            producer.poison, producer.poison_share = stacks.POISON, load.POISON_SHARE


def _kill_at(stack, choose, point):
    _armed_syncd(stack, choose, "kill", (point,))
    try:
        syncd_work.wait_killed(stack.syncd, stack.fault_log, point)
    finally:
        stack.kill_syncd(stack.syncd)
        stack.syncd = stack.new_syncd()
    return f"at {point}"


def drop_at_point(stack, choose):
    point = _armed_syncd(stack, choose, "fail", syncd_work.DROP_POINTS)
    until(lambda: syncd_work.was_hit(stack.fault_log, point), f"syncd to pass {point}")
    return f"at {point}"


def kill_postgres(stack, choose):
    _, doing = stack.stop_in_transaction()
    stack.postgres.crash()
    if choose.random() < 0.5:
        stack.go_on()
    stack.postgres.start()
    stack.go_on()
    stack.reconnect()
    return f"in {doing}"


def kill_backend(stack, choose):
    """One backend dies, and Postgres ends all others and recovers by itself."""
    pid, doing = stack.stop_in_transaction()
    os.kill(pid, signal.SIGKILL)
    stack.go_on()

    def noticed():
        try:
            stack.query("SELECT 1")
            return False
        except psycopg2.Error:
            return True
    ds.wait_until(noticed, what="Postgres to notice that a backend died")
    stack.postgres.wait_ready()
    stack.reconnect()
    return f"in {doing}"


def kill_server(stack, choose):
    def busy():
        stack.server.signal(signal.SIGSTOP)
        reads = stack.source_proxy.open_reads()
        appends = sum(producer.busy for producer in stack.producers)
        if reads and appends:
            return True
        stack.server.signal(signal.SIGCONT)
        return False
    until(busy, "reads and appends in flight")
    stack.server.kill()
    stack.server.start()
    stack.server.wait_ready()
    return "reads and appends in flight"


# ---- the network ----

def reset_source(stack, choose):
    reading(stack)
    if not stack.source_proxy.reset(choose.choice((0.3, 1.0))):
        raise Missed("no read was open any more")
    return "reads open"


def reset_postgres(stack, choose):
    _, doing = stack.stop_in_transaction()
    stack.postgres_proxy.reset()
    stack.go_on()
    return f"in {doing}"


def _weather(proxy, mode, choose, seconds):
    proxy.set_mode(mode)
    try:
        pass_time(choose, seconds)
        hits = proxy.hits
    finally:
        proxy.calm()
    if not hits:
        raise Missed(f"nothing came by in mode {mode}")
    return "bytes in flight"


def _source_weather(mode, seconds):
    def fault(stack, choose):
        reading(stack)
        return _weather(stack.source_proxy, mode, choose, seconds)
    return fault


def _postgres_weather(mode, seconds):
    def fault(stack, choose):
        _, doing = stack.stop_in_transaction()
        stack.postgres_proxy.set_mode(mode)
        stack.go_on()
        _weather(stack.postgres_proxy, mode, choose, seconds)
        return f"in {doing}"
    return fault


def half_open_source(stack, choose):
    """syncd hears nothing until it gives the reads up."""
    reading(stack)
    if not stack.source_proxy.half_open():
        raise Missed("no read was open any more")
    until(lambda: len(stack.behind()) > 10, "streams to fall behind")
    if choose.random() < 0.5:
        pass_time(choose, STALL_SECONDS)
        stack.source_proxy.calm()
    return "reads open"


def half_open_postgres(stack, choose):
    """Postgres rolls back; syncd hears nothing, then a reset, as keepalive would find."""
    _, doing = stack.stop_in_transaction()
    stack.postgres_proxy.half_open()
    stack.go_on()
    pass_time(choose, STALL_SECONDS)
    stack.postgres_proxy.calm()
    return f"in {doing}"


def truncate_source(stack, choose):
    """Answers and event streams end in the middle of a chunk."""
    reading(stack)
    stack.source_proxy.set_mode("truncate", choose.randint(1, 20))
    try:
        until(lambda: stack.source_proxy.left == 0, "answers to cut")
    finally:
        stack.source_proxy.calm()
    return "answers cut"


def _commit_fault(mode):
    def fault(stack, choose):
        stack.postgres_proxy.set_mode(mode, choose.randint(1, 3))
        try:
            until(lambda: stack.postgres_proxy.left == 0, "a COMMIT")
        finally:
            stack.postgres_proxy.calm()
        return "in COMMIT"
    return fault


# ---- Postgres ----

def jump_clock(stack, choose):
    _, doing = stack.stop_in_transaction()
    jump = choose.choice(CLOCK_JUMPS)
    now = "SELECT extract(epoch FROM clock_timestamp())::bigint"
    before = stack.query(now)[0][0]
    stack.clock_ahead += jump
    stack.set_clock(stack.clock_ahead)
    after = stack.query(now)[0][0]
    stack.go_on()
    if abs(after - before - jump) > 3:
        raise ds.StackError(f"Postgres's clock went from {before} to {after} at a jump of {jump} s")
    return f"{'forward' if jump > 0 else 'back'}, in {doing}"


@contextlib.contextmanager
def _blocker(stack):
    """A session that holds all rows of positions, and never finds a deadlock itself."""
    session = stack.session()
    cursor = session.cursor()
    cursor.execute("SET deadlock_timeout = '10min'")
    session.commit()
    try:
        yield session, cursor
    finally:
        session.close()


def _waiters(stack, session):
    """Backends of syncd that wait for the session, and their statements."""
    return stack.query("SELECT pid, upper(substring(ltrim(query) from '^\\w+')) FROM pg_stat_activity "
                       "WHERE application_name LIKE 'syncd%%' AND %s = ANY (pg_blocking_pids(pid))",
                       (session.get_backend_pid(),))


def _postgres_said(stack, text):
    return stack.postgres.process.log_text().count(text)


def _while_waiting(text, act):
    """syncd waits for a lock; then act, until Postgres says the text about it."""
    def fault(stack, choose):
        with _blocker(stack) as (session, cursor):
            for _ in range(TRIES_MAX):
                said = _postgres_said(stack, text)
                cursor.execute(stacks.LOCK_ALL)
                waiters = until(lambda: _waiters(stack, session), "syncd to wait for a lock")
                act(stack, choose, waiters)
                try:
                    until(lambda: _postgres_said(stack, text) > said, f"Postgres to say {text!r}", 4)
                    return f"waiting in {waiters[0][1]}"
                except Missed:
                    session.rollback()         # in a long transaction the timeout is a longer one
        raise Missed(f"Postgres did not say {text!r}")
    return fault


def _wait_for_timeout(stack, choose, waiters):
    """SYNCD's own statement_timeout ends the statement."""


def _cancel(stack, choose, waiters):
    stack.query("SELECT pg_cancel_backend(%s)", (waiters[0][0],))


def _terminate(stack, choose, waiters):
    stack.query("SELECT pg_terminate_backend(%s)", (waiters[0][0],))


def deadlock(stack, choose):
    """Rows of positions locked in the wrong order, by a session that lets syncd be the victim."""
    said = _postgres_said(stack, "deadlock detected")
    with _blocker(stack) as (session, cursor):
        for _ in range(TRIES_MAX):
            cursor.execute(stacks.LOCK_ALL)               # what syncd writes next will hold many streams
            until(lambda: _waiters(stack, session) and len(stack.behind()) > 20, "streams to pile up")
            late = stack.behind()
            session.rollback()
            cursor.execute("SELECT o.stream_id FROM ds_sync.stream_offset o JOIN ds_sync.stream s "
                           "USING (stream_id) WHERE s.name = ANY (%s) ORDER BY s.name LIKE '%%/json-%%' DESC, "
                           "o.stream_id DESC LIMIT 1 FOR UPDATE OF o", (late,))
            with contextlib.suppress(Missed):
                until(lambda: _waiters(stack, session), "syncd to wait for that row", 2)
                cursor.execute("SELECT 1 FROM ds_sync.stream_offset ORDER BY stream_id DESC FOR UPDATE")
            session.rollback()
            if _postgres_said(stack, "deadlock detected") > said:
                return "syncd was the victim"
    raise Missed("no deadlock came about")


def lose_table(stack, choose):
    """A table is gone for a while, as after a DROP, and comes back as after a restore."""
    table = choose.choice(TABLES)
    _, doing = stack.stop_in_transaction()
    _, _, name = table.rpartition(".")
    said = stack.syncd.log_text().count("42P01")
    gone = stacks.in_thread(_rename, stack, table, f"{name}_away")
    stack.go_on()
    try:
        stacks.join(gone)
        until(lambda: stack.syncd.log_text().count("42P01") > said, "42P01 in syncd's log")
    finally:
        _rename(stack, f"{table}_away", name)  # syncd looks every 10 s, nobody has to do anything
    return f"{table}, in {doing}"


def _rename(stack, old, new):
    session = stack.postgres.connect()
    session.cursor().execute(f"ALTER TABLE IF EXISTS {old} RENAME TO {new}")
    session.close()


def fill_disk(stack, choose):
    """The tables move to a disk that has no room left, and back when it was felt."""
    path = stack.folder / "disk"
    path.mkdir(exist_ok=True)
    if not stacks.is_root():
        raise Skipped("mounting a small tmpfs takes root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", path],
                             stderr=subprocess.PIPE, text=True)
    if mounted.returncode != 0:
        raise Skipped(f"a small tmpfs cannot be mounted: {mounted.stderr.strip()}")
    try:
        user = ds.postgres_user()
        os.chown(path, user.pw_uid, user.pw_gid)
        stack.execute(f"CREATE TABLESPACE small LOCATION '{path}'")
        _move_tables(stack, "small")
        said = stack.syncd.log_text().count("53100")       # of an earlier one
        try:
            ds.wait_until(lambda: _leave_no_room(path), what="the disk to be cut to what is on it")
            until(lambda: stack.syncd.log_text().count("53100") > said, "53100 in syncd's log")
        finally:
            _resize(path, DISK_BYTES)
            stack.wait_loaded()
            _move_tables(stack, "pg_default")
            stack.execute("DROP TABLESPACE small")
            stack.execute("CHECKPOINT")        # a recovery must not look for it
    finally:
        subprocess.run(["umount", path], check=True)
    return "rows that found no room"


def _resize(path, size):
    """False when more than that is on it."""
    return subprocess.run(["mount", "-o", f"remount,size={size}", path],
                          stderr=subprocess.DEVNULL).returncode == 0


def _leave_no_room(path):
    used = os.statvfs(path)
    return _resize(path, (used.f_blocks - used.f_bfree) * used.f_frsize + DISK_SPARE_BYTES)


def _move_tables(stack, space):
    """All of them at once; the locks may meet syncd's in the wrong order."""
    for last in (False, False, False, True):
        session = stack.session()
        try:
            cursor = session.cursor()
            cursor.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
            cursor.execute("SELECT relid::regclass::text FROM pg_partition_tree('ds_sync.session_events') "
                           "WHERE isleaf")
            for leaf in [*(leaf for (leaf,) in cursor.fetchall()), *TABLES[1:]]:
                cursor.execute(f"ALTER TABLE {leaf} SET TABLESPACE {space}")
            session.commit()
            return
        except psycopg2.errors.DeadlockDetected:
            if last:
                raise
        finally:
            session.close()


# ---- failover ----

def _standby(stack):
    """A standby that streams."""
    standby = stack.new_postgres(standby_of=stack.postgres).start()
    ds.wait_until(lambda: stack.query("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND "
                                      "application_name = 'walreceiver'"), what="the standby to stream")
    return standby


def _fail_over(stack, standby):
    """Names of the streams of which the standby has less; syncd goes on."""
    before = stack.positions()
    old = stack.postgres
    old.crash()
    stack.processes.remove(old)
    standby.promote()
    stack.postgres = standby
    stack.reconnect()
    after = stack.positions()
    stack.postgres_proxy.target_port = standby.port
    stack.postgres_proxy.reset()
    stack.go_on()
    shutil.rmtree(old.folder)
    for checker in stack.checkers:
        checker.forget(after.get(checker.name, 0))
    return [name for name in before if after.get(name, 0) < before[name]]


def failover(stack, choose):
    """To a synchronous standby: nothing that was committed is lost."""
    standby = _standby(stack)
    stack.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    stack.execute("SELECT pg_reload_conf()")
    ds.wait_until(lambda: stack.query("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"),
                  what="the standby to be synchronous")
    stack.execute("CHECKPOINT")        # done by the process that tells all others of the setting
    _, doing = stack.stop_in_transaction()
    lost = _fail_over(stack, standby)
    if lost:
        raise ds.StackError(f"the synchronous standby is behind on {lost}: the test is wrong")
    return f"in {doing}"


def failover_behind(stack, choose):
    """To an asynchronous standby that is behind: rows are lost together with the offset behind them, and
    are loaded again."""
    standby = _standby(stack)
    follower = standby.connect()
    follower.cursor().execute("ALTER SYSTEM SET primary_conninfo = ''")
    follower.cursor().execute("SELECT pg_reload_conf()")
    follower.close()
    ds.wait_until(lambda: not stack.query("SELECT 1 FROM pg_stat_replication"), what="the standby to lag")
    goal = sum(stack.positions().values()) + choose.randint(10, 2000)
    until(lambda: sum(stack.positions().values()) > goal, "commits it does not get")
    _, doing = stack.stop_in_transaction()
    if not _fail_over(stack, standby):
        raise Missed("the standby had everything")
    return f"rows lost, in {doing}"


KINDS = {
    "kill-syncd": kill_syncd,
    "kill-syncd-at-point": kill_syncd_at_point,
    "kill-syncd-in-event": kill_in_event,
    "kill-syncd-in-sieve": kill_in_sieve,
    "kill-syncd-in-event-sieve": kill_in_event_sieve,
    "drop-at-point": drop_at_point,
    "kill-postgres": kill_postgres,
    "kill-backend": kill_backend,
    "kill-server": kill_server,
    "reset-source": reset_source,
    "reset-postgres": reset_postgres,
    "stall-source": _source_weather("stall", STALL_SECONDS),
    "stall-postgres": _postgres_weather("stall", STALL_SECONDS),
    "half-open-source": half_open_source,
    "half-open-postgres": half_open_postgres,
    "slice-source": _source_weather("slice", (0.3, 1.0)),
    "slice-postgres": _postgres_weather("slice", (0.3, 1.0)),
    "slow-source": _source_weather("slow", (0.3, 1.0)),
    "slow-postgres": _postgres_weather("slow", (0.3, 1.0)),
    "truncate-source": truncate_source,
    "lose-answer": _commit_fault("lose_answer"),
    "lose-commit": _commit_fault("lose_commit"),
    "abort-commit": _commit_fault("abort_commit"),
    "jump-clock": jump_clock,
    "statement-timeout": _while_waiting("canceling statement due to statement timeout", _wait_for_timeout),
    "cancel": _while_waiting("canceling statement due to user request", _cancel),
    "terminate": _while_waiting("terminating connection due to administrator command", _terminate),
    "deadlock": deadlock,
    "lose-table": lose_table,
    "full-disk": fill_disk,
    "failover": failover,
    "failover-behind": failover_behind,
    "pause-and-replace": instances.pause_and_replace,
    "pause-and-fence": instances.pause_and_fence,
    "rewind": instances.rewind,
}
# What takes several seconds comes less often.
SELDOM = ("statement-timeout", "lose-table", "full-disk", "failover", "failover-behind", "pause-and-replace",
          "pause-and-fence", "rewind", "half-open-postgres")
SELDOM_SHARE = 0.4


def plan(count, choose):
    """Every kind in turn, in random order, the slow ones not each time."""
    names = []
    while len(names) < count:
        turn = [name for name in KINDS if not names or name not in SELDOM or choose.random() < SELDOM_SHARE]
        choose.shuffle(turn)
        names += turn
    return names[:count]


def chance(seed, number):
    """A source of chance of the fault's own: it is the same whatever happened before."""
    return random.Random(f"{seed}/{number}")
