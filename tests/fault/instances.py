# SPDX-License-Identifier: Apache-2.0
"""Faults in which an instance stands still, and wakes up where somebody else has been meanwhile."""
import signal

import ds
import stack as stacks
import syncd_work
from moments import pass_time, until
from proxy import Proxy

LONG_LEASE = "5m"


def _epochs(stack):
    """name -> (epoch, owner, next_seq)"""
    return {row[0]: row[1:] for row in stack.query(
        "SELECT s.name, o.epoch, o.owner, o.next_seq FROM ds_sync.stream s "
        "JOIN ds_sync.stream_offset o USING (stream_id)")}


def _pause(stack):
    """(the current instance, standing still inside a transaction, what it did)"""
    # Postgres ends a session that idles after some seconds; one that sends rows may take longer.
    _, doing = stack.stop_in_transaction(wanted=lambda doing: "idle in transaction" in doing)
    return stack.syncd, doing


def pause_and_replace(stack, choose):
    """An instance stands still inside a transaction, another one takes over and goes on, and the first
    wakes up: while its transaction is open yet, or long after its lease.  Then both share the work, and
    one of them ends."""
    old, doing = _pause(stack)
    start = stack.positions()
    stack.syncd = stack.new_syncd()
    try:
        late = choose.random() < 0.7
        if late:
            ds.wait_until(lambda: any(row[1] == stack.syncd.instance and row[2] > start.get(name, 0)
                                      for name, row in _epochs(stack).items()),
                          stacks.RECOVER_SECONDS, "the other instance to take over and commit")
        else:
            pass_time(choose, (0.1, 2.0))
        old.signal(signal.SIGCONT)
        pass_time(choose, (0.1, 2.0))
    except ds.StackError as error:
        raise ds.StackError(f"{error}\n{stack.sessions()}\n{stack.syncd.log_end()}") from None
    if choose.random() < 0.5:
        old, stack.syncd = stack.syncd, old
    stack.end_syncd(old)
    return f"{'after' if late else 'before'} take-over, in {doing}"


def _freeze(stack, choose, **environment):
    """The instance, started anew, standing still with a transaction composed of which Postgres knows nothing
    yet.  It is sent when the instance wakes up, whatever has happened meanwhile: only its guard is in the way."""
    point = syncd_work.COMPOSED
    stack.end_syncd(stack.syncd)
    stack.syncd = stack.new_syncd({**syncd_work.fault_at(point, "stop", stack.fault_log, choose), **environment})
    syncd_work.wait_frozen(stack.syncd, stack.fault_log, point)
    return stack.syncd


def _wait_gone(stack, instance):
    """What its sessions had been told is done, or rolled back."""
    ds.wait_until(lambda: not stack.query("SELECT pid FROM pg_stat_activity WHERE application_name = %s",
                                          (f"syncd/{instance.instance}",)),
                  stacks.RECOVER_SECONDS, f"the sessions of {instance.name} to end")


def pause_and_fence(stack, choose):
    """An instance is frozen, and another one takes all streams, and cannot read: no position moves.  What the
    first sends when it wakes up stands where it believes; only the epoch is another one."""
    # It must not see by its own clock that its lease is over: then it might not get as far as the guard.
    old = _freeze(stack, choose, SYNCD_LEASE=LONG_LEASE)
    syncd_work.release_leases(stack.connection)
    blind = Proxy(stack.server.port, "blind")
    blind.set_mode("stall")
    other = stack.new_syncd(source_port=blind.port)
    try:
        ds.wait_until(lambda: all(row[1] == other.instance for row in _epochs(stack).values()),
                      stacks.RECOVER_SECONDS, "the other instance to take all streams")
        before = _epochs(stack)
        old.signal(signal.SIGCONT)
        until(lambda: "event=stream.fenced" in old.log_text() or _epochs(stack) != before,
              "the first instance to be fenced")
        stack.end_syncd(old)           # what it was fenced in may be another stream
        _wait_gone(stack, old)
        after = _epochs(stack)
    except ds.StackError as error:
        raise ds.StackError(f"{error}\n{stack.sessions()}\n{old.log_end()}\n{other.log_end()}") from None
    finally:
        if choose.random() < 0.5:
            stack.kill_syncd(other)
        else:
            stack.end_syncd(other)
        blind.stop()
    moved = [name for name, row in before.items() if after[name][:2] == row[:2] and after[name] != row]
    if moved:
        raise stacks.Difference(f"an instance with an older epoch committed {moved[:3]}")
    stack.syncd = stack.new_syncd()
    return "fenced"


def rewind(stack, choose):
    """An instance is frozen, and meanwhile somebody puts streams back to where they were, rows and offset, and
    does not touch the epoch.  What it sends when it wakes up stands behind rows that are gone."""
    marks = stack.query("SELECT s.name, o.stream_id, o.ds_offset, o.skip, o.next_seq FROM ds_sync.stream_offset o "
                        "JOIN ds_sync.stream s USING (stream_id)")
    # What a stream of state was before is not known any more: it goes back to its start.
    marks = [(name, stream_id, "-1", 0, 0) if name in stacks.STATE_STREAMS else (name, stream_id, *place)
             for name, stream_id, *place in marks]
    old = _freeze(stack, choose, SYNCD_LEASE=LONG_LEASE)
    session = stack.session()
    cursor = session.cursor()
    cursor.execute(stacks.LOCK_ALL)    # its other writer may be in a transaction, until Postgres ends that
    for mark in marks:
        _put_back(cursor, *mark)
    session.commit()
    session.close()
    there = {name: next_seq for name, *_, next_seq in marks}
    for checker in stack.checkers:
        checker.forget(there[checker.name])
    old.signal(signal.SIGCONT)
    try:
        until(lambda: "the offset was moved" in old.log_text(), "syncd to notice", stack.notice_seconds)
    finally:
        stack.restart_syncd()          # it does not look at a stream that rests: an operator's turn
    return "noticed"


def _put_back(cursor, name, stream_id, ds_offset, skip, next_seq):
    for table in ("ds_sync.session_events", "ds_sync.stream_chunks", stacks.STATE_TABLE):
        cursor.execute(f"DELETE FROM {table} WHERE stream_name = %s AND seq >= %s", (name, next_seq))
    cursor.execute("DELETE FROM ds_sync.dead_letter WHERE stream_id = %s AND seq >= %s", (stream_id, next_seq))
    for table in ("state_staged", "state_tombstone", "state_stream"):
        cursor.execute(f"DELETE FROM ds_sync.{table} WHERE stream_id = %s", (stream_id,))
    cursor.execute("UPDATE ds_sync.stream_offset SET ds_offset = %s, skip = %s, next_seq = %s WHERE stream_id = %s",
                   (ds_offset, skip, next_seq, stream_id))
