# SPDX-License-Identifier: Apache-2.0
"""Appends random messages of all kinds, from threads, until told to stop.

A request that is not answered is sent again with the same number, so a server that keeps its
producers' state holds it once.  What was acknowledged is known, and Producer.wrong() says whether a
stream's content can be what was sent.
"""
import hashlib
import json
import random
import re
import threading
import time

import ds
from appends import Client
from state_model import Generator

STATE = "state"                # changes of state, in a stream of JSON
JSON, BYTES, TEXT = "application/json", "application/octet-stream", "text/plain; charset=utf-8"
POISON = ('{"poison":true,"n":%d,"text":"nul \\u0000 inside"}',
          '{"poison":true,"n":%d,"text":"half a pair \\ud83d"}',
          '{"poison":true,"n":%d,"number":1e999999}')
REFUSED = '{"poison":true,"refused":true,"n":%d}'  # good JSON: only a table's own check can refuse it
POISON_SHARE = 0.003           # rare: a stream of little else would be stopped
REFUSED_SHARE = 0.1            # of the appends to values of state: syncd has to try changes one by one
AHEAD_MAX = 20_000             # messages or KiB by which a producer may be ahead of the table
UNICODE = "äöü ☃ 😀 \\ \" \n \t é"
NUMBER = re.compile(r'"n": ?(\d+)')
RETRY_SECONDS = 0.05           # between two tries of a request
# How many messages an append has: (share of the appends, fewest, most).
BURSTS = ((0.70, 1, 3), (0.15, 4, 90), (0.15, 101, 2000))      # so that COPY is busy
QUIET = ((0.90, 1, 3), (0.08, 4, 60), (0.02, 101, 600))        # for many streams


class Producer:
    """What one stream was sent."""

    def __init__(self, name, kind, seed, sizes):
        self.name = name
        self.kind = kind
        self.is_json = kind in (JSON, STATE)
        self.content_type = JSON if self.is_json else kind
        self.random = random.Random(seed)
        self.sizes = sizes
        self.poison, self.poison_share = POISON, POISON_SHARE
        self.made = 0                      # messages, or bytes
        self.requests = 0
        self.busy = False                  # a request is on its way
        self.acknowledged = (0, hashlib.sha256())
        self.allow(0)

    def allow(self, good):
        """Called by whoever saw how much has arrived."""
        self.allowed = good + AHEAD_MAX * (1 if self.is_json else 1024)

    def message(self):
        number = self.made
        self.made += 1
        kind = self.random.random()
        if kind < self.poison_share:
            return self.random.choice(self.poison) % number
        if kind < 0.03:
            return json.dumps({"n": number, "long": "x" * self.random.randrange(20_000)})
        return json.dumps({"n": number, "type": "message", "key": f"k{number % 97}", "operation": "set",
                           "value": {"text": UNICODE, "ratio": self.random.random()}},
                          ensure_ascii=self.random.random() < 0.5)

    def size(self):
        kind = self.random.random()
        for share, fewest, most in self.sizes:
            if kind < share:
                break
            kind -= share
        return self.random.randint(fewest, most)

    def body(self):
        if self.is_json:
            return ("[" + ",".join(self.message() for _ in range(self.size())) + "]").encode()
        length = self.size() * 100
        body = (self.random.randbytes(length) if self.kind == BYTES
                else "".join(self.random.choices(UNICODE, k=length)).encode())
        self.made += len(body)
        return body

    def append(self, client, stopping):
        body = self.body()
        headers = {"Content-Type": self.content_type, "Producer-Id": self.name, "Producer-Epoch": "0",
                   "Producer-Seq": str(self.requests)}
        self.requests += 1
        end = time.monotonic() + ds.HANG_SECONDS
        self.busy = True
        while True:
            try:
                status, _, reply = client.stream("POST", self.name, "", body, headers)
                if status in (200, 204):
                    break
                why = f"{status} {reply[:200]!r}"
            except ConnectionError as error:
                status, why = 503, str(error)
            if status != 503 or time.monotonic() > end:
                raise ds.StackError(f"append to {self.name}: {why}")
            if stopping.wait(RETRY_SECONDS):
                return
        self.busy = False
        digest = self.acknowledged[1].copy()
        if not self.is_json:
            digest.update(body)
        self.acknowledged = (self.made, digest)

    def wrong(self, content, acknowledged, checked=0):
        """Why content, read after `acknowledged` was looked at, cannot be the stream's; or ''.  Messages
        below `checked` were looked at before."""
        least, digest = acknowledged
        if len(content) < least:
            return f"{least} were acknowledged and the stream has {len(content)}"
        if len(content) > self.made:
            return f"{self.made} were sent and the stream has {len(content)}"
        if not self.is_json:
            same = hashlib.sha256(content[:least]).digest() == digest.digest()
            return "" if same else f"the first {least} bytes are not those that were acknowledged"
        return self._misplaced(content, checked)

    def _misplaced(self, content, checked):
        for place in range(checked, len(content)):
            number = int(NUMBER.search(content[place]).group(1))
            if number != place:
                return f"message {number} stands where {place} should"
        return ""


