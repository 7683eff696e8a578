# SPDX-License-Identifier: Apache-2.0
"""Compares the streams, read back over HTTP, with the table; shares no code with the programs.

A window at a time: read the stream from where the last window ended, wait until as many rows have come,
look up the same numbers in the table, compare message by message.  A compared window may be trimmed from the stream and, much later,
deleted from the table, so the demo can run for days.
"""
import json

import ds

ROWS_KEPT = 100_000            # per stream in the table; older compared rows are deleted


class StreamAudit:
    def __init__(self, name):
        self.name = name
        self.offset = "-1"     # compared up to here
        self.window = None     # (messages, offset behind them): read, and not yet compared
        self.messages = 0      # compared so far = the number of the next message
        self.deleted = 0       # rows below this number are gone from the table
        self.lost = 0
        self.duplicated = 0
        self.examples = []

    def compare(self, server, cursor, rows_until):
        """Compare the window with the table, once all of it lies below number rows_until."""
        if self.window is None:
            self.window = server.read_json(self.name, self.offset)
        messages, offset = self.window
        if self.messages + len(messages) > rows_until:
            return
        self.window = None
        cursor.execute("SELECT seq, payload FROM ds_sync.session_events "
                       "WHERE stream_name = %s AND seq >= %s AND seq < %s ORDER BY seq",
                       (self.name, self.messages, self.messages + len(messages)))
        rows = {}
        for seq, payload in cursor.fetchall():
            rows.setdefault(seq, []).append(payload)
        for number, message in enumerate(messages, self.messages):
            found = rows.pop(number, [])
            if not any(row == message for row in found):
                self._note("lost", number, message, found)
            self.duplicated += max(len(found) - 1, 0)
        self.duplicated += sum(len(found) for found in rows.values())
        self.messages += len(messages)
        self.offset = offset

    def _note(self, what, number, message, found):
        self.lost += 1
        if len(self.examples) < 3:
            self.examples.append(f"{self.name} message {number} {what}: stream has "
                                 f"{json.dumps(message)}, table has {json.dumps(found)}")

    def count_table(self, cursor):
        """Rows ever loaded; the same event under two numbers counts as duplicated."""
        cursor.execute("SELECT count(*), count(DISTINCT payload->>'id') FROM ds_sync.session_events "
                       "WHERE stream_name = %s", (self.name,))
        rows, distinct = cursor.fetchone()
        return self.deleted + rows, rows - distinct

    def trim(self, server):
        """Give the compared part of the stream back to the server."""
        if self.offset == "-1":
            return
        status, _, body = ds.http("POST", f"{server.admin_url}/admin/trim",
                                  json.dumps({"stream": self.name, "before": self.offset}).encode(),
                                  {"Content-Type": "application/json"})
        if status != 200:
            raise RuntimeError(f"trimming {self.name}: {status} {body!r}")

    def prune(self, cursor):
        """Delete compared rows beyond the newest ROWS_KEPT."""
        below = self.messages - ROWS_KEPT
        if below <= self.deleted:
            return
        cursor.execute("DELETE FROM ds_sync.session_events WHERE stream_name = %s AND seq < %s",
                       (self.name, below))
        self.deleted += cursor.rowcount
