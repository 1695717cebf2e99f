"""A channel for threads."""

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import Lock
from typing import Any, Self

import httpcore

from remit.client.http.answers import Deserializer, StreamAnswer, UnaryAnswer
from remit.client.http.deadlines import BoundedNetwork, Exchange
from remit.client.http.errors import HttpCallError, cancelled
from remit.client.http.requests import IDLE_S, proxy, request
from remit.client.http.target import HttpTarget

Serializer = Callable[[Any], bytes]
Metadata = Iterable[tuple[str, str]] | None


class HttpChannel:
    """What clients use of a channel of gRPC. Safe to share between threads."""

    def __init__(self, target: HttpTarget, tls: ssl.SSLContext | None) -> None:
        self._target = target
        self._pool = httpcore.ConnectionPool(
            tls,
            proxy(target),
            max_connections=None,
            keepalive_expiry=IDLE_S,
            network_backend=BoundedNetwork(),
        )
        self._mutex = Lock()
        self._exchanges: set[Exchange] = set()
        self._closed = False

    def unary_unary(
        self, path: str, request_serializer: Serializer, response_deserializer: Deserializer
    ) -> Callable[..., Any]:
        def call(message: Any, *, timeout: float | None = None, metadata: Metadata = None) -> Any:
            sent = request(self._target, path, request_serializer(message), timeout, metadata, streams=False)
            exchange = self.begin(timeout)
            try:
                with exchange.running(), self._pool.stream(**sent) as response:
                    answer = UnaryAnswer(response.status, response.headers)
                    for part in response.iter_stream():
                        answer.feed(part)
                    return answer.message(response_deserializer)
            finally:
                self.end(exchange)

        return call

    def unary_stream(
        self, path: str, request_serializer: Serializer, response_deserializer: Deserializer
    ) -> Callable[..., "HttpStream"]:
        def call(message: Any, *, timeout: float | None = None, metadata: Metadata = None) -> HttpStream:
            sent = request(self._target, path, request_serializer(message), timeout, metadata, streams=True)
            return HttpStream(self, self.begin(timeout), self._messages(sent, response_deserializer))

        return call

    def close(self) -> None:
        """Ends all calls."""
        with self._mutex:
            self._closed = True
            for exchange in self._exchanges:
                exchange.cancel()
            idle = not self._exchanges
        if idle:
            self._pool.close()

    def begin(self, timeout_s: float | None) -> Exchange:
        """Raises ValueError after `close`, as gRPC does."""
        with self._mutex:
            if self._closed:
                raise ValueError("the channel is closed")
            exchange = Exchange(self._target.url, timeout_s)
            self._exchanges.add(exchange)
            return exchange

    def end(self, exchange: Exchange) -> None:
        with self._mutex:
            exchange.release()
            self._exchanges.discard(exchange)
            last = self._closed and not self._exchanges
        if last:
            # Not before: another thread might read a closed socket, whose number is another's.
            self._pool.close()

    def _messages(self, sent: dict[str, Any], deserialize: Deserializer) -> Iterator[Any]:
        with self._pool.stream(**sent) as response:
            answer = StreamAnswer(response.status, response.headers, deserialize)
            for part in response.iter_stream():
                yield from answer.feed(part)
        answer.end()


class HttpStream:
    """The messages of a stream. It connects at the first."""

    def __init__(self, channel: HttpChannel, exchange: Exchange, messages: Iterator[Any]) -> None:
        self._channel = channel
        self._exchange = exchange
        self._messages: Any = messages
        self._mutex = Lock()
        self._ended = False
        self._callbacks: list[Callable[[], None]] = []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        """Raises HttpCallError at the end of a stream that failed, or that was cancelled."""
        try:
            with self._exchange.running():
                message = next(self._messages, None)
        except HttpCallError:
            self._end()
            raise
        if message is None:
            self._end()
            raise cancelled() if self._exchange.is_cancelled else StopIteration
        return message

    def cancel(self) -> None:
        """Also from another thread, while one waits for a message."""
        if self._ended:
            return
        self._exchange.cancel()
        # A generator that runs ends by itself: its connection has ended.
        with suppress(ValueError):
            self._messages.close()
        self._end()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Calls it at the end of the stream. False if that was before."""
        with self._mutex:
            if not self._ended:
                self._callbacks.append(callback)
            return not self._ended

    def _end(self) -> None:
        with self._mutex:
            ended, self._ended = self._ended, True
        if ended:
            return
        self._channel.end(self._exchange)
        for callback in self._callbacks:
            callback()
