# SPDX-License-Identifier: Apache-2.0
"""Work for ds-server whose every answer is noted, and the judge of what is there after a crash.

Time is a mark: a number that never falls, from the function given to Work (the length of a trace, a
counter).  Each request notes the mark before it was sent and the one when it was answered; each reader
notes what it saw.  check(at) then knows, of a server that lost everything behind the mark `at`, what
must be there and what may:
  - requests answered by then are there, once, in the order they were sent, and whole;
  - what is there was sent by then;
  - what a reader saw by then is there, unless it was trimmed;
  - a producer's last request again is a duplicate, and its next one is not;
  - a stream whose deletion was answered is gone, one whose closing was answered is closed.
"""
import copy
import http.client
import json
import random
import threading

import ds

JSON, BYTES = "application/json", "application/octet-stream"
FINDINGS_MAX = 8
GONE_KEPT = 40                 # names of deleted streams that settled() still remembers
NEVER = float("inf")
TRIMMED = (1, 2)               # of the main streams, a JSON stream and one of bytes; no reader follows
TRIM_BEHIND = 20               # requests that a trim leaves


# ---- what is written: every byte follows from (writer, request, item) ----

def item_text(writer, number, index, count):
    seed = number * 7919 + index * 104729 + len(writer)
    pad = 20_000 if number % 41 == 40 else 3000 if number % 13 == 12 else seed % 120
    return json.dumps({"w": writer, "n": number, "i": index, "k": count,
                       "p": (f"{number}.{index}-" * (pad // 3 + 1))[:pad]})


def items_of(writer, number):
    count = 1 + number * 31 % 5
    return [item_text(writer, number, index, count) for index in range(count)]


def body_of(kind, writer, number):
    items = items_of(writer, number)
    return (("[" + ",".join(items) + "]") if kind == JSON else "".join(f"{item}\n" for item in items)).encode()


class Wrong(Exception):
    """What is there cannot be."""


def requests_in(kind, content):
    """[(writer, number)] of what a stream holds; Wrong when it is not whole requests."""
    try:
        items = json.loads(content) if kind == JSON else [json.loads(line) for line in content.splitlines()]
        found = [(item["w"], item["n"]) for item in items if item["i"] == 0]
    except (ValueError, KeyError, TypeError) as error:
        raise Wrong(f"its content is none of ours ({error}): {content[:80]!r}") from None
    texts = [text for writer, number in found for text in items_of(writer, number)]
    whole = ("[" + ",".join(texts) + "]") if kind == JSON else "".join(f"{text}\n" for text in texts)
    if whole.encode() != content:
        raise Wrong(f"it holds {len(items)} messages that are not {len(found)} whole requests as sent: "
                    f"{[(item['w'], item['n'], item['i']) for item in items][-6:]}")
    return found


def ends_of(requests):
    """writer -> the number behind its last request."""
    return {writer: number + 1 for writer, number in requests}


# ---- history ----

class Life:
    """One stream from its creation to its deletion."""

    def __init__(self, name, kind, inherited=()):
        self.name = name
        self.kind = kind
        self.inherited = list(inherited)       # requests of the stream it was forked from
        self.started = {"create": NEVER, "close": NEVER, "delete": NEVER}
        self.answered = {"create": NEVER, "close": NEVER, "delete": NEVER}
        self.sent = {}                         # writer -> [mark], by request
        self.acked = {}                        # writer -> [mark]
        self.offsets = {}                      # writer -> [offset behind it]
        self.trims = []                        # [mark, mark when it was answered, requests cut off]
        self.seen = []                         # (mark, ends_of what was read)
        self.forked = False

    def alive(self):
        return self.started["delete"] == NEVER

    def least(self, writer, at):
        return sum(mark <= at for mark in self.acked.get(writer, ()))

    def most(self, writer, at):
        return sum(mark <= at for mark in self.sent.get(writer, ()))

    def wrong(self, requests, closed, at):
        """What of this cannot be, or ''."""
        head, own = requests[:len(self.inherited)], requests[len(self.inherited):]
        if head != self.inherited:
            return f"it does not begin with the {len(self.inherited)} requests of the stream it was forked from"
        why = self.wrong_start(own, at)
        if why:
            return why
        counts = {}
        for writer, number in own:
            if number != counts.setdefault(writer, number if self.trims else 0):
                return f"request {number} of {writer} stands where {counts[writer]} should"
            counts[writer] += 1
        seen = [ends for mark, ends in self.seen if mark <= at]
        for writer in {*counts, *self.acked, *self.sent}:
            count = counts.get(writer, 0)
            if count < self.least(writer, at):
                return f"{self.least(writer, at)} requests of {writer} were acknowledged and {count} are there"
            if count > self.most(writer, at):
                return f"{self.most(writer, at)} requests of {writer} were sent and {count} are there"
            if count < max((ends.get(writer, 0) for ends in seen), default=0):
                return f"a reader saw more of {writer} than the {count} requests that are there"
        if closed and self.started["close"] > at:
            return "it is closed and nobody closed it"
        if not closed and self.answered["close"] <= at:
            return "its closing was acknowledged and it is open"
        return ""

    def wrong_start(self, own, at):
        """Of a stream with one writer that is trimmed, never wholly."""
        base = own[0][1] if own and self.trims else 0
        least = max((cut for _, answered, cut in self.trims if answered <= at), default=0)
        if base < least:
            return f"{least} requests were trimmed and it begins with request {base}"
        if base > 0 and base not in [cut for started, _, cut in self.trims if started <= at]:
            return f"it begins with request {base}, and nobody trimmed it there"
        return ""

    def after(self, at):
        """The same as of a new beginning of marks, behind a crash at the mark."""
        life = Life(self.name, self.kind, self.inherited)
        for what in self.started:
            life.started[what] = 0 if self.started[what] <= at else NEVER
            life.answered[what] = 0 if self.answered[what] <= at else NEVER
        life.sent = {writer: [0] * self.most(writer, at) for writer in self.sent}
        life.acked = {writer: [0] * self.least(writer, at) for writer in self.sent}
        life.offsets = copy.deepcopy(self.offsets)
        life.trims = [[0, 0 if answered <= at else NEVER, cut] for started, answered, cut in self.trims
                      if started <= at]
        life.seen = [(0, ends) for mark, ends in self.seen if mark <= at]
        life.forked = self.forked
        return life


class Client:
    """A connection that lasts; ConnectionError when the server is gone."""

    def __init__(self, server, admin=False):
        self.port = server.admin_port if admin else server.port
        self.connection = None

    def call(self, method, path, body=None, headers=None):
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ds.HANG_SECONDS)
            self.connection.request(method, path, body, headers or {})
            reply = self.connection.getresponse()
            return reply.status, reply.headers, reply.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(str(error)) from None

    def stream(self, method, name, query="", body=None, headers=None):
        return self.call(method, f"/v1/stream/{name}{query}", body, headers)

    def read(self, name, offset="-1"):
        """(status, content, headers of the last page): all from offset on."""
        whole = []
        while True:
            status, headers, body = self.stream("GET", name, f"?offset={offset}")
            if status != 200:
                return status, b"", headers
            whole.append(body)
            offset = headers["Stream-Next-Offset"]
            if headers.get("Stream-Up-To-Date") == "true":
                return 200, join(headers["Content-Type"], whole), headers

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def join(kind, pages):
    if kind != JSON:
        return b"".join(pages)
    return b"[" + b",".join(page[1:-1] for page in pages if page != b"[]") + b"]"


class Gone(Exception):
    """The server died, and the work with it."""


class Work:
    """Everything that was asked of one server, and by whom."""

    def __init__(self, mark, seed):
        self.mark = mark
        self.seed = seed
        self.lives = {}                        # name -> [Life], in order
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.problems = []                     # answers that no server may give
        self.found = {}                        # by check: name -> (status, Life or None, requests, closed)
        self.threads = []
        self.serials = 0

    def serial(self):
        """For names that nothing else has."""
        with self.lock:
            self.serials += 1
            return self.serials

    # -- asking --

    def life(self, name, kind, inherited=()):
        life = Life(name, kind, inherited)
        with self.lock:
            self.lives.setdefault(name, []).append(life)
        return life

    def ask(self, life, what, call, good):
        """One request about a life; its headers."""
        life.started[what] = self.mark()
        status, headers, body = call()
        if status not in good:
            raise Wrong(f"{what} of {life.name}: {status} {body[:200]!r}")
        life.answered[what] = self.mark()
        return headers

    def create(self, client, life, headers=None):
        headers = {"Content-Type": life.kind, **(headers or {})}
        return self.ask(life, "create", lambda: client.stream("PUT", life.name, headers=headers), (200, 201))

    def close(self, client, life):
        self.ask(life, "close", lambda: client.stream("POST", life.name, headers={"Stream-Closed": "true"}),
                 (200, 204))

    def delete(self, client, life):
        self.ask(life, "delete", lambda: client.stream("DELETE", life.name), (204,))

    def append(self, client, life, writer, again=False):
        """The writer's next request, or its last one again; the reply's headers."""
        sent, acked = life.sent.setdefault(writer, []), life.acked.setdefault(writer, [])
        if not again:
            sent.append(self.mark())
        number = len(sent) - 1
        status, headers, body = client.stream("POST", life.name, "", body_of(life.kind, writer, number), {
            "Content-Type": life.kind, "Producer-Id": writer, "Producer-Epoch": "0",
            "Producer-Seq": str(number)})
        if status not in ((200, 204) if again else (200,)):
            raise Wrong(f"append {number} of {writer} to {life.name}: {status} {body[:200]!r}")
        if len(acked) == number:
            acked.append(self.mark())
            life.offsets.setdefault(writer, {})[number] = headers["Stream-Next-Offset"]
        return headers

    def trim(self, client, life, writer):
        """Now and then, what lies some requests behind."""
        cut = len(life.acked.get(writer, ())) - TRIM_BEHIND
        if cut < 1 or cut - 1 not in life.offsets.get(writer, {}):
            self.stopping.wait(0.05)
            return
        trim = [self.mark(), NEVER, cut]
        life.trims.append(trim)
        body = json.dumps({"stream": life.name, "before": life.offsets[writer][cut - 1]})
        status, _, reply = client.call("POST", "/admin/trim", body, {"Content-Type": JSON})
        if status != 200:
            raise Wrong(f"trim of {life.name}: {status} {reply[:200]!r}")
        trim[1] = self.mark()
        self.stopping.wait(0.05)

    # -- actors --

    def start(self, action, *arguments):
        def run():
            try:
                while not self.stopping.is_set():
                    action(*arguments)
            except (ConnectionError, Gone):
                pass                           # the server was killed, or is stopping
            except Exception as error:         # shown by finish(); a thread must not die unseen
                self.problems.append(f"{type(error).__name__}: {error}")
        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()

    def finish(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(ds.HANG_SECONDS)
        self.threads.clear()

    def begin(self, server, generation=0):
        """Streams with one writer and with two, readers, and streams that come and go.  What is known
        goes on; another generation begins with other streams and deletes the older ones."""
        client = Client(server)
        for name, lives in list(self.lives.items()):
            if name.startswith("main/") and not name.startswith(f"main/{generation}-") and lives[-1].alive():
                self.delete(client, lives[-1])
        for number in range(7):
            kind = JSON if number % 2 == 0 else BYTES
            name = f"main/{generation}-{number}"
            if name in self.lives and self.lives[name][-1].alive():
                life = self.lives[name][-1]
            else:
                life = self.life(name, kind)
                self.create(client, life)
            for writer in range(2 if number >= 5 else 1):
                self.start(self.append, Client(server), life, f"{life.name}-{writer}")
            if number in TRIMMED:
                self.start(self.trim, Client(server, admin=True), life, f"{life.name}-0")
            if number % 3 == 0:
                self.start(self.follow, Client(server), life, {"offset": "-1", "content": []})
        for number in range(2):
            self.start(self.churn, Client(server), number, random.Random(f"{self.seed}/{number}"))

    def follow(self, client, life, place):
        """A reader, mostly live."""
        status, headers, body = client.stream("GET", life.name, f"?offset={place['offset']}&live=long-poll")
        if status == 200:
            place["content"].append(body)
            place["offset"] = headers["Stream-Next-Offset"]
            life.seen.append((self.mark(), ends_of(requests_in(life.kind, join(life.kind, place["content"])))))
        elif status != 204:
            raise Wrong(f"read of {life.name}: {status} {body[:200]!r}")

    def churn(self, client, number, dice):
        """A stream that is created, written, forked, closed and deleted, as the dice say."""
        name = f"churn/{number}-{dice.randrange(12 + len(self.lives) // 4)}"
        lives = self.lives.get(name, [])
        if lives and lives[-1].alive():
            self.delete(client, lives[-1])
            return
        if lives and lives[-1].forked:
            return                             # soft-deleted: the name is taken as long as the fork lives
        life = self.life(name, dice.choice((JSON, BYTES)))
        writer = f"{name}.{self.serial()}"
        headers = self.create(client, life)
        for _ in range(dice.randrange(4)):
            headers = self.append(client, life, writer)
        kind = dice.random()
        if kind < 0.2:
            self.close(client, life)
        elif kind < 0.5:
            self.fork(client, life, writer, headers["Stream-Next-Offset"])
        if dice.random() < 0.5:
            self.delete(client, life)

    def fork(self, client, source, writer, offset):
        inherited = [(writer, number) for number in range(len(source.acked.get(writer, ())))]
        life = self.life(f"{source.name}/fork-{self.serial()}", source.kind, inherited)
        source.forked = True
        self.create(client, life, {"Stream-Forked-From": f"/v1/stream/{source.name}",
                                   "Stream-Fork-Offset": offset})
        for _ in range(2):
            self.append(client, life, f"{life.name}.0")
        if self.serials % 2 == 0:
            self.delete(client, life)
            source.forked = False

    def writers(self, life):
        return sorted(life.sent)

    # -- judging --

    def check(self, server, at, probe=True):
        """Findings about a server that holds what was durable at the mark."""
        client = Client(server)
        findings = []
        try:
            for name in sorted(self.lives):
                self.check_name(client, name, at, probe, findings)
        except ConnectionError as error:
            findings.append(f"the server ended while it was read: {error}")
        client.close()
        return findings[:FINDINGS_MAX]

    def check_name(self, client, name, at, probe, findings):
        status, content, headers = client.read(name)
        lives = [life for life in self.lives[name] if life.started["create"] <= at]
        certain = [number for number, life in enumerate(lives) if life.answered["create"] <= at]
        oldest = certain[-1] if certain else 0
        possible = [life for life in lives[oldest:] if life.answered["delete"] > at]
        self.found[name] = (status, None, [], False)
        if status in (404, 410):
            if certain and lives[oldest].started["delete"] > at:
                findings.append(f"{name}: its creation was acknowledged and it answers {status}")
            return
        if status != 200:
            findings.append(f"{name}: reading it is answered with {status}")
            return
        why = "it is there and should not" if lives else "nobody created it"
        closed = headers.get("Stream-Closed") == "true"
        for life in possible:
            try:
                requests = requests_in(life.kind, content)
                why = life.wrong(requests, closed, at)
            except Wrong as error:
                why = str(error)
            if not why:
                break
        if why:
            findings.append(f"{name}: {why}")
            return
        life.seen.append((self.mark(), ends_of(requests)))
        if probe and not closed:
            requests = self.probe(client, life, requests, findings)
        self.found[name] = (status, life, requests, closed)

    def probe(self, client, life, requests, findings):
        """The state of the producers matches the data."""
        for writer in self.writers(life):
            count = ends_of(requests[len(life.inherited):]).get(writer, 0)
            life.sent[writer] = life.sent[writer][:count]
            while len(life.acked.setdefault(writer, [])) < count:
                life.acked[writer].append(self.mark())
            try:
                if count > 0:
                    self.append(client, life, writer, again=True)
                self.append(client, life, writer)
            except Wrong as error:
                findings.append(f"{life.name}: {error}")
                return requests
            requests = [*requests, (writer, count)]
        status, content, headers = client.read(life.name)
        try:
            found = requests_in(life.kind, content)
        except Wrong as error:
            findings.append(f"{life.name}, after appending: {error}")
            return requests
        life.seen.append((self.mark(), ends_of(found)))
        if found != requests:
            findings.append(f"{life.name}: one request of each producer was appended twice, and then there "
                            f"are {len(found)} requests instead of {len(requests)}")
        return found

    def settled(self, mark):
        """The work as check() found it: nothing is uncertain, and marks begin anew."""
        work = Work(mark, self.seed)
        work.serials = self.serials
        gone = [name for name, (status, *_) in self.found.items() if status == 404]
        forgotten = set(gone[:-GONE_KEPT])
        for name, (status, known, requests, closed) in self.found.items():
            if name in forgotten:
                continue
            life = Life(name, known.kind if known else JSON, known.inherited if known else ())
            life.started["create"] = life.answered["create"] = 0
            life.forked = status == 410 or bool(known and known.forked)
            if known is None:
                life.started["delete"] = life.answered["delete"] = 0
            if closed:
                life.started["close"] = life.answered["close"] = 0
            for writer, end in ends_of(requests[len(life.inherited):]).items():
                life.sent[writer] = [0] * end
                life.acked[writer] = [0] * end
            if known and known.trims:
                life.offsets = known.offsets
                life.trims = [[0, 0, requests[0][1]]]
            life.seen = [(0, ends_of(requests))]
            work.lives[name] = [life]
        return work

    def after(self, at, mark):
        """The same work as a server sees it that lost what is behind the mark."""
        work = Work(mark, self.seed)
        work.serials = self.serials
        for name, lives in self.lives.items():
            work.lives[name] = [life.after(at) for life in lives if life.started["create"] <= at]
        work.lives = {name: lives for name, lives in work.lives.items() if lives}
        return work

