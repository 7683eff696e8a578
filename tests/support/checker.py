# SPDX-License-Identifier: Apache-2.0
"""Judges "exactly once in" from outside: what the stream holds against what Postgres holds.

Shares no code with the programs: it reads the stream over HTTP, cuts the JSON array with Python's own
decoder and compares with the tables.  For each stream, at any moment:
  - rows and dead letters together are messages 0 .. next_seq - 1, each exactly once, disjoint;
  - a row's payload is the message, a dead letter's bytes are the message's bytes;
  - only messages that jsonb cannot hold, or the table refuses, are dead letters (the generator marks them);
  - ds_offset and skip point at message next_seq;
  - chunks of a byte stream, in order, are its first next_seq bytes;
  - the rows of a stream of state are what its messages 0 .. next_seq - 1 leave, one by one, and its
    dead letters are those of them that are no change.
What was found good once is not read again, except by check(everything=True).
"""
import json
from decimal import Decimal

import ds
from appends import Client
from state_model import StateModel

POISON_MARK = "poison"         # a message with this member true must become a dead letter
REFUSED_MARK = "refused"       # with this one, too: since its table refuses the row
FINDINGS_MAX = 5


def cut_array(text):
    """The elements of a JSON array as they stand."""
    decoder = json.JSONDecoder()
    elements, at = [], 1
    while True:
        while text[at] in " \t\r\n,":
            at += 1
        if text[at] == "]":
            return elements
        _, end = decoder.raw_decode(text, at)
        elements.append(text[at:end])
        at = end


def value_of(text):
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


class StreamChecker:
    """producer: who filled the stream (load.Producer); its acknowledged requests must be there."""

    def __init__(self, server, name, is_json=True, generation=1, producer=None):
        self.server = server
        self.client = None         # made when it is needed
        self.producer = producer
        self.name = name
        self.is_json = is_json
        self.generation = generation
        self.offset = "-1"
        self.content = [] if is_json else b""      # everything read so far
        self.good = 0                              # content below this was compared already
        self.findings = []

    def note(self, text):
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(f"{self.name}: {text}")

    def _get(self, offset):
        query = f"?offset={offset}"
        self.client = self.client or Client(self.server)
        try:
            status, headers, body = self.client.stream("GET", self.name, query)
        except ConnectionError:        # the server was restarted meanwhile
            status, headers, body = self.client.stream("GET", self.name, query)
        if status != 200:
            raise ds.StackError(f"GET {self.name}{query}: {status} {body[:200]!r}")
        return headers, body

    def _read_from(self, offset):
        """(content from offset to the tail, offset of the tail)"""
        content = [] if self.is_json else b""
        while True:
            headers, body = self._get(offset)
            content += cut_array(body.decode()) if self.is_json else body
            offset = headers["Stream-Next-Offset"]
            if headers.get("Stream-Up-To-Date") == "true":
                return content, offset

    def read_stream(self):
        acknowledged = self.producer and self.producer.acknowledged
        known = len(self.content)
        more, self.offset = self._read_from(self.offset)
        self.content += more
        wrong = self.producer and self.producer.wrong(self.content, acknowledged, known)
        if wrong:
            self.note(f"the stream is not what was sent: {wrong}")

    def forget(self, next_seq):
        """Postgres lost what it had from next_seq on, and says so: a failover to a standby behind."""
        self.good = min(self.good, next_seq)

    def check(self, connection, everything=False):
        """True when nothing was found this time; what was found is in self.findings."""
        before = len(self.findings)
        cursor = connection.cursor()
        # One snapshot for all tables: that is what any other session may look at.
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            cursor.execute("SELECT s.stream_id, o.ds_offset, o.skip, o.next_seq, o.generation "
                           "FROM ds_sync.stream s JOIN ds_sync.stream_offset o USING (stream_id) "
                           "WHERE s.name = %s", (self.name,))
            position = cursor.fetchone()
            if position is None:
                self._check_untouched(cursor)
            else:
                self._check_at(cursor, position, 0 if everything else self.good)
        finally:
            cursor.execute("COMMIT")
        return len(self.findings) == before

    def _check_untouched(self, cursor):
        table = "session_events" if self.is_json else "stream_chunks"
        cursor.execute(f"SELECT count(*) FROM ds_sync.{table} WHERE stream_name = %s", (self.name,))
        if cursor.fetchone()[0]:
            self.note("has rows and no position")

    def _check_at(self, cursor, position, first):
        stream_id, ds_offset, skip, next_seq, generation = position
        self.read_stream()
        if next_seq > len(self.content):
            self.note(f"next_seq is {next_seq}, and the stream has only {len(self.content)}")
            return
        if next_seq < first:
            self.note(f"next_seq went back from {first} to {next_seq}")
            return
        if generation != self.generation:
            self.note(f"generation is {generation}, not {self.generation}")
        if self.is_json:
            self._check_messages(cursor, stream_id, first, next_seq)
        else:
            self._check_bytes(cursor, first, next_seq)
        self._check_position(ds_offset, skip, next_seq)
        self.good = next_seq

    def _check_messages(self, cursor, stream_id, first, next_seq):
        cursor.execute("SELECT seq, payload::text FROM ds_sync.session_events "
                       "WHERE stream_name = %s AND seq >= %s ORDER BY seq", (self.name, first))
        rows = cursor.fetchall()
        cursor.execute("SELECT seq, payload, reason FROM ds_sync.dead_letter "
                       "WHERE stream_id = %s AND seq >= %s ORDER BY seq", (stream_id, first))
        letters = cursor.fetchall()
        seen = {}
        for seq, payload in rows:
            if seq in seen:
                self.note(f"message {seq} has two rows")
            seen[seq] = ("row", payload)
        for seq, payload, reason in letters:
            if seq in seen:
                self.note(f"message {seq} is a row and a dead letter, or twice a dead letter")
            seen[seq] = ("letter", bytes(payload), reason)
        for seq in range(first, next_seq):
            self._check_message(seq, seen.pop(seq, None))
        for seq in sorted(seen)[:FINDINGS_MAX]:
            self.note(f"message {seq} is in Postgres, but next_seq is {next_seq}")

    def _check_message(self, seq, found):
        text = self.content[seq]
        if found is None:
            self.note(f"message {seq} is lost: {text[:120]}")
        elif found[0] == "letter":
            if found[1] != text.encode("utf-8", "surrogatepass"):
                self.note(f"dead letter {seq} has other bytes than the message")
            if not value_of(text).get(POISON_MARK):
                self.note(f"message {seq} is good and became a dead letter ({found[2]}): {text[:120]}")
            if value_of(text).get(REFUSED_MARK) and found[2] != "row_fault":
                self.note(f"message {seq} is refused by its table and became a dead letter for {found[2]}")
        elif value_of(text).get(REFUSED_MARK):
            self.note(f"message {seq} is a row, and its table refuses it: {text[:120]}")
        elif value_of(text) != value_of(found[1]):
            self.note(f"row {seq} is {found[1][:120]}, the message is {text[:120]}")

    def _check_bytes(self, cursor, first, next_seq):
        cursor.execute("SELECT seq, bytes FROM ds_sync.stream_chunks WHERE stream_name = %s AND seq >= %s "
                       "ORDER BY seq", (self.name, first))
        expected = first
        for seq, chunk in cursor.fetchall():
            if seq != expected:
                self.note(f"a chunk begins at {seq}, the one before ended at {expected}")
            if bytes(chunk) != self.content[seq:seq + len(chunk)]:
                self.note(f"the chunk at {seq} differs from the stream")
            expected = seq + len(chunk)
        if expected != next_seq:
            self.note(f"the chunks end at {expected}, next_seq is {next_seq}")

    def _check_position(self, ds_offset, skip, next_seq):
        """What the server has behind ds_offset is what the stream has behind message next_seq - skip.
        Compared by content: others append meanwhile, so no count stands still."""
        at = next_seq - skip
        _, body = self._get(ds_offset)             # one page is enough to know the place
        page = cut_array(body.decode()) if self.is_json else body
        self.read_stream()
        if not page:                               # ds_offset was the tail when it was asked
            _, body = self._get(ds_offset)
            page = cut_array(body.decode()) if self.is_json else body
            self.read_stream()
            if not page and self.offset == ds_offset and at != len(self.content):
                self.note(f"ds_offset is the tail, {len(self.content)}, and with skip {skip} that is "
                          f"not next_seq {next_seq}")
        if page != self.content[at:at + len(page)]:
            self.note(f"what follows ds_offset {ds_offset} is not what follows message {at}: with skip "
                      f"{skip} that is not next_seq {next_seq}")

    def caught_up(self, connection):
        cursor = connection.cursor()
        self.read_stream()
        cursor.execute("SELECT o.next_seq FROM ds_sync.stream s JOIN ds_sync.stream_offset o USING "
                       "(stream_id) WHERE s.name = %s", (self.name,))
        row = cursor.fetchone()
        return row is not None and row[0] == len(self.content)


