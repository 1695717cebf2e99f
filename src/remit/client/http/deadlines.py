"""Holds calls of threads to their deadlines, and ends them from other threads.

The timeouts of httpcore are for each read and write: a server that sends a byte now and then would outlast them.
"""

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import local
from typing import Any, Final

import httpcore

from remit.client.http.errors import HttpCallError, broken, cancelled, late
from remit.client.http.requests import FAULTS

_FOREVER: Final = float("inf")
_PART: Final = 16 * 1024


class Exchange:
    """A call that is under way."""

    def __init__(self, url: str, timeout_s: float | None) -> None:
        self._url = url
        self._until = _FOREVER if timeout_s is None else time.monotonic() + timeout_s
        self._socket: socket.socket | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Ends the call, also for a thread that waits in it."""
        self.is_cancelled = True
        if self._socket is not None:
            with suppress(OSError):
                # That of a TLS socket would let the other thread read what is encrypted.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Each operation on the network, in this thread, is of this call. Raises HttpCallError, and no other error."""
        _running.exchange = self
        try:
            self.left_s(None)
            yield
        except HttpCallError:
            raise
        except FAULTS as error:
            if self.is_cancelled:
                raise cancelled() from error
            raise (late() if time.monotonic() >= self._until else broken(self._url, error)) from error
        finally:
            _running.exchange = None

    def left_s(self, timeout_s: float | None) -> float | None:
        """For the next operation. Raises HttpCallError if the call has ended."""
        if self.is_cancelled:
            raise cancelled()
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise late()
        left_s = min(left_s, timeout_s or _FOREVER)
        return None if left_s == _FOREVER else left_s

    def use(self, stream: httpcore.NetworkStream) -> None:
        self._socket = stream.get_extra_info("socket")

    def release(self) -> None:
        """The connection may be another call's now."""
        self._socket = None


class _Running(local):
    exchange: Exchange | None = None


_running: Final = _Running()


class BoundedNetwork(httpcore.NetworkBackend):
    """The network of httpcore. Each operation ends with the deadline of the call that runs in the thread."""

    def __init__(self) -> None:
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Tries each address of the host, and shares the time between them."""
        failed: Exception = OSError(f"`{host}` has no address")
        for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                stream = self._network.connect_tcp(
                    str(address[0]), port, _left_s(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _BoundedStream(stream)
        raise failed


class _BoundedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PART):
            self._stream.write(buffer[start : start + _PART], self._left_s(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, self._left_s(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _left_s(self, timeout_s: float | None) -> float | None:
        if _running.exchange is not None:
            _running.exchange.use(self)
        return _left_s(timeout_s)


def _left_s(timeout_s: float | None) -> float | None:
    return _running.exchange.left_s(timeout_s) if _running.exchange is not None else timeout_s
