# SPDX-License-Identifier: Apache-2.0
"""What a power failure may leave of the files that a trace of record.c tells of.

A Disk is advanced record by record.  Of each file it knows what is durable and which changes are not;
of each folder which names are.  crash() makes an image: everything that is durable, and of the rest
whatever the dice say: none, all, the first so many, or any, each write by itself or torn at sectors of
512 bytes.  A file system may do all of that; most do less.
"""
import os
import struct
from pathlib import Path

HEAD = struct.Struct("<IIQQQ")
(FILE, CREATE, WRITE, ZERO, SIZE, SYNC, SYNC_DIR, SYNC_ALL, RENAME, UNLINK, MKDIR, RMDIR) = range(1, 13)
SECTOR = 512
FOLDER = -1                    # what a name stands for, instead of a file
FORGOTTEN = "-shm"             # SQLite's shared memory is written through a map, and means nothing later


class Record:
    __slots__ = ("at", "kind", "file", "a", "b", "data")

    def __init__(self, at, kind, file, a, b, data):
        self.at, self.kind, self.file, self.a, self.b, self.data = at, kind, file, a, b, data

    def path(self):
        return self.data.decode()


def records(trace):
    """The records of a trace, of which the last may be cut."""
    at = 0
    while at + HEAD.size <= len(trace):
        size, kind, file, a, b = HEAD.unpack_from(trace, at)
        if at + size > len(trace):
            return
        yield Record(at, kind, file, a, b, trace[at + HEAD.size:at + size])
        at += size


def folder_of(path):
    return path.rpartition("/")[0]


class Content:
    """The bytes of one file."""

    def __init__(self, durable=b""):
        self.durable = bytearray(durable)
        self.pending = []              # records, in order

    def settle(self, before):
        """What was recorded before that length of the trace is durable."""
        done = [record for record in self.pending if record.at < before]
        self.pending = [record for record in self.pending if record.at >= before]
        for record in done:
            apply(self.durable, record)


def put(content, offset, data):
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset:offset + len(data)] = data


def apply(content, record):
    if record.kind == WRITE:
        put(content, record.a, record.data)
    elif record.kind == ZERO:
        put(content, record.a, bytes(record.b))
    elif record.a < len(content):
        del content[record.a:]
    else:
        put(content, record.a, b"")


def apply_torn(content, record, dice):
    """A write of which only some sectors arrived."""
    data = record.data if record.kind == WRITE else bytes(record.b)
    start, end = record.a, record.a + len(data)
    cut = dice.choice(("front", "back", "any"))
    edges = [start, *range((start // SECTOR + 1) * SECTOR, end, SECTOR), end]
    border = dice.randrange(len(edges))
    for number, (low, high) in enumerate(zip(edges, edges[1:])):
        if (number < border) == (cut == "front") if cut != "any" else dice.random() < 0.5:
            put(content, low, data[low - start:high - start])


class Disk:
    def __init__(self, base=None):
        """base: the folder as it was when the trace began, all of it durable."""
        self.base = base
        self.contents = {}             # file -> Content
        self.names = {}                # durable: path -> file or FOLDER
        self.pending = []              # records that change names, in order
        self.unmet = {}                # names of the base that the trace has not mentioned: path -> bytes
        if base:
            for path in sorted(Path(base).rglob("*")):
                name = str(path.relative_to(base))
                if path.is_dir():
                    self.names[name] = FOLDER
                else:
                    self.unmet[name] = path.read_bytes()

    def advance(self, record):
        kind = record.kind
        if kind == FILE:
            path = record.path()
            self.contents[record.file] = Content(self.unmet.pop(path, b""))
            if not any(self.touches(change, path) for change in self.pending):
                self.names[path] = record.file
        elif kind == CREATE:
            self.contents[record.file] = Content()
            self.pending.append(record)
        elif kind in (WRITE, ZERO, SIZE):
            self.contents[record.file].pending.append(record)
        elif kind == SYNC:
            self.contents[record.file].settle(record.a)
        elif kind == SYNC_DIR:
            self.settle_names(record.a, record.path())
        elif kind == SYNC_ALL:
            for content in self.contents.values():
                content.settle(record.a)
            self.settle_names(record.a, None)
        else:
            self.meet(record)
            self.pending.append(record)

    def meet(self, record):
        """A file of the base that is renamed or removed without having been opened."""
        if record.kind in (RENAME, UNLINK):
            path = record.data.split(b"\0")[0].decode()
            if path in self.unmet:
                file = -2 - len(self.contents)
                self.contents[file] = Content(self.unmet.pop(path))
                self.names[path] = file

    @staticmethod
    def touches(record, path):
        return path in (part.decode() for part in record.data.split(b"\0"))

    def settle_names(self, before, folder):
        rest = []
        for record in self.pending:
            inside = folder is None or folder_of(record.data.split(b"\0")[-1].decode()) == folder
            if record.at < before and inside:
                change_names(self.names, record)
            else:
                rest.append(record)
        self.pending = rest

    def crash(self, dice):
        """(path -> bytes, or None for a folder), and a word for what was done."""
        name_mode = dice.choice(("none", "all", "first", "any"))
        data_mode = dice.choice(("none", "all", "first", "any", "torn", "torn"))
        names = dict(self.names)
        for record in chosen(self.pending, name_mode, dice):
            change_names(names, record)
        image = {name: content for name, content in self.unmet.items() if exists(names, name)}
        for name, file in names.items():
            if not exists(names, name) or name.endswith(FORGOTTEN):
                continue
            image[name] = None if file == FOLDER else bytes(self.content_after(file, data_mode, dice))
        return image, f"names {name_mode}, data {data_mode}"

    def content_after(self, file, mode, dice):
        content = self.contents[file]
        after = bytearray(content.durable)
        last = content.pending[-1] if content.pending else None
        for record in chosen(content.pending, "any" if mode == "torn" else mode, dice):
            torn = mode == "torn" and record.kind != SIZE and (record is last or dice.random() < 0.3)
            (apply_torn(after, record, dice) if torn else apply(after, record))
        return after


def exists(names, path):
    folder = folder_of(path)
    return not folder or (names.get(folder) == FOLDER and exists(names, folder))


def change_names(names, record):
    """As far as it can be done: what it builds on may be lost."""
    if record.kind == CREATE:
        names[record.path()] = record.file
    elif record.kind == MKDIR:
        names[record.path()] = FOLDER
    elif record.kind in (UNLINK, RMDIR):
        names.pop(record.path(), None)
    else:
        old, new = (part.decode() for part in record.data.split(b"\0"))
        if old in names:
            names[new] = names.pop(old)


def chosen(pending, mode, dice):
    if mode == "none":
        return []
    if mode == "all":
        return pending
    if mode == "first":
        return pending[:dice.randrange(len(pending) + 1)] if pending else []
    share = dice.random()
    return [record for record in pending if dice.random() < share]


def write_image(image, folder):
    for path, content in sorted(image.items()):
        target = os.path.join(folder, path)
        if content is None:
            os.makedirs(target, exist_ok=True)
        else:
            with open(target, "wb") as file:
                file.write(content)
