# SPDX-License-Identifier: Apache-2.0
"""The parts of bench/run that measure servers.  Each measures all its contestants once a round."""
import json
import statistics
import subprocess
from contextlib import contextmanager

from contestants import Ours, SyncLoop, ds
from report import say

BODY_BYTES = 256
CONNECTIONS = (64, 256)
STREAMS = (1, 100, 10000)
CATCH_UP_BYTES = 16 << 20
CATCH_UP_APPEND_BYTES = 256 << 10
SUBSCRIBERS = 5000
EVENTS_PER_SECOND = 100
FLAT_STREAMS = (100, 10000, 100000)


class Bench:
    """What all parts need: how often and how long, where, the peers, the report."""

    def __init__(self, args, folder, field, report):
        self.rounds = args.rounds
        self.seconds = args.seconds
        self.rows = args.rows
        self.folder = folder
        self.field = field
        self.report = report
        self.started = 0

    @contextmanager
    def running(self, contestant):
        """Started in an empty folder; stopped, and the folder gone, whatever happens."""
        self.started += 1
        folder = self.folder / str(self.started)
        folder.mkdir()
        contestant.start(folder)
        try:
            yield folder
        finally:
            contestant.stop()
            ds.remove_folder(folder)

    def load(self, contestant, kind, *arguments):
        """(the load's last line, what the contestant used between its marks)"""
        load = subprocess.Popen(
            contestant.load([ds.program("bench-load"), kind, str(contestant.port), *map(str, arguments)]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        marks = {}
        try:
            for mark in ("begin", "end"):
                if load.stdout.readline() != f"{mark}\n":
                    raise ds.StackError(f"the load on {contestant.name} broke off")
                marks[mark] = (contestant.cpu_seconds(), contestant.private_kilobytes())
                load.stdin.write("go on\n")
                load.stdin.flush()
            result = json.loads(load.stdout.readline() or "null")
        finally:
            load.stdin.close()
            load.wait() if load.poll() is None and "end" in marks else load.kill()
            load.wait()
        if result is None:
            raise ds.StackError(f"the load on {contestant.name} broke off")
        result["cpu"] = marks["end"][0] - marks["begin"][0]
        result["private"] = marks["begin"][1]
        return result

    def create(self, contestant, streams, content_type="application/json"):
        if contestant.streams:
            subprocess.run([ds.program("bench-load"), "create", str(contestant.port), str(streams),
                            content_type], check=True, stdout=subprocess.DEVNULL)

    def append(self, contestant, connections, streams, producers=False):
        """Appends a second, appends a core-second, p99 in milliseconds."""
        with self.running(contestant):
            self.create(contestant, streams)
            result = self.load(contestant, "append", connections, self.seconds, BODY_BYTES, streams,
                               *(["producers"] if producers else []))
        if result["refused"]:
            raise ds.StackError(f"{contestant.name} refused {result['refused']} appends")
        return (result["requests"] / result["seconds"], result["requests"] / result["cpu"],
                result["p99_ms"])

    def points(self, part, unit, contestants, points, each):
        """{point: {name: [sample]}}, all contestants in turn at every point of every round."""
        samples = {point: {one.name: [] for one in contestants} for point in points}
        for number in range(self.rounds):
            for point in points:
                for one in contestants:
                    value = each(one, point)
                    samples[point][one.name].append(value)
                    say(f"{part}, round {number + 1}, {label(point)}: {one.name}: {value:,.0f} {unit}")
        for point in points:
            self.report.samples(f"{part}, {label(point)}, {unit}", samples[point])
        return samples


def label(point):
    connections, streams = point
    return f"{connections} connections, {streams:,} stream{'s' if streams > 1 else ''}"


def every_point():
    return [(connections, streams) for connections in CONNECTIONS for streams in STREAMS]


def run_memory(bench):
    ours = Ours("memory")
    nginx = bench.field.nginx()
    rust = bench.field.rust("memory") + bench.field.rust_axum("memory")
    samples = bench.points("memory", "appends a core-second", [ours, *nginx, *rust], every_point(),
                           lambda one, point: bench.append(one, *point)[1])
    for point, values in samples.items():
        mine = values[ours.name]
        for peer in nginx:
            bench.report.ratio("memory", f"{label(point)}: ours / nginx return 204", mine,
                               values[peer.name], 0.95)
        if rust:
            best = max((values[peer.name] for peer in rust), key=statistics.median)
            bench.report.ratio("memory", f"{label(point)}: ours / the faster Rust server", mine, best,
                               1.2)
    node = bench.field.node(file=False)
    if node:
        samples = bench.points("memory, with Node", "appends a core-second", [ours, *node], [(64, 100)],
                               lambda one, point: bench.append(one, *point)[1])[(64, 100)]
        bench.report.ratio("memory", f"{label((64, 100))}: ours / Node", samples[ours.name],
                           samples[node[0].name], None)


def on_all_cores(contestants):
    for one in contestants:
        one.all_cores = True
    return contestants


def run_durable(bench):
    ours, loop, *wal = on_all_cores([Ours("file-durable"), SyncLoop(), *bench.field.rust("wal")])
    samples = bench.points("durable", "appends a second", [ours, loop, *wal], every_point(),
                           lambda one, point: bench.append(one, *point)[0])
    for point, values in samples.items():
        for peer in wal:
            bench.report.ratio("durable", f"{label(point)}: ours / durable-streams (wal)",
                               values[ours.name], values[peer.name], 1.2)
        bench.report.ratio("durable", f"{label(point)}: ours / bare loop, one fdatasync a turn",
                           values[ours.name], values[loop.name], 0.8)
    node = on_all_cores(bench.field.node(file=True))
    if node:
        values = bench.points("durable, with Node", "appends a second", [ours, *node], [(64, 1)],
                              lambda one, point: bench.append(one, *point)[0])[(64, 1)]
        bench.report.ratio("durable", f"{label((64, 1))}: ours / the Node file store",
                           values[ours.name], values[node[0].name], 100)


def run_acid(bench):
    ours, *peer = on_all_cores([Ours("acid"), *bench.field.rust_axum("acid")])
    samples = bench.points("acid", "appends a second", [ours, *peer], every_point(),
                           lambda one, point: bench.append(one, *point)[0])
    for point, values in samples.items():
        if peer:
            bench.report.ratio("acid", f"{label(point)}: ours / durable-streams-server (acid)",
                               values[ours.name], values[peer[0].name], 5)


def fill(contestant, folder):
    """16 MiB: a stream's, or a file's."""
    if not contestant.streams:
        (folder / "file").write_bytes(b"x" * CATCH_UP_BYTES)
        return ["/file"]
    path = "/v1/stream/bench-0000000"
    url = f"http://127.0.0.1:{contestant.port}{path}"
    for _ in range(CATCH_UP_BYTES // CATCH_UP_APPEND_BYTES):
        status, _, text = ds.http("POST", url, b"x" * CATCH_UP_APPEND_BYTES,
                                  {"Content-Type": "application/octet-stream"})
        if status != 204:
            raise ds.StackError(f"{contestant.name} refused an append: {status} {text[:100]!r}")
    return [path, "offsets"]


def catch_up(bench, contestant):
    with bench.running(contestant) as folder:
        bench.create(contestant, 1, "application/octet-stream")
        result = bench.load(contestant, "read", 64, bench.seconds, *fill(contestant, folder))
    if result["whole_bytes"] != CATCH_UP_BYTES:
        raise ds.StackError(f"{contestant.name} sent {result['whole_bytes']} bytes")
    megabytes = result["bytes"] / 1e6
    return megabytes / result["seconds"], megabytes / result["cpu"]


def run_catchup(bench):
    contestants = [Ours("memory"), Ours("file-durable"), *bench.field.nginx()]
    second = {one.name: [] for one in contestants}
    core = {one.name: [] for one in contestants}
    for number in range(bench.rounds):
        for one in contestants:
            a_second, a_core = catch_up(bench, one)
            second[one.name].append(a_second)
            core[one.name].append(a_core)
            say(f"catchup, round {number + 1}: {one.name}: {a_second:,.0f} MB/s, {a_core:,.0f} a core-second")
    bench.report.samples("catchup, MB a second", second)
    bench.report.samples("catchup, MB a core-second", core)
    for ours in contestants[:2]:
        for nginx in contestants[2:]:
            what = f"16 MiB, 64 connections: {ours.name} / nginx static file, bytes a second"
            bench.report.ratio("catchup", what, second[ours.name], second[nginx.name], 0.9)
            bench.report.ratio("catchup", what.replace("a second", "a core-second"), core[ours.name],
                               core[nginx.name], None)


def run_sse(bench):
    ours = Ours("memory", DS_SERVER__THREADS="1")
    delivered, p50, p99, busy = [], [], [], []
    for number in range(bench.rounds):
        with bench.running(ours):
            bench.create(ours, 1, "text/plain")
            result = bench.load(ours, "subscribe", SUBSCRIBERS, EVENTS_PER_SECOND, bench.seconds)
        delivered.append(100 * result["delivered"] / (result["wanted"] * SUBSCRIBERS))
        p50.append(result["p50_ms"])
        p99.append(result["p99_ms"])
        busy.append(100 * result["cpu"] / bench.seconds)
        say(f"sse, round {number + 1}: {delivered[-1]:.2f} % delivered, p50 {p50[-1]:.1f} ms, "
            f"p99 {p99[-1]:.1f} ms, core {busy[-1]:.0f} % busy")
    bench.report.samples("sse", {"delivered, %": delivered, "p50, ms": p50, "p99, ms": p99,
                                 "busy, % of the core": busy})
    what = f"{SUBSCRIBERS:,} subscribers, {EVENTS_PER_SECOND} events a second, one core"
    bench.report.at_least("sse", f"{what}: delivered", statistics.median(delivered), 100, "%")
    bench.report.at_most("sse", f"{what}: p99", statistics.median(p99), 100, "ms")


def run_idle(bench):
    each, empty, anonymous = [], [], []
    for _ in range(bench.rounds):
        ours = Ours("memory")
        with bench.running(ours):
            before = ours.private_kilobytes()
            bench.create(ours, 1, "text/plain")
            result = bench.load(ours, "subscribe", SUBSCRIBERS, 0, 1)
        empty.append(before[0] / 1024)
        anonymous.append(before[1] / 1024)
        each.append((result["private"][0] - before[0]) * 1024 / SUBSCRIBERS)
        say(f"idle: server {empty[-1]:.2f} MB private, {each[-1]:,.0f} bytes a subscriber")
    bench.report.samples("idle", {"server, MB private": empty, "server, MB that are no file's": anonymous,
                                  "bytes a subscriber": each})
    bench.report.at_most("idle", "memory-mode server, private", statistics.median(empty), 6, "MB")
    bench.report.at_most("idle", f"each of {SUBSCRIBERS:,} idle SSE subscribers, private",
                         statistics.median(each), 1024, "bytes")


def run_flat(bench):
    for mode in ("memory", "file-durable"):
        ours = Ours(mode)
        ours.all_cores = mode != "memory"
        unit, at = ("appends a core-second", 1) if mode == "memory" else ("appends a second", 0)
        points = [(64, streams) for streams in FLAT_STREAMS]
        samples = bench.points(f"flat, {mode}", unit, [ours], points,
                               lambda one, point: bench.append(one, *point)[at])
        base = samples[points[0]][ours.name]
        for point in points[1:]:
            goal = 0.8 if mode == "memory" or point[1] <= 10000 else None
            bench.report.ratio("flat", f"{mode}: {point[1]:,} / {FLAT_STREAMS[0]} streams, {unit}",
                               samples[point][ours.name], base, goal)


PARTS = {"memory": run_memory, "durable": run_durable, "acid": run_acid, "catchup": run_catchup,
         "sse": run_sse, "idle": run_idle, "flat": run_flat}
