# SPDX-License-Identifier: Apache-2.0
"""Catching syncd at work, so that a fault hits something: at its fault points, or in a transaction."""
import signal
import subprocess
import time

import ds

FAULT_BINARY = ds.ROOT / "build/fault/bin/syncd"
COMPOSED = "writer.composed"    # a transaction that Postgres does not know of yet
POINTS = ("checkpoint.loaded", COMPOSED, "writer.small_sent", "writer.small_done", "writer.begin_done",
          "writer.guard_done", "writer.copy_sent", "writer.rows_done", "writer.commit_sent",
          "writer.commit_done", "writer.acked")
SIEVED = "writer.state_sieved"     # changes of state were tried one by one
EVENTS_SIEVED = "writer.sieved"    # and rows of events
STATE_POINTS = (*POINTS, "writer.state_changed", SIEVED)    # where there are streams of state
DROP_POINTS = ("writer.small_sent", "writer.copy_sent", "writer.commit_sent")   # drop the connection
PASSAGES_MAX = 12              # a fault point is hit at the 1st .. 12th passage
PASSAGES_OF_RARE = {"checkpoint.loaded": 1, SIEVED: 3, EVENTS_SIEVED: 3}
HIT_SECONDS = 60               # hang guard: syncd must be at work within


class Missed(Exception):
    """The fault hit nothing; the text says why."""


def need_fault_build():
    if not FAULT_BINARY.exists():
        raise SystemExit(f"{FAULT_BINARY} does not exist: cmake --preset fault && cmake --build build/fault")


def fault_at(point, action, log, choose):
    """The environment that arms a fault point."""
    log.unlink(missing_ok=True)
    passages = choose.randint(1, PASSAGES_OF_RARE.get(point, PASSAGES_MAX))
    return {"DS_FAULT": f"{point}:{action}:{passages}", "DS_FAULT_LOG": str(log)}


def was_hit(log, point):
    return log.exists() and log.read_text().split()[:1] == [point]


def wait_killed(process, log, point):
    """Until syncd died at the point; Missed when it does not."""
    try:
        status = process.wait(HIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Missed(f"syncd did not come to {point} in {HIT_SECONDS} s:\n{process.log_end()}") from None
    if status != -signal.SIGKILL or not was_hit(log, point):
        raise Missed(f"syncd ended with {status} instead:\n{process.log_end()}")


def wait_frozen(process, log, point):
    """Until syncd stopped itself at the point."""
    def frozen():
        if not process.alive():
            raise Missed(f"syncd ended with {process.child.returncode} instead:\n{process.log_end()}")
        if not was_hit(log, point):
            return False
        with open(f"/proc/{process.pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "T"
    try:
        ds.wait_until(frozen, HIT_SECONDS)
    except ds.StackError:
        raise Missed(f"syncd did not come to {point} in {HIT_SECONDS} s:\n{process.log_end()}") from None


def release_leases(connection):
    """What `dsctl lease release --all` does: whoever comes next need not wait for a lease to end."""
    cursor = connection.cursor()
    cursor.execute("DELETE FROM ds_sync.instance")
    cursor.execute("UPDATE ds_sync.work_partition SET owner = NULL, lease_until = NULL")


def open_transaction(connection, name="syncd"):
    """(backend's pid, what it did last) of an open transaction that wrote something, or None."""
    cursor = connection.cursor()
    cursor.execute("SELECT pid, upper(substring(ltrim(query) from '^\\w+')), state FROM pg_stat_activity "
                   "WHERE application_name LIKE %s AND backend_xid IS NOT NULL LIMIT 1", (name + "%",))
    row = cursor.fetchone()
    return (row[0], f"{row[1]} ({row[2]})") if row else None


def stop_in_transaction(process, connection, name="syncd", wanted=lambda doing: True):
    """Stops syncd with SIGSTOP while Postgres shows that it holds an open transaction: (backend's pid,
    what it did).  Missed, and syncd goes on, when none is seen."""
    end = time.monotonic() + HIT_SECONDS
    while time.monotonic() < end and process.alive():
        process.signal(signal.SIGSTOP)
        found = open_transaction(connection, name)
        if found and wanted(found[1]):
            return found
        process.signal(signal.SIGCONT)
        time.sleep(0)              # it must get a turn
    raise Missed(f"no open transaction was seen in {HIT_SECONDS} s:\n{process.log_end()}")
