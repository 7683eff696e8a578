# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that misbehaves when told: it cuts, stalls, re-slices and lies about who is alive.

It runs on a thread of its own and is driven from another one.  Towards a stream server it knows which
connections have a read open: a request without a whole answer, or an event stream without its end.
"""
import asyncio
import random
import socket
import struct
import threading

PIECE_BYTES = 65536
PIECES_MAX = 300               # of one piece that is sliced
SLOW_BYTES, SLOW_SECONDS = 2000, 0.01
CALL_SECONDS = 30              # hang guard of what is asked from the other thread
COMMIT = b"COMMIT\0"           # as the simple protocol sends it
ABORT = b"ABORT \0"            # of the same length; Postgres answers ROLLBACK


class Cut(Exception):
    """This connection is over."""


class Link:
    """A connection that was accepted, and the one made for it."""

    def __init__(self, client):
        self.client = client
        self.server = None
        self.reading = False       # a request is open
        self.events = False        # its answer is an event stream
        self.dead = False          # half open: what comes is swallowed

    def note(self, data, to_client):
        if not to_client:
            self.reading, self.events = True, False
            return
        self.events = self.events or b"text/event-stream" in data[:2000]
        self.reading = self.events and not data.endswith(b"0\r\n\r\n")

    def close(self):
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()

    def abort(self, *writers):
        """With RST instead of FIN."""
        for writer in writers:
            if writer is not None:
                peer = writer.get_extra_info("socket")
                if peer is not None and peer.fileno() >= 0:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


class Proxy:
    """mode: plain, stall, slice, slow, truncate, lose_answer, lose_commit, abort_commit."""

    def __init__(self, target_port, seed):
        self.target_port = target_port
        self.random = random.Random(seed)
        self.mode = "plain"
        self.left = 0              # how often a mode that ends by itself acts
        self.hits = 0              # how often the mode acted
        self.links = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.port = self._call(self._listen())

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(CALL_SECONDS)

    async def _listen(self):
        self.calm_again = asyncio.Event()
        self.calm_again.set()
        self.listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self.listener.sockets[0].getsockname()[1]

    # -- from the other thread --

    def set_mode(self, mode, times=0):
        """times: for what ends by itself (truncate, lose_..., abort_commit)."""
        self._call(self._set_mode(mode, times))

    async def _set_mode(self, mode, times):
        self.mode, self.left, self.hits = mode, times, 0
        if mode == "stall":
            self.calm_again.clear()
        else:
            self.calm_again.set()

    def calm(self):
        """As if nothing were; connections that were left half open are reset at last."""
        self.set_mode("plain")
        self._call(self._drop(lambda link: link.dead))

    def reset(self, share=1.0):
        """RST on a share of the connections, both ways; how many of them had a read open."""
        return self._call(self._drop(lambda link: self.random.random() < share))

    async def _drop(self, chosen):
        links = [link for link in self.links if chosen(link)]
        for link in links:
            link.abort(link.client, link.server)
        return sum(link.reading for link in links)

    def half_open(self):
        """The servers lose their clients, and these are not told; how many had a read open."""
        return self._call(self._half_open())

    async def _half_open(self):
        links = [link for link in self.links if not link.dead]
        for link in links:
            link.dead = True
            link.abort(link.server)
        return sum(link.reading for link in links)

    def open_reads(self):
        return self._call(self._open_reads())

    async def _open_reads(self):
        return sum(link.reading and not link.dead for link in self.links)

    def stop(self):
        self._call(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(CALL_SECONDS)
        self.loop.close()

    async def _stop(self):
        self.listener.close()
        await self._set_mode("plain", 0)
        await self._drop(lambda link: True)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- on the loop --

    async def _accept(self, reader, writer):
        link = Link(writer)
        self.links.add(link)
        try:
            await self.calm_again.wait()
            server_reader, link.server = await asyncio.open_connection("127.0.0.1", self.target_port)
            for side in (writer, link.server):
                side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(self._pump(link, reader, link.server, False),
                                 self._pump(link, server_reader, writer, True))
        except (OSError, Cut, asyncio.CancelledError):
            pass                   # either side is gone, or was made to be
        finally:
            self.links.discard(link)
            link.close()

    async def _pump(self, link, reader, writer, to_client):
        while True:
            try:
                data = await reader.read(PIECE_BYTES)
            except ConnectionError:
                data = b""
            if link.dead and to_client:
                return             # the client hears nothing, and its own end goes on
            if not data:
                raise Cut
            if not link.dead:
                link.note(data, to_client)
                await self._pass(link, writer, data, to_client)

    async def _pass(self, link, writer, data, to_client):
        mode = self.mode
        if mode == "stall":
            self.hits += 1
            await self.calm_again.wait()
        elif mode == "slice":
            await self._slice(writer, data)
            return
        elif mode == "slow":
            await self._slow(writer, data)
            return
        elif mode == "truncate" and to_client and link.reading and len(data) > 1 and self._acts():
            writer.write(data[:len(data) // 2])
            await writer.drain()
            raise Cut
        elif COMMIT in data and not to_client and mode in ("lose_answer", "lose_commit", "abort_commit") \
                and self._acts():
            data = await self._meddle(mode, link, writer, data)
        writer.write(data)
        await writer.drain()

    def _acts(self):
        """Whether a mode that ends by itself acts once more."""
        if self.left == 0:
            return False
        self.left -= 1
        self.hits += 1
        return True

    async def _meddle(self, mode, link, writer, data):
        if mode == "abort_commit":
            return data.replace(COMMIT, ABORT)
        if mode == "lose_answer":
            writer.write(data)     # it is committed, and nobody hears of it
            await writer.drain()
            link.abort(link.client)
        else:
            link.abort(link.client, link.server)
        raise Cut

    async def _slice(self, writer, data):
        """Each piece a segment of its own."""
        self.hits += 1
        count = self.random.randint(1, min(len(data), PIECES_MAX))
        places = sorted(self.random.randrange(len(data) + 1) for _ in range(count))
        for first, last in zip([0, *places], [*places, len(data)]):
            writer.write(data[first:last])
            await writer.drain()
            await asyncio.sleep(0)

    async def _slow(self, writer, data):
        self.hits += 1
        for first in range(0, len(data), SLOW_BYTES):
            writer.write(data[first:first + SLOW_BYTES])
            await writer.drain()
            if self.mode == "slow":
                await asyncio.sleep(SLOW_SECONDS)