class StateProducer(Producer):
    """Of a stream of state; what its messages leave is for checker.StateChecker to say."""

    def __init__(self, name, kind, seed, sizes):
        super().__init__(name, kind, seed, sizes)
        self.generator = Generator(seed, keys=20, refused=REFUSED_SHARE)
        self.sent = []

    def body(self):
        messages = self.generator.append(self.size())
        if self.random.random() < POISON_SHARE * len(messages):
            messages.insert(0, {"type": "user", "operation": "set", "value": "no key"})
        self.sent += messages
        self.made += len(messages)
        return json.dumps(messages).encode()

    def _misplaced(self, content, checked):
        for place in range(checked, len(content)):
            if json.loads(content[place]) != self.sent[place]:
                return f"at {place} stands {content[place][:120]}, and {self.sent[place]} was sent"
        return ""


class Load(threading.Thread):
    """Serves some producers in random order."""

    def __init__(self, server, producers, seed, pause):
        super().__init__(daemon=True)
        self.client = Client(server)
        self.producers = producers
        self.random = random.Random(seed)
        self.pause = pause                 # seconds between appends, on average
        self.stopping = threading.Event()
        self.resting = False               # nothing new, until it is false again
        self.error = None

    def run(self):
        try:
            while not self.stopping.wait(self.random.expovariate(1 / self.pause)):
                producer = self.random.choice(self.producers)
                if producer.made < producer.allowed and not self.resting:
                    producer.append(self.client, self.stopping)
        except Exception as error:      # shown by whoever watches us; a thread must not die unseen
            self.error = error
        finally:
            self.client.close()


def start(server, streams, seed, pause=0.15, threads=None, sizes=BURSTS, poison=POISON):
    """streams: name -> kind; poison: messages that must become dead letters.  Creates the streams; (producers in that order, threads that feed them)."""
    producers = []
    for number, (name, kind) in enumerate(streams.items()):
        producer = (StateProducer if kind == STATE else Producer)(name, kind, f"{seed}/{number}", sizes)
        status, _, body = server.create(name, producer.content_type)
        if status not in (200, 201):
            raise ds.StackError(f"creating {name}: {status} {body!r}")
        producer.poison = poison
        producers.append(producer)
    count = threads or len(producers)
    loads = [Load(server, producers[number::count], f"{seed}/thread {number}", pause)
             for number in range(count)]
    for load in loads:
        load.start()
    return producers, loads


def rest(loads, resting):
    for load in loads:
        load.resting = resting


def complain(loads):
    """StackError when a thread has failed."""
    for load in loads:
        if load.error:
            raise ds.StackError(f"a producer failed: {load.error}")


def stop(loads):
    for load in loads:
        load.stopping.set()
    for load in loads:
        load.join(ds.HANG_SECONDS)
    complain(loads)
