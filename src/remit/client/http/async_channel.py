"""A channel for asyncio."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

import httpcore

from remit.client.http.answers import Deserializer, StreamAnswer, UnaryAnswer
from remit.client.http.channel import Metadata, Serializer
from remit.client.http.errors import HttpCallError, broken, cancelled, late
from remit.client.http.requests import FAULTS, IDLE_S, proxy, request
from remit.client.http.target import HttpTarget


class AsyncHttpChannel:
    """What clients use of a channel of grpc.aio."""

    def __init__(self, target: HttpTarget, tls: ssl.SSLContext | None) -> None:
        self._target = target
        self._pool = httpcore.AsyncConnectionPool(tls, proxy(target), max_connections=None, keepalive_expiry=IDLE_S)
        self._running: set[asyncio.Timeout] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def unary_unary(
        self, path: str, request_serializer: Serializer, response_deserializer: Deserializer
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(message: Any, *, timeout: float | None = None, metadata: Metadata = None) -> Any:
            sent = request(self._target, path, request_serializer(message), timeout, metadata, streams=False)
            async with self.running(asyncio.timeout(timeout)), self._pool.stream(**sent) as response:
                answer = UnaryAnswer(response.status, response.headers)
                async for part in response.aiter_stream():
                    answer.feed(part)
            return answer.message(response_deserializer)

        return call

    def unary_stream(
        self, path: str, request_serializer: Serializer, response_deserializer: Deserializer
    ) -> Callable[..., "AsyncHttpStream"]:
        def call(message: Any, *, timeout: float | None = None, metadata: Metadata = None) -> AsyncHttpStream:
            sent = request(self._target, path, request_serializer(message), timeout, metadata, streams=True)
            return AsyncHttpStream(self, self._messages(sent, response_deserializer), timeout)

        return call

    async def close(self) -> None:
        """Ends all calls."""
        self._closed = True
        for scope in self._running:
            expire(scope)
        await asyncio.gather(*self._closing)
        await self._pool.aclose()

    @asynccontextmanager
    async def running(self, scope: asyncio.Timeout) -> AsyncIterator[None]:
        """Raises HttpCallError if what is done meanwhile fails, is late or is cancelled, and no other error."""
        if self._closed:
            raise cancelled()
        try:
            async with scope:
                self._running.add(scope)
                yield
        except FAULTS as error:
            if self._closed:
                raise cancelled() from error
            raise (late() if scope.expired() else broken(self._target.url, error)) from error
        finally:
            self._running.discard(scope)

    def close_later(self, messages: AsyncGenerator[Any, None]) -> None:
        closing = asyncio.get_running_loop().create_task(_close(messages))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _messages(self, sent: dict[str, Any], deserialize: Deserializer) -> AsyncGenerator[Any, None]:
        async with self._pool.stream(**sent) as response:
            answer = StreamAnswer(response.status, response.headers, deserialize)
            async for part in response.aiter_stream():
                for message in answer.feed(part):
                    yield message
        answer.end()


class AsyncHttpStream:
    """The messages of a stream. It connects at the first."""

    def __init__(self, channel: AsyncHttpChannel, messages: AsyncGenerator[Any, None], timeout_s: float | None) -> None:
        self._channel = channel
        self._messages = messages
        self._until = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        self._running: asyncio.Timeout | None = None
        self._begun = self._ended = self._cancelled = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """Raises HttpCallError at the end of a stream that failed, or that was cancelled."""
        self._check()
        self._begun = True
        self._running = asyncio.timeout_at(self._until)
        try:
            async with self._channel.running(self._running):
                message = await anext(self._messages, None)
        except HttpCallError:
            self._ended = True
            self._check()
            raise
        except BaseException:
            # The generator has ended, by this error.
            self._ended = True
            raise
        finally:
            self._running = None
        if message is None:
            self._ended = True
            raise StopAsyncIteration
        return message

    def _check(self) -> None:
        if self._cancelled:
            raise cancelled()

    def cancel(self) -> None:
        if self._ended or self._cancelled:
            return
        self._cancelled = True
        if self._running is not None:
            expire(self._running)
        elif self._begun:
            self._channel.close_later(self._messages)


def expire(scope: asyncio.Timeout) -> None:
    """Ends what is done within it."""
    if not scope.expired():
        scope.reschedule(0)


async def _close(messages: AsyncGenerator[Any, None]) -> None:
    await messages.aclose()
