"""A TCP proxy in front of a PostgreSQL server that counts, delays, stalls and cuts.

It understands how a client frames its messages (PostgreSQL documentation, "Message Formats") and
passes them on one by one. What the server sends is passed on as it comes.

A stalled proxy is a server that has stopped answering. It is not one that has vanished from the
network: the kernel still acknowledges what the client sends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

CHUNK = 65536
# The word after the length in a message without a type byte; any other is a protocol version.
UNTYPED = {80877102: "cancel", 80877103: "ssl", 80877104: "gss"}
# ReadyForQuery, which ends every reply, without its last byte.
READY = b"Z\x00\x00\x00\x05"
# A hook may block, and then holds one of these.
HOOK_THREADS = 64
STOP_SECONDS = 10


@dataclass(eq=False)
class _Link:
    """One client's connection, and ours to the server on its behalf."""

    client: socket.socket
    server: socket.socket
    typed: bool = False  # whether the client's messages have a type byte by now
    asked_for_encryption: bool = False
    encrypted: bool = False
    dropping: threading.Event | None = None  # to be set when the reply has come and was dropped
    reset: bool = False  # whether both ends are closed with RST instead of FIN
    pumps: list[asyncio.Task[None]] = field(default_factory=list)


class Proxy:
    """A proxy on a free port of 127.0.0.1, running from `with` to its end.

    It is a thread of this process. psycopg2's cancel() keeps the interpreter to itself until the
    server has answered, so through a proxy it never returns unless another process calls it.

    Attributes:
        port: where it listens.
        counts: client messages by type: the type byte as a letter, and "startup", "ssl", "gss",
            "cancel" for those that have none.
        queries: the text of every simple query ('Q'), in order.
        delay: seconds that each message from a client and each chunk from a server is held back.
        refuse: whether new connections are closed as soon as they are accepted.
        on_query: called with the text of a simple query before it is passed on, in another thread.
            It may block (that connection only) and call the proxy's methods. An exception in it is
            raised where the proxy's `with` ends.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self.port = 0
        self.counts: Counter[str] = Counter()
        self.queries: list[str] = []
        self.delay = 0.0
        self.refuse = False
        self.on_query: Callable[[str], None] | None = None
        self._target = (target_host, target_port)
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._drops: list[tuple[str, threading.Event]] = []
        self._errors: list[Exception] = []
        self._loop: asyncio.AbstractEventLoop
        self._flowing: asyncio.Event
        self._finished: asyncio.Event
        self._running = threading.Event()

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(listener)), name=f"proxy on port {self.port}"
        )
        self._thread.start()
        self._running.wait()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._finished.set)
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError("the proxy does not end: does on_query still run?")
        if self._errors:
            raise self._errors[0]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._links)

    @property
    def round_trips(self) -> int:
        """How often clients have asked something and waited for the answer, once connected."""
        return self.counts["Q"] + self.counts["S"] + self.counts["F"]

    def url(self, url: str) -> str:
        """Return a connection URL with the proxy's address in the place of the server's."""
        parts = urlsplit(url)
        account, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account}{at}127.0.0.1:{self.port}"))

    def cut(self) -> int:
        """Reset all connections (RST to clients and server), and return how many there were."""
        return self._in_loop(self._cut())

    def half_close(self, *, to_server: bool) -> None:
        """Say on all connections that nothing more comes from one side, and nothing to that side.

        Args:
            to_server: whether the server is told so, of its clients; otherwise the clients are.
        """
        self._in_loop(self._half_close(to_server=to_server))

    def stall(self) -> None:
        """Pass nothing on in either direction, and keep all connections open."""
        self._in_loop(self._set_flowing(on=False))

    def resume(self) -> None:
        """Go on after stall()."""
        self._in_loop(self._set_flowing(on=True))

    def drop_reply_after(self, text: str) -> threading.Event:
        """Pass on the next simple query that contains a text, and reset when its reply comes.

        The server has run the query, and the client cannot know. This happens once.

        Args:
            text: what to look for, as it is written.

        Returns:
            An event that is set when it has happened.
        """
        happened = threading.Event()
        self._drops.append((text, happened))
        return happened

    def _in_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(STOP_SECONDS)

    async def _run(self, listener: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(HOOK_THREADS, "proxy hook"))
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._finished = asyncio.Event()
        with listener:
            listener.setblocking(False)
            accepting = asyncio.create_task(self._accept(listener))
            self._running.set()
            await self._finished.wait()
            await _end([accepting])
        self._flowing.set()
        await self._close_links()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            if self.refuse:
                client.close()
                continue
            link = _Link(client, socket.socket())
            for end in (link.client, link.server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links[link] = asyncio.create_task(self._serve(link))

    async def _serve(self, link: _Link) -> None:
        try:
            await self._loop.sock_connect(link.server, self._target)
            link.pumps = [
                asyncio.create_task(self._to_server(link)),
                asyncio.create_task(self._to_client(link)),
            ]
            await asyncio.wait(link.pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            link.reset = True
        finally:
            await _end(link.pumps)
            for pump in link.pumps:
                self._judge(link, pump)
            for end in (link.client, link.server):
                if link.reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
            del self._links[link]

    def _judge(self, link: _Link, pump: asyncio.Task[None]) -> None:
        error = None if pump.cancelled() else pump.exception()
        if isinstance(error, OSError):
            link.reset = True
        elif isinstance(error, Exception):
            self._errors.append(error)

    async def _to_server(self, link: _Link) -> None:
        buffer = bytearray()
        while data := await self._loop.sock_recv(link.client, CHUNK):
            buffer += data
            for kind, message in _messages(link, buffer):
                await self._look(link, kind, message)
                await self._hold()
                await self._loop.sock_sendall(link.server, message)

    async def _to_client(self, link: _Link) -> None:
        tail = b""
        while data := await self._loop.sock_recv(link.server, CHUNK):
            if link.asked_for_encryption:
                link.encrypted = data[:1] in (b"S", b"G")
                link.asked_for_encryption = False
            if link.dropping is not None:
                tail = (tail + data)[-6:]
                if tail.startswith(READY):
                    link.dropping.set()
                    link.reset = True
                    return
                continue
            await self._hold()
            await self._loop.sock_sendall(link.client, data)

    async def _look(self, link: _Link, kind: str, message: bytes) -> None:
        if not kind:
            return
        self.counts[kind] += 1
        link.asked_for_encryption = kind in ("ssl", "gss")
        if kind != "Q":
            return
        text = message[5:-1].decode(errors="replace")
        self.queries.append(text)
        if self.on_query is not None:
            await asyncio.to_thread(self.on_query, text)
        for drop in self._drops:
            if drop[0] in text:
                self._drops.remove(drop)
                link.dropping = drop[1]
                break

    async def _hold(self) -> None:
        await asyncio.sleep(self.delay)
        await self._flowing.wait()

    async def _cut(self) -> int:
        for link in self._links:
            link.reset = True
        return await self._close_links()

    async def _half_close(self, *, to_server: bool) -> None:
        for link in self._links:
            with suppress(OSError):  # it is closed already
                (link.server if to_server else link.client).shutdown(socket.SHUT_WR)

    async def _close_links(self) -> int:
        tasks = list(self._links.values())
        await _end(tasks)
        return len(tasks)

    async def _set_flowing(self, *, on: bool) -> None:
        if on:
            self._flowing.set()
        else:
            self._flowing.clear()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task


def _messages(link: _Link, buffer: bytearray) -> Iterator[tuple[str, bytes]]:
    """Take the complete messages out of a buffer: kind ("" when encrypted) and bytes."""
    while buffer:
        if link.encrypted:
            yield "", bytes(buffer)
            buffer.clear()
            return
        head = 1 if link.typed else 0
        if len(buffer) < head + 4:
            return
        (length,) = struct.unpack_from("!i", buffer, head)
        if len(buffer) < head + length:
            return
        message = bytes(buffer[: head + length])
        del buffer[: head + length]
        if link.typed:
            yield chr(message[0]), message
        else:
            (word,) = struct.unpack_from("!i", message, 4)
            kind = UNTYPED.get(word, "startup")
            link.typed = kind == "startup"
            yield kind, message
