"""A TCP proxy between a client and PostgreSQL that fails as networks do."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Final, Self

_CHUNK: Final = 65_536
_NOTIFICATION: Final = b"A"
_HEADER_BYTES: Final = 5
"""Of each message of the server: its type, and a length that counts itself."""


class FaultyProxy:
    """Passes bytes on, from its own thread. Other threads break it and heal it; each change holds at its return."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        listen: str = "127.0.0.1",
        new_socket: Callable[[], socket.socket] | None = None,
    ) -> None:
        """`new_socket` makes the sockets to the server, which need not be PostgreSQL then: it loses no notifications."""
        self.port = 0
        """Where it listens."""
        self.is_cut = False
        """Present connections were reset, and new ones are."""
        self.delay_s = 0.0
        """What each piece waits, in both directions."""
        self.loses_notifications = False
        """As a pooler does that lends out connections: all else arrives."""
        self.answer_bytes: int | None = None
        """So many bytes of the server arrive over a new connection, which is then reset."""
        self.request_bytes: int | None = None
        """So many bytes of the client arrive over a new connection, which then hangs."""
        self.hung = Event()
        """A connection hangs because of `request_bytes`."""
        self.target = host, port
        self.reads_messages = new_socket is None
        self._listen_host = listen
        self._new_socket = new_socket
        self._loop = asyncio.new_event_loop()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        self._server = self._run(self._listen)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def close(self) -> None:
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lead_to(self, host: str, port: int) -> None:
        """New connections go there. Resets the present ones."""
        self.target = host, port
        self.reset()

    def cut(self) -> None:
        self.is_cut = True
        self.reset()

    def reset(self) -> None:
        """Resets the present connections."""
        self._run(self._reset)

    def hang(self) -> None:
        """The present connections stay open, and pass nothing on any more. New ones work."""
        self._run(self._hang)

    def heal(self) -> None:
        """New connections work again. Those that hang stay so."""
        self.is_cut = self.loses_notifications = False
        self.delay_s = 0.0
        self.answer_bytes = self.request_bytes = None
        self.hung.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, self._listen_host, 0)

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _reset(self) -> None:
        for link in self._links:
            link.reset()

    async def _hang(self) -> None:
        for link in self._links:
            link.hangs = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            return
        server_reader, server_writer = await self._connect()
        link = _Link(self, writer, server_writer)
        self._links.add(link)
        try:
            up = asyncio.create_task(link.pass_requests(reader))
            down = asyncio.create_task(link.pass_answers(server_reader))
            _, pending = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            for each in pending:
                each.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self._links.discard(link)
            server_writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._new_socket is None:
            return await asyncio.open_connection(*self.target)
        made = self._new_socket()
        made.setblocking(False)
        try:
            await self._loop.sock_connect(made, self.target)
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: FaultyProxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.hangs = False
        self._proxy = proxy
        self._client = client
        self._server = server
        self._requests_left = proxy.request_bytes
        self._answers_left = proxy.answer_bytes
        self._unread = b""

    def reset(self) -> None:
        self._client.transport.abort()
        self._server.transport.abort()

    async def pass_requests(self, reader: asyncio.StreamReader) -> None:
        while data := await self._read(reader):
            if self._requests_left is not None:
                data, self._requests_left = data[: self._requests_left], max(self._requests_left - len(data), 0)
            if data and not self.hangs:
                self._server.write(data)
                await self._server.drain()
            if self._requests_left == 0:
                self.hangs = True
                self._proxy.hung.set()

    async def pass_answers(self, reader: asyncio.StreamReader) -> None:
        while data := await self._read(reader):
            if self.hangs:
                continue
            kept = b"".join(self._without_notifications(data)) if self._proxy.reads_messages else data
            if self._answers_left is not None:
                kept, self._answers_left = kept[: self._answers_left], self._answers_left - len(kept)
            self._client.write(kept)
            await self._client.drain()
            if self._answers_left is not None and self._answers_left <= 0:
                return

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(_CHUNK)
        if self._proxy.delay_s:
            await asyncio.sleep(self._proxy.delay_s)
        return data

    def _without_notifications(self, data: bytes) -> Iterator[bytes]:
        """Whole messages. Without TLS, the server sends nothing else."""
        self._unread += data
        while len(self._unread) >= _HEADER_BYTES:
            end = 1 + int.from_bytes(self._unread[1:_HEADER_BYTES])
            if len(self._unread) < end:
                return
            message, self._unread = self._unread[:end], self._unread[end:]
            if not (self._proxy.loses_notifications and message.startswith(_NOTIFICATION)):
                yield message
