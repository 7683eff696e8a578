# SPDX-License-Identifier: Apache-2.0
"""The parts of bench/run that measure syncd."""
import http.client
import itertools
import json
import os
import random
import select
import statistics
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from contestants import ROOMY, SCRATCH, ds
from report import say

APPEND_MESSAGES = 1000         # messages in one append of the preload
INGEST_SECONDS = 120           # a guard against hangs
STREAMS = (1, 64, 1000)
NODE_ROWS = 5000               # at most: one commit each
LATENCY_MESSAGES = 100         # a round
LATENCY_SECONDS = 30           # for one of them: a guard against hangs
QUIET_STREAMS = 10000
QUIET_SECONDS = 300


def cpu_seconds(pid):
    """Time on a core of all threads of a process, kernel included."""
    return sum(int((task / "schedstat").read_text().split()[0])
               for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def private_megabytes(pid):
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1024


def make_messages(count):
    """JSON texts like an app's session events, about 256 bytes each."""
    words = ["the", "deploy", "looks", "good", "queue", "latency", "said \"flat\"", "rollback\n", "é"]
    rng = random.Random(1)
    return [{"type": "message", "key": f"msg-{number}",
             "value": {"from": "ada", "text": " ".join(rng.choices(words, k=18))},
             "headers": {"operation": "insert", "timestamp": "2026-01-02T03:04:05.678Z"}}
            for number in range(count)]


def stream_names(count):
    return [f"bench-{number:07d}" for number in range(count)]


def write_copy_file(messages, texts, path):
    with open(path, "w", encoding="utf-8") as out:
        for message, text in zip(messages, texts):
            escaped = text.replace("\\", "\\\\")     # JSON has no raw control characters
            out.write(f"{message['key']}\t{message['type']}\tinsert\t{escaped}\n")


class Stack:
    """A Postgres with the schema and a ds-server."""

    def __init__(self, bench):
        self.bench = bench
        self.postgres = ds.Postgres(bench.folder, settings={"max_wal_size": "4GB"})
        self.url = self.postgres.start().create_database("bench")
        done = subprocess.run([ds.program("dsctl"), "db", "migrate"],
                              env={**os.environ, "POSTGRES_URL": self.url}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise ds.StackError(f"dsctl db migrate failed:\n{done.stdout}")
        self.connection = self.postgres.connect("bench")
        self.server = None

    def restart_server(self):
        """Without a stream."""
        if self.server:
            self.server.stop()
        self.server = ds.DsServer(self.subfolder(), environment=ROOMY).wait_ready()

    def subfolder(self):
        self.bench.started += 1
        folder = self.bench.folder / str(self.bench.started)
        folder.mkdir()
        return folder

    def execute(self, *statement):
        cursor = self.connection.cursor()
        cursor.execute(*statement)
        return cursor

    def clear(self):
        self.execute("TRUNCATE ds_sync.session_events")
        self.execute("DELETE FROM ds_sync.stream_offset")
        self.execute("DELETE FROM ds_sync.stream")
        self.execute("CHECKPOINT")

    def rows(self):
        return self.execute("SELECT coalesce(sum(next_seq), 0) FROM ds_sync.stream_offset").fetchone()[0]

    def rows_per_second(self, rows):
        """From the first commit to the last: the first one's rows came before the clock started."""
        commits = self.execute(
            "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8, count(*) "
            "FROM ds_sync.session_events GROUP BY xmin::text, 1 ORDER BY 1").fetchall()
        if sum(count for _, count in commits) != rows or len(commits) < 2:
            raise ds.StackError(f"{commits[:3]} ... is not {rows} rows in several commits")
        return (rows - commits[0][1]) / (commits[-1][0] - commits[0][0])

    def preload(self, count, texts):
        """Evenly into `count` streams."""
        self.restart_server()
        each = len(texts) // count
        for number, name in enumerate(stream_names(count)):
            self.server.create(name)
            mine = texts[number * each:(number + 1) * each]
            for start in range(0, each, APPEND_MESSAGES):
                self.server.append(name, ("[" + ",".join(mine[start:start + APPEND_MESSAGES]) + "]").encode())

    def backends(self):
        """The processes of Postgres that work for syncd."""
        return [row[0] for row in self.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'syncd%'").fetchall()]

    @contextmanager
    def syncd(self, names, environment=None):
        folder = self.subfolder()
        config = folder / "syncd.conf"         # an environment has no room for thousands of names
        config.write_text(f"SYNCD_STREAMS={','.join(names)}\n")
        process = ds.Syncd(folder, self.server.url, self.url, [], environment=environment,
                           arguments=["--config", config])
        try:
            yield process
        finally:
            process.stop()

    def stop(self):
        self.connection.close()
        ds.stop_all([process for process in (self.postgres, self.server) if process])


@contextmanager
def stack(bench):
    made = Stack(bench)
    try:
        yield made
    finally:
        made.stop()
        ds.remove_folder(made.postgres.folder)


def measure_loader(stack, streams, copy_file, rows):
    stack.clear()
    done = subprocess.run([ds.program("bench-copy-loader"), str(streams), copy_file],
                          env={**os.environ, "POSTGRES_URL": stack.url}, stdout=subprocess.PIPE,
                          text=True, timeout=INGEST_SECONDS)
    if done.returncode != 0:
        raise ds.StackError("the COPY loader failed")
    return stack.rows_per_second(rows)


def measure_syncd(stack, streams, rows):
    """(rows a second, its CPU as a part of that of its Postgres backends)"""
    stack.clear()
    with stack.syncd(stream_names(streams)) as syncd:
        def loaded():
            if not syncd.alive():
                raise ds.StackError(f"syncd ended; the end of its log:\n{syncd.log_end()}")
            return stack.rows() >= rows
        ds.wait_until(loaded, INGEST_SECONDS, f"{rows} rows; syncd's log:\n{syncd.log_end()}", pause=0.1)
        ours = cpu_seconds(syncd.pid)
        theirs = sum(cpu_seconds(pid) for pid in stack.backends())
    return stack.rows_per_second(rows), 100 * ours / theirs


def run_ingest(bench):
    messages = make_messages(bench.rows // 1000 * 1000)
    texts = [json.dumps(message, ensure_ascii=False) for message in messages]
    copy_file = bench.folder / "messages.copy"
    write_copy_file(messages, texts, copy_file)
    with stack(bench) as made:
        for streams in STREAMS:
            rows = len(texts) // streams * streams
            made.preload(streams, texts)
            rates = {"syncd": [], "bare COPY loader": []}
            shares = []
            label = f"{streams:,} stream{'s' if streams > 1 else ''}"
            write_copy_file(messages[:rows], texts[:rows], copy_file)
            for number in range(bench.rounds):
                rate, share = measure_syncd(made, streams, rows)
                rates["syncd"].append(rate)
                shares.append(share)
                say(f"ingest, round {number + 1}, {label}: syncd: {rate:,.0f} rows/s, "
                    f"CPU {share:.1f} % of Postgres's")
                rate = measure_loader(made, streams, copy_file, rows)
                rates["bare COPY loader"].append(rate)
                say(f"ingest, round {number + 1}, {label}: bare COPY loader: {rate:,.0f} rows/s")
            bench.report.samples(f"ingest, {label}, rows per second", rates)
            bench.report.samples(f"ingest, {label}, CPU, % of Postgres's", {"syncd": shares})
            bench.report.ratio("ingest", f"{label}: syncd / bare COPY loader, rows per second",
                               rates["syncd"], rates["bare COPY loader"], 0.9)
            bench.report.at_most("ingest", f"{label}: CPU of syncd, of that of its Postgres backends",
                                 statistics.median(shares), 15, "%")


def measure_node(stack, rows):
    stack.clear()
    name = stream_names(1)[0]
    done = subprocess.run(["node", SCRATCH / "node/node_sync.mjs", stack.server.stream_url(name), name,
                           str(rows)], env={**os.environ, "POSTGRES_URL": stack.url},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=INGEST_SECONDS)
    if done.returncode != 0:
        raise ds.StackError(f"the sync service on Node failed:\n{done.stdout[-500:]}")
    return stack.rows_per_second(rows)


def run_node(bench):
    if not bench.field.has("node"):
        return
    texts = [json.dumps(message, ensure_ascii=False) for message in make_messages(bench.rows)]
    rates = {"syncd": [], "Node, SSE and one INSERT for each event": []}
    theirs = rates["Node, SSE and one INSERT for each event"]
    with stack(bench) as made:
        made.preload(1, texts)
        for number in range(bench.rounds):
            rates["syncd"].append(measure_syncd(made, 1, len(texts))[0])
            theirs.append(measure_node(made, min(NODE_ROWS, len(texts))))
            say(f"node, round {number + 1}: syncd: {rates['syncd'][-1]:,.0f} rows/s, "
                f"Node: {theirs[-1]:,.0f} rows/s")
    bench.report.samples("node, rows per second", rates)
    bench.report.ratio("node", "1 stream: syncd / a sync service on Node, rows per second",
                       rates["syncd"], theirs, 20)


def median_ms(samples):
    return statistics.median(samples) * 1e3


def timed(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Listener:
    """Postgres tells it of each event, once others see it: nobody has to look."""

    def __init__(self, stack):
        stack.execute("CREATE FUNCTION public.bench_tell() RETURNS trigger LANGUAGE plpgsql AS "
                      "$$ BEGIN PERFORM pg_notify('bench', NEW.stream_name || ' ' || NEW.seq); RETURN NULL; END $$")
        stack.execute("CREATE TRIGGER bench_tell AFTER INSERT ON ds_sync.session_events "
                      "FOR EACH ROW EXECUTE FUNCTION public.bench_tell()")
        self.connection = stack.postgres.connect("bench")
        self.connection.cursor().execute("LISTEN bench")

    def wait(self, stream, seq):
        """For that row, whatever else it is told of."""
        row = f"{stream} {seq}"
        while row not in (notify.payload for notify in self.connection.notifies):
            if not select.select([self.connection], [], [], LATENCY_SECONDS)[0]:
                raise ds.StackError(f"no row {row} within {LATENCY_SECONDS} s")
            self.connection.poll()
        self.connection.notifies.clear()

    def close(self):
        self.connection.close()


def measure_latency(stack, listener, text):
    """(POST to visible row, POST alone, commit of a row alone), medians in milliseconds."""
    watched, alone = stream_names(2)
    server = http.client.HTTPConnection("127.0.0.1", stack.server.port)
    cursor = stack.connection.cursor()
    written = itertools.count(stack.rows())     # nothing is under way: every row was waited for
    written_alone = itertools.count()

    def post(name):
        server.request("POST", f"/v1/stream/{name}", text, {"Content-Type": "application/json"})
        server.getresponse().read()

    def post_and_see():
        post(watched)
        listener.wait(watched, next(written))

    def commit(seq):
        cursor.execute("INSERT INTO ds_sync.session_events (stream_name, generation, seq, ds_offset, payload)"
                       " VALUES ('alone', 1, %s, '-1', %s)", (seq, text.decode()))
    both, posts, commits = [], [], []
    post_and_see()
    cursor.execute("DELETE FROM ds_sync.session_events WHERE stream_name = 'alone'")
    before = stack.rows()
    for _ in range(LATENCY_MESSAGES):
        both.append(timed(post_and_see))
        posts.append(timed(lambda: post(alone)))
        seq = next(written_alone)
        commits.append(timed(lambda: commit(seq)))
        listener.wait("alone", seq)
    server.close()
    if stack.rows() - before != LATENCY_MESSAGES:
        raise ds.StackError(f"{stack.rows() - before} rows for {LATENCY_MESSAGES} messages")
    return median_ms(both), median_ms(posts), median_ms(commits)


def run_latency(bench):
    text = json.dumps(make_messages(1)[0], ensure_ascii=False).encode()
    samples = {"POST to visible row": [], "POST alone": [], "commit of a row alone": []}
    ratios = []
    with stack(bench) as made:
        made.restart_server()
        watched, alone = stream_names(2)
        made.server.create(watched)
        made.server.create(alone)
        with made.syncd([watched]) as syncd:
            syncd.wait_ready()
            listener = Listener(made)
            for number in range(bench.rounds):
                values = measure_latency(made, listener, text)
                for name, value in zip(samples, values):
                    samples[name].append(value)
                ratios.append(values[0] / (values[1] + values[2]))
                say(f"latency, round {number + 1}: {values[0]:.2f} ms; POST {values[1]:.2f} ms, "
                    f"commit {values[2]:.2f} ms")
            listener.close()
    bench.report.samples("latency, medians in ms", samples)
    bench.report.at_most("latency", "POST to visible row / (POST alone + commit of a row alone)",
                         statistics.median(ratios), 2, "times")


def run_quiet(bench):
    names = stream_names(QUIET_STREAMS)
    with stack(bench) as made:
        made.restart_server()
        subprocess.run([ds.program("bench-load"), "create", str(made.server.port), str(QUIET_STREAMS),
                        "application/json"], check=True, stdout=subprocess.DEVNULL)
        with made.syncd(names) as syncd:
            def reading():
                return sum(stream["up_to_date"] for stream in syncd.status()["streams"]) == QUIET_STREAMS
            syncd.wait_http(f"{syncd.url}/livez")
            ds.wait_until(reading, QUIET_SECONDS, f"{QUIET_STREAMS} streams to be read; syncd's log:\n"
                          f"{syncd.log_end()}", pause=2)
            used = private_megabytes(syncd.pid)
    say(f"quiet: {used:.1f} MB private")
    bench.report.samples("quiet", {"syncd, MB private": [used]})
    bench.report.at_most("quiet", f"{QUIET_STREAMS:,} idle streams on one instance, private", used, 150, "MB")


SYNCD_PARTS = {"ingest": run_ingest, "node": run_node, "latency": run_latency, "quiet": run_quiet}