class StateChecker(StreamChecker):
    """Of a stream of state, whose route loads it into `table`."""

    def __init__(self, server, name, table, **more):
        super().__init__(server, name, **more)
        self.table = table
        self.model = StateModel()

    def _check_untouched(self, cursor):
        if self._rows(cursor):
            self.note("has rows and no position")

    def _rows(self, cursor):
        cursor.execute(f"SELECT type, key, seq, value::text FROM {self.table} WHERE stream_name = %s",
                       (self.name,))
        return {(kind, key): (seq, json.loads(value)) for kind, key, seq, value in cursor.fetchall()}

    def _check_messages(self, cursor, stream_id, first, next_seq):
        if first == 0 or self.model.seq > next_seq:
            self.model = StateModel()
        for text in self.content[self.model.seq:next_seq]:
            self.model.add(json.loads(text))
        wanted, found = self.model.rows(), self._rows(cursor)
        for place in sorted(wanted.keys() | found.keys()):
            if wanted.get(place) != found.get(place):
                self.note(f"row {place} is {str(found.get(place))[:120]}, its messages up to {next_seq} leave "
                          f"{str(wanted.get(place))[:120]}")
        cursor.execute("SELECT seq, payload FROM ds_sync.dead_letter WHERE stream_id = %s ORDER BY seq", (stream_id,))
        letters = cursor.fetchall()
        if [seq for seq, _ in letters] != self.model.refused:
            self.note(f"dead letters are {[seq for seq, _ in letters]}, and no changes are {self.model.refused}")
        for seq, payload in letters:
            if seq < next_seq and bytes(payload) != self.content[seq].encode():
                self.note(f"dead letter {seq} has other bytes than the message")
