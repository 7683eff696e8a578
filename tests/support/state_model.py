# SPDX-License-Identifier: Apache-2.0
"""What the messages of a stream of state leave, one by one.  Shares no code with the programs.

A set is {(type, key): (seq, value)}.  A message that is no change, or an append that does not fit, is
refused and changes nothing.  A reset that is followed at once by a snapshot-start does nothing."""
import random

SETS = {"insert", "update", "upsert", "set"}
DELETES = {"delete", "remove"}


def control_of(message):
    return (message.get("headers") or {}).get("control")


def operation_of(message):
    return message.get("operation") or (message.get("headers") or {}).get("operation")


class StateModel:
    def __init__(self):
        self.seq = 0
        self.visible = {}
        self.staged = None
        self.refused = []
        self.reset_seq = None

    def _settle_reset(self):
        if self.reset_seq is not None:
            self.visible, self.staged, self.reset_seq = {}, None, None

    def _change(self, message):
        rows = self.visible if self.staged is None else self.staged
        if "key" not in message:
            self.refused.append(self.seq)
            return
        place, operation = (message["type"], message["key"]), operation_of(message)
        if operation in DELETES:
            rows.pop(place, None)
        elif operation in SETS:
            rows[place] = (self.seq, message["value"])
        else:
            more, there = message["value"], rows.get(place)
            fits = isinstance(more, (str, list)) and (there is None or type(there[1]) is type(more))
            if not fits:
                self.refused.append(self.seq)
                return
            rows[place] = (self.seq, more if there is None else there[1] + more)

    def add(self, message):
        control = control_of(message)
        if control == "snapshot-start":
            self.reset_seq = None
            self.staged = {}
        else:
            self._settle_reset()
            if control == "reset":
                self.reset_seq = self.seq
            elif control == "snapshot-end":
                if self.staged is not None:
                    self.visible, self.staged = self.staged, None
            else:
                self._change(message)
        self.seq += 1

    def rows(self):
        """What a reader of the table sees now."""
        return {} if self.reset_seq is not None else dict(self.visible)


class Generator:
    """Random appends, each a list of messages for one POST; a reset and the snapshot-start that follows it
    are never in two of them."""

    def __init__(self, seed, keys=6, refused=0.0):
        self.random = random.Random(seed)
        self.keys = keys
        self.refused = refused      # share of the appends that are made not to fit
        self.model = StateModel()
        self.number = 0

    def _value(self):
        self.number += 1
        return self.random.choice([self.number, f"s{self.number}\n\"é", [self.number], [], "", None,
                                   {"n": self.number, "deep": [{"x": 1.5}]}])

    def _change(self):
        rows = self.model.rows() if self.model.staged is None else self.model.staged
        kind, key = self.random.choice(["user", "täsk"]), f"k{self.random.randrange(self.keys)}"
        form = self.random.choice(["protocol", "protocol", "set", "set", "remove", "append", "append", "append"])
        if form == "protocol":
            operation = self.random.choice(["insert", "update", "upsert", "delete"])
            message = {"type": kind, "key": key, "headers": {"operation": operation, "txid": "1"}}
            if operation != "delete" or self.random.random() < 0.5:
                message["value"] = self._value()
            return message
        message = {"key": key, "type": kind, "operation": form}
        if form == "set":
            message["value"] = self._value()
        if form == "append":
            there = rows.get((kind, key), (0, ""))[1]
            if self.random.random() < self.refused:
                there = "" if isinstance(there, list) else []
            elif not isinstance(there, (str, list)):
                return {"key": key, "type": kind, "operation": "set", "value": self._value()}
            message["value"] = f"+{self.number}\\" if isinstance(there, str) else [self.number, "x"]
            self.number += 1
        return message

    def _messages(self):
        what = self.random.random()
        if what < 0.01:
            return [{"headers": {"control": "reset"}}, self._change()]
        if what < 0.02:
            return [{"headers": {"control": "reset"}}, {"headers": {"control": "snapshot-start"}}]
        if what < 0.03:
            return [self._change(), {"headers": {"control": "snapshot-start"}}]
        if what < 0.08:
            return [{"headers": {"control": "snapshot-end"}}]
        return [self._change()]

    def append(self, count):
        batch = []
        while len(batch) < count:
            for message in self._messages():
                self.model.add(message)
                batch.append(message)
        return batch
