# SPDX-License-Identifier: Apache-2.0
"""The part of bench/run that measures tables of state: syncd against a bare loader of the same upserts."""
import json
import os
import statistics
import subprocess

from contestants import ds
from ingest import INGEST_SECONDS, cpu_seconds, make_messages, stack
from report import say

NAME = "bench-state"
KEYS_OF_ROWS = 4               # so many changes of each key
ROWS_OF_TRANSACTION = 5000     # as many as syncd takes by default, and fewer than there are keys
APPEND_MESSAGES = 1000
SECONDS_SQL = "SELECT next_seq, extract(epoch FROM updated_at)::float8 FROM ds_sync.stream_offset"


def array(texts):
    """An array literal."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return '{"' + '","'.join(quoted) + '"}'


def make_changes(rows):
    """No key comes twice within a transaction, so that nobody has less to write."""
    keys = max(rows // KEYS_OF_ROWS, 2 * ROWS_OF_TRANSACTION)
    return [{**message, "key": f"msg-{number % keys}"} for number, message in enumerate(make_messages(rows))]


def write_batches(changes, path):
    with open(path, "w", encoding="utf-8") as out:
        for first in range(0, len(changes), ROWS_OF_TRANSACTION):
            batch = changes[first:first + ROWS_OF_TRANSACTION]
            values = array(json.dumps(change["value"], ensure_ascii=False) for change in batch)
            out.write(f"{len(batch)}\t{array(change['key'] for change in batch)}\t{values}\n")


def declare(made, folder):
    """The route, and a table for it."""
    spec = {"name": "bench", "streams": [NAME], "table": "public.bench_state", "as": "state",
            "payload": {"column": "value", "type": "jsonb"}}
    path = folder / "route.json"
    path.write_text(json.dumps({"routes": [spec]}))
    subprocess.run([ds.program("dsctl"), "route", "apply", "-f", path], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "POSTGRES_URL": made.url})


def preload(made, changes):
    made.restart_server()
    made.server.create(NAME)
    for first in range(0, len(changes), APPEND_MESSAGES):
        made.server.append(NAME, changes[first:first + APPEND_MESSAGES])


def clear(made):
    made.execute("TRUNCATE public.bench_state")
    made.execute("DELETE FROM ds_sync.state_stream")
    made.execute("DELETE FROM ds_sync.stream_offset")
    made.execute("DELETE FROM ds_sync.stream")
    made.execute("CHECKPOINT")


def changes_per_second(made, rows, alive):
    """From the first transaction that is seen to the last: both say in the guard when they began."""
    seen = []

    def done():
        if not alive():
            raise ds.StackError("the loader ended too early")
        found = made.execute(SECONDS_SQL).fetchone()
        if found and found[0] > 0 and (not seen or seen[-1] != found):
            seen.append(found)
        return bool(seen) and seen[-1][0] >= rows
    ds.wait_until(done, INGEST_SECONDS, f"{rows} changes", pause=0.002)
    if len(seen) < 2:
        raise ds.StackError("all changes came at once")
    return (seen[-1][0] - seen[0][0]) / (seen[-1][1] - seen[0][1])


def measure_syncd(made, rows):
    clear(made)
    with made.syncd([], {"SYNCD_ADMIN_URLS": f"default={made.server.admin_url}"}) as syncd:
        rate = changes_per_second(made, rows, syncd.alive)
        ours = cpu_seconds(syncd.pid)
        return rate, 100 * ours / sum(cpu_seconds(pid) for pid in made.backends())


def measure_loader(made, batches, rows):
    clear(made)
    loader = subprocess.Popen([ds.program("bench-upsert-loader"), batches], env={**os.environ, "POSTGRES_URL": made.url})
    try:
        return changes_per_second(made, rows, lambda: loader.poll() in (None, 0))
    finally:
        loader.kill()
        loader.wait()


def run_state(bench):
    changes = make_changes(max(bench.rows, 8 * ROWS_OF_TRANSACTION))
    batches = bench.folder / "batches"
    write_batches(changes, batches)
    rates = {"syncd": [], "bare upsert loader": []}
    shares = []
    with stack(bench) as made:
        declare(made, bench.folder)
        preload(made, changes)
        for number in range(bench.rounds):
            rate, share = measure_syncd(made, len(changes))
            rates["syncd"].append(rate)
            shares.append(share)
            rates["bare upsert loader"].append(measure_loader(made, batches, len(changes)))
            say(f"state, round {number + 1}: syncd: {rate:,.0f} changes/s, CPU {share:.1f} % of Postgres's; "
                f"bare upsert loader: {rates['bare upsert loader'][-1]:,.0f} changes/s")
    bench.report.samples("state, changes per second", rates)
    bench.report.samples("state, CPU, % of Postgres's", {"syncd": shares})
    bench.report.ratio("state", "1 stream: syncd / bare upsert loader, changes per second",
                       rates["syncd"], rates["bare upsert loader"], 0.9)
    bench.report.at_most("state", "CPU of syncd, of that of its Postgres backends",
                         statistics.median(shares), 15, "%")


STATE_PARTS = {"state": run_state}
