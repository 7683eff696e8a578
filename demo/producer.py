# SPDX-License-Identifier: Apache-2.0
"""Appends session events that look like an app's to several streams, as idempotent producers."""
import collections
import http.client
import itertools
import json
import random
import threading
import time

PEOPLE = ("ada", "grace", "linus", "margaret", "dennis", "barbara", "ken", "radia")
WORDS = ("the", "deploy", "looks", "good", "retry", "after", "lunch", "ship", "it", "who", "owns", "this",
         "queue", "latency", "is", "flat", "again", "nice", "rollback", "done")
EMOJI = ("👍", "🎉", "👀", "🚀", "❤️")
RETRY_SECONDS = 0.2
RETRIES_MAX = 50               # of one request, before the producer gives up


class Session:
    """One stream's conversation: makes the next event, with what came before in mind."""

    def __init__(self, stream, seed):
        self.stream = stream
        self.random = random.Random(seed)
        self.numbers = itertools.count()
        self.last_message = None
        self.answer = None     # (key, words left) while an agent streams an answer

    def next_event(self):
        number = next(self.numbers)
        person = self.random.choice(PEOPLE)
        if self.answer:
            key, left = self.answer
            self.answer = (key, left - 1) if left > 1 else None
            event = self._event("chunk", key, "append", {"text": self.random.choice(WORDS) + " "})
        else:
            event = self._spontaneous(number, person)
        event["id"] = f"{self.stream}#{number}"
        event["sent_at"] = round(time.time(), 6)
        return event

    def _spontaneous(self, number, person):
        kind = self.random.choices(("message", "typing", "presence", "reaction", "chunk"),
                                   (40, 25, 10, 10, 15))[0]
        if kind == "message":
            self.last_message = f"msg-{number}"
            text = " ".join(self.random.choices(WORDS, k=self.random.randint(3, 18)))
            return self._event("message", self.last_message, "set", {"from": person, "text": text})
        if kind == "chunk":
            self.answer = (f"answer-{number}", self.random.randint(5, 40))
            return self._event("message", self.answer[0], "set", {"from": "agent", "text": ""})
        if kind == "reaction" and self.last_message:
            return self._event("reaction", f"{self.last_message}/{person}", "set",
                               {"emoji": self.random.choice(EMOJI)})
        if kind == "typing":
            return self._event("typing", person, self.random.choice(("set", "remove")), {"typing": True})
        return self._event("presence", person, "set",
                           {"status": self.random.choice(("online", "away", "offline"))})

    @staticmethod
    def _event(kind, key, operation, value):
        return {"type": kind, "key": key, "operation": operation, "value": value}


class Producer(threading.Thread):
    """Serves some sessions in turn over one connection.  appended counts what the server has taken;
    sent_at says when each POST began.  A request is repeated with the same producer number until the
    server has answered, so a cut connection neither loses nor doubles."""

    def __init__(self, name, host, port, streams, rate, sent_at):
        super().__init__(name=name, daemon=True)
        self.address = (host, port)
        self.sessions = [Session(stream, f"{name}/{stream}") for stream in streams]
        self.rate = rate                    # events a second
        self.sent_at = sent_at              # id -> wall clock at the start of its POST
        self.appended = collections.Counter()
        self.requests = collections.Counter()
        self.stopping = threading.Event()
        self.error = None
        self.connection = None

    def create_streams(self):
        for session in self.sessions:
            status, body = self._request("PUT", session.stream, None, {"Content-Type": "application/json"})
            if status not in (200, 201):
                raise RuntimeError(f"creating {session.stream}: {status} {body!r}")

    def run(self):
        try:
            begun = time.monotonic()
            made = 0
            for session in itertools.cycle(self.sessions):
                ahead = made / self.rate - (time.monotonic() - begun)
                if ahead < -1:              # we were stopped for a while; do not catch up in a burst
                    begun, made = time.monotonic(), 0
                if self.stopping.wait(max(ahead, 0)):
                    return
                made += self._append(session)
        except Exception as error:          # shown by whoever watches us; a thread must not die unseen
            self.error = error

    def _append(self, session):
        events = [session.next_event() for _ in range(session.random.choice((1, 1, 1, 2, 3)))]
        number = self.requests[session.stream]
        headers = {"Content-Type": "application/json", "Producer-Id": self.name,
                   "Producer-Epoch": "0", "Producer-Seq": str(number)}
        body = json.dumps(events, ensure_ascii=False).encode()
        begun = time.time()
        for event in events:
            self.sent_at[event["id"]] = begun
        status, reply = self._request("POST", session.stream, body, headers)
        if status not in (200, 204):
            raise RuntimeError(f"appending to {session.stream}: {status} {reply!r}")
        self.requests[session.stream] += 1
        self.appended[session.stream] += len(events)
        return len(events)

    def _request(self, method, stream, body, headers):
        for attempt in range(RETRIES_MAX):
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection(*self.address, timeout=30)
                self.connection.request(method, f"/v1/stream/{stream}", body, headers)
                reply = self.connection.getresponse()
                text = reply.read()
                if reply.status != 503:
                    return reply.status, text
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.connection = None
                if attempt + 1 == RETRIES_MAX:
                    raise
            time.sleep(RETRY_SECONDS)
        raise RuntimeError(f"the server answered 503 to {RETRIES_MAX} tries")
