# SPDX-License-Identifier: Apache-2.0
"""bench/run's part "ingest": syncd's rows per second, against a bare COPY loader."""
import json
import os
import random
import subprocess
from pathlib import Path

from contestants import ROOMY, ds
from report import say

APPEND_MESSAGES = 1000         # messages in one append of the preload
INGEST_SECONDS = 60            # a guard against hangs
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def make_messages(count):
    """JSON texts like an app's session events, about 256 bytes each."""
    words = ["the", "deploy", "looks", "good", "queue", "latency", "said \"flat\"", "rollback\n", "é"]
    rng = random.Random(1)
    messages = []
    for number in range(count):
        messages.append({
            "type": "message", "key": f"msg-{number}",
            "value": {"from": "ada", "text": " ".join(rng.choices(words, k=18))},
            "headers": {"operation": "insert", "timestamp": "2026-01-02T03:04:05.678Z"}})
    return messages


def write_copy_file(messages, texts, path):
    with open(path, "w", encoding="utf-8") as out:
        for message, text in zip(messages, texts):
            escaped = text.replace("\\", "\\\\")     # JSON has no raw control characters
            out.write(f"{message['key']}\t{message['type']}\tinsert\t{escaped}\n")


def commits(connection, stream):
    """[(seconds, rows)] of each transaction that loaded the stream, in order of commit."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8, count(*) "
        "FROM ds_sync.session_events WHERE stream_name = %s GROUP BY xmin ORDER BY 1", (stream,))
    return cursor.fetchall()


def rows_per_second(connection, stream, rows):
    """From the first commit to the last: the first one's rows came before the clock started."""
    times = commits(connection, stream)
    if sum(count for _, count in times) != rows or len(times) < 2:
        raise ds.StackError(f"{stream}: {times[:3]} ... is not {rows} rows in several commits")
    return (rows - times[0][1]) / (times[-1][0] - times[0][0])


def clear(connection):
    connection.cursor().execute("TRUNCATE ds_sync.session_events")
    connection.cursor().execute("CHECKPOINT")


def measure_loader(connection, url, stream, copy_file, rows):
    clear(connection)
    done = subprocess.run([ds.program("bench-copy-loader"), stream, copy_file],
                          env={**os.environ, "POSTGRES_URL": url}, stdout=subprocess.PIPE, text=True,
                          timeout=INGEST_SECONDS)
    if done.returncode != 0:
        raise ds.StackError("the COPY loader failed")
    return rows_per_second(connection, stream, rows)


def measure_syncd(connection, url, server, stream, rows, folder):
    """(rows a second, CPU microseconds of syncd a row)"""
    clear(connection)
    syncd = ds.Syncd(folder, server.url, url, [stream])
    count = connection.cursor()

    def loaded():
        if not syncd.alive():
            raise ds.StackError(f"syncd ended; the end of its log:\n{syncd.log_end()}")
        count.execute("SELECT next_seq FROM ds_sync.stream_offset JOIN ds_sync.stream USING "
                      "(stream_id) WHERE name = %s AND source <> 'bench'", (stream,))
        row = count.fetchone()
        return row is not None and row[0] >= rows
    try:
        ds.wait_until(loaded, INGEST_SECONDS, f"{rows} rows; syncd's log:\n{syncd.log_end()}",
                      pause=0.1)
        used = cpu_seconds(syncd.pid)
    finally:
        syncd.stop()
    return rows_per_second(connection, stream, rows), used * 1e6 / rows


def migrate(url):
    done = subprocess.run([ds.program("dsctl"), "db", "migrate"],
                          env={**os.environ, "POSTGRES_URL": url}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise ds.StackError(f"dsctl db migrate failed:\n{done.stdout}")


def run_ingest(args, folder, report):
    messages = make_messages(args.rows)
    texts = [json.dumps(message, ensure_ascii=False) for message in messages]
    copy_file = folder / "messages.copy"
    write_copy_file(messages, texts, copy_file)
    postgres = ds.Postgres(folder, settings={"max_wal_size": "4GB"})
    server = None
    rates = {"syncd": [], "bare COPY loader": []}
    cpu = []
    try:
        url = postgres.start().create_database("bench")
        migrate(url)
        connection = postgres.connect("bench")
        server = ds.DsServer(folder, environment=ROOMY).wait_ready()
        server.create("bench")
        for start in range(0, args.rows, APPEND_MESSAGES):
            body = "[" + ",".join(texts[start:start + APPEND_MESSAGES]) + "]"
            server.append("bench", body.encode())
        for number in range(args.rounds):
            round_folder = folder / f"ingest-{number}"
            round_folder.mkdir()
            # A new database row for the stream each round: syncd starts at its beginning.
            connection.cursor().execute("DELETE FROM ds_sync.stream_offset; DELETE FROM ds_sync.stream")
            rate, used = measure_syncd(connection, url, server, "bench", args.rows, round_folder)
            rates["syncd"].append(rate)
            cpu.append(used)
            say(f"ingest, round {number + 1}: syncd: {rate:,.0f} rows/s, {used:.2f} us CPU a row")
            rate = measure_loader(connection, url, "bench", copy_file, args.rows)
            rates["bare COPY loader"].append(rate)
            say(f"ingest, round {number + 1}: bare COPY loader: {rate:,.0f} rows/s")
        connection.close()
    finally:
        ds.stop_all([process for process in (postgres, server) if process])
    report.samples("ingest, rows per second", rates)
    report.samples("ingest, CPU microseconds of syncd per row", {"syncd": cpu})
    report.ratio("ingest", "syncd / bare COPY loader, rows per second", rates["syncd"],
                 rates["bare COPY loader"], 0.9)
