# SPDX-License-Identifier: Apache-2.0
"""Appends random messages of all kinds, from threads, until told to stop."""
import json
import random
import threading

import ds

POISON = ('{"poison":true,"n":%d,"text":"nul \\u0000 inside"}',
          '{"poison":true,"n":%d,"text":"half a pair \\ud83d"}',
          '{"poison":true,"n":%d,"number":1e999999}')
AHEAD_MAX = 20_000             # messages or KiB by which a producer may be ahead of the table
UNICODE = "äöü ☃ 😀 \\ \" \n \t é"


class Load(threading.Thread):
    """Appends to one stream.  A burst now and then makes batches that need COPY; single messages in
    between take the short way."""

    def __init__(self, server, name, is_json, seed, pause):
        super().__init__(daemon=True)
        self.server = server
        self.name_of_stream = name
        self.is_json = is_json
        self.random = random.Random(seed)
        self.pause = pause                 # seconds between appends, on average
        self.made = 0                      # messages, or KiB
        self.allowed = AHEAD_MAX           # moved on by whoever saw how much has arrived
        self.stopping = threading.Event()
        self.error = None

    def message(self):
        number = self.made
        self.made += 1
        kind = self.random.random()
        if kind < 0.003:           # 1 % would be too many: syncd stops such a stream
            return self.random.choice(POISON) % number
        if kind < 0.03:
            return json.dumps({"n": number, "long": "x" * self.random.randrange(20_000)})
        return json.dumps({"n": number, "type": "message", "key": f"k{number % 97}", "operation": "set",
                           "value": {"text": UNICODE, "ratio": self.random.random()}},
                          ensure_ascii=self.random.random() < 0.5)

    def size(self):
        kind = self.random.random()
        if kind < 0.70:
            return self.random.randint(1, 3)
        return self.random.randint(4, 90) if kind < 0.85 else self.random.randint(101, 2000)

    def run(self):
        try:
            while not self.stopping.wait(self.random.expovariate(1 / self.pause)):
                if self.made >= self.allowed:
                    continue
                if self.is_json:
                    body = "[" + ",".join(self.message() for _ in range(self.size())) + "]"
                    self.server.append(self.name_of_stream, body.encode())
                else:
                    chunk = self.random.randbytes(self.random.randint(1, 60_000))
                    self.made += len(chunk) // 1024 + 1
                    self.server.append(self.name_of_stream, chunk, "application/octet-stream")
        except Exception as error:      # shown by whoever watches us; a thread must not die unseen
            self.error = error


def start(server, streams, seed, pause=0.15):
    """streams: name -> is_json.  Creates the streams and starts a thread for each."""
    loads = []
    for number, (name, is_json) in enumerate(streams.items()):
        status, _, body = server.create(name, "application/json" if is_json else "application/octet-stream")
        if status not in (200, 201):
            raise ds.StackError(f"creating {name}: {status} {body!r}")
        loads.append(Load(server, name, is_json, f"{seed}/{number}", pause))
    for load in loads:
        load.start()
    return loads


def stop(loads):
    for load in loads:
        load.stopping.set()
    for load in loads:
        load.join(ds.HANG_SECONDS)
        if load.error:
            raise ds.StackError(f"the producer of {load.name_of_stream} failed: {load.error}")
